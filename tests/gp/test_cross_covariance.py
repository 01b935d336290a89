"""Covariances between two sets of places are a block of the joint covariance of both, whatever the process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from differentiable_models import CASES
from differentiable_models import places as places_of
from tables import GAUGED, NOISY, observed

from surrogates import HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.gp.by_draw import ByDraw, by_draw
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP

LIMIT = 1e-9


def check(model: ByDraw, inputs: int) -> None:
    """Some places are read, some are in both sets, and each set is once the larger one."""
    rng = np.random.default_rng(0)
    read, code, _ = model._read()
    codes = np.unique(code)
    for m, j in ((7, 4), (3, 8)):
        x, z = rng.uniform(-0.5, 0.5, (m, inputs)), rng.uniform(-0.5, 0.5, (j, inputs))
        task, other = rng.choice(codes, m), rng.choice(codes, j)
        x[0], task[0] = read[1], code[1]
        z[0], other[0] = x[1], task[1]
        z[1], other[1] = read[1], code[1]
        for process in model.processes[:3]:
            joint = process.covariance(np.concatenate([x, z]), np.concatenate([task, other]))
            found = process.cross_covariance(x, task, z, other)
            np.testing.assert_allclose(found, joint[:m, m:], rtol=0, atol=LIMIT * np.abs(joint).max())


@pytest.mark.filterwarnings("ignore:at their bounds")
@pytest.mark.parametrize("name", [name for name in CASES if name != "all structures"])
def test_it_is_a_block_of_the_joint_covariance(name: str) -> None:
    check(by_draw(CASES[name]().fitted), 2)


@pytest.mark.parametrize("sharing", ["niw", "robust", "two-kernels"])
def test_of_other_hierarchies_too(sharing: str) -> None:
    check(by_draw(HierarchicalGP(GAUGED, sharing=sharing).fit(observed(16))), 1)


def test_with_a_nugget_and_with_common_places() -> None:
    data = observed(16).assign(s=("sample", np.full(16, 0.05)))
    check(by_draw(HierarchicalGP(NOISY).fit(data)), 1)
    check(by_draw(HierarchicalGP(GAUGED, solver="inducing", inducing=16).fit(observed(16))), 1)


def test_in_the_targets_units_it_is_what_covariance_gives() -> None:
    for name in ("coregional", "known noise"):
        case = CASES[name]()
        model = by_draw(case.fitted)
        at = places_of(case)[2]
        places = model.places(at)
        mean = np.stack([model.moments(k, places).mean for k in range(len(model.weights))])
        centre = model.weights @ mean
        total = sum(
            w * (model.cross_covariance(k, places, places) + np.outer(mean[k] - centre, mean[k] - centre))
            for k, w in enumerate(model.weights)
        )
        wanted = case.fitted.covariance(at).to_numpy()
        np.testing.assert_allclose(total, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
        assert isinstance(case.fitted, FittedMultiFidelityGP) == (name == "coregional")


@pytest.mark.parametrize("noise", ["known", "fidelity"])
def test_noise_of_readings_to_come_is_what_update_would_give_them(noise: str) -> None:
    """Learnt noise is learnt for candidates too, whatever they say; and exact ones get what stands for zero."""
    x = np.concatenate([np.linspace(0, 1, 9), np.linspace(0, 1, 5)])
    data = as_dataset(x, np.sin(6 * x), inputs="x", fidelity=np.repeat(["coarse", "fine"], [9, 5]))
    data = data.assign(s=("sample", np.zeros(14)))
    schema = Schema("x", "y", fidelity="fidelity", noise="s")
    settings: dict[str, Any] = {"structure": "coregional", "kernel": "rbf", "trend": "constant", "integrate": False}
    fitted = MultiFidelityGP(schema, ["coarse", "fine"], noise=noise, **settings).fit(data)
    at = data.isel(sample=[0, -1])
    model = by_draw(fitted)
    spread = np.array([target.spread for target in fitted.levels.targets])
    zero = fitted.jitter_by_draw()[:, None] if noise == "known" else fitted.noise_by_draw()
    np.testing.assert_allclose(model.places(at).noise, zero * spread**2)
    assert (zero > 0).all()
    given = model.places(at.assign(s=at["s"] + 0.5)).noise
    np.testing.assert_allclose(given, 0.25 if noise == "known" else zero * spread**2)
    assert model.places(at).exact.all() == (noise == "known")
