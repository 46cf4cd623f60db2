"""SIGINT, SIGTERM, SIGHUP and `dunlin control stop`: what is in flight ends, all is on record, the next run goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, being_written, same, temporaries
from tests.acceptance.trouble import (
    ask,
    begin,
    check_state,
    check_true,
    complete,
    copied,
    ended,
    halted,
    in_memory,
    many,
    movers,
    small,
    told,
    until,
)
from tests.fuse.slowfs import mounted

pytestmark = [pytest.mark.slow]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        yield Pair.make(place)


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and ctime of every file under its final name: what is copied again gets others."""
    found = {}
    for here, _, files in os.walk(root):
        for name in files:
            if not name.startswith(".dunlin-"):
                path = os.path.join(here, name)
                found[path] = (os.lstat(path).st_ino, os.lstat(path).st_ctime_ns)
    return found


def stopped(pair: Pair, process: subprocess.Popen[bytes], *signals: signal.Signals) -> tuple[float, str]:
    """Send signals and wait for the end: how many seconds it took, and what was said."""
    begun = time.monotonic()
    for number in signals:
        process.send_signal(number)
    code, words = ended(process)
    assert code == 130, words
    return time.monotonic() - begun, words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_saves_and_the_next_run_goes_on(pair: Pair, number: signal.Signals) -> None:
    small(pair, 120)
    process = begin(pair, "-a", "--bwlimit=8M")
    until(lambda: copied(pair) >= 10, process)
    took, words = stopped(pair, process, number)
    assert took < 7  # 13 s with all the others
    assert words.count("press Ctrl-C again to stop at once") == 1
    assert not temporaries(pair.target)
    check_true(pair)
    assert ask(pair, "SELECT status FROM run") == [("interrupted",)]
    before = stamps(pair.target)
    assert 10 <= len(before) < 120
    summary = complete(pair, "-a")
    assert summary["continued"] is True
    assert f"continuing run 1: {120 - len(before)} files pending, 0 directories not yet scanned" in summary["stderr"]
    after = stamps(pair.target)
    assert {path: after[path] for path in before} == before
    assert summary["stats"]["copied_files"] == 120 - len(before)
    check_state(pair)


def test_a_signal_to_the_whole_group_leaves_nothing_behind(pair: Pair) -> None:
    """As a service manager sends it, and a terminal."""
    small(pair, 60)
    process = begin(pair, "-a", "--bwlimit=8M", start_new_session=True)
    until(lambda: copied(pair) >= 10 and temporaries(pair.target), process)
    os.killpg(process.pid, signal.SIGTERM)
    code, words = ended(process)
    assert code == 130, words
    assert "mover died" not in words
    assert not temporaries(pair.target)
    complete(pair, "-a")
    check_state(pair)


@pytest.mark.parametrize("after", [0.02, 0.15, 0.3, 0.6])
def test_at_any_instant(pair: Pair, after: float) -> None:
    many(pair.source, large=(20,))
    process = begin(pair, "-a", "--bwlimit=5M")
    until(lambda: os.path.exists(pair.target) or (pair.cwd / ".sync-state.db").exists(), process)
    time.sleep(after)
    stopped(pair, process, signal.SIGINT)
    assert not temporaries(pair.target)
    check_true(pair)
    complete(pair, "-a")
    check_state(pair)


def test_interrupted_again_and_again(pair: Pair) -> None:
    many(pair.source, large=(20,))
    runs = 0
    for _ in range(8):
        process = begin(pair, "-a", "--bwlimit=16M")
        until(lambda count=runs: len(ask_runs(pair)) > count, process)
        runs = len(ask_runs(pair))
        time.sleep(0.25)
        process.send_signal(signal.SIGTERM)
        code, words = ended(process)
        assert code in (0, 130), words
        assert not temporaries(pair.target)
        check_true(pair)
        if code == 0:
            break
    complete(pair, "-a")
    check_state(pair)
    moved = ask(pair, "SELECT sum(stats ->> 'copied_files') FROM run")
    assert moved == ask(pair, "SELECT count(*) FROM file")


def ask_runs(pair: Pair) -> list[tuple[int]]:
    """The numbers of the runs on record, none before there is a record."""
    with contextlib.suppress(Exception):
        return ask(pair, "SELECT id FROM run WHERE status <> '' ORDER BY id")
    return []


def test_a_wide_directory_cut_short_is_listed_again(pair: Pair) -> None:
    """A directory of which only some windows were seen is not taken for a finished one."""
    many(pair.source, directories=2, files=2, wide=30_000)
    for runs, delay in enumerate((0.05, 0.2, 0.1)):
        process = begin(pair, "-a", "--bwlimit=50M")
        until(lambda count=runs: len(ask_runs(pair)) > count, process)
        time.sleep(delay)
        stopped(pair, process, signal.SIGINT)
    told(pair, "-a")
    assert sorted(os.listdir(pair.source / "wide")) == sorted(os.listdir(pair.target / "wide"))
    assert not temporaries(pair.target)


def _size(path: str | os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:  # the probe's file, which is soon gone
        return 0


@pytest.mark.fuse
@pytest.mark.parametrize("checksum", ["blake3", "none"])
def test_in_the_middle_of_a_large_file(tmp_path: Path, checksum: str) -> None:
    """Nobody waits for the end of the file."""
    pair = Pair.make(tmp_path)
    with open(pair.source / "huge", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing", pair.target, write_rate=50e6):
        process = begin(pair, "-a", f"--checksum={checksum}")
        until(lambda: any(_size(name) > 20 << 20 for name in temporaries(pair.target)), process)
        took, _ = stopped(pair, process, signal.SIGINT)
        assert took < 10  # 21 s for the file
        assert not temporaries(pair.target)
        assert ask(pair, "SELECT status FROM file") == [(0,)]


def test_in_a_long_sleep_of_the_limit(pair: Pair) -> None:
    small(pair, 4, 4 << 20)
    process = begin(pair, "-a", "--bwlimit=100K")
    until(lambda: being_written(pair.target), process)
    took, _ = stopped(pair, process, signal.SIGINT)
    assert took < 10  # 40 s for the first file alone
    assert not temporaries(pair.target)
    complete(pair, "-a")


def test_while_paused(pair: Pair) -> None:
    small(pair, 40)
    process = begin(pair, "-a", "--bwlimit=4M")
    until(lambda: copied(pair) >= 3, process)
    assert "is paused" in dunlin("control", "pause", cwd=pair.cwd, expect=0).stdout
    assert halted(lambda: copied(pair)) < 40
    took, _ = stopped(pair, process, signal.SIGTERM)
    assert took < 10  # nobody ends the pause
    assert not temporaries(pair.target)
    complete(pair, "-a")


@pytest.mark.fuse
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Also where the mount takes its time for what is in flight."""
    pair = Pair.make(tmp_path)
    small(pair, 30, 2 << 20)
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing", pair.target, write_rate=300e3):
        with open(pair.root / "said", "wb") as said:
            process = begin(pair, "-a", stderr=said)
        until(lambda: being_written(pair.target) and movers(process), process)
        crew = movers(process)
        process.send_signal(signal.SIGINT)
        # Two at once would be one.
        until(lambda: "press Ctrl-C again" in (pair.root / "said").read_text())
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - begun < 10  # 13 s for the files that are under way
        assert "Traceback" not in (pair.root / "said").read_text()
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in crew))
    pair.target.rmdir()
    (tmp_path / "backing").rename(pair.target)
    assert complete(pair, "-a")["continued"] is True


def test_before_anything_has_begun_and_while_waiting_for_the_lock(pair: Pair) -> None:
    small(pair, 40)
    first = begin(pair, "-a", "--bwlimit=2M")
    until(lambda: copied(pair), first)
    with open(pair.root / "said", "wb") as said:
        second = begin(pair, "-a", "--lock-wait=60s", stderr=said)
    until(lambda: "waiting up to" in (pair.root / "said").read_text(), second)
    second.send_signal(signal.SIGINT)
    assert second.wait(20) == 130  # it would have waited for a minute
    assert "Traceback" not in (pair.root / "said").read_text()
    stopped(pair, first, signal.SIGINT)
    complete(pair, "-a")


def test_without_state(pair: Pair) -> None:
    many(pair.source, large=(20,))
    process = begin(pair, "-a", "--bwlimit=8M", "--state-db=none")
    until(lambda: copied(pair) >= 100, process)
    stopped(pair, process, signal.SIGINT)
    assert not temporaries(pair.target)
    before = stamps(pair.target)
    complete(pair, "-a", "--state-db=none")
    after = stamps(pair.target)
    assert {path: after[path] for path in before} == before
    same(pair.source, pair.target)
