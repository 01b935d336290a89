"""One file for a fitted model: arrays and JSON in the safetensors format, never pickle.

On disk: a safetensors file whose metadata hold one entry, ``surrogates``, a JSON object with

    sha256   digest of the whole file, taken with these 64 characters set to zeros
    version  of this layout, an integer
    kind     which class the file describes
    header   that class's own JSON

so that any safetensors reader can open the arrays, and any damaged bit is found.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from surrogates.errors import DataError, FileFormatError

VERSION = 1
_START = b'{"__metadata__":{"surrogates":"'  # from the ninth byte on; the first eight hold the length of this JSON
_BLANK = "0" * 64
_DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (as torch.save and numpy.savez write them)",
    b"\x80": "a pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 or NetCDF file",
    b"CDF": "a NetCDF file",
}


class Archive(NamedTuple):
    """What a file holds: its kind, the version of its layout, the header and the arrays."""

    kind: str
    version: int
    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def write(
    path: str | os.PathLike[str], kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a file in one go: it is there completely, or what was there before is untouched.

    Parameters
    ----------
    path : the file; its folder must exist
    kind : which class the file describes
    header : JSON: mappings with text keys, sequences (read back as lists), text, finite numbers, booleans, None; NumPy's
        numbers are read back as Python's
    arrays : booleans, integers and floats up to 64 bits, of any shape, order and endianness; read back bit for bit, in
        C order and native endianness

    Raises
    ------
    DataError
        If something in `header` isn't JSON, or an array's dtype can't be stored.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "model", "mean", {"units": "mm"}, {"value": np.array(0.1)})
    ...     read(Path(folder) / "model").header
    {'units': 'mm'}
    """
    content = {"sha256": _BLANK, "version": VERSION, "kind": kind, "header": _plain(header, "header")}
    tensors = {name: _storable(name, array) for name, array in arrays.items()}
    blank = save(tensors, metadata={"surrogates": json.dumps(content, allow_nan=False)})
    digest = hashlib.sha256(blank).hexdigest()
    _replace(Path(path), blank.replace(_BLANK.encode(), digest.encode(), 1))


def read(path: str | os.PathLike[str]) -> Archive:
    """Read a file that `write` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file isn't one of ours, is damaged or cut off, or was written by a newer version.
    """
    data = Path(path).read_bytes()
    content = _content(path, data)
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise FileFormatError(
            f"{path} was written in format version {version}, this library reads up to {VERSION}; "
            f"update it: pip install --upgrade multitask-surrogates"
        )
    digest = str(content.get("sha256")).encode()
    blank = data.replace(digest, _BLANK.encode(), 1)
    if hashlib.sha256(blank).hexdigest().encode() != digest:
        raise _damaged(path, "its content doesn't match its SHA-256 digest")
    # the digest holds, so what follows is as `write` left it
    return Archive(content["kind"], content["version"], content["header"], dict(load(data)))


def _content(path: str | os.PathLike[str], data: bytes) -> dict[str, Any]:
    """The JSON object in the file's metadata."""
    if not data:
        raise _damaged(path, "it is empty")
    if not data[8:].startswith(_START):
        found = next((f"; it looks like {name}" for start, name in _FOREIGN.items() if data.startswith(start)), "")
        raise FileFormatError(f"{path} is not a saved surrogate{found}; give a file written by save()")
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise _damaged(path, f"it is cut off after {len(data)} bytes, within its header")
    try:
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["surrogates"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, "its header is not a JSON object")
    return content


def _damaged(path: str | os.PathLike[str], reason: str) -> FileFormatError:
    return FileFormatError(f"{path} is damaged: {reason}; save the model again, or restore the file from a copy")


def _plain(value: Any, where: str) -> Any:
    """The value as JSON gives it back, or an error that names the place."""
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise DataError(f"{where} has the key {odd[0]!r}; JSON knows only text as keys")
        return {key: _plain(entry, f"{where}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}[{k}]") for k, entry in enumerate(value)]
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} is {value}; JSON knows only finite numbers: store it as an array or as None")
    if value is None or isinstance(value, str | int | float):
        return value
    raise DataError(
        f"{where} is a {type(value).__name__}; a header holds JSON only: convert it, or store it as an array"
    )


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array contiguous and in native endianness, without a change of its bits."""
    values = np.asarray(array)
    if name == "__metadata__":
        raise DataError(f"an array can't be called {name!r}: safetensors keeps that name; choose another")
    if values.dtype.name not in _DTYPES:
        raise DataError(f"array {name!r} has dtype {values.dtype}; one of {', '.join(_DTYPES)} is wanted")
    return np.asarray(values, dtype=values.dtype.newbyteorder("="), order="C")


def _replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, atomically: a file beside it takes its place once it is safely on the disk."""
    target = path.resolve()  # a link stays a link
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path} can't be written: the folder {target.parent} doesn't exist; make it first")
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
