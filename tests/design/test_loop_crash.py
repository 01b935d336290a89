"""A loop that is killed, or whose journal breaks anywhere, goes on as if nothing had happened, or says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import killed_loops
import numpy as np
import pytest

from surrogates import HierarchicalGP, Schema
from surrogates.design import Loop, run
from surrogates.design.journal import Journal
from surrogates.errors import FileFormatError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of an undisturbed loop of eight experiments, one of which fails."""
    path = tmp_path_factory.mktemp("whole") / "loop.jsonl"
    with killed_loops.begin(path) as loop:
        history = run(loop, killed_loops.experiment, evaluations=8, batch=2)
    assert 0 < int((history["failed"] != "").sum()) < 8
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    path = tmp_path / "loop.jsonl"
    path.write_bytes(whole.read_bytes())
    return path


def test_a_process_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    driver = Path(killed_loops.__file__)
    root = driver.parent.parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        command = [sys.executable, str(driver), str(folder), "15", str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found == {
            "killed": 15,
            "status": 0,
            "acknowledged": killed_loops.EVALUATIONS - 1,
            "lost": 0,
            "equal": True,
        }


def test_a_journal_that_ends_anywhere_keeps_all_its_whole_records(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    lines = data.split(b"\n")[:-1]
    ends = np.cumsum([len(line) + 1 for line in lines])
    path = tmp_path / "loop.jsonl"
    whole_journal = Journal(whole, {})
    whole_journal.close()
    header = {name: value for name, value in whole_journal.header.items() if name not in ("surrogates", "version")}
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        records = int((ends <= size).sum())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            journal = Journal(path, header)
        journal.close()
        assert (journal.header, journal.records) == (whole_journal.header, whole_journal.records[: max(records - 1, 0)])
        torn = size - (ends[records - 1] if records else 0)
        assert path.read_bytes() == data[: ends[max(records, 1) - 1]]  # a header is written anew, all else is as it was
        said = [str(warning.message) for warning in caught]
        assert len(said) == (records > 0 and torn > 0)
        assert all(
            f"within a line, as a crash leaves it: the unfinished record {records + 1} is" in text for text in said
        )
        assert all(f"dropped ({torn} bytes); all records before it are whole" in text for text in said)


@pytest.mark.filterwarnings("ignore:.*ends within a line:UserWarning")
def test_a_loop_whose_journal_was_cut_ends_with_the_same_journal(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    path = tmp_path / "loop.jsonl"
    ends = [k + 1 for k, byte in enumerate(data) if byte == ord("\n")]
    for size in (0, 1, *ends, *(end + 30 for end in ends[:-1])):
        path.write_bytes(data[:size])
        with killed_loops.begin(path) as loop:
            run(loop, killed_loops.experiment, evaluations=8, batch=2)
        assert path.read_bytes() == data


def test_any_changed_byte_is_found(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    path = tmp_path / "loop.jsonl"
    # the very last byte ends the last line: without it, that line is one that a crash cut off
    for place in (*range(0, len(data) - 1, 7), data.index(b"\n"), len(data) - 2):
        bad = bytearray(data)
        bad[place] ^= 1
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"damaged: line \d+ |is not the journal|in version"):
            killed_loops.begin(path)
        assert path.read_bytes() == bytes(bad)


@pytest.mark.parametrize("change", ["removed", "swapped", "twice"])
def test_lines_that_are_missing_or_moved_are_found(copy: Path, change: str) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    if change == "removed":
        del lines[3]
    elif change == "swapped":
        lines[2], lines[3] = lines[3], lines[2]
    else:
        lines.insert(3, lines[2])
    copy.write_bytes(b"".join(lines))
    with pytest.raises(FileFormatError, match=r"damaged: line [34] doesn't match its checksum; restore .* from a copy"):
        killed_loops.begin(copy)


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"notes without an end", b"[]\n", b'{"a": 1}\n', b"\x00" * 40])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(
        FileFormatError, match=r"mine is not the journal of this design loop: it begins with .* another path"
    ):
        killed_loops.begin(path)
    assert path.read_bytes() == content


def test_a_newer_version_says_so(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(FileFormatError, match=r"in version 2, this library reads up to 1; update it"):
        killed_loops.begin(copy)


def test_a_journal_of_another_loop_is_refused(copy: Path) -> None:
    model, start, suggest = killed_loops.MODEL, killed_loops.START, killed_loops.lower
    other = HierarchicalGP(Schema(inputs=("u", "v"), target="z", task="part"))
    with pytest.raises(FileFormatError, match=r"another loop: its schema is .*'y'.* this loop's is .*'z'"):
        Loop(other, start.rename(y="z"), suggest, path=copy, seed=5)
    with pytest.raises(FileFormatError, match=r"its seed is 5, this loop's is 6; give another path"):
        Loop(model, start, suggest, path=copy, seed=6)
    with pytest.raises(FileFormatError, match=r"its first data is .*'rows': 8.*this loop's is .*'rows': 7"):
        Loop(model, start.isel(sample=slice(7)), suggest, path=copy, seed=5)
    metres = start.assign(u=start["u"].assign_attrs(units="m"))
    with pytest.raises(FileFormatError, match=r"its units is .* this loop's is .*'u': 'm'"):
        Loop(model, metres, suggest, path=copy, seed=5)
    killed_loops.begin(copy).close()  # and the refused ones have let go of it


def test_another_model_may_go_on_with_a_warning(copy: Path) -> None:
    model = HierarchicalGP(killed_loops.MODEL.schema, kernel="rbf", integrate=False)
    with pytest.warns(UserWarning, match=r"was begun with .*matern52.* goes on with .*rbf.* All readings are kept"):
        loop = Loop(model, killed_loops.START, killed_loops.lower, path=copy, seed=5)
    assert loop.evaluations == 8
    loop.close()


def test_one_loop_at_a_time_has_the_file(copy: Path) -> None:
    with killed_loops.begin(copy):
        with pytest.raises(FileFormatError, match=r"open in another loop, of this process or another one; close"):
            killed_loops.begin(copy)
        code = f"import sys, killed_loops; from pathlib import Path; killed_loops.begin(Path({str(copy)!r}))"
        support = str(Path(killed_loops.__file__).parent)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([support, *sys.path])}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "open in another loop" in done.stderr.splitlines()[-1]
    killed_loops.begin(copy).close()


def test_what_others_do_to_the_file_is_noticed(copy: Path, tmp_path: Path) -> None:
    with killed_loops.begin(copy) as loop:
        with copy.open("ab") as file:
            file.write(b"by hand\n")
        with pytest.raises(FileFormatError, match=r"bytes where .* were left: something else wrote to it"):
            loop.add(killed_loops.START.isel(sample=[0]))
        assert loop.evaluations == 8
    path = tmp_path / "gone.jsonl"
    with killed_loops.begin(path) as loop:
        path.unlink()
        with pytest.raises(FileFormatError, match=r"was removed or replaced while it was in use"):
            loop.add(killed_loops.START.isel(sample=[0]))
    with pytest.raises(FileFormatError, match=r"gone\.jsonl is closed; open it again"):
        loop.add(killed_loops.START.isel(sample=[0]))
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere doesn't exist"):
        killed_loops.begin(tmp_path / "nowhere" / "loop.jsonl")


def test_what_cannot_be_written_leaves_the_file_as_it_was(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: fsync fails after half of it was written."""
    before = copy.read_bytes()
    with killed_loops.begin(copy) as loop:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=r"No space left"):
                loop.add(killed_loops.START.isel(sample=[0]))
        assert (copy.read_bytes(), loop.evaluations) == (before, 8)
        loop.add(killed_loops.START.isel(sample=[0]))
    with killed_loops.begin(copy) as loop:
        assert loop.evaluations == 9


def test_floats_come_back_bit_by_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308, np.nextafter(1.0, 2.0)]
    journal = Journal(tmp_path / "j", {})
    journal.append({"values": values, "label": "Prüfling №1\n"})
    journal.close()
    again = Journal(tmp_path / "j", {})
    got = again.records[0]
    assert np.array(got["values"]).tobytes() == np.array(values).tobytes()
    assert got["label"] == "Prüfling №1\n"
    again.close()
