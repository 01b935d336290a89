"""Units and kinds of the values that a loop is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import Loop, Outcome, run
from surrogates.errors import DataError, UnitsError


def anywhere(fitted: object, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset:
    return xr.Dataset({"x": ("suggestion", torch.rand(count, dtype=torch.float64).numpy())})


def loop_in_micrometres() -> Loop:
    first = as_dataset([0.0, 0.25, 0.6, 1.0], [0.3, 0.1, 0.5, 0.9], inputs=["x"])
    first["y"].attrs["units"] = "um"
    return Loop(HierarchicalGP(Schema(inputs="x", target="y"), noise="none", integrate=False), first, anywhere)


def in_units(value: float | list[float], units: str) -> xr.DataArray:
    return xr.DataArray(value, dims=["suggestion"] * np.ndim(value), attrs={"units": units})


def test_values_with_units_of_their_own_are_converted() -> None:
    pytest.importorskip("pint")
    loop = loop_in_micrometres()
    loop.tell(loop.ask(2)["id"], in_units([2e-3, 3e-3], "mm"))
    loop.tell(loop.ask()["id"], xr.DataArray(5.0))
    assert loop.plain(in_units(1.5, "mm")) == pytest.approx(1500.0)
    run(loop, lambda at: in_units(7e-3, "mm"), evaluations=4)  # type: ignore[arg-type,return-value]
    run(loop, lambda at: Outcome(in_units(8e-3, "mm")), evaluations=5)  # type: ignore[arg-type]
    np.testing.assert_allclose(loop.data["y"][4:], [2.0, 3.0, 5.0, 7.0, 8.0])
    asked = loop.ask()
    with pytest.raises(UnitsError, match="'y'"):
        loop.tell(asked["id"], in_units(1.0, "kg"))
    assert loop.pending.sizes["suggestion"] == 1


@pytest.mark.parametrize("value", [1 + 2j, np.complex128(1 + 2j)])
def test_complex_values_are_no_numbers(value: complex) -> None:
    loop = loop_in_micrometres()
    with pytest.raises(DataError, match=r"value of 'y' is .* a complex.*; one number is wanted"):
        loop.tell(loop.ask()["id"], value)
    history = run(loop, lambda at: value, evaluations=1)  # type: ignore[arg-type,return-value]
    assert "is complex; a real number is wanted" in str(history["failed"].to_numpy()[-1])
