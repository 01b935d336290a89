"""Molecular properties with provenance: measured, computed at several levels, and how to split them."""

from .optical import optical
from .physical import physical_properties
from .qm9 import qm9
from .solvation import solvation
from .splits import Split, group_split, random_split, scaffold_split
from .table import Molecules

__all__ = [
    "Molecules",
    "Split",
    "group_split",
    "optical",
    "physical_properties",
    "qm9",
    "random_split",
    "scaffold_split",
    "solvation",
]
