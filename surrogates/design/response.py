"""What is optimised over: a fitted surrogate's output as a random number at every design.

    Y(x) = f(x + δ) + e       f: posterior of the model,  δ: scatter of the inputs,  e: noise of a reading

Each of the three may be left out. Y is a mixture of Gaussians: over the draws of the hyper-parameters, and over points of a
scrambled Sobol' sequence that stand for δ, the same ones at every x (common random numbers), so that everything that follows
from Y is a smooth function of x with exact derivatives; how well the points stand for δ depends on their number alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds
from scipy.stats import norm, qmc
from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError
from surrogates.gp.differentiable import FittedProcess
from surrogates.gp.outputs import with_tails
from surrogates.posterior import Moments
from surrogates.schema import Label

from .asking import Asked, ask
from .measures import Measure
from .mixtures import Mixture
from .numbers import is_number, power_of_two

Floats = NDArray[np.float64]
SOURCES = ("model", "noise")
#: numbers in the largest temporary array
ENTRIES = 2_000_000


@dataclass(frozen=True)
class Scatter:
    """How inputs deviate from what was asked for, independently of each other.

    deviations : by input: the standard deviation of a normal deviation, or a frozen distribution of `scipy.stats` that is
        added to the input. For an input that isn't chosen at all, fix it at 0 and give its distribution here
    points : quasi-random deviations that stand for the distribution, a power of two
    seed : of their scrambling
    """

    deviations: Mapping[str, Any]
    points: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.deviations:
            raise DataError("deviations is empty; give an input's standard deviation, such as {'x': 0.1}")
        power_of_two(self.points, "points")
        whole(self.seed, "seed", least=0)
        for name, given in self.deviations.items():
            if is_number(given):
                if not (np.isfinite(given) and given > 0):
                    raise DataError(f"deviation of {name!r} is {given}; a standard deviation is finite and > 0")
            elif not callable(getattr(given, "ppf", None)):
                raise DataError(
                    f"deviation of {name!r} is a {type(given).__name__}; give a standard deviation, or a frozen "
                    f"distribution such as scipy.stats.uniform(-0.1, 0.2)"
                )

    def values(self, inputs: tuple[str, ...]) -> Floats:
        """(points, d) deviations of all inputs, zero where there are none."""
        unit = qmc.Sobol(len(self.deviations), rng=self.seed).random(self.points)
        unit = np.clip(unit, 1e-12, 1 - 1e-12)  # scrambled points may round to the ends, where a tail is infinite
        found = np.zeros((self.points, len(inputs)))
        for column, (name, given) in zip(unit.T, self.deviations.items(), strict=True):
            distribution = norm(scale=given) if is_number(given) else given
            found[:, inputs.index(name)] = distribution.ppf(column)
        if not np.isfinite(found).all():
            bad = inputs[int(np.argmin(np.isfinite(found).all(axis=0)))]
            raise DataError(f"the distribution of {bad!r} gives values that aren't finite; correct its parameters")
        return found


@dataclass(frozen=True, eq=False)
class Response:
    """One output of a fitted surrogate, over the inputs that are free to choose.

    Parameters
    ----------
    fitted : a fitted `HierarchicalGP` or `MultiFidelityGP`
    task, fidelity : labels; may be left out where there is one. For noise, the fidelity is that of the reading; a
        `MultiFidelityGP` means its last where none is given
    fixed : values of inputs that aren't free, such as of those that hold labels, in the units of the fit
    over : what is uncertain: "model" (f is known as far as the posterior goes; without it, f is its mean), "noise" (a
        reading is meant)
    scatter : of the inputs, free or fixed

    Raises
    ------
    DataError
        Unknown labels or inputs, no free input, a source that isn't one, values that aren't finite.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> x = np.linspace(0, 1, 12)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y")).fit(as_dataset(x, np.sin(6 * x), inputs=["x"]))
    >>> response = Response(fitted, scatter=Scatter({"x": 0.05}))
    >>> response.inputs, response.bounds()
    (('x',), Bounds(array([0.]), array([1.])))
    """

    fitted: FittedProcess
    _: KW_ONLY
    task: Label | None = None
    fidelity: Label | None = None
    fixed: Mapping[str, float | Label] = field(default_factory=dict)
    over: tuple[str, ...] = ("model",)
    scatter: Scatter | None = None

    def __post_init__(self) -> None:
        wrong = [source for source in self.over if source not in SOURCES]
        if isinstance(self.over, str) or wrong:
            raise DataError(f"over is {self.over!r}; name sources of uncertainty in a tuple, of {SOURCES}, or none: ()")
        _ = self._asked  # refuses what can't be asked
        names, categories = self.fitted.schema.inputs, self.fitted.vocabulary.categories
        for what, given in (("fixed", self.fixed), ("scatter", self.scatter.deviations if self.scatter else {})):
            for name in given:
                if name not in names:
                    raise DataError(f"{what} names {name!r}, which is no input; the model's inputs are {names}")
                if what == "scatter" and name in categories:
                    raise DataError(f"scatter names {name!r}, which holds labels; only numbers deviate")
        lacking = [name for name in categories if name not in self.fixed]
        if lacking:
            raise DataError(
                f"input {lacking[0]!r} holds labels, over which nothing can be differentiated; fix it, such as "
                f"fixed={{{lacking[0]!r}: {categories[lacking[0]][0]!r}}}"
            )
        if not self.inputs:
            raise DataError(f"all inputs {names} are fixed; leave one free")
        _ = self._template

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the free inputs, in the schema's order: the entries of x."""
        return tuple(name for name in self.fitted.schema.inputs if name not in self.fixed)

    @property
    def target(self) -> str:
        """Name of the output."""
        return self.fitted.schema.target

    def units(self, name: str) -> str | None:
        """Of an input or the target."""
        return self.fitted.vocabulary.units[name]

    def bounds(self) -> Bounds:
        """The box of all readings' free inputs."""
        return Bounds(self._asked.low[self._free], self._asked.high[self._free])

    def values(self, x: Floats, measures: Sequence[Measure]) -> list[Floats]:
        """Several measures, (n,) each, of Y at x (n, d)."""
        with torch.no_grad():
            parts = [torch.stack([m(mixture) for m in measures]) for _, mixture in self._mixtures(x)]
        return list(torch.cat(parts, dim=1).numpy())

    def values_and_slopes(self, x: Floats, measures: Sequence[Measure]) -> list[tuple[Floats, Floats]]:
        """The same with their gradients (n, d).

        Raises
        ------
        DataError
            If a measure has none: a probability where nothing is uncertain but the inputs.
        """
        values, slopes = np.empty((len(measures), len(x))), np.empty((len(measures), *x.shape))
        first = 0
        for places, mixture in self._mixtures(x, with_graph=True):
            rows = slice(first, first := first + len(places))
            for k, measure in enumerate(measures):
                value = self._differentiable(measure, mixture)
                (slope,) = torch.autograd.grad(value.sum(), places, retain_graph=True)
                values[k, rows], slopes[k, rows] = value.detach().numpy(), slope.numpy()
        return list(zip(values, slopes, strict=True))

    def hessian_products(self, x: Floats, measure: Measure, vectors: Floats) -> Floats:
        """Hessian (d, d) of a measure at x (d,) times vectors (k, d): (k, d).

        Raises
        ------
        DataError
            If the model has no second derivatives.
        """
        ((places, mixture),) = self._mixtures(x[None], with_graph=True)
        value = self._differentiable(measure, mixture)
        found: list[Tensor] = []
        (slope,) = torch.autograd.grad(value.sum(), places, create_graph=True)
        for v in vectors if slope.requires_grad else ():  # else it is linear in x
            found += torch.autograd.grad(
                slope, places, torch.from_numpy(v[None]), retain_graph=True, materialize_grads=True
            )
        return torch.cat(found).numpy() if found else np.zeros(vectors.shape)

    def checked(self, x: Any, *, many: bool = False) -> Floats:
        """x (d,), or (n, d) if `many`, as finite floats.

        Raises
        ------
        DataError
            If it isn't that.
        """
        d = len(self.inputs)
        wanted = f"(n, {d})" if many else f"({d},)"
        try:
            array = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"x can't be read as numbers ({error}); give an array {wanted} of {self.inputs}") from error
        if array.ndim != 1 + many or array.shape[-1] != d:
            raise DataError(f"x has shape {array.shape}; {wanted} is expected, of the inputs {self.inputs}")
        if not np.isfinite(array).all():
            name = self.inputs[int(np.argmin(np.isfinite(array).reshape(-1, d).all(axis=0)))]
            raise DataError(f"x holds a value of {name!r} that isn't finite; give numbers within the bounds")
        return array

    @cached_property
    def _asked(self) -> Asked:
        return ask(self.fitted, self.task, self.fidelity, noise="noise" in self.over)

    @cached_property
    def _free(self) -> NDArray[np.int64]:
        return np.array([self.fitted.schema.inputs.index(name) for name in self.inputs], dtype=np.int64)

    @cached_property
    def _template(self) -> Floats:
        """(all inputs,) the fixed ones' values, labels as their positions."""
        values = np.zeros(len(self.fitted.schema.inputs))
        for name, given in self.fixed.items():
            known = self.fitted.vocabulary.categories.get(name)
            if known is not None:
                if given not in known:
                    raise DataError(f"fixed[{name!r}] is {given!r}; the model knows {', '.join(map(repr, known))}")
                given = known.index(given)
            elif not is_number(given) or not np.isfinite(given):
                raise DataError(
                    f"fixed[{name!r}] is {given!r}; give a finite number, in {self.units(name) or 'the units of the fit'}"
                )
            values[self.fitted.schema.inputs.index(name)] = given
        return values

    @cached_property
    def _deviations(self) -> Tensor:
        """(N, all inputs)"""
        if self.scatter is None:
            return torch.zeros(1, len(self._template), dtype=torch.float64)
        return torch.from_numpy(self.scatter.values(tuple(self.fitted.schema.inputs)))

    @cached_property
    def _tails(self) -> tuple[Tensor, Tensor]:
        """Factors (q,) of the noise's variance, and their shares: one, or those that make Student's t of Gaussians."""
        nothing = [Moments(np.zeros(1), np.zeros(1))]
        parts, shares = with_tails(nothing, np.ones(1), np.ones(1), self._asked.degrees)
        return torch.tensor([part.variance[0] for part in parts]), torch.from_numpy(shares)

    @cached_property
    def _weights(self) -> Tensor:
        """(J,) over points, draws and tails, in this order."""
        N = len(self._deviations)
        weights = torch.full((N,), 1 / N, dtype=torch.float64)
        for has, more in (("model", self._asked.weights), ("noise", self._tails[1])):
            if has in self.over:
                weights = torch.kron(weights, more)
        return weights

    def _mixtures(self, x: Floats, *, with_graph: bool = False) -> Iterator[tuple[Tensor, Mixture]]:
        """Places (m, d) of x, so many at once as memory should hold, and Y there."""
        size = max(1, ENTRIES // (self._asked.width * len(self._deviations)))
        for rows in torch.split(torch.tensor(x), size):
            places = rows.requires_grad_() if with_graph else rows
            yield places, self._mixture(places)

    def _mixture(self, x: Tensor) -> Mixture:
        """Y at x (n, d)."""
        n, asked = len(x), self._asked
        full = torch.from_numpy(self._template).expand(n, -1).index_add(1, torch.from_numpy(self._free), x)
        rows = (full[:, None] + self._deviations).reshape(-1, full.shape[1])  # (n N, all inputs)
        mean, variance = asked.f(rows)
        if "model" not in self.over:
            mean = mean @ asked.weights[:, None]
            variance = torch.zeros_like(mean)
        if "noise" in self.over:
            extra = asked.noise(rows)[:, None] * self._tails[0]  # (n N, q)
            mean = mean[..., None].expand(*mean.shape, extra.shape[1])
            variance = variance[..., None] + extra[:, None]
        return Mixture(
            mean.reshape(n, -1), variance.reshape(n, -1), self._weights, asked.spread, asked.warp, not self.over
        )

    def _differentiable(self, measure: Measure, mixture: Mixture) -> Tensor:
        value = measure(mixture)
        if not value.requires_grad:
            raise DataError(
                f"{measure} of {self.target!r} jumps where neither the model nor a reading is uncertain, and has no "
                f"gradient; put 'model' or 'noise' into over"
            )
        return value
