"""Groups of similar tasks, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from surrogates.counts import whole
from surrogates.errors import DataError


def task_groups(similarity: ArrayLike, count: int) -> tuple[int, ...]:
    """`count` groups of tasks by agglomerative clustering: at each step the two groups of the largest mean similarity join.

    Parameters
    ----------
    similarity : (T, T) symmetric, larger is more alike, such as the mean cosines of the tasks' gradients; the diagonal isn't
        read
    count : number of groups, 1 to T

    Returns
    -------
    (T,) the group of each task, counted from 0 in the order of their first tasks

    Examples
    --------
    >>> task_groups([[1.0, 0.1, 0.9], [0.1, 1.0, 0.0], [0.9, 0.0, 1.0]], 2)
    (0, 1, 0)
    """
    return progressive_groups(similarity, [count])[0]


def progressive_groups(similarity: ArrayLike, counts: Sequence[int]) -> list[tuple[int, ...]]:
    """`task_groups` for several numbers of groups, cut from one tree: a finer grouping divides a coarser one.

    With counts (1, g, T) an `AdaptedMLP` of three hidden layers has adapters that all tasks share, that groups share, and
    private ones, after the progressive task-specific adaptation of Gangwar et al. (2025), arXiv:2509.19602. Average
    linkage is our choice.

    >>> progressive_groups([[1.0, 0.1, 0.9], [0.1, 1.0, 0.0], [0.9, 0.0, 1.0]], [1, 2, 3])
    [(0, 0, 0), (0, 1, 0), (0, 1, 2)]
    """
    S = np.array(similarity, dtype=np.float64)
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not len(S):
        raise DataError(f"similarity has shape {S.shape}; wanted is (tasks, tasks)")
    np.fill_diagonal(S, 0.0)
    if not np.isfinite(S).all():
        bad = int((~np.isfinite(S)).sum())
        raise DataError(f"similarity has {bad} entries that are NaN or infinite; set them to 0 where nothing is known")
    if not np.allclose(S, S.T, rtol=1e-6, atol=1e-9):
        raise DataError("similarity isn't symmetric; take its mean with its transpose")
    for count in counts:
        whole(count, "count")
        if count > len(S):
            raise DataError(f"count is {count}; {len(S)} tasks make at most {len(S)} groups")
    if len(S) == 1:
        return [(0,) for _ in counts]
    S = (S + S.T) / 2
    D = S.max() - S  # only differences count; distances must be >= 0
    np.fill_diagonal(D, 0.0)
    tree = linkage(squareform(D, checks=False), method="average")
    return [_numbered(cut_tree(tree, n_clusters=count)[:, 0].tolist()) for count in counts]


def _numbered(labels: list[int]) -> tuple[int, ...]:
    """The same groups, counted in the order of their first tasks."""
    known = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    return tuple(known[label] for label in labels)
