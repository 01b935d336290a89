"""The health of a fit: what its left-out readings, its leverages and its algebra say of it; for any family of models."""

from .linear import Dependence, Smoothing
from .report import HealthReport
from .review import review

__all__ = ["Dependence", "HealthReport", "Smoothing", "review"]
