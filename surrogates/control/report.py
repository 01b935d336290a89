"""What happened when a control network was fitted, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from surrogates.errors import ProblemError


def whole(value: object, name: str, least: int) -> int:
    """A number of things that a road is told.

    Raises
    ------
    ProblemError
        If it is no whole number, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ProblemError(f"{name} is {value!r}; it must be an integer >= {least}")
    return value


@dataclass(frozen=True)
class ControlReport:
    """How a fit went.

    method : the road taken; outcome : how it ended, in words; is_success : whether the accuracy asked for was reached
    figures : named numbers: sizes, steps, residuals, errors on cases held out
    estimates : parameters found from measurements: value and standard error
    trace : what the road follows after each of its steps
    weights : weights of named losses after each recorded step, for roads that weigh losses
    warnings : what a user should know
    """

    method: str
    outcome: str
    is_success: bool
    seconds: float
    figures: Mapping[str, float]
    estimates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trace: tuple[float, ...] = ()
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"OptimalControlNet, {self.method}: {self.outcome}", f"  {self.seconds:.2g} s"]
        width = max(map(len, [*self.figures, *self.estimates]), default=0)
        lines += [f"  {name:<{width}}  {value:.4g}" for name, value in self.figures.items()]
        lines += [f"  {name:<{width}}  {value:.6g} ± {error:.2g}" for name, (value, error) in self.estimates.items()]
        lines += [f"  warning: {warning}" for warning in self.warnings] or ["  no warnings"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings."""
        return {
            **asdict(self),
            "estimates": {name: list(pair) for name, pair in self.estimates.items()},
            "weights": {name: list(values) for name, values in self.weights.items()},
            "trace": list(self.trace),
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> ControlReport:
        """The inverse of `to_dict`."""
        return ControlReport(
            **{
                **fields,
                "estimates": {name: (pair[0], pair[1]) for name, pair in fields["estimates"].items()},
                "weights": {name: tuple(values) for name, values in fields["weights"].items()},
                "trace": tuple(fields["trace"]),
                "warnings": tuple(fields["warnings"]),
            }
        )
