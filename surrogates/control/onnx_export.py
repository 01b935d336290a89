"""Policies as ONNX files."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from surrogates.errors import missing_extra


def export(policy: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a module from (batch, d) to (batch, m) as an ONNX file, its batch size open.

    The derivatives of the Hamiltonian that the module takes are traced to plain operations first.

    Raises
    ------
    MissingExtraError
        If onnx or onnxscript isn't installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name or "onnx", "onnx") from error
    d = len(policy.low)  # type: ignore[arg-type]
    example = torch.zeros(7, d, dtype=torch.float64)
    aten = torch.ops.aten
    table: dict[torch._ops.OpOverload[..., Any], Callable[..., Any]] = {
        aten._linalg_solve_ex.default: _solved,
        aten._linalg_check_errors.default: lambda *_, **__: None,
    }
    graph = make_fx(policy, table, tracing_mode="symbolic", _allow_non_fake_inputs=True)(example)
    _keep_doubles(graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations
        torch.onnx.export(
            graph,
            (example,),
            os.fspath(path),
            input_names=["inputs"],
            output_names=["control"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,  # one file
            verbose=False,
        )


def _keep_doubles(module: fx.GraphModule) -> None:
    """Numbers in a traced graph as float64 tensors: torch's exporter rounds Python's floats to float32."""
    aten, graph = torch.ops.aten, module.graph
    with_tensors = {
        scalar: tensor
        for tensor, scalars in {
            aten.add.Tensor: (aten.add.Tensor, aten.add.Scalar),
            aten.sub.Tensor: (aten.sub.Tensor, aten.sub.Scalar),
            aten.mul.Tensor: (aten.mul.Tensor, aten.mul.Scalar),
            aten.div.Tensor: (aten.div.Tensor, aten.div.Scalar),
            aten.rsub.Tensor: (aten.rsub.Tensor, aten.rsub.Scalar),
            aten.pow.Tensor_Tensor: (aten.pow.Tensor_Scalar, aten.pow.Scalar),
        }.items()
        for scalar in scalars
    }

    def kept(argument: fx.node.Argument) -> fx.node.Argument:
        if not isinstance(argument, float) or argument == struct.unpack("f", struct.pack("f", argument))[0]:
            return argument
        name = f"number_{len(list(module.buffers()))}"
        module.register_buffer(name, torch.tensor(argument, dtype=torch.float64))
        return graph.get_attr(name)

    for node in list(graph.nodes):
        with graph.inserting_before(node):
            if node.target in with_tensors and any(isinstance(a, float) for a in node.args):
                args = tuple(kept(a) for a in node.args)
                if args != node.args:
                    node.target, node.args = with_tensors[node.target], args
            elif node.target is aten.full_like.default and not isinstance(number := kept(node.args[1]), float):
                zeros = graph.call_function(aten.zeros_like.default, (node.args[0],))
                node.replace_all_uses_with(graph.call_function(aten.add.Tensor, (zeros, number)))
                graph.erase_node(node)
    module.recompile()


def _solved(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A X = B for A (..., m, m) by elimination in plain operations, which ONNX lacks; A positive definite: no pivots."""
    m = A.shape[-1]
    rows = [torch.cat([A[..., i, :], B[..., i, :]], -1) for i in range(m)]
    for k in range(m):
        rows[k] = rows[k] / rows[k][..., k : k + 1]
        rows = [row if i == k else row - row[..., k : k + 1] * rows[k] for i, row in enumerate(rows)]
    X = torch.stack(rows, -2)[..., m:]
    return X, A, A.new_zeros(A.shape[:-1], dtype=torch.int32), A.new_zeros(A.shape[:-2], dtype=torch.int32)
