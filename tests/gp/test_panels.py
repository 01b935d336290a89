"""Row panels against whole matrices."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.gp import panels
from surrogates.gp.panels import Panels, complete_block, multiply_panel, panel_of, symmetrise


@pytest.mark.parametrize("sizes", [(4, 0, 3), (100, 130), (2,) * 120, (1, 250, 3)])
def test_panels_add_up_to_the_whole_matrix(sizes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    T, group = len(sizes), np.repeat(np.arange(len(sizes)), sizes)
    n = len(group)
    S, B = generator.normal(size=(n, n)), generator.normal(size=(T, T))
    S, B = S + S.T, B + B.T
    right = generator.normal(size=(n, 2))
    cut, sums, product, rows = Panels(group, T), np.zeros((T, T)), np.zeros((n, 2)), 0
    for start, stop in cut.edges:
        assert start == rows
        rows = stop
        panel = panel_of(cut.buffer(), start, stop)
        panel[...] = S[start:stop, :stop]
        np.testing.assert_array_equal(
            np.broadcast_to(cut.factor(B, start, stop), panel.shape), B[np.ix_(group[start:stop], group[:stop])]
        )
        multiply_panel(panel, right, (start, stop), product)
        cut.add_groups(sums, panel, start, stop)
    assert rows == n
    members = np.eye(T)[group]
    np.testing.assert_allclose(product, S @ right, atol=1e-9)
    np.testing.assert_allclose(symmetrise(sums[None])[0], members.T @ S @ members, atol=1e-9)
    np.testing.assert_array_equal(cut.spread(right[:, 0]), members * right[:, :1])


def test_a_block_is_completed_from_its_lower_triangle() -> None:
    W = np.tril(np.arange(16.0).reshape(4, 4))
    complete_block(W, 1, 3)
    np.testing.assert_array_equal(W[1:3, 1:3], [[5, 9], [9, 10]])
    assert W[0, 1] == 0


def test_small_designs_are_one_panel() -> None:
    assert Panels(np.zeros(panels.ONE_PANEL, dtype=np.int64), 1).edges == [(0, panels.ONE_PANEL)]
    assert Panels(np.zeros(0, dtype=np.int64), 1).edges == []
