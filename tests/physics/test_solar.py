from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad

from surrogates.errors import DataError
from surrogates.physics.solar import SOLAR_CONSTANT, SURFACES, facade_irradiance, split_global, sun_position

Floats = NDArray[np.float64]
HOUR = np.timedelta64(3_600_000_000_000, "ns")
TILT = 23.44


def moment(text: str) -> NDArray[np.datetime64]:
    return np.array(text, dtype="datetime64[ns]")


def day(text: str, *, step_hours: float = 1.0) -> NDArray[np.datetime64]:
    """Ends of the intervals of a day."""
    steps = np.arange(1, round(24 / step_hours) + 1)
    return np.datetime64(text, "ns") + (steps * step_hours * 3.6e12).astype("timedelta64[ns]")


# --- the sun ---


def test_published_example_of_the_solar_position_algorithm() -> None:
    """Reda & Andreas, NREL/TP-560-34302, table A5.1; their zenith includes .02 degrees of refraction."""
    altitude, azimuth = sun_position(moment("2003-10-17T12:30:30"), 39.742476, -105.1786, -7)
    assert 90 - math.degrees(altitude) == pytest.approx(50.11, abs=0.03)
    assert math.degrees(azimuth) == pytest.approx(194.34, abs=0.02)


@pytest.mark.parametrize(
    ("instant", "declination"),
    [("2021-06-21T03:32", TILT), ("2021-12-21T15:59", -TILT), ("2021-03-20T09:37", 0.0), ("2021-09-22T19:21", 0.0)],
)
@pytest.mark.parametrize("latitude", [-35.0, 0.0, 28.0, 60.0])
def test_noon_altitude_at_solstices_and_equinoxes(instant: str, declination: float, latitude: float) -> None:
    longitude = np.linspace(-180, 180, 7201)  # somewhere it is noon
    altitude, _ = sun_position(moment(instant), latitude, longitude, 0)
    assert math.degrees(altitude.max()) == pytest.approx(90 - abs(latitude - declination), abs=0.02)


@pytest.mark.parametrize(("date", "declination"), [("2021-06-21", TILT), ("2021-12-21", -TILT)])
def test_length_of_the_day_follows_the_sunrise_hour_angle(date: str, declination: float) -> None:
    altitude, _ = sun_position(day(date, step_hours=1 / 60), 50.0, 8.0, 1)
    hour_angle = math.degrees(math.acos(-math.tan(math.radians(50)) * math.tan(math.radians(declination))))
    assert (altitude > 0).sum() / 60 == pytest.approx(2 * hour_angle / 15, abs=0.05)


@pytest.mark.parametrize(("date", "minutes"), [("2021-11-03", -16.4), ("2021-02-11", 14.2)])
def test_equation_of_time(date: str, minutes: float) -> None:
    time = day(date, step_hours=1 / 60)
    altitude, _ = sun_position(time, 20.0, 0.0, 0)
    noon = time[int(altitude.argmax())] - np.datetime64(f"{date}T12:00", "ns")
    assert noon / HOUR * 60 == pytest.approx(minutes, abs=1.1)


def test_azimuth_runs_from_east_over_noon_to_west() -> None:
    time = day("2021-03-20")
    for latitude, noon in ((50.0, 180.0), (-35.0, 0.0)):
        _, azimuth = sun_position(time, latitude, 0.0, 0)
        assert math.degrees(azimuth[6]) == pytest.approx(90, abs=15)
        assert math.degrees(math.remainder(azimuth[11] - math.radians(noon), 2 * math.pi)) == pytest.approx(0, abs=5)
        assert math.degrees(azimuth[17]) == pytest.approx(270, abs=15)


def test_utc_offset_only_renames_the_moment() -> None:
    here = sun_position(moment("2021-05-01T15:00"), 40.0, -80.0, -5)
    there = sun_position(moment("2021-05-01T20:00"), 40.0, -80.0, 0)
    np.testing.assert_allclose(here, there, rtol=1e-13)


# --- walls ---


def test_a_grey_sky_gives_the_view_factors() -> None:
    found = facade_irradiance(day("2021-06-21"), 0.0, 100.0, 40.0, 0.0, 0, step_hours=1, albedo=0.2)
    assert found.shape == (24, len(SURFACES))
    np.testing.assert_allclose(found, np.broadcast_to([100, 60, 60, 60, 60], (24, 5)), rtol=1e-14)


def test_the_night_has_no_beam() -> None:
    assert (facade_irradiance(moment("2021-06-21T01:00"), 500.0, 0.0, 40.0, 0.0, 0, step_hours=1) == 0).all()


def test_beam_follows_an_integral_over_the_interval_that_ends_at_the_stamp() -> None:
    end = moment("2021-04-10T10:00")
    found = facade_irradiance(end, 700.0, 0.0, 40.0, 10.0, 1, step_hours=1, albedo=0)

    def cosine(hours_before: float, surface: int) -> float:
        altitude, azimuth = sun_position(end - np.timedelta64(round(hours_before * 3.6e12), "ns"), 40.0, 10.0, 1)
        sun = (
            math.cos(altitude) * math.sin(azimuth),
            math.cos(altitude) * math.cos(azimuth),
            math.sin(altitude),
        )
        normal = [(0, 0, 1), (0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0)][surface]  # east, north, up
        return max(sum(a * b for a, b in zip(sun, normal, strict=True)), 0.0)

    for surface in range(5):
        assert found[surface] == pytest.approx(700 * quad(cosine, 0, 1, args=(surface,))[0], rel=2e-3, abs=1e-9)
    assert found[2] > found[1] > found[4] == 0.0  # morning


def test_beam_of_the_hour_of_sunrise_counts_only_while_the_sun_is_up() -> None:
    """A beam D during the second half of an hour has the mean D/2 and lights the roof by D/2 times the cosine then."""
    time = day("2021-03-20", step_hours=1 / 60)
    altitude, _ = sun_position(time, 0.0, 0.0, 0)
    first = time[int((altitude > 0).argmax())]
    end = first + HOUR / 2
    found = facade_irradiance(end, 400.0, 0.0, 0.0, 0.0, 0, step_hours=1)
    sine_at_middle = math.sin(math.radians(15 / 4))
    assert found[0] == pytest.approx(400 * sine_at_middle, rel=0.25)
    without = facade_irradiance(first - HOUR / 60, 400.0, 0.0, 0.0, 0.0, 0, step_hours=1)
    assert (without == 0).all()


def test_units_and_time_broadcast() -> None:
    time, latitude = day("2021-06-21"), np.array([[28.0], [60.0]])
    beam = np.full((2, 24), 300.0)
    together = facade_irradiance(time, beam, 50.0, latitude, -82.0, -5, step_hours=1)
    assert together.shape == (2, 24, 5)
    for u in range(2):
        alone = facade_irradiance(time, beam[u], 50.0, latitude[u], -82.0, -5, step_hours=1)
        np.testing.assert_allclose(together[u], alone, rtol=1e-14)
    skies = np.stack([np.full(24, 50.0), np.full(24, 80.0)])  # one beam under two skies
    of_each = facade_irradiance(time, beam[0], skies, 28.0, -82.0, -5, step_hours=1)
    for u in range(2):
        alone = facade_irradiance(time, beam[0], skies[u], 28.0, -82.0, -5, step_hours=1)
        np.testing.assert_allclose(of_each[u], alone, rtol=1e-14)


# --- splitting ---


@pytest.mark.parametrize(
    ("clearness", "diffuse"), [(0.1, 0.991), (0.22, 0.9802), (0.5, 0.6592), (0.7, 0.2440), (0.85, 0.165)]
)
def test_diffuse_share_of_erbs(clearness: float, diffuse: float) -> None:
    """Values of the correlation worked out by hand; the sun's distance by Spencer's 1 + .033 cos(2π n/365)."""
    end = moment("2021-06-21T12:30")
    outside = SOLAR_CONSTANT * (1 + 0.033 * math.cos(2 * math.pi * 172 / 365))
    altitude, _ = sun_position(end - np.arange(60) * HOUR / 60, 40.0, 0.0, 0)
    G = clearness * outside * float(np.sin(altitude).mean())
    _, D = split_global(G, end, 40.0, 0.0, 0, step_hours=1)
    assert float(D) / G == pytest.approx(diffuse, abs=4e-3)


@settings(max_examples=60, deadline=None)
@given(
    latitude=st.floats(-66, 66),
    at=st.integers(0, 365 * 24),
    G=st.floats(0, 1200),
    step_hours=st.sampled_from([0.25, 0.5, 1.0]),
)
def test_split_and_put_together_again(latitude: float, at: int, G: float, step_hours: float) -> None:
    end = np.asarray(np.datetime64("2021-01-01T00:00", "ns") + at * HOUR)
    B, D = split_global(G, end, latitude, 15.0, 1, step_hours=step_hours)
    assert B >= 0
    assert D >= -1e-12
    assert B <= SOLAR_CONSTANT * 1.04
    found = facade_irradiance(end, B, D, latitude, 15.0, 1, step_hours=step_hours)
    assert found[..., 0] == pytest.approx(G, rel=1e-12, abs=1e-12)
    assert (found >= 0).all()


def test_all_light_of_the_night_is_diffuse() -> None:
    B, D = split_global(3.0, moment("2021-06-21T01:00"), 40.0, 0.0, 0, step_hours=1)
    assert (float(B), float(D)) == (0.0, 3.0)


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latitude": 91.0}, "latitude is 91"),
        ({"longitude": -181.0}, "longitude is -181"),
        ({"utc_offset": 15.0}, "utc_offset is 15"),
        ({"latitude": math.nan}, "latitude is nan"),
        ({"direct_normal": -1.0}, "direct_normal holds -1"),
        ({"diffuse_horizontal": math.nan}, "diffuse_horizontal holds nan"),
        ({"step_hours": 0.0}, "step_hours is 0"),
        ({"albedo": 1.5}, "albedo is 1.5"),
    ],
)
def test_refusals(change: dict[str, float], words: str) -> None:
    given_ = {
        "direct_normal": 1.0, "diffuse_horizontal": 1.0, "latitude": 40.0, "longitude": 0.0, "utc_offset": 0.0,
        "step_hours": 1.0, "albedo": 0.2,
    } | change  # fmt: skip
    with pytest.raises(DataError, match=words):
        facade_irradiance(day("2021-06-21"), **given_)


def test_missing_times_and_negative_global_are_refused() -> None:
    with pytest.raises(DataError, match="NaT"):
        sun_position(np.array(["NaT"], dtype="datetime64[ns]"), 40.0, 0.0, 0)
    with pytest.raises(DataError, match="global_horizontal holds -2"):
        split_global(-2.0, moment("2021-06-21T12:00"), 40.0, 0.0, 0, step_hours=1)
