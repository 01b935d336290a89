"""A saved model is the model, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import pytest
import xarray as xr

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, load, persistence
from surrogates.errors import DataError, FileFormatError, FitWarning

SETTINGS = [(sharing, noise) for sharing in ("common", "two-kernels", "icm", "niw") for noise in ("fidelity", "known")]
SETTINGS += [("common", "task-fidelity"), ("icm", "task-fidelity")]


def observed(n: int = 18, *, tasks: Any = ("a", "b", "c"), seed: int = 0) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, z, code = generator.uniform(0, 1, n), generator.uniform(0, 1, n), np.arange(n) % len(tasks)
    y = np.sin(5 * x) + z * code + 0.05 * generator.standard_normal(n)
    return xr.Dataset(
        {
            "x": ("sample", x, {"units": "mm"}),
            "z": ("sample", z),
            "y": ("sample", y, {"units": "µm"}),
            "s": ("sample", 0.05 + 0.1 * x, {"units": "µm"}),
            "part": ("sample", np.array(tasks)[code]),
            "gauge": ("sample", np.array(["fine", "coarse"])[(np.arange(n) // 3) % 2]),
        }
    )


def fit(sharing: str = "common", noise: str = "auto", data: xr.Dataset | None = None, **choices: Any) -> Any:
    schema = Schema(
        inputs=("x", "z"), target="y", task="part", fidelity="gauge", noise="s" if noise == "known" else None
    )
    return HierarchicalGP(schema, sharing=sharing, noise=noise, **choices).fit(observed() if data is None else data)


def saved(model: FittedHierarchicalGP, folder: Path, name: str = "model") -> Any:
    model.save(folder / name)
    return load(folder / name)


def assert_same_answers(one: FittedHierarchicalGP, other: FittedHierarchicalGP, at: xr.Dataset) -> None:
    for name in ("predict", "gradient", "covariance"):
        xr.testing.assert_identical(getattr(one, name)(at), getattr(other, name)(at))
    xr.testing.assert_identical(one.predict(at.drop_vars("gauge")), other.predict(at.drop_vars("gauge")))
    xr.testing.assert_identical(one.sample(at, 3, seed=4), other.sample(at, 3, seed=4))
    xr.testing.assert_identical(one.loo(), other.loo())
    xr.testing.assert_identical(one.task_correlation(), other.task_correlation())


@pytest.mark.parametrize(("sharing", "noise"), SETTINGS)
def test_every_answer_comes_back(sharing: str, noise: str, tmp_path: Path) -> None:
    model = fit(sharing, noise)
    back = saved(model, tmp_path)
    assert type(back) is FittedHierarchicalGP
    assert back.schema == model.schema
    assert back.vocabulary == model.vocabulary
    assert back.report == model.report
    assert str(back.report) == str(model.report)
    assert_same_answers(model, back, observed(6, seed=1))


@pytest.mark.parametrize(("sharing", "noise"), SETTINGS)
def test_a_loaded_model_is_saved_as_the_same_file(sharing: str, noise: str, tmp_path: Path) -> None:
    saved(saved(fit(sharing, noise), tmp_path, "first"), tmp_path, "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(("sharing", "noise"), [s for s in SETTINGS if s[0] != "niw"])
def test_updates_go_on_where_they_stopped(sharing: str, noise: str, tmp_path: Path) -> None:
    """Save, load, update = update, save, load = update."""
    model, more = fit(sharing, noise), observed(5, seed=2)
    updated, later = model.update(more), saved(model, tmp_path).update(more)
    at = observed(6, seed=1)
    assert_same_answers(updated, later, at)
    assert_same_answers(updated, saved(updated, tmp_path), at)
    assert updated.report == saved(updated, tmp_path).report


def test_a_new_task_is_kept(tmp_path: Path) -> None:
    more = observed(4, tasks=("d", "0"), seed=2)
    updated = fit().update(more)
    back = saved(updated, tmp_path)
    assert back.vocabulary.tasks == ("a", "b", "c", "0", "d")
    assert_same_answers(updated, back, more)


@pytest.mark.parametrize(
    "kernel", ["rbf", "matern52", "matern32", "matern12", gpytorch.kernels.RBFKernel(ard_num_dims=2)]
)
@pytest.mark.parametrize("trend", ["none", "constant", "quadratic"])
def test_kernels_and_trends_come_back(kernel: Any, trend: str, tmp_path: Path) -> None:
    model = fit(kernel=kernel, trend=trend, integrate=False, data=observed(30))
    assert_same_answers(model, saved(model, tmp_path), observed(6, seed=1))


@pytest.mark.parametrize("solver", ["dense", "woodbury", "rotation", "kronecker"])
def test_solvers_come_back(solver: str, tmp_path: Path) -> None:
    one = observed(6).drop_vars("part").assign(gauge=("sample", ["fine", "coarse"] * 3))
    data = one.assign(y=one["y"] + xr.DataArray([0.0, 1.0, 2.0], dims="part")).assign_coords(part=["a", "b", "c"])
    data["y"].attrs["units"] = "µm"
    model = fit(data=data, solver=solver, integrate=False)
    back = saved(model, tmp_path)
    assert back.report.solver == back.core.problem.objective.solver.name == solver
    assert_same_answers(model, back, observed(6, seed=1))


@pytest.mark.parametrize(
    "tasks", [(3, 1, 20), (True, False), (0.5, -2.0, 1.0), ("ä", "b c", "")], ids=["int", "bool", "float", "text"]
)
def test_labels_keep_their_kind(tasks: tuple[Any, ...], tmp_path: Path) -> None:
    data = observed(tasks=tasks)
    model = fit(data=data, integrate=False)
    back = saved(model, tmp_path)
    assert back.vocabulary.tasks == tuple(sorted(tasks))
    assert [type(label) for label in back.vocabulary.tasks] == [type(label) for label in sorted(tasks)]
    assert_same_answers(model, back, data.isel(sample=slice(0, 5)))


def test_a_model_without_tasks_and_units(tmp_path: Path) -> None:
    data = observed().drop_attrs()
    model = HierarchicalGP(Schema(inputs=("x",), target="y"), integrate=False).fit(data)
    back = saved(model, tmp_path)
    assert back.vocabulary.tasks == back.vocabulary.fidelities == (None,)
    assert back.vocabulary.units == {"x": None, "y": None}
    xr.testing.assert_identical(back.predict(data), model.predict(data))


def test_a_fit_with_warnings_and_nothing_to_score(tmp_path: Path) -> None:
    with pytest.warns(FitWarning, match="single observation"):
        model = fit(data=observed(1))
    back = saved(model, tmp_path)
    assert back.report == model.report
    assert back.core.scaled.target.constant
    xr.testing.assert_identical(back.predict(observed(1)), model.predict(observed(1)))


def test_noise_kinds_stay(tmp_path: Path) -> None:
    data = observed().assign(s=observed()["s"] ** 2)
    data["s"].attrs["units"] = "µm**2"
    schema = Schema(inputs=("x", "z"), target="y", task="part", noise="s", noise_is="variance")
    model = HierarchicalGP(schema, integrate=False).fit(data)
    back = saved(model, tmp_path)
    assert back.schema.noise_is == "variance"
    xr.testing.assert_identical(back.update(data).predict(data), model.update(data).predict(data))


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        ({"kernel": gpytorch.kernels.PeriodicKernel()}, "kernel"),
        ({"kernel": gpytorch.kernels.RBFKernel() + gpytorch.kernels.LinearKernel()}, "kernel"),
        ({"trend": lambda x: np.ones((len(x), 1))}, "trend"),
    ],
    ids=["periodic", "sum", "trend"],
)
def test_code_of_ones_own_is_refused_before_a_file_is_made(choice: dict[str, Any], what: str, tmp_path: Path) -> None:
    model = fit(integrate=False, **choice)
    with pytest.raises(
        DataError, match=f"the model has a {what} of your own, which a data file can't hold; keep the script"
    ):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_file_from_the_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit(integrate=False)
    monkeypatch.setattr(persistence, "VERSION", persistence.VERSION + 1)
    model.save(tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(
        FileFormatError, match=r"was written in format version 2, this library reads up to 1; update it"
    ):
        load(tmp_path / "model")


def test_a_model_of_an_unknown_family_is_refused(tmp_path: Path) -> None:
    persistence.write(tmp_path / "model", "spline", {}, {})
    with pytest.raises(
        FileFormatError, match=r"a model of kind 'spline'; this version reads \[.*'hierarchical-gp'.*\]"
    ):
        load(tmp_path / "model")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    model = fit(integrate=False)
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    with pytest.raises(DataError, match="kernel of your own"):
        fit(integrate=False, kernel=gpytorch.kernels.PeriodicKernel()).save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
