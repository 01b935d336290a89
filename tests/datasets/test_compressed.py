"""Data sets in one file: what was written is read, and what is no such file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surrogates.datasets.compressed import read_compressed, write_compressed
from surrogates.errors import DataError, FileFormatError

DATA = xr.Dataset({"x": ("row", np.arange(5.0))}, attrs={"format": "numbers 1"})


def read(path: Path) -> xr.Dataset:
    return read_compressed(path, kind="file of numbers", layout="numbers 1", remedy="write it again")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_compressed(tmp_path / "a", DATA)
    write_compressed(tmp_path / "b", DATA)
    assert read(tmp_path / "a").identical(DATA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_that_cant_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    with pytest.raises(DataError, match=r"there is no file .*numbers; write it again"):
        read(path)
    write_compressed(path, DATA.assign_attrs(format="letters 1"))
    with pytest.raises(FileFormatError, match=r"has the format 'letters 1', not 'numbers 1'; write it again"):
        read(path)
    write_compressed(path, DATA)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileFormatError, match=r"is damaged or no file of numbers .*; write it again"):
        read(path)
