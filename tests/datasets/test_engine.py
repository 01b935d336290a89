from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from surrogates.datasets import EngineProcess, Study, engine_surfaces
from surrogates.errors import DataError

Floats = NDArray[np.float64]
#: A process that leaves nothing on the surface; tests switch single causes on.
NOTHING = EngineProcess(
    fixture_tilt=0.0,
    spindle_tilt=0.0,
    full_width_force=0.0,
    rest_deviation=0.0,
    clamp_deviation=0.0,
    own_deviation=0.0,
    offset_deviation=0.0,
)
LENGTH, WIDTH, RADIUS = 350.0, 150.0, 28.0  # of the default deck [mm]
CENTRES = [(43.75, 75.0), (131.25, 75.0), (218.75, 75.0), (306.25, 75.0)]


def clearance(x: float, y: float) -> float:
    """Distance from the nearest bore's edge [mm], negative inside."""
    return min(math.hypot(x - a, y - b) for a, b in CENTRES) - RADIUS


def only(seed: int = 0, *, parts: int = 3, grid: tuple[int, int] = (100, 50), **causes: Any) -> Study:
    """Surfaces with these causes alone, read without noise."""
    process = replace(NOTHING, **causes)
    return engine_surfaces(seed=seed, parts=parts, grid=grid, process=process, repeatability=(0.0, 0.0))


def table(data: xr.Dataset, *names: str) -> Floats:
    return np.stack([data[name].to_numpy() for name in names], axis=1)


# --- the layout ---


def test_the_layout_and_the_units() -> None:
    study = engine_surfaces(seed=1, parts=2, points=(4, 7), grid=(30, 20))
    data, truth = study.observed, study.truth
    assert data.sizes == {"sample": 22}
    assert dict(truth.sizes) == {"part": 2, "x": 30, "y": 20}
    assert truth["part"].values.tolist() == ["block A", "block B"]
    counts = {key: len(group) for key, group in data.to_dataframe().groupby(["part", "gauge"])}
    assert counts == {
        (part, gauge): n for part in ("block A", "block B") for gauge, n in (("precise", 4), ("cheap", 7))
    }
    units = {name: str(data[name].attrs.get("units")) for name in data.variables}
    assert units == {"height": "um", "x": "mm", "y": "mm", "repeatability": "um", "part": "None", "gauge": "None"}
    assert [truth[name].attrs["units"] for name in ("height", "x", "y")] == ["um", "mm", "mm"]
    assert (float(truth["x"][0]), float(truth["x"][-1])) == (0, LENGTH)
    assert (float(truth["y"][0]), float(truth["y"][-1])) == (0, WIDTH)
    for gauge, deviation in (("precise", 0.3), ("cheap", 2.0)):
        assert set(data["repeatability"].values[data["gauge"].values == gauge]) == {deviation}


def test_the_parameters_say_how_it_was_made() -> None:
    study = engine_surfaces(seed=3, parts=2, points=(4, 7), grid=(30, 20), design="shared")
    made = {"seed": 3, "parts": 2, "points": [4, 7], "grid": [30, 20], "design": "shared", "noise_sd_um": [0.3, 2.0]}
    assert study.parameters == {**made, **asdict(EngineProcess())}


def test_more_than_26_blocks_are_numbered() -> None:
    names = engine_surfaces(parts=27, points=(1, 0), grid=(2, 2)).truth["part"].values
    assert (names[0], names[26]) == ("block 1", "block 27")
    assert engine_surfaces(parts=26, points=(1, 0), grid=(2, 2)).truth["part"].values[25] == "block Z"


# --- where there is metal ---


def test_the_truth_is_nan_inside_bores_and_nowhere_else() -> None:
    height = engine_surfaces(seed=2, grid=(71, 31)).truth["height"]
    inside = [[clearance(x, y) < 0 for y in height["y"].values] for x in height["x"].values]
    assert 0 < np.sum(inside) < np.size(inside)
    for part in np.isnan(height.values):
        np.testing.assert_array_equal(part, inside)


@pytest.mark.parametrize("design", ["own", "shared"])
def test_no_place_is_inside_a_bore_or_off_the_deck(design: str) -> None:
    data = engine_surfaces(seed=4, points=(400, 400), design=design).observed
    for x, y in table(data, "x", "y"):
        assert 0 <= x <= LENGTH
        assert 0 <= y <= WIDTH
        assert clearance(x, y) > 0


def test_places_are_uniform_on_the_metal() -> None:
    data = engine_surfaces(seed=5, parts=1, points=(6000, 0)).observed
    x, y = table(data, "x", "y").T
    metal = LENGTH * WIDTH - 4 * math.pi * RADIUS**2
    # a quarter of the deck, cut through symmetry lines; the strip above the bores; the rim around them up to 10 mm
    rim = 4 * math.pi * ((RADIUS + 10) ** 2 - RADIUS**2)
    near = np.array([clearance(a, b) < 10 for a, b in zip(x, y, strict=True)])
    shares = [
        ((x < LENGTH / 2) & (y < WIDTH / 2), 1 / 4),
        (y > WIDTH / 2 + RADIUS, LENGTH * (WIDTH / 2 - RADIUS) / metal),
        (near, rim / metal),
    ]
    for inside, share in shares:
        assert abs(inside.mean() - share) < 4 * math.sqrt(share * (1 - share) / 6000)


def test_a_shared_design_is_the_same_for_all_parts_and_an_own_one_is_not() -> None:
    for design, distinct in (("shared", 50), ("own", 150)):
        data = engine_surfaces(seed=6, design=design).observed
        assert len(np.unique(table(data, "x", "y"), axis=0)) == distinct
        first, second, third = table(data, "x", "y").reshape(3, 50, 2)
        assert np.array_equal(first, second) == np.array_equal(first, third) == (design == "shared")
    assert len(set(data["height"].values)) == 150


# --- seeds and streams ---


def test_the_seed_decides_everything() -> None:
    one, again, other = engine_surfaces(seed=7), engine_surfaces(seed=7), engine_surfaces(seed=8)
    xr.testing.assert_identical(one.observed, again.observed)
    xr.testing.assert_identical(one.truth, again.truth)
    assert float(abs(one.truth["height"] - other.truth["height"]).max()) > 1
    assert not np.isin(one.observed["x"], other.observed["x"]).any()


@pytest.mark.parametrize(
    "changes",
    [{"points": (3, 90)}, {"repeatability": (5.0, 9.0)}, {"noise_percent": (1.0, 2.0)}, {"design": "shared"}],
    ids=str,
)
def test_noise_and_points_do_not_change_the_surfaces(changes: dict[str, Any]) -> None:
    xr.testing.assert_identical(engine_surfaces(seed=9).truth, engine_surfaces(seed=9, **changes).truth)


def test_the_number_of_parts_does_not_change_the_first_ones() -> None:
    many, few = engine_surfaces(seed=9, parts=5).truth, engine_surfaces(seed=9, parts=2).truth
    xr.testing.assert_identical(many.isel(part=slice(2)), few)


def test_noise_levels_do_not_change_the_places() -> None:
    quiet, loud = (engine_surfaces(seed=10, repeatability=r).observed for r in ((0.0, 0.0), (3.0, 4.0)))
    xr.testing.assert_identical(quiet["x"], loud["x"])
    xr.testing.assert_identical(quiet["y"], loud["y"])


# --- noise ---


@pytest.mark.parametrize("design", ["own", "shared"])
def test_the_noise_has_the_stated_standard_deviations_and_is_white(design: str) -> None:
    arguments: dict[str, Any] = {"seed": 11, "points": (2000, 1000), "design": design}
    data = engine_surfaces(repeatability=(0.3, 2.0), **arguments).observed
    exact = engine_surfaces(repeatability=(0.0, 0.0), **arguments).observed
    noise = (data["height"] - exact["height"]).to_numpy()
    for gauge, deviation, n in (("precise", 0.3, 6000), ("cheap", 2.0, 3000)):
        unit = noise[data["gauge"].values == gauge] / deviation
        assert len(unit) == n
        assert abs(unit.mean()) < 4 / math.sqrt(n)
        assert abs((unit**2).mean() - 1) < 4 * math.sqrt(2 / n)
        parts = unit.reshape(3, -1)
        assert all(abs((p * q).mean()) < 4 / math.sqrt(n / 3) for p, q in pairwise(parts))
    for name in ("x", "y"):
        assert abs(np.corrcoef(noise, data[name])[0, 1]) < 4 / math.sqrt(9000)


def noise_of(seed: int, **arguments: Any) -> Floats:
    """What the gauges add to the exact heights, in the order of the readings [um]."""
    loud = engine_surfaces(seed=seed, **arguments).observed["height"]
    return np.asarray(loud - engine_surfaces(seed=seed, repeatability=(0.0, 0.0), **arguments).observed["height"])


def test_the_noise_has_a_stream_of_its_own() -> None:
    """Another design moves the places, but the readings' errors stay; another seed changes them."""
    own = noise_of(15)
    np.testing.assert_allclose(own, noise_of(15, design="shared"), atol=1e-12)
    np.testing.assert_allclose(own, noise_of(15, process=NOTHING), atol=1e-12)
    assert np.abs(own - noise_of(16)).max() > 1


def test_noise_in_per_cent_of_the_variance_within_parts() -> None:
    study = engine_surfaces(seed=12, noise_percent=(0.5, 12.5))
    within = np.mean([np.nanvar(part) for part in study.truth["height"].values])
    expected = [math.sqrt(0.005 * within), math.sqrt(0.125 * within)]
    np.testing.assert_allclose(study.parameters["noise_sd_um"], expected, rtol=1e-10)
    found = study.observed["repeatability"].values
    np.testing.assert_allclose(found[study.observed["gauge"].values == "cheap"], expected[1], rtol=1e-10)
    quiet = engine_surfaces(seed=12, noise_percent=(0.0, 0.0)).observed
    noise = (study.observed["height"] - quiet["height"]).to_numpy()
    assert np.all(noise != 0)
    xr.testing.assert_identical(quiet["height"], engine_surfaces(seed=12, repeatability=(0.0, 0.0)).observed["height"])


# --- the causes, one at a time ---


def test_no_cause_leaves_a_flat_face() -> None:
    study = only()
    assert np.nanmax(abs(study.truth["height"])) == 0
    assert np.abs(study.observed["height"]).max() == 0


def test_the_dish_by_hand_on_the_grid_and_at_the_readings() -> None:
    study = only(spindle_tilt=3e-4, cutter_radius=0.1)

    def by_hand(y: Floats) -> Floats:
        return 1e3 * (100 - np.sqrt(100**2 - (y - 75) ** 2)) * math.sin(3e-4)  # mm to um

    for _, part in study.truth["height"].groupby("part"):
        expected = np.broadcast_to(by_hand(study.truth["y"].values), part.squeeze().shape)
        metal = ~np.isnan(part.squeeze().values)
        np.testing.assert_allclose(part.squeeze().values[metal], expected[metal], rtol=1e-9, atol=1e-12)
    data = study.observed
    np.testing.assert_allclose(data["height"], by_hand(data["y"].values), rtol=1e-9, atol=1e-12)


def test_the_fixture_leaves_a_plane_about_the_decks_middle() -> None:
    slopes = []
    data = only(parts=120, grid=(2, 2), fixture_tilt=6e-5).observed
    for x, y, height in table(data, "x", "y", "height").reshape(120, 50, 3).transpose(0, 2, 1):
        basis = np.stack([x - LENGTH / 2, y - WIDTH / 2, np.ones(50)], axis=1)
        plane = np.linalg.lstsq(basis, height, rcond=None)[0]
        np.testing.assert_allclose(basis @ plane, height, atol=1e-9)
        assert abs(plane[2]) < 1e-9
        slopes.append(plane[:2] / 1e3)  # um/mm to rad
    found = np.array(slopes) / 6e-5
    assert abs((found**2).mean() - 1) < 4 * math.sqrt(2 / found.size)
    assert abs((found[:, 0] * found[:, 1]).mean()) < 4 / math.sqrt(len(found))


def test_offsets_have_their_standard_deviation() -> None:
    study = engine_surfaces(parts=400, points=(1, 0), grid=(2, 2), process=replace(NOTHING, offset_deviation=4e-6))
    offsets = study.truth["height"].isel(x=0, y=0).values / 4
    assert abs(offsets.mean()) < 4 / math.sqrt(400)
    assert abs((offsets**2).mean() - 1) < 4 * math.sqrt(2 / 400)
    np.testing.assert_array_equal(study.truth["height"].isel(x=1, y=1), study.truth["height"].isel(x=0, y=0))


def test_the_force_lifts_the_face_less_where_bores_are_and_grows_with_wear() -> None:
    study = only(full_width_force=600.0, spindle_stiffness=6e7, edge_compliance=0.0, wear=0.04)
    grid = study.truth["height"].isel(y=0)  # the edge y = 0, away from the bores
    for k, part in enumerate(grid.values):
        for x, height in zip(grid["x"].values, part, strict=True):
            chord = max((2 * math.sqrt(max(RADIUS**2 - (x - a) ** 2, 0)) for a, _ in CENTRES), default=0.0)
            assert height == pytest.approx(10 * (1 + 0.04 * k) * (1 - chord / WIDTH), rel=1e-10)


def test_the_walls_at_bores_spring_back() -> None:
    study = only(full_width_force=400.0, spindle_stiffness=1e30, edge_compliance=1.5e-8, edge_decay=0.010, wear=0.0)
    x, y, height = table(study.observed, "x", "y", "height").T
    for a, b, h in zip(x, y, height, strict=True):
        chord = max(2 * math.sqrt(max(RADIUS**2 - (a - c) ** 2, 0)) for c, _ in CENTRES)
        assert h == pytest.approx(6 * (1 - chord / WIDTH) * math.exp(-clearance(a, b) / 10), rel=1e-9)


def test_fixture_rests_press_the_same_form_into_every_part_and_castings_their_own() -> None:
    common, own = only(seed=13, rest_deviation=5e-6), only(seed=13, own_deviation=1.6e-6)
    for other in common.truth["height"].values[1:]:
        np.testing.assert_array_equal(other, common.truth["height"].values[0])
    assert float(common.truth["height"].std(["x", "y"]).mean()) > 1
    first, second, _ = own.truth["height"].values
    metal = ~np.isnan(first)
    assert float(own.truth["height"].std("part").mean()) > 0.5
    assert abs(np.corrcoef(first[metal], second[metal])[0, 1]) < 0.7


@pytest.mark.parametrize(("cause", "size"), [("rest_deviation", 5.0), ("own_deviation", 1.6)])
def test_smooth_causes_have_their_standard_deviations(cause: str, size: float) -> None:
    """Mean square at one corner over many seeds; a sum of 300 cosines is normal to within the standard error."""
    changes: dict[str, Any] = {cause: size * 1e-6}
    process = replace(NOTHING, **changes)
    studies = [engine_surfaces(seed=seed, parts=1, points=(1, 0), grid=(2, 2), process=process) for seed in range(400)]
    corners = np.array([study.truth["height"].values[0, 0, 0] for study in studies]) / size
    assert abs(corners.mean()) < 4 / math.sqrt(400)
    assert abs((corners**2).mean() - 1) < 4 * math.sqrt(2 / 400)


def test_clamping_bends_in_eight_modes_without_a_mean() -> None:
    """Coefficients of cos(mπx/L) cos(nπy/W) found again by least squares: normal, and none for m = n = 0."""
    coefficients = []
    indices = [(m, n) for m in range(3) for n in range(3)]
    data = only(parts=60, grid=(2, 2), clamp_deviation=0.7e-6).observed
    for x, y, height in table(data, "x", "y", "height").reshape(60, 50, 3).transpose(0, 2, 1):
        modes = [np.cos(m * np.pi * x / LENGTH) * np.cos(n * np.pi * y / WIDTH) for m, n in indices]
        basis = np.stack(modes, axis=1)
        solution = np.linalg.lstsq(basis, height, rcond=None)[0]
        np.testing.assert_allclose(basis @ solution, height, atol=1e-9)
        coefficients.append(solution / 0.7)
    found = np.array(coefficients)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-9)
    n = found[:, 1:].size
    assert abs((found[:, 1:] ** 2).mean() - 1) < 4 * math.sqrt(2 / n)


def test_causes_add_up() -> None:
    """The same seed draws the same tilts, fields and modes, whichever of them are switched on."""
    causes: dict[str, dict[str, Any]] = {
        "plane": {"fixture_tilt": 6e-5},
        "dish": {"spindle_tilt": 3e-4},
        "force": {"full_width_force": 400.0},
        "rests": {"rest_deviation": 5e-6},
        "clamps": {"clamp_deviation": 0.7e-6},
        "own": {"own_deviation": 1.6e-6},
        "offset": {"offset_deviation": 4e-6},
    }
    total = sum(only(seed=14, **single).truth["height"] for single in causes.values())
    together = engine_surfaces(seed=14, process=EngineProcess()).truth["height"]
    xr.testing.assert_allclose(total, together, rtol=1e-10, atol=1e-10)
    xr.testing.assert_identical(together, engine_surfaces(seed=14).truth["height"])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "parts": ({"parts": 0}, "parts is 0; at least one whole block"),
    "half a part": ({"parts": 2.5}, "parts is 2.5; at least one whole block"),
    "half a reading": ({"points": (2.5, 1)}, r"points is \(2.5, 1\); \(precise, cheap\) counts"),
    "half a place": ({"grid": (3, 2.5)}, r"grid is \(3, 2.5\); at least 2 places"),
    "negative": ({"points": (-1, 5)}, r"points is \(-1, 5\); \(precise, cheap\) counts >= 0"),
    "nothing": ({"points": (0, 0)}, r"points is \(0, 0\); .* at least one reading"),
    "one count": ({"points": (25,)}, r"points is \(25,\); \(precise, cheap\) counts"),
    "three counts": ({"points": (5, 5, 5)}, r"points is \(5, 5, 5\); \(precise, cheap\) counts"),
    "noise": ({"repeatability": (0.1, -0.2)}, r"repeatability is \(0.1, -0.2\); two numbers >= 0"),
    "noise is nan": ({"repeatability": (float("nan"), 0.2)}, r"repeatability is \(nan, 0.2\); two numbers >= 0"),
    "per cent": ({"noise_percent": (1.0,)}, r"noise_percent is \(1.0,\); two numbers >= 0"),
    "infinite": ({"noise_percent": (1.0, float("inf"))}, r"noise_percent is \(1.0, inf\); two numbers >= 0"),
    "design": ({"design": "same"}, "design is 'same'; choose 'own' or 'shared'"),
    "grid": ({"grid": (100, 1)}, r"grid is \(100, 1\); at least 2 places along x and y"),
    "one-dimensional grid": ({"grid": (100,)}, r"grid is \(100,\); at least 2 places along x and y"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments_are_named(what: str) -> None:
    arguments, message = BAD[what]
    with pytest.raises(DataError, match=message):
        engine_surfaces(**arguments)


def test_a_cutter_that_does_not_reach_the_edge_is_named() -> None:
    with pytest.raises(DataError, match=r"the cutter of radius 0.07 m doesn't reach 0.075 m .*larger cutter_radius"):
        engine_surfaces(process=EngineProcess(cutter_radius=0.07))
