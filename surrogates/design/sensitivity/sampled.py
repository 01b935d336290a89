"""Sobol indices of any fitted surrogate by sampling its inputs: designs and estimators of SALib.

First-order variances are estimated as Saltelli et al. (2010, table 2 b) do, total ones as Jansen (1999). The mean function
is asked on a large design. Draws of the function are asked on smaller ones, and tell how far V_S of the function is from
that of its mean on the same design: the design's own error cancels where the model is rather sure, and there is no bias,

    V_S(draw) = V_S(mean, large) + [V_S(draw, small) - V_S(mean, small)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, missing_extra

from ..laws import Input

Floats = NDArray[np.float64]
#: bootstrap samples for the standard errors
RESAMPLES = 200
#: smaller designs, which sets of draws take in turn
DESIGNS = 4


class Estimated(NamedTuple):
    """Variances that inputs explain.  first, total: (..., d), pairs: (..., d, d) of the second order, variance: (...,)"""

    first: Floats
    total: Floats
    pairs: Floats | None
    variance: Floats


class Sampled(NamedTuple):
    """Of the mean function, with standard errors of its indices, and of draws (draws, ...)."""

    mean: Estimated
    first_error: Floats  # (d,)
    total_error: Floats  # (d,)
    draws: Estimated


class SetOfDraws(NamedTuple):
    """Draws (s of them) that can be asked on one design of so many base points: places (m, d) -> (m, s)."""

    points: int
    ask: Callable[[Floats], Floats]


def sampled_variances(
    inputs: Sequence[Input],
    mean: Callable[[Floats], Floats],
    sets: Iterable[SetOfDraws],
    *,
    samples: int,
    second_order: bool,
    seed: int,
) -> Sampled:
    """Estimates for the function `mean`, (m, d) -> (m,), and for draws of it.

    Raises
    ------
    MissingExtraError
        If SALib isn't installed.
    DataError
        If the mean doesn't vary.
    """
    problem = {"num_vars": len(inputs), "names": [one.name for one in inputs], "bounds": [[0.0, 1.0]] * len(inputs)}
    generator = np.random.default_rng(seed)
    x = _design(problem, inputs, samples, second_order, generator)
    big, errors = _analyse(problem, mean(x), second_order, RESAMPLES)
    found: list[Estimated] = []
    designs: dict[int, tuple[Floats, Estimated]] = {}
    for j, one in enumerate(sets):
        if j % DESIGNS not in designs:
            x = _design(problem, inputs, one.points, second_order, generator)
            designs[j % DESIGNS] = x, _analyse(problem, mean(x), second_order)[0]
        x, reference = designs[j % DESIGNS]
        for y in one.ask(x).T:
            drawn, _ = _analyse(problem, y, second_order)
            found.append(Estimated(*(_shifted(*three) for three in zip(big, drawn, reference, strict=True))))
    return Sampled(big, *errors, _stacked(found, big))


def _shifted(large: Any, drawn: Any, reference: Any) -> Any:
    return None if large is None else large + drawn - reference


def _stacked(found: Sequence[Estimated], like: Estimated) -> Estimated:
    def stack(name: str) -> Any:
        one = getattr(like, name)
        if one is None:
            return None
        return np.stack([getattr(each, name) for each in found]) if found else np.zeros((0, *np.shape(one)))

    return Estimated(*(stack(name) for name in Estimated._fields))


def _design(
    problem: dict[str, Any], inputs: Sequence[Input], size: int, second_order: bool, generator: np.random.Generator
) -> Floats:
    """Places (m, d) of a Saltelli design."""
    try:
        from SALib.sample import sobol
    except ImportError as error:
        raise missing_extra("SALib", "design") from error
    own = int(generator.integers(1, 2**31))
    u = sobol.sample(problem, size, calc_second_order=second_order, scramble=True, seed=own)
    u = np.clip(u, 1e-12, 1 - 1e-12)  # quantiles of unbounded inputs are finite
    return np.stack([one.quantile(u[:, k]) for k, one in enumerate(inputs)], axis=1)


def _analyse(
    problem: dict[str, Any], y: Floats, second_order: bool, resamples: int = 2
) -> tuple[Estimated, tuple[Floats, Floats]]:
    """Variances of values y (m,) on a Saltelli design, and the bootstrap's standard errors of first and total indices."""
    from SALib.analyze import sobol

    if not np.ptp(y) > 1e-12 * np.abs(y).max():
        raise DataError(
            f"the function is constant ({y[0]:g}) over these inputs: there is no variance to share, and Sobol indices are "
            f"undefined; widen the distributions, or give more data"
        )
    # a level of 68 % is one standard error; SALib takes the global generator if its seed is zero
    found = sobol.analyze(
        problem, y, calc_second_order=second_order, num_resamples=resamples, conf_level=0.6826894921370859, seed=1
    )
    v = float(y.var())
    first, total = found["S1"] * v, found["ST"] * v
    pairs = None
    if second_order:
        upper = np.nan_to_num(np.asarray(found["S2"], dtype=np.float64)) * v
        pairs = upper + upper.T
    return Estimated(first, total, pairs, np.float64(v)), (found["S1_conf"], found["ST_conf"])  # type: ignore[arg-type]
