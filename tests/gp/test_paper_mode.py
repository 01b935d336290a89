"""The paper's plug-in hierarchy: against dense formulas of expectation-maximisation, and the model that integrates."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from brute import correlations
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset
from surrogates.gp.niw import Hyper, _expect, expectation_maximisation, niw_process
from surrogates.gp.noise import KnownNoise
from surrogates.gp.solvers.woodbury import union_of_places

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SCHEMA = Schema(inputs="x", target="y", task="task", fidelity="fidelity")


def observed(n: int = 30, *, seed: int = 0, repeats: int = 6, gap: int = 0) -> xr.Dataset:
    """Three tasks, two fidelities, some places read more than once, some shared by two tasks.

    gap : so many readings, no more, are left of the third task
    """
    generator = np.random.default_rng(seed)
    x, task = generator.uniform(0, 5, n), np.arange(n) % 3
    x[:repeats], task[:repeats] = x[repeats : 2 * repeats], task[repeats : 2 * repeats]
    x[2 * repeats : 3 * repeats] = x[repeats : 2 * repeats]
    task[2 * repeats : 3 * repeats] = (task[repeats : 2 * repeats] + 1) % 3
    fidelity = (np.arange(n) // 2) % 2
    y = (
        10
        + np.sin(1.5 * x)
        + 0.4 * np.cos(2 * x + task)
        + task
        + (0.05 + 0.2 * fidelity) * generator.standard_normal(n)
    )
    data = as_dataset(x, y, inputs=["x"], task=np.array(list("abc"))[task], fidelity=fidelity)
    data = data.assign(s=0.05 + 0.2 * data["fidelity"])
    if gap:
        third = np.flatnonzero(task == 2)
        data = data.isel(sample=np.setdiff1d(np.arange(n), third[gap:]))
    return data


CASES: dict[str, dict[str, Any]] = {
    "linear": {},
    "no trend": {"trend": "none"},
    "quadratic, rbf": {"trend": "quadratic", "kernel": "rbf"},
    "known noise": {"noise": "known"},
    "task noise": {"noise": "task-fidelity", "kernel": "matern32"},
}


@cache
def fit(name: str = "linear", sharing: str = "niw", seed: int = 0) -> FittedHierarchicalGP:
    choices = CASES[name]
    schema = Schema("x", "y", task="task", fidelity="fidelity", noise="s" if choices.get("noise") == "known" else None)
    return HierarchicalGP(schema, sharing=sharing, **choices).fit(observed(seed=seed))


class Dense(NamedTuple):
    """Single readings, and everything that the formulas of the paper need, without the collapse."""

    y: Floats  # (n,) scaled
    x: Floats  # (n, 1)
    task: Integers
    H: Floats  # (n, p) trend columns, of the reading's own task
    at: Integers  # (n,) place in Z
    Z: Floats  # (N, 1)
    κ: Floats  # (N, N)
    π: float


def dense(model: FittedHierarchicalGP) -> Dense:
    core = model.core
    r, θ = core.scaled.readings, core.mode
    kernel: Any = core.settings.kernel
    Z, _ = union_of_places(r.x)
    at = np.array([int(np.flatnonzero((place == Z).all(axis=1))[0]) for place in r.x])
    l, s, ρ = np.exp(θ[:1]), math.exp(θ[1]), 1 / (1 + math.exp(-θ[2]))
    κ = (1 - ρ) * s * correlations(kernel.name, Z, Z, l)
    return Dense(r.y, r.x, r.task, core.scaled.trend.columns(r.x), at, Z, κ, (1 - ρ) / ρ)


def noise_of(model: FittedHierarchicalGP, φ: Floats) -> Floats:
    """(n, n) noise of the single readings; a nugget is common to readings of one place."""
    r = model.core.scaled.readings
    if r.variance is None:
        return np.diag(np.exp(φ)[r.group])
    same = (r.task[:, None] == r.task) & (r.x[:, None] == r.x[None]).all(axis=2)
    return np.asarray(np.diag(r.variance) + math.exp(φ[0]) * same)


class Mode(NamedTuple):
    """Joint mode of β and μ given C, and the tasks' posteriors given both, from single readings."""

    beta: Floats
    mean: Floats
    means: Floats
    spreads: Floats
    value: float  # log of the likelihood times the density of (μ, C), up to a constant


def mode_of(d: Dense, C: Floats, R: Floats, *, prior: float = 0.0, tasks: int = 3) -> Mode:
    """The joint mode by one linear system in (β, μ): precisions instead of the library's covariances.

    prior : precision of the coefficients' prior, whose mean is one
    """
    N, p = len(d.Z), d.H.shape[1]
    A, b = np.zeros((tasks * p + N,) * 2), np.zeros(tasks * p + N)
    A[tasks * p :, tasks * p :] = d.π * np.linalg.inv(C)
    A[: tasks * p, : tasks * p] = prior * np.eye(tasks * p)
    b[: tasks * p] = prior
    blocks = []
    for t in range(tasks):
        mine = d.task == t
        V = C[np.ix_(d.at[mine], d.at[mine])] + R[np.ix_(mine, mine)]
        X = np.zeros((int(mine.sum()), tasks * p + N))
        X[:, t * p : (t + 1) * p] = d.H[mine]
        X[np.arange(len(X)), tasks * p + d.at[mine]] = 1.0
        A += X.T @ np.linalg.solve(V, X)
        b += X.T @ np.linalg.solve(V, d.y[mine])
        blocks.append((mine, V, X))
    solution = np.linalg.solve(A, b)
    μ, means, spreads, value = solution[tasks * p :], [], [], 0.0
    for mine, V, X in blocks:
        rest, cross = d.y[mine] - X @ solution, C[d.at[mine]]
        means.append(μ + cross.T @ np.linalg.solve(V, rest))
        spreads.append(C - cross.T @ np.linalg.solve(V, cross))
        value -= 0.5 * float(rest @ np.linalg.solve(V, rest) + np.linalg.slogdet(V)[1])
    τ = 2 * N + 3
    value -= 0.5 * float(d.π * μ @ np.linalg.solve(C, μ) + τ * np.linalg.slogdet(C)[1])
    value -= 0.5 * τ * float(np.trace(np.linalg.solve(C, d.κ)))
    value -= 0.5 * prior * float(((solution[: tasks * p] - 1) ** 2).sum())
    return Mode(solution[: tasks * p].reshape(tasks, p), μ, np.array(means), np.array(spreads), value)


def near(κ: Floats, seed: int = 0) -> Floats:
    """Another covariance of the same size, well conditioned."""
    W = np.random.default_rng(seed).standard_normal((len(κ), 2 * len(κ)))
    return np.asarray(κ + 0.3 * np.trace(κ) / len(κ) * (W @ W.T) / W.shape[1])


# --- expectation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_joint_mode_and_the_posteriors_of_the_tasks(name: str) -> None:
    model = fit(name)
    d, core = dense(model), model.core
    design = core.problem.objective.design
    φ = core.layout.split(core.mode).log_noise
    C = near(d.κ)
    wanted = mode_of(d, C, noise_of(model, φ))
    step = _expect(design, union_of_places(design.x)[1], C, d.π, φ)
    np.testing.assert_allclose(step.beta, wanted.beta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(step.mean, wanted.mean, atol=1e-6)
    np.testing.assert_allclose(step.means, wanted.means, atol=1e-6)
    np.testing.assert_allclose(step.spreads, wanted.spreads, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_given_its_covariance_the_hierarchy_is_a_coregionalisation_model(name: str) -> None:
    """C = κ, which τ -> ∞ gives: the mean is that of universal kriging with κ (1{t=s} + 1/π), ρ = 1/(1 + π)."""
    model = fit(name)
    d, core = dense(model), model.core
    design = core.problem.objective.design
    φ = core.layout.split(core.mode).log_noise
    correlation, amplitude = core.niw_base()
    assert core.niw_precision == pytest.approx(d.π, rel=1e-12)
    process = niw_process(design, core.scaled.trend, correlation, amplitude, d.π, Hyper(d.κ, φ, 0, True, ()))
    kernel: Any = core.settings.kernel
    x, task = np.linspace(-0.7, 0.7, 12)[:, None], np.arange(12) % 3
    H = (np.eye(3)[d.task][:, :, None] * d.H[:, None]).reshape(len(d.y), -1)
    h = core.scaled.trend.columns(x)
    h = (np.eye(3)[task][:, :, None] * h[:, None]).reshape(12, -1)
    l = np.exp(core.mode[:1])
    S = d.κ[np.ix_(d.at, d.at)] * ((d.task[:, None] == d.task) + 1 / d.π) + noise_of(model, φ)
    k = amplitude * correlations(kernel.name, d.x, x, l) * ((d.task[:, None] == task) + 1 / d.π)
    q = H.shape[1]
    weights = np.linalg.solve(np.block([[S, H], [H.T, np.zeros((q, q))]]), np.concatenate([k, h.T]))
    # rbf: what was added to the diagonal of its nearly singular κ, at places beyond the data
    atol = 1e-4 if kernel.name == "rbf" else 2e-6
    np.testing.assert_allclose(process.moments(x, task).mean, weights[: len(d.y)].T @ d.y, atol=atol)


def test_the_mean_of_the_mode_is_that_of_the_integrated_model() -> None:
    """The same theorem from outside: at equal hyper-parameters the model without paper mode has that mean."""
    model, integrated = fit(), HierarchicalGP(SCHEMA, integrate=False).fit(observed())
    np.testing.assert_array_equal(model.core.mode, integrated.core.mode)
    core = model.core
    φ = core.layout.split(core.mode).log_noise
    correlation, amplitude = core.niw_base()
    hyper = Hyper(dense(model).κ, φ, 0, True, ())
    design = core.problem.objective.design
    process = niw_process(design, core.scaled.trend, correlation, amplitude, core.niw_precision, hyper)
    at = as_dataset(np.linspace(-1, 6, 21), inputs=["x"], task=np.array(list("abc"))[np.arange(21) % 3])
    mean = process.moments(core.scaled.inputs(at["x"].values[:, None]), np.arange(21) % 3).mean
    np.testing.assert_allclose(core.scaled.target.mean(mean), integrated.predict(at)["mean"], atol=1e-6)
    # finite τ frees the covariance, but stays near
    assert float(np.abs(model.predict(at)["mean"] - integrated.predict(at)["mean"]).max()) < 0.5


# --- maximisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_the_penalised_likelihood_never_falls(name: str, seed: int) -> None:
    core = fit(name, seed=seed).core
    assert core.niw is not None
    trace = np.array(core.niw.trace)
    assert len(trace) == core.niw.steps > 5
    assert (np.diff(trace) > -1e-9 * np.abs(trace[:-1])).all()
    assert trace[-1] > trace[0]


@pytest.mark.parametrize("gap", [1, 2])
def test_it_never_falls_where_a_task_lacks_a_trend_of_its_own(gap: int) -> None:
    """Such a task's coefficients have a prior, which is part of what grows."""
    model = HierarchicalGP(SCHEMA, sharing="niw", trend="quadratic")
    with pytest.warns(UserWarning, match="too few places"):
        core = model.fit(observed(gap=gap, seed=5)).core
    assert core.niw is not None
    trace = np.array(core.niw.trace)
    assert (np.diff(trace) > -1e-9 * np.abs(trace[:-1])).all()


@pytest.mark.parametrize("prior", [0.0, 3.0])
@pytest.mark.parametrize("name", ["linear", "known noise", "task noise"])
def test_one_step_by_hand(name: str, prior: float) -> None:
    """C, the noise and the gain of the objective, from single readings."""
    model = fit(name)
    d, core = dense(model), model.core
    design, r = core.problem.objective.design, core.scaled.readings
    design = replace(design, prior_mean=np.ones((3, 2)), prior_precision=np.full((3, 2), prior))
    φ = core.layout.split(core.mode).log_noise
    start = near(d.κ)
    one = expectation_maximisation(design, start, d.π, φ, max_steps=1)
    two = expectation_maximisation(design, start, d.π, φ, max_steps=2)
    d = d._replace(κ=start)
    N = len(d.Z)
    step = mode_of(d, start, noise_of(model, φ), prior=prior)
    deviations = step.means - step.mean
    τ = 2 * N + 3
    C = d.π * np.outer(step.mean, step.mean) + τ * start + step.spreads.sum(axis=0) + deviations.T @ deviations
    np.testing.assert_allclose(one.C, C / (τ + 3), atol=1e-7)
    σ2 = np.exp(φ)
    if not isinstance(design.noise, KnownNoise):
        fitted = (d.H * step.beta[d.task]).sum(axis=1) + step.means[d.task, d.at]
        square = (d.y - fitted) ** 2 + step.spreads[d.task, d.at, d.at]
        σ2 = np.array([square[r.group == f].mean() for f in range(len(φ))])
    np.testing.assert_allclose(np.exp(one.log_noise), σ2, rtol=1e-6)
    after = mode_of(d, C / (τ + 3), noise_of(model, np.log(σ2)), prior=prior)
    # a place's likelihood less that of its readings' mean: what the collapse keeps is part of both
    assert two.trace[1] - two.trace[0] == pytest.approx(after.value - step.value, abs=1e-5)
    assert two.trace[0] == one.trace[0]
    assert (one.steps, one.converged) == (1, False)


@pytest.mark.parametrize("name", ["linear", "known noise"])
def test_where_it_ends_no_covariance_nearby_is_better(name: str) -> None:
    model = fit(name)
    d, hyper = dense(model), model.core.niw
    assert hyper is not None
    assert hyper.converged
    best = mode_of(d, hyper.C, noise_of(model, hyper.log_noise)).value
    L = np.linalg.cholesky(hyper.C)
    generator = np.random.default_rng(0)
    for _ in range(10):
        E = generator.standard_normal(L.shape)
        E = 0.05 * (E + E.T) / math.sqrt(8 * len(L))
        for sign in (1, -1):
            other = L @ (np.eye(len(L)) + sign * E) @ L.T
            # steps that gain a millionth end the iteration, though not at the very top
            assert mode_of(d, other, noise_of(model, hyper.log_noise)).value < best + 1e-2


# --- answers ---------------------------------------------------------------------------------------------------------


def places() -> xr.Dataset:
    x = np.array([0.3, 1.7, 2.9, 4.4, 4.4, 5.6, 1.7])
    return as_dataset(x, inputs=["x"], task=list("abcabca"))


@pytest.mark.parametrize("name", CASES)
def test_all_answers_tell_of_one_function(name: str) -> None:
    model, at, count = fit(name), places(), 20_000
    prediction, covariance = model.predict(at), model.covariance(at).values
    variance = prediction["std"].values ** 2
    np.testing.assert_allclose(np.diag(covariance), variance, rtol=1e-8)
    assert np.linalg.eigvalsh(covariance).min() > -1e-10 * variance.max()
    draws = model.sample(at, count, seed=1)
    assert float((np.abs(draws.mean("draw") - prediction["mean"]) / prediction["std"]).max()) < 5 / math.sqrt(count)
    error = np.abs(np.cov(draws.values.T) - covariance) / np.sqrt(np.outer(variance, variance))
    assert error.max() < 5 * math.sqrt(2 / count)
    slopes, step = model.gradient(at).sel(input="x"), 1e-5
    up, down = (model.predict(at.assign(x=at["x"] + e)) for e in (step, -step))
    for of in ("mean", "std"):
        differences = (up[of] - down[of]) / (2 * step)
        np.testing.assert_allclose(slopes[f"d_{of}"], differences, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_far_from_all_data_the_variance_is_the_priors(name: str) -> None:
    """The paper's inductive form falls to zero there."""
    model = fit(name)
    core = model.core
    assert core.niw is not None
    s, ρ = math.exp(core.mode[1]), 1 / (1 + math.exp(-core.mode[2]))
    nugget = math.exp(core.niw.log_noise[0]) if CASES[name].get("noise") == "known" else 0.0
    far = model.predict(as_dataset(np.array([500.0, -300.0]), inputs=["x"], task=["a", "c"]))
    wanted = core.scaled.target.spread * math.sqrt((1 - ρ) * s + nugget)
    np.testing.assert_allclose(far["std"], wanted, rtol=1e-9)
    assert float(model.predict(places())["std"].max()) < 1.2 * wanted


def test_different_tasks_are_independent_once_the_mean_is_plugged_in() -> None:
    covariance, task = fit().covariance(places()).values, np.array(list("abcabca"))
    assert (covariance[task[:, None] != task] == 0).all()
    assert (np.abs(covariance[task[:, None] == task]) > 0).all()


def test_the_report_tells_of_the_steps() -> None:
    report, hyper = fit().report, fit().core.niw
    assert hyper is not None
    assert report.is_success
    assert f"expectation-maximisation converged after {hyper.steps} steps" in str(report)
    assert report.trace == hyper.trace
    assert "(matern52, niw)" in report.model
    assert report.draws == 1
    noise = report.sections["noise (standard deviation, unresolved detail included)"]["0"].value
    assert noise == pytest.approx(fit().core.scaled.target.spread * math.exp(hyper.log_noise[0] / 2))
    assert float(fit().predict(places())["noise_std"][0]) == pytest.approx(noise)


# --- a baseline ------------------------------------------------------------------------------------------------------


def test_its_intervals_are_too_narrow() -> None:
    """Plugged-in mean, trend and hyper-parameters: less wide than the model that integrates, and held less often."""
    covered, width = [], []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        x, task = generator.uniform(0, 1, 60), np.repeat(np.arange(3), 20)
        a = math.sqrt(5) * np.abs(x[:, None] - x) / 0.3
        K = (1 + a + a**2 / 3) * np.exp(-a) * np.where(task[:, None] == task, 1.0, 0.7)
        f = np.linalg.cholesky(K + 1e-10 * np.eye(60)) @ generator.standard_normal(60)
        y = f + 0.1 * generator.standard_normal(60)
        seen = np.arange(60) % 2 == 0
        data = as_dataset(x[seen], y[seen], inputs=["x"], task=task[seen])
        at = as_dataset(x[~seen], f[~seen], inputs=["x"], task=task[~seen])
        row = []
        for sharing in ("niw", "common"):
            prediction = HierarchicalGP(Schema("x", "y", task="task"), sharing=sharing).fit(data).predict(at)
            row.append((float((np.abs(at["y"] - prediction["mean"]) < 1.96 * prediction["std"]).mean()), prediction))
        covered.append([share for share, _ in row])
        width.append(float((row[0][1]["std"] / row[1][1]["std"]).mean()))
    paper, ours = np.mean(covered, axis=0)
    assert paper < ours - 0.1
    assert ours > 0.88
    assert max(width) < 1
    assert np.mean(width) < 0.8
