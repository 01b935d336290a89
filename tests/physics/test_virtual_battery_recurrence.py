"""The linear recurrence with its hand-written adjoint, against the same loop by automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from surrogates.errors import DataError
from surrogates.physics.virtual_battery import linear_recurrence, rollout


def test_the_recurrence_and_its_adjoint_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    Φ, x, f = (
        torch.randn(size, generator=generator, dtype=torch.float64).mul(0.4).requires_grad_()
        for size in ((3, 4, 4), (3, 4, 5), (7, 3, 4, 5))
    )

    def loop(Φ: torch.Tensor, x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        states = []
        for forcing in f:
            x = torch.einsum("uij,ujw->uiw", Φ, x) + forcing
            states.append(x)
        return torch.stack(states)

    for one, other in zip(
        *(torch.autograd.grad((way(Φ, x, f) ** 3).sum(), (Φ, x, f)) for way in (linear_recurrence, loop)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(linear_recurrence, (Φ, x, f))
    with pytest.raises(DataError, match=r"transition \(3, 4, 4\).*\(U, n, n\)"):
        linear_recurrence(Φ, x[:2], f)
    with pytest.raises(DataError, match=r"dtypes torch\.float64, torch\.float32"):
        linear_recurrence(Φ, x.float(), f)


@pytest.mark.parametrize("rooms", [(), (3,), (2, 3)])
@pytest.mark.parametrize("runs", [(), (2, 3), (4, 1, 3)])
def test_rollouts_of_rooms_and_runs_broadcast(rooms: tuple[int, ...], runs: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64) * 0.4

    Φ, Γ, x, u = draw(*rooms, 3, 3), draw(*rooms, 3, 2), draw(*runs, 3), draw(*runs, 5, 2)
    states = rollout(Φ, Γ, x, u)
    for k in range(5):
        x = (Φ @ x[..., None] + Γ @ u[..., k, :, None])[..., 0]
        torch.testing.assert_close(states[..., k, :], x, rtol=1e-12, atol=1e-12)
