"""Features of weather and calendar that all units share: a small network, and how each unit answers to its outputs.

    φ(t) = tanh(network(weather of the last hours, calendar))          (f numbers in [-1, 1], one network for all units)
    q_u(t) = g_u0 + Σ_k g_uk φ_k(t)                                    [K/h] heat of the air of unit u

The gains g_u are private: they stand in the fingerprint, as those of any other driver do. The abstract that this family
follows (arXiv 2603.07601) names a "terminal sensitivity modulation" and says no more of it to us. **Ours** is this reading:
a private scale of each of the last shared features (g_uk, the "sensitivity") and a private shift (g_u0, the constant gain),
which is FiLM (Perez et al. 2018) on the network's end, summed into one heat. A new unit learns its gains and no weight.

Neither power nor the room's own temperature enters the network. So whatever the weights, a feature is a heat gain that
power can't change, and more power still cools more (see `drivers`); and |q_u - g_u0| <= Σ_k |g_uk|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import MLP, Flat
from surrogates.random import streams

from .drivers import exponential_mean
from .records import FACADES, Records

Floats = NDArray[np.float64]
#: weather enters as it is and as causal exponential means of these time constants [h]. Telling temperature and humidity as
#: departures from their slow means instead didn't help in a climate that the population hadn't seen
QUICK, SLOW = 3.0, 24.0
#: waves per day of the calendar's part
WAVES = 2
#: numbers that enter the network
INPUTS = 3 * (2 + len(FACADES)) + 2 * WAVES + 1


@dataclass(frozen=True, eq=False)
class Encoder:
    """The shared network with its weights.

    widths : of the hidden layers; count : f, features; weights : (P,) all parameters, as `networks.flatten` orders them
    mean, deviation : (INPUTS,) by which inputs are standardised, those of the population that it was trained on
    """

    widths: tuple[int, ...]
    count: int
    weights: Floats
    mean: Floats
    deviation: Floats

    def features(self, records: Records) -> Floats:
        """φ of each unit and step, from weather so far and the calendar.  -> (U, T, f) within ±1

        The first day counts as its own past (`drivers.exponential_mean`); after it no row depends on later ones.
        """
        inputs, which = distinct_inputs(records)
        standard = torch.from_numpy((inputs - self.mean) / self.deviation)
        with torch.no_grad():
            φ = bounded(network(self.widths, self.count), torch.from_numpy(self.weights), standard)
        return np.asarray(φ.numpy()[which])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that it consists of, for a file."""
        return {
            "sizes": np.array([*self.widths, self.count], dtype=np.int64),
            "weights": self.weights,
            "mean": self.mean,
            "deviation": self.deviation,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The encoder that `to_arrays` took apart.

        Raises
        ------
        DataError
            If an array lacks, or its shape or type isn't what `to_arrays` writes.
        """
        if missing := {"sizes", "weights", "mean", "deviation"} - set(arrays):
            raise DataError(f"an encoder lacks its arrays {', '.join(sorted(missing))}; was it stored by to_arrays()?")
        *widths, count = (int(n) for n in arrays["sizes"])
        expected = {"weights": (network(tuple(widths), count).size,), "mean": (INPUTS,), "deviation": (INPUTS,)}
        for name, shape in expected.items():
            found = arrays[name]
            if found.shape != shape or found.dtype != np.float64:
                raise DataError(
                    f"array {name!r} is {found.dtype} of shape {found.shape}; it must be float64 of {shape}"
                )
        return cls(tuple(widths), count, *(arrays[name].copy() for name in expected))


def network(widths: tuple[int, ...], count: int) -> Flat:
    """The network as a function of its weights; those that it is built with play no part."""
    return Flat(MLP((INPUTS, *widths, count), generator=streams(0, 1)[0]))


def bounded(net: Flat, weights: Tensor, standard: Tensor) -> Tensor:
    """φ at standardised inputs (..., INPUTS) -> (..., f)."""
    return torch.tanh(net(weights, standard))


def distinct_inputs(records: Records) -> tuple[Floats, NDArray[np.int64]]:
    """Inputs of the distinct series of weather, and which of them each unit has: neighbours share theirs.

    Returns
    -------
    (n, T, INPUTS): weather, its quick and slow means, waves of the day, weekend; (U,)
    """
    weather = np.concatenate(
        [records.outdoor[..., None], records.humidity[..., None], records.irradiance / 1000], axis=-1
    )
    _, first, which = np.unique(weather.reshape(records.units, -1), axis=0, return_index=True, return_inverse=True)
    weather = weather[first]  # (n, T, 7)
    angle = 2 * np.pi * np.outer(records.hour / 24, np.arange(1, WAVES + 1))  # (T, 2)
    calendar = np.concatenate([np.cos(angle), np.sin(angle), records.is_weekend[:, None]], axis=-1)
    calendar = np.broadcast_to(calendar, (len(first), *calendar.shape))
    means = [exponential_mean(weather, records.step_hours, hours) for hours in (QUICK, SLOW)]
    return np.concatenate([weather, *means, calendar], axis=-1), which.reshape(-1)
