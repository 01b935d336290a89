"""A fitted molecular model as JSON and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates import persistence
from surrogates.calibration import ConformalIntervals, VarianceScaling
from surrogates.errors import DataError
from surrogates.gp import FittedHierarchicalGP
from surrogates.training.conflicts import conflicts_by_name

from .adaptation import AddedHead, FewShot
from .choice import Comparison
from .ensemble import FittedEnsemble
from .features import DescriptorScaling
from .fitted import FittedMolecularNet
from .gaussian import FittedProcesses
from .learner import Answer, Learnt
from .model import MolecularNet
from .parts import Calibration, Parts, TaskScaling
from .property_network import Inputs, Member, build, layers
from .report import MolecularReport
from .table import Labels

Arrays = dict[str, NDArray[Any]]


def pack(fitted: FittedMolecularNet) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays from which `unpack` makes the same model, bit for bit.

    Raises
    ------
    DataError
        If the method for conflicting tasks has options of the user's: only a name can be written to a data file.
    """
    model, parts = fitted.model, fitted.parts
    if (
        not isinstance(model.conflicts, str)
        and parts.shared is not None
        and not isinstance(parts.shared, FittedProcesses)
    ):
        name = _name_of(model.conflicts)
    else:
        name = model.conflicts if isinstance(model.conflicts, str) else "sum"
    header: dict[str, Any] = {
        "model": {f.name: getattr(model, f.name) for f in fields(model)} | {"conflicts": name},
        "report": fitted.report.to_dict(),
        "properties": list(parts.labels.properties),
        "units": list(parts.labels.units),
        "keys": [list(key) for key in parts.keys],
        "learners": {},
        "pooled": parts.calibration.variance.pooled,
    }
    arrays: Arrays = {
        "values": parts.labels.values,
        "signs": parts.labels.signs,
        "weights": parts.weights,
        "tasks.mean": parts.tasks.mean,
        "tasks.std": parts.tasks.std,
        "factors": parts.calibration.variance.factors,
        "counts": parts.calibration.variance.counts,
    }
    arrays |= {f"scaling.{f.name}": getattr(parts.scaling, f.name) for f in fields(parts.scaling)}
    arrays |= {f"held_out.{name}": getattr(parts.held_out, name) for name in Answer._fields}
    arrays |= {f"scores.{k}": scores for k, scores in enumerate(parts.calibration.intervals.scores)}
    if parts.embedding is not None:
        arrays["embedding"] = parts.embedding
    if parts.comparison is not None:
        arrays |= {f"comparison.{name}": getattr(parts.comparison, name) for name in Comparison._fields}
    everyone: dict[str, Learnt] = {str(k): learnt for k, learnt in parts.singles.items()}
    if parts.shared is not None:
        everyone["shared"] = parts.shared
    for title, learnt in everyone.items():
        own, more = _pack_learnt(learnt)
        header["learners"][title] = own
        arrays |= {f"{title}/{key}": value for key, value in more.items()}
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedMolecularNet:
    """The inverse of `pack`."""
    given = dict(header["model"])
    for name in ("hidden", "properties", "smiles"):
        given[name] = tuple(given[name]) if isinstance(given[name], list) else given[name]
    model = MolecularNet(**given)
    labels = Labels(tuple(header["properties"]), tuple(header["units"]), arrays["values"], arrays["signs"])
    learners = {title: _unpack_learnt(own, _below(arrays, title), model) for title, own in header["learners"].items()}
    m = len(labels.properties)
    comparison = None
    if "comparison.change" in arrays:
        comparison = Comparison(*(arrays[f"comparison.{name}"] for name in Comparison._fields))
    parts = Parts(
        scaling=DescriptorScaling(**{f.name: arrays[f"scaling.{f.name}"] for f in fields(DescriptorScaling)}),
        tasks=TaskScaling(arrays["tasks.mean"], arrays["tasks.std"]),
        keys=[tuple(key) for key in header["keys"]],
        embedding=arrays.get("embedding"),
        labels=labels,
        shared=learners.pop("shared", None),
        singles={int(title): learnt for title, learnt in learners.items()},
        weights=arrays["weights"],
        comparison=comparison,
        held_out=Answer(*(arrays[f"held_out.{name}"] for name in Answer._fields)),
        calibration=Calibration(
            VarianceScaling(arrays["factors"], arrays["counts"], header["pooled"]),
            ConformalIntervals(tuple(arrays[f"scores.{k}"] for k in range(m))),
        ),
    )
    return FittedMolecularNet(model, model.columns(), parts, MolecularReport.from_dict(header["report"]))


def _pack_learnt(learnt: Learnt) -> tuple[dict[str, Any], Arrays]:
    arrays: Arrays = {f"held_out.{name}": getattr(learnt.held_out, name) for name in Answer._fields}
    if isinstance(learnt, FittedProcesses):
        archive = learnt.process.to_archive()
        arrays |= {f"process/{key}": value for key, value in archive.arrays.items()}
        return {"kind": "gp", "names": list(learnt.names), "process": archive.header}, arrays
    if isinstance(learnt, FewShot):
        for k, head in enumerate(learnt.heads):
            arrays |= {f"head.{k}.{key}": value for key, value in head.arrays().items()}
        own, more = _pack_learnt(learnt.ensemble)
        arrays |= {f"base/{key}": value for key, value in more.items()}
        return {"kind": "few", "names": list(learnt.names), "noise": learnt.noise, "base": own}, arrays
    assert isinstance(learnt, FittedEnsemble)
    members = []
    for k, member in enumerate(learnt.members):
        arrays |= {f"{k}/layers/{name}": value for name, value in layers(member).items()}
        arrays |= {f"{k}/state/{name}": value.numpy() for name, value in member.state.items()}
        arrays |= {f"{k}/fragments": member.inputs.fragments, f"{k}/cosines": member.cosines}
        arrays[f"{k}/validation"] = np.array(member.validation)
        members.append({"fold": member.fold, "warnings": list(member.warnings)})
    header = {
        "kind": "net",
        "names": list(learnt.names),
        "members": members,
        "fingerprint": learnt.ensemble.fingerprint,
    }
    return header, arrays


def _unpack_learnt(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], model: MolecularNet) -> Learnt:
    names = tuple(header["names"])
    held_out = Answer(*(arrays[f"held_out.{name}"] for name in Answer._fields))
    if header["kind"] == "gp":
        archive = persistence.Archive("", persistence.VERSION, header["process"], _below(arrays, "process"))
        return FittedProcesses(names, FittedHierarchicalGP.from_archive(archive), held_out)
    if header["kind"] == "few":
        base = _unpack_learnt(header["base"], _below(arrays, "base"), model)
        assert isinstance(base, FittedEnsemble)
        heads = tuple(AddedHead.of(arrays, f"head.{k}.") for k in range(len(base.members)))
        return FewShot(names, base, heads, header["noise"], held_out)
    ensemble = model.ensemble(fingerprint=header["fingerprint"])
    members = []
    for k, about in enumerate(header["members"]):
        own = _below(arrays, str(k))
        weights = {name: torch.from_numpy(value.copy()) for name, value in _below(own, "layers").items()}
        d_in = weights["trunk.0.hidden.0.weight" if len(model.hidden) > 1 else "trunk.0.last.weight"].shape[1]
        trunk, heads_ = build(
            d_in, model.hidden, tasks=len(names), outputs=ensemble.likelihood.size, generator=torch.Generator()
        )
        trunk.load_state_dict({n.removeprefix("trunk."): v for n, v in weights.items() if n.startswith("trunk.")})
        heads_.load_state_dict({n.removeprefix("heads."): v for n, v in weights.items() if n.startswith("heads.")})
        state = {name: torch.from_numpy(value.copy()) for name, value in _below(own, "state").items()}
        inputs = Inputs(own["fragments"])
        member = Member(
            trunk,
            heads_,
            inputs,
            about["fold"],
            state,
            own["cosines"],
            float(own["validation"]),
            tuple(about["warnings"]),
        )
        members.append(member)
    return FittedEnsemble(ensemble, names, tuple(members), held_out)


def _below(arrays: Mapping[str, NDArray[Any]], title: str) -> Arrays:
    """Entries whose names begin with `title`/, without it."""
    return {key.removeprefix(f"{title}/"): value for key, value in arrays.items() if key.startswith(f"{title}/")}


def _name_of(method: object) -> str:
    """The name under which a method with its defaults is known."""
    from surrogates.training.conflicts import CONFLICTS

    for name in CONFLICTS:
        if conflicts_by_name(name) == method:
            return name
    raise DataError(
        f"conflicts={method!r} has options of its own, which a data file doesn't hold; fit with a name, such as 'aim', "
        f"or keep the script and the data"
    )
