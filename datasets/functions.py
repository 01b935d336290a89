"""Multi-fidelity test functions, written from their publications; where two publications disagree, it is said.

Formulas and domains were compared with the Virtual Library of Simulation Experiments (Surjanovic & Bingham,
sfu.ca/~ssurjano), the documentation of mf2 and SMT, BoTorch, and the code that the authors published.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .multifidelity import Floats, MultiFidelityFunction


def _forrester_high(x: Floats) -> Floats:
    """f(x) = (6x - 2)² sin(12x - 4)."""
    return np.asarray((6 * x[:, 0] - 2) ** 2 * np.sin(12 * x[:, 0] - 4))


def _forrester_low(x: Floats) -> Floats:
    """A f(x) + B (x - ½) + C with A = ½, B = 10, C = -5, as mf2 and SMT have it.

    The Virtual Library and Emukit subtract C = -5, which moves this level by +10 and changes nothing else.
    """
    return 0.5 * _forrester_high(x) + 10 * (x[:, 0] - 0.5) - 5


def _nonlinear_sine_low(x: Floats) -> Floats:
    """f_L(x) = sin(8πx)."""
    return np.asarray(np.sin(8 * np.pi * x[:, 0]))


def _nonlinear_sine_high(x: Floats) -> Floats:
    """f_H(x) = (x - √2) f_L(x)²."""
    return np.asarray((x[:, 0] - np.sqrt(2)) * _nonlinear_sine_low(x) ** 2)


def _currin_high(x: Floats) -> Floats:
    """[1 - exp(-1/(2 x2))] (2300 x1³ + 1900 x1² + 2092 x1 + 60)/(100 x1³ + 500 x1² + 4 x1 + 20).

    At x2 = 0 the bracket is its limit 1.
    """
    x1, x2 = x.T
    exponent = np.divide(-0.5, x2, out=np.full_like(x2, -np.inf), where=x2 > 0)
    above = 2300 * x1**3 + 1900 * x1**2 + 2092 * x1 + 60
    return np.asarray(-np.expm1(exponent) * above / (100 * x1**3 + 500 * x1**2 + 4 * x1 + 20))


def _currin_low(x: Floats) -> Floats:
    """Mean of f at (x1 ± 0.05, x2 + 0.05) and (x1 ± 0.05, max(0, x2 - 0.05))."""
    x1, x2 = x.T
    corners = [(x1 + s, other) for s in (0.05, -0.05) for other in (x2 + 0.05, np.maximum(0, x2 - 0.05))]
    return np.asarray(sum(_currin_high(np.stack(corner, axis=1)) for corner in corners) / 4)


def _park91a_high(x: Floats) -> Floats:
    """x1/2 [√(1 + (x2 + x3²) x4/x1²) - 1] + (x1 + 3 x4) exp(1 + sin x3).

    The first term is written as ½ [√(x1² + (x2 + x3²) x4) - x1], the same for x1 > 0, and its limit at x1 = 0.
    """
    x1, x2, x3, x4 = x.T
    return np.asarray(0.5 * (np.sqrt(x1**2 + (x2 + x3**2) * x4) - x1) + (x1 + 3 * x4) * np.exp(1 + np.sin(x3)))


def _park91a_low(x: Floats) -> Floats:
    """(1 + sin(x1)/10) f(x) - 2 x1 + x2² + x3² + ½."""
    x1, x2, x3, _ = x.T
    return np.asarray((1 + np.sin(x1) / 10) * _park91a_high(x) - 2 * x1 + x2**2 + x3**2 + 0.5)


def _park91b_high(x: Floats) -> Floats:
    """⅔ exp(x1 + x2) - x4 sin(x3) + x3."""
    x1, x2, x3, x4 = x.T
    return np.asarray(2 / 3 * np.exp(x1 + x2) - x4 * np.sin(x3) + x3)


def _park91b_low(x: Floats) -> Floats:
    """1.2 f(x) - 1."""
    return 1.2 * _park91b_high(x) - 1


def _borehole(x: Floats, *, factor: float, summand: float) -> Floats:
    """Flow a T_u (H_u - H_l)/{ln(r/r_w) [b + 2 L T_u/(ln(r/r_w) r_w² K_w) + T_u/T_l]}, a = `factor`, b = `summand`."""
    r_w, r, T_u, H_u, T_l, H_l, L, K_w = x.T
    log = np.log(r / r_w)
    return np.asarray(factor * T_u * (H_u - H_l) / (log * (summand + 2 * L * T_u / (log * r_w**2 * K_w) + T_u / T_l)))


def _branin_high(x: Floats) -> Floats:
    """(x2 - 5.1 x1²/(4π²) + 5 x1/π - 6)² + 10 (1 - 1/(8π)) cos x1 + 10."""
    x1, x2 = x.T
    bracket = x2 - 5.1 * x1**2 / (4 * np.pi**2) + 5 * x1 / np.pi - 6
    return np.asarray(bracket**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x1) + 10)


def _branin_medium(x: Floats) -> Floats:
    """10 √f_H(x - 2) + 2 (x1 - ½) - 3 (3 x2 - 1) - 1; f_H ≥ 10/(8π) everywhere, so the root is real."""
    x1, x2 = x.T
    return np.asarray(10 * np.sqrt(_branin_high(x - 2)) + 2 * (x1 - 0.5) - 3 * (3 * x2 - 1) - 1)


def _branin_low(x: Floats) -> Floats:
    """f_M(1.2 (x + 2)) - 3 x2 + 1."""
    return _branin_medium(1.2 * (x + 2)) - 3 * x[:, 1] + 1


def _hartmann(x: Floats, *, A: Floats, P: Floats, z: float) -> Floats:
    """-Σ_i [α_i - 0.1 (1 - z)] exp(-Σ_j A_ij (x_j - P_ij)²) at the fidelity z; α = (1, 1.2, 3, 3.2)."""
    α = np.array([1.0, 1.2, 3.0, 3.2]) - 0.1 * (1 - z)  # (4,)
    squares = (A * (x[:, None, :] - P) ** 2).sum(axis=2)  # (n, 4)
    return np.asarray(-np.exp(-squares) @ α)


def hartmann3_sum(x: Floats, *, shift: float = 1.0) -> Floats:
    """Hartmann's function at x (n, 3) with all its wells `shift` times as far from the origin: (n,)."""
    return _hartmann(x, A=_A3, P=shift * _P3, z=1.0)


_A3 = np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]])
_P3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
_A6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_TWO, _THREE = ("low", "high"), ("low", "medium", "high")
_UNIT = (0.0, 1.0)
_XIONG = "levels: Xiong, Qian & Wu (2013), Technometrics 55(1), 37-46"
_PARK = "Park (1991), Tuning complex computer codes to data and optimal designs, dissertation, University of Illinois"
_PERDIKARIS = "Perdikaris, Raissi, Damianou, Lawrence & Karniadakis (2017), Proc. R. Soc. A 473, 20160751"
_KANDASAMY = (
    "Dixon & Szegö (1978), Towards Global Optimisation 2; levels: Kandasamy, Dasarathy, Schneider & Póczos (2017), "
    "ICML, with their four fidelities set to one z = 0, 0.5, 1"
)

#: One input, two levels that are linear in each other but for a trend.
forrester = MultiFidelityFunction(
    "Forrester",
    ("x",),
    (_UNIT,),
    _TWO,
    (_forrester_low, _forrester_high),
    "Forrester, Sóbester & Keane (2007), Proc. R. Soc. A 463, 3251-3269",
    minimum=-6.02074,
    minimisers=((0.757249,),),
)
#: One input; the high level is a nonlinear function of the low one, which no linear autoregression can learn.
nonlinear_sine = MultiFidelityFunction(
    "nonlinear sine", ("x",), (_UNIT,), _TWO, (_nonlinear_sine_low, _nonlinear_sine_high), _PERDIKARIS
)
#: Two inputs; the low level is the high one smoothed.
currin = MultiFidelityFunction(
    "Currin",
    ("x1", "x2"),
    (_UNIT,) * 2,
    _TWO,
    (_currin_low, _currin_high),
    f"Currin, Mitchell, Morris & Ylvisaker (1991), JASA 86(416), 953-963; {_XIONG}",
)
#: Four inputs; the domain is [0, 1)⁴ in the Virtual Library, here with its end.
park91a = MultiFidelityFunction(
    "Park 1991 A",
    ("x1", "x2", "x3", "x4"),
    (_UNIT,) * 4,
    _TWO,
    (_park91a_low, _park91a_high),
    f"{_PARK}, function 1; {_XIONG}",
)
#: Four inputs; the low level is a linear function of the high one.
park91b = MultiFidelityFunction(
    "Park 1991 B",
    ("x1", "x2", "x3", "x4"),
    (_UNIT,) * 4,
    _TWO,
    (_park91b_low, _park91b_high),
    f"{_PARK}, function 2; {_XIONG}",
)
#: Eight inputs with units: flow of water through a borehole. Xiong et al. widen K_w to [1500, 15000].
borehole = MultiFidelityFunction(
    "borehole",
    ("r_w", "r", "T_u", "H_u", "T_l", "H_l", "L", "K_w"),
    (
        (0.05, 0.15),
        (100.0, 50_000.0),
        (63_070.0, 115_600.0),
        (990.0, 1110.0),
        (63.1, 116.0),
        (700.0, 820.0),
        (1120.0, 1680.0),
        (9855.0, 12_045.0),
    ),
    _TWO,
    (partial(_borehole, factor=5.0, summand=1.5), partial(_borehole, factor=2 * np.pi, summand=1.0)),
    f"Harper & Gupta (1983), report BMI/ONWI-516, Office of Nuclear Waste Isolation; {_XIONG}",
    units=("m", "m", "m^2/year", "m", "m^2/year", "m", "m", "m/year", "m^3/year"),
)
#: Two inputs, three levels that are nonlinear functions of each other at shifted places.
branin = MultiFidelityFunction(
    "Branin",
    ("x1", "x2"),
    ((-5.0, 10.0), (0.0, 15.0)),
    _THREE,
    (_branin_low, _branin_medium, _branin_high),
    f"Dixon & Szegö (1978), Towards Global Optimisation 2; levels: {_PERDIKARIS}",
    minimum=0.397887,
    minimisers=((-np.pi, 12.275), (np.pi, 2.275), (9.42478, 2.475)),
)
#: Three inputs, three levels that are almost the same. BoTorch's AugmentedHartmann lowers the first α only.
hartmann3 = MultiFidelityFunction(
    "Hartmann 3",
    ("x1", "x2", "x3"),
    (_UNIT,) * 3,
    _THREE,
    tuple(partial(_hartmann, A=_A3, P=_P3, z=z) for z in (0.0, 0.5, 1.0)),
    _KANDASAMY,
    minimum=-3.86278,
    minimisers=((0.114614, 0.555649, 0.852547),),
)
#: Six inputs, levels as for `hartmann3`.
hartmann6 = MultiFidelityFunction(
    "Hartmann 6",
    ("x1", "x2", "x3", "x4", "x5", "x6"),
    (_UNIT,) * 6,
    _THREE,
    tuple(partial(_hartmann, A=_A6, P=_P6, z=z) for z in (0.0, 0.5, 1.0)),
    _KANDASAMY,
    minimum=-3.32237,
    minimisers=((0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),),
)
