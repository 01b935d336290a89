"""Fitted nets and adapted units to and from one file: arrays and JSON."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import FileFormatError
from surrogates.persistence import Archive

from .calibration import Calibration
from .encoder import Encoder
from .fingerprints import Fingerprints
from .misfit import Recipe
from .prior import Prior
from .records import Records
from .report import BatteryReport
from .settings import Settings

Arrays = dict[str, NDArray[Any]]
Header = dict[str, Any]


def units_archive(units: Any) -> tuple[Header, Arrays]:
    """Header and arrays of `AdaptedUnits`."""
    header, arrays = _settings_out(units.settings)
    own, more = _units_out(units)
    return {**header, "units": own}, {**arrays, **more}


def units_of(archive: Archive) -> dict[str, Any]:
    """Fields of `AdaptedUnits`."""
    settings = _settings_in(archive.header, archive.arrays)
    return _units_in(settings, archive.header["units"], archive.arrays)


def fitted_archive(fitted: Any) -> tuple[Header, Arrays]:
    """Header and arrays of a `FittedVirtualBattery`."""
    header, arrays = units_archive(fitted.population)
    calibration = {f"calibration.{name}": value for name, value in fitted.calibration._asdict().items()}
    prior = {"prior.mean": fitted.prior.mean, "prior.precision": fitted.prior.precision}
    return {**header, "report": fitted.report.to_dict()}, {**arrays, **calibration, **prior}


def fitted_of(archive: Archive) -> dict[str, Any]:
    """Fields of a `FittedVirtualBattery`."""
    from .units import AdaptedUnits

    arrays = archive.arrays
    population = AdaptedUnits(**units_of(archive))
    return {
        "settings": population.settings,
        "prior": Prior(arrays["prior.mean"], arrays["prior.precision"]),
        "calibration": Calibration(*(arrays[f"calibration.{name}"] for name in Calibration._fields)),
        "population": population,
        "report": BatteryReport.from_dict(archive.header["report"]),
    }


def _settings_out(settings: Settings) -> tuple[Header, Arrays]:
    header = {
        "step_hours": settings.step_hours,
        "comfort": list(settings.comfort),
        "recipe": asdict(settings.recipe),
        # the names tell a later version what each number means
        "numbers": list(settings.layout.names),
        "features": settings.layout.features,
    }
    encoder = {} if settings.encoder is None else settings.encoder.to_arrays()
    return header, {f"encoder.{name}": value for name, value in encoder.items()}


def _settings_in(header: Header, arrays: Arrays) -> Settings:
    low, high = header["comfort"]
    mark = "encoder."
    parts = {name.removeprefix(mark): value for name, value in arrays.items() if name.startswith(mark)}
    encoder = Encoder.from_arrays(parts) if header["features"] else None
    settings = Settings(header["step_hours"], (low, high), Recipe(**header["recipe"]), encoder)
    if list(settings.layout.names) != header["numbers"]:
        raise FileFormatError(
            "the file's fingerprints have other numbers than this version's; it was written by another version of "
            "surrogates: fit the population again"
        )
    return settings


def _units_out(units: Any) -> tuple[Header, Arrays]:
    memory: Records = units.memory
    arrays: Arrays = {f"prints.{name}": value for name, value in vars(units.prints).items()}
    header: Header = {"report": units.report.to_dict(), "has_unit_dim": units.has_unit_dim}
    for field in fields(memory):
        value = getattr(memory, field.name)
        if field.name == "time":
            arrays["memory.time"] = value.astype("datetime64[ns]").astype(np.int64)
        elif isinstance(value, np.ndarray):
            arrays[f"memory.{field.name}"] = value
        else:
            header[f"memory.{field.name}"] = list(value) if isinstance(value, tuple) else value
    return header, arrays


def _units_in(settings: Settings, header: Header, arrays: Arrays) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(Records):
        key = f"memory.{field.name}"
        value = arrays[key] if key in arrays else header[key]
        found[field.name] = tuple(value) if isinstance(value, list) else value
    found["time"] = found["time"].astype("datetime64[ns]")
    return {
        "settings": settings,
        "prints": Fingerprints(**{field.name: arrays[f"prints.{field.name}"] for field in fields(Fingerprints)}),
        "memory": Records(**found),
        "report": BatteryReport.from_dict(header["report"]),
        "has_unit_dim": header["has_unit_dim"],
    }
