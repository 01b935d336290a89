"""The exact map between a room's thermal stores and a battery.

With the band [T_min, T_max], ΔT its width, and s the state of charge (SOC) of each store,

    cooling:  s_j = (T_max - T_j)/ΔT  (cold = full)        heating:  s_j = (T_j - T_min)/ΔT  (warm = full)
    E_a = ΔT/b,  E_m = E_a km/kr,  E_2 = E_m k2/kr2 [kWh electric];  g_ao = ko E_a,  g_am = km E_a,  g_mo = kmo E_m,
    g_m2 = k2 E_m [kW per unit of SOC]

    E_a ds_a/dt = P - P0_a - g_ao s_a - g_am (s_a - s_m)
    E_m ds_m/dt =   - P0_m - g_mo s_m - g_am (s_m - s_a) - g_m2 (s_m - s_2)
    E_2 ds_2/dt =                                        - g_m2 (s_2 - s_m)

The map is affine and invertible, so both forms have the same trajectories and eigenvalues; that is all that "isomorphic"
can mean. It needs no capacity, resistance or COP, only what is identifiable. Only the air's SOC is a matter of comfort and
bounded to [0, 1]; the masses' may leave it, and P0 may be negative on cool days: neither is ever clipped.

Where the efficiency follows the weather, multiply the power by `efficiency_factor` and keep everything else at the
reference: the state is thermal (SOC), so that no term s dE/dt appears.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from surrogates.errors import DataError

from .discretise import common_shape, rollout, zero_order_hold
from .stores import Mode, Stores


def soc_of(temperature: Tensor, lowest: Tensor, highest: Tensor, mode: Mode = "cooling") -> Tensor:
    """State of charge of temperatures [degC] in a band, unclipped: 1 at the cold end in cooling, at the warm in heating.

    Raises
    ------
    DataError
        If the band is empty or the mode unknown.
    """
    _check_band(lowest, highest, mode)
    return ((highest - temperature) if mode == "cooling" else (temperature - lowest)) / (highest - lowest)


def temperature_of(soc: Tensor, lowest: Tensor, highest: Tensor, mode: Mode = "cooling") -> Tensor:
    """Temperature [degC] that belongs to a state of charge; the inverse of `soc_of`."""
    _check_band(lowest, highest, mode)
    width = highest - lowest
    return highest - width * soc if mode == "cooling" else lowest + width * soc


def efficiency_factor(
    outdoor: Tensor, slope: Tensor | float, *, reference: float = 30.0, largest: float = 2.0
) -> Tensor:
    """What the weather makes of the gain: f = exp(-L tanh(slope (T_o - reference)/L)), L = ln largest.

    Positive and inside (1/largest, largest) in any weather, 1 at the reference, and there df/dT_o = -slope: an air
    conditioner gets weaker as it gets hot outside (slope > 0), a heat pump as it gets cold (slope < 0).

    Parameters
    ----------
    outdoor : T_o [degC]
    slope : relative loss per kelvin [1/K]
    reference : T_o where the gain is the stores' own [degC]
    largest : bound of the factor, > 1

    Raises
    ------
    DataError
        If largest isn't above 1.

    Examples
    --------
    >>> [f"{f:.4f}" for f in efficiency_factor(torch.tensor([30.0, 31.0]), 0.02).tolist()]
    ['1.0000', '0.9802']
    """
    if not (math.isfinite(largest) and largest > 1):
        raise DataError(f"largest is {largest}; it bounds a factor that may rise and fall, so it must be > 1")
    L = math.log(largest)
    return torch.exp(-L * torch.tanh(slope * (outdoor - reference) / L))


@dataclass(frozen=True, eq=False)
class BatteryForm:
    """Leaky stores of electric energy in a chain, joined by conductors; only the first has a plug.

    capacity : (..., n) E [kWh electric] per unit of SOC
    leak : (..., n) g to the outdoors [kW per unit of SOC]; a deep mass, the third, has none
    link : (..., n - 1) g between neighbours [kW per unit of SOC]
    lowest, highest : temperature band [degC], of the batch shape or scalars
    mode : whether power cools or heats

    Raises
    ------
    DataError
        If a capacity isn't > 0 and finite, a conductor isn't >= 0, the band is empty or shapes don't agree.
    """

    capacity: Tensor
    leak: Tensor
    link: Tensor
    lowest: Tensor
    highest: Tensor
    mode: Mode = "cooling"

    def __post_init__(self) -> None:
        n = self.capacity.shape[-1]
        if not 1 <= n <= 3 or self.leak.shape[-1] != n or self.link.shape[-1] != n - 1:
            raise DataError(
                f"capacity, leak and link end in {n}, {self.leak.shape[-1]} and {self.link.shape[-1]} entries; "
                f"n stores (1-3) need n, n and n - 1"
            )
        if not bool((torch.isfinite(self.capacity) & (self.capacity > 0)).all()):
            raise DataError(
                "a capacity isn't > 0 and finite; a battery needs power that moves the air (gain > 0) and masses that "
                "exchange heat with it both ways (km, kr > 0, and k2, kr2 > 0): use fewer stores, or check the rates"
            )
        for name, g in (("leak", self.leak), ("link", self.link)):
            if not bool((torch.isfinite(g) & (g >= 0)).all()):
                raise DataError(f"{name} holds a conductor that isn't finite and >= 0; a passive room has none such")
        if n == 3 and bool((self.leak[..., 2] != 0).any()):
            raise DataError("the deep mass leaks to the outdoors; in this chain it reaches them only through the inner")
        _check_band(self.lowest, self.highest, self.mode)

    @classmethod
    def from_stores(cls, stores: Stores, lowest: Tensor | float, highest: Tensor | float) -> Self:
        """The battery of a room in a band [degC]."""
        low, high = (torch.as_tensor(x, dtype=torch.float64) for x in (lowest, highest))
        _check_band(low, high, stores.mode)
        E = ((high - low) / stores.plug)[..., None] * stores.capacities()  # (..., n)
        o = torch.zeros_like(stores.ko)
        leaks = [stores.ko, *(o if x is None else x for x in (stores.kmo, None))][: stores.count]
        links = [x for x in (stores.km, stores.k2) if x is not None]
        shape = E.shape[:-1]
        leak = E * torch.stack([x.expand(shape) for x in leaks], dim=-1)
        link = E[..., :0] if not links else E[..., :-1] * torch.stack([x.expand(shape) for x in links], dim=-1)
        return cls(E, leak, link, low, high, stores.mode)

    def to_stores(self) -> Stores:
        """The room of a battery: the inverse of `from_stores`."""
        E, n = self.capacity, self.capacity.shape[-1]
        out = self.leak / E
        there, back = self.link / E[..., :-1], self.link / E[..., 1:]
        others: list[Tensor | None] = [None, None, None, None, None, (self.highest - self.lowest) / E[..., 0]]
        if n > 1:
            others[:3] = [there[..., 0], back[..., 0], out[..., 1]]
        if n > 2:
            others[3:5] = [there[..., 1], back[..., 1]]
        return Stores(out[..., 0], *others, mode=self.mode)

    def soc(self, temperature: Tensor) -> Tensor:
        """SOC of the stores' temperatures (..., n) [degC], unclipped."""
        return soc_of(temperature, self.lowest[..., None], self.highest[..., None], self.mode)

    def temperature(self, soc: Tensor) -> Tensor:
        """Temperatures (..., n) [degC] of the stores' SOC."""
        return temperature_of(soc, self.lowest[..., None], self.highest[..., None], self.mode)

    def total_soc(self, soc: Tensor) -> Tensor:
        """Σ E_j s_j / Σ E_j.  (..., n) -> (...)"""
        return (self.capacity * soc).sum(-1) / self.capacity.sum(-1)

    def zero_power(self, outdoor: Tensor, heat_air: Tensor | float = 0.0, heat_mass: Tensor | float = 0.0) -> Tensor:
        """P0: the power each store would need to stay at s = 0, (..., n) [kW]; negative when the weather does the work.

            cooling:  P0_j = (E_j/ΔT) [k_jo (T_o - T_max) + q_j]        heating:  P0_j = -(E_j/ΔT) [k_jo (T_o - T_min) + q_j]

        Parameters
        ----------
        outdoor : T_o [degC], of the batch shape, with any further dimensions in front
        heat_air, heat_mass : q_a, q_m [K/h], the deep mass has none

        Raises
        ------
        DataError
            If heat is to go into the mass of a room without.
        """
        n, sign = self.capacity.shape[-1], 1 if self.mode == "cooling" else -1
        q = [torch.as_tensor(x, dtype=torch.float64) for x in (heat_air, heat_mass)]
        if n == 1 and bool((q[1] != 0).any()):
            raise DataError("heat_mass isn't 0, but these stores have no mass; give all heat as heat_air")
        datum = self.highest if self.mode == "cooling" else self.lowest
        shape = common_shape(outdoor.shape, self.capacity.shape[:-1], q[0].shape, q[1].shape)
        heat = torch.stack([x.expand(shape) for x in (*q, torch.zeros((), dtype=torch.float64))], dim=-1)[..., :n]
        above = (outdoor - datum).expand(shape)[..., None]
        width = (self.highest - self.lowest)[..., None]
        return sign / width * (self.leak * above + self.capacity * heat)

    def generator(self) -> Tensor:
        """F of ds/dt = F s + diag(1/E) (P - P0_a, -P0_m, -P0_2)'.  (..., n, n) [1/h]"""
        o = torch.zeros_like(self.capacity[..., :1])
        before, after = torch.cat([o, self.link], -1), torch.cat([self.link, o], -1)
        G = torch.diag_embed(-self.leak - before - after)
        if self.link.shape[-1]:
            G = G + torch.diag_embed(self.link, offset=1) + torch.diag_embed(self.link, offset=-1)
        return G / self.capacity[..., None]

    def step(self, step_hours: float) -> tuple[Tensor, Tensor]:
        """Exact (Φ, Γ) of s[k+1] = Φ s[k] + Γ (P - P0_a, -P0_m, -P0_2)'.  Both (..., n, n)"""
        return zero_order_hold(self.generator(), torch.diag_embed(1 / self.capacity), step_hours)

    def simulate(self, soc: Tensor, power: Tensor, zero_power: Tensor, step_hours: float) -> Tensor:
        """SOC at the ends of the steps, (..., T, n).

        Parameters
        ----------
        soc : (..., n) at the start
        power : (..., T) [kW], times the efficiency factor where that isn't 1
        zero_power : (..., T, n) [kW]
        """
        u = -zero_power
        u = torch.cat([(u[..., :1] + power[..., None]), u[..., 1:].expand(*power.shape, -1)], dim=-1)
        return rollout(*self.step(step_hours), soc, u)

    def holding_power(self, soc: Tensor, zero_power: Tensor) -> Tensor:
        """Power that stops the air's SOC at this moment: P0_a + g_ao s_a + g_am (s_a - s_m).  (..., n), (..., n) -> (...)

        It depends on the mass, so that no function of the weather alone is the baseline.
        """
        power = zero_power[..., 0] + self.leak[..., 0] * soc[..., 0]
        if self.link.shape[-1]:
            power = power + self.link[..., 0] * (soc[..., 0] - soc[..., 1])
        return power

    def hold(self, soc: Tensor, target: Tensor, zero_power: Tensor, step_hours: float) -> tuple[Tensor, Tensor]:
        """Closed loop: the power, constant over each step, that brings the air to a target SOC at the step's end.

        Parameters
        ----------
        soc : (..., n) at the start
        target : (..., T) of the air at the ends of the steps
        zero_power : (..., T, n) [kW]

        Returns
        -------
        power : (..., T) [kW], unclipped: negative where only heating (cooling) would do
        soc : (..., T, n)
        """
        Φ, Γ = self.step(step_hours)
        powers, states = [], []
        for k in range(zero_power.shape[-2]):
            soc = (Φ @ soc[..., None])[..., 0] - (Γ @ zero_power[..., k, :, None])[..., 0]
            power = (target[..., k] - soc[..., 0]) / Γ[..., 0, 0]
            soc = soc + power[..., None] * Γ[..., 0]
            powers.append(power)
            states.append(soc)
        return torch.stack(powers, dim=-1), torch.stack(states, dim=-2)


def _check_band(lowest: Tensor, highest: Tensor, mode: str) -> None:
    if mode not in ("cooling", "heating"):
        raise DataError(f"mode is {mode!r}; it must be 'cooling' or 'heating'")
    width = highest - lowest
    if not bool((torch.isfinite(width) & (width > 0)).all()):
        raise DataError(
            f"the temperature band has a width of {float(width.min()):g} K at its narrowest; highest must be above lowest"
        )
