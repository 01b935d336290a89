"""What a recursive fit leaves: posteriors of all levels, evidence, leave-one-out, estimates in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from surrogates.posterior import Moments, mix
from surrogates.report import Estimate
from surrogates.schema import Vocabulary

from ..diagnostics import readable
from ..fitting import DRAWS
from ..process import Conditioned, Process
from .chain import Chain, Coefficients
from .imputation import Pins, pinned
from .level import Level, Recipe
from .levels import Levels
from .nested import rows_of, single_parents
from .parts import Structure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Member:
    """Fits of all levels, given one set of the parents' values at their children's rows.

    pins : (L,) values of each level that were drawn and count as known; None where there are none
    """

    levels: tuple[Level, ...]
    pins: tuple[Pins | None, ...]

    @property
    def log_evidence(self) -> float:
        """Σ_l log p(y_l | f_p)."""
        return float(sum(level.log_evidence for level in self.levels))

    def chains(self, parents: tuple[int | None, ...], count: int, *, linear: bool) -> tuple[Chain, ...]:
        """Joint draws of the levels' hyper-parameters, which are independent given the parents' values.

        `count` of them; if no level has draws, one.
        """
        if all(len(level.core.weights) == 1 for level in self.levels):
            count = 1
        of_level = []
        for l, (level, pins) in enumerate(zip(self.levels, self.pins, strict=True)):
            draws = _in_proportion(level.core.weights, count)
            if l:  # orders of their own, or draws of different levels would go together
                draws = np.random.default_rng(l).permutation(draws)
            made: dict[int, Conditioned] = {}
            for k in draws.tolist():
                if k not in made:
                    made[k] = pinned(level.core, k, pins)
            of_level.append([made[k] for k in draws.tolist()])
        widths = tuple(level.width for level in self.levels)
        return tuple(Chain(parents, processes, widths, linear) for processes in zip(*of_level, strict=True))


@dataclass(frozen=True, eq=False)
class RecursiveFit:
    """Posterior of all levels.

    members : one; or several, where parents' values had to be drawn
    """

    data: Levels
    recipe: Recipe
    members: tuple[Member, ...]

    @property
    def structure(self) -> Structure:
        return self.recipe.structure

    @property
    def is_success(self) -> bool:
        """Whether all descents settled."""
        return all(level.is_success for member in self.members for level in member.levels)

    @property
    def evaluations(self) -> int:
        """Of all levels' objectives."""
        fits = {id(level): level.evaluations for member in self.members for level in member.levels}
        return sum(fits.values())

    @property
    def processes(self) -> tuple[Process, ...]:
        """Posteriors of all levels at joint draws of what isn't known; their tasks are the codes task · L + level."""
        return self.chains

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The same, with what a chain knows of its levels."""
        linear, parents = self.recipe.is_linear, single_parents(self.data.graph)
        if len(parents) == 1:
            core = self.members[0].levels[0].core
            return tuple(Chain(parents, (pinned(core, k, None),), (1.0,), linear) for k in range(len(core.weights)))
        count = max(4, DRAWS // len(self.members))
        return tuple(chain for member in self.members for chain in member.chains(parents, count, linear=linear))

    @cached_property
    def weights(self) -> Floats:
        """(k,) of the processes."""
        if len(self.data.targets) == 1:
            return self.members[0].levels[0].core.weights
        each = len(self.chains) // len(self.members)
        return np.asarray(np.repeat(self.member_weights / each, each))

    @property
    def member_weights(self) -> Floats:
        """(M,) how probable each member's values of the parents make the children's readings."""
        return np.asarray(softmax([member.log_evidence for member in self.members]))

    @property
    def log_evidence(self) -> float:
        """log p(y) in scaled units; with several members, their average's."""
        totals = [member.log_evidence for member in self.members]
        return float(logsumexp(totals) - np.log(len(totals)))

    @property
    def per_task(self) -> bool:
        return False  # new tasks have ρ's prior

    @property
    def jitter(self) -> float:
        """Largest scaled variance that stood for zero in exact readings.

        Of several levels, above `level.JITTERS[0]` where a descent didn't settle with less.
        """
        if not self.data.is_exact:
            return 0.0
        return max(level.core.scaled.readings.exact for member in self.members for level in member.levels)

    def leave_one_out(self) -> Moments:
        """Mean and variance (N,) of every reading given the others of its level, and all of its parent's."""
        parts = []
        for member in self.members:
            mean, variance = np.empty(len(self.data.y)), np.empty(len(self.data.y))
            for l, level in enumerate(member.levels):
                rows = rows_of(self.data, l)
                mean[rows], variance[rows] = level.core.leave_one_out()
            parts.append(Moments(mean, variance))
        return mix(parts, self.member_weights)

    def noise_variances(self) -> Floats:
        """(L,) scaled; of known noise, the mean over each level's readings."""
        if self.data.variance is not None:
            return np.array([self.data.variance[rows_of(self.data, l)].mean() for l in range(len(self.data.targets))])
        found = [[float(level.core.noise_variances()[0]) for level in member.levels] for member in self.members]
        return np.asarray(self.member_weights @ np.array(found))

    def noise_by_draw(self) -> Floats:
        """(k, L) their mean for each chain: noise of a level is its own, and learnt apart from the chain."""
        return np.tile(self.noise_variances(), (len(self.weights), 1))

    def coefficients(self) -> tuple[Coefficients | None, ...]:
        """(L,) posterior mean and covariance of the tasks' ρ, in scaled units; None for roots.

        Of a nonlinear level: of the linear term beside its process.
        """
        parents = single_parents(self.data.graph)
        return tuple(self._coefficients(l) if p is not None else None for l, p in enumerate(parents))

    def sections(self, levels: Levels, vocabulary: Vocabulary) -> Mapping[str, Mapping[str, Estimate]]:
        """Estimates in words: ρ, amplitudes and length-scales of every level."""
        labels, ratios, names = levels.graph.labels, levels.ratios, list(vocabulary.units.items())
        ρ: dict[str, Estimate] = {}
        amplitudes: dict[str, Estimate] = {}
        between: dict[str, Estimate] = {}
        widths: dict[str, Estimate] = {}
        for l, p in enumerate(single_parents(self.data.graph)):
            found = self._coefficients(l) if p is not None else None
            if found is not None and p is not None:
                factor, edge = ratios[p] / ratios[l], self.data.graph.name((p, l))
                for t in range(1 if self.recipe.rho.shared else levels.tasks):
                    name = f"ρ[{edge}]" if self.recipe.rho.shared else readable(f"ρ[{edge}, task {t}]", vocabulary)
                    spread = float(np.sqrt(found.covariance[t, t]))
                    ρ[name] = Estimate(factor * float(found.mean[t]), abs(factor) * spread, "")
            values, weights = self._hyperparameters(l)
            for name, column in zip(self.members[0].levels[l].core.layout.names, values.T, strict=True):
                if name == "log s":
                    amplitudes[f"standard deviation[{labels[l]}]"] = Estimate.of_draws(np.exp(0.5 * column), weights)
                elif name == "logit ρ":
                    between[f"between any two, {labels[l]}"] = Estimate.of_draws(1 / (1 + np.exp(-column)), weights)
                elif name.startswith("log l["):
                    k = int(name[len("log l[") : -1])
                    if k < levels.x.shape[1]:
                        width = np.exp(column) * levels.inputs.width[k]
                        widths[f"{names[k][0]}, {labels[l]}"] = Estimate.of_draws(width, weights, names[k][1])
                    elif p is not None:
                        width = np.exp(column) * self.members[0].levels[l].width
                        width = width * levels.targets[p].spread
                        widths[f"{labels[p]}, {labels[l]}"] = Estimate.of_draws(width, weights, names[-1][1])
        return {
            "ρ, in the target's units": ρ,
            "amplitudes, in standard deviations of each fidelity": amplitudes,
            "correlation of tasks": between,
            "length-scales": widths,
        }

    def integrated(self, *, count: int, seed: int) -> RecursiveFit:
        """The same with draws of every level's hyper-parameters; how many points are tried follows from its rows."""
        from .recursive import fit_recursive

        recipe = self.recipe
        return fit_recursive(
            self.data, recipe.structure, integrate=True, seed=seed, progress=recipe.progress, rho=recipe.rho
        )

    def on(self, levels: Levels) -> RecursiveFit:
        """The same hyper-parameters on other readings; values of parents that aren't known are drawn anew."""
        from .recursive_storage import rebuilt

        return rebuilt(self, levels)

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header and arrays; the readings are the model's."""
        from .recursive_storage import packed

        return packed(self)

    def _hyperparameters(self, level: int) -> tuple[Floats, Floats]:
        """All members' draws (k, p) of a level's hyper-parameters, and their weights (k,)."""
        shares = zip(self.member_weights, self.members, strict=True)
        weights = np.concatenate([w * member.levels[level].core.weights for w, member in shares])
        return np.concatenate([m.levels[level].core.draws.parameters for m in self.members]), weights

    def _coefficients(self, level: int) -> Coefficients:
        parts = [part for chain in self.chains if (part := chain.coefficients[level]) is not None]
        means = np.stack([part.mean for part in parts])
        centre = self.weights @ means
        between = (self.weights[:, None] * (means - centre)).T @ (means - centre)
        within = np.einsum("k,kst->st", self.weights, np.stack([part.covariance for part in parts]))
        return Coefficients(centre, between + within)


def _in_proportion(weights: Floats, count: int) -> Integers:
    """`count` positions, each about count · weight times."""
    ticks = (np.arange(count) + 0.5) / count
    return np.minimum(np.searchsorted(np.cumsum(weights), ticks), len(weights) - 1).astype(np.int64)
