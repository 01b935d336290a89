"""A fitted multi-fidelity process as JSON and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.report import FitReport
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Schema, Vocabulary

from .choice import Tried
from .graph import Graph
from .joint import unpack_linear
from .levels import Levels
from .parts import Fit, Part, Structure
from .recursive_storage import unpack_recursive
from .single import unpack_single


def pack(
    schema: Schema,
    vocabulary: Vocabulary,
    report: FitReport,
    tried: tuple[Tried, ...],
    levels: Levels,
    parts: tuple[Part, ...],
    noise: str,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays from which `unpack` makes the same model, bit for bit."""
    arrays: dict[str, NDArray[Any]] = {
        "x": levels.x,
        "y": levels.y,
        "task": levels.task,
        "level": levels.level,
        "centre": levels.inputs.centre,
        "width": levels.inputs.width,
    }
    if levels.variance is not None:
        arrays["variance"] = levels.variance
    packed = []
    for k, part in enumerate(parts):
        header, own = part.fit.pack()
        packed.append({"weight": part.weight, "fit": header})
        arrays |= {f"{k}.{name}": array for name, array in own.items()}
    return {
        "schema": asdict(schema),
        "tasks": list(vocabulary.tasks),
        "fidelities": list(vocabulary.fidelities),
        "units": dict(vocabulary.units),
        "report": report.to_dict(),
        "tried": [[asdict(one.structure), one.log_evidence, one.probability] for one in tried],
        "graph": {"labels": list(levels.graph.labels), "parents": [list(p) for p in levels.graph.parents]},
        "targets": [asdict(target) for target in levels.targets],
        "borrowed": list(levels.borrowed),
        "noise": noise,
        "parts": packed,
    }, arrays


def unpack(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> tuple[Schema, Vocabulary, FitReport, tuple[Tried, ...], Levels, tuple[Part, ...], str]:
    """The inverse of `pack`."""
    vocabulary = Vocabulary(tuple(header["tasks"]), tuple(header["fidelities"]), header["units"])
    graph = Graph(tuple(header["graph"]["labels"]), tuple(tuple(p) for p in header["graph"]["parents"]))
    levels = Levels(
        graph,
        InputScaling(arrays["centre"], arrays["width"]),
        tuple(TargetScaling(**fields) for fields in header["targets"]),
        arrays["x"],
        arrays["y"],
        arrays["task"].astype(np.int64),
        len(vocabulary.tasks),
        arrays["level"].astype(np.int64),
        arrays.get("variance"),
        tuple(header["borrowed"]),
    )
    parts = []
    for k, part in enumerate(header["parts"]):
        own = {name[len(f"{k}.") :]: array for name, array in arrays.items() if name.startswith(f"{k}.")}
        parts.append(Part(_fit(levels, part["fit"], own, header["tasks"]), part["weight"]))
    return (
        Schema(**header["schema"]),
        vocabulary,
        FitReport.from_dict(header["report"]),
        tuple(Tried(Structure(**fields), evidence, p) for fields, evidence, p in header["tried"]),
        levels,
        tuple(parts),
        header["noise"],
    )


def _fit(levels: Levels, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], tasks: list[Any]) -> Fit:
    if "single" in header:
        return unpack_single(header, arrays, tasks)
    if "members" in header:
        return unpack_recursive(levels, header, arrays)
    return unpack_linear(levels, header, arrays)
