"""Hierarchical multi-task multi-fidelity Gaussian processes."""

from .fidelity.fitted import FittedMultiFidelityGP
from .fidelity.model import MultiFidelityGP
from .fitted import FittedHierarchicalGP
from .inducing.fitted_single import FittedInducingGP
from .inducing.single import InducingGP
from .model import HierarchicalGP
from .tanimoto import Tanimoto
from .terms import Categorical, Periodic, Smooth, additive

__all__ = [
    "Categorical",
    "FittedHierarchicalGP",
    "FittedInducingGP",
    "FittedMultiFidelityGP",
    "HierarchicalGP",
    "InducingGP",
    "MultiFidelityGP",
    "Periodic",
    "Smooth",
    "Tanimoto",
    "additive",
]
