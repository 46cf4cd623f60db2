"""Limits as they are seen from outside: psutil watches the program and all of its processes while it works.

Bounds are wide, because the machine has other things to do as well; they are ratios, never seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance import clouds
from tests.acceptance.program import dunlin, start
from tests.acceptance.trouble import until
from tests.servers.faults import Rules
from tests.servers.s3 import S3

MB = 1 << 20


class Watched:
    """The processor time and memory of a process and all that it started, sampled until `stop`."""

    def __init__(self, pid: int) -> None:
        self.resident = self.proportional = 0
        self.series: list[tuple[float, float]] = []
        self._cpu: dict[int, float] = {}
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.03):
            resident = proportional = 0
            with suppress(psutil.Error, OSError):
                for process in (self._process, *self._process.children(recursive=True)):
                    times, memory = process.cpu_times(), process.memory_full_info()
                    self._cpu[process.pid] = times.user + times.system
                    resident += memory.rss
                    proportional += memory.pss
                self.resident = max(self.resident, resident)
                self.proportional = max(self.proportional, proportional)
                self.series.append((time.monotonic(), sum(self._cpu.values())))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    @property
    def share(self) -> float:
        """Processor time over the whole machine, from start to end."""
        (begin, first), (end, last) = self.series[0], self.series[-1]
        return (last - first) / (end - begin) / len(os.sched_getaffinity(0))

    def used(self, begin: float, end: float) -> float:
        """Seconds of processor time per second between two times of the monotonic clock."""
        times = [at for at, _ in self.series]
        at = [min(bisect_left(times, moment), len(times) - 1) for moment in (begin, end)]
        (first, before), (last, after) = (self.series[index] for index in at)
        return (after - before) / (last - first)


def watched(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Watched:
    """A whole sync that succeeds, watched."""
    process = start("sync", "-a", *arguments, cwd=cwd, env=env)
    watch = Watched(process.pid)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        watch.stop()
    assert process.returncode == 0, err.decode("utf-8", "replace")
    return watch


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    made = tmp_path / "cwd"
    made.mkdir()
    return made


def small_files(root: Path, directories: int, files: int) -> Path:
    for d in range(directories):
        (root / f"d{d:03}").mkdir(parents=True)
        for f in range(files):
            (root / f"d{d:03}" / f"f{f:03}").write_bytes(b"%d %d" % (d, f) * 300)
    return root


def large_files(root: Path, files: int, size: int) -> Path:
    root.mkdir()
    for n in range(files):
        with open(root / f"large-{n}", "wb") as file:
            block = os.urandom(MB)
            for _ in range(size // MB):
                file.write(block)
    return root


@pytest.mark.parametrize(("percent", "directories"), [(25, 300), (8, 100)])
def test_processor_time_stays_at_its_share_of_the_machine(
    tmp_path: Path, cwd: Path, percent: int, directories: int
) -> None:
    """Small files and large ones, which pay after each unit and after each block."""
    source = small_files(tmp_path / "source", directories, 50)
    large_files(source / "large", 2, 64 * MB)
    held = watched("--max-cpu-percent", str(percent), source, tmp_path / "target", cwd=cwd).share
    assert 0.4 * percent / 100 < held <= 1.15 * percent / 100
    if percent < 10:
        free = watched(source, tmp_path / "free", cwd=cwd).share
        assert held < free, "without the limit it takes more, or this shows nothing"


def test_resident_memory_stays_below_its_limit(tmp_path: Path, cwd: Path) -> None:
    """The sum of resident memory, as tools show it, which counts twice what forked processes share."""
    source = large_files(tmp_path / "source", 12, 48 * MB)
    held = watched("--max-memory-mb", "150", source, tmp_path / "target", cwd=cwd)
    assert 20 * MB < held.proportional < held.resident < 150 * MB
    assert len(list((tmp_path / "target").iterdir())) == 12


def test_the_least_memory_that_can_be_asked_for_is_enough(tmp_path: Path, cwd: Path) -> None:
    """The proportional sum: with one mover and the process that flushes, most of it is shared."""
    source = small_files(tmp_path / "source", 20, 50)
    large_files(source / "large", 4, 48 * MB)
    held = watched("--max-memory-mb", "64", source, tmp_path / "target", cwd=cwd)
    assert 20 * MB < held.proportional < 64 * MB
    dunlin("check", source, tmp_path / "target", cwd=cwd, expect=0)


@pytest.mark.parametrize(("files", "size"), [(1, 512), (12, 48)])
def test_resident_memory_stays_below_a_small_limit_with_large_objects(
    rclone_s3: S3, tmp_path: Path, cwd: Path, files: int, size: int
) -> None:
    """To a bucket and back, in parts and ranges: one large object, and one after the other, whose buffers must go."""
    source, target = large_files(tmp_path / "source", files, size * MB), tmp_path / "target"
    bucket = clouds.s3(rclone_s3)
    options = ("--max-memory-mb", "128", "--s3-endpoint", rclone_s3.url)
    sent = watched(*options, source, bucket.url, cwd=cwd, env=bucket.env)
    fetched = watched(*options, bucket.url, target, cwd=cwd, env=bucket.env)
    assert 40 * MB < sent.resident < 120 * MB
    assert 40 * MB < fetched.resident < 120 * MB
    for file in source.iterdir():
        with open(file, "rb") as ours, open(target / file.name, "rb") as theirs:
            assert hashlib.file_digest(ours, "sha1").digest() == hashlib.file_digest(theirs, "sha1").digest()


def test_a_limit_that_no_object_store_can_hold_is_named_at_the_start(rclone_s3: S3, tmp_path: Path, cwd: Path) -> None:
    source = small_files(tmp_path / "source", 1, 1)
    bucket = clouds.s3(rclone_s3)
    options = ("--s3-endpoint", rclone_s3.url, source, bucket.url)
    warned = dunlin("sync", "--max-memory-mb", "64", *options, cwd=cwd, env=bucket.env, expect=0)
    assert re.search(r"WARN .*--max-memory-mb: 64.* is less .* at least 96", warned.stderr)
    held = dunlin("sync", "--max-memory-mb", "96", *options, cwd=cwd, env=bucket.env, expect=0)
    assert "--max-memory-mb" not in held.stderr


@contextmanager
def hogs() -> Iterator[None]:
    """Processes that keep every processor busy."""
    script = f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(100000))"
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def wait_for(log: Path, what: str, process: subprocess.Popen[bytes]) -> re.Match[str]:
    """A line of the log."""
    found: re.Match[str] = until(
        lambda: re.search(what, log.read_text(encoding="utf-8")), process, 120, lambda: log.read_text(encoding="utf-8")
    )
    return found


# It would go on for longer than we wait; two movers even where there is one processor. A limit on the rate keeps the
# run itself from taking much.
EASED = ("--auto-throttle", "--throttle-threshold", "0.95", "--movers", "2", "--bwlimit", "20K")
FEWER = r"Throttling \(cpu=(\d+)%, threshold=95%, workers=(\d+)->(\d+)\)"


def fewer(log: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until there are fewer workers; where in the log that is said."""
    found = wait_for(log, FEWER, process)
    assert int(found[1]) > 95
    assert int(found[2]) > int(found[3]) >= 1
    return found.start()


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a run that would go on."""
    process.terminate()
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


def test_a_busy_machine_gets_fewer_workers(tmp_path: Path, cwd: Path) -> None:
    """A hog beside it."""
    source = small_files(tmp_path / "source", 60, 100)
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = start("sync", "-a", *EASED, source, tmp_path / "target", cwd=cwd, stderr=out)
        try:
            with hogs():
                fewer(log, process)
        finally:
            end(process)


class Reported:
    """What a file says of how busy the processors are, in the place of /proc/stat; at first they are."""

    def __init__(self, file: Path) -> None:
        self.busy = True
        self._file, self._over = file, threading.Event()
        lines = Path("/proc/stat").read_text().splitlines()
        self._processors = [line.split()[0] for line in lines if line.startswith("cpu")]
        self._others = [line for line in lines if line.startswith(("btime", "processes"))]
        self._working, self._idle = 10**9, 10**9  # as wide as they will be, so that each picture replaces the last
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(0.05):
            now = time.monotonic()
            ticks, begun = round((now - begun) * 1000), now
            self._working, self._idle = self._working + ticks * self.busy, self._idle + ticks * (not self.busy)
            self._write()

    def _write(self) -> None:
        each = f"{self._working} 0 0 {self._idle} 0 0 0 0 0 0"
        lines = [*(f"{name} {each}" for name in self._processors), *self._others]
        with self._file.open("r+b") as file:
            file.write("\n".join([*lines, ""]).encode())

    def __enter__(self) -> Reported:
        self._file.touch()
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_machine_that_is_quiet_again_gets_its_workers_back(tmp_path: Path, cwd: Path) -> None:
    """The kernel's figures are replaced, for this process alone: nobody knows when a machine with tests is quiet."""
    source = small_files(tmp_path / "source", 60, 100)
    log, figures = tmp_path / "log", tmp_path / "stat"
    prefix = ("unshare", "--mount", "sh", "-c", f'mount --bind {figures} /proc/stat && exec "$@"', "sh")
    with log.open("wb") as out, Reported(figures) as reported:
        process = start("sync", "-a", *EASED, source, tmp_path / "target", cwd=cwd, stderr=out, prefix=prefix)
        try:
            then = fewer(log, process)
            reported.busy = False
            more = wait_for(log, r"Throttling (?:eased|ended) \(workers=(\d+)->(\d+)\)", process)
            assert int(more[1]) < int(more[2])
            assert more.start() > then
        finally:
            end(process)
    database = sqlite3.connect(cwd / ".sync-state.db")
    try:
        rows = database.execute("SELECT throttled, memory_mb, cpu_percent FROM performance_metrics").fetchall()
    finally:
        database.close()
    assert {throttled for throttled, _, _ in rows} >= {1}
    looked = [(memory, cpu) for _, memory, cpu in rows if memory is not None]  # the last row is of rates alone
    assert len(looked) >= 2
    assert all(memory > 20 and 0 <= cpu <= 100 for memory, cpu in looked)


def test_throttling_lowers_the_load_and_makes_batches_smaller(rclone_s3: S3, tmp_path: Path, cwd: Path) -> None:
    """A threshold that any load is above; a service that takes its time, so that the load follows from the workers."""
    source = small_files(tmp_path / "source", 100, 100)
    log = tmp_path / "log"
    options = ("--auto-throttle", "--throttle-threshold", "0.01", "--movers", "1", "--workers", "12")
    with clouds.s3(rclone_s3).through(Rules(latency_s=0.1)) as (bucket, proxy), log.open("wb") as out:
        process = start(
            "sync", *options, "--log-format", "json", "--s3-endpoint", proxy.origin, source, bucket.url,
            cwd=cwd, env=bucket.env, stderr=out,
        )  # fmt: skip
        watch, begun = Watched(process.pid), time.monotonic()

        try:
            wait_for(log, r"throttle\.engaged", process)
            engaged, sent = time.monotonic(), proxy.count()
            wait_for(log, r'throttle\.engaged.*"workers": ?[12]\b', process)
            low, first = time.monotonic(), proxy.count()
            time.sleep(4)
            after, asked = watch.used(low + 1, time.monotonic()), (proxy.count() - first) / 4
            assert process.poll() is None, "there must be something left to do, or this shows nothing"
        finally:
            process.terminate()
            process.wait(30)
            watch.stop()
            if process.stdout is not None:
                process.stdout.close()
    before = watch.used(engaged - 3, engaged - 0.2)
    asked_before = sent / (engaged - begun)
    assert asked < 0.6 * asked_before, f"{asked:.0f} requests a second after, {asked_before:.0f} before"
    assert after < 0.75 * before, f"{after:.3f} of a processor after, {before:.3f} before"
    steps = [json.loads(line) for line in log.read_text("utf-8").splitlines() if "throttle.engaged" in line]
    batches = [step["batch"] for step in steps]
    assert len(batches) >= 3
    assert 1000 > batches[0] > batches[1] > batches[2] >= 50
