"""What happened when a population was fitted, or units were adapted, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class BatteryReport:
    """How a fit went.

    model : what was fitted; outcome : how it ended, in words; is_success : whether all units' fits converged
    seconds : how long it took
    figures : named numbers: units, days, steps, forecast errors [K]
    notes : everything that was done to the data; warnings : what a user should know
    """

    model: str
    outcome: str
    is_success: bool
    seconds: float
    figures: Mapping[str, float]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.outcome}", f"  {self.seconds:.2g} s"]
        width = max(map(len, self.figures), default=0)
        lines += [f"  {name:<{width}}  {value:.4g}" for name, value in self.figures.items()]
        lines += [f"  data: {note}" for note in self.notes]
        lines += [f"  warning: {warning}" for warning in self.warnings] or ["  no warnings"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings."""
        return {**asdict(self), "notes": list(self.notes), "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        lists = {name: tuple(given[name]) for name in ("notes", "warnings")}
        return cls(**{**{field.name: given[field.name] for field in fields(cls)}, **lists})
