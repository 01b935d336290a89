"""Neural tangent kernel: equal speed of convergence for all residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Seen, State


@dataclass(frozen=True)
class NeuralTangentKernel:
    """Weights from the traces of the residuals' tangent kernels K_i = J_i J_iᵀ, J_i = ∂r_i/∂θ (M_i, P).

        w_i = Σ_j tr K_j / tr K_i

    so that the mean eigenvalues, which are the mean rates at which gradient flow reduces the residuals, become equal.
    Wang, Yu & Perdikaris, arXiv:2007.14527, algorithm 1.

    The unit of r_i drops out of w_i L_i. All losses must be given as residuals. A trace of exactly 0 (residuals that no
    parameter moves) gets weight 1. The paper's batches are of equal size; where they differ, `per_point` divides each
    trace by M_i, which makes the weights independent of the number of points.

    Parameters
    ----------
    every : steps between two updates
    probes : None for exact traces (the Jacobians, M x P numbers), or the number of random sign vectors of Hutchinson's
        unbiased estimate, one backward pass each
    per_point : see above
    """

    every: int = 100
    probes: int | None = None
    per_point: bool = False

    def __post_init__(self) -> None:
        whole(self.every, "every")
        if self.probes is not None:
            whole(self.probes, "probes")

    def init(self, seen: Seen) -> State:
        return {"weights": torch.ones_like(seen.losses)}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        if seen.step % self.every:
            return state["weights"], state
        traces = seen.residual_traces(self.probes)
        if self.per_point:
            traces = traces / torch.tensor([float(len(r)) for r in seen.residuals().values()]).to(traces)
        w = torch.where(traces > 0, traces.sum() / torch.where(traces > 0, traces, 1.0), 1.0)
        return w, {"weights": w}
