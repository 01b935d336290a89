"""Optimal control by networks: one problem, or a whole family of problems with certificates."""

from .family import FamilyRoad
from .fitted_family import FittedFamily
from .fitted_single import FittedControl
from .model import OptimalControlNet
from .paper import PaperRoad
from .policy import Policy
from .report import ControlReport
from .single import FeatureRoad, LevenbergMarquardtRoad
from .tasks import FittedTasks, TasksRoad

__all__ = [
    "ControlReport",
    "FamilyRoad",
    "FeatureRoad",
    "FittedControl",
    "FittedFamily",
    "FittedTasks",
    "LevenbergMarquardtRoad",
    "OptimalControlNet",
    "PaperRoad",
    "Policy",
    "TasksRoad",
]
