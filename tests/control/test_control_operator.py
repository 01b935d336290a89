"""The modes that trajectories are expressed in, and the labels of answers."""

from __future__ import annotations

from dataclasses import replace

import torch

from surrogates import OptimalControlNet
from surrogates.control.operator import principal_modes
from surrogates.physics.optimal_control import Mesh, named_problem


def test_modes_do_not_magnify_rounding_and_not_depend_on_units() -> None:
    """A component that is 10 in all cases, but for rounding, takes no modes; one in other units takes the same."""
    mesh = Mesh.uniform(2, 4)
    s = mesh.nodes.reshape(-1, 1)
    a = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None, None]
    varies = torch.cat([torch.sin(a * s), a * s**2], -1)
    noise = 1e-15 * torch.randn(50, len(s), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    constant = principal_modes(torch.cat([varies, 10 + 10 * noise], -1).flatten(1), mesh, 3)
    alone = principal_modes(varies.flatten(1), mesh, 2)
    assert len(constant.modes) == len(alone.modes)
    values = (varies * torch.tensor([1e6, 1e-9], dtype=torch.float64)).flatten(1)
    other = principal_modes(values, mesh, 2)
    assert len(other.modes) == len(alone.modes)
    back = other.offset + other.coefficients(values) @ other.modes
    torch.testing.assert_close(back, values, rtol=1e-7, atol=1e-16)


def test_a_case_at_rest_is_judged_by_the_problems_scales_and_alone_as_among_others() -> None:
    """At the origin all that is left of x, u and p is rounding, whose relative error means nothing."""
    fitted = OptimalControlNet().fit(named_problem("scalar_lq").problem.over(initial_state=[(-1.0, 2.0)]))
    alone, together = (fitted.predict(at, certify=True, times=[0.0, 1.0]) for at in ([[0.0]], [[0.0], [1.0]]))
    for answer in (alone, together):
        for name, most in (("error", 1e-5), ("residual", 1e-2), ("hamiltonian_drift", 1e-9), ("cost_gap", 1e-9)):
            assert abs(float(answer[name][0])) < most, name
    small = fitted.predict([[1e-4]], certify=True)  # while a small one has a size: errors are those of a large one
    large = fitted.predict([[1.0]], certify=True)
    for name in ("residual", "hamiltonian_drift"):
        assert float(small[name][0]) > 0.5 * float(large[name][0]), name


def test_an_input_that_is_called_as_a_part_of_the_answer_has_another_coordinate() -> None:
    """A state "x" is the commonest of names."""
    lq = replace(named_problem("scalar_lq").problem, state_names=("x",))
    fitted = OptimalControlNet().fit(lq.over(initial_state=[(-1.0, 2.0)], parameters={"decay": (0.5, 1.5)}))
    answer = fitted.predict({"x": [1.0, -0.5], "decay": [1.0, 0.7]}, certify=True)
    assert answer.input_x.values.tolist() == answer.x.values[:, 0, 0].tolist() == [1.0, -0.5]
    assert answer.decay.values.tolist() == [1.0, 0.7]
    assert answer.state.values.tolist() == ["x"]
