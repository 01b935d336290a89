"""Sobol indices in closed form against brute-force quadrature of the fitted function and of its covariance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import sobol_indices
from surrogates.gp.terms import Categorical, Periodic, Smooth, additive

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c")


def some_data(n: int, d: int, *, noise: float = 0.1, seed: int = 0, tasks: int = 1) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x = generator.random((n, d)) * [2.0, 3.0, 1.0][:d] - [1.0, 0.0, 5.0][:d]
    y = np.sin(2 * x[:, 0]) * (1 + x[:, -1] - x[:, -1].mean()) + (0.5 * x[:, 1] ** 2 if d > 1 else 0.0)
    task = np.arange(n) % tasks
    y = y + 0.5 * task * x[:, 0] + noise * generator.standard_normal(n)
    return as_dataset(x, y, inputs=NAMES[:d], task=[f"t{k}" for k in task] if tasks > 1 else None)


def legendre(low: float, high: float, points: int) -> tuple[Floats, Floats]:
    x, w = np.polynomial.legendre.leggauss(points)
    return 0.5 * (low + high) + 0.5 * (high - low) * x, 0.5 * w


def shares(values: Floats, weights: Sequence[Floats]) -> tuple[Floats, Floats, float]:
    """First-order and total indices, and the variance, of a function on a tensor grid."""
    d = values.ndim
    everything = tuple(range(d))

    def mean_over(f: Floats, inputs: Sequence[int]) -> Floats:
        for k in sorted(inputs, reverse=True):
            f = np.tensordot(f, weights[k], (k, 0))
        return f

    mean = float(mean_over(values, everything))
    variance = float(mean_over((values - mean) ** 2, everything))

    def explained(inputs: Sequence[int]) -> float:
        f = values - mean
        for k in sorted(set(everything) - set(inputs), reverse=True):
            f = np.tensordot(f, weights[k], (k, 0))
        square = f**2
        for k in sorted(inputs, reverse=True):
            square = np.tensordot(square, weights[k], (-1, 0))
        return float(square)

    first = np.array([explained([k]) for k in everything]) / variance
    total = 1 - np.array([explained([j for j in everything if j != k]) for k in everything]) / variance
    return first, total, variance


def predicted(fitted: Any, points: Sequence[Floats], **labels: str) -> Floats:
    x = np.array(list(itertools.product(*points)))
    at = as_dataset(x, inputs=fitted.schema.inputs).assign({k: ("sample", [v] * len(x)) for k, v in labels.items()})
    return fitted.predict(at)["mean"].values.reshape([len(p) for p in points])


@pytest.mark.parametrize("trend", ["none", "constant", "linear", "quadratic"])
@pytest.mark.parametrize("integrate", [True, False])
def test_mean_equals_quadrature(trend: str, integrate: bool) -> None:
    data = some_data(30, 3)
    fitted = HierarchicalGP(Schema(inputs=NAMES, target="y"), kernel="rbf", trend=trend, integrate=integrate).fit(data)
    laws: dict[str, Any] = {"a": (-0.9, 1.2), "b": stats.norm(1.0, 0.4), "c": (-5.0, -4.0)}
    found = sobol_indices(fitted, distributions=laws, draws=0)
    x, w = np.polynomial.hermite_e.hermegauss(40)
    grids = [legendre(-0.9, 1.2, 28), (1.0 + 0.4 * x, w / w.sum()), legendre(-5.0, -4.0, 24)]
    first, total, variance = shares(predicted(fitted, [p for p, _ in grids]), [w for _, w in grids])
    assert found.attrs["method"] == "closed form"
    np.testing.assert_allclose(found["first_order_of_mean"], first, atol=1e-8)
    np.testing.assert_allclose(found["total_of_mean"], total, atol=1e-8)
    np.testing.assert_allclose(found["variance_of_mean"], variance, rtol=1e-8)


def test_expectations_equal_quadrature_of_the_covariance() -> None:
    data = some_data(12, 2, noise=0.2)
    fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel="rbf", trend="linear").fit(data)
    assert len(fitted.core.weights) > 1  # a mixture
    found = sobol_indices(fitted, distributions={"a": (-1, 1), "b": (0, 3)}, draws=0, second_order=True)
    (p, w), (q, v) = legendre(-1, 1, 22), legendre(0, 3, 22)
    at = as_dataset(np.array(list(itertools.product(p, q))), inputs=("a", "b"))
    mean = fitted.predict(at)["mean"].values
    second = fitted.covariance(at).values + np.outer(mean, mean)  # E f(x) f(x')
    E = second.reshape(22, 22, 22, 22)
    both = float(np.einsum("ijkl,i,j,k,l", E, w, v, w, v))
    everything = float(np.einsum("ijij,i,j", E, w, v)) - both
    a = float(np.einsum("ijil,i,j,l", E, w, v, v)) - both
    b = float(np.einsum("ijkj,i,j,k", E, w, v, w)) - both
    np.testing.assert_allclose(found["variance"], everything, rtol=1e-8)
    np.testing.assert_allclose(found["first_order"], [a / everything, b / everything], atol=1e-8)
    np.testing.assert_allclose(found["total"], [1 - b / everything, 1 - a / everything], atol=1e-8)
    np.testing.assert_allclose(found["second_order"].values[0, 1], (everything - a - b) / everything, atol=1e-8)


def test_each_task_has_its_own() -> None:
    data = some_data(36, 2, tasks=3)
    fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y", task="task"), kernel="rbf").fit(data)
    laws = {"a": (-1, 1), "b": (0, 3)}
    grids = [legendre(-1, 1, 26), legendre(0, 3, 26)]
    for task in ("t0", "t2"):
        first, total, _ = shares(predicted(fitted, [p for p, _ in grids], task=task), [w for _, w in grids])
        found = sobol_indices(fitted, task=task, distributions=laws, draws=0)
        np.testing.assert_allclose(found["first_order_of_mean"], first, atol=1e-8)
        np.testing.assert_allclose(found["total_of_mean"], total, atol=1e-8)
        assert found.attrs["task"] == task


def test_tasks_that_share_places_are_asked_by_the_dense_solver() -> None:
    x = np.linspace(0, 1, 8)
    grid = np.array(list(itertools.product(x, x, [0, 1])))
    y = np.sin(3 * grid[:, 0]) + grid[:, 1] * (1 + grid[:, 2]) + 0.05 * np.random.default_rng(1).standard_normal(128)
    data = as_dataset(grid[:, :2], y, inputs=("a", "b"), task=[f"t{int(t)}" for t in grid[:, 2]])
    model = HierarchicalGP(Schema(inputs=("a", "b"), target="y", task="task"), kernel="rbf", solver="rotation")
    fitted = model.fit(data)
    grids = [legendre(0, 1, 24), legendre(0, 1, 24)]
    first, _, _ = shares(predicted(fitted, [p for p, _ in grids], task="t1"), [w for _, w in grids])
    found = sobol_indices(fitted, task="t1", draws=8)
    assert found.attrs["method"] == "closed form"
    np.testing.assert_allclose(found["first_order_of_mean"], first, atol=1e-8)


def test_terms_of_single_inputs_with_labels_and_a_circle() -> None:
    generator = np.random.default_rng(3)
    n = 60
    hour, x, kind = generator.uniform(0, 48, n), generator.random(n), generator.choice(["p", "q", "r"], n)
    y = np.cos(2 * np.pi * hour / 24) + x * (kind == "q") + 0.1 * generator.standard_normal(n)
    data = xr.Dataset({"hour": ("s", hour), "x": ("s", x), "kind": ("s", kind), "y": ("s", y)})
    kernel = Smooth("x", "matern32") * Categorical("kind") + Periodic("hour", 24.0) * Smooth("x", "rbf")
    fitted = HierarchicalGP(Schema(inputs=("hour", "x", "kind"), target="y"), kernel=kernel, integrate=False).fit(data)
    laws: dict[str, Any] = {"hour": (0, 24), "x": (0, 1), "kind": {"p": 1, "q": 2, "r": 1}}
    found = sobol_indices(fitted, distributions=laws, draws=64)
    hours, xs = np.arange(48) / 2, (np.arange(1500) + 0.5) / 1500  # the trapezoid rule is exact around a circle
    weights = [np.full(48, 1 / 48), np.full(1500, 1 / 1500), np.array([0.25, 0.5, 0.25])]
    at = xr.Dataset(coords={"hour": hours, "x": xs, "kind": ["p", "q", "r"]})
    values = fitted.predict(at)["mean"].transpose("hour", "x", "kind").values
    first, total, _ = shares(values, weights)
    assert found.attrs["method"] == "closed form"
    np.testing.assert_allclose(found["first_order_of_mean"], first, atol=3e-6)  # kinks, on a grid of 1500
    np.testing.assert_allclose(found["total_of_mean"], total, atol=3e-6)
    np.testing.assert_allclose(found["first_order"], found["first_order_quantile"].mean("quantile"), atol=0.1)


def test_matern_of_one_input_has_kinks_at_its_readings() -> None:
    data = some_data(25, 2)
    kernel = Smooth("a", "matern12") * Smooth("b", "matern52")
    fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel=kernel, integrate=False).fit(data)
    found = sobol_indices(fitted, distributions={"a": (-1, 1), "b": (0, 3)}, draws=0)
    # panels between readings make Gauss-Legendre points exact here as well
    grids = []
    for name, low, high in (("a", -1.0, 1.0), ("b", 0.0, 3.0)):
        edges = np.unique([low, *data[name].values, high])
        panels = [legendre(s, e, 12) for s, e in itertools.pairwise(edges)]
        lengths = np.diff(edges) / (high - low)
        points = np.concatenate([p for p, _ in panels])
        grids.append((points, np.concatenate([w * size for (_, w), size in zip(panels, lengths, strict=True)])))
    first, total, _ = shares(predicted(fitted, [p for p, _ in grids]), [w for _, w in grids])
    np.testing.assert_allclose(found["first_order_of_mean"], first, atol=1e-8)
    np.testing.assert_allclose(found["total_of_mean"], total, atol=1e-8)


def test_what_adds_up_has_no_interactions() -> None:
    data = some_data(40, 3)
    model = HierarchicalGP(
        Schema(inputs=NAMES, target="y"), kernel=additive("a", "b", "c", kind="rbf"), integrate=False
    )
    found = sobol_indices(model.fit(data), draws=32, second_order=True)
    np.testing.assert_allclose(found["first_order"].sum(), 1.0, atol=1e-8)
    np.testing.assert_allclose(found["first_order"], found["total"], atol=1e-8)
    np.testing.assert_allclose(found["second_order"], 0.0, atol=1e-8)
    np.testing.assert_allclose(found["first_order_quantile"], found["total_quantile"], atol=1e-6)


def test_more_inputs_than_a_tensor_holds() -> None:
    generator = np.random.default_rng(0)
    names = tuple("abcdefgh")
    x = generator.random((80, 8))
    y = np.sin(5 * x[:, 0]) + 2 * x[:, 1] * x[:, 2] + 0.05 * generator.standard_normal(80)
    model = HierarchicalGP(Schema(inputs=names, target="y"), kernel="rbf", integrate=False)
    found = sobol_indices(
        model.fit(as_dataset(x, y, inputs=names)), distributions=dict.fromkeys(names, (0, 1)), draws=16
    )
    t = np.linspace(0, 1, 20001)
    alone, pair = np.var(np.sin(5 * t)), 4 * (1 / 9 - 1 / 16)
    variance = alone + pair
    first = np.array([alone, 4 / 4 / 12, 4 / 4 / 12, 0, 0, 0, 0, 0]) / variance
    total = np.array([alone, pair - 1 / 12, pair - 1 / 12, 0, 0, 0, 0, 0]) / variance
    np.testing.assert_allclose(found["first_order"], first, atol=0.04)
    np.testing.assert_allclose(found["total"], total, atol=0.06)
    assert (found["total"] >= found["first_order"] - 1e-9).all()
