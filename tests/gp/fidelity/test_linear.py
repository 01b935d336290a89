"""The covariance of groups that are linear in each other, against its definition and differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.gp.fidelity.graph import Graph, make_graph
from surrogates.gp.fidelity.linear import KINDS, LinearFidelities
from surrogates.gp.sharing import Exchangeable

Floats = NDArray[np.float64]
GRAPHS = {
    "chain": make_graph(["a", "b", "c"]),
    "tree": make_graph({"a": None, "b": "a", "c": "a"}),
    "two sources": make_graph({"a": None, "b": None, "c": ["a", "b"]}),
}


def sharing_of(graph: Graph, kind: str, tasks: int, *, per_task: bool = False) -> LinearFidelities:
    return LinearFidelities(graph, tasks, kind, (0.5, 2.0, 1.0), per_task)


def parameters_of(sharing: LinearFidelities, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.7, len(sharing.names))


def from_definition(sharing: LinearFidelities, θ: Floats) -> Floats:
    """(C, G, G) by following f_l = Σ ρ f_p + δ_l for every pair of tasks."""
    L, T = len(sharing.graph.labels), sharing.tasks
    named = dict(zip(sharing.names, θ, strict=True))
    r = 1 / (1 + np.exp(-named["logit r"])) if T > 1 else 1.0
    processes = 1 if sharing.kind == "offset" else L
    loading = np.zeros((T, L, processes))
    for t in range(T):
        for l in range(L):
            if sharing.kind == "offset":
                loading[t, l, 0] = sharing.ratios[l]
                continue
            loading[t, l, l] = 1.0
            for p in sharing.graph.parents[l] if sharing.kind != "ignore" else ():
                name = f"ρ[{sharing.graph.name((p, l))}{f', task {t}' if sharing.per_task else ''}]"
                loading[t, l] += named[name] * loading[t, p]
    labels = [""] if sharing.kind == "offset" else [f"[{label}]" for label in sharing.graph.labels]
    parts = []
    for c, label in enumerate(labels):
        s = np.exp(named[f"log s{label}"])
        B = np.zeros((T * L, T * L))
        for t in range(T):
            for u in range(T):
                for l in range(L):
                    for m in range(L):
                        between = 1.0 if t == u else r
                        B[t * L + l, u * L + m] = s * between * loading[t, l, c] * loading[u, m, c]
        parts.append(B)
    return np.stack(parts) if sharing.components > 1 else np.sum(parts, axis=0)[None]


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("per_task", [False, True])
def test_covariance_and_slopes(graph: Graph, kind: str, tasks: int, per_task: bool) -> None:
    sharing = sharing_of(graph, kind, tasks, per_task=per_task)
    θ = parameters_of(sharing)
    mixing = sharing.mixing(θ)
    np.testing.assert_allclose(mixing.matrix, from_definition(sharing, θ), atol=1e-12)
    for k in range(len(θ)):
        step = 1e-6 * np.eye(len(θ))[k]
        slope = (sharing.mixing(θ + step).matrix - sharing.mixing(θ - step).matrix) / 2e-6
        np.testing.assert_allclose(mixing.jacobian[k], slope, atol=1e-7)


@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS), tasks=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_it_is_a_covariance(seed: int, kind: str, tasks: int) -> None:
    sharing = sharing_of(GRAPHS["two sources"], kind, tasks)
    for B in sharing.mixing(parameters_of(sharing, seed)).matrix:
        assert np.linalg.eigvalsh(B).min() > -1e-10 * max(np.abs(B).max(), 1.0)


@pytest.mark.parametrize("kind", ["autoregressive", "coregional"])
def test_without_ρ_fidelities_are_ignored(kind: str) -> None:
    graph = GRAPHS["chain"]
    ignoring, sharing = sharing_of(graph, "ignore", 2), sharing_of(graph, kind, 2)
    θ = np.concatenate([parameters_of(ignoring), np.zeros(2)])
    found, wanted = sharing.mixing(θ).matrix, ignoring.mixing(θ[:-2]).matrix
    np.testing.assert_array_equal(found.sum(axis=0), wanted.sum(axis=0))


def test_one_fidelity_is_an_exchangeable_family() -> None:
    sharing = LinearFidelities(Graph(("only",), ((),)), 3, "autoregressive", (1.0,))
    other = Exchangeable(3)
    θ = np.array([0.3, -0.4])
    np.testing.assert_allclose(sharing.mixing(θ).matrix, other.mixing(θ).matrix, atol=1e-15)
    np.testing.assert_allclose(sharing.mixing(θ).jacobian, other.mixing(θ).jacobian, atol=1e-15)
    np.testing.assert_array_equal(sharing.prior, other.prior)


def test_priors_of_ρ_follow_what_children_see_of_their_parents() -> None:
    sharing = LinearFidelities(GRAPHS["chain"], 1, "autoregressive", (1.0, 1.0, 1.0), spans=(1.0, 0.25))
    assert sharing.prior[1][-2:].tolist() == [1.0, 4.0]


@pytest.mark.parametrize("kind", KINDS)
def test_starts_are_inside_the_bounds(kind: str) -> None:
    sharing = sharing_of(GRAPHS["tree"], kind, 3, per_task=True)
    for correlation in (0.5, 0.9):
        start, bounds = sharing.start(correlation), np.array(sharing.bounds)
        assert len(start) == len(sharing.names) == len(bounds)
        assert ((start >= bounds[:, 0]) & (start <= bounds[:, 1])).all()
