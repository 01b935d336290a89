"""OpenMDAO components of fitted processes: values, partials, units, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from design_fits import gauges, levels, materials, plate, positive
from openmdao.utils.units import conversion_to_base_units, valid_units

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import CVaR, Mean, OpenMDAOComponent, Probability, Quantile, Response, Scatter, Std, objective
from surrogates.design.measures import Measure
from surrogates.design.openmdao_units import SPELLINGS, openmdao_units
from surrogates.errors import DataError, UnitsError

ALL: dict[str, Measure] = {
    "height": Mean(),
    "height_std": Std(),
    "worst": CVaR(0.9),
    "most": Quantile(0.9),
    "fits": Probability(at_most=0.4),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMDAO leaves folders behind."""
    monkeypatch.chdir(tmp_path)


def run(component: Any, values: dict[str, Any]) -> om.Problem:
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", component, promotes=["*"])
    problem.setup()
    for name, value in values.items():
        problem.set_val(name, value)
    problem.run_model()
    return problem


def check_partials(problem: om.Problem, *, step: float = 1e-4) -> None:
    """Analytic partials against Richardson's extrapolation of central differences, to 1e-6 of the largest."""
    coarse, fine = (problem.check_partials(out_stream=None, step=h, form="central")["c"] for h in (step, 0.5 * step))
    assert coarse
    for pair, entry in coarse.items():
        truth = (4 * fine[pair]["J_fd"] - entry["J_fd"]) / 3
        atol = 1e-6 * min(max(np.abs(truth).max(), 0.1), 1.0)  # rounding hides less than 1e-7
        np.testing.assert_allclose(entry["J_fwd"], truth, atol=atol, rtol=1e-6, err_msg=str(pair))


@pytest.mark.parametrize(
    ("make", "labels", "size"),
    [
        (plate, {"task": "a"}, 1),
        (plate, {"task": "a"}, 4),
        (gauges, {"task": "b", "fidelity": "probe", "over": ("model", "noise")}, 3),
        (levels, {"fidelity": "low"}, 3),
        (levels, {}, 1),
        (positive, {"task": "a"}, 2),
        (materials, {"fixed": {"material": "b"}}, 1),
        (plate, {"task": "a", "scatter": Scatter({"x": 0.05}, points=8)}, 2),
    ],
    ids=["one", "four", "gauge", "low", "high", "warped", "labels", "scattered"],
)
def test_outputs_are_measures_and_partials_are_exact(make: Any, labels: dict[str, Any], size: int) -> None:
    response = Response(make(), **labels)
    x = np.random.default_rng(0).uniform(-0.8, 0.8, (size, 2))
    near = float(objective(response).values(x)[0])
    outputs = ALL | {"fits": Probability(at_most=near + 0.01)}  # not flat
    problem = run(OpenMDAOComponent(response, outputs, vec_size=size), {"x": x[:, 0], "z": x[:, 1]})
    for name, measure in outputs.items():
        np.testing.assert_allclose(problem.get_val(name), objective(response, measure).values(x), rtol=1e-12)
    check_partials(problem)


def test_units_are_the_fits_and_are_converted() -> None:
    response = Response(plate(), task="a")
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", OpenMDAOComponent(response, ALL), promotes=["*"])
    problem.setup()
    problem.set_val("x", 0.13e-3, units="m")
    problem.set_val("z", 210, units="um")
    problem.run_model()
    truth = objective(response)([0.13, 0.21])
    assert problem.get_val("height", units="mm")[0] == pytest.approx(truth / 1000, rel=1e-9)
    meta = problem.model.get_io_metadata(metadata_keys=["units"])
    assert {entry["prom_name"]: entry["units"] for entry in meta.values()} == {
        **dict.fromkeys(("x", "z"), "mm"),
        **dict.fromkeys(("height", "height_std", "worst", "most"), "um"),
        "fits": None,
    }


def test_a_spread_of_temperatures_has_no_zero_of_its_own() -> None:
    x = np.linspace(0, 1, 12)
    data = as_dataset(x, 20 + np.sin(6 * x), inputs=["x"], target="temperature")
    data["temperature"].attrs["units"] = "degC"
    fitted = HierarchicalGP(Schema(inputs="x", target="temperature")).fit(data)
    problem = run(OpenMDAOComponent(fitted, {"temperature": Mean(), "spread": Std()}), {"x": 0.33})
    celsius, spread = problem.get_val("temperature")[0], problem.get_val("spread")[0]
    assert problem.get_val("temperature", units="degF")[0] == pytest.approx(32 + 1.8 * celsius, rel=1e-9)
    assert problem.get_val("spread", units="degR")[0] == pytest.approx(1.8 * spread, rel=1e-9)


def test_the_default_output_is_the_mean_and_inputs_start_in_the_middle() -> None:
    problem = run(OpenMDAOComponent(Response(plate(), task="a")), {})
    box = Response(plate(), task="a").bounds()
    middle = 0.5 * (box.lb + box.ub)
    np.testing.assert_allclose([problem.get_val("x")[0], problem.get_val("z")[0]], middle)
    assert problem.get_val("height")[0] == pytest.approx(objective(Response(plate(), task="a"))(middle), rel=1e-12)


def test_a_driver_finds_the_optimum_of_a_grid() -> None:
    response = Response(plate(), task="b")
    one = objective(response, Mean(1.0))
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", OpenMDAOComponent(response, {"robust": Mean(1.0)}), promotes=["*"])
    for name, low, high in zip(one.inputs, one.bounds.lb, one.bounds.ub, strict=True):
        problem.model.add_design_var(name, lower=low, upper=high)
    problem.model.add_objective("robust")
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False, tol=1e-9)
    problem.setup()
    axes = [np.linspace(a, b, 41) for a, b in zip(one.bounds.lb, one.bounds.ub, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    values = one.values(grid)
    for name, start in zip(one.inputs, grid[values.argmin()] + 0.1, strict=True):
        problem.set_val(name, start)
    assert problem.run_driver().success
    assert values.min() - 0.01 < problem.get_val("robust")[0] <= values.min() + 1e-8


# --- units ---


@pytest.mark.parametrize(
    ("units", "wanted"),
    [
        (None, None),
        ("1", None),
        ("dimensionless", None),
        ("K", "degK"),
        ("°C", "degC"),
        ("%", "percent"),
        ("W/m^2", "W/m**2"),
        ("W/m²", "W/m**2"),
        ("kWh", "kW*h"),
        ("kWh/K", "(kW*h)/degK"),
        ("N m", "N*m"),
        ("N·m", "N*m"),
        ("J/(kg K)", "J/(kg*degK)"),
        ("µm", "um"),
        ("1/h", "1/h"),
        ("m/s", "m/s"),
    ],
)
def test_common_spellings_are_openmdaos(units: str | None, wanted: str | None) -> None:
    assert openmdao_units(units, "x", given={}) == wanted


def test_kilowatt_hours_in_a_denominator_stay_together() -> None:
    found = openmdao_units("1/kWh", "price", given={})
    assert found is not None
    assert conversion_to_base_units(found)[1] == pytest.approx(1 / 3.6e6)


def test_units_mean_what_pint_says() -> None:
    pint = pytest.importorskip("pint")
    registry = pint.UnitRegistry()
    plain = ("mm", "MPa", "bar", "g/kg", "W/m^2", "kW", "L", "h", "d", "t", "eV", "mol", "C", "inch", "K")
    spelt = ("kelvin", "hour", "hr", "minute", "second", "day", "kWh", "Wh", "MWh", "l", "liter", "meter", "millimeter")
    for text in (*plain, *spelt, "micrometer", "micron", "µm", "µs", "N m", "kWh/K", "m/s^2", "1/kWh"):
        theirs = openmdao_units(text, "x", given={})
        assert theirs is not None
        offset, factor = conversion_to_base_units(theirs)
        # kilograms are a base unit of pint's here, as they are OpenMDAO's
        mine = registry.Quantity(1.0, text.replace("N m", "N*m")).to_base_units().magnitude
        assert (offset, factor) == pytest.approx((0, mine), rel=1e-6), text


def test_every_spelling_is_one_that_openmdao_knows() -> None:
    for text in SPELLINGS:
        assert valid_units(openmdao_units(text, "x", given={}))


def test_unknown_units_name_the_remedy() -> None:
    x = np.linspace(0, 1, 12)
    data = as_dataset(x, np.sin(6 * x), inputs=["x"], target="hardness")
    data["hardness"].attrs["units"], data["x"].attrs["units"] = "HRC", "mm"
    fitted = HierarchicalGP(Schema(inputs="x", target="hardness")).fit(data)
    words = r"variable 'hardness' is in 'HRC', which OpenMDAO doesn't know; .* by units=\{'hardness': \.\.\.\}"
    with pytest.raises(UnitsError, match=words):
        OpenMDAOComponent(fitted)
    with pytest.raises(UnitsError, match=r"units\['hardness'\] is 'rockwell', which OpenMDAO doesn't know"):
        OpenMDAOComponent(fitted, units={"hardness": "rockwell"})
    problem = run(OpenMDAOComponent(fitted, units={"hardness": None}), {"x": 0.4})
    assert problem.get_val("hardness")[0] == pytest.approx(objective(fitted)([0.4]), rel=1e-12)


# --- what is refused ---


def test_components_that_make_no_sense() -> None:
    response = Response(plate(), task="a")
    for size in (0, -1, 1.5, True):
        wrong: Any = size
        with pytest.raises(DataError, match=r"vec_size is .*; it must be an integer >= 1"):
            OpenMDAOComponent(response, vec_size=wrong)
    with pytest.raises(DataError, match="outputs is empty"):
        OpenMDAOComponent(response, {})
    with pytest.raises(DataError, match="'x' names an input and an output"):
        OpenMDAOComponent(response, {"x": Mean()})
    with pytest.raises(DataError, match="units name 'w', which is no variable of the component"):
        OpenMDAOComponent(response, units={"w": "mm"})
    with pytest.raises(DataError, match="task isn't given, and the model knows 'a', 'b'"):
        OpenMDAOComponent(plate())
    with pytest.raises(DataError, match="a value of 'z' that isn't finite"):
        run(OpenMDAOComponent(response), {"z": np.nan})
