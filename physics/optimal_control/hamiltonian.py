"""The Hamiltonian of a problem, its minimiser in the controls, and the Euler-Lagrange field with its derivatives.

Symbols: n states x, m controls u, n costates p, z = (x, p); q the parameters in the problem's order; H = L + pᵀf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from surrogates.errors import ProblemError

from .checks import known_state, middle_control
from .problem import Problem

#: control iterations at most, and the relative size of a last step
MOST_STEPS, SMALLEST_STEP = 40, 1e-13
#: relative size of a step that changes H by less than rounding, so that it is taken without looking at H
LAST_STEP = 1e-7
#: controls tried between finite bounds before the iterations
STARTS = 9
#: lengths of a Newton step that a traced module chooses from
STEP_SIZES = (1.0, 0.5, 0.2, 0.05, 0.01, 0.0)


class Field(NamedTuple):
    """The Euler-Lagrange field F = (f, -H_x) at u = argmin H, and its total derivatives.

    u : (..., m); H, L : (...)
    F : (..., 2n); F_z : (..., 2n, 2n); F_q : (..., 2n, parameters); F_t : (..., 2n)
    H_t : (...), H_q : (..., parameters), partial derivatives of H; those in z are (-F_p-part, F_x-part), since H_u
        vanishes in free directions
    """

    u: Tensor
    H: Tensor
    L: Tensor
    F: Tensor
    F_z: Tensor
    F_q: Tensor
    F_t: Tensor
    H_t: Tensor
    H_q: Tensor


@dataclass(frozen=True)
class EulerLagrange:
    """The Euler-Lagrange system of a problem; see `Problem` for its equations.

    Raises
    ------
    ProblemError
        If H is linear in a control: then its minimiser lies at a bound or is singular.
    """

    problem: Problem

    def __post_init__(self) -> None:
        flat = self._linear_controls
        if flat:
            raise ProblemError(
                f"the Hamiltonian is linear in {flat}, so that its minimiser is bang-bang or singular and can't be "
                f"eliminated; add a small multiple of its square to running_cost"
            )

    def parameters(self, batch: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """The nominal parameters, (*batch, parameters)."""
        values = torch.tensor(list(self.problem.parameters.values()), dtype=torch.float64)
        return values.expand(*batch, len(values))

    def running_cost(self, t: Tensor, x: Tensor, u: Tensor, q: Tensor) -> Tensor:
        """L, (...)."""
        if self.problem.running_cost is None:
            return torch.zeros_like(t)
        return self.problem.running_cost(t, x, u, self._named(q))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor, q: Tensor) -> Tensor:
        """f, (..., n)."""
        return self.problem.dynamics(t, x, u, self._named(q))

    def hamiltonian(self, t: Tensor, x: Tensor, u: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """H = L + pᵀf, (...)."""
        return self.running_cost(t, x, u, q) + (p * self.dynamics(t, x, u, q)).sum(-1)

    def control(self, t: Tensor, x: Tensor, p: Tensor, q: Tensor, *, guess: Tensor | None = None) -> Tensor:
        """The minimiser of H within the bounds, (..., m).

        Where H is quadratic in u: one step, then the active bounds. Else Newton's method with the bounds' active set
        and step halving, from `guess` or the middle of the bounds. Where H is not convex in u it is a local minimum.

        t : (...); x, p : (..., n); q : (..., parameters); guess : (..., m)
        """
        u = (middle_control(self.problem).expand(*t.shape, -1) if guess is None else guess).clone()
        low, high = self.problem.bounds
        if self.is_quadratic and (not self.problem.is_bounded or self.problem.control_size == 1):
            _, g, C = self._in_controls(t, x, u, p, q)
            if not self.problem.is_bounded:
                return u - _solve(C, g)
            return _better_bound(u, g, C[..., 0], low, high, (u - _solve(_positive(C), g)).clamp(low, high))
        shape = u.shape
        t, x, p, q = (
            t.reshape(-1),
            x.reshape(-1, x.shape[-1]),
            p.reshape(-1, p.shape[-1]),
            q.reshape(u[..., 0].numel(), -1),
        )
        u = self._best_start(t, x, u.reshape(-1, shape[-1]), p, q) if guess is None else u.reshape(-1, shape[-1])
        rest = torch.arange(len(u))
        value, g, C = self._in_controls(t, x, u, p, q)
        for _ in range(MOST_STEPS):
            d = _projected_step(u[rest], g, _positive(C), low, high)
            reach = 1 + u[rest].abs()  # near H_uu = 0 a step would leave for another turn of an angle
            d = d.clamp(-reach, reach)
            stay = (d.abs() > SMALLEST_STEP * (1 + u[rest].abs())).any(-1)
            rest, d, value, g, C = rest[stay], d[stay], value[stay], g[stay], C[stay]
            if not len(rest):
                break
            at = (t[rest], x[rest], u[rest], p[rest], q[rest])
            u[rest], value, g, C, moved = self._descend(*at, d, value, g, C)
            rest, value, g, C = rest[moved], value[moved], g[moved], C[moved]
        return u.reshape(shape)

    def explicit_control(self, t: Tensor, x: Tensor, p: Tensor, q: Tensor, *, steps: int) -> Tensor:
        """The minimiser of H by a fixed number of operations, for modules that are traced; shapes as in `control`.

        One step where H is quadratic in u, exact without bounds or with one control; else the best of a few controls
        between finite bounds, then so many Newton steps with |H_uu|, each of the length, out of six, that lowers H most.
        Differentiable in x and p to first order, where Newton's method has converged, but not for several bounded controls.
        """
        low, high = self.problem.bounds
        wants_graph = torch.is_grad_enabled() and (x.requires_grad or p.requires_grad)
        u = middle_control(self.problem).expand(*t.shape, -1)
        one_step = self.is_quadratic and not (self.problem.is_bounded and self.problem.control_size > 1)
        if not one_step:
            u = self._best_start(t, x, u, p, q).detach()
        for _ in range(1 if one_step else steps):
            with torch.enable_grad():
                v = u.detach().requires_grad_()
                H = self.hamiltonian(t, x, v, p, q)
                (g,) = torch.autograd.grad(H.sum(), v, create_graph=True)
                C = torch.stack([torch.autograd.grad(row.sum(), v, retain_graph=True)[0] for row in g.unbind(-1)], -2)
                C = C.detach() if one_step else _positive(C.detach())
                if self.problem.is_bounded and u.shape[-1] > 1:  # controls that bound each other: no derivatives
                    step = -_projected_step(u.detach(), g.detach(), C, low, high)
                else:
                    step = g / C[..., 0] if u.shape[-1] == 1 else torch.linalg.solve(C, g[..., None])[..., 0]
            if one_step:
                u = (u - step).clamp(low, high)
                break
            trials = torch.stack([(u - size * step).clamp(low, high) for size in STEP_SIZES])
            values = torch.stack([self.hamiltonian(t, x, trial, p, q) for trial in trials.unbind(0)])
            last = (step.detach().abs() <= LAST_STEP * (1 + u.detach().abs())).all(
                -1
            )  # H can't tell its length: all of it
            best = torch.where(last, 0, values.detach().argmin(0))[None, ..., None].expand(1, *u.shape)
            u = trials.gather(0, best)[0]
        return u if wants_graph else u.detach()

    def _best_start(self, t: Tensor, x: Tensor, u: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """The best of a few controls between finite bounds, one control after the other: H may have several minima."""
        for i, (low, high) in enumerate(self.problem.control_bounds or ()):
            if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
                continue
            choices = torch.linspace(low, high, STARTS, dtype=torch.float64)
            trials = [torch.cat([u[..., :i], choice.expand_as(u[..., :1]), u[..., i + 1 :]], -1) for choice in choices]
            H = torch.stack([self.hamiltonian(t, x, trial, p, q).detach() for trial in trials])
            best = H.nan_to_num(nan=torch.inf).argmin(0)[None, ..., None].expand(1, *u.shape)
            u = torch.stack(trials).gather(0, best)[0]
        return u

    def field(self, t: Tensor, z: Tensor, q: Tensor, *, guess: Tensor | None = None) -> Field:
        """The Euler-Lagrange field and its derivatives.

        With u eliminated, du/dw = -H_uu⁻¹ H_uw in the free directions and 0 at active bounds, so that
        dF/dw = F_w + F_u du/dw; all second derivatives come from one batched backward pass.

        t : (...); z : (..., 2n); q : (..., parameters); guess : of u, (..., m)
        """
        n, m, k = self.problem.state_size, self.problem.control_size, q.shape[-1]
        x, p = z[..., :n], z[..., n:]
        u = self.control(t, x, p, q, guess=guess)
        with torch.enable_grad():
            w = torch.cat([x, u, p, q, t[..., None]], -1).detach().requires_grad_()
            x, u, p, q, t = torch.split(w, [n, m, n, k, 1], -1)
            L = self.running_cost(t[..., 0], x, u, q)
            f = self.dynamics(t[..., 0], x, u, q)
            H = L + (p * f).sum(-1)
            (H_w,) = torch.autograd.grad(H.sum(), w, create_graph=True)
            rows = torch.cat([H_w[..., : n + m], f], -1)  # H_x, H_u, f
            C = jacobian(rows, w)  # (..., 2n + m, n + m + n + k + 1)
        H_w, f = H_w.detach(), f.detach()
        return self._eliminate(u.detach(), H.detach(), L.detach(), f, H_w, C)

    def stationarity(self, t: Tensor, z: Tensor, u: Tensor, q: Tensor) -> Tensor:
        """How far u is from a minimiser of H by Newton's step in the free directions, relative to 1 and |u|, (...)."""
        n = self.problem.state_size
        _, g, C = self._in_controls(t, z[..., :n], u, z[..., n:], q)
        step = _projected_step(u, g, _positive(C), *self.problem.bounds)
        return (step.abs() / (u.abs().amax() + u.abs()).clamp(min=1e-150)).amax(-1)

    def least_curvature(self, t: Tensor, z: Tensor, q: Tensor) -> float:
        """The least eigenvalue of H_uu in the free directions over a batch; NaN if all controls are at bounds."""
        n = self.problem.state_size
        x, p = z[..., :n], z[..., n:]
        u = self.control(t, x, p, q)
        _, g, C = self._in_controls(t, x, u, p, q)
        free = ~_at_bound(u, g, *self.problem.bounds)
        values = torch.linalg.eigvalsh(torch.where(free[..., None] & free[..., None, :], C, torch.zeros_like(C)))
        # directions at bounds give eigenvalues 0; so where all are positive, the least one may be a masked one
        free_at_all = free.any(-1)
        if not bool(free_at_all.any()):
            return float("nan")
        masked = (~free).sum(-1)
        return float(_least_unmasked(values, masked)[free_at_all].min())

    def _eliminate(self, u: Tensor, H: Tensor, L: Tensor, f: Tensor, H_w: Tensor, C: Tensor) -> Field:
        n, m = self.problem.state_size, self.problem.control_size
        low, high = self.problem.bounds
        of_x, of_u, of_f = C[..., :n, :], C[..., n : n + m, :], C[..., n + m :, :]
        free = ~_at_bound(u, H_w[..., n : n + m], low, high)  # (..., m)
        H_uu = _masked(of_u[..., :, n : n + m], free)
        u_w = -torch.linalg.solve(H_uu, of_u * free[..., None]) if m > 1 else -of_u * free[..., None] / H_uu
        F_w = torch.cat([of_f, -of_x], -2)
        F_w = F_w + F_w[..., n : n + m] @ u_w
        others = torch.cat([F_w[..., :n], F_w[..., n + m : 2 * n + m]], -1)
        return Field(
            u=u,
            H=H,
            L=L,
            F=torch.cat([f, -H_w[..., :n]], -1),
            F_z=others,
            F_q=F_w[..., 2 * n + m : -1],
            F_t=F_w[..., -1],
            H_t=H_w[..., -1],
            H_q=H_w[..., 2 * n + m : -1],
        )

    def _named(self, q: Tensor) -> dict[str, Tensor]:
        return {name: q[..., i] for i, name in enumerate(self.problem.parameters)}

    def _in_controls(self, t: Tensor, x: Tensor, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """H (...), H_u (..., m) and H_uu (..., m, m)."""
        with torch.enable_grad():
            v = u.detach().requires_grad_()
            H = self.hamiltonian(t, x.detach(), v, p.detach(), q.detach())
            (g,) = torch.autograd.grad(H.sum(), v, create_graph=True, materialize_grads=True)
            C = jacobian(g, v)
        return H.detach(), g.detach(), C

    def _descend(
        self, t: Tensor, x: Tensor, u: Tensor, p: Tensor, q: Tensor, d: Tensor, value: Tensor, g: Tensor, C: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One step of the projected Newton method at points (N,), halved at each until H doesn't grow; which moved."""
        low, high = self.problem.bounds
        size = torch.ones_like(value)
        last = (d.abs() <= LAST_STEP * (1 + u.abs())).all(-1)
        for _ in range(30):
            there = (u + size[..., None] * d).clamp(low, high)
            new, new_g, new_C = self._in_controls(t, x, there, p, q)
            better = last | (new <= value + 1e-14 * value.abs())
            if bool(better.all()):
                return there, new, new_g, new_C, better
            size = torch.where(better, size, 0.5 * size)
        keep = better[..., None]
        u = torch.where(keep, there, u)
        g = torch.where(keep, new_g, g)
        return u, torch.where(better, new, value), g, torch.where(keep[..., None], new_C, C), better

    @cached_property
    def _curvatures(self) -> tuple[Tensor, Tensor]:
        """H_uu (points, m, m) at random places around the initial state, for two random controls each."""
        problem, g = self.problem, torch.Generator().manual_seed(0)
        n, m, size = problem.state_size, problem.control_size, 32
        x = known_state(problem)
        x = x + 0.01 * torch.where(x == 0, 1.0, x) * torch.randn(size, n, generator=g, dtype=torch.float64)
        p = torch.randn(size, n, generator=g, dtype=torch.float64)
        t = torch.linspace(*problem.horizon, size, dtype=torch.float64)
        low, high = problem.bounds
        low, high = low.clamp(min=-1.0), high.clamp(max=1.0)
        u = low + (high - low) * torch.rand(2, size, m, generator=g, dtype=torch.float64)
        q = self.parameters((size,))
        first, second = (self._in_controls(t, x, control, p, q)[2] for control in u)
        return first, second

    @cached_property
    def is_quadratic(self) -> bool:
        """Whether H is quadratic in the controls: H_u(u) = H_u(0) + H_uu u for controls of all sizes between the bounds.

        Slopes are compared, not curvatures alone: a kink such as |u| has none.
        """
        problem, g = self.problem, torch.Generator().manual_seed(1)
        n, m, size = problem.state_size, problem.control_size, 64
        x = known_state(problem)
        x = x + 0.01 * torch.where(x == 0, 1.0, x) * torch.randn(size, n, generator=g, dtype=torch.float64)
        p = torch.randn(size, n, generator=g, dtype=torch.float64)
        t = torch.linspace(*problem.horizon, size, dtype=torch.float64)
        low, high = problem.bounds
        sizes = torch.logspace(-4, 10, size, dtype=torch.float64)[:, None]
        wide = sizes * (2 * torch.rand(size, m, generator=g, dtype=torch.float64) - 1)
        between = low + (high - low) * torch.rand(size, m, generator=g, dtype=torch.float64)
        u = torch.where((high - low).isfinite(), between, wide.clamp(low, high))
        base = middle_control(problem).expand(size, m)
        q = self.parameters((size,))
        _, slope, C = self._in_controls(t, x, base, p, q)
        found = self._in_controls(t, x, u, p, q)[1]
        expected = slope + (C @ (u - base)[..., None])[..., 0]
        sizes_of = slope.abs() + (C.abs() @ (u - base).abs()[..., None])[..., 0]
        return bool(((found - expected).abs() <= 1e-9 * sizes_of).all())

    @cached_property
    def _linear_controls(self) -> str:
        """The control, or combination of controls, in which H has no curvature anywhere; empty if there is none."""
        C = torch.cat(self._curvatures)
        names = [repr(name) for name in self.problem.controls]
        flat = [name for name, size in zip(names, C.abs().amax((0, 2)).tolist(), strict=True) if size == 0.0]
        if flat:
            return f"control {flat[0]}"
        unit = C.abs().amax((0, 2)).sqrt()
        sizes = torch.linalg.svdvals((C / unit / unit[:, None]).flatten(0, 1))  # 0 in a direction that all points share
        return (
            f"a combination of the controls {', '.join(names)}" if float(sizes[-1]) <= 1e-13 * float(sizes[0]) else ""
        )


def jacobian(rows: Tensor, w: Tensor) -> Tensor:
    """Derivatives of `rows` (..., r) in `w` (..., c) point by point, (..., r, c), by one batched backward pass."""
    if not rows.requires_grad:
        return torch.zeros(*rows.shape, w.shape[-1], dtype=w.dtype)
    r = rows.shape[-1]
    if r == 1:
        (slopes,) = torch.autograd.grad(rows.sum(), w, materialize_grads=True)
        return slopes[..., None, :]
    picks = torch.eye(r, dtype=w.dtype).reshape(r, *(1,) * (rows.ndim - 1), r).expand(r, *rows.shape)
    (slopes,) = torch.autograd.grad(rows, w, picks, is_grads_batched=True, materialize_grads=True)
    return slopes.movedim(0, -2)


def _at_bound(u: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Controls pressed against a bound, (..., m): at the low one with H growing upwards, or the reverse."""
    return ((u <= low) & (g > 0)) | ((u >= high) & (g < 0))


def _least_unmasked(values: Tensor, masked: Tensor) -> Tensor:
    """Least of ascending eigenvalues (..., m), `masked` zeros of them left out where all others are positive."""
    first = values[..., 0]
    above = values.gather(-1, masked.clamp(max=values.shape[-1] - 1)[..., None])[..., 0]
    return torch.where(first < 0, first, above)


def _masked(C: Tensor, free: Tensor) -> Tensor:
    """C in the free directions, the identity in the others."""
    both = free[..., :, None] & free[..., None, :]
    return torch.where(both, C, torch.zeros_like(C)) + torch.diag_embed((~free).to(C.dtype))


def _solve(C: Tensor, g: Tensor) -> Tensor:
    return g / C[..., 0] if g.shape[-1] == 1 else torch.linalg.solve(C, g[..., None])[..., 0]


def _positive(C: Tensor) -> Tensor:
    """C with the absolute values of its eigenvalues, so that Newton's step leads downhill."""
    if C.shape[-1] == 1:
        return C.abs().clamp(min=1e-30)
    values, vectors = torch.linalg.eigh(C)
    positive: Tensor = (vectors * values.abs().clamp(min=1e-30)[..., None, :]) @ vectors.mT
    return positive


def _better_bound(u: Tensor, g: Tensor, C: Tensor, low: Tensor, high: Tensor, convex: Tensor) -> Tensor:
    """The minimiser in [low, high] of g (v - u) + C (v - u)²/2, which is `convex` where C >= 0; all (..., 1)."""
    if not bool((high - low).isfinite().all()):
        return convex
    gain = g * (high - low) + 0.5 * C * ((high - u) ** 2 - (low - u) ** 2)  # of the high bound over the low one
    return torch.where(C < 0, torch.where(gain < 0, high, low), convex)


def _model(g: Tensor, C: Tensor, d: Tensor) -> Tensor:
    """g'd + d'Cd/2, (...)."""
    return (d * (g + 0.5 * (C @ d[..., None])[..., 0])).sum(-1)


def _projected_step(u: Tensor, g: Tensor, C: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A step that lowers g'd + d'Cd/2 within the bounds, C positive; its minimiser where the active set is found.

    Newton's step with an active set that only grows is fast, but can miss the minimiser of coupled controls, and even
    lead uphill. Sweeps of one control after the other always lead downhill. The better of the two is taken.
    """
    d = _newton_step(u, g, C, low, high)
    if u.shape[-1] == 1:
        return d
    e = d
    for i in (*range(u.shape[-1]), *reversed(range(u.shape[-1]))):
        pull = g[..., i] + (C[..., i, :] * e).sum(-1)
        there = (u[..., i] + e[..., i] - pull / C[..., i, i]).clamp(low[i], high[i])
        e = torch.where(torch.arange(u.shape[-1]) == i, (there - u[..., i])[..., None], e)
    return torch.where((_model(g, C, e) < _model(g, C, d))[..., None], e, d)


def _newton_step(u: Tensor, g: Tensor, C: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Newton's step of min g'd + d'Cd/2 within the bounds: directions that would leave them join the active set."""
    free = ~_at_bound(u, g, low, high)
    d = torch.zeros_like(u)
    for _ in range(u.shape[-1] + 1):
        fixed = torch.where(free, torch.zeros_like(d), d)
        pull = g + (C @ fixed[..., None])[..., 0]
        d = fixed - torch.where(free, _solve(_masked(C, free), pull * free), torch.zeros_like(d))
        there = (u + d).clamp(low, high)
        leaves = free & (there != u + d)
        d = torch.where(leaves, there - u, d)
        free = free & ~leaves  # without an early end, so that it can be traced
    return d
