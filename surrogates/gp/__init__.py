"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fitted import FittedHierarchicalGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto
from .terms import Categorical, Periodic, Smooth, additive

__all__ = [
    "Categorical",
    "FittedHierarchicalGP",
    "HierarchicalGP",
    "Periodic",
    "Smooth",
    "Tanimoto",
    "additive",
]
