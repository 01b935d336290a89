"""A file that only grows: one JSON record a line, on the disk before anyone hears of it, and none lost in a crash.

    {"surrogates": "design loop", "version": 1, ..., "sum": "..."}
    {"kind": "ask", ..., "sum": "..."}

``sum`` is a digest over the record and all records before it, so that a line that was changed, removed or moved is
found. Floats are written as Python's ``repr`` writes them, which gives the same bits back. A crash while a line is written
leaves a line without an end; it was never acknowledged, and is taken off when the file is opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from surrogates.errors import FileFormatError

FORMAT, VERSION = "design loop", 1
_MARK = b', "sum": "'
Record = dict[str, Any]


class Journal:
    """Records that are appended and never changed; without a path they are kept in memory alone.

    Parameters
    ----------
    path : of the file; its folder must exist. If there is such a file already, its records are read
    header : what every record of the file is about; of an existing file, the one that it was begun with counts

    Attributes
    ----------
    header : as the file has it
    records : all others, oldest first

    Raises
    ------
    FileFormatError
        If the file isn't a journal, was written by a newer version, is damaged, or is open elsewhere.
    """

    def __init__(self, path: str | os.PathLike[str] | None, header: Record) -> None:
        self.path = None if path is None else Path(path)
        self.header: Record = {"surrogates": FORMAT, "version": VERSION, **header}
        self.records: list[Record] = []
        self._sum, self._length = "", 0
        self._file: BinaryIO | None = None
        if self.path is None:
            return
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"{self.path} can't be written: the folder {self.path.parent} doesn't exist")
        # "a" makes the file where there is none and leaves what is there
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._lock()
            self._open()
        except BaseException:
            self.close()
            raise

    def append(self, record: Record) -> None:
        """Put a record at the end; when this returns, it is on the disk.

        Raises
        ------
        FileFormatError
            If the journal is closed, or its file was changed, moved or removed by someone else.
        OSError
            If it can't be written; the file then is as it was before.
        """
        if self.path is not None:
            self._write(record)
        self.records.append(record)

    def close(self) -> None:
        """Let others have the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Read what is there, or begin."""
        assert self._file is not None
        assert self.path is not None
        self._file.seek(0)
        data = self._file.read()
        lines, rest = data.split(b"\n")[:-1], data[data.rfind(b"\n") + 1 :]
        if not lines:
            begun = _line(self.header, "")[0]
            if not begun.startswith(rest):
                raise self._foreign(rest)
            self._file.truncate(0)
            self._write(self.header)
            _sync_folder(self.path)
            return
        records = [self._parsed(number, line) for number, line in enumerate(lines, start=1)]
        self.header, self.records = records[0], records[1:]
        self._length = len(data) - len(rest)
        if rest:
            warnings.warn(
                f"{self.path} ends within a line, as a crash leaves it: the unfinished record {len(records) + 1} is "
                f"dropped ({len(rest)} bytes); all records before it are whole",
                UserWarning,
                stacklevel=4,
            )
            self._file.truncate(self._length)
            os.fsync(self._file.fileno())

    def _parsed(self, number: int, line: bytes) -> Record:
        """The record in a line, checked."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == 1:
                raise self._foreign(line) from error
            raise self._damaged(number, "is not JSON") from error
        if number == 1:
            if not isinstance(record, dict) or record.get("surrogates") != FORMAT:
                raise self._foreign(line)
            version = record.get("version")
            if not isinstance(version, int) or version > VERSION:
                raise FileFormatError(
                    f"{self.path} is a journal in version {version!r}, this library reads up to {VERSION}; "
                    f"update it: pip install --upgrade multitask-surrogates"
                )
        body, mark, found = line.rpartition(_MARK)
        digest = _digest(body, self._sum)
        if not mark or found != f'{digest}"}}'.encode():
            raise self._damaged(number, "doesn't match its checksum")
        self._sum = digest
        record.pop("sum")
        return dict(record)

    def _write(self, record: Record) -> None:
        if self._file is None or self.path is None:
            raise FileFormatError(f"the journal {self.path} is closed; open it again to go on")
        line, digest = _line(record, self._sum)
        self._require_untouched()
        try:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(self._length)
            raise
        self._sum, self._length = digest, self._length + len(line)

    def _require_untouched(self) -> None:
        """What would be written to a file that was removed is lost, and another's lines would be in the way."""
        assert self._file is not None
        assert self.path is not None
        mine = os.fstat(self._file.fileno())
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise FileFormatError(
                f"{self.path} was removed or replaced while it was in use: nothing more is written; "
                f"put it back, or begin again under another path"
            )
        if mine.st_size != self._length:
            raise FileFormatError(
                f"{self.path} has {mine.st_size} bytes where {self._length} were left: something else wrote to it; "
                f"open the file again to see what it holds now"
            )

    def _lock(self) -> None:
        """One owner at a time; the system lets go when the process ends, however it ends."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: others are noticed by what they write
            return
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileFormatError(
                f"{self.path} is open in another loop, of this process or another one; "
                f"close() that loop, or wait until its process has ended"
            ) from error

    def _foreign(self, begin: bytes) -> FileFormatError:
        return FileFormatError(
            f"{self.path} is not the journal of this design loop: it begins with {begin[:40]!r}; give another path"
        )

    def _damaged(self, number: int, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self.path} is damaged: line {number} {what}; restore the file from a copy. Nothing was written to it"
        )


def _line(record: Record, before: str) -> tuple[bytes, str]:
    """The line of a record that follows records with the digest `before`, and the digest with it."""
    body = json.dumps(record, allow_nan=False).encode()[:-1]
    digest = _digest(body, before)
    return body + _MARK + f'{digest}"}}\n'.encode(), digest


def _digest(body: bytes, before: str) -> str:
    """Of a line up to its checksum, and of all lines before it."""
    return hashlib.sha256(before.encode() + body).hexdigest()[:16]


def _sync_folder(path: Path) -> None:
    """A new file's name is safe once its folder is; only POSIX systems let one say so."""
    if os.name != "posix":
        return
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
