"""One step's gradients of a shared trunk and task heads, with labels that may be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from surrogates.errors import DataError

from ._base import one_of
from .chain import Layer, Record, Rows, chain_gram, chain_sketch, displaced, folded, layers_of, push, run

Level = Literal["parameters", "representation"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a table with missing labels.

    X : (B, d) features
    Y : (B, m) labels, 0 where missing
    mask : (B, m) bool, where there are labels
    weights : (B, m) of the labels in their task's mean, or None: all 1
    signs : (B, m) of -1, 0, +1 for losses that know bounds: the truth is at most, is, is at least the label; or None
    """

    X: Tensor
    Y: Tensor
    mask: Tensor
    weights: Tensor | None = None
    signs: Tensor | None = None

    @staticmethod
    def of(X: Tensor, Y: Tensor, weights: Tensor | None = None, signs: Tensor | None = None) -> Batch:
        """A batch from labels in which NaN means missing."""
        mask = ~torch.isnan(Y)
        return Batch(X, torch.where(mask, Y, 0.0), mask, weights, signs)

    def take(self, index: Tensor) -> Batch:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[index]
        signs = None if self.signs is None else self.signs[index]
        return Batch(self.X[index], self.Y[index], self.mask[index], weights, signs)

    def means(self, values: Tensor) -> Tensor:
        """(B, m) -> (m,) mean over each task's labels; 0, without gradient, where there are none."""
        w = self.mask.to(values.dtype) if self.weights is None else self.mask * self.weights
        total = w.sum(0)
        return torch.where(self.mask, values * w, 0.0).sum(0) / torch.where(total > 0, total, 1.0)


class TaskLoss(Protocol):
    """Losses of single labels."""

    def __call__(self, outputs: Tensor, batch: Batch, /) -> Tensor:
        """outputs (B, m, k) for the batch's labels -> losses (B, m).

        What is given where the batch's mask is False isn't used, but must have a finite gradient.
        """


class SquaredError:
    """(f - y)² of the first output.

    >>> batch = Batch.of(torch.zeros(1, 1), torch.tensor([[1.0]]))
    >>> SquaredError()(torch.tensor([[[3.0]]]), batch)
    tensor([[4.]])
    """

    def __call__(self, outputs: Tensor, batch: Batch, /) -> Tensor:
        return (outputs[..., 0] - batch.Y) ** 2

    def __repr__(self) -> str:
        return "SquaredError()"


class Engine:
    """A trunk X (B, d) -> z (B, h) that tasks share, and heads z -> (B, m, k), with all gradients of a step.

    One forward pass; one backward pass through the heads, which gives their own gradients and the cotangents
    δ_i = ∂L_i/∂z of all tasks; what a method asks for (`SeenTasks`); and one backward pass through the trunk with
    Σ c_i δ_i. So the trunk's parameters get G'c, and every head the ordinary gradient of its task's mean loss.

    The Gram matrix of the shared gradients is exact. For a chain of linear layers and elementwise activations (found out
    by itself, see `chain`) it takes no copies of the gradient; for any other trunk one backward pass for each task and a
    (m, P) matrix.

    Parameters
    ----------
    trunk : any module; its parameters are the shared ones
    heads : module that takes z (B, h), and (m, B, h) of which task i's head sees slice i only, and returns (B, m, k)
    loss : of single labels
    names : of the m tasks
    level : "parameters", or "representation": M_ij = δ_i·δ_j. The latter costs next to nothing and bounds the former,
        c'Mc <= |∂z/∂θ|² c'δδ'c (Sener & Koltun, arXiv:1810.04650, section 3.3), but its angles are others
    """

    def __init__(
        self, trunk: nn.Module, heads: nn.Module, loss: TaskLoss, names: tuple[str, ...], *, level: Level = "parameters"
    ) -> None:
        one_of(level, "level", ("parameters", "representation"))
        self.trunk, self.heads, self.loss, self.names, self.level = trunk, heads, loss, tuple(names), level
        self.shared = [(name, p) for name, p in trunk.named_parameters() if p.requires_grad]
        self.private = [p for p in heads.parameters() if p.requires_grad]
        if not self.names:
            raise DataError("there are no tasks; give at least one name")
        if not self.shared:
            raise DataError("the trunk has no trainable parameters, so nothing is shared; train the heads alone")
        if {id(p) for _, p in self.shared} & {id(p) for p in self.private}:
            raise DataError("trunk and heads share parameters; a parameter must be the trunk's or the heads'")
        self._layers: tuple[Layer, ...] | None = None
        self._signs: dict[int, Tensor] = {}
        self._looked = False

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that are trained: the trunk's, then the heads'."""
        return [p for _, p in self.shared] + self.private

    @property
    def is_chain(self) -> bool:
        """Whether the trunk was found to be a chain; known after the first batch."""
        return self._layers is not None

    def look(
        self,
        batch: Batch,
        *,
        guidance: Callable[[], Batch] | None = None,
        step: int = 0,
        max_steps: int = 1,
        generator: torch.Generator | None = None,
    ) -> Look:
        """Forward pass and the heads' backward pass.

        guidance : gives a batch when a method asks for one
        """
        if batch.Y.ndim != 2 or batch.Y.shape[1] != len(self.names) or batch.mask.shape != batch.Y.shape:
            raise DataError(
                f"labels are {tuple(batch.Y.shape)} with a mask {tuple(batch.mask.shape)}; both must be (rows, "
                f"{len(self.names)}), a column for each task"
            )
        if not self._looked:
            self._layers, self._looked = layers_of(self.trunk, batch.X[:3]), True
        return Look(self, batch, guidance, step, max_steps, generator or torch.Generator().manual_seed(0))

    def forward(self, batch: Batch) -> tuple[Tensor, Record | None]:
        """z (B, h), and the record of it where the trunk is a chain."""
        if self._layers is None:
            z: Tensor = self.trunk(batch.X)
            return z, None
        record = run(self._layers, batch.X)
        return record.z, record

    def outputs_of(self, z: Tensor, batch: Batch) -> Tensor:
        """(m,) mean losses from z (B, h) or (m, B, h)."""
        outputs = self.heads(z)
        if outputs.ndim != 3 or outputs.shape[:2] != batch.Y.shape:
            raise DataError(
                f"the heads gave outputs {tuple(outputs.shape)} for z {tuple(z.shape)}; they must be (rows, tasks, k) = "
                f"({batch.Y.shape[0]}, {batch.Y.shape[1]}, k)"
            )
        return batch.means(self.loss(outputs, batch))

    def elsewhere(self, values: list[Tensor], batch: Batch) -> Tensor:
        """(m,) mean losses with other values of the trunk's trainable parameters; buffers stay as they are."""
        if self._layers is not None:
            by = {id(p): value for (_, p), value in zip(self.shared, values, strict=True)}
            pairs = [(l.weight, l.bias) for l, _ in self._layers]
            given: list[tuple[Tensor, Tensor | None]] = [
                (by.get(id(W), W), None if b is None else by.get(id(b), b)) for W, b in pairs
            ]
            return self.outputs_of(run(self._layers, batch.X, given).z, batch)
        named = dict(zip((name for name, _ in self.shared), values, strict=True))
        buffers = {name: buffer.clone() for name, buffer in self.trunk.named_buffers()}
        z: Tensor = functional_call(self.trunk, named | buffers, (batch.X,))
        return self.outputs_of(z, batch)

    def signs(self, P: int) -> Tensor:
        """(P,) of ±1, the same in every run."""
        if P not in self._signs:
            generator = torch.Generator().manual_seed(2509)
            self._signs[P] = torch.randint(2, (P,), generator=generator, dtype=torch.int8) * 2 - 1
        return self._signs[P]


class Look:
    """A batch at the current parameters: what a method sees, and the gradients of the step."""

    def __init__(
        self,
        engine: Engine,
        batch: Batch,
        guidance: Callable[[], Batch] | None,
        step: int,
        max_steps: int,
        generator: torch.Generator,
    ) -> None:
        self.engine, self._batch, self._guidance_batch = engine, batch, guidance
        self.names, self.step, self.max_steps, self.generator = engine.names, step, max_steps, generator
        m = len(self.names)
        self.present = batch.mask.any(0)
        self._noise = torch.get_rng_state()  # a look ahead must draw the same dropout
        with torch.enable_grad():
            self._z, self._record = engine.forward(batch)
            Z = self._z.detach().expand(m, *self._z.shape).requires_grad_()
            L = engine.outputs_of(Z, batch)
            found = torch.autograd.grad(L.sum(), [Z, *engine.private], allow_unused=True)
        self._δ, self._own = found[0].detach(), found[1:]
        self.losses = torch.where(self.present, L.detach().double(), torch.nan)
        self._last = False  # then the graph is let go on the way down
        self._gram: Tensor | None = None
        self._sketches: dict[int, Tensor] = {}
        self._shared: tuple[Tensor, list[Tensor]] | None = None

    def gram(self) -> Tensor:
        if self._gram is None:
            δ, index, m = self._cotangents(), self.present.nonzero()[:, 0], len(self.names)
            if self.engine.level == "representation":
                flat = δ.flatten(1)
                M = (flat @ flat.T).double()
            elif self._record is not None:
                M = chain_gram(self._record, δ, self._rows())
            else:
                J = torch.stack([self._flat(row) for row in δ]) if len(index) else self._z.new_zeros(0, 1)
                M = (J @ J.T).double()
            self._gram = torch.zeros(m, m, dtype=torch.float64)
            self._gram[index[:, None], index[None, :]] = M
        return self._gram

    def sketch(self, r: int) -> Tensor:
        if r not in self._sketches:
            δ, index = self._cotangents(), self.present.nonzero()[:, 0]
            signs = self.engine.signs(sum(p.numel() for _, p in self.engine.shared))
            self._sketches[r] = torch.zeros(len(self.names), r, dtype=torch.float64)
            if self._record is not None:
                rows = chain_sketch(self._record, δ, self._rows(), signs, r)
            else:
                rows = torch.cat([folded(self._flat(row)[None], signs, 0, r) for row in δ])
            self._sketches[r][index] = rows.double()
        return self._sketches[r]

    def slope(self, weights: Tensor) -> float:
        return float(torch.stack(torch._foreach_norm(self.shared_gradient(weights))).double().square().sum())

    def ahead(self, weights: Tensor, rate: float) -> Tensor:
        g = self.shared_gradient(weights)
        with self._same_noise(), torch.no_grad():
            if self._record is not None:
                L = self.engine.outputs_of(displaced(self._record, self._pairs(g), rate), self._batch)
            else:
                there = torch._foreach_sub([p for _, p in self.engine.shared], g, alpha=rate)
                L = self.engine.elsewhere(list(there), self._batch)
        return torch.where(self.present, L.double(), torch.nan)

    def guidance(self, weights: Tensor, rate: float) -> Tensor:
        if self._guidance_batch is None:
            raise DataError(
                "the method asks for a guidance batch, but there is none; give the loop guidance data, or set the "
                "method's guide to 0"
            )
        there, self._shared = self.shared_gradient(weights), None  # becomes the place, and is made anew when needed
        for (_, p), g in zip(self.engine.shared, there, strict=True):
            g.mul_(-rate).add_(p.detach()).requires_grad_()
        with torch.enable_grad():
            L = self.engine.elsewhere(there, self._guidance_batch()).sum()
            h = torch.autograd.grad(L, there, allow_unused=True)
        direction = [_or_zero(value, p) for value, (_, p) in zip(h, self.engine.shared, strict=True)]
        del there, L
        pushed = self._push(direction)
        return torch.where(self.present, (self._δ * pushed).flatten(1).sum(1).double(), 0.0)

    def again(self) -> Look:
        """The same batch with the same dropout at whatever the parameters are now."""
        with self._same_noise():
            return Look(self.engine, self._batch, self._guidance_batch, self.step, self.max_steps, self.generator)

    def shared_gradient(self, weights: Tensor) -> list[Tensor]:
        """G'c, one tensor for each trainable parameter of the trunk; kept until other weights come."""
        if self._shared is None or not torch.equal(self._shared[0], weights):
            c = torch.where(self.present, weights, 0.0).to(self._δ.dtype)
            δ = torch.tensordot(c, self._δ, 1)
            if self._last:
                self._record, self._δ = None, δ.new_zeros(0)
            self._shared = (weights.clone(), self._pull(δ))
        return self._shared[1]

    def backward(self, weights: Tensor) -> None:
        """Set `grad` of every trainable parameter: G'c in the trunk, each task's own in the heads.

        The last thing to be asked: what the forward pass left is let go on the way.
        """
        self._last = True
        for (_, p), g in zip(self.engine.shared, self.shared_gradient(weights), strict=True):
            p.grad = g
        for p, own in zip(self.engine.private, self._own, strict=True):
            p.grad = _or_zero(own, p)

    def _cotangents(self) -> Tensor:
        """(p, B, h) of the tasks that are present."""
        return self._δ if bool(self.present.all()) else self._δ[self.present]

    def _pull(self, δ: Tensor) -> list[Tensor]:
        """(B, h) cotangent of z -> gradient of the shared parameters."""
        parameters = [p for _, p in self.engine.shared]
        found = torch.autograd.grad(self._z, parameters, δ, retain_graph=not self._last, allow_unused=True)
        return [_or_zero(g, p) for g, p in zip(found, parameters, strict=True)]

    def _push(self, direction: list[Tensor]) -> Tensor:
        """Direction in the shared parameters -> ż (B, h)."""
        if self._record is not None:
            with torch.no_grad():
                return push(self._record, self._pairs(direction))
        with torch.enable_grad():  # the derivative of J'u along the direction, with respect to u, is J h
            u = torch.zeros_like(self._z, requires_grad=True)
            pulled = torch.autograd.grad(
                self._z, [p for _, p in self.engine.shared], u, create_graph=True, allow_unused=True
            )
            along = [(g * h).sum() for g, h in zip(pulled, direction, strict=True) if g is not None]
            return torch.autograd.grad(torch.stack(along).sum(), u)[0]

    def _pairs(self, direction: list[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """The same by layers of the chain: (Ẇ_l, ḃ_l), zero where nothing is trained."""
        assert self._record is not None
        given = {id(p): h for (_, p), h in zip(self.engine.shared, direction, strict=True)}

        def of(p: Tensor) -> Tensor:
            return given[id(p)] if id(p) in given else torch.zeros_like(p)

        return [(of(l.weight), None if l.bias is None else of(l.bias)) for l, _ in self._record.layers]

    def _flat(self, δ: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in self._pull(δ)])

    def _rows(self) -> Rows:
        return Rows.of(self._batch.mask[:, self.present].T)

    def _same_noise(self) -> _Noise:
        return _Noise(self._noise)


class _Noise:
    """Within it, torch draws what it drew from a given state on; afterwards it goes on where it was."""

    def __init__(self, state: Tensor) -> None:
        self.state = state

    def __enter__(self) -> None:
        self.before = torch.get_rng_state()
        torch.set_rng_state(self.state)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.before)


def _or_zero(g: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if g is None else g.detach()
