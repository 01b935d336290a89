"""A loss of the order of predictions, for screening: what counts is which candidates stand on top."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surrogates.errors import DataError


def approx_ndcg_loss(scores: Tensor, relevance: Tensor, *, temperature: float = 0.1) -> Tensor:
    """1 - NDCG of each task, with ranks made smooth: ApproxNDCG (Qin, Liu & Li 2010, Information Retrieval 13, section 4).

        π̂_i = 1 + Σ_{j≠i} σ((s_j - s_i)/T),   DCG = Σ_i (2^{rel_i} - 1)/log2(1 + π̂_i),   NDCG = DCG / (DCG of the true order)

    As T -> 0 it is the exact 1 - NDCG where scores differ; equal scores share their mean rank. A task whose labels don't
    have two different values has no order: its loss and its gradient are 0.

    Parameters
    ----------
    scores : (B, m) predictions, larger is better
    relevance : (B, m) how good each candidate is, >= 0, such as from `relevance_by_rank`; NaN: no label
    temperature : T > 0, in the units of the scores

    Returns
    -------
    (m,) losses between 0 and 1. Memory is B²m numbers.

    Examples
    --------
    >>> scores = torch.tensor([[3.0], [2.0], [1.0]])
    >>> approx_ndcg_loss(scores, torch.tensor([[2.0], [1.0], [0.0]]), temperature=1e-3).numpy().round(6).tolist()
    [0.0]
    """
    if scores.ndim != 2 or relevance.shape != scores.shape:
        raise DataError(
            f"scores has shape {tuple(scores.shape)}, relevance {tuple(relevance.shape)}; both must be (B, m)"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise DataError(f"temperature is {temperature!r}; it must be a finite number > 0")
    there = ~torch.isnan(relevance)
    if bool((relevance < 0).any()):
        raise DataError(
            f"relevance goes down to {float(relevance[there].min()):g}; it must be >= 0: see relevance_by_rank"
        )
    s = torch.where(there, scores, 0.0)
    ahead = torch.sigmoid((s[None] - s[:, None]) / temperature) * there[None]  # (i, j, m) how much j is ahead of i
    rank = 0.5 + ahead.sum(1)  # j = i is in the sum, with ½
    gain = torch.where(there, 2.0 ** torch.where(there, relevance, 0.0) - 1.0, 0.0)
    # 1 + rank stays above 1 for rows without a label too, whose gain is 0
    reached = (gain / torch.log2(1 + rank)).sum(0)
    places = torch.arange(2, len(scores) + 2, dtype=scores.dtype).log2()
    best = (gain.sort(0, descending=True).values / places[:, None]).sum(0)
    top = torch.where(there, relevance, -torch.inf).amax(0)
    ordered = torch.where(there, relevance, torch.inf).amin(0) < top
    return torch.where(ordered, 1 - reached / torch.where(ordered, best, 1.0), 0.0)


def relevance_by_rank(y: Tensor, *, top: float = 4.0) -> Tensor:
    """Relevance 0 ... `top` of labels y (n, m) by their rank within each task, whatever their units; NaN stays NaN.

    rel_i = top · (number of labels below y_i + ½ number of others equal to it) / (n_t - 1); a task with one label gets 0.
    To be computed once, over all training labels, rather than batch by batch.

    >>> relevance_by_rank(torch.tensor([[10.0], [30.0], [20.0], [math.nan]]), top=2.0)[:, 0].tolist()
    [0.0, 2.0, 1.0, nan]
    """
    if y.ndim != 2:
        raise DataError(f"y has shape {tuple(y.shape)}; wanted is (n, m)")
    columns = []
    for column in y.unbind(1):
        there = ~torch.isnan(column)
        known = column[there].sort().values
        below = torch.searchsorted(known, column[there])
        upto = torch.searchsorted(known, column[there], right=True)
        place = (below + upto - 1).to(y.dtype) / 2  # 0 ... n_t - 1, ties share their mean
        filled = torch.full_like(column, torch.nan)
        filled[there] = top * place / max(len(known) - 1, 1)
        columns.append(filled)
    return torch.stack(columns, 1)
