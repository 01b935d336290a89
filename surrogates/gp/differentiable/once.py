"""Functions of ours that autograd may differentiate once."""

from __future__ import annotations

import torch

from surrogates.errors import DataError


def require_first_derivative(what: str) -> None:
    """To be called first in the `backward` of a function whose derivative is no graph of torch.

    torch's own `once_differentiable` stays silent, and second derivatives are wrong, where the upstream gradient happens to
    be a constant.

    Raises
    ------
    DataError
        If the derivative is itself to be differentiated (``create_graph=True``).
    """
    if torch.is_grad_enabled():
        raise DataError(
            f"{what} have no second derivatives here; use a method that needs gradients alone, such as L-BFGS-B, SLSQP or "
            f"trust-constr with scipy.optimize.BFGS() as its Hessian"
        )
