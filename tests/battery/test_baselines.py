"""Baselines keep to the rules of forecasting, find what is there to be found, and say what is wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from surrogates.battery.baselines import (
    ARX,
    LSTM,
    Baseline,
    Forecaster,
    HierarchicalARX,
    OutputError,
    Persistence,
    Terms,
)
from surrogates.battery.baselines.cold_starts import by_days, cold_starts, folds, judged
from surrogates.battery.baselines.linear import Prepared
from surrogates.battery.baselines.thermal import MEANS, inputs_of, simulate, step_matrices
from surrogates.battery.records import Records
from surrogates.errors import DataError

Floats = NDArray[np.float64]
SMALL = Terms(2, "rich", 2, 1, 1)
BASELINES: dict[str, Baseline] = {
    "last": Persistence(),
    "yesterday": Persistence(yesterday=True),
    "ARX": ARX(2),
    "ARX, memory": ARX(2, "rich", has_memory=True),
    "hierarchical": HierarchicalARX(SMALL, weights=(0.1, 1.0), iterations=2, windows=12, groups=2),
    "1R1C": OutputError(1, weights=(1.0,), windows=8, iterations=3, tuning_units=2),
    "2R2C": OutputError(2, weights=(1.0,), windows=12, iterations=8, tuning_units=2),
    "LSTM": LSTM(hidden=8, steps=20, batch=16, tuning_steps=5),
}


def rooms(units: int, days: int, seed: int = 0, *, noise: float = 0.1) -> Records:
    """Rooms of an air and a mass node in hourly steps, with habits that recur daily; rates differ by a fifth."""
    draw = np.random.default_rng(seed)
    T, sub = 24 * days, 12
    hour = np.arange(1, T + 1) - 0.5
    outdoor = 27 + 6 * np.sin(2 * np.pi * (hour - 9) / 24) + np.cumsum(draw.normal(0, 0.15, (units, T)), axis=1)
    sun = np.maximum(np.sin(2 * np.pi * (hour - 6) / 24), 0) * draw.uniform(0.4, 1.0, (units, T))
    irradiance = sun[..., None] * np.array([800.0, 300.0, 250.0, 60.0, 350.0])
    load = np.clip(0.4 + 0.3 * np.sin(2 * np.pi * (hour - 10) / 24) + draw.normal(0, 0.15, (units, T)), 0, 1)
    ko, km, kr, b = (m * draw.uniform(0.8, 1.2, units) for m in (0.15, 0.8, 0.1, 6.0))
    habit = draw.normal(0, 0.6, (units, 24))
    indoor = np.full((units, T), 24.0)
    mass = np.full(units, 24.0)
    for k in range(1, T):
        air = indoor[:, k - 1]
        gain = 1.2 + 1.2 * sun[:, k] + habit[:, k % 24] + draw.normal(0, noise, units)
        for _ in range(sub):
            air, mass = (
                air + (ko * (outdoor[:, k] - air) + km * (mass - air) + gain - b * load[:, k]) / sub,
                mass + kr * (air - mass) / sub,
            )
        indoor[:, k] = air
    time = np.datetime64("2025-06-01T01", "ns") + np.arange(T) * np.timedelta64(1, "h")
    rated = draw.uniform(1, 3, units)
    return Records(
        unit=tuple(f"room {k}" for k in range(units)),
        time=time,
        step_hours=1.0,
        power=load * rated[:, None],
        indoor=indoor,
        outdoor=outdoor,
        irradiance=irradiance,
        humidity=draw.uniform(8, 16, (units, T)),
        set_point=np.full((units, T), np.nan),
        rated_power=rated,
        is_known=np.ones((units, T), dtype=bool),
    )


ALL = rooms(8, 40)
POPULATION, NEW = ALL.of(np.arange(6)).during(0, 24 * 28), ALL.of(np.arange(6, 8))
TRAINING = NEW.during(24 * 20, 24 * 28)
STARTS = np.arange(24 * 32, 24 * 39, 19)


@cache
def adapted(name: str) -> Forecaster:
    return BASELINES[name].fit(POPULATION).adapt(TRAINING)


def rmse(forecast: Floats, records: Records, starts: NDArray[np.int64]) -> Floats:
    ahead = starts[:, None] + np.arange(1, forecast.shape[2] + 1)
    return np.sqrt(((forecast - records.indoor[:, ahead]) ** 2).mean(axis=(1, 2)))


# --- rules that all keep ---


@pytest.mark.parametrize("name", BASELINES)
def test_forecasts_use_the_past_and_the_plan_alone(name: str) -> None:
    """Later temperatures change nothing; earlier ones do, and so does later power, save for persistence."""
    forecaster = adapted(name)
    start = np.array([24 * 34 + 5])
    forecast = forecaster.forecast(NEW, start, 24)
    assert forecast.shape == (2, 1, 24)
    assert np.isfinite(forecast).all()
    later = np.arange(NEW.steps) > start[0]
    for other in (NEW.indoor + 7.0, np.full_like(NEW.indoor, np.nan)):
        altered = replace(NEW, indoor=np.where(later, other, NEW.indoor))
        np.testing.assert_array_equal(forecaster.forecast(altered, start, 24), forecast)
    earlier = replace(NEW, indoor=np.where(later, NEW.indoor, NEW.indoor + 0.5))
    assert np.abs(forecaster.forecast(earlier, start, 24) - forecast).max() > 0.1
    cooled = replace(NEW, power=np.where(later, NEW.power * 1.2, NEW.power))
    moved = np.abs(forecaster.forecast(cooled, start, 24) - forecast).max()
    assert (moved == 0) if isinstance(BASELINES[name], Persistence) else (moved > 1e-3)
    far = np.arange(NEW.steps) > start[0] + 24
    beyond = replace(NEW, power=np.where(far, 0.0, NEW.power), outdoor=np.where(far, 0.0, NEW.outdoor))
    np.testing.assert_array_equal(forecaster.forecast(beyond, start, 24), forecast)


@pytest.mark.parametrize("name", BASELINES)
def test_starts_and_units_are_answered_each_for_itself(name: str) -> None:
    forecaster = adapted(name)
    together = forecaster.forecast(NEW, STARTS, 24)
    alone = forecaster.forecast(NEW, STARTS[3:4], 24)
    np.testing.assert_allclose(together[:, 3:4], alone, rtol=0, atol=1e-5 if name == "LSTM" else 1e-10)
    if name != "LSTM":  # its random batches go by a unit's position
        swapped = BASELINES[name].fit(POPULATION).adapt(TRAINING.of(np.array([1, 0])))
        np.testing.assert_allclose(swapped.forecast(NEW.of(np.array([1, 0])), STARTS, 24)[::-1], together, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_gaps_are_tolerated_and_stand_ins_are_not_learnt_from(name: str) -> None:
    """Rows of unknown power may hold anything in training; NaN temperatures spoil no forecast."""
    draw = np.random.default_rng(5)
    missing = draw.random(ALL.indoor.shape) < 0.02
    unknown = draw.random(ALL.indoor.shape) < 0.02

    def spoilt(stand_in: float) -> Records:
        return replace(
            ALL,
            indoor=np.where(missing, np.nan, ALL.indoor),
            power=np.where(unknown, stand_in, ALL.power),
            is_known=~unknown,
        )

    found = []
    for stand_in in (1.0, 1.5):
        records = spoilt(stand_in)
        fitted = BASELINES[name].fit(records.of(np.arange(6)).during(0, 24 * 28))
        forecaster = fitted.adapt(records.of(np.arange(6, 8)).during(24 * 20, 24 * 28))
        found.append(forecaster.forecast(NEW, STARTS, 24))
        with_gaps = forecaster.forecast(records.of(np.arange(6, 8)), STARTS, 24)
        assert np.isfinite(with_gaps).all()
    if name not in ("2R2C", "LSTM"):  # whose warm-ups can't do without power
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-7)
    assert rmse(found[0], NEW, STARTS).max() < 4


def test_no_temperature_before_the_start_gives_no_forecast() -> None:
    blind = replace(NEW, indoor=np.full_like(NEW.indoor, np.nan))
    for name in ("last", "ARX"):
        forecaster = adapted(name)
        assert np.isnan(forecaster.forecast(blind, STARTS, 24)).all()


def test_what_cannot_be_forecast_is_refused() -> None:
    forecaster = adapted("ARX")
    with pytest.raises(DataError, match="records have 6 units, but the forecaster was adapted to 2"):
        forecaster.forecast(POPULATION, np.array([50]), 24)
    with pytest.raises(DataError, match="horizon is 0"):
        forecaster.forecast(NEW, STARTS, 0)
    with pytest.raises(DataError, match=r"starts lie in 950 \.\. 950 .* rows 0 \.\. 959"):
        forecaster.forecast(NEW, np.array([950]), 24)
    with pytest.raises(DataError, match="population of 96 steps is too short to tune on"):
        ARX(2).fit(POPULATION.during(0, 96))
    with pytest.raises(DataError, match="population has 40 steps; the network needs at least two days, 50 steps"):
        LSTM().fit(POPULATION.during(0, 40))
    with pytest.raises(DataError, match="order is 0"):
        Terms(order=0)


# --- persistence ---


def test_persistence_by_hand() -> None:
    start = np.array([100])
    last = Persistence().fit(POPULATION).adapt(TRAINING).forecast(NEW, start, 30)
    np.testing.assert_array_equal(last[:, 0], np.repeat(NEW.indoor[:, 100:101], 30, axis=1))
    repeated = Persistence(yesterday=True).fit(POPULATION).adapt(TRAINING).forecast(NEW, start, 30)
    expected = np.concatenate([NEW.indoor[:, 77:101], NEW.indoor[:, 77:83]], axis=1)  # hours 1-24, and again 1-6
    np.testing.assert_array_equal(repeated[:, 0], expected)


# --- what sharing and memory bring ---


def test_a_population_helps_where_data_are_few_and_memory_where_habits_recur() -> None:
    short = NEW.during(24 * 26, 24 * 28 + 12)
    pooled = HierarchicalARX(SMALL, weights=(0.03, 0.3, 3.0), windows=20, groups=3)
    configs: dict[str, Baseline] = {
        "alone": ARX(2, "rich"),
        "pooled": replace(pooled, has_memory=False),
        "pooled, memory": pooled,
    }
    scores = {
        name: rmse(config.fit(POPULATION).adapt(short).forecast(NEW, STARTS, 24), NEW, STARTS).mean()
        for name, config in configs.items()
    }
    assert scores["pooled"] < 0.7 * scores["alone"]
    assert scores["pooled, memory"] < 0.9 * scores["pooled"]


def test_the_network_learns_and_its_seed_decides() -> None:
    config = LSTM(hidden=16, steps=250, batch=32, tuning_steps=10)
    found = [config.fit(POPULATION).adapt(TRAINING).forecast(NEW, STARTS, 24) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    lazy = Persistence(yesterday=True).adapt(TRAINING).forecast(NEW, STARTS, 24)
    assert rmse(found[0], NEW, STARTS).mean() < 0.8 * rmse(lazy, NEW, STARTS).mean()
    other = replace(config, seed=1, steps=5).fit(POPULATION).adapt(TRAINING).forecast(NEW, STARTS, 24)
    again = replace(config, seed=2, steps=5).fit(POPULATION).adapt(TRAINING).forecast(NEW, STARTS, 24)
    assert np.abs(other - again).max() > 1e-3


# --- circuits ---


def test_steps_of_circuits_are_exact() -> None:
    """Against the matrix exponential's integral by quadrature-free augmentation in SciPy, one unit at a time."""
    θ = np.array([MEANS, MEANS]) + 0.3 * np.random.default_rng(1).normal(size=(2, len(MEANS)))
    Φ, Γ = step_matrices(θ, 2, 0.25)
    for unit in range(2):
        ko, b, sun = np.exp(θ[unit, 0]), np.exp(θ[unit, 1]), np.exp(θ[unit, 2:7])
        km, kr, gm = np.exp(θ[unit, 10:13])
        A = np.array([[-ko - km, km], [kr, -kr]])
        B = np.array([[-b, ko, *sun, *θ[unit, 7:10]], [0, 0, gm, *[0] * 7]])
        E = scipy.linalg.expm(A * 0.25)
        np.testing.assert_allclose(Φ[unit], E, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(Γ[unit], np.linalg.solve(A, (E - np.eye(2)) @ B), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("stores", [1, 2])
def test_a_circuit_that_made_the_readings_is_found_again(stores: int) -> None:
    config = OutputError(2 if stores == 2 else 1, windows=30, iterations=30)
    records = rooms(1, 24, seed=3)
    θ = np.array([MEANS])[:, : 14 if stores == 2 else 10] + 0.2
    θ[:, 1] = np.log(15.0)
    if stores == 2:
        θ[:, 11] = np.log(0.4)  # so that 24 h are enough to warm up
    else:
        θ[:, :10] = (*np.log([0.1, 5.0]), *np.log([0.4] * 5), 1.0, 0.2, -0.1)
    data = Prepared.of(replace(records, indoor=np.full_like(records.indoor, 24.0)), Terms(1, "plain", 1, 1, 1))
    course = simulate(θ, stores, data, inputs_of(records), np.array([24]), records.steps - 25) + 25.0
    indoor = np.concatenate([np.full((1, 25), 24.0), course[:, 0]], axis=1)
    made = replace(records, indoor=indoor).during(25, records.steps)
    forecaster = config.adapted(made.during(0, 24 * 14), 1e-4)
    starts = np.arange(24 * 16, 24 * 20, 17)
    assert rmse(forecaster.forecast(made, starts, 24), made, starts).max() < 0.05
    ratio = (
        θ[0, 1] - θ[0, 0]
    )  # cooling to outdoor, which hourly readings tell even where the air's own rates are too quick
    assert forecaster.parameters[0, 1] - forecaster.parameters[0, 0] == pytest.approx(ratio, abs=0.1)


# --- rehearsals ---


def test_rehearsals_never_judge_what_they_trained_on() -> None:
    for days, cases in cold_starts(POPULATION).items():
        assert {case.last - case.first for case in cases} == {round(days * 24)}
        for case in cases:
            judged = case.starts[:, None] + np.arange(1, 25)
            assert judged.max() < POPULATION.steps
            assert not ((judged >= case.first) & (judged < case.last)).any()


def test_every_unit_rehearses_once_under_a_prior_of_others() -> None:
    parts = folds(7, 3)
    assert sorted(np.concatenate([pupils for _, pupils in parts]).tolist()) == list(range(7))
    assert all(not set(teachers) & set(pupils) and len(teachers) + len(pupils) == 7 for teachers, pupils in parts)


def test_tuned_settings_between_sizes_follow_the_logarithm_of_days() -> None:
    values = np.array([[1.0, 10.0], [3.0, 30.0]])
    np.testing.assert_allclose(by_days(np.sqrt(2.0 * 8.0), (2.0, 8.0), values), [2.0, 20.0])
    np.testing.assert_allclose(by_days(1.0, (2.0, 8.0), values), values[0])
    np.testing.assert_allclose(by_days(99.0, (2.0, 8.0), values), values[1])


def test_a_step_counts_when_nothing_was_unknown_since_the_reach_before_its_start() -> None:
    known, indoor = NEW.is_known.copy(), NEW.indoor.copy()
    known[0, [60, 98]], indoor[1, 103] = False, np.nan
    counts = judged(replace(NEW, is_known=known, indoor=indoor), np.array([62, 90, 98, 100]), 3)
    expected = np.ones((2, 4, 24), dtype=bool)
    expected[0, [0, 2, 3]] = False  # row 60 is among the three rows 60 .. 62; row 98 among 98 .. 100
    expected[0, 1, 7:] = False  # row 98 is the eighth of the window
    expected[1, 1, 12] = expected[1, 2, 4] = expected[1, 3, 2] = False
    np.testing.assert_array_equal(counts, expected)
