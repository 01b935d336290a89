"""BoTorch's acquisition functions on our models, through `optimize_acqf`, unchanged; and against what they stand for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from botorch.acquisition import (
    LogExpectedImprovement,
    qKnowledgeGradient,
    qLogNoisyExpectedImprovement,
)
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
from botorch.acquisition.max_value_entropy_search import qMaxValueEntropy, qMultiFidelityMaxValueEntropy
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models import ModelList
from botorch.models.cost import AffineFidelityCostModel
from botorch.optim import optimize_acqf, optimize_acqf_mixed
from botorch.sampling import SobolQMCNormalSampler
from scipy.stats import norm
from torch import Tensor

from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.design import SurrogateModel, botorch_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning"),
    # of exact readings, where they are
    pytest.mark.filterwarnings("ignore::linear_operator.utils.warnings.NumericalWarning"),
    # BoTorch compiles a part of its own
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]
BOUNDS = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
COLUMN = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
SAMPLER = SobolQMCNormalSampler(torch.Size([64]), seed=0)


def forrester(x: Any) -> Any:
    """Its maximum on [0, 1] is 15.83 at 1; of its negative, 6.0207 at .7572."""
    return (6 * x - 2) ** 2 * np.sin(12 * x - 4)


@cache
def of_tasks() -> Any:
    x = np.tile(np.linspace(0, 1, 7), 2)
    task = np.repeat(["old", "new"], 7)
    y = -forrester(x) + 2 * (task == "old") * x
    keep = (task == "old") | (np.arange(14) % 2 == 0)
    data = xr.Dataset({"x": ("n", x), "task": ("n", task), "y": ("n", y)}).isel(n=np.flatnonzero(keep))
    return HierarchicalGP(Schema(inputs="x", target="y", task="task"), noise="none").fit(data)


@cache
def of_fidelities() -> Any:
    x = np.concatenate([np.linspace(0, 1, 9), np.linspace(0, 1, 9)[::2]])
    code = np.repeat(["low", "high"], [9, 5])
    low = -0.5 * forrester(x) - 10 * (x - 0.5) + 5
    y = np.where(code == "low", low, -forrester(x))
    data = xr.Dataset({"x": ("n", x), "code": ("n", code), "y": ("n", y)})
    model = MultiFidelityGP(
        Schema(inputs="x", target="y", fidelity="code"),
        fidelities=("low", "high"),
        structure="autoregressive",
        noise="none",
    )
    return model.fit(data)


def best(acquisition: Any, *, bounds: Tensor = BOUNDS, q: int = 1, **options: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    found: tuple[Tensor, Tensor] = optimize_acqf(acquisition, bounds, q=q, num_restarts=3, raw_samples=32, **options)
    return found


def new() -> SurrogateModel:
    return botorch_model(of_tasks(), task="new")


def test_log_expected_improvement_is_its_closed_form() -> None:
    model, best_f = new(), 5.5
    acquisition = LogExpectedImprovement(model, best_f=best_f)
    grid = torch.linspace(0.01, 0.99, 57, dtype=torch.float64).reshape(-1, 1, 1)
    at = xr.Dataset({"x": ("n", grid[:, 0, 0].numpy())}).assign(task="new")
    answer = of_tasks().predict(at)
    mean, std = answer["mean"].values, answer["std"].values
    u = (mean - best_f) / std
    expected = std * (norm.pdf(u) + u * norm.cdf(u))
    large = expected > 1e-6
    np.testing.assert_allclose(acquisition(grid).exp()[large], expected[large], rtol=1e-6)
    x, value = best(acquisition)
    assert float(value) >= float(acquisition(grid).max()) - 1e-6
    assert abs(float(x) - 0.757) < 0.1


def test_a_minimum_by_a_posterior_transform() -> None:
    turned = ScalarizedPosteriorTransform(torch.tensor([-1.0], dtype=torch.float64))
    acquisition = LogExpectedImprovement(new(), best_f=10.0, posterior_transform=turned)
    assert float(best(acquisition)[0]) > 0.9  # where the function falls lowest


@pytest.mark.parametrize("q", [1, 2])
def test_noisy_expected_improvement(q: int) -> None:
    model = new()
    acquisition = qLogNoisyExpectedImprovement(model, X_baseline=model.train_inputs[0], sampler=SAMPLER)
    x, value = best(acquisition, q=q)
    assert x.shape == (q, 1)
    assert bool(torch.isfinite(value))
    assert float((x - 0.757).abs().min()) < 0.12


def test_knowledge_gradient_is_that_of_a_grid() -> None:
    """Against the mean over fantasies of the best mean on a grid."""
    model, x = new(), torch.tensor([[[0.66]], [[0.3]]], dtype=torch.float64)
    grid = torch.linspace(0, 1, 201, dtype=torch.float64).reshape(-1, 1)
    sampler = SobolQMCNormalSampler(torch.Size([16]), seed=0)
    acquisition = qKnowledgeGradient(model, num_fantasies=16, sampler=sampler)
    means = model.fantasize(x, sampler).posterior(grid.expand(2, -1, 1)).mean[..., 0]
    torch.manual_seed(0)
    value = acquisition.evaluate(x, bounds=BOUNDS, num_restarts=3, raw_samples=32)
    expected = means.max(dim=-1).values.mean(dim=0)
    np.testing.assert_allclose(value, expected, rtol=2e-3)
    found, _ = best(qKnowledgeGradient(model, num_fantasies=8))
    assert found.shape == (1, 1)


def test_max_value_entropy() -> None:
    candidates = torch.linspace(0, 1, 60, dtype=torch.float64).reshape(-1, 1)
    x, value = best(qMaxValueEntropy(new(), candidates))
    assert float(value) > 0
    assert 0 <= float(x) <= 1


def test_hypervolume_of_several_outputs_and_of_several_models() -> None:
    both = botorch_model(of_tasks(), task=["old", "new"])
    side_by_side = ModelList(botorch_model(of_tasks(), task="old"), botorch_model(of_fidelities()))
    for model in (both, side_by_side):
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model, ref_point=[-10.0, -10.0], X_baseline=both.train_inputs[0], prune_baseline=True
        )
        x, value = best(acquisition)
        assert x.shape == (1, 1)
        assert bool(torch.isfinite(value))


def cost_aware() -> InverseCostWeightedUtility:
    return InverseCostWeightedUtility(AffineFidelityCostModel(fidelity_weights={1: 1.0}, fixed_cost=0.1))


def to_target(x: Tensor) -> Tensor:
    projected: Tensor = project_to_target_fidelity(x, target_fidelities={1: 1.0}, d=2)
    return projected


def test_multi_fidelity_knowledge_gradient() -> None:
    model = botorch_model(of_fidelities(), fidelity_column=True)
    acquisition = qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=4,
        current_value=torch.tensor(5.0, dtype=torch.float64),
        cost_aware_utility=cost_aware(),
        project=to_target,
    )
    torch.manual_seed(0)
    x, value = optimize_acqf_mixed(
        acquisition, COLUMN, q=1, num_restarts=2, raw_samples=16, fixed_features_list=[{1: 0.0}, {1: 1.0}]
    )
    assert float(x[0, 1]) in (0.0, 1.0)
    assert float(value) > 0


def test_multi_fidelity_max_value_entropy() -> None:
    model = botorch_model(of_fidelities(), fidelity_column=True)
    candidates = torch.cat([torch.linspace(0, 1, 60, dtype=torch.float64).reshape(-1, 1), torch.ones(60, 1)], -1)
    acquisition = qMultiFidelityMaxValueEntropy(
        model, candidates.double(), cost_aware_utility=cost_aware(), project=to_target
    )
    torch.manual_seed(0)
    x, value = optimize_acqf_mixed(
        acquisition, COLUMN, q=1, num_restarts=2, raw_samples=16, fixed_features_list=[{1: 0.0}, {1: 1.0}]
    )
    assert float(x[0, 1]) in (0.0, 1.0)
    assert bool(torch.isfinite(value))


def test_the_same_seed_gives_the_same_suggestion() -> None:
    found = [best(LogExpectedImprovement(new(), best_f=5.0))[0] for _ in range(2)]
    assert torch.equal(*found)
