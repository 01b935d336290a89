"""Data with provenance, as xarray: generators that run the physics, and test functions from their publications."""

if __name__ != "surrogates.datasets":
    raise ImportError("this folder is the package surrogates.datasets; write 'import surrogates.datasets'")

from .engine import EngineProcess, engine_surfaces
from .study import Study

__all__ = ["EngineProcess", "Study", "engine_surfaces"]
