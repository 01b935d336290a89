"""Linear difference equations fitted to each unit alone, by ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from surrogates.battery.prior import Prior
from surrogates.battery.records import Floats, Records

from .cold_starts import ColdStart, cold_starts
from .fitting import fit_one_step
from .linear import Prepared, stabilised
from .memory import LinearForecaster, Tuned, rehearsed, tuned_at
from .terms import Terms


@dataclass(frozen=True)
class ARX:
    """ARX(n) by ridge regression towards "the temperature stays", with n lags of power and weather.

    order : n
    inputs : "plain" or "rich", see `terms`
    has_memory : whether recent residuals push the forecast (see `memory`)
    ridges : that are tried; squared error of a step against a typical coefficient's effect, per day of readings

    The ridge, and the shares of the pushes, are tuned on cold starts of population units for each size of training.
    """

    order: int = 8
    inputs: Literal["plain", "rich"] = "plain"
    has_memory: bool = False
    ridges: tuple[float, ...] = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    @property
    def terms(self) -> Terms:
        """The regressors."""
        n = self.order
        if self.inputs == "rich":
            return Terms(n, "rich", power_lags=n, outdoor_lags=min(n, 4), sun_lags=2)
        return Terms(n, "plain", power_lags=n, outdoor_lags=n, sun_lags=n)

    def fit(self, population: Records) -> FittedARX:
        """Tune the ridge; units share nothing else."""
        data = Prepared.of(population, self.terms)

        def fits(case: ColdStart, ridge: float) -> list[tuple[Prepared, Floats, Records]]:
            return [(data, self.adapted(data.during(case.first, case.last), ridge), population)]

        tuned = [
            min(
                (
                    rehearsed(days, ridge, cases, partial(fits, ridge=ridge), has_memory=self.has_memory)
                    for ridge in self.ridges
                ),
                key=lambda trial: trial.rmse,
            )
            for days, cases in cold_starts(population).items()
        ]
        return FittedARX(self, tuple(tuned))

    def adapted(self, data: Prepared, ridge: float) -> Floats:
        """Coefficients (U, P)."""
        θ = fit_one_step(data, _towards_no_change(data, ridge))
        return stabilised(θ, self.order)


@dataclass(frozen=True, eq=False)
class FittedARX:
    """The tuned ridges."""

    config: ARX
    tuned: tuple[Tuned, ...]

    def adapt(self, records: Records) -> LinearForecaster:
        """Fit each unit on its own rows."""
        data = Prepared.of(records, self.config.terms)
        ridge, pushes = tuned_at(data.days, self.tuned)
        return LinearForecaster(self.config.terms, self.config.adapted(data, ridge), pushes)


def _towards_no_change(data: Prepared, ridge: float) -> Prior:
    """T[k] = T[k-1], held by `ridge`; inputs are of order one by their definition."""
    mean = np.zeros(data.size)
    mean[0] = 1.0
    return Prior(mean, ridge / 0.05**2 * np.eye(data.size))
