"""Weightings by name, each with its defaults."""

from __future__ import annotations

from collections.abc import Callable

from surrogates.errors import DataError

from ._base import Weighting
from .adapter import TorchJD
from .alpha_fair import AlphaFair
from .annealing import LearningRateAnnealing
from .dynamic_average import DynamicWeightAverage
from .famo import FAMO
from .fixed import Fixed
from .gradnorm import GradNorm
from .ldcmtl import LDCMTL
from .relobralo import ReLoBRaLo
from .residual_attention import ResidualAttention
from .softadapt import SoftAdapt
from .sum_of_logs import SumOfLogs
from .tangent_kernel import NeuralTangentKernel
from .uncertainty import Uncertainty

_BY_NAME: dict[str, Callable[[], Weighting]] = {
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "sum_of_logs": SumOfLogs,
    "alpha_fair": AlphaFair,
    "gradnorm": GradNorm,
    "relobralo": ReLoBRaLo,
    "softadapt": SoftAdapt,
    "learning_rate_annealing": LearningRateAnnealing,
    "neural_tangent_kernel": NeuralTangentKernel,
    "residual_attention": ResidualAttention,
    "dynamic_weight_average": DynamicWeightAverage,
    "famo": FAMO,
    "ldc_mtl": LDCMTL,
}
#: The names that `weighting_by_name` knows, besides "torchjd:" and the name of a class of torchjd.
WEIGHTINGS: tuple[str, ...] = tuple(_BY_NAME)


def weighting_by_name(name: str) -> Weighting:
    """A weighting with its defaults.

    >>> weighting_by_name("relobralo")
    ReLoBRaLo(memory=0.999, temperature=0.1, lookback=0.999)
    >>> weighting_by_name("torchjd:MGDA")
    TorchJD('MGDA', {})
    """
    if name.startswith("torchjd:"):
        return TorchJD(name.removeprefix("torchjd:"))
    if name not in _BY_NAME:
        raise DataError(
            f"weighting {name!r} is unknown; known are {', '.join(map(repr, WEIGHTINGS))}, and 'torchjd:' with the name "
            f"of one of torchjd's classes"
        )
    return _BY_NAME[name]()
