"""Virtual batteries: gray-box networks of air-conditioned rooms."""

from .encoder_training import EncoderRecipe
from .intake import read
from .misfit import Recipe
from .model import FittedVirtualBattery, VirtualBatteryNet
from .records import Records
from .report import BatteryReport
from .units import AdaptedUnits

__all__ = [
    "AdaptedUnits",
    "BatteryReport",
    "EncoderRecipe",
    "FittedVirtualBattery",
    "Recipe",
    "Records",
    "VirtualBatteryNet",
    "read",
]
