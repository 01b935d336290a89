"""Surrogates that share what few, expensive observations over many related tasks have in common.

Public names are loaded when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surrogates.battery import AdaptedUnits, FittedVirtualBattery, VirtualBatteryNet
    from surrogates.control import FittedControl, FittedFamily, OptimalControlNet
    from surrogates.gp import (
        FittedHierarchicalGP,
        FittedInducingGP,
        FittedMultiFidelityGP,
        HierarchicalGP,
        InducingGP,
        MultiFidelityGP,
    )
    from surrogates.loading import load
    from surrogates.molecules import FittedMolecularNet, MolecularNet
    from surrogates.schema import Schema, as_dataset

__all__ = [
    "AdaptedUnits",
    "FittedControl",
    "FittedFamily",
    "FittedHierarchicalGP",
    "FittedInducingGP",
    "FittedMolecularNet",
    "FittedMultiFidelityGP",
    "FittedVirtualBattery",
    "HierarchicalGP",
    "InducingGP",
    "MolecularNet",
    "MultiFidelityGP",
    "OptimalControlNet",
    "Schema",
    "VirtualBatteryNet",
    "as_dataset",
    "load",
]
__version__ = "0.1.0"

_HOMES = {
    "AdaptedUnits": "surrogates.battery",
    "FittedVirtualBattery": "surrogates.battery",
    "VirtualBatteryNet": "surrogates.battery",
    "FittedControl": "surrogates.control",
    "FittedFamily": "surrogates.control",
    "OptimalControlNet": "surrogates.control",
    "FittedHierarchicalGP": "surrogates.gp",
    "FittedInducingGP": "surrogates.gp",
    "FittedMultiFidelityGP": "surrogates.gp",
    "HierarchicalGP": "surrogates.gp",
    "InducingGP": "surrogates.gp",
    "MultiFidelityGP": "surrogates.gp",
    "FittedMolecularNet": "surrogates.molecules",
    "MolecularNet": "surrogates.molecules",
    "Schema": "surrogates.schema",
    "as_dataset": "surrogates.schema",
    "load": "surrogates.loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'surrogates' has no attribute {name!r}; it has {__all__}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
