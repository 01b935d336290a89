"""Low-rank corrections of a shared layer, one for each task or group of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surrogates.counts import whole
from surrogates.errors import DataError

from ._checks import check_dtype, check_inputs
from .embedding import take


class LowRankAdapter(nn.Module):
    """A_g B_g x with g = g(t), which is added to W x for task t; A = 0 at first: tasks start as the shared layer.

    Each task has an adapter of its own, or tasks of one group share theirs: with groups (0, 0, ..., 0) all do.

    Hu et al. (2021), arXiv:2106.09685, section 4.1, with A and B exchanged and no factor α/r. B ~ N(0, 1/d_in).

    Parameters
    ----------
    d_in, d_out : widths of the layer
    tasks : number T of tasks
    rank : r, at most the smaller width
    groups : (T,) g of each task, counted from 0 without a gap; None: g = t
    dtype : torch.float64 or torch.float32
    generator : draws B

    Examples
    --------
    >>> adapter = LowRankAdapter(3, 2, tasks=4, rank=1, generator=torch.Generator().manual_seed(0))
    >>> adapter(torch.ones(5, 3).double(), torch.tensor([0, 1, 2, 3, 3])).abs().sum().item()
    0.0
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        tasks: int,
        rank: int,
        groups: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for name, value in (("d_in", d_in), ("d_out", d_out), ("tasks", tasks), ("rank", rank)):
            whole(value, name)
        if rank > min(d_in, d_out):
            raise DataError(f"rank is {rank}; a layer from {d_in} to {d_out} has at most {min(d_in, d_out)}")
        check_dtype(dtype)
        self.groups = tuple(range(tasks)) if groups is None else check_groups(groups, tasks)
        self.tasks, self.dtype = tasks, dtype
        count = max(self.groups) + 1
        B = torch.randn(count, rank, d_in, generator=generator, dtype=torch.float64)
        self.A = nn.Parameter(torch.zeros(count, d_out, rank, dtype=dtype))
        self.B = nn.Parameter((B / d_in**0.5).to(dtype))
        self.group: Tensor | None
        self.register_buffer("group", None if groups is None else torch.tensor(self.groups), persistent=False)

    def forward(self, X: Tensor, task: Tensor) -> Tensor:
        """X (..., d_in), task (...,) long -> (..., d_out); leading dims are broadcast."""
        check_inputs(X, self.B.shape[-1], "LowRankAdapter", dtype=self.dtype)
        group = task if self.group is None else take(self.group, task)
        return rows(rows(X, take(self.B, group)), take(self.A, group))

    def start_at_mean(self) -> None:
        """Set the last group's A B, in place, to the best approximation of its rank to the mean over the other tasks.

        The mean of the factors would be another matrix, since A R⁻¹ and R B have the same product for any R. The rows of
        B are orthonormal, so that gradients reach A even where the mean is 0.
        """
        A, B = self.A, self.B
        others = [g for g in self.groups if g < len(A) - 1]
        with torch.no_grad():
            U, σ, Vt = torch.linalg.svd((A[others] @ B[others]).mean(0), full_matrices=False)
            r = A.shape[-1]
            A[-1], B[-1] = U[:, :r] * σ[:r], Vt[:r]


def check_groups(groups: Sequence[int], tasks: int) -> tuple[int, ...]:
    """The group of each task, as a tuple; groups are counted from 0 without a gap."""
    found = tuple(int(g) for g in groups)
    if len(found) != tasks:
        raise DataError(f"groups has {len(found)} entries for {tasks} tasks; give the group of each task")
    if sorted(set(found)) != list(range(len(set(found)))):
        raise DataError(f"groups is {found}; they must be counted from 0 without a gap")
    return found


def rows(X: Tensor, M: Tensor) -> Tensor:
    """M x for each row: X (..., i), M (..., o, i) -> (..., o)."""
    return (X[..., None, :] @ M.mT).squeeze(-2)
