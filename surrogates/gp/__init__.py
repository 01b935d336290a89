"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fidelity.fitted import FittedMultiFidelityGP
from .fidelity.model import MultiFidelityGP
from .fitted import FittedHierarchicalGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto

__all__ = ["FittedHierarchicalGP", "FittedMultiFidelityGP", "HierarchicalGP", "MultiFidelityGP", "Tanimoto"]
