"""Baselines: what a forecaster of room temperature has to beat, each tuned as well as we could."""

from .arx import ARX
from .hierarchical import HierarchicalARX
from .interface import Baseline, Fitted, Forecaster
from .persistence import Persistence
from .recurrent import LSTM
from .terms import Terms
from .thermal import OutputError

__all__ = ["ARX", "LSTM", "Baseline", "Fitted", "Forecaster", "HierarchicalARX", "OutputError", "Persistence", "Terms"]
