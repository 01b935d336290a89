"""A room as a chain of thermal stores: air, or air and mass, or air, inner mass and deep mass.

    dT_a/dt = ko (T_o - T_a) + km (M - T_a)                        + q_a ∓ b P
    dM/dt   = kr (T_a - M)   + kmo (T_o - M)  + k2 (M2 - M)        + q_m
    dM2/dt  = kr2 (M - M2)

(- for cooling, + for heating.) Every number is a rate [1/h] or the gain b [K/h per kW electric], and these are what can be
identified from temperature and power. Capacities, resistances and the coefficient of performance can't be: they enter
only as 1/(R C) and COP/C. See `identifiability`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple, Self, cast

import torch
from torch import Tensor

from surrogates.errors import DataError

from .discretise import common_shape, zero_order_hold

Mode = Literal["cooling", "heating"]
#: names of the rates, in the order of the constructor
RATES = ("ko", "km", "kr", "kmo", "k2", "kr2")
_MEANING = {
    "ko": "air to outdoor",
    "km": "air to mass",
    "kr": "mass to air",
    "kmo": "mass to outdoor",
    "k2": "mass to deep mass",
    "kr2": "deep mass to mass",
    "gain": "air, per kW of electric power",
}


class Resistances(NamedTuple):
    """A room in physical quantities: capacities [kWh/K], resistances [K/kW]; None where the room has no such part."""

    air_capacity: Tensor
    air_to_outdoor: Tensor
    mass_capacity: Tensor | None = None
    air_to_mass: Tensor | None = None
    mass_to_outdoor: Tensor | None = None
    deep_capacity: Tensor | None = None
    mass_to_deep: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Stores:
    """Rates and gain of a room of one (ko), two (km, kr, kmo too) or three stores (k2, kr2 too).

    All are float64 tensors that broadcast; their common shape is the batch: units, draws, or nothing. Passive by
    construction: all are finite and >= 0, so that the generator has no negative entry off its diagonal and no positive row
    sum, and the room can't make energy out of nothing. Nothing else is asked. In a chain any two rates define the ratio of
    two capacities, C_m/C_a = km/kr and C_m2/C_m = k2/kr2, with which the conductors are reciprocal (detailed balance).

    ko, km, kr, kmo, k2, kr2 : rates [1/h]
    gain : b, cooling (heating) of the air per electric power [K/h per kW]; None for a room without a plug
    mode : whether power cools or heats

    Raises
    ------
    DataError
        If a rate or the gain is negative, not finite or not float64, or a store has only some of its rates.

    Examples
    --------
    >>> room = Stores.from_rates(ko=0.3, km=2.0, kr=0.05, kmo=0.02, gain=15.0)
    >>> room.count, room.input_names
    (2, ('outdoor', 'heat_air', 'heat_mass', 'power'))
    """

    ko: Tensor
    km: Tensor | None = None
    kr: Tensor | None = None
    kmo: Tensor | None = None
    k2: Tensor | None = None
    kr2: Tensor | None = None
    gain: Tensor | None = None
    mode: Mode = field(default="cooling", kw_only=True)

    def __post_init__(self) -> None:
        for name, meaning in _MEANING.items():
            _check(name, getattr(self, name), meaning)
        if self.mode not in ("cooling", "heating"):
            raise DataError(f"mode is {self.mode!r}; it must be 'cooling' or 'heating'")
        for names in (("km", "kr", "kmo"), ("k2", "kr2")):
            given = [name for name in names if getattr(self, name) is not None]
            if given and len(given) != len(names):
                raise DataError(
                    f"of {', '.join(names)} only {', '.join(given)} came; a store needs all of them or none"
                )
        if self.k2 is not None and self.km is None:
            raise DataError("k2 and kr2 came without km, kr and kmo; a deep mass needs an inner mass to hang on")
        try:
            common_shape(*(x.shape for x in self._given()))
        except RuntimeError as e:
            shapes = {f.name: tuple(x.shape) for f in fields(self) if isinstance(x := getattr(self, f.name), Tensor)}
            raise DataError(f"the rates have shapes that don't broadcast: {shapes}") from e

    @classmethod
    def from_rates(
        cls,
        *,
        ko: Tensor | float,
        km: Tensor | float | None = None,
        kr: Tensor | float | None = None,
        kmo: Tensor | float | None = None,
        k2: Tensor | float | None = None,
        kr2: Tensor | float | None = None,
        gain: Tensor | float | None = None,
        mode: Mode = "cooling",
    ) -> Self:
        """The same from plain numbers [1/h; K/h per kW]."""
        numbers = [None if x is None else _tensor(x) for x in (ko, km, kr, kmo, k2, kr2, gain)]
        return cls(cast(Tensor, numbers[0]), *numbers[1:], mode=mode)

    @classmethod
    def from_resistances(
        cls,
        *,
        air_capacity: Tensor | float,
        air_to_outdoor: Tensor | float,
        cop: Tensor | float,
        mass_capacity: Tensor | float | None = None,
        air_to_mass: Tensor | float | None = None,
        mass_to_outdoor: Tensor | float = math.inf,
        deep_capacity: Tensor | float | None = None,
        mass_to_deep: Tensor | float | None = None,
        mode: Mode = "cooling",
    ) -> Self:
        """From capacities [kWh/K], resistances [K/kW] and the (sensible) coefficient of performance.

        ko = 1/(R_ao C_a), km = 1/(R_am C_a), kr = 1/(R_am C_m), kmo = 1/(R_mo C_m), k2 = 1/(R_2 C_m), kr2 = 1/(R_2 C_2),
        gain = cop/C_a. A resistance may be infinite: no such path.

        Raises
        ------
        DataError
            If one isn't > 0, or a mass came without its resistance.
        """
        given = {
            "air_capacity": air_capacity, "air_to_outdoor": air_to_outdoor, "cop": cop, "mass_capacity": mass_capacity,
            "air_to_mass": air_to_mass, "mass_to_outdoor": mass_to_outdoor, "deep_capacity": deep_capacity,
            "mass_to_deep": mass_to_deep,
        }  # fmt: skip
        p = {name: _tensor(x) for name, x in given.items() if x is not None}
        for name, x in p.items():
            if not bool((x > 0).all()):
                raise DataError(f"{name} is {x.min():g} at its smallest; it must be > 0")
        for pair in (("mass_capacity", "air_to_mass"), ("deep_capacity", "mass_to_deep")):
            if (pair[0] in p) != (pair[1] in p):
                raise DataError(f"{pair[0]} and {pair[1]} belong together; only one of them came")
        C = p["air_capacity"]
        rates = {"ko": 1 / (p["air_to_outdoor"] * C), "gain": p["cop"] / C}
        if "mass_capacity" in p:
            Cm = p["mass_capacity"]
            rates |= {"km": 1 / (p["air_to_mass"] * C), "kr": 1 / (p["air_to_mass"] * Cm)}
            rates |= {"kmo": 1 / (p["mass_to_outdoor"] * Cm)}
            if "deep_capacity" in p:
                rates |= {"k2": 1 / (p["mass_to_deep"] * Cm), "kr2": 1 / (p["mass_to_deep"] * p["deep_capacity"])}
        elif "deep_capacity" in p:
            raise DataError("deep_capacity came without mass_capacity; a deep mass needs an inner mass to hang on")
        elif bool(torch.isfinite(p["mass_to_outdoor"]).any()):
            raise DataError(
                "mass_to_outdoor came without mass_capacity; give the mass, or add the path to air_to_outdoor"
            )
        return cls.from_rates(ko=rates.pop("ko"), **rates, mode=mode)

    def resistances(self, cop: Tensor | float | None = None) -> Resistances:
        """Capacities [kWh/K] and resistances [K/kW] that belong to a *known* coefficient of performance.

        Raises
        ------
        DataError
            Without a COP. From temperature and power only the rates 1/(R C) and the gain COP/C are identifiable; scaling
            all capacities, all conductances and the COP together changes no temperature.
        """
        if cop is None:
            raise DataError(
                "capacities and resistances are not identifiable without the coefficient of performance: temperature and "
                "power determine only the rates 1/(R C) and the gain COP/C, and COP alone is not among them; give cop= "
                "from a measurement of the heat delivered, or stay with the rates (the battery needs no more)"
            )
        η = _tensor(cop)
        if not bool((torch.isfinite(η) & (η > 0)).all()):
            raise DataError(f"cop is {η.min():g} at its smallest; it must be finite and > 0")
        C = η / self.plug
        found = [C, 1 / (self.ko * C)]
        if self.km is not None and self.kr is not None and self.kmo is not None:
            Cm = C * self.km / self.kr
            found += [Cm, 1 / (self.km * C), 1 / (self.kmo * Cm)]
            if self.k2 is not None and self.kr2 is not None:
                found += [Cm * self.k2 / self.kr2, 1 / (self.k2 * Cm)]
        return Resistances(*found)

    @property
    def count(self) -> int:
        """How many stores, 1-3."""
        return 1 if self.km is None else 2 if self.k2 is None else 3

    @property
    def batch(self) -> torch.Size:
        """The common shape of rates and gain."""
        return common_shape(*(x.shape for x in self._given()))

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the columns of `inputs()` take: degC, K/h, K/h, kW. A room of one store has no mass to heat."""
        return ("outdoor", "heat_air", "power") if self.count == 1 else ("outdoor", "heat_air", "heat_mass", "power")

    @property
    def plug(self) -> Tensor:
        """The gain [K/h per kW].

        Raises
        ------
        DataError
            If the room has none.
        """
        if self.gain is None:
            raise DataError("these stores have no gain, so no power moves them; give gain= in K/h per kW electric")
        return self.gain

    @property
    def sign(self) -> int:
        """What power does to the air: -1 for cooling, +1 for heating."""
        return -1 if self.mode == "cooling" else 1

    def generator(self) -> Tensor:
        """A of d(T_a, M, M2)/dt = A (T_a, M, M2) + ...  (..., n, n) [1/h]: no entry off the diagonal is negative."""
        o = torch.zeros_like(self.ko)
        km, kr, kmo, k2, kr2 = (o if x is None else x for x in (self.km, self.kr, self.kmo, self.k2, self.kr2))
        rows = ((-self.ko - km, km, o), (kr, -kr - kmo - k2, k2), (o, kr2, -kr2))
        return self._matrix([row[: self.count] for row in rows[: self.count]])

    def inputs(self) -> Tensor:
        """B of dx/dt = A x + B u, with the columns of `input_names`.  (..., n, m)"""
        o = torch.zeros_like(self.ko)
        one, power = torch.ones_like(o), self.sign * self.plug
        kmo = o if self.kmo is None else self.kmo
        if self.count == 1:
            return self._matrix([[self.ko, one, power]])
        return self._matrix([[self.ko, one, o, power], [kmo, o, one, o], [o, o, o, o]][: self.count])

    def step(self, step_hours: float) -> tuple[Tensor, Tensor]:
        """Exact (Φ, Γ) over a step with constant inputs; see `zero_order_hold`.  (..., n, n), (..., n, m)"""
        return zero_order_hold(self.generator(), self.inputs(), step_hours)

    def charging(self, step_hours: float) -> tuple[Tensor, Tensor]:
        """(Φ, γ) of charge alone, x[k+1] = Φ x[k] + γ v[k]: kelvin gained (cooler in cooling) by power v [kW], no weather.

        (..., n, n) and (..., n) [K/kW], both >= 0.
        """
        into_air = self._matrix([[self.plug], *[[torch.zeros_like(self.ko)]] * (self.count - 1)])
        Φ, Γ = zero_order_hold(self.generator(), into_air, step_hours)
        return Φ, Γ[..., 0]

    def capacities(self) -> Tensor:
        """Heat capacities relative to the air's, (..., n): 1, km/kr, (km/kr)(k2/kr2). Infinite where heat never returns."""
        found = [torch.ones_like(self.ko)]
        for there, back in ((self.km, self.kr), (self.k2, self.kr2)):
            if there is not None and back is not None:
                found.append(found[-1] * there / back)
        return torch.stack([x.expand(self.batch) for x in found], dim=-1)

    def modes(self) -> tuple[Tensor, Tensor]:
        """Rates at which the room forgets, slowest first [1/h], and the share of each in the air: λ, w, both (..., n).

            (e^{A t})_aa = Σ_j w_j e^{-λ_j t},     λ_j >= 0 real,  w_j >= 0,  Σ w_j = 1

        The generator of a chain is similar to a symmetric matrix with √(km kr), √(k2 kr2) off its diagonal, so that the
        air's answer to power is monotone and concave, whatever the rates.
        """
        A = self.generator()
        S = torch.diag_embed(torch.diagonal(A, dim1=-2, dim2=-1))
        for i in range(self.count - 1):
            S[..., i, i + 1] = S[..., i + 1, i] = (A[..., i, i + 1] * A[..., i + 1, i]).sqrt()
        λ, U = torch.linalg.eigh(-S)
        return λ.clamp_min(0.0), U[..., 0, :] ** 2  # rounding may leave -1e-17 in a closed room

    def _given(self) -> list[Tensor]:
        every = (self.ko, self.km, self.kr, self.kmo, self.k2, self.kr2, self.gain)
        return [x for x in every if x is not None]

    def _matrix(self, rows: Sequence[Sequence[Tensor]]) -> Tensor:
        shape = self.batch
        return torch.stack([torch.stack([x.expand(shape) for x in row], dim=-1) for row in rows], dim=-2)


def _tensor(x: Tensor | float) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def _check(name: str, x: object, meaning: str) -> None:
    if x is None and name != "ko":
        return
    if not isinstance(x, Tensor) or x.dtype != torch.float64:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"{name} ({meaning}) is of {kind}; give a float64 tensor, or use Stores.from_rates")
    if not bool((torch.isfinite(x) & (x >= 0)).all()):
        bad = x[~(torch.isfinite(x) & (x >= 0))].reshape(-1)[0]
        raise DataError(f"{name} ({meaning}) is {bad:g}; a passive room's rates and gain are finite and >= 0")
