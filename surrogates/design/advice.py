"""`advise`: which task, which fidelity, which place next, given what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError
from surrogates.gp.by_draw import ByDraw, Fitted, Places, by_draw
from surrogates.schema import as_labelled

from .aims import aim_of
from .answer import Best, Step, labelled, require_free_names
from .beliefs import Asked, Beliefs, beliefs_at
from .candidates import Bounds, Box, Constraints, Option, feasible, given_table, make_box, spread_out
from .costs import Costs, options_with_price, prices
from .gains import Measure
from .goals import Goal, goal_of

#: places of each option, where the user gives no table, and how its best ones are moved: rounds, tries per round, and
#: what each round narrows the one before by
PLACES, ROUNDS, NEIGHBOURS, NARROWING = 64, 3, 12, 0.3


@dataclass(frozen=True)
class Search:
    """Everything that stays the same from one suggestion of a batch to the next."""

    model: ByDraw
    box: Box
    options: Mapping[Option, float | None]
    costs: Costs
    constraints: Constraints | None
    measure: Measure
    seed: int

    def rows(self, table: xr.Dataset) -> list[Option]:
        """The option of each candidate."""
        schema, m = self.model.schema, table.sizes["candidate"]
        columns = [
            [None] * m if name is None else table[name].to_numpy().tolist() for name in (schema.task, schema.fidelity)
        ]
        return [Option(*pair) for pair in zip(*columns, strict=True)]


def advise(
    fitted: Fitted,
    *,
    costs: Costs,
    goal: Goal | str = "map",
    bounds: Bounds | None = None,
    candidates: int | xr.Dataset | pd.DataFrame = PLACES,
    count: int = 1,
    pending: xr.Dataset | pd.DataFrame | None = None,
    constraints: Constraints | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The next experiment, or a batch: the task, fidelity and place that promise most for their cost.

    What a reading is expected to be worth has a closed form for each draw of the hyper-parameters (see
    `surrogates.design.gains`), which are kept, as `fitted.update` keeps them; the gain is the mean over the draws. All
    readings that `fitted` has are known; none is given up. A place may be asked again where its reading has noise, but not
    where f is known exactly.

    Parameters
    ----------
    fitted : a fitted `HierarchicalGP` or `MultiFidelityGP`
    costs : of one reading: one number; a mapping of fidelity, or of (task, fidelity), to numbers (of task, where the schema
        names no fidelity); or a function that takes a table of candidates, over the dim ``candidate``, and gives one number
        for each. What a mapping lacks isn't asked
    goal : a `Map`, `LevelSet` or `Optimum`, or "map", "minimise" or "maximise"
    bounds : of some inputs: (low, high) in the units of the fit, or allowed labels; of the others, the readings' range
    candidates : how many places to try for each task and fidelity; the best ones are then moved about. Or a table of the
        places that can be reached, which are taken as they are; each task and fidelity it doesn't name is tried
    count : suggestions; each takes for granted that those before it will be read. Fewer come, or none, where all
        candidates are known exactly or going to be
    pending : experiments that are under way, if any: inputs, task and fidelity
    constraints : takes a table of candidates, and says with True or False for each whether it may be asked; an optimum is
        chosen among such places too
    seed : of the places tried

    Returns
    -------
    xr.Dataset over ``suggestion``, best first:
        - the inputs, with their units, task and fidelity, under the schema's names
        - gain, cost, gain_per_cost: of each suggestion. The gain is in the target's units: see its attrs
        - expected: the goal's measure after that suggestion and those before it, as it is expected now
        - option_<name>: the same over ("suggestion", "option"): the best that every task and fidelity could have done
          instead, for whoever knows better; NaN where nothing was left to ask

    Raises
    ------
    DataError
        Costs that aren't positive, names that the model doesn't know, a goal that is none, bounds, candidates or
        constraints that leave nothing to ask, a model with a warped target or with vectors as inputs.

    Notes
    -----
    With several draws, what they disagree about (the variance between their means) is not part of the gain. The covariance
    of a nonlinear chain of fidelities comes from joint draws; it is the best Gaussian guess of what a reading would teach.

    Examples
    --------
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> x = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    >>> data = as_dataset(x, np.sin(6 * x), inputs=["x"])
    >>> advice = advise(HierarchicalGP(Schema(inputs="x", target="y")).fit(data), costs=1.0, goal="map")
    >>> bool(0.4 < advice["x"].item() < 0.8)
    True
    """
    whole(count, "count")
    whole(seed, "seed", least=0)
    model = by_draw(fitted)
    require_free_names(model.schema)
    options = options_with_price(costs, model.schema, model.vocabulary)
    box = make_box(model, bounds)
    reference, measure = aim_of(goal_of(goal), model, box, constraints, seed)
    if isinstance(candidates, xr.Dataset | pd.DataFrame):
        table, moves = given_table(model, candidates, list(options)), []
    else:
        whole(candidates, "candidates")
        table = spread_out(box, list(options), candidates, constraints, seed)
        moves = _radii(candidates, len(model.schema.inputs))
    search = Search(model, box, options, costs, constraints, measure, seed)
    beliefs = beliefs_at(model, reference)
    if pending is not None and _has_rows(pending):
        beliefs = _given_pending(beliefs, pending)
    return _batch(search, beliefs, table, count, moves)


def _batch(search: Search, beliefs: Beliefs, table: xr.Dataset, count: int, moves: list[float]) -> xr.Dataset:
    """Suggestions one after the other, each given those before it."""
    table = _priced(search, table)
    asked, expected = beliefs.ask(table), search.measure.expected(beliefs)
    generator = np.random.default_rng([search.seed, 1])
    steps: list[Step] = []
    for step in range(count):
        best = _best(search, beliefs, table, asked)
        for radius in moves:
            if best:
                best = _moved(search, beliefs, best, radius, generator)
        if not best:
            break  # all candidates are known exactly, or are going to be
        chosen = max(best.values(), key=lambda one: one.rate)
        expected += search.measure.direction * chosen.gain
        steps.append(Step(chosen, best, expected))
        if step + 1 < count:
            one = beliefs.ask(chosen.row)
            asked, beliefs = beliefs.refreshed(asked, one), beliefs.given(one)
    return labelled(search.model, table.isel(candidate=slice(0, 0)), list(search.options), search.measure, steps)


def _best(search: Search, beliefs: Beliefs, table: xr.Dataset, asked: Asked) -> dict[Option, Best]:
    """The best candidate of each option that has one."""
    gain = search.measure.gains(beliefs, asked)
    rows = search.rows(table)
    cost = prices(search.costs, search.options, rows, table)
    rate = np.where(_is_known(beliefs, asked.places), -np.inf, gain / cost)
    found: dict[Option, Best] = {}
    of_option: dict[Option, list[int]] = {}
    for k, option in enumerate(rows):
        of_option.setdefault(option, []).append(k)
    for option, mine in of_option.items():
        k = mine[int(np.argmax(rate[mine]))]
        if rate[k] > -np.inf:
            found[option] = Best(table.isel(candidate=[k]), float(gain[k]), float(cost[k]))
    return found


def _moved(
    search: Search, beliefs: Beliefs, best: dict[Option, Best], radius: float, generator: np.random.Generator
) -> dict[Option, Best]:
    """The best of each option, or a better place near it."""
    rows = xr.concat([one.row for one in best.values()], "candidate")
    near = search.box.around(rows, NEIGHBOURS, radius, generator)
    near = near.isel(candidate=np.flatnonzero(feasible(search.constraints, near)))
    if not near.sizes["candidate"]:
        return best
    better = _best(search, beliefs, near, beliefs.ask(near))
    return {
        option: max((one, better.get(option, one)), key=lambda candidate: candidate.rate)
        for option, one in best.items()
    }


def _is_known(beliefs: Beliefs, places: Places) -> NDArray[np.bool_]:
    """Which of the places would be read without noise a second time."""
    asked_for = beliefs.asked_for
    once = asked_for.take(np.flatnonzero(asked_for.exact))
    known = beliefs.model.exact_readings.met_by(places) | once.met_by(places)
    return np.asarray(known & places.exact)


def _priced(search: Search, table: xr.Dataset) -> xr.Dataset:
    """The candidates that have a price and that the constraints allow."""
    has_price = np.array([row in search.options for row in search.rows(table)], dtype=bool)
    kept = table.isel(candidate=np.flatnonzero(has_price))
    kept = kept.isel(candidate=np.flatnonzero(feasible(search.constraints, kept)))
    if not kept.sizes["candidate"]:
        raise DataError(
            f"none of {table.sizes['candidate']} candidates has a price ({int(has_price.sum())} have) and meets the "
            f"constraints; give other candidates, or more costs"
        )
    return kept


def _has_rows(pending: xr.Dataset | pd.DataFrame) -> bool:
    """Whether anything is under way; ``loop.pending`` of a loop that has asked for nothing holds none."""
    return bool(len(pending)) if isinstance(pending, pd.DataFrame) else 0 not in pending.sizes.values()


def _given_pending(beliefs: Beliefs, pending: xr.Dataset | pd.DataFrame) -> Beliefs:
    """What will be known when all that is under way has been read."""
    schema = beliefs.model.schema
    data = as_labelled(pending)
    missing = [name for name in (schema.task, schema.fidelity) if name is not None and name not in data.variables]
    if missing:
        raise DataError(f"pending lacks {', '.join(map(repr, missing))}; every experiment under way has one")
    table = given_table(beliefs.model, data, [])
    for k in range(table.sizes["candidate"]):
        beliefs = beliefs.given(beliefs.ask(table.isel(candidate=[k])))
    return beliefs


def _radii(candidates: int, inputs: int) -> list[float]:
    """How far the best candidates are moved in every round, as a share of the box: at first, by the gap between them."""
    return [candidates ** (-1.0 / inputs) * NARROWING**k for k in range(ROUNDS)]
