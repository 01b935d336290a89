"""A fitted surrogate as an objective of `scipy.optimize`: value, exact gradient, Hessian; and as a constraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import BFGS, Bounds, NonlinearConstraint

from surrogates.errors import DataError
from surrogates.gp.differentiable import FittedProcess

from .measures import Mean, Measure, Quantile, check_limits, check_probability
from .response import Response

Floats = NDArray[np.float64]
#: bounds by input, or of all inputs in their order
Box: TypeAlias = Bounds | Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Objective:
    """A measure of a response, as a function of x (d,); made by `objective`.

    response : what is looked at; measure : which number of it
    maximize : whether signs are turned, so that minimising is maximising
    bounds : of x, for `scipy.optimize.minimize`
    """

    response: Response
    measure: Measure
    maximize: bool
    bounds: Bounds

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the entries of x are."""
        return self.response.inputs

    def __call__(self, x: ArrayLike) -> float:
        """Value at x (d,), to be minimised."""
        return float(self.values(self.response.checked(x)[None])[0])

    def jac(self, x: ArrayLike) -> Floats:
        """Gradient (d,) at x (d,)."""
        return self.value_and_jac(x)[1]

    def value_and_jac(self, x: ArrayLike) -> tuple[float, Floats]:
        """Both at once, which costs as much as the gradient alone: for ``minimize(..., jac=True)``."""
        values, gradients = self.values_and_jacs(self.response.checked(x)[None])
        return float(values[0]), gradients[0]

    def hessp(self, x: ArrayLike, p: ArrayLike) -> Floats:
        """Hessian at x (d,) times a vector p (d,), without the Hessian.

        Raises
        ------
        DataError
            If the model has no second derivatives: with a warp, noise that varies with the place, more than 3,000 rows or
            kernels that aren't stationary.
        """
        found: Floats = self._products(x, np.asarray(p, dtype=np.float64)[None])[0]
        return found

    def hess(self, x: ArrayLike) -> Floats:
        """Hessian (d, d) at x (d,); as `hessp` else."""
        H = self._products(x, np.eye(len(self.inputs)))
        return 0.5 * (H + H.T)

    def values(self, x: ArrayLike) -> Floats:
        """Values (n,) at x (n, d)."""
        return self._sign * self.measured(x)

    def values_and_jacs(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """Values (n,) and gradients (n, d) at x (n, d)."""
        values, gradients = self.measured_with_slopes(x)
        return self._sign * values, self._sign * gradients

    def measured(self, x: ArrayLike) -> Floats:
        """The measure itself (n,) at x (n, d), whether it is to be small or large."""
        return self.response.values(self.response.checked(x, many=True), [self.measure])[0]

    def measured_with_slopes(self, x: ArrayLike) -> tuple[Floats, Floats]:
        """The measure itself (n,), and its gradients (n, d)."""
        return self.response.values_and_slopes(self.response.checked(x, many=True), [self.measure])[0]

    def constraint(self, *, at_least: float | None = None, at_most: float | None = None) -> NonlinearConstraint:
        """Limits to the measure, for `scipy.optimize.minimize`; `maximize` turns no sign here.

        It comes with a quasi-Newton Hessian, since SLSQP and COBYLA warn of any other. "trust-constr" takes the exact one:
        ``constraint.hess = lambda x, v: v[0] * objective.hess(x)``.

        Raises
        ------
        DataError
            If there is no limit, or both exclude each other.
        """
        check_limits(at_least, at_most)
        plain = Objective(self.response, self.measure, False, self.bounds)
        low = -np.inf if at_least is None else float(at_least)
        high = np.inf if at_most is None else float(at_most)
        return NonlinearConstraint(plain, low, high, jac=plain.jac, hess=BFGS())

    def _products(self, x: ArrayLike, vectors: Floats) -> Floats:
        x = self.response.checked(x)
        if vectors.shape[1:] != x.shape:
            raise DataError(f"the vector has shape {vectors.shape[1:]}; {x.shape} is expected, as x has")
        return self._sign * self.response.hessian_products(x, self.measure, vectors)

    @property
    def _sign(self) -> float:
        return -1.0 if self.maximize else 1.0


def objective(
    of: Response | FittedProcess, measure: Measure | None = None, *, maximize: bool = False, bounds: Box | None = None
) -> Objective:
    """A fitted surrogate, or a `Response` of it, as an objective for `scipy.optimize.minimize`.

    Parameters
    ----------
    of : a fitted model with one task and numbers as inputs; or a `Response`, which names task and fidelity, fixes inputs
        and says what is uncertain
    measure : `Mean` by default; `Std`, `Quantile`, `CVaR` or `Probability`
    maximize : whether large values are wanted. It turns the sign and nothing else: a cautious maximum is that of
        ``Mean(k_std=-2)``, ``Quantile(0.1)`` or ``CVaR(0.9, tail="lower")``
    bounds : the box of all readings by default; by input, in the units of the fit, where it is to be another one; or
        scipy's, of all inputs in their order

    Returns
    -------
    Objective : x (d,) in the units of the fit, in the order of its ``inputs`` -> float; with ``jac``, ``value_and_jac``,
        ``hessp``, ``hess``, ``bounds`` and, for many x at once, ``values`` and ``values_and_jacs``

    Raises
    ------
    DataError
        Unknown labels, bounds that aren't ones, what can't be differentiated.

    Notes
    -----
    With known noise, f is what the model says beside a place that was read: at the place itself it may jump by what the
    kernel doesn't resolve (the nugget).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import minimize
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> x = np.linspace(0, 1, 12)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y")).fit(as_dataset(x, (x - 0.3) ** 2, inputs=["x"]))
    >>> least = objective(fitted)
    >>> found = minimize(least.value_and_jac, [0.8], jac=True, bounds=least.bounds)
    >>> round(float(found.x[0]), 3)
    0.3
    """
    response = of if isinstance(of, Response) else Response(of)
    chosen: Measure = Mean() if measure is None else measure
    if not callable(chosen) or isinstance(chosen, type):
        raise DataError(f"measure is {measure!r}; give one such as Mean(), Quantile(0.9) or CVaR(0.9)")
    return Objective(response, chosen, maximize, _bounds(response, bounds))


def chance_constraint(
    of: Response | FittedProcess, *, probability: float, at_least: float | None = None, at_most: float | None = None
) -> NonlinearConstraint:
    """P(Y >= at_least) >= probability, or P(Y <= at_most) >= probability, for `scipy.optimize.minimize`.

    It is stated by the quantile of Y, which has to keep the limit: P(Y <= c) >= p if and only if the quantile p is at most
    c. That is exact for the whole mixture (over hyper-parameters, and scattered inputs), in the target's units, and has a
    slope everywhere, where the probability itself is flat far from the limit, so that an optimiser would be lost.

    Parameters
    ----------
    of : a fitted model, or a `Response`; with ``over=("model", "noise")`` the limit is one for readings
    probability : with which the limit has to be kept
    at_least, at_most : one of both. For two limits, state two constraints, each with a share of the risk

    Raises
    ------
    DataError
        If the probability isn't between 0 and 1, or not exactly one limit is given.
    """
    check_probability("probability", probability)
    if (at_least is None) == (at_most is None):
        raise DataError(
            f"at_least={at_least!r} and at_most={at_most!r}; give one of them: two limits are two constraints, with a "
            f"share of the risk each"
        )
    check_limits(at_least, at_most)
    q = probability if at_least is None else 1 - probability
    return objective(of, Quantile(q)).constraint(at_least=at_least, at_most=at_most)


def _bounds(response: Response, given: Box | None) -> Bounds:
    """The data's box, with what is given instead."""
    data, names = response.bounds(), response.inputs
    low, high = np.array(data.lb, dtype=np.float64), np.array(data.ub, dtype=np.float64)
    if isinstance(given, Bounds):
        low, high = (_ends(end, names) for end in (given.lb, given.ub))
    elif isinstance(given, Mapping):
        for name, pair in given.items():
            if name not in names:
                raise DataError(f"bounds name {name!r}, which isn't among the free inputs {names}")
            low[names.index(name)], high[names.index(name)] = _pair(name, pair)
    elif given is not None:
        raise DataError(f"bounds are a {type(given).__name__}; give {{input: (low, high)}} or scipy.optimize.Bounds")
    for name, a, b in zip(names, low, high, strict=True):
        if np.isnan(a) or np.isnan(b) or a > b:
            raise DataError(f"bounds of {name!r} are ({a:g}, {b:g}); the lower one must not exceed the upper one")
    return Bounds(low, high)


def _ends(end: Any, names: Sequence[str]) -> Floats:
    values = np.asarray(end, dtype=np.float64)
    if values.shape not in ((), (1,), (len(names),)):
        raise DataError(f"bounds have shape {values.shape}; ({len(names)},) is expected, for the inputs {tuple(names)}")
    return np.array(np.broadcast_to(values, (len(names),)))


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in pair)
    except (TypeError, ValueError) as error:
        raise DataError(f"bounds of {name!r} are {pair!r}; give two numbers (low, high)") from error
    return low, high
