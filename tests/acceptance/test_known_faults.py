"""One test for each known fault, B1 to B8, of the crawl that dunlin's is modelled on: a window over directories.

Each test names the fault and says in one line what it was. The program is a black box where that shows it; where calls
have to be counted or a machine made up, it runs in this process.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from dunlin.jobs import sync as job
from dunlin.jobs.options import Crew, SyncOptions
from dunlin.pace.machine import Machine
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.workers import coordinator
from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.trees import OLD, Pair, names, same, write
from tests.acceptance.trouble import ask, complete, ended, until
from tests.fuse.slowfs import mounted

GIB = 1 << 30


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def planted(root: Path, directories: int, files: int = 1) -> None:
    for n in range(directories):
        (root / f"d{n:04}").mkdir()
        for k in range(files):
            (root / f"d{n:04}" / f"f{k}").write_bytes(b"%d" % n)


def summary(pair: Pair, *options: str | Path, **more: Any) -> dict[str, Any]:
    done = pair.sync("--json", *options, **more)
    told: dict[str, Any] = json.loads(done.stdout)["stats"]
    told["stderr"] = done.stderr
    return told


def in_process(pair: Pair, **fields: Any) -> Any:
    """A run of the pair in this process."""
    options = SyncOptions(
        source=str(pair.source),
        destination=str(pair.target),
        state_db=str(pair.root / "state.db"),
        user_state=str(pair.root / "user"),
        runtime=str(pair.root / "locks"),
        **fields,
    )
    return job.run(options, Stop(), NullReport())


# ---- B1 to B5: what an error did ----


@pytest.mark.root
def test_b1_errors_that_nobody_reads_stop_nobody(pair: Pair) -> None:
    """The channel held 1,000 failures and was never read: the next failing directory waited for ever."""
    planted(pair.source, 1_100)
    (pair.source / "last").write_bytes(b"x")
    for n in range(1_100):
        (pair.source / f"d{n:04}").chmod(0o000)
    told = summary(pair, "-a", prefix=UNPRIVILEGED, expect=23, timeout=50)
    assert (told["failed_directories"], told["source_errors"], told["copied_files"]) == (1_100, 1_100, 1)
    assert told["stderr"].count("Traversal failed: ") == 1_100
    assert "1,100 errors: 1,100 denied (" in told["stderr"]


@pytest.mark.root
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("movers", ["1", "2"])
def test_b2_a_directory_that_cannot_be_opened_gives_its_slot_back(pair: Pair, side: str, movers: str) -> None:
    """The slot stayed taken when opening failed: after 48 of them everything waited for ever."""
    planted(pair.source, 120)
    if side == "target":
        pair.target.mkdir()
        planted(pair.target, 60)
    for n in range(60):
        ((pair.source if side == "source" else pair.target) / f"d{n:04}").chmod(0o000)
    told = summary(
        pair, "--crawl-parallelism", "1", "--movers", movers, prefix=UNPRIVILEGED, expect=23, timeout=50
    )
    assert (told["failed_directories"], told["copied_files"]) == (60, 60)


@pytest.mark.fuse
@pytest.mark.root
def test_b3_half_a_listing_is_never_acted_on(pair: Pair) -> None:
    """What a failed listing had named until then was scheduled as copies, compared with nothing."""
    backing = pair.root / "backing"
    for n in range(20):
        write(backing / f"d/f{n:02}", f"new {n}")
        write(backing / f"d/s{n:02}/below", "x")
    write(backing / "d/bad", "x")
    write(backing / "fine/f", "x")
    write(pair.target / "d/f00", "the copy that is there", OLD)
    with mounted(backing, pair.source, errors={"stat:d/bad": errno.EIO}, readdirplus=False):
        told = summary(pair, "-a", "--delete-extras", expect=23)
    assert {path for path in names(pair.target) if path.startswith("d/f")} == {"d/f00"}
    assert (pair.target / "d/f00").read_text() == "the copy that is there"
    below = [path for path in names(pair.target) if path.endswith("/below")]
    assert told["copied_files"] == 1 + len(below)  # what the sub-directories that it named hold was listed in full
    assert told["failed_directories"] == 1
    assert "Traversal failed: d: " in told["stderr"]


@pytest.mark.root
def test_b4_a_destination_that_cannot_be_listed_is_no_success(pair: Pair) -> None:
    """The error was replaced by the clean-up's success: the run ended as if all had been copied."""
    write(pair.source / "d/f", "x")
    write(pair.source / "d/sub/g", "x")
    write(pair.target / "d/there", "x")
    (pair.target / "d").chmod(0o300)
    done = pair.sync("-a", prefix=UNPRIVILEGED, expect=23)
    assert "Traversal failed: d: cannot open the directory " in done.stderr
    assert str(pair.target / "d") in done.stderr
    assert "1 failed" in done.stdout
    assert ask(pair, "SELECT status FROM directory WHERE path = 'd'") == [(3,)]
    assert ask(pair, "SELECT name, path, kind FROM event WHERE level >= 40") == [("directory.failed", "d", "denied")]
    (pair.target / "d").chmod(0o755)
    assert (pair.target / "d/sub/g").read_text() == "x"
    assert not (pair.target / "d/f").exists()
    complete(pair, "-a", "--delete-extras")


@pytest.mark.fuse
@pytest.mark.root
def test_b5_an_entry_that_cannot_be_looked_at_keeps_its_copy(pair: Pair) -> None:
    """An entry whose stat failed was passed over, and its copy deleted as an extra."""
    backing = pair.root / "backing"
    for name in ("d/a", "d/bad", "d/z", "e/f"):
        write(backing / name, name)
    for name in ("d/bad", "d/old", "e/old"):
        write(pair.target / name, "precious")
    with mounted(backing, pair.source, errors={"stat:d/bad": errno.EIO}, readdirplus=False):
        told = summary(pair, "-a", "--delete-extras", expect=23)
    assert {"d/bad", "d/old", "e/old", "e/f"} <= names(pair.target)
    assert (pair.target / "d/bad").read_text() == "precious"
    assert (told["deleted_files"], told["source_errors"]) == (0, 1)
    assert "not deleted" in told["stderr"]


# ---- B6, B7: what a crawl costs ----


def calls(pair: Pair) -> int:
    """How many functions a run of the pair calls."""
    made = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert in_process(pair, crew=Crew(movers=1)).exit_code == 0
    finally:
        sys.setprofile(before)
    return made


def test_b6_a_directory_costs_the_same_however_many_are_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finishing a directory looked through everything in flight: cost in the square of the directories."""
    # All in this process, whose calls are counted; all directories are queued at once, below one root.
    monkeypatch.setattr(coordinator, "LAZY_FILES", 1 << 40)
    monkeypatch.setattr(coordinator, "LAZY_SECONDS", 1e9)
    each = {}
    for directories in (0, 100, 1_000):
        pair = Pair.make(tmp_path / str(directories))
        monkeypatch.chdir(pair.root)
        planted(pair.source, directories)
        each[directories] = calls(pair)
    few, many = (each[100] - each[0]) / 100, (each[1_000] - each[0]) / 1_000
    assert many < 1.05 * few, each


@pytest.mark.parametrize("memory", [GIB // 4, GIB // 2, GIB, 2 * GIB - 1, 512 * GIB])
def test_b7_the_smallest_machine_has_the_smallest_window(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """Below 2 GB the budget was rounded to nothing, which then meant: 48 directories at a time."""
    plans = []
    plan = job.crawl_plan

    def noted(*args: Any) -> Any:
        plans.append(plan(*args))
        return plans[-1]

    monkeypatch.setattr(job, "crawl_plan", noted)
    monkeypatch.setattr(job, "this_machine", lambda: Machine(64, memory))
    monkeypatch.chdir(pair.root)
    planted(pair.source, 50)
    assert in_process(pair).stats.copied_files == 50
    limits = plans[0].limits
    assert 1 <= limits.directories <= 4 * 64
    assert 1 <= limits.files <= max(1, memory * 500_000 // GIB)
    # However many directories are listed at a time: what each of them may hold fits into what all may.
    assert limits.directories * 2_000 <= max(2_000, limits.files)
    assert (limits.directories == 4 * 64) == (memory == 512 * GIB)


def test_b7_a_run_with_little_memory_ends(pair: Pair) -> None:
    """The same from outside, with the limit that a user gives."""
    planted(pair.source, 300)
    told = summary(pair, "-a", "--max-memory-mb", "96", "--max-active-files", "1")
    assert told["copied_files"] == 300


# ---- B8: faults of single stores ----


def test_b8_a_client_is_made_once_and_not_for_each_prefix(pair: Pair, request: pytest.FixtureRequest) -> None:
    """A client for every prefix: connections, logins and memory grew with the directories."""
    bucket = cloud(request, "fast")
    content = {f"d{n:03}/e/f": b"%d" % n for n in range(150)}
    bucket.put(content)
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        # A filter keeps the listing from being flat: every prefix is a request of its own.
        flags = ["--exclude", "/no/", "--workers", "4", "--movers", "1"]
        dunlin("sync", *flags, *places, cwd=pair.cwd, env=env, expect=0)
        assert proxy.count(kind="list") > 150
        assert proxy.connections <= 4 * 4
    assert tree(pair.target) == content


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
@pytest.mark.parametrize("flat", [True, False])
def test_b8_a_placeholder_of_a_directory_is_entered_once(
    pair: Pair, request: pytest.FixtureRequest, kind: str, flat: bool
) -> None:
    """An object `dir/` was listed as a directory of its own prefix, and queued again and again."""
    bucket = cloud(request, kind)
    bucket.put({"d/": b"", "d/f": b"1", "d/e/": b"", "d/e/g": b"22", "empty/": b""})
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        flags = [] if flat else ["--exclude", "/no/"]
        dunlin("sync", *flags, *places, cwd=pair.cwd, env=env, expect=0, timeout=40)
        assert proxy.count(kind="list") <= 10
    assert tree(pair.target) == {"d/f": b"1", "d/e/g": b"22"}
    assert ask(pair, "SELECT path FROM directory ORDER BY path") == [("",), ("d",), ("d/e",), ("empty",)]


def test_b8_a_directory_that_is_a_blob_is_entered_once(pair: Pair, request: pytest.FixtureRequest) -> None:
    """With a hierarchical namespace directories are blobs too, and the root's own was entered for ever."""
    bucket = cloud(request, "az")
    bucket.put({"d": b"", "d/e": b""}, {"hdi_isfolder": "true"})
    bucket.put({"d/f": b"1", "d/e/g": b"22"})
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        dunlin("sync", "--exclude", "/no/", *places, cwd=pair.cwd, env=env, expect=0, timeout=40)
        assert proxy.count(kind="list") <= 10
    assert tree(pair.target) == {"d/f": b"1", "d/e/g": b"22"}
    assert ask(pair, "SELECT path FROM directory ORDER BY path") == [("",), ("d",), ("d/e",)]


def test_b8_change_times_are_compared_under_the_right_path(pair: Pair) -> None:
    """A leading slash kept the path from ever matching, so nothing was ever skipped."""
    planted(pair.source, 30, files=2)
    skip = ("-a", "--ctime-skip", "--ctime-margin", "0")
    summary(pair, *skip)
    summary(pair, *skip)
    told = summary(pair, *skip)
    assert (told["settled_directories"], told["equal_files"]) == (30, 60)
    write(pair.source / "d0007/f0", "changed")
    told = summary(pair, *skip)
    assert (told["settled_directories"], told["copied_files"]) == (29, 1)


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_b8_a_crawl_that_is_cancelled_ends_cleanly(pair: Pair, number: signal.Signals) -> None:
    """Cancelling closed a channel that others still wrote to, and the program broke down."""
    backing = pair.root / "backing"
    backing.mkdir()
    planted(backing, 400)
    with mounted(backing, pair.source, latency_ms=5) as mount:
        process = start("sync", "-a", pair.source, pair.target, cwd=pair.cwd)
        until(lambda: mount.counters().get("readdir", 0) + mount.counters().get("readdirplus", 0) > 20, process)
        os.kill(process.pid, number)
        code, told = ended(process)  # no traceback may be part of it
    assert code == 130, told
    assert len(names(pair.target)) < 800, "it was over before it was cancelled"
    pair.source.rmdir()
    backing.rename(pair.source)
    complete(pair, "-a", "--accept-source")
    same(pair.source, pair.target)
