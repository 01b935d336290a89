"""Design loops: a fitted surrogate inside BoTorch, SciPy, OpenMDAO and pymoo, and advice on the next experiment.

Public names are loaded when they are first used, since some of them need optional packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .measures import CVaR, Mean, Probability, Quantile, Std
    from .objectives import Objective, chance_constraint, objective
    from .openmdao_wrapper import OpenMDAOBattery, OpenMDAOComponent, OpenMDAOPolicy, OpenMDAOThermostat
    from .pymoo_wrapper import PymooProblem
    from .response import Response, Scatter

__all__: list[str] = [
    "CVaR",
    "Mean",
    "Objective",
    "OpenMDAOBattery",
    "OpenMDAOComponent",
    "OpenMDAOPolicy",
    "OpenMDAOThermostat",
    "Probability",
    "PymooProblem",
    "Quantile",
    "Response",
    "Scatter",
    "Std",
    "chance_constraint",
    "objective",
]

_HOMES: dict[str, str] = {
    "CVaR": "surrogates.design.measures",
    "Mean": "surrogates.design.measures",
    "Objective": "surrogates.design.objectives",
    "OpenMDAOBattery": "surrogates.design.openmdao_wrapper",
    "OpenMDAOComponent": "surrogates.design.openmdao_wrapper",
    "OpenMDAOPolicy": "surrogates.design.openmdao_wrapper",
    "OpenMDAOThermostat": "surrogates.design.openmdao_wrapper",
    "Probability": "surrogates.design.measures",
    "PymooProblem": "surrogates.design.pymoo_wrapper",
    "Quantile": "surrogates.design.measures",
    "Response": "surrogates.design.response",
    "Scatter": "surrogates.design.response",
    "Std": "surrogates.design.measures",
    "chance_constraint": "surrogates.design.objectives",
    "objective": "surrogates.design.objectives",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'surrogates.design' has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
