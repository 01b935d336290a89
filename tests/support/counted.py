"""Small tables of things with counts and features, and slow references of the Tanimoto kernel's model for them."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema
from surrogates.gp import Tanimoto

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SCHEMA = Schema(inputs=("parts", "traits"), target="value", task="property")


def table(things: int = 16, *, tasks: int = 3, seed: int = 0, missing: float = 0.3) -> xr.Dataset:
    """Values (thing, property), of which some are missing; parts (thing, bit), traits (thing, trait), one constant."""
    generator = np.random.default_rng(seed)
    parts = generator.poisson(0.7, (things, 7))
    traits = np.column_stack([generator.normal(3, 5, (things, 2)), np.full(things, 2.5)])
    common = np.sin(parts @ generator.normal(size=7)) + 0.1 * traits[:, 0]
    value = common[:, None] * np.linspace(1, 2, tasks) + 0.3 * generator.standard_normal((things, tasks))
    value = np.where(generator.uniform(size=value.shape) < missing, np.nan, value)
    return xr.Dataset(
        {
            "parts": (("thing", "bit"), parts),
            "traits": (("thing", "trait"), traits),
            "value": (("thing", "property"), value, {"units": "eV"}),
        },
        coords={"property": list("abcdefgh"[:tasks])},
    )


def model(sharing: str = "icm", *, smooth: bool = True, **choices: object) -> HierarchicalGP:
    """A configuration for such tables."""
    settings: dict[str, object] = {"trend": "constant", "noise": "task-fidelity", "integrate": False, "rank": 2}
    schema = SCHEMA if smooth else Schema(inputs="parts", target="value", task="property")
    kernel = Tanimoto("parts", "traits" if smooth else None)
    return HierarchicalGP(schema, kernel=kernel, sharing=sharing, **{**settings, **choices})  # type: ignore[arg-type]


def standardised(traits: Floats, of: Floats) -> Floats:
    """Traits that vary in `of`, by its mean and standard deviation, no farther than 4."""
    of = np.unique(of, axis=0)
    used = np.ptp(of, axis=0) > 0
    return np.asarray(np.clip((traits - of.mean(axis=0))[:, used] / of.std(axis=0)[used], -4, 4))


def tanimoto(a: Floats, b: Floats) -> float:
    """Shared parts over all parts."""
    most = sum(max(x, y) for x, y in zip(a, b, strict=True))
    return sum(min(x, y) for x, y in zip(a, b, strict=True)) / most if most else 1.0


def psi(first: xr.Dataset, second: xr.Dataset, fitted_on: xr.Dataset, shape: Floats) -> Floats:
    """ψ between all things of two tables, by a double loop.  shape: (logit w, log ℓ), or empty for T alone."""
    counts = [t["parts"].transpose("thing", ...).to_numpy() for t in (first, second)]
    T = np.array([[tanimoto(a, b) for b in counts[1]] for a in counts[0]])
    if not len(shape):
        return T
    w, l = 1 / (1 + math.exp(-shape[0])), math.exp(shape[1])
    all_traits = fitted_on["traits"].transpose("thing", ...).to_numpy()
    x, z = (standardised(t["traits"].transpose("thing", ...).to_numpy(), all_traits) for t in (first, second))
    E = np.array([[math.exp(-float(((a - b) ** 2).mean()) / (2 * l**2)) for b in z] for a in x])
    return w * T + (1 - w) * E


class Reference:
    """Dense matrices of a fitted model's readings at any hyper-parameters, all in the target's scaled units."""

    def __init__(self, fitted: FittedHierarchicalGP, data: xr.Dataset, fitted_on: xr.Dataset | None = None) -> None:
        self.data, self.layout = data, fitted.core.layout
        self.fitted_on = data if fitted_on is None else fitted_on
        if fitted_on is None:  # statistics are those of things with at least one value
            self.fitted_on = data.isel(thing=data["value"].notnull().any("property").to_numpy())
        self.target, tasks = fitted.core.scaled.target, list(fitted.vocabulary.tasks)
        order = [tasks.index(p) for p in data["property"].to_numpy().tolist()]
        values = data["value"].transpose("thing", "property").to_numpy()
        self.thing, columns = np.nonzero(np.isfinite(values))
        self.task = np.array(order)[columns]
        self.y = (values[self.thing, columns] - self.target.centre) / self.target.spread
        self.H = np.eye(len(tasks))[self.task]

    def prior(
        self,
        θ: Floats,
        first: xr.Dataset,
        i: Integers,
        t: Integers,
        second: xr.Dataset,
        j: Integers,
        s: Integers,
    ) -> Floats:
        """Covariance of f between things i of one table and j of another, for tasks t and s."""
        parts = self.layout.split(θ)
        total = np.zeros((len(i), len(j)))
        for B, shape in zip(self.layout.sharing.mixing(parts.sharing).matrix, parts.log_shapes, strict=True):
            total += B[np.ix_(t, s)] * psi(first, second, self.fitted_on, shape)[np.ix_(i, j)]
        return total

    def covariance(self, θ: Floats) -> Floats:
        """Of all readings."""
        K = self.prior(θ, self.data, self.thing, self.task, self.data, self.thing, self.task)
        noise = self.layout.split(θ).log_noise
        return np.asarray(
            K + np.diag(np.exp(noise)[self.task] if len(noise) > 1 else np.exp(noise[0]) * np.ones(len(K)))
        )

    def projection(self, θ: Floats) -> Floats:
        Si = np.linalg.inv(self.covariance(θ))
        return np.asarray(Si - Si @ self.H @ np.linalg.solve(self.H.T @ Si @ self.H, self.H.T @ Si))

    def log_likelihood(self, θ: Floats) -> float:
        """Restricted likelihood, each task's constant flat."""
        S = self.covariance(θ)
        A = self.H.T @ np.linalg.inv(S) @ self.H
        determinants = np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1]
        freedom = len(self.y) - self.H.shape[1]
        quadratic = self.y @ self.projection(θ) @ self.y
        return float(-0.5 * (quadratic + determinants + freedom * math.log(2 * math.pi)))

    def posterior(self, θ: Floats, at: xr.Dataset) -> tuple[Floats, Floats]:
        """Mean and covariance of f at all (thing, property) of `at`, thing by thing, in the target's units."""
        m, T = at.sizes["thing"], self.H.shape[1]
        i, t = np.repeat(np.arange(m), T), np.tile(np.arange(T), m)
        k = self.prior(θ, self.data, self.thing, self.task, at, i, t)
        border = np.block([[self.covariance(θ), self.H], [self.H.T, np.zeros((T, T))]])
        right = np.concatenate([k, np.eye(T)[t].T])
        weights = np.linalg.solve(border, right)
        mean = weights[: len(self.y)].T @ self.y
        covariance = self.prior(θ, at, i, t, at, i, t) - weights.T @ right
        return self.target.centre + self.target.spread * mean, self.target.spread**2 * covariance
