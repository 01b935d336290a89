"""Design loops: a fitted surrogate inside BoTorch, SciPy, OpenMDAO and pymoo, and advice on the next experiment.

Public names are loaded when they are first used, since some of them need optional packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from surrogates.errors import missing_extra

if TYPE_CHECKING:
    from surrogates.design.advice import advise
    from surrogates.design.botorch_wrapper import SurrogateModel, botorch_model
    from surrogates.design.goals import LevelSet, Map, Optimum
    from surrogates.design.inverse.calibrate import calibrate
    from surrogates.design.loop import Loop
    from surrogates.design.measures import CVaR, Mean, Probability, Quantile, Std
    from surrogates.design.objectives import Objective, chance_constraint, objective
    from surrogates.design.openmdao_wrapper import (
        OpenMDAOBattery,
        OpenMDAOComponent,
        OpenMDAOPolicy,
        OpenMDAOThermostat,
    )
    from surrogates.design.pymoo_wrapper import PymooProblem
    from surrogates.design.response import Response, Scatter
    from surrogates.design.running import Outcome, run
    from surrogates.design.sensitivity.indices import sobol_indices

__all__ = [
    "CVaR",
    "LevelSet",
    "Loop",
    "Map",
    "Mean",
    "Objective",
    "OpenMDAOBattery",
    "OpenMDAOComponent",
    "OpenMDAOPolicy",
    "OpenMDAOThermostat",
    "Optimum",
    "Outcome",
    "Probability",
    "PymooProblem",
    "Quantile",
    "Response",
    "Scatter",
    "Std",
    "SurrogateModel",
    "advise",
    "botorch_model",
    "calibrate",
    "chance_constraint",
    "objective",
    "run",
    "sobol_indices",
]

_HOMES = {
    "CVaR": "surrogates.design.measures",
    "LevelSet": "surrogates.design.goals",
    "Loop": "surrogates.design.loop",
    "Map": "surrogates.design.goals",
    "Mean": "surrogates.design.measures",
    "Objective": "surrogates.design.objectives",
    "OpenMDAOBattery": "surrogates.design.openmdao_wrapper",
    "OpenMDAOComponent": "surrogates.design.openmdao_wrapper",
    "OpenMDAOPolicy": "surrogates.design.openmdao_wrapper",
    "OpenMDAOThermostat": "surrogates.design.openmdao_wrapper",
    "Optimum": "surrogates.design.goals",
    "Outcome": "surrogates.design.running",
    "Probability": "surrogates.design.measures",
    "PymooProblem": "surrogates.design.pymoo_wrapper",
    "Quantile": "surrogates.design.measures",
    "Response": "surrogates.design.response",
    "Scatter": "surrogates.design.response",
    "Std": "surrogates.design.measures",
    "SurrogateModel": "surrogates.design.botorch_wrapper",
    "advise": "surrogates.design.advice",
    "botorch_model": "surrogates.design.botorch_wrapper",
    "calibrate": "surrogates.design.inverse.calibrate",
    "chance_constraint": "surrogates.design.objectives",
    "objective": "surrogates.design.objectives",
    "run": "surrogates.design.running",
    "sobol_indices": "surrogates.design.sensitivity.indices",
}
#: optional packages that modules are built on, and the extras that bring them
_EXTRAS = {"botorch": "design", "pymoo": "design", "openmdao": "openmdao"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'surrogates.design' has no attribute {name!r}; it has {__all__}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise missing_extra(package, _EXTRAS[package]) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
