"""Tasks with quadratic losses of one shared vector: everything that a method may look at, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surrogates.training.conflicts import Conflicts, State


@dataclass(frozen=True, eq=False)
class Quadratics:
    """L_i = ½ (θ - a_i)'H_i(θ - a_i) + level; the guidance data's are the same around `held_out`."""

    a: Tensor  # (m, P)
    H: Tensor  # (m, P, P)
    held_out: Tensor | None = None  # (m, P)
    level: float = 0.0

    def losses(self, θ: Tensor, centres: Tensor | None = None) -> Tensor:
        e = θ - (self.a if centres is None else centres)
        values: Tensor = 0.5 * torch.einsum("mi,mij,mj->m", e, self.H, e) + self.level
        return values

    def gradients(self, θ: Tensor, centres: Tensor | None = None) -> Tensor:
        slopes: Tensor = torch.einsum("mij,mj->mi", self.H, θ - (self.a if centres is None else centres))
        return slopes


@dataclass
class QuadraticTasks:
    """Quadratics seen at θ; some tasks may be absent, gradients may be noisy."""

    tasks: Quadratics
    θ: Tensor
    present: Tensor = field(default_factory=lambda: torch.empty(0))
    step: int = 0
    max_steps: int = 100
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    noise: Tensor | None = None  # (m, P), added to the gradients

    def __post_init__(self) -> None:
        m = len(self.tasks.a)
        self.present = self.present if len(self.present) else torch.ones(m, dtype=torch.bool)
        self.names = tuple(f"task {i}" for i in range(m))
        self.losses = torch.where(self.present, self.tasks.losses(self.θ), torch.nan)
        G = self.tasks.gradients(self.θ)
        self.G = torch.where(self.present[:, None], G if self.noise is None else G + self.noise, 0.0)
        self.looks: list[str] = []

    def gram(self) -> Tensor:
        self.looks.append("gram")
        return self.G @ self.G.T

    def sketch(self, r: int) -> Tensor:
        self.looks.append("sketch")
        P = self.G.shape[1]
        R = torch.randn(P, r, generator=torch.Generator().manual_seed(7), dtype=self.G.dtype)
        found: Tensor = self.G @ R / r**0.5
        return found

    def slope(self, weights: Tensor) -> float:
        return float((weights @ self.G).square().sum())

    def ahead(self, weights: Tensor, rate: float) -> Tensor:
        self.looks.append("ahead")
        return torch.where(self.present, self.tasks.losses(self.θ - rate * weights @ self.G), torch.nan)

    def guidance(self, weights: Tensor, rate: float) -> Tensor:
        self.looks.append("guidance")
        found: Tensor = self.G @ self.tasks.gradients(self.θ - rate * weights @ self.G, self.tasks.held_out).sum(0)
        return found


def random_quadratics(m: int, P: int, generator: torch.Generator) -> Quadratics:
    """Positive definite, with centres in all directions."""
    A = torch.randn(m, P, P, generator=generator, dtype=torch.float64) / P**0.5
    eye = torch.eye(P, dtype=torch.float64)
    a, held_out = torch.randn(2, m, P, generator=generator, dtype=torch.float64).unbind()
    return Quadratics(a, A @ A.mT + 0.2 * eye, a + 0.3 * held_out)


def gradients_seen(G: Tensor, **more: object) -> QuadraticTasks:
    """Tasks whose gradients are G (m, P) at θ = 0, each loss being ½|θ + g_i|²."""
    eye = torch.eye(G.shape[1], dtype=G.dtype).expand(len(G), -1, -1)
    return QuadraticTasks(Quadratics(-G, eye), torch.zeros(G.shape[1], dtype=G.dtype), **more)  # type: ignore[arg-type]


def descend(
    method: Conflicts, tasks: Quadratics, θ: Tensor, *, steps: int, rate: float, noise: float = 0.0, seed: int = 0
) -> tuple[Tensor, State]:
    """Plain gradient descent θ <- θ - rate G'c with noisy gradients, the method's noise being the step's."""
    generator = torch.Generator().manual_seed(seed)
    state = method.init(len(tasks.a))
    for step in range(steps):
        ε = noise * torch.randn(tasks.a.shape, generator=generator, dtype=θ.dtype)
        seen = QuadraticTasks(tasks, θ, step=step, max_steps=steps, generator=generator, noise=ε)
        c, state = method.step(state, seen)
        θ = θ - rate * c @ seen.G
    return θ, state
