"""Networks: trunks, heads, adapters and random features, shared by all families that learn with them."""

from .activations import ACTIVATIONS, Activation
from .adapters import AdaptedMLP
from .embedding import TaskEmbedding
from .flat import Flat, flatten, unflatten
from .fourier import FourierFeatures
from .grouping import progressive_groups, task_groups
from .heads import Heads, StackedHeads
from .last_layer import LastLayer, fit_last_layer
from .likelihoods import Gaussian, Likelihood, Quantiles, SquaredError
from .low_rank import LowRankAdapter
from .merging import drop_and_rescale, merge_ties, task_arithmetic
from .mlp import MLP
from .modified import ModifiedMLP
from .polynomials import ChebyshevFeatures, choose_degrees
from .random_features import RandomFeatures
from .ranking import approx_ndcg_loss, relevance_by_rank
from .routing import Router, Routing
from .trunk import Trunk

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "AdaptedMLP",
    "ChebyshevFeatures",
    "Flat",
    "FourierFeatures",
    "Gaussian",
    "Heads",
    "LastLayer",
    "Likelihood",
    "LowRankAdapter",
    "ModifiedMLP",
    "Quantiles",
    "RandomFeatures",
    "Router",
    "Routing",
    "SquaredError",
    "StackedHeads",
    "TaskEmbedding",
    "Trunk",
    "approx_ndcg_loss",
    "choose_degrees",
    "drop_and_rescale",
    "fit_last_layer",
    "flatten",
    "merge_ties",
    "progressive_groups",
    "relevance_by_rank",
    "task_arithmetic",
    "task_groups",
    "unflatten",
]
