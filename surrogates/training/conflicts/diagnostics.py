"""What can be said of tasks before and while they are trained together."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import gradient_cosines, quotient

__all__ = ["gradient_cosines", "label_overlap", "overlap_warnings"]

#: Below the first, cosines of task gradients say nothing; from the second on they are reliable (arXiv:2604.07848).
_MEANINGLESS, _RELIABLE = 0.3, 0.4


def label_overlap(mask: Tensor) -> Tensor:
    """Share of the smaller task's rows that have a label of the other task, too.

    Parameters
    ----------
    mask : (n, m) bool, where there are labels

    Returns
    -------
    (m, m), symmetric; 0 where a task has no labels

    Examples
    --------
    >>> label_overlap(torch.tensor([[1, 1], [1, 0], [1, 0], [0, 1]]).bool())
    tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]], dtype=torch.float64)
    """
    here = mask.double()
    both, counts = here.T @ here, here.sum(0)
    return quotient(both, torch.minimum(counts[:, None], counts[None, :]))


def overlap_warnings(mask: Tensor, names: tuple[str, ...]) -> tuple[str, ...]:
    """In words, which pairs of tasks share too few rows for the angle of their gradients to mean much.

    Gradients of two tasks on different rows differ by the rows as well as by the tasks. arXiv:2604.07848 finds affinities
    meaningless below 30 % overlap and reliable above 40 % (its exact definition of overlap isn't known to us).

    >>> overlap_warnings(torch.tensor([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 1]]).bool(), ("a", "b"))
    ("gradient angles of 'a' and 'b' are of little use: 33 % of the smaller task's rows have both labels",)
    """
    overlap, found = label_overlap(mask), []
    for i in range(len(names)):
        for j in range(i):
            if (share := float(overlap[i, j])) < _RELIABLE:
                verdict = "mean nothing" if share < _MEANINGLESS else "are of little use"
                found.append(
                    f"gradient angles of {names[j]!r} and {names[i]!r} {verdict}: {share:.0%} of the smaller task's rows "
                    f"have both labels".replace("%", " %")
                )
    return tuple(found)
