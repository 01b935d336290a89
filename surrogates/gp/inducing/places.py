"""Where the common process is known: places chosen one by one, each where those chosen so far tell least.

This is the pivoted Cholesky factorisation of ψ0, which greedily lowers what the places leave unexplained (Fine & Scheinberg
2001; as a choice of inducing places: Burt, Rasmussen & van der Wilk 2020). The places come in that order, so that the
first k of them are the choice of k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import Kernel

Floats = NDArray[np.float64]
#: at most so many places to choose from, a random share of all
CANDIDATES = 10_000
#: share of the common variance that the places may leave unexplained on average, and how many they may be at most
TOLERANCE, MOST = 3e-5, 400


def choose_places(x: Floats, kernel: Kernel, lengthscales: Floats, *, count: int | None = None, seed: int) -> Floats:
    """Places (M, d) among x (n, d); the same for any order of the rows.

    Parameters
    ----------
    lengthscales : (d,)
    count : how many; None: until the mean of what they leave unexplained is below 3e-5 of
        the common variance, at most 400
    seed : of the candidates, where there are more than 10,000 different places
    """
    candidates = np.unique(x, axis=0)
    if len(candidates) > CANDIDATES:
        chosen = np.random.default_rng(seed).choice(len(candidates), CANDIDATES, replace=False)
        candidates = candidates[np.sort(chosen)]
    most = min(MOST if count is None else count, len(candidates))
    factor = np.empty((most, len(candidates)))
    unexplained, order = np.ones(len(candidates)), []
    for k in range(most):
        pivot = int(unexplained.argmax())
        # what rounding leaves of nothing is no place
        if unexplained[pivot] < 1e-10 or (count is None and k and unexplained.mean() < TOLERANCE):
            break
        order.append(pivot)
        row = kernel.pair(candidates[[pivot]], candidates, lengthscales)[0][0]
        factor[k] = (row - factor[:k, pivot] @ factor[:k]) / np.sqrt(unexplained[pivot])
        unexplained = np.maximum(unexplained - factor[k] ** 2, 0.0)
        unexplained[pivot] = 0.0
    return np.ascontiguousarray(candidates[order])
