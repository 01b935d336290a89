"""Methods for several fidelities behind one signature: a case in, mean and standard deviation of its precise level out.

Peers run as their documentation shows it for noise-free levels: with their defaults, else as said beside each.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from multi_fidelity_cases import Case, Floats


class Answer(NamedTuple):
    """Mean and standard deviation of the most precise level (m,), and seconds, where the method knows them better."""

    mean: Floats
    std: Floats
    seconds: float | None = None


#: A case, and the seconds that its fit may take (a hint: the main program enforces them on all but subprocesses)
Method = Callable[[Case, float], Answer]
STRUCTURES = ("auto", "ignore", "offset", "autoregressive", "coregional", "nonlinear")


def ours(case: Case, seconds: float, *, structure: str) -> Answer:
    """`MultiFidelityGP` with a structure."""
    from surrogates import MultiFidelityGP, Schema

    schema = Schema(inputs=case.inputs, target="y", fidelity="fidelity")
    model = MultiFidelityGP(schema, fidelities=case.levels, structure=structure, noise="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that cheap data do not help, for one, is the point of some cases
        answer = model.fit(case.data).predict(case.places)
    return Answer(answer["mean"].to_numpy(), answer["std"].to_numpy())


def smt(case: Case, seconds: float, *, name: str) -> Answer:
    """SMT's MFK (recursive co-kriging) or MFCK (joint co-kriging).

    MFCK's `predict_variances` leaves out the values' scale (SMT 2.15), `predict_variances_all_levels` doesn't.
    """
    from smt import applications

    d = len(case.inputs)
    model = getattr(applications, name)(theta0=[1e-2] * d, print_global=False)
    for k, (x, y) in enumerate(zip(case.x[:-1], case.y[:-1], strict=True)):
        model.set_training_values(x, y, name=k)
    model.set_training_values(case.x[-1], case.y[-1])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model.train()
        mean = model.predict_values(case.at)[:, 0]
        if name == "MFCK":
            variance = model.predict_variances_all_levels(case.at)[:, -1]
        else:
            variance = model.predict_variances(case.at)[:, 0]
        return Answer(mean, np.sqrt(np.maximum(variance, 0.0)))


def botorch(case: Case, seconds: float, *, name: str) -> Answer:
    """BoTorch's MultiTaskGP (levels are tasks), or SingleTaskMultiFidelityGP (levels are numbers 1/L, 2/L, .. 1)."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import MultiTaskGP, SingleTaskMultiFidelityGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    levels = len(case.levels)
    label = [float(k) if name == "MultiTaskGP" else (k + 1) / levels for k in range(levels)]

    def joined(x: Floats, k: int) -> Floats:
        return np.column_stack([x, np.full(len(x), label[k])])

    x = torch.from_numpy(np.concatenate([joined(part, k) for k, part in enumerate(case.x)]))
    y = torch.from_numpy(np.concatenate(case.y))[:, None]
    with warnings.catch_warnings(), torch.random.fork_rng():
        torch.manual_seed(case.seed)
        warnings.simplefilter("ignore")  # scaling advice, and that the time was up
        if name == "MultiTaskGP":
            model = MultiTaskGP(x, y, task_feature=-1, output_tasks=[levels - 1])
        else:
            model = SingleTaskMultiFidelityGP(x, y, data_fidelities=[x.shape[1] - 1])
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"timeout_sec": seconds / 4})  # and goes on with what it has
        with torch.no_grad():
            at = case.at if name == "MultiTaskGP" else joined(case.at, levels - 1)
            posterior = model.posterior(torch.from_numpy(at))
            return Answer(posterior.mean.numpy()[:, 0], posterior.variance.numpy()[:, 0] ** 0.5)


def emukit(case: Case, seconds: float, *, name: str, python: str) -> Answer:
    """emukit's linear or nonlinear model, in an environment of its own that has it; `python` is the interpreter there."""
    script = Path(__file__).parent / "multi_fidelity_emukit.py"
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.npz", Path(folder) / "answered.npz"
        arrays: dict[str, Any] = {"at": case.at, "seed": case.seed, "levels": len(case.levels)}
        arrays |= {f"x{k}": x for k, x in enumerate(case.x)} | {f"y{k}": y for k, y in enumerate(case.y)}
        np.savez(asked, **arrays)
        try:
            subprocess.run(
                [python, str(script), name, str(asked), str(answered)],
                env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": ""},
                check=True,
                capture_output=True,
                timeout=seconds,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(error.stderr.strip().splitlines()[-1]) from None
        answer = np.load(answered)
        return Answer(answer["mean"], answer["std"], float(answer["seconds"]))


def methods(emukit_python: str | None = None) -> dict[str, Method]:
    """All methods by name, quick peers first; emukit's only where an interpreter that has it is known."""
    peers: dict[str, Method] = {
        "SMT MFK": partial(smt, name="MFK"),
        "BoTorch MultiTaskGP": partial(botorch, name="MultiTaskGP"),
        "BoTorch SingleTaskMultiFidelityGP": partial(botorch, name="SingleTaskMultiFidelityGP"),
        "SMT MFCK": partial(smt, name="MFCK"),
    }
    if emukit_python is not None:
        for name in ("linear", "nonlinear"):
            peers[f"emukit {name}"] = partial(emukit, name=name, python=emukit_python)
    return {f"ours:{name}": partial(ours, structure=name) for name in STRUCTURES} | peers


def versions() -> str:
    """Of the peers in this environment."""
    return ", ".join(f"{name} {version(name)}" for name in ("smt", "botorch", "gpytorch"))
