"""Design loops: a fitted surrogate inside BoTorch, SciPy, OpenMDAO and pymoo, and advice on the next experiment.

Public names are loaded when they are first used, since some of them need optional packages.
"""

from __future__ import annotations

import importlib

__all__ = [
    "sobol_indices",
]

_HOMES: dict[str, str] = {
    "sobol_indices": "surrogates.design.sensitivity.indices",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'surrogates.design' has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
