"""One run at a time for each destination, and talking to the one that runs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.program import command, dunlin, environment, start
from tests.acceptance.trees import Pair, being_written, same, temporaries
from tests.acceptance.trouble import (
    ask,
    begin,
    check_state,
    complete,
    copied,
    end_all,
    ended,
    halted,
    in_memory,
    kill,
    movers,
    small,
    until,
)

pytestmark = [pytest.mark.slow]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        yield Pair.make(place)


@dataclass(frozen=True)
class Busy(Pair):
    """A pair with the run that works on it."""

    process: subprocess.Popen[bytes]


@pytest.fixture
def busy(pair: Pair) -> Iterator[Busy]:
    """A pair on which a run is at work that takes half a minute, unless its limit is lifted."""
    small(pair, 60)
    process = begin(pair, "-a", "--bwlimit=2M")
    until(lambda: copied(pair) >= 2, process)
    yield Busy(pair.root, process)
    end_all()


# ---- the lock ----


@pytest.mark.parametrize("state", [".sync-state.db", "none", "other.db"])
def test_a_second_run_waits_and_then_names_the_first(busy: Busy, state: str) -> None:
    begun = time.monotonic()
    done = dunlin(
        "sync", "-a", f"--state-db={state}", "--lock-wait=1s", busy.source, busy.target, cwd=busy.cwd, expect=1
    )
    assert 1 <= time.monotonic() - begun < 9  # 10 s are waited by default
    assert f"another run works on this destination (process {busy.process.pid})" in done.stderr
    assert "--lock-wait" in done.stderr
    assert f"(process {busy.process.pid}); waiting up to 1 second for it" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert busy.process.poll() is None


@pytest.mark.parametrize("spelling", ["slash", "relative", "link", "url"])
def test_however_the_destination_is_spelt(busy: Busy, spelling: str) -> None:
    (busy.root / "link").symlink_to("target")
    name = {
        "slash": f"{busy.target}/",
        "relative": "../target",
        "link": str(busy.root / "link"),
        "url": f"file://{busy.target}",
    }[spelling]
    done = dunlin("sync", "--state-db=none", "--lock-wait=0s", busy.source, name, cwd=busy.cwd, expect=1)
    assert f"process {busy.process.pid}" in done.stderr


def test_a_second_run_that_waits_long_enough_goes_on_after_the_first(busy: Busy) -> None:
    with open(busy.root / "out", "wb") as out, open(busy.root / "said", "wb") as said:
        second = begin(busy, "-a", "--json", "--lock-wait=60s", stdout=out, stderr=said)
    until(lambda: "waiting up to" in (busy.root / "said").read_text(), second)
    control(busy, "bwlimit", "off")
    assert ended(busy.process)[0] == 0
    second.wait(60)
    assert second.returncode == 0, (busy.root / "said").read_text()
    stats = json.loads((busy.root / "out").read_text())["stats"]
    assert (stats["copied_files"], stats["equal_files"]) == (0, 60)
    check_state(busy)


def test_a_dry_run_and_a_check_need_no_lock(busy: Busy) -> None:
    for words, code in ((("sync", "-a", "-n"), 0), (("check",), 3)):
        done = dunlin(*words, busy.source, busy.target, cwd=busy.cwd, expect=code)
        assert "waiting" not in done.stdout + done.stderr
    assert busy.process.poll() is None


def test_an_orphaned_mover_holds_the_lock(busy: Busy) -> None:
    """Whatever still writes there, and be it without its parent, keeps others out."""
    (lock,) = (Path(environment(busy.cwd)["XDG_RUNTIME_DIR"])).glob("dunlin-*.lock")
    crew = movers(busy.process)
    for pid in crew:
        os.kill(pid, signal.SIGSTOP)
    held = [os.path.realpath(f"/proc/{pid}/fd/{fd}") for pid in crew for fd in os.listdir(f"/proc/{pid}/fd")]
    assert held.count(str(lock.resolve())) == len(crew) > 0
    assert not _free(lock)
    kill(busy.process.pid)
    busy.process.communicate()
    # the kernel has ended the orphans: the lock is free, and what they left is swept away
    until(lambda: _free(lock))
    complete(busy, "-a")


def _free(lock: Path) -> bool:
    """Whether nobody holds the lock."""
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_two_pairs_in_one_state_file_at_the_same_time(pair: Pair) -> None:
    others = []
    for n in range(3):
        other = Pair.make(pair.root / f"p{n}")
        small(other, 200, 30_000)
        others.append(other)
    state = pair.cwd / "shared.db"
    crew = [
        start("sync", "-a", f"--state-db={state}", "--bwlimit=6M", p.source, p.target, cwd=pair.cwd) for p in others
    ]
    for process in crew:
        code, words = ended(process)
        assert code == 0, words
    for other in others:
        same(other.source, other.target)
    assert ask(pair, "PRAGMA integrity_check", name="shared.db") == [("ok",)]
    assert ask(pair, "SELECT count(*) FROM file WHERE status = 1", name="shared.db") == [(600,)]
    assert ask(pair, "SELECT status, count(*) FROM run GROUP BY 1", name="shared.db") == [("completed", 3)]


def test_temporary_files_of_a_run_that_lives_are_left_alone(pair: Pair) -> None:
    """Another run, of another tree, whose destination holds this one: what is in the making is not its to remove."""
    small(pair, 2, 4 << 20)
    outer = Pair.make(pair.root / "outer")
    (outer.source / "sub" / "a").mkdir(parents=True)
    (outer.source / "sub" / "a" / "beside").write_text("small")
    outer.target.mkdir()
    inner = start("sync", "-a", "--bwlimit=300K", pair.source, outer.target / "sub", cwd=pair.cwd)
    until(lambda: (outer.target / "sub" / "a").exists() and being_written(outer.target / "sub" / "a"), inner)
    held = being_written(outer.target)
    outer.sync("-a")
    kept = temporaries(outer.target)
    control(pair, "bwlimit", "off")
    assert ended(inner)[0] == 0
    assert set(held) <= set(kept)  # the other mover may have begun a file meanwhile
    assert sorted(os.listdir(outer.target / "sub" / "a")) == ["beside", "f000"]


# ---- control ----


def control(pair: Pair, *words: str, expect: int = 0) -> str:
    """`dunlin control`: everything it says."""
    done = dunlin("control", *words, cwd=pair.cwd, expect=expect, timeout=30)
    return done.stdout + done.stderr


def test_pause_and_resume(busy: Busy) -> None:
    assert "is paused" in control(busy, "pause")
    assert halted(lambda: copied(busy)) < 60
    assert "goes on" in control(busy, "resume")
    control(busy, "bwlimit", "off")
    code, words = ended(busy.process)
    assert code == 0, words
    same(busy.source, busy.target)
    check_state(busy)


def test_stop(busy: Busy) -> None:
    begun = time.monotonic()
    assert "stops" in control(busy, "stop")
    code, words = ended(busy.process)
    assert time.monotonic() - begun < 15  # half a minute for all
    assert code == 130, words
    assert "dunlin control stop" in words
    assert not temporaries(busy.target)
    assert ask(busy, "SELECT status FROM run") == [("interrupted",)]
    assert complete(busy, "-a")["continued"] is True


def test_stop_while_paused(busy: Busy) -> None:
    control(busy, "pause")
    control(busy, "stop")
    assert ended(busy.process)[0] == 130
    assert not temporaries(busy.target)


def test_another_limit(pair: Pair) -> None:
    small(pair, 40)
    process = begin(pair, "-a", "--bwlimit=1M")
    until(lambda: copied(pair), process)
    assert "has the limit 200M now" in control(pair, "bwlimit", "200M")
    begun = time.monotonic()
    assert ended(process)[0] == 0
    assert time.monotonic() - begun < 10  # 40 s with the old limit
    same(pair.source, pair.target)


def test_a_slower_limit_holds_at_once(pair: Pair) -> None:
    small(pair, 40)
    process = begin(pair, "-a", "--bwlimit=8M")
    until(lambda: copied(pair) >= 3, process)
    control(pair, "bwlimit", "1M")
    begun, before = time.monotonic(), copied(pair)
    time.sleep(2)
    more = copied(pair) - before
    assert more <= 2 + time.monotonic() - begun  # two that were under way, and one each second
    control(pair, "bwlimit", "off")
    assert ended(process)[0] == 0


def test_orders_reach_a_run_of_few_files(pair: Pair) -> None:
    """Also before there are movers: what is done in the parent must not keep orders waiting."""
    small(pair, 3, 1 << 20)
    process = begin(pair, "-a", "--bwlimit=50K")
    until(lambda: being_written(pair.target), process)
    begun = time.monotonic()
    control(pair, "stop")
    assert time.monotonic() - begun < 15  # 20 s for one file
    assert ended(process)[0] == 130


def test_several_runs_want_a_number(pair: Pair) -> None:
    crew = []
    for n in range(2):
        other = Pair.make(pair.root / f"p{n}")
        small(other, 40)
        process = start("sync", "-a", "--bwlimit=1M", other.source, other.target, cwd=pair.cwd)
        until(lambda other=other: copied(other), process)
        crew.append(process)
    try:
        words = control(pair, "stop", expect=1)
        assert "2 runs are running: 1, 2" in words
        assert "--run" in words
        words = control(pair, "stop", "--run=77", expect=1)
        assert re.search(r"run 77.*not running.*running: 1, 2", words)
        control(pair, "stop", "--run=2")
        assert ended(crew[1])[0] == 130
        assert crew[0].poll() is None
        control(pair, "stop")
        assert ended(crew[0])[0] == 130
    finally:
        for process in crew:
            process.kill()
            process.communicate()


def test_nobody_there(pair: Pair) -> None:
    words = control(pair, "pause", expect=1)
    assert "there is none" in words  # no state file
    small(pair, 2, 100)
    complete(pair, "-a")
    words = control(pair, "pause", expect=1)
    assert "no run is running" in words
    assert "dunlin status" in words


def test_a_run_that_was_killed_is_not_spoken_to(busy: Busy) -> None:
    kill(busy.process.pid)
    busy.process.communicate()
    assert ask(busy, "SELECT status FROM run") == [("running",)]
    assert "no run is running" in control(busy, "stop", expect=1)


def test_a_wrong_limit_is_refused_before_the_run_hears_of_it(busy: Busy) -> None:
    assert "dunlin:" in control(busy, "bwlimit", "fast", expect=1)
    assert busy.process.poll() is None
    control(busy, "bwlimit", "off")
    assert ended(busy.process)[0] == 0


def test_orders_to_a_dead_run_do_not_reach_the_next(pair: Pair) -> None:
    small(pair, 30)
    process = begin(pair, "-a", "--bwlimit=5M")
    until(lambda: copied(pair), process)
    kill(process.pid)
    process.communicate()
    ask(pair, "INSERT INTO control (run, time, verb) VALUES (1, 0, 'stop')")
    assert complete(pair, "-a")["continued"] is True


def test_status_tells_of_the_run_that_lives(busy: Busy) -> None:
    told = json.loads(dunlin("status", "--json", cwd=busy.cwd, expect=0).stdout)
    assert "running" in json.dumps(told)
    assert command("status")[-1] == "status"
