"""Linear difference equations against loops, finite differences, least squares and coefficients that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from surrogates.battery.baselines import ARX, Terms
from surrogates.battery.baselines.fitting import fit_one_step, fit_open_loop
from surrogates.battery.baselines.hierarchical import prior_of
from surrogates.battery.baselines.linear import Prepared, days_before, residuals, rollout, sensitivities, stabilised
from surrogates.battery.baselines.memory import PUSHES, best_weights, forecast_parts, pushes
from surrogates.battery.prior import Prior
from surrogates.battery.records import Records

Floats = NDArray[np.float64]
TERMS = Terms(3, "rich", 2, 2, 1)


def weather(units: int, steps: int, seed: int = 0) -> Records:
    """Random power and weather in hourly steps; the temperature wanders."""
    draw = np.random.default_rng(seed)
    shape = (units, steps)
    return Records(
        unit=tuple(f"room {k}" for k in range(units)),
        time=np.datetime64("2025-06-01T01", "ns") + np.arange(steps) * np.timedelta64(1, "h"),
        step_hours=1.0,
        power=2 * draw.random(shape),
        indoor=24 + np.cumsum(draw.normal(0, 0.2, shape), axis=1),
        outdoor=28 + 3 * draw.normal(size=shape),
        irradiance=600 * draw.random((*shape, 5)),
        humidity=12 + 2 * draw.normal(size=shape),
        set_point=np.full(shape, np.nan),
        rated_power=np.full(units, 2.0),
        is_known=np.ones(shape, dtype=bool),
    )


def coefficients(units: int, size: int, order: int, seed: int = 1) -> Floats:
    """Stable: the lags' coefficients sum to 0.9 or less."""
    draw = np.random.default_rng(seed)
    θ = 0.1 * draw.normal(size=(units, size))
    θ[:, :order] = np.array([0.6, 0.2, 0.1, 0.0])[:order] + 0.03 * draw.normal(size=(units, order))
    return θ


def by_equation(records: Records, terms: Terms, θ: Floats) -> Records:
    """The same weather, the temperature by the difference equation from 25 degC on, without noise."""
    n = terms.order
    x = terms.columns(records)
    T = np.zeros((records.units, records.steps))
    for u in range(records.units):
        for k in range(n, records.steps):
            T[u, k] = sum(θ[u, i] * T[u, k - 1 - i] for i in range(n)) + x[u, k] @ θ[u, n:]
    return replace(records, indoor=T + 25.0)


RECORDS = weather(2, 120)
DATA = Prepared.of(RECORDS, TERMS)
THETA = coefficients(2, DATA.size, 3)
STARTS = np.array([30, 55, 90])


def test_columns_by_hand() -> None:
    plain = Terms(1, "plain", power_lags=2, outdoor_lags=1, sun_lags=1).columns(RECORDS)
    angle = 2 * np.pi * 6.5 / 24  # row 6 lasts from 6:00 to 7:00
    power, outdoor, sun = RECORDS.power[1], RECORDS.outdoor[1], RECORDS.irradiance[1]
    expected = [power[6] / 2, power[5] / 2, (outdoor[6] - 25) / 10, sun[6, 0] / 1000, 1, np.cos(angle), np.sin(angle)]
    np.testing.assert_allclose(plain[1, 6], expected)
    rich = Terms(1, "rich", 1, 1, 1).columns(RECORDS)[1]
    np.testing.assert_allclose(rich[6, 2:7], sun[6] / 1000)
    humid = (RECORDS.humidity[1, 6] - 12) / 5
    np.testing.assert_allclose(rich[6, 7:10], power[6] / 2 * np.array([humid, (outdoor[6] - 25) / 10, power[6] / 2]))
    assert rich[6, 11] == 1  # 1 June 2025 is a Sunday
    assert rich[30, 11] == 0
    assert (rich[6, 12:18] == 0).all()
    assert (rich[30, 18:24] == 0).all()


def test_rollouts_equal_a_loop() -> None:
    push = np.random.default_rng(2).normal(size=(2, 3, 24))
    found = rollout(THETA, DATA, STARTS, 24, push)
    x, T = TERMS.columns(RECORDS), RECORDS.indoor - 25
    for u in range(2):
        for s, start in enumerate(STARTS):
            past = list(T[u, : start + 1])
            for h in range(1, 25):
                lags = sum(THETA[u, i] * past[-1 - i] for i in range(3))
                past.append(lags + x[u, start + h] @ THETA[u, 3:] + push[u, s, h - 1])
            np.testing.assert_allclose(found[u, s], past[start + 1 :], rtol=1e-10)


def test_residuals_equal_a_loop_and_vanish_where_a_lag_is_missing() -> None:
    indoor, known = RECORDS.indoor.copy(), RECORDS.is_known.copy()
    indoor[0, 40], known[1, 60] = np.nan, False
    e = residuals(THETA, Prepared.of(replace(RECORDS, indoor=indoor, is_known=known), TERMS))
    x, T = TERMS.columns(RECORDS), RECORDS.indoor - 25
    for k in (10, 39, 44, 100):
        expected = T[0, k] - T[0, [k - 1, k - 2, k - 3]] @ THETA[0, :3] - x[0, k] @ THETA[0, 3:]
        assert e[0, k] == pytest.approx(expected, abs=1e-12)
    assert (e[0, 40:44] == 0).all()
    assert (e[1, 60:62] == 0).all()
    assert e[1, 62] != 0
    assert (e[:, :3] == 0).all()


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_sensitivities_are_derivatives(rho: float) -> None:
    def forecast(θ: Floats) -> Floats:
        push = rho * days_before(residuals(θ, DATA), STARTS, 20, 24, 1)
        return rollout(θ, DATA, STARTS, 20, push)

    value, D = sensitivities(THETA, DATA, STARTS, 20, rho)
    np.testing.assert_allclose(value, forecast(THETA), rtol=1e-12)
    for j in range(DATA.size):
        step = np.zeros_like(THETA)
        step[:, j] = 1e-5
        central = (forecast(THETA + step) - forecast(THETA - step)) / 2e-5
        np.testing.assert_allclose(D[..., j], central, rtol=1e-6, atol=1e-7)


def test_days_before_reads_the_same_hour_and_never_after_the_start() -> None:
    e = np.arange(120.0)[None]
    found = days_before(e, np.array([50, 20]), 30, 24, 1)[0]
    np.testing.assert_array_equal(found[0], [*range(27, 51), *range(27, 33)])
    np.testing.assert_array_equal(found[1], [*[0] * 3, *range(0, 21), *[0] * 3, *range(0, 3)])
    assert days_before(e, np.array([50]), 24, 24, 2)[0, 0, 0] == 3


def test_one_step_fits_are_least_squares_with_the_prior_as_further_rows() -> None:
    draw = np.random.default_rng(3)
    root = np.diag(draw.uniform(0.5, 2, DATA.size))
    prior = Prior(draw.normal(size=DATA.size), root.T @ root)
    found = fit_one_step(DATA, prior)
    φ = np.concatenate([DATA.past, DATA.columns], axis=2)
    for u in range(2):
        weight = np.sqrt(1 / 24) / 0.05  # days per row, and the error of a step
        rows = np.concatenate([weight * φ[u, 3:], root])
        right = np.concatenate([weight * DATA.indoor[u, 3:], root @ prior.mean])
        np.testing.assert_allclose(found[u], np.linalg.lstsq(rows, right)[0], rtol=1e-8)


def test_open_loop_fits_find_the_coefficients_that_made_the_readings() -> None:
    records = by_equation(weather(2, 400), TERMS, THETA)
    data = Prepared.of(records, TERMS)
    start = THETA + 0.02 * np.random.default_rng(4).normal(size=THETA.shape)
    prior = Prior(np.zeros(data.size), 1e-12 * np.eye(data.size))
    for rho in (0.0, 0.5):
        found = fit_open_loop(data, prior, start, rho=rho, most_windows=60, iterations=8)
        np.testing.assert_allclose(found, THETA, rtol=0, atol=1e-5)


def test_open_loop_fits_give_in_to_a_strong_prior() -> None:
    mean = coefficients(1, DATA.size, 3, seed=9)[0]
    prior = Prior(mean, 1e9 * np.eye(DATA.size))
    found = fit_open_loop(DATA, prior, THETA, rho=0.0, most_windows=20, iterations=4)
    np.testing.assert_allclose(found, np.tile(mean, (2, 1)), rtol=0, atol=1e-5)


def test_arx_forecasts_noise_free_readings_exactly() -> None:
    config = ARX(2, ridges=(1e-12,))
    terms = config.terms
    records = weather(3, 800, seed=5)
    θ = coefficients(3, terms.columns(records).shape[2] + 2, 2)
    records = by_equation(records, terms, θ)
    fitted = config.fit(records.of(np.array([0, 1])).during(0, 600))
    assert max(trial.rmse for trial in fitted.tuned[1:]) < 1e-4
    new = records.of(np.array([2]))
    forecaster = fitted.adapt(new.during(400, 560))
    np.testing.assert_allclose(forecaster.coefficients[0], θ[2], rtol=0, atol=1e-5)
    starts = np.arange(640, 770, 37)
    truth = new.indoor[:, starts[:, None] + np.arange(1, 25)]
    np.testing.assert_allclose(forecaster.forecast(new, starts, 24), truth, rtol=0, atol=1e-4)


def test_units_that_would_run_away_are_drawn_in() -> None:
    θ = np.array([[1.3, -0.2, 0.5], [0.6, 0.2, 0.5], [1.0, -1.3, 0.5]])
    drawn = stabilised(θ, 2)
    radii = [max(abs(np.roots([1, *-row[:2]]))) for row in drawn]
    np.testing.assert_allclose([radii[0], radii[2]], 0.9995, rtol=1e-9)
    np.testing.assert_array_equal(drawn[1], θ[1])
    np.testing.assert_array_equal(drawn[:, 2], θ[:, 2])


def test_pushes_by_hand_and_their_responses_add_up() -> None:
    e = residuals(THETA, DATA)
    q = pushes(e, np.array([100]), 24, 24)[1, 0]  # (H, j)
    np.testing.assert_allclose(q[4, :3], [e[1, 100 + 5 - 24 * d] for d in (1, 2, 3)])
    np.testing.assert_allclose(q[4, 3:], [e[1, 100] * np.exp(-5 / 2), e[1, 95:101].mean() * np.exp(-5 / 8)])
    base, r = forecast_parts(THETA, DATA, np.array([90]), 24)
    w = np.random.default_rng(6).normal(size=PUSHES)
    whole = rollout(THETA, DATA, np.array([90]), 24, pushes(e, np.array([90]), 24, 24) @ w)
    np.testing.assert_allclose(base + r @ w, whole, rtol=1e-9)


def test_best_weights_of_one_unit_are_least_squares() -> None:
    draw = np.random.default_rng(7)
    r, error = draw.normal(size=(1, 6, 24, PUSHES)), draw.normal(size=(1, 6, 24))
    counts = draw.random((1, 6, 24)) < 0.8
    found = best_weights(np.where(counts, error, np.nan), r, counts, ridge=0.0)
    np.testing.assert_allclose(found, np.linalg.lstsq(r[counts], error[counts])[0], rtol=1e-9)


def test_the_prior_is_mean_and_covariance() -> None:
    θ = np.random.default_rng(8).normal(size=(500, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 0.3]])
    prior = prior_of(θ, 0.0)
    np.testing.assert_allclose(prior.mean, θ.mean(axis=0))
    np.testing.assert_allclose(np.linalg.inv(prior.precision), np.cov(θ, rowvar=False), rtol=1e-8)
    diagonal = np.linalg.inv(prior_of(θ, 1.0).precision)
    np.testing.assert_allclose(diagonal, np.diag(θ.var(axis=0, ddof=1)), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(prior.tempered(3.0).precision, 3 * prior.precision)
