"""What came of a publish job: from news of the queue to the ledger, and from the ledger to what people read.

Theory. News stays in the queue until it is confirmed, and it is confirmed after everything that follows from it has
been done: outcomes on record, files that are to be tried again in the queue, the cache told, the job ended. Whoever
crashes in between reads the same news again, so each step must bear being done twice:

    record        the ledger's fence keeps out what it has already, and results of workers that were too late
    try again     only files that stand as failed become pending, in a new unit; a second time there are none
    put           a key that the queue knows changes nothing
    mark          says that the ledger has what a worker told, so that it may delete
    cache, hook   say what is so

A file that failed for a reason that may pass is tried again in a unit of its own kind, up to `max_retry` times, each
time later. One whose unit died with its workers is not: the queue delivered that often enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from dunlin.errors import DunlinError
from dunlin.jobs.publish import PublishOptions, options_of
from dunlin.jobs.publish_walk import full_path
from dunlin.queue.base import Kind, News
from dunlin.queue.ledger.words import File, FileResult, FileStatus, Item, Job, OpenUnit, Totals, UnitResult
from dunlin.workers.publish_words import FileOutcome, UnitOutcome, unpack_outcome

MOST_FAILED = 10_000
"""Failed files that a result names; the ledger has them all."""


class Outcomes(Protocol):
    """What is needed of the ledger's files; see `queue.ledger.files`."""

    def apply(self, results: Sequence[UnitResult]) -> list[bool]: ...
    def again(self, job: str, unit: int, places: Sequence[int]) -> OpenUnit | None: ...
    def unit(self, job: str, number: int) -> OpenUnit | None: ...
    def settle(self, job: str) -> Job | None: ...
    def items(self, job: str) -> list[Item]: ...
    def totals(self, job: str) -> Totals: ...
    def failures(self, job: str, after: int = -1, count: int = 100, search: str = "") -> list[File]: ...


class Read(NamedTuple):
    """A piece of news, read: which unit, what it says, and the worker's own outcome where there is one."""

    result: UnitResult
    outcome: UnitOutcome | None


class Taken(NamedTuple):
    """What follows from some news.

    Attributes:
        jobs: those whose files changed.
        again: units to be put into the queue, with the number of tries that they have behind them.
        there: keys that exist now, with their sizes, by bucket, for the existence cache.
        uploaded: how many files were uploaded.
        marks: the last that are on record (`workers.publish_record`), by job and unit.
    """

    jobs: set[str]
    again: list[OpenUnit]
    there: dict[str, dict[str, int]]
    uploaded: int
    marks: dict[tuple[str, int], bytes]


def unit_key(job: str, unit: int) -> str:
    """The key of a unit in the queue."""
    return f"{job}/{unit}"


def unit_of(key: str) -> tuple[str, int] | None:
    """The unit of a key; None for what is no such key."""
    job, _, number = key.rpartition("/")
    return (job, int(number)) if job and number.isascii() and number.isdigit() else None


def read(news: News) -> Read | None:
    """What a piece of news says; None for what belongs to no unit."""
    unit = unit_of(news.key)
    if unit is None:
        return None
    if news.kind in (Kind.LOST, Kind.DEAD):
        why = news.error if news.kind is Kind.DEAD and news.error else "its workers died, one after the other"
        return Read(UnitResult(*unit, news.attempt, (), news.worker, True, why), None)
    try:
        outcome = unpack_outcome(news.body)
        files = [_file_result(each) for each in outcome.files]
    except (DunlinError, ValueError) as error:  # a status that there is not
        return Read(UnitResult(*unit, news.attempt, (), news.worker, news.kind is Kind.DONE, str(error)), None)
    # Files that nobody told of have failed, where the result is the last.
    silent = "the worker said nothing of it"
    return Read(UnitResult(*unit, news.attempt, files, news.worker, news.kind is Kind.DONE, silent), outcome)


def _file_result(outcome: FileOutcome) -> FileResult:
    status = FileStatus(outcome.status)
    return FileResult(outcome.place, status, outcome.note if status is FileStatus.FAILED else "", outcome.size)


def take(news: Sequence[News], files: Outcomes, max_retry: int, live: Callable[[str], bool]) -> Taken:
    """Put news on record, and say what follows from it. `live`: whether a job runs, so that files are tried again."""
    all_read = [each for each in map(read, news) if each is not None]
    kept = files.apply([each.result for each in all_read])
    taken = Taken(set(), [], {}, 0, {})
    uploaded = 0
    for (result, outcome), on_record in zip(all_read, kept, strict=True):
        taken.jobs.add(result.job)
        if outcome is None:
            continue
        if outcome.mark and on_record:
            taken.marks[result.job, result.unit] = outcome.mark
        if result.final and outcome.generation < max_retry:
            places = [each.place for each in outcome.files if each.again and each.status == FileStatus.FAILED]
            unit = files.again(result.job, result.unit, places) if places and live(result.job) else None
            if unit is not None:
                taken.again.append(unit)
        # Also of results that the ledger knew: cache and hook may not have been told, and bear being told twice.
        if result.final:  # the last result tells of all files once more
            uploaded += sum(1 for each in outcome.files if each.status == FileStatus.UPLOADED)
        there = taken.there.setdefault(outcome.bucket, {})
        there.update({each.key: each.size for each in outcome.files if each.key})
    return taken._replace(uploaded=uploaded)


def joined(parts: Sequence[Taken]) -> Taken:
    """What follows from all of them."""
    there: dict[str, dict[str, int]] = {}
    for part in parts:
        for bucket, keys in part.there.items():
            there.setdefault(bucket, {}).update(keys)
    jobs = {job for part in parts for job in part.jobs}
    again = [unit for part in parts for unit in part.again]
    marks = {unit: mark for part in parts for unit, mark in part.marks.items()}
    return Taken(jobs, again, there, sum(part.uploaded for part in parts), marks)


# ---- what people read ----


def sync_result(job: Job, files: Outcomes, now: float, most: int = MOST_FAILED) -> dict[str, Any]:
    """The result of a publish job, as the service's specification names it (SyncResult), so far.

    Args:
        now: seconds since 1970, for a job that has not ended.
        most: failed files that are named.
    """
    items, asked = files.items(job.id), options_of(job)
    failed: dict[int, list[str]] = {item.number: [] for item in items}
    everything: list[str] = []
    for file in failures(job.id, files, most):
        path = path_of(items, asked, file)
        failed[file.item].append(path)
        everything.append(path)
    # An item that could not be walked has no files to name: its source has failed.
    for item in items:
        if item.error:
            failed[item.number].append(item.source)
            everything.append(item.source)
    seconds = max(0.0, (job.ended or now) - job.started) if job.started is not None else 0.0
    return {
        "items": [
            {
                "from": item.source,
                "to": item.to,
                "total_files": item.total_files,
                "uploaded_files": item.uploaded,
                "failed_files": failed[item.number],
            }
            for item in items
        ],
        "total_files": sum(item.total_files for item in items),
        "uploaded_files": sum(item.uploaded for item in items),
        "failed_files": everything,
        "duration": go_duration(seconds),
    }


def failures(job: str, files: Outcomes, most: int) -> Iterator[File]:
    """The files that failed, by number; `most` of them."""
    after = -1
    while most > 0:
        page = files.failures(job, after, min(1_000, most))
        if not page:
            return
        yield from page
        most -= len(page)
        after = page[-1].number


def path_of(items: Sequence[Item], asked: PublishOptions, file: File) -> str:
    """The path of a file as people gave its item: the item itself, where that is the file."""
    source = items[file.item].source
    single = file.item < len(asked.sources) and asked.sources[file.item].name
    return source if single else full_path(source, file.path)


def go_duration(seconds: float) -> str:
    """A duration as Go prints it: ``1h2m3.5s``, ``1.5ms``, ``0s`` (the documentation of time.Duration)."""
    left = round(seconds * 1_000_000_000)
    if left == 0:
        return "0s"
    if left < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if left >= size:
                return _decimal(left, size) + unit
    hours, left = divmod(left, 3_600_000_000_000)
    minutes, left = divmod(left, 60_000_000_000)
    text = _decimal(left, 1_000_000_000) + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)

