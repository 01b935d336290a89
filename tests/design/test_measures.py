"""Robust measures against brute-force Monte Carlo, closed forms of Gaussians and limits; chance constraints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from design_fits import Floats, gauges, plate, positive, slopes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import NonlinearConstraint, minimize
from scipy.stats import norm, uniform, weibull_min

from surrogates.design import CVaR, Mean, Probability, Quantile, Response, Scatter, Std, chance_constraint, objective
from surrogates.errors import DataError

PLACE = np.array([0.13, 0.21])
#: draws of the brute force, and how many of its standard errors a value may be off
DRAWS, ERRORS = 100_000, 4.5


def place(x: Floats = PLACE, task: str = "a", *, units: bool = True) -> xr.Dataset:
    at = xr.Dataset({"x": ("sample", [x[0]]), "z": ("sample", [x[1]])}).assign(task="a")
    for name in ("x", "z"):
        at[name].attrs["units"] = "mm" if units else None
        if not units:
            del at[name].attrs["units"]
    return at.assign(task=task)


def tail(values: Floats, alpha: float) -> tuple[float, float]:
    """Mean of the largest share 1 - alpha, and its standard error (that of y + (Y - y)⁺/(1 - α))."""
    y = np.quantile(values, alpha)
    each = y + np.maximum(values - y, 0) / (1 - alpha)
    return float(each.mean()), float(each.std() / np.sqrt(len(each)))


def check(response: Response, values: Floats, *, slack: float = 0.0) -> None:
    """All measures of Y at PLACE against draws of it; `slack` where tails of draws that share inputs are uncertain."""
    n = len(values)
    mean, error = values.mean(), values.std() / np.sqrt(n)
    assert objective(response)(PLACE) == pytest.approx(mean, abs=ERRORS * error)
    assert objective(response, Std())(PLACE) == pytest.approx(values.std(), rel=0.03)
    for q in (0.05, 0.5, 0.95):
        below = (values <= objective(response, Quantile(q))(PLACE)).mean()
        assert below == pytest.approx(q, abs=ERRORS * np.sqrt(q * (1 - q) / n))
        wanted, error = tail(values, q)
        assert objective(response, CVaR(q))(PLACE) == pytest.approx(wanted, abs=ERRORS * error + slack)
        wanted, error = tail(-values, q)
        assert objective(response, CVaR(q, tail="lower"))(PLACE) == pytest.approx(-wanted, abs=ERRORS * error + slack)
    low, high = np.quantile(values, [0.3, 0.9])
    for limits, p in (({"at_least": low}, 0.7), ({"at_most": high}, 0.9), ({"at_least": low, "at_most": high}, 0.6)):
        got = objective(response, Probability(**limits))(PLACE)
        assert got == pytest.approx(p, abs=ERRORS * np.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize("make", [plate, positive], ids=["plain", "warped"])
def test_measures_of_the_model_and_of_readings_agree_with_draws(make: Any) -> None:
    at = place(units=make is plate)
    draws = make().sample(at, DRAWS, seed=1).to_numpy()[:, 0]
    check(Response(make(), task="a"), draws)
    if make is plate:
        noise = make().predict(at)["noise_std"].item() * np.random.default_rng(2).standard_normal(DRAWS)
        check(Response(make(), task="a", over=("model", "noise")), draws + noise)


def test_quantiles_are_those_of_the_fitted_model() -> None:
    for make in (plate, positive):
        at = place(task="b", units=make is plate)
        for q in (0.01, 0.5, 0.9):
            one = objective(Response(make(), task="b"), Quantile(q))
            assert one(PLACE) == pytest.approx(make().quantile(at, q).item(), rel=1e-9)
            one = objective(Response(make(), over=("model", "noise"), task="b"), Quantile(q))
            assert one(PLACE) == pytest.approx(make().quantile(at, q, noise=True).item(), rel=1e-9)


def test_scattered_inputs_agree_with_draws() -> None:
    rng = np.random.default_rng(3)
    spread = {"x": 0.1, "z": uniform(-0.2, 0.3)}
    many = np.stack([0.1 * rng.standard_normal(6_000), rng.uniform(-0.2, 0.1, 6_000)], 1) + PLACE
    plain = objective(Response(plate(), task="a"))
    mean, std = plain.values(many), objective(Response(plate(), task="a", over=("noise",)), Std())(PLACE)
    noisy = np.repeat(mean, 10) + std * rng.standard_normal(10 * len(mean))
    check(Response(plate(), task="a", over=("noise",), scatter=Scatter(spread, points=256)), noisy)
    # Y takes as many values as there are points where nothing else is uncertain
    response = Response(plate(), task="a", over=(), scatter=Scatter(spread, points=512))
    for measure, wanted in (
        (Mean(), mean.mean()),
        (Quantile(0.9), np.quantile(mean, 0.9)),
        (CVaR(0.9), tail(mean, 0.9)[0]),
    ):
        assert objective(response, measure)(PLACE) == pytest.approx(wanted, abs=0.02 * mean.std() + 5e-3)


def test_all_sources_together_agree_with_draws() -> None:
    rng, values = np.random.default_rng(4), []
    for k, deviation in enumerate(norm.ppf((np.arange(80) + rng.uniform(size=80)) / 80, scale=0.1)):
        at = place(PLACE + np.array([deviation, 0.0]))
        draws = plate().sample(at, 800, seed=k).to_numpy()[:, 0]
        values.append(draws + plate().predict(at)["noise_std"].item() * rng.standard_normal(800))
    scatter = Scatter({"x": 0.1}, points=256)
    check(Response(plate(), task="a", over=("model", "noise"), scatter=scatter), np.concatenate(values), slack=0.03)


@settings(max_examples=12, deadline=None)
@given(alpha=st.floats(0.01, 0.99), x=st.floats(-0.9, 0.9), z=st.floats(-0.9, 0.9))
def test_of_one_gaussian_all_measures_are_closed(alpha: float, x: float, z: float) -> None:
    response = Response(plate(), task="b", over=("noise",))
    at = np.array([x, z])
    m, s = objective(response)(at), objective(response, Std())(at)
    u = norm.ppf(alpha)
    assert objective(response, Quantile(alpha))(at) == pytest.approx(m + s * u, rel=1e-9, abs=1e-11)
    assert objective(response, CVaR(alpha))(at) == pytest.approx(m + s * norm.pdf(u) / (1 - alpha), rel=1e-9, abs=1e-11)
    lower = objective(response, CVaR(alpha, tail="lower"))(at)
    assert lower == pytest.approx(m - s * norm.pdf(u) / (1 - alpha), rel=1e-9, abs=1e-11)
    assert objective(response, Probability(at_most=m + s * u))(at) == pytest.approx(alpha, rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(q=st.floats(0.02, 0.97), x=st.floats(-0.9, 0.9), z=st.floats(-0.9, 0.9), warped=st.booleans())
def test_measures_are_ordered(q: float, x: float, z: float, warped: bool) -> None:
    response = Response(positive() if warped else plate(), task="b", over=("model", "noise"))
    at = np.array([x, z])

    def value(measure: Any) -> float:
        return objective(response, measure)(at)

    slack = 1e-9 * (1 + abs(value(Mean())))
    assert value(Quantile(q)) <= value(Quantile(q + 0.02)) + slack
    assert value(CVaR(q, tail="lower")) - slack <= value(Mean()) <= value(CVaR(q)) + slack
    assert value(CVaR(q)) >= value(Quantile(q)) - slack
    assert value(CVaR(q)) <= value(CVaR(q + 0.02)) + slack
    whole = q * value(CVaR(1 - q, tail="lower")) + (1 - q) * value(CVaR(q))
    assert whole == pytest.approx(value(Mean()), rel=1e-8)  # law of total expectation


@pytest.mark.parametrize("over", [(), ("model",), ("noise",)], ids=["inputs", "model", "noise"])
@pytest.mark.parametrize("measure", [Mean(1.5), Quantile(0.8), CVaR(0.8), CVaR(0.7, tail="lower")], ids=str)
def test_gradients_under_scatter_are_differences(over: tuple[str, ...], measure: Any) -> None:
    scatter = Scatter({"x": 0.1, "z": weibull_min(1.5, scale=0.1)}, points=32)
    one = objective(Response(plate(), task="a", over=over, scatter=scatter), measure)
    np.testing.assert_allclose(one.jac(PLACE), slopes(one, PLACE), rtol=1e-6, atol=1e-7)
    if over:
        np.testing.assert_allclose(one.hess(PLACE), slopes(one.jac, PLACE), rtol=1e-5, atol=1e-5)


def test_an_input_may_be_random_alone() -> None:
    wind = weibull_min(1.5, scale=0.3)
    response = Response(plate(), task="a", fixed={"z": 0.0}, scatter=Scatter({"z": wind}, points=256))
    many = np.stack([np.full(5_000, 0.13), wind.rvs(5_000, random_state=0)], 1)
    truth = objective(Response(plate(), task="a")).values(many)
    assert objective(response)([0.13]) == pytest.approx(truth.mean(), abs=4 * truth.std() / np.sqrt(5_000))


def test_scatter_is_the_same_at_every_call_and_by_its_seed() -> None:
    def value(seed: int) -> float:
        return objective(Response(plate(), task="a", scatter=Scatter({"x": 0.1}, points=8, seed=seed)))(PLACE)

    assert value(0) == value(0)
    assert value(0) != value(1)


# --- constraints ---


@pytest.mark.parametrize("over", [("model",), ("model", "noise")], ids="+".join)
@pytest.mark.parametrize("limit", [{"at_most": 0.3}, {"at_least": 0.3}], ids=str)
def test_a_chance_constraint_holds_where_the_probability_is_large_enough(over: Any, limit: dict[str, float]) -> None:
    response = Response(plate(), task="a", over=over)
    constraint = chance_constraint(response, probability=0.95, **limit)
    assert isinstance(constraint, NonlinearConstraint)
    places = np.random.default_rng(0).uniform(-0.9, 0.9, (200, 2))
    value = np.array([constraint.fun(x) for x in places])
    p = objective(response, Probability(**limit)).values(places)
    np.testing.assert_array_equal((value >= constraint.lb) & (value <= constraint.ub), p >= 0.95)
    np.testing.assert_allclose(constraint.jac(PLACE), slopes(constraint.fun, PLACE), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_optimisers_find_the_constrained_optimum_of_a_grid(method: str) -> None:
    cost, limited = (
        Response(plate(), task="b"),
        Response(gauges(), task="a", fidelity="scanner", over=("model", "noise")),
    )
    one, constraint = objective(cost), chance_constraint(limited, probability=0.9, at_least=-0.2)
    axes = [np.linspace(a, b, 31) for a, b in zip(one.bounds.lb, one.bounds.ub, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    allowed = objective(limited, Probability(at_least=-0.2)).values(grid) >= 0.9
    values = np.where(allowed, one.values(grid), np.inf)
    assert values.min() > one.values(grid).min()  # it matters
    start = grid[values.argmin()]
    if method == "trust-constr":
        exact = objective(limited, Quantile(0.1))
        constraint.hess = lambda x, v: v[0] * exact.hess(x)
    found = minimize(
        one.value_and_jac, start + 0.05, jac=True, bounds=one.bounds, constraints=[constraint], method=method
    )
    assert objective(limited, Probability(at_least=-0.2))(found.x) >= 0.9 - 1e-4
    assert found.fun <= values.min() + 1e-4
    assert found.fun > values.min() - 0.04


def test_any_measure_can_be_limited_and_a_maximum_turns_no_sign() -> None:
    one = objective(Response(plate(), task="a"), CVaR(0.9), maximize=True)
    limited = one.constraint(at_least=-1.0, at_most=1.0)
    assert limited.fun(PLACE) == -one(PLACE)
    assert (limited.lb, limited.ub) == (-1.0, 1.0)


# --- what is refused ---


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, 1.5, np.nan, "0.9"])
def test_probabilities_are_between_zero_and_one(wrong: Any) -> None:
    for make, name in ((Quantile, "q"), (CVaR, "alpha")):
        with pytest.raises(DataError, match=f"{name} is .*; it must be a probability between 0 and 1"):
            make(wrong)
    with pytest.raises(DataError, match=r"probability is .*; it must be"):
        chance_constraint(Response(plate(), task="a"), probability=wrong, at_most=1.0)


def test_other_nonsense_is_refused() -> None:
    tail_: Any = "left"
    with pytest.raises(DataError, match="tail is 'left'; the worst cases"):
        CVaR(0.9, tail=tail_)
    with pytest.raises(DataError, match="k_std is nan"):
        Mean(np.nan)
    with pytest.raises(DataError, match="neither at_least nor at_most"):
        Probability()
    with pytest.raises(DataError, match=r"at_least=2 isn't below at_most=1"):
        Probability(at_least=2, at_most=1)
    with pytest.raises(DataError, match="they must be finite numbers"):
        Probability(at_least=np.inf)
    for limits in ({}, {"at_least": 0.0, "at_most": 1.0}):
        with pytest.raises(DataError, match="give one of them: two limits are two constraints"):
            chance_constraint(Response(plate(), task="a"), probability=0.9, **limits)
    with pytest.raises(DataError, match="neither at_least nor at_most"):
        objective(Response(plate(), task="a")).constraint()
    discrete = Response(plate(), task="a", over=(), scatter=Scatter({"x": 0.1}))
    with pytest.raises(DataError, match="jumps where neither the model nor a reading is uncertain"):
        objective(discrete, Probability(at_most=0.3)).jac(PLACE)


@pytest.mark.parametrize(
    ("deviations", "options", "words"),
    [
        ({}, {}, "deviations is empty"),
        ({"x": -1.0}, {}, "deviation of 'x' is -1.0; a standard deviation is finite and > 0"),
        ({"x": np.nan}, {}, "deviation of 'x' is nan"),
        ({"x": "wide"}, {}, "deviation of 'x' is a str; give a standard deviation, or a frozen"),
        ({"x": True}, {}, "deviation of 'x' is a bool"),
        ({"x": 1.0}, {"seed": -1}, "seed is -1; it must be an integer >= 0"),
        ({"x": 1.0}, {"points": 100}, "points is 100; a Sobol sequence wants a power of two"),
    ],
)
def test_scatters_that_are_none(deviations: Any, options: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Scatter(deviations, **options)


def test_scatter_takes_numpys_numbers() -> None:
    one, other = Scatter({"x": 0.5}, points=8), Scatter({"x": np.float32(0.5)}, points=np.int64(8))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.values(("x",)), other.values(("x",)))


def test_scatter_of_what_is_no_input_is_refused() -> None:
    with pytest.raises(DataError, match="scatter names 'w', which is no input"):
        Response(plate(), task="a", scatter=Scatter({"w": 1.0}))
    with pytest.raises(DataError, match="the distribution of 'x' gives values that aren't finite"):
        objective(Response(plate(), task="a", scatter=Scatter({"x": norm(scale=np.nan)})))(PLACE)
