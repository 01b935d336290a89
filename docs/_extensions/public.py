"""What is public, read from `__all__`: each object is told of once, in the module with the shortest name that offers it."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

API = Path(__file__).parent.parent / "api.md"


def modules() -> tuple[str, ...]:
    """Modules that the API's page lists, those with short names first."""
    found = re.findall(r"^ +(surrogates[\w.]*)$", API.read_text("utf-8"), re.MULTILINE)
    return tuple(sorted(found, key=lambda name: name.count(".")))


def names_of(module: str) -> list[str]:
    """Of a module without `__all__`: what it defines, and what has no underscore in front."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        return [name for name in loaded.__all__ if not isinstance(getattr(loaded, name), ModuleType)]
    return [
        name for name, value in vars(loaded).items() if name[0] != "_" and getattr(value, "__module__", 0) == module
    ]


def offered() -> dict[str, dict[str, object]]:
    """Objects by module and name."""
    return {
        module: {name: getattr(importlib.import_module(module), name) for name in names_of(module)}
        for module in modules()
    }


def homes() -> dict[int, str]:
    """Full name by the identity of an object."""
    found: dict[int, str] = {}
    for module, objects in offered().items():
        for name, value in objects.items():
            found.setdefault(id(value), f"{module}.{name}")
    return found


def at_home() -> dict[str, list[str]]:
    """Names that are told of on each module's page."""
    home = homes()
    return {
        module: [name for name, value in objects.items() if home[id(value)] == f"{module}.{name}"]
        for module, objects in offered().items()
    }


def elsewhere() -> dict[str, list[str]]:
    """Full names of what each module offers too, but another page tells of."""
    home = homes()
    return {
        module: [home[id(value)] for name, value in objects.items() if home[id(value)] != f"{module}.{name}"]
        for module, objects in offered().items()
    }


def kinds() -> dict[str, dict[str, str]]:
    """Autodoc's word for each object: class, exception, function or data."""
    return {
        module: {
            name: "exception"
            if inspect.isclass(value) and issubclass(value, Exception)
            else "class"
            if inspect.isclass(value)
            else "function"
            if inspect.isroutine(value)
            else "data"
            for name, value in objects.items()
        }
        for module, objects in offered().items()
    }
