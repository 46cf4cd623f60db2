"""The rows of files: what was synced, with which hash; what is pending; what failed.

The hot path is `put_files` and `put_synced`, about two microseconds a row: plain tuples go from the
mover's message to `executemany` with three values put in front. A directory without rows takes a
plain INSERT, any other an upsert that keeps `first_seen`, and keeps the hash when none is given and
size and mtime are the same.

Pending files are found through their directory, not by their own run: a continued run takes over a
million pending rows by changing a thousand directories. A row counts as pending work once its
directory is `SCANNED`; before that the directory is listed again anyway.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import join
from dunlin.sqlite import Database
from dunlin.state.codec import FileStatus, Name, decode_name, encode_name, fit, signed

FILE_ROW = (
    "name",
    "size",
    "mtime",
    "ctime",
    "birth",
    "mode",
    "uid",
    "gid",
    "etag",
    "content_md5",
    "hash_algorithm",
    "hash",
    "status",
    "error",
    "error_kind",
)
"""The fields of a row for `put_files`, in order. name: str. size: bytes. Times: ns. mode: st_mode. etag: str,
integer or None. hash: raw bytes or None. status: `FileStatus`. error_kind: value of an `ErrorKind`."""

SYNCED_ROW = ("name", "size", "mtime", "ctime", "birth", "mode", "uid", "gid", "hash")
"""The fields of a row for `put_synced`, in order."""

_ETAG = FILE_ROW.index("etag")
_END: Name = b"\xff" * 256
PAGE = 1000


class KnownFile(NamedTuple):
    """What is remembered of a file."""

    name: str
    size: int
    mtime: int
    ctime: int | None
    mode: int | None
    uid: int | None
    gid: int | None
    etag: str | int | None
    hash_algorithm: str | None
    hash: bytes | None
    status: FileStatus
    last_synced: int | None = None

    @property
    def unfinished(self) -> bool:
        """Whether its last transfer failed, or has not been made."""
        return self.status in (FileStatus.FAILED, FileStatus.PENDING)


class Pending(NamedTuple):
    """A file that waits for its transfer. `after` is the cursor for the next page."""

    directory_id: int
    directory: str
    name: str
    size: int

    @property
    def after(self) -> tuple[int, str]:
        """To be given to `pending` for the page that begins behind this file."""
        return self.directory_id, self.name


class Failed(NamedTuple):
    """A file that could not be synced, or a directory, whose path ends in `/` and whose name is "".

    `after` is the cursor for the next page of files.
    """

    directory_id: int
    path: str
    name: str
    size: int | None
    error: str
    kind: ErrorKind
    run: int

    @property
    def after(self) -> tuple[int, str]:
        """To be given to `failed` for the page that begins behind this file."""
        return self.directory_id, self.name


class Files:
    """The file rows of one state file."""

    def __init__(self, database: Database, sql: dict[str, str], now: Callable[[], int]) -> None:
        self._database = database
        self._sql = sql
        self._now = now

    def put_files(
        self,
        run: int,
        directory_id: int,
        rows: Sequence[tuple[Any, ...]],
        fresh: bool | None = None,
        written: bool = True,
    ) -> None:
        """Store rows with the fields `FILE_ROW`.

        Args:
            fresh: no row of that name exists yet (None: find out). A wrong True costs time, nothing else.
            written: the run wrote to the destination's directory; False when the files were found equal, so
                that a reboot does not make them doubtful.
        """
        with self._database.transaction():
            if fresh is None:
                fresh = self.is_empty(directory_id)
            front = (directory_id, run, self._begin(directory_id, written))
            if not fresh or not self._try("file_insert", front, rows):
                if self._try("file_upsert", front, rows):
                    return
                fitted = [_fit(row) for row in rows]
                self._database.many(self._sql["file_upsert"], [front + row for row in fitted])

    def put_synced(
        self,
        run: int,
        directory_id: int,
        rows: Sequence[tuple[Any, ...]],
        algorithm: str | None,
        written: bool = True,
        fresh: bool = False,
    ) -> None:
        """Store synced files with the fields `SYNCED_ROW`: the short way for a directory of new files.

        `fresh`: none of these names has a row yet; a wrong True costs time, nothing else.
        """
        with self._database.transaction():
            if fresh or self.is_empty(directory_id):
                front = (directory_id, run, self._begin(directory_id, written), algorithm)
                if self._try("file_insert_synced", front, rows):
                    return
            wide = [_widen(row, algorithm) for row in rows]
            self.put_files(run, directory_id, wide, fresh=False, written=written)

    def is_empty(self, directory_id: int) -> bool:
        """Whether nothing is on record of the directory's files."""
        return self._database.one(self._sql["file_any"], (directory_id,)) is None

    def _begin(self, directory_id: int, written: bool) -> int:
        """Rows are about to change: the digest no longer holds. Returns the time to stamp them with."""
        now = self._now()
        self._database.execute(self._sql["directory_written"], (directory_id, now if written else 0))
        return now

    def _try(self, statement: str, front: tuple[Any, ...], rows: Sequence[tuple[Any, ...]]) -> bool:
        """False when a value did not fit or a row existed; the rows before it are then written."""
        try:
            self._database.many(self._sql[statement], [front + row for row in rows])
        except (UnicodeEncodeError, OverflowError):
            return False
        except DunlinError as error:
            if type(error.__cause__).__name__ == "ConstraintError":
                return False
            raise
        return True

    def known_rows(self, directory_id: int) -> Iterator[KnownFile]:
        """The rows of a directory in the order of `model.sort_key`, a page at a time."""
        text = self._known(directory_id, "", b"")
        raw = self._known(directory_id, b"", _END)
        first = next(raw, None)
        if first is None:
            yield from text
            return
        both = heapq.merge(text, _chain(first, raw), key=lambda row: row.name.encode("utf-8", "surrogateescape"))
        yield from both

    def _known(self, directory_id: int, after: Name, end: Name) -> Iterator[KnownFile]:
        while True:
            rows = self._database.query(self._sql["file_known"], (directory_id, after, end, PAGE))
            for row in rows:
                yield _known(row)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def known_names(self, directory_id: int, names: Sequence[str]) -> dict[str, KnownFile]:
        """The rows of those names only; names without a row are absent from the answer."""
        bindings = [(directory_id, encode_name(name)) for name in names]
        rows = self._database.query_many(self._sql["file_some"], bindings)
        return {known.name: known for known in map(_known, rows)}

    def forget_missing(self, directory_id: int, names: Sequence[str]) -> None:
        """Drop the rows of names that are gone from the source."""
        with self._database.transaction():
            self._begin(directory_id, False)
            self._database.many(self._sql["file_forget"], [(directory_id, encode_name(name)) for name in names])

    def forget_unseen(self, directory_id: int, run: int) -> None:
        """Drop the rows that `run` has not set: it has sent every file of the directory, the others are gone."""
        self._database.execute(self._sql["file_forget_unseen"], (directory_id, run))

    def pending(self, run: int, limit: int = PAGE, after: tuple[int, str] | None = None) -> list[Pending]:
        """Up to `limit` pending files of the run, by directory id and name; `after` as in `Pending.after`.

        A directory whose last pending file is done must be finished by the caller.
        """
        rows: list[Any] = []
        at = 0
        if after is not None:
            at = after[0]
            rows = self._database.query(self._sql["pending_rest"], (run, at, encode_name(after[1]), limit))
        if len(rows) < limit:
            rows += self._database.query(self._sql["pending_next"], (run, at, limit - len(rows)))
        return [Pending(i, decode_name(path), decode_name(name), size or 0) for i, path, name, size in rows]

    def pending_totals(self, run: int) -> tuple[int, int]:
        """(files, bytes) that are pending in the run. Reads an index entry per pending file."""
        files, size = self._database.one(self._sql["pending_totals"], (run,))
        return files, size

    def failed(self, run: int, limit: int = PAGE, after: tuple[int, str] | None = None) -> list[Failed]:
        """Up to `limit` files that failed in the run, by directory id and name; `after` as in `Failed.after`."""
        at, name = after or (0, "")
        rows = self._database.query(self._sql["failed_page"], (run, at, encode_name(name), limit))
        return [to_failed(row) for row in rows]

    def count_failed(self, run: int) -> int:
        """How many files failed in the run and were not seen since."""
        return int(self._database.value(self._sql["failed_in_run"], (run,)))


def to_failed(row: tuple[Any, ...]) -> Failed:
    """A `Failed` from a row of the failed_* statements."""
    name = decode_name(row[2])
    kind = ErrorKind(row[5]) if row[5] else ErrorKind.INTERNAL
    return Failed(row[0], join(decode_name(row[1]), name), name, row[3], row[4] or "", kind, row[6])


def to_failed_directory(row: tuple[Any, ...]) -> Failed:
    """A `Failed` from a row of the failed_directories_* statements."""
    kind = ErrorKind(row[4]) if row[4] else ErrorKind.INTERNAL
    path = f"{decode_name(row[1]) or '.'}/"
    return Failed(row[0], path, "", None, row[3] or "its reason is in the log", kind, row[2])


def _known(row: tuple[Any, ...]) -> KnownFile:
    return KnownFile._make((decode_name(row[0]), *row[1:10], FileStatus(row[10]), row[11]))


def _fit(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row that SQLite refused, made to fit; an etag that is a big inode number keeps its bits."""
    etag = row[_ETAG]
    fitted = fit(row)
    if isinstance(etag, int):
        fitted = (*fitted[:_ETAG], signed(etag), *fitted[_ETAG + 1 :])
    return fitted


def _widen(row: tuple[Any, ...], algorithm: str | None) -> tuple[Any, ...]:
    name, size, mtime, ctime, birth, mode, uid, gid, value = row
    status = int(FileStatus.SYNCED)
    return (name, size, mtime, ctime, birth, mode, uid, gid, None, None, algorithm, value, status, None, None)


def _chain(first: KnownFile, rest: Iterator[KnownFile]) -> Iterator[KnownFile]:
    yield first
    yield from rest
