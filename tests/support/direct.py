"""Direct collocation with CasADi and IPOPT: the truth that optimal-control solvers are tested against.

Everything here is written apart from the library: the problems in CasADi symbols, with formulas of their own, and the
transcription (Radau collocation of the states, controls at the collocation points). Nothing of ``surrogates`` is imported.

>>> solution = transcribe("scalar_lq", intervals=8, degree=5).solve()
>>> round(solution.J, 8)
0.1929093
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Symbol = Any  # casadi has no types
Constants = Mapping[str, Symbol]
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Formulas:
    """A problem in CasADi symbols: min Φ(T, x(T)) + ∫ L dt, x' = f.

    rate : f, (t, x, u, constants) -> n expressions
    running, terminal : L and Φ, or None
    law : (x, p, constants) -> argmin H, where H isn't quadratic in u
    search : where IPOPT looks for the controls, for angles, which are only defined up to turns; `bounds` if None
    guess : s in [0, 1] -> (x, u); a straight line between the ends if None
    """

    rate: Callable[[Symbol, Symbol, Symbol, Constants], list[Symbol]]
    start: tuple[float, ...]
    horizon: float
    running: Callable[[Symbol, Symbol, Symbol, Constants], Symbol] | None = None
    terminal: Callable[[Symbol, Symbol, Constants], Symbol] | None = None
    end: tuple[float | None, ...] | None = None
    bounds: tuple[tuple[float, float], ...] = (UNBOUNDED,)
    constants: Mapping[str, float] = field(default_factory=dict)
    free_time: bool = False
    law: Callable[[Symbol, Symbol, Constants], list[Symbol]] | None = None
    search: tuple[tuple[float, float], ...] | None = None
    guess: Callable[[float], tuple[Sequence[float], Sequence[float]]] | None = None

    @property
    def n(self) -> int:
        return len(self.start)

    @property
    def m(self) -> int:
        return len(self.bounds)

    def symbols(self) -> tuple[Symbol, Symbol, Symbol, Symbol, Constants]:
        """t, x (n), u (m), the vector of constants, and the constants by name."""
        k = ca.SX.sym("k", len(self.constants))
        by_name = {name: k[i] for i, name in enumerate(self.constants)}
        return ca.SX.sym("t"), ca.SX.sym("x", self.n), ca.SX.sym("u", self.m), k, by_name

    def functions(self) -> tuple[Symbol, Symbol, Symbol]:
        """CasADi functions f(t, x, u, k), L(t, x, u, k), Φ(t, x, k)."""
        t, x, u, k, named = self.symbols()
        L = ca.SX(0) if self.running is None else self.running(t, x, u, named)
        Φ = ca.SX(0) if self.terminal is None else self.terminal(t, x, named)
        return (
            ca.Function("f", [t, x, u, k], [ca.vertcat(*self.rate(t, x, u, named))]),
            ca.Function("L", [t, x, u, k], [L]),
            ca.Function("Phi", [t, x, k], [Φ]),
        )

    def euler_lagrange(self) -> tuple[Symbol, Symbol, Symbol]:
        """Functions of (t, x, p, k): the control argmin H within the bounds, (x', p') with it, and H.

        H is quadratic in u with a diagonal second derivative, or `law` tells its minimiser; then clipping is exact.
        """
        t, x, u, k, named = self.symbols()
        p = ca.SX.sym("p", self.n)
        f, L, _ = self.functions()
        H = L(t, x, u, k) + ca.dot(p, f(t, x, u, k))
        if self.law is None:
            free = -ca.substitute(ca.gradient(H, u), u, 0 * u) / ca.diag(ca.hessian(H, u)[0])
        else:
            free = ca.vertcat(*self.law(x, p, named))
        low, high = np.array(self.bounds).T
        best = ca.fmin(ca.fmax(free, low), high)
        rates = ca.substitute(ca.vertcat(f(t, x, u, k), -ca.gradient(H, x)), u, best)
        inputs = [t, x, p, k]
        return (
            ca.Function("u", inputs, [best]),
            ca.Function("z", inputs, [rates]),
            ca.Function("H", inputs, [ca.substitute(H, u, best)]),
        )


@dataclass(frozen=True)
class DirectSolution:
    """What IPOPT found.

    t (N,), x (N, n) : at the start and all collocation points
    u (N, m) : likewise; at the start, where there is no control, the interval's polynomial is extrapolated
    J, T : cost and final time
    p (N, n) : costates from the multipliers; at the start those of the initial condition, the exact gradient of the
        discrete cost in x(t0)
    """

    t: Array
    x: Array
    u: Array
    p: Array
    J: float
    T: float
    iterations: int
    build_seconds: float
    solve_seconds: float


class Transcription:
    """Radau collocation of one problem as a nonlinear program; built once, solved for any initial state and constants."""

    def __init__(self, formulas: Formulas, *, intervals: int, degree: int, tol: float = 1e-11) -> None:
        began = time.perf_counter()
        self.formulas, self.intervals = formulas, intervals
        self.nodes = np.array(ca.collocation_points(degree, "radau"))  # (d,), the last is 1
        C, _, B = ca.collocation_coeff(list(self.nodes))
        self._slopes, self._weights = np.array(C), np.array(B).ravel()  # (d+1, d), (d,)
        n, m, N, d = formulas.n, formulas.m, intervals, degree
        X, U, T = ca.MX.sym("X", n, N * d + 1), ca.MX.sym("U", m, N * d), ca.MX.sym("T")
        start, k = ca.MX.sym("start", n), ca.MX.sym("k", len(formulas.constants))
        h = T / N
        first = X[:, : N * d : d]  # (n, N)
        inner = ca.reshape(X[:, 1:], n * d, N)
        defects, parts = self._interval().map(N)(
            first, inner, ca.reshape(U, m * d, N), h * np.arange(N)[None, :], ca.repmat(h, 1, N), ca.repmat(k, 1, N)
        )
        J = ca.sum2(parts) + formulas.functions()[2](T, X[:, -1], k)
        ends = [(i, value) for i, value in enumerate(formulas.end or ()) if value is not None]
        g = ca.vertcat(X[:, 0] - start, ca.vec(defects), *[X[i, -1] - value for i, value in ends])
        nlp = {"x": ca.vertcat(ca.vec(X), ca.vec(U), T), "f": J, "g": g, "p": ca.vertcat(start, k)}
        options: dict[str, Any] = {
            "tol": tol,
            "bound_relax_factor": 0.0,
            "print_level": 0,
            "sb": "yes",
            "max_iter": 1000,
        }
        options = {"ipopt": options, "print_time": False}
        self._solver: Symbol = ca.nlpsol("direct", "ipopt", nlp, options)
        self.build_seconds = time.perf_counter() - began

    def _interval(self) -> Symbol:
        """Function of one interval: (first state, inner states, controls, its time, h, k) -> (defects, cost)."""
        n, m, d = self.formulas.n, self.formulas.m, len(self.nodes)
        C, B = self._slopes, self._weights
        f, L, _ = self.formulas.functions()
        first, inner, controls = ca.SX.sym("a", n), ca.SX.sym("b", n * d), ca.SX.sym("c", m * d)
        t, h, k = ca.SX.sym("t"), ca.SX.sym("h"), ca.SX.sym("k", len(self.formulas.constants))
        x, u = ca.reshape(inner, n, d), ca.reshape(controls, m, d)
        times = [t + h * c for c in self.nodes]
        slopes = ca.horzcat(first, x) @ C  # (n, d), h x'
        defects = [slopes[:, j] - h * f(times[j], x[:, j], u[:, j], k) for j in range(d)]
        cost = sum(h * float(B[j]) * L(times[j], x[:, j], u[:, j], k) for j in range(d))
        return ca.Function("interval", [first, inner, controls, t, h, k], [ca.vertcat(*defects), cost])

    def solve(
        self,
        *,
        start: Sequence[float] | None = None,
        constants: Mapping[str, float] | None = None,
        horizon: float | None = None,
    ) -> DirectSolution:
        """The best control from an initial state, at constants and over a horizon that may differ from the nominal."""
        it, N, d = self.formulas, self.intervals, len(self.nodes)
        x0 = np.array(it.start if start is None else start)
        k = np.array(list({**it.constants, **(constants or {})}.values()))
        T = it.horizon if horizon is None else horizon
        s = np.concatenate([[0.0], (np.arange(N)[:, None] + self.nodes).ravel() / N])  # (N d + 1,)
        X, U = self._guess(s, x0)
        low, high = np.array(it.search or it.bounds).T
        n_x = X.size
        w = np.concatenate([X.ravel(), U.ravel(), [T]])
        lower, upper = np.full(len(w), -math.inf), np.full(len(w), math.inf)
        lower[n_x:-1], upper[n_x:-1] = np.tile(low, N * d), np.tile(high, N * d)
        lower[-1], upper[-1] = (1e-3 * T, math.inf) if it.free_time else (T, T)
        began = time.perf_counter()
        found = self._solver(x0=w, p=np.concatenate([x0, k]), lbx=lower, ubx=upper, lbg=0, ubg=0)
        seconds = time.perf_counter() - began
        stats = self._solver.stats()
        if not stats["success"]:
            raise RuntimeError(f"IPOPT gave up: {stats['return_status']} after {stats['iter_count']} iterations")
        w = np.array(found["x"]).ravel()
        u = w[n_x:-1].reshape(N * d, it.m)
        multipliers = np.array(found["lam_g"]).ravel()[: (N * d + 1) * it.n].reshape(N * d + 1, it.n)
        at_start = np.array([_lagrange(self.nodes, j) for j in range(d)]) @ u[:d]
        return DirectSolution(
            t=s * w[-1],
            x=w[:n_x].reshape(N * d + 1, it.n),
            u=np.concatenate([at_start.clip(low, high)[None], u]),
            p=-multipliers / np.append(1.0, np.tile(self._weights, N))[:, None],
            J=float(found["f"]),
            T=float(w[-1]),
            iterations=int(stats["iter_count"]),
            build_seconds=self.build_seconds,
            solve_seconds=seconds,
        )

    def _guess(self, s: Array, x0: Array) -> tuple[Array, Array]:
        """States (N d + 1, n) and controls (N d, m) to start from."""
        it = self.formulas
        if it.guess is not None:
            pairs = [it.guess(float(one)) for one in s]
            return np.array([x for x, _ in pairs]), np.array([u for _, u in pairs[1:]])
        ends = [a if b is None else b for a, b in zip(x0, it.end or (None,) * it.n, strict=True)]
        low, high = np.array(it.bounds).T
        middle = np.where(np.isfinite(low) & np.isfinite(high), 0.5 * (low.clip(-1e9) + high.clip(None, 1e9)), 0.0)
        return x0 + s[:, None] * (np.array(ends) - x0), np.tile(middle, (len(s) - 1, 1))


def _lagrange(nodes: Array, j: int) -> float:
    """The Lagrange polynomial of node j, at 0."""
    others = np.delete(nodes, j)
    return float(np.prod(-others / (nodes[j] - others)))


def transcribe(name: str, *, intervals: int = 40, degree: int = 3) -> Transcription:
    """The named problem as a nonlinear program."""
    return Transcription(FORMULAS[name], intervals=intervals, degree=degree)


# --- the library's problems, written a second time ---


def _stirred_tank(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    hot, rich = x[0] + 0.25, x[1] + 0.5
    reaction = rich * ca.exp(k["activation"] * x[0] / (x[0] + 2))
    return [-2 * hot + reaction - hot * u, 0.5 - x[1] - reaction]


def _cart_pole(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    """From the mass matrix: the accelerations solve M a = F."""
    M, m, l, g = (k[name] for name in ("cart_mass", "pole_mass", "length", "gravity"))
    sine, cosine = ca.sin(x[1]), ca.cos(x[1])
    a, b, c = M + m, m * l * cosine, m * l**2  # of [[a, b], [b, c]]
    push, swing = u + m * l * sine * x[3] ** 2, -m * g * l * sine
    return [x[2], x[3], (c * push - b * swing) / (a * c - b * b), (a * swing - b * push) / (a * c - b * b)]


def _batch_reactor(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    first, second = u * x[0] ** 2, k["loss"] * u**2 * x[1]
    return [-first, first - second]


def _epidemic(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    S, E, I, N = x[0], x[1], x[2], x[3]
    infected, ill = k["contact"] * S * I, k["onset"] * E
    return [
        k["birth"] * N - (k["death"] + u) * S - infected,
        infected - ill - k["death"] * E,
        ill - (k["recovery"] + k["fatality"] + k["death"]) * I,
        (k["birth"] - k["death"]) * N - k["fatality"] * I,
    ]


def _orbit(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    """From Bryson & Ho's (r, v_r, v) by the chain rule on c = v sqrt(r)."""
    r, v_r, v = x[0], x[1], x[2] / ca.sqrt(x[0])
    push = k["thrust"] / (1 - k["mass_flow"] * t)
    v_rate = -v_r * v / r + push * ca.cos(u)
    return [v_r, v**2 / r - 1 / r**2 + push * ca.sin(u), ca.sqrt(r) * v_rate + v * v_r / (2 * ca.sqrt(r))]


def _transfer(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    gravity = k["attraction"] / x[0] ** 2
    return [x[1], x[2] ** 2 / x[0] - gravity + u[0], u[1] - x[1] * x[2] / x[0]]


def _quadrotor(t: Symbol, x: Symbol, u: Symbol, k: Constants) -> list[Symbol]:
    lift = (u[0] + u[1]) / k["mass"]
    spin = k["arm"] / k["inertia"] * (u[0] - u[1])
    return [x[3], x[4], x[5], -lift * ca.sin(x[2]), lift * ca.cos(x[2]) - k["gravity"], spin]


def _against(a: Symbol, b: Symbol) -> list[Symbol]:
    """argmin a cos u + b sin u."""
    return [ca.atan2(-b, -a)]


VAN_DER_POL = Formulas(
    rate=lambda t, x, u, k: [k["damping"] * (1 - x[1] ** 2) * x[0] - x[1] + u, x[0]],
    running=lambda t, x, u, k: x[0] ** 2 + x[1] ** 2 + k["control_weight"] * u**2,
    start=(0.0, 1.0),
    horizon=5.0,
    constants={"damping": 1.0, "control_weight": 1.0},
)
FORMULAS: dict[str, Formulas] = {
    "scalar_lq": Formulas(
        rate=lambda t, x, u, k: [u - k["decay"] * x[0]],
        running=lambda t, x, u, k: (x[0] ** 2 + k["control_weight"] * u**2) / 2,
        start=(1.0,),
        horizon=1.0,
        constants={"decay": 1.0, "control_weight": 1.0},
    ),
    "double_integrator": Formulas(
        rate=lambda t, x, u, k: [x[1], u],
        running=lambda t, x, u, k: u**2 / 2,
        terminal=lambda t, x, k: k["end_weight"] * ca.dot(x, x) / 2,
        start=(1.0, 0.0),
        horizon=2.0,
        constants={"end_weight": 10.0},
    ),
    "scalar_mayer": Formulas(
        rate=lambda t, x, u, k: [k["rate"] * (x[0] * (u - 1) - u**2)],
        terminal=lambda t, x, k: -x[0],
        start=(1.0,),
        horizon=2.0,
        constants={"rate": 2.5},
    ),
    "van_der_pol": VAN_DER_POL,
    "bounded_van_der_pol": replace(VAN_DER_POL, bounds=((-0.3, 1.0),)),
    "rayleigh": Formulas(
        rate=lambda t, x, u, k: [x[1], -x[0] + k["damping"] * x[1] - k["cubic_damping"] * x[1] ** 3 + k["gain"] * u],
        running=lambda t, x, u, k: x[0] ** 2 + u**2,
        start=(-5.0, -5.0),
        horizon=2.5,
        constants={"damping": 1.4, "cubic_damping": 0.14, "gain": 4.0},
    ),
    "stirred_tank": Formulas(
        rate=_stirred_tank,
        running=lambda t, x, u, k: (ca.dot(x, x) + k["control_weight"] * u**2) / 2,
        terminal=lambda t, x, k: ca.dot(x, x),
        start=(0.05, 0.0),
        horizon=0.78,
        constants={"activation": 25.0, "control_weight": 0.1},
    ),
    "hyper_sensitive": Formulas(
        rate=lambda t, x, u, k: [u - k["stiffness"] * x[0] ** 3],
        running=lambda t, x, u, k: x[0] ** 2 + u**2,
        start=(1.0,),
        end=(1.5,),
        horizon=10.0,
        constants={"stiffness": 1.0},
    ),
    "brachistochrone": Formulas(
        rate=lambda t, x, u, k: [x[2] * ca.sin(u), x[2] * ca.cos(u), k["gravity"] * ca.cos(u)],
        running=lambda t, x, u, k: ca.SX(1),
        start=(0.0, 0.0, 0.0),
        end=(10.0, 5.0, None),
        horizon=2.0,
        constants={"gravity": 9.80665},
        free_time=True,
        law=lambda x, p, k: _against(p[1] * x[2] + p[2] * k["gravity"], p[0] * x[2]),
        bounds=((-math.pi / 2, 3 * math.pi / 2),),
        search=((-0.5, math.pi),),
        guess=lambda s: ((10 * s, 5 * s, 10 * s), (1.5 * s,)),
    ),
    "cart_pole": Formulas(
        rate=_cart_pole,
        running=lambda t, x, u, k: u**2,
        start=(0.0, 0.0, 0.0, 0.0),
        end=(1.0, math.pi, 0.0, 0.0),
        horizon=2.0,
        bounds=((-20.0, 20.0),),
        constants={"cart_mass": 1.0, "pole_mass": 0.3, "length": 0.5, "gravity": 9.81},
        # three swings; a straight line leads to the second best answer, which has two
        guess=lambda s: ((s, math.pi * s + 2 * math.sin(2 * math.pi * s), 0.0, 0.0), (0.0,)),
    ),
    "batch_reactor": Formulas(
        rate=_batch_reactor,
        terminal=lambda t, x, k: -x[1],
        start=(1.0, 0.0),
        horizon=1.0,
        bounds=((4000 * math.exp(-2500 / 298), 4000 * math.exp(-2500 / 398)),),
        constants={"loss": 620000 / 4000**2},
    ),
    "epidemic": Formulas(
        rate=_epidemic,
        running=lambda t, x, u, k: k["illness_weight"] * x[2] + u**2,
        start=(1000.0, 100.0, 50.0, 1165.0),
        horizon=20.0,
        bounds=((0.0, 0.9),),
        constants={
            "birth": 0.525,
            "death": 0.5,
            "contact": 1e-3,
            "onset": 0.5,
            "recovery": 0.1,
            "fatality": 0.2,
            "illness_weight": 0.1,
        },
    ),
    "orbit_raising": Formulas(
        rate=_orbit,
        terminal=lambda t, x, k: -x[0],
        start=(1.0, 0.0, 1.0),
        end=(None, 0.0, 1.0),
        horizon=3.32,
        constants={"thrust": 0.1405, "mass_flow": 0.0749},
        law=lambda x, p, k: _against(p[2] * ca.sqrt(x[0]), p[1]),
        search=((-0.5, 6.5),),
        guess=lambda s: ((1 + 0.5 * s, 0.0, 1.0), (1.0 if s < 0.5 else 5.0,)),
    ),
    "orbit_transfer": Formulas(
        rate=_transfer,
        running=lambda t, x, u, k: ca.dot(u, u) / 2,
        start=(1.0, 0.0, 1.0),
        end=(1.5, 0.0, 1.5**-0.5),
        horizon=4.0,
        bounds=(UNBOUNDED, UNBOUNDED),
        constants={"attraction": 1.0},
    ),
    "quadrotor": Formulas(
        rate=_quadrotor,
        running=lambda t, x, u, k: ca.dot(u, u),
        start=(0.0,) * 6,
        end=(2.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        horizon=2.0,
        bounds=(UNBOUNDED, UNBOUNDED),
        constants={"mass": 0.486, "inertia": 0.00383, "arm": 0.25, "gravity": 9.81},
    ),
}
