"""Face-milled decks of sister engine blocks, measured by a precise and a cheap gauge.

A stand-in for the plant data of H-MT-MF (arXiv 2603.09842), which are not public: same sizes, same kind of gauges, form
from the physics of milling (`surrogates.physics.machining`), every parameter stated.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.physics import machining
from surrogates.physics.machining import Deck, SmoothField

from .study import Study, is_count

Floats = NDArray[np.float64]
GAUGES = ("precise", "cheap")


@dataclass(frozen=True)
class EngineProcess:
    """The milling process; SI units; all values chosen unless a source is named.

    fixture_tilt : standard deviation of each part's tilt [rad]; 20 µm over 350 mm
    spindle_tilt : [rad]; with the cutter's radius it leaves a dish some µm deep
    cutter_radius : [m]; a 200 mm face mill
    full_width_force : axial force at full width [N]
    wear : growth of the force from part to part, by tool wear
    spindle_stiffness : [N/m]; 60 N/µm, usual for machining centres
    edge_compliance, edge_decay : of the walls at bores [m/N], [m]
    rest_deviation, rest_lengthscales : form that fixture rests press into every part alike [m]
    clamp_deviation : standard deviation of each part's bending modes [m]
    own_deviation, own_lengthscales : each part's own smooth deviation (castings, residual stress) [m]
    offset_deviation : of each part's height [m]
    """

    fixture_tilt: float = 6e-5
    spindle_tilt: float = 3e-4
    cutter_radius: float = 0.100
    full_width_force: float = 400.0
    wear: float = 0.04
    spindle_stiffness: float = 6e7
    edge_compliance: float = 1.5e-8
    edge_decay: float = 0.010
    rest_deviation: float = 5e-6
    rest_lengthscales: tuple[float, float] = (0.070, 0.045)
    clamp_deviation: float = 0.7e-6
    own_deviation: float = 1.6e-6
    own_lengthscales: tuple[float, float] = (0.055, 0.040)
    offset_deviation: float = 4e-6


@dataclass(frozen=True)
class _Part:
    """What is special about one block."""

    tilt: tuple[float, float]
    offset: float
    clamping: Floats
    own: SmoothField
    force: float


def engine_surfaces(
    *,
    seed: int = 0,
    parts: int = 3,
    points: tuple[int, int] = (25, 25),
    repeatability: tuple[float, float] = (0.3, 2.0),
    noise_percent: tuple[float, float] | None = None,
    design: str = "own",
    grid: tuple[int, int] = (100, 50),
    process: EngineProcess | None = None,
) -> Study:
    """Deck faces of sister engine blocks under two gauges.

    Parameters
    ----------
    seed : of everything; surfaces, places and noise have streams of their own, so that noise levels or the number of
        points don't change the surfaces
    parts : how many blocks
    points : readings per part by the (precise, cheap) gauge
    repeatability : standard deviation of a reading by the (precise, cheap) gauge [µm]; by default 0.3, as coordinate
        measuring machines specify, and 2, as hand-held probes do
    noise_percent : instead, noise variances as per cent of the height variance within parts, pooled over the parts
    design : "own", uniformly random places for each part and gauge, or "shared", the same for all parts
    grid : places of the truth along x and y
    process : the milling process; None for the default one

    Returns
    -------
    Study with
        observed : over ``sample``: x, y [mm], part, gauge, height [um], repeatability [um]
        truth : height [um] over (part, x, y); NaN where a bore leaves no metal

    Raises
    ------
    DataError
        If an argument is out of its range.

    Examples
    --------
    >>> study = engine_surfaces(seed=0)
    >>> dict(study.observed.sizes), dict(study.truth.sizes)
    ({'sample': 150}, {'part': 3, 'x': 100, 'y': 50})
    """
    _check(parts, points, repeatability, noise_percent, design, grid)
    process, deck = process or EngineProcess(), Deck()
    common, own, places, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    rest = machining.smooth_field(common, deviation=process.rest_deviation, lengthscales=process.rest_lengthscales)
    blocks = [_draw_part(own, process, number) for number in range(parts)]
    names = [f"block {chr(ord('A') + k)}" if parts <= 26 else f"block {k + 1}" for k in range(parts)]
    truth = _truth(deck, process, rest, blocks, names, grid)
    height = truth["height"]
    deviations = np.asarray(repeatability, dtype=np.float64)
    if noise_percent is not None:
        within = float(height.var(["x", "y"]).mean())
        deviations = np.sqrt(np.asarray(noise_percent, dtype=np.float64) / 100 * within)
    observed = _observe(deck, process, rest, blocks, names, points, deviations, design, (places, noise))
    parameters: dict[str, Any] = {
        "seed": seed,
        "parts": parts,
        "points": list(points),
        "grid": list(grid),
        "design": design,
        "noise_sd_um": deviations.tolist(),
        **asdict(process),
    }
    return Study(observed, truth, parameters)


def _draw_part(generator: np.random.Generator, process: EngineProcess, number: int) -> _Part:
    tilt = process.fixture_tilt * generator.standard_normal(2)
    offset = process.offset_deviation * float(generator.standard_normal())
    clamping = process.clamp_deviation * generator.standard_normal((3, 3))
    clamping[0, 0] = 0.0
    field = machining.smooth_field(generator, deviation=process.own_deviation, lengthscales=process.own_lengthscales)
    force = process.full_width_force * (1 + process.wear * number)
    return _Part((float(tilt[0]), float(tilt[1])), offset, clamping, field, force)


def _height(deck: Deck, process: EngineProcess, rest: SmoothField, part: _Part, x: Floats, y: Floats) -> Floats:
    """Height of one part [m] at x, y [m], broadcast."""
    plane = machining.tilt(x - deck.length / 2, y - deck.width / 2, about_y=part.tilt[0], about_x=part.tilt[1])
    dish = machining.dish(
        y, centre=deck.width / 2, cutter_radius=process.cutter_radius, spindle_tilt=process.spindle_tilt
    )
    waviness = machining.spindle_waviness(
        deck, x, full_width_force=part.force, spindle_stiffness=process.spindle_stiffness
    )
    edges = machining.spring_back(
        deck, x, y, full_width_force=part.force, edge_compliance=process.edge_compliance, decay=process.edge_decay
    )
    modes = machining.clamping_modes(deck, x, y, amplitudes=part.clamping)
    return np.asarray(plane + part.offset + dish + waviness + edges + rest(x, y) + modes + part.own(x, y))


def _truth(
    deck: Deck, process: EngineProcess, rest: SmoothField, blocks: list[_Part], names: list[str], grid: tuple[int, int]
) -> xr.Dataset:
    x, y = np.linspace(0, deck.length, grid[0]), np.linspace(0, deck.width, grid[1])
    heights = np.stack([_height(deck, process, rest, part, x[:, None], y[None, :]) for part in blocks])
    heights[:, deck.distance_to_bore(x[:, None], y[None, :]) < 0] = np.nan
    return xr.Dataset(
        {"height": (("part", "x", "y"), 1e6 * heights, {"units": "um", "long_name": "height"})},
        coords={
            "part": names,
            "x": ("x", 1e3 * x, {"units": "mm", "long_name": "position along the deck"}),
            "y": ("y", 1e3 * y, {"units": "mm", "long_name": "position across the deck"}),
        },
    )


def _observe(
    deck: Deck,
    process: EngineProcess,
    rest: SmoothField,
    blocks: list[_Part],
    names: list[str],
    points: tuple[int, int],
    deviations: Floats,
    design: str,
    generators: tuple[np.random.Generator, np.random.Generator],
) -> xr.Dataset:
    places, noise = generators
    total = sum(points)
    shared = _random_places(deck, total, places)
    gauge = np.repeat([0, 1], points)
    x, y, height = [], [], []
    for part in blocks:
        where = shared if design == "shared" else _random_places(deck, total, places)
        exact = 1e6 * _height(deck, process, rest, part, where[:, 0], where[:, 1])
        x.append(1e3 * where[:, 0])
        y.append(1e3 * where[:, 1])
        height.append(exact + deviations[gauge] * noise.standard_normal(total))
    gauges = np.tile(np.array(GAUGES)[gauge], len(blocks))
    return xr.Dataset(
        {
            "height": ("sample", np.concatenate(height), {"units": "um", "long_name": "height"}),
            "x": ("sample", np.concatenate(x), {"units": "mm", "long_name": "position along the deck"}),
            "y": ("sample", np.concatenate(y), {"units": "mm", "long_name": "position across the deck"}),
            "part": ("sample", np.repeat(names, total)),
            "gauge": ("sample", gauges),
            "repeatability": (
                "sample",
                np.tile(deviations[gauge], len(blocks)),
                {"units": "um", "long_name": "standard deviation of a reading"},
            ),
        }
    )


def _random_places(deck: Deck, count: int, generator: np.random.Generator) -> Floats:
    """Uniformly random places on metal (count, 2) [m]."""
    found = np.empty((0, 2))
    while len(found) < count:
        tried = generator.uniform(size=(2 * count + 8, 2)) * [deck.length, deck.width]
        found = np.concatenate([found, tried[deck.distance_to_bore(tried[:, 0], tried[:, 1]) > 0]])
    return found[:count]


def _check(
    parts: int,
    points: tuple[int, int],
    repeatability: tuple[float, float],
    noise_percent: tuple[float, float] | None,
    design: str,
    grid: tuple[int, int],
) -> None:
    if not is_count(parts, 1):
        raise DataError(f"parts is {parts}; at least one whole block is wanted")
    if len(points) != 2 or not all(map(is_count, points)) or sum(points) < 1:
        raise DataError(f"points is {points}; (precise, cheap) counts >= 0 with at least one reading are wanted")
    for name, values in (("repeatability", repeatability), ("noise_percent", noise_percent)):
        if values is not None and not (len(values) == 2 and all(np.isfinite(v) and v >= 0 for v in values)):
            raise DataError(f"{name} is {values}; two numbers >= 0 (precise, cheap) are wanted")
    if design not in ("own", "shared"):
        raise DataError(f"design is {design!r}; choose 'own' or 'shared'")
    if len(grid) != 2 or not all(is_count(n, 2) for n in grid):
        raise DataError(f"grid is {grid}; at least 2 places along x and y are wanted")
