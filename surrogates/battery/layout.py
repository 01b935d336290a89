"""The private fingerprint of a unit: which number stands where, and what it means.

All numbers θ are free (unbounded); the transformations below keep every physical quantity inside its meaning, so that no
step of an optimiser can leave it:

    log      rates, gains and solar apertures        k = exp θ > 0
    bounded  how the cooling per kW varies           a = bound · tanh θ
    plain    heat gains by the calendar, observer gains, shares of usual innovations that recur, initial offsets
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .records import FACADES

Floats = NDArray[np.float64]

#: states: air, inner mass, deep mass, disturbance (a heat gain of the air that nobody measured)
STATES = ("air", "mass", "deep mass", "disturbance")
#: rates [1/h] in the order of `Stores`, and that of the disturbance
RATES = (
    "air to outdoor",
    "air to mass",
    "mass to air",
    "mass to outdoor",
    "mass to deep mass",
    "deep mass to mass",
    "decay of the disturbance",
)
#: waves per day in the heat gains of weekdays and of weekends: people and machines come and go at steps
HARMONICS = 4
CALENDAR = (
    "constant",
    "weekend",
    *(
        f"{days} {wave} {k} a day"
        for days in ("weekday", "weekend")
        for k in range(1, HARMONICS + 1)
        for wave in ("cos", "sin")
    ),
)
#: what the last day left: 24-h means of the sun on the roof [per .06 kW/m²] and of humidity [per 3 g/kg]
LAST_DAY = ("sun of the last day", "humidity of the last day")
GAINS = (*CALENDAR, *LAST_DAY)
#: memories of what was usual at an hour of the day
MEMORIES = ("yesterday", "the last days of this kind")
#: how the cooling per kW varies with outdoor temperature (per 10 K), humidity (per 5 g/kg) and load, and the largest values.
#: Their worst sum stays below 1 (see `drivers`), so that more power cools more under all circumstances
VARIATION = ("outdoor temperature", "humidity", "load")
LARGEST_VARIATION = (0.25, 0.15, 0.15)
#: parameters that describe one record rather than the unit: how far the masses were from the mean temperature at its start
NUISANCES = 2
#: mean and standard deviation of a unit's gain by a learnt feature, which is within ±1 [K/h], before data were seen: small,
#: since what a network makes of seasons and climates that it wasn't shown can then harm little. Measured on 48 rooms: free
#: gains grew to .9 K/h, which helped under some of the population's skies and harmed under one that it hadn't seen
FEATURE_GAIN = (0.2, 0.05)


@dataclass(frozen=True)
class Layout:
    """Where each number of a fingerprint stands.

    features : number of learnt features that all units share; each unit has a gain of its own for each
    """

    features: int = 0
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [
            *(f"rate, {name}" for name in RATES),
            "cooling per power",
            *(f"cooling by {name}" for name in VARIATION),
            *(f"sun on air, {name}" for name in FACADES),
            *(f"sun on mass, {name}" for name in FACADES),
            *(f"gain, {name}" for name in GAINS),
            *(f"gain, feature {k}" for k in range(self.features)),
            *(f"observer, {name}" for name in STATES),
            *(f"share of {name}" for name in MEMORIES),
            "start of mass",
            "start of deep mass",
        ]
        object.__setattr__(self, "names", tuple(names))

    @property
    def size(self) -> int:
        """Numbers in a fingerprint, P."""
        return len(self.names)

    @property
    def shared_size(self) -> int:
        """Numbers that describe the unit (all but the nuisances); the population prior is over these."""
        return self.size - NUISANCES

    @property
    def rates(self) -> slice:
        """Logarithms of the rates."""
        return slice(0, 7)

    @property
    def cooling(self) -> int:
        """Logarithm of the cooling of the air per nominal power [K/h]."""
        return 7

    @property
    def variation(self) -> slice:
        """How the cooling varies."""
        return slice(8, 11)

    @property
    def sun_on_air(self) -> slice:
        """Logarithms of [K/h per kW/m²]."""
        return slice(11, 16)

    @property
    def sun_on_mass(self) -> slice:
        """Logarithms of [K/h per kW/m²]."""
        return slice(16, 21)

    @property
    def gains(self) -> slice:
        """Heat gains of the air by the calendar, by what the last day left and by learnt features [K/h]."""
        return slice(21, 21 + len(GAINS) + self.features)

    @property
    def observer(self) -> slice:
        """Gains of the observer, one per state."""
        return slice(self.gains.stop, self.gains.stop + len(STATES))

    @property
    def shares(self) -> slice:
        """Shares of the memories of innovations that recur."""
        return slice(self.observer.stop, self.observer.stop + len(MEMORIES))

    @property
    def start(self) -> slice:
        """Offsets of the masses at the record's start [K]."""
        return slice(self.shares.stop, self.shares.stop + 2)

    @property
    def columns(self) -> int:
        """Number of drivers: outdoor temperature, 5 irradiances, GAINS, features, power and its 3 variations."""
        return 1 + len(FACADES) + len(GAINS) + self.features + 1 + len(VARIATION)


def hand_prior(layout: Layout) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a fingerprint before any data were seen.  (P,) each.

    Light to heavy rooms, glazed by a tenth to a half, cooled by units sized for them; wide on purpose.
    """
    mean, deviation = np.zeros(layout.size), np.ones(layout.size)
    mean[layout.rates] = np.log([0.35, 4.0, 0.12, 0.03, 0.04, 0.017, 0.18])
    deviation[layout.rates] = (0.7, 0.6, 0.7, 0.7, 0.7, 0.7, 0.6)
    mean[layout.cooling], deviation[layout.cooling] = np.log(50.0), 0.6
    deviation[layout.variation] = 0.6
    mean[layout.variation.start] = -0.3
    mean[layout.sun_on_air], deviation[layout.sun_on_air] = np.log(3.0), 1.0
    mean[layout.sun_on_mass], deviation[layout.sun_on_mass] = np.log(0.15), 1.0
    mean[layout.gains.start], deviation[layout.gains] = 4.0, 1.5
    deviation[layout.gains.start] = 4.0
    last_day = layout.gains.start + len(CALENDAR)
    mean[last_day : last_day + len(LAST_DAY)], deviation[last_day : last_day + len(LAST_DAY)] = 0.0, 0.5
    features = slice(layout.gains.stop - layout.features, layout.gains.stop)
    mean[features], deviation[features] = FEATURE_GAIN
    mean[layout.observer], deviation[layout.observer] = (0.9, 0.2, 0.03, 1.0), (0.15, 0.15, 0.05, 1.0)
    mean[layout.shares], deviation[layout.shares] = 0.3, 0.3
    return mean, deviation
