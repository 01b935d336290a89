"""Laws of change: units, order and names must not matter.  Through the public names only.

Tolerance: 1e-9 of the target's spread. Fits stop at a tolerance of their own, far above it; so it's the path of the
optimiser, not the minimum alone, that these laws are about.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema

TOLERANCE = 1e-9
TASKS, FIDELITIES = ("t0", "t1", "t2"), ("f0", "f1")


class Setting(NamedTuple):
    """What is fitted to what."""

    sharing: str
    noise: str
    integrate: bool
    shared: bool = False  # one design for all tasks, which the structured solvers take


SHARINGS = ("common", "two-kernels", "icm", "niw")
NOISES = ("auto", "known", "task-fidelity")
AT_MODE = [Setting(sharing, noise, False) for sharing in SHARINGS for noise in NOISES]
AT_MODE += [Setting("common", "auto", False, True), Setting("icm", "task-fidelity", False, True)]
INTEGRATED = [setting._replace(integrate=True) for setting in AT_MODE if setting.sharing != "niw"]
SETTINGS = AT_MODE + INTEGRATED
FEW = AT_MODE + INTEGRATED[:3]  # where draws take the same road as the mode


def observed(shared: bool = False, n: int = 18) -> xr.Dataset:
    """Readings with replicates, three tasks, two fidelities, known noise."""
    generator = np.random.default_rng(0)
    if shared:
        x, task = np.tile(generator.uniform(0, 1, (n // 3, 2)), (3, 1)), np.repeat(np.arange(3), n // 3)
        fidelity = np.tile(np.arange(n // 3) % 2, 3)
    else:
        x, task = generator.uniform(0, 1, (n, 2)), np.arange(n) % 3
        fidelity = (np.arange(n) // 3) % 2
        x[-3:], task[-3:] = x[:3], task[:3]
    y = np.sin(4 * x[:, 0]) + x[:, 1] * task + (0.05 + 0.2 * fidelity) * generator.standard_normal(n)
    columns = {
        "u": x[:, 0],
        "v": x[:, 1],
        "y": y,
        "s": 0.05 + 0.1 * x[:, 0],
        "task": np.array(TASKS)[task],
        "fidelity": np.array(FIDELITIES)[fidelity],
    }
    return xr.Dataset({name: ("sample", column) for name, column in columns.items()})


def places() -> xr.Dataset:
    generator = np.random.default_rng(5)
    return xr.Dataset(
        {
            "u": ("sample", generator.uniform(0, 1, 8)),
            "v": ("sample", generator.uniform(0, 1, 8)),
            "task": ("sample", np.array(TASKS)[np.arange(8) % 3]),
            "fidelity": ("sample", np.array(FIDELITIES)[np.arange(8) // 4]),
        }
    )


def fit(
    data: xr.Dataset, setting: Setting, inputs: tuple[str, ...] = ("u", "v"), **choices: Any
) -> FittedHierarchicalGP:
    noise = "s" if setting.noise == "known" else None
    schema = Schema(inputs=inputs, target="y", task="task", fidelity="fidelity", noise=noise)
    model = HierarchicalGP(schema, sharing=setting.sharing, noise=setting.noise, integrate=setting.integrate, **choices)
    return model.fit(data)


@cache
def plain(setting: Setting) -> FittedHierarchicalGP:
    return fit(observed(setting.shared), setting)


def assert_same(
    got: FittedHierarchicalGP, at: xr.Dataset, setting: Setting, *, factor: float = 1.0, shift: float = 0.0
) -> None:
    """Predictions at the transformed places are the transformed predictions."""
    wanted, answer = plain(setting).predict(places()), got.predict(at)
    atol = TOLERANCE * float(observed(setting.shared)["y"].std())
    np.testing.assert_allclose((answer["mean"].values - shift) / factor, wanted["mean"], rtol=0, atol=atol)
    for name in ("std", "noise_std"):
        np.testing.assert_allclose(answer[name].values / factor, wanted[name], rtol=0, atol=atol, err_msg=name)


# --- units -----------------------------------------------------------------------------------------------------------


def rescaled(data: xr.Dataset, **maps: tuple[float, float]) -> xr.Dataset:
    """Columns as factor · column + shift."""
    return data.assign({name: factor * data[name] + shift for name, (factor, shift) in maps.items()})


@pytest.mark.parametrize("setting", SETTINGS)
def test_units_of_the_inputs(setting: Setting) -> None:
    maps = {"u": (-37.3, 100.0), "v": (2.5e-6, 1e-5)}
    assert_same(fit(rescaled(observed(setting.shared), **maps), setting), rescaled(places(), **maps), setting)


@pytest.mark.parametrize("setting", SETTINGS)
def test_units_of_the_target(setting: Setting) -> None:
    factor, shift = 0.0254, 7.0
    data = rescaled(observed(setting.shared), y=(factor, shift), s=(factor, 0.0))
    fitted = fit(data, setting)
    assert_same(fitted, places(), setting, factor=factor, shift=shift)
    # a density of data in other units; each of the contrasts that the flat trends leave carries one factor
    contrasts = data.sizes["sample"] - 3 * 3
    change = fitted.report.log_evidence - plain(setting).report.log_evidence
    assert change == pytest.approx(-contrasts * math.log(factor), abs=1e-7)


@settings(deadline=None, max_examples=12)
@given(
    factors=st.tuples(*[st.floats(1e-9, 1e9)] * 3),
    shifts=st.tuples(*[st.floats(-30, 30)] * 3),
    signs=st.tuples(*[st.sampled_from([1.0, -1.0])] * 2),
)
def test_any_units(factors: tuple[float, ...], shifts: tuple[float, ...], signs: tuple[float, ...]) -> None:
    """Shifts of up to 30 spreads lose two digits of sixteen."""
    setting = Setting("common", "auto", True)
    a, b, c = factors
    maps = {"u": (signs[0] * a, a * shifts[0]), "v": (signs[1] * b, b * shifts[1])}
    fitted = fit(rescaled(observed(), y=(c, c * shifts[2]), **maps), setting)
    assert_same(fitted, rescaled(places(), **maps), setting, factor=c, shift=c * shifts[2])


@pytest.mark.parametrize("setting", [Setting("common", "known", True), Setting("niw", "auto", False)])
def test_units_of_every_answer(setting: Setting) -> None:
    """Derivatives, joint covariances, draws and left-out predictions change as their units say."""
    a, b, c = 40.0, 0.3, 25.4
    maps = {"u": (a, 3.0), "v": (b, -1.0)}
    fitted = fit(rescaled(observed(), y=(c, 5.0), s=(c, 0.0), **maps), setting)
    at, other, wanted = places(), rescaled(places(), **maps), plain(setting)
    scale = xr.DataArray([a, b], dims="input") / c
    slopes, expected = fitted.gradient(other), wanted.gradient(at)
    for name in ("d_mean", "d_std"):
        np.testing.assert_allclose(slopes[name] * scale.values[:, None], expected[name], atol=1e-8)
    np.testing.assert_allclose(fitted.covariance(other) / c**2, wanted.covariance(at), atol=1e-9)
    draws = (fitted.sample(other, 4, seed=2) - 5.0) / c
    # factors of nearly singular prior covariances amplify rounding
    np.testing.assert_allclose(draws, wanted.sample(at, 4, seed=2), atol=1e-5)
    np.testing.assert_allclose((fitted.loo()["mean"] - 5.0) / c, wanted.loo()["mean"], atol=1e-9)
    np.testing.assert_allclose(fitted.loo()["std"] / c, wanted.loo()["std"], atol=1e-9)
    np.testing.assert_allclose(fitted.task_correlation(), wanted.task_correlation(), atol=1e-9)


# --- order -----------------------------------------------------------------------------------------------------------


def shuffled(data: xr.Dataset, seed: int = 1) -> xr.Dataset:
    return data.isel(sample=np.random.default_rng(seed).permutation(data.sizes["sample"]))


@pytest.mark.parametrize("setting", SETTINGS)
def test_order_of_the_rows(setting: Setting) -> None:
    assert_same(fit(shuffled(observed(setting.shared)), setting), places(), setting)


@pytest.mark.parametrize("integrate", [False, True])
def test_order_of_many_rows(integrate: bool) -> None:
    setting = Setting("common", "auto", integrate)
    data = observed(n=240)
    wanted, answer = (fit(d, setting).predict(places()) for d in (data, shuffled(data)))
    for name in ("mean", "std"):
        np.testing.assert_allclose(answer[name], wanted[name], rtol=0, atol=TOLERANCE * float(data["y"].std()))


@pytest.mark.parametrize("setting", [*AT_MODE, *INTEGRATED[:3]])
def test_order_of_the_inputs(setting: Setting) -> None:
    assert_same(fit(observed(setting.shared), setting, inputs=("v", "u")), places(), setting)


# --- names -----------------------------------------------------------------------------------------------------------


def renamed(data: xr.Dataset, name: str, new: dict[str, Any]) -> xr.Dataset:
    return data.assign({name: ("sample", np.array([new[label] for label in data[name].values]))})


@pytest.mark.parametrize("setting", FEW)
def test_names_of_tasks_and_fidelities(setting: Setting) -> None:
    """Other names and kinds of labels, in the same order."""
    tasks, fidelities = {"t0": 7, "t1": 8, "t2": 30}, {"f0": False, "f1": True}
    data, at = (
        renamed(renamed(d, "task", tasks), "fidelity", fidelities) for d in (observed(setting.shared), places())
    )
    fitted = fit(data, setting)
    assert fitted.vocabulary.tasks == (7, 8, 30)
    for name in ("mean", "std", "noise_std"):
        np.testing.assert_array_equal(fitted.predict(at)[name], plain(setting).predict(places())[name])


@pytest.mark.parametrize("setting", [*AT_MODE, *INTEGRATED[:3]])
def test_order_of_the_tasks_names(setting: Setting) -> None:
    new = {"t0": "b", "t1": "c", "t2": "a"}
    assert_same(fit(renamed(observed(setting.shared), "task", new), setting), renamed(places(), "task", new), setting)


@pytest.mark.parametrize("setting", [*AT_MODE, *INTEGRATED[:3]])
def test_order_of_the_fidelities_names(setting: Setting) -> None:
    new = {"f0": "b", "f1": "a"}
    data = renamed(observed(setting.shared), "fidelity", new)
    assert_same(fit(data, setting), renamed(places(), "fidelity", new), setting)


def test_correlations_follow_the_tasks() -> None:
    setting = Setting("icm", "auto", False)
    new = {"t0": "b", "t1": "c", "t2": "a"}
    turned = fit(renamed(observed(), "task", new), setting).task_correlation()
    wanted = plain(setting).task_correlation()
    back = turned.sel(task=[new[t] for t in TASKS], task_2=[new[t] for t in TASKS])
    np.testing.assert_allclose(back, wanted, atol=1e-9)


# --- missing readings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", FEW)
def test_a_row_without_a_target_is_a_dropped_row_to_the_bit(setting: Setting) -> None:
    data = observed(setting.shared)
    gone = np.array([2, 7, 8])
    holes = data.assign(y=data["y"].where(~np.isin(np.arange(data.sizes["sample"]), gone)))
    holes["u"][2] = np.nan
    dropped = data.isel(sample=np.setdiff1d(np.arange(data.sizes["sample"]), gone))
    first, second = fit(holes, setting), fit(dropped, setting)
    xr.testing.assert_identical(first.predict(places()), second.predict(places()))
    xr.testing.assert_identical(first.loo(), second.loo())
    assert first.report.log_evidence == second.report.log_evidence


def test_a_hole_in_a_grid_is_a_missing_row_of_a_table() -> None:
    """The same readings as a field over (task, place) and as a table."""
    generator = np.random.default_rng(2)
    u, v = generator.uniform(0, 1, (2, 7))
    y = np.sin(4 * u) + np.arange(3)[:, None] * v + 0.1 * generator.standard_normal((3, 7))
    y[0, 3] = y[2, 5] = np.nan
    grid = xr.Dataset({"y": (("task", "place"), y), "u": ("place", u), "v": ("place", v)}, coords={"task": list(TASKS)})
    schema = Schema(inputs=("u", "v"), target="y", task="task")
    table = grid.to_dataframe().reset_index().dropna()
    at = places().drop_vars("fidelity")
    first, second = (HierarchicalGP(schema).fit(data) for data in (grid, table))
    xr.testing.assert_identical(first.predict(at), second.predict(at))


@pytest.mark.parametrize("setting", [Setting("common", "auto", True), Setting("common", "known", True)])
def test_an_update_does_not_know_the_order_of_readings_either(setting: Setting) -> None:
    """First fit, then more: conditioned on the union, whichever way it comes."""
    data = observed()
    first, more = data.isel(sample=slice(0, 12)), data.isel(sample=slice(12, 18))
    fitted = fit(first, setting)
    one = fitted.update(more).predict(places())
    other = fitted.update(shuffled(more)).predict(places())
    steps = fitted.update(more.isel(sample=slice(3, 6))).update(more.isel(sample=slice(0, 3))).predict(places())
    for name in ("mean", "std"):
        np.testing.assert_allclose(other[name], one[name], atol=1e-11)
        np.testing.assert_allclose(steps[name], one[name], atol=1e-11)
