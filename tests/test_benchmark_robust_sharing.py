"""The benchmark of robust sharing: its families are what it says, and its table tells of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import robust_sharing as benchmark


@pytest.mark.parametrize("kind", benchmark.KINDS)
def test_only_the_first_tasks_differ(kind: str) -> None:
    """Of their functions, planes taken off, over twelve families."""
    x = np.random.default_rng(0).uniform(0, 1, (500, 2))
    columns = np.column_stack([np.ones(500), x])
    alike, different, sizes = [], [], []
    for seed in range(1, 24, 2):
        values = np.array([truth(x) for truth in benchmark.family(4, 1, kind, seed).truth]).T  # (500, 4)
        values -= columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
        correlation, size = np.corrcoef(values.T), values.std(axis=0)
        alike.append(correlation[[1, 1, 2], [2, 3, 3]].mean())
        different.append(correlation[0, 1:].mean())
        sizes.append(size[0] / size[1:].mean())
    assert np.mean(alike) > 0.75
    if kind == "scale":
        assert np.mean(different) > 0.75
        assert np.mean(sizes) == pytest.approx(3, rel=0.15)
    else:
        assert abs(np.mean(different)) < 0.3


def test_readings_are_noisy_values_of_the_true_functions() -> None:
    case = benchmark.family(4, 1, "function", seed=0)
    noise = []
    for t, truth in enumerate(case.truth):
        mine = case.data.isel(place=np.flatnonzero(case.data["task"] == f"task {t}"))
        assert 8 <= mine.sizes["place"] <= 15
        noise.append(mine["y"].to_numpy() - truth(mine["u"].to_numpy()[:, None]))
    assert np.concatenate(noise).std() == pytest.approx(benchmark.NOISE, rel=0.4)


def test_a_summary_has_a_star_where_sharing_hurts() -> None:
    assert benchmark.summary([0.1, 0.11, 0.09]).endswith("*")
    assert benchmark.summary([-0.1, -0.11, -0.09]) == " 0.90 ± 0.01 "
    assert not benchmark.summary([0.5, -0.4]).endswith("*")


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_a_row_compares_with_models_of_single_tasks() -> None:
    line = benchmark.row(2, 1, "roughness", seeds=2)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["2", "1", "roughness"]
    assert len(cells) == 9
    assert all(0.1 < float(cell.split()[0]) < 10 for cell in cells[3:7])
    case = benchmark.family(2, 0, "function", seed=0)
    found, named = benchmark.ratios(case, 0)
    assert set(found) == {"common", "robust"}
    assert named.shape == (2,)
