"""Units: equal ones pass, others are converted by pint, and what doesn't fit is refused in words."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.errors import UnitsError
from surrogates.units import Units, convert

VALUES = np.array([-1.5, 0.0, 40.0])


@pytest.mark.parametrize("units", [None, "mm", "not a unit at all", ""])
def test_equal_units_pass_without_a_change(units: Units) -> None:
    assert convert(VALUES, "x", found=units, wanted=units) is VALUES


@pytest.mark.parametrize(
    ("found", "wanted", "factor", "shift"),
    [
        ("m", "mm", 1e3, 0.0),
        ("um", "µm", 1.0, 0.0),
        ("in", "mm", 25.4, 0.0),
        ("degC", "K", 1.0, 273.15),
        ("degF", "degC", 5 / 9, -160 / 9),
        ("kW*h", "J", 3.6e6, 0.0),
        ("%", "1", 0.01, 0.0),
    ],
)
def test_compatible_units_are_converted(found: str, wanted: str, factor: float, shift: float) -> None:
    got = convert(VALUES, "x", found=found, wanted=wanted)
    np.testing.assert_allclose(got, factor * VALUES + shift, rtol=1e-12, atol=1e-12)
    assert got.dtype == np.float64


@pytest.mark.parametrize(
    ("found", "wanted", "factor"),
    [("K", "degC", 1.0), ("degC", "K", 1.0), ("degF", "degC", 5 / 9), ("mm", "m", 1e-3), ("K**2", "(degC)**2", 1.0)],
)
def test_differences_know_no_zero_of_the_scale(found: str, wanted: str, factor: float) -> None:
    """As the difference of two converted temperatures says; tiny ones keep their digits."""
    tiny = np.array([1e-9, 2.0])
    got = convert(tiny, "s", found=found, wanted=wanted, differences=True)
    np.testing.assert_allclose(got, factor * tiny, rtol=1e-12)


@given(st.floats(-1e9, 1e9), st.sampled_from([("m", "ft"), ("degC", "degF"), ("J", "kW*h")]))
def test_there_and_back(value: float, pair: tuple[str, str]) -> None:
    there = convert(np.array([value]), "x", found=pair[0], wanted=pair[1])
    back = convert(there, "x", found=pair[1], wanted=pair[0])
    np.testing.assert_allclose(back, value, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    assert convert(np.ones(shape), "x", found="m", wanted="mm").shape == shape


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        (
            "mm",
            None,
            r"variable 'x' is in 'mm', but .* data without units; drop attrs\['units'\] from 'x', or fit again",
        ),
        (None, "mm", r"'x' has no units, .* knows it in 'mm'; set data\['x'\].attrs\['units'\] = 'mm' \(or the units"),
        ("s", "mm", r"'x' is in 's', which can't be converted to 'mm' \(Cannot convert .*\); correct attrs\['units'\]"),
        ("wurst", "mm", "which can't be converted to 'mm' .*'wurst' is not defined"),
        ("m", "wurst", "which can't be converted to 'wurst'"),
        ("m m +", "mm", "'m m \\+', which can't be converted"),
        ("kg/(", "mm", r"'kg/\(', which can't be converted"),
        ("W m-2", "W/m**2", "'W m-2', which can't be converted"),
        ("3 m", "mm", "'3 m', which can't be converted"),
    ],
)
def test_what_does_not_fit_is_refused(found: Units, wanted: Units, words: str, differences: bool) -> None:
    with pytest.raises(UnitsError, match=words):
        convert(VALUES, "x", found=found, wanted=wanted, differences=differences)


def test_without_pint_the_message_names_both_units_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pint", None)
    assert convert(VALUES, "x", found="mm", wanted="mm") is VALUES
    with pytest.raises(
        UnitsError, match=r"'x' is in 'm', wanted 'mm'; .* pip install \"multitask-surrogates\[units\]\""
    ):
        convert(VALUES, "x", found="m", wanted="mm")
