"""Each method on the Gram matrix against its definition on explicit gradients, and on problems with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from quadratic_tasks import Quadratics, QuadraticTasks, descend, gradients_seen, random_quadratics
from scipy.optimize import minimize
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training.conflicts import (
    MGDA,
    Aggregated,
    CAGrad,
    Conflicts,
    FairGrad,
    GCond,
    NashMTL,
    PCGrad,
    conflicts_by_name,
    own_rows,
)
from surrogates.training.conflicts.pcgrad import projected


def random_gradients(m: int, P: int, seed: int) -> Tensor:
    """Of different lengths, with conflicts."""
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(m, P, generator=generator, dtype=torch.float64) - 0.5
    return G * torch.logspace(-1, 1, m, dtype=torch.float64)[:, None]


def weights_of(method: Conflicts, G: Tensor) -> Tensor:
    return method.step(method.init(len(G)), gradients_seen(G))[0]


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_is_that_of_explicit_vectors(seed: int) -> None:
    G, generator = random_gradients(6, 9, seed), torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(6, generator=generator) for _ in range(6)])
    by_hand = G.clone()
    for i in range(6):
        for j in order[i].tolist():
            if j != i and by_hand[i] @ G[j] < 0:
                by_hand[i] = by_hand[i] - (by_hand[i] @ G[j]) / (G[j] @ G[j]) * G[j]
    torch.testing.assert_close(projected(G @ G.T, order) @ G, by_hand, rtol=1e-12, atol=1e-12)
    seen = gradients_seen(G, generator=torch.Generator().manual_seed(seed))
    c, _ = PCGrad().step(PCGrad().init(6), seen)
    torch.testing.assert_close(c @ G, by_hand.sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["pcgrad", "gcond"])
def test_aligned_gradients_are_left_alone(name: str) -> None:
    G = random_gradients(4, 7, 0).abs()
    assert torch.equal(weights_of(conflicts_by_name(name), G), torch.ones(4).double())


@pytest.mark.parametrize("seed", range(4))
def test_mgda_finds_the_shortest_combination(seed: int) -> None:
    G = random_gradients(5, 8, seed)
    c, M = weights_of(MGDA(), G), G @ G.T
    assert float(c.sum()) == pytest.approx(1.0)
    assert (c >= 0).all()
    q = c @ M @ c
    assert (M @ c >= q - 1e-9 * M.diagonal().max()).all()  # no loss rises: g·g_i >= |g|² for all, equal where c > 0
    assert ((M @ c - q)[c > 0].abs() <= 1e-9 * M.diagonal().max()).all()


def test_two_tasks_shortest_combination_is_the_known_one() -> None:
    """λ = clamp((g₂ - g₁)·g₂ / |g₁ - g₂|², 0, 1), Sener & Koltun (2018), eq. 4."""
    for seed in range(20):
        G = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        λ = ((G[1] - G[0]) @ G[1] / (G[0] - G[1]).square().sum()).clamp(0.0, 1.0)
        torch.testing.assert_close(weights_of(MGDA(), G), torch.stack([λ, 1 - λ]), rtol=1e-9, atol=1e-9)


def test_on_two_quadratics_mgda_ends_where_the_line_of_minima_is_met() -> None:
    """L_i = ½|θ - a_i|²: every step goes to the segment of minima at a right angle, so θ ends at the start's projection."""
    a = torch.tensor([[0.0, 0.0], [4.0, 0.0]]).double()
    θ, _ = descend(
        MGDA(every=1),
        Quadratics(a, torch.eye(2).double().expand(2, 2, 2)),
        torch.tensor([1.0, 3.0]).double(),
        steps=80,
        rate=0.2,
    )
    torch.testing.assert_close(θ, torch.tensor([1.0, 0.0]).double(), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_cagrad_solves_its_own_problem(seed: int) -> None:
    """max_d min_i g_i·d in the ball of radius κ|g₀| around the mean g₀, solved in d itself."""
    G, κ = random_gradients(4, 4, seed), 0.4
    d = (weights_of(CAGrad(pull=κ), G) @ G) * (1 + κ**2) / len(G)
    g0 = G.mean(0)
    assert float((d - g0).norm()) <= κ * float(g0.norm()) * (1 + 1e-6)
    A, radius = G.numpy(), κ * float(g0.norm())
    inside = {"type": "ineq", "fun": lambda x: radius**2 - ((x[:-1] - g0.numpy()) ** 2).sum()}
    below = {"type": "ineq", "fun": lambda x: A @ x[:-1] - x[-1]}
    start = np.append(g0.numpy(), float((G @ g0).min()) - 1.0)
    best = minimize(
        lambda x: -x[-1], start, constraints=[inside, below], method="SLSQP", options={"maxiter": 500, "ftol": 1e-14}
    )
    assert float((G @ d).min()) == pytest.approx(-best.fun, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_fairgrad_solves_its_equation(alpha: float) -> None:
    for seed in range(5):
        G = random_gradients(5, 8, seed)
        c, M = weights_of(FairGrad(alpha=alpha), G), G @ G.T
        M = M + 1e-6 * torch.diag(M.diagonal())
        assert float(c.sum()) == pytest.approx(5.0)
        ratio = (M @ c) * c ** (1 / alpha)  # 1 for the unscaled c, hence the same for all
        torch.testing.assert_close(ratio, ratio.mean().expand(5), rtol=1e-6, atol=0.0)


def test_nash_gives_equal_gains_per_weight_whatever_the_losses_units() -> None:
    G = random_gradients(4, 8, 0)
    c, scaled = (
        weights_of(NashMTL(), G),
        weights_of(NashMTL(), G * torch.tensor([1.0, 2.0, 0.5, 3.0]).double()[:, None]),
    )
    d, e = c @ G, scaled @ (G * torch.tensor([1.0, 2.0, 0.5, 3.0]).double()[:, None])
    torch.testing.assert_close(d / d.norm(), e / e.norm(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(c, weights_of(FairGrad(alpha=1.0), G))


def test_opposite_gradients_leave_fair_weights_finite() -> None:
    G = torch.tensor([[1.0, 0.0], [-2.0, 0.0]]).double()
    c = weights_of(FairGrad(), G)
    assert torch.isfinite(c).all()
    assert float((c @ G).norm()) < 1e-2


def test_torchjds_aggregators_get_the_gram_matrix_of_those_present() -> None:
    from torchjd.aggregation import IMTLG, AlignedMTL
    from torchjd.aggregation import MGDA as TheirMGDA

    G = random_gradients(4, 6, 1)
    present = torch.tensor([True, False, True, True])
    for name, theirs in (("IMTLG", IMTLG()), ("AlignedMTL", AlignedMTL()), ("MGDA", TheirMGDA())):
        ours = Aggregated(name)
        c, _ = ours.step(ours.init(4), gradients_seen(G, present=present))
        torch.testing.assert_close(c @ G, theirs(G[present]), rtol=1e-6, atol=1e-8)
    theirs_again = Aggregated("MGDA", {"epsilon": 1e-9, "max_iters": 20000})
    torch.testing.assert_close(weights_of(theirs_again, G), weights_of(MGDA(), G), rtol=0.0, atol=1e-3)


def dense_gcond(method: GCond, G: Tensor, previous: Tensor, means: Tensor, won: list[int]) -> Tensor:
    """The description on vectors, one pair at a time."""
    raw, g = G.clone(), G.clone()
    for _ in range(2 * len(G)):
        unit = g / g.norm(dim=1, keepdim=True)
        γ = (unit @ unit.T).fill_diagonal_(2.0)
        i, j = divmod(int(γ.argmin()), len(G))
        if γ[i, j] >= method.weak - 1e-12:
            break
        i, j = min(i, j), max(i, j)
        size = {k: float(raw[k].norm() / means[k]) for k in (i, j)}
        scores = {}
        for k in (i, j):
            stable = max(0.0, float(torch.cosine_similarity(raw[k], previous[k], dim=0)))
            scores[k] = method.stability * stable + (1 - method.stability) * size[k] / sum(size.values())
        w, l = (i, j) if (scores[i], raw[i].norm()) >= (scores[j], raw[j].norm()) else (j, i)
        for k, other in ((i, j), (j, i)):
            if all(x == k for x in won):
                w, l = other, k
                break
        if γ[i, j] < method.main:
            won.append(w)
            won.pop(0)
        s_w, s_l = method.strengths(float(γ[i, j]))
        old_w, old_l = g[w].clone(), g[l].clone()
        g[w] = old_w - s_w * (old_w @ old_l) / (old_l @ old_l) * old_l
        g[l] = old_l - s_l * (old_w @ old_l) / (old_w @ old_w) * old_w
    return g.sum(0)


@pytest.mark.parametrize("seed", range(5))
def test_gcond_is_that_of_explicit_vectors(seed: int) -> None:
    """Two steps, so that stability counts; the sketch is as wide as the gradient is long, and orthogonal."""
    method = GCond(sketch=7, dominance=2)

    class Exact(QuadraticTasks):
        def sketch(self, r: int) -> Tensor:
            return self.G

    first, second = random_gradients(5, 7, seed), random_gradients(5, 7, seed + 100)
    eye = torch.eye(7).double().expand(5, -1, -1)
    state, won = method.init(5), [-1, -1]
    means = first.norm(dim=1)
    for G, previous in ((first, torch.zeros_like(first)), (second, first)):
        means = 0.95 * means + 0.05 * G.norm(dim=1)
        c, state = method.step(state, Exact(Quadratics(-G, eye), torch.zeros(7).double()))
        expected = dense_gcond(method, G, previous, means, won)
        torch.testing.assert_close(c @ G, expected, rtol=1e-9, atol=1e-9)
        assert state["winners"].tolist() == won


def test_gcond_has_no_jump_at_its_thresholds() -> None:
    method = GCond()
    for γ in (method.critical, method.main, method.weak):
        below, above = method.strengths(γ - 1e-9), method.strengths(γ + 1e-9)
        assert below == pytest.approx(above, abs=1e-4)
    assert method.strengths(-0.95) == (0.0, 1.0)
    assert method.strengths(0.2) == (0.0, 0.0)
    assert method.strengths(method.main) == pytest.approx((1.0, 1.0))


def at_angle(γ: float) -> Tensor:
    return torch.tensor([[1.0, 0.0], [2 * γ, 2 * math.sqrt(1 - γ**2)]]).double()


def test_in_a_severe_conflict_the_winner_is_untouched_and_dominance_ends() -> None:
    """The longer gradient, compared with its mean, wins; after three wins in a row the other does."""
    method, G = GCond(stability=0.0), at_angle(-0.9)
    state, winners = method.init(2), []
    state["norms"] = torch.tensor([1.0, 10.0]).double()  # task 0 is long for its kind
    for step in range(5):
        c, state = method.step(state, gradients_seen(G, step=step))
        winners.append(int(state["winners"][-1]))
        w, l = winners[-1], 1 - winners[-1]
        expected = G[w] + G[l] - (G[0] @ G[1]) / (G[w] @ G[w]) * G[w]
        torch.testing.assert_close(c @ G, expected)
    assert winners == [0, 0, 0, 1, 0]


def test_gcond_shortens_gradients_that_are_long_for_their_kind() -> None:
    method = GCond(stability=0.0, norm_cap=2.0, norm_memory=1.0)
    state = method.init(2)
    state["norms"] = torch.tensor([1.0, 0.5]).double()
    c, _ = method.step(state, gradients_seen(torch.tensor([[1.0, 0.0], [0.0, 4.0]]).double()))
    torch.testing.assert_close(c, torch.tensor([1.0, 0.25]).double())
    with pytest.raises(DataError, match=r"thresholds are -0\.5, -0\.8, 0\.0; they must rise"):
        GCond(critical=-0.5, main=-0.8)


def test_each_task_has_rows_of_its_own_in_the_stochastic_mode() -> None:
    mask = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.7
    kept = own_rows(mask, 3, torch.Generator().manual_seed(1))
    assert (kept <= mask).all()
    groups = {tuple((kept[:, i] | ~mask[:, i]).tolist()) for i in range(6)}
    assert len(groups) > 1
    average = sum(own_rows(mask, 3, torch.Generator().manual_seed(s)).double() for s in range(600)) / 600
    torch.testing.assert_close(average, mask.double() / 3, rtol=0.0, atol=0.1)
    with pytest.raises(DataError, match="groups is 0; it must be an integer >= 1"):
        own_rows(mask, 0, torch.Generator())


@pytest.mark.parametrize("name", ["pcgrad", "cagrad", "nashmtl", "fairgrad", "aim", "gcond"])
def test_designed_conflicts_end_on_the_pareto_front(name: str) -> None:
    """Four quadratics, no noise: some combination of the gradients vanishes in the end (at most 2 % of the start's)."""
    generator = torch.Generator().manual_seed(0)
    tasks = random_quadratics(4, 6, generator)
    start = torch.full((6,), 3.0).double()
    method = conflicts_by_name(name)
    θ, _ = descend(method, tasks, start, steps=400, rate=0.05)

    def distance(at: Tensor) -> float:
        G = tasks.gradients(at)
        return float((weights_of(MGDA(), G) @ G).norm())

    assert distance(θ) < 0.02 * distance(start)
