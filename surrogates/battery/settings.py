"""What all units of one fit share: layout, recipe, time step, comfort band, encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from surrogates.errors import DataError

from .encoder import Encoder
from .layout import Layout
from .misfit import Recipe
from .records import Floats, Records


@dataclass(frozen=True, eq=False)
class Settings:
    """step_hours : length of a step [h]; comfort : lowest and highest temperature of the band [degC]; encoder : of
    features that all units share, or None; the rest as named.
    """

    step_hours: float
    comfort: tuple[float, float]
    recipe: Recipe = field(default_factory=Recipe)
    encoder: Encoder | None = None

    @property
    def layout(self) -> Layout:
        """Which number of a fingerprint stands where."""
        return Layout() if self.encoder is None else Layout(features=self.encoder.count)

    def features_of(self, records: Records) -> Floats | None:
        """(U, T, f) learnt features of weather and calendar; None where there is no encoder."""
        return None if self.encoder is None else self.encoder.features(records)

    @property
    def step(self) -> str:
        """The step as `intake.read` takes it."""
        return f"{round(self.step_hours * 60)}min"


def check_recipe(recipe: Recipe) -> None:
    """Refuse what can't be weighed: habits are known for 24 h, so that longer forecasts would be told what came later."""
    for name, value in vars(recipe).items():
        may_be_zero = name in ("stride", "judged_every", "warm_up")
        if not (math.isfinite(value) and (value > 0 or (may_be_zero and value == 0))):
            raise DataError(f"the recipe's {name} is {value}; it must be a number {'>=' if may_be_zero else '>'} 0")
    if not 1 <= recipe.horizon <= 24:
        raise DataError(f"the recipe's horizon is {recipe.horizon:g} h; it must be from 1 to 24 h")
    if recipe.judged_every > recipe.horizon:
        raise DataError(
            f"the recipe's judged_every is {recipe.judged_every:g} h; it must be its horizon, {recipe.horizon:g} h, or less"
        )


def check_comfort(comfort: tuple[float, float]) -> None:
    """Refuse a band that is none."""
    low, high = comfort
    if not (-50 < low < high < 60):
        raise DataError(f"comfort is {comfort}; it must be (lowest, highest) in degC, such as (22.5, 27.5)")
