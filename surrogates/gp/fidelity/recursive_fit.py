"""What a recursive fit leaves: posteriors of all levels, evidence, leave-one-out, coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from surrogates.posterior import Moments, mix

from ..core import Core
from ..fitting import DRAWS
from ..process import Conditioned, Process
from .chain import Chain, Coefficients
from .imputation import Pins, pinned
from .nested import Nested

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Member:
    """Fits of all levels, given one set of the parents' values at their children's rows.

    cores : (L,) each level's fit given its parent
    widths : (L,) what parents' values are divided by as an input
    evidences : (L,) log p(y_l | f_p), hyper-parameters integrated
    pins : (L,) values of each level that were drawn and count as known; None where there are none
    """

    cores: tuple[Core, ...]
    widths: tuple[float, ...]
    evidences: tuple[float, ...]
    pins: tuple[Pins | None, ...]

    def chains(self, parents: tuple[int | None, ...], count: int, linear: bool) -> tuple[Chain, ...]:
        """`count` joint draws of the levels' hyper-parameters; given the parents' values, levels are independent."""
        of_level = []
        for l, (core, pins) in enumerate(zip(self.cores, self.pins, strict=True)):
            draws = _in_proportion(core.weights, count)
            if l:  # orders of their own, or draws of different levels would go together
                draws = np.random.default_rng(l).permutation(draws)
            made: dict[int, Conditioned] = {}
            for k in draws.tolist():
                if k not in made:
                    made[k] = pinned(core, k, pins)
            of_level.append([made[k] for k in draws.tolist()])
        return tuple(Chain(parents, levels, self.widths, linear) for levels in zip(*of_level, strict=True))


@dataclass(frozen=True, eq=False)
class RecursiveFit:
    """Posterior of all levels.

    kind : "autoregressive" or "nonlinear"
    members : one; or several, where parents' values had to be drawn
    """

    levels: Nested
    kind: str
    members: tuple[Member, ...]

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """Posteriors of all levels at joint draws of what isn't known; their tasks are the codes task · L + level."""
        return self.chains

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The same, with what a chain knows of its levels."""
        linear, parents = self.kind == "autoregressive", self.levels.parents
        if self.levels.L == 1:
            core = self.members[0].cores[0]
            return tuple(Chain(parents, (pinned(core, k, None),), (1.0,), linear) for k in range(len(core.weights)))
        return tuple(
            chain
            for member, count in zip(self.members, self._counts, strict=True)
            for chain in member.chains(parents, count, linear)
        )

    @cached_property
    def weights(self) -> Floats:
        """(k,) of the processes."""
        if self.levels.L == 1:
            return self.members[0].cores[0].weights
        parts = [np.full(k, w / k) for w, k in zip(self.member_weights, self._counts, strict=True)]
        return np.concatenate(parts)

    @property
    def member_weights(self) -> Floats:
        """(M,) how probable each member's values of the parents make the children's readings."""
        return np.asarray(softmax([sum(member.evidences) for member in self.members]))

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        """(M,) joint draws of each member."""
        most = [max(len(core.weights) for core in member.cores) for member in self.members]
        return tuple(1 if k == 1 else max(4, DRAWS // len(self.members)) for k in most)

    @property
    def log_evidence(self) -> float:
        """log p(y) in scaled units; with several members, their average's."""
        totals = [sum(member.evidences) for member in self.members]
        return float(logsumexp(totals) - np.log(len(totals)))

    @property
    def jitters(self) -> tuple[float, ...]:
        """(L,) scaled variance that stood for zero in each level's exact readings."""
        return tuple(max(m.cores[l].scaled.readings.exact for m in self.members) for l in range(self.levels.L))

    def leave_one_out(self) -> Moments:
        """Mean and variance (N,) of every reading given the others of its level, and all of its parent's."""
        parts = []
        for member in self.members:
            mean, variance = np.empty(len(self.levels.y)), np.empty(len(self.levels.y))
            for l, core in enumerate(member.cores):
                rows = self.levels.rows(l)
                mean[rows], variance[rows] = core.leave_one_out()
            parts.append(Moments(mean, variance))
        return mix(parts, self.member_weights)

    def coefficients(self) -> tuple[Coefficients | None, ...]:
        """(L,) posterior mean and covariance of the tasks' ρ, in units of the levels' scaled values; None for roots.

        Of a nonlinear level: of the linear term beside its process.
        """
        return tuple(self._coefficients(l) if p is not None else None for l, p in enumerate(self.levels.parents))

    def _coefficients(self, level: int) -> Coefficients:
        parts = [part for chain in self.chains if (part := chain.coefficients[level]) is not None]
        means = np.stack([part.mean for part in parts])
        centre = self.weights @ means
        between = (self.weights[:, None] * (means - centre)).T @ (means - centre)
        within = np.einsum("k,kst->st", self.weights, np.stack([part.covariance for part in parts]))
        return Coefficients(centre, between + within)

    def hyperparameters(self, level: int) -> dict[str, tuple[float, float]]:
        """Posterior mean and standard deviation of a level's hyper-parameters by name, as they are in the layout."""
        names = self.members[0].cores[level].layout.names
        weights = np.concatenate(
            [w * m.cores[level].weights for w, m in zip(self.member_weights, self.members, strict=True)]
        )
        values = np.concatenate([m.cores[level].draws.parameters for m in self.members])
        centre = weights @ values
        spread = np.sqrt(weights @ (values - centre) ** 2)
        return {name: (float(c), float(s)) for name, c, s in zip(names, centre, spread, strict=True)}


def _in_proportion(weights: Floats, count: int) -> Integers:
    """`count` positions, each about count · weight times."""
    ticks = (np.arange(count) + 0.5) / count
    return np.minimum(np.searchsorted(np.cumsum(weights), ticks), len(weights) - 1).astype(np.int64)
