from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.random import streams


def draws(generators: list[torch.Generator], count: int = 1000) -> torch.Tensor:
    return torch.stack([torch.randn(count, generator=g, dtype=torch.float64) for g in generators])


def test_streams_are_uncorrelated_and_standard_normal() -> None:
    n, count = 8, 20_000
    z = draws(streams(3, n), count)
    standard_error = count**-0.5
    off_diagonal = (z @ z.T / count)[~torch.eye(n, dtype=torch.bool)]
    assert off_diagonal.abs().max() < 5 * standard_error
    assert z.mean(1).abs().max() < 5 * standard_error
    assert (z.var(1) - 1).abs().max() < 5 * 2**0.5 * standard_error


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**130), n=st.integers(0, 6))
def test_a_stream_depends_on_seed_and_position_only(seed: int, n: int) -> None:
    assert torch.equal(draws(streams(seed, n + 1))[:n], draws([*streams(seed, n), torch.Generator()])[:n])


def test_all_bits_of_the_seed_count() -> None:
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**64, 2**64 + 2**32]  # torch alone takes these for 0, 1 and 2**31
    first = draws([streams(seed, 1)[0] for seed in seeds], 4)
    assert len(torch.unique(first, dim=0)) == len(seeds)


def test_many_streams_are_all_distinct() -> None:
    assert len({g.initial_seed() for g in streams(0, 200_000)}) == 200_000  # by chance alone, 4.7 pairs would be equal


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    streams(1, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [-1, True, False, 1.0, "1", None, np.int64(-1), np.bool_(True)])
def test_a_seed_that_is_no_natural_number_is_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed is .*; it must be an integer >= 0"):
        streams(seed, 1)


def test_n_is_checked_and_numpy_integers_are_integers() -> None:
    with pytest.raises(ValueError, match=r"n is -1; it must be an integer >= 0"):
        streams(0, -1)
    assert torch.equal(draws(streams(int(np.int64(7)), 2)), draws(streams(np.int64(7), 2)))  # type: ignore[arg-type]
