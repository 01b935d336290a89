"""What follows from fingerprints: rehearsed errors, the linear residual, thermostats in closed loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from true_rooms import RECIPE, STEP, drawn, simulated, weather

from surrogates.battery.adaptation import adapt
from surrogates.battery.calibration import (
    TAUGHT,
    Calibration,
    _direction,
    _least_favourable,
    _meet,
    _Rehearsal,
    _share_of,
    rehearse,
)
from surrogates.battery.drivers import ORIGIN, columns_of
from surrogates.battery.forecasting import forecast, with_residual
from surrogates.battery.holding import hold, thermostats
from surrogates.battery.layout import Layout, hand_prior
from surrogates.battery.misfit import Recipe, own_errors, windows_of
from surrogates.battery.population import fit_population
from surrogates.battery.system import system_of


def test_a_thermostat_holds_its_set_point_and_its_power_does_what_it_says() -> None:
    layout, records = Layout(), weather(3, 96, 17)
    θ = drawn(layout, 3, 18, spread=0.2)
    system = system_of(θ, layout, STEP)
    records.power[:] = records.rated_power[:, None]
    z = columns_of(records)
    set_point, limit = np.full((3, 96), -1.0), np.full((3, 96), 1.5)
    state = np.zeros((3, 4))
    held = hold(system, layout, state, z, np.zeros((3, 96, 4)), set_point, limit)
    inside = (held.load > 1e-9) & (held.load < 1.5 - 1e-9)
    assert inside.mean() > 0.3
    assert held.state[..., 0][inside] == pytest.approx(-1.0, abs=1e-9)
    assert (held.state[..., 0][held.load == 0] <= -1 + 1e-9).all()
    records.power[:] = held.load * records.rated_power[:, None]  # the same power, step by step
    again, z = state, columns_of(records)
    for k in range(96):
        again = np.einsum("uij,uj->ui", system.Φ, again) + np.einsum("ujm,um->uj", system.G, z[:, k])
        assert again == pytest.approx(held.state[:, k], abs=1e-9)
    off = hold(system, layout, state, z, np.zeros((3, 96, 4)), np.full((3, 96), np.nan), limit)
    assert (off.load == 0).all()


def test_a_unit_without_forecasts_to_judge_has_no_error_and_a_usual_deviation() -> None:
    layout, records = Layout(), weather(2, 200, 24)
    records.indoor[1] = np.nan
    own = own_errors(drawn(layout, 2, 25), layout, windows_of(records, RECIPE), STEP)
    assert np.isfinite(own[0])
    assert np.isnan(own[1])
    one, two = np.array([1.0, 10.0]), np.ones((2, 96))
    calibration = Calibration(one, two, *(np.ones(2) for _ in range(5)))
    assert calibration.deviation_of(np.array([2.0, 2.0]), np.array([3.0, np.nan]))[:, 0] == pytest.approx([3.0, 1.0])


def test_a_rehearsal_sees_nothing_of_the_part_that_it_is_judged_on() -> None:
    layout, recipe = Layout(), Recipe(stride=6.0, judged_every=4.0)
    mean, deviation = hand_prior(layout)
    θ = mean + 0.2 * deviation * np.random.default_rng(26).normal(size=(5, layout.size))
    θ[:, layout.observer] = mean[layout.observer]
    records = simulated(θ, layout, 12 * 96, 27, noise=0.05)
    taught, places = round(TAUGHT * records.steps), np.array([10])
    for first, unseen in ((0, slice(taught, None)), (records.steps - taught, slice(0, records.steps - taught))):
        ways, met = [], []
        for warmer in (0.0, 1.0):
            records.indoor[:, unseen] += warmer
            ways.append(_direction(records, θ, layout, recipe, 0.3, None, first, places + first))
            met.append(_meet(records, ways[-1], layout, recipe, first, first + 2 * 96, None))
        assert np.array_equal(ways[0].θ, ways[1].θ)
        assert np.array_equal(ways[0].prior.mean, ways[1].prior.mean)
        assert np.array_equal(met[0].own, met[1].own)
        assert np.array_equal(met[0].apart, met[1].apart)


def test_the_least_favourable_rehearsal_counts_at_each_horizon() -> None:
    rng = np.random.default_rng(32)
    near, far = rng.normal(size=(40, 300, 2)) * [0.2, 0.3], rng.normal(size=(40, 300, 2)) * [0.1, 0.6]
    met = [_Rehearsal(errors, errors, np.ones(40), np.zeros((40, 1)), 0.0) for errors in (near, far)]
    assert _least_favourable(met, 1.0, 0.5) == pytest.approx([0.2, 0.6], rel=0.03)


def test_intervals_of_rehearsed_populations_cover_new_units() -> None:
    layout, recipe = Layout(), Recipe(stride=4.0, judged_every=2.0)
    mean, deviation = hand_prior(layout)
    θ = mean + 0.2 * deviation * np.random.default_rng(33).normal(size=(27, layout.size))
    θ[:, layout.observer], θ[:, layout.start] = mean[layout.observer], 0.0
    records = simulated(θ, layout, 14 * 96, 34, noise=0.1)
    old, new = records.of(np.arange(11)), records.of(np.arange(11, 27))
    population = fit_population(windows_of(old, recipe), layout, recipe, STEP)
    calibration = rehearse(old, population.θ, layout, recipe, 0.3)
    days, starts = new.during(96, 3 * 96), np.arange(8 * 96, 13 * 96, 29)
    windows = windows_of(days, recipe)
    fit = adapt(windows, population.prior.tempered(0.3), layout, recipe, STEP)
    std = calibration.deviation_of(days.days, own_errors(fit.θ, layout, windows, STEP))
    error = forecast(fit.θ, layout, new, starts, 96) - new.indoor[:, starts[:, None] + np.arange(1, 97)]
    inside = (np.abs(error) < 1.645 * std[:, None]).mean(axis=(0, 1))
    assert inside[[3, 11, 23, 47, 95]].min() > 0.85


def test_thermostats_of_true_rooms_draw_what_was_drawn() -> None:
    layout, T = Layout(), 3 * 96
    θ = drawn(layout, 3, 40, spread=0.2)
    θ[:, layout.start] = 0.0
    records = weather(3, T, 41)
    records.power[:] = records.rated_power[:, None]
    records.set_point[:] = np.repeat(np.random.default_rng(42).uniform(22, 27, (3, T // 8)), 8, axis=1)
    system, limit = system_of(θ, layout, STEP), np.full(3, 1.2)
    held = hold(
        system, layout, np.zeros((3, 4)), columns_of(records), np.zeros((3, T, 4)), records.set_point - ORIGIN,
        limit[:, None] * np.ones(T),
    )  # fmt: skip
    records.power[:] = held.load * records.rated_power[:, None]
    records.indoor[:] = held.state[..., 0] + ORIGIN
    starts = np.array([150, 180])
    found = thermostats(θ, layout, records, starts, 96, limit, None)
    rows = starts[:, None] + np.arange(1, 97)
    # the observer has forgotten its start after a day and a half, but for the deep mass
    assert found == pytest.approx(held.load[:, rows], abs=0.05)
    records.set_point[1, 200] = np.nan
    assert np.isnan(thermostats(θ, layout, records, starts, 96, limit, None)[1, 0, 49])


def test_the_residual_is_a_share_of_what_was_missed_yesterday_and_knows_no_power_to_come() -> None:
    layout, records = Layout(), simulated(drawn(Layout(), 2, 50), Layout(), 5 * 96, 51, noise=0.1)
    θ, starts = drawn(layout, 2, 52), np.array([50, 200, 300])
    plain = forecast(θ, layout, records, starts, 120)
    assert with_residual(θ, layout, records, starts, 120, np.zeros(2)) == pytest.approx(plain, abs=0)
    share = np.array([0.5, 1.0])
    found = with_residual(θ, layout, records, starts, 120, share)
    assert np.array_equal(found[:, 0], plain[:, 0])  # no day lies before
    yesterday = forecast(θ, layout, records, starts[1:] - 96, 96)
    missed = records.indoor[:, starts[1:, None] - 96 + np.arange(1, 97)] - yesterday
    wanted = plain[:, 1:] + share[:, None, None] * missed[:, :, np.arange(120) % 96]
    assert found[:, 1:] == pytest.approx(wanted, abs=1e-9)
    more = replace(records, power=records.power + 0.3 * (np.arange(5 * 96) > 300))
    steps = with_residual(θ, layout, more, starts[2:], 96, share) - with_residual(
        θ, layout, records, starts[2:], 96, share
    )
    assert steps == pytest.approx(
        forecast(θ, layout, more, starts[2:], 96) - forecast(θ, layout, records, starts[2:], 96), abs=1e-9
    )
    assert (steps < 0).all()
    records.indoor[:, 250] = np.nan  # what wasn't measured wasn't missed
    gap = with_residual(θ, layout, records, starts[2:], 96, share)
    assert gap[:, 0, 45] == pytest.approx(forecast(θ, layout, records, starts[2:], 96)[:, 0, 45], abs=1e-12)


def test_the_share_of_the_residual_leaves_the_least_squares() -> None:
    rng = np.random.default_rng(53)
    before = rng.normal(size=(3, 40, 8))
    errors = 0.4 * before + 0.1 * rng.normal(size=before.shape)
    errors[0, 0], before[1, 1] = np.nan, np.nan
    met = _Rehearsal(errors, before, np.ones(3), np.zeros((3, 1)), 0.0)
    assert _share_of([met, met]) == pytest.approx(0.4, abs=0.01)
    assert _share_of([met._replace(errors=-errors)]) == 0.0
    assert _share_of([met._replace(before=np.full_like(before, np.nan))]) == 0.0
