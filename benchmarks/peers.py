"""Other libraries behind one signature: fit to inputs in the unit cube, then predict mean and standard deviation.

Each is used as its documentation recommends for this kind of data.  Install them with the extra `benchmarks`.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Prediction(NamedTuple):
    """Mean and standard deviation of the function (m,), and objective evaluations, where the library counts them."""

    mean: Floats
    std: Floats
    evaluations: int | None


class Predictor(Protocol):
    """A fitted peer."""

    def __call__(self, x: Floats, task: Integers) -> Prediction: ...


def botorch_multitask(
    x: Floats, y: Floats, task: Integers, *, variance: Floats | None = None, seconds: float | None = None
) -> Predictor:
    """BoTorch's MultiTaskGP with its defaults; with `variance` (n,), known noise; stopped after `seconds`."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import MultiTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    class Counted(ExactMarginalLogLikelihood):  # type: ignore[misc]
        """The marginal likelihood, counting its evaluations."""

        count = 0

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return super().forward(*args, **kwargs)

    def joined(x: Floats, task: Integers) -> torch.Tensor:
        return torch.from_numpy(np.column_stack([x, task.astype(np.float64)]))

    known = None if variance is None else torch.from_numpy(variance)[:, None]
    model = MultiTaskGP(joined(x, task), torch.from_numpy(y)[:, None], task_feature=-1, train_Yvar=known)
    likelihood = Counted(model.likelihood, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scaling advice, and that the time was up
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"timeout_sec": seconds} if seconds else None)

    def predict(x: Floats, task: Integers) -> Prediction:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posterior = model.posterior(joined(x, task))
            variance = posterior.variance.numpy()[:, 0]
            return Prediction(posterior.mean.numpy()[:, 0], np.sqrt(variance), likelihood.count)

    return predict


def scikit_learn_by_task(x: Floats, y: Floats, task: Integers, *, variance: Floats) -> Predictor:
    """scikit-learn's GaussianProcessRegressor on each task alone: known noise, Matern-5/2, three restarts."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    models = {}
    for t in np.unique(task):
        mine = task == t
        spread = float(y[mine].std())
        kernel = ConstantKernel(1.0) * Matern(np.full(x.shape[1], 0.5), (1e-2, 1e2), nu=2.5)
        model = GaussianProcessRegressor(
            kernel, alpha=variance[mine] / spread**2, normalize_y=True, n_restarts_optimizer=3, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters at their bounds
            models[t] = model.fit(x[mine], y[mine])

    def predict(x: Floats, task: Integers) -> Prediction:
        mean, std = np.empty(len(x)), np.empty(len(x))
        for t, model in models.items():
            mine = task == t
            mean[mine], std[mine] = model.predict(x[mine], return_std=True)
        return Prediction(mean, std, None)

    return predict


def smt_by_task(x: Floats, y: Floats, task: Integers, *, variance: Floats) -> Predictor:
    """SMT's Kriging on each task alone: linear trend, Matern-5/2, known noise of every reading."""
    from smt.surrogate_models import KRG

    models = {}
    for t in np.unique(task):
        mine = task == t
        model = KRG(
            poly="linear", corr="matern52", use_het_noise=True, noise0=variance[mine].tolist(), print_global=False
        )
        model.set_training_values(x[mine], y[mine])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.train()
        models[t] = model

    def predict(x: Floats, task: Integers) -> Prediction:
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for t, model in models.items():
            mine = task == t
            mean[mine] = model.predict_values(x[mine])[:, 0]
            variance[mine] = model.predict_variances(x[mine])[:, 0]
        return Prediction(mean, np.sqrt(np.maximum(variance, 1e-300)), None)

    return predict
