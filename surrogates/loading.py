"""Read any saved model: the file says which family wrote it."""

from __future__ import annotations

import importlib
import os
from types import MappingProxyType
from typing import Any

from surrogates import persistence
from surrogates.errors import FileFormatError

#: kind of a file -> module and class with `from_archive`; families are imported only when one of theirs is read
FAMILIES = MappingProxyType(
    {
        "hierarchical-gp": ("surrogates.gp", "FittedHierarchicalGP"),
        "adapted-rooms": ("surrogates.battery", "AdaptedUnits"),
        "inducing-gp": ("surrogates.gp", "FittedInducingGP"),
        "control-family": ("surrogates.control", "FittedFamily"),
        "multi-fidelity-gp": ("surrogates.gp", "FittedMultiFidelityGP"),
        "molecular-net": ("surrogates.molecules", "FittedMolecularNet"),
        "virtual-battery": ("surrogates.battery", "FittedVirtualBattery"),
    }
)


def load(path: str | os.PathLike[str]) -> Any:
    """The fitted model that `save` wrote to `path`.

    Raises
    ------
    FileFormatError
        If the file isn't a saved model, is damaged, or comes from a newer version of this library.
    FileNotFoundError
        If there is no such file.
    """
    archive = persistence.read(path)
    if archive.kind not in FAMILIES:
        raise FileFormatError(
            f"{os.fspath(path)} holds a model of kind {archive.kind!r}; this version reads {sorted(FAMILIES)}; "
            f"it may come from a newer version of surrogates"
        )
    module, name = FAMILIES[archive.kind]
    family = getattr(importlib.import_module(module), name)
    try:
        return family.from_archive(archive)
    except (KeyError, TypeError) as error:
        raise FileFormatError(
            f"{os.fspath(path)} lacks what a {archive.kind!r} needs ({error}); "
            f"it may come from another version of surrogates"
        ) from error
