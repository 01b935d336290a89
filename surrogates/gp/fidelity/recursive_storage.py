"""Recursive fits as JSON and arrays, and on other readings: the same hyper-parameters, everything else made again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core import Core
from ..laplace import Draws
from ..sharing import Exchangeable
from .imputation import Pins
from .level import Level, Recipe, Rho, scaled_level, settings_of
from .levels import Levels
from .nested import single_parents
from .parts import Structure

if TYPE_CHECKING:
    from .recursive_fit import RecursiveFit

Floats = NDArray[np.float64]


def rebuilt(fit: RecursiveFit, levels: Levels) -> RecursiveFit:
    """The fit's hyper-parameters on other readings.

    Raises
    ------
    DataError
        If autoregressive levels are no longer nested and exact.
    """
    from .recursive import IMPUTATIONS, Maker, build_members, require_nested

    require_nested(levels, fit.structure)
    recipe = fit.recipe

    def maker(old: tuple[Level, ...]) -> Maker:
        def make(level: int, values: Floats, before: tuple[Level, ...]) -> Level:
            return _with_values(old[level], levels, level, values, recipe)

        return make

    olds = [member.levels for member in fit.members]
    # one member suffices only as long as the parents are known well enough
    makers = tuple(maker(old) for old in (olds if len(olds) > 1 else olds * IMPUTATIONS))
    return replace(fit, data=levels, members=build_members(levels, recipe, makers))


def _with_values(old: Level, levels: Levels, level: int, values: Floats, recipe: Recipe) -> Level:
    """A level's hyper-parameters with new readings, and new values (n,) of its parent."""
    sharing = old.core.layout.sharing
    assert isinstance(sharing, Exchangeable)
    settings = replace(old.core.settings, sharing=replace(sharing, tasks=levels.tasks))
    jitter = old.core.scaled.readings.exact
    scaled = scaled_level(levels, level, values, (old.width, old.factor), recipe, jitter)
    return old._replace(core=Core(scaled, settings, old.core.draws, old.core.mode), values=values)


def packed(fit: RecursiveFit) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays from which `unpack_recursive` makes the same fit on the same readings."""
    arrays: dict[str, NDArray[Any]] = {}
    members = []
    for m, member in enumerate(fit.members):
        headers = []
        for l, (level, pins) in enumerate(zip(member.levels, member.pins, strict=True)):
            draws, key = level.core.draws, f"{m}.{l}"
            headers.append(
                {
                    "width": level.width,
                    "factor": level.factor,
                    "log_evidence": level.log_evidence,
                    "is_success": level.is_success,
                    "evaluations": level.evaluations,
                    "effective": draws.effective,
                    "log_integral": draws.log_integral if math.isfinite(draws.log_integral) else None,
                    "jitter": level.core.scaled.readings.exact,
                    "lengthscales": level.core.settings.lengthscales,
                    "pinned": pins is not None,
                }
            )
            own: dict[str, NDArray[Any]] = {
                "parameters": draws.parameters,
                "weights": draws.weights,
                "mode": level.core.mode,
            }
            own["values"] = level.values
            if pins is not None:
                own |= {"pins_x": pins.x, "pins_task": pins.task, "pins_y": pins.y}
            arrays |= {f"{key}.{name}": array for name, array in own.items()}
        members.append(headers)
    header = {
        "structure": vars(fit.structure),
        "rho": list(fit.recipe.rho),
        "integrate": fit.recipe.integrate,
        "seed": fit.recipe.seed,
        "members": members,
    }
    return header, arrays


def unpack_recursive(levels: Levels, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RecursiveFit:
    """What `packed` gave, on the model's readings."""
    from .recursive_fit import Member, RecursiveFit

    structure, rho = Structure(**header["structure"]), Rho(*header["rho"])
    recipe = Recipe(structure, rho, header["integrate"], header["seed"], lambda value: None)
    members = []
    for m, headers in enumerate(header["members"]):
        made: list[Level] = []
        pins: list[Pins | None] = []
        for l, own in enumerate(headers):
            key = f"{m}.{l}."
            stored = {name[len(key) :]: array for name, array in arrays.items() if name.startswith(key)}
            made.append(_unpacked(levels, l, own, stored, (recipe, made)))
            known = Pins(stored["pins_x"], stored["pins_task"], stored["pins_y"]) if own["pinned"] else None
            pins.append(known)
        members.append(Member(tuple(made), tuple(pins)))
    return RecursiveFit(levels, recipe, tuple(members))


def _unpacked(
    levels: Levels,
    level: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    context: tuple[Recipe, list[Level]],
) -> Level:
    recipe, before = context
    p = single_parents(levels.graph)[level]
    settings = settings_of(levels, level, recipe, None if p is None else before[p].core)
    lengthscales = header["lengthscales"]
    if lengthscales is not None:
        settings = replace(settings, lengthscales=(tuple(lengthscales[0]), tuple(lengthscales[1])))
    scales = header["width"], header["factor"]
    scaled = scaled_level(levels, level, arrays["values"], scales, recipe, header["jitter"])
    integral = math.nan if header["log_integral"] is None else header["log_integral"]
    draws = Draws(arrays["parameters"], arrays["weights"], header["effective"], integral)
    core = Core(scaled, settings, draws, arrays["mode"])
    evidence, success, evaluations = header["log_evidence"], header["is_success"], header["evaluations"]
    return Level(core, arrays["values"], *scales, evidence, success, evaluations)
