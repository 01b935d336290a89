"""What Sobol indices are made of: laws and their points, waves, draws as functions, sums of products."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.special import erf

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design.laws import Input, make_inputs
from surrogates.design.sensitivity.closed import _mean_variances, closed_variances, make_posteriors
from surrogates.design.sensitivity.factors import LabelFactor, PeriodicFactor, SmoothFactor
from surrogates.design.sensitivity.inside import look_inside
from surrogates.design.sensitivity.paths import draw_paths
from surrogates.design.sensitivity.products import Products, tensor, tensor_variance
from surrogates.gp.kernels import KERNELS
from surrogates.gp.terms import Categorical, Periodic, Smooth

Floats = NDArray[np.float64]


@given(
    l=st.floats(0.02, 30.0),
    a=st.floats(-0.2, 1.2),
    b=st.floats(-0.2, 1.2),
    low=st.floats(-1, 0),
    width=st.floats(0.3, 2),
)
@settings(max_examples=60, deadline=None)
def test_uniform_points_integrate_rbf_as_the_error_function_does(
    l: float, a: float, b: float, low: float, width: float
) -> None:
    x, w = Input("x", stats.uniform(low, width)).nodes(l, np.zeros(0))
    high = low + width
    f, g = np.exp(-0.5 * ((x - a) / l) ** 2), np.exp(-0.5 * ((x - b) / l) ** 2)
    one = l * math.sqrt(math.pi / 2) * (erf((high - a) / l / math.sqrt(2)) - erf((low - a) / l / math.sqrt(2))) / width
    middle = 0.5 * (a + b)
    two = math.exp(-((a - b) ** 2) / (4 * l**2)) * l * math.sqrt(math.pi) / 2
    two *= (erf((high - middle) / l) - erf((low - middle) / l)) / width
    assert w @ f == pytest.approx(one, abs=1e-13)
    assert w @ (f * g) == pytest.approx(two, abs=1e-13)


@given(l=st.floats(0.05, 30.0), a=st.floats(-2, 2), mean=st.floats(-1, 1), std=st.floats(0.05, 2))
@settings(max_examples=60, deadline=None)
def test_normal_points_integrate_rbf(l: float, a: float, mean: float, std: float) -> None:
    x, w = Input("x", stats.norm(mean, std)).nodes(l, np.zeros(0))
    s2 = l**2 + std**2
    wanted = l / math.sqrt(s2) * math.exp(-0.5 * (mean - a) ** 2 / s2)  # of two Gaussians' product
    assert w @ np.exp(-0.5 * ((x - a) / l) ** 2) == pytest.approx(wanted, abs=1e-13)
    assert w @ x**2 == pytest.approx(mean**2 + std**2, rel=1e-12)


@pytest.mark.parametrize("law", [stats.triang(0.3), stats.beta(2, 5), stats.truncnorm(-1, 2), stats.lognorm(0.5)])
def test_other_laws(law: Any) -> None:
    x, w = Input("x", law).nodes(0.5, np.zeros(0))
    assert w.sum() == pytest.approx(1)
    assert w @ x == pytest.approx(law.mean(), rel=1e-5)
    assert w @ np.exp(-x) == pytest.approx(law.expect(lambda v: np.exp(-v)), rel=1e-5)


def test_labels_have_probabilities() -> None:
    (one,) = make_inputs(("m",), {"m": {"iron": 3, "zinc": 1}}, {}, {"m": ("gold", "iron", "zinc")})
    assert one.nodes(1.0, np.zeros(0))[1].tolist() == [0.75, 0.25]
    assert one.quantile(np.array([0.0, 0.74, 0.76, 0.999])).tolist() == [1.0, 1.0, 2.0, 2.0]
    for given_, words in (
        ({"lead": 1}, "unknown m 'lead'"),
        ({"iron": -1.0}, "must be at least zero"),
        ((0, 1), "holds labels"),
    ):
        with pytest.raises(ValueError, match=words):
            make_inputs(("m",), {"m": given_}, {}, {"m": ("gold", "iron")})
    with pytest.raises(ValueError, match="the range of 'x' isn't known"):
        make_inputs(("x",), None, {}, {})


@pytest.mark.parametrize("kind", ["rbf", "matern52", "matern32", "matern12"])
def test_waves_of_smooth_factors_average_to_the_kernel(kind: str) -> None:
    factor = SmoothFactor(kind, (0, 1), (0.5, 2.0))
    x = np.random.default_rng(1).random((6, 2)) * 2
    first, second = factor.waves(100_000, np.random.default_rng(0))
    v = first(x[:, 0]) * second(x[:, 1])
    found = (v.T @ v.conj()) / 100_000
    np.testing.assert_allclose(found, KERNELS[kind].pair(x, x, np.array([0.5, 2.0]))[0], atol=0.015)
    np.testing.assert_allclose(abs(v), 1.0)


@pytest.mark.parametrize(
    ("factor", "x"),
    [(PeriodicFactor(0, 0.7, 0.4), [0.0, 0.1, 0.2, 0.33, 0.8]), (LabelFactor(0, 0.3, 2.0), [-0.5, 0.0, 0.5, 0.0])],
)
def test_waves_of_other_factors(factor: Any, x: list[float]) -> None:
    v = factor.waves(100_000, np.random.default_rng(0))[0](np.array(x))
    np.testing.assert_allclose((v.T @ v.conj()) / 100_000, factor.table(np.array(x), np.array(x)), atol=0.015)


def some_fit(kernel: Any) -> Any:
    generator = np.random.default_rng(2)
    n = 14
    data = xr.Dataset(
        {
            "x": ("s", generator.random(n)),
            "z": ("s", generator.random(n)),
            "m": ("s", generator.choice(["p", "q"], n)),
            "task": ("s", ["s", "t"] * 7),
            "y": ("s", generator.standard_normal(n)),
        }
    )
    inputs = ("x", "z", "m") if not isinstance(kernel, str) else ("x", "z")
    return HierarchicalGP(Schema(inputs=inputs, target="y", task="task"), kernel=kernel, integrate=False).fit(data)


@pytest.mark.parametrize(
    "kernel", ["rbf", "matern32", Smooth(("x", "z")) * Categorical("m") + Periodic("x", 0.4)], ids=str
)
@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_draws_that_are_functions_have_the_posterior_s_moments(kernel: Any) -> None:
    fitted = some_fit(kernel)
    inside = look_inside(fitted, "t", None)
    assert inside is not None
    d = len(fitted.schema.inputs)
    x = np.array(list(itertools.product([0.1, 0.9], [0.3, 0.8], [0, 1])), dtype=np.float64)[:, :d]
    data: dict[str, Any] = {"x": ("s", x[:, 0]), "z": ("s", x[:, 1]), "task": ("s", ["t"] * len(x))}
    if d == 3:
        data["m"] = ("s", np.array(["p", "q"])[x[:, 2].astype(int)])
    at = xr.Dataset(data)
    generator, found = np.random.default_rng(0), []
    for _ in range(300):
        paths = draw_paths(inside.processes[0], inside.task, inside.parts[0], 20, generator)
        found.append(inside.value(paths(inside.scaling(x))))
    draws = np.concatenate(found, axis=1)
    C = fitted.covariance(at).values
    scale = np.sqrt(np.diag(C))
    # 300 sets, within which waves are shared: some 2000 draws that are independent
    np.testing.assert_allclose(draws.mean(axis=1), fitted.predict(at)["mean"], atol=float(5 * scale.max() / 2000**0.5))
    np.testing.assert_allclose(np.cov(draws) / np.outer(scale, scale), C / np.outer(scale, scale), atol=0.15)
    np.testing.assert_allclose(inside.mean(x), fitted.predict(at)["mean"], rtol=1e-10, atol=1e-12)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), count=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_sums_of_products_by_tensor_and_by_grams_and_by_definition(sizes: list[int], count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    tables = tuple(generator.standard_normal((count, m)) for m in sizes)
    weights = tuple(w / w.sum() for w in (generator.random(m) + 0.1 for m in sizes))
    products, c = Products(tables, weights), generator.standard_normal(count)
    letters = "ijkl"[: len(sizes)]
    f = np.einsum(",".join(["a", *("a" + k for k in letters)]) + "->" + letters, c, *tables)
    joint = np.einsum(",".join(letters) + "->" + letters, *weights)
    mean = float((joint * f).sum())
    made = tensor(products, c)
    assert made is not None
    for size in range(len(sizes) + 1):
        for S in itertools.combinations(range(len(sizes)), size):
            kept = f
            for k in sorted(set(range(len(sizes))) - set(S), reverse=True):
                kept = np.tensordot(kept, weights[k], (k, 0))
            own = np.einsum(",".join("ijkl"[:size]) + "->" + "ijkl"[:size], *(weights[k] for k in S)) if S else 1.0
            wanted = float((own * (kept - mean) ** 2).sum())
            by_gram = c @ products.crossed(products, S) @ c - mean**2
            assert tensor_variance(*made, S) == pytest.approx(wanted, abs=1e-10)
            assert by_gram == pytest.approx(wanted, abs=1e-10)
            if len(S) == 1:
                assert products.main_variances(c[:, None])[S[0], 0] == pytest.approx(wanted, abs=1e-10)
    assert _mean_variances(products, c, [(0,)])[0] >= 0


def test_draws_meet_the_expectations() -> None:
    """E V_S in closed form, and the mean of V_S over draws: both of functions that the data leave rather open."""
    x = np.random.default_rng(5).random((10, 2))
    data = as_dataset(x, np.sin(4 * x[:, 0]) * x[:, 1] + x[:, 0], inputs=("a", "b"))
    model = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel="rbf", noise="none", trend="constant")
    inside = look_inside(model.fit(data), None, None)
    assert inside is not None
    laws = make_inputs(("a", "b"), dict.fromkeys(("a", "b"), (0.0, 1.0)), {}, {})
    posteriors = make_posteriors(inside, laws)
    assert posteriors is not None
    sets: list[tuple[int, ...]] = [(0,), (1,), (0, 1)]
    found = closed_variances(posteriors, inside.weights, sets, draws=2000, seed=0)
    error = found.draws.std(axis=0) / 2000**0.5
    assert (found.expected > 1.02 * found.mean).all()
    assert (abs(found.draws.mean(axis=0) - found.expected) < 8 * error).all()  # draws of one set share their waves
