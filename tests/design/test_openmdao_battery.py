"""Rooms as OpenMDAO components: equal to forecasts and thermostats, exact partials, schedules that pay, what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates import AdaptedUnits, VirtualBatteryNet
from surrogates.battery import EncoderRecipe, FittedVirtualBattery
from surrogates.design import OpenMDAOBattery, OpenMDAOThermostat
from surrogates.errors import DataError

DAY = 48  # steps


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def rooms() -> xr.Dataset:
    return small_rooms(units=4, days=11, minutes=30, seed=3)


@cache
def net(encoder: bool = False) -> FittedVirtualBattery:
    recipe = EncoderRecipe(steps=3) if encoder else None
    return VirtualBatteryNet(encoder=recipe, has_residual=True).fit(rooms().isel(time=slice(0, 10 * DAY)))


@cache
def room(encoder: bool = False) -> AdaptedUnits:
    return net(encoder).population


def tomorrow(steps: int = DAY) -> xr.Dataset:
    return rooms().isel(unit=[2], time=slice(10 * DAY, 10 * DAY + steps)).drop_vars("indoor_temperature")


def run(component: Any, name: str, values: Any) -> om.Problem:
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", component, promotes=["*"])
    problem.setup()
    problem.set_val(name, values)
    problem.run_model()
    return problem


def check_partials(problem: om.Problem) -> None:
    found = problem.check_partials(out_stream=None, step=1e-5, form="central")["c"]
    assert len(found) in (2, 3)
    for pair, entry in found.items():
        atol = 1e-6 * max(np.abs(entry["J_fd"]).max(), 0.1)
        np.testing.assert_allclose(entry["J_fwd"], entry["J_fd"], atol=atol, rtol=0, err_msg=str(pair))


@pytest.mark.parametrize("encoder", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "encoder"])
@pytest.mark.parametrize("most", [1.0, 4.0], ids=["usual", "beyond the bend"])
def test_the_temperature_is_that_of_the_forecast(encoder: bool, most: float) -> None:
    component, ahead = OpenMDAOBattery(room(encoder), tomorrow()), tomorrow()
    power = np.random.default_rng(0).uniform(0, most, DAY)
    ahead["power"] = (("unit", "time"), power[None], {"units": "kW"})
    problem, truth = run(component, "power", power), room(encoder).predict(ahead).squeeze("unit")
    np.testing.assert_allclose(problem.get_val("temperature"), truth["temperature"], atol=1e-9)
    np.testing.assert_allclose(problem.get_val("state_of_charge"), truth["state_of_charge"], atol=1e-9)
    np.testing.assert_allclose(problem.get_val("temperature_std"), truth["std"], rtol=1e-12)
    check_partials(problem)


def test_a_thermostat_holds_what_it_can() -> None:
    wanted = np.repeat(np.random.default_rng(1).uniform(22, 28, 12), 4)
    problem = run(OpenMDAOThermostat(room(), tomorrow()), "set_point", wanted)
    power, air = problem.get_val("power"), problem.get_val("temperature")
    limit = OpenMDAOBattery(room(), tomorrow()).power_limit
    inside = (power > 1e-9) & (power < limit - 1e-9)
    assert 0.3 < inside.mean() < 1
    np.testing.assert_allclose(air[inside], wanted[inside], atol=1e-9)
    assert (air[power < 1e-9] < wanted[power < 1e-9] + 1e-9).all()  # off since it is cool enough
    assert (air[power > limit - 1e-9] > wanted[power > limit - 1e-9] - 1e-9).all()
    again = run(OpenMDAOBattery(room(), tomorrow()), "power", power)
    np.testing.assert_allclose(again.get_val("temperature"), air, atol=1e-12)
    check_partials(problem)


def test_a_thermostat_draws_what_a_plan_without_doubts_does() -> None:
    certain = replace(room(), prints=replace(room().prints, spread=np.full(4, 1e-9)))
    plan = certain.plan(tomorrow(), 24.0, draws=64).squeeze("unit")
    problem = run(OpenMDAOThermostat(room(), tomorrow()), "set_point", np.full(DAY, 24.0))
    # the plan's draws still have past days' disturbances, with either sign
    assert np.abs(problem.get_val("power") - plan["power"]).mean() < 0.1 * float(plan["power"].mean())


def test_a_driver_moves_power_to_cheap_hours_within_comfort() -> None:
    steps, price = 40, np.where(np.arange(40) < 28, 0.02, 0.4)  # dear from 14 to 20 h
    component = OpenMDAOBattery(room(), tomorrow(steps))
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("room", component, promotes=["*"])
    cost = om.ExecComp("cost = sum(price * drawn) / 2", price={"val": price}, drawn={"shape": steps, "units": "kW"})
    problem.model.add_subsystem("bill", cost, promotes=["cost", ("drawn", "power")])
    problem.model.set_input_defaults("power", val=np.zeros(steps), units="kW")
    problem.model.add_design_var("power", lower=0.0, upper=component.power_limit)
    problem.model.add_constraint("temperature", upper=26.0, lower=22.0)
    problem.model.add_objective("cost")
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False, tol=1e-7, maxiter=100)
    problem.setup()
    held = run(OpenMDAOThermostat(room(), tomorrow(steps)), "set_point", np.full(steps, 26.0)).get_val("power")
    problem.set_val("power", held)
    assert problem.run_driver().success
    power, air = problem.get_val("power"), problem.get_val("temperature")
    assert air.max() < 26 + 1e-5
    assert price @ power < 0.97 * (price @ held)
    assert power[:28].sum() > held[:28].sum()  # it pre-cools


def test_what_makes_no_sense_is_refused() -> None:
    wrong: Any = net()
    with pytest.raises(DataError, match=r"a FittedVirtualBattery is no adapted unit; give what .*adapt\(\) gives"):
        OpenMDAOBattery(wrong, tomorrow())
    many = rooms().isel(time=slice(9 * DAY, 10 * DAY))
    with pytest.raises(DataError, match="there are 4 units ahead; a component holds one"):
        OpenMDAOBattery(net().population, many, start=many["time"].values[-9])
    with pytest.raises(DataError, match="power of step 3 is -1; it must be between 0 and inf"):
        run(OpenMDAOBattery(room(), tomorrow(8)), "power", np.where(np.arange(8) == 3, -1.0, 0.5))
    with pytest.raises(DataError, match="set_point of step 0 is nan; it must be between -30 and 60"):
        run(OpenMDAOThermostat(room(), tomorrow(8)), "set_point", np.nan)
    with pytest.raises(DataError, match="start is"):
        OpenMDAOThermostat(room(), tomorrow(8), start="2031-01-01")
