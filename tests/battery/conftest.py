"""A small population, fitted once for all tests of the public model."""

from __future__ import annotations

import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates.battery import EncoderRecipe, FittedVirtualBattery, VirtualBatteryNet


@pytest.fixture(scope="session")
def neighbourhood() -> xr.Dataset:
    """Six rooms over eleven days; the last two are met as newcomers."""
    return small_rooms(units=6, days=11, seed=3)


@pytest.fixture(scope="session")
def net(neighbourhood: xr.Dataset) -> FittedVirtualBattery:
    return VirtualBatteryNet(encoder=None).fit(neighbourhood.isel(unit=slice(0, 4)))


@pytest.fixture(scope="session")
def net_with_encoder(neighbourhood: xr.Dataset) -> FittedVirtualBattery:
    return VirtualBatteryNet(encoder=EncoderRecipe(steps=5)).fit(neighbourhood.isel(unit=slice(0, 4)))
