"""What holds at both ends of an extremal, linearised: given states, natural conditions of free ones, a free final time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .hamiltonian import EulerLagrange, jacobian
from .problem import Problem


class Ends(NamedTuple):
    """Residuals of one end's n conditions, and their derivatives.

    r : (..., n); r_z : (..., n, 2n); r_q : (..., n, parameters); r_t : (..., n); cost : Φ there, (...)
    cost_t : its partial derivative in t, (...); cost_tz : that one's in z, (..., 2n); cost_tt : and in t, (...)
    """

    r: Tensor
    r_z: Tensor
    r_q: Tensor
    r_t: Tensor
    cost: Tensor
    cost_t: Tensor
    cost_tz: Tensor
    cost_tt: Tensor


class Given(NamedTuple):
    """The states given at one end.

    values : (..., n), anything where free; is_given : (n,)
    """

    values: Tensor
    is_given: Tensor


def end_conditions(system: EulerLagrange, t: Tensor, z: Tensor, q: Tensor, given: Given, *, is_final: bool) -> Ends:
    """x_i - given value where it is given; p_i - ∂Φ/∂x_i at T, p_i + ∂Φ0/∂x_i at t0 where it is free.

    t : (...); z : (..., 2n); q : (..., parameters)
    """
    problem = system.problem
    n = problem.state_size
    x, p = z[..., :n], z[..., n:]
    sign = -1.0 if is_final else 1.0
    value, slope, curvature = end_cost(problem, t, x, q, is_final=is_final)
    is_given = given.is_given
    r = torch.where(is_given, x - given.values, p + sign * slope[..., :n])
    one = torch.eye(n, dtype=z.dtype).expand(*z.shape[:-1], n, n)
    zero = torch.zeros_like(one)
    natural = torch.cat([sign * curvature[..., :n, :n], one], -1)
    r_z = torch.where(is_given[:, None], torch.cat([one, zero], -1), natural)
    others = torch.where(is_given[:, None], 0.0, sign * curvature[..., :n, n:])
    cost_tz = torch.cat([curvature[..., -1, :n], torch.zeros_like(x)], -1)
    return Ends(r, r_z, others[..., :-1], others[..., -1], value, slope[..., -1], cost_tz, curvature[..., -1, -1])


class EndValue(NamedTuple):
    """An end's cost with its derivatives in w = (x, q, t).

    value : (...); gradient : (..., n + parameters + 1); hessian : the same twice
    """

    value: Tensor
    gradient: Tensor
    hessian: Tensor


def end_cost(problem: Problem, t: Tensor, x: Tensor, q: Tensor, *, is_final: bool) -> EndValue:
    """Φ at T, or Φ0 at t0, with all first and second derivatives, detached.

    t : (...); x : (..., n); q : (..., parameters)
    """
    cost = problem.terminal_cost if is_final else problem.initial_cost
    n, k = x.shape[-1], q.shape[-1]
    zero = torch.zeros(*t.shape, n + k + 1, n + k + 1, dtype=x.dtype)
    if cost is None:
        return EndValue(zero[..., 0, 0], zero[..., 0], zero)
    with torch.enable_grad():
        w = torch.cat([x, q, t[..., None]], -1).detach().requires_grad_()
        x, q, t = torch.split(w, [n, k, 1], -1)
        value = cost(t[..., 0], x, {name: q[..., i] for i, name in enumerate(problem.parameters)})
        if not value.requires_grad:
            return EndValue(value, zero[..., 0], zero)
        (gradient,) = torch.autograd.grad(value.sum(), w, create_graph=True)
        hessian = jacobian(gradient, w)
    return EndValue(value.detach(), gradient.detach(), hessian)
