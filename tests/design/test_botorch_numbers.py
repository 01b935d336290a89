"""A fitted process as a BoTorch model: numbers at the limits, labels by number, and noise draw by draw."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates import HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.design import botorch_model
from surrogates.errors import DataError
from surrogates.gp import Categorical, Smooth

pytestmark = pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
Floats = NDArray[np.float64]


def high(x: Floats) -> Floats:
    return np.asarray(np.sin(6 * x))


def two_levels(x: Floats, gauge: str, seed: int) -> xr.Dataset:
    y = high(x) + (0.5 * x if gauge == "low" else 0.0) + 0.1 * np.random.default_rng(seed).standard_normal(len(x))
    return xr.Dataset({"x": ("n", x), "y": ("n", y)}).assign(gauge=("n", [gauge] * len(x)))


@pytest.mark.parametrize("structure", ["autoregressive", "coregional", "ignore"])
def test_conditioning_knows_the_noise_of_every_draw(structure: str) -> None:
    data = xr.concat(
        [two_levels(np.linspace(0, 1, 16), "low", 0), two_levels(np.linspace(0.05, 0.95, 7), "high", 1)], "n"
    )
    schema = Schema(inputs="x", target="y", fidelity="gauge")
    fitted = MultiFidelityGP(schema, fidelities=("low", "high"), structure=structure).fit(data)
    assert np.ptp(fitted.noise_by_draw()[:, 1]) > 0.1 * fitted.noise_variances()[1]
    np.testing.assert_allclose(fitted.weights @ fitted.noise_by_draw(), fitted.noise_variances())
    new = two_levels(np.array([0.21, 0.5]), "high", 2)
    updated = fitted.update(new)
    x, y = (torch.from_numpy(new[name].to_numpy()).unsqueeze(-1) for name in ("x", "y"))
    found = botorch_model(fitted).condition_on_observations(x, y).posterior(torch.linspace(0, 1, 5).double()[:, None])
    expected = updated.predict(xr.Dataset({"x": ("place", np.linspace(0, 1, 5))}).assign(gauge="high"))
    np.testing.assert_allclose(found.mean[:, 0], expected["mean"], atol=1e-9)
    np.testing.assert_allclose(found.variance[:, 0], expected["std"] ** 2, atol=1e-9)


def test_labels_have_numbers_and_nothing_lies_between_them() -> None:
    rng = np.random.default_rng(0)
    x, c = rng.uniform(0, 1, 30), rng.choice(["u", "v", "w"], 30)
    data = xr.Dataset({"x": ("n", x), "c": ("n", c), "y": ("n", np.sin(5 * x) + (c == "v"))})
    fitted = HierarchicalGP(
        Schema(inputs=("x", "c"), target="y"), kernel=Smooth("x") * Categorical("c"), integrate=False
    ).fit(data)
    model = botorch_model(fitted)
    at = torch.tensor([[0.3, 0.4], [0.3, 1.3], [0.3, 1.6]], dtype=torch.float64, requires_grad=True)
    mean = model.posterior(at).mean[:, 0]
    expected = fitted.predict(xr.Dataset({"x": ("place", [0.3] * 3), "c": ("place", ["u", "v", "w"])}))
    np.testing.assert_allclose(mean.detach(), expected["mean"], rtol=1e-8)
    slope = torch.autograd.grad(mean.sum(), at)[0]
    assert bool((slope[:, 1] == 0).all())
    assert bool((slope[:, 0] != 0).all())
    with pytest.raises(
        DataError, match=r"column 1 of X, 'c', has 7 to 7; its labels' numbers are 0 to 2.*'u', 'v', 'w'"
    ):
        model.posterior(torch.tensor([[0.3, 7.0]], dtype=torch.float64))


def exact(unit: float) -> xr.Dataset:
    x = np.linspace(0, 1, 8)
    data = as_dataset(x, unit * (np.sin(6 * x) + x), inputs=["x"])
    data["y"].attrs["units"] = "m"
    return data


def test_exact_readings_told_again_are_the_same_in_all_units() -> None:
    means = []
    for unit in (1.0, 1e-6):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = botorch_model(HierarchicalGP(Schema(inputs="x", target="y"), noise="none").fit(exact(unit)))
            x = torch.tensor([[0.41], [0.41], [0.41], [0.8]], dtype=torch.float64)
            y = unit * (torch.sin(6 * x) + x + 0.05)
            told = model.condition_on_observations(x, y)
            means.append(told.posterior(torch.tensor([[0.41], [0.3]], dtype=torch.float64)).mean[:, 0] / unit)
    assert float(means[0][0]) == pytest.approx(np.sin(2.46) + 0.46, abs=1e-3)
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-6)


def test_numbers_that_botorch_takes_for_rounding_are_warned_of() -> None:
    fitted = HierarchicalGP(Schema(inputs="x", target="y"), noise="none").fit(exact(1e-6))
    with pytest.warns(
        UserWarning, match=r"target 'y' spreads over .*e-0\d m: GPyTorch raises .* fit it in smaller units"
    ):
        botorch_model(fitted)


def two_tasks() -> xr.Dataset:
    x = np.linspace(0, 1, 10)
    return as_dataset(
        np.tile(x, 2), np.concatenate([np.sin(6 * x), np.cos(6 * x)]), inputs=["x"], task=[3] * 10 + [4] * 10
    )


def test_shapes_and_noise_that_cannot_be() -> None:
    fitted = HierarchicalGP(Schema(inputs="x", target="y", task="task"), integrate=False).fit(two_tasks())
    model = botorch_model(fitted, task=np.array([3, 4]))  # type: ignore[arg-type]
    x, y = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[0.3, 0.1]], dtype=torch.float64)
    assert model.posterior(x).mean.shape == (1, 2)
    with pytest.raises(DataError, match=r"outputs \[5\] are asked for; the model has 2"):
        model.posterior(x, output_indices=[5])
    with pytest.raises(DataError, match=r"X has shape \(1,\); \(..., q, 1\) is expected"):
        model.posterior(x[0])
    with pytest.raises(DataError, match=r"noise has shape \(1, 3\); variances \(..., 1, 2\) are expected"):
        model.posterior(x, observation_noise=torch.ones(1, 3, dtype=torch.float64))
    with pytest.raises(DataError, match="noise has -1; variances are numbers that are zero or more"):
        model.condition_on_observations(x, y, noise=-torch.ones(1, 2, dtype=torch.float64))
