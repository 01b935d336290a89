"""The compact file of the rooms: what it keeps, and what is told of damaged ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surrogates.datasets import Rooms
from surrogates.datasets.rooms import air_conditioned_rooms, archive, read_rooms, write_rooms
from surrogates.errors import DataError, FileFormatError

SHIPPED = Path(str(resources.files("surrogates.datasets.rooms") / "data" / "rooms_0.nc.gz"))
PARTS = ("population", "newcomers", "twins", "parameters")


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return air_conditioned_rooms()


def test_the_file_is_small() -> None:
    assert SHIPPED.stat().st_size < 5e6


def test_reading_what_was_written_gives_the_same(rooms: Rooms, tmp_path: Path) -> None:
    write_rooms(rooms, tmp_path / "copy.nc.gz")
    again = read_rooms(tmp_path / "copy.nc.gz")
    for part in PARTS:
        xr.testing.assert_identical(getattr(again, part), getattr(rooms, part))
    write_rooms(again, tmp_path / "second.nc.gz")
    assert (tmp_path / "second.nc.gz").read_bytes() == (tmp_path / "copy.nc.gz").read_bytes()


def test_each_call_gives_arrays_of_its_own(rooms: Rooms) -> None:
    spoilt = air_conditioned_rooms()
    spoilt.population["power"][:] = -1.0
    spoilt.twins["power"][:] = -1.0
    assert float(air_conditioned_rooms().population["power"].min()) == float(rooms.population["power"].min()) == 0


def test_packing_keeps_values_to_half_a_step_also_over_large_jumps() -> None:
    values = np.array([[-150.0, 160.0, -160.0, 163.8, 0.0024], [0.0, 1.0, 2.0, 3.0, -3.0]])
    packed = archive._packed(values, 0.005)
    assert packed.dtype == np.int16
    assert np.abs(archive._values(packed, 0.005) - values).max() <= 0.00251


def test_values_beyond_the_integers_are_told() -> None:
    with pytest.raises(DataError, match="a series reaches 164"):
        archive._packed(np.array([164.0]), 0.005)


def test_the_integers_can_be_read_by_hand(rooms: Rooms) -> None:
    """As the file's own words say, without this library."""
    with xr.open_dataset(BytesIO(gzip.decompress(SHIPPED.read_bytes())), engine="scipy") as raw:
        assert "first differences along time" in raw.attrs["encoding"]
        whole = np.cumsum(raw["power"].to_numpy()[3].astype(np.int64))
        whole = (whole + 32768) % 65536 - 32768
        power = whole * float(raw["rated_power"][3]) / 4000
    np.testing.assert_allclose(rooms.population["power"][3], power, rtol=1e-12)


def repacked(change: Callable[[xr.Dataset], xr.Dataset]) -> bytes:
    with xr.open_dataset(BytesIO(gzip.decompress(SHIPPED.read_bytes())), engine="scipy") as raw:
        return gzip.compress(bytes(change(raw.load()).to_netcdf(engine="scipy")), 1)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda content: content[: len(content) // 2], "is damaged or no rooms' file"),
    "flipped": (
        lambda content: content[:90_000] + bytes([content[90_000] ^ 64]) + content[90_001:],
        "is damaged or no",
    ),
    "empty": (lambda content: b"", "holds no readable NetCDF|is damaged"),
    "a text": (lambda content: b"hello", "is damaged or no rooms' file"),
    "a packed text": (lambda content: gzip.compress(b"hello"), "holds no readable NetCDF"),
    "cut inside": (lambda content: gzip.compress(gzip.decompress(content)[:100_000], 1), "holds no readable NetCDF"),
    "another format": (
        lambda _: repacked(lambda data: data.assign_attrs(format="surrogates rooms 2")),
        "rooms 2', not",
    ),
    "no format": (lambda _: gzip.compress(bytes(xr.Dataset().to_netcdf(engine="scipy"))), "has the format None"),
    "a variable less": (
        lambda _: repacked(lambda data: data.drop_vars("set_point")),
        "damaged: set_point over .*unit.*time.* isn't there",
    ),
    "a parameter less": (
        lambda _: repacked(lambda data: data.drop_vars("true_cop")),
        "damaged: true_cop over .*unit.* isn't there",
    ),
    "turned": (lambda _: repacked(lambda data: data.transpose()), "is over .'time', 'unit'"),
    "a twin less": (lambda _: repacked(lambda data: data.isel(twin=slice(4))), "4 along 'twin', 5 are wanted"),
    "days less": (lambda _: repacked(lambda data: data.isel(time=slice(96))), "96 along 'time', 11712 are"),
    "twins' days less": (
        lambda _: repacked(lambda data: data.isel(twin_time=slice(96))),
        "96 along 'twin_time', 2784 are",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_files_are_told_with_a_remedy(tmp_path: Path, what: str) -> None:
    damage, message = DAMAGES[what]
    path = tmp_path / "rooms.nc.gz"
    path.write_bytes(damage(SHIPPED.read_bytes()))
    with pytest.raises(
        FileFormatError, match=rf"(?s)rooms\.nc\.gz.*({message}).*python -m surrogates\.datasets\.rooms"
    ):
        read_rooms(path)


def test_an_absent_file_is_told_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.nc\.gz; make it again: python -m"):
        read_rooms(tmp_path / "none.nc.gz")
    monkeypatch.setattr(archive, "SHIPPED", "gone.nc.gz")
    with pytest.raises(DataError, match=r"there is no file .*gone\.nc\.gz; make it again: python -m"):
        air_conditioned_rooms()
