"""What is optimised over: a fitted surrogate's output as a random number at every design.

    Y(x) = f(x + δ) + e       f: posterior of the model,  δ: scatter of the inputs,  e: noise of a reading

Each of the three may be left out. Y is a mixture of Gaussians: over the draws of the hyper-parameters, and over points of a
scrambled Sobol' sequence that stand for δ, the same ones at every x (common random numbers), so that everything that follows
from Y is a smooth function of x with exact derivatives; how well the points stand for δ depends on their number alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds
from scipy.stats import norm, qmc
from torch import Tensor

from surrogates.errors import DataError
from surrogates.gp.outputs import with_tails
from surrogates.posterior import Moments, Slopes
from surrogates.schema import Label

from .asking import Asked, FittedGP, ask
from .measures import Measure
from .mixtures import Mixture

Floats = NDArray[np.float64]
SOURCES = ("model", "noise")


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
        if not isinstance(self.points, int) or self.points < 2 or self.points & (self.points - 1):
            raise DataError(f"points is {self.points!r}; a Sobol' sequence wants a power of two, such as 128")
        for name, given in self.deviations.items():
            if isinstance(given, int | float | np.number):
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
            distribution = norm(scale=given) if isinstance(given, int | float | np.number) else given
            found[:, inputs.index(name)] = distribution.ppf(column)
        if not np.isfinite(found).all():
            bad = inputs[int(np.argmin(np.isfinite(found).all(axis=0)))]
            raise DataError(f"the distribution of {bad!r} gives values that aren't finite; correct its parameters")
        return found


class Parts(NamedTuple):
    """A mixture's Gaussians at n places and their derivatives by the d free inputs: (n, J) and (n, J, d)."""

    moments: Moments
    slopes: Slopes


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

    fitted: FittedGP
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
        asked = self._asked  # refuses what can't be asked
        if "noise" in self.over and asked.noise is None:
            raise DataError("the model knows no noise of its readings; leave 'noise' out of over")
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

    def mixture(self, x: Floats) -> Mixture:
        """Y at x (n, d)."""
        return self._mixture(*map(torch.from_numpy, self._noisy(self._asked.moments(self._rows(x)), None, x).moments))

    def values(self, x: Floats, measures: Sequence[Measure]) -> list[Floats]:
        """Several measures, (n,) each, of Y at x (n, d)."""
        mixture = self.mixture(x)
        return [measure(mixture).numpy() for measure in measures]

    def values_and_slopes(self, x: Floats, measures: Sequence[Measure]) -> list[tuple[Floats, Floats]]:
        """The same with their gradients (n, d), by the chain rule over the mixture's moments.

        Raises
        ------
        DataError
            If a measure has none: a probability where nothing is uncertain but the inputs.
        """
        moments, slopes = self._asked.moments_and_slopes(self._rows(x))
        parts = self._noisy(moments, slopes, x)
        mean, variance = (torch.from_numpy(of).requires_grad_() for of in parts.moments)
        mixture, answer = self._mixture(mean, variance), []
        for measure in measures:
            value = measure(mixture)
            if not value.requires_grad:
                raise DataError(
                    f"{measure} of {self.target!r} jumps where neither the model nor a reading is uncertain, and has no "
                    f"gradient; put 'model' or 'noise' into over"
                )
            found = torch.autograd.grad(value.sum(), (mean, variance), allow_unused=True, retain_graph=True)
            gradient = np.zeros(x.shape)
            for of, slope in zip(found, parts.slopes, strict=True):
                if of is not None:
                    gradient += np.einsum("nj,njd->nd", of.numpy(), slope)
            answer.append((value.detach().numpy(), gradient))
        return answer

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
            elif not isinstance(given, int | float | np.number) or not np.isfinite(given):
                raise DataError(
                    f"fixed[{name!r}] is {given!r}; give a finite number, in {self.units(name) or 'the units of the fit'}"
                )
            values[self.fitted.schema.inputs.index(name)] = given
        return values

    @cached_property
    def _deviations(self) -> Floats:
        """(N, all inputs)"""
        if self.scatter is None:
            return np.zeros((1, len(self._template)))
        return self.scatter.values(self.fitted.schema.inputs)

    @cached_property
    def _shares(self) -> tuple[Floats, Floats]:
        """Factors (q,) of the noise's variance, and their shares: one, or those that make Student's t of Gaussians."""
        nothing = [Moments(np.zeros(1), np.zeros(1))]
        parts, shares = with_tails(nothing, np.ones(1), np.ones(1), self._asked.degrees)
        return np.array([part.variance[0] for part in parts]), shares

    @cached_property
    def _weights(self) -> Tensor:
        """(J,)"""
        N = len(self._deviations)
        draws = self._asked.weights if "model" in self.over else np.ones(1)
        weights = np.kron(np.full(N, 1 / N), draws)
        return torch.from_numpy(np.kron(weights, self._shares[1]) if "noise" in self.over else weights)

    def _rows(self, x: Floats) -> Floats:
        """All inputs (n N, ...) at which the model is asked."""
        full = np.repeat(self._template[None], len(x), axis=0)
        full[:, self._free] += x
        return np.asarray((full[:, None] + self._deviations).reshape(-1, full.shape[1]))

    def _noisy(self, moments: Moments, slopes: Slopes | None, x: Floats) -> Parts:
        """Gaussians (n, J) of Y from those of f (n N, k), with the noise where it counts."""
        n, asked = len(x), self._asked
        mean, variance = moments
        d_mean, d_variance = slopes if slopes is not None else (np.zeros((*mean.shape, 0)),) * 2
        if slopes is not None:
            d_mean, d_variance = d_mean[..., self._free], d_variance[..., self._free]
        if "model" not in self.over:
            # without a warp the mean's mixture has one part; with one, so has the median's
            mean, d_mean = mean @ asked.weights[:, None], np.einsum("mkd,k->md", d_mean, asked.weights)[:, None]
            variance, d_variance = np.zeros(mean.shape), np.zeros(d_mean.shape)
        if "noise" in self.over:
            noise = asked.noise_at(self._rows(x))
            factors = self._shares[0]
            mean, d_mean = (np.repeat(of, len(factors), axis=1) for of in (mean, d_mean))
            extra = noise.mean[:, None] * np.tile(factors, variance.shape[1])
            variance = np.repeat(variance, len(factors), axis=1) + extra
            if slopes is not None:
                slope = noise.variance[:, None, self._free] * np.tile(factors, d_variance.shape[1])[:, None]
                d_variance = np.repeat(d_variance, len(factors), axis=1) + slope
            else:
                d_variance = np.repeat(d_variance, len(factors), axis=1)
        shape = (n, -1)
        return Parts(
            Moments(mean.reshape(shape), variance.reshape(shape)),
            Slopes(*(of.reshape(n, -1, of.shape[-1]) if of.shape[-1] else of for of in (d_mean, d_variance))),
        )

    def _mixture(self, mean: Tensor, variance: Tensor) -> Mixture:
        output = self._asked.output
        return Mixture(mean, variance, self._weights, output.target.spread, output.warp, not self.over)
