"""Small fitted processes of every kind that offers a joint posterior in torch, with places to ask at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gpytorch
import numpy as np
import torch
import xarray as xr

from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.gp import Periodic, Smooth
from surrogates.gp.differentiable import joint_posterior

Fitted = Any
SCHEMA = Schema(inputs=("x", "v"), target="y", task="part", fidelity="gauge")


class Case(NamedTuple):
    """A fitted model, and the (task, fidelity) pairs that it can be asked about."""

    fitted: Fitted
    pairs: tuple[tuple[Any, Any], ...]
    twice: bool = True  # its kernels can be differentiated twice


def table(seed: int = 0, *, n: int = 24, known: bool = False) -> xr.Dataset:
    """Readings of two parts by two gauges, one of them of low precision."""
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(0, 4, n), rng.uniform(-1, 1, n)
    part, gauge = np.array(["a", "b"])[np.arange(n) % 2], np.array(["fine", "rough"])[(np.arange(n) // 2) % 2]
    noise = np.where(gauge == "fine", 0.02, 0.2)
    y = np.sin(2 * x) + 0.5 * v * x + 0.3 * (part == "b") * np.cos(x) + noise * rng.standard_normal(n)
    variables = {"x": x, "v": v, "part": part, "gauge": gauge, "y": 40 + 3 * y, "s": 3 * noise}
    data = xr.Dataset({name: ("sample", value) for name, value in variables.items()})
    data["y"].attrs["units"] = data["s"].attrs["units"] = "um"
    return data if known else data.drop_vars("s")


def nested(seed: int = 0) -> xr.Dataset:
    """Exact readings of a coarse code, and at some of the places of a fine one, for two parts."""
    rng = np.random.default_rng(seed)
    rows = []
    for part in ("a", "b"):
        places = rng.uniform((0, -1), (4, 1), (14, 2))
        for gauge, some in (("coarse", places), ("fine", places[:6])):
            low = np.sin(2 * some[:, 0] + 2 * some[:, 1] ** 2) + 0.3 * (part == "b") * some[:, 1]
            y = low if gauge == "coarse" else 1.5 * low**2 - 0.5 * some[:, 1]
            rows += [(x, v, part, gauge, value) for (x, v), value in zip(some, y, strict=True)]
    columns = dict(zip(("x", "v", "part", "gauge", "y"), map(np.array, zip(*rows, strict=True)), strict=True))
    return xr.Dataset({name: ("sample", value) for name, value in columns.items()})


def _tasks(data: xr.Dataset | None = None, schema: Schema = SCHEMA, **settings: Any) -> Fitted:
    return HierarchicalGP(schema, **settings).fit(table() if data is None else data)


def _fidelities(structure: str) -> Fitted:
    model = MultiFidelityGP(SCHEMA, fidelities=("coarse", "fine"), structure=structure, noise="none")
    return model.fit(nested())


ALL = (("a", "fine"), ("b", "rough"), ("a", "rough"))
EDGE = (("a", "fine"), ("b", "coarse"), ("a", "coarse"))


def _known() -> Fitted:
    schema = Schema(inputs=("x", "v"), target="y", task="part", fidelity="gauge", noise="s")
    return _tasks(table(known=True), schema, noise="known")


def _shared_places() -> Fitted:
    grid = np.meshgrid(np.linspace(0, 4, 5), np.linspace(-1, 1, 3), indexing="ij")
    x, v = (np.tile(axis.ravel(), 2) for axis in grid)
    part = np.repeat(["a", "b"], 15)
    y = np.sin(2 * x) + 0.5 * v * x + 0.3 * (part == "b") * np.cos(x)
    data = xr.Dataset({"x": ("n", x), "v": ("n", v), "part": ("n", part), "y": ("n", y)})
    return HierarchicalGP(Schema(inputs=("x", "v"), target="y", task="part"), solver="rotation").fit(data)


CASES: dict[str, Callable[[], Case]] = {
    "one draw": lambda: Case(_tasks(integrate=False), ALL),
    "rbf, linear trend": lambda: Case(_tasks(kernel="rbf", trend="linear"), ALL),
    "matern52, quadratic trend": lambda: Case(_tasks(trend="quadratic"), ALL),
    "matern32, icm": lambda: Case(_tasks(kernel="matern32", sharing="icm"), ALL),
    "matern12, robust": lambda: Case(_tasks(kernel="matern12", sharing="robust"), ALL, twice=False),
    "noise by task": lambda: Case(_tasks(noise="task-fidelity"), ALL),
    "noise by place": lambda: Case(_tasks(noise="varying"), ALL),
    "student-t": lambda: Case(_tasks(likelihood="student-t"), ALL),
    "known noise": lambda: Case(_known(), ALL),
    "woodbury": lambda: Case(_tasks(solver="woodbury"), ALL),
    "shared places": lambda: Case(_shared_places(), (("a", None), ("b", None))),
    "periodic": lambda: Case(_tasks(kernel=Smooth("v") + Periodic("x", period=3.0)), ALL, twice=False),
    "own trend": lambda: Case(_tasks(trend=lambda x: np.stack([x[:, 0], x[:, 1] ** 3], axis=1)), ALL, twice=False),
    "gpytorch": lambda: Case(
        _tasks(kernel=gpytorch.kernels.RBFKernel(ard_num_dims=2) + gpytorch.kernels.LinearKernel()), ALL
    ),
    "autoregressive": lambda: Case(_fidelities("autoregressive"), EDGE),
    "nonlinear": lambda: Case(_fidelities("nonlinear"), EDGE),
    "coregional": lambda: Case(_fidelities("coregional"), EDGE),
    "all structures": lambda: Case(_fidelities("auto"), EDGE),
}


def places(case: Case, count: int = 5, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor, xr.Dataset]:
    """Places (count, 2), their codes, and the same as labelled questions, over all the case's pairs."""
    rng = np.random.default_rng(seed)
    x = rng.uniform((0.2, -0.9), (3.8, 0.9), (count, 2))
    pairs = [case.pairs[i % len(case.pairs)] for i in range(count)]
    posterior = joint_posterior(case.fitted)
    codes = torch.tensor([posterior.code(task=task, fidelity=fidelity) for task, fidelity in pairs])
    at = xr.Dataset({"x": ("place", x[:, 0]), "v": ("place", x[:, 1]), "part": ("place", [t for t, _ in pairs])})
    if case.fitted.schema.fidelity is not None:
        at["gauge"] = ("place", [f for _, f in pairs])
    return torch.from_numpy(x), codes, at
