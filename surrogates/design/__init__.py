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
    from surrogates.design.loop import Loop
    from surrogates.design.running import Outcome, run
    from surrogates.design.sensitivity.indices import sobol_indices

__all__ = [
    "LevelSet",
    "Loop",
    "Map",
    "Optimum",
    "Outcome",
    "SurrogateModel",
    "advise",
    "botorch_model",
    "run",
    "sobol_indices",
]

_HOMES = {
    "LevelSet": "surrogates.design.goals",
    "Loop": "surrogates.design.loop",
    "Map": "surrogates.design.goals",
    "Optimum": "surrogates.design.goals",
    "Outcome": "surrogates.design.running",
    "SurrogateModel": "surrogates.design.botorch_wrapper",
    "advise": "surrogates.design.advice",
    "botorch_model": "surrogates.design.botorch_wrapper",
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
