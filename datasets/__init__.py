"""Data with provenance, as xarray: generators that run the physics, and test functions from their publications."""

if __name__ != "surrogates.datasets":
    raise ImportError("this folder is the package surrogates.datasets; write 'import surrogates.datasets'")

from . import molecules
from .engine import EngineProcess, engine_surfaces
from .functions import (
    FUNCTIONS,
    borehole,
    branin,
    currin,
    forrester,
    hartmann3,
    hartmann6,
    nonlinear_sine,
    park91a,
    park91b,
)
from .multifidelity import MultiFidelityFunction
from .rooms import Rooms, air_conditioned_rooms, simulate_rooms
from .study import Study
from .synthetic import sine_tasks

__all__ = [
    "FUNCTIONS",
    "EngineProcess",
    "MultiFidelityFunction",
    "Rooms",
    "Study",
    "air_conditioned_rooms",
    "borehole",
    "branin",
    "currin",
    "engine_surfaces",
    "forrester",
    "hartmann3",
    "hartmann6",
    "molecules",
    "nonlinear_sine",
    "park91a",
    "park91b",
    "simulate_rooms",
    "sine_tasks",
]
