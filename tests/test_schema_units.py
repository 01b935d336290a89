"""Units and known noise at the border: compared, converted, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from tables import parts as table
from tables import with_units

from surrogates import Schema
from surrogates.errors import DataError, UnitsError

FULL = Schema(inputs=("x",), target="height", task="part", fidelity="gauge")


def test_equal_units_pass_even_if_nobody_can_read_them() -> None:
    data = with_units(table(), x="furlong-ish", height="scoops")
    known = FULL.encode(data).vocabulary
    assert known.units == {"x": "furlong-ish", "height": "scoops"}
    assert_array_equal(FULL.encode(data, vocabulary=known).x, FULL.encode(table()).x)


def test_other_units_are_converted_to_the_models() -> None:
    known = FULL.encode(with_units(table(), x="mm", height="degC")).vocabulary
    other = with_units(table(x=np.array([0.0, 0.1, 0.2, 0.3]), height=np.full(4, 41.0)), x="cm", height="degF")
    read = FULL.encode(other, vocabulary=known)
    np.testing.assert_allclose(read.x[:, 0], [0, 1, 2, 3], rtol=1e-14)
    np.testing.assert_allclose(read.y, 5.0, rtol=1e-12)
    assert read.vocabulary.units == known.units
    np.testing.assert_allclose(FULL.encode_points(other, known).x[:, 0], [0, 1, 2, 3], rtol=1e-14)


@pytest.mark.parametrize(
    ("fitted", "asked", "words"),
    [
        (
            {"x": "mm"},
            {"x": "s"},
            r"'x' is in 's', which can't be converted to 'mm' \(Cannot convert .*\); correct attrs",
        ),
        ({"x": "mm"}, {}, r"'x' has no units, but the model knows it in 'mm'; set data\['x'\].attrs\['units'\] = 'mm'"),
        ({}, {"x": "mm"}, r"'x' is in 'mm', but the model was fitted on data without units; drop attrs\['units'\]"),
        ({"x": "mm"}, {"x": "blorg"}, "'x' is in 'blorg', which can't be converted to 'mm'"),
        ({"x": "mm"}, {"x": "m/("}, r"'x' is in 'm/\(', which can't be converted to 'mm'"),
        ({"x": "mm"}, {"x": "m m +"}, r"'x' is in 'm m \+', which can't be converted to 'mm'"),
        ({"x": "mm"}, {"x": "3 m"}, "'x' is in '3 m', which can't be converted to 'mm'"),
    ],
)
def test_units_that_do_not_fit_are_refused(fitted: dict[str, str], asked: dict[str, str], words: str) -> None:
    known = FULL.encode(with_units(table(), **fitted)).vocabulary
    with pytest.raises(UnitsError, match=words):
        FULL.encode_points(with_units(table(), **asked), known)


# --- known noise -----------------------------------------------------------------------------------------------------


def noisy(noise: Any, **units: str) -> xr.Dataset:
    return with_units(table(s=np.broadcast_to(np.asarray(noise, dtype=np.float64), 4)), **units)


def noise_schema(noise_is: str = "std") -> Schema:
    return Schema(inputs=("x",), target="height", noise="s", noise_is=noise_is)


def variances(data: xr.Dataset, noise_is: str = "std") -> NDArray[np.float64]:
    read = noise_schema(noise_is).encode(data).noise_variance
    assert read is not None
    return read


def test_known_noise_becomes_a_variance() -> None:
    levels = np.array([0.0, 0.5, 1.0, 2.0])
    assert_array_equal(variances(noisy(levels)), levels**2)
    assert_array_equal(variances(noisy(levels), "variance"), levels)


def test_one_noise_level_is_broadcast() -> None:
    data = table().assign(s=0.5)
    assert_array_equal(variances(data), np.full(4, 0.25))


@pytest.mark.parametrize(
    ("noise_is", "found", "target", "factor"),
    [
        ("std", "um", "um", 1.0),
        ("std", "um", "mm", 1e-6),
        ("std", "K", "degC", 1.0),
        ("std", "delta_degC", "degC", 1.0),
        ("std", "degF", "degC", (5 / 9) ** 2),
        ("variance", "um**2", "um", 1.0),
        ("variance", "um^2", "mm", 1e-6),
        ("variance", "K**2", "degC", 1.0),
        ("variance", "degC**2", "K", 1.0),
    ],
)
def test_noise_is_converted_as_a_difference(noise_is: str, found: str, target: str, factor: float) -> None:
    data = noisy(0.5, s=found, height=target)
    expected = factor * (0.25 if noise_is == "std" else 0.5)
    np.testing.assert_allclose(variances(data, noise_is), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("noise_is", "units", "words"),
    [
        ("std", {"s": "s", "height": "mm"}, "'s' is in 's', which can't be converted to 'mm'"),
        ("variance", {"s": "mm", "height": "mm"}, r"'s' is in 'mm', which can't be converted to '\(mm\)\*\*2'"),
        ("std", {"height": "mm"}, "'s' has no units"),
        ("std", {"s": "mm"}, "without units"),
    ],
)
def test_noise_in_other_units_than_the_target_is_refused(noise_is: str, units: dict[str, str], words: str) -> None:
    with pytest.raises(UnitsError, match=words):
        noise_schema(noise_is).encode(noisy(0.5, **units))


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(DataError, match=r"known noise 's' has negative entries \(smallest -0.5\); it must be >= 0"):
        noise_schema().encode(noisy([0.1, -0.5, 0.1, 0.2]))
    with pytest.raises(DataError, match="'s' has 1 entries that are NaN"):
        noise_schema().encode(noisy([0.1, np.nan, 0.1, 0.2]))
    holes = noisy([0.1, np.nan, 0.1, 0.2]).assign(height=("sample", [5.0, np.nan, 7.0, 8.0]))
    np.testing.assert_allclose(variances(holes), [0.01, 0.01, 0.04])
