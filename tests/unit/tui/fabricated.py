"""A state file with a run that goes on, a day of earlier ones, and names that try to break the screen."""

from __future__ import annotations

from pathlib import Path

from dunlin.errors import ErrorKind, printable
from dunlin.model import Stats
from dunlin.report import Level, NullReport
from dunlin.state import CrawlMetric, Metric, State
from dunlin.state.runs import Life
from tests.unit.state.rows import Clock

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NOW = 1_795_246_883 * SECOND
"""2026-11-21 07:41:23 UTC."""

MIB = 1 << 20
STRANGE = (
    "data/2024/[red]not red[/red].txt",
    "photos/日本語のとても長い名前のディレクトリ/写真🐦‍⬛🐦.jpg",
    "odd/\x1b[31mescape\x07\r\nline.txt",
    "odd/bytes-\udcff\udcfe.bin",
    "deep/" + "very-long-directory-name/" * 8 + "file_8235.json",
)


def fabricate(path: Path, *, status: str = "throttled", pairs: int = 1) -> None:
    """Write the file. `status`: of the run that is shown ("running", "paused", "throttled", "completed", …)."""
    clock = Clock(NOW - 24 * HOUR)
    state = State.open(str(path), NullReport(), clock=clock)
    for number in range(2, pairs + 1):
        _other(state, clock, number)
    pair = state.pair("az://mycontainer/data", "file:///srv/mirror/data", "all")
    for hour in range(11):
        clock.time = NOW - (23 - 2 * hour) * HOUR
        run = state.begin_run(pair, {}, "boot", 4000 + hour).id
        for sample in range(4):
            clock.time += 10 * 60 * SECOND
            state.put_metric(run, _metric(20.0 + 7 * ((hour + sample) % 8)))
        failed = 78 if hour in (3, 7) else 0
        stats = Stats(scanned_files=14_000, copied_files=13_200, copied_bytes=21_300 * MIB, failed_files=failed)
        state.finish_run(run, "completed", stats)
    _current(state, clock, status)
    state.close()


def _other(state: State, clock: Clock, number: int) -> None:
    pair = state.pair(f"file:///source-{number}", f"file:///destination-{number}", "all")
    run = state.begin_run(pair, {}, "boot", 3000 + number).id
    clock.time += SECOND
    state.put_event(run, Level.INFO, "file.copied", "", f"only-of-{number}.txt", size=12)
    state.finish_run(run, "completed", Stats(copied_files=1, copied_bytes=12))


def _metric(cpu: float, throttled: bool = False) -> Metric:
    return Metric(
        cpu=cpu, memory=412 * MIB, network=117.0 * MIB, disk=120.0 * MIB, workers=5 if throttled else 8,
        files=1.9 * cpu, bytes=cpu * 2.9 * MIB, throttled=throttled, iowait=12.0, busy=38.0, used=45.0, wanted=8,
        cause="cpu 91%" if throttled else "", bandwidth=500 * MIB, pending_files=1766, pending_bytes=500 * MIB,
    )  # fmt: skip


def _current(state: State, clock: Clock, status: str) -> None:
    clock.time = NOW - 165 * SECOND
    pair = state.pair("az://mycontainer/data", "file:///srv/mirror/data", "all")
    run = state.begin_run(pair, {"attempts": 3}, "boot", 4711).id
    for at in range(77):
        clock.time = NOW - (160 - 2 * at) * SECOND
        state.put_metric(run, _metric(60.0 + at % 30, throttled=at > 60 and status == "throttled"))
        if at % 5 == 0:
            state.put_crawl(run, _crawl(at))
        _news(state, run, at)
    for at, name in enumerate(STRANGE):
        clock.time = NOW - (7 - at) * SECOND
        state.put_event(run, Level.INFO, "file.copied", "", name, size=945 * 1024)
    clock.time = NOW - 2 * SECOND
    words = "Checksum mismatch: the source states 4f1e, what arrived has 9a77"
    state.put_event(run, Level.ERROR, "file.failed", words, "data/2024/corrupt_file.json", ErrorKind.CHECKSUM, 3)
    state.put_event(run, Level.ERROR, "file.failed", "no answer for 5m", STRANGE[4], ErrorKind.TIMEOUT, 3)
    denied = f"cannot read /srv/data/{printable(STRANGE[0])}: Permission denied"
    state.put_event(run, Level.ERROR, "file.failed", denied, STRANGE[0], ErrorKind.DENIED, 1)
    state.put_metric(run, _metric(82.0, throttled=status == "throttled"))
    clock.time = NOW - SECOND
    _say(state, run, status)


def _news(state: State, run: int, at: int) -> None:
    name = f"data/2024/file_{8155 + at}.json"
    if at % 11 == 5:
        state.put_event(run, Level.WARN, "file.retry", "timeout", name, ErrorKind.TIMEOUT, 2)
    elif at % 17 == 9:
        state.put_event(run, Level.INFO, "files.more", "", number=1234)
    elif at % 13 == 7:
        state.put_event(run, Level.INFO, "file.deleted", "", name)
    else:
        state.put_event(run, Level.INFO, "file.copied", "", name, size=1024 * (700 + 13 * at))


def _crawl(at: int) -> CrawlMetric:
    return CrawlMetric(
        active=12, waiting=3, queued=140, held=8_500, files_limit=500_000, directories_limit=16,
        total_files=10_000 + at, total_directories=245, files_per_second=15_200.0 + 40 * at,
        directories_per_second=245.0, directory_seconds=0.4, memory=412 * MIB, memory_limit=500 * MIB, threads=18,
        threads_limit=96, engaged="memory", adjustments=2,
    )  # fmt: skip


def _say(state: State, run: int, status: str) -> None:
    stats = Stats(
        scanned_files=10_000, scanned_bytes=2_800 * MIB, scanned_directories=245, copied_files=8_231,
        copied_bytes=2_300 * MIB, failed_files=3, pending_files=1_766, pending_bytes=500 * MIB,
    )  # fmt: skip
    slow = status == "throttled"
    life = Life(
        paused=status == "paused", listed=True, limit=500 * MIB, workers=5 if slow else 8, wanted=8,
        cause="cpu 91%" if slow else "", files=156.0, bytes=234.0 * MIB,
    )  # fmt: skip
    state.update_run(run, stats, life)
    if status not in ("running", "paused", "throttled", "stale"):
        stats.pending_files = stats.pending_bytes = 0
        state.finish_run(run, status, stats, "the login was refused" if status == "failed" else "")
