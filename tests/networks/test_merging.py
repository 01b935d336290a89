from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import MLP, drop_and_rescale, fit_last_layer, merge_ties, task_arithmetic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def state(*values: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float64)}


def test_merging_linear_models_of_disjoint_features_recovers_both() -> None:
    """Each model was fitted where only its own features vary; from there on it is right about these alone."""
    w = normal(6, 1)
    base = {"w": normal(6, 1, seed=2)}
    tuned = []
    for k, mine in enumerate((slice(0, 3), slice(3, 6))):
        F = torch.zeros(20, 6, dtype=torch.float64)
        F[:, mine] = normal(20, 3, seed=3 + k)
        change = fit_last_layer(F, F @ w - F @ base["w"]).weights  # of least norm: unseen features stay
        tuned.append({"w": base["w"] + change})
    torch.testing.assert_close(task_arithmetic(base, tuned)["w"], w, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(merge_ties(base, tuned, keep=0.5)["w"], w, rtol=1e-9, atol=1e-10)
    assert not torch.allclose((tuned[0]["w"] + tuned[1]["w"]) / 2, w)


def test_ties_by_hand() -> None:
    base = state(10.0, 10.0, 10.0, 10.0, 10.0)
    tuned = [state(14.0, 13.0, 10.1, 7.0, 10.0), state(9.0, 15.0, 10.2, 12.0, 10.0), state(8.0, 10.1, 10.3, 11.0, 10.0)]
    # task vectors:       4, 3, .1, -3, 0            -1, 5, .2, 2, 0             -2, .1, .3, 1, 0
    # three kept of each: 4, 3,  0, -3, 0            -1, 5,  0, 2, 0             -2,  0, .3, 1, 0
    # signs of the sums:  +, +,  +,  0, 0
    merged = merge_ties(base, tuned, keep=0.6)["w"]
    torch.testing.assert_close(merged, state(14.0, 14.0, 10.3, 10.0, 10.0)["w"])
    half = merge_ties(base, tuned, keep=0.6, scale=0.5)["w"]
    torch.testing.assert_close(half, (merged + base["w"]) / 2)


def test_the_largest_entries_are_chosen_over_all_of_a_model() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}
    tuned = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([3.0, -4.0])}
    merged = merge_ties(base, [tuned], keep=0.5)
    assert (merged["a"].tolist(), merged["b"].tolist()) == ([0.0, 0.0], [3.0, -4.0])


def test_networks_keep_their_own_outputs_in_the_trivial_merges() -> None:
    base, tuned = (MLP((2, 8, 1), generator=generator(k)) for k in range(2))
    X = normal(5, 2)
    for merged in (
        task_arithmetic(base.state_dict(), [tuned.state_dict()]),
        merge_ties(base.state_dict(), [tuned.state_dict()] * 3, keep=1.0),
        drop_and_rescale(base.state_dict(), tuned.state_dict(), drop=0.0, generator=generator()),
        task_arithmetic(base.state_dict(), [tuned.state_dict()] * 2, scale=0.5),
    ):
        net = MLP((2, 8, 1), generator=generator(9))
        net.load_state_dict(merged)
        torch.testing.assert_close(net(X), tuned(X), rtol=1e-12, atol=1e-13)
    forgotten = task_arithmetic(base.state_dict(), [tuned.state_dict()], scale=0.0)
    assert all(torch.equal(forgotten[name], value) for name, value in base.state_dict().items())
    before = base.state_dict()["last.weight"].clone()
    forgotten["last.weight"] += 1
    assert torch.equal(base.state_dict()["last.weight"], before)  # copies


def test_weights_of_models_and_other_entries() -> None:
    base = {"w": torch.zeros(2), "steps": torch.tensor(3)}
    tuned = [{"w": torch.tensor([1.0, 0.0]), "steps": torch.tensor(3)}, {"w": torch.ones(2), "steps": torch.tensor(3)}]
    merged = task_arithmetic(base, tuned, scale=[2.0, -1.0])
    assert merged["w"].tolist() == [1.0, -1.0]
    assert merged["steps"].item() == 3


def test_dropping_and_rescaling_keeps_the_mean() -> None:
    base, tuned, draws = state(1.0, 1.0, 1.0), state(2.0, 0.0, 1.0), generator(2)
    found = torch.stack([drop_and_rescale(base, tuned, drop=0.75, generator=draws)["w"] for _ in range(4000)])
    assert set(found[:, 0].tolist()) == {1.0, 5.0}
    assert bool(((found.mean(0) - tuned["w"]).abs() < 5 * 4 * (0.1875 / 4000) ** 0.5).all())
    assert torch.equal(found[:, 2], torch.ones(4000).double())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: task_arithmetic(state(1.0), []), "tuned is empty; give one fine-tuned model or more"),
        (
            lambda: task_arithmetic(state(1.0), [{"v": torch.ones(1)}]),
            r"tuned\[0\] and base differ in the entries \['v'",
        ),
        (lambda: merge_ties(state(1.0), [state(1.0, 2.0)]), r"tuned\[0\]\['w'\] has shape \(2,\), base's \(1,\)"),
        (lambda: merge_ties(state(1.0), [state(1.0)], keep=0.0), "keep is 0.0; it must be a share > 0 and <= 1"),
        (lambda: task_arithmetic(state(1.0), [state(1.0)], scale=[1.0, 2.0]), "scale has 2 entries for 1 models"),
        (
            lambda: task_arithmetic({"n": torch.tensor(1)}, [{"n": torch.tensor(2)}]),
            r"tuned\[0\]\['n'\] isn't floating point and differs from base's",
        ),
        (lambda: task_arithmetic({"n": torch.tensor(1)}, [{"n": torch.tensor(1)}]), "no floating-point entry"),
        (
            lambda: drop_and_rescale(state(1.0), state(1.0), drop=1.0, generator=generator()),
            "drop is 1.0; it must be a probability >= 0 and < 1",
        ),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
