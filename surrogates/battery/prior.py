"""What is believed of a unit's numbers before its own data are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prior:
    """N(mean, precision⁻¹) over P numbers, of all units alike or of each.

    mean : (P,) or (U, P); precision : (P, P) or (U, P, P)
    """

    mean: Floats
    precision: Floats

    def tempered(self, weight: float) -> Prior:
        """The same with its precision times `weight`."""
        return Prior(self.mean, weight * self.precision)
