"""What many units can do together: bounds of the Minkowski sum of their sets of offsets.

The set of a unit is the polytope of offsets v (T,) [kW] from its baseline that respect its power and keep its air inside
the band: B_i = {v: least <= v <= most, low <= G v <= high}. The fleet can do the sum of the sets, which has too many faces
to write down.

Outside: the support of a sum is the sum of the supports, so that for each direction d, max over the fleet of d·v is
Σ_i max over B_i, one linear programme each. Exact in the directions computed (here energies of windows), an outer bound
in all others.

Inside: homothets. A prototype B_0 (the fleet's mean unit) is scaled and moved into each unit, β_i B_0 + c_i ⊆ B_i with the
largest β_i, and (Σ β_i) B_0 + Σ c_i lies inside the sum (Zhao, Zhang, Hao, Kalsi, arXiv 1608.04422). With the supports
h_r of B_0 along the faces r of B_i the condition is β h_r + r·c <= limit_r, a linear programme for (β, c).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from surrogates.errors import DataError, NumericalError

from .offsets import Offsets

Floats = NDArray[np.float64]
#: HiGHS stops at 1e-7 by itself, which would let units past their limits by as much
_TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class OffsetSet(NamedTuple):
    """{v (T,): least <= v <= most, low <= G v <= high}, kW and K."""

    G: Floats
    low: Floats
    high: Floats
    least: Floats
    most: Floats

    def support(self, direction: Floats) -> Floats:
        """The v of the set that goes farthest along a direction (T,).

        Raises
        ------
        DataError
            If the set is empty.
        """
        A, b = np.concatenate([self.G, -self.G]), np.concatenate([self.high, -self.low])
        return _solve(-direction, A, b, np.stack([self.least, self.most], axis=-1))

    def faces(self) -> tuple[Floats, Floats]:
        """(F, limit) with the set = {v: F v <= limit}: (4T, T), (4T,)."""
        eye = np.eye(len(self.least))
        F = np.concatenate([eye, -eye, self.G, -self.G])
        return F, np.concatenate([self.most, -self.least, self.high, -self.low])

    def contains(self, v: Floats, tolerance: float = 1e-9) -> bool:
        """Whether v (T,) belongs to the set, within a tolerance in kW and K."""
        F, limit = self.faces()
        return bool((F @ v <= limit + tolerance).all())


def sets_of(offsets: Offsets, initial_soc: Floats) -> list[OffsetSet]:
    """The set of each unit from its state of charge at the start (U,), NaN for the baseline's."""
    free = offsets.free(offsets.start(initial_soc))
    return [
        OffsetSet(
            offsets.response(u),
            -offsets.below[u] - free[u],
            offsets.above[u] - free[u],
            offsets.least[u],
            offsets.most[u],
        )
        for u in range(offsets.units)
    ]


@dataclass(frozen=True, eq=False)
class InnerBound:
    """Offsets of a fleet that can be split among its units, unit i following β_i v + c_i for v in the prototype's set.

    prototype : the set that is scaled
    shares : (U,) β_i >= 0, sizes of the units relative to the prototype
    centres : (U, T) c_i [kW]
    baseline : (T,) of the fleet [kW]
    """

    prototype: OffsetSet
    shares: Floats
    centres: Floats
    baseline: Floats

    def contains(self, power: Floats, tolerance: float = 1e-9) -> bool:
        """Whether power (T,) [kW] of the fleet lies inside."""
        v, size = np.asarray(power) - self.baseline - self.centres.sum(axis=0), float(self.shares.sum())
        F, limit = self.prototype.faces()
        return bool((F @ v <= size * limit + tolerance).all()) if size > 0 else bool((np.abs(v) <= tolerance).all())

    def extreme(self, direction: Floats) -> Floats:
        """The fleet's power (T,) [kW] that goes farthest along a direction (T,) inside the bound."""
        v = self.prototype.support(np.asarray(direction, dtype=np.float64))
        return np.asarray(self.baseline + self.centres.sum(axis=0) + float(self.shares.sum()) * v)

    def split(self, power: Floats) -> Floats:
        """Offsets of the units, (U, T) [kW], that add up to power (T,) [kW] and respect every limit.

        Raises
        ------
        DataError
            If power isn't inside.
        """
        if not self.contains(power):
            raise DataError("the fleet's power isn't inside the inner bound; use dispatch, which tells what is missed")
        v, size = np.asarray(power) - self.baseline - self.centres.sum(axis=0), float(self.shares.sum())
        v = v / size if size > 0 else np.zeros_like(v)
        return np.asarray(self.shares[:, None] * v + self.centres)


def inner_bound(offsets: Offsets, sets: list[OffsetSet], baseline: Floats) -> InnerBound:
    """The homothets of the fleet's mean unit, see the top of this file."""
    over_units = ("Φ", "Γ", "f", "below", "above", "least", "most", "soc", "width")
    means = {name: getattr(offsets, name).mean(axis=0, keepdims=True) for name in over_units}
    mean = replace(offsets, **means)
    low, high = (np.mean([getattr(s, name) for s in sets], axis=0) for name in ("low", "high"))
    prototype = OffsetSet(mean.response(0), low, high, mean.least[0], mean.most[0])
    eye = np.eye(offsets.steps)
    box = [float(d @ prototype.support(d)) for d in (*eye, *-eye)]  # faces that all units share
    found = [_homothet(prototype, unit, box) for unit in sets]
    return InnerBound(prototype, np.array([β for β, _ in found]), np.stack([c for _, c in found]), baseline)


def _homothet(prototype: OffsetSet, unit: OffsetSet, box: list[float]) -> tuple[float, Floats]:
    """The largest β, and c, with β B_0 + c inside the unit's set."""
    F, limit = unit.faces()
    T = F.shape[1]
    h = np.array([*box, *(float(d @ prototype.support(d)) for d in F[2 * T :])])
    A = np.concatenate([h[:, None], F], axis=1)  # over (β, c)
    objective = np.zeros(T + 1)
    objective[0] = -1
    bounds = np.full((T + 1, 2), (-np.inf, np.inf))
    bounds[0, 0] = 0
    # a prototype that is a point along every direction fits any number of times; one set's worth is all that can be told
    bounds[0, 1] = 1e6
    x = _solve(objective, A, limit, bounds)
    return float(x[0]), x[1:]


def _solve(objective: Floats, A: Floats, b: Floats, bounds: Floats) -> Floats:
    result = linprog(objective, A_ub=A, b_ub=b, bounds=bounds, method="highs", options=_TIGHT)
    if result.status == 2:
        raise DataError(
            "no power of the unit keeps its air inside the band from this start; widen the band, start nearer to its "
            "middle, or look at the baseline's own indoor_temperature"
        )
    if result.status != 0:
        raise NumericalError(f"the linear programme ended without a solution: {result.message}")
    return np.asarray(result.x, dtype=np.float64)
