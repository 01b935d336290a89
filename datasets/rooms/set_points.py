"""When and how the thermostats' set-points change: the random base, and the twins' planned tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

YEAR = 2025  # its 1 June is a Sunday, as in the simulation
DAYS_BEFORE_JUNE, DAYS = 151, 122  # June to September
STEPS_PER_DAY = 96
STEPS = DAYS * STEPS_PER_DAY
#: the last 24 of the 122 days; twins are kept from 5 days before
TEST_START, TWIN_START = 98 * STEPS_PER_DAY, 93 * STEPS_PER_DAY
#: of set-points [K]; the file keeps them exactly
RESOLUTION = 0.005
LOWEST, HIGHEST = 22.5, 27.5  # of the random set-points [degC]
SHORTEST, LONGEST = 2, 16  # how many steps one is held
STEADY = 24.0
OFF = 60.0


def random_set_points(generator: np.random.Generator) -> Floats:
    """(STEPS,) uniform in 22.5 to 27.5 degC, each held for 0.5 to 4 h."""
    values = generator.uniform(LOWEST, HIGHEST, STEPS // SHORTEST)
    lengths = generator.integers(SHORTEST, LONGEST + 1, STEPS // SHORTEST)
    held = np.repeat(values, lengths)[:STEPS]
    return np.asarray(np.round(held / RESOLUTION) * RESOLUTION)


@dataclass(frozen=True)
class Episode:
    """A change of the set-point on test days.

    start, end : hours of the day
    value : set-point [degC], or change of it [K] if the twin follows the base
    """

    start: float
    end: float
    value: float


@dataclass(frozen=True)
class Twin:
    """The same room under the same weather, with other set-points in the test period.

    name : as in the data
    description : for people
    is_steady : whether it holds 24 degC between the episodes, from TWIN_START on; otherwise it follows the base
    for_all : whether the population has it too, or the newcomers only
    episodes : on every third day of the test period, from its first
    """

    name: str
    description: str
    is_steady: bool
    for_all: bool
    episodes: tuple[Episode, ...]

    def set_points(self, base: Floats) -> Floats:
        """(STEPS,) this twin's set-points, made from those of the base."""
        values = base.copy()
        if self.is_steady:
            values[TWIN_START:] = STEADY
        for episode in self.episodes:
            during = _during(episode)
            values[during] = episode.value if self.is_steady else values[during] + episode.value
        return np.asarray(np.round(values / RESOLUTION) * RESOLUTION)

    def is_event(self) -> Flags:
        """(STEPS,) whether a step lies in an episode."""
        events = np.zeros(STEPS, dtype=np.bool_)
        for episode in self.episodes:
            events |= _during(episode)
        return events


def _during(episode: Episode) -> Flags:
    step = np.arange(STEPS)
    hour = (step % STEPS_PER_DAY + 0.5) * 24 / STEPS_PER_DAY
    day = (step - TEST_START) // STEPS_PER_DAY
    return np.asarray((day >= 0) & (day % 3 == 0) & (hour > episode.start) & (hour < episode.end))


TWINS = (
    Twin("precool", "random as the base, but 0.7 K lower from 12:00 to 16:00", False, False, (Episode(12, 16, -0.7),)),
    Twin("steady", "24 degC", True, True, ()),
    Twin("shed", "24 degC, but 26 degC from 14:00 to 17:00", True, True, (Episode(14, 17, 26.0),)),
    Twin(
        "shift",
        "24 degC, but 22.5 degC from 11:00 to 14:00 and 25.5 degC from 14:00 to 17:00",
        True,
        False,
        (Episode(11, 14, 22.5), Episode(14, 17, 25.5)),
    ),
    Twin("free", "24 degC, but switched off from 12:00 to 18:00", True, False, (Episode(12, 18, OFF),)),
)
