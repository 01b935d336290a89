"""A fitted process as a BoTorch model: what BoTorch asks of its models, against the fitted model's own answers."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models import ModelList
from botorch.sampling import SobolQMCNormalSampler
from differentiable_models import CASES, Case, nested, table
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import SurrogateModel, botorch_model
from surrogates.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
TASKS = "matern52, quadratic trend"


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


def model_of(name: str = TASKS, **options: Any) -> SurrogateModel:
    return botorch_model(case_of(name).fitted, **options)


def random(*shape: int, seed: int = 7) -> Tensor:
    """Places (*shape, 2) in the box of the data."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform((0, -1), (4, 1), (*shape, 2)))


def labelled(x: Tensor, part: str, gauge: str) -> xr.Dataset:
    columns = x.detach().numpy().reshape(-1, 2)
    at = xr.Dataset({"x": ("place", columns[:, 0]), "v": ("place", columns[:, 1])})
    return at.assign(part=part, gauge=gauge)


@pytest.mark.parametrize("name", ["rbf, linear trend", TASKS, "known noise", "periodic", "nonlinear"])
def test_posterior_and_its_slopes_are_those_of_the_fitted_model(name: str) -> None:
    case = case_of(name)
    model, x = botorch_model(case.fitted, task="a", fidelity="fine"), random(6).requires_grad_()
    posterior = model.posterior(x)
    at = labelled(x, "a", "fine")
    answer, slopes = case.fitted.predict(at), case.fitted.gradient(at)
    unit = float(answer["mean"].std())
    np.testing.assert_allclose(posterior.mean.detach()[:, 0], answer["mean"], rtol=0, atol=1e-8 * unit)
    own = posterior.distribution.covariance_matrix.detach()
    np.testing.assert_allclose(own, case.fitted.covariance(at), rtol=0, atol=1e-8 * unit**2)
    by_mean = torch.autograd.grad(posterior.mean.sum(), x, retain_graph=True)[0]
    np.testing.assert_allclose(by_mean.T, slopes["d_mean"], rtol=0, atol=1e-8 * float(abs(slopes["d_mean"]).max()))
    by_variance = torch.autograd.grad(posterior.variance.sum(), x)[0]
    expected = 2 * slopes["d_std"] * answer["std"]
    np.testing.assert_allclose(by_variance.T, expected, rtol=0, atol=1e-8 * unit**2)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_shapes(outputs: int, batch: tuple[int, ...]) -> None:
    model = model_of(task=["a", "b"][:outputs] if outputs > 1 else "a", fidelity="fine")
    x = random(*batch, 4)
    posterior = model.posterior(x)
    assert posterior.mean.shape == posterior.variance.shape == (*batch, 4, outputs)
    assert posterior.rsample(torch.Size([5])).shape == (5, *batch, 4, outputs)
    assert posterior.distribution.covariance_matrix.shape == (*batch, 4 * outputs, 4 * outputs)
    assert (model.num_outputs, model.batch_shape) == (outputs, torch.Size())
    torch.testing.assert_close(model(x).mean.reshape(posterior.mean.shape), posterior.mean)
    noisy = model.posterior(x, observation_noise=True)
    added = (noisy.variance - posterior.variance).flatten()
    fine = case_of(TASKS).fitted.predict(labelled(random(1), "a", "fine"))["noise_std"]
    np.testing.assert_allclose(added, float(fine[0]) ** 2, rtol=1e-6)
    given = model.posterior(x, observation_noise=torch.full((*batch, 1, outputs), 0.25, dtype=torch.float64))
    torch.testing.assert_close(given.variance - posterior.variance, torch.full_like(posterior.variance, 0.25))


def test_outputs_know_of_each_other() -> None:
    both, x = model_of(task=["a", "b"], fidelity="fine"), random(3)
    at = labelled(x.repeat_interleave(2, dim=0), "a", "fine").assign(part=("place", ["a", "b"] * 3))
    own = case_of(TASKS).fitted.covariance(at)
    covariance = both.posterior(x).distribution.covariance_matrix
    np.testing.assert_allclose(covariance, own, atol=1e-8 * float(abs(own).max()))
    assert float(abs(covariance[0, 1])) > 1e-3 * float(covariance[0, 0])
    alone = model_of(task="b", fidelity="fine").posterior(x)
    for same in (both.subset_output([1]).posterior(x), both.posterior(x, output_indices=[1])):
        torch.testing.assert_close(same.mean, alone.mean)
        torch.testing.assert_close(same.variance, alone.variance)
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    difference = both.posterior(x, posterior_transform=ScalarizedPosteriorTransform(weights))
    torch.testing.assert_close(difference.mean[:, 0], both.posterior(x).mean @ weights)
    block = covariance.reshape(3, 2, 3, 2)
    expected = torch.einsum("iajb,a,b->ij", block, weights, weights).diagonal()
    torch.testing.assert_close(difference.variance[:, 0], expected)


@pytest.mark.parametrize(("name", "gauge"), [(TASKS, "fine"), (TASKS, "rough"), ("known noise", "fine")])
def test_conditioning_is_the_models_own_update(name: str, gauge: str) -> None:
    fitted = case_of(name).fitted
    model, x, new = botorch_model(fitted, task="a", fidelity=gauge), random(5), random(3, seed=8)
    y = torch.tensor([[41.0], [39.0], [44.0]], dtype=torch.float64)
    conditioned = model.condition_on_observations(new, y)
    more = labelled(new, "a", gauge).assign(y=("place", y[:, 0].numpy()))
    more["y"].attrs["units"] = "um"
    if name == "known noise":
        more["s"] = ("place", torch.sqrt(model.joint.noise_variance(new, model.codes[0])).numpy(), {"units": "um"})
    at = labelled(x, "a", gauge)
    updated = fitted.update(more)
    posterior = conditioned.posterior(x)
    np.testing.assert_allclose(posterior.mean[:, 0], updated.predict(at)["mean"], rtol=1e-8)
    own = updated.covariance(at)
    np.testing.assert_allclose(posterior.distribution.covariance_matrix, own, atol=1e-8 * float(own.max()))
    one, two = model.condition_on_observations(new[:1], y[:1]), y[1:]
    again = one.condition_on_observations(new[1:], two).posterior(x)
    torch.testing.assert_close(again.mean, posterior.mean)
    torch.testing.assert_close(again.variance, posterior.variance)


def test_conditioning_one_output_tells_of_the_other() -> None:
    both, x, new = model_of(task=["a", "b"], fidelity="fine"), random(4), random(2, seed=8)
    y = both.posterior(
        new
    ).mean.clone()  # no surprise, or draws of the hyper-parameters would disagree more than before
    y[:, 1] = torch.nan
    half = both.condition_on_observations(new, y)
    alone = model_of(task="a", fidelity="fine").condition_on_observations(new, y[:, :1])
    torch.testing.assert_close(half.posterior(x).mean[:, :1], alone.posterior(x).mean)
    before, after = both.posterior(x), half.posterior(x)
    assert bool((after.variance[:, 1] < before.variance[:, 1]).all())


def test_noise_of_conditioning_may_be_given() -> None:
    model, x = model_of(task="a", fidelity="fine"), random(2)
    y = torch.full((2, 1), 60.0, dtype=torch.float64)
    sure = model.condition_on_observations(x, y, noise=torch.full_like(y, 1e-8)).posterior(x)
    unsure = model.condition_on_observations(x, y, noise=torch.full_like(y, 1e8)).posterior(x)
    torch.testing.assert_close(sure.mean, y, atol=1e-3, rtol=0)
    torch.testing.assert_close(unsure.mean, model.posterior(x).mean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_fantasies(batch: tuple[int, ...]) -> None:
    # one draw: the weights of several would have to follow the fantasies for the sum below to be exact
    model, x, new = model_of("one draw", task="a", fidelity="fine"), random(4), random(*batch, 2, seed=8)
    sampler = SobolQMCNormalSampler(torch.Size([512]), seed=0)
    fantasy = model.fantasize(new, sampler)
    assert fantasy.batch_shape == (512, *batch)
    posterior = fantasy.posterior(x.expand(*batch, 4, 2))
    assert posterior.mean.shape == (512, *batch, 4, 1)
    # over fantasies, means vary by what the variance loses: E[Var] + Var[E] is the variance there was
    total = posterior.variance.mean(0) + posterior.mean.var(0)
    torch.testing.assert_close(total, model.posterior(x.expand(*batch, 4, 2)).variance, rtol=0.02, atol=1e-6)


def test_derivatives_through_fantasies() -> None:
    model, x = model_of(task="a", fidelity="fine"), random(1)
    sampler = SobolQMCNormalSampler(torch.Size([4]), seed=0)

    def best(new: Tensor) -> Tensor:
        value: Tensor = model.fantasize(new, sampler).posterior(x).mean.square().sum()
        return value

    assert torch.autograd.gradcheck(best, random(2, seed=8).requires_grad_(), eps=1e-5, atol=1e-3, rtol=1e-4)


def test_the_fidelity_may_be_a_column() -> None:
    fitted = case_of("autoregressive").fitted
    model = botorch_model(fitted, task="a", fidelity_column=True)
    x = random(4)
    for number, gauge in enumerate(("coarse", "fine")):
        column = torch.full((4, 1), float(number), dtype=torch.float64)
        alone = botorch_model(fitted, task="a", fidelity=gauge)
        torch.testing.assert_close(model.posterior(torch.cat([x, column], -1)).mean, alone.posterior(x).mean)
    mixed = torch.cat([x, torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=torch.float64)], -1)
    at = labelled(x, "a", "fine").assign(gauge=("place", ["coarse", "fine", "coarse", "fine"]))
    own = fitted.covariance(at)
    covariance = model.posterior(mixed).distribution.covariance_matrix
    np.testing.assert_allclose(covariance, own, atol=1e-8 * float(abs(own).max()))
    assert model.train_inputs[0].shape == (20, 3)
    assert sorted(model.train_inputs[0][:, 2].tolist()) == [0.0] * 14 + [1.0] * 6
    cheap = model.condition_on_observations(mixed[:1], model.posterior(mixed[:1]).mean)
    fine = torch.cat([x[:1], torch.ones(1, 1, dtype=torch.float64)], -1)
    assert float(cheap.posterior(fine).variance.detach()) < float(model.posterior(fine).variance.detach())
    with pytest.raises(DataError, match=r"last column of X has 0 to 2; the fidelities' numbers are 0 to 1"):
        model.posterior(torch.cat([x, torch.tensor([[0.0], [1.0], [2.0], [1.0]], dtype=torch.float64)], -1))


def test_train_inputs_are_the_places_that_were_read() -> None:
    inputs = model_of(task="a", fidelity="fine").train_inputs[0].numpy()
    data = table()
    mine = data.isel(sample=np.flatnonzero(data["part"] == "a"))
    np.testing.assert_allclose(inputs, np.unique(np.stack([mine["x"], mine["v"]], 1), axis=0), rtol=1e-12)
    assert len(nested()["x"]) == 40


def test_several_models_side_by_side() -> None:
    models = ModelList(model_of(task="a", fidelity="fine"), model_of("rbf, linear trend", task="b", fidelity="rough"))
    assert models.posterior(random(2, 3)).mean.shape == (2, 3, 2)
    assert models.num_outputs == 2


def test_copies_and_modes() -> None:
    model, x = model_of(task="a", fidelity="fine"), random(3)
    for other in (copy.deepcopy(model), model.eval(), model.train(), model.to(torch.float64)):
        torch.testing.assert_close(other.posterior(x).mean, model.posterior(x).mean)
    assert list(model.parameters()) == []


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(4)), st.integers(0, 10**6))
def test_the_order_of_places_and_of_conditioning_makes_no_difference(order: list[int], seed: int) -> None:
    model, x, new = model_of(task="a", fidelity="fine"), random(4, seed=seed), random(4, seed=seed + 1)
    y = 40 + new.sum(-1, keepdim=True)
    posterior = model.condition_on_observations(new, y).posterior(x)
    other = model.condition_on_observations(new[order], y[order]).posterior(x[order])
    torch.testing.assert_close(other.mean, posterior.mean[order], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other.variance, posterior.variance[order], rtol=1e-5, atol=1e-8)


def test_bad_input_has_clear_words() -> None:
    fitted, model = case_of(TASKS).fitted, model_of(task="a", fidelity="fine")
    with pytest.raises(DataError, match="task isn't given, and the model knows 'a', 'b'; give task= one of them"):
        botorch_model(fitted, fidelity="fine")
    with pytest.raises(DataError, match=r"fidelity is missing: the model knows several, \['fine', 'rough'\]"):
        botorch_model(fitted, task="a")
    with pytest.raises(DataError, match="unknown task 'z'; the model knows 'a', 'b'"):
        botorch_model(fitted, task="z", fidelity="fine")
    with pytest.raises(DataError, match="unknown fidelity 'z'; the model knows 'fine', 'rough'"):
        botorch_model(fitted, task="a", fidelity="z")
    with pytest.raises(DataError, match="empty list"):
        botorch_model(fitted, task=[], fidelity="fine")
    with pytest.raises(DataError, match="leave one of both out"):
        botorch_model(fitted, task="a", fidelity="fine", fidelity_column=True)
    with pytest.raises(DataError, match=r"X has 3 columns, 2 are expected: \['x', 'v'\]"):
        model.posterior(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(DataError, match=r"X is torch.float32, torch.float64 is expected; use X.double"):
        model.posterior(torch.zeros(2, 2))
    with pytest.raises(DataError, match=r"Y has shape \(3, 1\) for X of shape \(2, 2\)"):
        model.condition_on_observations(random(2), torch.zeros(3, 1, dtype=torch.float64))
    with pytest.raises(TypeError, match="doesn't know"):
        model.condition_on_observations(random(2), torch.zeros(2, 1, dtype=torch.float64), weights=1)
    x = np.linspace(0, 1, 10)
    alone = HierarchicalGP(Schema(inputs="x", target="y")).fit(as_dataset(x, np.sin(6 * x), inputs=["x"]))
    with pytest.raises(DataError, match="task is 'a', but the model's schema names no task; leave it out"):
        botorch_model(alone, task="a")
    with pytest.raises(DataError, match="fidelity is 'fine', but the model's schema names no fidelity; leave it out"):
        botorch_model(alone, fidelity="fine")
    warped = HierarchicalGP(Schema(inputs="x", target="y"), warp="log").fit(as_dataset(x, np.exp(x), inputs=["x"]))
    with pytest.raises(DataError, match="warp='log': in its own units it isn't Gaussian"):
        botorch_model(warped)
