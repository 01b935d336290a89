"""GCond: conflicts of pairs are resolved one after the other, the worst first, by an arbitrator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError

from ._base import SeenTasks, State, fraction, positive, select, spread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GCond:
    """Gradient conductor, in the Gram matrix: C = I, then at most 2m times, for the pair of least cosine γ < weak

        γ_ij = Q_ij / sqrt(Q_ii Q_jj),  Q = C M C'
        C_w <- C_w - s_w (Q_wl / Q_ll) C_l,   C_l <- C_l - s_l (Q_wl / Q_ww) C_w   (both old)          c = column sums of C

        γ in [main, weak]      a = (π/2) (1 - (γ - main) / (weak - main))
        γ in (critical, main)  a = π/2 + (π/2) ((γ - main) / (critical - main))^power     s_w = sin a
        γ <= critical          a = π                                                      s_l = sin min(a, π/2)

    A mild conflict is taken off both in part; in a severe one the loser l is projected and the winner w untouched, with no
    jump at the thresholds. The winner has the higher score

        stability · max(0, cos(g_k, g_k of the step before)) + (1 - stability) · (|g_k| / n̄_k) / Σ over the pair of it

    with n̄_k a running mean of |g_k|, and at equal scores (as at the first step) the longer gradient; but if one task has
    won the last `dominance` conflicts, the other wins.

    Limarenko & Studenikina, arXiv:2509.07252 ("smooth mode"). We had the authors' description and a reading of their code
    second-hand; nothing was copied. The Gram form is ours. Where we differ: scores use this step's and the last step's raw
    gradients (their code, unlike its comment, the projected ones), whose cosine is taken from `sketch` numbers for each task
    instead of copies of the gradients (error about 1/√sketch); only conflicts below `main` have a winner that counts for
    `dominance` (above, both are treated alike); momentum and Lion steps are left to the optimiser.

    **Cost**: a Gram matrix and sketches at every step, about twelve plain steps (six without sketches); use it with large
    batches, or in the stochastic mode.

    **Accumulate, then resolve**: the conflicts are to be resolved on gradients of many rows. The Gram matrix of gradients
    accumulated over A batches needs all their rows' cotangents anyway, so give the loop a batch size that is A times as
    large. For the stochastic mode, in which each of K groups of tasks sees rows of its own, see `own_rows`.

    Parameters
    ----------
    critical, main, weak : thresholds of the cosine
    power : of the severe zone
    stability : share of the first part of the score; 0: no sketches are taken
    norm_memory, norm_cap : of n̄_k; gradients longer than norm_cap · n̄_k are shortened to it, None: not
    dominance : see above
    sketch : numbers for each task

    Examples
    --------
    >>> GCond(weak=-0.6)
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: thresholds are -0.8, -0.5, -0.6; they must rise: -1 <= critical < main < weak <= 1
    """

    critical: float = -0.8
    main: float = -0.5
    weak: float = 0.0
    power: float = 2.0
    stability: float = 0.8
    norm_memory: float = 0.95
    norm_cap: float | None = None
    dominance: int = 3
    sketch: int = 256

    def __post_init__(self) -> None:
        if not -1.0 <= self.critical < self.main < self.weak <= 1.0:
            raise DataError(
                f"thresholds are {self.critical}, {self.main}, {self.weak}; they must rise: "
                "-1 <= critical < main < weak <= 1"
            )
        positive(self.power, "power")
        fraction(self.stability, "stability")
        fraction(self.norm_memory, "norm_memory")
        if self.norm_cap is not None:
            positive(self.norm_cap, "norm_cap")
        for name in ("dominance", "sketch"):
            whole(getattr(self, name), name)

    def init(self, m: int) -> State:
        return {
            "norms": torch.full((m,), torch.nan, dtype=torch.float64),
            "previous": torch.zeros(m, self.sketch if self.stability else 0, dtype=torch.float64),
            "winners": torch.full((self.dominance,), -1),
        }

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        present, m = seen.present, len(seen.present)
        M, index = select(seen.gram(), present)
        norms, now = M.diagonal().clamp_min(0.0).sqrt(), dict(state)
        before = state["norms"][index]
        mean = torch.where(before.isnan(), norms, self.norm_memory * before + (1 - self.norm_memory) * norms)
        stable = self._stability(state, seen, index)
        size = norms / mean.clamp_min(1e-300)
        starts = (
            torch.ones_like(size) if self.norm_cap is None else (self.norm_cap / size.clamp_min(1e-300)).clamp_max(1)
        )
        won = [int(w) for w in state["winners"]]
        C, won = self.resolve(M.numpy(), stable.numpy(), size.numpy(), index.tolist(), won, np.diag(starts.numpy()))
        now["norms"] = state["norms"].index_copy(0, index, mean)
        now["winners"] = torch.tensor(won)
        if self.stability:
            now["previous"] = torch.where(present[:, None], seen.sketch(self.sketch), state["previous"])
        return spread(torch.from_numpy(C.sum(0)), index, m), now

    def _stability(self, state: State, seen: SeenTasks, index: Tensor) -> Tensor:
        """max(0, cos(g_k, g_k of the step before)) (p,); 0 where there is none."""
        if not self.stability:
            return torch.zeros(len(index), dtype=torch.float64)
        new, old = seen.sketch(self.sketch)[index], state["previous"][index]
        lengths: Tensor = new.norm(dim=1) * old.norm(dim=1)
        return ((new * old).sum(1) / lengths.clamp_min(1e-300)).clamp_min(0.0)

    def resolve(
        self, M: Array, stable: Array, size: Array, tasks: list[int], won: list[int], C: Array
    ) -> tuple[Array, list[int]]:
        """Coefficients (p, p) of the resolved gradients, from those at the start, and the last winners.

        M (p, p); stable, size (p,) are the two parts of the score; `tasks` are the p tasks' numbers, as in `won`.
        """
        C, p = C.copy(), len(M)
        for _ in range(2 * p):
            Q = C @ M @ C.T
            lengths = np.sqrt(Q.diagonal().clip(0.0))
            alive = lengths > 1e-9 * max(float(lengths.max(initial=0.0)), 1e-300)
            γ = np.where(alive[:, None] & alive[None, :], Q / np.maximum(np.outer(lengths, lengths), 1e-300), np.inf)
            np.fill_diagonal(γ, np.inf)
            if p < 2 or γ.min() >= self.weak - 1e-12:
                break
            i, j = divmod(int(γ.argmin()), p)
            i, j = min(i, j), max(i, j)
            w, l = self._judge((i, j), stable, size, np.sqrt(M.diagonal().clip(0.0)), tasks, won)
            if γ[i, j] < self.main:
                won = [*won[1:], tasks[w]]
            s_w, s_l = self.strengths(float(γ[i, j]))
            old_w, old_l = C[w].copy(), C[l].copy()
            C[w] = old_w - s_w * (Q[w, l] / Q[l, l]) * old_l
            C[l] = old_l - s_l * (Q[w, l] / Q[w, w]) * old_w
        return C, won

    def _judge(
        self, pair: tuple[int, int], stable: Array, size: Array, lengths: Array, tasks: list[int], won: list[int]
    ) -> tuple[int, int]:
        """Winner and loser."""
        i, j = pair
        for k, other in ((i, j), (j, i)):
            if all(w == tasks[k] for w in won):
                return other, k
        both = max(size[i] + size[j], 1e-300)
        score_i, score_j = (
            (self.stability * stable[k] + (1 - self.stability) * size[k] / both, lengths[k]) for k in (i, j)
        )
        return (i, j) if score_i >= score_j else (j, i)

    def strengths(self, γ: float) -> tuple[float, float]:
        """s_w, s_l: which share of its conflict is taken off the winner, and off the loser, at cosine γ."""
        if γ >= self.weak:
            return 0.0, 0.0
        if γ >= self.main:
            a = math.pi / 2 * (1 - (γ - self.main) / (self.weak - self.main))
        elif γ > self.critical:
            a = math.pi / 2 * (1 + ((γ - self.main) / (self.critical - self.main)) ** self.power)
        else:
            a = math.pi
        return math.sin(a) if a < math.pi else 0.0, math.sin(min(a, math.pi / 2))


def own_rows(mask: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Labels (B, m) of which each task keeps those in rows of its own: GCond's stochastic mode.

    The tasks are dealt to `groups` groups at random, and so are the rows; a label stays where its row's and its task's
    group agree. With K groups the cotangents of 1/K of the labels are followed, so that resolving over A batches costs
    about A/K of them. The mean over a task's labels is still unbiased; a task whose labels are all in other rows is absent.

    >>> own_rows(torch.ones(6, 2, dtype=torch.bool), 2, torch.Generator().manual_seed(0)).sum(0)
    tensor([3, 3])
    """
    whole(groups, "groups")
    B, m = mask.shape
    of_row = torch.randperm(B, generator=generator) % groups
    of_task = torch.randperm(m, generator=generator) % groups
    return mask & (of_row[:, None] == of_task[None, :])
