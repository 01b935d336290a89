"""AIM: a learnt policy of which task's gradient is cleared of which other's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Prepared, SeenTasks, State, fraction, gradient_cosines, one_of, positive, quotient
from ._masked import masked_adam, masked_moments


@dataclass(frozen=True)
class AIM:
    """Adaptive intervention: every gradient is cleared of what conflicts with the others, by a learnt threshold.

        w_ij = sigmoid(k (τ_ij - cos(g_i, g_j))),  w_ii = 0                                                      (1)
        g_int = Σ_i [g_i - Σ_{j≠i} w_ij (g_i·g_j / |g_j|²) g_j] = G'c,   c_j = 1 - Σ_{i≠j} w_ij M_ij / M_jj       (2)
        τ <- Adam(τ, ∇L_policy),   L_policy = λ_g L_guide + λ_m L_mag + λ_p L_prog                                (3)
        L_mag = (|g_int| - S)² / S²,  S = Σ|g_i|       L_prog = - Σα_i g_int·g_i / (|g_int| Σα_i|g_i|),  α_i ∝ L_i
        L_guide = Σ_i L_i(θ - η g_int; guidance batch) / Σ_i L_i(θ),    η = ahead · Σ_i L_i / S²

    After Minot & Schneider, arXiv:2509.25955. Only the abstract is public to us: (1) to (3) and the values of k, λ and
    the rates are **second-hand**, from a summary. Ours are:

    * the closed form in the Gram matrix M, and ∂c_j/∂τ_ij = -k w_ij (1 - w_ij) M_ij / M_jj, with which the gradients
      are ∂L_mag/∂c = 2 (|g_int| - S) Mc / (|g_int| S²),
      ∂L_prog/∂c = -Mα / (|g_int| A) + (α'Mc) Mc / (|g_int|³ A), A = Σα_i|g_i|, and
      ∂L_guide/∂c = -ahead · G h / S², h the guidance gradient at θ - η g_int. First order: g_i are constants;
    * the look-ahead, without which L_guide doesn't depend on τ at all and the guidance batch does nothing;
    * L_mag and L_prog without dimension (as given they scale like |g|², so that one λ can't fit two problems), and
      η such that a step of the plain sum would lower the losses by the share `ahead` if they were linear and the
      gradients aligned (with |Σ g_i| instead of S, which vanishes where conflicts balance, it would have no bound).

    k -> ∞ with τ = 0 is PCGrad for two tasks. S bounds |g_int| from above, reached where all gradients are aligned, so
    L_mag mostly fights shrinkage.

    **Cost**: the Gram matrix is taken, and the policy moved, every `every` steps; in between, weights follow from the
    last matrix. On a network 400-256-256-128 with 11 tasks an exact matrix costs about five plain steps, the policy
    (guidance included) two more: about two plain steps a step by default, nine with every=1.

    Parameters
    ----------
    policy : "scalar", one τ, or "matrix", τ_ij for ordered pairs: `map` of the state then shows whose gradient is
        cleared for whose sake
    sharpness : k
    guide, magnitude, progress : λ_g, λ_m, λ_p; with guide = 0 no guidance batch is needed
    rate : of the policy's Adam
    every : steps between two Gram matrices and moves of the policy
    memory : share of the old matrix that is kept when a new one comes
    ahead : see η
    """

    policy: Literal["scalar", "matrix"] = "matrix"
    sharpness: float = 10.0
    guide: float = 1.0
    magnitude: float = 0.01
    progress: float = 0.08
    rate: float = 5e-3
    every: int = 10
    memory: float = 0.0
    ahead: float = 0.1

    def __post_init__(self) -> None:
        one_of(self.policy, "policy", ("scalar", "matrix"))
        whole(self.every, "every")
        fraction(self.memory, "memory")
        for name in ("sharpness", "rate", "ahead"):
            positive(getattr(self, name), name)
        for name in ("guide", "magnitude", "progress"):
            positive(getattr(self, name), name, zero=True)

    def init(self, m: int) -> State:
        τ = torch.zeros((m, m) if self.policy == "matrix" else (), dtype=torch.float64)
        return {"thresholds": τ, **masked_moments(τ), **Prepared.init(m)}

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        prepared, kept = Prepared.of(state, seen, self.every, self.memory)
        M, present, state = prepared.gram, seen.present, state | kept
        c = self.weights(state["thresholds"], M, present)
        if not prepared.fresh or int(present.sum()) < 2:
            return c, state
        v = self.slope(c, M, seen)
        slope = self.through(v, state["thresholds"], M)
        pairs = present[:, None] & present[None, :] & ~torch.eye(len(M), dtype=torch.bool)
        if self.policy == "matrix":
            moved = masked_adam(state, "thresholds", slope, self.rate, pairs)
        else:
            moved = masked_adam(state, "thresholds", slope.sum(), self.rate, torch.tensor(True))
        return c, state | moved

    def interventions(self, τ: Tensor, M: Tensor) -> Tensor:
        """w_ij (m, m) of eq. 1: how much of its conflict with j is taken off task i."""
        w = torch.sigmoid(self.sharpness * (τ - gradient_cosines(M)))
        return w - torch.diag(w.diagonal())

    def map(self, state: State) -> Tensor:
        """w_ij (m, m) of a state, the learnt policy as a diagnostic: how much of its conflict with task j is taken off task
        i's gradient, which is what adds to j's weight. Row: whose gradient is cleared; column: for whose sake.
        """
        return self.interventions(state["thresholds"], state["gram"])

    def weights(self, τ: Tensor, M: Tensor, present: Tensor) -> Tensor:
        """c (m,) of eq. 2."""
        W = self.interventions(τ, M)
        return torch.where(present, 1.0 - quotient(W * M, M.diagonal().expand_as(M)).sum(0), 0.0)

    def through(self, v: Tensor, τ: Tensor, M: Tensor) -> Tensor:
        """∂L/∂τ_ij (m, m) from v = ∂L/∂c (m,); their sum is the slope of a scalar τ."""
        W = self.interventions(τ, M)
        return -self.sharpness * W * (1 - W) * quotient(M, M.diagonal().expand_as(M)) * v[None, :]

    def slope(self, c: Tensor, M: Tensor, seen: SeenTasks) -> Tensor:
        """∂L_policy/∂c (m,)."""
        Mc, norms = M @ c, M.diagonal().clamp_min(0.0).sqrt()
        length, S = (c @ Mc).clamp_min(0.0).sqrt(), norms.sum()
        L = torch.where(seen.present, seen.losses, 0.0)
        v = self.magnitude * 2 * (length - S) * quotient(Mc, length * S**2)
        α = quotient(L, L.sum())
        A = α @ norms
        v = v + self.progress * (-quotient(M @ α, length * A) + (α @ Mc) * quotient(Mc, length**3 * A))
        if self.guide and bool(S > 0):
            η = self.ahead * float(L.sum() / S**2)
            v = v - self.guide * self.ahead / S**2 * seen.guidance(c, η)
        return v
