"""Policies as ONNX files."""

from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor, nn
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
    table = {torch.ops.aten._linalg_solve_ex.default: _solved}
    graph = make_fx(policy, table, tracing_mode="symbolic", _allow_non_fake_inputs=True)(example)
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
            verbose=False,
        )


def _solved(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A X = B for A (..., m, m) by elimination in plain operations, which ONNX lacks as one; A positive definite: no pivots."""
    m = A.shape[-1]
    rows = [torch.cat([A[..., i, :], B[..., i, :]], -1) for i in range(m)]
    for k in range(m):
        rows[k] = rows[k] / rows[k][..., k : k + 1]
        rows = [row if i == k else row - row[..., k : k + 1] * rows[k] for i, row in enumerate(rows)]
    X = torch.stack(rows, -2)[..., m:]
    nothing = torch.zeros_like(A[..., 0], dtype=torch.int32)
    return X, A, nothing, nothing[..., 0]
