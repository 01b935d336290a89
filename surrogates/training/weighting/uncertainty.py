"""Weights from the losses' noise levels, learnt along with the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ._base import Seen, State, adam_change, adam_moments, geometric, one_of, positive


@dataclass(frozen=True)
class Uncertainty:
    """Homoscedastic uncertainty: each loss is the exponent of a Gaussian whose variance v_i = exp(s_i) is learnt.

    ==================  =========================================  ==============  ==========================
    variant             F(θ, s)                                    weight of L_i   closed form of v_i
    ==================  =========================================  ==============  ==========================
    ``kendall``         Σ L_i/(2v_i) + ½ log v_i                   1/(2v_i)        L_i
    ``liebel-korner``   Σ L_i/(2v_i) + log(1 + v_i)                1/(2v_i)        (L_i + √(L_i² + 8L_i))/4
    ==================  =========================================  ==============  ==========================

    Sources: Kendall, Gal & Cipolla, arXiv:1705.07115, section 3.2 (for regression); Liebel & Körner, arXiv:1805.06334,
    whose penalty is log(1 + c²): it is never negative, and so no loss gains by v_i -> 0 without end.

    ``form="gradient"`` moves s by an Adam of its own, one step per step of the loop, from s = 0. Adam moves each s_i by
    about `rate` per step, so the ratio of two weights stays below exp(2 Σ rates). That bound protects: where all losses
    can reach 0 (consistent equations), Kendall's F has no lower bound, and its cheapest way down is to drive the easy
    losses to 0 and to give up the hard ones. Keep `rate` at or below the optimiser's.

    ``form="closed"`` takes the minimiser of F over s at once. **It was measured to lose the problem**: for
    Euler-Lagrange residuals, errors of 27 to 110 % where fixed weights reached 0.1 % (the weights follow the trap
    above at full speed). It is here for comparison. A loss that is exactly 0 gets weight 0: its gradient is 0, too.

    With the closed form of ``kendall``, weights w_i ∝ 1/L_i make the descent free of the losses' units; no other form
    is, since s = 0 is the start.

    Parameters
    ----------
    variant, form : see above
    rate : of the Adam of s
    final_rate : where the rate ends after the run's last step, falling by a constant factor; None: constant

    Examples
    --------
    >>> from surrogates.training import Uncertainty
    >>> Uncertainty(rate=1e-2).variant
    'kendall'
    """

    variant: Literal["kendall", "liebel-korner"] = "kendall"
    form: Literal["gradient", "closed"] = "gradient"
    rate: float = 1e-3
    final_rate: float | None = None

    def __post_init__(self) -> None:
        one_of(self.variant, "variant", ("kendall", "liebel-korner"))
        one_of(self.form, "form", ("gradient", "closed"))
        positive(self.rate, "rate")
        if self.final_rate is not None:
            positive(self.final_rate, "final_rate")

    def init(self, seen: Seen) -> State:
        if self.form == "closed":
            return {}
        return {"log_variances": torch.zeros_like(seen.losses)} | adam_moments(seen.losses)

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        if self.form == "closed":
            return self._closed(seen.losses), state
        s = state["log_variances"]
        weights = 0.5 * torch.exp(-s)  # for this step; s moves along with θ, from the same point
        change, moments = adam_change(state, -weights * seen.losses + self._penalty_slope(s))
        rate = geometric(self.rate, self.final_rate, seen.step, seen.max_steps)
        return weights, {"log_variances": s - rate * change} | moments

    def _penalty_slope(self, s: Tensor) -> Tensor:
        """Derivative of ½s, or of log(1 + exp(s))."""
        return torch.full_like(s, 0.5) if self.variant == "kendall" else torch.sigmoid(s)

    def _closed(self, L: Tensor) -> Tensor:
        v = L if self.variant == "kendall" else (L + (L**2 + 8 * L).sqrt()) / 4
        return torch.where(v > 0, 0.5 / v, torch.where(v == 0, 0.0, torch.nan))
