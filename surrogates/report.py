"""What happened in a fit, in words and numbers, for a person and for a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A fitted quantity: value, spread of its posterior (0 if it wasn't integrated), units."""

    value: float
    spread: float
    units: str

    @staticmethod
    def of_draws(values: Floats, weights: Floats, units: str | None = None) -> Estimate:
        """Weighted mean and spread of a quantity's values (k,) at k draws.  weights: (k,), sum to one.

        >>> Estimate.of_draws(np.array([1.0, 3.0]), np.array([0.5, 0.5]), "mm")
        Estimate(value=2.0, spread=1.0, units='mm')
        """
        mean = float(weights @ values)
        spread = math.sqrt(float(weights @ (values - mean) ** 2)) if len(values) > 1 else 0.0
        return Estimate(mean, spread, units or "")

    def __str__(self) -> str:
        spread = f" ± {self.spread:.2g}" if self.spread > 0 else ""
        return f"{self.value:.4g}{spread}{' ' + self.units if self.units else ''}"


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    outcome : how the minimisation ended, in words; is_success : whether it reached a minimum
    log_evidence : restricted log-likelihood at its mode, in the target's units; comparable between models with the same
        trend on the same data, but no integral over the hyper-parameters: models with more of them score higher. Of
        `MultiFidelityGP`: of its most probable structure, hyper-parameters integrated
    trace : objective after each accepted step
    jitter : what was added to a covariance matrix's diagonal
    draws, effective_draws : hyper-parameter draws that predictions average over, and how many equally weighted ones the
        sample counts for that they were chosen from, which may be larger
    sections : named groups of estimates: noise, correlation, length-scales, ...
    loo : scores of the closed-form leave-one-out predictions, at the mode of the hyper-parameters
    findings : what the fit says about the data, in words
    """

    model: str
    outcome: str
    is_success: bool
    readings: int
    rows: int
    tasks: int
    solver: str
    evaluations: int
    seconds: float
    log_evidence: float
    trace: tuple[float, ...]
    jitter: float
    draws: int
    effective_draws: float
    sections: Mapping[str, Mapping[str, Estimate]]
    loo: Mapping[str, float]
    warnings: tuple[str, ...]
    findings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.model}: {self.outcome}",
            f"  {self.readings} readings at {self.rows} places in {self.tasks} task{'s' * (self.tasks != 1)}; "
            f"solver {self.solver}, {self.evaluations} evaluations, {self.seconds:.2g} s",
            f"  log evidence {self.log_evidence:.2f}; jitter {f'{self.jitter:.1e}' if self.jitter else 'none'}; "
            + (
                f"{self.draws} draws of the hyper-parameters (of a sample worth {self.effective_draws:.1f})"
                if self.draws > 1
                else "hyper-parameters at their mode"
            ),
        ]
        for title, estimates in self.sections.items():
            lines.append(f"  {title}")
            width = max(map(len, estimates), default=0)
            lines += [f"    {name:<{width}}  {estimate}" for name, estimate in estimates.items()]
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.loo.items())
        lines.append(f"  leave-one-out: {scores or 'no reading can be predicted from the others'}")
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  warning: {warning}" for warning in self.warnings] or ["  no warnings"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings."""
        lists = {name: list(getattr(self, name)) for name in ("trace", "warnings", "findings")}
        return {**asdict(self), **lists}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> FitReport:
        """The inverse of `to_dict`."""
        sections = {t: {n: Estimate(**e) for n, e in group.items()} for t, group in fields["sections"].items()}
        # files of earlier versions have no findings
        lists = {name: tuple(fields.get(name, ())) for name in ("trace", "warnings", "findings")}
        return FitReport(**{**fields, **lists, "sections": sections})
