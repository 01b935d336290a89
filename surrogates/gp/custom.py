"""A user's own gpytorch kernel inside the hierarchical model: values and derivatives by automatic differentiation.

The plain RBF and Matern kernels with one length-scale per input are recognised and get the closed forms instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.linalg import add_to_diagonal, mirror, solve_factored, try_cholesky_in_place

from ._settings import exact
from .design import Design
from .kernels import KERNELS, Kernel, kernel_named
from .objective import ShapeParameters
from .reml import NotPositiveDefinite, reml, weigh
from .solvers._base import Gradient, Result, State

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CustomKernel:
    """A gpytorch kernel over the scaled inputs, with its raw parameters as hyper-parameters.

    Each raw parameter has a normal prior of standard deviation 2 around its value at the start.
    """

    module: Any  # gpytorch.kernels.Kernel, double precision, this library's own copy
    name: str

    def start(self) -> Floats:
        """(r,) raw parameters as the user gave them."""
        parts = [p.detach().double().reshape(-1).numpy() for p in self.module.parameters()]
        return np.concatenate([np.zeros(0), *parts])

    def shape_parameters(self) -> ShapeParameters:
        """Names, prior and bounds of the raw parameters."""
        names = tuple(f"{n}[{i}]" for n, p in self.module.named_parameters() for i in range(p.numel()))
        mean = self.start()
        return ShapeParameters(names, mean, np.full(len(mean), 2.0), [(m - 15.0, m + 15.0) for m in mean], False, 1)

    def correlations(self, shapes: Floats) -> CustomCorrelations:
        """The kernel at raw parameters (1, r)."""
        return CustomCorrelations(self.at(shapes))

    def at(self, shapes: Floats) -> Any:
        """A copy of the gpytorch kernel with raw parameters (1, r)."""
        import torch

        module = copy.deepcopy(self.module)
        values, first = torch.from_numpy(np.ravel(shapes).copy()), 0
        with torch.no_grad():
            for parameter in module.parameters():
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
            return [_dense(self.module, torch.from_numpy(x), torch.from_numpy(z)).numpy().copy()]

    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats:
        """Σ_i weights_ij ∂ψ(x_i, z_j)/∂z_jk: (m, d)."""
        import torch

        places = torch.from_numpy(z.copy()).requires_grad_()
        ψ = _dense(self.module, torch.from_numpy(x), places)
        (slope,) = torch.autograd.grad(ψ, places, torch.from_numpy(np.ascontiguousarray(weights[0])))
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
        ψ = _dense(module, self._x, self._x)
        S, B = self._covariance(ψ.detach().numpy(), state)
        solution = reml(S, design.H, state.y[:, None], design.prior_precision.ravel())
        if order == 0:
            return Result(solution.value, None, None)
        p_diagonal = weigh(S, solution)
        W = mirror(S)
        parameters = list(module.parameters())
        slopes = torch.autograd.grad(ψ, parameters, torch.from_numpy(0.5 * W * B)) if parameters else []
        shapes = np.concatenate([np.zeros(0), *(slope.reshape(-1).numpy() for slope in slopes)])[None]
        members = np.eye(design.tasks)[design.task]
        blocks = 0.5 * members.T @ (W * ψ.detach().numpy()) @ members
        by_mixing = np.einsum("kab,ab->k", state.mixing.jacobian[:, 0], blocks)
        return Result(solution.value, Gradient(shapes, by_mixing, solution.alpha[:, 0], p_diagonal), None)

    def inverse(self, state: State) -> Callable[[Floats], Floats]:
        """Σ⁻¹ as a function (n, k) -> (n, k)."""
        ψ = self._kernel.correlations(state.shapes).cross(self._design.x, self._design.x)[0]
        S, _ = self._covariance(ψ, state)
        if not try_cholesky_in_place(S):
            raise NotPositiveDefinite("the covariance matrix is not positive definite at the fitted parameters")
        return partial(solve_factored, S)

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
        If it's neither a known name nor a gpytorch kernel.
    """
    if isinstance(kernel, str):
        return kernel_named(kernel)
    import gpytorch

    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise DataError(f"kernel is {kernel!r}; give one of {sorted(KERNELS)} or a gpytorch.kernels.Kernel")
    ard = kernel.ard_num_dims == inputs or (inputs == 1 and kernel.ard_num_dims is None)
    if ard and kernel.active_dims is None and not list(kernel.named_priors()):
        if type(kernel) is gpytorch.kernels.RBFKernel:
            return KERNELS["rbf"]
        if type(kernel) is gpytorch.kernels.MaternKernel:
            return KERNELS[{0.5: "matern12", 1.5: "matern32", 2.5: "matern52"}[kernel.nu]]
    return CustomKernel(copy.deepcopy(kernel).double(), type(kernel).__name__)


def _dense(module: Any, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    with exact():
        result = module(x, z)
        dense: torch.Tensor = result.to_dense() if hasattr(result, "to_dense") else result
    return dense
