"""Whether a property gains by sharing: held-out errors with and without it, and what they say together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: ν, what the prior of a stacking weight counts for
PRIOR_LABELS = 25.0


class Comparison(NamedTuple):
    """Sharing against single models, by errors of held-out labels of m properties.

    change : (m,) relative change of the mean absolute error by sharing, in shares: -0.1 is 10 % less
    deviation : (m,) its standard error, from the pairs
    expected : (m,) change drawn to that of all properties together, see `compare`
    weights : (m,) of the shared model beside the property's own, 0 to 1, see `compare`
    """

    change: Floats
    deviation: Floats
    expected: Floats
    weights: Floats

    @property
    def shares(self) -> NDArray[np.bool_]:
        """(m,) whether sharing alone is the better bet than the property's own model: expected < 0."""
        return self.expected < 0


def compare(shared: Floats, single: Floats) -> Comparison:
    """Compare residuals y - ŷ (n, m) of held-out labels, NaN where there is no label.

    For property i with n_i labels, d_i = mean(|e_shared| - |e_single|)/mean|e_single| with standard error s_i from the
    paired differences. As the m properties are alike, d_i ~ N(δ_i, s_i²) and δ_i ~ N(μ, τ²), with μ and τ by moments
    (DerSimonian & Laird 1986): the posterior mean of δ_i is what is expected. So few labels don't decide by their luck.

    Predictions w ŷ_shared + (1-w) ŷ_single have the least squared error of held-out labels at w = Σ d e_single / Σ d²,
    d = e_single - e_shared (stacking, Wolpert 1992). With a prior of ν = 25 labels for w = ½,

        w = (Σ d e_single + ½ λ Σ d²) / ((1 + λ) Σ d²),  λ = ν/n_i,  clipped to [0, 1]

    so that a property that sharing hurts beyond doubt is answered by its own model, and one that it helps by the shared one.

    >>> alike = np.ones((50, 1))
    >>> bool(compare(0.5 * alike, alike).shares[0]), bool(compare(2 * alike, alike).shares[0])
    (True, False)
    """
    stacked = _stacked(shared, single)
    shared, single = np.abs(shared), np.abs(single)
    level = np.nanmean(single, axis=0)
    level = np.where(level > 0, level, 1.0)
    pairs = (shared - single) / level
    counts = np.isfinite(pairs).sum(0)
    change = np.nanmean(pairs, axis=0)
    spread = np.nanstd(pairs, axis=0) * np.sqrt(counts / np.maximum(counts - 1, 1))
    # one or two labels say nothing of their own spread
    floor = np.nanmedian(spread) if len(spread) else 0.0
    deviation = np.maximum(np.where(counts > 2, spread, np.maximum(spread, floor)), 1e-9) / np.sqrt(counts)
    weights = deviation**-2.0
    mean = float((weights * change).sum() / weights.sum())
    excess = float((weights * (change - mean) ** 2).sum()) - (len(change) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    τ2 = max(excess / scale, 0.0) if scale > 0 else 0.0
    if τ2 > 0:
        again = 1 / (deviation**2 + τ2)
        mean = float((again * change).sum() / again.sum())
    trust = τ2 / (τ2 + deviation**2)
    expected = mean + trust * (change - mean) if len(change) > 1 else change
    return Comparison(change, deviation, expected, stacked)


def _stacked(shared: Floats, single: Floats) -> Floats:
    d = single - shared
    counts, squares = np.isfinite(d).sum(0), np.nansum(d * d, axis=0)
    λ = PRIOR_LABELS / np.maximum(counts, 1)
    safe = np.where(squares > 0, squares, 1.0)
    best = (np.nansum(d * single, axis=0) + 0.5 * λ * squares) / ((1 + λ) * safe)
    return np.where(squares > 0, np.clip(best, 0.0, 1.0), 1.0)
