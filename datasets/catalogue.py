"""All multi-fidelity test functions by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import avt331, functions, toal
from .multifidelity import MultiFidelityFunction

#: All of them by the names of their variables.
FUNCTIONS: Mapping[str, MultiFidelityFunction] = MappingProxyType(
    {
        "forrester": functions.forrester,
        "nonlinear_sine": functions.nonlinear_sine,
        "currin": functions.currin,
        "park91a": functions.park91a,
        "park91b": functions.park91b,
        "borehole": functions.borehole,
        "branin": functions.branin,
        "hartmann3": functions.hartmann3,
        "hartmann6": functions.hartmann6,
        "branin_alike": toal.branin_alike,
        "paciorek_alike": toal.paciorek_alike,
        "paciorek_unlike": toal.paciorek_unlike,
        "hartmann3_unlike": toal.hartmann3_unlike,
        "trid_alike": toal.trid_alike,
        "trid_unlike": toal.trid_unlike,
        "alos": avt331.alos,
        "rosenbrock": avt331.rosenbrock,
        "rastrigin": avt331.rastrigin,
    }
)
