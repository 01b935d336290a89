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

    change : (m,) relative change of the mean absolute error by sharing, in shares: -0.1 is 10 % less; NaN without a pair
    deviation : (m,) its standard error, from the pairs; NaN without a pair
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
    A property without a held-out label goes with μ; where nothing was compared, nothing is shared.

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
    paired = np.isfinite(shared) & np.isfinite(single)
    counts = paired.sum(0)
    known = counts > 0
    change, deviation, expected = (np.full(len(counts), np.nan) for _ in range(3))
    if known.any():
        change[known], deviation[known] = _changes(
            np.where(paired, shared, 0.0)[:, known], np.where(paired, single, 0.0)[:, known], paired[:, known]
        )
        expected[known], mean = _shrunk(change[known], deviation[known])
        expected[~known] = mean
    return Comparison(change, deviation, expected, stacked)


def _changes(shared: Floats, single: Floats, paired: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """d_i and s_i of properties with a pair each."""
    counts = paired.sum(0)
    level = single.sum(0) / counts
    pairs = (shared - single) / np.where(level > 0, level, 1.0)
    change = pairs.sum(0) / counts
    spread = np.sqrt(np.where(paired, (pairs - change) ** 2, 0.0).sum(0) / np.maximum(counts - 1, 1))
    # one or two labels say nothing of their own spread: it is that of the others, or that of the errors themselves
    enough = counts > 2
    floor = np.median(spread[enough]) if enough.any() else 1.0
    spread = np.where(enough, spread, np.maximum(spread, floor))
    return change, np.maximum(spread, 1e-9) / np.sqrt(counts)


def _shrunk(change: Floats, deviation: Floats) -> tuple[Floats, float]:
    """Posterior means of δ_i, and μ."""
    weights = deviation**-2.0
    mean = float((weights * change).sum() / weights.sum())
    excess = float((weights * (change - mean) ** 2).sum()) - (len(change) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    τ2 = max(excess / scale, 0.0) if scale > 0 else 0.0
    if τ2 > 0:
        again = 1 / (deviation**2 + τ2)
        mean = float((again * change).sum() / again.sum())
    trust = τ2 / (τ2 + deviation**2)
    return mean + trust * (change - mean), mean


def _stacked(shared: Floats, single: Floats) -> Floats:
    d = single - shared
    counts, squares = np.isfinite(d).sum(0), np.nansum(d * d, axis=0)
    λ = PRIOR_LABELS / np.maximum(counts, 1)
    safe = np.where(squares > 0, squares, 1.0)
    best = (np.nansum(d * single, axis=0) + 0.5 * λ * squares) / ((1 + λ) * safe)
    # the same answers from both, or nothing to compare by
    return np.where(squares > 0, np.clip(best, 0.0, 1.0), np.where(counts > 0, 1.0, 0.0))
