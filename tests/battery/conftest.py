"""A small population, fitted once for all tests of the public model."""

from __future__ import annotations

import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates import AdaptedUnits
from surrogates.battery import EncoderRecipe, FittedVirtualBattery, VirtualBatteryNet

DAY = 96  # steps
FUTURE = slice(4 * DAY, 5 * DAY)


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


@pytest.fixture(scope="session")
def unit(neighbourhood: xr.Dataset, net: FittedVirtualBattery) -> AdaptedUnits:
    """One newcomer, met for two days."""
    return net.adapt(neighbourhood.isel(unit=4, time=slice(2 * DAY, 4 * DAY)))


@pytest.fixture(scope="session")
def pair(neighbourhood: xr.Dataset, net: FittedVirtualBattery) -> AdaptedUnits:
    """Both newcomers, met for two days."""
    return net.adapt(neighbourhood.isel(unit=slice(4, 6), time=slice(2 * DAY, 4 * DAY)))


@pytest.fixture
def tomorrow(neighbourhood: xr.Dataset) -> xr.Dataset:
    """The next day of one newcomer: power and weather."""
    return neighbourhood.isel(unit=4, time=FUTURE).drop_vars("indoor_temperature")


@pytest.fixture
def both(neighbourhood: xr.Dataset) -> xr.Dataset:
    return neighbourhood.isel(unit=slice(4, 6), time=FUTURE).drop_vars("indoor_temperature")
