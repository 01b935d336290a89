"""Noise that varies with the place, and weighted readings: against dense algebra, differences and drawn data."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import Case, central_gradient, hyperparameters, make_case
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.errors import DataError
from surrogates.gp.collapse import collapse, trend_prior
from surrogates.gp.noise import LearntNoise
from surrogates.gp.shaped_noise import NoiseBasis, ShapedNoise, shaped_noise
from surrogates.gp.solvers import applicable_solvers

Floats = NDArray[np.float64]


def shaped(*, design: str = "own", quadratic: bool = False, weighted: bool = True, groups: int = 2) -> Case:
    """A random problem whose noise varies with the place."""
    case = make_case(design=design, groups=groups)
    generator = np.random.default_rng(4)
    weight = generator.uniform(0.1, 1.5, len(case.readings.y)) if weighted else None
    readings = replace(case.readings, basis=NoiseBasis((0, 1), quadratic), weight=weight)
    collapsed = collapse(readings, case.trend, trend_prior(readings, case.trend))
    noise = collapsed.design.noise
    assert isinstance(noise, ShapedNoise)
    layout = replace(case.layout, noise_names=noise.names, noise_slopes=noise.slopes)
    return replace(case, readings=readings, collapsed=collapsed, layout=layout)


def reading_covariance(case: Case, θ: Floats) -> Floats:
    r, φ = case.readings, case.layout.split(θ).log_noise
    assert r.basis is not None
    F = len(r.groups)
    variance = np.exp(φ[r.group] + r.basis(r.x) @ φ[F:])
    if r.weight is not None:
        variance = variance / r.weight
    return np.asarray(case.covariance(θ, r.x, r.task, r.x, r.task) + np.diag(variance))


def log_likelihood(case: Case, θ: Floats) -> float:
    S, H, y = reading_covariance(case, θ), case.trend_columns(case.readings.x, case.readings.task), case.readings.y
    Si = np.linalg.inv(S)
    A = H.T @ Si @ H
    P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
    determinants = np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1]
    return float(-0.5 * y @ P @ y - 0.5 * determinants - 0.5 * (len(y) - H.shape[1]) * math.log(2 * math.pi))


CASES: dict[str, dict[str, Any]] = {
    "weighted": {},
    "quadratic": {"quadratic": True, "weighted": False},
    "shared": {"design": "shared", "weighted": False},
    "overlapping": {"design": "overlapping", "quadratic": True},
    "one group": {"groups": 1, "design": "shared", "weighted": False, "quadratic": True},
}


@pytest.mark.parametrize("name", CASES)
def test_every_solver_has_the_likelihood_of_the_single_readings(name: str) -> None:
    case = shaped(**CASES[name])
    θ = hyperparameters(case)
    wanted = log_likelihood(case, θ)
    names = applicable_solvers(case.collapsed.design, case.sharing)
    assert name != "shared" or "rotation" in names
    for solver in names:
        assert case.likelihood_by(solver, θ) == pytest.approx(wanted, rel=1e-9), solver
        got = case.derivatives(solver, θ)
        objective = case.objective(solver)
        differences = central_gradient(lambda θ, objective=objective: objective(θ, 0).value, θ)  # type: ignore[misc]
        np.testing.assert_allclose(got.gradient, differences, rtol=1e-5, atol=1e-5, err_msg=solver)


@pytest.mark.parametrize("name", CASES)
def test_average_information_is_that_of_the_single_readings(name: str) -> None:
    case = shaped(**CASES[name])
    θ, step = hyperparameters(case), 1e-5
    S, H, y = reading_covariance(case, θ), case.trend_columns(case.readings.x, case.readings.task), case.readings.y
    Si = np.linalg.inv(S)
    P = Si - Si @ H @ np.linalg.solve(H.T @ Si @ H, H.T @ Si)
    V = np.stack(
        [
            (reading_covariance(case, θ + e) - reading_covariance(case, θ - e)) / (2 * step) @ P @ y
            for e in step * np.eye(len(θ))
        ]
    )
    truth = 0.5 * V @ P @ V.T + np.diag(case.layout.prior[1] ** -2)
    np.testing.assert_allclose(
        case.derivatives("dense", θ).curvature, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max()
    )


def test_without_slopes_and_weights_it_is_the_plain_noise() -> None:
    case = make_case()
    plain, r = case.collapsed.design.noise, case.readings
    assert isinstance(plain, LearntNoise)
    n = len(case.collapsed.design.x)
    other = shaped_noise(r.y, r.group, r.groups, case.collapsed.row, np.zeros((n, 0)), None)
    φ, generator = np.array([-2.0, -4.0]), np.random.default_rng(0)
    α, p = generator.normal(size=n), generator.uniform(0, 1, n)
    one, two = plain.rows(φ), other.rows(φ)
    pairs: list[tuple[Any, Any]] = [
        *zip(one, two, strict=True),
        *zip(plain.directions(φ, one, α), other.directions(φ, two, α), strict=True),
        (plain.gradient(φ, one, α, p), other.gradient(φ, two, α, p)),
        (plain.reading_variance(φ), other.reading_variance(φ)),
    ]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_a_whole_weight_is_so_many_readings() -> None:
    """A reading of weight two is two equal readings, but for the constant that their spread would have."""
    y, group, row = np.array([0.3, -1.0, 2.0]), np.zeros(3, dtype=np.int64), np.array([0, 1, 1])
    one = shaped_noise(y, group, ("all",), row, np.zeros((2, 0)), np.array([1.0, 2.0, 1.0]))
    two = shaped_noise(
        y[[0, 1, 1, 2]], np.zeros(4, dtype=np.int64), ("all",), row[[0, 1, 1, 2]], np.zeros((2, 0)), None
    )
    φ = np.array([-0.7])
    np.testing.assert_allclose(one.rows(φ).y, two.rows(φ).y)
    np.testing.assert_allclose(one.rows(φ).D, two.rows(φ).D)


def test_the_functions_are_centred_and_of_one_size() -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, 3))
    basis = NoiseBasis((0, 2), quadratic=True)
    values = basis(x)
    assert values.shape == (20_000, basis.size) == (20_000, 5)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=0.01)
    assert (np.ptp(values, axis=0) > 0.9).all()
    assert basis.names(["u", "v", "w"]) == ["u", "w", "u·u", "u·w", "w·w"]


# --- models ----------------------------------------------------------------------------------------------------------

SCHEMA = Schema(("x", "z"), "y", task="task", fidelity="gauge")
FACTOR = math.exp(2.0)


def σ(x: Floats, gauge: NDArray[np.str_]) -> Floats:
    """Noise grows by e² from x = 0 to 4; the coarse gauge has three times as much."""
    return np.asarray(0.04 * np.exp(x / 2) * np.where(gauge == "coarse", 3.0, 1.0))


def truth(x: Floats, z: Floats, t: NDArray[Any]) -> Floats:
    return np.asarray(np.sin(2 * x) + z + 0.5 * t * x)


def observed(n: int = 160, *, seed: int = 0) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, z, t = generator.uniform(0, 4, n), generator.uniform(0, 1, n), np.arange(n) % 2
    gauge = np.array(["fine", "coarse"])[generator.integers(0, 2, n)]
    y = truth(x, z, t) + σ(x, gauge) * generator.standard_normal(n)
    data = as_dataset(np.stack([x, z], axis=1), y, inputs=["x", "z"], task=np.array(["a", "b"])[t])
    return data.assign(gauge=("sample", gauge))


def places(n: int = 40) -> xr.Dataset:
    x, z = np.linspace(0.1, 3.9, n), np.linspace(0.9, 0.1, n)
    return as_dataset(np.stack([x, z], axis=1), inputs=["x", "z"], task=list("ab" * (n // 2)))


@cache
def fitted() -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, noise="varying").fit(observed())


def test_the_profile_of_the_noise_is_found_again() -> None:
    model, at = fitted(), places()
    factors = model.report.sections["noise across an input's range (factor of its standard deviation)"]
    assert abs(factors["x"].value - FACTOR) < 3 * factors["x"].spread
    assert abs(factors["z"].value - 1) < 3 * factors["z"].spread
    got = model.predict(at)["noise_std"]
    assert got.dims == ("gauge", "sample")
    for gauge in ("fine", "coarse"):
        wanted = σ(at["x"].to_numpy(), np.full(40, gauge))
        np.testing.assert_allclose(got.sel(gauge=gauge), wanted, rtol=0.4)
        np.testing.assert_allclose(np.log(got.sel(gauge=gauge) / wanted).mean(), 0.0, atol=0.2)
        each = model.predict(at.assign(gauge=("sample", [gauge] * 40)))["noise_std"]
        np.testing.assert_allclose(each, got.sel(gauge=gauge), rtol=1e-12)
    plain = HierarchicalGP(SCHEMA).fit(observed())
    assert model.report.log_evidence > plain.report.log_evidence + 10


def test_intervals_of_readings_hold_at_quiet_and_at_noisy_places() -> None:
    """95 % intervals over 800 new readings; without the profile the quiet quarter's are far too wide."""
    held: dict[str, list[NDArray[np.bool_]]] = {"varying": [], "fidelity": []}
    for seed in range(2):
        new = observed(200, seed=100 + seed)
        for noise, found in held.items():
            model = HierarchicalGP(SCHEMA, noise=noise).fit(observed(120, seed=seed))
            low, high = model.quantile(new, [0.025, 0.975], noise=True).to_numpy()
            quiet = new["x"].to_numpy() < 1.5
            inside = (low < new["y"].to_numpy()) & (new["y"].to_numpy() < high)
            found += [inside[quiet], inside[~quiet]]
    quiet, noisy = (np.concatenate(held["varying"][k::2]).mean() for k in (0, 1))
    assert 0.9 < quiet < 0.99
    assert 0.9 < noisy < 0.99
    assert np.concatenate(held["fidelity"][0::2]).mean() > 0.99


def test_saved_updated_and_left_out(tmp_path: Path) -> None:
    model, at = fitted(), places()
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    xr.testing.assert_identical(back.predict(at), model.predict(at))
    data = observed()
    first = HierarchicalGP(SCHEMA, noise="varying", integrate=False).fit(data.isel(sample=slice(0, 100)))
    whole = first.update(data.isel(sample=slice(100, None)))
    back = load_saved(first, tmp_path).update(data.isel(sample=slice(100, None)))
    xr.testing.assert_identical(back.predict(at), whole.predict(at))
    # left out is not being there: two readings, taken away one by one
    loo, of_first = first.loo(), data.isel(sample=slice(0, 100))
    for r in (3, 50):
        others = first.core.scaled.readings.of_tasks(np.arange(100) != r)
        without = replace(first, core=first.core.with_readings(others, None))
        place = of_first.isel(sample=[r])
        got = without.predict(place)
        assert float(got["mean"][0]) == pytest.approx(float(loo["mean"][r]), abs=1e-8)
        total = math.hypot(float(got["std"][0]), float(got["noise_std"][0]))
        assert total == pytest.approx(float(loo["std"][r]), rel=1e-7)


def load_saved(model: FittedHierarchicalGP, folder: Path) -> Any:
    model.save(folder / "other")
    return load(folder / "other")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"sharing": "niw"}, "sharing='niw' is a baseline with one noise per fidelity"),
        ({"kernel": "tanimoto", "trend": "constant"}, "noise='varying' is a function of inputs that are numbers"),
    ],
)
def test_choices_that_make_no_sense(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, noise="varying", **choices)
