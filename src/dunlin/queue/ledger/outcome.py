"""What results change, worked out before it is written: see the table in `files`.

An `Outcome` lives within one transaction. Units are read, and locked, in the order of their numbers, so that two
coordinators never wait for each other; results are taken one after the other, in memory; then all rows of files,
failures, units and counters are written with a statement each. Several results of one unit in one call (its parts)
meet in the same `_Held`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dunlin.queue.ledger.database import Rows, line
from dunlin.queue.ledger.shapes import UnitRow, rows_of, unit_of
from dunlin.queue.ledger.words import FileResult, FileStatus, UnitResult, UnitStatus
from dunlin.queue.rules import stored

_PENDING, _FAILED = FileStatus.PENDING, FileStatus.FAILED
_UPLOADED, _SKIPPED = FileStatus.UPLOADED, FileStatus.SKIPPED
_OUTCOMES = frozenset({_UPLOADED, _SKIPPED, _FAILED})
_UNTOLD = "no outcome was told"

LONG = 50
"""Files with numbers one after the other that are written as a span: PostgreSQL then looks their rows up once."""


@dataclass(slots=True, eq=False, repr=False)
class _Held:
    """A unit while results are being taken. `old`: item, status and size of its files by number, once it is needed;
    without those that another unit has by now."""

    row: UnitRow
    attempt: int
    status: UnitStatus
    reported: int
    changed: bool = False
    looked: bool = False
    old: dict[int, tuple[int, int, int]] = field(default_factory=dict)


class Outcome:
    """Takes results and writes what they change.

    Args:
        rows: of the transaction.
        sql: the ledger's statements.
        now: seconds since 1970, for all that is written.
    """

    __slots__ = ("_counts", "_failed", "_files", "_mended", "_now", "_rows", "_sql", "_units")

    def __init__(self, rows: Rows, sql: Mapping[str, str], now: float) -> None:
        self._rows = rows
        self._sql = sql
        self._now = now
        self._units: dict[tuple[int, int], _Held] = {}
        self._files: dict[tuple[int, int], tuple[tuple[int, int, str], int, int]] = {}
        self._failed: dict[tuple[int, int], str] = {}
        self._mended: set[tuple[int, int]] = set()
        self._counts: dict[tuple[int, int], list[int]] = {}

    def load(self, job: int, numbers: Sequence[int]) -> None:
        """Read and lock units of a job; in ascending order, jobs as well as units."""
        for begin in range(0, len(numbers), 500):
            part = numbers[begin : begin + 500]
            some = ", ".join(f"${place + 2}" for place in range(len(part)))
            columns = "job, number, item, first, files, members, attempt, status, reported, tries"
            sql = f"SELECT {columns} FROM unit WHERE job = $1 AND number IN ({some}) ORDER BY number"
            for found in self._rows.query(f"{sql} /*postgres FOR UPDATE*/", (job, *part)):
                row = unit_of(found)
                self._units[job, row.number] = _Held(row, row.attempt, row.status, row.reported)

    def take(self, result: UnitResult, job: int) -> bool:
        """Take a result; False when the fence keeps it out."""
        held = self._units.get((job, result.unit))
        if held is None or held.status is not UnitStatus.OPEN or result.attempt < held.attempt:
            return False
        held.changed = True
        held.attempt = result.attempt
        told = {one.place: one for one in result.files if 0 <= one.place < held.row.files and one.status in _OUTCOMES}
        whole = len(told) == held.row.files
        if (
            held.reported
            or held.row.item < 0
            or (result.final and not whole)
            or any(one.size < 0 and one.status is _UPLOADED for one in told.values())
        ):
            self._look(held)
        worker = stored(line(result.worker))
        if held.looked:
            for place, one in told.items():
                self._one(held, held.row.number_at(place), one, worker)
        else:
            self._all(held, told, worker)
        if result.final:
            if held.looked:
                self._rest(held, result.error or _UNTOLD, worker)
            held.status = UnitStatus.DONE
        return True

    def write(self) -> None:
        """Write all that changed."""
        rows, sql = self._rows, self._sql
        together: dict[tuple[int, int, str], list[tuple[int, int, int]]] = {}
        for (_, number), (whose, status, size) in self._files.items():
            together.setdefault(whose, []).append((number, status, size))
        for whose, told in sorted(together.items()):
            self._write_files((*whose, self._now), sorted(told))
        if self._mended:
            rows.many(sql["failure_drop"], sorted(self._mended))
        if self._failed:
            failures = [(*key, error, self._now) for key, error in sorted(self._failed.items())]
            rows.many(sql["failure_new"], failures)
        units = [
            (*key, held.attempt, int(held.status), held.reported)
            for key, held in sorted(self._units.items())
            if held.changed
        ]
        rows.many(sql["unit_update"], units)
        for key, counts in sorted(self._counts.items()):
            rows.execute(sql["item_counted"], (*key, *counts))

    def _write_files(self, fixed: tuple[int, int, str, float], told: list[tuple[int, int, int]]) -> None:
        """Write outcomes of files (number, status, size), in the order of their numbers."""
        rows, sql = self._rows, self._sql
        scattered: list[tuple[int, int, int]] = []
        for run in _runs(told) if "file_run" in sql else [told]:
            if len(run) < LONG or "file_run" not in sql:
                scattered += run
                continue
            numbers, statuses, sizes = (list(column) for column in zip(*run, strict=True))
            rows.execute(sql["file_run"], (*fixed, numbers[0], numbers[-1] + 1, statuses, sizes))
        if scattered:
            rows.many(sql["file_result"], scattered, fixed)

    def _look(self, held: _Held) -> None:
        """Know of the unit's files what the tables have, and what was taken from them since, if it is not known yet."""
        if held.looked:
            return
        held.looked = True
        found = rows_of(self._rows, held.row.job, held.row.numbers(), "number, item, status, size, unit", lock=True)
        for number, item, status, size, unit in found:
            if unit != held.row.number:
                continue
            taken = self._files.get((held.row.job, number))
            held.old[number] = (item, status if taken is None else taken[1], size)

    def _all(self, held: _Held, told: Mapping[int, FileResult], worker: str) -> None:
        """Take the first outcomes of a unit whose files belong to one item."""
        job = held.row.job
        whose = job, held.attempt, worker
        counts = self._counts.setdefault((job, held.row.item), [0, 0, 0, 0, 0])
        for place, one in told.items():
            number = held.row.number_at(place)
            status = one.status
            self._files[job, number] = (whose, int(status), one.size)
            if status is _UPLOADED:
                counts[0] += 1
                counts[4] += one.size
            elif status is _SKIPPED:
                counts[1] += 1
            else:
                counts[2] += 1
                self._failed[job, number] = stored(line(one.error))
        held.reported += len(told)

    def _one(self, held: _Held, number: int, one: FileResult, worker: str) -> None:
        """Take the outcome of a file of which something may be known already."""
        key = held.row.job, number
        item, status, size = held.old.get(number, (-1, FileStatus.CANCELLED, 0))
        if status not in (_PENDING, _FAILED):
            return  # of another unit, or told for good
        counts = self._counts.setdefault((held.row.job, item), [0, 0, 0, 0, 0])
        if status == _PENDING:
            held.reported += 1
        else:
            counts[2] -= 1
            self._failed.pop(key, None)
            self._mended.add(key)
        if one.status is _UPLOADED:
            counts[0] += 1
            counts[4] += size if one.size < 0 else one.size
        elif one.status is _SKIPPED:
            counts[1] += 1
        else:
            counts[2] += 1
            self._failed[key] = stored(line(one.error))
            self._mended.discard(key)
        self._files[key] = ((held.row.job, held.attempt, worker), int(one.status), one.size)
        held.old[number] = (item, one.status, size)

    def _rest(self, held: _Held, error: str, worker: str) -> None:
        """What is pending when a unit is finished has failed."""
        for number, (_, status, _) in list(held.old.items()):
            if status == _PENDING:
                self._one(held, number, FileResult(0, _FAILED, error), worker)


def _runs(told: Sequence[tuple[int, int, int]]) -> Iterator[Sequence[tuple[int, int, int]]]:
    """The parts of a sorted list whose numbers follow one another."""
    begin = 0
    for end in range(1, len(told) + 1):
        if end == len(told) or told[end][0] != told[end - 1][0] + 1:
            yield told[begin:end]
            begin = end
