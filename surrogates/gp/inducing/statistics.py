"""What one batch of tasks adds to the likelihood, to its gradient and to its average information.

Given the values z ~ N(0, I) that stand for the common process at the places Z, the tasks are independent:

    y_t = H_tβ_t + U_t z + g_t + ε_t,   U_t = √a C_t L⁻ᵀ,   C_t = ψ0(X_t, Z),   ψ0(Z, Z) = L L'
    Â_t = Cov(g_t + ε_t) = K_t - U_tU_t' + D_t,   K_t = a ψ0(X_t, X_t) + b ψ1(X_t, X_t)

so that a task's own covariance Â_t + U_tU_t' = K_t + D_t is exact, and only the covariance between tasks is that of Z
(Snelson & Ghahramani 2007, "local and global", with the tasks as blocks). The trend is integrated within its task:

    R_t = Â_t⁻¹ - Â_t⁻¹H_t (H_t'Â_t⁻¹H_t + Λ_t)⁻¹ H_t'Â_t⁻¹
    G = Σ U_t'R_tU_t,  b = Σ U_t'R_ty_t,  J = I + G,  m = J⁻¹b         (additive over the tasks)
    y'Py = Σ y_t'R_ty_t - b'm,    P = R - R U J⁻¹ U'R,    α_t = R_t(y_t - U_t m)

Derivatives are contracted with W = αα' - P in closed form (our own derivation, checked against differences).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import Kernel
from ..reml import NotPositiveDefinite
from .batches import Batch

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Point:
    """The hyper-parameters, and what all tasks share there.  C kernels (the first is common, the last own), M places."""

    kernels: tuple[Kernel, ...]
    lengthscales: Floats  # (C, d)
    common: float  # a
    own: float  # b
    Z: Floats  # (M, d)
    slope: Floats  # (M, M) ψ̇0(Z, Z)
    root: Floats  # (M, M) L⁻¹


class Central(NamedTuple):
    """What the sums over all tasks have in common for the second round."""

    J_inverse: Floats  # (M, M)
    m: Floats  # (M,)
    curvature: bool  # whether directions are wanted


class Local(NamedTuple):
    """The tasks' covariances.  b tasks of m rows."""

    U: Floats  # (b, m, M)
    inverse: Floats  # (b, m, m) Â⁻¹
    R: Floats  # (b, m, m)
    log_determinants: float  # Σ log|Â_t| + log|H'Â⁻¹H + Λ|
    slope: Floats  # (b m, M) ψ̇0(X, Z)
    within: list[Floats]  # C arrays (b, m, m): ψ_c(X_t, X_t), 0 where padded
    within_slope: list[Floats]


class Data(NamedTuple):
    """Data and noise of a batch's rows."""

    y: Floats  # (b, m)
    D: Floats  # (b, m), 1 where padded


class Partial(NamedTuple):
    """What a batch gives: sums, to be added to those of the other batches, and values of its rows."""

    sums: tuple[Floats, ...]
    rows: tuple[Floats, ...]


def local(batch: Batch, point: Point, D: Floats) -> Local:
    """Covariances of the batch's tasks at one point.

    Raises
    ------
    NotPositiveDefinite
        If a task's covariance can't be factored, or its trend's columns can't be told apart.
    """
    b, m, d = batch.x.shape
    C, slope = correlations(point.kernels[0], batch.x.reshape(b * m, d), point.Z, point.lengthscales[0])
    U = (np.sqrt(point.common) * (C @ point.root.T)).reshape(b, m, len(point.Z))
    pairs = [within(kernel, batch.x, l) for kernel, l in zip(point.kernels, point.lengthscales, strict=True)]
    if not batch.is_full:
        U *= batch.real[:, :, None]
        both = batch.real[:, :, None] & batch.real[:, None, :]
        for ψ, dψ in pairs:
            ψ *= both
            dψ *= both
    A = point.common * pairs[0][0] + point.own * pairs[-1][0] - U @ U.transpose(0, 2, 1)
    diagonal = np.arange(m)
    A[:, diagonal, diagonal] += D
    inverse, determinant = _inverse(A, "a task's covariance matrix is not positive definite at these parameters")
    R = inverse
    if batch.h.shape[2]:
        solved = inverse @ batch.h  # (b, m, p)
        information = batch.h.transpose(0, 2, 1) @ solved
        p = np.arange(batch.h.shape[2])
        information[:, p, p] += batch.prior_precision
        covariance, more = _inverse(information, "the trend's columns can't be told apart at these parameters")
        R = inverse - solved @ covariance @ solved.transpose(0, 2, 1)
        determinant += more
    return Local(U, inverse, R, determinant, slope, [ψ for ψ, _ in pairs], [dψ for _, dψ in pairs])


def value_statistics(batch: Batch, data: Data, point: Point, _: None = None) -> Partial:
    """First round: the tasks' share of ℓ, b and G, to be summed."""
    U, _inv, R, determinants, *_rest = local(batch, point, data.D)
    Ry = _apply(R, data.y)
    RU = R @ U
    M = U.shape[2]
    value = -0.5 * (float((data.y * Ry).sum()) + determinants)
    b = U.reshape(-1, M).T @ Ry.ravel()
    return Partial((np.array(value), b, U.reshape(-1, M).T @ RU.reshape(-1, M)), ())


def gradient_statistics(batch: Batch, data: Data, point: Point, central: Central) -> Partial:
    """Second round: sums for the gradient, and α, diag P and directions of the rows.

    sums : by log length-scale (C, d); by a and b without what only the sums over all tasks know (2,); Σ U_t'W_ttU_t
        (M, M); Σ ∂C_t'α_t (d, M)
    rows : α, diag P (b, m); if directions are wanted, those of shapes and of a and b (C d + 2, b, m)
    """
    here = local(batch, point, data.D)
    U, R = here.U, here.R
    b, m, M = U.shape
    α = _apply(R, data.y - U @ central.m)
    RU = R @ U
    PU = (RU.reshape(-1, M) @ central.J_inverse).reshape(b, m, M)
    P = R - PU @ RU.transpose(0, 2, 1)
    p_diagonal = np.einsum("bii->bi", P)
    W = α[:, :, None] * α[:, None, :] - P
    X = W @ U
    Y = U.reshape(-1, M).T @ X.reshape(-1, M)
    # the off-diagonal blocks of W, times the other tasks' share in Z: by ψ0(X, Z)
    across = α[:, :, None] * central.m - PU - X
    across = np.sqrt(point.common) * (across.reshape(-1, M) @ point.root)
    shapes = np.zeros_like(point.lengthscales)
    flat, Z = batch.x.reshape(b * m, -1), point.Z
    shapes[0] = _spread(across * here.slope, flat, Z).sum(axis=1) / point.lengthscales[0] ** 2
    amplitudes = (point.common, point.own)
    for which, c in enumerate((0, len(point.kernels) - 1)):
        weighted = W * here.within_slope[c]
        spread = _spread(weighted, batch.x, batch.x).sum(axis=(1, 2))
        shapes[c] += 0.5 * amplitudes[which] * spread / point.lengthscales[c] ** 2
    by_pair = 0.5 * np.array([np.vdot(W, here.within[0]), np.vdot(W, here.within[-1])])
    if not central.curvature:
        return Partial((shapes, by_pair, Y), (α, p_diagonal))
    directions, common = _directions(batch, point, central, here, α)
    return Partial((shapes, by_pair, Y, common), (α, p_diagonal, directions))


def _directions(batch: Batch, point: Point, central: Central, here: Local, α: Floats) -> tuple[Floats, Floats]:
    """∂Σ/∂θ α of the rows for log length-scales, a and b: (C d + 2, b, m); and Σ_t ∂C_t/∂log l_k'α_t (d, M).

    For the common kernel's length-scales √a U L⁻¹ Σ_s ∂C_s'α_s is left to be added, which needs all tasks.
    """
    b, m, M = here.U.shape
    a, Z, x = point.common, point.Z, batch.x
    slope = here.slope.reshape(b, m, M) * batch.real[:, :, None]
    scale = point.lengthscales[0][:, None, None] ** 2
    rest = central.m - np.einsum("bmM,bm->bM", here.U, α)  # m - U_t'α_t
    δ = rest @ point.root / np.sqrt(a)  # (b, M): L⁻ᵀ(m - U_t'α_t)/√a
    weighted = _powers(np.broadcast_to(Z, (b, *Z.shape))) * δ[:, :, None]
    by_place = _stretch(slope @ weighted, x) / scale  # ∂C_k δ: (d, b, m)
    inner = _stretch(slope.transpose(0, 2, 1) @ (_powers(x) * α[:, :, None]), np.broadcast_to(Z, (b, *Z.shape))) / scale
    at_Z = _stretch(point.slope @ weighted, np.broadcast_to(Z, (b, *Z.shape))) / scale  # ∂ψ0(Z, Z)_k δ: (d, b, M)
    low = -np.sqrt(a) * ((inner + at_Z) @ point.root.T)  # (d, b, M)
    shapes = a * by_place + (here.U @ low.transpose(1, 2, 0)).transpose(2, 0, 1)
    amplitudes = [a, point.own] if len(point.kernels) > 1 else [a + point.own]
    found = []
    for c, amplitude in enumerate(amplitudes):
        block = _stretch(here.within_slope[c] @ (_powers(x) * α[:, :, None]), x)
        own = amplitude * block / point.lengthscales[c][:, None, None] ** 2
        found.append(own + shapes if c == 0 else own)
    by_common = _apply(here.within[0], α) + _apply(here.U, rest) / a
    by_own = _apply(here.within[-1], α)
    return np.concatenate([*found, by_common[None], by_own[None]]), inner.sum(axis=1)


def information_statistics(batch: Batch, data: tuple[Floats, Floats], point: Point, shared: Floats) -> Partial:
    """Third round: Σ V_t'R_tV_t (k, k) and Σ U_t'R_tV_t (M, k) for directions V_t, to which U_t · shared is added.

    data : V (b, m, k) and D (b, m);  shared : (M, k)
    """
    V, D = data
    U, _inv, R, *_rest = local(batch, point, D)
    V = V + U @ shared
    RV = R @ V
    k, M = V.shape[2], U.shape[2]
    RV = RV.reshape(-1, k)
    return Partial((V.reshape(-1, k).T @ RV, U.reshape(-1, M).T @ RV), ())


def solve_statistics(batch: Batch, data: tuple[Floats, Floats], point: Point, _: None = None) -> Partial:
    """Σ U_t'Â_t⁻¹U_t (M, M) and Σ U_t'Â_t⁻¹V_t (M, k).  data: V (b, m, k), D (b, m)"""
    V, D = data
    U, inverse, *_rest = local(batch, point, D)
    M, k = U.shape[2], V.shape[2]
    flat = U.reshape(-1, M).T
    return Partial((flat @ (inverse @ U).reshape(-1, M), flat @ (inverse @ V).reshape(-1, k)), ())


def solve_rows(batch: Batch, data: tuple[Floats, Floats], point: Point, shared: Floats) -> Partial:
    """Â_t⁻¹(V_t - U_t · shared) of the rows.  shared: (M, k)"""
    V, D = data
    U, inverse, *_rest = local(batch, point, D)
    return Partial((), (inverse @ (V - U @ shared),))


def correlations(kernel: Kernel, x: Floats, Z: Floats, lengthscales: Floats) -> tuple[Floats, Floats]:
    """ψ and ψ̇ between x (n, d) and Z (M, d): (n, M) each; one thin product for smooth kernels instead of 3 d passes."""
    if not kernel.is_smooth:
        return kernel.pair(x, Z, lengthscales)
    scale = kernel.stretch / lengthscales
    centre = Z.mean(axis=0)
    u, v = (x - centre) * scale, (Z - centre) * scale
    ψ = (-2.0 * u) @ v.T
    ψ += (u * u).sum(axis=1)[:, None]
    ψ += (v * v).sum(axis=1)
    np.maximum(ψ, 0.0, out=ψ)
    slope = np.empty_like(ψ)
    kernel.fill(ψ, slope, np.empty_like(ψ))
    return ψ, slope


def within(kernel: Kernel, x: Floats, lengthscales: Floats) -> tuple[Floats, Floats]:
    """ψ and ψ̇ between the rows of each task.  x: (b, m, d)  ->  (b, m, m) each"""
    z = x * (kernel.stretch / lengthscales)
    ψ = np.zeros((*x.shape[:2], x.shape[1]))
    for k in range(x.shape[2]):
        difference = z[:, :, None, k] - z[:, None, :, k]
        ψ += difference * difference
    slope = np.empty_like(ψ)
    kernel.fill(ψ, slope, np.empty_like(ψ))
    return ψ, slope


def _inverse(A: Floats, message: str) -> tuple[Floats, float]:
    """Inverses (b, m, m) of positive definite matrices, and the sum of their log-determinants.

    By NumPy's functions for stacks of matrices, which let other threads run; SciPy's hold Python's lock.
    """
    try:
        L = np.linalg.cholesky(A)
    except np.linalg.LinAlgError as error:
        raise NotPositiveDefinite(message) from error
    diagonal = np.einsum("bii->bi", L)
    if not (diagonal > 0).all():  # NaN too
        raise NotPositiveDefinite(message)
    root = np.linalg.inv(L)
    return root.transpose(0, 2, 1) @ root, 2.0 * float(np.log(diagonal).sum())


def _apply(A: Floats, v: Floats) -> Floats:
    """A_t v_t.  (b, m, k), (b, k) -> (b, m)"""
    return np.asarray((A @ v[:, :, None])[:, :, 0])


def _powers(x: Floats) -> Floats:
    """1, x, x² side by side.  (..., d) -> (..., 1 + 2d)"""
    return np.concatenate([np.ones((*x.shape[:-1], 1)), x, x * x], axis=-1)


def _stretch(moments: Floats, x: Floats) -> Floats:
    """Σ_j M_ij (x_ik - z_jk)² from M's products with 1, z, z².  (..., 1 + 2d), (..., d)  ->  (d, ...)"""
    d = x.shape[-1]
    first, second = moments[..., 1 : 1 + d], moments[..., 1 + d :]
    return np.moveaxis(x * x * moments[..., :1] - 2 * x * first + second, -1, 0)


def _spread(M: Floats, x: Floats, z: Floats) -> Floats:
    """Σ_j M_ij (x_ik - z_jk)².  M: (..., n, m), x: (..., n, d), z: (..., m, d)  ->  (d, ..., n)"""
    return _stretch(M @ _powers(z), x)
