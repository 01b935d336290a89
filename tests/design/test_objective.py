"""Objectives for SciPy: equal to predictions, exact gradients, optima that a grid agrees with, and what is refused."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from design_fits import gauges, levels, materials, plate, positive, slopes
from scipy.optimize import Bounds, minimize

from surrogates import FittedHierarchicalGP, FittedMultiFidelityGP, HierarchicalGP, InducingGP, Schema, as_dataset
from surrogates.design import CVaR, Mean, Objective, Probability, Quantile, Response, Scatter, Std, objective
from surrogates.design.measures import Measure
from surrogates.errors import DataError

X = np.array([[0.13, 0.21], [-0.7, 0.4], [0.9, -0.95]])
MEASURES: list[Measure] = [Mean(), Mean(2.0), Mean(-1.0), Std(), Quantile(0.9), CVaR(0.8), CVaR(0.8, tail="lower")]
MEASURES += [Probability(at_least=0.2), Probability(at_most=0.9), Probability(at_least=0.2, at_most=0.9)]
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "hierarchy": (plate, {"task": "a"}),
    "warped": (positive, {"task": "b"}),
    "gauges": (gauges, {"task": "b", "fidelity": "probe"}),
    "low fidelity": (levels, {"fidelity": "low"}),
    "high fidelity": (levels, {}),
    "labels": (materials, {"fixed": {"material": "a"}}),
}


def at(fitted: FittedHierarchicalGP | FittedMultiFidelityGP, labels: dict[str, Any]) -> xr.Dataset:
    """The same places with their labels."""
    given = {name: labels[name] for name in ("task", "fidelity") if name in labels} | labels.get("fixed", {})
    schema = fitted.schema
    names = {"task": schema.task, "fidelity": schema.fidelity}
    places = xr.Dataset({"x": ("sample", X[:, 0]), "z": ("sample", X[:, 1])})
    for name in ("x", "z"):
        if units := fitted.vocabulary.units[name]:
            places[name].attrs["units"] = units
    return places.assign({names.get(name, name): ("sample", [label] * len(X)) for name, label in given.items()})


@pytest.mark.parametrize("name", FITS)
def test_mean_std_and_gradients_are_those_of_the_fitted_model(name: str) -> None:
    make, labels = FITS[name]
    fitted = make()
    response, truth = Response(fitted, **labels), fitted.predict(at(fitted, labels))
    slope = fitted.gradient(at(fitted, labels))
    for measure, value, by_input in ((Mean(), "mean", "d_mean"), (Std(), "std", "d_std")):
        values, gradients = objective(response, measure).values_and_jacs(X)
        np.testing.assert_allclose(values, truth[value], rtol=1e-9)
        np.testing.assert_allclose(objective(response, measure).values(X), truth[value], rtol=1e-9)
        np.testing.assert_allclose(gradients.T, slope[by_input].sel(input=["x", "z"]), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "over", "measure"),
    [(name, ("model", "noise"), measure) for name in ("warped", "gauges") for measure in MEASURES]
    + [(name, ("model",), measure) for name in ("hierarchy", "high fidelity", "labels") for measure in MEASURES[1::3]]
    + [(name, ("noise",), measure) for name in ("hierarchy", "low fidelity", "warped") for measure in MEASURES[2::3]],
)
def test_gradients_are_differences(name: str, measure: Any, over: tuple[str, ...]) -> None:
    make, labels = FITS[name]
    one = objective(Response(make(), over=over, **labels), measure, maximize=True)
    value, gradient = one.value_and_jac(X[0])
    assert value == pytest.approx(one(X[0]), rel=1e-12)
    wanted = slopes(one, X[0])
    np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=1e-6 * (1 + np.abs(wanted).max()))
    np.testing.assert_allclose(one.jac(X[0]), gradient, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "over", "measure"),
    [("gauges", ("model", "noise"), measure) for measure in MEASURES]
    + [
        ("hierarchy", ("noise",), CVaR(0.8)),
        ("low fidelity", ("model",), Mean(2.0)),
        ("high fidelity", ("model",), Std()),
    ],
)
def test_hessians_are_differences_of_gradients(name: str, over: tuple[str, ...], measure: Any) -> None:
    make, labels = FITS[name]
    one = objective(Response(make(), over=over, **labels), measure, maximize=True)
    wanted = slopes(one.jac, X[0])
    tolerance = 1e-6 * (1 + np.abs(wanted).max())
    np.testing.assert_allclose(one.hess(X[0]), wanted, atol=tolerance)
    np.testing.assert_allclose(one.hessp(X[0], [0.3, -2.0]), wanted @ [0.3, -2.0], atol=3 * tolerance)


@pytest.mark.parametrize("method", ["trust-krylov", "trust-exact", "trust-constr"])
def test_second_order_methods_find_the_optimum_of_a_grid(method: str) -> None:
    one = objective(Response(plate(), task="a", scatter=Scatter({"x": 0.05, "z": 0.05}, points=8)), Mean(1.0))
    axes = [np.linspace(a, b, 15) for a, b in zip(one.bounds.lb, one.bounds.ub, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1)[1:-1, 1:-1].reshape(-1, 2)
    values = one.values(grid)
    start = grid[values.argmin()]
    second = {"hess": one.hess} if method == "trust-exact" else {"hessp": one.hessp}
    found = minimize(one.value_and_jac, start + 0.1, jac=True, method=method, **second)
    assert values.min() - 0.1 < found.fun <= values.min() + 1e-9
    np.testing.assert_allclose(found.x, start, atol=0.2)
    assert np.abs(one.jac(found.x)).max() < 1e-4


def test_models_that_cannot_be_differentiated_twice_say_so() -> None:
    data = as_dataset(np.linspace(0, 1, 12), np.sin(6 * np.linspace(0, 1, 12)), inputs=["x"])
    own = HierarchicalGP(Schema(inputs="x", target="y"), trend=lambda x: np.exp(x[:, :1]), noise="none").fit(data)
    shaped = Response(with_shaped_noise(), over=("noise",))
    for response, words in (
        (Response(positive(), task="a"), "warped targets"),
        (Response(materials(), fixed={"material": "a"}), "kernels that are put together from others"),
        (shaped, "noises that vary with the place"),
        (Response(own), "trends with functions of the user's own"),
    ):
        for measure in (Mean(1.0), Quantile(0.9), CVaR(0.9)):
            with pytest.raises(DataError, match=f"{words} have no second derivatives here; use .* L-BFGS-B"):
                objective(response, measure).hess(X[0][: len(response.inputs)])
    with pytest.raises(DataError, match=r"the vector has shape \(3,\); \(2,\) is expected"):
        objective(Response(plate(), task="a")).hessp(X[0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-constr", "TNC"])
@pytest.mark.parametrize("measure", [Mean(), Mean(-1.0), Quantile(0.9)], ids=str)
def test_optimisers_find_the_optimum_of_a_grid(method: str, measure: Any) -> None:
    one = objective(Response(plate(), task="b"), measure)
    axes = [np.linspace(a, b, 41) for a, b in zip(one.bounds.lb, one.bounds.ub, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    values = one.values(grid)
    found = minimize(one.value_and_jac, grid[values.argmin()] + 0.15, jac=True, bounds=one.bounds, method=method)
    assert found.fun <= values.min() + 1e-9
    assert found.fun > values.min() - 0.01
    assert (found.x >= one.bounds.lb - 1e-9).all()
    assert (found.x <= one.bounds.ub + 1e-9).all()


def test_maximising_is_minimising_the_negative() -> None:
    response = Response(plate(), task="a")
    up, down = objective(response, maximize=True), objective(response)
    np.testing.assert_array_equal(up.values(X), -down.values(X))
    np.testing.assert_array_equal(up.jac(X[0]), -down.jac(X[0]))
    np.testing.assert_array_equal(up.measured(X), down.values(X))
    np.testing.assert_array_equal(up.measured_with_slopes(X)[1], down.values_and_jacs(X)[1])


def test_bounds_are_the_datas_unless_others_are_given() -> None:
    response = Response(plate(), task="a")
    data = response.bounds()
    assert (data.lb > -1).all()
    assert (data.ub < 1).all()
    assert (data.ub - data.lb > 1.8).all()
    one = objective(response, bounds={"z": (0, 3)})
    np.testing.assert_array_equal(one.bounds.lb, [data.lb[0], 0])
    np.testing.assert_array_equal(one.bounds.ub, [data.ub[0], 3])
    other = objective(response, bounds=Bounds([-2, -3], np.inf))
    np.testing.assert_array_equal(other.bounds.ub, [np.inf, np.inf])


def test_fixed_inputs_are_held() -> None:
    whole, held = Response(plate(), task="a"), Response(plate(), task="a", fixed={"x": 0.13})
    assert held.inputs == ("z",)
    assert objective(held).bounds.lb.shape == (1,)
    assert objective(held)([0.21]) == pytest.approx(objective(whole)(X[0]), rel=1e-12)
    assert objective(held).jac([0.21])[0] == pytest.approx(objective(whole).jac(X[0])[1], rel=1e-12)


def test_the_last_fidelity_is_meant_and_a_gauge_matters_for_readings_only() -> None:
    np.testing.assert_array_equal(
        objective(levels()).values(X), objective(Response(levels(), fidelity="high")).values(X)
    )
    probe, scanner = (Response(gauges(), task="a", fidelity=name) for name in ("probe", "scanner"))
    np.testing.assert_array_equal(objective(probe, Std()).values(X), objective(scanner, Std()).values(X))
    read = [Response(gauges(), task="a", fidelity=name, over=("noise",)) for name in ("probe", "scanner")]
    worse, better = (objective(one, Std())(X[0]) for one in read)
    assert worse > 3 * better


def test_noise_is_that_of_predict() -> None:
    noisy = objective(Response(plate(), task="a", over=("noise",)), Std())
    truth = plate().predict(at(plate(), {"task": "a"}))["noise_std"]
    np.testing.assert_allclose(noisy.values(X), truth, rtol=1e-10)
    dear = objective(Response(levels(), over=("noise",)), Std())
    places = at(levels(), {"fidelity": "high"})
    np.testing.assert_allclose(dear.values(X), levels().predict(places)["noise_std"], rtol=1e-10)


@cache
def with_shaped_noise() -> FittedHierarchicalGP:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 60)
    data = as_dataset(x, np.sin(6 * x) + 0.3 * x * rng.standard_normal(60), inputs=["x"])
    return HierarchicalGP(Schema(inputs="x", target="y"), noise="varying-quadratic").fit(data)


def test_noise_that_varies_has_its_gradient() -> None:
    fitted = with_shaped_noise()
    one = objective(Response(fitted, over=("noise",)), Std())
    truth = fitted.predict(as_dataset([0.2, 0.8], inputs=["x"]))["noise_std"]
    np.testing.assert_allclose(one.values([[0.2], [0.8]]), truth, rtol=1e-10)
    for place in (0.2, 0.8):
        np.testing.assert_allclose(one.jac([place]), slopes(one, np.array([place])), rtol=1e-7)


def test_where_exact_readings_leave_nothing_open_derivatives_are_finite() -> None:
    x = np.linspace(0, 1, 9)
    data = as_dataset(x, np.sin(6 * x), inputs=["x"]).assign(spread=0.0)
    fitted = HierarchicalGP(Schema(inputs="x", target="y", noise="spread")).fit(data)
    for measure in MEASURES[:7]:
        value, gradient = objective(fitted, measure).value_and_jac([0.5])
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_fits_without_a_joint_posterior_are_asked_in_closed_form() -> None:
    x = np.linspace(0, 1, 12)
    y = np.sin(6 * np.tile(x, 2)) + 0.1 * np.random.default_rng(0).standard_normal(24)
    data = as_dataset(np.tile(x, 2), y, inputs=["x"], task=np.repeat(["a", "b"], 12))
    fitted = HierarchicalGP(Schema(inputs="x", target="y", task="task"), sharing="niw").fit(data)
    one = objective(Response(fitted, task="b"), Mean(1.0))
    truth = fitted.predict(as_dataset([0.37], inputs=["x"], task=["b"]))
    assert one([0.37]) == pytest.approx((truth["mean"] + truth["std"]).item(), rel=1e-10)
    np.testing.assert_allclose(one.jac([0.37]), slopes(one, np.array([0.37])), rtol=1e-6)
    with pytest.raises(DataError, match=r"fits in paper mode .* have no second derivatives here"):
        one.hess([0.37])


def test_a_call_is_quicker_than_labelled_answers() -> None:
    one, places = objective(Response(plate(), task="a")), at(plate(), {"task": "a"}).isel(sample=[0])

    def best(work: Any) -> float:
        seconds = []
        for _ in range(15):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    both = best(lambda: (plate().predict(places), plate().gradient(places)))
    assert best(lambda: one.value_and_jac(X[0])) < 0.5 * both


# --- what is refused ---


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({}, "task isn't given, and the model knows 'a', 'b'; give task="),
        ({"task": "c"}, "unknown task 'c'; the model knows 'a', 'b'"),
        ({"task": "a", "fidelity": "probe"}, "fidelity is 'probe', but the model's schema names no fidelity"),
        ({"task": "a", "fixed": {"w": 1.0}}, "fixed names 'w', which is no input"),
        ({"task": "a", "fixed": {"x": np.nan}}, r"fixed\['x'\] is nan; give a finite number, in mm"),
        ({"task": "a", "fixed": {"x": 0.0, "z": 0.0}}, "all inputs .* are fixed; leave one free"),
        ({"task": "a", "over": ("everything",)}, "over is .*; name sources"),
        ({"task": "a", "over": "model"}, "over is 'model'; name sources of uncertainty in a tuple"),
    ],
)
def test_responses_that_make_no_sense(labels: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Response(plate(), **labels)


def test_labels_of_fidelities_and_inputs_are_checked() -> None:
    with pytest.raises(DataError, match="unknown fidelity 'middle'; the model knows 'low', 'high'"):
        Response(levels(), fidelity="middle")
    with pytest.raises(DataError, match="fidelity isn't given, and the model knows 'probe', 'scanner'"):
        Response(gauges(), task="a", over=("noise",))
    with pytest.raises(DataError, match=r"'material' holds labels.*fixed=\{'material': 'a'\}"):
        Response(materials())
    with pytest.raises(DataError, match=r"fixed\['material'\] is 'tin'; the model knows 'a', 'b'"):
        Response(materials(), fixed={"material": "tin"})


def test_models_without_gradients_are_refused() -> None:
    x = np.linspace(0, 1, 40)
    fitted: Any = InducingGP(Schema(inputs="x", target="y"), inducing=8).fit(as_dataset(x, np.sin(6 * x), inputs=["x"]))
    with pytest.raises(DataError, match="a FittedInducingGP has no gradient to optimise with"):
        objective(fitted)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"x": (1.0, 0.0)}, r"bounds of 'x' are \(1, 0\); the lower one must not exceed"),
        ({"x": (np.nan, 1.0)}, "bounds of 'x' are"),
        ({"x": (0.0, 1.0, 2.0)}, r"bounds of 'x' are \(0.0, 1.0, 2.0\); give two numbers"),
        ({"w": (0.0, 1.0)}, "bounds name 'w', which isn't among the free inputs"),
        (Bounds([0, 0, 0], [1, 1, 1]), r"bounds have shape \(3,\); \(2,\) is expected"),
        (Bounds([0, 2], [1, 1]), r"bounds of 'z' are \(2, 1\)"),
        ([(0, 1), (0, 1)], "bounds are a list; give"),
    ],
)
def test_bounds_that_are_none(bounds: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        objective(Response(plate(), task="a"), bounds=bounds)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([0.0], r"x has shape \(1,\); \(2,\) is expected, of the inputs \('x', 'z'\)"),
        ([[0.0, 0.0]], r"x has shape \(1, 2\); \(2,\) is expected"),
        ([0.0, np.nan], "a value of 'z' that isn't finite"),
        (["a", "b"], "x can't be read as numbers"),
    ],
)
def test_places_that_are_none(x: Any, words: str) -> None:
    one: Objective = objective(Response(plate(), task="a"))
    for call in (one, one.jac, one.value_and_jac):
        with pytest.raises(DataError, match=words):
            call(x)  # type: ignore[operator]
    with pytest.raises(DataError, match=r"x has shape \(2,\); \(n, 2\) is expected"):
        one.values([0.0, 0.0])


def test_measures_have_to_be_ones() -> None:
    wrong: Any = Mean
    with pytest.raises(DataError, match="give one such as Mean"):
        objective(Response(plate(), task="a"), wrong)
