"""The benchmark of virtual batteries: its loops are the recurrence's truth, and its coverage is counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_rooms import small_rooms

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import virtual_battery as benchmark

from surrogates.battery import read
from surrogates.physics.virtual_battery import linear_recurrence


@pytest.mark.parametrize("einsum", [True, False])
def test_roads_of_the_speed_table_do_the_same(einsum: bool) -> None:
    g = torch.Generator().manual_seed(1)
    A = (0.4 * torch.rand(3, 4, 4, generator=g, dtype=torch.float64)).requires_grad_()
    x = torch.rand(3, 4, 5, generator=g, dtype=torch.float64)
    f = torch.rand(7, 3, 4, 5, generator=g, dtype=torch.float64).requires_grad_()
    answers = [linear_recurrence(A, x, f), benchmark._loop(A, x, f, einsum=einsum)]
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(answer.square().sum(), (A, f)) for answer in answers]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


def test_coverage_by_hand() -> None:
    records = read(small_rooms(days=4))
    starts = np.array([100, 150])
    truth = records.indoor[:, starts[:, None] + np.arange(1, 97)]
    forecast, deviation = truth.copy(), np.ones((2, 96))
    forecast[0, 0] += 1.6
    forecast[1, :, 95] -= 1.7
    found = benchmark._covered(forecast, deviation, records, starts)
    assert found["24 h"].tolist() == [1.0, 0.0]
    assert found["1 h"].tolist() == [1.0, 1.0]
    forecast[0, 0] += 0.1
    assert benchmark._covered(forecast, deviation, records, starts)["6 h"].tolist() == [0.5, 1.0]
