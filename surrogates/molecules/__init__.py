"""Properties of molecules, each measured on a different few of them."""

from .fitted import FittedMolecularNet
from .model import MolecularNet

__all__ = ["FittedMolecularNet", "MolecularNet"]
