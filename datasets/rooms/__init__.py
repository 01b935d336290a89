"""Air-conditioned rooms simulated by EnergyPlus, with their true parameters."""

from .archive import air_conditioned_rooms, read_rooms, write_rooms
from .rooms import Rooms
from .simulate import resimulate, simulate_rooms

__all__ = ["Rooms", "air_conditioned_rooms", "read_rooms", "resimulate", "simulate_rooms", "write_rooms"]
