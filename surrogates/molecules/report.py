"""How a fit of molecular properties went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PropertyReport:
    """One property.

    labels, bounds : how many values, and how many of them are bounds only
    weight : of the shared model in its predictions, beside its own one
    error : mean absolute error of held-out labels, in the property's units
    change, deviation : relative change of the error by the shared model alone, with its standard error (None: not compared)
    coverage : share of held-out labels within their 90 % intervals, which were calibrated on them
    """

    units: str
    labels: int
    bounds: int
    weight: float
    error: float
    change: float | None
    deviation: float | None
    coverage: float

    @property
    def is_success(self) -> bool:
        """Whether held-out errors are finite."""
        return self.error == self.error and self.error != float("inf")


@dataclass(frozen=True)
class MolecularReport:
    """A fit: which model, how well each property is predicted, what its user should know of."""

    model: str
    sharing: str
    molecules: int
    seconds: float
    properties: Mapping[str, PropertyReport]
    warnings: tuple[str, ...]

    @property
    def is_success(self) -> bool:
        """Whether all properties could be learnt."""
        return all(entry.is_success for entry in self.properties.values())

    def __str__(self) -> str:
        width = max(map(len, self.properties), default=0)
        lines = [
            f"{self.model}, sharing {self.sharing!r}: {self.molecules} molecules, {self.seconds:.3g} s",
            f"  {'property':<{width}}  labels  held-out error      by sharing     shared  within 90 %",
        ]
        for name, p in self.properties.items():
            change = "" if p.change is None else f"{100 * p.change:+.1f} ± {100 * (p.deviation or 0.0):.1f} %"
            lines.append(
                f"  {name:<{width}}  {p.labels:6d}  {f'{p.error:.4g} {p.units}':<18}  {change:<15}"
                f"{100 * p.weight:4.0f} %  {100 * p.coverage:.0f} %"
            )
        lines += [f"  warning: {warning}" for warning in self.warnings] or ["  no warnings"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings."""
        return {**asdict(self), "properties": {n: asdict(p) for n, p in self.properties.items()}}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> MolecularReport:
        """The inverse of `to_dict`."""
        properties = {name: PropertyReport(**entry) for name, entry in fields["properties"].items()}
        return MolecularReport(**{**fields, "properties": properties, "warnings": tuple(fields["warnings"])})
