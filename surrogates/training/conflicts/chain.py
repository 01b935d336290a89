"""A trunk that is linear layers and activations in turn, taken apart; and the Gram matrix of its task gradients.

With s_l = a_l W_l' + b_l, h_l = σ_l(s_l), a_{l+1} = h_l and δ_i (B, h) the gradient of task i's loss with respect to s_l,

    ∂L_i/∂W_l = δ_i' a_l,  ∂L_i/∂b_l = δ_i' 1      =>      M_ij += tr(δ_i' (a_l a_l' + 1 1') δ_j)
    δ_i of layer l-1 = (δ_i W_l) ∘ σ'_{l-1}(s_{l-1})

so that neither m backward passes nor m copies of the gradient are needed: cotangents of all tasks go down together, rows
without a label left out, and each layer's part is taken by whichever of three equal roads needs the fewest operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Numbers that a piece of the work may hold at once (half a MB in float64); pieces change memory, not results.
_PIECE = 2**16


class Layer(NamedTuple):
    """s = a W' + b, h = σ(s)."""

    linear: nn.Linear
    activation: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True, eq=False)
class Record:
    """What one forward pass leaves: inputs a_l (B, in) and sums s_l (B, out) of every layer, outputs z (B, h)."""

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    z: Tensor

    def derivative(self, k: int) -> Tensor | None:
        """σ'_k(s_k) (B, out), through the graph, so that a dropout's mask is the one that was drawn. None: the identity."""
        s, h = self.sums[k], (*self.inputs[1:], self.z)[k]
        if self.layers[k].activation is None or not s.requires_grad:  # below the first trainable layer nobody asks
            return None
        return torch.autograd.grad(h, s, torch.ones_like(h), retain_graph=True)[0]


def run(layers: tuple[Layer, ...], X: Tensor, parameters: list[tuple[Tensor, Tensor | None]] | None = None) -> Record:
    """Forward pass, with the layers' own parameters or with others."""
    h, inputs, sums = X, [], []
    for k, (linear, activation) in enumerate(layers):
        W, b = (linear.weight, linear.bias) if parameters is None else parameters[k]
        inputs.append(h)
        s = F.linear(h, W, b)
        sums.append(s)
        h = s if activation is None else activation(s)
    return Record(layers, tuple(inputs), tuple(sums), h)


def push(record: Record, tangents: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    """ż (B, h) along a direction (Ẇ_l, ḃ_l) in the parameters: forward mode, by hand."""
    ȧ: Tensor | None = None
    for k, ((linear, _), a, (Ẇ, ḃ)) in enumerate(zip(record.layers, record.inputs, tangents, strict=True)):
        ṡ = F.linear(a.detach(), Ẇ, ḃ)
        if ȧ is not None:
            ṡ = ṡ + F.linear(ȧ, linear.weight.detach())
        D = record.derivative(k)
        ȧ = ṡ if D is None else D * ṡ
    assert ȧ is not None
    return ȧ


def displaced(record: Record, tangents: list[tuple[Tensor, Tensor | None]], rate: float) -> Tensor:
    """z (B, h) of the same inputs at θ - rate (Ẇ, ḃ), one layer's parameters at a time, of the first only the change."""
    h = record.inputs[0]
    for k, ((linear, activation), (Ẇ, ḃ)) in enumerate(zip(record.layers, tangents, strict=True)):
        if k == 0:
            s = record.sums[0].detach() - rate * F.linear(h, Ẇ, ḃ)
        else:
            b = None if ḃ is None else linear.bias.detach() - rate * ḃ
            s = F.linear(h, torch.sub(linear.weight.detach(), Ẇ, alpha=rate), b)
        h = s if activation is None else activation(s)
    return h


def layers_of(trunk: nn.Module, X: Tensor) -> tuple[Layer, ...] | None:
    """The layers of a trunk, or None where it isn't a chain of linear layers and elementwise activations.

    Known are `nn.Sequential`, and modules with the three parts `hidden`, `activation`, `last` of our MLP. That the parts
    are all there is, and that the activations act on each entry by itself, is checked on `X` (n, d) with dropout off.
    """
    found = _sequential(trunk) if isinstance(trunk, nn.Sequential) else _perceptron(trunk)
    if found is None or X.ndim != 2:
        return None
    owned = {id(p) for layer in found for p in layer.linear.parameters()}
    if len({id(layer.linear) for layer in found}) < len(found) or owned != {id(p) for p in trunk.parameters()}:
        return None
    modes = [(module, module.training) for module in trunk.modules()]
    trunk.eval()
    try:
        with torch.no_grad():
            record = run(found, X)
            alike = torch.equal(record.z, trunk(X)) and all(map(_elementwise, found, record.sums))
    finally:
        for module, mode in modes:
            module.training = mode
    return found if alike else None


def _sequential(trunk: nn.Sequential) -> tuple[Layer, ...] | None:
    found: list[Layer] = []
    parts = [part for module in trunk for part in (_flat(module))]
    while parts:
        head = parts.pop(0)
        if not isinstance(head, nn.Linear):
            return None
        after: list[nn.Module] = []
        while parts and not isinstance(parts[0], nn.Linear):
            after.append(parts.pop(0))
            holds = any(True for _ in after[-1].parameters()) or any(True for _ in after[-1].buffers())
            if holds or getattr(after[-1], "inplace", False):  # what was summed must stay for the derivatives
                return None
        found.append(Layer(head, nn.Sequential(*after) if after else None))
    return tuple(found) or None


def _flat(module: nn.Module) -> list[nn.Module]:
    return [part for inner in module for part in _flat(inner)] if isinstance(module, nn.Sequential) else [module]


def _perceptron(trunk: nn.Module) -> tuple[Layer, ...] | None:
    hidden, activation, last = (getattr(trunk, name, None) for name in ("hidden", "activation", "last"))
    if not isinstance(hidden, nn.ModuleList) or not callable(activation) or not isinstance(last, nn.Linear):
        return None
    inner = [layer for layer in hidden if isinstance(layer, nn.Linear)]
    return (*(Layer(layer, activation) for layer in inner), Layer(last, None)) if len(inner) == len(hidden) else None


def _elementwise(layer: Layer, s: Tensor) -> bool:
    if layer.activation is None:
        return True
    whole = layer.activation(s)
    if whole.shape != s.shape:
        return False
    alone = layer.activation(s.flip(0, 1)).flip(0, 1)
    first = layer.activation(s[:1, :1].expand(2, 3))
    return torch.allclose(whole, alone) and torch.allclose(first, whole[:1, :1].expand(2, 3))


class Rows(NamedTuple):
    """Which rows of the batch the p tasks have labels in.

    task, row : (N,) of each label, sorted by task
    bounds : p + 1 places where the tasks' labels start
    full : whether all p tasks have labels in all B rows (or in so many that it isn't worth leaving some out)
    """

    task: Tensor
    row: Tensor
    bounds: list[int]
    full: bool
    size: tuple[int, int]  # p, B

    @staticmethod
    def of(mask: Tensor) -> Rows:
        """mask (p, B) bool."""
        p, B = mask.shape
        full = bool(mask.sum() > 0.8 * p * B)
        task, row = (torch.ones_like(mask) if full else mask).nonzero(as_tuple=True)
        bounds = [0, *torch.bincount(task, minlength=p).cumsum(0).tolist()]
        return Rows(task, row, bounds, full, (p, B))


def visit(
    record: Record,
    δ: Tensor,
    rows: Rows,
    visitor: Callable[[Tensor, Tensor, nn.Linear, int], None],
) -> None:
    """Call `visitor` with cotangents (N, out) and inputs (B, in) of each layer, from the last one down.

    δ (p, B, h) are cotangents of z. The fourth argument is the place of the layer's first parameter in the flat gradient.
    """
    p, B = rows.size
    width = max([δ.shape[-1], *(s.shape[1] for s in record.sums)])
    held = δ.new_empty(len(rows.row), width)
    C = held[:, : δ.shape[-1]]
    C.copy_(δ.reshape(p * B, -1) if rows.full else δ[rows.task, rows.row])
    starts = [0]
    for linear, _ in record.layers:
        starts.append(starts[-1] + _count(linear))
    lowest = next((k for k, (linear, _) in enumerate(record.layers) if _count(linear)), len(record.layers))
    for k in reversed(range(len(record.layers))):
        if k < lowest:
            return
        if (D := record.derivative(k)) is not None:
            _scale(C, D, rows)
        linear = record.layers[k].linear
        if _count(linear):
            visitor(C, record.inputs[k].detach(), linear, starts[k])
        if k > lowest:
            below = held[:, : linear.in_features]
            piece = max(1, _PIECE // (2 * width))
            for low in range(0, len(C), piece):  # in the same memory: each piece is read before it is written
                below[low : low + piece] = C[low : low + piece] @ linear.weight.detach()
            C = below


def _count(linear: nn.Linear) -> int:
    """Trainable numbers of a layer."""
    return sum(p.numel() for p in linear.parameters() if p.requires_grad)


def _scale(C: Tensor, D: Tensor, rows: Rows) -> None:
    p, B = rows.size
    if rows.full:
        for i in range(p):
            C[i * B : (i + 1) * B] *= D
    else:
        piece = max(1, _PIECE // C.shape[1])
        for low in range(0, len(C), piece):
            C[low : low + piece] *= D[rows.row[low : low + piece]]


def augmented(a: Tensor, linear: nn.Linear) -> Tensor:
    """[a 1] (B, in + 1): what cotangents meet in the gradients of W and b; without what isn't trained."""
    parts = [a] if linear.weight.requires_grad else []
    if linear.bias is not None and linear.bias.requires_grad:
        parts.append(a.new_ones(len(a), 1))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def gradients(C: Tensor, A: Tensor, rows: Rows, low: int, high: int) -> Tensor:
    """Rows low to high of every task's δ_i' A: (p, high - low, in + 1)."""
    p, B = rows.size
    if rows.full:
        return torch.matmul(C.reshape(p, B, -1)[:, :, low:high].transpose(1, 2), A)
    found = C.new_empty(p, high - low, A.shape[1])
    for i, (start, end) in enumerate(zip(rows.bounds[:-1], rows.bounds[1:], strict=True)):
        torch.mm(C[start:end, low:high].T, A[rows.row[start:end]], out=found[i])
    return found


def chain_gram(record: Record, δ: Tensor, rows: Rows) -> Tensor:
    """M (p, p) in float64, from the cotangents δ (p, B, h) of z."""
    p, B = rows.size
    M = torch.zeros(p, p, dtype=torch.float64)

    def add(C: Tensor, a: Tensor, linear: nn.Linear, start: int) -> None:
        N, out, width = len(C), C.shape[1], a.shape[1]
        costs = {
            _explicit: (N + p * p) * out * width,
            _kernel: (p * B + p * p) * B * out + B * B * width,
            _pairs: N * N * (out + 2) + B * B * width,
        }
        M.add_(min(costs, key=lambda road: costs[road])(C, a, linear, rows))

    with torch.no_grad():
        visit(record, δ, rows, add)
    return (M + M.T) / 2


def _explicit(C: Tensor, a: Tensor, linear: nn.Linear, rows: Rows) -> Tensor:
    """One piece of every task's gradient at a time."""
    A = augmented(a, linear)
    p, out = rows.size[0], C.shape[1]
    piece, M = max(8, _PIECE // (p * A.shape[1])), torch.zeros(p, p, dtype=torch.float64)
    for low in range(0, out, piece):
        flat = gradients(C, A, rows, low, min(low + piece, out)).flatten(1)
        M += (flat @ flat.T).double()
    return M


def _products(a: Tensor, linear: nn.Linear) -> Tensor:
    """K (B, B) = AA', without making A."""
    K = a @ a.T if linear.weight.requires_grad else a.new_zeros(len(a), len(a))
    return K.add_(1.0) if linear.bias is not None and linear.bias.requires_grad else K


def _kernel(C: Tensor, a: Tensor, linear: nn.Linear, rows: Rows) -> Tensor:
    """tr(δ_i' K δ_j) with K = AA' (B, B), some outputs at a time."""
    (p, B), out = rows.size, C.shape[1]
    K, M = _products(a, linear), torch.zeros(p, p, dtype=torch.float64)
    piece = max(1, _PIECE // (2 * p * B))
    for low in range(0, out, piece):
        part = C[:, low : low + piece]
        if rows.full:
            D = part.reshape(p, B, -1)
        else:
            D = C.new_zeros(p, B, part.shape[1])
            D[rows.task, rows.row] = part
        M += (torch.matmul(K, D).flatten(1) @ D.flatten(1).T).double()
    return M


def _pairs(C: Tensor, a: Tensor, linear: nn.Linear, rows: Rows) -> Tensor:
    """Σ over labels of i and of j of (δ·δ)(a·a); for few labels."""
    both = (C @ C.T) * _products(a, linear)[rows.row][:, rows.row]
    into = torch.zeros(rows.size[0], len(C), dtype=C.dtype)
    into[rows.task, torch.arange(len(C))] = 1.0
    return (into @ both @ into.T).double()


def chain_sketch(record: Record, δ: Tensor, rows: Rows, signs: Tensor, r: int) -> Tensor:
    """S (p, r) in float64: entry b is the sum of ± the gradient's entries whose place is b modulo r.

    A layer with more than r inputs is folded in the same way along its inputs first, which the gradient never sees: of
    δ_i'A only δ_i'(AR) is formed, RR' = I on average.
    """
    p = rows.size[0]
    S = torch.zeros(p, r, dtype=torch.float64)

    def add(C: Tensor, a: Tensor, linear: nn.Linear, start: int) -> None:
        A, out = augmented(a, linear), C.shape[1]
        if A.shape[1] > r:  # fewer columns first: δ_i'(A R), R the same random signs in the same fold
            A = folded(A, signs, start, r)
        piece = max(8, _PIECE // (p * A.shape[1]))
        for low in range(0, out, piece):
            flat = gradients(C, A, rows, low, min(low + piece, out)).flatten(1)
            S.add_(folded(flat, signs, start + low * A.shape[1], r))

    with torch.no_grad():
        visit(record, δ, rows, add)
    return S


def folded(flat: Tensor, signs: Tensor, start: int, r: int) -> Tensor:
    """A part (p, n) of the gradients, from place `start` on, as its share of the sketch (p, r)."""
    n = flat.shape[1]
    signed = F.pad(flat * signs[start : start + n].to(flat.dtype), (0, -n % r))
    return torch.roll(signed.reshape(len(flat), -1, r).sum(1), start % r, 1)
