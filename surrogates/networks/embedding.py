"""A learnt vector for each task, and how tensors of all tasks are looked up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surrogates.counts import whole
from surrogates.errors import DataError


class TaskEmbedding(nn.Module):
    """A vector e_t for each task, to stand beside the inputs of a trunk; drawn from N(0, 1/width), so of length about 1.

    Parameters
    ----------
    tasks, width : number of vectors, and of their entries
    generator : draws them

    Examples
    --------
    >>> embedding = TaskEmbedding(3, 4, torch.Generator().manual_seed(0))
    >>> embedding(torch.tensor([0, 2, 2, 1])).shape
    torch.Size([4, 4])
    """

    def __init__(self, tasks: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        whole(tasks, "tasks")
        whole(width, "width")
        vectors = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
        self.vectors = nn.Parameter(vectors / width**0.5)

    def forward(self, task: Tensor) -> Tensor:
        """Task (...,) long -> (..., width)."""
        return take(self.vectors, task)


def take(table: Tensor, task: Tensor) -> Tensor:
    """table (T, *shape), task (...,) long -> (..., *shape)."""
    if task.dtype != torch.long:
        raise DataError(f"the task indices are {task.dtype}; they must be torch.long: convert them with .long()")
    try:  # index_select: its gradient is summed faster than that of table[task], and vmap takes tasks of no dims
        rows = table.index_select(0, task.reshape(-1))
    except IndexError as error:
        raise DataError(
            f"a task index lies outside 0 ... {len(table) - 1}; the module has {len(table)} tasks"
        ) from error
    return rows.reshape(*task.shape, *table.shape[1:])
