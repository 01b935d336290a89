"""Covariance of tasks and fidelities that are linear in each other.

Fidelity l of task τ is f_l = Σ_p ρ_lp f_p + δ_l + trend: a sum Σ_c a_lc u_c of one process u_c per fidelity, where
a = (I - R)⁻¹ and R holds the ρ (Kennedy & O'Hagan 2000; for graphs: a path's loading is the product of its ρ). Each u_c is
shared among tasks like a hierarchical process: with r_c for any two tasks, so that for groups g = (τ, l)

    Cov(f_g(x), f_g'(x')) = Σ_c s_c a_lc a_l'c [r + (1-r) 1{τ=τ'}] ψ_c(x, x')

The tree, its closed-form derivatives and the rest of the machinery see groups as tasks of a `Sharing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sharing import AMPLITUDE_PRIOR, CORRELATION_BOUNDS, CORRELATION_PRIOR, Mixing
from .graph import Graph

Floats = NDArray[np.float64]
#: normal prior of ρ, in units where every fidelity has a residual spread of one
RHO = (0.5, 1.0)
#: normal prior of log s of a discrepancy, which may vanish; a source's is that of `HierarchicalGP`
DISCREPANCY = (-1.0, 3.5)
#: deviation of log l's normal prior and the widest l: a code may not depend on an input at all, and what a bound leaves of
#: a slope is an error of percents in eight inputs
LENGTHSCALES, WIDEST = 2.0, 1000.0
KINDS = ("ignore", "offset", "autoregressive", "coregional")


@dataclass(frozen=True)
class LinearFidelities:
    """Task covariance of groups τ L + l.  T tasks, L fidelities.

    kind : "autoregressive", with length-scales of each process's own; "coregional", the same with common ones;
        "offset", one process with the loadings `ratios`, so that fidelities differ by their trends alone; "ignore",
        where nothing is shared between fidelities
    ratios : (L,) loadings of "offset": one in the target's units, divided by each fidelity's scale
    per_task : whether every task has ρ of its own
    spans : (E,) of the parent, seen from the child (`Levels.spans`): ρ's prior deviation is divided by it
    """

    graph: Graph
    tasks: int
    kind: str
    ratios: tuple[float, ...]
    per_task: bool = False
    spans: tuple[float, ...] = ()

    @property
    def levels(self) -> int:
        return len(self.graph.labels)

    @property
    def components(self) -> int:
        """Length-scale sets."""
        return self.levels if self.kind in ("autoregressive", "ignore") else 1

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(map(str, self.graph.labels)) if self.components > 1 else ("",)

    @property
    def processes(self) -> int:
        """Processes u_c; several may have the same length-scales."""
        return 1 if self.kind == "offset" else self.levels

    @property
    def slots(self) -> int:
        """Numbers of ρ."""
        if self.kind in ("offset", "ignore"):
            return 0
        return len(self.graph.edges) * (self.tasks if self.per_task else 1)

    @property
    def names(self) -> tuple[str, ...]:
        labels = self.graph.labels
        amplitudes = ["log s"] if self.kind == "offset" else [f"log s[{label}]" for label in labels]
        between = ["logit r"] if self.tasks > 1 else []
        edges = [self.graph.name(edge) for edge in self.graph.edges] if self.slots else []
        suffixes = [f", task {t}" for t in range(self.tasks)] if self.per_task else [""]
        return (*amplitudes, *between, *(f"ρ[{edge}{suffix}]" for edge in edges for suffix in suffixes))

    @property
    def bounds(self) -> list[tuple[float, float]]:
        amplitudes = [(-8.0, 8.0) if self._is_source(c) else (-24.0, 8.0) for c in range(self.processes)]
        return [*amplitudes, *[CORRELATION_BOUNDS] * (self.tasks > 1), *[(-60.0, 60.0)] * self.slots]

    @property
    def prior(self) -> tuple[Floats, Floats]:
        rows = [AMPLITUDE_PRIOR if self._is_source(c) else DISCREPANCY for c in range(self.processes)]
        rows += [CORRELATION_PRIOR] * (self.tasks > 1)
        if self.slots:
            spans = self.spans or (1.0,) * len(self.graph.edges)
            rows += [(RHO[0], RHO[1] / span) for span in spans for _ in range(self.slots // len(spans))]
        return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])

    def start(self, correlation: float) -> Floats:
        """(r,) a start where fidelities, like tasks, are correlated by about so much."""
        own = math.log(max(1 - correlation**2, 1e-3))
        amplitudes = [0.0 if self._is_source(c) else own for c in range(self.processes)]
        between = [math.log(correlation / (1 - correlation))] * (self.tasks > 1)
        return np.array([*amplitudes, *between, *[correlation] * self.slots])

    def mixing(self, parameters: Floats) -> Mixing:
        P, L, T = self.processes, self.levels, self.tasks
        s = np.exp(parameters[:P])
        between = np.ones((T, T))
        slope = np.zeros((T, T))
        if T > 1:
            r = 1.0 / (1.0 + math.exp(-parameters[P]))
            between = np.where(np.eye(T, dtype=bool), 1.0, r)
            slope = np.where(np.eye(T, dtype=bool), 0.0, r * (1 - r))
        ρ = parameters[P + (T > 1) :]
        a, by_ρ = self._loadings(ρ)  # (T, L, P), (slots, T, L, P)
        G = T * L
        outer = np.einsum("tlc,umc->ctlum", a, a) * s[:, None, None, None, None]
        each = (outer * between[:, None, :, None]).reshape(P, G, G)
        steps = [self._only(each, c) for c in range(P)]
        if T > 1:
            steps.append((outer * slope[:, None, :, None]).reshape(P, G, G))
        for derivative in by_ρ:
            half = np.einsum("tlc,umc->ctlum", derivative, a) * s[:, None, None, None, None]
            half = (half * between[:, None, :, None]).reshape(P, G, G)
            steps.append(half + half.transpose(0, 2, 1))
        jacobian = np.stack(steps)
        if self.components == 1:
            return Mixing(each.sum(axis=0)[None], jacobian.sum(axis=1)[:, None], None, None)
        return Mixing(each, jacobian, None, None)

    def _is_source(self, c: int) -> bool:
        return self.kind in ("offset", "ignore") or not self.graph.parents[c]

    @staticmethod
    def _only(each: Floats, c: int) -> Floats:
        """∂/∂log s_c: the c-th process's part."""
        part = np.zeros_like(each)
        part[c] = each[c]
        return part

    def _loadings(self, ρ: Floats) -> tuple[Floats, Floats]:
        """a = (I - R)⁻¹ for every task (T, L, P), and its derivatives a (∂R) a by every ρ (slots, T, L, P)."""
        L, T = self.levels, self.tasks
        if self.kind == "offset":
            return np.tile(np.array(self.ratios)[None, :, None], (T, 1, 1)), np.zeros((0, T, L, 1))
        if self.kind == "ignore":
            return np.tile(np.eye(L), (T, 1, 1)), np.zeros((0, T, L, L))
        edges = self.graph.edges
        table = ρ.reshape(len(edges), self.tasks if self.per_task else 1)  # (E, 1 or T)
        R = np.zeros((T, L, L))
        for (p, child), values in zip(edges, table, strict=True):
            R[:, child, p] = values
        a = np.linalg.inv(np.eye(L) - R)
        slopes = np.zeros((*table.shape, T, L, L))
        for e, (p, child) in enumerate(edges):
            product = a[:, :, child, None] * a[:, p, None, :]  # (T, L, L)
            for k in range(table.shape[1]):
                mine = slice(None) if table.shape[1] == 1 else slice(k, k + 1)
                slopes[e, k, mine] = product[mine]
        return np.asarray(a), slopes.reshape(-1, T, L, L)
