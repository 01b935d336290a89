"""Fitted models in rough hands: threads, copies, tasks far apart, readings almost at one place, functions that write."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from surrogates import HierarchicalGP, Schema, as_dataset, load, persistence
from surrogates.errors import FileFormatError

Floats = NDArray[np.float64]
SCHEMA = Schema("x", "y", task="task")
KNOWN = Schema("x", "y", noise="s")


def sines(tasks: int = 3, each: int = 10, *, noise: float = 0.1, seed: int = 0) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, task = generator.uniform(size=tasks * each), np.repeat(np.arange(tasks), each)
    y = np.sin(5 * x + 0.3 * task) + noise * generator.standard_normal(len(x))
    return as_dataset(x, y, inputs=["x"], task=task)


AT = as_dataset(np.tile(np.linspace(0, 1, 9), 3), inputs=["x"], task=np.repeat(np.arange(3), 9))


def test_threads_may_share_a_fitted_model(tmp_path: Path) -> None:
    fitted = HierarchicalGP(SCHEMA).fit(sines())
    fitted.save(tmp_path / "m")
    left_out, mean = fitted.loo(), fitted.predict(AT)["mean"]
    fresh = load(tmp_path / "m")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda k: fresh.loo() if k % 2 else fresh.predict(AT), range(16)))
    for k, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["mean"], left_out["mean"] if k % 2 else mean)


def test_copies_answer_alike_and_show_themselves_briefly() -> None:
    fitted = HierarchicalGP(SCHEMA).fit(sines())
    twin = copy.deepcopy(fitted)
    np.testing.assert_array_equal(twin.predict(AT)["mean"], fitted.predict(AT)["mean"])
    assert (twin == fitted) is False
    assert fitted in {fitted: 1}
    assert repr(fitted) == "<FittedHierarchicalGP of 'y': 30 readings, converged>"


@pytest.mark.parametrize("offset", [1e5, 1e7])
def test_tasks_far_apart_are_fitted_like_tasks_close_together(offset: float) -> None:
    """Trends are flat: a task's own offset carries no information, and must not drown the rest."""
    near = sines()
    far = near.assign(y=near["y"] + offset * near["task"])
    a, b = (HierarchicalGP(SCHEMA).fit(data).predict(AT) for data in (near, far))
    np.testing.assert_allclose(b["mean"] - offset * AT["task"], a["mean"], atol=1e-8 * offset**0.5)
    np.testing.assert_allclose(b["std"], a["std"], rtol=1e-5)


def test_a_second_reading_does_not_spoil_a_new_task() -> None:
    """A slope between two close places would be wild."""
    fitted = HierarchicalGP(SCHEMA, integrate=False).fit(sines(tasks=8, each=10, seed=1))
    truth = np.sin(5 * np.linspace(0, 1, 50) + 0.15)
    at = as_dataset(np.linspace(0, 1, 50), inputs=["x"], task=["new"] * 50).assign(task=("sample", [99] * 50))
    errors = []
    for places in ([0.5], [0.5, 0.52]):
        noise = np.array([0.1, -0.1])[: len(places)]
        more = as_dataset(places, np.sin(5 * np.array(places) + 0.15) + noise, inputs=["x"], task=[99] * len(places))
        errors.append(float(np.sqrt(((fitted.update(more).predict(at)["mean"].values - truth) ** 2).mean())))
    assert errors[1] < 2 * errors[0]  # five times as large with a flat trend


@pytest.mark.parametrize("integrate", [True, False])
def test_a_precise_reading_is_believed_at_its_place(integrate: bool) -> None:
    """Known noise: what the kernel doesn't resolve is part of f, which a reading tells of; close by it is unknown."""
    x = np.linspace(0, 10, 25)
    y = np.sin(x) + 0.3 * np.random.default_rng(0).standard_normal(25)
    data = as_dataset(x, y, inputs=["x"]).assign(s=("sample", np.full(25, 1e-3)))
    fitted = HierarchicalGP(KNOWN, integrate=integrate).fit(data)
    there, close = fitted.predict(data), fitted.predict(data.assign(x=data["x"] + 1e-6))
    np.testing.assert_allclose(there["mean"], y, atol=4e-3)
    assert float(there["std"].max()) < 2e-3
    assert float(close["std"].min()) > 0.1
    draws = fitted.sample(data, 20, seed=0)
    np.testing.assert_allclose(draws, np.broadcast_to(y, draws.shape), atol=1e-2)
    np.testing.assert_allclose(np.diag(fitted.covariance(data)), there["std"] ** 2, rtol=1e-6, atol=1e-10)


def test_known_noise_in_a_request_is_given_back() -> None:
    x = np.linspace(0, 1, 20)
    data = as_dataset(x, np.sin(5 * x), inputs=["x"]).assign(s=("sample", np.linspace(0.01, 0.5, 20)))
    fitted = HierarchicalGP(KNOWN, integrate=False).fit(data)
    np.testing.assert_allclose(fitted.predict(data)["noise_std"], data["s"], rtol=1e-12)
    holes = fitted.predict(data.assign(s=data["s"].where(data["x"] > 0.5)))  # places that were never read have none
    np.testing.assert_array_equal(np.isnan(holes["noise_std"]), data["x"] <= 0.5)
    assert np.isfinite(holes["mean"]).all()
    without = fitted.predict(data.drop_vars("s"))["noise_std"]
    np.testing.assert_allclose(without, np.sqrt((data["s"] ** 2).mean()), rtol=1e-12)


def test_a_trend_function_that_writes_into_its_argument_changes_nothing() -> None:
    def pure(x: Floats) -> Floats:
        return np.concatenate([np.ones((len(x), 1)), x**2], axis=1)

    def rude(x: Floats) -> Floats:
        x **= 2
        return np.concatenate([np.ones((len(x), 1)), x], axis=1)

    answers = [HierarchicalGP(SCHEMA, trend=trend, integrate=False).fit(sines()).predict(AT) for trend in (pure, rude)]
    np.testing.assert_array_equal(answers[0]["mean"], answers[1]["mean"])


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")  # whether it ends at a bound depends on rounding
def test_exact_readings_that_all_but_contradict_each_other_are_survived() -> None:
    x = np.concatenate([np.linspace(0, 1, 12), [0.5 + 1e-9]])
    data = as_dataset(x, np.concatenate([np.sin(5 * x[:12]), [3.0]]), inputs=["x"]).assign(s=("sample", np.zeros(13)))
    fitted = HierarchicalGP(KNOWN, integrate=False).fit(data)
    assert np.isfinite(fitted.predict(data)["mean"]).all()


def test_a_file_with_another_header_is_refused(tmp_path: Path) -> None:
    persistence.write(tmp_path / "odd", "hierarchical-gp", {"tasks": []}, {})
    with pytest.raises(FileFormatError, match=r"lacks what a 'hierarchical-gp' needs"):
        load(tmp_path / "odd")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    fitted = HierarchicalGP(SCHEMA, integrate=False).fit(sines())
    with pytest.raises(FileNotFoundError, match=r"the folder .*none doesn't exist; make it first"):
        fitted.save(tmp_path / "none" / "model")
