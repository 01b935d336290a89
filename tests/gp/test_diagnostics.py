"""Warnings of a fit that its numbers alone don't give, and their silence where all is well."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.datasets import FUNCTIONS, engine_surfaces
from surrogates.errors import FitWarning

ENGINE = HierarchicalGP(Schema(("x", "y"), "height", task="part", fidelity="gauge"), integrate=False)
TASKS = HierarchicalGP(Schema("x", "y", task="task"), integrate=False)


def tasks(scale: float = 1.0, noise: float = 0.1, ripple: float = 0.0) -> xr.Dataset:
    """Four similar tasks of 12 points; the last one is `scale` times as large, or rougher, or noisier."""
    generator = np.random.default_rng(3)
    x, task = generator.uniform(size=48), np.repeat(np.arange(4), 12)
    y = np.sin(4 * x + 0.2 * task) + np.where(task == 3, noise, 0.1) * generator.standard_normal(48)
    y += np.where(task == 3, ripple * np.sin(60 * x), 0.0)
    return as_dataset(x, np.where(task == 3, scale, 1.0) * y, inputs=["x"], task=[f"t{t}" for t in task])


@pytest.mark.parametrize(("shift", "sign"), [(5.0, r"\+"), (-5.0, "-")])
def test_a_biased_gauge_is_named(shift: float, sign: str) -> None:
    observed = engine_surfaces(seed=0).observed
    shifted = observed.assign(height=observed["height"] + shift * (observed["gauge"] == "cheap"))
    with pytest.warns(
        FitWarning,
        match=rf"fidelity 'cheap' looks biased: left out, its readings lie {sign}.* give a biased one as a task",
    ):
        ENGINE.fit(shifted)


def test_a_coarse_code_is_named() -> None:
    function = FUNCTIONS["park91b"]
    schema = Schema(function.inputs, "y", fidelity="fidelity")
    with pytest.warns(FitWarning, match=r"fidelity 'high' looks biased"):
        HierarchicalGP(schema, integrate=False).fit(function.dataset((48, 16), seed=0))


@pytest.mark.parametrize("seed", range(4))
def test_unbiased_gauges_and_similar_parts_are_no_reason_to_warn(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ENGINE.fit(engine_surfaces(seed=seed).observed).report.warnings == ()
        assert TASKS.fit(tasks()).report.warnings == ()


@pytest.mark.parametrize("odd", [{"scale": 30.0}, {"noise": 3.0}, {"ripple": 3.0}], ids=str)
def test_a_task_that_differs_is_named(odd: dict[str, float]) -> None:
    with pytest.warns(FitWarning, match=r"tasks differ in scale, roughness or noise: .*'t[03]' \(.* fit them apart"):
        TASKS.fit(tasks(**odd))


def test_bounds_are_given_by_the_inputs_names() -> None:
    x = np.linspace(0, 1, 30)
    data = as_dataset(np.column_stack([x, np.tile([0.0, 1.0, 2.0], 10)]), np.sin(9 * x), inputs=["speed", "idle"])
    with pytest.warns(FitWarning, match=r"at their bounds: .*log l\[idle\].*; the best values may lie beyond"):
        HierarchicalGP(Schema(("speed", "idle"), "y"), integrate=False).fit(data)


def test_a_prior_that_no_task_gives_is_called_wide() -> None:
    data = as_dataset(np.linspace(0, 1, 5), np.arange(5.0), inputs=["x"], task=list("abcde"))
    with pytest.warns(FitWarning, match="its coefficients get a wide prior"):
        TASKS.fit(data)


def test_a_single_task_without_a_name_is_not_called_none() -> None:
    data = as_dataset([0.0, 1.0], [0.0, 1.0], inputs="x")
    with pytest.warns(FitWarning, match="too few places to determine the trend: its coefficients get a wide prior$"):
        HierarchicalGP(Schema("x", "y"), trend="quadratic", integrate=False).fit(data)
    plain = as_dataset(np.linspace(0, 1, 8), np.sin(np.arange(8.0)), inputs="x")
    report = HierarchicalGP(Schema("x", "y"), noise="task-fidelity", integrate=False).fit(plain).report
    assert "None" not in str(report)
