"""A linear last layer by least squares, with what was cut off and damped reported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.errors import DataError


@dataclass(frozen=True)
class LastLayer:
    """What a least-squares fit found, and what it did to find it.

    Parameters
    ----------
    weights : (L', r), so that predictions are φ(X) @ weights
    residual : (r,) root mean square of Y - F weights over all rows
    rank : number of singular values that were kept
    condition : greatest over least kept singular value of the scaled F; inf where none was kept
    ridge : (r,) the penalties used, 0 where there is none
    freedom : (r,) effective degrees of freedom Σ σ²/(σ² + λ); equals `rank` where λ = 0
    """

    weights: Tensor
    residual: Tensor
    rank: int
    condition: float
    ridge: Tensor
    freedom: Tensor


def fit_last_layer(
    F: Tensor,
    Y: Tensor,
    *,
    rcond: float = 1e-13,
    ridge: float | Literal["gcv", "held-out"] = 0.0,
    held_out: Tensor | None = None,
) -> LastLayer:
    """The W that minimises ‖Y - F W‖² + λ ‖S W‖², S = diag(root mean squares of F's columns), of least norm ‖S W‖.

    By the singular values σ of F S⁻¹; those below `rcond` times the greatest are cut off. The penalty λ is of a
    noise variance over a prior variance of one feature's contribution, whatever the units of F's columns, and each
    column of Y has its own. Choices of λ, over two values per decade of σ²: generalised cross-validation
    (Golub, Heath & Wahba 1979) n ‖Y - F W‖² / (n - Σ σ²/(σ² + λ))², or the least squared error on held-out rows, after
    which all rows are fitted with it. Not differentiable.

    Parameters
    ----------
    F : (n, L') features, float64
    Y : (n, r) targets
    rcond : relative size at which a singular value counts as zero
    ridge : λ >= 0, or how it is chosen
    held_out : (n,) bool, true for the rows held out; with ridge="held-out" only

    Examples
    --------
    >>> F = torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]).double()  # two equal columns
    >>> last = fit_last_layer(F, torch.tensor([[2.0], [2.0], [4.0]]).double())
    >>> last.rank, last.weights[:, 0].numpy().round(12).tolist()
    (1, [1.0, 1.0])
    """
    F, Y = F.detach(), Y.detach()
    _check(F, Y, rcond)
    if (held_out is not None) != (ridge == "held-out"):
        raise DataError('held_out goes with ridge="held-out", and only with it: give both or neither')
    if ridge == "held-out":
        assert held_out is not None
        _check_held_out(held_out, len(F))
        λ = _Spectrum(F[~held_out], Y[~held_out], rcond).least_error(F[held_out], Y[held_out])
        spectrum = _Spectrum(F, Y, rcond)
    elif ridge == "gcv":
        spectrum = _Spectrum(F, Y, rcond)
        λ = spectrum.least_gcv()
    elif isinstance(ridge, str) or not (math.isfinite(ridge) and ridge >= 0):
        raise DataError(f"ridge is {ridge!r}; it must be a number >= 0, 'gcv' or 'held-out'")
    else:
        spectrum = _Spectrum(F, Y, rcond)
        λ = torch.full((Y.shape[1],), float(ridge), dtype=torch.float64)
    weights = spectrum.weights(λ[None])[0]  # (L', r)
    σ = spectrum.σ
    return LastLayer(
        weights=weights,
        residual=(Y - F @ weights).square().mean(0).sqrt(),
        rank=len(σ),
        condition=float(σ[0] / σ[-1]) if len(σ) else math.inf,
        ridge=λ,
        freedom=spectrum.shrinkage(λ[None])[0].sum(0),
    )


class _Spectrum:
    """F S⁻¹ = U diag(σ) V', cut off; c = U'Y (k, r)."""

    def __init__(self, F: Tensor, Y: Tensor, rcond: float) -> None:
        scale = F.square().mean(0).sqrt()
        self.scale = torch.where(scale > 0, scale, 1.0)  # a column of zeros stays one
        U, σ, Vt = torch.linalg.svd(F / self.scale, full_matrices=False)
        k = int((σ > rcond * σ[0]).sum())
        self.σ, self.V = σ[:k], Vt[:k].T
        self.c = U[:, :k].T @ Y
        self.rows, self.outside = len(F), (Y - U[:, :k] @ self.c).square().sum(0)  # (r,) what no weights reach

    def candidates(self) -> Tensor:
        """(g, r) penalties to choose from: none of them 0, where cross-validation may be 0/0."""
        top = float(self.σ[0]) ** 2 if len(self.σ) else 1.0
        return top * torch.logspace(-26, 1, 55, dtype=torch.float64)[:, None].expand(-1, self.c.shape[1])

    def shrinkage(self, λ: Tensor) -> Tensor:
        """σ²/(σ² + λ) : λ (g, r) -> (g, k, r)."""
        σ2 = self.σ.square()[:, None]
        shares: Tensor = σ2 / (σ2 + λ[:, None, :])
        return shares

    def weights(self, λ: Tensor) -> Tensor:
        """λ (g, r) -> (g, L', r)."""
        weights: Tensor = self.V @ (self.shrinkage(λ) * self.c / self.σ[:, None]) / self.scale[:, None]
        return weights

    def least_gcv(self) -> Tensor:
        """(r,) the candidates of the least generalised cross-validation error."""
        λ = self.candidates()
        lost = λ[:, None, :] / (self.σ.square()[:, None] + λ[:, None, :])  # 1 - shrinkage, without cancellation
        errors = self.outside + (lost * self.c).square().sum(1)  # (g, r)
        left = self.rows - len(self.σ) + lost.sum(1)
        return _least(λ, errors / left.square())

    def least_error(self, F: Tensor, Y: Tensor) -> Tensor:
        """(r,) the candidates of the least error at other rows F (m, L'), Y (m, r)."""
        λ = self.candidates()
        return _least(λ, (Y - F @ self.weights(λ)).square().sum(1))


def _least(λ: Tensor, errors: Tensor) -> Tensor:
    """The entries of λ (g, r) where errors (g, r) are least; among equals the greatest λ."""
    best = len(λ) - 1 - errors.flip(0).argmin(0)
    return λ.gather(0, best[None])[0]


def _check(F: Tensor, Y: Tensor, rcond: float) -> None:
    if F.ndim != 2 or Y.ndim != 2 or len(F) != len(Y) or 0 in F.shape or 0 in Y.shape:
        raise DataError(
            f"F has shape {tuple(F.shape)} and Y {tuple(Y.shape)}; wanted are (n, features) and (n, outputs), none of them 0"
        )
    for name, values in (("F", F), ("Y", Y)):
        if values.dtype != torch.float64:
            raise DataError(f"{name} is {values.dtype}; it must be torch.float64: convert it with .double()")
        if not torch.isfinite(values).all():
            raise DataError(f"{name} holds NaN or inf; leave out those rows")
    if not 0 <= rcond < 1:
        raise DataError(f"rcond is {rcond!r}; it must be a number >= 0 and < 1")


def _check_held_out(held_out: Tensor, n: int) -> None:
    if held_out.dtype != torch.bool or held_out.shape != (n,):
        raise DataError(
            f"held_out is {held_out.dtype} of shape {tuple(held_out.shape)}; it must be torch.bool of shape ({n},)"
        )
    if not 0 < int(held_out.sum()) < n:
        raise DataError(f"held_out names {int(held_out.sum())} of {n} rows; some must be held out, and some not")
