"""The files of a publish job: items, units, what became of each file. Exactly once.

Walk
    Whoever walks an item hands in lists of files; each list becomes a unit (`add_units`), with the rows of its files in
    the same transaction. Files are told apart by item and path, so a walk that was cut may begin again: what is known
    is left as it is, and only the rest comes back as units for the queue. Numbers of files and units count up within
    the job.

Fence
    The queue hands a unit out at least once, and each hand-out has a number, the attempt. `apply` takes a result only
    while its unit is open and its attempt is not older than the highest one that is known, be it from results or from
    a lease that was lost (`fence`). So a result that is delivered twice, and that of a worker which slept through its
    lease, changes nothing, and a second delivery of everything after a crash does no harm.

Count
    A file has one outcome, and counters follow rows in the same transaction:

    ============  ===========================================================================
    it was        a result of the unit says
    ============  ===========================================================================
    pending       uploaded, skipped or failed: so it is
    failed        uploaded or skipped: so it is; failed again: the newer reason stands
    uploaded      nothing changes it: a later delivery finds the object there (skipped) or, where the source is
    skipped       deleted after the upload, nothing to upload (failed)
    cancelled     nothing changes it
    ============  ===========================================================================

    The usual result tells of all files of a unit at once, and nothing was told before. Then old statuses need not be
    read, and it costs a row of the unit, the rows of the files and two counters.

Put back
    `retry` and `again` make new units of files that failed, and `replace` makes one of what is pending in a unit that
    the queue has lost. From then on results count only when they come from the new unit. They are *new* units since a
    queue that gets a forgotten key begins to count attempts at one: the fence of the old unit would refuse all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.database import Base, Rows, Where, first, line
from dunlin.queue.ledger.ids import number_of, text_of
from dunlin.queue.ledger.jobs import Jobs
from dunlin.queue.ledger.outcome import Outcome
from dunlin.queue.ledger.shapes import UnitRow, file_of, item_of, rows_of, unit_of
from dunlin.queue.ledger.words import (
    File,
    FileStatus,
    Item,
    Job,
    JobStatus,
    NewFile,
    OpenUnit,
    Totals,
    Unit,
    UnitResult,
    UnitStatus,
)
from dunlin.queue.rules import meant, stored

LONG = 500
"""Characters of a path that are part of an index; PostgreSQL bears 2,700 bytes."""
BATCH = 20_000
"""Rows that one transaction of a long work changes: others get their turn in between."""

_CONTENT = "number, item, status, size, coalesce(long, path), key, unit"
_OVER = frozenset({JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED})


class Files:
    """The files of the jobs of a ledger. All verbs raise what the ledger's engine does: NETWORK, LOCKED, ..."""

    def __init__(self, base: Base, clock: Callable[[], float], jobs: Jobs) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock
        self._jobs = jobs
        # Where some files were known, more will be: there the way for files that are all new is not tried.
        self._walked_again: set[int] = set()

    # ---- the walk ----

    def items(self, job: str) -> list[Item]:
        """The items of a job, in their order."""
        with self._base.reading() as rows:
            return [item_of(row) for row in rows.query(self._sql["item_all"], (number_of(job),))]

    def walked(self, job: str, item: int, error: str = "") -> None:
        """All files of an item are known; `error`, one line: why there are not more."""
        with self._base.writing() as rows:
            rows.execute(self._sql["item_walked"], (number_of(job), item, stored(line(error))))

    def add_units(self, job: str, units: Sequence[Sequence[NewFile]]) -> list[OpenUnit]:
        """Add files, pending, in units; the units for the queue, which lack the files that were known before.

        Raises:
            DunlinError: INTERRUPTED when the job has ended (somebody cancelled it); NOT_FOUND when there is none.
        """
        number = number_of(job)
        with self._base.writing() as rows:
            begin, place = self._given(rows, job)
            owned = [(place + n, file) for n, unit in enumerate(units) for file in unit]
            fresh = self._new_files(rows, number, begin, owned, FileStatus.PENDING)
            made, at = [], begin
            for n, unit in enumerate(units):
                members = [one for one in range(at, at + len(unit)) if fresh is None or one in fresh]
                files = tuple(unit) if len(members) == len(unit) else tuple(unit[one - at] for one in members)
                at += len(unit)
                if members:
                    whole = members[-1] - members[0] + 1 == len(members)
                    made.append((place + n, files, members[0], None if whole else members))
            self._new_units(rows, number, made, 0)
            self._grow(rows, number, [file for _, files, _, _ in made for file in files])
            rows.execute(self._sql["job_give"], (number, at, place + len(units) if made else place))
        return [OpenUnit(job, n, 0, 0, files, tuple(range(len(files)))) for n, files, _, _ in made]

    def add_failed(self, job: str, failed: Sequence[tuple[NewFile, str]]) -> int:
        """Add files that have failed already (a name that can be no key), each with its reason; how many were new.

        Raises what `add_units` does.
        """
        number, now = number_of(job), self._clock()
        with self._base.writing() as rows:
            begin, place = self._given(rows, job)
            files = [file for file, _ in failed]
            fresh = self._new_files(rows, number, begin, [(-1, file) for file in files], FileStatus.FAILED)
            new = [n for n in range(len(failed)) if fresh is None or begin + n in fresh]
            reasons = [(number, begin + n, stored(line(failed[n][1])), now) for n in new]
            rows.many(self._sql["failure_new"], reasons)
            self._grow(rows, number, [files[n] for n in new])
            for item, count in _per_item(files[n] for n in new):
                rows.execute(self._sql["item_counted"], (number, item, 0, 0, count, 0, 0))
            rows.execute(self._sql["job_give"], (number, begin + len(failed), place))
        return len(new)

    def given(self, job: str, places: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        """Those of the places (item, path) whose files are known, and have keys."""
        number, sql = number_of(job), self._sql["file_with_key"]
        with self._base.reading() as rows:
            return {(item, path) for item, path in places if rows.query(sql, (number, item, _path(stored(path))[0]))}

    # ---- results ----

    def apply(self, results: Sequence[UnitResult]) -> list[bool]:
        """Record results, all in one transaction; False for each that the fence keeps out (see the module)."""
        if not results:
            return []
        wanted: dict[str, set[int]] = {}
        for result in results:
            wanted.setdefault(result.job, set()).add(result.unit)
        with self._base.writing() as rows:
            outcome = Outcome(rows, self._sql, self._clock())
            for job in sorted(wanted):
                outcome.load(number_of(job), sorted(wanted[job]))
            taken = [outcome.take(result, number_of(result.job)) for result in results]
            outcome.write()
        return taken

    def fence(self, seen: Iterable[tuple[str, int, int]]) -> None:
        """Hand-outs that are known to have happened, (job, unit, attempt): results of earlier ones come too late."""
        ordered = sorted((number_of(job), unit, attempt) for job, unit, attempt in seen)
        with self._base.writing() as rows:
            for fenced in ordered:
                rows.execute(self._sql["unit_fence"], fenced)

    def settle(self, job: str) -> Job | None:
        """End a running or queued job of which nothing is left to do; None while something is, or when it has ended.

        It is completed when no file and no item failed, else failed.
        """
        with self._base.writing() as rows:
            totals = self._totals(rows, number_of(job))
            if not totals.items or not totals.done:
                return None
            items = [item_of(row) for row in rows.query(self._sql["item_all"], (number_of(job),))]
            wrong = next((item.error for item in items if item.error), "")
            if totals.failed and not wrong:
                wrong = f"{totals.failed:,} of {totals.total_files:,} files failed"
            to = JobStatus.FAILED if wrong else JobStatus.COMPLETED
            return self._jobs.move_within(rows, job, to, (JobStatus.RUNNING, JobStatus.QUEUED), wrong)

    def totals(self, job: str) -> Totals:
        """A job's files, added up."""
        with self._base.reading() as rows:
            return self._totals(rows, number_of(job))

    # ---- units ----

    def unit(self, job: str, number: int) -> OpenUnit | None:
        """An open unit with its files; None when it is done, called off, or not there."""
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["unit_get_plain"], (number_of(job), number)))
            row = None if found is None else unit_of(found)
            return self._open(rows, row) if row is not None and row.status is UnitStatus.OPEN else None

    def open_units(self, job: str, after: int = -1, count: int = 100) -> list[OpenUnit]:
        """Units that have no result, by number, those after `after`."""
        with self._base.reading() as rows:
            found = rows.query(self._sql["unit_opens"], (number_of(job), after, count))
            return [self._open(rows, unit_of(row)) for row in found]

    def units(self, job: str, status: UnitStatus | None = None, after: int = -1, count: int = 100) -> list[Unit]:
        """Units by number, those after `after`; of one status or all."""
        where = Where()
        where.add("job = {}", number_of(job))
        where.add("number > {}", after)
        if status is not None:
            where.add("status = {}", int(status))
        columns = "job, number, attempt, status, files, reported, tries"
        limit = where.limit(count)
        with self._base.reading() as rows:
            found = rows.query(f"SELECT {columns} FROM unit {where} ORDER BY number {limit}", where.bindings)
        return [Unit(job, n, attempt, UnitStatus(code), *rest) for _, n, attempt, code, *rest in found]

    def retry(self, job: str, per_unit: int = 250, count: int = 10_000, before: float | None = None) -> list[OpenUnit]:
        """Make failed files pending again, in new units for the queue. Call it until it returns nothing.

        Args:
            per_unit: files in a unit at most.
            count: files at most.
            before: those that failed until then, UTC seconds; None: until now. Given at each call, it keeps files out
                that fail again in the meantime.
        """
        until = self._clock() if before is None else before
        with self._base.writing() as rows:
            self._lock(rows, job)
            found = rows.query(self._sql["failure_page"], (number_of(job), until, count))
            failed = rows_of(rows, number_of(job), [row[0] for row in found], _CONTENT, lock=True)
            return self._units_of(rows, job, failed, FileStatus.FAILED, per_unit, 0)

    def again(self, job: str, unit: int, places: Sequence[int]) -> OpenUnit | None:
        """Make a new unit of files of a unit that failed, to be tried once more; None when none of them has failed."""
        with self._base.writing() as rows:
            self._lock(rows, job)
            found = first(rows.query(self._sql["unit_get"], (number_of(job), unit)))
            if found is None:
                return None
            row = unit_of(found)
            numbers = [row.number_at(place) for place in sorted(set(places)) if 0 <= place < row.files]
            made = self._units_of(rows, job, self._own(rows, row, numbers), FileStatus.FAILED, row.files, row.tries + 1)
        return made[0] if made else None

    def replace(self, job: str, unit: int) -> OpenUnit | None:
        """Call an open unit off, which the queue has lost, and make a new one of what is pending in it.

        None when it is not open, or nothing is pending in it: it is done then.
        """
        with self._base.writing() as rows:
            self._lock(rows, job)
            found = first(rows.query(self._sql["unit_get"], (number_of(job), unit)))
            if found is None or unit_of(found).status is not UnitStatus.OPEN:
                return None
            row = unit_of(found)
            mine = self._own(rows, row, row.numbers())
            made = self._units_of(rows, job, mine, FileStatus.PENDING, row.files, row.tries)
            status = UnitStatus.CANCELLED if made else UnitStatus.DONE
            rows.many(self._sql["unit_update"], [(row.job, unit, row.attempt, int(status), row.reported)])
        return made[0] if made else None

    def cancel(self, job: str) -> int:
        """Call off all that is pending, how many files; results that come later change nothing.

        The job gets its status from `Jobs.move`, before this: then nobody adds files any more.
        """
        number = number_of(job)
        with self._base.writing() as rows:
            end = self._lock(rows, job)
            rows.execute(self._sql["unit_cancel"], (number,))
            count = int(rows.query(self._sql["item_left"], (number,))[0][0])
            rows.execute(self._sql["item_cancel"], (number,))
        for begin in range(0, end, BATCH):  # counters and fence stand; the rows may follow in pieces
            with self._base.writing() as rows:
                rows.execute(self._sql["file_cancel"], (number, begin, begin + BATCH, self._clock()))
        return count

    # ---- what people look at ----

    def page(
        self,
        job: str,
        item: int | None = None,
        status: FileStatus | None = None,
        search: str = "",
        after: int = -1,
        count: int = 100,
    ) -> list[File]:
        """Files by number, those after `after`; of one item or all, of one status or all; whose path has `search`."""
        failed = status is FileStatus.FAILED  # these have a table of their own, which is short
        where = Where()
        where.add(f"{'x' if failed else 'f'}.job = {{}}", number_of(job))
        where.add(f"{'x' if failed else 'f'}.number > {{}}", after)
        if item is not None:
            where.add("f.item = {}", item)
        if status is not None and not failed:
            where.add("f.status = {}", int(status))
        if search:
            where.contains("coalesce(f.long, f.path)", stored(search))
        limit = where.limit(count)
        columns = self._sql["failure_columns" if failed else "file_columns"]
        order = "x.number" if failed else "f.number"
        with self._base.reading() as rows:
            found = rows.query(f"{columns} {where} ORDER BY {order} {limit}", where.bindings)
        return [file_of(row) for row in found]

    def failures(self, job: str, after: int = -1, count: int = 100, search: str = "") -> list[File]:
        """Files that failed, by number, with the reason."""
        return self.page(job, None, FileStatus.FAILED, search, after, count)

    # ---- within ----

    def _lock(self, rows: Rows, job: str) -> int:
        """Be the only one who gives numbers in the job; the number that its next file gets.

        Locks are taken in one order everywhere, so that nobody waits in a circle: job, units, files, items.
        """
        found = first(rows.query(self._sql["job_given"], (number_of(job),)))
        return 0 if found is None else int(found[0])

    def _given(self, rows: Rows, job: str) -> tuple[int, int]:
        """The numbers that the next file and the next unit get."""
        found = first(rows.query(self._sql["job_given"], (number_of(job),)))
        if found is None:
            raise DunlinError("add files to the job", job, ErrorKind.NOT_FOUND, "there is none")
        if JobStatus(found[2]) in _OVER:
            raise DunlinError("add files to the job", job, ErrorKind.INTERRUPTED, f"it is {found[2]}")
        return found[0], found[1]

    def _new_files(
        self, rows: Rows, job: int, begin: int, files: Sequence[tuple[int, NewFile]], status: FileStatus
    ) -> frozenset[int] | None:
        """Insert files, each with its unit; the numbers of those that were new, None when all were."""
        bindings = [
            (begin + n, file.item, unit, file.size, *_path(stored(file.path)), stored(file.key))
            for n, (unit, file) in enumerate(files)
        ]
        now = self._clock()
        if job not in self._walked_again:
            columns = "job, status, updated, attempt, number, item, unit, size, path, long, key"
            if rows.load("file", columns, [(job, int(status), now, 0, *row) for row in bindings]):
                return None
        if rows.many(self._sql["file_new"], bindings, (job, int(status), now)) == len(files):
            return None
        if len(self._walked_again) >= 10_000:  # a service lives for long; what is forgotten costs one try
            self._walked_again.clear()
        self._walked_again.add(job)
        return frozenset(row[0] for row in rows.query(self._sql["file_span"], (job, begin, begin + len(files))))

    def _new_units(
        self, rows: Rows, job: int, made: Sequence[tuple[int, tuple[NewFile, ...], int, list[int] | None]], tries: int
    ) -> None:
        bindings = []
        for number, files, begin, members in made:
            items = {file.item for file in files}
            listed = None if members is None else msgspec.json.encode(members).decode()
            bindings.append((job, number, items.pop() if len(items) == 1 else -1, begin, len(files), listed, tries))
        rows.many(self._sql["unit_new"], bindings)

    def _grow(self, rows: Rows, job: int, files: Sequence[NewFile]) -> None:
        grown: dict[int, list[int]] = {}
        for file in files:
            counts = grown.setdefault(file.item, [0, 0])
            counts[0] += 1
            counts[1] += file.size
        for item, counts in sorted(grown.items()):
            rows.execute(self._sql["item_grown"], (job, item, *counts))

    def _units_of(
        self, rows: Rows, job: str, some: Sequence[Any], status: FileStatus, per_unit: int, tries: int
    ) -> list[OpenUnit]:
        """New units of those files (`_CONTENT`) that have this status; failed ones become pending."""
        number = number_of(job)
        files, place = rows.query(self._sql["job_given"], (number,))[0][:2]
        found = [row for row in some if row[2] == status]
        now = self._clock()
        moved = [(number, row[0], place + n // per_unit, now) for n, row in enumerate(found)]
        rows.many(self._sql["file_unit"], moved)
        if status is FileStatus.FAILED:
            rows.many(self._sql["failure_drop"], [(number, row[0]) for row in found])
            for item, count in _per_item(NewFile("", "", 0, row[1]) for row in found):
                rows.execute(self._sql["item_counted"], (number, item, 0, 0, -count, 0, 0))
        made: list[tuple[int, tuple[NewFile, ...], int, list[int] | None]] = []
        for begin in range(0, len(found), per_unit):
            part = found[begin : begin + per_unit]
            content = tuple(NewFile(meant(path), meant(key), size, item) for _, item, _, size, path, key, _ in part)
            made.append((place + len(made), content, part[0][0], [row[0] for row in part]))
        self._new_units(rows, number, made, tries)
        rows.execute(self._sql["job_give"], (number, files, place + len(made)))
        return [OpenUnit(job, n, 0, tries, content, tuple(range(len(content)))) for n, content, _, _ in made]

    def _own(self, rows: Rows, row: UnitRow, numbers: Sequence[int]) -> list[Any]:
        """The files of these numbers, without those that another unit has by now."""
        found = rows_of(rows, row.job, numbers, _CONTENT, lock=True)
        return [file for file in found if file[6] == row.number]

    def _open(self, rows: Rows, row: UnitRow) -> OpenUnit:
        numbers = row.numbers()
        found = rows_of(rows, row.job, numbers, _CONTENT)
        files = tuple(NewFile(meant(path), meant(key), size, item) for _, item, _, size, path, key, _ in found)
        mine = FileStatus.PENDING, row.number
        pending = tuple(place for place, file in enumerate(found) if (file[2], file[6]) == mine)
        return OpenUnit(text_of(row.job), row.number, row.attempt, row.tries, files, pending)

    def _totals(self, rows: Rows, job: int) -> Totals:
        items, walked, *counts = (int(value) for value in rows.query(self._sql["totals"], (job,))[0])
        opened = int(rows.query(self._sql["unit_open"], (job,))[0][0])
        return Totals(items, bool(walked), opened, *counts)


def _path(path: str) -> tuple[str, str | None]:
    """A stored path as the index has it, and all of it when that is less."""
    if len(path) <= LONG:
        return path, None
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"{path[:LONG]}\x1e{digest}", path  # no stored text holds this separator


def _per_item(files: Iterable[NewFile]) -> list[tuple[int, int]]:
    counts: dict[int, int] = {}
    for file in files:
        counts[file.item] = counts.get(file.item, 0) + 1
    return sorted(counts.items())
