"""Recursive fits: limits, what they say in words, other readings, storage, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from level_tables import levels_of, nested_levels, structure_of
from numpy.typing import NDArray

from surrogates.errors import DataError, NumericalError
from surrogates.gp.evidence import log_evidence
from surrogates.gp.fidelity.graph import Graph
from surrogates.gp.fidelity.joint import climb_linear
from surrogates.gp.fidelity.level import JITTERS, Rho, with_least_jitter
from surrogates.gp.fidelity.levels import Levels
from surrogates.gp.fidelity.nested import is_nested_exact, parent_values, rows_of, single_parents
from surrogates.gp.fidelity.recursive import climb_recursive, fit_recursive
from surrogates.gp.fidelity.recursive_fit import RecursiveFit
from surrogates.gp.fidelity.recursive_storage import unpack_recursive
from surrogates.gp.fitting import fit_posterior
from surrogates.gp.kernels import KERNELS
from surrogates.gp.preparing import Scaled, Settings
from surrogates.posterior import Moments, mix
from surrogates.schema import Vocabulary

Floats = NDArray[np.float64]
KINDS = ("autoregressive", "nonlinear")
VOCABULARY = Vocabulary(("steel", "brass"), ("level 0", "level 1"), {"u": None, "v": None, "y": None})


def predicted(fit: RecursiveFit, x: Floats, code: NDArray[np.int64]) -> Moments:
    return mix([process.moments(x, code) for process in fit.processes], fit.weights)


def questions(levels: Levels, m: int = 12) -> tuple[Floats, NDArray[np.int64]]:
    generator = np.random.default_rng(4)
    codes = levels.tasks * len(levels.targets)
    return generator.uniform(-0.5, 0.5, (m, levels.x.shape[1])), generator.integers(0, codes, m)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", ["exact", "learnt"])
def test_a_single_level_is_a_hierarchical_process(kind: str, noise: str) -> None:
    levels = nested_levels((12,), tasks=2)
    if noise == "learnt":
        levels = replace(levels, variance=None)
    fit = fit_recursive(levels, structure_of(kind), seed=3)
    (level,) = fit.members[0].levels
    scaled = level.core.scaled
    plain = Scaled(scaled.inputs, scaled.target, levels.trend("linear"), scaled.prior, scaled.readings)
    settings = Settings(KERNELS["matern52"], "linear", "common", 1, "known" if noise == "exact" else "fidelity", "auto")
    posterior, problem = fit_posterior(plain, settings, integrate=None, seed=3, progress=lambda value: None)
    np.testing.assert_array_equal(level.core.draws.parameters, posterior.draws.parameters)
    evidence = log_evidence(problem.objective, posterior.layout, posterior.mode, posterior.draws)
    assert fit.log_evidence == pytest.approx(evidence, rel=1e-12)
    x, task = questions(levels)
    own = mix([process.moments(x, task) for process in level.core.processes], posterior.draws.weights)
    np.testing.assert_array_equal(predicted(fit, x, task).mean, own.mean)
    np.testing.assert_array_equal(predicted(fit, x, task).variance, own.variance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_root_of_a_chain_does_not_know_its_children(kind: str) -> None:
    """Its answers are those of a fit of its own readings, with the chain's jitter."""
    levels = nested_levels((14, 8))
    fit = fit_recursive(levels, structure_of(kind))
    x = questions(levels)[0]
    got = predicted(fit, x, np.zeros(len(x), dtype=np.int64))
    root = fit.members[0].levels[0].core
    own = mix([process.moments(x, np.zeros(len(x), dtype=np.int64)) for process in root.processes], root.weights)
    np.testing.assert_allclose(got.mean, own.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.variance, own.variance, rtol=1e-9, atol=1e-12)


def test_a_coefficient_is_found_on_drawn_data() -> None:
    """f_1 = 1.7 f_0 - 2x + 0.3: the posterior of ρ is narrow and holds it; in words, in the target's units."""
    levels = nested_levels((16, 8))
    low, high = rows_of(levels, 0), rows_of(levels, 1)
    y = levels.y.copy()
    y[high] = (1.7 * y[low][: len(high)] - 2 * levels.x[high, 0] + 0.3 - 1.0) / 2.0
    targets = (levels.targets[0], replace(levels.targets[1], spread=2.0, centre=1.0))
    levels = replace(levels, y=y, targets=targets)
    fit = fit_recursive(levels, structure_of("autoregressive", "rbf"))
    estimate = fit.sections(levels, VOCABULARY)["ρ, in the target's units"]["ρ[level 0 -> level 1]"]
    assert estimate.value == pytest.approx(1.7, abs=5 * estimate.spread + 1e-6)
    assert estimate.spread < 0.02


def test_tasks_may_have_coefficients_of_their_own() -> None:
    levels = nested_levels((14, 9), tasks=2)
    low, high = rows_of(levels, 0), rows_of(levels, 1)
    y = levels.y.copy()
    for t, ρ in ((0, 0.5), (1, 1.5)):
        mine, theirs = high[levels.task[high] == t], low[levels.task[low] == t][:9]
        y[mine] = ρ * y[theirs] + 0.01 * np.sin(9 * levels.x[mine, 0])
    levels = replace(levels, y=y)
    own = fit_recursive(levels, structure_of("autoregressive"), rho=Rho(shared=False))
    shared = fit_recursive(levels, structure_of("autoregressive"))
    found = own.coefficients()[1]
    assert found is not None
    np.testing.assert_allclose(found.mean, [0.5, 1.5], atol=0.1)
    assert own.log_evidence > shared.log_evidence + 3
    assert {"ρ[level 0 -> level 1, task steel]", "ρ[level 0 -> level 1, task brass]"} == set(
        own.sections(levels, VOCABULARY)["ρ, in the target's units"]
    )


def test_a_nonlinear_level_learns_what_a_linear_one_cannot() -> None:
    """f_1 = f_0²: the nonlinear structure is far more probable, and far better between readings."""
    generator = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-0.5, 0.5, 24)[:, None]] * 2)[: 24 + 12]
    x[24:] = x[:24:2]
    f = lambda z: np.sin(12 * z[:, 0])  # noqa: E731
    y, level = np.concatenate([f(x[:24]), f(x[24:]) ** 2]), np.repeat([0, 1], [24, 12])
    levels = levels_of(x, y, np.zeros_like(level), level, (None, 0), np.zeros(36))
    at = generator.uniform(-0.5, 0.5, (60, 1))
    fits = {kind: fit_recursive(levels, structure_of(kind, "rbf")) for kind in KINDS}
    errors = {
        kind: np.abs(predicted(fit, at, np.ones(60, dtype=np.int64)).mean - f(at) ** 2).max()
        for kind, fit in fits.items()
    }
    assert errors["nonlinear"] < 0.1 * errors["autoregressive"]
    assert fits["nonlinear"].log_evidence > fits["autoregressive"].log_evidence + 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_to_arrays_and_back(kind: str) -> None:
    levels = nested_levels((10, 7, 6), tasks=2)
    fit = fit_recursive(levels, structure_of(kind), rho=Rho(shared=False))
    header, arrays = fit.pack()
    again = unpack_recursive(levels, header, arrays)
    x, code = questions(levels)
    for got, expected in zip(predicted(again, x, code), predicted(fit, x, code), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert again.log_evidence == fit.log_evidence
    assert again.structure == fit.structure
    np.testing.assert_array_equal(again.leave_one_out().mean, fit.leave_one_out().mean)


@pytest.mark.parametrize("kind", KINDS)
def test_on_other_readings_hyperparameters_stay(kind: str) -> None:
    levels = nested_levels((12, 8))
    fit = climb_recursive(levels, structure_of(kind), 0, lambda value: None)
    fewer = levels_of(levels.x[:-1], levels.y[:-1], levels.task[:-1], levels.level[:-1], (None, 0), np.zeros(19))
    part = fit.on(fewer)
    left_out = fit.leave_one_out()
    got = predicted(part, levels.x[-1:], np.array([1]))
    # leave-one-out keeps the parent's reading, so that its uncertainty isn't propagated
    assert got.mean[0] == pytest.approx(left_out.mean[-1], rel=1e-4, abs=1e-4)
    again = part.on(levels)
    x, code = questions(levels)
    np.testing.assert_allclose(predicted(again, x, code).mean, predicted(fit, x, code).mean, rtol=1e-9, atol=1e-9)


def test_integrating_widens_what_the_mode_is_sure_of() -> None:
    levels = nested_levels((12, 6))
    mode = climb_recursive(levels, structure_of("autoregressive"), 0, lambda value: None)
    full = mode.integrated(count=240, seed=0)
    assert len(mode.processes) == 1
    assert len(full.processes) == 32
    assert full.log_evidence == pytest.approx(mode.log_evidence, abs=2.5)
    x = questions(levels, 40)[0]
    code = np.ones(40, dtype=np.int64)
    assert predicted(full, x, code).variance.mean() > predicted(mode, x, code).variance.mean()


def test_exact_readings_get_the_least_jitter() -> None:
    fit = climb_recursive(nested_levels((12, 6)), structure_of("autoregressive", "rbf"), 0, lambda value: None)
    assert fit.jitter == JITTERS[0]
    assert fit.is_success
    assert fit.evaluations > 10
    np.testing.assert_array_equal(fit.noise_variances(), [0.0, 0.0])


def test_nested_readings_are_recognised() -> None:
    levels = nested_levels((6, 4), tasks=2)
    assert is_nested_exact(levels)
    low, high = rows_of(levels, 0), rows_of(levels, 1)
    same = [
        int(low[(levels.x[low] == levels.x[i]).all(axis=1) & (levels.task[low] == levels.task[i])][0]) for i in high
    ]
    np.testing.assert_array_equal(parent_values(levels, 1), levels.y[same])
    assert not is_nested_exact(replace(levels, variance=None))
    noisy = levels.variance.copy() if levels.variance is not None else np.zeros(20)
    noisy[same[0]] = 0.1
    assert not is_nested_exact(replace(levels, variance=noisy))
    assert np.isnan(parent_values(replace(levels, variance=noisy), 1)).sum() == 1
    moved = levels.x.copy()
    moved[high[0]] += 0.01
    assert not is_nested_exact(replace(levels, x=moved))
    other = levels.task.copy()
    other[high[0]] = 1 - other[high[0]]  # the same place of another task
    assert not is_nested_exact(replace(levels, task=other))


def test_what_can_not_be_fitted_is_refused_in_words() -> None:
    levels = nested_levels((8, 5))
    with pytest.raises(DataError, match="structure is 'offset'; levels can be fitted one after the other for"):
        fit_recursive(levels, structure_of("offset"))
    with pytest.raises(DataError, match="the parent was read wherever a level was; fit all at once"):
        fit_recursive(replace(levels, variance=None), structure_of("autoregressive"))
    both = replace(levels, graph=Graph(("a", "b", "c"), ((), (), (0, 1))))
    with pytest.raises(DataError, match="fidelity 'c' builds on \\['a', 'b'\\]"):
        single_parents(both.graph)
    fit = climb_recursive(levels, structure_of("autoregressive"), 0, lambda value: None)
    with pytest.raises(DataError, match="fitted one after the other if readings are exact"):
        fit.on(replace(levels, x=levels.x + 0.01 * (levels.level[:, None] == 1)))


def test_ignored_levels_are_fits_by_themselves() -> None:
    """The same as the joint structure that shares nothing, and independent of each other."""
    levels = nested_levels((12, 8))
    fit = climb_recursive(levels, structure_of("ignore"), 0, lambda value: None)
    joint = climb_linear(levels, structure_of("ignore"), 0, lambda value: None)
    assert fit.jitter == joint.jitter == JITTERS[0]
    assert fit.log_evidence == pytest.approx(joint.log_evidence, abs=0.02)
    x, code = questions(levels)
    got, expected = predicted(fit, x, code), mix([p.moments(x, code) for p in joint.processes], joint.weights)
    np.testing.assert_allclose(got.mean, expected.mean, rtol=0.02, atol=0.02)
    (process,) = fit.processes
    both = process.covariance(np.repeat(x[:3], 2, axis=0), np.tile([0, 1], 3))
    np.testing.assert_array_equal(both[np.ix_([0, 2, 4], [1, 3, 5])], 0.0)
    assert fit.sections(levels, VOCABULARY)["ρ, in the target's units"] == {}
    again = unpack_recursive(levels, *fit.pack())
    np.testing.assert_array_equal(predicted(again, x, code).mean, got.mean)
    np.testing.assert_array_equal(predicted(fit.on(levels), x, code).mean, got.mean)


def test_the_next_variance_is_tried_where_a_fit_cannot_be_made() -> None:
    """A structure must not drop out because its smallest variance for exact readings can't be factored."""

    class Made(NamedTuple):
        is_success: bool
        log_evidence: float
        jitter: float

    def attempt(jitter: float) -> Made:
        if jitter < 1e-11:
            raise NumericalError("not positive definite")
        return Made(jitter > 1e-9, 1.0, jitter)

    assert with_least_jitter(attempt, (1e-12, 1e-10, 1e-8)).jitter == 1e-8
    assert with_least_jitter(attempt, (1e-12, 1e-10)).jitter == 1e-10
    with pytest.raises(NumericalError, match="not positive definite"):
        with_least_jitter(attempt, (1e-12,))
