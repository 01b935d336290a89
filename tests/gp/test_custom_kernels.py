"""A user's own gpytorch kernels: against dense algebra with the kernel's own values, and central differences.

Tolerances: gpytorch takes distances by the expansion |x|² - 2 x'z + |z|², which loses half of the digits of a distance
near zero; the closed forms don't.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import gpytorch
import numpy as np
import pytest
import torch
import xarray as xr
from brute import central_gradient
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import LinearKernel, MaternKernel, PeriodicKernel, RBFKernel, RQKernel, ScaleKernel
from gpytorch.priors import GammaPrior, LogNormalPrior
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset
from surrogates.errors import DataError
from surrogates.gp.custom import CustomKernel, resolve_kernel
from surrogates.gp.fitting import make_problem
from surrogates.gp.kernels import Kernel

Floats = NDArray[np.float64]
SCHEMA = Schema(inputs=("u", "v"), target="y", task="task")


def with_prior() -> Any:
    return MaternKernel(nu=2.5, ard_num_dims=2, lengthscale_prior=GammaPrior(3.0, 6.0))


def with_frozen_part() -> Any:
    kernel = ScaleKernel(RBFKernel(ard_num_dims=2)) + LinearKernel()
    kernel.kernels[0].base_kernel.lengthscale = torch.tensor([[0.4, 0.8]])
    kernel.kernels[0].base_kernel.raw_lengthscale.requires_grad_(False)
    return kernel


KERNELS: dict[str, Callable[[], Any]] = {
    "periodic": lambda: PeriodicKernel(ard_num_dims=2),
    "rational quadratic": lambda: RQKernel(),
    "one length-scale": lambda: MaternKernel(nu=1.5),
    "sum": lambda: ScaleKernel(RBFKernel()) + LinearKernel(),
    "product": lambda: ScaleKernel(MaternKernel(nu=2.5)) * LinearKernel(offset=0.5) + RBFKernel(),
    "active dims": lambda: RBFKernel(active_dims=[1]) * PeriodicKernel(active_dims=[0]),
    "constraint": lambda: MaternKernel(nu=2.5, ard_num_dims=2, lengthscale_constraint=Interval(0.2, 0.5)),
    "prior": with_prior,
    "scaled, with priors": lambda: ScaleKernel(with_prior(), outputscale_prior=LogNormalPrior(0.0, 0.5)),
    "frozen part": with_frozen_part,
}


def observed(n: int = 24, *, seed: int = 0, tasks: str = "abc") -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, code = generator.uniform([-2, 10], [4, 30], (n, 2)), np.arange(n) % len(tasks)
    y = 3 + np.sin(x[:, 0]) + 0.1 * x[:, 1] * (code + 1) + 0.1 * generator.standard_normal(n)
    return as_dataset(x, y, inputs=["u", "v"], task=np.array(list(tasks))[code])


DATA, AT = observed(), observed(7, seed=5).drop_vars("y")


def fit(kernel: Any, *, data: xr.Dataset = DATA, **choices: Any) -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, kernel=kernel, **{"integrate": False, **choices}).fit(data)


@cache
def fitted(name: str) -> FittedHierarchicalGP:
    return fit(KERNELS[name](), integrate=name in ("sum", "prior"))


def at_raw_parameters(kernel: Any, raw: Floats) -> Any:
    """The user's kernel with its free raw parameters set one after another."""
    kernel = copy.deepcopy(kernel).double()
    free, first = [p for p in kernel.parameters() if p.requires_grad], 0
    for parameter in free:
        parameter.data = torch.from_numpy(raw[first : first + parameter.numel()]).reshape(parameter.shape)
        first += parameter.numel()
    assert first == len(raw)
    return kernel


def values(kernel: Any, x: Floats, z: Floats) -> Floats:
    """The kernel row by row, each place against all of z."""
    with torch.no_grad():
        rows = [kernel(torch.tensor(a[None]), torch.tensor(z.copy())).to_dense().numpy()[0] for a in x]
    return np.array(rows)


def kriged(model: FittedHierarchicalGP, kernel: Any, data: xr.Dataset, at: xr.Dataset) -> tuple[Floats, Floats]:
    """Mean and standard deviation of f by universal kriging with that kernel, at every draw, mixed by weight."""
    core = model.core
    tasks = list(model.vocabulary.tasks)
    x, z = (core.scaled.inputs(np.stack([d["u"], d["v"]], axis=1)) for d in (data, at))
    t, u = (np.array([tasks.index(label) for label in d["task"].values]) for d in (data, at))
    y = core.scaled.target(data["y"].values)
    first, second = np.zeros(len(z)), np.zeros(len(z))
    H, h = (
        np.eye(len(tasks))[c][:, :, None] * np.column_stack([np.ones(len(p)), p])[:, None] for p, c in ((x, t), (z, u))
    )
    H, h = H.reshape(len(x), -1), h.reshape(len(z), -1)
    q = H.shape[1]
    for w, θ in zip(core.draws.weights, core.draws.parameters, strict=True):
        log_s, logit_ρ, log_σ2 = θ[-3:]
        own = at_raw_parameters(kernel, θ[:-3])
        ρ, s = 1 / (1 + math.exp(-logit_ρ)), math.exp(log_s)
        S = s * values(own, x, x) * np.where(t[:, None] == t, 1.0, ρ) + math.exp(log_σ2) * np.eye(len(x))
        right = np.concatenate([s * values(own, x, z) * np.where(t[:, None] == u, 1.0, ρ), h.T])
        weights = np.linalg.solve(np.block([[S, H], [H.T, np.zeros((q, q))]]), right)
        mean = weights[: len(x)].T @ y
        prior = s * np.array([values(own, place[None], place[None])[0, 0] for place in z])
        first += w * mean
        second += w * (prior - (weights * right).sum(axis=0) + mean**2)
    target = core.scaled.target
    return target.mean(first), target.deviation(np.sqrt(second - first**2))


# --- recognised kernels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (RBFKernel(ard_num_dims=2), "rbf"),
        (MaternKernel(nu=0.5, ard_num_dims=2), "matern12"),
        (MaternKernel(nu=1.5, ard_num_dims=2), "matern32"),
        (MaternKernel(ard_num_dims=2), "matern52"),
    ],
    ids=["rbf", "matern12", "matern32", "matern52"],
)
def test_plain_kernels_get_the_closed_forms(own: Any, name: str) -> None:
    xr.testing.assert_identical(fit(own).predict(AT), fit(name).predict(AT))
    kernel = resolve_kernel(own, 2)
    assert isinstance(kernel, Kernel)
    # the closed form is the kernel itself
    x = np.random.default_rng(0).uniform(size=(5, 2))
    ours = kernel.pair(x, x[::-1], own.lengthscale.detach().double().numpy()[0])[0]
    np.testing.assert_allclose(ours, values(copy.deepcopy(own).double(), x, x[::-1]), atol=1e-7)


def test_one_input_needs_no_count_of_length_scales() -> None:
    kernel = resolve_kernel(RBFKernel(), 1)
    assert isinstance(kernel, Kernel)
    assert kernel.name == "rbf"


def frozen() -> Any:
    kernel = RBFKernel(ard_num_dims=2)
    kernel.raw_lengthscale.requires_grad_(False)
    return kernel


@pytest.mark.parametrize(
    "kernel",
    [
        RBFKernel(),
        RBFKernel(ard_num_dims=2, active_dims=[1, 0]),
        RBFKernel(ard_num_dims=2, lengthscale_constraint=Interval(0.1, 0.3)),
        MaternKernel(ard_num_dims=2, lengthscale_constraint=GreaterThan(0.2)),
        with_prior(),
        frozen(),
    ],
    ids=["shared length-scale", "active dims", "interval", "greater than", "prior", "frozen"],
)
def test_whatever_else_was_said_of_a_plain_kernel_is_heeded(kernel: Any) -> None:
    assert isinstance(resolve_kernel(kernel, 2), CustomKernel)


@pytest.mark.parametrize(
    ("own", "name"), [(RBFKernel(ard_num_dims=2), "rbf"), (MaternKernel(nu=1.5, ard_num_dims=2), "matern32")]
)
def test_closed_forms_and_automatic_differentiation_agree(own: Any, name: str) -> None:
    """One kernel by both roads: likelihood and gradient at equal hyper-parameters."""
    scaled, settings = fit(name).core.scaled, HierarchicalGP(SCHEMA, kernel=name)._settings()
    custom = CustomKernel(copy.deepcopy(own).double(), "own")
    closed, automatic = (make_problem(scaled, replace(settings, kernel=k)).objective for k in (settings.kernel, custom))
    l, rest = np.array([0.4, 0.9]), np.array([0.3, 1.0, -2.0])
    θ, raw = np.concatenate([np.log(l), rest]), np.concatenate([np.log(np.expm1(l)), rest])
    first, second = closed(θ, 1), automatic(raw, 1)
    likelihood = -first.value - closed.log_prior(θ)
    assert -second.value - automatic.log_prior(raw) == pytest.approx(likelihood, rel=1e-9)
    assert first.gradient is not None
    assert second.gradient is not None
    slopes = [
        g - (t - m) / d**2
        for g, t, (m, d) in ((first.gradient, θ, closed.layout.prior), (second.gradient, raw, automatic.layout.prior))
    ]
    chain = np.concatenate([l / (1 - np.exp(-l)), np.ones(3)])  # ∂raw/∂log l of l = log(1 + e^raw)
    np.testing.assert_allclose(slopes[1] * chain, slopes[0], rtol=1e-6)


# --- the objective ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["common", "icm"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_gradient_is_that_of_central_differences(name: str, sharing: str) -> None:
    model = fitted(name)
    settings = HierarchicalGP(SCHEMA, kernel=KERNELS[name](), sharing=sharing)._settings()
    objective = make_problem(model.core.scaled, settings).objective
    mean = objective.layout.prior[0]
    θ = mean + 0.2 * np.random.default_rng(1).standard_normal(len(mean))
    gradient = objective(θ, 1).gradient
    assert gradient is not None
    differences = central_gradient(lambda t: objective(t, 0).value, θ)
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["periodic", "sum", "scaled, with priors"])
def test_the_objective_is_the_restricted_likelihood_times_the_priors(name: str) -> None:
    model, kernel = fitted(name), KERNELS[name]()
    core = model.core
    objective, θ = core.problem.objective, core.mode + 0.1
    own = at_raw_parameters(kernel, θ[:-3])
    r = core.scaled.readings
    log_s, logit_ρ, log_σ2 = θ[-3:]
    B = math.exp(log_s) * np.where(r.task[:, None] == r.task, 1.0, 1 / (1 + math.exp(-logit_ρ)))
    S = B * values(own, r.x, r.x) + math.exp(log_σ2) * np.eye(len(r.y))
    h = np.column_stack([np.ones(len(r.x)), r.x])
    H = (np.eye(3)[r.task][:, :, None] * h[:, None]).reshape(len(h), -1)
    Si = np.linalg.inv(S)
    A = H.T @ Si @ H
    P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
    nats = 0.5 * r.y @ P @ r.y + 0.5 * (np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1])
    nats += 0.5 * (len(r.y) - 9) * math.log(2 * math.pi)
    mean, deviation = objective.layout.prior
    nats += 0.5 * float((((θ - mean) / deviation) ** 2).sum())
    for _, owner, prior, closure, _ in own.named_priors():
        nats -= float(prior.log_prob(closure(owner)).sum().detach())
    assert objective(θ, 0).value == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_the_fit_ends_where_the_gradient_vanishes(name: str) -> None:
    model = fitted(name)
    assert model.report.is_success
    gradient = model.core.problem.objective(model.core.mode, 1).gradient
    assert gradient is not None
    # L-BFGS-B stops at a relative gain of the objective
    assert np.abs(gradient).max() < 0.05


def test_constraints_priors_and_frozen_parts_hold() -> None:
    def kernel_of(name: str) -> Any:
        correlations: Any = fitted(name).core.processes[0]
        return correlations.correlations.module

    constrained = kernel_of("constraint").lengthscale.detach().numpy()
    assert ((constrained >= 0.2) & (constrained <= 0.5)).all()
    part = kernel_of("frozen part").kernels[0].base_kernel.lengthscale.detach().numpy()
    np.testing.assert_allclose(part, [[0.4, 0.8]], rtol=1e-6)
    # a prior that says nearly all there is to say
    sharp = MaternKernel(ard_num_dims=2, lengthscale_prior=GammaPrior(9e4, 3e5))
    process: Any = fit(sharp).core.processes[0]
    np.testing.assert_allclose(process.correlations.module.lengthscale.detach().numpy(), 0.3, rtol=0.02)


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_predictions_are_kriged_with_the_kernels_own_values(name: str) -> None:
    model = fitted(name)
    at = xr.concat([AT, DATA.drop_vars("y").isel(sample=[3, 4])], "sample")
    few = FittedHierarchicalGP(model.schema, model.vocabulary, model.report, _with_few_draws(model.core))
    mean, std = kriged(few, KERNELS[name](), DATA, at)
    prediction = few.predict(at)
    np.testing.assert_allclose(prediction["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(prediction["std"], std, rtol=1e-5)


def _with_few_draws(core: Any) -> Any:
    """The first three draws, which brute force can bear."""
    w = core.draws.weights[:3]
    draws = core.draws._replace(parameters=core.draws.parameters[:3], weights=w / w.sum())
    return type(core)(core.scaled, core.settings, draws, core.mode)


@pytest.mark.parametrize("name", KERNELS)
def test_all_answers_tell_of_one_function(name: str) -> None:
    model = fitted(name)
    prediction, covariance = model.predict(AT), model.covariance(AT)
    np.testing.assert_allclose(np.diag(covariance), prediction["std"] ** 2, rtol=1e-6)
    draws, count = model.sample(AT, 4000, seed=0), 4000
    error = np.abs(draws.mean("draw") - prediction["mean"]) / prediction["std"]
    assert float(error.max()) < 5 / math.sqrt(count)
    np.testing.assert_allclose(draws.std("draw"), prediction["std"], rtol=0.12)
    slopes = model.gradient(AT)
    for name_, step in (("u", 1e-4), ("v", 4e-4)):
        up, down = (model.predict(AT.assign({name_: AT[name_] + e})) for e in (step, -step))
        for of in ("mean", "std"):
            differences = (up[of] - down[of]) / (2 * step)
            np.testing.assert_allclose(slopes[f"d_{of}"].sel(input=name_), differences, rtol=2e-4, atol=2e-5)


def test_slopes_at_all_observed_places() -> None:
    """gpytorch treats kernels of a set of places with itself in ways of its own."""
    data = observed(tasks="a").sortby(["u"])
    model = fit(ScaleKernel(RBFKernel()) + LinearKernel(), data=data)
    at = data.drop_vars("y")
    slopes = model.gradient(at)
    for name, step in (("u", 1e-4), ("v", 4e-4)):
        up, down = (model.predict(at.assign({name: at[name] + e})) for e in (step, -step))
        differences = (up["mean"] - down["mean"]) / (2 * step)
        np.testing.assert_allclose(slopes["d_mean"].sel(input=name), differences, rtol=1e-4, atol=1e-5)


def test_a_constant_kernel_has_no_slope_of_its_own() -> None:
    data = observed(tasks="a")
    slopes = fit(gpytorch.kernels.ConstantKernel(), data=data).gradient(data)["d_mean"]  # of the linear trend alone
    np.testing.assert_allclose(slopes, np.repeat(slopes.to_numpy()[:, :1], slopes.shape[1], axis=1), rtol=1e-9)


def test_the_users_kernel_stays_as_it_was() -> None:
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2)) + LinearKernel()
    before = {name: value.clone() for name, value in kernel.state_dict().items()}
    model = fit(kernel)
    model.predict(AT)
    model.gradient(AT)
    assert {value.dtype for value in kernel.state_dict().values() if value.is_floating_point()} == {torch.float32}
    for name, value in kernel.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and p.requires_grad for p in kernel.parameters())
    # nor does a change of the kernel afterwards reach the model
    wanted = model.predict(AT)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter += 1.0
    xr.testing.assert_identical(model.predict(AT), wanted)


def test_updates_take_own_kernels() -> None:
    model, more = fitted("product"), observed(7, seed=7, tasks="d")  # enough places for a flat trend
    few = _with_few_draws(model.core)
    updated = FittedHierarchicalGP(model.schema, model.vocabulary, model.report, few).update(more)
    mean, std = kriged(updated, KERNELS["product"](), xr.concat([DATA, more], "sample"), AT)
    np.testing.assert_allclose(updated.predict(AT)["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(updated.predict(AT)["std"], std, rtol=1e-5)


# --- exactness -------------------------------------------------------------------------------------------------------


def test_a_sum_with_a_linear_kernel_takes_no_short_cut() -> None:
    """gpytorch would factor the smooth part, which has no noise, and warn of the jitter that it needs."""
    x = np.linspace(0, 1, 120)
    data = as_dataset(x, np.sin(5 * x) + 0.1 * np.random.default_rng(0).standard_normal(120), inputs=["x"])
    model = HierarchicalGP(Schema("x", "y"), kernel=RBFKernel() + LinearKernel(), integrate=False).fit(data)
    assert float(np.abs(model.predict(data)["mean"] - np.sin(5 * data["x"])).max()) < 0.1


def test_cholesky_stays_above_800_points() -> None:
    """900 rows against one dense solve; gpytorch's defaults are off by far more there."""
    before = gpytorch.settings.max_cholesky_size.value()  # 800, or what BoTorch makes of it
    x = np.sort(np.random.default_rng(0).uniform(0, 1, 900))
    y = np.sin(12 * x) + 0.1 * np.random.default_rng(1).standard_normal(900)
    schema = Schema(inputs="x", target="y")
    kernel = ScaleKernel(MaternKernel(nu=1.5))
    first = HierarchicalGP(schema, kernel=kernel, trend="constant", integrate=False).fit(
        as_dataset(x[:60], y[:60], inputs=["x"])
    )
    model = first.update(as_dataset(x[60:], y[60:], inputs=["x"]))
    z = np.linspace(-0.1, 1.1, 40)
    prediction = model.predict(as_dataset(z, inputs=["x"]))
    core = model.core
    a, b = (core.scaled.inputs(t[:, None]) for t in (x, z))
    raw_scale, raw_l, log_s, log_σ2 = core.mode
    softplus = np.logaddexp(0.0, [raw_scale, raw_l])
    amplitude = math.exp(log_s) * softplus[0]

    def K(p: Floats, q: Floats) -> Floats:
        r = math.sqrt(3) * np.abs(p - q.T) / softplus[1]
        return np.asarray(amplitude * (1 + r) * np.exp(-r))

    S = K(a, a) + math.exp(log_σ2) * np.eye(900)
    right = np.concatenate([K(a, b), np.ones((1, 40))])
    weights = np.linalg.solve(np.block([[S, np.ones((900, 1))], [np.ones((1, 900)), np.zeros((1, 1))]]), right)
    target = core.scaled.target
    np.testing.assert_allclose(prediction["mean"], target.mean(weights[:900].T @ target(y)), atol=1e-8)
    variance = amplitude - (weights * right).sum(axis=0)
    np.testing.assert_allclose(prediction["std"], target.deviation(np.sqrt(variance)), rtol=1e-6)
    assert gpytorch.settings.max_cholesky_size.value() == before  # the user's own settings stay


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (
            RBFKernel(ard_num_dims=3),
            "kernel RBFKernel can't be evaluated at places of 2 inputs: Expected the input to have 3",
        ),
        (RQKernel(ard_num_dims=1), "kernel RQKernel can't be evaluated at places of 2 inputs"),
        (PeriodicKernel(active_dims=[2]), "kernel PeriodicKernel can't be evaluated at places of 2 inputs"),
        (RBFKernel(batch_shape=torch.Size([3])), "kernel RBFKernel .*without batches and tasks is wanted"),
        (RBFKernel, "kernel is <class .*; give one of .* or a gpytorch.kernels.Kernel"),
        (lambda x, z: 1.0, "kernel is <function"),
    ],
    ids=["length-scales", "rational quadratic", "active dims", "batch", "class", "function"],
)
def test_kernels_that_do_not_fit_the_inputs(kernel: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, kernel=kernel)


@pytest.mark.parametrize("sharing", ["two-kernels", "niw"])
def test_sharings_that_need_a_named_kernel(sharing: str) -> None:
    with pytest.raises(
        DataError, match=f"sharing='{sharing}' works with the named kernels only; use 'common' or 'icm'"
    ):
        HierarchicalGP(SCHEMA, kernel=PeriodicKernel(), sharing=sharing)
