"""Parents that were read elsewhere, or with noise: their values are drawn, count by the child's readings, and stay known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from level_tables import levels_of, nested_levels, structure_of
from numpy.typing import NDArray

from surrogates.gp.fidelity.imputation import Pins, pinned
from surrogates.gp.fidelity.levels import Levels
from surrogates.gp.fidelity.nested import rows_of
from surrogates.gp.fidelity.recursive import IMPUTATIONS, fit_recursive
from surrogates.gp.fidelity.recursive_storage import unpack_recursive
from surrogates.posterior import mix

Floats = NDArray[np.float64]


def low(x: Floats) -> Floats:
    return np.asarray(np.sin(10 * x[:, 0]))


def high(x: Floats) -> Floats:
    return low(x) ** 2 + 0.3 * x[:, 0]


def apart(counts: tuple[int, int], *, noise: float | None = 0.0, seed: int = 0) -> Levels:
    """Two levels that were read at different places; noise None: 0.05, to be learnt."""
    generator = np.random.default_rng(seed)
    x = np.concatenate([np.linspace(-0.5, 0.5, counts[0]), np.linspace(-0.47, 0.46, counts[1])])[:, None]
    level = np.repeat([0, 1], counts)
    size = 0.05 if noise is None else noise
    y = np.where(level == 0, low(x), high(x)) + size * generator.standard_normal(len(x))
    return levels_of(x, y, np.zeros_like(level), level, (None, 0), None if noise is None else np.full(len(x), noise**2))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_pinned_level_is_conditioned_on_its_pins(noise: float) -> None:
    """By Gaussian conditioning of its joint posterior."""
    fit = fit_recursive(apart((9, 6), noise=noise), structure_of("nonlinear"), integrate=False)
    core = fit.members[0].levels[0].core
    plain = core.processes[0]
    x, y = np.array([[-0.31], [0.02], [0.4]]), np.array([0.2, -0.3, 0.9])
    task = np.zeros(3, dtype=np.int64)
    at = np.linspace(-0.55, 0.55, 7)[:, None]
    both, code = np.concatenate([x, at]), np.zeros(10, dtype=np.int64)
    mean, covariance = plain.moments(both, code).mean, plain.covariance(both, code)
    gain = np.linalg.solve(covariance[:3, :3], covariance[:3, 3:]).T
    got = pinned(core, 0, Pins(x, task, y))
    answer = got.moments(at, code[3:])
    np.testing.assert_allclose(answer.mean, mean[3:] + gain @ (y - mean[:3]), rtol=1e-5, atol=1e-6)
    expected = np.diag(covariance[3:, 3:] - gain @ covariance[:3, 3:])
    np.testing.assert_allclose(answer.variance, expected, rtol=1e-4, atol=1e-7)


def test_pins_with_learnt_noise_do_the_same() -> None:
    fit = fit_recursive(apart((14, 6), noise=None), structure_of("nonlinear"), integrate=False)
    core = fit.members[0].levels[0].core
    x, y, task = np.array([[0.11], [-0.2]]), np.array([0.8, -0.7]), np.zeros(2, dtype=np.int64)
    at = np.linspace(-0.5, 0.5, 5)[:, None]
    both, code = np.concatenate([x, at]), np.zeros(7, dtype=np.int64)
    mean, covariance = core.processes[0].moments(both, code).mean, core.processes[0].covariance(both, code)
    gain = np.linalg.solve(covariance[:2, :2], covariance[:2, 2:]).T
    answer = pinned(core, 0, Pins(x, task, y)).moments(at, code[2:])
    np.testing.assert_allclose(answer.mean, mean[2:] + gain @ (y - mean[:2]), rtol=1e-5, atol=1e-6)


def test_exact_readings_outweigh_pins_and_earlier_pins_later_ones() -> None:
    levels = apart((9, 6))
    core = fit_recursive(levels, structure_of("nonlinear"), integrate=False).members[0].levels[0].core
    read = levels.x[:1]
    process = pinned(core, 0, Pins(read, np.zeros(1, dtype=np.int64), np.array([7.0])))
    assert process.moments(read, np.zeros(1, dtype=np.int64)).mean[0] == pytest.approx(levels.y[0], abs=1e-6)
    zero = np.zeros(1, dtype=np.int64)
    at = np.array([[0.123]])
    joined = Pins(at, zero, np.array([2.0])).beside(Pins(at, zero, np.array([1.0])), 1)
    np.testing.assert_array_equal(joined.y, [1.0])


def test_well_known_parents_need_no_draws() -> None:
    fit = fit_recursive(apart((40, 9)), structure_of("nonlinear", "rbf"), integrate=False)
    assert len(fit.members) == 1
    level = fit.members[0].levels[1]
    np.testing.assert_allclose(level.values, low(fit.data.x[rows_of(fit.data, 1)]), atol=2e-3)


def test_uncertain_parents_are_drawn_and_weighted() -> None:
    fit = fit_recursive(apart((9, 8)), structure_of("nonlinear"), integrate=False)
    assert len(fit.members) == IMPUTATIONS
    evidences = np.array([member.log_evidence for member in fit.members])
    shares = np.exp(evidences - evidences.max())
    np.testing.assert_allclose(fit.member_weights, shares / shares.sum(), rtol=1e-12)
    assert fit.log_evidence == pytest.approx(evidences.max() + np.log(shares.mean()))
    assert fit.weights.sum() == pytest.approx(1.0)
    drawn = np.stack([member.levels[1].values for member in fit.members])
    own = fit.members[0].levels[0].core
    x = fit.data.x[rows_of(fit.data, 1)]
    moments = own.processes[0].moments(x, np.zeros(len(x), dtype=np.int64))
    assert (np.abs(drawn.mean(axis=0) - moments.mean) < 5 * np.sqrt(moments.variance / IMPUTATIONS) + 1e-3).all()
    # each member passes through the child's readings, and through its own parent's values
    for process in fit.processes:
        at_readings = process.moments(x, np.ones(len(x), dtype=np.int64))
        np.testing.assert_allclose(at_readings.mean, fit.data.y[rows_of(fit.data, 1)], atol=2e-3)


@pytest.mark.parametrize("noise", [0.0, 0.05, None])
def test_the_child_is_found_between_its_readings(noise: float | None) -> None:
    """Better than by its own readings alone, and within what it says of itself."""
    levels = apart((40, 9), noise=noise)
    fit = fit_recursive(levels, structure_of("nonlinear"), integrate=False)
    own = rows_of(levels, 1)
    variance = None if levels.variance is None else levels.variance[own]
    alone = fit_recursive(
        levels_of(levels.x[own], levels.y[own], levels.task[own], 0 * levels.level[own], (None,), variance),
        structure_of("nonlinear"),
        integrate=False,
    )
    at = np.linspace(-0.45, 0.45, 41)[:, None]
    one = np.ones(41, dtype=np.int64)
    got = mix([process.moments(at, one) for process in fit.processes], fit.weights)
    error = got.mean - high(at)
    by_itself = mix([process.moments(at, 0 * one) for process in alone.processes], alone.weights).mean - high(at)
    assert np.sqrt((error**2).mean()) < 0.7 * np.sqrt((by_itself**2).mean())
    assert (np.abs(error) < 4 * np.sqrt(got.variance) + 1e-4).mean() > 0.9


def test_three_levels_are_drawn_together() -> None:
    """The middle level's own unknown values are drawn with their parent's; all stay known, through storage too."""
    levels = nested_levels((10, 7, 6), tasks=2)
    moved = levels.x + np.array([0.0, 0.013, 0.029])[levels.level][:, None]
    levels = replace(levels, x=moved)
    fit = fit_recursive(levels, structure_of("nonlinear"), integrate=False)
    assert len(fit.members) == IMPUTATIONS
    member = fit.members[0]
    top = member.levels[2]
    x, task = levels.x[rows_of(levels, 2)], levels.task[rows_of(levels, 2)]
    for chain in fit.chains[:2]:
        values = chain.moments(x, task * 3 + 1)
        np.testing.assert_allclose(values.mean, fit.members[fit.chains.index(chain)].levels[2].values, atol=5e-3)
    assert member.pins[0] is not None
    assert member.pins[1] is not None
    assert member.pins[1].x.shape[1] == 2
    assert member.pins[2] is None
    assert len(top.values) == len(x)
    again = unpack_recursive(levels, *fit.pack())
    code = task * 3 + 2
    for before, after in zip(fit.processes, again.processes, strict=True):
        np.testing.assert_array_equal(after.moments(x, code).mean, before.moments(x, code).mean)
    other = fit.on(levels)
    assert len(other.members) == IMPUTATIONS
    np.testing.assert_allclose(
        mix([p.moments(x, code) for p in other.processes], other.weights).mean,
        levels.y[rows_of(levels, 2)],
        atol=0.02,
    )
