"""Named losses of a flat parameter vector, and what is derived from them at one point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from surrogates.errors import DataError

from .weighting._base import Balance

#: θ (P,) float64 -> named losses. A 0-d entry is a loss; a 1-d entry (M_i,) holds residuals r, whose loss is mean(r²).
Losses = Callable[[Tensor], Mapping[str, Tensor]]


@runtime_checkable
class HasJacobian(Protocol):
    """An objective that knows the derivatives of its residuals."""

    def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
        """(M_i, P) for each residual vector."""


#: How torch.func takes a Jacobian: by rows, by columns, or by whichever are fewer.
JacobianMode = Literal["auto", "reverse", "forward"]


class Problem:
    """An objective with its names, and a count of how often it was called.

    Parameters
    ----------
    losses : the objective
    start : (P,) float64
    by_jacobian : None: derivatives come from the graph of the losses; else from the residuals' Jacobian, which torch.func
        takes in this mode where the objective has none of its own
    """

    def __init__(
        self,
        losses: Losses,
        start: Tensor,
        *,
        by_jacobian: JacobianMode | None = None,
    ) -> None:
        _check_start(start)
        if not callable(losses):
            raise DataError(
                f"losses is a {type(losses).__name__}; it must be a function of a (P,) tensor that returns named losses"
            )
        self.losses, self.mode = losses, by_jacobian or "auto"
        self.own_jacobian = losses.jacobian if isinstance(losses, HasJacobian) else None
        self.graph = by_jacobian is None
        self.evaluations = 0
        self.shapes: dict[str, int] = {}
        first = self.at(start.detach().clone())
        self.names = first.names
        if not self.graph:
            _check_residuals(first.values)
        if not self.graph and self.own_jacobian is None:  # the graph shows what doesn't depend on θ
            self.graph = True
            _check_dependence(self, self.at(start.detach().clone()))
            self.graph, self.evaluations = False, 1
        elif self.graph:
            _check_dependence(self, first)
        self._first: Point | None = first

    def take_first(self) -> Point:
        """The point at the start, which is known from the checks; handed over once, so that its graph doesn't stay."""
        assert self._first is not None
        first, self._first = self._first, None
        return first

    def at(self, θ: Tensor) -> Point:
        """The losses at θ (P,)."""
        leaf = θ.detach().requires_grad_(self.graph)
        with torch.set_grad_enabled(self.graph):
            values = self.losses(leaf)
        self.evaluations += 1
        return Point(self, leaf, self._checked(values))

    def _checked(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not isinstance(values, Mapping) or not values:
            raise DataError(
                f"the objective returned {'nothing' if isinstance(values, Mapping) else f'a {type(values).__name__}'};"
                f" it must return a mapping from names to tensors, such as {{'data': ..., 'physics': ...}}"
            )
        for name, value in values.items():
            _check_value(name, value)
        dims = {name: value.ndim for name, value in values.items()}
        if self.shapes and dims.keys() != self.shapes.keys():
            raise DataError(
                f"the objective returned the losses {list(dims)}, but {list(self.shapes)} at its first call; "
                f"it must return the same names each time"
            )
        for name, dim in self.shapes.items():
            if dims[name] != dim:
                raise DataError(
                    f"loss {name!r} has {dims[name]} dimensions, but had {dim} at the first call; "
                    f"it must stay a number (0-d) or a vector of residuals (1-d)"
                )
        self.shapes = self.shapes or dims
        return {name: values[name] for name in self.shapes}  # one order, whatever the mapping's


class Point:
    """The losses at one θ; what is derived from them is computed once, when it is asked for.

    θ : (P,); values : as the objective gave them; losses : (k,) detached
    """

    def __init__(self, problem: Problem, leaf: Tensor, values: dict[str, Tensor]) -> None:
        self._problem, self._leaf, self.values = problem, leaf, values
        self.θ = leaf.detach()
        self.names = tuple(values)
        with torch.set_grad_enabled(problem.graph):
            self._each = [_loss(value) for value in values.values()]
        self.losses = torch.stack([loss.detach() for loss in self._each])
        self._gradients: Tensor | None = None
        self._jacobians: dict[str, Tensor] | None = None
        self._last: tuple[Balance, Tensor] | None = None

    @property
    def is_finite(self) -> bool:
        return bool(torch.isfinite(self.losses).all())

    @property
    def _has_graph(self) -> bool:
        return self._problem.graph and all(loss.requires_grad for loss in self._each)

    def residuals(self) -> dict[str, Tensor]:
        """(M_i,) detached, of the losses given as residuals."""
        return {name: value.detach() for name, value in self.values.items() if value.ndim == 1}

    def jacobians(self) -> dict[str, Tensor]:
        """(M_i, P) derivative of each residual vector."""
        if self._jacobians is None:
            own = self._problem.own_jacobian
            found = own(self.θ) if own is not None else _differentiate(self._problem, self.θ, self.residuals())
            self._jacobians = {
                name: _checked_jacobian(name, found, (len(r), len(self.θ))) for name, r in self.residuals().items()
            }
        return self._jacobians

    def gradients(self) -> Tensor:
        """(k, P) Jacobian of the losses: from their graph, or 2/M_i J_iᵀr_i where there are Jacobians only."""
        if self._gradients is None:
            if self._has_graph:
                rows = [self._pull(loss) for loss in self._each]
            else:
                J = self.jacobians()
                rows = [2 / len(r) * (J[name].T @ r) for name, r in self.residuals().items()]
            self._gradients = torch.stack(rows)
        return self._gradients

    def total(self, balance: Balance) -> float:
        """Σ w_i L_i, with the points' own weights where there are some."""
        with torch.no_grad():
            return float(self._weighted(balance))

    def gradient(self, balance: Balance) -> Tensor:
        """(P,) of the weighted sum, or the direction that the balance gives in its place."""
        if balance.direction is not None:
            return balance.direction
        if self._last is not None and _same(self._last[0], balance):
            return self._last[1]
        # never from the rows of `gradients`, even if they are there: a resumed run must round as the first one did
        if self._has_graph:
            with torch.enable_grad():
                weighted = self._weighted(balance)
            found = self._pull(weighted)
        elif balance.points is None:
            found = balance.weights @ self.gradients()
        else:
            J, λ = self.jacobians(), balance.points
            found = sum(
                (2 * w / len(r) * (J[name].T @ (λ.get(name, torch.ones_like(r)) * r)))
                for w, (name, r) in zip(balance.weights, self.residuals().items(), strict=True)
            ) + torch.zeros_like(self.θ)
        self._last = (balance, found)
        return found

    def residual_traces(self, probes: int | None, generator: torch.Generator) -> Tensor:
        """(k,) traces of J_i J_iᵀ: Frobenius norms of the Jacobians, or means of |J_iᵀz|² over random signs z."""
        for name, value in self.values.items():
            if value.ndim == 0:
                raise DataError(
                    f"loss {name!r} is a number, which has no residual Jacobian; return its residuals as a 1-d tensor"
                )
        if probes is None or not self._has_graph:
            return torch.stack([J.square().sum() for J in self.jacobians().values()])
        found = torch.zeros_like(self.losses)
        for i, r in enumerate(self.values.values()):
            for _ in range(probes):
                z = torch.randint(2, r.shape, generator=generator).to(r) * 2 - 1
                found[i] += self._pull(r, z).square().sum() / probes
        return found

    def _weighted(self, balance: Balance) -> Tensor:
        if balance.direction is not None:
            return self.losses.sum()
        each = self._each
        if balance.points is not None:
            each = [
                (balance.points[name] * self.values[name] ** 2).mean() if name in balance.points else loss
                for name, loss in zip(self.names, each, strict=True)
            ]
        return (balance.weights * torch.stack(each)).sum()

    def _pull(self, value: Tensor, cotangent: Tensor | None = None) -> Tensor:
        (found,) = torch.autograd.grad(
            value, self._leaf, cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return found


@dataclass(frozen=True)
class View:
    """What a weighting sees of a point: see `weighting.Seen`."""

    point: Point
    step: int
    max_steps: int
    generator: torch.Generator

    @property
    def names(self) -> tuple[str, ...]:
        return self.point.names

    @property
    def losses(self) -> Tensor:
        return self.point.losses

    def gradients(self) -> Tensor:
        return self.point.gradients()

    def residuals(self) -> Mapping[str, Tensor]:
        return self.point.residuals()

    def residual_traces(self, probes: int | None = None) -> Tensor:
        return self.point.residual_traces(probes, self.generator)


def _loss(value: Tensor) -> Tensor:
    return value if value.ndim == 0 else value.square().mean()


def _same(one: Balance, other: Balance) -> bool:
    if one is other:
        return True
    plain = one.points is None and other.points is None and one.direction is None and other.direction is None
    return plain and torch.equal(one.weights, other.weights)


def _differentiate(problem: Problem, θ: Tensor, residuals: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """By torch.func: a row at a time (reverse) if there are fewer residuals than parameters, else a column (forward)."""
    rows = sum(len(r) for r in residuals.values())
    reverse = problem.mode == "reverse" or (problem.mode == "auto" and rows <= len(θ))
    transform = torch.func.jacrev if reverse else torch.func.jacfwd

    def function(x: Tensor) -> dict[str, Tensor]:
        values = problem.losses(x)
        return {name: values[name] for name in residuals}

    try:
        return cast(Mapping[str, Tensor], transform(function)(θ))
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"torch.func can't differentiate the objective ({str(error).splitlines()[0]}); leave out numpy, .item() and "
            f"changes in place, or give the objective a method jacobian(θ)"
        ) from error


def _checked_jacobian(name: str, found: Mapping[str, Any], shape: tuple[int, int]) -> Tensor:
    J = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(J, Tensor) or J.shape != shape or J.dtype != torch.float64:
        got = f"{J.dtype} of shape {tuple(J.shape)}" if isinstance(J, Tensor) else type(J).__name__
        raise DataError(f"the Jacobian of residuals {name!r} is {got}; it must be a float64 tensor of shape {shape}")
    return J.detach()


def _check_start(start: Tensor) -> None:
    if not isinstance(start, Tensor):
        raise DataError(f"start is a {type(start).__name__}; it must be a torch tensor: torch.as_tensor(start)")
    if start.dtype != torch.float64:
        raise DataError(f"start has dtype {start.dtype}; it must be float64: start.double()")
    if start.ndim != 1 or len(start) == 0:
        raise DataError(f"start has shape {tuple(start.shape)}; it must be one flat vector (P,): start.flatten()")
    if not torch.isfinite(start).all():
        raise DataError(f"start has {int((~torch.isfinite(start)).sum())} entries that are NaN or infinite")


def _check_value(name: str, value: Tensor) -> None:
    if not isinstance(name, str):
        raise DataError(f"the objective names a loss {name!r}; names must be text")
    if not isinstance(value, Tensor):
        raise DataError(f"loss {name!r} is a {type(value).__name__}; it must be a torch tensor that depends on θ")
    if value.ndim > 1:
        raise DataError(
            f"loss {name!r} has shape {tuple(value.shape)}; it must be a number (0-d) or residuals (1-d): use .flatten()"
        )
    if value.dtype != torch.float64:
        raise DataError(f"loss {name!r} has dtype {value.dtype}; it must be float64, as θ is")
    if value.numel() == 0:
        raise DataError(f"the residuals {name!r} are empty; leave that loss out, or give it points")


def _check_residuals(values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        if value.ndim == 0:
            raise DataError(
                f"loss {name!r} is a number, but Levenberg-Marquardt needs residuals: return the vector r (1-d) whose "
                f"mean square it is, or choose another optimiser"
            )


def _check_dependence(problem: Problem, point: Point) -> None:
    if problem.own_jacobian is not None and all(value.ndim == 1 for value in point.values.values()):
        return
    for name, loss in zip(point.names, point._each, strict=True):
        (found,) = (
            torch.autograd.grad(loss, point._leaf, retain_graph=True, allow_unused=True)
            if loss.requires_grad
            else (None,)
        )
        if found is None:
            raise DataError(
                f"loss {name!r} doesn't depend on θ; leave it out, or see where its graph is cut "
                f"(.detach(), .item(), numpy, torch.no_grad, a new torch.tensor)"
            )
