"""One trunk for all tasks, with small private parts: low-rank adapters of the hidden layers and a head per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from surrogates.counts import whole
from surrogates.errors import DataError

from ._checks import check_inputs, check_sizes
from .activations import Activation, activation_by_name
from .embedding import take
from .last_layer import fit_last_layer
from .linear import linear
from .low_rank import LowRankAdapter, check_groups, rows
from .mlp import MLP

Head = Literal["bias", "linear"]


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
    groups : for each hidden layer the group (T,) of every task, whose adapter it uses: all 0 where all tasks share one, as
        from `progressive_groups`; None: each task has its own in all layers. After the progressive task-specific
        adaptation of Gangwar et al. (2025), arXiv:2509.19602, of which we know the idea only (shared adapters in early
        layers, groups by similarity in the middle, private ones at the end)
    dtype : torch.float64 or torch.float32
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
        groups: Sequence[Sequence[int]] | None = None,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        check_sizes(sizes)
        whole(tasks, "tasks")
        whole(rank, "rank", least=0)
        if head not in ("bias", "linear"):
            raise DataError(f"head {head!r} is unknown; known are bias, linear")
        self.sizes, self.tasks, self.rank, self.head = tuple(sizes), tasks, rank, head
        if groups is not None and len(groups) != len(sizes) - 2:
            raise DataError(f"groups is given for {len(groups)} layers; the network has {len(sizes) - 2} hidden ones")
        self.groups = None if groups is None else tuple(check_groups(g, tasks) for g in groups)
        self.dtype = dtype
        self._activation_name: Activation = activation
        self.activation = activation_by_name(activation)
        pairs = list(pairwise(self.sizes))
        *inner, last = [linear(i, o, generator=generator, dtype=dtype) for i, o in pairs]
        self.hidden, self.last = nn.ModuleList(inner), last
        self.adapters = nn.ModuleList(
            LowRankAdapter(i, o, tasks=tasks, rank=min(rank, i, o), groups=own, dtype=dtype, generator=generator)
            for (i, o), own in zip(pairs[:-1], self.groups or [None] * len(inner), strict=True)
            if rank > 0
        )
        if head == "linear":
            self.H = nn.Parameter(torch.zeros(tasks, sizes[-1], sizes[-2], dtype=dtype))
        self.β = nn.Parameter(torch.zeros(tasks, sizes[-1], dtype=dtype))

    def forward(self, X: Tensor, task: Tensor) -> Tensor:
        """X (..., d_in), task (...,) long -> (..., d_out); leading dims are broadcast."""
        h = self.features(X, task)
        outputs: Tensor = self.last(h) + take(self.β, task)
        return outputs + rows(h, take(self.H, task)) if self.head == "linear" else outputs

    def features(self, X: Tensor, task: Tensor) -> Tensor:
        """The last hidden layer h_{L-1}, of which the outputs are linear: (..., width)."""
        check_inputs(X, self.sizes[0], "AdaptedMLP", dtype=self.dtype)
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
            F = torch.cat([h, torch.ones_like(h[:, :1])], -1)
            fitted = fit_last_layer(F.double(), (Y - self.last(h)).double(), ridge="gcv")
            self.H[task], self.β[task] = fitted.weights[:-1].T, fitted.weights[-1]

    def merged(self, task: int) -> MLP:
        """One task's network as a plain MLP: weights W_k + A_tk B_tk, last layer W_L + H_t and b_L + β_t."""
        self._check_task(task)
        generator = torch.Generator().manual_seed(0)
        plain = MLP(self.sizes, activation=self._activation_name, dtype=self.dtype, generator=generator)
        with torch.no_grad():
            for k, (mine, layer) in enumerate(zip(plain.hidden, self.hidden, strict=True)):
                here, there = cast(nn.Linear, mine), cast(nn.Linear, layer)
                here.weight.copy_(there.weight)
                here.bias.copy_(there.bias)
                if self.rank:
                    part = cast(LowRankAdapter, self.adapters[k])
                    here.weight += part.A[part.groups[task]] @ part.B[part.groups[task]]
            plain.last.weight.copy_(self.last.weight + (self.H[task] if self.head == "linear" else 0.0))
            plain.last.bias.copy_(self.last.bias + self.β[task])
        return plain

    def add_task(
        self,
        *,
        start: Literal["shared", "mean"] = "shared",
        groups: Sequence[int] | None = None,
        generator: torch.Generator,
    ) -> AdaptedMLP:
        """A copy with one task more, the last; this module stays as it is.

        Parameters
        ----------
        start : of what the new task has of its own; "shared": none of it changes the shared trunk; "mean": its head is the
            mean of the others', and its adapters are the nearest of their rank to the mean of the products A_t B_t
        groups : the new task's group in each hidden layer, the number of groups for a new one. None: the group of all tasks
            where there is but one, else a new one; where the module has no groups, a new one
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
            groups=self._groups_with(groups),
            dtype=self.dtype,
            generator=generator,
        )
        with torch.no_grad():
            for name, old in self.named_parameters():
                new = wider.get_parameter(name)
                (new[: len(old)] if _has_rows(name) else new).copy_(old)
                if start == "mean" and name in ("H", "β"):
                    new[-1] = old.mean(0)
        if start == "mean":
            for before, part in zip(self.adapters, wider.adapters, strict=True):
                if len(cast(LowRankAdapter, part).A) > len(cast(LowRankAdapter, before).A):
                    cast(LowRankAdapter, part).start_at_mean()
        return wider

    def _groups_with(self, new: Sequence[int] | None) -> list[tuple[int, ...]] | None:
        """The groups of all layers with one task more."""
        if self.groups is None:
            if new is not None:
                raise DataError("groups is given, but this module has none: each task has adapters of its own")
            return None
        counts = [max(old) + 1 for old in self.groups]
        chosen = [0 if count == 1 else count for count in counts] if new is None else list(new)
        if len(chosen) != len(counts) or any(not 0 <= g <= count for g, count in zip(chosen, counts, strict=True)):
            raise DataError(f"groups is {chosen}; wanted is one for each hidden layer, from 0 to {counts}")
        return [(*old, g) for old, g in zip(self.groups, chosen, strict=True)]

    def trunk_parameters(self) -> Tensor:
        """(p,) positions, in `flatten` of this module, of the trunk: what stays frozen while adapters and heads learn."""
        return self._positions(lambda name, users: not _has_rows(name))

    def shared_parameters(self) -> Tensor:
        """(p,) positions, in `flatten` of this module, of what more than one task uses: the trunk, adapters of groups."""
        return self._positions(lambda name, users: not _has_rows(name) or len(users) > 1)

    def private_parameters(self, task: int) -> Tensor:
        """(p,) positions, in `flatten` of this module, of what only `task` uses."""
        self._check_task(task)
        return self._positions(lambda name, users: _has_rows(name) and users == [task])

    def adapter_parameters(self, task: int) -> Tensor:
        """(p,) positions, in `flatten` of this module, of all that `task` adds to the trunk, shared or not."""
        self._check_task(task)
        return self._positions(lambda name, users: _has_rows(name) and task in users)

    def _check_task(self, task: int) -> None:
        whole(task, "task", least=0)
        if task >= self.tasks:
            raise DataError(f"task is {task}; the module has {self.tasks} tasks, counted from 0")

    def _positions(self, wanted: Callable[[str, list[int]], bool]) -> Tensor:
        """Positions of the parameters, or of their rows, that are `wanted` by name and the tasks that use them."""
        parts = [torch.zeros(0, dtype=torch.long)]
        for name, p, start in self._with_starts():
            groups = self._groups_of(name)
            blocks = len(p) if _has_rows(name) else 1
            size = p.numel() // blocks
            for row in range(blocks):
                users = [t for t, g in enumerate(groups) if g == row] if _has_rows(name) else list(range(self.tasks))
                if wanted(name, users):
                    parts.append(start + torch.arange(row * size, (row + 1) * size))
        return torch.cat(parts)

    def _groups_of(self, name: str) -> Sequence[int]:
        """Which row of the parameter each task uses."""
        if name.startswith("adapters."):
            return cast(LowRankAdapter, self.adapters[int(name.split(".")[1])]).groups
        return range(self.tasks)

    def _with_starts(self) -> list[tuple[str, Tensor, int]]:
        """Each parameter with its name and its first position in `flatten`."""
        found: list[tuple[str, Tensor, int]] = []
        start = 0
        for name, p in self.named_parameters():
            found.append((name, p, start))
            start += p.numel()
        return found


def _has_rows(name: str) -> bool:
    """Whether the parameter has a leading dim of tasks or groups."""
    return name in ("H", "β") or name.startswith("adapters.")
