"""Adaptive weights of named losses, one method a file."""

from ._base import Balance, Seen, State, Weighting
from .adapter import TorchJD
from .alpha_fair import AlphaFair
from .annealing import LearningRateAnnealing
from .dynamic_average import DynamicWeightAverage
from .famo import FAMO
from .fixed import Fixed
from .gradnorm import GradNorm
from .ldcmtl import LDCMTL
from .registry import WEIGHTINGS, weighting_by_name
from .relobralo import ReLoBRaLo
from .residual_attention import ResidualAttention
from .softadapt import SoftAdapt
from .sum_of_logs import SumOfLogs
from .tangent_kernel import NeuralTangentKernel
from .uncertainty import Uncertainty

__all__ = [
    "FAMO",
    "LDCMTL",
    "WEIGHTINGS",
    "AlphaFair",
    "Balance",
    "DynamicWeightAverage",
    "Fixed",
    "GradNorm",
    "LearningRateAnnealing",
    "NeuralTangentKernel",
    "ReLoBRaLo",
    "ResidualAttention",
    "Seen",
    "SoftAdapt",
    "State",
    "SumOfLogs",
    "TorchJD",
    "Uncertainty",
    "Weighting",
    "weighting_by_name",
]
