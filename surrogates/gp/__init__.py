"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fitted import FittedHierarchicalGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto

__all__ = ["FittedHierarchicalGP", "HierarchicalGP", "Tanimoto"]
