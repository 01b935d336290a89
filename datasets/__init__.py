"""Data with provenance, as xarray: generators that run the physics, and test functions from their publications."""

if __name__ != "surrogates.datasets":
    raise ImportError("this folder is the package surrogates.datasets; write 'import surrogates.datasets'")

from . import molecules
from .avt331 import alos, rastrigin, rosenbrock
from .catalogue import FUNCTIONS
from .engine import EngineProcess, engine_surfaces
from .functions import (
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
from .toal import (
    branin_alike,
    hartmann3_unlike,
    paciorek_alike,
    paciorek_unlike,
    toal_branin,
    toal_hartmann3,
    toal_paciorek,
    toal_trid,
    trid_alike,
    trid_unlike,
)

__all__ = [
    "FUNCTIONS",
    "EngineProcess",
    "MultiFidelityFunction",
    "Rooms",
    "Study",
    "air_conditioned_rooms",
    "alos",
    "borehole",
    "branin",
    "branin_alike",
    "currin",
    "engine_surfaces",
    "forrester",
    "hartmann3",
    "hartmann3_unlike",
    "hartmann6",
    "molecules",
    "nonlinear_sine",
    "paciorek_alike",
    "paciorek_unlike",
    "park91a",
    "park91b",
    "rastrigin",
    "rosenbrock",
    "simulate_rooms",
    "sine_tasks",
    "toal_branin",
    "toal_hartmann3",
    "toal_paciorek",
    "toal_trid",
    "trid_alike",
    "trid_unlike",
]
