"""Thermal circuits with one or two stores (1R1C, 2R2C), fitted to the 24-h open-loop errors of each unit alone.

    dT/dt = k_o (To - T) [+ k_m (M - T)] + Σ g_j G_j + q_0 + q_1 cos ωt + q_2 sin ωt - b p
    dM/dt = k_r (T - M) + g_m G_1

p = power / rated power, G the irradiances of the facades. Inputs are constant within a step, so that the matrix exponential
is exact. The inner mass M, which nobody measures, is warmed up over the 24 h before a start by the measured temperature.
Parameters are found by Levenberg-Marquardt with a weak prior from what rooms are like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from surrogates.battery.drivers import ORIGIN
from surrogates.battery.records import FACADES, Floats, Records

from .cold_starts import ColdStart, by_days, cold_starts, judged, mean_rmse
from .fitting import DAY_ERROR, Windows
from .interface import Integers, check_forecast, rows_ahead
from .linear import Prepared
from .terms import Terms

#: rates [1/h], cooling [K/h], sun on air and mass [K/h per kW/m²] enter by their logarithms
MEANS = (*np.log([0.35, 50.0]), *[np.log(3.0)] * len(FACADES), 4.0, 0.0, 0.0, *np.log([4.0, 0.12, 0.15]), 0.0)
DEVIATIONS = (0.8, 0.8, *[1.2] * len(FACADES), 4.0, 1.5, 1.5, 0.8, 0.8, 1.2, 1.0)
#: with one store all heat goes through the air alone, which then stands for the whole room
ONE_STORE_MEANS = (*np.log([0.06, 6.0]), *[np.log(0.5)] * len(FACADES), 0.5, 0.0, 0.0)
ONE_STORE = 2 + len(FACADES) + 3
LENGTHS = (1.0, 0.3, 0.1)


@dataclass(frozen=True)
class OutputError:
    """A thermal circuit per unit.

    stores : 1 or 2
    weights : of the prior that are tried on population units
    windows, iterations : of the fit
    tuning_units : how many population units rehearse
    """

    stores: Literal[1, 2] = 2
    weights: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    windows: int = 40
    iterations: int = 20
    tuning_units: int = 8

    def fit(self, population: Records) -> FittedOutputError:
        """Tune the weight of the prior; units share nothing else."""
        some = np.unique(np.linspace(0, population.units - 1, self.tuning_units).astype(np.int64))
        records = population.of(some)
        tuned = []
        for days, cases in cold_starts(records).items():
            scores = [float(np.mean([self._error(records, case, weight) for case in cases])) for weight in self.weights]
            tuned.append((days, self.weights[int(np.argmin(scores))], min(scores)))
        return FittedOutputError(self, tuple(tuned))

    def _error(self, records: Records, case: ColdStart, weight: float) -> float:
        """Error of one rehearsal [K]."""
        day = records.steps_per_day
        forecaster = self.adapted(records.during(case.first, case.last), weight)
        forecast = forecaster.forecast(records, case.starts, day)
        fine = judged(records, case.starts)
        truth = np.where(fine, records.indoor[:, rows_ahead(case.starts, day)], 0.0)
        return mean_rmse(forecast - truth, fine)

    def adapted(self, records: Records, weight: float) -> CircuitForecaster:
        """Circuits of these units under a prior of this weight."""
        data = Prepared.of(records, Terms(1, "plain", 1, 1, 1))
        windows = Windows.of(data, self.windows)
        inputs = inputs_of(records)
        means, precision = hand_prior(self.stores)
        precision = weight * precision
        θ = np.tile(means, (records.units, 1))
        if len(windows.starts) == 0:
            return CircuitForecaster(self.stores, θ)
        error_of = _errors(data, inputs, windows, self.stores)
        value, damping = _value(error_of(θ), θ, means, precision), np.full(records.units, 1e-2)
        for _ in range(self.iterations):
            step = _step(error_of, θ, means, precision, damping)
            trial = θ + step
            found = _value(error_of(trial), trial, means, precision)
            better = found < value
            θ, value = np.where(better[:, None], trial, θ), np.where(better, found, value)
            damping = np.where(better, damping / 5, damping * 8)
        return CircuitForecaster(self.stores, θ)


def hand_prior(stores: int) -> tuple[Floats, Floats]:
    """Means and precisions of the parameters.  (P,) each"""
    if stores == 1:
        return np.array(ONE_STORE_MEANS), 1 / np.array(DEVIATIONS[:ONE_STORE]) ** 2
    return np.array(MEANS), 1 / np.array(DEVIATIONS) ** 2


def inputs_of(records: Records) -> Floats:
    """p, To from ORIGIN, irradiances [kW/m²], 1, cos, sin.  -> (U, T, 10)"""
    angle = 2 * np.pi * records.hour / 24
    waves = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], axis=-1)
    calendar = np.broadcast_to(waves, (records.units, records.steps, 3))
    load = records.power / records.rated_power[:, None]
    own = np.stack([load, records.outdoor - ORIGIN], axis=-1)
    return np.concatenate([own, records.irradiance / 1000, calendar], axis=-1)


def step_matrices(θ: Floats, stores: int, hours: float) -> tuple[Floats, Floats]:
    """Φ (U, s, s) and Γ (U, s, 10) of x[k+1] = Φ x[k] + Γ u, exactly."""
    U, s = len(θ), stores
    A, B = np.zeros((U, s, s)), np.zeros((U, s, ONE_STORE))
    ko, b, sun = np.exp(θ[:, 0]), np.exp(θ[:, 1]), np.exp(θ[:, 2 : 2 + len(FACADES)])
    A[:, 0, 0] = -ko
    B[:, 0, 0], B[:, 0, 1], B[:, 0, 2:7], B[:, 0, 7:] = -b, ko, sun, θ[:, 7:10]
    if s == 2:
        km, kr, gm = np.exp(θ[:, 10:13]).T
        A[:, 0, 0] -= km
        A[:, 0, 1], A[:, 1, 0], A[:, 1, 1], B[:, 1, 2] = km, kr, -kr, gm
    whole = np.zeros((U, 2 * s, 2 * s))
    whole[:, :s, :s], whole[:, :s, s:] = A * hours, np.eye(s) * hours
    E = torch.linalg.matrix_exp(torch.from_numpy(whole)).numpy()
    return E[:, :s, :s], E[:, :s, s:] @ B


def simulate(θ: Floats, stores: int, data: Prepared, inputs: Floats, starts: Integers, horizon: int) -> Floats:
    """Open-loop temperatures from ORIGIN.  θ (U, P) -> (U, S, H)"""
    Φ, Γ = step_matrices(θ, stores, 24 / data.day)
    Φt = Φ.transpose(0, 2, 1)
    g = np.matmul(inputs, Γ.transpose(0, 2, 1))  # (U, T, s)
    x = np.repeat(data.indoor[:, starts, None], stores, axis=2)  # (U, S, s)
    if stores == 2:
        rows = np.maximum(starts[:, None] + np.arange(-data.day, 1), 0)
        measured, pushed = data.indoor[:, rows], g[:, rows, 1]  # (U, S, day + 1)
        measured = np.where(np.isnan(measured), measured[:, :, -1:], measured)  # before the first reading
        mass = measured[:, :, 0] + θ[:, 13, None]
        to, stay = Φ[:, 1, 0, None], Φ[:, 1, 1, None]
        for k in range(1, data.day + 1):
            mass = to * measured[:, :, k - 1] + stay * mass + pushed[:, :, k]
        x[:, :, 1] = mass
    found = np.empty((len(θ), len(starts), horizon))
    f = g[:, rows_ahead(starts, horizon)]  # (U, S, H, s)
    for h in range(horizon):
        x = np.matmul(x, Φt) + f[:, :, h]
        found[:, :, h] = x[..., 0]
    return found


@dataclass(frozen=True, eq=False)
class FittedOutputError:
    """(days, weight of the prior, error of the rehearsals [K]) for each size of training."""

    config: OutputError
    tuned: tuple[tuple[float, float, float], ...]

    def adapt(self, records: Records) -> CircuitForecaster:
        """Fit a circuit to each unit."""
        days = records.steps / records.steps_per_day
        weights = np.log([t[1] for t in self.tuned])
        return self.config.adapted(records, float(np.exp(by_days(days, tuple(t[0] for t in self.tuned), weights))))


@dataclass(frozen=True, eq=False)
class CircuitForecaster:
    """Circuits with parameters θ (U, P)."""

    stores: int
    parameters: Floats

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """See `Forecaster`."""
        check_forecast(records, starts, horizon, len(self.parameters))
        data = Prepared.of(records, Terms(1, "plain", 1, 1, 1))
        return simulate(self.parameters, self.stores, data, inputs_of(records), starts, horizon) + ORIGIN


def _errors(data: Prepared, inputs: Floats, windows: Windows, stores: int) -> Callable[[Floats], Floats]:
    """A function of θ: weighted errors (U, S·H)."""
    weight = np.sqrt(windows.weight) / DAY_ERROR

    def error(θ: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            forecast = simulate(θ, stores, data, inputs, windows.starts, windows.horizon)
            return np.where(weight > 0, (forecast - windows.truth) * weight, 0.0).reshape(len(θ), -1)

    return error


def _value(error: Floats, θ: Floats, means: Floats, precision: Floats) -> Floats:
    total = (error**2).sum(axis=1) + ((θ - means) ** 2 * precision).sum(axis=1)
    return np.where(np.isfinite(total), total, np.inf)


def _step(error_of: Callable[[Floats], Floats], θ: Floats, means: Floats, precision: Floats, damping: Floats) -> Floats:
    """A Levenberg-Marquardt step (U, P), Jacobian by forward differences."""
    U, P = θ.shape
    error = error_of(θ)
    J = np.empty((U, error.shape[1], P))
    for k in range(P):
        moved = θ.copy()
        moved[:, k] += 1e-5
        J[:, :, k] = (error_of(moved) - error) / 1e-5
    J = np.nan_to_num(J, posinf=0.0, neginf=0.0)
    H = np.matmul(J.transpose(0, 2, 1), J) + np.diag(precision)
    H += damping[:, None, None] * np.eye(P) * np.diagonal(H, axis1=1, axis2=2)[:, None, :]
    g = np.matmul(J.transpose(0, 2, 1), np.nan_to_num(error)[..., None])[..., 0] + (θ - means) * precision
    return np.clip(np.linalg.solve(H, -g[..., None])[..., 0], -1.0, 1.0)
