"""One room: its true parameters, how they are drawn, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .climates import Climate

HEIGHT = 2.8  # of every room [m]
WINDOW_U = 2.7  # of every window [W/(m² K)]
HEAT_OF_AIR = 1005.0  # [J/(kg K)]
#: conductivity [W/(m K)], density [kg/m³], specific heat [J/(kg K)]
BRICK, GYPSUM, CONCRETE = (0.7, 1800.0, 840.0), (0.16, 800.0, 1090.0), (1.4, 2200.0, 880.0)
GYPSUM_THICKNESS = 0.016
#: of still air inside and wind outside, ISO 6946 [m² K/W]: walls, roof
FILMS = (0.13 + 0.04, 0.10 + 0.04)
#: how each parameter is drawn: lowest, highest, whether its logarithm is uniform
RANGES: dict[str, tuple[float, float, bool]] = {
    "floor_area": (25.0, 120.0, True),
    "window_wall_ratio": (0.12, 0.5, True),
    "insulation": (0.7, 4.0, True),
    "brick_thickness": (0.04, 0.25, True),
    "slab_thickness": (0.05, 0.2, True),
    "infiltration": (0.2, 1.2, True),
    "people_density": (0.02, 0.08, True),
    "equipment": (3.0, 12.0, True),
    "occupied_from": (6.0, 10.0, False),
    "occupied_until": (16.0, 22.0, False),
    "north_axis": (0.0, 360.0, False),
    "cop": (2.6, 4.2, True),
    "sizing_factor": (1.0, 1.5, False),
    "shgc": (0.25, 0.65, False),
}
SECOND_WINDOW_SHARE = 0.4  # of the rooms have a second window
#: units and long names
DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "floor_area": ("m^2", "area of the square floor"),
    "window_wall_ratio": ("1", "share of the main facade that is window"),
    "second_window_wall_ratio": ("1", "share of the facade left of the main one, seen from inside, that is window"),
    "insulation": ("m^2 K/W", "thermal resistance of the insulation of walls and roof"),
    "is_insulated_outside": ("1", "whether the walls' insulation lies outside of the brick"),
    "brick_thickness": ("m", "thickness of the walls' brick"),
    "slab_thickness": ("m", "thickness of the concrete of floor and roof"),
    "infiltration": ("1/h", "air changes with outdoors"),
    "occupants": ("1", "people in the room when fully occupied"),
    "equipment": ("W/m^2", "heat of the equipment per floor area when fully occupied"),
    "occupied_from": ("h", "local standard time at which people arrive on weekdays"),
    "occupied_until": ("h", "local standard time at which people leave on weekdays"),
    "north_axis": ("degrees", "how far the room is turned clockwise; the main facade faces south at 0, west at 90"),
    "cop": ("1", "rated coefficient of performance, gross cooling per electric power"),
    "sizing_factor": ("1", "how much the unit is larger than its room needs on the design day"),
    "shgc": ("1", "solar heat gain coefficient of the windows"),
}
FACADES = ("south", "east", "north", "west")


@dataclass(frozen=True)
class Room:
    """The true parameters of a room and its unit; units and meaning in DESCRIPTIONS."""

    floor_area: float
    window_wall_ratio: float
    second_window_wall_ratio: float
    insulation: float
    is_insulated_outside: bool
    brick_thickness: float
    slab_thickness: float
    infiltration: float
    occupants: float
    equipment: float
    occupied_from: float
    occupied_until: float
    north_axis: float
    cop: float
    sizing_factor: float
    shgc: float

    @property
    def side(self) -> float:
        """Of the square floor [m]."""
        return math.sqrt(self.floor_area)

    @property
    def window_areas(self) -> tuple[float, float]:
        """Of the main and the second window [m²]."""
        facade = self.side * HEIGHT
        return self.window_wall_ratio * facade, self.second_window_wall_ratio * facade

    @property
    def window_azimuths(self) -> tuple[float, float]:
        """Where the main and the second window face, clockwise from north [degrees]."""
        return (180.0 + self.north_axis) % 360, (90.0 + self.north_axis) % 360

    @property
    def solar_apertures(self) -> NDArray[np.float64]:
        """(4,) window area times SHGC on FACADES, by direction cosines [m²].

        The beam on a vertical plane is the sum of those on its two neighbours among south, east, north and west, each
        weighed by its cosine, so that these areas give the same beam as the true windows while both neighbours are lit.
        """
        faces = np.array([180.0, 90.0, 0.0, 270.0])
        total = np.zeros(4)
        for area, azimuth in zip(self.window_areas, self.window_azimuths, strict=True):
            total += area * self.shgc * np.maximum(np.cos(np.radians(azimuth - faces)), 0.0)
        return total

    def heat_loss(self, climate: Climate) -> float:
        """Steady heat flow to outdoors per kelvin, through walls, roof, windows and by infiltration [W/K].

        The films are those of ISO 6946. EnergyPlus computes its own at each step, weaker ones in still air: a room of its
        own loses 5 % (well insulated) to 20 % (hardly insulated) less. No heat goes through the floor.
        """
        gypsum = GYPSUM_THICKNESS / GYPSUM[0]
        wall = 1 / (FILMS[0] + self.brick_thickness / BRICK[0] + self.insulation + gypsum)
        roof = 1 / (FILMS[1] + self.slab_thickness / CONCRETE[0] + self.insulation + gypsum)
        windows = sum(self.window_areas)
        opaque = 4 * self.side * HEIGHT - windows
        air = climate.air_density * HEAT_OF_AIR * self.floor_area * HEIGHT * self.infiltration / 3600
        return wall * opaque + roof * self.floor_area + WINDOW_U * windows + air

    def air_capacity(self, climate: Climate) -> float:
        """Of the room's air [kWh/K]."""
        return climate.air_density * HEAT_OF_AIR * self.floor_area * HEIGHT / 3.6e6

    def construction_capacities(self) -> tuple[float, float]:
        """Of all walls, roof and floor, and of what lies on the room's side of the insulation [kWh/K]."""
        walls = 4 * self.side * HEIGHT - sum(self.window_areas)
        brick = walls * self.brick_thickness * BRICK[1] * BRICK[2]
        gypsum = (walls + self.floor_area) * GYPSUM_THICKNESS * GYPSUM[1] * GYPSUM[2]
        slabs = 2 * self.floor_area * self.slab_thickness * CONCRETE[1] * CONCRETE[2]
        inside = gypsum + slabs + (brick if self.is_insulated_outside else 0.0)
        return (brick + gypsum + slabs) / 3.6e6, inside / 3.6e6


def draw_room(generator: np.random.Generator) -> Room:
    """A random room."""
    drawn: dict[str, float] = {}
    for name, (low, high, is_log) in RANGES.items():
        value = generator.uniform(math.log(low), math.log(high)) if is_log else generator.uniform(low, high)
        drawn[name] = math.exp(value) if is_log else value
    has_second = generator.uniform() < SECOND_WINDOW_SHARE
    second = drawn["window_wall_ratio"] * generator.uniform(0.3, 1.0)
    density = drawn.pop("people_density")
    for name in ("occupied_from", "occupied_until"):  # a schedule's times are whole quarters of an hour
        drawn[name] = round(4 * drawn[name]) / 4
    return Room(
        second_window_wall_ratio=second if has_second else 0.0,
        is_insulated_outside=bool(generator.uniform() < 0.5),
        occupants=float(max(1, round(density * drawn["floor_area"]))),
        **drawn,
    )


def room_of(parameters: xr.Dataset) -> Room:
    """The room that one unit's `parameters` describe; DataError if they don't describe one."""
    values: dict[str, float] = {}
    for field in fields(Room):
        if field.name not in parameters:
            raise DataError(f"parameters lack {field.name!r}; give one unit of Rooms.parameters")
        if parameters[field.name].ndim:
            raise DataError(
                f"parameters[{field.name!r}] has dimensions {parameters[field.name].dims}; "
                "choose one unit: parameters.sel(unit=...)"
            )
        values[field.name] = float(parameters[field.name])
        if not math.isfinite(values[field.name]):
            raise DataError(f"parameters[{field.name!r}] is {values[field.name]}; a finite number is wanted")
    outside = bool(values.pop("is_insulated_outside"))
    return Room(is_insulated_outside=outside, **values)
