"""Each weighting against its paper's formula, written as plain loops over numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training import (
    FAMO,
    LDCMTL,
    WEIGHTINGS,
    AlphaFair,
    Balance,
    DynamicWeightAverage,
    Fixed,
    GradNorm,
    LearningRateAnnealing,
    NeuralTangentKernel,
    ReLoBRaLo,
    ResidualAttention,
    Seen,
    SoftAdapt,
    SumOfLogs,
    Uncertainty,
    Weighting,
    weighting_by_name,
)

Glimpses = Callable[..., Seen]
Along = Callable[[Weighting, list[Seen]], list[Tensor]]
LOSSES = [[3.0, 0.5, 2.0], [2.0, 0.6, 1.5], [1.5, 0.3, 1.4], [1.6, 0.1, 0.7]]


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def softmax(x: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in x)
    return [math.exp(v) / total for v in x]


def adam(
    values: list[float], slopes: Callable[[list[float], int], list[float]], rate: float, steps: int
) -> list[float]:
    """Kingma & Ba's algorithm 1 over plain numbers."""
    m, v = [0.0] * len(values), [0.0] * len(values)
    for t in range(1, steps + 1):
        g = slopes(values, t)
        for i in range(len(values)):
            m[i] = 0.9 * m[i] + 0.1 * g[i]
            v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2
        values = [
            x - rate * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8) for i, x in enumerate(values)
        ]
    return values


def close(got: Tensor, wanted: list[float] | Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=torch.float64), rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("variant", ["kendall", "liebel-korner"])
def test_uncertainty_descends_the_slope_of_its_own_objective(variant: Any, glimpse: Glimpses, along: Along) -> None:
    def objective(s: list[float], L: list[float]) -> float:
        v = [math.exp(x) for x in s]
        penalty = [0.5 * x if variant == "kendall" else math.log(1 + math.exp(x)) for x in s]
        return sum(a / (2 * b) + c for a, b, c in zip(L, v, penalty, strict=True))

    def slopes(s: list[float], t: int) -> list[float]:
        found = []
        for i in range(3):
            up, down = list(s), list(s)
            up[i] += 1e-6
            down[i] -= 1e-6
            found.append((objective(up, LOSSES[t - 1]) - objective(down, LOSSES[t - 1])) / 2e-6)
        return found

    weights = along(Uncertainty(variant, rate=0.1), [glimpse(tensor(L), t) for t, L in enumerate(LOSSES)])
    for t in range(4):
        s = adam([0.0] * 3, slopes, 0.1, t)
        close(weights[t], [0.5 * math.exp(-x) for x in s], rtol=1e-6)  # differences


@pytest.mark.parametrize("variant", ["kendall", "liebel-korner"])
def test_the_closed_form_of_uncertainty_minimises_its_objective(variant: Any, glimpse: Glimpses, along: Along) -> None:
    (weights,) = along(Uncertainty(variant, form="closed"), [glimpse(tensor(LOSSES[0]))])
    for loss, weight in zip(LOSSES[0], weights.tolist(), strict=True):
        v = 1 / (2 * weight)

        def F(v: float, loss: float = loss) -> float:
            return loss / (2 * v) + (0.5 * math.log(v) if variant == "kendall" else math.log(1 + v))

        assert F(v) <= min(F(v * 1.001), F(v / 1.001))
    assert torch.equal(along(Uncertainty(variant, form="closed"), [glimpse(tensor(0.0, 1.0))])[0][0], tensor(0.0))


def test_uncertainty_follows_its_schedule_of_rates(glimpse: Glimpses, along: Along) -> None:
    seen = [glimpse(tensor(2.0, 2.0), t, max_steps=3) for t in range(3)]
    weights = along(Uncertainty(rate=0.1, final_rate=0.001), seen)
    s = [-math.log(2 * w[0].item()) for w in weights]
    assert s[1] - s[0] == pytest.approx(0.1, rel=1e-6)  # Adam's first steps have the length of the rate
    assert s[2] - s[1] == pytest.approx(0.01, rel=0.05)


def test_sums_of_logs_and_powers(glimpse: Glimpses, along: Along) -> None:
    L = tensor(0.25, 4.0)
    close(along(SumOfLogs(), [glimpse(L)])[0], [4.0, 0.25])
    close(along(AlphaFair(0.5), [glimpse(L)])[0], [2.0, 0.5])
    close(along(AlphaFair(-2.0), [glimpse(L)])[0], [0.0625, 16.0])
    close(along(AlphaFair(1.0), [glimpse(L)])[0], along(SumOfLogs(), [glimpse(L)])[0])
    close(along(AlphaFair(0.0), [glimpse(tensor(0.0, -1.0))])[0], [1.0, 1.0])


def test_gradnorm_lowers_its_objective_from_the_definition(glimpse: Glimpses, along: Along) -> None:
    J = tensor([[3.0, 4.0, 9.0], [0.3, 0.4, 9.0], [1.0, 0.0, 9.0]])  # norms over the first two: 5, 0.5, 1
    at_start, α, rate = [5.0, 0.5, 1.0], 1.5, 0.2
    growth = [[1.0, 1.0, 1.0], [2.0, 0.5, 1.0], [0.1, 3.0, 1.5], [1.0, 1.0, 1.0]]

    def targets(w: list[float], norms: list[float], L: list[float]) -> list[float]:
        mean = sum(a * b for a, b in zip(w, norms, strict=True)) / 3
        progress = [a / b for a, b in zip(L, LOSSES[0], strict=True)]
        return [mean * (p / (sum(progress) / 3)) ** α for p in progress]

    def slopes(w: list[float], t: int) -> list[float]:
        norms = [a * b for a, b in zip(at_start, growth[t - 1], strict=True)]
        fixed, found = targets(w, norms, LOSSES[t - 1]), []
        for i in range(3):
            moved = [x + (1e-6 if i == j else 0.0) for j, x in enumerate(w)]
            objectives = [sum(abs(a * n - c) for a, n, c in zip(u, norms, fixed, strict=True)) for u in (moved, w)]
            found.append((objectives[0] - objectives[1]) / 1e-6)
        return found

    seen = [glimpse(tensor(L), t, jacobian=J * tensor(growth[t])[:, None]) for t, L in enumerate(LOSSES)]
    weights = along(GradNorm(α, rate, shared=(0, 2)), seen)
    w, m, v = [1.0] * 3, [0.0] * 3, [0.0] * 3
    for t in range(1, 5):
        close(weights[t - 1], w, rtol=1e-6)
        g = slopes(w, t)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b**2 for a, b in zip(v, g, strict=True)]
        moved = [
            x - rate * (a / (1 - 0.9**t)) / (math.sqrt(b / (1 - 0.999**t)) + 1e-8)
            for x, a, b in zip(w, m, v, strict=True)
        ]
        w = [3 * x / sum(moved) for x in moved]
    assert weights[1][0] < 1 < weights[1][1]  # the largest gradient loses weight


def test_gradnorm_wants_larger_gradients_for_slow_losses() -> None:
    G = GradNorm(alpha=2.0).targets(tensor(2.0, 4.0), tensor(1.0, 3.0), tensor(2.0, 2.0))
    close(G, [3.0 * 0.5**2, 3.0 * 1.5**2])


def test_gradnorm_takes_a_loss_that_began_at_zero_as_one_without_progress() -> None:
    """A condition that holds at the start must not take all weight from the others as soon as it is missed a little."""
    G = GradNorm(alpha=1.0).targets(tensor(2.0, 4.0), tensor(1e-9, 3.0), tensor(0.0, 6.0))
    close(G, [3.0 / 0.75, 3.0 * 0.5 / 0.75])


def test_gradnorm_brings_gradients_to_one_size(glimpse: Glimpses, along: Along) -> None:
    J = tensor([[4.0, 0.0], [0.0, 1.0]])
    seen = [glimpse(tensor(1.0, 1.0), t, jacobian=J) for t in range(2000)]
    w = along(GradNorm(rate=1e-3), seen)[-1]
    close(w * tensor(4.0, 1.0), [1.6, 1.6], rtol=5e-3)  # within the last steps' size


def test_relobralo_by_its_three_equations(glimpse: Glimpses, along: Along) -> None:
    α, T = 0.9, 0.5
    generator = torch.Generator().manual_seed(1)
    coins = torch.Generator().manual_seed(1)
    seen = [glimpse(tensor(L), t, generator=generator) for t, L in enumerate(LOSSES)]
    got = along(ReLoBRaLo(α, T, lookback=0.4), seen)
    w, tossed = [1.0] * 3, set()
    for t, L in enumerate(LOSSES):
        ρ = float(torch.rand((), generator=coins) < 0.4)
        tossed.add(ρ)
        since_start = softmax([a / (T * b) for a, b in zip(L, LOSSES[0], strict=True)])
        since_last = softmax([a / (T * b) for a, b in zip(L, LOSSES[max(t - 1, 0)], strict=True)])
        history = [ρ * a + (1 - ρ) * 3 * b for a, b in zip(w, since_start, strict=True)]
        w = [α * a + (1 - α) * 3 * b for a, b in zip(history, since_last, strict=True)]
        close(got[t], w)
    assert tossed == {0.0, 1.0}


@pytest.mark.parametrize("variant", ["original", "normalised", "loss-weighted"])
def test_softadapt_by_its_definition(variant: Any, glimpse: Glimpses, along: Along) -> None:
    β = 0.7
    got = along(SoftAdapt(β, variant, window=3), [glimpse(tensor(L), t) for t, L in enumerate(LOSSES)])
    past = LOSSES[1:]
    s = [(past[2][i] - past[0][i]) / 2 for i in range(3)]
    if variant == "normalised":
        s = [x / sum(abs(y) for y in s) for x in s]
    shares = [
        math.exp(β * x) * (sum(row[i] for row in past) if variant == "loss-weighted" else 1) for i, x in enumerate(s)
    ]
    close(got[3], [3 * x / sum(shares) for x in shares])
    if variant != "loss-weighted":
        close(got[0], [1.0, 1.0, 1.0])


def test_annealing_by_algorithm_1(glimpse: Glimpses, along: Along) -> None:
    J = tensor([[1.0, -6.0, 2.0], [0.5, 0.5, -2.0], [0.0, 0.0, 0.0]])
    L = tensor(1.0, 1.0, 1.0)
    seen = [glimpse(L, t, jacobian=J) for t in range(3)]
    got = along(LearningRateAnnealing(memory=0.9, every=2), seen)
    close(got[0], [1.0, 0.9 + 0.1 * 6.0, 1.0])
    close(got[1], got[0])
    close(got[2], [1.0, 0.9 * 1.5 + 0.1 * 6.0, 1.0])
    (other,) = along(LearningRateAnnealing("l1", memory=0.0), seen[:1])
    close(other, [2.0 / 3.0, 1.0, 1.0])


def test_tangent_kernel_weights_by_the_traces(glimpse: Glimpses, along: Along) -> None:
    vectors = {"a": torch.zeros(4).double(), "b": torch.zeros(2).double(), "c": torch.zeros(1).double()}
    seen = [glimpse(torch.ones(3).double(), t, traces=tensor(8.0, 2.0 + t, 0.0), vectors=vectors) for t in range(3)]
    got = along(NeuralTangentKernel(every=2), seen)
    close(got[0], [10 / 8, 10 / 2, 1.0])
    close(got[1], got[0])
    close(got[2], [12 / 8, 12 / 4, 1.0])
    close(along(NeuralTangentKernel(per_point=True), seen[:1])[0], [3 / 2, 3 / 1, 1.0])


def test_residual_attention_by_its_recursion(glimpse: Glimpses) -> None:
    weighting = ResidualAttention(decay=0.9, rate=0.1, start=0.5, only=("a",))
    rows, λ = [[1.0, -4.0, 2.0], [0.5, 0.0, -0.25], [0.0, 0.0, 0.0]], [0.5] * 3
    b = tensor(1.0, 2.0)
    seen = [glimpse(tensor(1.0, 1.0), t, vectors={"a": tensor(r), "b": b}) for t, r in enumerate(rows)]
    state = weighting.init(seen[0])
    for one, r in zip(seen, rows, strict=True):
        balance, state = weighting.step(state, one)
        largest = max(abs(x) for x in r) or 1.0
        λ = [0.9 * old + 0.1 * abs(x) / largest for old, x in zip(λ, r, strict=True)]
        assert isinstance(balance, Balance)
        assert balance.points is not None
        assert set(balance.points) == {"a"}
        close(balance.points["a"], [x**2 for x in λ])
        close(balance.weights, [1.0, 1.0])
    with pytest.raises(DataError, match=r"'a' have 2 points, but had 3"):
        weighting.step(state, glimpse(tensor(1.0, 1.0), 3, vectors={"a": tensor(1.0, 2.0), "b": b}))


def test_dynamic_average_over_epochs(glimpse: Glimpses, along: Along) -> None:
    losses = [[4.0, 1.0], [2.0, 3.0], [1.0, 1.0], [2.0, 2.0], [5.0, 5.0], [5.0, 5.0]]
    got = along(DynamicWeightAverage(2.0, every=2), [glimpse(tensor(L), t) for t, L in enumerate(losses)])
    for t in range(4):
        close(got[t], [1.0, 1.0])
    wanted = [2 * x for x in softmax([1.5 / 3.0 / 2.0, 1.5 / 2.0 / 2.0])]
    close(got[4], wanted)
    close(got[5], wanted)


def test_famo_by_algorithm_1(glimpse: Glimpses, along: Along) -> None:
    rate, decay = 0.1, 0.01

    def slopes(ξ: list[float], t: int) -> list[float]:
        z = softmax(ξ)
        fall = [math.log(a) - math.log(b) for a, b in zip(LOSSES[t - 1], LOSSES[t], strict=True)]
        jacobian = [[(z[i] if i == j else 0.0) - z[i] * z[j] for i in range(3)] for j in range(3)]
        return [sum(jacobian[i][j] * fall[j] for j in range(3)) + decay * ξ[i] for i in range(3)]

    got = along(FAMO(rate, decay), [glimpse(tensor(L), t) for t, L in enumerate(LOSSES)])
    for t, L in enumerate(LOSSES):
        z = softmax(adam([0.0] * 3, slopes, rate, t))
        c = 1 / sum(a / b for a, b in zip(z, L, strict=True))
        close(got[t], [3 * c * a / b for a, b in zip(z, L, strict=True)])
    (*_, last) = along(FAMO(rate, decay), [glimpse(tensor(1.0, 0.5**t), t) for t in range(4)])
    assert last[0] / last[1] > 0.5**3  # z turns to the loss that doesn't fall; 1/L alone would give this ratio


@pytest.mark.parametrize("pairs", ["chain", "all"])
@pytest.mark.parametrize("normalise", [True, False])
def test_ldc_mtl_is_the_gradient_of_its_objective(pairs: Any, normalise: bool, glimpse: Glimpses, along: Along) -> None:
    penalty, rate = 0.3, 0.05
    unit = LOSSES[0] if normalise else [1.0] * 3

    def objective(ω: list[float], L: list[float]) -> float:
        x = [s * a / u for s, a, u in zip(softmax(ω), L, unit, strict=True)]
        near = abs(x[0] - x[1]) + abs(x[1] - x[2])
        far = (near + abs(x[0] - x[2])) * 2 / 3
        return sum(x) + penalty * (near if pairs == "chain" else far)

    def differences(f: Callable[[list[float]], float], at: list[float]) -> list[float]:
        steps = [[x + (h if i == j else 0.0) for j, x in enumerate(at)] for i in range(3) for h in (1e-6, -1e-6)]
        return [(f(steps[2 * i]) - f(steps[2 * i + 1])) / 2e-6 for i in range(3)]

    losses = [[2.5, 0.3, 1.9], [2.0, 0.6, 1.5], [1.0, 0.9, 1.4]]
    got = along(
        LDCMTL(penalty, rate, pairs, normalise),
        [glimpse(tensor(LOSSES[0]), 0)] + [glimpse(tensor(L), t + 1) for t, L in enumerate(losses)],
    )
    every = [LOSSES[0], *losses]
    for t in range(1, 4):
        ω = adam([0.0] * 3, lambda x, s: differences(lambda y: objective(y, every[s - 1]), x), rate, t)
        if normalise and t == 1:
            continue  # at the start all losses are equal: a kink, where differences mislead
        wanted = differences(lambda L, ω=ω: objective(ω, L), every[t])  # type: ignore[misc]
        if not normalise:
            close(got[t], [3 * x for x in wanted], rtol=1e-5)


def test_ldc_mtl_draws_weighted_losses_together(glimpse: Glimpses, along: Along) -> None:
    seen = [glimpse(tensor(1.0, 4.0), t) for t in range(400)]
    w = along(LDCMTL(0.5, 0.01, normalise=False), seen)[-1]
    assert w[0] > w[1]


def test_fixed_weights_by_name_and_by_order(glimpse: Glimpses, along: Along) -> None:
    L = tensor(1.0, 2.0)
    close(along(Fixed(), [glimpse(L)])[0], [1.0, 1.0])
    close(along(Fixed((2.0, 0.0)), [glimpse(L)])[0], [2.0, 0.0])
    close(along(Fixed({"l1": 5.0}), [glimpse(L)])[0], [1.0, 5.0])
    for weights, words in (
        ({"x": 1.0}, "'x', but the losses are called 'l0', 'l1'"),
        ((1.0,), "Fixed has 1 weights, but there are 2 losses"),
    ):
        with pytest.raises(DataError, match=words):
            Fixed(weights).vector(("l0", "l1"))
    with pytest.raises(DataError, match="weight of loss 'a' is -1"):
        Fixed({"a": -1.0})


def test_names_of_weightings() -> None:
    assert len(WEIGHTINGS) == 13
    for name in WEIGHTINGS:
        assert weighting_by_name(name) == weighting_by_name(name)
    with pytest.raises(DataError, match=r"'kendal' is unknown; known are 'fixed', .*'famo'"):
        weighting_by_name("kendal")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uncertainty("x"), "variant is 'x'"),  # type: ignore[arg-type]
        (lambda: Uncertainty(form="x"), "form is 'x'"),  # type: ignore[arg-type]
        (lambda: Uncertainty(rate=0.0), "rate is 0.0"),
        (lambda: Uncertainty(final_rate=-1.0), "final_rate is -1.0"),
        (lambda: AlphaFair(math.inf), "alpha is inf"),
        (lambda: GradNorm(shared=(2, 1)), "shared is"),
        (lambda: ReLoBRaLo(temperature=0.0), "temperature is 0.0"),
        (lambda: ReLoBRaLo(lookback=2.0), "lookback is 2.0"),
        (lambda: SoftAdapt(window=1), "window is 1"),
        (lambda: SoftAdapt(math.nan), "beta is nan"),
        (lambda: LearningRateAnnealing(memory=-0.1), "memory is -0.1"),
        (lambda: NeuralTangentKernel(probes=0), "probes is 0"),
        (lambda: ResidualAttention(decay=1.1), "decay is 1.1"),
        (lambda: DynamicWeightAverage(every=0), "every is 0"),
        (lambda: FAMO(decay=-1.0), "decay is -1.0"),
        (lambda: LDCMTL(penalty=0.6), "at most 0.5"),
        (lambda: LDCMTL(pairs="x"), "pairs is 'x'"),  # type: ignore[arg-type]
    ],
)
def test_bad_configurations_are_refused(make: Callable[[], Weighting], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()
