"""The places whose typical weather comes with EnergyPlus, and their design conditions for sizing."""

from __future__ import annotations

from dataclasses import dataclass

from surrogates.errors import DataError


@dataclass(frozen=True)
class Climate:
    """A typical year of weather (TMY3) and the summer day that air conditioners are sized for.

    name : as used in the data
    file : the beginning of the weather file's name
    dry_bulb, daily_range, wet_bulb : of the design day, exceeded 0.4 % of the year (ASHRAE) [degC], [K], [degC]
    pressure : of the air [Pa]
    """

    name: str
    file: str
    dry_bulb: float
    daily_range: float
    wet_bulb: float
    pressure: float

    @property
    def air_density(self) -> float:
        """At 25 degC [kg/m³]."""
        return self.pressure / (287.05 * 298.15)


TAMPA = Climate("Tampa", "USA_FL_Tampa", 33.6, 7.9, 25.2, 101_253.0)
DULLES = Climate("Dulles", "USA_VA_Sterling", 34.1, 11.4, 23.9, 100_344.0)
CHICAGO = Climate("Chicago", "USA_IL_Chicago", 33.3, 10.5, 23.7, 98_934.0)
GOLDEN = Climate("Golden", "USA_CO_Golden", 33.0, 15.2, 15.7, 81_198.0)

CLIMATES = (TAMPA, DULLES, CHICAGO, GOLDEN)
#: where the units of the population stand; newcomers stand in Golden too
POPULATION_CLIMATES = CLIMATES[:3]


def climate_named(name: str) -> Climate:
    """The climate of this name; DataError for an unknown one."""
    for climate in CLIMATES:
        if climate.name == name:
            return climate
    raise DataError(f"climate {name!r} is unknown; choose one of {', '.join(c.name for c in CLIMATES)}")
