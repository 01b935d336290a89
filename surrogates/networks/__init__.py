"""Networks: trunks, heads, adapters and random features, shared by all families that learn with them."""

from .activations import ACTIVATIONS, Activation
from .adapters import AdaptedMLP, LowRankAdapter
from .embedding import TaskEmbedding
from .flat import Flat, flatten, unflatten
from .fourier import FourierFeatures
from .heads import Heads
from .last_layer import LastLayer, fit_last_layer
from .mlp import MLP
from .modified import ModifiedMLP
from .polynomials import ChebyshevFeatures, choose_degrees
from .random_features import RandomFeatures
from .trunk import Trunk

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "AdaptedMLP",
    "ChebyshevFeatures",
    "Flat",
    "FourierFeatures",
    "Heads",
    "LastLayer",
    "LowRankAdapter",
    "ModifiedMLP",
    "RandomFeatures",
    "TaskEmbedding",
    "Trunk",
    "choose_degrees",
    "fit_last_layer",
    "flatten",
    "unflatten",
]
