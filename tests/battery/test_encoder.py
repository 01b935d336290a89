"""The shared encoder: its gradient, what its features may depend on, its storage, and whether it finds what is there."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_rooms import small_rooms

from surrogates.battery.adaptation import adapt
from surrogates.battery.drivers import ORIGIN, columns_of
from surrogates.battery.encoder import INPUTS, Encoder, distinct_inputs, network
from surrogates.battery.encoder_training import (
    EncoderLosses,
    EncoderRecipe,
    Learnt,
    Problem,
    inputs_by_days,
    problem_of,
    scan_of,
    train_encoder,
    with_gains,
)
from surrogates.battery.forecasting import forecast
from surrogates.battery.intake import read
from surrogates.battery.layout import Layout, hand_prior
from surrogates.battery.misfit import Recipe, own_errors, value_of, windows_of
from surrogates.battery.population import first_prior
from surrogates.battery.records import Records
from surrogates.battery.system import system_of
from surrogates.errors import DataError

Floats = NDArray[np.float64]
STEP, LAYOUT, DAY = 0.25, Layout(), 96
RECIPE = Recipe(stride=3.0)
HOW = EncoderRecipe(features=2, widths=(8,), steps=50, weight_deviation=1.0)
UNITS, DAYS = 5, 30


def hidden_effect(records: Records) -> Floats:
    """Heat [K/h] that is in none of the drivers: sun counts on warm days only, and not more than so much.  (U, T)"""
    return np.asarray(8.0 * np.tanh(records.irradiance[..., 0] / 300) * (np.tanh(records.outdoor - 30) + 1))


@cache
def population() -> tuple[Records, Floats]:
    """Rooms of known fingerprints under a shared sky; each answers to the hidden effect by a gain of its own (U,)."""
    rng = np.random.default_rng(0)
    time = np.datetime64("2025-06-01T00:15", "ns") + np.arange(DAYS * DAY) * np.timedelta64(15, "m")
    hour = np.arange(len(time)) * STEP
    cloud = np.repeat(rng.uniform(0.2, 1.0, DAYS), DAY)
    warm = np.repeat(rng.normal(size=DAYS), DAY)
    sun = 800 * cloud * np.maximum(np.sin(2 * np.pi * (hour - 6) / 24), 0)
    outdoor = 28 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + 2 * warm
    load = np.repeat(rng.uniform(0, 1, (UNITS, len(time) // 6)), 6, axis=1)
    alike = (UNITS, len(time))
    records = Records(
        tuple(f"room {u}" for u in range(UNITS)), time, STEP, 2 * load, np.zeros(alike), np.broadcast_to(outdoor, alike),
        np.broadcast_to(sun[:, None] * np.array([1.0, 0.6, 0.4, 0.2, 0.5]), (*alike, 5)), np.full(alike, 12.0),
        np.full(alike, 24.0), np.full(UNITS, 2.0), np.ones(alike, dtype=bool),
    )  # fmt: skip
    mean, deviation = hand_prior(LAYOUT)
    θ = mean + 0.15 * deviation * rng.normal(size=(UNITS, LAYOUT.size))
    gains = rng.uniform(0.3, 1.7, UNITS)
    one = Layout(features=1)
    system = system_of(with_gains(θ, LAYOUT, gains[:, None]), one, STEP)
    z = columns_of(records, hidden_effect(records)[..., None])
    x, air = np.zeros((UNITS, 4)), np.zeros(alike)
    for k in range(len(time)):
        x = np.einsum("uij,uj->ui", system.Φ, x) + np.einsum("ujm,um->uj", system.G, z[:, k])
        air[:, k] = x[:, 0]
    return replace(records, indoor=air + ORIGIN + 0.03 * rng.normal(size=alike)), gains


@cache
def fingerprints() -> Floats:
    """Fitted without features."""
    records, _ = population()
    return adapt(windows_of(records, RECIPE), first_prior(LAYOUT), LAYOUT, RECIPE, STEP, most_steps=8).θ


@cache
def learnt() -> Learnt:
    records, _ = population()
    return train_encoder(records, fingerprints(), LAYOUT, RECIPE, seed=0, how=replace(HOW, steps=5))


def losses_of(records: Records, problem: Problem) -> EncoderLosses:
    inputs, which = distinct_inputs(records)
    standard = (inputs - inputs.mean((0, 1))) / np.maximum(inputs.std((0, 1)), 1e-6)
    return EncoderLosses(problem, inputs_by_days(standard, DAY), torch.from_numpy(which), network((8,), 2), 2)


def some_parameters(losses: EncoderLosses, seed: int = 1) -> torch.Tensor:
    size = losses.net.size + UNITS * losses.count
    return 0.4 * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradients_of_the_losses_are_those_of_differences() -> None:
    records, _ = population()
    records = records.during(0, 5 * DAY + 31)  # no whole number of days
    records = replace(records, indoor=np.where(np.arange(records.steps) // 20 == 8, np.nan, records.indoor))
    losses = losses_of(records, problem_of(records, fingerprints(), LAYOUT, RECIPE))
    at = some_parameters(losses)
    for name in ("forecasts", "steps"):
        leaf = at.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(leaf)[name], leaf)
        for p in [0, 50, 150, losses.net.size - 1, losses.net.size, len(at) - 1]:
            Δ = torch.zeros_like(at)
            Δ[p] = 1e-5
            expected = (losses(at + Δ)[name] - losses(at - Δ)[name]) / 2e-5
            assert float(gradient[p]) == pytest.approx(float(expected), rel=1e-5, abs=1e-7), (name, p)
    direction = torch.randn(len(at), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = (losses(at + 1e-5 * direction)[name] - losses(at - 1e-5 * direction)[name]) / 2e-5
    assert float(gradient @ direction) == pytest.approx(float(expected), rel=1e-6)


def test_the_losses_are_the_misfit_of_the_fingerprints_with_these_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.battery.encoder_training.HELD_OUT", 0.0)
    records, θ = population()[0].during(0, 9 * DAY + 31), fingerprints()
    inputs, _ = distinct_inputs(records)
    losses = losses_of(records, problem_of(records, θ, LAYOUT, RECIPE))
    at = some_parameters(losses)
    weights, gains = losses.split(at)
    encoder = Encoder((8,), 2, weights.numpy(), inputs.mean((0, 1)), np.maximum(inputs.std((0, 1)), 1e-6))
    windows = windows_of(records, RECIPE, encoder.features(records))
    expected = value_of(with_gains(θ, LAYOUT, gains.numpy()), Layout(features=2), windows, RECIPE, STEP)
    monkeypatch.setattr("surrogates.battery.encoder_training.FEATURE_GAIN", (0.2, np.inf))
    found = sum(float(loss) for loss in losses(at).values())
    assert 0.5 * losses.problem.readings * found == pytest.approx(expected.mean(), rel=1e-9)


def test_a_scan_by_days_is_a_scan_row_by_row() -> None:
    rng = np.random.default_rng(3)
    Φ, f = 0.4 * rng.normal(size=(2, 4, 4)), rng.normal(size=(7, 2, 4, 5))  # 5 days of 7 rows
    states = scan_of(Φ, 7)(torch.from_numpy(f))
    c = torch.from_numpy(rng.normal(size=(2, 1, 4)))
    after, before, x = states.read(c), states.read_before(c), np.zeros((2, 4))
    for k in range(35):
        place, day = k % 7, k // 7
        assert before[place, :, day].numpy() == pytest.approx(np.einsum("uj,uj->u", c[:, 0], x))
        x = np.einsum("uij,uj->ui", Φ, x) + f[place, :, :, day]
        assert after[place, :, day].numpy() == pytest.approx(np.einsum("uj,uj->u", c[:, 0], x))
        assert states.at(torch.tensor([place]), torch.tensor([day]))[0].numpy() == pytest.approx(x)


def test_features_are_bounded_and_know_nothing_of_power_room_or_future() -> None:
    records, _ = population()
    wild = np.random.default_rng(4).normal(size=network((8,), 2).size) * 20
    encoder = replace(learnt().encoder, weights=wild)
    φ = encoder.features(records)
    assert φ.shape == (UNITS, DAYS * DAY, 2)
    assert np.abs(φ).max() <= 1
    assert φ.std() > 0.1
    other = replace(
        records, power=records.power * 3 + 1, indoor=records.indoor * np.nan, set_point=records.set_point + 9
    )
    assert np.array_equal(encoder.features(other), φ)
    k = 5 * DAY
    warmer = replace(records, outdoor=np.where(np.arange(records.steps) < k, records.outdoor, 50.0))
    assert np.array_equal(encoder.features(warmer)[:, :k], φ[:, :k])
    assert not np.allclose(encoder.features(warmer)[:, k:], φ[:, k:])


def test_more_power_cools_the_same_whatever_the_features_say() -> None:
    records, _ = population()
    encoder, θ, _ = learnt()
    layout, starts = Layout(features=2), np.array([8 * DAY])
    φ = encoder.features(records)
    more = replace(records, power=records.power + np.where(np.arange(records.steps) > starts[0], 0.5, 0.0))
    with_, without = (forecast(θ, layout, one, starts, DAY, φ) for one in (more, records))
    assert (with_ - without < 0).all()
    bare = forecast(θ, layout, more, starts, DAY, 0 * φ) - forecast(θ, layout, records, starts, DAY, 0 * φ)
    assert with_ - without == pytest.approx(bare, abs=1e-9)


def test_the_same_seed_gives_the_same_encoder() -> None:
    records = population()[0].during(0, 8 * DAY)
    short = replace(HOW, steps=3)
    one, same, other = (
        train_encoder(records, fingerprints(), LAYOUT, RECIPE, seed=seed, how=short) for seed in (5, 5, 6)
    )
    assert np.array_equal(one.encoder.weights, same.encoder.weights)
    assert np.array_equal(one.θ, same.θ)
    assert not np.allclose(one.encoder.weights, other.encoder.weights)


def test_records_too_short_to_hold_days_out_are_learnt_all_the_same() -> None:
    records = population()[0].during(0, DAY // 2)
    told: list[float] = []
    answer = train_encoder(
        records, fingerprints(), LAYOUT, RECIPE, seed=0, how=replace(HOW, steps=3), follow=told.append
    )
    assert answer.account.validation is None
    assert answer.account.steps == 3
    assert len(told) == answer.account.evaluations


def test_an_encoder_survives_storage_bit_by_bit_and_broken_arrays_are_refused() -> None:
    encoder, records = learnt().encoder, population()[0]
    arrays = encoder.to_arrays()
    assert np.array_equal(Encoder.from_arrays(arrays).features(records), encoder.features(records))
    assert encoder.mean.shape == (INPUTS,)
    with pytest.raises(DataError, match="'weights' is float64 of shape"):
        Encoder.from_arrays(arrays | {"weights": encoder.weights[1:]})
    with pytest.raises(DataError, match="float32"):
        Encoder.from_arrays(arrays | {"mean": encoder.mean.astype(np.float32)})
    del arrays["deviation"]
    with pytest.raises(DataError, match="lacks its arrays deviation"):
        Encoder.from_arrays(arrays)


def test_training_finds_a_shared_effect_and_every_units_answer_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("encoder_training", "layout"):  # this effect is larger than those that were met
        monkeypatch.setattr(f"surrogates.battery.{module}.FEATURE_GAIN", (0.2, 1.0))
    records, gains = population()
    encoder, θ, account = train_encoder(records, fingerprints(), LAYOUT, RECIPE, seed=0, how=HOW)
    without = problem_of(records, fingerprints(), LAYOUT, RECIPE)
    square = float((without.held_weight * without.error**2).sum()) / RECIPE.forecast_deviation**2
    assert account.validation is not None
    assert account.validation < 0.5 * square  # days that the losses don't see
    layout = Layout(features=2)
    windows = windows_of(records, RECIPE, encoder.features(records))
    again = adapt(windows, first_prior(layout), layout, RECIPE, STEP, start=θ, most_steps=8)
    before = own_errors(fingerprints(), LAYOUT, windows_of(records, RECIPE), STEP)
    after = own_errors(again.θ, layout, windows, STEP)
    assert after.mean() < 0.7 * before.mean()
    heat = np.einsum("utk,uk->ut", encoder.features(records), θ[:, layout.gains][:, -2:])
    hidden = hidden_effect(records)[0]
    answers = [np.cov(one, hidden)[0, 1] for one in heat]
    assert np.corrcoef(answers, gains)[0, 1] > 0.95


def test_training_goes_on_where_fingerprints_were_fitted_anew() -> None:
    records, short = population()[0].during(0, 8 * DAY), replace(HOW, steps=2)
    first = train_encoder(records, fingerprints(), LAYOUT, RECIPE, seed=1, how=short)
    place = np.arange(LAYOUT.gains.stop, LAYOUT.gains.stop + 2)
    assert np.array_equal(np.delete(first.θ, place, axis=1), fingerprints())
    both = Layout(features=2)
    on = train_encoder(records, first.θ, both, RECIPE, seed=1, how=short, start=first.encoder)
    assert on.account.trace[0] == pytest.approx(first.account.total, rel=1e-9)  # where the first run ended
    assert on.account.trace[-1] < on.account.trace[0]
    with pytest.raises(DataError, match="the layout has 2 features, but `start` gives 0"):
        train_encoder(records, first.θ, both, RECIPE, seed=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"features": 0}, r"features is 0; whole numbers >= 1 .*encoder=None for none"),
        ({"features": 1.5}, r"features is 1.5; whole"),
        ({"widths": (8, 0)}, r"widths is \(8, 0\); whole"),
        ({"weight_deviation": 0.0}, "weight_deviation is 0.0; it must be a number > 0"),
    ],
)
def test_recipes_that_make_no_encoder(settings: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        EncoderRecipe(**settings)  # type: ignore[arg-type]


def test_units_under_one_sky_share_their_inputs() -> None:
    records = read(small_rooms(units=3, days=3))
    inputs, which = distinct_inputs(records)
    assert len(inputs) == 1
    assert (which == 0).all()
    records.outdoor[1] += 1
    inputs, which = distinct_inputs(records)
    assert inputs[which, :, 0] == pytest.approx(records.outdoor)
