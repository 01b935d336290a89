"""Where a mesh is too coarse, where controls meet their bounds, and the next mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .collocation import Cases, Collocation, Extremals
from .mesh import Mesh, derivative, interpolation

Floats = NDArray[np.float64]
#: into how many an element is split at most
MOST_PIECES = 4
#: an element that starts this close to a switch, relative to its length, is joined to its neighbour
TOO_CLOSE = 0.02


def defects(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """Largest |Z' - hF| between the collocation points, relative to the components' largest values, (B, K).

    At the collocation points it is zero; between them it bounds what an element adds to the error.
    """
    mesh, d = collocation.mesh, collocation.mesh.degree
    inside = (np.arange(d + 2) + 0.5) / (d + 2)
    P, D = torch.from_numpy(interpolation(d, inside)), torch.from_numpy(derivative(d, inside))
    span = (at.T - cases.t0)[:, None, None]
    t = cases.t0[:, None, None] + span * mesh.at(torch.from_numpy(inside))
    z, dz = (torch.einsum("ij,bkjc->bkic", rows, at.Z) for rows in (P, D))
    F = collocation.system.field(t, z, cases.q[:, None, None, :].expand(*t.shape, -1)).F
    h = (span * mesh.lengths[:, None])[..., None]
    largest = at.Z.abs().amax((1, 2))
    x, p = largest.chunk(2, -1)
    floor = torch.cat([1e-6 * part.amax(-1, keepdim=True).expand_as(part) for part in (x, p)], -1)
    scale = torch.maximum(largest, floor).clamp(min=1e-150)
    return ((dz - h * F).abs().amax(2) / scale[:, None]).amax(-1)


def switches(collocation: Collocation, cases: Cases, at: Extremals) -> Floats:
    """Places in (0, 1) where a control of the first case meets or leaves a bound, to rounding, in order."""
    problem = collocation.system.problem
    if not problem.is_bounded:
        return np.empty(0)

    def pattern(s: Floats) -> NDArray[np.int64]:
        t = cases.t0[0] + (at.T[0] - cases.t0[0]) * torch.from_numpy(s)
        z = collocation.mesh.interpolate(at.Z[:1], s)[0]
        n = problem.state_size
        u = collocation.system.control(t, z[:, :n], z[:, n:], cases.q[:1].expand(len(s), -1))
        low, high = problem.bounds
        return np.asarray(((u >= high).long() - (u <= low).long()).numpy())

    fine = np.unique(np.concatenate([collocation.mesh.at(torch.linspace(0, 1, 65)).numpy().ravel()]))
    codes = pattern(fine)
    at_change = (codes[1:] != codes[:-1]).any(1)
    left, right, before = fine[:-1][at_change], fine[1:][at_change], codes[:-1][at_change]
    for _ in range(50):
        if not len(left):
            break
        middle = 0.5 * (left + right)
        same = (pattern(middle) == before).all(1)
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return np.asarray(0.5 * (left + right))


@dataclass(frozen=True)
class Plan:
    """A mesh to be: smooth breaks that only accuracy asks for, and switches that the last solution showed."""

    smooth: tuple[float, ...]
    switches: tuple[float, ...]
    degree: int

    def mesh(self) -> Mesh:
        """All breaks, without smooth ones that nearly coincide with a switch."""
        kinks = np.array([s for s in self.switches if 1e-12 < s < 1 - 1e-12])
        smooth = np.asarray(self.smooth)
        if len(kinks):
            gaps = np.diff(smooth)
            reach = TOO_CLOSE * np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
            close = (np.abs(smooth[:, None] - kinks) < reach[:, None]).any(1)
            close[[0, -1]] = False
            smooth = smooth[~close]
        return Mesh(tuple(np.unique(np.concatenate([smooth, kinks])).tolist()), self.degree)

    def finer(self, mesh: Mesh, defect: Floats, tolerance: float, switches: Floats) -> Plan:
        """Split elements whose defect (K,) is above the tolerance, by what the order promises."""
        smooth = set(self.smooth)
        for k in np.flatnonzero(defect > tolerance):
            low, high = mesh.breaks[k], mesh.breaks[k + 1]
            pieces = min(MOST_PIECES, max(2, math.ceil((defect[k] / tolerance) ** (1 / (self.degree + 1)))))
            smooth |= set(np.linspace(low, high, pieces + 1)[1:-1].tolist())
        return Plan(tuple(sorted(smooth)), tuple(switches.tolist()), self.degree)
