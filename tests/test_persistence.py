from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from surrogates.errors import DataError, FileFormatError
from surrogates.persistence import Archive, read, write

IN_A_FOLDER = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = st.sampled_from(["?", "<i8", ">i8", "<i4", "<u2", "|u1", "<f8", ">f8", "<f4", ">f4", "<f2"])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
NAMES = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")


def assert_same_bits(got: NDArray[Any], wanted: NDArray[Any]) -> None:
    assert got.dtype == wanted.dtype.newbyteorder("=")
    assert got.dtype.isnative
    assert got.shape == wanted.shape
    # bytes in big-endian order on both sides, reached without casting
    swapped = got.byteswap() if sys.byteorder == "little" else got
    bits = wanted if wanted.dtype.byteorder == ">" or wanted.itemsize == 1 else wanted.byteswap()
    assert swapped.tobytes() == bits.tobytes()


@IN_A_FOLDER
@given(
    kind=st.text(),
    header=st.dictionaries(st.text(), JSON, max_size=4),
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=4),
)
def test_what_is_written_is_read(
    tmp_path: Path, kind: str, header: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    write(tmp_path / "model", kind, header, arrays)
    got = read(tmp_path / "model")
    assert (got.kind, got.version) == (kind, 1)
    assert json.dumps(got.header) == json.dumps(header)  # as text, since -0.0 == 0.0 and 1 == True
    assert got.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_same_bits(got.arrays[name], array)


ODD_ARRAYS = {
    "negative zero": np.array([-0.0, 0.0]),
    "payloads": np.array([0x7FF8000000000ABC, 0xFFF0000000000001, 0x7FF0000000000000], dtype=np.uint64).view(
        np.float64
    ),
    "payloads, single": np.array([0x7F800001, 0xFFC00ABC], dtype=np.uint32).view(np.float32),
    "payloads, big-endian": np.array([0x7FF8000000000ABC, 0x7FF0000000000001], dtype=">u8").view(">f8"),
    "scalar": np.array(0.1),
    "empty": np.zeros((0, 3)),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(24).reshape(4, 6)[::-2, 1::2],
    "broadcast": np.broadcast_to(np.float32(2.5), (2, 2)),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
def test_odd_arrays_keep_every_bit(tmp_path: Path, name: str) -> None:
    write(tmp_path / "model", "test", {}, {name: ODD_ARRAYS[name]})
    got = read(tmp_path / "model").arrays[name]
    assert_same_bits(got, ODD_ARRAYS[name])
    assert got.flags.c_contiguous


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model"
    write(path, "gp", {"units": "mm", "notes": ["0" * 64, 1.5, None]}, {"x": np.arange(5.0), "n": np.array([3])})
    return path.read_bytes()


@IN_A_FOLDER
@given(data=st.data())
def test_a_cut_off_file_is_refused(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    (tmp_path / "model").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FileFormatError, match=r"is damaged: it is (empty|cut off)|digest|is not a saved surrogate"):
        read(tmp_path / "model")


@pytest.mark.parametrize(
    ("length", "message"), [(100, "it is cut off after 100 bytes"), (-1, "doesn't match its SHA-256")]
)
def test_the_message_tells_where_the_file_ends(tmp_path: Path, whole: bytes, length: int, message: str) -> None:
    (tmp_path / "model").write_bytes(whole[:length])
    with pytest.raises(FileFormatError, match=message):
        read(tmp_path / "model")


def test_every_flipped_bit_is_found(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "flipped"
    for position in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(FileFormatError):
            read(path)


def test_something_appended_is_found(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "longer").write_bytes(whole + b"\0" * 8)
    with pytest.raises(FileFormatError, match="digest"):
        read(tmp_path / "longer")


def zipped() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(2))
    return buffer.getvalue()


def metadata(text: str) -> bytes:
    return safetensors.numpy.save({"x": np.ones(2)}, metadata={"surrogates": text})


FOREIGN = {
    "empty": (b"", "is damaged: it is empty"),
    "text": (b"height,x,y\n1,2,3\n", "is not a saved surrogate; give a file"),
    "short": (b"{}", "is not a saved surrogate"),
    "pickle": (pickle.dumps({"x": 1}), "looks like a pickle"),
    "zip": (zipped(), "looks like a zip archive"),
    "safetensors": (safetensors.numpy.save({"x": np.ones(2)}), "is not a saved surrogate"),
    "other program": (safetensors.numpy.save({"x": np.ones(2)}, metadata={"format": "pt"}), "is not a saved surrogate"),
    "not JSON": (metadata("height: mm"), "is damaged: its header is not JSON"),
    "too deep": (metadata("[" * 100_000), "is damaged: its header is not JSON"),
    "not an object": (metadata("[1]"), "is damaged: its header is not a JSON object"),
    "no digest": (metadata('{"version": 1}'), "is damaged: its content doesn't match"),
    "newer": (metadata('{"version": 2}'), r"format version 2, this library reads up to 1; update it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, message = FOREIGN[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"gp": {"scale": [1.0, float("nan")]}}, r"header\['gp'\]\['scale'\]\[1\] is nan; JSON knows only finite"),
        ({"bound": float("-inf")}, r"header\['bound'\] is -inf"),
        ({"bound": np.float64("inf")}, r"header\['bound'\] is inf"),
        ({"tasks": {1: "a"}}, r"header\['tasks'\] has the key 1; JSON knows only text"),
        ({"x": np.ones(2)}, r"header\['x'\] is a ndarray; a header holds JSON only"),
        ({"n": np.complex128(1)}, r"header\['n'\] is a complex128"),
    ],
)
def test_a_header_that_is_not_json_is_refused(tmp_path: Path, header: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "model", "test", header, {})
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_become_those_of_json(tmp_path: Path) -> None:
    write(tmp_path / "model", "test", {"n": np.int64(3), "x": [np.float32(0.5)], "is": np.bool_(True)}, {})
    assert repr(read(tmp_path / "model").header) == "{'n': 3, 'x': [0.5], 'is': True}"


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("labels", np.array(["a"]), "array 'labels' has dtype <U1; one of bool, int8"),
        ("objects", np.array([None]), "array 'objects' has dtype object"),
        ("complex", np.array([1j]), "array 'complex' has dtype complex128"),
        ("__metadata__", np.ones(1), "can't be called '__metadata__'"),
    ],
)
def test_an_array_that_cannot_be_stored_is_refused(
    tmp_path: Path, name: str, array: NDArray[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "model", "test", {}, {name: array})


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    write(tmp_path / "model", "old", {}, {})

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "model", "new", {}, {})
    monkeypatch.undo()
    assert read(tmp_path / "model").kind == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_old_file_is_replaced_links_stay_links_and_permissions_are_usual(tmp_path: Path) -> None:
    write(tmp_path / "model", "old", {}, {})
    (tmp_path / "link").symlink_to(tmp_path / "model")
    write(str(tmp_path / "link"), "new", {}, {})
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "model").kind == "new"
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert len(os.listdir(tmp_path)) == 3


def test_the_same_content_gives_the_same_bytes_and_any_reader_opens_them(tmp_path: Path) -> None:
    arrays = {"b": np.arange(3.0), "a": np.array([True]), "c": np.arange(2)}
    for name, order in (("one", "bac"), ("two", "cab")):
        write(tmp_path / name, "test", {"k": 1}, {key: arrays[key] for key in order})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "one")["b"], arrays["b"])


def test_tuples_come_back_as_lists_and_arrays_can_be_changed(tmp_path: Path) -> None:
    write(tmp_path / "model", "test", {"inputs": ("x", "y")}, {"x": np.zeros(2)})
    got = read(tmp_path / "model")
    assert isinstance(got, Archive)
    assert got.header == {"inputs": ["x", "y"]}
    got.arrays["x"][0] = 1.0
    assert read(tmp_path / "model").arrays["x"][0] == 0.0


def test_torch_is_not_needed(tmp_path: Path) -> None:
    code = "import sys, surrogates.persistence; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
