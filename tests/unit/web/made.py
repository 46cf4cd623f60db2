"""State files with runs in them that never were: what a page is to show, with a clock that is set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from dunlin.errors import ErrorKind
from dunlin.jobs.history import History, gather
from dunlin.model import Stats
from dunlin.report import Level, NullReport
from dunlin.state import DirectoryStatus, FileStatus, Metric, Run, State, Target
from dunlin.state.overview import Overview
from dunlin.state.slow import Slow, put_slow
from tests.unit.state.rows import Clock, row, synced

SECOND = 1_000_000_000
BEGIN = 1_790_000_000 * SECOND

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "' onmouseover='alert(3)",
    "</title></style></script><svg onload=alert(4)>",
    "control\x1b[31m\x00\nline",
    "surrogate\udcff\udc80",
    "turned\u202egnp.exe",
    "&lt;&amp;{{7*7}}${7*7}javascript:alert(5)",
)  # fmt: skip
"""Names that mean something to a browser, a terminal or a template."""


class Made(NamedTuple):
    """A state file with its clock."""

    state: State
    clock: Clock

    def at(self, seconds: float) -> None:
        """It is so many seconds after the begin of everything."""
        self.clock.time = BEGIN + int(seconds * SECOND)

    def history(self, run: int) -> History:
        """What is on record of a run."""
        overview = Overview(self.state, lambda _: True, self.clock)
        return gather(self.state, overview, self.state.run(run), self.clock)


def empty(path: Path) -> Made:
    """A state file without runs."""
    clock = Clock(BEGIN)
    return Made(State.open(str(path), NullReport(), clock=clock), clock)


def begin(made: Made, seconds: float, source: str = "file:///srv/photos", **options: object) -> Run:
    """A run that begins so many seconds after the begin of everything."""
    made.at(seconds)
    pair = made.state.pair(source, "s3://archive/photos", "all")
    chosen = {"mode": "sync", "compare": "mtime", "checksum": "blake3", "delete": True, "token": "abcd1234", **options}
    return made.state.begin_run(pair, chosen, "boot", 4711)


def write(made: Made, run: Run, directory: str, files: dict[str, int]) -> None:
    """Files that the run copied into a directory, with their sizes in bytes."""
    [number] = [
        each if isinstance(each, int) else each[0]
        for each in (
            [made.state.start_frontier(run.id)]
            if not directory
            else made.state.add_directories(run.id, [(directory, Target.PRESENT)])
        )
    ]
    made.state.put_files(run.id, number, [synced(name, size=size) for name, size in files.items()])
    made.state.finish_directory(run.id, number, DirectoryStatus.DONE, 1, None)


def fail(made: Made, run: Run, directory: str, names: tuple[str, ...], reason: str = "Permission denied") -> None:
    """Files that failed in the run."""
    [number] = made.state.add_directories(run.id, [(directory, Target.PRESENT)])
    rows = [
        row(name, size=5_000_000, status=FileStatus.FAILED, error=f"cannot read it: {reason}", error_kind="denied")
        for name in names
    ]
    made.state.put_files(run.id, number if isinstance(number, int) else number[0], rows)
    for name in names:
        made.state.put_event(
            run.id,
            int(Level.ERROR),
            "file.failed",
            f"cannot read it: {reason}",
            f"{directory}/{name}",
            ErrorKind.DENIED,
            3,
        )


def long_run(made: Made, names: tuple[str, ...] = ("IMG_0001.raw", "IMG_0002.raw", "IMG_0003.raw")) -> Run:
    """A run of ten minutes after a dozen smaller ones, with all that a page can show."""
    for n in range(12):
        before = begin(made, n * 86_400)
        made.at(n * 86_400 + 300 + 40 * (n * 7 % 5))
        failed = 4 if n == 5 else 0
        stats = Stats(copied_files=2_000 + 150 * (n * 5 % 7), copied_bytes=9_000_000_000, failed_files=failed)
        status = "failed" if n == 8 else "completed"
        made.state.finish_run(before.id, status, stats, "cannot write: no space left" if n == 8 else "")
    start = 13 * 86_400.0
    run = begin(made, start)
    write(made, run, "", {"index.html": 18_000, "readme.txt": 900, "empty": 0})
    for n in range(60):
        sizes = {f"IMG_{n:03}{k:02}.jpg": 1_000 * (k + 1) ** 3 * (n % 7 + 1) for k in range(12)}
        write(made, run, f"{2015 + n % 9}/{n % 12 + 1:02}", sizes | {"movie.mov": 400_000_000 + n * 31_000_000})
    fail(made, run, "2019/raw", names)
    for n in range(5, 600, 2):
        made.at(start + n)
        paused, slow = 200 <= n < 245, 380 <= n < 450
        wave = 55 + 25 * math.sin(n / 35) + 8 * math.sin(n / 4.1)
        rate = 0.0 if paused else wave * (0.35 if slow else 1.0)
        made.state.put_metric(
            run.id,
            Metric(
                cpu=20 + rate / 2, memory=180_000_000, network=rate * 1e6, disk=1e6, workers=16 if not slow else 6,
                files=rate * 1.7, bytes=rate * 1_048_576, throttled=slow, paused=paused,
                cause="cpu 91%" if slow else "",
            ),
        )  # fmt: skip
        if n in (121, 301, 303, 305):
            made.state.put_event(run.id, int(Level.WARN), "file.retry", "connection reset by peer, trying again",
                                 "2018/04/IMG_0414.jpg", ErrorKind.NETWORK, 2)  # fmt: skip
    made.at(start + 600)
    made.state.put_event(run.id, int(Level.WARN), "delete.disabled", "12 files are not deleted: a source error")
    stats = Stats(
        scanned_files=148_211, scanned_directories=3_120, scanned_bytes=812_000_000_000, equal_files=147_428,
        equal_bytes=780_000_000_000, copied_files=783, copied_bytes=29_884_416_000, failed_files=len(names), warnings=5,
        created_directories=11, seconds=600,
    )  # fmt: skip
    made.state.finish_run(run.id, "completed", stats)
    put_slow(made.state, run.id, [
        Slow(61.2, 1, 2_229_000_000, "2023/12/movie.mov"), Slow(48.9, 1, 2_198_000_000, "2022/11/movie.mov"),
        Slow(22.5, 12, 18_000_000, "2017/03/"), Slow(9.1, 3, 18_900, "/"),
    ])  # fmt: skip
    return run
