"""--bwlimit at the destination, where it counts: what a mounted share receives, in every second."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import make, snapshot
from tests.acceptance.trouble import until
from tests.fuse.shape import busiest_window
from tests.fuse.slowfs import Mount, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

MB = 1 << 20
BUSY = 20.0
"""Seconds by which a run may be late on a busy machine."""


def large(root: Path) -> None:
    make(root, {"large": os.urandom(12 * MB)})


def small(root: Path) -> None:
    make(root, {f"d{at % 20}/f{at}": os.urandom(16 << 10) for at in range(768)})


def mixture(root: Path) -> None:
    make(root, {f"d{at % 20}/f{at}": os.urandom(8 << 10) for at in range(256)})
    make(root, {f"middle/m{at}": os.urandom(MB + 1) for at in range(2)})
    make(root, {f"large{at}": os.urandom(4 * MB + at) for at in range(2)})


@contextmanager
def share(tmp_path: Path, **options: object) -> Iterator[Mount]:
    """A mounted destination that logs what arrives."""
    (tmp_path / "backing").mkdir(exist_ok=True)
    with mounted(tmp_path / "backing", tmp_path / "mnt", write_log=tmp_path / "writes", **options) as mount:
        yield mount


@pytest.mark.parametrize(
    ("tree", "writeback"),
    [(large, True), (small, True), (mixture, True), (mixture, False)],
    ids=["large", "small", "mixture", "mixture, written through"],
)
def test_the_limit_holds_in_total_and_in_every_second(
    tmp_path: Path, tree: Callable[[Path], None], writeback: bool
) -> None:
    source = tmp_path / "source"
    tree(source)
    limit = 4 * MB
    with share(tmp_path, writeback=writeback) as mount:
        done = dunlin(
            "sync", "-a", "--json", "--bwlimit=4M", "--movers=2", "--state-db=none", source, mount.path,
            cwd=tmp_path, expect=0,
        )  # fmt: skip
        # What the kernel still holds back arrives now, and would make a burst.
        os.sync()
        writes = mount.writes()
    seconds = json.loads(done.stdout)["stats"]["seconds"]
    total = sum(size for _, size in writes)
    assert total == sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert seconds >= 0.95 * total / limit
    # A busy machine may take more than the limit does, but hardly in every second.
    assert seconds <= 1.05 * total / limit + BUSY
    assert 0.8 * limit <= busiest_window(writes) <= 1.1 * limit, [(when // 10**8, size) for when, size in writes]
    assert snapshot(source) == snapshot(tmp_path / "backing")


def test_a_limit_below_one_block_per_second(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"f": os.urandom(160 << 10), "g": os.urandom(80 << 10)})
    with share(tmp_path, writeback=True) as mount:
        dunlin("sync", "--bwlimit=100K", "--state-db=none", source, mount.path, cwd=tmp_path, expect=0)
        os.sync()
        writes = mount.writes()
    assert busiest_window(writes) <= (100 << 10) + (16 << 10)
    assert writes[-1][0] - writes[0][0] >= 1.9e9


def test_a_timetable(tmp_path: Path) -> None:
    """A limit that holds all day, and one that never did: the time of day decides."""
    source = make(tmp_path / "source", {"f": os.urandom(2 * MB)})

    def seconds(rate: str, destination: str) -> float:
        done = dunlin("sync", "--json", "--bwlimit", rate, source, tmp_path / destination, cwd=tmp_path, expect=0)
        return float(json.loads(done.stdout)["stats"]["seconds"])

    now = time.localtime()
    earlier, later = f"{(now.tm_hour - 1) % 24:02}:00", f"{(now.tm_hour + 2) % 24:02}:00"
    assert 1.9 <= seconds(f"{earlier},1M {later},off", "a") <= 2.1 + BUSY
    assert seconds(f"{earlier},off {later},50K", "b") < BUSY, "with that limit it would be 40 s"


class Running:
    """A run that is being spoken to, over a FUSE destination."""

    def __init__(self, process: subprocess.Popen[bytes], mount: Mount, cwd: Path) -> None:
        self.process = process
        self.mount = mount
        self.cwd = cwd

    def control(self, *words: str) -> str:
        return dunlin("control", *words, cwd=self.cwd, expect=0).stdout

    def arrived(self, seconds: float) -> int:
        """Bytes that arrive at the destination within the next seconds."""
        before = sum(size for _, size in self.mount.writes())
        time.sleep(seconds)
        return sum(size for _, size in self.mount.writes()) - before

    def wait_for(self, size: int) -> list[tuple[int, int]]:
        """The next writes, so many bytes of them; the run must go on for as long."""
        before = len(self.mount.writes())
        until(lambda: sum(size for _, size in self.mount.writes()[before:]) >= size, self.process)
        return self.mount.writes()[before:]


Begin = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def running(tmp_path: Path) -> Begin:
    """``running(tree, *options, **kind of mount)``: a run on that tree that has begun to write."""

    @contextmanager
    def begin(tree: Callable[[Path], None], *options: str, **kind: object) -> Iterator[Running]:
        tree(tmp_path / "source")
        with share(tmp_path, **kind) as mount:
            process = start("sync", "-a", *options, tmp_path / "source", mount.path, cwd=tmp_path)
            until(mount.writes, process)
            try:
                yield Running(process, mount, tmp_path)
            finally:
                process.kill()
                process.communicate()

    return begin


@pytest.mark.parametrize("tree", [large, small], ids=lambda tree: tree.__name__)
def test_pause_stops_writing_and_resume_goes_on(
    tmp_path: Path, running: Begin, tree: Callable[[Path], None]
) -> None:
    # The limit lets it run for 12 seconds, in which three commands must find it.
    with running(tree, "--bwlimit=1M") as run:
        assert "paused" in run.control("pause")
        until(lambda: run.arrived(0.2) == 0, run.process)  # what was let go before the pause arrives now
        assert run.arrived(0.7) == 0
        assert run.process.poll() is None
        assert "goes on" in run.control("resume")
        run.wait_for(MB // 2)
        run.control("bwlimit", "off")
        _, log = run.process.communicate(timeout=60)
        assert run.process.returncode == 0, log
    assert snapshot(tmp_path / "source") == snapshot(tmp_path / "backing")


@pytest.mark.parametrize("tree", [large, small], ids=lambda tree: tree.__name__)
def test_a_new_limit_takes_effect_while_running(running: Begin, tree: Callable[[Path], None]) -> None:
    with running(tree, "--bwlimit=512K") as run:
        assert "1M" in run.control("bwlimit", "1M")
        time.sleep(0.3)
        before = len(run.mount.writes())
        # More than the old limit allows in a second comes soon, and more than the new one in none.
        until(lambda: busiest_window(run.mount.writes()[before:]) >= 0.9 * MB, run.process)
        assert busiest_window(run.mount.writes()[before:]) <= 1.1 * MB
        run.control("bwlimit", "off")
        run.process.communicate(timeout=60)
        assert run.process.returncode == 0


def test_a_first_limit_while_running_is_as_strict(tmp_path: Path, running: Begin) -> None:
    """A run that began without a limit gets one in the middle of a large file."""

    def tree(root: Path) -> None:
        make(root, {f"large{at}": os.urandom(24 * MB) for at in range(2)})

    # The share's own speed keeps the run from being over before it is spoken to.
    with running(tree, "--movers=1", write_rate=10e6) as run:
        run.control("bwlimit", "4M")
        time.sleep(0.5)
        writes = run.wait_for(2 * 4 * MB)
        assert busiest_window(writes) <= 1.1 * 4 * MB
        run.control("bwlimit", "off")
        run.process.communicate(timeout=60)
        assert run.process.returncode == 0
    assert snapshot(tmp_path / "source") == snapshot(tmp_path / "backing")


def test_stop_ends_a_paused_run_with_130(running: Begin) -> None:
    with running(large, "--bwlimit=1M") as run:
        run.control("pause")
        run.control("stop")
        _, log = run.process.communicate(timeout=30)
        assert run.process.returncode == 130, log


def test_dirty_pages_are_bounded(tmp_path: Path, running: Begin) -> None:
    """On a kernel-buffered mount no more is written by us than the share has received, but for a few blocks."""

    def tree(root: Path) -> None:
        make(root, {"large": os.urandom(24 * MB)})

    with running(tree, "--bwlimit=4M", writeback=True) as run:
        most = 0
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            lines = Path("/proc/self/mountinfo").read_text()
            assert str(run.mount.path) in lines
            # In this order: what is written between the two looks, however far apart, does not count as dirty.
            written = max((path.stat().st_size for path in run.mount.path.glob(".dunlin-*")), default=0)
            received = sum(size for _, size in run.mount.writes())
            most = max(most, written - received)
            time.sleep(0.05)
        assert most <= MB, f"{most} bytes were dirty"


def test_control_without_a_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    dunlin("sync", tmp_path / "source", tmp_path / "d", cwd=tmp_path, expect=0)
    done = dunlin("control", "pause", cwd=tmp_path, expect=1)
    assert "no run is running" in done.stderr
    done = dunlin("control", "bwlimit", "nonsense", cwd=tmp_path, expect=1)
    assert "nonsense" in done.stderr
