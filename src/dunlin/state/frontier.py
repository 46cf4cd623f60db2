"""The frontier: which directories are to be listed, which are listed, which are finished.

The table `directory` is the checkpoint of a crawl. A unit's result (rows, sub-directories, status) goes
in with one transaction, so a directory that says done has all its rows, and its sub-directories are
queued; a kill loses the unit in flight and nothing else. What is handed out stays queued until it is
finished: that is why `next_directories` takes the ids the caller already holds.

Order: the caller keeps a window in memory and refills it from here, oldest first while the window
has room (that finds work for every mover soon), newest first after (that keeps the frontier short).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from dunlin.sqlite import Database
from dunlin.state.codec import MAX, DirectoryStatus, Name, Target, decode_name, encode_name


class Queued(NamedTuple):
    """A directory to be listed; `path` below the root."""

    id: int
    path: str
    target: Target


class Known(NamedTuple):
    """What is remembered of a directory. `digest` is None unless every row is complete, synced and not in doubt."""

    id: int
    digest: bytes | None
    ctime: int | None
    status: DirectoryStatus
    doubtful: bool


class Frontier:
    """The directories of one state file."""

    def __init__(self, database: Database, sql: dict[str, str]) -> None:
        self._database = database
        self._sql = sql
        self._pairs: dict[int, int] = {}

    def start_frontier(self, run: int, root: str = "") -> int:
        """Begin a scan at `root`; returns its directory id."""
        return self.add_directories(run, [(root, Target.UNKNOWN)])[0]

    def add_directories(self, run: int, paths: Sequence[tuple[str, int]]) -> list[int]:
        """Queue directories, given as (path, Target), and return their ids in the same order.

        A directory that is known keeps its id, its rows and its digest. What the run has already is not queued
        once more, and 0 stands for its id: two movers must never work in one directory. The exception is
        one that was through and that the destination lacks all the same.
        """
        pair = self._pair(run)
        rows = [(pair, run, encode_name(path), target) for path, target in paths]
        with self._database.transaction():
            queued = {path: number for number, path in self._database.query_many(self._sql["directory_add"], rows)}
        return [queued.get(path, 0) for _, _, path, _ in rows]

    def next_directories(
        self, run: int, limit: int, exclude: Collection[int] = (), newest: bool = False
    ) -> list[Queued]:
        """Up to `limit` queued directories that are not in `exclude` (a set, for speed)."""
        name = "directory_next_new" if newest else "directory_next_old"
        found: list[Queued] = []
        at = MAX if newest else 0
        while len(found) < limit:
            rows = self._database.query(self._sql[name], (run, at, limit))
            found += [Queued(i, decode_name(path), Target(target)) for i, path, target in rows if i not in exclude]
            if len(rows) < limit:
                break
            at = rows[-1][0]
        return found[:limit]

    def finish_directory(
        self, run: int, directory_id: int, status: int, ctime: int | None = None, digest: bytes | None = None
    ) -> None:
        """Set a directory's status; `ctime` (ns) and `digest` are those of the source's listing.

        Give a digest only when every row is stored and synced. DONE also ends a doubt.
        """
        self._database.execute(self._sql["directory_finish"], (directory_id, run, status, ctime, digest))

    def finished(self, run: int) -> bool:
        """Whether the run has no directory left that is queued or has files pending."""
        return not self._database.value(self._sql["directory_any_unfinished"], (run,))

    def digests(self, pair: int, paths: Sequence[str]) -> dict[str, Known]:
        """What is remembered of those directories; unknown ones are absent from the answer."""
        rows = [(pair, encode_name(path), number) for number, path in enumerate(paths)]
        found = self._database.query_many(self._sql["directory_known"], rows)
        return {
            paths[number]: Known(i, digest, ctime, DirectoryStatus(status), bool(doubtful))
            for number, i, digest, ctime, status, doubtful in found
        }

    def directory_path(self, directory_id: int) -> str:
        """The path of a directory. Raises `KeyError`."""
        row = self._database.one(self._sql["directory_path"], (directory_id,))
        if row is None:
            raise KeyError(directory_id)
        return decode_name(row[0])

    def failed_directories(self, run: int, after: int = 0, limit: int = 1000) -> list[tuple[int, str]]:
        """(id, path) of directories that the run could not finish, by id."""
        rows = self._database.query(self._sql["directory_failed"], (run, after, limit))
        return [(number, decode_name(path)) for number, path in rows]

    def scanned_directories(self, run: int, limit: int) -> list[tuple[int, str]]:
        """(id, path) of directories that are listed but not finished, by id."""
        rows = self._database.query(self._sql["directory_scanned"], (run, limit))
        return [(number, decode_name(path)) for number, path in rows]

    def subdirectories(self, pair: int, path: str) -> Iterator[tuple[int, str]]:
        """(id, name) of the directories remembered directly below `path`: valid UTF-8 first, each part in byte order.

        It skips from child to child in the index over paths: two look-ups a child, whatever is below them.
        """
        raw = path.encode("utf-8", "surrogateescape")
        prefix = raw + b"/" if raw else b""
        if isinstance(encode_name(path), str):
            yield from self._children(pair, prefix, True)
        yield from self._children(pair, prefix, False)

    def _children(self, pair: int, prefix: bytes, text: bool) -> Iterator[tuple[int, str]]:
        def name(raw: bytes) -> Name:
            return raw.decode() if text else raw

        # '/' + 1 = '0'; without a prefix every path of the pair is below, and TEXT sorts before any BLOB
        at = prefix or b"\x01"
        end: Name = name(prefix[:-1] + b"0") if prefix else (b"" if text else b"\xff" * 300)
        while row := self._database.one(self._sql["directory_from"], (pair, name(at), end)):
            raw = row[0].encode() if text else row[0]
            child, below, _ = raw[len(prefix) :].partition(b"/")
            if below:  # deeper; its parent was seen, or is not remembered (or is TEXT while this is a BLOB)
                at = prefix + child + b"0"
                continue
            yield row[1], child.decode("utf-8", "surrogateescape")
            at = raw + b"\x00"

    def forget_gone(self, pair: int, origin: int, batch: int = 500) -> int:
        """Drop directories, with their files, that no run since `origin` has seen; returns how many.

        For the end of a run that completed without source errors; `origin` is `Run.origin`. Reads the
        pair's directories once, in batches.
        """
        count = after = 0
        while True:
            rows = self._database.query(self._sql["directory_gone"], (pair, origin, after, batch))
            with self._database.transaction():
                self._database.many(self._sql["file_drop_all"], rows)
                self._database.many(self._sql["directory_drop"], rows)
            count += len(rows)
            if len(rows) < batch:
                return count
            after = rows[-1][0]

    def _pair(self, run: int) -> int:
        if run not in self._pairs:
            row = self._database.one(self._sql["run_get"], (run,))
            if row is None:
                raise KeyError(run)
            self._pairs[run] = row[1]
        return self._pairs[run]
