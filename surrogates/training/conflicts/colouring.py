"""Tasks that conflict don't step together: a schedule from the colouring of their conflict graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import SeenTasks, State, fraction, gradient_cosines, one_of, positive

Schedule = Literal["log", "linear", "cosine", "constant"]


@dataclass(frozen=True)
class Colouring:
    """Scheduling by gradient interference: each step one class of tasks that don't conflict, round robin.

        ĝ_k <- β ĝ_k + (1 - β) g_k                            running mean of task k's gradient
        edge i-j  iff  -cos(ĝ_i, ĝ_j) > τ(t)                  every `refresh` steps; classes = Welsh-Powell colouring
        c_k = 1 for present tasks of the class in turn, 0 for the others

    After SON-GOKU (Patapati & Srinivasan, arXiv:2509.16959; eq. 10 for the graph). The paper's tables aren't public to us;
    defaults are those of its published code, as they were told to us. τ goes from `start` (1: no edges, all tasks step
    together) to `target`, after a warm-up.

    Where we differ: instead of ĝ_k (m copies of the gradient) running means of sketches (m, r) are kept, whose cosines have
    an error of about 1/√r, and they are taken every `every` steps (β stands for one of these). Tasks' private parameters
    get their ordinary gradient at every step. Classes whose tasks are all absent are passed over.

    With C classes a task's shared part is updated every C-th step: **compare methods at equal updates of tasks, not at equal
    steps**; `updates` in the state counts them. Adam then sees gradients of changing classes: its memory should be longer
    than C steps.

    Parameters
    ----------
    memory : β
    refresh : steps between two colourings
    every : steps between two sketches
    sketch : r
    start, target, schedule : of τ; "log" is start (target/start)^p, p the share of the steps after the warm-up
    warm_up : share of the run in which τ stays at `start`
    """

    memory: float = 0.9
    refresh: int = 32
    every: int = 8
    sketch: int = 1024
    start: float = 1.0
    target: float = 0.25
    schedule: Schedule = "log"
    warm_up: float = 0.05

    def __post_init__(self) -> None:
        one_of(self.schedule, "schedule", ("log", "linear", "cosine", "constant"))
        for name in ("refresh", "every", "sketch"):
            whole(getattr(self, name), name)
        fraction(self.memory, "memory")
        fraction(self.warm_up, "warm_up")
        positive(self.start, "start")
        positive(self.target, "target")

    def init(self, m: int) -> State:
        return {
            "sketches": torch.zeros(m, self.sketch, dtype=torch.float64),
            "colours": torch.zeros(m, dtype=torch.int64),
            "turn": torch.tensor(0),
            "updates": torch.zeros(m, dtype=torch.int64),
        }

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        now, present = dict(state), seen.present
        if seen.step % self.every == 0 and present.any():
            S = state["sketches"]
            new = torch.where((S == 0).all(1, keepdim=True), 1.0, 1 - self.memory) * seen.sketch(self.sketch)
            now["sketches"] = torch.where(
                present[:, None], torch.where((S == 0).all(1, keepdim=True), 0.0, self.memory) * S + new, S
            )
        if seen.step % self.refresh == 0 and seen.step > 0:
            conflict = self.conflicts(now, self.threshold(seen.step, seen.max_steps))
            now["colours"], now["turn"] = welsh_powell(conflict), torch.tensor(0)
        colours, turn = now["colours"], int(now["turn"])
        classes = int(colours.max()) + 1
        for offset in range(classes):
            active = present & (colours == (turn + offset) % classes)
            if active.any():
                break
        now["turn"] = torch.tensor((turn + offset + 1) % classes)
        now["updates"] = state["updates"] + active
        return active.double(), now

    def threshold(self, step: int, max_steps: int) -> float:
        """τ(t)."""
        first = self.warm_up * max_steps
        if step < first or self.schedule == "constant":
            return self.start if step < first else self.target
        p = min((step - first) / max(max_steps - first, 1.0), 1.0)
        if self.schedule == "log":
            return float(self.start * (self.target / self.start) ** p)
        share = p if self.schedule == "linear" else (1 - math.cos(math.pi * p)) / 2
        return self.start + (self.target - self.start) * share

    def conflicts(self, state: State, τ: float) -> Tensor:
        """(m, m) bool: the edges at threshold τ, from the sketches of a state; a diagnostic by itself."""
        edges = -gradient_cosines(state["sketches"] @ state["sketches"].T) > τ
        return edges & ~torch.eye(len(edges), dtype=torch.bool)


def welsh_powell(edges: Tensor) -> Tensor:
    """Colours (m,) from 0 such that no edge joins two alike: greedy, vertices by falling degree (ties: by number).

    At most (largest degree + 1) colours; Welsh & Powell (1967). Task i is joined to j where `edges` (m, m) is True.

    >>> path = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool()
    >>> welsh_powell(path).tolist()
    [1, 0, 1]
    """
    m = len(edges)
    colours = [-1] * m
    degree = edges.sum(1).tolist()
    order = sorted(range(m), key=lambda i: (-degree[i], i))
    colour = 0
    while -1 in colours:
        members: list[int] = []
        for i in order:
            if colours[i] < 0 and not any(bool(edges[i, j]) for j in members):
                colours[i] = colour
                members.append(i)
        colour += 1
    return torch.tensor(colours, dtype=torch.int64)
