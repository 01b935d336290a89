"""Draws of robust sharing's many hyper-parameters, block by block.

Weights of draws degenerate as parameters grow in number, so none is drawn with more than a few others:

    - a task that stands apart depends on its own length-scales, amplitude and noise alone: its likelihood is a factor of
      the whole, and its draws are those of a model of that task;
    - of the tasks that share, length-scales, s, η and noise θ1 are drawn and weighted by p(θ1, θ2*(θ1)), where θ2*, their
      correlations and amplitudes, follows along the conditional mode of Laplace's approximation at the joint mode. Then
      θ2 is drawn from that approximation's normal around θ2*, without weights; its priors are narrow.

(As in nested Laplace approximations, Rue, Martino & Chopin 2009, with the determinant of the inner one taken as constant.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .collapse import TrendPrior
from .evidence import difference_curvature
from .fitting import DRAWS, INTEGRATE_UP_TO, Posterior, Problem, fit_posterior, make_problem, points_tried
from .laplace import Draws, laplace_draws
from .objective import Layout, Objective
from .preparing import Scaled, Settings
from .robust import Robust

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Block(NamedTuple):
    """A task apart: positions (k,) of its hyper-parameters in θ, and its own negative log posterior of them."""

    positions: Integers
    objective: Callable[[Floats], float]


def fit_robust(
    scaled: Scaled,
    settings: Settings,
    *,
    integrate: bool | None,
    seed: int,
    progress: Callable[[float], None],
    near: Sequence[Floats] = (),
) -> tuple[Posterior, Problem]:
    """`fit_posterior` for robust sharing, with draws block by block."""
    posterior, problem = fit_posterior(scaled, settings, integrate=False, seed=seed, progress=progress, near=near)
    objective = problem.objective
    rows = len(objective.design.x)
    if not (rows <= INTEGRATE_UP_TO if integrate is None else integrate):
        return posterior, problem
    curvature = posterior.minimum.curvature
    if curvature is None:
        curvature = difference_curvature(objective, posterior.mode)
    blocks = [_block(scaled, settings, objective.layout, posterior.mode, t) for t in settings.apart]
    count = points_tried(rows)
    draws = robust_draws(objective, posterior.mode, curvature, blocks, count=count, keep=DRAWS, seed=seed)
    return replace(posterior, draws=draws, evaluations=posterior.evaluations + count), problem


def _block(scaled: Scaled, settings: Settings, layout: Layout, mode: Floats, t: int) -> Block:
    """A task apart as a problem of its own; a nugget that it shares with the others is kept."""
    F = _levels(scaled, settings)
    first = {"fidelity": F * (1 + settings.apart.index(t)), "task-fidelity": F * t}.get(settings.noise)
    noise = np.zeros(0, dtype=np.int64) if first is None else first + np.arange(F)
    positions = own_positions(layout, t, noise)
    mine = scaled.readings.of_tasks(scaled.readings.task == t)
    mine = replace(mine, task=np.zeros_like(mine.task), tasks=1)
    if first is not None:
        mine = replace(mine, group=mine.group - first, groups=mine.groups[first : first + F])
    prior = TrendPrior(scaled.prior.mean[t : t + 1], scaled.prior.precision[t : t + 1], ())
    single = make_problem(
        replace(scaled, readings=mine, prior=prior), replace(settings, apart=(), solver="auto")
    ).objective
    nugget = layout.split(mode).log_noise if first is None else np.zeros(0)
    mean, deviation = (part[positions] for part in layout.prior)

    def negative_log_posterior(own: Floats) -> float:
        θ = np.concatenate([own, nugget])
        z = (own - mean) / deviation
        return single(θ, 0).value + single.log_prior(θ) + 0.5 * float(z @ z)

    return Block(positions, negative_log_posterior)


def _levels(scaled: Scaled, settings: Settings) -> int:
    """Fidelities F, of which each task that has noise of its own has as many groups."""
    groups = len(scaled.readings.groups)
    if settings.noise == "task-fidelity":
        return groups // scaled.readings.tasks
    return groups // (1 + len(settings.apart))


def robust_draws(
    objective: Objective, mode: Floats, curvature: Floats, blocks: list[Block], *, count: int, keep: int, seed: int
) -> Draws:
    """Equally weighted draws of all hyper-parameters.

    Parameters
    ----------
    objective : of all tasks
    mode : (p,) its minimum
    curvature : (p, p) positive definite, about its second derivative there
    blocks : of the tasks apart
    count, keep : points tried in each block, and draws
    seed : of the quasi-random sequences
    """
    layout = objective.layout
    apart = np.concatenate([np.zeros(0, dtype=np.int64), *(block.positions for block in blocks)])
    main, followers = _main(layout, apart)
    H11, H12, H22 = (curvature[np.ix_(a, b)] for a, b in ((main, main), (main, followers), (followers, followers)))
    slope = np.linalg.solve(H22, H12.T)  # (k2, k1): θ2* = mode2 - slope (θ1 - mode1)
    low, high = layout.bounds[followers].T

    def whole(θ1: Floats) -> Floats:
        θ = mode.copy()
        θ[main] = θ1
        θ[followers] = np.clip(mode[followers] - slope @ (θ1 - mode[main]), low, high)
        return θ

    drawn = laplace_draws(
        lambda θ1: objective(whole(θ1), 0).value,
        mode[main],
        H11 - H12 @ slope,
        layout.bounds[main],
        count=count,
        keep=keep,
        seed=seed,
    )
    parameters = np.stack([whole(θ1) for θ1 in _equal(drawn, keep)])
    parameters[:, followers] = np.clip(parameters[:, followers] + _normal(mode[followers], H22, keep, seed), low, high)
    effective = drawn.effective
    # shuffled, or draws of the blocks, which come in like orders, would depend on each other; labels don't decide how
    for rank, block in enumerate(sorted(blocks, key=lambda block: tuple(mode[block.positions]))):
        own = block.positions
        drawn = laplace_draws(
            block.objective,
            mode[own],
            curvature[np.ix_(own, own)],
            layout.bounds[own],
            count=count,
            keep=keep,
            seed=seed,
        )
        order = np.random.default_rng([seed, 2, rank]).permutation(keep)
        parameters[:, own] = _equal(drawn, keep)[order]
        effective = min(effective, drawn.effective)
    return Draws(parameters, np.full(keep, 1.0 / keep), effective)


def own_positions(layout: Layout, t: int, noise: Integers) -> Integers:
    """Where a task apart has its hyper-parameters: length-scales, amplitude, and noise groups `noise`."""
    sharing = layout.sharing
    assert isinstance(sharing, Robust)
    k = sharing.apart.index(t)
    p, d = len(layout.shapes.names), len(layout.shapes.names) // layout.shapes.components
    scale = p + 2 + 2 * len(sharing.sharing) + k
    first = p + len(sharing.names)
    return np.concatenate([(1 + k) * d + np.arange(d), [scale], first + noise]).astype(np.int64)


def _main(layout: Layout, apart: Integers) -> tuple[Integers, Integers]:
    """Positions of θ1 and θ2 of the tasks that share."""
    sharing = layout.sharing
    assert isinstance(sharing, Robust)
    first = len(layout.shapes.names) + 2
    followers = np.arange(first, first + 2 * len(sharing.sharing))
    everything = np.arange(len(layout.names))
    return everything[~np.isin(everything, np.concatenate([followers, apart]))], followers


def _equal(draws: Draws, keep: int) -> Floats:
    """(keep, p): each draw as often as its weight says; as many as are asked for."""
    edges = np.cumsum(draws.weights)
    ticks = (np.arange(keep) + 0.5) / keep
    return np.asarray(draws.parameters[np.minimum(np.searchsorted(edges, ticks), len(edges) - 1)])


def _normal(mode: Floats, precision: Floats, keep: int, seed: int) -> Floats:
    """(keep, k) normal deviations with this precision; antithetic pairs, in an order that labels of tasks don't decide."""
    order = np.argsort(mode * np.sqrt(np.diagonal(precision)), kind="stable")
    L = np.linalg.cholesky(precision[np.ix_(order, order)])
    half = np.random.default_rng([seed, len(mode)]).standard_normal((len(mode), (keep + 1) // 2))
    deviation = np.linalg.solve(L.T, np.concatenate([half, -half], axis=1)[:, :keep])
    # draws come in an order of their weights' own: pairs must not meet neighbours only
    deviation = deviation[:, np.random.default_rng([seed, 1]).permutation(keep)]
    result = np.empty((keep, len(mode)))
    result[:, order] = deviation.T
    return result
