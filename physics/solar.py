"""Where the sun stands, and what falls on the four walls and the roof of a house.

Sun: the low-precision ephemeris of Meeus, Astronomical Algorithms (2nd ed., ch. 25), as NOAA's solar calculator uses it;
good to about 0.01 degree for 1950-2050, without refraction. Sky: isotropic (Liu & Jordan 1963). Split of global irradiance:
Erbs, Klein & Duffie, Solar Energy 28 (1982) 293.

Angles are in radians, places in degrees (east positive). Times are local standard time: UTC plus `utc_offset` hours.
Places may be arrays that broadcast against the time, such as (unit, 1) against (time,).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]
#: what the last axis of `facade_irradiance` holds
SURFACES = ("horizontal", "south", "east", "north", "west")
SOLAR_CONSTANT = 1361.0  # W/m², Kopp & Lean (2011)
_AZIMUTHS = np.deg2rad([180.0, 90.0, 0.0, 270.0])  # of the normals of the walls, clockwise from north
_POINTS = 5  # moments inside an interval; sunrise and sunset fall inside intervals
_HOUR = np.timedelta64(3_600_000_000_000, "ns")


def sun_position(
    time: Times, latitude: ArrayLike, longitude: ArrayLike, utc_offset: ArrayLike
) -> tuple[Floats, Floats]:
    """Altitude above the horizon and azimuth clockwise from north [rad], at these moments.

    Parameters
    ----------
    time : datetime64, local standard time
    latitude, longitude : [degrees], north and east positive
    utc_offset : local standard time less UTC [h]

    Returns
    -------
    altitude in [-π/2, π/2] and azimuth in [0, 2π), of the shape of everything broadcast

    Raises
    ------
    DataError
        If a place can't be on Earth, or a time is missing (NaT).

    Examples
    --------
    >>> noon = np.array("2021-06-21T12:02", dtype="datetime64[ns]")
    >>> altitude, azimuth = sun_position(noon, 50.0, 0.0, 0.0)
    >>> print(f"{np.rad2deg(altitude):.1f} {np.rad2deg(azimuth):.0f}")
    63.4 180
    """
    φ, λ, utc_offset = _place(latitude, longitude, utc_offset)
    sun = _ephemeris(time, utc_offset)
    hour_angle = np.deg2rad(sun.minutes / 4 + np.rad2deg(λ) - 180)
    sin_altitude = np.sin(φ) * np.sin(sun.declination) + np.cos(φ) * np.cos(sun.declination) * np.cos(hour_angle)
    east = -np.cos(sun.declination) * np.sin(hour_angle)
    north = np.cos(φ) * np.sin(sun.declination) - np.sin(φ) * np.cos(sun.declination) * np.cos(hour_angle)
    altitude = np.arctan2(sin_altitude, np.hypot(east, north))  # arcsin loses half the digits near the zenith
    return np.asarray(altitude), np.asarray(np.arctan2(east, north) % (2 * math.pi))


def facade_irradiance(
    time: Times,
    direct_normal: ArrayLike,
    diffuse_horizontal: ArrayLike,
    latitude: ArrayLike,
    longitude: ArrayLike,
    utc_offset: ArrayLike,
    *,
    step_hours: float,
    albedo: float = 0.2,
) -> Floats:
    """Mean global irradiance on a roof and on four walls.

    With the beam's mean cosine c_f over the part of the interval in which the sun is up (a mean of the beam counts only
    there), D the diffuse and G = B c_h + D the global horizontal irradiance:

        I_horizontal = B c_h + D,      I_wall = B c_wall + D/2 + albedo G/2

    Parameters
    ----------
    time : ends of the intervals, local standard time
    direct_normal, diffuse_horizontal : B and D, means over the intervals [W/m²]
    latitude, longitude, utc_offset : as in `sun_position`
    step_hours : length of the intervals [h]
    albedo : of the ground

    Returns
    -------
    (..., 5) on the `SURFACES` horizontal, south, east, north, west [W/m²]

    Raises
    ------
    DataError
        If an irradiance is negative or not finite, the step isn't positive, or albedo isn't in [0, 1].
    """
    if not 0 <= albedo <= 1:
        raise DataError(f"albedo is {albedo}; it is the share of light that the ground reflects, in [0, 1]")
    B, D = np.broadcast_arrays(
        _irradiance(direct_normal, "direct_normal"), _irradiance(diffuse_horizontal, "diffuse_horizontal")
    )
    altitude, azimuth = _inside(time, latitude, longitude, utc_offset, step_hours)  # (..., points)
    walls = [np.cos(altitude) * np.cos(azimuth - normal) for normal in _AZIMUTHS]
    cosine = np.stack([_while_up(c, altitude) for c in (np.sin(altitude), *walls)], axis=-1)  # (..., 5)
    beam = B[..., None] * cosine
    G = beam[..., :1] + D[..., None]
    sky = np.broadcast_to(D[..., None] / 2 + albedo * G / 2, beam.shape).copy()
    sky[..., 0] = D
    return np.asarray(beam + sky)


def split_global(
    global_horizontal: ArrayLike,
    time: Times,
    latitude: ArrayLike,
    longitude: ArrayLike,
    utc_offset: ArrayLike,
    *,
    step_hours: float,
) -> tuple[Floats, Floats]:
    """Direct normal and diffuse horizontal irradiance [W/m²] out of the global one, by the correlation of Erbs et al.

    Erbs' diffuse share is a function of the clearness k = G / (extraterrestrial on the horizontal). It was fitted to
    hourly values; the scatter about it is some 10-20 % of G. A beam is never stronger than outside the atmosphere; what
    would be above, close to sunrise and sunset, counts as diffuse, so that B c_h + D = G always holds.

    Parameters
    ----------
    global_horizontal : G, mean over the interval [W/m²]
    time : ends of the intervals, local standard time
    latitude, longitude, utc_offset : as in `sun_position`
    step_hours : length of the intervals [h]

    Returns
    -------
    direct_normal, diffuse_horizontal

    Raises
    ------
    DataError
        If an irradiance is negative or not finite, or the step isn't positive.
    """
    G = _irradiance(global_horizontal, "global_horizontal")
    altitude, _ = _inside(time, latitude, longitude, utc_offset, step_hours)
    c = _while_up(np.sin(altitude), altitude)
    up = (altitude > 0).mean(axis=-1)
    outside = SOLAR_CONSTANT / _ephemeris(time, np.asarray(utc_offset, dtype=np.float64)).distance ** 2 * up
    horizontal = outside * c
    k = np.divide(G, horizontal, out=np.ones(np.broadcast(G, horizontal).shape), where=horizontal > 0)
    beam = np.minimum((1 - _diffuse_share(k)) * G, horizontal)
    direct = np.divide(beam, c, out=np.zeros_like(beam), where=c > 0)
    return direct, np.asarray(G - direct * c)


def _diffuse_share(k: Floats) -> Floats:
    """Erbs et al. (1982), eq. 1."""
    middle = 0.9511 - 0.1604 * k + 4.388 * k**2 - 16.638 * k**3 + 12.336 * k**4
    return np.where(k <= 0.22, 1 - 0.09 * k, np.where(k <= 0.8, middle, 0.165))


def _inside(
    time: Times, latitude: ArrayLike, longitude: ArrayLike, utc_offset: ArrayLike, step_hours: float
) -> tuple[Floats, Floats]:
    """Altitude and azimuth at moments inside the intervals that end at `time`, (..., points)."""
    if not (math.isfinite(step_hours) and step_hours > 0):
        raise DataError(f"step_hours is {step_hours}; it must be the length of an interval > 0 in hours")
    before = (np.arange(_POINTS) + 0.5) / _POINTS * step_hours * 3.6e12
    moments = np.asarray(time, dtype="datetime64[ns]")[..., None] - before.round().astype("timedelta64[ns]")
    return sun_position(moments, *(np.asarray(x)[..., None] for x in (latitude, longitude, utc_offset)))


def _while_up(cosine: Floats, altitude: Floats) -> Floats:
    """Mean of the positive part of a cosine over the moments with the sun above the horizon; 0 without any."""
    up = altitude > 0
    return np.asarray((np.maximum(cosine, 0) * up).sum(axis=-1) / np.maximum(up.sum(axis=-1), 1))


class _Sun(NamedTuple):
    declination: Floats  # rad
    minutes: Floats  # UTC since midnight plus the equation of time [min]
    distance: Floats  # astronomical units


def _ephemeris(time: Times, utc_offset: Floats) -> _Sun:
    moment = np.asarray(time, dtype="datetime64[ns]")
    if np.isnat(moment).any():
        raise DataError("time has missing values (NaT); drop them first")
    hours = (moment - np.datetime64("2000-01-01T12:00", "ns")) / _HOUR - utc_offset
    t = hours / (24 * 36525)  # Julian centuries since J2000
    mean_longitude = np.deg2rad((280.46646 + t * (36000.76983 + 0.0003032 * t)) % 360)
    M = np.deg2rad(357.52911 + t * (35999.05029 - 0.0001537 * t))  # mean anomaly
    e = 0.016708634 - t * (0.000042037 + 0.0000001267 * t)
    centre = np.deg2rad(
        np.sin(M) * (1.914602 - t * (0.004817 + 0.000014 * t))
        + np.sin(2 * M) * (0.019993 - 0.000101 * t)
        + np.sin(3 * M) * 0.000289
    )
    node = np.deg2rad(125.04 - 1934.136 * t)
    apparent = mean_longitude + centre - np.deg2rad(0.00569 + 0.00478 * np.sin(node))
    obliquity = np.deg2rad(23.4392911 - t * (0.0130042 + t * (1.64e-7 - 5.04e-7 * t)) + 0.00256 * np.cos(node))
    y = np.tan(obliquity / 2) ** 2
    equation_of_time = 4 * np.rad2deg(
        y * np.sin(2 * mean_longitude)
        - 2 * e * np.sin(M)
        + 4 * e * y * np.sin(M) * np.cos(2 * mean_longitude)
        - y**2 / 2 * np.sin(4 * mean_longitude)
        - 1.25 * e**2 * np.sin(2 * M)
    )
    return _Sun(
        np.arcsin(np.sin(obliquity) * np.sin(apparent)),
        (hours + 12) % 24 * 60 + equation_of_time,
        1.000001018 * (1 - e**2) / (1 + e * np.cos(M + centre)),
    )


def _place(latitude: ArrayLike, longitude: ArrayLike, utc_offset: ArrayLike) -> tuple[Floats, Floats, Floats]:
    found = []
    for name, value, low, high in (
        ("latitude", latitude, -90, 90),
        ("longitude", longitude, -180, 360),
        ("utc_offset", utc_offset, -12, 14),
    ):
        x = np.asarray(value, dtype=np.float64)
        if not ((x >= low) & (x <= high)).all():
            bad = x[~((x >= low) & (x <= high))].flat[0]
            unit = "hours" if name == "utc_offset" else "degrees, north and east positive"
            raise DataError(f"{name} is {bad:g}; it must lie in [{low}, {high}] ({unit})")
        found.append(x)
    return np.deg2rad(found[0]), np.deg2rad(found[1]), found[2]


def _irradiance(value: ArrayLike, name: str) -> Floats:
    x = np.asarray(value, dtype=np.float64)
    if not (np.isfinite(x) & (x >= 0)).all():
        bad = x[~(np.isfinite(x) & (x >= 0))].flat[0]
        raise DataError(
            f"{name} holds {bad:g}; it must be finite and >= 0 W/m²: fill gaps, and set offsets at night to 0"
        )
    return x
