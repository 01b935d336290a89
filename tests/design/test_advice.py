"""What advice is made of, and what it does with units, labels, costs, exact places and constraints."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from advised import COSTS, SCHEMA, candidates, fitted, table

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema
from surrogates.design import LevelSet, Loop, Map, Optimum, advise, run
from surrogates.gp import Categorical, Smooth

UNITS = {"x": "mm", "v": "m/s", "y": "um"}


def with_units(data: xr.Dataset, units: dict[str, str]) -> xr.Dataset:
    return data.assign({name: data[name].assign_attrs(units=unit) for name, unit in units.items() if name in data})


@cache
def in_units() -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, integrate=False).fit(with_units(table().drop_vars("s"), UNITS))


def test_it_says_what_where_at_what_cost_and_what_could_be_had_instead() -> None:
    advice = advise(in_units(), costs=COSTS, count=2)
    assert advice.sizes == {"suggestion": 2, "option": 4}
    assert [advice[name].attrs.get("units") for name in ("x", "v", "gain", "expected")] == [
        "mm",
        "m/s",
        "(um)**2",
        "(um)**2",
    ]
    assert advice["gain"].attrs["long_name"] == "expected reduction of the mean variance of y"
    np.testing.assert_allclose(advice["gain_per_cost"], advice["gain"] / advice["cost"])
    assert set(zip(advice["option_part"].values, advice["option_gauge"].values, strict=True)) == {
        (part, gauge) for part in "ab" for gauge in COSTS
    }
    best = advice["option_gain_per_cost"]
    np.testing.assert_array_equal(best.max("option"), advice["gain_per_cost"])
    chosen = advice.isel(suggestion=0)
    option = int(np.argmax(best[0].to_numpy()))
    assert chosen["option_x"][option] == chosen["x"]
    assert (chosen["option_part"][option], chosen["option_gauge"][option]) == (chosen["part"], chosen["gauge"])
    np.testing.assert_allclose(advice["option_cost"][0], [COSTS[g] for g in advice["option_gauge"].values])


def test_gains_of_other_goals_have_their_own_units() -> None:
    level = advise(in_units(), costs=COSTS, goal=LevelSet(40.0))
    assert (level["gain"].attrs["units"], level["expected"].attrs["units"]) == ("1", "1")
    best = advise(in_units(), costs=COSTS, goal=Optimum("maximise", task="a"))
    assert best["gain"].attrs == {"long_name": "expected increase of the best mean of y", "units": "um"}
    assert best["expected"].item() > best["gain"].item()


@pytest.mark.parametrize("goal", ["map", "level", "optimum"])
def test_a_change_of_units_changes_nothing_but_the_numbers(goal: str) -> None:
    pytest.importorskip("pint")
    data = with_units(table().drop_vars("s"), UNITS)
    other = data.assign(x=data["x"] * 1e-3, y=data["y"] * 1e-3)
    other = with_units(other, {"x": "m", "v": "m/s", "y": "mm"})
    scaled = HierarchicalGP(SCHEMA, integrate=False).fit(other)
    power = {"map": 2, "level": 0, "optimum": 1}[goal]
    goals = {"map": ("map", "map"), "level": (LevelSet(40.0), LevelSet(0.04)), "optimum": (Optimum(task="a"),) * 2}[
        goal
    ]
    one = advise(in_units(), costs=COSTS, goal=goals[0], count=2)  # type: ignore[arg-type]
    two = advise(scaled, costs=COSTS, goal=goals[1], count=2)  # type: ignore[arg-type]
    assert (one["part"] == two["part"]).all()
    assert (one["gauge"] == two["gauge"]).all()
    np.testing.assert_allclose(two["x"], one["x"] * 1e-3, rtol=1e-4)
    np.testing.assert_allclose(two["gain"], one["gain"] * 10.0 ** (-3 * power), rtol=1e-4)
    reachable = with_units(candidates(), {"x": "m", "v": "m/s"})
    reachable = reachable.assign(x=(reachable["x"] * 1e-3).assign_attrs(units="m"))
    found = advise(in_units(), costs=COSTS, goal=goals[0], candidates=reachable)  # type: ignore[arg-type]
    assert found["x"].attrs["units"] == "m"
    assert found["x"].item() in reachable["x"].to_numpy()


def test_the_same_seed_gives_the_same_advice() -> None:
    one, two, other = (advise(fitted("one draw"), costs=COSTS, count=2, seed=seed) for seed in (4, 4, 5))
    xr.testing.assert_identical(one, two)
    assert not np.array_equal(one["x"], other["x"])
    # but not a much better or worse one
    np.testing.assert_allclose(one["gain_per_cost"], other["gain_per_cost"], rtol=0.1)


def test_the_data_and_the_model_stay_as_they_were() -> None:
    rows, model = candidates(), fitted("one draw")
    before, answer = rows.copy(deep=True), model.predict(rows)
    advise(model, costs=COSTS, candidates=rows, pending=rows, count=2)
    xr.testing.assert_identical(rows, before)
    xr.testing.assert_identical(model.predict(rows), answer)


def test_at_equal_gain_the_cheaper_gauge_is_preferred_and_a_far_dearer_one_is_not() -> None:
    model = fitted("one draw")
    assert advise(model, costs={"fine": 1.0, "rough": 1.0})["gauge"].item() == "fine"
    assert advise(model, costs={"fine": 1e6, "rough": 1.0})["gauge"].item() == "rough"
    assert advise(model, costs={"fine": 1.0})["gauge"].item() == "fine"  # without a price nothing is asked
    priced = {"fine": 1.0, ("a", "fine"): 1e6}
    assert advise(model, costs=priced)["part"].item() == "b"
    assert advise(model, costs=dict(reversed(priced.items())))["part"].item() == "b"


def test_moving_the_best_places_makes_them_better() -> None:
    model = fitted("one draw")
    places = advise(model, costs=COSTS, candidates=16)
    assert ((places["x"] >= 0) & (places["x"] <= 4)).all()
    many = advise(model, costs=COSTS, candidates=512)
    assert places["gain_per_cost"].item() > 0.9 * many["gain_per_cost"].item()


def test_exact_places_are_not_asked_twice_but_noisy_ones_may_be() -> None:
    exact, noisy = fitted("exact"), fitted("one draw")
    data = table()
    read = data[["x", "v", "part"]].isel(sample=[0, 1, 2])
    new = xr.Dataset({"x": ("sample", [0.1]), "v": ("sample", [0.9]), "part": ("sample", ["a"])})
    rows = xr.concat([read, new], "sample").rename(sample="candidate")
    assert advise(exact, costs={"fine": 1.0}, candidates=rows)["x"].item() == 0.1
    fewer = advise(exact, costs={"fine": 1.0}, candidates=rows, count=2)
    assert fewer["x"].to_numpy().tolist() == [0.1]
    none = advise(exact, costs={"fine": 1.0}, candidates=rows, pending=rows.assign(gauge=("candidate", ["fine"] * 4)))
    assert none.sizes == {"suggestion": 0, "option": 2}
    assert set(none.variables) == set(fewer.variables)
    one = rows.isel(candidate=[3])
    again = advise(noisy, costs={"rough": 1.0}, candidates=one, count=5)
    assert (again["x"] == 0.1).all()
    assert (np.diff(again["gain"]) < 0).all()
    many = advise(exact, costs=1.0, count=12)
    assert len(np.unique(np.stack([many["x"], many["v"]]), axis=1).T) >= 6  # of every place, at most one for each part
    pairs = list(zip(many["x"].values, many["v"].values, many["part"].values, strict=True))
    assert len(set(pairs)) == 12


def test_known_noise_of_a_candidate_counts() -> None:
    model = fitted("known noise")
    row = candidates(1)
    gains = [
        advise(model, costs=1.0, candidates=row.assign(s=("candidate", [s])))["gain"].item() for s in (0.0, 0.1, 5.0)
    ]
    assert gains[0] > gains[1] > 5 * gains[2] > 0
    unknown = advise(model, costs=1.0, candidates=row.assign(s=("candidate", [np.nan])))["gain"].item()
    assert unknown == pytest.approx(advise(model, costs=1.0, candidates=row)["gain"].item())


def test_costs_may_be_a_function_of_the_table() -> None:
    model, seen = fitted("one draw"), []

    def costs(rows: xr.Dataset) -> xr.DataArray:
        seen.append(set(map(str, rows.variables)))
        return 1.0 + 100.0 * (rows["x"] > 2) + 10.0 * (rows["gauge"] == "fine")

    advice = advise(model, costs=costs)
    assert advice["x"].item() <= 2
    assert seen[0] == {"x", "v", "part", "gauge"}
    far = candidates().assign(distance=("candidate", np.arange(6.0) + 1))
    assert advise(model, costs=lambda rows: rows["distance"] ** 9, candidates=far)["cost"].item() == 1.0


def test_constraints_hold_for_spread_moved_and_given_places() -> None:
    model = fitted("one draw")

    def allowed(rows: xr.Dataset) -> xr.DataArray:
        return (rows["x"] + 2 * rows["v"] < 1.5) & ~((rows["part"] == "a") & (rows["gauge"] == "fine"))

    advice = advise(model, costs=COSTS, constraints=allowed, count=4)
    assert (advice["x"] + 2 * advice["v"] < 1.5).all()
    forbidden = (advice["option_part"] == "a") & (advice["option_gauge"] == "fine")
    assert np.isnan(advice["option_gain"].isel(option=int(np.argmax(forbidden.to_numpy())))).all()
    chosen = advise(model, costs=COSTS, constraints=lambda rows: rows["x"] > 3.0, candidates=candidates(30))
    assert chosen["x"].item() > 3.0
    rare = advise(model, costs=COSTS, bounds={"x": (0, 4)}, constraints=lambda rows: rows["x"] > 3.95)
    assert rare["x"].item() > 3.95


def test_an_optimum_is_chosen_where_something_may_be_asked() -> None:
    model = fitted("one draw")
    box = {"x": (0, 4), "v": (-1, 1)}
    free, held = (
        advise(model, costs=COSTS, goal=Optimum("minimise", task="a"), constraints=rule, bounds=box)
        for rule in (None, lambda rows: rows["x"] < 1.0)
    )
    grid = xr.Dataset(coords={"x": np.linspace(0, 1, 60), "v": np.linspace(-1, 1, 60)})
    lowest = model.predict(grid.assign(part="a"))["mean"].min().item()
    best = (held["expected"] + held["gain"]).item()
    assert lowest - 0.01 < best < lowest + 0.5
    assert (free["expected"] + free["gain"]).item() < lowest - 0.5


def test_bounds_narrow_and_widen_the_readings_range() -> None:
    model = fitted("one draw")
    inside = advise(model, costs=COSTS, bounds={"x": (1.0, 1.5)}, count=3)
    assert ((inside["x"] >= 1.0) & (inside["x"] <= 1.5)).all()
    assert advise(model, costs=COSTS, bounds={"x": (6.0, 9.0)})["x"].item() >= 6.0
    assert advise(model, costs=COSTS, bounds={"v": (0.3, 0.3)})["v"].item() == 0.3


def test_a_grid_of_places_is_tried_for_every_task_and_gauge() -> None:
    grid = xr.Dataset(coords={"x": np.linspace(0, 4, 5), "v": np.linspace(-1, 1, 3)})
    advice = advise(fitted("one draw"), costs=COSTS, candidates=grid, goal=Map(reference=grid))
    assert advice["x"].item() in grid["x"].to_numpy()
    assert advice["v"].item() in grid["v"].to_numpy()
    frame = grid.to_dataframe().reset_index()
    xr.testing.assert_identical(
        advise(fitted("one draw"), costs=COSTS, candidates=frame, goal=Map(reference=grid)), advice
    )
    assert isinstance(frame, pd.DataFrame)
    one = xr.Dataset({"x": 1.0, "v": 0.0})
    assert advise(fitted("one draw"), costs=COSTS, candidates=one)["x"].item() == 1.0


def test_labels_as_inputs_and_numbers_as_tasks() -> None:
    rng = np.random.default_rng(0)
    material, line = np.array(["brass", "steel", "zinc"])[np.arange(24) % 3], np.arange(24) % 2
    x = rng.uniform(0, 1, 24)
    data = xr.Dataset(
        {
            "x": ("n", x),
            "material": ("n", material),
            "line": ("n", line),
            "y": ("n", np.sin(5 * x) + (material == "zinc") + 0.1 * line + 0.01 * rng.standard_normal(24)),
        }
    )
    schema = Schema(inputs=("x", "material"), target="y", task="line")
    model = HierarchicalGP(schema, kernel=Smooth("x") * Categorical("material")).fit(data)
    advice = advise(model, costs={0: 1.0, 1: 2.0}, count=3)
    assert set(advice["material"].values) <= set(material)
    assert set(advice["option_line"].values) == {0, 1}
    assert advice["option_material"].shape == (3, 2)
    only = advise(model, costs=1.0, bounds={"material": ["zinc"]}, goal=Optimum("minimise", task=1))
    assert only["material"].item() == "zinc"


def test_models_without_tasks_or_fidelities_need_one_number() -> None:
    data = table()[["x", "v", "y"]]
    model = HierarchicalGP(Schema(inputs=("x", "v"), target="y")).fit(data)
    for goal in ("map", "minimise", LevelSet(40.0)):
        advice = advise(model, costs=2.0, goal=goal)  # type: ignore[arg-type]
        assert advice.sizes == {"suggestion": 1, "option": 1}
        assert advice["cost"].item() == 2.0


def test_fidelities_with_functions_of_their_own_are_weighed() -> None:
    model = fitted("noisy coregional")
    advice = advise(model, costs={"rough": 1.0, "fine": 100.0}, goal=Map(fidelity="fine"), count=2)
    assert set(advice["option_gauge"].values) == {"rough", "fine"}
    of_rough = advise(model, costs=1.0, goal=Map(fidelity="rough"), candidates=candidates())
    of_fine = advise(model, costs=1.0, candidates=candidates())
    assert of_rough["gain"].item() != of_fine["gain"].item()


def test_a_loop_asks_for_it(tmp_path: Path) -> None:
    first = table(n=12).drop_vars("s")
    model = HierarchicalGP(SCHEMA, integrate=False)
    suggest = partial(advise, costs=COSTS, bounds={"x": (0, 4), "v": (-1, 1)}, candidates=16)

    def experiment(at: xr.Dataset) -> float:
        return 40 + 3 * np.sin(2 * at["x"].item()) + 1.5 * at["v"].item() * at["x"].item()

    with Loop(model, first, suggest, path=tmp_path / "loop.jsonl", repeat=True) as loop:
        done = run(loop, experiment, evaluations=6, batch=2)
        assert loop.data.sizes[loop.data["y"].dims[0]] == 18
    made = done["cost"].to_numpy()[12:]
    assert len(made) == 6
    assert set(made) <= set(COSTS.values())
    at = xr.Dataset(coords={"x": np.linspace(0, 4, 9), "v": np.linspace(-1, 1, 5)}).assign(part="a")
    before, after = (model.fit(data).predict(at)["std"].mean() for data in (first, loop.data))
    assert after < before


@pytest.mark.parametrize("structure", ["autoregressive", "nonlinear"])
def test_chains_of_exact_codes_are_asked_where_they_help(structure: str) -> None:
    model = fitted(f"exact {structure}")
    grid = xr.Dataset(coords={"x": np.linspace(0, 4, 6), "v": np.linspace(-1, 1, 3)})
    advice = advise(model, costs=1.0, candidates=candidates(), goal=Map(reference=grid), count=3)
    assert np.isfinite(advice["gain"]).all()
    assert (advice["gain"] > 0).all()
    assert (advice["expected"] >= -1e-12).all()


def test_nothing_under_way_is_nothing_given() -> None:
    model = fitted("one draw")
    loop = Loop(HierarchicalGP(model.schema, integrate=False), table(), partial(advise, costs=COSTS))
    for nothing in (loop.pending, loop.pending.to_dataframe()):
        xr.testing.assert_identical(
            advise(model, costs=COSTS, candidates=8, pending=nothing), advise(model, costs=COSTS, candidates=8)
        )
