"""Linear difference equations with a prior that a population gives: the strongest linear rival that we know of.

Empirical Bayes: every population unit is fitted on all its rows, with the population's last estimate as a prior; mean and
covariance of the fits are the next estimate. Newcomers are fitted to that prior, tempered by a weight that depends on how
many days they give; the weight and the use of yesterday's residuals are tuned by rehearsing cold starts on population
units, each under a prior of which it was no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from surrogates.battery.prior import Prior
from surrogates.battery.records import Floats, Records

from .cold_starts import ColdStart, cold_starts, folds
from .fitting import fit_one_step, fit_open_loop, gram
from .linear import Prepared, stabilised
from .memory import LinearForecaster, Tuned, rehearsed, tuned_at
from .terms import Terms


@dataclass(frozen=True)
class HierarchicalARX:
    """ARX with rich inputs, a population prior and memory of its residuals.

    terms : regressors
    rho : share of yesterday's residual in the open-loop fits; the forecasts' shares are tuned
    spread : how much of the covariance's correlations is taken away, 0 to 1
    weights : of the prior that are tried for newcomers
    population_weight : of the prior in the fits that it is made of, whose readings are many
    has_memory : whether recent residuals push the forecast; False for an ablation
    windows, iterations : of the open-loop fits; no iterations, and they are one-step fits
    rounds : of empirical Bayes
    groups : that the population is divided into for rehearsals

    The defaults were chosen by rehearsals on one population of 48 simulated rooms of June to August: orders 4, 8, 12 and
    24, rho 0 to 0.5, spread 0.01 to 0.6, 4 to 14 iterations.
    """

    terms: Terms = field(default_factory=lambda: Terms(12, power_lags=12))
    rho: float = 0.3
    spread: float = 0.01
    weights: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    population_weight: float = 0.003
    has_memory: bool = True
    windows: int = 60
    iterations: int = 8
    rounds: int = 2
    groups: int = 3

    def fit(self, population: Records) -> FittedHierarchicalARX:
        """Learn the prior and tune its weight and the memory on the population's own cold starts."""
        data = Prepared.of(population, self.terms)
        θ = self._fits(data)
        return FittedHierarchicalARX(self, prior_of(θ, self.spread), self._tuned(population, data, θ))

    def _fits(self, data: Prepared) -> Floats:
        """Coefficients of population units under ever better priors.  -> (U, P)"""
        prior = first_prior(data)
        θ = fit_one_step(data, prior)
        for _ in range(self.rounds):
            θ = self.adapted(data, prior, θ, most_windows=2 * self.windows)
            prior = prior_of(θ, self.spread).tempered(self.population_weight)
        return θ

    def adapted(
        self, data: Prepared, prior: Prior, θ: Floats | None = None, *, most_windows: int | None = None
    ) -> Floats:
        """Coefficients of units under a prior, from θ or from the one-step fit.  -> (U, P)"""
        θ = fit_one_step(data, prior) if θ is None else θ
        if self.iterations:
            windows = self.windows if most_windows is None else most_windows
            θ = fit_open_loop(data, prior, θ, rho=self.rho, most_windows=windows, iterations=self.iterations)
        return stabilised(θ, self.terms.order)

    def _tuned(self, population: Records, data: Prepared, θ: Floats) -> tuple[Tuned, ...]:
        """The best weight of the prior, and of the pushes, for each size of training."""
        groups = [
            (data.of_units(pupils), prior_of(θ[teachers], self.spread), population.of(pupils))
            for teachers, pupils in folds(data.units, self.groups)
        ]

        def fits(case: ColdStart, weight: float) -> list[tuple[Prepared, Floats, Records]]:
            rows = case.first, case.last
            return [
                (own, self.adapted(own.during(*rows), prior.tempered(weight)), records)
                for own, prior, records in groups
            ]

        return tuple(
            min(
                (
                    rehearsed(days, weight, cases, partial(fits, weight=weight), has_memory=self.has_memory)
                    for weight in self.weights
                ),
                key=lambda tuned: tuned.rmse,
            )
            for days, cases in cold_starts(population).items()
        )


@dataclass(frozen=True, eq=False)
class FittedHierarchicalARX:
    """The prior, and what was tuned for each size of training."""

    config: HierarchicalARX
    prior: Prior
    tuned: tuple[Tuned, ...]

    def adapt(self, records: Records) -> LinearForecaster:
        """Fit each unit under the prior, weighed for the number of days given."""
        config = self.config
        data = Prepared.of(records, config.terms)
        weight, pushes = tuned_at(data.days, self.tuned)
        return LinearForecaster(config.terms, config.adapted(data, self.prior.tempered(weight)), pushes)


def first_prior(data: Prepared) -> Prior:
    """The pooled one-step fit, loosely held: each coefficient may explain ten typical errors of a step."""
    sums = [gram(data, unit) for unit in range(data.units)]
    G, g = sum(s[0] for s in sums), sum(s[1] for s in sums)
    rows = max(sum(s[2] for s in sums), 1)
    scale = np.maximum(np.diagonal(G) / rows, 1e-6)  # (P,)
    mean = np.asarray(np.linalg.solve(G / rows + 1e-6 * np.diag(scale), g / rows), dtype=np.float64)
    return Prior(mean, np.diag(scale) / (10 * 0.05) ** 2)


def prior_of(θ: Floats, spread: float) -> Prior:
    """Mean and covariance of coefficients (U, P), the correlations shrunk by `spread`, for fewer units than coefficients."""
    mean: Floats = θ.mean(axis=0, dtype=np.float64)
    S = np.cov(θ, rowvar=False) if len(θ) > 1 else np.zeros((θ.shape[1],) * 2)
    variances = np.maximum(np.diagonal(S), 1e-8 + (0.01 * mean) ** 2)
    scale = np.sqrt(variances)
    correlation = (1 - spread) * S / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    precision = np.asarray(np.linalg.inv(correlation) / np.outer(scale, scale), dtype=np.float64)
    return Prior(mean, precision)
