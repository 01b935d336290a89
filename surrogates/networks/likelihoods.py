"""What the outputs of a head say about a label, and the loss of a label under it: elementwise, for all tasks at once.

Labels y may be missing (NaN) or bounds. With the sign s = +1 the truth is at least y, with s = -1 at most y, with s = 0 (or
without signs) it is y. A missing label has loss 0 and gradient 0, whatever the outputs are. Labels are meant to be scaled to
a spread of about 1 for each task, and finite where they aren't missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import softplus

from surrogates.errors import DataError


class Likelihood(Protocol):
    """Turns outputs (..., k) of a head into losses and predictions, over the labels' dims (...,) such as (B, m)."""

    @property
    def size(self) -> int:
        """The number k of outputs per label."""
        ...

    def loss(self, outputs: Tensor, y: Tensor, sign: Tensor | None = None) -> Tensor:
        """Losses (...,) of labels y (...,), NaN: missing; sign (...,) of -1, 0, +1, see above."""
        ...

    def mean(self, outputs: Tensor) -> Tensor:
        """Point predictions (...,)."""
        ...

    def std(self, outputs: Tensor) -> Tensor:
        """Standard deviations (...,)."""
        ...

    def quantiles(self, outputs: Tensor, levels: Sequence[float]) -> Tensor:
        """Quantiles (..., q) at q levels between 0 and 1."""
        ...


@dataclass(frozen=True)
class SquaredError:
    """(y - μ)²; of a bound, the least that the truth may have: max(0, s (y - μ))².

    Its standard deviation is 1 everywhere, the labels' scale: calibration makes it the error on held-out labels.

    Examples
    --------
    >>> y, sign = torch.tensor([2.0, 2.0, math.nan]), torch.tensor([0, -1, 0])
    >>> SquaredError().loss(torch.zeros(3, 1), y, sign).tolist()  # 0 is below the upper bound 2
    [4.0, 0.0, 0.0]
    """

    @property
    def size(self) -> int:
        return 1

    def loss(self, outputs: Tensor, y: Tensor, sign: Tensor | None = None) -> Tensor:
        r, s, there = _residuals(outputs, outputs[..., :1], y, sign, self.size)
        r = r[..., 0]
        r = r if s is None else torch.where(s == 0, r, (s * r).clamp(min=0))
        return torch.where(there, r.square(), 0.0)

    def mean(self, outputs: Tensor) -> Tensor:
        _check_outputs(outputs, self.size)
        return outputs[..., 0]

    def std(self, outputs: Tensor) -> Tensor:
        return torch.ones_like(self.mean(outputs))

    def quantiles(self, outputs: Tensor, levels: Sequence[float]) -> Tensor:
        return _normal_quantiles(self.mean(outputs), self.std(outputs), levels)


@dataclass(frozen=True)
class Gaussian:
    """y ~ N(μ, σ²), outputs (μ, a) and log σ² = b tanh(a/b), so that σ stays within exp(±b/2).

        exact      w [½ log 2πσ² + (y - μ)²/(2σ²)]             w = sg(σ²)^β, sg: no gradient flows through it
        bound      w [-log Φ(s (μ - y)/σ)]                     the truth's probability of being on the bound's side

    β > 0 is the β-NLL of Seitzer et al. (2022), arXiv:2203.09168, section 4: without it labels that are badly met get large
    σ and then small gradients of μ; β = 1 gives μ the gradient of the squared error, β = ½ is between. Weighing bounds by
    the same w is our own extension. log Φ and its gradient are accurate in the tails in float32 too.

    Parameters
    ----------
    beta : β, 0 to 1; with 0 the loss is the negative log-likelihood, in nats
    bound : b > 0; labels are of spread 1, so 14 allows for σ down to 1e-3

    Examples
    --------
    >>> outputs = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    >>> [round(v, 4) for v in Gaussian().loss(outputs, torch.zeros(2), torch.tensor([0, 1])).tolist()]  # ½ log 2π, log 2
    [0.9189, 0.6931]
    """

    beta: float = 0.0
    bound: float = 14.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise DataError(
                f"beta is {self.beta!r}; it must be between 0 (likelihood) and 1 (squared error's gradient)"
            )
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise DataError(f"bound is {self.bound!r}; it must be a finite number > 0, the largest |log σ²|")

    @property
    def size(self) -> int:
        return 2

    def log_variance(self, outputs: Tensor) -> Tensor:
        """log σ² (...,)."""
        _check_outputs(outputs, self.size)
        return self.bound * torch.tanh(outputs[..., 1] / self.bound)

    def loss(self, outputs: Tensor, y: Tensor, sign: Tensor | None = None) -> Tensor:
        r, s, there = _residuals(outputs, outputs[..., :1], y, sign, self.size)
        v = self.log_variance(outputs)  # log σ²
        z = r[..., 0] * torch.exp(-0.5 * v)
        loss = 0.5 * (math.log(2 * math.pi) + v + z.square())
        if s is not None:
            loss = torch.where(s == 0, loss, -_log_ndtr(-s * z))
        if self.beta:
            loss = torch.exp(self.beta * v.detach()) * loss
        return torch.where(there, loss, 0.0)

    def mean(self, outputs: Tensor) -> Tensor:
        _check_outputs(outputs, self.size)
        return outputs[..., 0]

    def std(self, outputs: Tensor) -> Tensor:
        return torch.exp(0.5 * self.log_variance(outputs))

    def quantiles(self, outputs: Tensor, levels: Sequence[float]) -> Tensor:
        return _normal_quantiles(self.mean(outputs), self.std(outputs), levels)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles q_1 <= ... <= q_k at fixed levels τ_j, by the pinball loss (Koenker & Bassett 1978).

        exact        (1/k) Σ_j max(τ_j (y - q_j), (τ_j - 1) (y - q_j))
        lower bound  (1/k) Σ_j τ_j max(0, y - q_j)                upper bound  (1/k) Σ_j (1 - τ_j) max(0, q_j - y)

    The output of the median is taken as it is; the others are softplus steps away from it, so quantiles can't cross. A bound
    has the least loss that the truth may have. Where a quantile lies on the known side of the bounds, that is Powell's
    (1986) loss, which is consistent; quantiles beyond them are not found (nothing is known there).

    Parameters
    ----------
    levels : τ, ascending, between 0 and 1, two or more, the median 0.5 among them

    Examples
    --------
    >>> Quantiles((0.1, 0.5, 0.9)).values(torch.tensor([0.0, 1.0, -2.0])).numpy().round(3)
    array([0.307, 1.   , 1.127], dtype=float32)
    """

    levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)

    def __post_init__(self) -> None:
        _check_levels(self.levels)
        if len(self.levels) < 2 or 0.5 not in self.levels or any(a >= b for a, b in pairwise(self.levels)):
            raise DataError(f"levels is {self.levels}; two or more are wanted, ascending, the median 0.5 among them")

    @property
    def size(self) -> int:
        return len(self.levels)

    def values(self, outputs: Tensor) -> Tensor:
        """Quantiles (..., k) at `levels`, ascending."""
        _check_outputs(outputs, self.size)
        c = self.levels.index(0.5)
        middle = outputs[..., c : c + 1]
        below = middle - softplus(outputs[..., :c]).flip(-1).cumsum(-1).flip(-1)
        return torch.cat([below, middle, middle + softplus(outputs[..., c + 1 :]).cumsum(-1)], -1)

    def loss(self, outputs: Tensor, y: Tensor, sign: Tensor | None = None) -> Tensor:
        u, s, there = _residuals(outputs, self.values(outputs), y, sign, self.size)  # y - q (..., k)
        τ = torch.tensor(self.levels, dtype=outputs.dtype)
        over, under = τ * u.clamp(min=0), (1 - τ) * (-u).clamp(min=0)
        if s is not None:
            over, under = torch.where(s[..., None] >= 0, over, 0.0), torch.where(s[..., None] <= 0, under, 0.0)
        return torch.where(there, (over + under).mean(-1), 0.0)

    def mean(self, outputs: Tensor) -> Tensor:
        """The median, as the point prediction."""
        _check_outputs(outputs, self.size)
        return outputs[..., self.levels.index(0.5)]

    def std(self, outputs: Tensor) -> Tensor:
        """That of the Gaussian with the same outermost quantiles: (q_k - q_1) / (Φ⁻¹(τ_k) - Φ⁻¹(τ_1))."""
        q = self.values(outputs)
        return (q[..., -1] - q[..., 0]) / float(ndtri(self.levels[-1]) - ndtri(self.levels[0]))

    def quantiles(self, outputs: Tensor, levels: Sequence[float]) -> Tensor:
        """Linear in Φ⁻¹(level) between the own levels, and on in the same way beyond the outermost (Gaussian tails)."""
        _check_levels(levels)
        knots = torch.from_numpy(ndtri(self.levels))
        at = torch.from_numpy(ndtri(levels))
        left = (torch.searchsorted(knots, at) - 1).clamp(0, self.size - 2)
        share = ((at - knots[left]) / (knots[left + 1] - knots[left])).to(outputs.dtype)
        q = self.values(outputs)
        return q[..., left] * (1 - share) + q[..., left + 1] * share


def _residuals(
    outputs: Tensor, centres: Tensor, y: Tensor, sign: Tensor | None, size: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """y - centres (..., c), signs and whether the label is there.

    A missing label becomes 1 more than its centre before anything is computed: had it stayed NaN, or had the residual been
    computed from outputs that overflow, its gradient would be NaN times 0 in spite of the mask behind.
    """
    _check_outputs(outputs, size)
    if y.shape != outputs.shape[:-1]:
        raise DataError(
            f"y has shape {tuple(y.shape)}, the outputs {tuple(outputs.shape)}: give one label for each row"
        )
    if sign is not None and sign.shape != y.shape:
        raise DataError(f"sign has shape {tuple(sign.shape)}, y {tuple(y.shape)}; they must be equal")
    there = ~torch.isnan(y)
    r = torch.where(there[..., None], y[..., None] - centres, 1.0)
    return r, None if sign is None else torch.where(there, sign, 0).to(outputs.dtype), there


def _log_ndtr(z: Tensor) -> Tensor:
    """log Φ(z), below -1 as log(½ erfcx(-z/√2)) - z²/2.

    The gradient of torch's own log_ndtr there is exp(-z²/2 - log Φ), whose exponents cancel: 4 % off at z = -1000 in
    float32.
    """
    low = z < -1
    below = torch.where(low, z, -1.0)
    tail = torch.log(0.5 * torch.special.erfcx(below / -math.sqrt(2))) - 0.5 * below.square()
    return torch.where(low, tail, torch.special.log_ndtr(torch.where(low, -1.0, z)))


def _check_outputs(outputs: Tensor, size: int) -> None:
    if outputs.ndim == 0 or outputs.shape[-1] != size:
        raise DataError(f"the outputs have shape {tuple(outputs.shape)}; this likelihood takes (..., {size})")


def _check_levels(levels: Sequence[float]) -> None:
    if not levels or not all(0 < τ < 1 for τ in levels):
        raise DataError(f"levels is {tuple(levels)}; wanted are numbers between 0 and 1")


def _normal_quantiles(mean: Tensor, std: Tensor, levels: Sequence[float]) -> Tensor:
    """μ + σ Φ⁻¹(level): (...,) -> (..., q)."""
    _check_levels(levels)
    return mean[..., None] + std[..., None] * torch.tensor(ndtri(levels), dtype=mean.dtype)
