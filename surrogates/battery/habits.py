"""What was usual at this hour: running means of innovations, which forecasts replay.

What a model leaves open recurs with people and their machines, and these keep two calendars: the day before at the same
hour, and the last days of the same kind (weekdays, or weekends). For memory j of the innovations e,

    m_j ← m_j + w (e - m_j),     w = max(FRESH_j, 1 / n),  n innovations so far at this hour (and on this kind of day)

    replayed(k) = Σ_j ρ_j m_j,   m_j as it stood before k

A memory changes only at its own hour of the day, so what is replayed up to 24 h after a start has seen nothing after it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drivers import weekend_column
from .layout import MEMORIES, Layout

Floats = NDArray[np.float64]
#: least weight of the last innovation in the running means: one tells what is new, the other what lasts
FRESH = (0.5, 0.15)
KINDS = 2


class Habits:
    """Memories of U rooms while a run goes through a record; changes as it goes.

    Parameters
    ----------
    shares : (U, J) ρ
    drivers : (U, T, m), of which the calendar tells the kind of day
    is_measured : (U, T)
    q : 1, or 1 + P with sensitivities
    lag : steps in 24 h
    """

    def __init__(
        self,
        shares: Floats,
        layout: Layout,
        drivers: Floats,
        is_measured: NDArray[np.bool_],
        q: int,
        lag: int,
    ) -> None:
        U, T = is_measured.shape
        slot = np.arange(T) % lag
        # the day before is one memory of all kinds of days, which share its first kind
        kind = np.where(drivers[0, :, weekend_column(layout)] > 0.5, 1, 0)
        self._at = [[(0, 0, s), (1, d, s)] for s, d in zip(slot.tolist(), kind.tolist(), strict=True)]
        self._mean = np.zeros((len(MEMORIES), KINDS, lag, U, q))
        self._count = np.zeros((len(MEMORIES), KINDS, lag, U))
        self._shares = [shares[:, j, None] for j in range(len(MEMORIES))]
        self._places = [1 + layout.shares.start + j for j in range(len(MEMORIES))] if q > 1 else []
        self._is_measured = is_measured.T.astype(np.float64)

    def replayed(self, k: int) -> Floats:
        """Σ ρ_j m_j for row k, and its derivatives.  -> (U, q)"""
        one, other = self._at[k]
        answer: Floats = self._shares[0] * self._mean[one] + self._shares[1] * self._mean[other]
        for place, at in zip(self._places, self._at[k], strict=False):
            answer[:, place] += self._mean[at][:, 0]
        return answer

    def learn(self, k: int, innovation: Floats) -> None:
        """Take in the innovation (U, q) of row k; those that weren't measured leave the memories as they are."""
        is_measured = self._is_measured[k]
        for at, fresh in zip(self._at[k], FRESH, strict=True):
            count = self._count[at]
            count += is_measured
            weight = np.maximum(fresh, 1 / np.maximum(count, 1)) * is_measured
            self._mean[at] += weight[:, None] * (innovation - self._mean[at])
