"""Sobol indices in closed form against SALib on the same fit, and how many likelihoods a second calibration takes.

    python benchmarks/design_sensitivity.py

One BLAS thread. The indices are those of the posterior mean, so that both roads have the same answer: the closed form's,
which the tests compare with quadrature to 1e-8. SALib asks `predict`, as a user would. Needs the extra `design`; some three
minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from SALib.analyze import sobol as analysis
from SALib.sample import sobol as sampling
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset
from surrogates.design import calibrate, sobol_indices

Floats = NDArray[np.float64]
SAMPLES = (1024, 4096, 16384)


def ishigami(u: Floats) -> Floats:
    x = (2 * u - 1) * np.pi
    return np.asarray(np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))


def g_function(u: Floats) -> Floats:
    a = np.array([0.0, 1.0, 4.5, 9.0, 99.0, 99.0])
    return np.asarray(np.prod((abs(4 * u - 2) + a) / (1 + a), axis=1))


def fit(function: Callable[[Floats], Floats], d: int, n: int) -> FittedHierarchicalGP:
    u = qmc.Sobol(d, seed=0).random(n)
    names = [f"x{k}" for k in range(d)]
    y = function(u)
    y = y + 0.03 * y.std() * np.random.default_rng(0).standard_normal(n)
    return HierarchicalGP(Schema(inputs=names, target="y"), kernel="rbf").fit(as_dataset(u, y, inputs=names))


def by_salib(fitted: FittedHierarchicalGP, samples: int) -> tuple[Floats, Floats]:
    """First-order and total indices of the mean."""
    names = list(fitted.schema.inputs)
    problem = {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}
    x = sampling.sample(problem, samples, calc_second_order=False, seed=1)
    y = fitted.predict(as_dataset(x, inputs=names))["mean"].values
    found = analysis.analyze(problem, y, calc_second_order=False, seed=1, num_resamples=2)
    return found["S1"], found["ST"]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = call()
    return time.perf_counter() - began, answer


def indices(name: str, function: Callable[[Floats], Floats], d: int, n: int) -> None:
    fitted = fit(function, d, n)
    laws = dict.fromkeys(fitted.schema.inputs, (0, 1))
    sobol_indices(fitted, distributions=laws, draws=0)  # posteriors are made at the first question
    seconds, exact = timed(lambda: sobol_indices(fitted, distributions=laws, draws=0))
    with_draws, _ = timed(lambda: sobol_indices(fitted, distributions=laws, draws=128))
    print(f"\n{name}: {d} inputs, {n} readings, {len(fitted.core.weights)} draws of hyper-parameters")
    print(f"  {'closed form, expectations and mean':44} {seconds:8.2f} s   error below 1e-8")
    print(f"  {'closed form, with 128 draws of the function':44} {with_draws:8.2f} s")
    for samples in SAMPLES:
        seconds, found = timed(partial(by_salib, fitted, samples))
        wanted = exact["first_order_of_mean"].values, exact["total_of_mean"].values
        error = max(float(abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
        text = f"SALib of the mean, {samples * (d + 2)} predictions"
        print(f"  {text:44} {seconds:8.2f} s   error {error:.1e}")
    seconds, _ = timed(lambda: sobol_indices(fitted, distributions=laws, draws=128, method="sampling"))
    print(f"  {'method=sampling, with 128 draws':44} {seconds:8.2f} s")


def calibrations() -> None:
    generator = np.random.default_rng(0)
    fitted = fit(ishigami, 3, 64)
    u = np.array([0.3, 0.6, 0.4])
    for readings, unknown in ((1, 1), (1, 3), (8, 2)):
        known = [f"x{k}" for k in range(unknown, 3)]
        table = {name: ("n", np.full(readings, u[int(name[1])])) for name in known}
        if readings > 1:
            table["x2"] = ("n", np.linspace(0, 1, readings))
        x = np.tile(u, (readings, 1))
        for name, (_, column) in table.items():
            x[:, int(name[1])] = column
        y = ishigami(x) + 0.3 * generator.standard_normal(readings)
        observed = xr.Dataset({"y": ("n", y), **table})
        seconds, found = timed(partial(calibrate, fitted, observed, std=0.3))
        attrs = found.attrs
        print(
            f"  {readings} readings, {unknown} unknown: {seconds:6.1f} s, {attrs['evaluations']:6d} likelihoods, "
            f"{attrs['evaluations'] / seconds:6.0f} a second, {attrs['effective_draws']:5.0f} effective draws, "
            f"r_hat {float(found['r_hat'].max()):.3f}"
        )


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with threadpool_limits(1):
        indices("Ishigami", ishigami, 3, 128)
        indices("Sobol' g", g_function, 6, 128)
        print(f"\nCalibration on Ishigami, 64 readings, mixture of {len(fit(ishigami, 3, 64).core.weights)} draws")
        calibrations()


if __name__ == "__main__":
    main()
