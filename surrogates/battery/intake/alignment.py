"""Does the power of a row move the temperature that ends with it, or the one that follows?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.battery.records import Records
from surrogates.errors import DataError

from .names import listed

Floats = NDArray[np.float64]
#: rows below which a unit isn't judged
FEWEST = 36
#: how much more of the variance the shifted rows must explain: this multiple, and this share
TIMES, MORE = 2.0, 0.1
#: how columns are moved by one row, by the kind of the data
SHIFTED = {"dataset": "data[names].shift(time=1)", "frame": "data.groupby('unit')[names].shift()"}


class _Regression(NamedTuple):
    r2: Floats  # (U,)
    gain: Floats  # (U,)
    effect: Floats  # (U,) of the newer power


def alignment(records: Records) -> xr.Dataset:
    """Two regressions per unit that tell whether rows hold the interval that ends at their stamp.

    The change T[k+1] - T[k] of the indoor temperature is regressed on a constant, a power, the power one row before it,
    and outdoor - indoor temperature. The power and outdoor temperature are those of row k + 1 (*aligned*: as the library
    reads rows), or those of row k (*shifted*: right where stamps are the starts of the intervals). Only rows that were
    measured count.

    The power of the row before has to be there: a thermostat holds the temperature most of the time, so that a change of
    temperature goes along with a change of power (measured on 52 rooms in steps of 15 min: median R² .88 with it, .26
    without it, .15 with the power of the row after). What decides is therefore the *gain*: by how much R² falls if the
    newer power is left out.

    Parameters
    ----------
    records : as `read` returns them

    Returns
    -------
    Over dim unit, for "aligned" and "shifted": ``r2_...``, the explained share of the variance; ``gain_...``, what of it
    is due to the newer power, with a minus where that power warms; ``effect_...``, change of temperature per kW of the
    newer power [K/kW]. NaN for units with less than 36 rows, and where power never changes.
    """
    indoor, power, outdoor = records.indoor, records.power, records.outdoor
    change, known = indoor[:, 2:] - indoor[:, 1:-1], records.is_known
    use = np.isfinite(change) & known[:, 2:] & known[:, 1:-1] & known[:, :-2]
    roads = {
        "aligned": _regress(change, power[:, 2:], power[:, 1:-1], outdoor[:, 2:] - indoor[:, 1:-1], use),
        "shifted": _regress(change, power[:, 1:-1], power[:, :-2], outdoor[:, 1:-1] - indoor[:, 1:-1], use),
    }
    answer = {}
    for road, found in roads.items():
        answer[f"r2_{road}"] = ("unit", found.r2, {"units": "1"})
        answer[f"gain_{road}"] = ("unit", found.gain, {"units": "1"})
        answer[f"effect_{road}"] = ("unit", found.effect, {"units": "K/kW"})
    return xr.Dataset(answer, coords={"unit": list(records.unit)})


def _regress(change: Floats, newer: Floats, older: Floats, difference: Floats, use: NDArray[np.bool_]) -> _Regression:
    """Least squares of each unit.  All (U, K)  ->  (U,)."""
    count = use.sum(axis=1)
    columns = np.stack([change, newer, older, difference], axis=-1)  # (U, K, 4)
    columns = np.where(use[..., None], columns, 0.0)
    mean = columns.sum(axis=1) / np.maximum(count, 1)[:, None]
    columns = np.where(use[..., None], columns - mean[:, None], 0.0)
    S = columns.transpose(0, 2, 1) @ columns  # (U, 4, 4)
    is_fair = (count >= FEWEST) & (S[:, 0, 0] > 0) & (S[:, 1, 1] > 0)
    total = np.where(is_fair, S[:, 0, 0], 1.0)
    slopes = _solve(S[:, 1:, 1:], S[:, 1:, 0])
    without = _solve(S[:, 2:, 2:], S[:, 2:, 0])
    r2 = (slopes * S[:, 1:, 0]).sum(axis=1) / total
    gain = -np.sign(slopes[:, 0]) * (r2 - (without * S[:, 2:, 0]).sum(axis=1) / total)
    return _Regression(*(np.where(is_fair, found, np.nan) for found in (r2, gain, slopes[:, 0])))


def _solve(A: Floats, c: Floats) -> Floats:
    """Least-norm solutions: power and outdoor temperature may be collinear in short data.  (U, p, p), (U, p)."""
    scale = np.sqrt(np.maximum(np.diagonal(A, axis1=1, axis2=2), 1e-300))  # (U, p)
    unit = A / (scale[:, :, None] * scale[:, None, :])
    found = (np.linalg.pinv(unit, rcond=1e-10, hermitian=True) @ (c / scale)[..., None])[..., 0]
    return np.asarray(found / scale)


def check_alignment(records: Records, kind: str) -> list[str]:
    """Notes on what the regressions of `alignment` show.  kind : of the data, for the remedy

    Raises
    ------
    DataError
        If in most units the power of a row explains the change of temperature that follows it clearly better than the
        one that ends with it.
    """
    found = alignment(records)
    aligned, shifted = found["gain_aligned"].values, found["gain_shifted"].values
    judged = np.isfinite(aligned) & np.isfinite(shifted)
    late = judged & (shifted > TIMES * aligned) & (shifted > np.maximum(aligned, 0) + MORE)
    labels = [label for label, is_late in zip(records.unit, late, strict=True) if is_late]
    if late.sum() > 0.5 * judged.sum():
        worst = int(np.argmax(np.where(late, shifted - aligned, -np.inf)))
        raise DataError(
            f"power explains the change of temperature that follows its row, not the one that ends with it, in "
            f"{len(labels)} of {int(judged.sum())} units (unit {records.unit[worst]!r}: {shifted[worst]:.0%} of the "
            f"variance against {max(aligned[worst], 0):.0%}): the stamps of power and weather are the starts of their "
            f"intervals, ends are expected. Move these by one row and leave the indoor temperature where it is: "
            f"names = ['power', 'outdoor_temperature', ...]; data[names] = {SHIFTED.get(kind, SHIFTED['frame'])}"
        )
    notes = []
    if labels:
        notes.append(
            f"power explains the following change of temperature better than its own in units {listed(labels)}: "
            f"are their stamps the starts of the intervals?"
        )
    warms = [label for label, share in zip(records.unit, aligned, strict=True) if share < -MORE]
    if warms:
        notes.append(f"power warms units {listed(warms)}: heating, or another room's meter?")
    return notes
