"""Properties of molecules, each measured on a different few of them."""

from .features import DescriptorScaling, Features, molecule_features
from .fitted import FittedMolecularNet
from .model import MolecularNet

__all__ = ["DescriptorScaling", "Features", "FittedMolecularNet", "MolecularNet", "molecule_features"]
