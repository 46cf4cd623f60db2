"""Which units a run remembers as its slowest, and by which name."""

from __future__ import annotations

from typing import Any, cast

from dunlin.jobs.options import SyncOptions
from dunlin.jobs.record import FileRecord
from dunlin.report import NullReport
from dunlin.state.slow import KEPT, LEAST, Slow
from dunlin.transfer.outcome import Outcome


def record() -> FileRecord:
    return FileRecord(SyncOptions(source="/s", destination="/d"), cast(Any, None), 1, NullReport())


def unit(seconds: float, *sizes: int, listed: bool) -> Outcome:
    copied = [(f"f{at}", size, 0, 0, 0, 0, 0, 0, None) for at, size in enumerate(sizes)]
    return Outcome(copied=cast(Any, copied), seconds=seconds, listed=listed)


def test_a_file_of_its_own_has_its_name_and_a_directory_a_slash() -> None:
    log = record()
    log.put("a/b", unit(3.0, 10**9, listed=False))
    log.put("a", unit(2.0, 10, 20, listed=True))
    log.put("c", unit(1.0, 7, listed=True))  # a directory that was listed, and had one file to copy
    log.put("", unit(0.5, listed=True))
    assert log.slowest.rows() == [
        Slow(3.0, 1, 10**9, "a/b/f0"),
        Slow(2.0, 2, 30, "a/"),
        Slow(1.0, 1, 7, "c/"),
        Slow(0.5, 0, 0, "/"),
    ]


def test_quick_units_are_not_kept_and_slow_ones_are_few() -> None:
    log = record()
    for n in range(100):
        log.put("d", unit(LEAST / 2, 1, listed=True))
        log.put(f"d{n}", unit(1.0 + n, 1, listed=True))
    assert [each.path for each in log.slowest.rows()] == [f"d{n}/" for n in range(99, 99 - KEPT, -1)]
