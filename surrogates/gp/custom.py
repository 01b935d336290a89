"""A user's own gpytorch kernel inside the hierarchical model: values and derivatives by automatic differentiation.

The plain RBF and Matern kernels with one length-scale per input are recognised and get the closed forms instead.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.linalg import add_to_diagonal, invert_lower, mirror, solve_factored, try_cholesky_in_place

from ._settings import exact
from .design import Design
from .kernels import KERNELS, Kernel, kernel_named
from .objective import ShapeParameters
from .reml import NotPositiveDefinite, reml, weigh
from .solvers._base import Gradient, Inverse, Result, State

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CustomKernel:
    """A gpytorch kernel over the scaled inputs, with its free raw parameters as hyper-parameters.

    Each has a normal prior of standard deviation 2 around its value at the start, times the kernel's own priors.
    """

    module: Any  # gpytorch.kernels.Kernel, double precision, this library's own copy
    name: str

    def start(self) -> Floats:
        """(r,) raw parameters as the user gave them."""
        parts = [p.detach().double().reshape(-1).numpy() for _, p in _free(self.module)]
        return np.concatenate([np.zeros(0), *parts])

    def shape_parameters(self) -> ShapeParameters:
        """Names, prior and bounds of the raw parameters."""
        names = tuple(f"{n}[{i}]" for n, p in _free(self.module) for i in range(p.numel()))
        mean = self.start()
        bounds = [(m - 15.0, m + 15.0) for m in mean]
        own = self.log_priors if list(self.module.named_priors()) else None
        return ShapeParameters(names, mean, np.full(len(mean), 2.0), bounds, False, 1, own)

    def log_priors(self, shapes: Floats) -> tuple[float, Floats]:
        """Log density of the kernel's own priors, and its gradient (r,), at raw parameters (1, r)."""
        import torch

        module = self.at(shapes)
        total = sum(prior.log_prob(value(owner)).sum() for _, owner, prior, value, _ in module.named_priors())
        if not total.requires_grad:
            return float(total), np.zeros(np.size(shapes))  # only of frozen parameters
        slopes = torch.autograd.grad(total, [p for _, p in _free(module)], materialize_grads=True)
        return float(total.detach()), np.concatenate([slope.reshape(-1).numpy() for slope in slopes])

    def correlations(self, shapes: Floats) -> CustomCorrelations:
        """The kernel at raw parameters (1, r)."""
        return CustomCorrelations(self.at(shapes))

    def at(self, shapes: Floats) -> Any:
        """A copy of the gpytorch kernel with raw parameters (1, r)."""
        import torch

        module = copy.deepcopy(self.module)
        values, first = torch.from_numpy(np.ravel(shapes).copy()), 0
        with torch.no_grad():
            for _, parameter in _free(module):
                parameter.copy_(values[first : first + parameter.numel()].reshape(parameter.shape))
                first += parameter.numel()
        return module


@dataclass(frozen=True, eq=False)
class CustomCorrelations:
    """ψ of one gpytorch kernel, in the form the posterior reads."""

    module: Any

    def cross(self, x: Floats, z: Floats) -> list[Floats]:
        """ψ between rows of x (n, d) and z (m, d)."""
        import torch

        with torch.no_grad():
            return [dense_correlations(self.module, torch.from_numpy(x), torch.from_numpy(z)).numpy().copy()]

    def diagonal(self, x: Floats) -> list[Floats]:
        """ψ(x_i, x_i) (n,), which need be neither one nor constant."""
        import torch

        with torch.no_grad(), exact():
            return [self.module(torch.from_numpy(x), diag=True).numpy().copy()]

    def diagonal_slopes(self, x: Floats) -> list[Floats]:
        """∂ψ(x_i, x_i)/∂x_ik (n, d)."""
        import torch

        places = torch.from_numpy(x.copy()).requires_grad_()
        with exact():
            ψ = self.module(places, diag=True).sum()
        # a stationary kernel's diagonal doesn't depend on the places
        if not ψ.requires_grad:
            return [np.zeros(x.shape)]
        (slope,) = torch.autograd.grad(ψ, places, materialize_grads=True, allow_unused=True)
        return [np.asarray(slope.numpy())]

    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats:
        """Σ_i weights_ij ∂ψ(x_i, z_j)/∂z_jk: (m, d)."""
        import torch

        places = torch.from_numpy(z.copy()).requires_grad_()
        ψ = dense_correlations(self.module, torch.from_numpy(x), places)
        # a constant kernel doesn't depend on the places
        (slope,) = torch.autograd.grad(
            ψ, places, torch.from_numpy(np.ascontiguousarray(weights[0])), materialize_grads=True, allow_unused=True
        )
        return np.asarray(slope.numpy())


class CustomSolver:
    """Dense restricted likelihood with a gpytorch kernel; the kernel's derivatives are vector-Jacobian products."""

    name = "dense"
    has_curvature = False

    def __init__(self, design: Design, kernel: CustomKernel) -> None:
        import torch

        self._design, self._kernel = design, kernel
        self._x = torch.from_numpy(design.x)

    def evaluate(self, state: State, *, order: int) -> Result:
        """Value (order 0) and gradient (1)."""
        import torch

        design, module = self._design, self._kernel.at(state.shapes)
        ψ = dense_correlations(module, self._x, self._x)
        S, B = self._covariance(ψ.detach().numpy(), state)
        solution = reml(S, design.H, state.y[:, None], design.precision)
        if order == 0:
            return Result(solution.value, None, None)
        p_diagonal = weigh(S, solution)
        W = mirror(S)
        parameters, weights = [p for _, p in _free(module)], torch.from_numpy(0.5 * W * B)
        slopes = torch.autograd.grad(ψ, parameters, weights, materialize_grads=True) if parameters else []
        shapes = np.concatenate([np.zeros(0), *(slope.reshape(-1).numpy() for slope in slopes)])[None]
        members = np.eye(design.tasks)[design.task]
        blocks = 0.5 * members.T @ (W * ψ.detach().numpy()) @ members
        by_mixing = np.einsum("kab,ab->k", state.mixing.jacobian[:, 0], blocks)
        return Result(solution.value, Gradient(shapes, by_mixing, solution.alpha[:, 0], p_diagonal), None)

    def inverse(self, state: State) -> Inverse:
        """Σ⁻¹ at `state`."""
        ψ = self._kernel.correlations(state.shapes).cross(self._design.x, self._design.x)[0]
        S, _ = self._covariance(ψ, state)
        if not try_cholesky_in_place(S):
            raise NotPositiveDefinite("the covariance matrix is not positive definite at the fitted parameters")
        return Inverse(partial(solve_factored, S), invert_lower(S))

    def _covariance(self, ψ: Floats, state: State) -> tuple[Floats, Floats]:
        """Σ and B[t_i, t_j] (n, n)."""
        B = state.mixing.matrix[0][np.ix_(self._design.task, self._design.task)]
        S = np.ascontiguousarray(B * ψ)
        add_to_diagonal(S, state.D)
        return S, B


def resolve_kernel(kernel: object, inputs: int) -> Kernel | CustomKernel:
    """The closed-form kernel that a name or a gpytorch kernel stands for, or the gpytorch kernel itself.

    Raises
    ------
    DataError
        If it's neither a known name nor a gpytorch kernel of so many inputs.
    """
    if isinstance(kernel, str):
        return kernel_named(kernel)
    import gpytorch

    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise DataError(f"kernel is {kernel!r}; give one of {sorted(KERNELS)} or a gpytorch.kernels.Kernel")
    own = copy.deepcopy(kernel).double()
    _check_inputs(own, inputs)
    if type(kernel) is gpytorch.kernels.RBFKernel and _is_plain(kernel, inputs):
        return KERNELS["rbf"]
    if type(kernel) is gpytorch.kernels.MaternKernel and _is_plain(kernel, inputs):
        return KERNELS[{0.5: "matern12", 1.5: "matern32", 2.5: "matern52"}[kernel.nu]]
    return CustomKernel(own, type(kernel).__name__)


def _is_plain(kernel: Any, inputs: int) -> bool:
    """One free length-scale per input, with no constraint but to be positive and no prior."""
    import gpytorch

    ard = kernel.ard_num_dims == inputs or (inputs == 1 and kernel.ard_num_dims is None)
    positive = type(kernel.raw_lengthscale_constraint) is gpytorch.constraints.Positive
    free = kernel.raw_lengthscale.requires_grad and not list(kernel.named_priors())
    return bool(ard and positive and free and kernel.active_dims is None)


def _check_inputs(kernel: Any, inputs: int) -> None:
    """Evaluate the kernel at two places."""
    import torch

    name = type(kernel).__name__
    try:
        shape = tuple(dense_correlations(kernel, *[torch.zeros(2, inputs, dtype=torch.float64)] * 2).shape)
    except (RuntimeError, IndexError, ValueError, AssertionError) as error:
        raise DataError(f"kernel {name} can't be evaluated at places of {inputs} inputs: {error}") from error
    if shape != (2, 2):
        raise DataError(
            f"kernel {name} gives shape {shape} for two places; a kernel without batches and tasks is wanted"
        )


def _free(module: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that are to be learnt: those that require a gradient."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def dense_correlations(module: Any, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """ψ (n, m) between x (n, d) and z (m, d).

    Where both are the same places, gpytorch takes short cuts: a sum with a linear kernel factors its other part, which
    fails or adds jitter, and derivatives by z get lost. One place more, taken off again, keeps it from them; but the
    distance of a place from itself is zero only for them, so that the diagonal is asked for.
    """
    import torch

    other = x[-1:] + 1.0 if len(x) else torch.zeros(1, x.shape[1], dtype=x.dtype)
    with exact():
        result = module(x, torch.cat([z, other]))
        dense: torch.Tensor = (result.to_dense() if hasattr(result, "to_dense") else result)[..., :-1]
        if torch.equal(x, z) and not z.requires_grad:
            dense = torch.diagonal_scatter(dense, module(x, diag=True), dim1=-2, dim2=-1)
    return dense
