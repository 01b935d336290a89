"""Models of many tasks through the public names: own and shared places, workers, memory, what the report says."""

from __future__ import annotations

import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brute import kriged

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.errors import DataError, FitWarning
from surrogates.gp.inducing.workers import Workers

SCHEMA = Schema(inputs=("u", "v"), target="y", task="task")


def observed(tasks: int = 24, n: int = 14, seed: int = 0, *, shared: bool = False) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 1, (1 if shared else tasks, n, 2)) * np.ones((tasks, 1, 1))
    waves = np.cos(x @ generator.normal(size=(2, 40)) * 4 + generator.uniform(0, 6, 40)) / np.sqrt(20)
    y = waves @ generator.normal(size=40) + 0.4 * np.einsum("tnw,tw->tn", waves, generator.normal(size=(tasks, 40)))
    y += 0.1 * generator.normal(size=(tasks, n))
    code = np.repeat([f"t{t:02d}" for t in range(tasks)], n)
    return as_dataset(x.reshape(-1, 2), y.ravel(), inputs=["u", "v"], task=code)


def places(m: int = 30, tasks: int = 24) -> xr.Dataset:
    generator = np.random.default_rng(9)
    code = generator.choice([f"t{t:02d}" for t in range(tasks)], m)
    return as_dataset(generator.uniform(0, 1, (m, 2)), inputs=["u", "v"], task=code)


@cache
def fit(**options: object) -> FittedHierarchicalGP:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return HierarchicalGP(SCHEMA, **{"solver": "inducing", "integrate": False, **options}).fit(observed())  # type: ignore[arg-type]


def test_with_enough_places_it_is_the_exact_model() -> None:
    near, exact = fit(inducing=336), fit(solver="dense")
    assert (near.report.solver, exact.report.solver) == ("inducing", "dense")
    assert near.report.log_evidence == pytest.approx(exact.report.log_evidence, abs=0.02)
    a, b = near.predict(places()), exact.predict(places())
    np.testing.assert_allclose(a["mean"], b["mean"], atol=0.01)
    np.testing.assert_allclose(a["std"], b["std"], rtol=0.05)


def test_few_places_are_reported_with_their_error() -> None:
    many, few = fit(), fit(inducing=3)
    name = "common variance that tasks can't share"
    shares = [model.report.sections["approximation"][name].value for model in (many, few)]
    assert shares[0] < 0.001 < 0.02 < shares[1]
    exact = fit(solver="dense").core
    assert not fit(solver="dense").report.sections.get("approximation")
    # what the report says of the change of left-out means is of the size of the true one
    truth = exact.leave_one_out_at_mode()
    for model in (many, few):
        found = model.core.leave_one_out_at_mode()
        true = float(np.sqrt(np.mean((found.mean - truth.mean) ** 2 / truth.variance)))
        said = [e.value for n, e in model.report.sections["approximation"].items() if n.startswith("left-out")]
        assert true < 2 * max(said) + 0.01
    assert any("3 places is coarse" in warning and "raise inducing=" in warning for warning in few.report.warnings)


def test_every_answer_is_there() -> None:
    model = fit()
    at = places()
    prediction = model.predict(at)
    covariance = model.covariance(at)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), prediction["std"], rtol=1e-8)
    draws = model.sample(at, 400, seed=0)
    assert np.abs((draws.mean("draw") - prediction["mean"]) / prediction["std"]).max() < 5 / 20
    step = 1e-5
    ahead, behind = (model.predict(at.assign(u=at["u"] + s)) for s in (step, -step))
    slope = model.gradient(at).sel(input="u")
    np.testing.assert_allclose(slope["d_mean"], (ahead["mean"] - behind["mean"]) / (2 * step), atol=1e-5)
    np.testing.assert_allclose(slope["d_std"], (ahead["std"] - behind["std"]) / (2 * step), atol=1e-4)
    loo = model.loo()
    assert float(np.sqrt((loo["residual"] ** 2).mean())) == pytest.approx(model.report.loo["RMSE"], rel=1e-6)


def test_places_in_any_order_and_block() -> None:
    at = places()
    order = np.random.default_rng(0).permutation(30)
    eager = fit().predict(at)
    xr.testing.assert_allclose(fit().predict(at.isel(sample=order)), eager.isel(sample=order), rtol=1e-9)
    xr.testing.assert_allclose(fit().predict(at.chunk(sample=7)).compute(), eager, rtol=1e-9)


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    model = fit()
    model.save(tmp_path / "model.surrogate")
    again = load(tmp_path / "model.surrogate")
    assert isinstance(again, FittedHierarchicalGP)
    xr.testing.assert_identical(again.predict(places()), model.predict(places()))
    assert str(again.report) == str(model.report)


def test_updates_add_readings_and_tasks() -> None:
    model = fit(inducing=336)
    more = observed(tasks=26, seed=4).isel(sample=slice(24 * 14 - 5, None))
    updated = model.update(more)
    assert (updated.report.solver, updated.report.tasks) == ("inducing", 26)
    both = xr.concat([observed(), more], "sample")
    at = places(tasks=26)
    mean, std = kriged(updated, both, at)
    # new readings lie between the places of the common process, which stay
    np.testing.assert_allclose(updated.predict(at)["mean"], mean, atol=0.01)
    np.testing.assert_allclose(updated.predict(at)["std"], std, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solver": "dense", "inducing": 9}, "inducing is 9, but solver='dense' is exact"),
        ({"inducing": 0}, "inducing is 0; it must be an integer >= 1"),
        ({"inducing": 2.5}, "inducing is 2.5; it must be an integer >= 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, **options)  # type: ignore[arg-type]


def test_one_task_has_nothing_in_common() -> None:
    with pytest.raises(DataError, match="two tasks or more"):
        HierarchicalGP(SCHEMA, solver="inducing").fit(observed(tasks=1))
    with pytest.raises(DataError, match="two tasks or more"):
        HierarchicalGP(SCHEMA, sharing="icm", solver="inducing").fit(observed(tasks=3))


# --- workers ---------------------------------------------------------------------------------------------------------


def assert_same_fit(model: FittedHierarchicalGP) -> None:
    np.testing.assert_allclose(model.core.mode, fit().core.mode, rtol=1e-7, atol=1e-7)
    assert model.report.log_evidence == pytest.approx(fit().report.log_evidence, rel=1e-9)
    xr.testing.assert_allclose(model.predict(places()), fit().predict(places()), rtol=1e-6)


def test_threads_give_the_serial_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.gp.inducing.batches.NUMBERS", 2000)  # a task or two a batch
    small = HierarchicalGP(SCHEMA, solver="inducing", integrate=False).fit(observed(), workers=2)
    assert_same_fit(small)


def test_a_cluster_of_processes_gives_the_serial_fit() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        model = HierarchicalGP(SCHEMA, solver="inducing", integrate=False).fit(observed(), workers=client)
    # the cluster is gone; the model answers all the same
    assert_same_fit(model)
    model.loo()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two", True, None])
def test_workers_are_a_number_or_a_client(workers: object) -> None:
    with pytest.raises(DataError, match="give a number of threads"):
        Workers(workers)


# --- size ------------------------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
import numpy as np
from surrogates import HierarchicalGP, Schema, as_dataset
shared = sys.argv[1] == "shared"
def data(T):
    g = np.random.default_rng(0)
    x = g.uniform(0, 1, (1 if shared else T, 10)) * np.ones((T, 1))
    y = np.sin(6 * x) + g.normal(size=(T, 1)) * x**2 + 0.1 * g.normal(size=x.shape)
    return as_dataset(x.ravel(), y.ravel(), inputs=["x"], task=np.repeat(np.arange(T), 10))
def answer(T):
    model = HierarchicalGP(Schema(inputs="x", target="y", task="task"), solver=sys.argv[2]).fit(data(T))
    assert model.predict(data(T))["std"].max() < 0.2
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answer(400)
before = peak()
answer(1600)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("design", "solver"), [("own", "inducing"), ("shared", "rotation")])
def test_memory_grows_with_the_data_alone(design: str, solver: str) -> None:
    """16,000 rows of 1,600 tasks: the trend's columns alone would be 400 MB, as a dense array."""
    run = [sys.executable, "-W", "ignore", "-c", MEMORY, design, solver]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60 * 1024  # KiB
