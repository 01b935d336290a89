"""Fingerprints of rooms: sensitivities against differences, forecasts against loops, fits against known rooms."""

from __future__ import annotations

import numpy as np
import pytest
from true_rooms import RECIPE, STEP, Floats, drawn, simulated, weather

from surrogates.battery.adaptation import SLOWEST_MEMORY, adapt, memory, pick
from surrogates.battery.calibration import (
    Calibration,
    rehearse,
)
from surrogates.battery.drivers import ORIGIN, columns_of, power_columns
from surrogates.battery.forecasting import forecast
from surrogates.battery.habits import FRESH, Habits
from surrogates.battery.layout import Layout, hand_prior
from surrogates.battery.misfit import Recipe, misfit_of, own_errors, value_of, windows_of
from surrogates.battery.observer import forecasts, responses, run
from surrogates.battery.population import first_prior, fit_population, prior_from
from surrogates.battery.prior import Prior
from surrogates.battery.system import slopes_of, system_of


def test_gradients_are_those_of_differences() -> None:
    layout = Layout(features=2)
    records = weather(3, 300, 0)
    records.indoor[1, 100:130] = np.nan
    records.is_known[2, 150:170] = False
    windows = windows_of(records, RECIPE, np.random.default_rng(1).normal(size=(3, 300, 2)))
    θ = drawn(layout, 3, 2)
    fit = misfit_of(θ, layout, windows, RECIPE, STEP)
    assert fit.value == pytest.approx(value_of(θ, layout, windows, RECIPE, STEP), rel=1e-12)
    for p in range(layout.size):
        Δ = 1e-5 * np.eye(layout.size)[p]
        values = [value_of(θ + sign * Δ, layout, windows, RECIPE, STEP) for sign in (1, -1)]
        expected = (values[0] - values[1]) / 2e-5
        assert fit.gradient[:, p] == pytest.approx(expected, rel=1e-5, abs=1e-6 * np.abs(fit.gradient).max()), (
            layout.names[p]
        )
    assert np.linalg.eigvalsh(fit.curvature).min() > -1e-8 * np.abs(fit.curvature).max()


def test_forecasts_of_all_starts_are_step_by_step_runs() -> None:
    layout, records = Layout(), weather(2, 320, 3)
    θ = drawn(layout, 2, 4)
    system, z = system_of(θ, layout, STEP), columns_of(records)
    starts = np.array([40, 130, 200])
    runs = run(system, None, layout, z, records.indoor - ORIGIN, starts, lag=96)
    answer = forecasts(runs, responses(system, None, 96), starts)
    for s, start in enumerate(starts):
        for u in range(2):
            x = runs.observed[s, u].copy()
            for h in range(96):
                k = start + 1 + h
                x = system.Φ[u] @ x + system.G[u] @ z[u, k] + system.K[u] * runs.usual[k, u]
                assert answer[u, s, h] == pytest.approx(x[0], abs=1e-10)


def test_what_is_usual_is_kept_by_hour_and_by_kind_of_day() -> None:
    layout, records = Layout(), weather(1, 15 * 96, 28)  # from Sunday to Sunday
    drivers, shares = columns_of(records), np.array([[0.25, 0.5]])
    is_measured = np.ones((1, 15 * 96), dtype=bool)
    is_measured[0, 3 * 96 : 4 * 96] = False  # Wednesday
    habits = Habits(shares, layout, drivers, is_measured, 1, 96)
    replayed = np.zeros(15 * 96)
    for k in range(15 * 96):
        replayed[k] = habits.replayed(k)[0, 0]
        habits.learn(k, np.full((1, 1), 100.0 * (k // 96) + k % 96))  # day and hour of the innovation
    of_day = replayed.reshape(15, 96) - shares.sum() * np.arange(96)

    def mean(fresh: float, days: list[int]) -> float:
        m = 0.0
        for n, day in enumerate(days):
            m += max(fresh, 1 / (n + 1)) * (100.0 * day - m)
        return m

    assert (replayed[:96] == 0).all()
    for day in (2, 3, 4, 6, 7, 8, 13, 14):
        before = [d for d in range(day) if d != 3]
        same = [d for d in before if (d % 7 in (0, 6)) == (day % 7 in (0, 6))]
        expected = 0.25 * mean(FRESH[0], before) + 0.5 * mean(FRESH[1], same)
        assert of_day[day] == pytest.approx(expected), day


def test_gradients_through_a_weekend_are_those_of_differences() -> None:
    layout, records = Layout(), weather(1, 9 * 96, 29)
    windows, θ = windows_of(records, RECIPE), drawn(Layout(), 1, 30)
    last = windows._replace(weight=windows.weight * (windows.starts >= 7 * 96 - 48)[None, :, None])
    fit = misfit_of(θ, layout, last, RECIPE, STEP)
    for p in [*range(layout.observer.start, layout.shares.stop), layout.cooling]:
        Δ = 1e-5 * np.eye(layout.size)[p]
        up, down = (value_of(θ + sign * Δ, layout, last, RECIPE, STEP) for sign in (1, -1))
        assert fit.gradient[:, p] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6 * np.abs(fit.gradient).max())


def test_short_records_are_judged_by_short_forecasts() -> None:
    records = weather(2, 16 * 96, 31)
    records.indoor[1, 96:] = np.nan  # a day against sixteen
    windows = windows_of(records, RECIPE)
    hours = windows.ahead * STEP
    by_hour = windows.weight.sum(1)
    mean = (by_hour * hours).sum(1) / by_hour.sum(1)
    assert mean[1] < 0.5 * mean[0]
    assert by_hour.sum(1) == pytest.approx(24 / mean)
    early = windows.starts + windows.ahead[-1] < records.steps
    ratio = windows.weight[0, early][:, 4] / windows.weight[0, early][:, 8]
    assert ratio == pytest.approx(np.exp((hours[8] - hours[4]) / (RECIPE.fading * 4)))


def test_forecasts_never_see_what_comes_after_their_start() -> None:
    layout, records = Layout(), weather(2, 500, 5)
    θ, starts = drawn(layout, 2, 6), np.array([250, 300])
    before = forecast(θ, layout, records, starts, 96)
    records.indoor[:, 301:] += 3
    after = forecast(θ, layout, records, starts, 96)
    assert np.array_equal(before, after)
    records.indoor[:, 250] += 3
    assert not np.allclose(before[:, 0], forecast(θ, layout, records, starts, 96)[:, 0])


def test_more_power_never_warms_whatever_the_fingerprint() -> None:
    layout = Layout()
    for seed in range(20):
        system = system_of(drawn(layout, 50, seed, spread=3.0), layout, STEP)
        rng = np.random.default_rng(seed)
        load, more = rng.uniform(0, 2, 50), rng.uniform(0, 1, 50)
        outdoor, humidity = rng.uniform(-10, 50, 50), rng.uniform(0, 30, 50)
        Δ = power_columns(load + more, outdoor, humidity) - power_columns(load, outdoor, humidity)
        x = np.einsum("ujc,uc->uj", system.G[:, :, -4:], Δ)
        for _ in range(200):
            assert (x <= 1e-12).all()
            x = np.einsum("uij,uj->ui", system.Φ, x)


def test_slopes_of_the_step_are_those_of_differences() -> None:
    layout, θ = Layout(), drawn(Layout(), 2, 8)
    _, slopes = slopes_of(θ, layout, STEP)
    for p in range(layout.size):
        Δ = 1e-6 * np.eye(layout.size)[p]
        up, down = system_of(θ + Δ, layout, STEP), system_of(θ - Δ, layout, STEP)
        assert slopes.G[:, p] == pytest.approx((up.G - down.G) / 2e-6, rel=1e-5, abs=1e-8)
        if p < 7:
            assert slopes.Φ[:, p] == pytest.approx((up.Φ - down.Φ) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.slow
def test_noise_free_rooms_are_recovered() -> None:
    layout = Layout()
    truth = drawn(layout, 3, 9, spread=0.3)
    records = simulated(truth, layout, 20 * 96, 10)
    mean, deviation = hand_prior(layout)
    weak = Prior(mean, np.diag(deviation**-2.0) * 1e-8)
    fit = adapt(windows_of(records, RECIPE), weak, layout, RECIPE, STEP, most_steps=60, tolerance=1e-9)
    assert own_errors(fit.θ, layout, windows_of(records, RECIPE), STEP).max() < 1e-3
    b, rate = layout.cooling, 1  # cooling per power, air to mass
    assert np.exp(fit.θ[:, b] - truth[:, b]) == pytest.approx(1, rel=0.01)
    assert np.exp(fit.θ[:, rate] - truth[:, rate]) == pytest.approx(1, rel=0.01)


def test_without_data_the_answer_is_the_prior() -> None:
    layout, records = Layout(), weather(2, 200, 11)
    records.indoor[:] = np.nan
    prior = first_prior(layout)
    fit = adapt(windows_of(records, RECIPE), prior, layout, RECIPE, STEP)
    assert fit.is_converged.all()
    assert fit.θ == pytest.approx(np.tile(prior.mean, (2, 1)))
    assert fit.precision[0] == pytest.approx(prior.precision)


def test_units_fitted_together_are_units_fitted_alone() -> None:
    layout = Layout()
    windows = windows_of(simulated(drawn(layout, 3, 12), layout, 300, 13, noise=0.05), RECIPE)
    together = adapt(windows, first_prior(layout), layout, RECIPE, STEP)
    alone = adapt(pick(windows, np.array([1])), first_prior(layout), layout, RECIPE, STEP)
    assert together.θ[1] == pytest.approx(alone.θ[0], abs=1e-7)
    assert (memory(together.θ, layout, STEP) < SLOWEST_MEMORY).all()


@pytest.mark.slow
def test_a_population_makes_the_prior_that_helps_a_new_unit() -> None:
    layout, recipe = Layout(), Recipe(stride=4.0)
    mean, deviation = hand_prior(layout)
    rng = np.random.default_rng(14)
    centre = mean + 0.5 * deviation * rng.normal(size=layout.size)
    centre[layout.observer], centre[layout.start] = mean[layout.observer], 0.0
    θ = centre + 0.15 * deviation * rng.normal(size=(14, layout.size))
    records = simulated(θ, layout, 14 * 96, 15, noise=0.05)
    old, new = records.of(np.arange(10)), records.of(np.arange(10, 14))
    population = fit_population(windows_of(old, recipe), layout, recipe, STEP)
    day, starts = new.during(0, 96), np.arange(7 * 96, 12 * 96, 29)
    truth = new.indoor[:, starts[:, None] + np.arange(1, 97)]
    errors = []
    for prior in (population.prior, first_prior(layout)):
        fit = adapt(windows_of(day, recipe), prior.tempered(0.3), layout, recipe, STEP)
        errors.append(np.sqrt(((forecast(fit.θ, layout, new, starts, 96) - truth) ** 2).mean()))
    assert errors[0] < 0.7 * errors[1]
    calibration = rehearse(old, population.θ, layout, recipe, 0.3)
    assert isinstance(calibration, Calibration)
    assert (np.diff(calibration.days) > 0).all()
    own = own_errors(fit.θ, layout, windows_of(day, recipe), STEP)
    std = calibration.deviation_of(day.days, own)
    assert std.shape == (4, 96)
    assert (std > 0).all()
    assert (calibration.spread_of(day.days) >= 1).all()


def test_a_prior_from_fingerprints_has_their_mean_and_leaves_starts_alone() -> None:
    layout, θ = Layout(), drawn(Layout(), 200, 16)
    prior = prior_from(θ, layout)
    assert prior.mean[: layout.shared_size] == pytest.approx(θ[:, : layout.shared_size].mean(0))
    assert prior.mean[layout.start] == pytest.approx(0)
    assert np.linalg.eigvalsh(prior.precision).min() > 0


def test_records_know_their_clock() -> None:
    records = weather(1, 3 * 96, 19)
    assert records.hour[0] == pytest.approx(0.125)
    assert records.is_weekend[0]  # 1 June 2025 was a Sunday
    assert not records.is_weekend[96:].any()
    halves = records.during(0, 100).then(records.during(100, 288))
    assert np.array_equal(halves.power, records.power)
    assert np.array_equal(halves.time, records.time)
    assert records.days == pytest.approx(3)


def test_a_fit_that_is_cut_short_or_finds_no_better_place_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    windows = windows_of(simulated(drawn(layout, 2, 20), layout, 300, 21, noise=0.05), RECIPE)
    short = adapt(windows, first_prior(layout), layout, RECIPE, STEP, most_steps=1)
    assert not short.is_converged.any()
    assert adapt(windows, first_prior(layout), layout, RECIPE, STEP).is_converged.all()
    # the damping of refused steps makes their promises as small as one likes; that is no convergence
    monkeypatch.setattr("surrogates.battery.adaptation.SLOWEST_MEMORY", 0.0)
    stuck = adapt(windows, first_prior(layout), layout, RECIPE, STEP)
    assert not stuck.is_converged.any()
    assert stuck.θ == pytest.approx(np.tile(first_prior(layout).mean, (2, 1)))


def test_a_converged_fit_is_a_minimum_of_the_negative_log_density() -> None:
    layout = Layout()
    records = simulated(drawn(layout, 1, 21), layout, 300, 22, noise=0.1)
    prior, windows = first_prior(layout), windows_of(records, RECIPE)
    fit = adapt(windows, prior, layout, RECIPE, STEP, tolerance=1e-8, most_steps=100)

    def density(θ: Floats) -> float:
        off = θ - prior.mean
        return float(value_of(θ[None], layout, windows, RECIPE, STEP)[0] + 0.5 * off @ prior.precision @ off)

    assert fit.is_converged.all()
    assert density(fit.θ[0]) == pytest.approx(fit.value[0], rel=1e-12)
    _, deviation = hand_prior(layout)
    for p in range(layout.size):
        for side in (-1, 1):
            assert density(fit.θ[0] + side * 0.02 * deviation * np.eye(layout.size)[p]) > fit.value[0]


def test_nothing_counts_that_follows_from_unknown_power() -> None:
    records = weather(2, 400, 23)
    records.is_known[1, 200:204] = False
    windows = windows_of(records, RECIPE)
    warm = round(RECIPE.warm_up / STEP)
    assert (windows.step_weight[0, warm:] > 0).all()
    assert (windows.step_weight[1, 200 : 203 + warm] == 0).all()
    assert windows.step_weight[1, 204 + warm] > 0
    assert windows.readings[0] - windows.readings[1] == pytest.approx(4 * STEP / RECIPE.hours_per_reading)
    for s, start in enumerate(windows.starts):
        reached = start + windows.ahead
        touches = (reached >= 200) & (start + 1 - warm <= 203)
        assert (windows.weight[1, s][touches] == 0).all()
        assert (windows.weight[1, s][(reached < 200) | (start + 1 - warm > 203)] > 0)[
            reached[(reached < 200) | (start + 1 - warm > 203)] < 400
        ].all()


def test_fewer_units_are_trusted_less_with_correlations() -> None:
    layout = Layout()
    θ = drawn(layout, 48, 35)
    θ[:, 1] = θ[:, 0]
    correlation = []
    for units in (6, 48):
        Σ = np.linalg.inv(prior_from(θ[:units], layout).precision)
        correlation.append(Σ[0, 1] / np.sqrt(Σ[0, 0] * Σ[1, 1]))
    assert correlation[0] < 0.7 < 0.9 < correlation[1] < 1
