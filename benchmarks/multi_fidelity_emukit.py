"""emukit's models for several fidelities, by an interpreter that has emukit and needn't have anything of ours.

    python multi_fidelity_emukit.py linear|nonlinear ASKED.npz ANSWERED.npz

As emukit's tutorial has it: squared exponential kernels, no noise, five restarts; a length-scale for each input, where the
tutorial has one input, and one common scaling of the levels' values, which emukit leaves to its user.
"""

from __future__ import annotations

import sys
import time

import GPy
import numpy as np
from emukit.model_wrappers.gpy_model_wrappers import GPyMultiOutputWrapper
from emukit.multi_fidelity.convert_lists_to_array import convert_x_list_to_array, convert_xy_lists_to_arrays
from emukit.multi_fidelity.kernels import LinearMultiFidelityKernel
from emukit.multi_fidelity.models import GPyLinearMultiFidelityModel
from emukit.multi_fidelity.models.non_linear_multi_fidelity_model import (
    NonLinearMultiFidelityModel,
    make_non_linear_kernels,
)

RESTARTS = 5


def main(name: str, asked: str, answered: str) -> None:
    """Fit to the file's levels, predict the last one."""
    file = np.load(asked)
    levels = int(file["levels"])
    x = [file[f"x{k}"] for k in range(levels)]
    y = [file[f"y{k}"][:, None] for k in range(levels)]
    centre, scale = y[-1].mean(), y[-1].std()
    began = time.process_time()
    X, Y = convert_xy_lists_to_arrays(x, [(part - centre) / scale for part in y])
    d = x[0].shape[1]
    np.random.seed(int(file["seed"]))  # noqa: NPY002 - GPy draws its restarts from the global generator
    if name == "linear":
        kernel = LinearMultiFidelityKernel([GPy.kern.RBF(d, ARD=True) for _ in range(levels)])
        inner = GPyLinearMultiFidelityModel(X, Y, kernel, n_fidelities=levels)
        for k in range(levels):
            getattr(inner.mixed_noise, "Gaussian_noise" + (f"_{k}" if k else "")).fix(0)
        model = GPyMultiOutputWrapper(inner, levels, n_optimization_restarts=RESTARTS, verbose_optimization=False)
    else:
        kernels = make_non_linear_kernels(GPy.kern.RBF, levels, d, ARD=True)
        model = NonLinearMultiFidelityModel(X, Y, levels, kernels, verbose=False, optimization_restarts=RESTARTS)
        for part in model.models:
            part.Gaussian_noise.variance.fix(0)
    model.optimize()
    places = convert_x_list_to_array([file["at"]] * levels)[-len(file["at"]) :]
    mean, variance = model.predict(places)
    seconds = np.array(time.process_time() - began)
    std = scale * np.sqrt(np.maximum(variance[:, 0], 0))
    np.savez(answered, mean=centre + scale * mean[:, 0], std=std, seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
