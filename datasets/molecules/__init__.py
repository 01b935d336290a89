"""Molecular properties with provenance: measured, computed at several levels, and how to split them."""

from .fidelities import fidelities, read_fidelities
from .optical import optical
from .physical import physical_properties
from .qm9 import qm9
from .solvation import solvation
from .splits import Split, group_split, random_split, scaffold_split
from .table import Molecules

__all__ = [
    "Molecules",
    "Split",
    "fidelities",
    "group_split",
    "optical",
    "physical_properties",
    "qm9",
    "random_split",
    "read_fidelities",
    "scaffold_split",
    "solvation",
]
