"""Small fitted models to ask for advice, and what a reading does to them by brute force."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.gp.by_draw import Fitted, by_draw

SCHEMA = Schema(inputs=("x", "v"), target="y", task="part", fidelity="gauge")
KNOWN = Schema(inputs=("x", "v"), target="y", task="part", fidelity="gauge", noise="s")
COSTS = {"fine": 5.0, "rough": 1.0}
Floats = NDArray[np.float64]


def table(seed: int = 0, n: int = 24) -> xr.Dataset:
    """Readings of two parts by two gauges, one of them of low precision."""
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(0, 4, n), rng.uniform(-1, 1, n)
    part, gauge = np.array(["a", "b"])[np.arange(n) % 2], np.array(["fine", "rough"])[(np.arange(n) // 2) % 2]
    noise = np.where(gauge == "fine", 0.02, 0.2)
    y = np.sin(2 * x) + 0.5 * v * x + 0.3 * (part == "b") * np.cos(x) + noise * rng.standard_normal(n)
    columns = {"x": x, "v": v, "part": part, "gauge": gauge, "y": 40 + 3 * y, "s": 3 * noise}
    return xr.Dataset({name: ("sample", column) for name, column in columns.items()})


def fine_and_rough(seed: int = 0, *, exact: bool = False) -> xr.Dataset:
    """Two parts, a coarse code with a function of its own, and a fine one, at nested places."""
    rng = np.random.default_rng(seed)
    rows = []
    for part in ("a", "b"):
        places = rng.uniform((0, -1), (4, 1), (12, 2))
        for gauge, some in (("rough", places), ("fine", places[:5])):
            low = np.sin(2 * some[:, 0]) + 0.3 * (part == "b") * some[:, 1]
            y = low if gauge == "rough" else 1.5 * low - 0.5 * some[:, 1]
            y = y + (0 if exact else 0.05) * rng.standard_normal(len(y))
            rows += [(x, v, part, gauge, value) for (x, v), value in zip(some, y, strict=True)]
    columns = dict(zip(("x", "v", "part", "gauge", "y"), map(np.array, zip(*rows, strict=True)), strict=True))
    return xr.Dataset({name: ("sample", column) for name, column in columns.items()})


@cache
def fitted(name: str) -> Fitted:
    """A model of every kind whose knowledge a reading changes in another way."""
    settings: dict[str, dict[str, Any]] = {
        "one draw": {"integrate": False},
        "many draws": {"integrate": True},
        "two kernels": {"sharing": "two-kernels", "integrate": False},
        "coregional": {"sharing": "icm", "integrate": False},
        "noise by task": {"noise": "task-fidelity", "integrate": True},
        "noise by place": {"noise": "varying", "integrate": False},
    }
    if name in settings:
        return HierarchicalGP(SCHEMA, **settings[name]).fit(table().drop_vars("s"))
    if name == "known noise":
        return HierarchicalGP(KNOWN, integrate=True).fit(table())
    if name == "exact":
        return HierarchicalGP(SCHEMA, noise="none", integrate=False).fit(table().drop_vars("s"))
    data = fine_and_rough(exact=name.startswith("exact"))
    kind = name.rpartition(" ")[2]
    structure = ("offset", "autoregressive") if kind == "several" else kind
    noise = "none" if name.startswith("exact") else "fidelity"
    model = MultiFidelityGP(SCHEMA, fidelities=("rough", "fine"), structure=structure, noise=noise, kernel="rbf")
    return model.fit(data)


ALL = ("one draw", "many draws", "two kernels", "coregional", "noise by task", "noise by place", "known noise", "exact")
FIDELITIES = ("noisy offset", "noisy autoregressive", "noisy coregional", "noisy several")


def reference(n: int = 7, seed: int = 5) -> xr.Dataset:
    """Places that count, of no task."""
    rng = np.random.default_rng(seed)
    return xr.Dataset({"x": ("place", rng.uniform(0, 4, n)), "v": ("place", rng.uniform(-1, 1, n))})


def candidates(n: int = 6, seed: int = 6) -> xr.Dataset:
    """Experiments of both parts by both gauges."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "x": ("candidate", rng.uniform(0, 4, n)),
            "v": ("candidate", rng.uniform(-1, 1, n)),
            "part": ("candidate", np.array(["a", "b"])[np.arange(n) % 2]),
            "gauge": ("candidate", np.array(["fine", "rough"])[(np.arange(n) // 2) % 2]),
        }
    )


def read(model: Fitted, row: xr.Dataset, y: float = 41.0) -> Fitted:
    """The model after a reading there; known noise is as much as the model takes for granted."""
    row = row[["x", "v", "part", "gauge"]].rename({row["x"].dims[0]: "sample"})
    data = row.assign(y=("sample", np.full(row.sizes["sample"], y)))
    if model.schema.noise is not None:
        data["s"] = ("sample", np.full(row.sizes["sample"], by_known_noise(model, row)))
    return model.update(data)


def by_known_noise(model: Fitted, row: xr.Dataset) -> Floats:
    """Root of the mean known variance over the readings of the gauge."""
    data = table()
    mine = data["gauge"].to_numpy() == row["gauge"].to_numpy()[:, None]
    return np.asarray(((data["s"].to_numpy() ** 2) * mine).sum(axis=1) / mine.sum(axis=1)) ** 0.5


def mean_variance(model: Fitted, at: xr.Dataset, shares: dict[str, float] | None = None) -> float:
    """Mean over the draws, and over places, of the variance of each draw: from `Process.covariance`, not from `moments`."""
    shares = shares or {"a": 0.5, "b": 0.5}
    draws, total = by_draw(model), 0.0
    for part, share in shares.items():
        question = at.assign(part=part)
        if model.schema.fidelity is not None:
            question = question.assign(gauge="fine")
        places = draws.places(question)
        for process, weight in zip(draws.processes, draws.weights, strict=True):
            variance = np.diagonal(process.covariance(places.x, places.code)) * places.spread**2
            total += share * weight * float(variance.mean())
    return total
