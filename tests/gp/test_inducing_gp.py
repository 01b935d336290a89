"""`InducingGP` against exact models, and what its report says of the difference."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from surrogates import FittedInducingGP, HierarchicalGP, InducingGP, Schema, as_dataset, load
from surrogates.errors import DataError, FitWarning
from surrogates.gp.inducing.blocks import cut
from surrogates.gp.inducing.places import choose_places
from surrogates.gp.kernels import KERNELS, kernel_named
from surrogates.metrics import coverage

SCHEMA = Schema(inputs=("u", "v"), target="y")


def truth(x: np.ndarray) -> np.ndarray:
    return np.sin(9 * x[:, 0]) * np.cos(7 * x[:, 1]) + 2 * x[:, 0]


def observed(n: int = 1500, seed: int = 0, *, gauge: bool = False) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 1, (n, 2))
    rough = np.arange(n) % 2 if gauge else np.zeros(n)
    y = truth(x) + np.where(rough, 0.4, 0.1) * generator.normal(size=n)
    data = as_dataset(x, y, inputs=["u", "v"], fidelity=np.array(["fine", "rough"])[rough.astype(int)])
    data = data if gauge else data.drop_vars("fidelity")
    data["y"].attrs["units"], data["u"].attrs["units"] = "K", "m"
    return data


def places(m: int = 400) -> xr.Dataset:
    x = np.random.default_rng(7).uniform(0, 1, (m, 2))
    return as_dataset(x, inputs=["u", "v"]).assign(u=("sample", x[:, 0], {"units": "m"}))


@cache
def fit(n: int = 1500, inducing: int = 120) -> FittedInducingGP:
    return InducingGP(SCHEMA, inducing=inducing).fit(observed(n))


def test_it_is_near_the_exact_model() -> None:
    ours, exact = fit(), HierarchicalGP(SCHEMA, integrate=False).fit(observed())
    at = places()
    a, b = ours.predict(at), exact.predict(at)
    error = abs(a["mean"] - b["mean"]) / b["std"]
    assert float(np.sqrt((error**2).mean())) < 0.15
    np.testing.assert_allclose(a["std"], b["std"], rtol=0.35)  # at the border of blocks
    assert float((a["std"] / b["std"]).median()) == pytest.approx(1, abs=0.05)
    assert float(a["noise_std"][0]) == pytest.approx(float(b["noise_std"][0]), rel=0.02)
    covered = coverage(truth(np.stack([at["u"], at["v"]], 1)), a["mean"].values, a["std"].values)
    assert 0.88 < covered <= 1
    assert a["mean"].attrs["units"] == "K"


def test_the_report_tells_of_the_error() -> None:
    good = fit().report
    with pytest.warns(FitWarning, match="6 inducing places are few: .* raise inducing="):
        poor = InducingGP(SCHEMA, inducing=6).fit(observed()).report
    name = "variance that blocks can't share"
    shares = [report.sections["approximation"][name].value for report in (good, poor)]
    assert shares[0] < 0.001 < 0.02 < shares[1]
    assert good.loo["RMSE"] == pytest.approx(0.1, rel=0.1)
    assert 0.92 < good.loo["coverage of 95 % intervals"] < 0.98
    assert good.warnings == ()


def test_gauges_have_noise_of_their_own() -> None:
    model = InducingGP(Schema(inputs=("u", "v"), target="y", fidelity="fidelity"), inducing=80).fit(
        observed(gauge=True)
    )
    noise = model.predict(places())["noise_std"]
    np.testing.assert_allclose(noise.sel(fidelity=["fine", "rough"]), [0.1, 0.4], rtol=0.12)
    asked = places(4).assign(fidelity=("sample", ["rough", "fine", "fine", "rough"]))
    np.testing.assert_allclose(model.predict(asked)["noise_std"], noise.sel(fidelity=asked["fidelity"]))


def test_saved_lazy_and_shuffled_answers_are_the_same(tmp_path: Path) -> None:
    model, at = fit(), places()
    eager = model.predict(at)
    model.save(tmp_path / "model.surrogate")
    again = load(tmp_path / "model.surrogate")
    xr.testing.assert_identical(again.predict(at), eager)
    assert str(again.report) == str(model.report)
    xr.testing.assert_allclose(model.predict(at.chunk(sample=90)).compute(), eager, rtol=1e-9)
    order = np.random.default_rng(0).permutation(400)
    xr.testing.assert_allclose(model.predict(at.isel(sample=order)), eager.isel(sample=order), rtol=1e-9)


def test_threads_give_the_serial_fit() -> None:
    model = InducingGP(SCHEMA, inducing=120).fit(observed(), workers=2)
    np.testing.assert_allclose(model.large.parameters, fit().large.parameters, rtol=1e-6, atol=1e-6)


def test_the_order_of_readings_does_not_matter_to_blocks_and_places() -> None:
    x = np.random.default_rng(0).uniform(size=(300, 2))
    shuffled = x[np.random.default_rng(1).permutation(300)]
    np.testing.assert_array_equal(cut(x, 20).of(x), cut(shuffled, 20).of(x))
    kernel, l = kernel_named("matern52"), np.array([0.3, 0.5])
    Z = choose_places(x, kernel, l, count=30, seed=0)
    np.testing.assert_array_equal(Z, choose_places(shuffled, kernel, l, count=30, seed=0))
    # the first ones are the choice of fewer
    np.testing.assert_array_equal(Z[:10], choose_places(x, kernel, l, count=10, seed=0))


@given(st.integers(1, 400), st.integers(1, 50), st.integers(0, 10**6))
def test_blocks_are_of_nearly_equal_numbers(n: int, size: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    blocks = cut(x, size)
    counts = np.bincount(blocks.of(x), minlength=blocks.count)
    assert len(counts) == blocks.count
    assert counts.max() <= size
    assert counts.max() - counts.min() <= 1 + blocks.count.bit_length()


def test_places_tell_what_they_promise() -> None:
    """A quarter of the places leaves more, and the default leaves less than its tolerance."""
    x, l = np.random.default_rng(0).uniform(size=(800, 2)), np.array([0.8, 0.8])
    kernel = KERNELS["matern52"]

    def left(Z: np.ndarray) -> float:
        C = kernel.pair(x, Z, l)[0]
        return float(1 - np.einsum("nm,nm->n", C @ np.linalg.inv(kernel.pair(Z, Z, l)[0]), C).mean())

    chosen = choose_places(x, kernel, l, seed=0)
    assert 20 < len(chosen) < 400
    assert left(chosen) < 3e-5 < left(chosen[: len(chosen) // 4])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inducing": 0}, "inducing is 0; it must be an integer >= 1"),
        ({"kernel": "cosine"}, "kernel is 'cosine'; choose one of"),
        ({"trend": "cubic"}, "trend is 'cubic'; choose one of"),
        ({"schema": Schema(inputs="u", target="y", task="part")}, "names task 'part'; InducingGP is for one task"),
        ({"schema": Schema(inputs="u", target="y", noise="s")}, "names noise 's'; InducingGP is for one task"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        InducingGP(**{"schema": SCHEMA, **options})  # type: ignore[arg-type]


def test_few_readings_and_readings_at_one_place() -> None:
    few = observed(12)
    model = InducingGP(SCHEMA, inducing=20).fit(xr.concat([few, few.assign(y=few["y"] + 0.1)], "sample"))
    assert (model.report.readings, model.report.rows) == (24, 12)
    assert np.isfinite(model.predict(few)["std"]).all()
