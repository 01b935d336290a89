"""Means and variances at places that are asked for several tasks each, for one kernel and a task covariance B.

With k* = Σ_a B[a, τ] ψ_a*, ψ_a* the correlations with the rows of task a, and L⁻¹ the root of Σ⁻¹:

    |L⁻¹k*|² = b'Q b,   Q_ab = (L⁻¹ψ_a*)'(L⁻¹ψ_b*),   b = B[:, τ]

so that the products with L⁻¹, which cost n², are made once for a place and not once for each of its tasks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments

from .process import Conditioned

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def crossed_moments(process: Conditioned, x: Floats, task: Integers) -> Moments:
    """`Conditioned.moments` at x (m, 1) of tasks (m,), by places; for one component, no nugget, and an inverse with a root.

    It falls back to `moments` where most places are asked once.
    """
    _, first, place = np.unique(x[:, 0], return_index=True, return_inverse=True)
    root, B = process.inverse.root, process.state.mixing.matrix
    if root is None or len(B) > 1 or process.nugget > 0 or 2 * len(first) > len(x):
        return process.moments(x, task)
    design, B, place = process.design, B[0], place.reshape(-1)
    n, T, v = len(design.x), design.tasks, len(first)
    (ψ,) = process.correlations.cross(design.x, x[first])  # (n, v)
    half = np.zeros((v, T, n))  # L⁻¹ψ_a*
    trend = np.zeros((T, len(process.root_A), v))  # L_A⁻¹B'ψ_a*
    mean = np.zeros((T, v))  # α'ψ_a*
    for a in range(T):
        rows = slice(int(design.bounds[a]), int(design.bounds[a + 1]))
        # L⁻¹ is lower triangular
        half[:, a, rows.start :] = (root[rows.start :, rows] @ ψ[rows]).T
        trend[a] = process.root_A @ (process.B[rows].T @ ψ[rows])
        mean[a] = process.alpha[rows] @ ψ[rows]
    Q = half @ half.transpose(0, 2, 1)  # (v, T, T)
    explained = np.einsum("at,vat->vt", B, Q @ B)[place, task]
    columns = process.trend.columns(x)
    own = np.zeros((len(process.root_A), len(x)))
    process.add_own(own, columns, task)
    V = process.root_A @ own - np.einsum("aqv,at->qvt", trend, B)[:, place, task]
    means = (columns * process.beta[task]).sum(axis=1) + (mean.T @ B)[place, task]
    prior = process.correlations.diagonal(x)[0] * np.diagonal(B)[task]
    return Moments(means, np.maximum(prior - explained + np.einsum("qm,qm->m", V, V), 0.0))
