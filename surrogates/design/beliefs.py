"""How candidates hang together with the places that count, given all readings and those that are asked for already.

For each draw of the hyper-parameters, with P the places asked for, S = C(P, P) + diag(s²) = L L' and U = L⁻¹ C(P, ·):

    C_P(r, c) = C(r, c) - U_r'U_c          v_P(c) = C(c, c) - U_c'U_c

whatever will be read there (Rasmussen & Williams 2006, eq. 2.24): one more place is one more row of U.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.by_draw import ByDraw, Places
from surrogates.gp.process import distinct_places
from surrogates.linalg import solve_lower

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: numbers that the covariances of reference and candidates may have, of all draws together (1.6 GB)
MOST_NUMBERS = 200_000_000
#: share of f's largest variance below which a reading's own variance is rounding
ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Asked:
    """Candidates given what is asked for.  R reference places, m candidates at u distinct places, k draws, p asked for.

    Fidelities that differ in their noise alone share a place.
    """

    places: Places  # (m,)
    place: Integers  # (m,) which of the u
    distinct: Places  # (u,)
    cross: tuple[Floats, ...]  # k of (R, u)
    variance: Floats  # (k, u) of f
    past: tuple[Floats, ...]  # k of U (p, u)

    def scaled(self, draw: int, floor: float) -> tuple[Floats, Floats]:
        """1/√(v + s²) of each candidate (m,), zero where its reading would teach nothing; and v + s²."""
        total = self.variance[draw][self.place] + self.places.noise[draw]
        return np.divide(1.0, np.sqrt(total), out=np.zeros_like(total), where=total > floor), total


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is known at the reference places, draw by draw.  R reference places, p asked for."""

    model: ByDraw
    reference: Places
    mean: Floats  # (k, R)
    prior: Floats  # (k, R) variance given the readings
    variance: Floats  # (k, R) given what is asked for too
    asked_for: Places  # (p,)
    factors: tuple[Floats, ...]  # k of L (p, p)
    across: tuple[Floats, ...]  # k of U (p, R)

    @property
    def floor(self) -> float:
        """What v + s² must exceed to count."""
        return ROUNDING * float(self.prior.max(initial=0.0))

    def ask(self, table: xr.Dataset) -> Asked:
        """Covariances of the candidates.

        Raises
        ------
        DataError
            If they wouldn't fit into memory.
        """
        places = self.model.places(table)
        first, place = distinct_places(places.x, places.code)
        distinct, k, R = places.take(first), len(self.model.weights), len(self.reference.x)
        if k * R * len(first) > MOST_NUMBERS:
            raise DataError(
                f"{R} reference places, {len(first)} candidates and {k} draws of the hyper-parameters need more memory than "
                f"is taken; give fewer reference places, or fewer candidates"
            )
        both, cross, variance, past = self.reference.followed_by(self.asked_for), [], np.empty((k, len(first))), []
        for draw in range(k):
            C = self.model.cross_covariance(draw, both, distinct)
            U = solve_lower(self.factors[draw], C[R:])
            cross.append(C[:R] - self.across[draw].T @ U)
            variance[draw] = self.model.moments(draw, distinct).variance - (U**2).sum(axis=0)
            past.append(U)
        return Asked(places, place, distinct, tuple(cross), np.maximum(variance, 0.0), tuple(past))

    def given(self, one: Asked) -> Beliefs:
        """The same after a reading at the only candidate of `one`."""
        factors, across, variance = [], [], self.variance.copy()
        for draw, (L, U) in enumerate(zip(self.factors, self.across, strict=True)):
            scale, total = one.scaled(draw, self.floor)
            # a reading that teaches nothing stays in the list as a row of its own
            pivot = np.sqrt(total) if scale[0] else np.ones(1)
            row = one.cross[draw][:, 0] * scale[0]
            below = np.concatenate([one.past[draw][:, 0], pivot])
            p = len(L)
            grown = np.zeros((p + 1, p + 1))
            grown[:p, :p], grown[p] = L, below
            factors.append(grown)
            across.append(np.concatenate([U, row[None]]))
            variance[draw] = np.maximum(variance[draw] - row**2, 0.0)
        asked_for = self.asked_for.followed_by(one.places)
        return replace(self, variance=variance, asked_for=asked_for, factors=tuple(factors), across=tuple(across))

    def refreshed(self, old: Asked, one: Asked) -> Asked:
        """Candidates that were asked before the reading at the only candidate of `one`: covariances change by rank one."""
        cross, past, variance = [], [], old.variance.copy()
        for draw in range(len(self.model.weights)):
            scale, _ = one.scaled(draw, self.floor)
            w = self.model.cross_covariance(draw, one.distinct, old.distinct)[0]
            w = (w - one.past[draw][:, 0] @ old.past[draw]) * scale[0]
            cross.append(old.cross[draw] - np.outer(one.cross[draw][:, 0] * scale[0], w))
            variance[draw] = np.maximum(variance[draw] - w**2, 0.0)
            past.append(np.concatenate([old.past[draw], w[None]]))
        return replace(old, cross=tuple(cross), variance=variance, past=tuple(past))


def beliefs_at(model: ByDraw, reference: Places) -> Beliefs:
    """What is known at reference places, with nothing asked for."""
    moments = [model.moments(draw, reference) for draw in range(len(model.weights))]
    mean, variance = np.stack([m.mean for m in moments]), np.stack([m.variance for m in moments])
    nothing = reference.take(np.zeros(0, dtype=np.int64))
    k, R = mean.shape
    empty = tuple(np.zeros((0, 0)) for _ in range(k))
    return Beliefs(
        model, reference, mean, variance, variance, nothing, empty, tuple(np.zeros((0, R)) for _ in range(k))
    )
