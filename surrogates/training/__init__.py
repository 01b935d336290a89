"""Training: the loops that fit parameters, and the weightings of their losses, shared by all families of models."""

from .adam import Adam
from .adamw import AdamW
from .broyden import SSBroyden
from .checkpoint import Checkpoint
from .lbfgs import LBFGS
from .levenberg import LevenbergMarquardt
from .loop import Minimised, minimize
from .newton import Minimum, Outcome, lbfgs, newton
from .objective import HasJacobian, Losses
from .optimiser import Ending, Optimiser
from .stochastic import Batches, Trained, train
from .stopping import Stopping, Validation
from .weighting import (
    FAMO,
    LDCMTL,
    WEIGHTINGS,
    AlphaFair,
    Balance,
    DynamicWeightAverage,
    Fixed,
    GradNorm,
    LearningRateAnnealing,
    NeuralTangentKernel,
    ReLoBRaLo,
    ResidualAttention,
    Seen,
    SoftAdapt,
    SumOfLogs,
    TorchJD,
    Uncertainty,
    Weighting,
    weighting_by_name,
)

__all__ = [
    "FAMO",
    "LBFGS",
    "LDCMTL",
    "WEIGHTINGS",
    "Adam",
    "AdamW",
    "AlphaFair",
    "Balance",
    "Batches",
    "Checkpoint",
    "DynamicWeightAverage",
    "Ending",
    "Fixed",
    "GradNorm",
    "HasJacobian",
    "LearningRateAnnealing",
    "LevenbergMarquardt",
    "Losses",
    "Minimised",
    "Minimum",
    "NeuralTangentKernel",
    "Optimiser",
    "Outcome",
    "ReLoBRaLo",
    "ResidualAttention",
    "SSBroyden",
    "Seen",
    "SoftAdapt",
    "Stopping",
    "SumOfLogs",
    "TorchJD",
    "Trained",
    "Uncertainty",
    "Validation",
    "Weighting",
    "lbfgs",
    "minimize",
    "newton",
    "train",
    "weighting_by_name",
]
