"""Form of face-milled deck faces: what fixture, cutter, spindle, workpiece and clamps leave on the surface.

SI units throughout: metres, newtons, radians. Heights are positive away from the part. The feed is along x.

Parameters marked *chosen* are not from a source; they are set to give forms of the size that coordinate measurements of
cast-iron decks show, some tens of micrometres over 350 x 150 mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Deck:
    """A rectangular deck face with equal bores along its middle line.

    length, width : of the face along x and y [m]
    bores : how many, equally spaced
    bore_radius : [m]

    Raises
    ------
    DataError
        If a size isn't positive, or the bores don't fit.

    Examples
    --------
    >>> Deck().bore_centres().shape
    (4, 2)
    """

    length: float = 0.350
    width: float = 0.150
    bores: int = 4
    bore_radius: float = 0.028

    def __post_init__(self) -> None:
        for name in ("length", "width", "bore_radius"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} is {getattr(self, name)}; it must be a length > 0 in metres")
        width_of_all = 2 * self.bore_radius * self.bores
        if self.bores < 0 or (self.bores and (width_of_all >= self.length or 2 * self.bore_radius >= self.width)):
            raise DataError(
                f"{self.bores} bores of radius {self.bore_radius} m don't fit into {self.length} m x {self.width} m"
            )

    def bore_centres(self) -> Floats:
        """Centres (bores, 2) [m]."""
        pitch = self.length / max(self.bores, 1)
        x = pitch * (np.arange(self.bores) + 0.5)
        return np.stack([x, np.full(self.bores, self.width / 2)], axis=1)

    def distance_to_bore(self, x: Floats, y: Floats) -> Floats:
        """Distance from the nearest bore's edge [m], negative inside a bore; infinite if there are none."""
        nearest = np.full(np.broadcast(x, y).shape, math.inf)
        for centre in self.bore_centres():
            nearest = np.minimum(nearest, np.hypot(x - centre[0], y - centre[1]) - self.bore_radius)
        return nearest

    def engaged_width(self, x: Floats) -> Floats:
        """Width of metal across the feed at x [m]: the deck's width less the chords of the bores.

        w(x) = W - Σ_b 2 √(r² - (x - x_b)²)₊
        """
        chord = np.zeros(np.shape(x))
        for centre in self.bore_centres():
            chord += 2 * np.sqrt(np.maximum(self.bore_radius**2 - (x - centre[0]) ** 2, 0.0))
        return np.asarray(self.width - chord)


def tilt(x: Floats, y: Floats, *, about_y: float, about_x: float) -> Floats:
    """Plane left by a tilted fixture: x tan(about_y) + y tan(about_x) [m]; angles in radians."""
    return np.asarray(x * math.tan(about_y) + y * math.tan(about_x))


def dish(y: Floats, *, centre: float, cutter_radius: float, spindle_tilt: float) -> Floats:
    """Concave profile left by a face mill whose axis is tilted along the feed [m].

    The rim, a circle of radius R tilted by φ, has the points (R cos θ cos φ, R sin θ, -R cos θ sin φ). At the distance
    v = y - centre from the path the lowest point that passes is -√(R² - v²) sin φ; measured from the path's own,

        z = (R - √(R² - v²)) sin φ  ≈  v² φ / (2R)       for v << R and small φ.

    Parameters
    ----------
    y : positions across the feed [m]
    centre : of the cutter's path [m]
    cutter_radius : R [m]
    spindle_tilt : φ [rad]

    Raises
    ------
    DataError
        If the cutter doesn't reach some y.
    """
    v = np.asarray(y) - centre
    if np.size(v) and float(np.abs(v).max()) > cutter_radius:
        raise DataError(
            f"the cutter of radius {cutter_radius} m doesn't reach {float(np.abs(v).max()):.4g} m from its path; "
            f"choose a larger cutter_radius"
        )
    return np.asarray((cutter_radius - np.sqrt(cutter_radius**2 - v**2)) * math.sin(spindle_tilt))


def axial_force(deck: Deck, x: Floats, *, full_width_force: float) -> Floats:
    """Axial cutting force [N], in proportion to the metal under the cutter's diameter: F(x) = F_W w(x)/W.

    With constant chip thickness the mean force is the specific force times the chip's area, so it follows the engaged
    width (Altintas, Manufacturing Automation, 2nd ed., ch. 2). Parameter: force at full width [N].
    """
    return np.asarray(full_width_force * deck.engaged_width(x) / deck.width)


def spindle_waviness(deck: Deck, x: Floats, *, full_width_force: float, spindle_stiffness: float) -> Floats:
    """Height left by the spindle that yields under the axial force: F(x)/k [m]; stiffness k in N/m."""
    return axial_force(deck, x, full_width_force=full_width_force) / spindle_stiffness


def spring_back(
    deck: Deck, x: Floats, y: Floats, *, full_width_force: float, edge_compliance: float, decay: float
) -> Floats:
    """Height left where the thin walls near bores yield under the cutter and spring back [m].

        z = F(x) c exp(-d(x, y)/λ)

    with d the distance from the nearest bore's edge; a wall's compliance falls off with the distance from its free edge.

    Parameters
    ----------
    deck : the face
    x, y : positions [m], broadcast
    full_width_force : [N]
    edge_compliance : c, extra compliance at a bore's edge [m/N]
    decay : λ [m]
    """
    distance = np.maximum(deck.distance_to_bore(x, y), 0.0)
    return axial_force(deck, x, full_width_force=full_width_force) * edge_compliance * np.exp(-distance / decay)


def clamping_modes(deck: Deck, x: Floats, y: Floats, *, amplitudes: Floats) -> Floats:
    """Distortion that stays when the clamps are released [m]: low-order bending shapes of a free plate.

        z = Σ_mn a_mn cos(mπx/L) cos(nπy/W)

    amplitudes : (M, N) [m]; a_00 is an offset
    """
    total = np.zeros(np.broadcast(x, y).shape)
    for (m, n), amplitude in np.ndenumerate(amplitudes):
        total += amplitude * np.cos(m * np.pi * x / deck.length) * np.cos(n * np.pi * y / deck.width)
    return total


@dataclass(frozen=True)
class SmoothField:
    """A random smooth function of place: a sum of cosines whose covariance is a Matérn-5/2 in the mean.

    f(p) = sd √(2/M) Σ_m cos(w_m'p + φ_m),  w_m with density proportional to the kernel's spectrum: a normal vector over
    the length-scales, divided by √(χ²_5/5) (Rahimi & Recht 2007).  Made by `smooth_field`.
    """

    frequencies: Floats  # (M, 2) [1/m]
    phases: Floats  # (M,)
    deviation: float  # sd [m]

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Height [m] at x, y [m], broadcast."""
        x, y = np.broadcast_arrays(x, y)
        angle = (
            np.multiply.outer(x, self.frequencies[:, 0]) + np.multiply.outer(y, self.frequencies[:, 1]) + self.phases
        )
        return np.asarray(self.deviation * math.sqrt(2 / len(self.phases)) * np.cos(angle).sum(axis=-1))


def smooth_field(
    generator: np.random.Generator, *, deviation: float, lengthscales: tuple[float, float], terms: int = 300
) -> SmoothField:
    """Draw a `SmoothField` of standard deviation `deviation` [m] and Matérn-5/2 length-scales along x and y [m]."""
    normal = generator.standard_normal((terms, 2)) / np.asarray(lengthscales)
    chi = np.sqrt(generator.chisquare(5.0, terms) / 5.0)
    return SmoothField(normal / chi[:, None], generator.uniform(0, 2 * np.pi, terms), deviation)
