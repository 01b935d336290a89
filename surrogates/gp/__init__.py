"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fitted import FittedHierarchicalGP
from .model import HierarchicalGP

__all__ = ["FittedHierarchicalGP", "HierarchicalGP"]
