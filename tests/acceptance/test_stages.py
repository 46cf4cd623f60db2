"""New directories appear whole: times and modes come out right, and kills in between leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import Pair, same, temporaries
from tests.acceptance.trouble import age, ask, begin, check_state, complete, ended, in_memory, kill, movers, told, until
from tests.fuse.slowfs import Mount, mounted

FILES = 24


def nested(root: Path, wide: int, deep: int) -> None:
    """Directories of `FILES` files, and above them some that have files of their own."""
    for n in range(wide):
        place = root / f"a{n % 4}" / f"b{n % 3}" / "/".join(["c"] * (n % deep)) / f"d{n}"
        place.mkdir(parents=True)
        for k in range(FILES):
            (place / f"f{k}").write_text(f"{n} {k}" * 50)
    for k in range(FILES):
        (root / "a1" / f"own{k}").write_text("beside directories")
    age(root)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        yield Pair.make(place)


def test_the_times_of_all_directories_of_a_deep_tree(pair: Pair) -> None:
    nested(pair.source, 120, 5)
    summary = told(pair, "-a")
    assert summary["stats"]["copied_files"] == 121 * FILES
    same(pair.source, pair.target)
    assert not temporaries(pair.target)


def test_directories_that_not_even_their_owner_may_write_to(pair: Pair) -> None:
    nested(pair.source, 60, 3)
    places = [Path(here) for here, _, _ in os.walk(pair.source)]
    for place in places:
        place.chmod(0o555)
    dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED)
    same(pair.source, pair.target)
    assert not temporaries(pair.target)


def test_more_files_come_into_a_directory_that_not_even_their_owner_may_write_to(pair: Pair) -> None:
    """Two movers share it, and none takes away the write bit that the other has lent it."""
    place = pair.source / "d"
    place.mkdir()
    for count in (1, 20_000):
        place.chmod(0o755)
        for n in range(count):
            (place / f"f{n}").write_text("x")
        age(pair.source)
        place.chmod(0o555)
        dunlin("sync", "-a", "--movers=2", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED, expect=0)
    same(pair.source, pair.target)


def test_more_directories_come_into_a_tree_that_is_in_sync(pair: Pair) -> None:
    nested(pair.source, 60, 3)
    told(pair, "-a")
    for n in range(30):
        place = pair.source / "a0" / "b0" / f"new{n}"
        place.mkdir()
        for k in range(FILES):
            (place / f"f{k}").write_text("new")
    age(pair.source)
    complete(pair, "-a")


@pytest.mark.slow
def test_kills_at_any_instant(pair: Pair) -> None:
    """Without a limit, for under a limit there are no stages."""
    nested(pair.source, 500, 6)
    hits = 0
    for n in range(8):
        process = begin(pair, "-a", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda process=process: movers(process) or process.poll() is not None)
        time.sleep(0.02 + n * 0.02)
        if n % 2 and (crew := movers(process)):
            kill(crew[0])
            time.sleep(0.02)
        hits += process.poll() is None
        kill(process.pid)
        process.wait()
    assert hits >= 4
    complete(pair, "-a")
    check_state(pair)


def staged(backing: Path) -> bool:
    """Whether a stage stands in the root, with files in it."""
    for path in backing.glob(".dunlin-*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it has just been given its name
            if os.listdir(path):
                return True
    return False


def frozen(mount: Mount) -> bool:
    """Whether a stage stands in the root of the mount; then its file system stands still until it is sent SIGCONT."""
    if not staged(mount.backing):
        return False
    os.kill(mount.pid, signal.SIGSTOP)
    if staged(mount.backing):
        return True
    os.kill(mount.pid, signal.SIGCONT)
    return False


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Pair, Mount]]:
    """A pair whose destination answers late, and where that is mounted."""
    pair = Pair.make(tmp_path)
    nested(pair.source, 16, 3)
    backing = tmp_path / "backing"
    backing.mkdir()
    with mounted(backing, pair.target, latency_ms=2) as mount:
        yield pair, mount


@pytest.mark.fuse
def test_the_stage_of_a_killed_run_goes_with_the_next(slow: tuple[Pair, Mount]) -> None:
    pair, mount = slow
    backing = mount.backing
    process = begin(pair, "-a")
    until(lambda: frozen(mount), process)
    try:
        kill(process.pid)
    finally:
        os.kill(mount.pid, signal.SIGCONT)
    process.communicate()
    until(lambda: staged(backing))  # nobody was left to remove it
    told(pair, "-a")
    same(pair.source, backing)
    assert not temporaries(backing)
    check_state(pair)


@pytest.mark.fuse
def test_the_stage_of_a_killed_run_goes_with_the_next_also_without_its_lock_file(slow: tuple[Pair, Mount]) -> None:
    """The machine was started anew: the state alone tells who is dead."""
    pair, backing = slow[0], slow[1].backing
    process = begin(pair, "-a", "--scan-first")
    until(lambda: next(backing.rglob("f?"), None), process)  # all is listed, and most of it waits
    kill(process.pid)
    process.communicate()
    (token,) = ask(pair, "SELECT options ->> 'token' FROM run")[0]
    stage = backing / f".dunlin-{token}01-1.tmp"
    stage.mkdir()
    (stage / "f1").write_text("half")
    for path in (pair.root / f".home-{pair.cwd.name}").rglob("*.lock"):
        path.unlink()
    assert "continuing" in told(pair, "-a", "--scan-first")["stderr"]
    same(pair.source, backing)
    assert not temporaries(backing)


@pytest.mark.fuse
def test_the_stage_of_a_killed_mover_goes_in_the_same_run(tmp_path: Path) -> None:
    """One thread, so that there is a stage nearly always; the file system stands still while the mover is killed."""
    pair = Pair.make(tmp_path)
    nested(pair.source, 16, 3)
    backing = tmp_path / "backing"
    backing.mkdir()
    with mounted(backing, pair.target, latency_ms=1) as mount:
        process = begin(pair, "-a", "--movers=1", "--threads=1")
        until(lambda: movers(process) and frozen(mount), process)
        try:
            kill(movers(process)[0])
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        code, words = ended(process, 60)
    assert code == 0, words
    assert "a mover died" in words
    same(pair.source, backing)
    assert not temporaries(backing)
    check_state(pair)


@pytest.mark.fuse
def test_a_stop_leaves_no_stage(slow: tuple[Pair, Mount]) -> None:
    pair, mount = slow
    backing = mount.backing
    process = begin(pair, "-a")
    until(lambda: frozen(mount), process)
    try:
        process.terminate()
    finally:
        os.kill(mount.pid, signal.SIGCONT)
    code, words = ended(process, 60)
    assert code == 130, words
    assert not temporaries(backing)
    told(pair, "-a")
    same(pair.source, backing)
