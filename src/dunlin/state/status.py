"""What `dunlin status` and the dashboard show: runs, totals, what is pending, what failed and why."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.sqlite import Database
from dunlin.state.files import Failed, to_failed, to_failed_directory
from dunlin.state.runs import Run, to_run

RUNS = 10
FAILED = 100


class PairStatus(NamedTuple):
    """One pair at a glance. `runs`: newest first, at most 10. `last_success`: ns, None when there was none.

    `failed` lists at most 100 files; `failed_by_category` counts all of them by the error types
    network, checksum, disk, auth, unknown. `bad` lists at most 100 directories that could not be listed or made, of
    `failed_directories`.
    """

    id: int
    source: str
    destination: str
    known_files: int
    runs: list[Run]
    last_success: int | None
    pending_files: int
    pending_bytes: int
    queued_directories: int
    failed: list[Failed]
    failed_by_category: dict[str, int]
    bad: list[Failed] = []  # noqa: RUF012  (never changed)
    failed_directories: int = 0

    @property
    def failed_files(self) -> int:
        """How many files failed and were not synced since."""
        return sum(self.failed_by_category.values())


class Status:
    """Reads one state file for people."""

    def __init__(self, database: Database, sql: dict[str, str]) -> None:
        self._database = database
        self._sql = sql

    def status(self, pair: int | None = None) -> list[PairStatus]:
        """The status of one pair, or of all pairs in the file."""
        rows = self._database.query(self._sql["pair_all"])
        return [self._pair(*row) for row in rows if pair is None or row[0] == pair]

    def _pair(self, number: int, source: str, destination: str, known: int) -> PairStatus:
        query, value, sql = self._database.query, self._database.value, self._sql
        runs = [to_run(row) for row in query(sql["run_page"], (number, RUNS))]
        files = size = queued = 0
        if runs and runs[0].status != "completed":
            files, size = self._database.one(sql["pending_totals"], (runs[0].id,))
            queued = value(sql["directory_count_queued"], (runs[0].id,))
        categories: Counter[str] = Counter()
        for kind, count in query(sql["failed_kinds"], (number,)):
            categories[_category(kind)] += count
        failed = [to_failed(row) for row in query(sql["failed_of_pair"], (number, FAILED))]
        bad = self.bad_directories(number)
        many = len(bad) if len(bad) < FAILED else int(value(sql["failed_directories_count"], (number,)))
        last = value(sql["run_success"], (number,))
        return PairStatus(
            number, source, destination, known, runs, last, files, size, queued, failed, dict(categories), bad, many
        )

    def bad_directories(self, pair: int, limit: int = FAILED) -> list[Failed]:
        """Directories that could not be listed or made, those of the newest run first; a limit of -1: all of them."""
        rows = self._database.query(self._sql["failed_directories_of_pair"], (pair, limit))
        return [to_failed_directory(row) for row in rows]


def _category(kind: str | None) -> str:
    return DunlinError("", "", ErrorKind(kind)).category if kind else "unknown"
