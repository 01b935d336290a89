"""Virtual batteries: gray-box networks of air-conditioned rooms."""

from .intake import read
from .misfit import Recipe
from .model import FittedVirtualBattery, VirtualBatteryNet
from .records import Records
from .report import BatteryReport
from .units import AdaptedUnits

__all__ = [
    "AdaptedUnits",
    "BatteryReport",
    "FittedVirtualBattery",
    "Recipe",
    "Records",
    "VirtualBatteryNet",
    "read",
]
