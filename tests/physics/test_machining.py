from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from surrogates.errors import DataError
from surrogates.physics.machining import (
    Deck,
    SmoothField,
    axial_force,
    clamping_modes,
    dish,
    smooth_field,
    spindle_waviness,
    spring_back,
    tilt,
)

Floats = NDArray[np.float64]
DECK = Deck(length=0.4, width=0.2, bores=2, bore_radius=0.05)


def number(value: Any) -> float:
    return float(np.asarray(value))


# --- the deck ---


def test_bores_are_equally_spaced_along_the_middle() -> None:
    np.testing.assert_allclose(DECK.bore_centres(), [(0.1, 0.1), (0.3, 0.1)], rtol=1e-14)
    np.testing.assert_allclose(Deck(bores=1).bore_centres(), [(0.175, 0.075)], rtol=1e-14)
    assert Deck(bores=0).bore_centres().shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "y", "distance"),
    [
        (0.1, 0.1, -0.05),  # a centre
        (0.15, 0.1, 0.0),  # an edge
        (0.2, 0.1, 0.05),  # half-way between the two
        (0.0, 0.1, 0.05),
        (0.13, 0.14, 0.0),  # 3-4-5
        (0.36, 0.18, 0.05),  # 6-8-10 from the second bore
    ],
)
def test_distance_to_the_nearest_bore(x: float, y: float, distance: float) -> None:
    assert number(DECK.distance_to_bore(np.array(x), np.array(y))) == pytest.approx(distance, abs=1e-15)


def test_distance_broadcasts_and_is_infinite_without_bores() -> None:
    x, y = np.linspace(0, 0.4, 5)[:, None], np.linspace(0, 0.2, 3)[None, :]
    found = DECK.distance_to_bore(x, y)
    assert found.shape == (5, 3)
    assert found[3, 2] == number(DECK.distance_to_bore(x[3, 0], y[0, 2]))
    assert np.all(Deck(bores=0).distance_to_bore(x, y) == math.inf)


@pytest.mark.parametrize("deck", [Deck(), DECK, Deck(bores=1), Deck(bores=0)], ids=lambda d: f"{d.bores} bores")
def test_the_engaged_width_integrates_to_the_metals_area(deck: Deck) -> None:
    edges = [x + s * deck.bore_radius for x, _ in deck.bore_centres() for s in (-1, 1)]
    ends = [0.0, *edges, deck.length]
    pieces = [quad(lambda x: number(deck.engaged_width(np.array(x))), a, b)[0] for a, b in pairwise(ends)]
    metal = deck.length * deck.width - deck.bores * math.pi * deck.bore_radius**2
    assert sum(pieces) == pytest.approx(metal, rel=1e-8)  # square roots at the edges cost quad some digits


def test_the_engaged_width_counts_metal_on_a_line() -> None:
    """Share of points with metal under them on lines across the feed."""
    y = (np.arange(100_000) + 0.5) / 100_000 * DECK.width
    for x in (0.0, 0.06, 0.1, 0.13, 0.2, 0.31):
        metal = float((DECK.distance_to_bore(np.full_like(y, x), y) > 0).mean())
        assert number(DECK.engaged_width(np.array(x))) == pytest.approx(metal * DECK.width, abs=5e-6)
    np.testing.assert_allclose(DECK.engaged_width(np.array([0.1, 0.13, 0.17])), [0.1, 0.12, 0.2], rtol=1e-10)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "length": ({"length": 0.0}, "length is 0.0; it must be a length > 0 in metres"),
    "width": ({"width": -0.1}, "width is -0.1; it must be a length > 0 in metres"),
    "radius": ({"bore_radius": float("nan")}, "bore_radius is nan; it must be a length > 0 in metres"),
    "along": ({"bores": 7}, r"7 bores of radius 0.028 m don't fit into 0.35 m x 0.15 m"),
    "across": ({"bore_radius": 0.075, "bores": 1}, r"1 bores of radius 0.075 m don't fit into"),
    "negative": ({"bores": -1}, r"-1 bores of radius 0.028 m don't fit into"),
}


@pytest.mark.parametrize("what", BAD)
def test_decks_that_can_not_be_are_refused(what: str) -> None:
    arguments, message = BAD[what]
    with pytest.raises(DataError, match=message):
        Deck(**arguments)


def test_a_deck_without_bores_asks_nothing_of_their_radius() -> None:
    plain = Deck(bores=0, bore_radius=0.5)
    assert np.isinf(plain.distance_to_bore(np.array(0.1), np.array(0.1)))
    assert number(plain.engaged_width(np.array(0.1))) == plain.width


# --- fixture, spindle, cutter ---


def test_the_tilted_plane_rises_with_the_tangent() -> None:
    assert number(tilt(np.array(2.0), np.array(7.0), about_y=math.pi / 4, about_x=0.0)) == pytest.approx(2.0)
    assert number(tilt(np.array(2.0), np.array(3.0), about_y=0.0, about_x=-math.pi / 6)) == pytest.approx(-math.sqrt(3))
    x, y = np.linspace(-1, 1, 4)[:, None], np.linspace(-2, 2, 3)[None, :]
    both = tilt(x, y, about_y=1e-4, about_x=-3e-4)
    assert both.shape == (4, 3)
    np.testing.assert_allclose(both, 1e-4 * x - 3e-4 * y, rtol=1e-6)  # tan a = a (1 + a²/3)


def test_the_dish_is_the_lower_envelope_of_the_tilted_rim() -> None:
    """Turn a circle about the y-axis in space; at each y keep the lower of its two points; start at the path's."""
    R, φ = 0.1, 0.02
    turn = np.array([[math.cos(φ), 0, math.sin(φ)], [0, 1, 0], [-math.sin(φ), 0, math.cos(φ)]])
    for v in (-0.09, -0.03, 0.0, 0.05, 0.0999):
        points = [turn @ np.array([s * math.sqrt(R**2 - v**2), v, 0.0]) for s in (-1, 1)]
        assert all(point[1] == pytest.approx(v) for point in points)
        lowest_on_path = -R * math.sin(φ)
        expected = min(point[2] for point in points) - lowest_on_path
        found = number(dish(np.array(0.3 + v), centre=0.3, cutter_radius=R, spindle_tilt=φ))
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-16)


def test_the_dish_is_a_parabola_near_the_path() -> None:
    """The ratio to v²φ/(2R) is 1 + v²/(4R²) + O(v⁴): its error falls by four when v is halved."""
    R, φ = 0.1, 3e-4
    v = np.array([0.02, 0.01, 0.005])
    errors = dish(v, centre=0.0, cutter_radius=R, spindle_tilt=φ) / (v**2 * φ / (2 * R)) - 1
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4, rtol=0.03)
    np.testing.assert_allclose(errors, v**2 / (4 * R**2), rtol=0.03)


def test_the_dish_is_concave_symmetric_and_reaches_the_rim() -> None:
    y = np.linspace(0, 0.2, 41)
    depth = dish(y, centre=0.1, cutter_radius=0.1, spindle_tilt=0.01)
    np.testing.assert_allclose(depth, depth[::-1], atol=1e-15)
    assert depth.argmin() == 20
    assert depth[20] == 0
    assert np.all(np.diff(depth, 2) > 0)
    assert depth[0] == pytest.approx(0.1 * math.sin(0.01), rel=1e-10)
    with pytest.raises(
        DataError, match=r"the cutter of radius 0.05 m doesn't reach 0.1 m from its path; .*cutter_radius"
    ):
        dish(y, centre=0.1, cutter_radius=0.05, spindle_tilt=0.01)
    assert dish(np.empty(0), centre=0.1, cutter_radius=0.05, spindle_tilt=0.01).shape == (0,)


def test_the_force_follows_the_metal_and_the_spindle_yields() -> None:
    x = np.array([0.0, 0.1, 0.13, 0.2])  # engaged widths 0.2, 0.1, 0.12, 0.2 of 0.2
    np.testing.assert_allclose(axial_force(DECK, x, full_width_force=300.0), [300, 150, 180, 300], rtol=1e-10)
    waviness = spindle_waviness(DECK, x, full_width_force=300.0, spindle_stiffness=6e7)
    np.testing.assert_allclose(waviness, [5e-6, 2.5e-6, 3e-6, 5e-6], rtol=1e-10)


def test_spring_back_falls_by_e_over_a_decay_length() -> None:
    """Along the line through a bore's centre the force is constant and the distance is y - W/2 - r."""

    def at(distance: float) -> float:
        y = np.array(0.1 + 0.05 + distance)
        return number(spring_back(DECK, np.array(0.1), y, full_width_force=300.0, edge_compliance=2e-8, decay=0.01))

    assert at(0.0) == pytest.approx(150 * 2e-8, rel=1e-10)
    for distance in (0.0, 0.004, 0.03):
        assert at(distance) / at(distance + 0.01) == pytest.approx(math.e, rel=1e-10)
    assert at(-0.03) == pytest.approx(at(0.0), rel=1e-10)  # inside a bore there is no metal: the edge's value goes on


def test_spring_back_between_bores_and_without_them() -> None:
    arguments = {"full_width_force": 300.0, "edge_compliance": 2e-8, "decay": 0.01}
    middle = spring_back(DECK, np.array(0.2), np.array(0.1), **arguments)
    assert number(middle) == pytest.approx(300 * 2e-8 * math.exp(-5), rel=1e-10)
    none = spring_back(Deck(bores=0), np.linspace(0, 0.3, 4)[:, None], np.linspace(0, 0.1, 3), **arguments)
    np.testing.assert_array_equal(none, np.zeros((4, 3)))


# --- clamps ---


def test_clamping_modes_by_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    a, x, y = rng.normal(size=(3, 4)), rng.uniform(0, 0.4, 6), rng.uniform(0, 0.2, 6)
    expected = [
        sum(
            a[m, n] * math.cos(m * math.pi * p / 0.4) * math.cos(n * math.pi * q / 0.2)
            for m in range(3)
            for n in range(4)
        )
        for p, q in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(clamping_modes(DECK, x, y, amplitudes=a), expected, rtol=1e-10, atol=1e-13)
    assert clamping_modes(DECK, x[:, None], y[None, :], amplitudes=a).shape == (6, 6)


def test_clamping_modes_at_corners_and_middle() -> None:
    bend, twist, offset = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3))
    bend[2, 0], twist[1, 1], offset[0, 0] = 1.0, 1.0, 1.0
    x, y = np.array([0.0, 0.2, 0.4])[:, None], np.array([0.0, 0.1, 0.2])[None, :]
    flat = np.ones((3, 3))
    np.testing.assert_allclose(clamping_modes(DECK, x, y, amplitudes=bend), [[1] * 3, [-1] * 3, [1] * 3], atol=1e-15)
    np.testing.assert_allclose(
        clamping_modes(DECK, x, y, amplitudes=twist), [[1, 0, -1], [0, 0, 0], [-1, 0, 1]], atol=1e-15
    )
    np.testing.assert_allclose(clamping_modes(DECK, x, y, amplitudes=offset), flat, atol=1e-15)


def test_clamping_modes_are_orthogonal_with_free_ends() -> None:
    """∫∫ of two modes over the deck by Gauss-Legendre: LW/4, halved once less for each index that is 0."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    x, y = 0.2 * (nodes + 1), 0.1 * (nodes + 1)
    modes = []
    for index in range(9):
        amplitudes = np.zeros(9)
        amplitudes[index] = 1.0
        modes.append(clamping_modes(DECK, x[:, None], y[None, :], amplitudes=amplitudes.reshape(3, 3)))
    gram = np.einsum("aij,bij,i,j->ab", modes, modes, 0.2 * weights, 0.1 * weights)
    squares = [0.4 * 0.2 * (1 if m == 0 else 0.5) * (1 if n == 0 else 0.5) for m in range(3) for n in range(3)]
    np.testing.assert_allclose(gram, np.diag(squares), atol=1e-14)


# --- smooth random form ---


def matern52(r: float) -> float:
    return (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)


LENGTHSCALES = (0.07, 0.03)
#: Steps in x and y, along both axes and aslant.
STEPS = [(0.0, 0.0), (0.035, 0.0), (0.07, 0.0), (0.0, 0.03), (0.0, 0.06), (0.05, -0.02), (0.14, 0.06)]


def correlation(dx: float, dy: float) -> float:
    return matern52(math.hypot(dx / LENGTHSCALES[0], dy / LENGTHSCALES[1]))


def test_a_smooth_field_is_its_sum_of_cosines() -> None:
    field = smooth_field(np.random.default_rng(1), deviation=2e-6, lengthscales=LENGTHSCALES, terms=7)
    assert field.frequencies.shape == (7, 2)
    assert field.phases.shape == (7,)
    x, y = 0.11, 0.07
    terms = [math.cos(w[0] * x + w[1] * y + φ) for w, φ in zip(field.frequencies, field.phases, strict=True)]
    assert number(field(np.array(x), np.array(y))) == pytest.approx(2e-6 * math.sqrt(2 / 7) * sum(terms), rel=1e-10)
    assert field(np.zeros((3, 1)), np.zeros((1, 4))).shape == (3, 4)
    one = SmoothField(np.array([[0.0, 0.0]]), np.array([0.0]), 3.0)
    assert number(one(np.array(1.0), np.array(1.0))) == pytest.approx(3 * math.sqrt(2))


def test_the_frequencies_have_the_spectrum_of_a_matern52() -> None:
    """Bochner: E cos(w'd) is the correlation at the step d. The standard error follows from E cos² = (1 + k(2d))/2."""
    n = 200_000
    field = smooth_field(np.random.default_rng(2), deviation=1.0, lengthscales=LENGTHSCALES, terms=n)
    for dx, dy in STEPS[1:]:
        k = correlation(dx, dy)
        error = math.sqrt(((1 + correlation(2 * dx, 2 * dy)) / 2 - k**2) / n)
        assert abs(np.cos(field.frequencies @ [dx, dy]).mean() - k) < 4 * error
        assert abs(np.sin(field.frequencies @ [dx, dy]).mean()) < 4 / math.sqrt(2 * n) * 1.5


def test_drawn_fields_have_the_covariance_of_a_matern52() -> None:
    generator, n = np.random.default_rng(3), 4000
    base = np.array([0.13, 0.04])
    places = base + np.array(STEPS)
    heights = np.array(
        [smooth_field(generator, deviation=2.0, lengthscales=LENGTHSCALES, terms=40)(*places.T) for _ in range(n)]
    )  # (n, steps)
    assert np.abs(heights.mean(axis=0)).max() < 4.5 * 2.0 / math.sqrt(n)
    products = heights[:, :1] * heights  # (n, steps)
    errors = products.std(axis=0) / math.sqrt(n)
    expected = np.array([4.0 * correlation(*step) for step in STEPS])
    assert np.all(np.abs(products.mean(axis=0) - expected) < 4 * errors)


def test_the_generator_decides_the_field() -> None:
    one, again, other = (
        smooth_field(np.random.default_rng(seed), deviation=1.0, lengthscales=LENGTHSCALES) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.frequencies, again.frequencies)
    np.testing.assert_array_equal(one.phases, again.phases)
    assert not np.isin(one.phases, other.phases).any()
    assert len(one.phases) == 300
    assert one.phases.min() >= 0
    assert 6 < one.phases.max() < 2 * math.pi
