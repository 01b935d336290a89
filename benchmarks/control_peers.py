"""Peers of the optimal-control benchmark: CasADi with IPOPT, DeepXDE, and a tensor Chebyshev table.

The transcription for IPOPT is the one that the tests take their truth from, tests/support/direct.py. Install the peers with
the extra `benchmarks`.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.physics.optimal_control import Family, solve_points
from surrogates.physics.optimal_control.batch import Batch

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from direct import DirectSolution, Formulas, Transcription

Floats = NDArray[np.float64]
#: rows that a table evaluates together
BLOCK = 256


class Direct:
    """One problem as a nonlinear program by Radau collocation, built once; initial state and constants are its parameters.

    IPOPT starts every solve from the same straight line, since its own warm starts don't pay with an interior point.
    """

    def __init__(self, formulas: Formulas, *, intervals: int, degree: int, tol: float = 1e-11) -> None:
        began = time.process_time()
        self.formulas = formulas
        self.program = Transcription(formulas, intervals=intervals, degree=degree, tol=tol)
        self.build_seconds = time.process_time() - began

    def solve(self, case: Floats | None = None) -> DirectSolution:
        """The nominal case, or that of an initial state followed by constants."""
        if case is None:
            return self.program.solve()
        n = self.formulas.n
        constants = dict(zip(self.formulas.constants, case[n:].tolist(), strict=False))
        return self.program.solve(start=case[:n].tolist(), constants=constants)

    def controls(self, solution: DirectSolution, s: Floats) -> Floats:
        """u at shares s (k,) of the horizon, (k, m): in each interval the polynomial through its collocation points."""
        c, N = self.program.nodes, self.program.intervals
        interval = np.minimum((s * N).astype(int), N - 1)
        τ = s * N - interval
        U = solution.u[1:].reshape(N, len(c), -1)
        basis = [
            np.prod([(τ - other) / (own - other) for i, other in enumerate(c) if i != j], axis=0)
            for j, own in enumerate(c)
        ]
        low, high = np.array(self.formulas.bounds).T
        u: Floats = np.einsum("jk,kjm->km", np.array(basis), U[interval])
        return u.clip(low, high)


def six_parameter_formulas() -> Formulas:
    """Van der Pol's oscillator with its damping and the weights of its cost as constants, in CasADi's symbols."""
    return Formulas(
        rate=lambda t, x, u, k: [k["damping"] * (1 - x[1] ** 2) * x[0] - x[1] + u, x[0]],
        running=lambda t, x, u, k: k["q1"] * x[0] ** 2 + k["q2"] * x[1] ** 2 + k["r"] * u**2,
        start=(0.0, 1.0),
        horizon=5.0,
        constants={"damping": 1.0, "q1": 1.0, "q2": 1.0, "r": 1.0},
    )


class Table:
    """Controls as a product of Chebyshev series of a family's inputs: m points an input, m^d solved cases."""

    def __init__(self, family: Family, points: int) -> None:
        began = time.process_time()
        self.family, self.points, d = family, points, len(family.inputs)
        nodes = np.cos(np.pi * (np.arange(points) + 0.5) / points)
        grid = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), -1).reshape(-1, d)
        low, high = family.ranges
        self.batch = solve_points(family, low + (high - low) * 0.5 * (torch.from_numpy(grid) + 1))
        self._low, self._high = low.numpy(), high.numpy()
        # discrete orthogonality: the inverse of the square matrix of polynomials at the nodes
        self._inverse = np.linalg.inv(self._basis(grid))
        self._kept: dict[tuple[float, ...], Floats] = {}
        self.seconds = time.process_time() - began

    def _basis(self, unit: Floats) -> Floats:
        """Products of polynomials, (B, m^d)."""
        product = np.ones((len(unit), 1))
        for column in unit.T:
            T = np.polynomial.chebyshev.chebvander(column, self.points - 1)
            product = (product[:, :, None] * T[:, None, :]).reshape(len(unit), -1)
        return product

    def controls(self, cases: Floats, s: Floats) -> Floats:
        """u (B, k, m) of cases (B, d) at shares s (k,) of the horizon."""
        key = tuple(s.tolist())
        if key not in self._kept:
            u = batch_controls(self.batch, s)
            self._kept[key] = np.ascontiguousarray(self._inverse @ u.reshape(len(u), -1))
        unit = 2 * (cases - self._low) / (self._high - self._low) - 1
        blocks = np.split(unit, range(BLOCK, len(unit), BLOCK))
        return np.concatenate([self._basis(block) @ self._kept[key] for block in blocks]).reshape(
            len(cases), len(s), -1
        )


def batch_controls(batch: Batch, s: Floats) -> Floats:
    """u (B, k, m) of solved cases at shares s (k,) of the horizon."""
    system, n = batch.collocation.system, batch.collocation.system.problem.state_size
    z = batch.collocation.mesh.interpolate(batch.solved.at.Z, s)
    span = (batch.solved.at.T - batch.cases.t0)[:, None]
    t = batch.cases.t0[:, None] + span * torch.from_numpy(s)
    u: Floats = system.control(t, z[..., :n], z[..., n:], batch.cases.q[:, None].expand(*t.shape, -1)).numpy()
    return u


class ByHand(NamedTuple):
    """The Euler-Lagrange system of a problem as a user of DeepXDE would type it, the control eliminated.

    rates : (x, p) lists of columns -> columns of (x', p'); law : p -> u; p(T) = end_weight x(T)
    """

    start: tuple[float, ...]
    horizon: float
    rates: Callable[[list[Tensor], list[Tensor]], list[Tensor]]
    law: Callable[[Floats], Floats]
    end_weight: float = 0.0


def _van_der_pol(x: list[Tensor], p: list[Tensor]) -> list[Tensor]:
    stiffness = 1 - x[1] ** 2
    return [
        stiffness * x[0] - x[1] - p[0] / 2,
        x[0],
        -2 * x[0] - p[0] * stiffness - p[1],
        -2 * x[1] + 2 * p[0] * x[0] * x[1] + p[0],
    ]


BY_HAND = {
    "scalar_lq": ByHand((1.0,), 1.0, lambda x, p: [-x[0] - p[0], p[0] - x[0]], lambda p: -p),
    "double_integrator": ByHand(
        (1.0, 0.0), 2.0, lambda x, p: [x[1], -p[1], 0 * p[0], -p[0]], lambda p: -p[:, 1:], end_weight=10.0
    ),
    "van_der_pol": ByHand((0.0, 1.0), 5.0, _van_der_pol, lambda p: -p[:, :1] / 2),
}


class Trained(NamedTuple):
    """DeepXDE's answer: shares s (k,) of the horizon -> x (k, n) and u (k, m)."""

    seconds: float
    trajectory: Callable[[Floats], tuple[Floats, Floats]]


def deepxde(name: str, *, is_hard: bool, steps: int, second_steps: int, seed: int) -> Trained:
    """DeepXDE on a problem of `BY_HAND`, in the ways of its demos of systems of ordinary differential equations.

    Three tanh layers of 50, Glorot uniform, 100 points, Adam at 1e-3 for `steps`, then L-BFGS for up to `second_steps`
    (0: none) with its own settings; float64. Initial states as losses, or exact by an output transform (`is_hard`);
    end conditions of the costates as losses.
    """
    with _pytorch_backend() as dde:
        dde.config.set_random_seed(seed)
        began = time.process_time()
        model = _model(dde, BY_HAND[name], is_hard)
        model.compile("adam", lr=1e-3, verbose=0)
        model.train(iterations=steps, display_every=1000, verbose=0)
        if second_steps:
            dde.optimizers.set_LBFGS_options(maxiter=second_steps)
            model.compile("L-BFGS", verbose=0)
            model.train(display_every=1000, verbose=0)
        seconds = time.process_time() - began

    def trajectory(s: Floats) -> tuple[Floats, Floats]:
        it = BY_HAND[name]
        z = np.asarray(model.predict((it.horizon * s)[:, None]), dtype=float)
        n = len(it.start)
        return z[:, :n], it.law(z[:, n:])

    return Trained(seconds, trajectory)


@contextmanager
def _pytorch_backend() -> Iterator[Any]:
    """DeepXDE in double precision; torch's default type is put back afterwards."""
    os.environ.setdefault("DDE_BACKEND", "pytorch")
    before = torch.get_default_dtype()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it tells of its backend and float type
        import deepxde

        deepxde.config.set_default_float("float64")
    try:
        yield deepxde
    finally:
        torch.set_default_dtype(before)


def _model(dde: Any, it: ByHand, is_hard: bool) -> Any:
    n = len(it.start)
    domain = dde.geometry.TimeDomain(0, it.horizon)

    def residuals(t: Tensor, z: Tensor) -> list[Tensor]:
        columns = [z[:, i : i + 1] for i in range(2 * n)]
        rates = it.rates(columns[:n], columns[n:])
        return [dde.grad.jacobian(z, t, i=i) - rate for i, rate in enumerate(rates)]

    def ends(i: int) -> Any:
        return dde.icbc.OperatorBC(
            domain,
            lambda t, z, _: z[:, n + i : n + i + 1] - it.end_weight * z[:, i : i + 1],
            lambda t, on: on and np.isclose(t[0], it.horizon),
        )

    def start(i: int) -> Any:
        return dde.icbc.IC(domain, lambda t: it.start[i], lambda t, on: on, component=i)

    conditions = [ends(i) for i in range(n)] + ([] if is_hard else [start(i) for i in range(n)])
    data = dde.data.PDE(domain, residuals, conditions, num_domain=100, num_boundary=2)
    net = dde.nn.FNN([1] + [50] * 3 + [2 * n], "tanh", "Glorot uniform")
    if is_hard:
        x0 = torch.tensor(it.start, dtype=torch.float64)
        net.apply_output_transform(lambda t, z: torch.cat([x0 + t * z[:, :n], z[:, n:]], 1))
    return dde.Model(data, net)
