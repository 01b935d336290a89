"""Tasks with conflicting gradients: methods on the Gram matrix of the shared gradients, and the engine that takes it."""

from ._base import Conflicts, SeenTasks, State, gradient_cosines
from .adapter import Aggregated, LossWeights
from .aim import AIM
from .colouring import Colouring, welsh_powell
from .diagnostics import label_overlap, overlap_warnings
from .engine import Batch, Engine, Look, SquaredError, TaskLoss
from .fair import FairGrad, NashMTL
from .famo import AheadFAMO
from .gcond import GCond, own_rows
from .lookahead import LookAhead
from .minimum_norm import MGDA, CAGrad
from .pcgrad import PCGrad
from .registry import CONFLICTS, conflicts_by_name
from .sharpness import Sharpness
from .spectral import Sharing, Subspace, robust_subspace, spectral_sharing

__all__ = [
    "AIM",
    "CONFLICTS",
    "MGDA",
    "Aggregated",
    "AheadFAMO",
    "Batch",
    "CAGrad",
    "Colouring",
    "Conflicts",
    "Engine",
    "FairGrad",
    "GCond",
    "Look",
    "LookAhead",
    "LossWeights",
    "NashMTL",
    "PCGrad",
    "SeenTasks",
    "Sharing",
    "Sharpness",
    "SquaredError",
    "State",
    "Subspace",
    "TaskLoss",
    "conflicts_by_name",
    "gradient_cosines",
    "label_overlap",
    "overlap_warnings",
    "own_rows",
    "robust_subspace",
    "spectral_sharing",
    "welsh_powell",
]
