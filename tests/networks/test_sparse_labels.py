"""Trunk, stacked heads, likelihood and calibration together, on tasks of which most labels are missing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from surrogates.calibration import ConformalIntervals, VarianceScaling
from surrogates.networks import MLP, Gaussian, StackedHeads


def truth(X: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (n, 3) of three tasks; the noise grows with x, threefold for the last task."""
    x = X[:, :1]
    return torch.cat([torch.sin(2 * x), torch.cos(2 * x), torch.sin(2 * x + 1)], 1), 0.05 * (2 + x) * torch.tensor(
        [1.0, 1, 3]
    )


def drawn(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    X = 2 * torch.rand(n, 1, generator=generator) - 1
    mean, std = truth(X)
    y = mean + std * torch.randn(n, 3, generator=generator)
    return X, y.masked_fill(torch.rand(n, 3, generator=generator) < 0.7, torch.nan)


def test_means_spreads_and_coverage_from_sparse_labels_in_float32() -> None:
    draws = torch.Generator().manual_seed(0)
    X, y = drawn(1500, draws)
    trunk = MLP((1, 32, 32), activation="silu", dropout=0.02, dtype=torch.float32, generator=draws)
    heads = StackedHeads(32, tasks=3, outputs=2, dtype=torch.float32, generator=draws)
    both, likelihood = nn.ModuleList([trunk, heads]), Gaussian(beta=0.5)
    optimiser = torch.optim.Adam(both.parameters(), 5e-3)
    for _ in range(400):
        optimiser.zero_grad()
        likelihood.loss(heads(torch.nn.functional.silu(trunk(X, draws))), y).sum().div(len(X)).backward()
        optimiser.step()

    @torch.no_grad()
    def predict(X: Tensor) -> tuple[np.ndarray, np.ndarray]:
        outputs = heads(torch.nn.functional.silu(trunk(X)))
        assert outputs.dtype == torch.float32
        return likelihood.mean(outputs).double().numpy(), likelihood.std(outputs).double().numpy()

    at = torch.linspace(-0.95, 0.95, 50)[:, None]
    (mean, std), (true_mean, true_std) = predict(at), truth(at)
    assert np.sqrt(np.mean((mean - true_mean.numpy()) ** 2, 0)).max() < 0.06
    assert np.abs(np.log(std / true_std.numpy())).mean() < 0.25

    held, labels = drawn(600, draws)
    there = ~torch.isnan(labels).numpy()
    task = np.nonzero(there)[1]
    mean, std = (part[there] for part in predict(held))
    scaling = VarianceScaling.fit(labels.numpy()[there], mean, std, task, tasks=3)
    assert (np.abs(scaling.factors - 1) < 0.3).all()
    intervals = ConformalIntervals.fit(labels.numpy()[there], mean, std, task, tasks=3)
    fresh, later = drawn(4000, draws)
    mean, std = predict(fresh)
    half = intervals.half_width(std, np.broadcast_to(np.arange(3), std.shape), level=0.9)
    missed = np.where(torch.isnan(later).numpy(), np.nan, np.abs(later.numpy() - mean) > half)
    coverage = 1 - np.nanmean(missed, 0)
    assert (np.abs(coverage - 0.9) < 3 * np.sqrt(0.09 / 180)).all()  # from 180 held-out labels per task
