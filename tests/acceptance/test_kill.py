"""`kill -9` of the parent or of a mover at random instants: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.trees import Pair, being_written, same, temporaries
from tests.acceptance.trouble import (
    ask,
    begin,
    check_state,
    complete,
    copied,
    ended,
    in_memory,
    kill,
    many,
    movers,
    small,
    told,
    until,
)
from tests.fuse.slowfs import mounted

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree that every case copies: small files, a wide directory, large files, several names of one file."""
    with in_memory(tmp_path_factory.mktemp("tree")) as place:
        many(place / "source", large=(20, 34))
        yield place / "source"


@pytest.fixture
def pair(tmp_path: Path, tree: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        pair = Pair.make(place)
        pair.source.rmdir()
        pair.source.symlink_to(tree)
        yield pair


def killed(pair: Pair, times: int, seed: int, *options: str, ready: float = 0.15, span: float = 0.5) -> int:
    """Start and kill a run so many times; how many were in the middle of their work."""
    dice = random.Random(seed)
    hits = 0
    for n in range(times):
        process = begin(pair, "-a", *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(ready + dice.random() * span)
        if n % 3 == 2 and (crew := movers(process)):
            kill(dice.choice(crew))
            time.sleep(dice.random() * 0.3)
        hits += process.poll() is None
        kill(process.pid)
        process.wait()
    return hits


def test_twenty_times_in_a_row_then_one_run_completes(pair: Pair) -> None:
    assert killed(pair, 20, 1, "--bwlimit=12M") >= 15
    assert complete(pair, "-a")["continued"] is True
    check_state(pair)
    # and what is recorded is what is there: the next run finds nothing to do
    again = complete(pair, "-a")["stats"]
    assert again["copied_files"] == 0
    assert again["equal_files"] == ask(pair, "SELECT count(*) FROM file")[0][0] + 40  # the links


@pytest.mark.parametrize(
    "options",
    [("--checksum=none",), ("-H",), ("--scan-first",), ("--workers=8",), ("--state-db=none",), ("--fsync=file",)],
    ids=lambda options: options[0],
)
def test_with_other_options(pair: Pair, options: tuple[str, ...]) -> None:
    linked = [pair.source / "d0" / "other", pair.source / "another"]
    for n, path in enumerate(linked):
        os.link(pair.source / "d1" / "e1" / f"f00{1 + 0 * n}" / "n005", path)
    try:
        assert killed(pair, 6, len(options[0]), "--bwlimit=16M", *options) >= 4
        complete(pair, "-a", *options, ignore=() if options[0] == "-H" else ("group",))
        if "--state-db=none" not in options:
            check_state(pair)
    finally:
        for path in linked:
            path.unlink()


@pytest.mark.fuse
def test_over_a_mount_with_latency(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    many(pair.source, directories=20, files=12, wide=300)
    backing = tmp_path / "backing"
    backing.mkdir()
    with mounted(backing, pair.target, latency_ms=1):
        assert killed(pair, 8, 5, ready=0.2, span=0.4) >= 5
        told(pair, "-a")
    same(pair.source, backing)
    assert not temporaries(backing)
    check_state(pair)


def test_a_mover_that_is_killed_alone_costs_nothing(pair: Pair) -> None:
    process = begin(pair, "-a", "--bwlimit=20M")
    for _ in range(3):
        until(lambda: movers(process), process)
        time.sleep(0.3)
        kill(random.Random(4).choice(movers(process)))
    code, words = ended(process, 60)
    assert code == 0, words
    assert "a mover died" in words
    same(pair.source.resolve(), pair.target, ("group",))
    assert not temporaries(pair.target)
    check_state(pair)
    scanned = ask(pair, "SELECT stats ->> 'copied_files', stats ->> 'scanned_files' FROM run")[0]
    assert scanned[0] >= ask(pair, "SELECT count(*) FROM file")[0][0]


def test_three_deaths_over_one_unit_are_a_failure_and_no_hang(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    small(pair, 1, 48 << 20)
    process = begin(pair, "-a", "--bwlimit=4M", "--movers=1")
    for _ in range(3):
        before: list[int] = []
        until(lambda: being_written(pair.target) and movers(process), process)
        before = movers(process)
        for name in temporaries(pair.target):
            os.unlink(name)
        kill(before[0])
        until(lambda before=before: process.poll() is not None or movers(process) not in ([], before))
    code, words = ended(process)
    assert code == 23, words
    assert "3 movers died" in words
    complete(pair, "-a")
    check_state(pair)


def test_an_orphaned_mover_does_not_live_on(pair: Pair) -> None:
    process = begin(pair, "-a", "--bwlimit=4M")
    until(lambda: movers(process) and copied(pair), process)
    crew = movers(process)
    kill(process.pid)
    process.communicate()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in crew), seconds=5)


def test_a_kill_while_the_state_is_written(pair: Pair) -> None:
    """The instants right after the first rows: the file must never need repair."""
    for n in range(6):
        process = begin(pair, "-a", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until((pair.cwd / ".sync-state.db-wal").exists, process)
        time.sleep(n * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert ask(pair, "PRAGMA integrity_check") == [("ok",)]
    complete(pair, "-a", ignore=("group",))
    check_state(pair)
