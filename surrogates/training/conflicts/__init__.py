"""Tasks that pull in different directions: what they share, and when they had better not."""

from .spectral import Sharing, Subspace, robust_subspace, spectral_sharing

__all__ = ["Sharing", "Subspace", "robust_subspace", "spectral_sharing"]
