"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fidelity.fitted import FittedMultiFidelityGP
from .fidelity.model import MultiFidelityGP
from .fitted import FittedHierarchicalGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto
from .terms import Categorical, Periodic, Smooth, additive

__all__ = [
    "Categorical",
    "FittedHierarchicalGP",
    "FittedMultiFidelityGP",
    "HierarchicalGP",
    "MultiFidelityGP",
    "Periodic",
    "Smooth",
    "Tanimoto",
    "additive",
]
