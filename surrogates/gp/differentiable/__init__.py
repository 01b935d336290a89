"""Posteriors as functions of torch tensors, for whoever differentiates through them."""

from .conditioned import Gaussian
from .joint import FittedProcess, JointPosterior, joint_posterior, read_places

__all__ = ["FittedProcess", "Gaussian", "JointPosterior", "joint_posterior", "read_places"]
