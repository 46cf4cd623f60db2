"""Profilers for the threads of a process, and what movers leave of theirs."""

from __future__ import annotations

import pstats
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.report import NullReport
from dunlin.transfer import Options
from dunlin.workers import mover
from dunlin.workers.context import Rules
from dunlin.workers.handout import Handout
from dunlin.workers.pool import Pool
from dunlin.workers.profiles import Profiler, Profiles, forget, gather, new_profiler
from dunlin.workers.setup import Setup, build
from dunlin.workers.tasks import Scan, pack
from dunlin.workers.units import run_unit


def counted(stats: Any, name: str) -> int:
    """How often functions of that name were called."""
    return sum(row[1] for (_, _, function), row in stats.stats.items() if function == name)


def busy() -> int:
    return sum(map(step, range(10)))


def step(n: int) -> int:
    return n


Make = Callable[[], Profiler]
KINDS = [new_profiler] if sys.version_info >= (3, 12) else [new_profiler, partial(new_profiler, (3, 12))]


@pytest.mark.parametrize("make", KINDS)
def test_every_thread_counts_what_it_does_itself(tmp_path: Path, make: Make) -> None:
    profiles = Profiles(str(tmp_path), make)
    inside, go = threading.Barrier(3, timeout=20), threading.Event()

    def slow() -> int:
        inside.wait()
        assert go.wait(20)
        return busy()

    threads = [threading.Thread(target=profiles.run, args=(slow,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    busy()  # here nobody counts, while both are at it
    go.set()
    for thread in threads:
        thread.join()
    assert profiles.run(busy) == profiles.run(busy) == 45
    profiles.leave()
    stats, processes = gather(str(tmp_path))
    assert processes == 1
    assert (counted(stats, "slow"), counted(stats, "busy"), counted(stats, "step")) == (2, 4, 40)
    pstats.Stats(*(str(path) for path in tmp_path.iterdir())).sort_stats("tottime")


def test_whoever_counted_nothing_leaves_nothing(tmp_path: Path) -> None:
    Profiles(str(tmp_path)).leave()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_comes_through_and_the_thread_counts_on(tmp_path: Path) -> None:
    profiles = Profiles(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        profiles.run(lambda: step(1) // 0)
    assert sys.getprofile() is None
    profiles.run(step, 1)
    profiles.leave()
    assert counted(gather(str(tmp_path))[0], "step") == 2


def test_what_a_killed_process_was_writing_is_passed_over(tmp_path: Path) -> None:
    profiles = Profiles(str(tmp_path))
    profiles.run(busy)
    profiles.leave()
    (tmp_path / "half.unfinished").write_bytes(b"{")
    assert gather(str(tmp_path))[1] == 1


def test_a_forked_mover_does_not_count_for_the_loop_it_comes_from(tmp_path: Path) -> None:
    profiles = Profiles(str(tmp_path))

    def forked() -> None:
        forget()
        busy()

    profiles.run(forked)
    profiles.leave()
    assert counted(gather(str(tmp_path))[0], "busy") == 0


class Trees:
    """Two directories, one with files in it, and what a mover is told of them."""

    def __init__(self, root: Path) -> None:
        self.source, self.target, self.parts = root / "source", root / "target", root / "parts"
        for path in (self.source, self.target, self.parts):
            path.mkdir()
        for n in range(8):
            (self.source / f"d{n}").mkdir()
            (self.source / f"d{n}" / "f").write_text("x")

    def setup(self, profile: str) -> Setup:
        rules = Rules(Policy(perms=True), run="0badc0de")
        places = f"file://{self.source}", f"file://{self.target}"
        return Setup(*places, Options(perms=True), rules, profile=profile)


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("threads", [1, 3])
def test_movers_leave_theirs_however_they_were_started(tmp_path: Path, start: str, threads: int) -> None:
    trees = Trees(tmp_path)
    bucket = Bucket.create()
    pool = Pool(trees.setup(str(trees.parts)), bucket, 2, start)
    pool.grow(threads)
    pool.start()
    for n in range(8):
        pool.submit(n, pack(Scan(f"d{n}", files=1000, size=1 << 20)))
    arrivals: list[str] = []
    while len(arrivals) < 8:
        arrivals += [arrival.kind for arrival in pool.poll(5.0)] or ["silence"]
    assert arrivals == ["done"] * 8
    pool.close()
    bucket.close()
    stats, processes = gather(str(trees.parts))
    assert processes == 2
    assert counted(stats, "run_unit") == 8
    assert sum(1 for path in trees.target.rglob("f")) == 8


class Sent:
    """What a mover says to its parent, who then wants no thread of it any more."""

    def __init__(self, work: Handout) -> None:
        self.messages: list[Any] = []
        self._work = work

    def send(self, message: Any) -> None:
        self.messages.append(message)
        self._work.want(0)


def test_without_a_profile_units_are_called_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: nothing stands between the thread of a mover and `run_unit`, and no profiler is on."""
    trees = Trees(tmp_path)
    bucket = Bucket.create()
    callers: list[tuple[str, Any]] = []

    def watched(*arguments: Any) -> Any:
        callers.append((sys._getframe(1).f_code.co_name, sys.getprofile()))
        return run_unit(*arguments)

    monkeypatch.setattr(mover, "run_unit", watched)
    for profile in ("", str(trees.parts)):
        context = build(trees.setup(profile), bucket, 1, NullReport())
        work = Handout()
        work.want(1)
        work.put([(1, pack(Scan("d1")), False)])
        wire: Any = Sent(work)
        mover._work(context, wire, work)
        assert wire.messages[0][1][0][0] == "done"
        context.site.source.close()
        context.site.target.close()
    bucket.close()
    assert callers[0] == ("_work", None)
    assert callers[1] != callers[0], "this test would notice a profiler"
