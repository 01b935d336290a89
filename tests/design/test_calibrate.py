"""Calibration against posteriors on grids, analytic ones, and simulated problems whose answers are known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from surrogates import FittedHierarchicalGP, HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.design import calibrate
from surrogates.errors import DataError, FitWarning, UnitsError

Floats = NDArray[np.float64]


def parabola(*, integrate: bool = True, n: int = 13, warp: str | None = None) -> FittedHierarchicalGP:
    x = np.linspace(-2, 2, n)
    y = x**2 + 1 + 0.05 * np.random.default_rng(0).standard_normal(n)
    model = HierarchicalGP(Schema(inputs="x", target="y"), integrate=integrate, warp=warp)
    return model.fit(as_dataset(x, y, inputs="x"))


def line() -> FittedHierarchicalGP:
    """y = 2a - b, known to a thousandth."""
    x = np.random.default_rng(0).random((30, 2)) * [1, 2]
    y = 2 * x[:, 0] - x[:, 1] + 1e-3 * np.random.default_rng(1).standard_normal(30)
    data = as_dataset(x, y, inputs=("a", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # a straight line: processes vanish
        return HierarchicalGP(Schema(inputs=("a", "b"), target="y"), integrate=False).fit(data)


def mixture_density(fitted: FittedHierarchicalGP, x: Floats, y: float, std: float) -> Floats:
    """Likelihood of one reading at places x (m,), from the processes themselves."""
    core, total = fitted.core, np.zeros(len(x))
    for process, w in zip(core.processes, core.weights, strict=True):
        scaled = core.scaled.inputs(x[:, None])
        moments = process.moments(scaled, np.zeros(len(x), dtype=np.int64), beside=True)
        mean = core.scaled.target.mean(moments.mean)
        variance = core.scaled.target.variance(moments.variance) + std**2
        total += w * stats.norm.pdf(y, mean, np.sqrt(variance))
    return total


def distance(draws: Floats, x: Floats, density: Floats, bins: int) -> float:
    """Total variation between a histogram of draws and a density on a grid x of equal steps."""
    edges = np.linspace(x[0], x[-1], bins + 1)
    exact = np.histogram(x, edges, weights=density)[0]
    found = np.histogram(draws, edges)[0]
    return float(0.5 * abs(found / len(draws) - exact / exact.sum()).sum())


@pytest.mark.parametrize("y", [1.5, 2.4, 4.6])
def test_one_unknown_as_on_a_grid_with_both_modes(y: float) -> None:
    fitted = parabola()
    assert len(fitted.core.weights) > 1
    found = calibrate(fitted, y, std=0.2, draws=4000)
    grid = np.linspace(-2, 2, 4001)
    density = mixture_density(fitted, grid, y, 0.2)
    assert distance(found["x"].values, grid, density, 25) < 0.07
    left = density[grid < 0].sum() / density.sum()
    assert 0.3 < left < 0.7  # two modes, or one around zero
    assert abs(float((found["x"] < 0).mean()) - left) < 0.07
    assert found.attrs["tail_probability"] > 0.05
    # the log-likelihood of the draws is the grid's own
    density = mixture_density(fitted, found["x"].values, y, 0.2)
    np.testing.assert_allclose(found["log_likelihood"], np.log(density), atol=1e-6)
    np.testing.assert_allclose(found["log_posterior"], np.log(density / 4), atol=1e-6)


def test_two_unknowns_at_several_conditions_as_on_a_grid() -> None:
    generator = np.random.default_rng(4)
    x = generator.random((25, 3))
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.05 * generator.standard_normal(25)
    schema = Schema(inputs=("a", "b", "c"), target="y")
    fitted = HierarchicalGP(schema, kernel="rbf", integrate=False).fit(as_dataset(x, y, inputs=("a", "b", "c")))
    observed = as_dataset([0.1, 0.5, 0.9], np.sin(1.2) + 0.6 * np.array([0.1, 0.5, 0.9]), inputs=["c"])
    found = calibrate(fitted, observed, std=0.1, draws=4000)
    ticks, density = (np.arange(24) + 0.5) / 24, np.zeros((24, 24))
    bounds = {n: (float(x[:, k].min()), float(x[:, k].max())) for k, n in enumerate("abc")}
    a, b = (bounds[n][0] + (bounds[n][1] - bounds[n][0]) * ticks for n in "ab")
    for i in range(24):
        for j in range(24):
            at = observed.drop_vars("y").assign(a=("sample", [a[i]] * 3), b=("sample", [b[j]] * 3))
            mean, covariance = fitted.predict(at)["mean"].values, fitted.covariance(at).values
            density[i, j] = stats.multivariate_normal.pdf(observed["y"], mean, covariance + 0.01 * np.eye(3))
    edges = [np.linspace(*bounds[n], 9) for n in "ab"]
    exact = density.reshape(8, 3, 8, 3).sum(axis=(1, 3)) / density.sum()
    histogram = np.histogram2d(found["a"], found["b"], bins=edges)[0] / 4000
    assert 0.5 * abs(histogram - exact).sum() < 0.09
    assert (found["autocorrelation_time"] < 40).all()
    assert (found["r_hat"] < 1.1).all()


def test_a_line_with_a_normal_prior_has_an_analytic_posterior() -> None:
    """y = 2a - b at known b: precision of a 1/s² + 4 n/σ², a mean in between; a discrepancy adds to σ²."""
    fitted = line()
    b = np.array([0.2, 1.0, 1.8])
    y = 2 * 0.55 - b
    for discrepancy in (0.0, 0.3):
        σ2 = 0.2**2 + discrepancy**2
        found = calibrate(
            fitted,
            as_dataset(b, y, inputs=["b"]),
            std=0.2,
            prior={"a": stats.norm(0.3, 0.1)},
            discrepancy=discrepancy,
            draws=3000,
        )
        precision = 1 / 0.1**2 + 4 * 3 / σ2
        mean = (0.3 / 0.1**2 + 4 * 3 * 0.55 / σ2) / precision
        error = 1 / np.sqrt(precision * min(found.attrs["effective_draws"], 3000))
        assert abs(float(found["a"].mean()) - mean) < 5 * error
        assert float(found["a"].std()) == pytest.approx(precision**-0.5, rel=0.08)
        np.testing.assert_allclose(found["predicted_mean"], 2 * mean - b, atol=0.03)
        np.testing.assert_allclose(found["predicted_std"], np.sqrt(4 / precision + σ2), rtol=0.08)


def test_what_two_surrogates_say_together() -> None:
    square = parabola(integrate=False)
    x = np.linspace(-2, 2, 11)
    rising = HierarchicalGP(Schema(inputs="x", target="w"), integrate=False).fit(
        as_dataset(x, np.tanh(x) + 0.01 * np.random.default_rng(2).standard_normal(11), inputs="x", target="w")
    )
    found = calibrate([square, rising], [2.0, 0.7], std=[0.2, 0.3], draws=3000)
    grid = np.linspace(-2, 2, 4001)
    density = mixture_density(square, grid, 2.0, 0.2) * mixture_density(rising, grid, 0.7, 0.3)
    assert distance(found["x"].values, grid, density, 25) < 0.07
    assert found["target"].values.tolist() == ["y", "w"]
    assert float((found["x"] > 0).mean()) > 0.95


def test_warps_fidelities_tasks_and_learnt_noise() -> None:
    grid = np.linspace(-2, 2, 4001)
    warped = parabola(integrate=False, warp="log")
    found = calibrate(warped, 2.0, std=0.1)
    core = warped.core
    zeros = np.zeros(4001, dtype=np.int64)
    moments = core.processes[0].moments(core.scaled.inputs(grid[:, None]), zeros, beside=True)
    mean, variance = core.scaled.target.mean(moments.mean), core.scaled.target.variance(moments.variance)
    density = stats.norm.pdf(np.log(2.0), mean, np.sqrt(variance + (0.1 / 2.0) ** 2))
    assert distance(found["x"].values, grid, density, 25) < 0.09
    assert abs(float(found["predicted_mean"][0]) - 2.0) < 0.1

    x = np.tile(np.linspace(-2, 2, 10), 2)
    level = np.repeat(["low", "high"], 10)
    y = np.where(level == "low", x, np.sinh(x)) + 0.05 * np.random.default_rng(3).standard_normal(20)
    data = as_dataset(x, y, inputs="x", fidelity=level, task=np.tile(["s", "t"], 10))
    schema = Schema(inputs="x", target="y", fidelity="fidelity", task="task")
    model = MultiFidelityGP(
        schema, fidelities=("low", "high"), structure="coregional", kernel="rbf", trend="linear", integrate=False
    )
    fitted = model.fit(data)
    for label in ("low", None):
        found = calibrate(fitted, 1.0, task="t", fidelity=label)
        at = as_dataset(grid, inputs=["x"], task=["t"] * 4001, fidelity=[label or "high"] * 4001)
        said = fitted.predict(at)
        density = stats.norm.pdf(1.0, said["mean"], np.hypot(said["std"], said["noise_std"]))
        assert distance(found["x"].values, grid, density, 25) < 0.09


def test_known_noise_and_units_of_observations() -> None:
    pytest.importorskip("pint")
    x = np.linspace(0, 10, 12)
    data = as_dataset(x, 3 * x + 1, inputs="x").assign(error=("sample", np.full(12, 0.05)))
    data["x"].attrs["units"], data["y"].attrs["units"], data["error"].attrs["units"] = "mm", "m", "m"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fitted = HierarchicalGP(Schema(inputs="x", target="y", noise="error"), integrate=False).fit(data)
    observed = xr.Dataset({"y": ("n", [1600.0]), "error": ("n", [30.0])})
    observed["y"].attrs["units"], observed["error"].attrs["units"] = "cm", "cm"
    found = calibrate(fitted, observed)
    assert float(found["x"].mean()) == pytest.approx(5.0, abs=0.03)
    assert float(found["x"].std()) == pytest.approx(0.1, rel=0.15)
    assert found["x"].attrs["units"] == "mm"
    assert float(found["observed"][0]) == pytest.approx(16.0)


def test_the_seed_alone_decides() -> None:
    fitted = parabola(integrate=False)
    np.random.seed(1)  # noqa: NPY002  emcee would read it
    one = calibrate(fitted, 1.0, std=0.2, draws=100, seed=3)
    state: Any = np.random.get_state()  # noqa: NPY002
    before = state[1].copy()
    np.random.seed(2)  # noqa: NPY002
    xr.testing.assert_identical(one, calibrate(fitted, 1.0, std=0.2, draws=100, seed=3))
    other = calibrate(fitted, 1.0, std=0.2, draws=100, seed=4)
    assert not np.array_equal(one["x"], other["x"])
    np.random.seed(1)  # noqa: NPY002
    after: Any = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(before, after[1])  # nothing was drawn from it


def test_what_can_t_be_explained_is_told() -> None:
    fitted = parabola(integrate=False)
    with pytest.warns(
        FitWarning, match=r"no inputs within the prior explain .*: y of 40 lies .* standard deviations from"
    ):
        found = calibrate(fitted, 40.0, std=0.1, prior={"x": (0, 2)})
    assert found.attrs["tail_probability"] < 1e-6
    assert (found["x"] > 1.9).all()  # as near as it gets
    far = xr.Dataset({"y": ("n", [1.2, 4.8])})  # one number can't be both
    with pytest.warns(FitWarning, match="no inputs within the prior explain"):
        calibrate(fitted, far, std=0.1, prior={"x": (0, 2)})
    calibrate(fitted, far, std=0.1, prior={"x": (0, 2)}, discrepancy=2.0)


def test_chains_that_are_too_short_are_told() -> None:
    with pytest.warns(
        FitWarning, match=r"the chain has 16 steps after warm-up, fewer than 30 autocorrelation times \(x: "
    ):
        calibrate(parabola(integrate=False), 2.0, std=0.05, steps=20, draws=50)


@pytest.mark.parametrize(
    ("observed", "arguments", "words"),
    [
        (np.nan, {}, "observed 'y' has 1 values, 1 of them NaN or infinite; give at least one"),
        ([], {}, "observed 'y' has 0 values"),
        ([1.0, np.inf], {}, "observed 'y' has 2 values, 1 of them NaN"),
        ("much", {}, "observed 'y' is 'much'; give a number"),
        ([[1.0]], {}, r"observed 'y' has shape \(1, 1\)"),
        (xr.Dataset({"w": 1.0}), {}, "the observations have no 'y'"),
        (xr.Dataset({"y": 1.0, "x": 0.5}), {}, "the observations name all inputs: nothing is left to be found"),
        (1.0, {"std": -0.1}, "std of 'y' is -0.1; a standard deviation is a finite number, at least zero"),
        (1.0, {"std": np.nan}, "std of 'y' is nan"),
        (
            [1.0, 2.0],
            {"std": [0.1, 0.1, 0.1]},
            r"std of 'y' is \[0.1, 0.1, 0.1\]; give one number, or one for each of 2",
        ),
        (1.0, {"discrepancy": -1.0}, "discrepancy of 'y' is -1.0"),
        (1.0, {"task": "s"}, "task is 's', but the model's schema names no task"),
        (1.0, {"fidelity": "low"}, "fidelity is 'low', but the model's schema names no fidelity"),
        (1.0, {"prior": {"z": (0, 1)}}, r"prior names \['z'\]; inputs that have one are \('x',\)"),
        (1.0, {"prior": {"x": (1, 0)}}, r"the bounds of 'x' are \(1, 0\)"),
        (1.0, {"prior": {"x": (5, 6)}}, "the prior of 'x' reaches from 5.001 to 5.999, and the data from -2 to 2"),
        (1.0, {"prior": {"x": stats.norm(-50, 1)}}, "the surrogate knows nothing there"),
        (1.0, {"draws": 1}, "draws is 1; it must be an integer >= 2"),
        (1.0, {"walkers": 3}, "walkers is 3; it must be an integer >= 4"),
        (1.0, {"walkers": 51}, "walkers is 51; an even number is wanted"),
        (1.0, {"seed": -1}, "seed is -1; it must be an integer >= 0"),
        (1.0, {"steps": 2.5}, "steps is 2.5; it must be an integer"),
    ],
)
def test_bad_input(observed: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        calibrate(FITTED, observed, **arguments)


FITTED = parabola(integrate=False)


def test_bad_input_of_tasks_and_of_several_surrogates() -> None:
    x = np.linspace(0, 1, 12)
    data = as_dataset(x, np.sin(5 * x), inputs="x", task=["s", "t"] * 6)
    tasks = HierarchicalGP(Schema(inputs="x", target="y", task="task"), integrate=False).fit(data)
    with pytest.raises(DataError, match="task isn't given, and the model knows 's', 't'"):
        calibrate(tasks, 0.5, std=0.1)
    with pytest.raises(DataError, match="unknown task 'u'"):
        calibrate(tasks, 0.5, std=0.1, task="u")
    with pytest.raises(DataError, match="unknown task 'u'; the model knows 's', 't'"):
        calibrate(tasks, xr.Dataset({"y": ("n", [0.5]), "task": ("n", ["u"])}), std=0.1)
    with pytest.raises(DataError, match="there are 2 surrogates and observed is 1; give a list"):
        calibrate([FITTED, FITTED], [1.0], std=0.1)
    with pytest.raises(DataError, match="std has 3 entries for 2 surrogates"):
        calibrate([FITTED, FITTED], [1.0, 1.0], std=[0.1, 0.1, 0.1])
    away = HierarchicalGP(Schema(inputs="x", target="y"), integrate=False).fit(
        as_dataset(x + 7, np.sin(5 * x), inputs="x")
    )
    with pytest.raises(DataError, match="no surrogate tells it apart there; give its value, or surrogates whose data"):
        calibrate([FITTED, away], [1.0, 1.0], std=0.1)


@pytest.mark.slow
def test_simulated_problems_have_uniform_ranks() -> None:
    """Talts et al. (2018): x from the prior, f from the model, y = f(x) + e; x is like any draw of its posterior."""
    generator = np.random.default_rng(0)
    x = generator.random((14, 2))
    y = np.sin(5 * x[:, 0]) * (0.5 + x[:, 1]) + 0.1 * generator.standard_normal(14)
    fitted = HierarchicalGP(Schema(inputs=("x", "c"), target="y"), kernel="rbf").fit(
        as_dataset(x, y, inputs=("x", "c"))
    )
    assert len(fitted.core.weights) > 1
    c, ranks = np.array([0.2, 0.8]), []
    for problem in range(80):
        truth = generator.random()
        at = as_dataset(np.stack([np.full(2, truth), c], axis=1), inputs=("x", "c"))
        drawn = fitted.sample(at, 1, seed=problem).values[0] + 0.1 * generator.standard_normal(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            found = calibrate(
                fitted,
                as_dataset(c, drawn, inputs=["c"]),
                std=0.1,
                prior={"x": (0, 1)},
                draws=99,
                steps=600,
                seed=problem,
            )
        ranks.append(int((found["x"] < truth).sum()))
    u = (np.array(ranks) + generator.random(80)) / 100
    assert stats.kstest(u, "uniform").pvalue > 0.01
    # a posterior that is too narrow or too wide shows in the distance from the middle
    assert stats.kstest(abs(2 * u - 1), "uniform").pvalue > 0.01


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_a_plain_number_is_in_the_units_of_the_fit() -> None:
    data = as_dataset(np.linspace(0, 10, 12), 3 * np.linspace(0, 10, 12) + 1, inputs="x")
    data["x"].attrs["units"], data["y"].attrs["units"] = "mm", "m"
    fitted = HierarchicalGP(Schema(inputs="x", target="y"), integrate=False).fit(data)
    for observed in (16.0, [16.0, 16.0]):
        found = calibrate(fitted, observed, std=0.3)
        assert float(found["x"].mean()) == pytest.approx(5.0, abs=0.03)
    with pytest.raises(UnitsError, match="'y' has no units"):
        calibrate(fitted, xr.Dataset({"y": ("n", [16.0])}), std=0.3)
