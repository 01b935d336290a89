from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import xarray as xr
from numpy.typing import NDArray

from surrogates.datasets import (
    FUNCTIONS,
    MultiFidelityFunction,
    borehole,
    branin,
    currin,
    forrester,
    hartmann3,
    hartmann6,
    nonlinear_sine,
    park91a,
    park91b,
)
from surrogates.errors import DataError

Floats = NDArray[np.float64]
NAMES = sorted(FUNCTIONS)
#: those of `functions.py`; the others have tests of their own
OWN = ("borehole", "branin", "currin", "forrester", "hartmann3", "hartmann6", "nonlinear_sine", "park91a", "park91b")


def value(function: MultiFidelityFunction, point: tuple[float, ...], level: str) -> float:
    return float(function(np.array([point]), level)[0])


def uniform(function: MultiFidelityFunction, n: int, *, seed: int) -> Floats:
    """Random points of the domain, (n, d)."""
    low, high = np.array(function.bounds).T
    return np.asarray(np.random.default_rng(seed).uniform(low, high, (n, len(low))))


# --- the formulas once more, for one point, by Python's math ---


def scalar_forrester(x: float) -> float:
    return (6 * x - 2) ** 2 * math.sin(12 * x - 4)


def scalar_currin(x1: float, x2: float) -> float:
    top = 2300 * x1**3 + 1900 * x1**2 + 2092 * x1 + 60
    return (1 - (math.exp(-1 / (2 * x2)) if x2 else 0)) * top / (100 * x1**3 + 500 * x1**2 + 4 * x1 + 20)


def scalar_currin_low(x1: float, x2: float) -> float:
    below, s = max(0.0, x2 - 1 / 20), 1 / 20
    first = scalar_currin(x1 + s, x2 + s) + scalar_currin(x1 + s, below)
    return first / 4 + (scalar_currin(x1 - s, x2 + s) + scalar_currin(x1 - s, below)) / 4


def scalar_park91a(x1: float, x2: float, x3: float, x4: float) -> float:
    first = x1 / 2 * (math.sqrt(1 + (x2 + x3**2) * x4 / x1**2) - 1)
    return first + (x1 + 3 * x4) * math.exp(1 + math.sin(x3))


def scalar_park91a_low(x1: float, x2: float, x3: float, x4: float) -> float:
    return (1 + math.sin(x1) / 10) * scalar_park91a(x1, x2, x3, x4) - 2 * x1 + x2**2 + x3**2 + 0.5


def scalar_park91b(x1: float, x2: float, x3: float, x4: float) -> float:
    return 2 / 3 * math.exp(x1 + x2) - x4 * math.sin(x3) + x3


def scalar_borehole(*x: float) -> float:
    rw, r, tu, hu, tl, hl, l, kw = x
    log = math.log(r) - math.log(rw)
    return 2 * math.pi * tu * (hu - hl) / (log + 2 * l * tu / (rw**2 * kw) + log * tu / tl)


def scalar_borehole_low(*x: float) -> float:
    rw, r, tu, hu, tl, hl, l, kw = x
    log = math.log(r) - math.log(rw)
    return 5 * tu * (hu - hl) / (1.5 * log + 2 * l * tu / (rw**2 * kw) + log * tu / tl)


def scalar_branin(x1: float, x2: float) -> float:
    """As Perdikaris et al. print it."""
    bracket = -1.275 * x1**2 / math.pi**2 + 5 * x1 / math.pi + x2 - 6
    return bracket**2 + (10 - 5 / (4 * math.pi)) * math.cos(x1) + 10


def scalar_branin_medium(x1: float, x2: float) -> float:
    return 10 * math.sqrt(scalar_branin(x1 - 2, x2 - 2)) + 2 * (x1 - 0.5) - 3 * (3 * x2 - 1) - 1


def scalar_branin_low(x1: float, x2: float) -> float:
    return scalar_branin_medium(1.2 * (x1 + 2), 1.2 * (x2 + 2)) - 3 * x2 + 1


def scalar_hartmann(x: tuple[float, ...], z: float) -> float:
    """The tables of the Virtual Library, P in units of 1e-4, row by row."""
    three = [
        (3.0, 10, 30, 3689, 1170, 2673),
        (0.1, 10, 35, 4699, 4387, 7470),
        (3.0, 10, 30, 1091, 8732, 5547),
        (0.1, 10, 35, 381, 5743, 8828),
    ]
    six = [
        (10, 3, 17, 3.50, 1.7, 8, 1312, 1696, 5569, 124, 8283, 5886),
        (0.05, 10, 17, 0.1, 8, 14, 2329, 4135, 8307, 3736, 1004, 9991),
        (3, 3.5, 1.7, 10, 17, 8, 2348, 1451, 3522, 2883, 3047, 6650),
        (17, 8, 0.05, 10, 0.1, 14, 4047, 8828, 8732, 5743, 1091, 381),
    ]
    d, total = len(x), 0.0
    for α, row in zip((1.0, 1.2, 3.0, 3.2), three if d == 3 else six, strict=True):
        inner = sum(row[j] * (x[j] - row[d + j] / 1e4) ** 2 for j in range(d))
        total -= (α - 0.1 * (1 - z)) * math.exp(-inner)
    return total


BY_HAND: list[tuple[MultiFidelityFunction, str, Callable[..., float]]] = [
    (forrester, "high", scalar_forrester),
    (forrester, "low", lambda x: 0.5 * scalar_forrester(x) + 10 * (x - 0.5) - 5),
    (nonlinear_sine, "low", lambda x: math.sin(8 * math.pi * x)),
    (nonlinear_sine, "high", lambda x: (x - math.sqrt(2)) * math.sin(8 * math.pi * x) ** 2),
    (currin, "high", scalar_currin),
    (currin, "low", scalar_currin_low),
    (park91a, "high", scalar_park91a),
    (park91a, "low", scalar_park91a_low),
    (park91b, "high", scalar_park91b),
    (park91b, "low", lambda *x: 1.2 * scalar_park91b(*x) - 1),
    (borehole, "high", scalar_borehole),
    (borehole, "low", scalar_borehole_low),
    (branin, "high", scalar_branin),
    (branin, "medium", scalar_branin_medium),
    (branin, "low", scalar_branin_low),
    *((f, level, lambda *x, z=z: scalar_hartmann(x, z)) for f in (hartmann3, hartmann6)
      for level, z in (("low", 0.0), ("medium", 0.5), ("high", 1.0))),
]  # fmt: skip


@pytest.mark.parametrize(("function", "level", "by_hand"), BY_HAND, ids=lambda p: getattr(p, "name", p))
def test_the_formula_by_hand(function: MultiFidelityFunction, level: str, by_hand: Callable[..., float]) -> None:
    x = uniform(function, 40, seed=1)
    # atol: values near a zero of the function lose digits in both roads
    np.testing.assert_allclose(function(x, level), [by_hand(*row) for row in x.tolist()], rtol=1e-10, atol=1e-12)


def test_every_level_is_compared_by_hand() -> None:
    compared = {(function.name, level) for function, level, _ in BY_HAND}
    assert compared == {(FUNCTIONS[name].name, level) for name in OWN for level in FUNCTIONS[name].levels}


# --- values from the literature ---

#: Virtual Library (sfu.ca/~ssurjano), all digits it prints; uqtestfuns for Forrester's
MINIMA = [
    (forrester, -6.02074, [(0.757249,)]),
    (branin, 0.397887, [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)]),
    (hartmann3, -3.86278, [(0.114614, 0.555649, 0.852547)]),
    (hartmann6, -3.32237, [(0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)]),
]


@pytest.mark.parametrize(("function", "least", "places"), MINIMA, ids=lambda p: getattr(p, "name", ""))
def test_published_minima(function: MultiFidelityFunction, least: float, places: list[tuple[float, ...]]) -> None:
    top = function.levels[-1]
    assert function.minimum == least
    assert function.minimisers == tuple(places)
    for place in places:
        assert abs(value(function, place, top) - least) < 5.1e-6  # half of the last digit that is printed
        found = scipy.optimize.minimize(
            lambda x: float(function(x[None], top)[0]), place, bounds=function.bounds, options={"ftol": 1e-15}
        )
        assert np.abs(found.x - place).max() < 1e-3
    assert function(uniform(function, 20_000, seed=2), top).min() > least - 5.1e-6


#: Best values found by the authors of BOCA (Kandasamy et al. 2017), in dragonfly's synthetic functions.
MAXIMA = [
    (currin, 13.7986850, (0.21667, 0.0)),
    (borehole, 309.523221, (0.15, 100.0, 115_600.0, 1110.0, 116.0, 700.0, 1120.0, 12_045.0)),
    (park91a, 25.5872304, (1.0, 1.0, 1.0, 1.0)),
    (park91b, 5.925698, (1.0, 1.0, 1.0, 0.0)),
]


@pytest.mark.parametrize(("function", "found", "place"), MAXIMA, ids=lambda p: getattr(p, "name", ""))
def test_published_maxima(function: MultiFidelityFunction, found: float, place: tuple[float, ...]) -> None:
    """What a search has found is just below the value at the maximiser."""
    greatest = value(function, place, "high")
    assert 0 <= greatest - found < 2e-4 * found
    assert function(uniform(function, 20_000, seed=3), "high").max() < greatest


def test_the_domains_of_the_literature() -> None:
    assert branin.bounds == ((-5, 10), (0, 15))
    assert dict(zip(borehole.inputs, borehole.bounds, strict=True)) == {
        "r_w": (0.05, 0.15),
        "r": (100, 50000),
        "T_u": (63070, 115600),
        "H_u": (990, 1110),
        "T_l": (63.1, 116),
        "H_l": (700, 820),
        "L": (1120, 1680),
        "K_w": (9855, 12045),
    }
    for name in set(OWN) - {"branin", "borehole"}:
        assert set(FUNCTIONS[name].bounds) == {(0, 1)}
    assert {name: len(FUNCTIONS[name].inputs) for name in OWN} == {
        "borehole": 8, "branin": 2, "currin": 2, "forrester": 1, "hartmann3": 3, "hartmann6": 6,
        "nonlinear_sine": 1, "park91a": 4, "park91b": 4,
    }  # fmt: skip


# --- limits at the ends of the domain, and the domain itself ---


def test_limits_where_the_printed_formula_divides_by_zero() -> None:
    for level in currin.levels:
        assert abs(value(currin, (0.3, 0.0), level) - value(currin, (0.3, 1e-9), level)) < 1e-6
    assert value(currin, (0.0, 0.0), "high") == 60 / 20
    for level in park91a.levels:
        assert abs(value(park91a, (0.0, 0.2, 0.3, 0.4), level) - value(park91a, (1e-9, 0.2, 0.3, 0.4), level)) < 1e-6
    assert value(park91a, (0.0, 0.2, 0.0, 0.8), "high") == pytest.approx(0.5 * 0.4 + 2.4 * math.e, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_the_domain_belong_to_it(name: str) -> None:
    function = FUNCTIONS[name]
    corners = np.array(function.bounds).T  # (2, d)
    for level in function.levels:
        values = function(corners, level)
        assert values.shape == (2,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_places_outside_the_domain_are_named(name: str) -> None:
    function = FUNCTIONS[name]
    last, (low, high) = function.inputs[-1], function.bounds[-1]
    for bad in (low - 1e-6 * (high - low), high + 1e-6 * (high - low), float("nan"), float("inf")):
        x = uniform(function, 3, seed=4)
        x[1, -1] = bad
        with pytest.raises(DataError, match=rf"{function.name}'s input '{last}' is .* in row 1; values in \["):
            function(x, "low")


@pytest.mark.parametrize("x", [np.zeros(2), np.zeros((3, 1)), np.zeros((3, 3)), np.zeros((1, 3, 2)), np.float64(0)])
def test_shapes_are_named(x: Any) -> None:
    with pytest.raises(DataError, match=r"x has shape .*; Currin wants \(n, 2\): .* columns \('x1', 'x2'\)"):
        currin(x, "high")


def test_levels_are_named() -> None:
    with pytest.raises(DataError, match=r"fidelity 'mid' is unknown; Branin has \('low', 'medium', 'high'\), cheapest"):
        branin(np.zeros((1, 2)), "mid")


def test_no_points_give_no_values_and_the_argument_is_left_alone() -> None:
    assert currin(np.empty((0, 2)), "low").shape == (0,)
    x = uniform(currin, 5, seed=5)
    before = x.copy()
    currin(x, "low")
    np.testing.assert_array_equal(x, before)
    with pytest.raises(TypeError):
        FUNCTIONS["new"] = currin  # type: ignore[index]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "bounds": ({"bounds": ((0.0, 1.0),)}, r"Currin has 1 bounds; one for each of \('x1', 'x2'\)"),
    "functions": ({"levels": ("low",)}, r"Currin has 2 functions; one for each of \('low',\)"),
    "no levels": ({"levels": (), "functions": ()}, r"Currin has 0 functions; one for each of \(\)"),
    "units": ({"units": ("m", "m")}, r"Currin has 2 units; one for each of \('x1', 'x2'\) and y"),
    "taken": ({"inputs": ("x1", "y")}, "Currin has an input called 'y'; its datasets need that name"),
    "twice": ({"inputs": ("x1", "x1")}, r"Currin has the names \('x1', 'x1'\); each of them once"),
    "level twice": ({"levels": ("low", "low")}, r"Currin has the names \('low', 'low'\); each of them once"),
    "empty": ({"bounds": ((0.0, 1.0), (1.0, 1.0))}, r"Currin's input 'x2' has bounds \(1.0, 1.0\); finite low < high"),
    "infinite": ({"bounds": ((0.0, 1.0), (0.0, math.inf))}, r"Currin's input 'x2' has bounds \(0.0, inf\)"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_parts_that_do_not_fit_are_refused(what: str) -> None:
    changes, message = BROKEN[what]
    with pytest.raises(DataError, match=message):
        replace(currin, **changes)


# --- datasets ---


def rows(data: xr.Dataset, function: MultiFidelityFunction, level: str) -> Floats:
    """Points (n, d) of one level."""
    chosen = data.isel(sample=np.flatnonzero(data["fidelity"].to_numpy() == level))
    return np.stack([chosen[name].to_numpy() for name in function.inputs], axis=1)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_holds_the_functions_values_on_its_domain(name: str, nested: bool) -> None:
    function = FUNCTIONS[name]
    counts = [9, 5, 3][: len(function.levels)]
    data = function.dataset(counts, seed=6, nested=nested)
    assert set(data.variables) == {*function.inputs, "fidelity", "y"}
    assert data["fidelity"].to_numpy().tolist() == [
        level for level, count in zip(function.levels, counts, strict=True) for _ in range(count)
    ]
    assert data.attrs == {"function": function.name, "source": function.source}
    for level, count in zip(function.levels, counts, strict=True):
        x = rows(data, function, level)
        assert x.shape == (count, len(function.inputs))
        assert len(np.unique(x, axis=0)) == count
        np.testing.assert_array_equal(function(x, level), data["y"].to_numpy()[data["fidelity"].to_numpy() == level])


def test_units_where_there_are_some() -> None:
    data = borehole.dataset((2, 1), seed=0)
    assert data["y"].attrs == {"units": "m^3/year"}
    assert data["T_u"].attrs == {"units": "m^2/year"}
    assert data["K_w"].attrs == {"units": "m/year"}
    assert all(data[name].attrs == {"units": "m"} for name in ("r_w", "r", "H_u", "H_l", "L"))
    assert all(variable.attrs == {} for variable in forrester.dataset((2, 1), seed=0).variables.values())


def test_a_nested_design_holds_every_costlier_point_among_the_cheaper_ones() -> None:
    data = branin.dataset((12, 7, 4), seed=7, nested=True)
    low, medium, high = (set(map(tuple, rows(data, branin, level))) for level in branin.levels)
    assert high < medium < low
    assert (len(low), len(medium), len(high)) == (12, 7, 4)


def test_own_designs_share_no_point() -> None:
    data = branin.dataset((12, 12, 12), seed=7)
    assert len(np.unique(np.concatenate([rows(data, branin, level) for level in branin.levels]), axis=0)) == 36


@pytest.mark.parametrize("nested", [False, True])
def test_the_seed_decides_everything(nested: bool) -> None:
    first, again, other = (currin.dataset((8, 4), seed=seed, nested=nested) for seed in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not np.isin(first["x1"], other["x1"]).any()


@pytest.mark.parametrize("nested", [False, True])
def test_more_points_leave_the_first_ones_where_they_were(nested: bool) -> None:
    few, many = (currin.dataset(counts, seed=3, nested=nested) for counts in ((8, 3), (21, 20)))
    for level, count in (("low", 8), ("high", 3)):
        np.testing.assert_array_equal(rows(many, currin, level)[:count], rows(few, currin, level))


def test_the_design_is_low_in_discrepancy() -> None:
    """2^m points of a scrambled Sobol sequence: each of 2^m equal intervals of each input has one of them."""
    data = branin.dataset((32, 0, 0), seed=8)
    for name, (low, high) in zip(branin.inputs, branin.bounds, strict=True):
        cells = np.floor((data[name].to_numpy() - low) / (high - low) * 32)
        assert sorted(cells) == list(range(32))


@pytest.mark.parametrize("points", [(), (3,), (3, 2, 1), (3, -1), (0, 0), (3.0, 2)])
def test_counts_are_checked(points: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"points is .*; Currin wants a count >= 0 for each of \('low', 'high'\)"):
        currin.dataset(points, seed=0)


def test_a_nested_design_can_not_grow() -> None:
    with pytest.raises(DataError, match=r"points is \(3, 4\); a nested design .* or nested=False"):
        currin.dataset((3, 4), seed=0, nested=True)
    assert currin.dataset((3, 4), seed=0).sizes == {"sample": 7}
    assert currin.dataset((3, 3), seed=0, nested=True).sizes == {"sample": 6}
