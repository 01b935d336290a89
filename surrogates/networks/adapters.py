"""One trunk for all tasks, with small private parts: low-rank adapters of the hidden layers and a head per task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from surrogates.errors import DataError

from ._checks import check_count, check_inputs, check_sizes
from .activations import Activation, activation_by_name
from .embedding import take
from .last_layer import fit_last_layer
from .linear import linear
from .mlp import MLP

Head = Literal["bias", "linear"]


class LowRankAdapter(nn.Module):
    """A_t B_t x, which is added to W x for task t; A = 0 at first, so that each task starts as the shared layer.

    Hu et al. (2021), arXiv:2106.09685, section 4.1, with A and B exchanged and no factor α/r. B ~ N(0, 1/d_in).

    Parameters
    ----------
    d_in, d_out : widths of the layer
    tasks : number T of tasks
    rank : r, at most the smaller width
    generator : draws B

    Examples
    --------
    >>> adapter = LowRankAdapter(3, 2, tasks=4, rank=1, generator=torch.Generator().manual_seed(0))
    >>> adapter(torch.ones(5, 3).double(), torch.tensor([0, 1, 2, 3, 3])).abs().sum().item()
    0.0
    """

    def __init__(self, d_in: int, d_out: int, *, tasks: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        for name, value in (("d_in", d_in), ("d_out", d_out), ("tasks", tasks), ("rank", rank)):
            check_count(value, name)
        if rank > min(d_in, d_out):
            raise DataError(f"rank is {rank}; a layer from {d_in} to {d_out} has at most {min(d_in, d_out)}")
        B = torch.randn(tasks, rank, d_in, generator=generator, dtype=torch.float64)
        self.A = nn.Parameter(torch.zeros(tasks, d_out, rank, dtype=torch.float64))
        self.B = nn.Parameter(B / d_in**0.5)

    def forward(self, X: Tensor, task: Tensor) -> Tensor:
        """X (..., d_in), task (...,) long -> (..., d_out); leading dims are broadcast."""
        check_inputs(X, self.B.shape[-1], "LowRankAdapter")
        return _rows(_rows(X, take(self.B, task)), take(self.A, task))


class AdaptedMLP(nn.Module):
    """An MLP with shared weights and, for each task t, low-rank adapters and a head of its own.

        h₀ = X,  h_k = σ((W_k + A_tk B_tk) h_{k-1} + b_k),  outputs (W_L + H_t) h_{L-1} + b_L + β_t

    A, H and β are 0 at first: each task starts as the shared trunk, which is the `MLP` drawn by the same generator.

    Parameters
    ----------
    sizes : (d_in, hidden..., d_out)
    tasks : number of tasks
    rank : of the adapters; 0: none. A layer narrower than `rank` has adapters of its full rank
    activation : σ, one of `ACTIVATIONS`
    head : "bias": β_t only; "linear": H_t too
    generator : draws the weights, then the adapters

    Examples
    --------
    Few-shot adaptation trains the private part φ of one task and leaves all else:

    >>> from surrogates.networks import Flat, flatten
    >>> net = AdaptedMLP((2, 16, 16, 1), tasks=3, rank=2, generator=torch.Generator().manual_seed(0))
    >>> wider = net.add_task(generator=torch.Generator().manual_seed(1))
    >>> flat, θ, free = Flat(wider), flatten(wider), wider.private_parameters(3)
    >>> X, task = torch.ones(5, 2).double(), torch.full((5,), 3)
    >>> torch.func.jacrev(lambda φ: flat(θ.index_copy(0, free, φ), X, task))(θ[free]).shape
    torch.Size([5, 1, 101])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        tasks: int,
        rank: int,
        activation: Activation = "tanh",
        head: Head = "bias",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        check_sizes(sizes)
        check_count(tasks, "tasks")
        check_count(rank, "rank", least=0)
        if head not in ("bias", "linear"):
            raise DataError(f"head {head!r} is unknown; known are bias, linear")
        self.sizes, self.tasks, self.rank, self.head = tuple(sizes), tasks, rank, head
        self._activation_name: Activation = activation
        self.activation = activation_by_name(activation)
        pairs = list(pairwise(self.sizes))
        *inner, last = [linear(i, o, generator=generator) for i, o in pairs]
        self.hidden, self.last = nn.ModuleList(inner), last
        self.adapters = nn.ModuleList(
            LowRankAdapter(i, o, tasks=tasks, rank=min(rank, i, o), generator=generator)
            for i, o in pairs[:-1]
            if rank > 0
        )
        if head == "linear":
            self.H = nn.Parameter(torch.zeros(tasks, sizes[-1], sizes[-2], dtype=torch.float64))
        self.β = nn.Parameter(torch.zeros(tasks, sizes[-1], dtype=torch.float64))

    def forward(self, X: Tensor, task: Tensor) -> Tensor:
        """X (..., d_in), task (...,) long -> (..., d_out); leading dims are broadcast."""
        h = self.features(X, task)
        outputs: Tensor = self.last(h) + take(self.β, task)
        return outputs + _rows(h, take(self.H, task)) if self.head == "linear" else outputs

    def features(self, X: Tensor, task: Tensor) -> Tensor:
        """The last hidden layer h_{L-1}, of which the outputs are linear: (..., width)."""
        check_inputs(X, self.sizes[0], "AdaptedMLP")
        h = X
        for k, layer in enumerate(self.hidden):
            z = layer(h)
            h = self.activation(z + self.adapters[k](h, task) if self.rank else z)
        return h

    def fit_head(self, task: int, X: Tensor, Y: Tensor) -> None:
        """Set one task's head (in place) to the least-squares fit of Y (B, d_out) at X (B, d_in), all else as it is.

        With a ridge chosen by generalised cross-validation, or few rows would be met exactly and others not at all. For
        head="linear".
        """
        if self.head != "linear":
            raise DataError("fit_head needs head='linear'; a bias alone has no slopes to fit")
        with torch.no_grad():
            h = self.features(X, torch.full(X.shape[:-1], task))
            fitted = fit_last_layer(torch.cat([h, torch.ones_like(h[:, :1])], -1), Y - self.last(h), ridge="gcv")
            self.H[task], self.β[task] = fitted.weights[:-1].T, fitted.weights[-1]

    def merged(self, task: int) -> MLP:
        """One task's network as a plain MLP: weights W_k + A_tk B_tk, last layer W_L + H_t and b_L + β_t."""
        check_count(task, "task", least=0)
        if task >= self.tasks:
            raise DataError(f"task is {task}; the module has {self.tasks} tasks, counted from 0")
        plain = MLP(self.sizes, activation=self._activation_name, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for k, (mine, layer) in enumerate(zip(plain.hidden, self.hidden, strict=True)):
                here, there = cast(nn.Linear, mine), cast(nn.Linear, layer)
                here.weight.copy_(there.weight)
                here.bias.copy_(there.bias)
                if self.rank:
                    part = cast(LowRankAdapter, self.adapters[k])
                    here.weight += part.A[task] @ part.B[task]
            plain.last.weight.copy_(self.last.weight + (self.H[task] if self.head == "linear" else 0.0))
            plain.last.bias.copy_(self.last.bias + self.β[task])
        return plain

    def add_task(self, *, start: Literal["shared", "mean"] = "shared", generator: torch.Generator) -> AdaptedMLP:
        """A copy with one task more, the last; this module stays as it is.

        Parameters
        ----------
        start : "shared": the new task is the shared trunk; "mean": its head is the mean of the others', and its
            adapters are the nearest of their rank to the mean of the products A_t B_t
        generator : draws the new task's B where it starts as the shared trunk
        """
        if start not in ("shared", "mean"):
            raise DataError(f"start {start!r} is unknown; known are shared, mean")
        wider = AdaptedMLP(
            self.sizes,
            tasks=self.tasks + 1,
            rank=self.rank,
            activation=self._activation_name,
            head=self.head,
            generator=generator,
        )
        with torch.no_grad():
            for name, old in self.named_parameters():
                new = wider.get_parameter(name)
                (new[:-1] if _is_private(name) else new).copy_(old)
                if start == "mean" and name in ("H", "β"):
                    new[-1] = old.mean(0)
            if start == "mean":
                for part in wider.adapters:
                    _start_at_mean(cast(LowRankAdapter, part))
        return wider

    def shared_parameters(self) -> Tensor:
        """(p,) positions, in `flatten` of this module, of what all tasks share."""
        parts = [
            torch.arange(start, start + p.numel()) for name, p, start in self._with_starts() if not _is_private(name)
        ]
        return torch.cat(parts)

    def private_parameters(self, task: int) -> Tensor:
        """(p,) positions, in `flatten` of this module, of what only `task` uses."""
        check_count(task, "task", least=0)
        if task >= self.tasks:
            raise DataError(f"task is {task}; the module has {self.tasks} tasks, counted from 0")
        parts = [
            start + torch.arange(task * p[0].numel(), (task + 1) * p[0].numel())
            for name, p, start in self._with_starts()
            if _is_private(name)
        ]
        return torch.cat(parts)

    def _with_starts(self) -> list[tuple[str, Tensor, int]]:
        """Each parameter with its name and its first position in `flatten`."""
        found: list[tuple[str, Tensor, int]] = []
        start = 0
        for name, p in self.named_parameters():
            found.append((name, p, start))
            start += p.numel()
        return found


def _is_private(name: str) -> bool:
    """Whether the parameter has a leading dim of tasks."""
    return name in ("H", "β") or name.startswith("adapters.")


def _rows(X: Tensor, M: Tensor) -> Tensor:
    """M x for each row: X (..., i), M (..., o, i) -> (..., o)."""
    return (X[..., None, :] @ M.mT).squeeze(-2)


def _start_at_mean(adapter: LowRankAdapter) -> None:
    """Set the last task's A B to the best approximation of its rank to the mean of the others'.

    The mean of the factors would be another matrix, since A R⁻¹ and R B have the same product for any R. The rows of
    B are orthonormal, so that gradients reach A even where the mean is 0.
    """
    A, B = adapter.A, adapter.B
    U, σ, Vt = torch.linalg.svd((A[:-1] @ B[:-1]).mean(0), full_matrices=False)
    r = A.shape[-1]
    A[-1], B[-1] = U[:, :r] * σ[:r], Vt[:r]
