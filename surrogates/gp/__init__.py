"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fitted import FittedHierarchicalGP
from .inducing.fitted_single import FittedInducingGP
from .inducing.single import InducingGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto

__all__ = ["FittedHierarchicalGP", "FittedInducingGP", "HierarchicalGP", "InducingGP", "Tanimoto"]
