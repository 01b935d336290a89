"""Which of several experts answers where: by distance to what each was trained on, and all of them where none was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from surrogates.errors import DataError

Floats = NDArray[np.float64]


class Routing(NamedTuple):
    """Weights for `surrogates.posterior.mix`, and how far each point is in the domain.

    weights : (K, n), each column sums to one; inside : (n,) from 1 (among the training points) to 0 (far from all of them)
    """

    weights: Floats
    inside: Floats


@dataclass(frozen=True)
class Router:
    """Weights of K experts at a point x, by the distance d_k(x) to the nearest training point of expert k.

        w = λ softmax(-d/(T s)) + (1 - λ)/K,      λ = clip(2 - min_k d_k / limit, 0, 1)

    s is the median distance of a training point to the next one of its expert, `limit` a high quantile of these distances.
    Up to the limit the experts are chosen by distance; beyond twice the limit all weigh the same, and the mixture's variance
    is that of the plain ensemble. x may be inputs or embeddings, scaled alike in all directions. Our own construction:
    routing among experts with the ensemble as fallback (arXiv:2603.03535, of which only the abstract is known to us).

    Parameters
    ----------
    references : (n_k, d) points that each expert was trained on
    scale, limit : s and the limit, in the units of x
    temperature : T

    Examples
    --------
    >>> left, right = np.linspace(-1, 0, 11)[:, None], np.linspace(1, 2, 11)[:, None]
    >>> Router.fit([left, right])(np.array([[-0.52], [1.52], [50.0]])).weights.round(3).tolist()
    [[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]
    """

    references: tuple[Floats, ...]
    scale: float
    limit: float
    temperature: float = 1.0

    @cached_property
    def _trees(self) -> tuple[cKDTree, ...]:
        return tuple(cKDTree(r) for r in self.references)

    @staticmethod
    def fit(references: Sequence[Floats], *, temperature: float = 1.0, quantile: float = 0.99) -> Router:
        """A router of the experts' training points (n_k, d); the limit is that `quantile` of their spacings."""
        points = tuple(np.array(r, dtype=np.float64) for r in references)
        if not points:
            raise DataError("references is empty; give the training points of one expert or more")
        for k, r in enumerate(points):
            if r.ndim != 2 or len(r) < 2 or r.shape[1] != points[0].shape[-1]:
                raise DataError(f"references[{k}] has shape {r.shape}; wanted are two points or more, all of one width")
            if not np.isfinite(r).all():
                raise DataError(f"references[{k}] holds NaN or inf; leave out those points")
        if not temperature > 0:
            raise DataError(f"temperature is {temperature!r}; it must be > 0")
        if not 0 < quantile <= 1:
            raise DataError(f"quantile is {quantile!r}; it must be > 0 and <= 1")
        spacing = np.concatenate([cKDTree(r).query(r, k=2)[0][:, 1] for r in points])
        spacing = spacing[spacing > 0]  # repeated points say nothing of how far apart points are
        if not spacing.size:
            raise DataError("all training points of each expert are the same; there is no distance to judge others by")
        return Router(points, float(np.median(spacing)), float(np.quantile(spacing, quantile)), temperature)

    def __call__(self, x: ArrayLike) -> Routing:
        """Weights at x (n, d)."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.references[0].shape[1] or not np.isfinite(x).all():
            raise DataError(f"x has shape {x.shape}; wanted are finite numbers (n, {self.references[0].shape[1]})")
        d = np.stack([tree.query(x)[0] for tree in self._trees])  # (K, n)
        e = np.exp(-(d - d.min(0)) / (self.temperature * self.scale))
        inside = np.clip(2 - d.min(0) / self.limit, 0, 1)
        return Routing(inside * e / e.sum(0) + (1 - inside) / len(d), inside)
