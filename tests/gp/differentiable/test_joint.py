"""Joint posteriors in torch against the models' own answers, and their derivatives against finite differences."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from differentiable_models import CASES, SCHEMA, Case, nested, places, table
from torch import Tensor

from surrogates import HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.errors import DataError
from surrogates.gp import InducingGP, Tanimoto
from surrogates.gp.differentiable import JointPosterior, joint_posterior

pytestmark = pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


def mixed(posterior: JointPosterior, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (*b, q) and covariance (*b, q, q) of the mixture, from its definition."""
    draws, w = posterior(x, codes), posterior.weights
    mean = torch.einsum("k,k...->...", w, draws.mean)
    second = draws.covariance + draws.mean.unsqueeze(-1) * draws.mean.unsqueeze(-2)
    return mean, torch.einsum("k,k...->...", w, second) - mean.unsqueeze(-1) * mean.unsqueeze(-2)


@pytest.mark.parametrize("name", CASES)
def test_moments_and_slopes_are_those_of_the_model(name: str) -> None:
    case = case_of(name)
    x, codes, at = places(case)
    posterior, x = joint_posterior(case.fitted), x.requires_grad_()
    mean, covariance = mixed(posterior, x, codes)
    answer = case.fitted.predict(at)
    scale = float(answer["mean"].std())
    np.testing.assert_allclose(mean.detach(), answer["mean"], rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(covariance.detach(), case.fitted.covariance(at), rtol=0, atol=1e-8 * scale**2)
    variance = torch.diagonal(covariance)
    by_mean = torch.autograd.grad(mean.sum(), x, retain_graph=True)[0]
    by_variance = torch.autograd.grad(variance.sum(), x)[0]
    slopes = case.fitted.gradient(at)
    np.testing.assert_allclose(by_mean.T, slopes["d_mean"], rtol=1e-7, atol=1e-8 * scale)
    expected = 2 * slopes["d_std"] * answer["std"]  # of the variance, since a deviation near zero has rounding errors
    np.testing.assert_allclose(by_variance.T, expected, rtol=1e-6, atol=1e-8 * scale**2)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_covariances(name: str) -> None:
    case = case_of(name)
    x, codes, _ = places(case, 3)
    posterior = joint_posterior(case.fitted)
    direction = torch.from_numpy(np.random.default_rng(5).standard_normal(x.shape))

    def total(places: Tensor) -> Tensor:
        draws = posterior(places, codes)
        weights = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, 3)
        return (draws.covariance * weights).sum() + draws.mean.sum()

    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(total(x), x, create_graph=case.twice)
    step = 1e-5
    with torch.no_grad():
        difference = (total(x + step * direction) - total(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(float((slope * direction).sum().detach()), float(difference), rtol=2e-5)
    if not case.twice:
        return
    (product,) = torch.autograd.grad((slope * direction).sum(), x)
    ahead, behind = ((x + s * direction).detach().requires_grad_() for s in (step, -step))
    difference = (torch.autograd.grad(total(ahead), ahead)[0] - torch.autograd.grad(total(behind), behind)[0]) / (
        2 * step
    )
    np.testing.assert_allclose(product, difference, rtol=1e-3, atol=1e-4 * float(difference.abs().max()))


@pytest.mark.parametrize("name", ["matern52, quadratic trend", "known noise", "periodic", "nonlinear"])
def test_batches_are_worked_out_one_by_one(name: str) -> None:
    case = case_of(name)
    x, codes, _ = places(case, 6)
    posterior = joint_posterior(case.fitted)
    together = posterior(x.reshape(3, 1, 2, 2), codes.reshape(3, 1, 2))
    for b in range(3):
        rows = slice(2 * b, 2 * b + 2)
        alone = posterior(x[rows], codes[rows])
        torch.testing.assert_close(together.mean[:, b, 0], alone.mean)
        torch.testing.assert_close(together.covariance[:, b, 0], alone.covariance)
        torch.testing.assert_close(posterior.noise_variance(x[rows], codes[rows]).shape, torch.Size([2]))


@pytest.mark.parametrize("name", ["known noise", "matern52, quadratic trend", "autoregressive"])
def test_where_readings_are_and_where_places_are_met_twice(name: str) -> None:
    case = case_of(name)
    data = nested() if name == "autoregressive" else table(known=True)
    at = data[["x", "v", "part", "gauge"]].isel(sample=[0, 5, 0, 7])
    posterior = joint_posterior(case.fitted)
    x = torch.from_numpy(np.stack([at["x"].values, at["v"].values], axis=1))
    pairs = zip(at["part"].values, at["gauge"].values, strict=True)
    codes = torch.tensor([posterior.code(task=task, fidelity=fidelity) for task, fidelity in pairs])
    mean, covariance = mixed(posterior, x, codes)
    scale = float(data["y"].std())
    np.testing.assert_allclose(mean, case.fitted.predict(at)["mean"], atol=1e-8 * scale)
    np.testing.assert_allclose(covariance, case.fitted.covariance(at), atol=1e-8 * scale**2)


@pytest.mark.parametrize("name", ["noise by task", "noise by place", "student-t", "all structures"])
def test_noise_is_that_of_the_model(name: str) -> None:
    case = case_of(name)
    x, codes, at = places(case)
    noise = joint_posterior(case.fitted).noise_variance(x, codes)
    np.testing.assert_allclose(torch.sqrt(noise), case.fitted.predict(at)["noise_std"], rtol=1e-10)


def test_covariance_of_a_nonlinear_chain_is_near_that_of_its_draws() -> None:
    case = case_of("nonlinear")
    _, _, at = places(case, 4)
    draws = case.fitted.sample(at, 4000, seed=0).values
    own = case.fitted.covariance(at).values
    spread = np.sqrt(np.outer(np.diag(own), np.diag(own)))
    assert np.abs(np.cov(draws.T) - own).max() < 0.1 * spread.max()
    assert np.linalg.eigvalsh(own).min() > -1e-10 * own.max()


def test_codes() -> None:
    posterior = joint_posterior(case_of("noise by task").fitted)
    assert [posterior.code(task=t, fidelity=f) for t in ("a", "b") for f in ("fine", "rough")] == [0, 1, 2, 3]
    assert posterior.code(task="b") == 3
    with pytest.raises(DataError, match="task isn't given, and the model knows 'a', 'b'; give task= one of them"):
        posterior.code()
    with pytest.raises(DataError, match="unknown task 'c'; the model knows 'a', 'b'"):
        posterior.code(task="c")
    with pytest.raises(DataError, match="unknown fidelity 'none'; the model knows 'fine', 'rough'"):
        posterior.code(task="a", fidelity="none")


def test_the_last_fidelity_is_the_most_precise_whatever_its_name() -> None:
    data = nested().assign(
        gauge=lambda d: d["gauge"].str.replace("coarse", "rough")
    )  # now behind "fine" in the alphabet
    model = MultiFidelityGP(SCHEMA, fidelities=("rough", "fine"), structure="autoregressive", noise="none")
    fitted = model.fit(data)
    posterior = joint_posterior(fitted)
    assert posterior.code(task="a") == posterior.code(task="a", fidelity="fine")
    at = xr.Dataset({"x": ("n", [1.1]), "v": ("n", [0.3]), "part": ("n", ["b"])})
    x = torch.tensor([[1.1, 0.3]], dtype=torch.float64)
    for gauge in ("rough", "fine"):
        mean, _ = mixed(posterior, x, torch.tensor(posterior.code(task="b", fidelity=gauge)))
        np.testing.assert_allclose(mean, fitted.predict(at.assign(gauge=("n", [gauge])))["mean"], rtol=1e-8)


def test_models_without_a_joint_posterior_say_why() -> None:
    x = np.linspace(0, 1, 12)
    data = as_dataset(x, np.sin(6 * x), inputs=["x"])
    schema = Schema(inputs="x", target="y")
    with pytest.raises(DataError, match="found FittedInducingGP"):
        joint_posterior(InducingGP(schema, inducing=5).fit(data))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expectation-maximisation"):
        joint_posterior(HierarchicalGP(SCHEMA, sharing="niw").fit(table()))


def test_a_single_fidelity_and_no_labels_at_all() -> None:
    x = np.linspace(0, 1, 9)
    data = as_dataset(x, np.sin(6 * x), inputs=["x"])
    fitted = MultiFidelityGP(Schema(inputs="x", target="y")).fit(data)
    posterior = joint_posterior(fitted)
    at = xr.Dataset({"x": ("n", [0.31, 0.77])})
    mean, _ = mixed(posterior, torch.tensor([[0.31], [0.77]], dtype=torch.float64), torch.tensor(posterior.code()))
    np.testing.assert_allclose(mean, fitted.predict(at)["mean"], atol=1e-9)


def test_counts_have_no_derivative() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (12, 6)).astype(float)
    data = xr.Dataset({"bits": (("n", "bit"), counts), "y": ("n", counts[:, 0] + 0.1 * rng.standard_normal(12))})
    fitted = HierarchicalGP(Schema(inputs="bits", target="y"), kernel=Tanimoto(counts="bits"), trend="constant").fit(
        data
    )
    with pytest.raises(DataError, match="counts have no derivative"):
        joint_posterior(fitted)
