"""What a method for conflicting tasks is: frozen configuration, two pure functions, and a state of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..weighting._base import State, fraction, one_of, positive

__all__ = ["Conflicts", "Prepared", "SeenTasks", "State", "fraction", "one_of", "positive"]


class SeenTasks(Protocol):
    """What a method may look at before a step: m tasks on one batch. Detached, float64 whatever the network's type is.

    L_i is the mean loss over the batch's labels of task i, g_i its gradient with respect to the shared parameters θ,
    G (m, P) all of them. What costs something is computed when it is asked for, and once.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Of the m tasks, in the order of every (m,) tensor."""

    @property
    def present(self) -> Tensor:
        """(m,) bool: tasks with labels in this batch."""

    @property
    def losses(self) -> Tensor:
        """(m,) L_i, NaN where a task is absent."""

    @property
    def step(self) -> int:
        """Steps done so far: 0 at the start."""

    @property
    def max_steps(self) -> int:
        """Steps that the run may take, for schedules."""

    @property
    def generator(self) -> torch.Generator:
        """The only source of randomness."""

    def gram(self) -> Tensor:
        """(m, m) M = GG'; zero rows and columns where a task is absent."""

    def sketch(self, r: int) -> Tensor:
        """(m, r) S with SS' ≈ M, relative error about 1/√r; the same projection at every step. Zero rows where absent."""

    def slope(self, weights: Tensor) -> float:
        """|G'c|², the rate at which Σ c_i L_i falls along -G'c; the backward pass is not done again for these weights."""

    def ahead(self, weights: Tensor, rate: float) -> Tensor:
        """(m,) losses of the same batch at θ - rate G'c, private parameters unchanged; one forward pass."""

    def guidance(self, weights: Tensor, rate: float) -> Tensor:
        """(m,) G h, h = Σ_i ∇L_i of the guidance batch at θ - rate G'c; one pass there, one forward derivative here."""


class Conflicts(Protocol):
    """How the tasks' gradients are combined: g = G'c. Pure functions of a state that the caller keeps.

    A task that is absent from a batch has weight 0, influences no other task's weight, and keeps its part of the state.
    """

    def init(self, m: int) -> State:
        """The state before the first step of m tasks."""

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        """c (m,) of the task losses for the shared parameters, and the next state."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A Gram matrix that is taken every so many steps only, and what is known of it.

    An exact matrix costs about five plain steps (network 400-256-256-128, 11 tasks, all labels there), so the methods take
    it every few steps by default and weigh by the last one in between; ``every=1`` is the method as published. What that
    changes was measured on four quadratics of 30 variables and sizes 0.3 to 10, whose minima and Pareto front are known,
    after 400 steps with and without noise in the gradients: from every=1 to 4, or to 10, the mean log loss changed by -0.04
    to +0.03 (PCGrad, CAGrad, Nash-MTL, FairGrad, MGDA, AIM), and the distance from the front, the length of the shortest
    combination of the true gradients, by 11 % or less where noise dominates. GCond, whose resolution holds
    for one set of gradients only, diverged with a matrix that was 10 steps old, and is therefore not given that choice.

    gram : (m, m), pairs that were never seen together count as orthogonal
    fresh : whether it was taken at this step
    """

    gram: Tensor
    fresh: bool

    @staticmethod
    def init(m: int) -> State:
        return {"gram": torch.zeros(m, m, dtype=torch.float64), "known": torch.zeros(m, m, dtype=torch.bool)}

    @staticmethod
    def of(state: State, seen: SeenTasks, every: int, memory: float = 0.0) -> tuple[Prepared, State]:
        """The matrix for this step, and the state that keeps it.

        Taken anew at every `every`-th step, and where a task is present that was never measured. Entries of pairs that
        are absent stay; the others become memory · old + (1 - memory) · new, the first time just the new.
        """
        both = seen.present[:, None] & seen.present[None, :]
        unknown = bool((seen.present & ~state["known"].diagonal()).any())
        if seen.step % every and not unknown:
            return Prepared(torch.where(both, state["gram"], 0.0), False), state
        fresh = seen.gram()
        if memory:
            fresh = torch.where(state["known"], memory * state["gram"] + (1 - memory) * fresh, fresh)
        kept = torch.where(both, fresh, state["gram"])
        return Prepared(torch.where(both, kept, 0.0), True), {"gram": kept, "known": state["known"] | both}


def by_gram(
    state: State, seen: SeenTasks, every: int, rule: Callable[[Tensor], Tensor], *, moving: bool = False
) -> tuple[Tensor, State]:
    """The step of a method that needs nothing but the Gram matrix: c (m,), and the next state.

    rule : (p, p) matrix of the tasks that are present -> their weights (p,)
    moving : leave out tasks whose gradient is 0, too
    """
    prepared, state = Prepared.of(state, seen, every)
    some = seen.present & (prepared.gram.diagonal() > 0) if moving else seen.present
    M, index = select(prepared.gram, some)
    return spread(rule(M), index, len(seen.present)), state


def gradient_cosines(M: Tensor) -> Tensor:
    """M_ij / sqrt(M_ii M_jj) (m, m), 0 where a gradient is 0.

    >>> gradient_cosines(torch.tensor([[4.0, 1.0], [1.0, 0.0]]))
    tensor([[1., 0.],
            [0., 0.]])
    """
    inverse = quotient(torch.ones_like(M.diagonal()), M.diagonal().clamp_min(0.0).sqrt())
    return M * inverse[:, None] * inverse[None, :]


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """a / b, 0 where b is 0 or too small to divide by (a gradient that vanishes conflicts with nothing).

    >>> quotient(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    safe = b.abs() > torch.finfo(b.dtype).tiny
    return torch.where(safe, a / torch.where(safe, b, 1.0), 0.0)


def select(M: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the tasks that are present (p, p), and their indices (p,)."""
    index = present.nonzero()[:, 0]
    return M[index][:, index], index


def spread(values: Tensor, index: Tensor, m: int) -> Tensor:
    """(m,) with `values` (p,) at `index` and 0 elsewhere."""
    return torch.zeros(m, dtype=values.dtype).index_copy_(0, index, values)
