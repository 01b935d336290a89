"""What was learnt of units, and draws from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .adaptation import SLOWEST_MEMORY, memory
from .layout import Layout
from .records import Floats, Records

#: quantile of a unit's load that is taken for the most it can draw
ALMOST_ALL = 0.999


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Numbers of U units with what is known of their errors.

    θ : (U, P) at the mode; precision : (U, P, P) of the Laplace approximation
    spread : (U,) by which standard deviations of the Laplace approximation are multiplied, from rehearsals
    deviation : (U, H) standard deviations of temperature forecasts by horizon, up to the recipe's [K]
    days : (U,) how much was measured; own_error : (U,) of forecasts over the unit's own record [K], NaN if none was judged
    most_load : (U,) largest power per rated power
    residual : (U,) share of yesterday's error that is added to a forecast
    shared : (U,) relative error of power that all units have in common
    is_converged : (U,)
    """

    θ: Floats
    precision: Floats
    spread: Floats
    deviation: Floats
    days: Floats
    own_error: Floats
    most_load: Floats
    residual: Floats
    shared: Floats
    is_converged: NDArray[np.bool_]

    def of(self, chosen: NDArray[np.int64]) -> Self:
        """These units, by position."""
        return replace(self, **{name: value[chosen] for name, value in vars(self).items()})

    def covariance(self) -> Floats:
        """(U, P, P) of the numbers: spread² · precision⁻¹."""
        return np.asarray(self.spread[:, None, None] ** 2 * np.linalg.inv(self.precision))

    def draws(self, layout: Layout, step_hours: float, count: int, seed: int) -> Floats:
        """(U, D, P) draws of the numbers; observer and starts stay at the mode.

        A draw whose observer would not forget is drawn again, at most a few times; then the mode takes its place.
        """
        U, P = self.θ.shape
        L = np.linalg.cholesky(self.covariance())
        fixed = np.zeros(P, dtype=bool)
        fixed[layout.observer] = fixed[layout.start] = fixed[layout.shares] = True
        rng = np.random.default_rng(seed)
        θ = np.repeat(self.θ[:, None], count, axis=1)
        open_ = np.ones((U, count), dtype=bool)
        for _ in range(5):
            tried = self.θ[:, None] + np.einsum("upq,udq->udp", L, rng.standard_normal((U, count, P)))
            tried[:, :, fixed] = self.θ[:, None, fixed]
            fine = memory(tried.reshape(-1, P), layout, step_hours).reshape(U, count) < SLOWEST_MEMORY
            taken = open_ & fine
            θ[taken] = tried[taken]
            open_ &= ~fine
            if not open_.any():
                break
        return θ


def most_load_of(records: Records) -> Floats:
    """(U,) the largest load that units were seen to draw, NaN without readings."""
    load = np.where(records.is_known, records.power / records.rated_power[:, None], np.nan)
    return np.asarray([np.nanquantile(row, ALMOST_ALL) if np.isfinite(row).any() else np.nan for row in load])
