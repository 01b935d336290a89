"""Training: the loops that fit parameters, shared by all families of models."""

from .newton import Minimum, Outcome, lbfgs, newton

__all__ = ["Minimum", "Outcome", "lbfgs", "newton"]
