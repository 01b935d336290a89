"""Fitted families to and from one file: arrays and JSON. The problem's functions stay in the user's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from surrogates.errors import FileFormatError, ProblemError
from surrogates.networks import MLP, ChebyshevFeatures, RandomFeatures
from surrogates.persistence import Archive
from surrogates.physics.optimal_control import EulerLagrange, Family, Mesh, Problem

from .operator import Operator
from .report import ControlReport


def family_archive(fitted: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a `FittedFamily`."""
    operator: Operator = fitted.operator
    family = operator.family
    header = {
        "initial_state": {name: list(ends) for name, ends in family.initial_state.items()},
        "initial_time": None if family.initial_time is None else list(family.initial_time),
        "parameters": {name: list(ends) for name, ends in family.parameters.items()},
        "degree": operator.mesh.degree,
        "trunk": type(operator.features).__name__,
        "sizes": list(operator.features.sizes) if isinstance(operator.features, MLP) else [],
        "report": fitted.report.to_dict(),
    }
    arrays = {
        "breaks": np.array(operator.mesh.breaks),
        "weights": operator.weights.numpy(),
        "modes": operator.modes.numpy(),
        "offset": operator.offset.numpy(),
        "fingerprint": fingerprint(family.problem).numpy(),
        **{f"features.{name}": value.numpy() for name, value in operator.features.state_dict().items()},
    }
    return header, arrays


@dataclass(frozen=True, eq=False)
class DetachedFamily:
    """A family's network as it was read from a file, without the problem it belongs to."""

    archive: Archive

    def attach(self, problem: Problem) -> Any:
        """The fitted family for its problem.

        Raises
        ------
        ProblemError
            If the problem isn't the one that the network was fitted to: its functions give other values.
        FileFormatError
            If the file lacks something.
        """
        try:
            return self._attached(problem)
        except KeyError as error:
            raise FileFormatError(
                f"the file lacks {error}, which a family needs; it may come from another version of surrogates"
            ) from error

    def _attached(self, problem: Problem) -> Any:
        from .fitted_family import FittedFamily

        header, arrays = self.archive.header, self.archive.arrays
        own, stored = fingerprint(problem), torch.from_numpy(arrays["fingerprint"])
        if own.shape != stored.shape or not torch.allclose(own, stored, rtol=1e-9, atol=1e-12):
            raise ProblemError(
                "this is another problem than the one the network was fitted to: its dynamics, costs, horizon, end "
                "conditions or bounds give other values; attach the same problem"
            )
        unknown = [name for name in header["initial_state"] if name not in problem.states]
        if unknown:
            raise ProblemError(
                f"the network's input {unknown[0]!r} is no state of this problem, which has {problem.states}; attach it "
                f"with the names it was fitted with, and rename by with_problem"
            )
        time = header["initial_time"]
        family = Family(
            problem,
            {name: (ends[0], ends[1]) for name, ends in header["initial_state"].items()},
            None if time is None else (time[0], time[1]),
            {name: (ends[0], ends[1]) for name, ends in header["parameters"].items()},
        )
        state = {
            name.removeprefix("features."): torch.from_numpy(value)
            for name, value in arrays.items()
            if name.startswith("features.")
        }
        weights, modes, offset = (torch.from_numpy(arrays[name]) for name in ("weights", "modes", "offset"))
        mesh = Mesh(tuple(arrays["breaks"].tolist()), header["degree"])
        features = _features(header["trunk"], header["sizes"], state)
        return FittedFamily(
            Operator(family, mesh, features, weights, modes, offset), ControlReport.from_dict(header["report"])
        )


def _features(trunk: str, sizes: list[int], state: dict[str, Tensor]) -> nn.Module:
    if trunk == "ChebyshevFeatures":
        return ChebyshevFeatures(state["degrees"])
    if trunk == "RandomFeatures":
        d, L = state["W"].shape
        features = RandomFeatures(d, L, scale=1.0, generator=torch.Generator().manual_seed(0))
        features.load_state_dict(state)
        return features
    if trunk == "MLP":
        net = MLP(sizes, generator=torch.Generator().manual_seed(0))
        net.load_state_dict(state)
        return net
    raise FileFormatError(f"the file's trunk is {trunk!r}, which this version doesn't know; update the library")


def fingerprint(problem: Problem) -> Tensor:
    """What a problem's functions give at a few places, with its horizon, conditions and bounds: (k,)."""
    system = EulerLagrange(problem)
    n, m = problem.state_size, problem.control_size
    places = 5
    g = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(places, n, generator=g, dtype=torch.float64)
    u = 0.5 * torch.randn(places, m, generator=g, dtype=torch.float64)
    t = torch.linspace(*problem.horizon, places, dtype=torch.float64)
    q = system.parameters((places,))
    θ = {name: q[:, i] for i, name in enumerate(problem.parameters)}
    parts = [system.dynamics(t, x, u, q), system.running_cost(t, x, u, q)]
    parts += [cost(t, x, θ) for cost in (problem.terminal_cost, problem.initial_cost) if cost is not None]
    ends = torch.tensor(
        [torch.pi if v is None else v for values in problem.given_at_ends for v in values], dtype=torch.float64
    )
    kinds = [problem.terminal_cost is not None, problem.initial_cost is not None, problem.free_final_time]
    rest = [torch.tensor(problem.horizon, dtype=torch.float64), ends, problem.bounds.flatten(), q[0]]
    rest.append(torch.tensor(kinds, dtype=torch.float64))
    return torch.cat([part.detach().flatten() for part in [*parts, *rest]]).nan_to_num(
        nan=0.125, posinf=1e300, neginf=-1e300
    )
