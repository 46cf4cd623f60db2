"""Limits as they are seen from outside: psutil watches the program and all of its processes while it works.

Bounds are wide, because the machine has other things to do as well; they are ratios, never seconds.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.program import dunlin, start

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


def watched(*arguments: str | Path, cwd: Path) -> Watched:
    """A whole sync that succeeds, watched."""
    process = start("sync", "-a", *arguments, cwd=cwd)
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


def wait_for(log: Path, what: str, alive: Callable[[], bool]) -> re.Match[str]:
    """A line of the log; waits for as long as it takes a machine that others use to become quiet."""
    deadline = time.monotonic() + 240
    while not (found := re.search(what, text := log.read_text(encoding="utf-8"))):
        assert alive(), text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    return found


def test_a_busy_machine_gets_fewer_workers_and_gets_them_back(tmp_path: Path, cwd: Path) -> None:
    """A hog beside it, then none; a limit on the rate keeps the run itself from taking much."""
    source = small_files(tmp_path / "source", 60, 100)
    log = tmp_path / "log"
    # It would go on for hours; two movers even where there is one processor.
    options = ("--auto-throttle", "--throttle-threshold", "0.95", "--movers", "2", "--bwlimit", "100K")
    with log.open("wb") as out:
        process = start("sync", "-a", *options, source, tmp_path / "target", cwd=cwd, stderr=out)

        def alive() -> bool:
            return process.poll() is None

        try:
            with hogs():
                fewer = wait_for(log, r"Throttling \(cpu=(\d+)%, threshold=95%, workers=(\d+)->(\d+)\)", alive)
                assert int(fewer[1]) > 95
                assert int(fewer[2]) > int(fewer[3]) >= 1
            more = wait_for(log, r"Throttling (?:eased|ended) \(workers=(\d+)->(\d+)\)", alive)
            assert int(more[1]) < int(more[2])
            assert more.start() > fewer.start()
        finally:
            process.terminate()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()
    database = sqlite3.connect(cwd / ".sync-state.db")
    try:
        rows = database.execute("SELECT throttled, memory_mb, cpu_percent FROM performance_metrics").fetchall()
    finally:
        database.close()
    assert {throttled for throttled, _, _ in rows} >= {1}
    assert all(memory > 20 and 0 <= cpu <= 100 for _, memory, cpu in rows)
