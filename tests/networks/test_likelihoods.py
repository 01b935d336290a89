from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import Gaussian, Likelihood, Quantiles, SquaredError

ALL: tuple[Likelihood, ...] = (SquaredError(), Gaussian(), Gaussian(beta=0.5), Quantiles())


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(seed: int = 2) -> tuple[Tensor, Tensor]:
    """(30, 4) labels, some missing, and their signs."""
    y = normal(30, 4, seed=seed)
    y[normal(30, 4, seed=3) > 0.5] = torch.nan
    return y, torch.randint(-1, 2, (30, 4), generator=torch.Generator().manual_seed(4))


def minimised(likelihood: Likelihood, y: Tensor, sign: Tensor | None = None) -> Tensor:
    """The outputs (k,), the same for all labels (n,), of least mean loss."""
    outputs = torch.zeros(likelihood.size, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([outputs], max_iter=500, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = likelihood.loss(outputs.expand(*y.shape, -1), y, sign).mean()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return outputs.detach()


def test_gaussian_losses_are_those_of_scipy() -> None:
    outputs, (y, sign) = 2 * normal(30, 4, 2), labels()
    μ, σ = Gaussian().mean(outputs).numpy(), Gaussian().std(outputs).numpy()
    np.testing.assert_allclose(σ**2, np.exp(14 * np.tanh(outputs[..., 1].numpy() / 14)), rtol=1e-12)
    p = stats.norm(μ, σ)
    truth = np.select([sign.numpy() == 0, sign.numpy() == 1], [p.logpdf(y), p.logsf(y)], p.logcdf(y))
    there = ~np.isnan(y.numpy())
    found = Gaussian().loss(outputs, y, sign).numpy()
    np.testing.assert_allclose(found[there], -truth[there], rtol=1e-11)
    assert not found[~there].any()
    weighed = Gaussian(beta=0.7).loss(outputs, y, sign).numpy()
    np.testing.assert_allclose(weighed, found * σ**1.4, rtol=1e-11)
    np.testing.assert_allclose(Gaussian().loss(outputs, y).numpy()[there], -p.logpdf(y)[there], rtol=1e-11)


def test_with_beta_one_the_mean_has_the_gradient_of_the_squared_error() -> None:
    outputs, y = normal(30, 4, 2).requires_grad_(), normal(30, 4, seed=2)
    (g,) = torch.autograd.grad(Gaussian(beta=1.0).loss(outputs, y).sum(), outputs)
    torch.testing.assert_close(g[..., 0], (outputs[..., 0] - y).detach(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("z", [-1e3, -40.0, -12.0, -5.0, 5.0, 40.0, 1e3])
def test_tails_are_accurate_in_float32(z: float) -> None:
    """A lower bound z standard deviations below (z > 0) or above the prediction."""
    outputs = torch.tensor([[0.0, 0.0]], requires_grad=True)
    loss = Gaussian().loss(outputs, torch.tensor([-z]), torch.tensor([1]))
    (g,) = torch.autograd.grad(loss.sum(), outputs)
    logcdf, logpdf = stats.norm.logcdf(z), stats.norm.logpdf(z)
    assert loss.item() == pytest.approx(-logcdf, rel=2e-6, abs=1e-12)
    assert g[0, 0].item() == pytest.approx(-math.exp(logpdf - logcdf), rel=1e-5, abs=1e-30)
    assert torch.isfinite(g).all()


@pytest.mark.parametrize("likelihood", ALL, ids=str)
def test_gradients_equal_finite_differences(likelihood: Likelihood) -> None:
    """β-NLL's gradient isn't that of its loss: there its weight is held."""
    outputs, (y, sign) = normal(30, 4, likelihood.size).requires_grad_(), labels()
    (g,) = torch.autograd.grad(likelihood.loss(outputs, y, sign).sum(), outputs)
    frozen = outputs.detach()
    weight: Tensor | float = 1.0
    judged = likelihood
    if isinstance(likelihood, Gaussian):
        judged, weight = Gaussian(), likelihood.std(frozen) ** (2 * likelihood.beta)
    for k in range(likelihood.size):
        h = torch.zeros(likelihood.size, dtype=torch.float64)
        h[k] = 1e-6
        slope = weight * (judged.loss(frozen + h, y, sign) - judged.loss(frozen - h, y, sign)) / 2e-6
        torch.testing.assert_close(g[..., k], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("likelihood", ALL, ids=str)
@pytest.mark.parametrize("size", [1.0, math.inf])
def test_missing_labels_have_neither_loss_nor_gradient(likelihood: Likelihood, size: float) -> None:
    """Also where outputs have overflowed."""
    outputs = (size * normal(5, 3, likelihood.size)).float().requires_grad_()
    y = torch.full((5, 3), torch.nan)
    for sign in (None, torch.ones(5, 3), torch.zeros(5, 3, dtype=torch.long)):
        loss = likelihood.loss(outputs, y, sign)
        (g,) = torch.autograd.grad(loss.sum(), outputs)
        assert loss.dtype == torch.float32
        assert not loss.any()
        assert not g.any()
        assert torch.isfinite(g).all()


@pytest.mark.parametrize("likelihood", ALL, ids=str)
def test_a_missing_label_changes_nothing_for_the_others(likelihood: Likelihood) -> None:
    outputs, (y, sign) = normal(30, 4, likelihood.size), labels()
    there = ~torch.isnan(y)
    alone = likelihood.loss(outputs[there], y[there], sign[there])
    torch.testing.assert_close(likelihood.loss(outputs, y, sign)[there], alone, rtol=1e-14, atol=0)


def test_squared_error_of_bounds_by_hand() -> None:
    y, sign = torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([1, 1, -1, -1])
    outputs = torch.tensor([[0.0], [5.0], [0.0], [5.0]])
    assert SquaredError().loss(outputs, y, sign).tolist() == [4.0, 0.0, 0.0, 9.0]
    assert SquaredError().mean(outputs).tolist() == [0.0, 5.0, 0.0, 5.0]
    assert SquaredError().std(outputs).tolist() == [1.0] * 4


def test_pinball_losses_by_hand() -> None:
    head = Quantiles((0.1, 0.5, 0.8))
    outputs = normal(1, 3).expand(3, 3)
    q, y = head.values(outputs)[0].tolist(), 0.3
    exact = sum(max(τ * (y - a), (τ - 1) * (y - a)) for τ, a in zip(head.levels, q, strict=True)) / 3
    low = sum(τ * max(0.0, y - a) for τ, a in zip(head.levels, q, strict=True)) / 3
    high = sum((1 - τ) * max(0.0, a - y) for τ, a in zip(head.levels, q, strict=True)) / 3
    found = head.loss(outputs, torch.full((3,), y, dtype=torch.float64), torch.tensor([0, 1, -1]))
    torch.testing.assert_close(found, torch.tensor([exact, low, high], dtype=torch.float64))
    assert exact == pytest.approx(low + high)


def test_minimisers_are_the_sample_s_mean_variance_and_quantiles() -> None:
    y = torch.from_numpy(stats.gamma(2.0).rvs(20_000, random_state=np.random.default_rng(0)))
    assert minimised(SquaredError(), y)[0].item() == pytest.approx(y.mean().item(), rel=1e-6)
    for β in (0.0, 0.5):
        found = minimised(Gaussian(beta=β), y)
        assert Gaussian().mean(found).item() == pytest.approx(y.mean().item(), rel=1e-3)
        assert Gaussian().std(found).item() == pytest.approx(y.std().item(), rel=1e-3)
    head = Quantiles((0.05, 0.25, 0.5, 0.9))
    q = head.values(minimised(head, y))
    np.testing.assert_allclose(stats.gamma(2.0).cdf(q), head.levels, atol=5 * math.sqrt(0.25 / 20_000))


def test_bounds_are_used_where_leaving_them_out_would_mislead() -> None:
    """N(1, 2²), known to be above 1.5 where it is: 40 % of the labels are bounds."""
    truth = 1 + 2 * normal(20_000, seed=5)
    y, sign = truth.clamp(max=1.5), (truth > 1.5).long()
    found = minimised(Gaussian(), y, sign)
    assert Gaussian().mean(found).item() == pytest.approx(1.0, abs=0.1)
    assert Gaussian().std(found).item() == pytest.approx(2.0, abs=0.1)
    left_out = minimised(Gaussian(), y.where(sign == 0, torch.nan))
    assert left_out[0].item() < 0.2
    mirrored = minimised(Gaussian(), -y, -sign)
    assert mirrored[0].item() == pytest.approx(-found[0].item(), abs=1e-4)
    head = Quantiles((0.1, 0.25, 0.5))  # the median is below the bounds
    q = head.values(minimised(head, y, sign))
    np.testing.assert_allclose(q, stats.norm(1, 2).ppf(head.levels), atol=0.1)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=5, max_size=5))
def test_quantiles_never_cross(outputs: list[float]) -> None:
    q = Quantiles().values(torch.tensor(outputs))
    assert bool((q[1:] >= q[:-1]).all())
    assert q[2] == np.float32(outputs[2])


def test_quantiles_of_other_levels() -> None:
    levels = (0.01, 0.2, 0.5, 0.97)
    outputs = normal(6, 4, 2)
    μ, σ = Gaussian().mean(outputs).numpy()[..., None], Gaussian().std(outputs).numpy()[..., None]
    np.testing.assert_allclose(Gaussian().quantiles(outputs, levels), stats.norm(μ, σ).ppf(levels), rtol=1e-9)
    np.testing.assert_allclose(
        SquaredError().quantiles(outputs[..., :1], levels), stats.norm(μ, 1).ppf(levels), rtol=1e-9
    )
    head = Quantiles()
    own = normal(6, 4, 5)
    torch.testing.assert_close(head.quantiles(own, head.levels), head.values(own), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(head.mean(own), head.values(own)[..., 2])
    # quantiles that are a Gaussian's are continued as a Gaussian's, inside and outside
    steps = torch.tensor(np.diff(stats.norm(0, 3).ppf(head.levels))).expm1().log()  # inverse of softplus
    gaussian = torch.cat([steps[:2], torch.zeros(1, dtype=torch.float64), steps[2:]])
    np.testing.assert_allclose(head.quantiles(gaussian, levels), stats.norm(0, 3).ppf(levels), rtol=1e-9, atol=1e-12)
    assert head.std(gaussian).item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Gaussian(beta=1.5), r"beta is 1.5; it must be between 0 \(likelihood\) and 1"),
        (lambda: Gaussian(bound=0.0), "bound is 0.0; it must be a finite number > 0"),
        (lambda: Quantiles((0.5, 0.1)), r"levels is \(0.5, 0.1\); two or more are wanted, ascending, the median"),
        (lambda: Quantiles((0.1, 0.9)), "the median 0.5 among them"),
        (lambda: Quantiles((0.5, 1.0)), "wanted are numbers between 0 and 1"),
        (lambda: Gaussian().quantiles(normal(3, 2), [0.0]), r"levels is \(0.0,\); wanted are numbers between 0 and 1"),
        (
            lambda: Gaussian().loss(normal(3, 1), normal(3)),
            r"outputs have shape \(3, 1\); this likelihood takes \(..., 2",
        ),
        (
            lambda: SquaredError().loss(normal(3, 1), normal(2)),
            r"y has shape \(2,\), the outputs \(3, 1\): give one lab",
        ),
        (
            lambda: SquaredError().loss(normal(3, 1), normal(3), torch.ones(1)),
            r"sign has shape \(1,\), y \(3,\); they must be equal",
        ),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
