"""Mixtures of Gaussians under an increasing function, as torch sees them: distribution, quantiles, means beyond them.

    Y = g(Z),   Z ~ Σ_j w_j N(m_j, s_j²),   g the identity or the inverse of a target's warp

    P(Y <= y) = Σ_j w_j Φ((g⁻¹(y) - m_j)/s_j)                       quantile: the y where that is q
    E (Y - y)⁺ = Σ_j w_j [(m_j - y) Φ(a_j) + s_j φ(a_j)],  a_j = (m_j - y)/s_j                   without a warp
    E (Y - y)⁺ = Σ_j w_j ∫_{u > (g⁻¹(y) - m_j)/s_j} (g(m_j + s_j u) - y) φ(u) du,  64 points      with one

All can be differentiated by m and s², without a warp twice. A quantile comes from bisection and two Newton steps that
autograd sees: the first carries its first derivative, the second the second (the error of a Newton step is the square of the
one before, and so are its terms in a Taylor series).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.gp.differentiable.once import require_first_derivative
from surrogates.gp.outputs import END, Output, mixture_quantile
from surrogates.gp.warping import Warp
from surrogates.posterior import Moments, Slopes
from surrogates.scaling import TargetScaling

Floats = NDArray[np.float64]
#: points of integrals over a threshold
NODES, LENGTHS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Y at n places.

    mean, variance : (n, J); weights : (J,), sum to one
    spread : size of the target; standard deviations below 1e-8 of it count as that, so that derivatives stay finite where
        exact readings leave nothing open
    warp : of the target; means and variances are then those of the warped one
    is_discrete : whether there is no variance at all: Y takes J values
    """

    mean: Tensor
    variance: Tensor
    weights: Tensor
    spread: float
    warp: Warp | None = None
    is_discrete: bool = False

    @property
    def std(self) -> Tensor:
        """(n, J) of the Gaussians."""
        return self.variance.clamp_min((1e-8 * self.spread) ** 2).sqrt()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n,) of Y, by the law of total variance."""
        mean, variance = self.mean, self.variance
        if self.warp is not None:
            mean, variance = _Warped.apply(mean, variance, self.warp)
        centre = mean @ self.weights
        total = (variance + (mean - centre[:, None]) ** 2) @ self.weights
        return centre, total.clamp_min((1e-8 * self.spread) ** 2 if self.warp is None else 1e-300).sqrt()

    def share_below(self, y: float) -> Tensor:
        """P(Y <= y): (n,)."""
        z = self._warped(y)
        if math.isinf(z):
            return torch.full_like(self.mean[:, 0], float(z > 0))
        if self.is_discrete:
            below: Tensor = (self.mean <= z).to(self.mean.dtype)
        else:
            below = torch.special.ndtr((z - self.mean) / self.std)
        return below @ self.weights

    def quantile(self, q: float) -> Tensor:
        """y (n,) with P(Y <= y) = q."""
        return self._unwarped(self._quantile(q))

    def mean_above(self, q: float) -> Tensor:
        """Mean (n,) of the 1 - q largest Y: y + E (Y - y)⁺/(1 - q), y the quantile q (Rockafellar & Uryasev 2000, thm. 1).

        Its derivative needs none of y, at which the expression is stationary.
        """
        z = self._quantile(q)
        y = self._unwarped(z)
        if self.is_discrete:
            beyond = torch.relu(self._unwarped(self.mean) - y[:, None])
        elif self.warp is None:
            a, s = (self.mean - y[:, None]) / self.std, self.std
            beyond = (self.mean - y[:, None]) * torch.special.ndtr(a) + s * torch.exp(-0.5 * a**2) / math.sqrt(
                2 * math.pi
            )
        else:
            beyond = self._integrated(z.detach(), y.detach(), self.warp)
            y = y.detach()
        return y + beyond @ self.weights / (1 - q)

    def mean_below(self, q: float) -> Tensor:
        """Mean (n,) of the q smallest Y, from the law of total expectation."""
        return (self.moments()[0] - (1 - q) * self.mean_above(q)) / q

    def _quantile(self, q: float) -> Tensor:
        """z (n,)"""
        if self.is_discrete:
            ordered, place = torch.sort(self.mean, dim=1)
            reached = self.weights[place].cumsum(dim=1) >= q - 1e-12
            return ordered.gather(1, reached.to(torch.int64).argmax(dim=1, keepdim=True))[:, 0]
        mean, s = self.mean, self.std
        if mean.shape[1] == 1:
            return mean[:, 0] + s[:, 0] * float(torch.special.ndtri(torch.tensor(q, dtype=s.dtype)))
        means, variances = mean.detach().numpy().T, s.detach().numpy().T ** 2
        parts = [Moments(m, v) for m, v in zip(means, variances, strict=True)]
        z = torch.from_numpy(mixture_quantile(parts, self.weights.numpy(), q))
        for _ in range(2):
            a = (z[:, None] - mean) / s
            density = (torch.exp(-0.5 * a**2) / s) @ self.weights / math.sqrt(2 * math.pi)
            # between two parts far from each other the density may vanish
            z = z - (torch.special.ndtr(a) @ self.weights - q) / density.clamp_min(1e-200)
        return z

    def _integrated(self, z: Tensor, y: Tensor, warp: Warp) -> Tensor:
        """E (g(m_j + s_j u) - y)⁺ (n, J); the integrals' start needs no derivative, since the integrand is zero there."""
        m, s = self.mean, self.std
        start = ((torch.clamp_min(z, warp.floor)[:, None] - m.detach()) / s.detach()).clamp(-END, END)[..., None]
        length = 0.5 * (END - start)
        u = start + length * torch.from_numpy(1 + NODES)
        weights = length * torch.from_numpy(LENGTHS) * torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        values: Tensor = _Inverse.apply(m[..., None] + s[..., None] * u, warp)
        return (weights * (values - y[:, None, None])).sum(-1)

    def _unwarped(self, z: Tensor) -> Tensor:
        if self.warp is None:
            return z
        y: Tensor = _Inverse.apply(z, self.warp)
        return y

    def _warped(self, y: float) -> float:
        """z of y, infinite at the warp's bounds and beyond."""
        if self.warp is None:
            return y
        if y <= self.warp.low:
            return -math.inf
        return math.inf if y >= self.warp.high else float(self.warp(np.array(y)))


class _Inverse(torch.autograd.Function):
    """g(z) of a warp, with its first derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, warp: Warp) -> Tensor:
        values = z.detach().numpy()
        ctx.save_for_backward(torch.from_numpy(warp.slope(values)))
        return torch.from_numpy(warp.inverse(values))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        require_first_derivative("warped targets")
        (slope,) = ctx.saved_tensors
        return upstream * slope, None


class _Warped(torch.autograd.Function):
    """Mean and variance of g(Z) for Gaussian Z, with first derivatives, by `gp.outputs`."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, warp: Warp) -> tuple[Tensor, Tensor]:
        part = Moments(mean.detach().numpy().ravel(), variance.detach().numpy().ravel())
        output = Output(TargetScaling(0.0, 1.0), warp)
        found = output.moments(part)
        one, none = np.ones(len(part.mean)), np.zeros(len(part.mean))
        slopes = output.slopes(Slopes(np.stack([one, none], 1), np.stack([none, one], 1)), part)
        ctx.save_for_backward(*(torch.from_numpy(of.reshape(*mean.shape, 2)) for of in slopes))
        return torch.from_numpy(found.mean.reshape(mean.shape)), torch.from_numpy(found.variance.reshape(mean.shape))

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor, Tensor, None]:
        require_first_derivative("warped targets")
        of_mean, of_variance = ctx.saved_tensors
        total = by_mean[..., None] * of_mean + by_variance[..., None] * of_variance
        return total[..., 0], total[..., 1], None
