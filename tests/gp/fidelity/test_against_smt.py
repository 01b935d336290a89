"""Recursive co-kriging against the multi-fidelity kriging (MFK) of SMT, which follows Le Gratiet & Garnier (2014).

SMT finds length-scales; ours are evaluated there. ρ is flat then, as SMT's regression takes it, and the variance of each
level is SMT's, y'Py/(n - p - q), at which the restricted likelihoods differ by known constants and by log|F'R⁻¹F|.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from level_tables import at_modes, levels_of, structure_of
from numpy.typing import NDArray

from surrogates.datasets.functions import forrester
from surrogates.gp.fidelity.level import Rho
from surrogates.gp.fidelity.recursive import fit_recursive
from surrogates.gp.fidelity.recursive_fit import Member, RecursiveFit

Floats = NDArray[np.float64]
#: added to both correlation matrices, so that both are far from singular
NUGGET = 1e-9


class Both(NamedTuple):
    """SMT's model, ours at its parameters, and scaling of x (centre, width) and of each level's y (centre, spread)."""

    peer: Any
    fit: RecursiveFit
    x_scale: tuple[float, float]
    y_scales: tuple[tuple[float, float], ...]


@pytest.fixture(scope="module")
def both() -> Both:
    applications = pytest.importorskip("smt.applications")
    places = np.linspace(0, 1, 9)[:, None]
    inputs = [places, places[[0, 1, 3, 5, 6, 8]]]
    readings = [forrester(inputs[0], "low"), forrester(inputs[1], "high") + 0.3 * np.cos(9 * inputs[1][:, 0])]
    peer = applications.MFK(
        theta0=[1.0], corr="squar_exp", poly="constant", nugget=NUGGET, n_start=2, print_global=False
    )
    peer.set_training_values(inputs[0], readings[0], name=0)
    peer.set_training_values(inputs[1], readings[1])
    peer.train()
    x_scale = (0.5, 1.0)
    y_scales = ((float(readings[0].mean()), 3.0), (float(readings[1].mean()), 4.0))
    scaled = [(y - c) / w for y, (c, w) in zip(readings, y_scales, strict=True)]
    level = np.repeat([0, 1], [len(y) for y in readings])
    x = (np.concatenate(inputs) - x_scale[0]) / x_scale[1]
    levels = levels_of(x, np.concatenate(scaled), np.zeros_like(level), level, (None, 0), np.zeros(len(x)))
    structure = structure_of("autoregressive", "rbf", "constant")
    fit = fit_recursive(levels, structure, integrate=False, rho=Rho(deviation=math.inf))
    modes, jitters = [], []
    for l in range(2):
        # exp(-θ (x - x')²) of inputs that SMT divides by their standard deviation
        lengthscale = float(peer.X_scale[0] / np.sqrt(2 * peer.optimal_theta[l][0]))
        amplitude = float(np.ravel(peer.optimal_par[l]["sigma2"])[0]) / y_scales[l][1] ** 2
        modes.append(np.log([lengthscale, amplitude]))
        jitters.append(NUGGET * amplitude)
    # each level with the nugget of its own amplitude
    made = tuple(at_modes(fit, modes, jitter).members[0].levels[l] for l, jitter in enumerate(jitters))
    return Both(peer, replace(fit, members=(Member(made, (None, None)),)), x_scale, y_scales)


def test_likelihoods_agree(both: Both) -> None:
    for l, level in enumerate(both.fit.members[0].levels):
        par, spread = both.peer.optimal_par[l], both.y_scales[l][1]
        n, q = par["Ft"].shape
        # SMT's value is -(n - p - q) log10 σ² - log10|R| in its units
        unit = float(both.peer.y_std[0] if np.ndim(both.peer.y_std) else both.peer.y_std)
        concentrated = 0.5 * math.log(10) * float(np.ravel(both.peer.optimal_rlf_value[l])[0])
        determinant = np.linalg.slogdet(par["G"])[1]  # ½ log|F'R⁻¹F|
        theirs = concentrated - determinant - 0.5 * (n - q) * (1 + math.log(2 * math.pi))
        theirs += (n - q) * math.log(spread / unit)  # per unit of y
        if l:  # the parent's column in our units
            theirs -= math.log(unit / both.y_scales[0][1])
        objective, mode = level.core.problem.objective, level.core.mode
        ours = -objective(mode, 0).value - objective.log_prior(mode)
        assert ours == pytest.approx(theirs, abs=1e-6 * abs(theirs))


def test_predictions_agree(both: Both) -> None:
    """Mean and variance of both levels, the coefficient's uncertainty included."""
    at = np.linspace(-0.05, 1.05, 23)[:, None]
    (process,) = both.fit.processes
    x = (at - both.x_scale[0]) / both.x_scale[1]
    variances = both.peer.predict_variances_all_levels(at)[0]
    for l, mean in enumerate((both.peer._predict_intermediate_values, both.peer.predict_values)):
        theirs = mean(at, 1) if l == 0 else mean(at)
        got = process.moments(x, np.full(len(at), l))
        centre, spread = both.y_scales[l]
        np.testing.assert_allclose(centre + spread * got.mean, theirs[:, 0], rtol=1e-6, atol=1e-6)
        # at readings both variances are the nugget's
        size = float(variances[:, l].max())
        np.testing.assert_allclose(spread**2 * got.variance, variances[:, l], rtol=1e-4, atol=1e-6 * size)


def test_the_coefficient_is_the_regression_coefficient(both: Both) -> None:
    coefficients = both.fit.coefficients()[1]
    assert coefficients is not None
    ratio = both.y_scales[1][1] / both.y_scales[0][1]
    assert coefficients.mean[0] * ratio == pytest.approx(float(both.peer.optimal_par[1]["beta"][0, 0]), rel=1e-6)
