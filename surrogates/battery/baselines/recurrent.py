"""A recurrent network that units share: it reads the last 24 h and writes the next 24, fine-tuned to each newcomer.

An LSTM encodes the past (inputs and temperature); a second one, started from its state, runs over the hours to come with
their power and weather, and with what was read at the same hour of the day before. Its output is added to the temperature
at the start.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from surrogates.battery.drivers import ORIGIN
from surrogates.battery.records import Floats, Records
from surrogates.errors import DataError
from surrogates.random import streams

from .interface import Integers, check_forecast, last_known

#: columns of `_Arrays.inputs`
COLUMNS = 14


@dataclass(frozen=True)
class LSTM:
    """Encoder and decoder of `hidden` cells each.

    hidden : cells
    steps, batch, rate : of Adam on the population; the rate falls to nothing along half a cosine
    tuning_steps, tuning_rate : of a newcomer at most; the last quarter of its windows decides when to stop
    seed : of weights and batches
    """

    hidden: int = 48
    steps: int = 800
    batch: int = 64
    rate: float = 5e-3
    tuning_steps: int = 30
    tuning_rate: float = 1e-3
    seed: int = 0

    def fit(self, population: Records) -> FittedLSTM:
        """Train on random windows of all units.

        Raises
        ------
        DataError
            If the population is shorter than two days.
        """
        arrays = _Arrays.of(population)
        day = population.steps_per_day
        if population.steps < 2 * day + 2:
            raise DataError(
                f"population has {population.steps} steps; the network needs at least two days, {2 * day + 2} steps"
            )
        weights, draws = streams(self.seed, 2)
        network = _Network(self.hidden, weights)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        for _ in range(self.steps):
            units = torch.randint(population.units, (self.batch,), generator=draws)
            starts = torch.randint(day, population.steps - day - 1, (self.batch,), generator=draws)
            _descend(network, optimiser, arrays, units, starts, day)
            schedule.step()
        return FittedLSTM(self, network)


@dataclass(frozen=True, eq=False)
class FittedLSTM:
    """The population's network."""

    config: LSTM
    network: _Network

    def adapt(self, records: Records) -> RecurrentForecaster:
        """A copy for each unit, trained on as long as its own last windows gain by it."""
        arrays, day = _Arrays.of(records), records.steps_per_day
        first, last = min(day, records.steps // 4), records.steps - day - 1
        if last - first < 8:  # too short to train and to check on
            return RecurrentForecaster(tuple([self.network] * records.units))
        border = first + (last - first) * 3 // 4
        held_out = torch.linspace(border, last - 1, 12).long()
        generators = streams(self.config.seed + 1, records.units)
        return RecurrentForecaster(
            tuple(
                self._tuned(arrays, unit, (first, border), held_out, generators[unit], day)
                for unit in range(records.units)
            )
        )

    def _tuned(
        self, arrays: _Arrays, unit: int, rows: tuple[int, int], held_out: Tensor, draws: torch.Generator, day: int
    ) -> _Network:
        network, config = copy.deepcopy(self.network), self.config
        optimiser = torch.optim.Adam(network.parameters(), lr=config.tuning_rate)
        same = torch.full((len(held_out),), unit)
        best, lowest = network, np.inf
        for step in range(config.tuning_steps + 1):
            if step % 5 == 0:
                with torch.no_grad():
                    loss = float(_loss(network, arrays, same, held_out, day))
                if loss > lowest:
                    break
                best, lowest = copy.deepcopy(network), loss
            starts = torch.randint(*rows, (16,), generator=draws)
            _descend(network, optimiser, arrays, torch.full((16,), unit), starts, day)
        return best


@dataclass(frozen=True, eq=False)
class RecurrentForecaster:
    """One network per unit."""

    networks: tuple[_Network, ...]

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """See `Forecaster`."""
        check_forecast(records, starts, horizon, len(self.networks))
        arrays = _Arrays.of(records)
        first, day = torch.from_numpy(starts), records.steps_per_day
        found = np.empty((records.units, len(starts), horizon))
        with torch.no_grad():
            for unit, network in enumerate(self.networks):
                units = torch.full((len(starts),), unit)
                found[unit] = network(*arrays.windows(units, first, day, horizon)).double().numpy()
        return found + last_known(records.indoor)[:, starts, None]


@dataclass(frozen=True, eq=False)
class _Arrays:
    """inputs (U, T, c) and indoor (U, T) from ORIGIN [K], single precision; whether a row's temperature counts (U, T)."""

    inputs: Tensor
    indoor: Tensor
    counts: Tensor
    trusted: Tensor

    @staticmethod
    def of(records: Records) -> _Arrays:
        angle = 2 * np.pi * records.hour / 24
        waves = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle), records.is_weekend * 1.0]
        shape = (records.units, records.steps)
        load = records.power / records.rated_power[:, None]
        parts = [
            load,
            (records.outdoor - ORIGIN) / 10,
            (records.humidity - 12) / 5,
            *np.moveaxis(records.irradiance, 2, 0) / 500,
        ]
        parts += [np.broadcast_to(wave, shape) for wave in waves] + [np.ones(shape)]
        indoor = np.nan_to_num(last_known(records.indoor) - ORIGIN)
        return _Arrays(
            torch.from_numpy(np.stack(parts, axis=-1).astype(np.float32)),
            torch.from_numpy(indoor.astype(np.float32)),
            torch.from_numpy(np.isfinite(records.indoor)),
            torch.from_numpy(records.is_known.copy()),
        )

    def windows(self, units: Tensor, starts: Tensor, day: int, horizon: int) -> tuple[Tensor, Tensor]:
        """Inputs of encoder (B, day, c + 2) and decoder (B, H, 2c + 1)."""
        unit = units[:, None]
        past = (starts[:, None] + torch.arange(1 - day, 1)).clamp(min=0)
        step = torch.arange(1, horizon + 1)
        ahead = starts[:, None] + step
        before = (ahead - day * (1 + (step - 1) // day)).clamp(min=0)
        now = self.indoor[units, starts][:, None]
        T = self.indoor[unit, past]
        encoder = torch.cat([self.inputs[unit, past], (T - now)[..., None], T[..., None] / 5], dim=-1)
        yesterday = (self.indoor[unit, before] - now)[..., None]
        decoder = torch.cat([self.inputs[unit, ahead], self.inputs[unit, before], yesterday], dim=-1)
        return encoder, decoder


class _Network(nn.Module):
    def __init__(self, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        width = COLUMNS
        self.encoder = nn.LSTM(width + 2, hidden, batch_first=True)
        self.decoder = nn.LSTM(2 * width + 1, hidden, batch_first=True)
        self.head = nn.Linear(hidden + 2 * width + 1, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator)

    def forward(self, past: Tensor, ahead: Tensor) -> Tensor:
        """Change since the start (B, H) [K]."""
        _, state = self.encoder(past)
        out, _ = self.decoder(ahead, state)
        change: Tensor = self.head(torch.cat([out, ahead], dim=-1))[..., 0]
        return change


def _loss(network: _Network, arrays: _Arrays, units: Tensor, starts: Tensor, day: int) -> Tensor:
    ahead = starts[:, None] + torch.arange(1, day + 1)
    unit = units[:, None]
    change = arrays.indoor[unit, ahead] - arrays.indoor[units, starts][:, None]
    fine = arrays.counts[unit, ahead] & (~arrays.trusted[unit, ahead]).cumsum(1).eq(0)
    square = (network(*arrays.windows(units, starts, day, day)) - change) ** 2
    loss: Tensor = (square * fine).sum() / fine.sum().clamp(min=1)
    return loss


def _descend(
    network: _Network, optimiser: torch.optim.Optimizer, arrays: _Arrays, units: Tensor, starts: Tensor, day: int
) -> None:
    optimiser.zero_grad()
    _loss(network, arrays, units, starts, day).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


__all__ = ["LSTM", "FittedLSTM", "RecurrentForecaster"]
