"""How the shared encoder is learnt: weights of all and gains of each unit, jointly, by open-loop forecasts.

Given are fingerprints θ that were fitted without these features. A feature's heat q(t) changes what the two runs of
`observer` make of a record, and since these are linear in q the change is exact, not a linearisation:

    observed   δ⁻ = Φ δ̂ + Γ_a q,   Δe = -δ⁻_a,   δ̂ = δ⁻ + K Δe            hence  δ̂⁺ = (I - K c)(Φ δ̂ + Γ_a q)
    free       X⁺ = Φ X + Γ_a q + K Σ_j ρ_j Δm_j,                           Δm_j the memories (`habits`) of Δe
    forecasts  ΔT(s + h) = X_a(s + h) + [Φ^h (δ̂(s) - X(s))]_a

So what a feature does *before* a start is counted too: a heat that the disturbance state or the replay of yesterday's
innovations would have found anyhow earns nothing. Weights in the memories depend on the calendar and on which rows were
read, not on values, so that they are computed once. (Rows without a reading are taken as read in Δ; elsewhere Δ is exact.)

    losses   Σ w(h) r²/σ_r² over starts and horizons + ½ penalty;   mean e²/σ_e² over steps + ½ penalty      (w: `misfit`)
    penalty  [ mean over units of Σ_k (g_uk - ḡ)²/s² + |weights|²/(s_w² U) ] / n,       n readings of a record

ḡ and s are those of the fingerprints' prior (`layout.FEATURE_GAIN`). The prior is a part of both losses: a weighting whose
weights sum to two then balances what the data say, and can't trade the prior against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import MLP, Flat, flatten
from surrogates.physics.virtual_battery import linear_recurrence
from surrogates.random import streams
from surrogates.training import LBFGS, Minimised, Optimiser, Stopping, Weighting, minimize

from .drivers import gain_columns
from .encoder import INPUTS, Encoder, bounded, distinct_inputs, network
from .habits import Habits
from .layout import FEATURE_GAIN, MEMORIES, Layout
from .misfit import Recipe, windows_of
from .observer import forecasts, responses, run
from .records import Records
from .system import N, system_of

Floats = NDArray[np.float64]
#: the last share of the time, which only says when to stop
HELD_OUT = 0.25


@dataclass(frozen=True)
class EncoderRecipe:
    """How the encoder is learnt.

    Widths () and (4,) couldn't be told apart by cold starts on one set of rooms: 48 under three skies, newcomers under four.

    features : f; widths : of the hidden layers
    optimiser, steps : of weights and gains
    weight_deviation : of the network's weights, before data were seen; infinite for no prior
    weighting : of the two losses, or its name; see `surrogates.training.WEIGHTINGS`
    patience : values of the held-out loss, one each ten steps, that may bring nothing before the run ends; the weights and
        gains of the best value are kept

    Raises
    ------
    DataError
        If a size isn't a whole number >= 1, or weight_deviation isn't > 0.
    """

    features: int = 2
    widths: tuple[int, ...] = (4,)
    optimiser: Optimiser = field(default_factory=LBFGS)
    steps: int = 80
    weight_deviation: float = 0.3
    weighting: Weighting | str = "fixed"
    patience: int = 3

    def __post_init__(self) -> None:
        for name, sizes in (("features", (self.features,)), ("widths", self.widths)):
            if not all(isinstance(n, Integral) and n >= 1 for n in sizes):
                raise DataError(
                    f"{name} is {getattr(self, name)}; whole numbers >= 1 are wanted (encoder=None for none)"
                )
        if not self.weight_deviation > 0:
            raise DataError(f"weight_deviation is {self.weight_deviation}; it must be a number > 0")


class Learnt(NamedTuple):
    """encoder : shared; θ : (U, P + f) fingerprints with the gains; account : of the training,
    its `validation` Σ w(h) r²/σ_r² of forecasts held out, None where records are too short to hold any out"""

    encoder: Encoder
    θ: Floats
    account: Minimised


def train_encoder(
    records: Records,
    θ: Floats,
    layout: Layout,
    recipe: Recipe,
    *,
    seed: int,
    how: EncoderRecipe | None = None,
    start: Encoder | None = None,
    follow: Callable[[float], None] | None = None,
) -> Learnt:
    """Learn features and gains around fingerprints that stay as they are; fit these anew afterwards, features frozen.

    Parameters
    ----------
    records : of the population
    θ : (U, P) fingerprints; layout : theirs, with the features of `start`, if there is one
    recipe : how forecasts are weighed
    seed : of the first weights
    how : sizes and steps
    start : an encoder to go on with, after θ was fitted with its features; its sizes count instead of those of `how`
    follow : called with the sum of the losses at each evaluation
    """
    how = EncoderRecipe() if how is None else how
    base, own = Layout(), 0 if start is None else start.count
    if layout.features != own:
        raise DataError(
            f"the layout has {layout.features} features, but `start` gives {own}; the fingerprints must have been fitted "
            "with these and no others"
        )
    inputs, which = distinct_inputs(records)
    place = slice(base.gains.stop, layout.gains.stop)
    bare, gains = np.delete(θ, place, axis=1), θ[:, place]
    if start is None:
        start = _first(inputs, how, seed)
        # alike for all units, or their random signs would cancel in the gradient of the shared weights
        gains = np.full((len(θ), start.count), FEATURE_GAIN[0])
    losses = EncoderLosses(
        problem_of(records, bare, base, recipe),
        inputs_by_days((inputs - start.mean) / start.deviation, records.steps_per_day),
        torch.from_numpy(which),
        network(start.widths, start.count),
        start.count,
        how.weight_deviation,
        follow,
    )
    found = minimize(
        losses,
        torch.from_numpy(np.concatenate([start.weights, gains.ravel()])),
        optimiser=how.optimiser,
        weighting=how.weighting,
        stopping=Stopping(max_steps=how.steps, patience=how.patience),
        validation=losses.held_out if bool(losses.problem.held_weight.any()) else None,
        seed=seed,
    )
    weights, learnt = losses.split(found.θ)
    return Learnt(replace(start, weights=weights.numpy().copy()), with_gains(bare, base, learnt.numpy()), found)


def _first(inputs: Floats, how: EncoderRecipe, seed: int) -> Encoder:
    """An encoder that has learnt nothing yet."""
    (draw,) = streams(seed, 1)
    weights = flatten(MLP((INPUTS, *how.widths, how.features), generator=draw)).numpy()
    return Encoder(how.widths, how.features, weights, inputs.mean((0, 1)), np.maximum(inputs.std((0, 1)), 1e-6))


def with_gains(θ: Floats, layout: Layout, gains: Floats) -> Floats:
    """Fingerprints (U, P) of a layout, with gains (U, f) for further features -> (U, P + f)."""
    place = layout.gains.stop
    return np.concatenate([θ[:, :place], gains, θ[:, place:]], axis=1)


class Scan(NamedTuple):
    """A long linear recurrence in two levels: days side by side, then their ends one after the other.

    Rows are told as (b, D), place in the day and day, so that nothing is copied between the parts of the losses.

    transition : (U, 4, 4); powers : (b + 1, U, 4, 4), from the 0th on
    """

    transition: Tensor
    powers: Tensor

    def __call__(self, forcing: Tensor) -> States:
        """From zero before the first row.  (b, U, 4, D)"""
        within = linear_recurrence(self.transition, torch.zeros_like(forcing[0]), forcing)
        ends = within[-1].permute(2, 0, 1)[:-1, ..., None].contiguous()  # (D - 1, U, 4, 1)
        begins = linear_recurrence(self.powers[-1], torch.zeros_like(forcing[0, :, :, :1]), ends)
        return States(within, torch.nn.functional.pad(begins[..., 0].permute(1, 2, 0), (1, 0)), self.powers)


class States(NamedTuple):
    """States after each row: within[k] + powers[k + 1] begins.

    within : (b, U, 4, D) from zero at each day's begin; begins : (U, 4, D)
    """

    within: Tensor
    begins: Tensor
    powers: Tensor

    def read(self, c: Tensor) -> Tensor:
        """c x after each row.  c : (U, 1, 4) -> (b, U, D)"""
        return (c @ self.within + (c @ self.powers[1:]) @ self.begins)[:, :, 0]

    def read_before(self, c: Tensor) -> Tensor:
        """c x before each row.  c : (U, 1, 4) -> (b, U, D)"""
        earlier = torch.nn.functional.pad((c @ self.within[:-1])[:, :, 0], (0, 0, 0, 0, 1, 0))
        return earlier + ((c @ self.powers[:-1]) @ self.begins)[:, :, 0]

    def at(self, place: Tensor, day: Tensor) -> Tensor:
        """x after some rows.  (S,) each -> (S, U, 4)"""
        begun = self.powers[place + 1] @ self.begins[:, :, day].permute(2, 0, 1)[..., None]  # (S, U, 4, 1)
        return self.within[place, :, :, day] + begun[..., 0]


def scan_of(transition: Floats, block: int) -> Scan:
    """The scan by days of so many rows."""
    powers = [np.broadcast_to(np.eye(N), transition.shape)]
    for _ in range(block):
        powers.append(transition @ powers[-1])
    return Scan(torch.from_numpy(transition), torch.from_numpy(np.stack(powers)))


class Problem(NamedTuple):
    """What the losses need of records and of fingerprints without learnt features.

    observed, free : the two runs; heat, K : (U, 4), Γ_a and the observer's gains; lag : b, steps in 24 h
    mixing : (J, b, D, D) from innovations of D days to memories, see `_mixing`; shares : (U, J), ρ
    response : (H, U, 4) first rows of Φ^h; starts : (S,); at : (S, H) rows
    error : (S, H, U) forecasts less readings; innovation : (b, U, D), rows as in `Scan`
    weight, held_weight : (S, H, U); step_weight : (b, U, D); means over units, see `_shares`
    forecast_deviation, step_deviation : σ_r, σ_e; readings : n
    """

    observed: Scan
    free: Scan
    heat: Tensor
    K: Tensor
    mixing: Tensor
    shares: Tensor
    lag: int
    response: Tensor
    starts: Tensor
    at: Tensor
    error: Tensor
    innovation: Tensor
    weight: Tensor
    held_weight: Tensor
    step_weight: Tensor
    forecast_deviation: float
    step_deviation: float
    readings: float

    def changes(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """What heats q (b, U, D) [K/h] change: forecasts (S, H, U), innovations (b, U, D)."""
        q = q[:, :, None]
        corrected = self.heat - self.heat[:, :1] * self.K
        δ = self.observed(corrected[..., None] * q)
        c = torch.eye(N, dtype=torch.float64)[:1].expand(len(self.K), 1, N)  # reads the air
        e = -δ.read_before(c @ self.free.transition) - self.heat[:, 0, None] * q[:, :, 0]  # -δ⁻_a
        usual = torch.einsum("uj,jbud->bud", self.shares, e @ self.mixing)
        X = self.free(torch.stack([self.heat, self.K], -1) @ torch.stack([q[:, :, 0], usual], 2))
        at_start = self.starts % self.lag, self.starts // self.lag
        moved = torch.einsum("huj,suj->shu", self.response, δ.at(*at_start) - X.at(*at_start))
        return X.read(c)[self.at % self.lag, :, self.at // self.lag] + moved, e


def problem_of(records: Records, θ: Floats, layout: Layout, recipe: Recipe) -> Problem:
    """Run fingerprints without learnt features once; the last `HELD_OUT` of the time is kept from the losses."""
    windows = windows_of(records, recipe)
    U, T = windows.measured.shape
    h, lag = records.step_hours, windows.lag
    system = system_of(θ, layout, h)
    one = Layout(features=layout.features + 1)
    heat = system_of(with_gains(θ, layout, np.ones((U, 1))), one, h).G[:, :, gain_columns(one).stop - 1]
    runs = run(system, None, layout, windows.drivers, windows.measured, windows.starts, lag=lag)
    response = responses(system, None, int(windows.ahead[-1]))
    at = np.minimum(windows.starts[:, None] + windows.ahead, T - 1)
    error = forecasts(runs, response, windows.starts)[:, :, windows.ahead - 1] - windows.measured[:, at]
    cut = round((1 - HELD_OUT) * T)
    early, late = at < cut, np.broadcast_to(windows.starts[:, None] >= cut, at.shape)
    corrected = np.eye(N) - system.K[:, :, None] * np.eye(N)[0]
    return Problem(
        observed=scan_of(corrected @ system.Φ, lag),
        free=scan_of(system.Φ, lag),
        heat=torch.from_numpy(heat.copy()),
        K=torch.from_numpy(system.K.copy()),
        mixing=torch.from_numpy(_mixing(layout, windows.drivers[:1], lag)),
        shares=torch.from_numpy(system.shares.copy()),
        lag=lag,
        response=torch.from_numpy(response[windows.ahead - 1, :, :, 0].copy()),
        starts=torch.from_numpy(windows.starts),
        at=torch.from_numpy(at),
        error=torch.from_numpy(np.where(windows.weight > 0, error, 0.0).transpose(1, 2, 0).copy()),
        innovation=by_days(torch.from_numpy(runs.innovation[:, :, 0].T), lag),
        weight=_shares(windows.weight, early).permute(1, 2, 0).contiguous(),
        held_weight=_shares(windows.weight, late).permute(1, 2, 0).contiguous(),
        step_weight=by_days(_shares(windows.step_weight, np.arange(T) < cut), lag),
        forecast_deviation=recipe.forecast_deviation,
        step_deviation=recipe.step_deviation,
        readings=float(windows.readings.mean()),
    )


def by_days(rows: Tensor, lag: int) -> Tensor:
    """(U, T) -> (b, U, D): place in the day and day; rows after the last are zero."""
    U, T = rows.shape
    days = -(-T // lag)
    return torch.nn.functional.pad(rows, (0, days * lag - T)).reshape(U, days, lag).permute(2, 0, 1).contiguous()


def _mixing(layout: Layout, drivers: Floats, lag: int) -> Floats:
    """What each memory holds of each day's innovation before a row is read: those of units that were read throughout.

    Found by letting `Habits` learn an innovation of one on one day after the other, side by side.
    drivers : (1, T, m) -> (J, b, D, D): memory, place in the day, day of the innovation, day of the row
    """
    T, J = drivers.shape[1], len(MEMORIES)
    D = -(-T // lag)
    shares = np.repeat(np.eye(J), D, axis=0)  # (J D, J): each row's "unit" has one memory and one day
    habits = Habits(shares, layout, drivers, np.ones((J * D, T), dtype=bool), 1, lag)
    mixing, on_day = np.zeros((J, lag, D, D)), np.tile(np.eye(D), (1, J))  # (D, J D)
    for k in range(T):
        mixing[:, k % lag, :, k // lag] = habits.replayed(k).reshape(J, D)
        habits.learn(k, on_day[k // lag, :, None])
    return mixing


def _shares(weight: Floats, kept: NDArray[np.bool_]) -> Tensor:
    """What is kept takes over the weight of each unit's whole record, for a mean over the units that have any.  (U, ...)"""
    flat = weight * kept
    axes = tuple(range(1, weight.ndim))
    whole, part = weight.sum(axes, keepdims=True), flat.sum(axes, keepdims=True)
    shares = flat * np.divide(whole, part, out=np.zeros_like(part), where=part > 0)
    return torch.from_numpy(shares / max(int((part > 0).sum()), 1))


@dataclass(frozen=True, eq=False)
class EncoderLosses:
    """The named losses of all weights and gains in one vector (P + U f,).

    inputs : (b, n, D, INPUTS) standardised; which : (U,) series of each unit; net : of `count` features
    """

    problem: Problem
    inputs: Tensor
    which: Tensor
    net: Flat
    count: int
    weight_deviation: float = np.inf
    follow: Callable[[float], None] | None = None

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (P,) and gains (U, f)."""
        return parameters[: self.net.size], parameters[self.net.size :].reshape(-1, self.count)

    def __call__(self, parameters: Tensor) -> Mapping[str, Tensor]:
        """Both losses."""
        problem = self.problem
        change, e = self._changes(parameters)
        weights, gains = self.split(parameters)
        mean, deviation = FEATURE_GAIN
        prior = ((gains - mean) / deviation).square().sum(1).mean()
        prior = prior + (weights / self.weight_deviation).square().sum() / len(gains)
        penalty = prior / problem.readings
        r = (problem.weight * (problem.error + change).square()).sum() / problem.forecast_deviation**2
        v = (problem.step_weight * (problem.innovation + e).square()).sum() / problem.step_deviation**2
        if self.follow is not None:
            self.follow(float((r + v + penalty).detach()))
        return {"forecasts": r + penalty / 2, "steps": v + penalty / 2}

    def held_out(self, parameters: Tensor) -> float:
        """Σ w(h) r²/σ_r² of the forecasts that the losses don't see."""
        with torch.no_grad():
            change, _ = self._changes(parameters)
            square = (self.problem.held_weight * (self.problem.error + change).square()).sum()
        return float(square) / self.problem.forecast_deviation**2

    def _changes(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        weights, gains = self.split(parameters)
        φ = bounded(self.net, weights, self.inputs)  # (b, n, D, f)
        q = (φ[:, self.which] @ gains[:, :, None])[..., 0]
        return self.problem.changes(q)


def inputs_by_days(standard: Floats, lag: int) -> Tensor:
    """Standardised inputs in the rows of `Scan`.  (n, T, INPUTS) -> (b, n, D, INPUTS)"""
    n, T, d = standard.shape
    days = -(-T // lag)
    padded = np.concatenate([standard, np.zeros((n, days * lag - T, d))], axis=1)
    return torch.from_numpy(padded.reshape(n, days, lag, d).transpose(2, 0, 1, 3).copy())
