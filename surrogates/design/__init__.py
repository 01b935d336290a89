"""Design loops: a fitted surrogate inside BoTorch, SciPy, OpenMDAO and pymoo, and advice on the next experiment.

Public names are loaded when they are first used, since some of them need optional packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .advice import advise as advise
    from .goals import LevelSet as LevelSet
    from .goals import Map as Map
    from .goals import Optimum as Optimum

__all__ = [
    "LevelSet",
    "Map",
    "Optimum",
    "advise",
]

_HOMES = {
    "LevelSet": "surrogates.design.goals",
    "Map": "surrogates.design.goals",
    "Optimum": "surrogates.design.goals",
    "advise": "surrogates.design.advice",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'surrogates.design' has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
