"""The scan unit: what it asks of the stores, what it does, and what it must not do after a failure."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from dunlin.compare.fingerprint import fingerprint
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import read
from dunlin.filters.selection import Selection
from dunlin.model import CTIME, MODE, Action, Facts, Kind
from dunlin.plan import Policy
from dunlin.stores.base import Caps, Meta, Order
from dunlin.stores.local.store import LocalStore
from dunlin.stores.memory import CAPS, MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.workers import scan as scanning
from dunlin.workers.context import BEGUN, FORGOTTEN, STALE, Context
from dunlin.workers.tasks import Scan
from tests.unit.stores.objects.fake_service import FakeService
from tests.unit.transfer.trees import AT, put, tree
from tests.unit.workers.conftest import NOW, World

DENIED = DunlinError("list", "d", ErrorKind.DENIED, "Permission denied")


def fill(store: MemoryStore, directory: str, *names: str, content: bytes = b"content") -> None:
    if directory:
        store.make_directory(directory)
    for name in names:
        put(store, f"{directory}/{name}" if directory else name, content)


def excluding(*patterns: str, **more: Any) -> Selection:
    return Selection(rules=read.parse_rules([("exclude", pattern) for pattern in patterns]), **more)


# ---- what is asked ----


def test_a_unit_that_is_through_leaves_nothing_to_the_collector(world: World) -> None:
    """It comes rarely (`dunlin.cli`): listings that waited for it were half of what a mover held."""
    fill(world.source, "d", "a", "b")
    fill(world.target, "d", "a", "b")
    world.do("d")
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            world.do("d")
        assert gc.collect() < 10
    finally:
        gc.enable()


def test_a_new_directory_is_copied_and_told(world: World) -> None:
    fill(world.source, "", "a", "b")
    world.source.make_directory("d")
    outcome = world.do("")
    assert tree(world.target) == {"a": b"content", "b": b"content", "d/": None}
    assert [row[0] for row in outcome.copied] == ["a", "b"]
    assert outcome.subdirectories == [("d", int(Presence.SOURCE))]
    assert outcome.counts["scanned_files"] == 2
    assert outcome.counts["scanned_bytes"] == 14
    assert outcome.counts["scanned_directories"] == 1
    assert outcome.listed
    assert outcome.digest is not None
    assert not outcome.unfinished


def test_a_directory_that_the_destination_lacks_is_never_listed_there(world: World) -> None:
    fill(world.source, "d", "a", "b")
    world.target.make_directory("d")
    outcome = world.do(Scan("d", int(Presence.SOURCE)))
    assert sorted(tree(world.target)) == ["d/", "d/a", "d/b"]
    assert world.calls("target") == {"write": 2, "stat": 1, "set_meta": 1}  # the last two dress the directory
    assert outcome.listed


def test_an_extra_is_never_looked_up_at_the_source(world: World) -> None:
    fill(world.target, "d", "a", "b")
    world.target.make_directory("d/e")
    outcome = world.do(Scan("d", int(Presence.TARGET)))
    assert world.calls("source") == {}
    assert sorted(outcome.extras) == [("a", False), ("b", False), ("e", True)]
    assert outcome.counts["scanned_files"] == 0
    assert sorted(tree(world.target)) == ["d/", "d/a", "d/b", "d/e/"]  # deleted after all transfers, if at all


def test_nothing_to_do_costs_a_listing_of_each_side_and_builds_no_rows(world: World) -> None:
    fill(world.source, "d", "a", "b")
    world.target.make_directory("d")
    first = world.do("d")
    for side in ("source", "target"):
        world.calls(side)
    second = world.do(Scan("d", digest=first.digest))
    assert world.calls("source") == {"stat": 1, "list": 1}
    assert world.calls("target") == {"list": 1, "stat": 1}
    assert (second.copied, second.seen, second.recorded) == ([], [], True)
    assert second.digest == first.digest
    assert second.counts["equal_files"] == 2
    assert second.counts["equal_bytes"] == 14


def test_equal_files_that_are_not_on_record_are_told_once(world: World) -> None:
    fill(world.source, "", "a", "b")
    world.do("")
    outcome = world.do("")
    assert [row[0] for row in outcome.seen] == ["a", "b"]
    assert world.do(Scan("", digest=outcome.digest)).seen == []
    assert world.do("", record=False).seen == []


def test_trusted_state_asks_the_destination_nothing(world: World) -> None:
    fill(world.source, "", "a")
    world.source.make_directory("d")
    digest = world.do("").digest
    world.calls("target")
    outcome = world.do(Scan("", digest=digest), trust_state=True)
    assert world.calls("target") == {}
    assert outcome.subdirectories == [("d", int(Presence.BOTH))]
    assert outcome.counts["equal_files"] == 1
    assert outcome.listed
    assert outcome.recorded


@pytest.mark.parametrize(
    ("directory", "settled", "skipped"),
    [("d", 10**9, True), ("d", 1, False), ("", 10**9, False), ("d", None, False)],
)
def test_a_settled_directory_is_not_looked_up_at_the_destination(
    world: World, directory: str, settled: int | None, skipped: bool
) -> None:
    world.source.make_directory("d")
    fill(world.source, "d", "a", "b")
    world.do("")
    digest = world.do(directory).digest
    latest = max(named[1][CTIME] or 0 for batch in world.source.list(directory) for named in batch)
    world.calls("target")
    before = None if settled is None else latest + settled if settled > 1 else latest
    outcome = world.do(Scan(directory, digest=digest), settled=before)
    assert (world.calls("target") == {}) == skipped
    assert outcome.counts["settled_directories"] == int(skipped)
    assert outcome.counts["equal_files"] == (2 if directory else 0)
    assert outcome.listed


@pytest.mark.parametrize("changed", ["d", "d/a"])
def test_one_change_time_is_enough_for_a_directory_to_be_looked_up(world: World, changed: str) -> None:
    """That of the directory itself, or of one name in it: all others lie before the last run."""
    world.source.make_directory("d")
    fill(world.source, "d", "a", "b")
    world.source.set_meta(changed, Meta(mode=0o700))
    world.do("")
    digest = world.do("d").digest
    times = {path: world.source.stat(path).facts[CTIME] or 0 for path in ("d", "d/a", "d/b")}
    latest = times.pop(changed)
    assert latest > max(times.values())
    for before, skipped in ((latest, 0), (latest + 1, 1)):
        outcome = world.do(Scan("d", digest=digest), settled=before)
        assert outcome.counts["settled_directories"] == skipped


def test_a_change_time_cannot_hide_what_the_state_knows_better(world: World) -> None:
    """A source whose clock is behind: everything looks old, and only the fingerprint tells."""
    world.source.make_directory("d")
    fill(world.source, "d", "a")
    world.do("")
    digest = world.do("d").digest
    fill(world.source, "d", "b")
    outcome = world.do(Scan("d", digest=digest), settled=1 << 62)
    assert outcome.counts["settled_directories"] == 0
    assert outcome.counts["copied_files"] == 1


@pytest.mark.parametrize(
    "change", ["content", "mode", "new", "gone", "suspect", "no digest", "other rules", "other policy"]
)
def test_state_is_not_trusted_where_anything_differs(world: World, change: str) -> None:
    fill(world.source, "", "a", "b")
    task = Scan("", digest=world.do("").digest)
    rules: dict[str, Any] = {}
    if change == "content":
        put(world.source, "a", b"CONTENT", mtime=AT + 1)
    elif change == "mode":
        world.source.set_meta("a", Meta(mode=0o600))
    elif change == "new":
        put(world.source, "c")
    elif change == "gone":
        world.source.delete(["b"])
    elif change == "suspect":
        task = task._replace(suspect=True)
    elif change == "no digest":
        task = task._replace(digest=None)
    elif change == "other rules":
        rules = {"selection": excluding("x")}
    else:
        rules = {"policy": Policy(perms=True, delete=True)}
    world.calls("target")
    world.do(task, trust_state=True, **rules)
    assert world.calls("target")["list"] == 1


def test_a_doubtful_directory_is_compared_by_content(world: World) -> None:
    fill(world.source, "", "a", "b")
    digest = world.do("").digest
    put(world.target, "b", b"garbage")  # same size and time: what a power cut leaves
    outcome = world.do(Scan("", digest=digest, suspect=True))
    assert [row[0] for row in outcome.copied] == ["b"]
    assert tree(world.source) == tree(world.target)


# ---- failures ----


@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.IO, ErrorKind.TIMEOUT])
def test_a_source_that_cannot_be_listed_is_a_source_error_and_nothing_is_known_missing(
    world: World, kind: ErrorKind
) -> None:
    fill(world.source, "d", "a")
    fill(world.target, "d", "a", "extra")
    world.source.faults["list", "d"] = DunlinError("list", "d", kind)
    outcome = world.do("d")
    assert outcome.counts["source_errors"] == 1
    assert outcome.counts["failed_directories"] == 1
    assert not outcome.listed
    assert outcome.digest is None
    assert outcome.extras == []
    assert tree(world.target) == {"d/": None, "d/a": b"content", "d/extra": b"content"}


def test_a_source_listing_that_breaks_off_late_gives_no_extras(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "RUN", 5)
    fill(world.target, "d", *(f"n{n}" for n in range(9)))
    fill(world.source, "d", "n0")
    what = world.source.stat("d/n0").facts
    context = world.context()

    def breaking(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        yield [("n0", what)]
        raise DENIED

    monkeypatch.setattr(context.site.source, "list", breaking)
    outcome = world.do("d", context)
    assert outcome.counts["source_errors"] == 1
    assert not outcome.listed
    assert outcome.extras == []
    assert [part.listed for part in world.parts] == [False] * len(world.parts)


def test_a_source_directory_that_vanished_is_no_source_error(world: World) -> None:
    outcome = world.do("gone")
    assert outcome.vanished == [""]  # the directory itself
    assert outcome.counts["source_errors"] == 0
    assert not outcome.listed


def test_a_root_that_is_gone_is_a_source_error(world: World) -> None:
    world.source.faults["stat", ""] = DunlinError("look at", "", ErrorKind.NOT_FOUND)
    outcome = world.do("")
    assert outcome.counts["source_errors"] == 1
    assert outcome.vanished == []


def test_a_destination_that_cannot_be_listed_fails_the_directory_with_nothing_done(world: World) -> None:
    fill(world.source, "d", "a", "b")
    fill(world.target, "d", "x")
    world.target.faults["list", "d"] = DENIED
    outcome = world.do("d")
    assert world.calls("target") == {"list": 1}
    assert outcome.failed == [("", "denied", "Traversal failed: d: cannot list d: Permission denied", 1)]
    assert sorted(tree_of(world.target)) == ["d/", "d/x"]
    assert outcome.counts["failed_directories"] == 1
    assert outcome.counts["source_errors"] == 0  # the source was read
    assert not outcome.listed
    assert outcome.digest is None


def tree_of(store: MemoryStore) -> dict[str, object]:
    store.faults.clear()
    return tree(store)


def test_a_failed_file_takes_the_fingerprint_away(world: World) -> None:
    fill(world.source, "", "a", "b")
    world.source.faults["read", "a"] = DunlinError("read", "a", ErrorKind.DENIED)
    outcome = world.do("")
    assert outcome.listed
    assert outcome.digest is None
    assert sorted(tree_of(world.target)) == ["b"]


def test_a_full_destination_leaves_the_directory_unlisted(world: World) -> None:
    fill(world.source, "", "a", "b")
    world.source.make_link("l", "x", Meta())
    world.target.faults["write", "b"] = DunlinError("write", "b", ErrorKind.NO_SPACE)
    outcome = world.do("")
    assert outcome.fatal is not None
    assert not outcome.listed  # so it is listed again, and the link is made then
    assert outcome.digest is None


def test_a_login_that_is_refused_in_the_middle_ends_the_run_and_no_file_fails(world: World) -> None:
    fill(world.source, "", "a", "b", "c")
    world.source.faults["read", "b"] = DunlinError("read", "b", ErrorKind.AUTH, "the key has expired")
    outcome = world.do("")
    assert outcome.fatal == ("auth", "read", "b", "the key has expired", "")
    assert (outcome.failed, outcome.listed) == ([], False)
    assert sorted(tree_of(world.target)) == ["a"]


def test_a_stop_leaves_the_directory_unlisted(world: World) -> None:
    fill(world.source, "", "a", "b")
    world.source.faults["stat", "a"] = world.bucket.stop
    outcome = world.do("")
    assert outcome.fatal is not None
    assert outcome.fatal[0] == "interrupted"
    assert not outcome.listed
    assert tree_of(world.target) == {}


def test_a_destination_directory_that_is_gone_is_made_again(world: World) -> None:
    fill(world.source, "d", "a")
    outcome = world.do(Scan("d", int(Presence.BOTH)))
    assert tree(world.target) == {"d/": None, "d/a": b"content"}
    assert outcome.counts["created_directories"] == 1


# ---- names that do not take part ----


TEMP = ".dunlin-0badc0de01-7.tmp"


@pytest.mark.parametrize(
    ("age", "rules", "sweep", "stays"),
    [
        (0, {}, (), True),
        (STALE + 1, {}, (), False),
        (STALE - 1, {}, (), True),
        (0, {"dead": frozenset({"0badc0de"})}, (), False),
        (0, {"dead": frozenset({"0badc0d0"})}, (), True),
        (0, {}, ("0badc0de01",), False),
        (0, {}, ("0badc0de02",), True),
        (STALE + 1, {"mode": "plan"}, (), True),
        (STALE + 1, {"mode": "check"}, (), True),
    ],
)
def test_temporary_files_go_when_their_run_is_known_dead(
    world: World, age: int, rules: dict[str, Any], sweep: tuple[str, ...], stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its mtime may be the source's own: how long it has been lying there shows in the ctime.
    monkeypatch.setattr(world.target, "_clock", lambda: NOW - age)
    put(world.target, TEMP, mtime=1)
    put(world.target, ".dunlin-notes", mtime=NOW - age)
    outcome = world.do(Scan("", sweep=sweep), **rules)
    assert (TEMP in tree(world.target)) is stays
    assert outcome.extras == [(".dunlin-notes", False)]  # a temporary file never is one


def test_temporary_files_of_the_source_are_neither_copied_nor_removed(world: World) -> None:
    put(world.source, TEMP, mtime=1)
    put(world.source, "a")
    world.do("", dead=frozenset({"0badc0de"}))
    assert sorted(tree(world.source)) == [TEMP, "a"]
    assert sorted(tree(world.target)) == ["a"]


def test_a_temporary_file_that_cannot_be_removed_is_news(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.target, "_clock", lambda: 1)
    put(world.target, TEMP, mtime=1)
    world.target.faults["delete", TEMP] = DENIED
    outcome = world.do("")
    assert [news[1] for news in outcome.news] == ["temporary.kept"]
    assert outcome.failed == []


class Far(MemoryStore):
    """A source of versions with etags."""

    @property
    def caps(self) -> Caps:
        return replace(CAPS, far=True)


BEGUN_NAME = ".dunlin-0123456789abcdef-0.part"


@pytest.mark.parametrize(
    ("age", "mode", "stays"),
    [(0, "sync", True), (FORGOTTEN - 1, "sync", True), (FORGOTTEN + 1, "sync", False), (FORGOTTEN + 1, "check", True)],
)
def test_a_download_that_was_begun_is_no_extra_and_goes_when_it_is_forgotten(
    world: World, age: int, mode: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.target, "_clock", lambda: NOW - age)
    put(world.target, BEGUN_NAME, mtime=1)
    put(world.source, "a")
    put(world.source, BEGUN_NAME)
    outcome = world.do("", mode=mode, dead=frozenset({"01234567"}))
    assert outcome.extras == []
    assert [row[0] for row in outcome.copied] == (["a"] if mode == "sync" else [])
    assert (BEGUN_NAME in tree(world.target)) is stays


def test_a_download_that_is_still_wanted_stays_however_old_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dunlin.transfer import resume
    from dunlin.transfer.site import STREAM

    monkeypatch.setattr(resume, "CONTINUED", STREAM)
    world.source = Far("source")
    put(world.source, "large", bytes(STREAM + 1))
    version = resume.version_of(world.source, "large", world.source.stat("large").facts)
    monkeypatch.setattr(world.target, "_clock", lambda: NOW - FORGOTTEN - 1)
    wanted, other = f".dunlin-{version}-0.part", BEGUN_NAME
    for name in (wanted, other):
        assert BEGUN.fullmatch(name)
        put(world.target, name)
    outcome = world.do("")
    assert [row[0] for row in outcome.waiting] == ["large"]
    assert sorted(tree(world.target)) == [wanted]


# ---- stages ----


class Local:
    """A pair of local trees with directories of 20 files, and the calls that matter."""

    def __init__(self, world: World, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.source, self.target = place / "source", place / "target"
        for directory in ("p/d", "p/e"):
            (self.source / directory).mkdir(parents=True)
            for n in range(20):
                (self.source / directory / f"f{n}").write_text("content")
                os.utime(self.source / directory / f"f{n}", ns=(AT, AT))
            os.utime(self.source / directory, ns=(AT, AT))
        os.utime(self.source / "p", ns=(AT, AT))
        (self.target / "p").mkdir(parents=True)
        self.renames: list[str] = []
        rename = os.rename

        def counted(old: str, new: str, **fds: Any) -> None:
            self.renames.append(new)
            rename(old, new, **fds)

        monkeypatch.setattr(os, "rename", counted)

    def do(self, task: Scan, **rules: Any) -> Outcome:
        context = self.world.context(**rules)
        context.site.source = LocalStore(str(self.source))
        context.site.target = LocalStore(str(self.target))
        outcome = self.world.do(task, context)
        context.site.source.close()
        context.site.target.close()
        return outcome

    def time(self, path: str) -> int:
        return (self.target / path).stat().st_mtime_ns


@pytest.fixture
def local(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    return Local(world, tmp_path, monkeypatch)


def test_a_new_directory_takes_one_rename_and_spoils_no_times(local: Local) -> None:
    local.do(Scan("p", int(Presence.SOURCE)))
    assert local.time("p") == AT
    for name in ("d", "e"):
        outcome = local.do(Scan(f"p/{name}", int(Presence.SOURCE)))
        assert len(outcome.copied) == 20
        assert (local.time("p"), local.time(f"p/{name}")) == (AT, AT)
    assert local.renames == ["d", "e"]
    assert os.listdir(local.target) == ["p"]


@pytest.mark.parametrize("presence", [Presence.UNKNOWN, Presence.BOTH])
def test_a_directory_that_was_there_is_filled_file_by_file(local: Local, presence: Presence) -> None:
    (local.target / "p/d").mkdir()
    assert len(local.do(Scan("p/d", int(presence))).copied) == 20
    assert sorted(local.renames) == sorted(f"f{n}" for n in range(20))


def test_only_the_first_window_of_a_new_directory_is_published(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "RUN", 17)
    fresh: list[bool] = []
    carry_out = scanning.carry_out
    monkeypatch.setattr(scanning, "carry_out", lambda *args: fresh.append(args[4]) or carry_out(*args))
    (local.target / "p/d").mkdir()
    local.do(Scan("p/d", int(Presence.SOURCE)))
    assert fresh == [True, False]
    assert local.renames[0] == "d"
    assert len(local.renames) == 4
    assert len(os.listdir(local.target / "p/d")) == 20


def test_a_unit_that_is_done_again_gives_the_directory_above_its_times(local: Local) -> None:
    """It may have been killed between the rename of its stage and that."""
    local.do(Scan("p", int(Presence.SOURCE)))
    for name in ("d", "e"):
        local.do(Scan(f"p/{name}", int(Presence.SOURCE)))
    os.utime(local.target / "p", ns=(AT + 1, AT + 1))
    local.do(Scan("p/d", int(Presence.BOTH)))
    assert local.time("p") == AT + 1
    (local.source / "p").chmod(0o555)
    local.do(Scan("p/d"), options={"perms": True})
    assert local.time("p") == AT
    assert (local.target / "p").stat().st_mode & 0o200  # others may still work in it


@pytest.mark.parametrize(
    ("sweep", "mode", "stays"),
    [
        (("0badc0de01",), "sync", False),
        (("0badc0de02",), "sync", True),
        ((), "sync", True),
        (("0badc0de01",), "check", True),
    ],
)
def test_a_stage_of_a_dead_mover_is_looked_for_in_the_root(
    local: Local, sweep: tuple[str, ...], mode: str, stays: bool
) -> None:
    (local.target / TEMP).mkdir()
    (local.target / TEMP / "f").write_text("in part")
    (local.target / "p/d").mkdir()
    local.do(Scan("p/d", sweep=sweep), mode=mode)
    assert (local.target / TEMP).exists() is stays


@pytest.mark.parametrize("dead", [frozenset({"0badc0de"}), frozenset({"c0ffee00"})])
def test_a_stage_never_takes_part_and_goes_with_its_run(local: Local, dead: frozenset[str]) -> None:
    for place in (local.source, local.target):
        (place / TEMP).mkdir()
        (place / TEMP / "f").write_text("in part")
    outcome = local.do(Scan(""), dead=dead)
    assert [name for name, _ in outcome.subdirectories] == ["p"]
    assert outcome.extras == []
    assert outcome.news == []
    assert (local.target / TEMP).exists() is ("0badc0de" not in dead)
    assert (local.source / TEMP / "f").exists()


def test_own_files_never_take_part_under_whatever_name(world: World, tmp_path: Path) -> None:
    for side in ("s", "t"):
        (tmp_path / side).mkdir()
    (tmp_path / "s/a").write_text("a")
    (tmp_path / "s/state.db").write_text("own")
    (tmp_path / "t/state.db").write_text("not ours, only called so")
    context = world.context(own=(str(tmp_path / "s/state.db"),))
    context.site.source = LocalStore(str(tmp_path / "s"))
    context.site.target = LocalStore(str(tmp_path / "t"))
    outcome = world.do("", context)
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["a", "state.db"]
    assert (tmp_path / "t/state.db").read_text() == "not ours, only called so"
    assert outcome.extras == [("state.db", False)]


def told_of(outcome: Outcome, name: str) -> list[str]:
    return [message for _, event, message, _ in outcome.news if event == name]


def test_no_name_in_the_place_of_an_own_file_takes_part(world: World) -> None:
    for store, content in ((world.source, b"theirs"), (world.target, b"ours")):
        fill(store, "", "a", "state", content=content)
        fill(store, "d", "log", content=content)
    own = {"own_source": frozenset({"d/log"}), "own_target": frozenset({"state"})}
    for mode in ("check", "sync"):
        top, below = world.do("", mode=mode, **own), world.do("d", mode=mode, **own)
        assert (top.extras, below.extras, below.counts["scanned_files"]) == ([], [], 0)
        assert told_of(top, "own.namesake") == ["state: left alone, dunlin's own file is in that place"]
        assert told_of(below, "own.namesake") == ["d/log: left alone, dunlin's own file is in that place"]
    assert tree(world.target) == {"a": b"theirs", "state": b"ours", "d/": None, "d/log": b"ours"}


def test_the_place_of_an_own_file_is_one_whatever_the_case(world: World) -> None:
    world.target = MemoryStore("target", caps=replace(CAPS, case_sensitive=False))
    fill(world.source, "", "STATE")
    outcome = world.do("", own_target=frozenset({"state"}))
    assert (outcome.copied, len(told_of(outcome, "own.namesake"))) == ([], 1)


def test_an_excluded_namesake_is_not_worth_a_word(world: World) -> None:
    fill(world.source, "", "state")
    assert world.do("", own_target=frozenset({"state"}), selection=excluding("state")).news == []
    assert tree(world.target) == {}


def test_a_far_source_tells_which_listed_paths_it_lacks(world: World) -> None:
    service = FakeService()
    service.put("d/in", b"x", {})
    files = frozenset({"d/in", "d/no", "d/e/f", "none", "no/where"})
    context = world.context(selection=Selection(files=files))
    context.site.source = ObjectStore(service)
    context = Context(context.site, context.rules, context.now)
    service.requests.clear()
    top, below = world.do("", context), world.do("d", context)
    assert [name for name, *_ in top.failed] == ["none", "no/where"]
    assert [name for name, *_ in below.failed] == ["no", "e/f"]
    assert (below.counts["failed_files"], [row[0] for row in below.copied]) == (2, ["in"])
    assert (service.requests["head"], service.requests["page"]) == (0, 2)


def test_a_listing_that_broke_off_tells_nothing_of_listed_paths(world: World) -> None:
    service = FakeService()
    service.put("d", b"x", {})
    service.faults["page"] = [DENIED]
    context = world.context(selection=Selection(files=frozenset({"none"})))
    context.site.source = ObjectStore(service)
    context = Context(context.site, context.rules, context.now)
    assert [name for name, *_ in world.do("", context).failed] == [""]


def test_nested_places_are_not_entered(world: World) -> None:
    fill(world.source, "", "a")
    for path in ("d", "d/target", "b"):
        world.source.make_directory(path)
    world.target.make_directory("d")
    world.target.make_directory("d/kept")
    rules = {"skip_source": frozenset({"d/target"}), "skip_target": frozenset({"d/kept"})}
    assert [name for name, _ in world.do("", **rules).subdirectories] == ["b", "d"]
    outcome = world.do("d", **rules)
    assert outcome.subdirectories == []
    assert outcome.extras == []


# ---- filters ----


def test_filtered_names_are_neither_copied_nor_extras(world: World) -> None:
    fill(world.source, "", "a.o", "b.c")
    fill(world.target, "", "c.o", "d.c")
    world.source.make_directory("skip")
    outcome = world.do("", selection=excluding("*.o", "skip/"))
    assert sorted(tree(world.target)) == ["b.c", "c.o", "d.c"]
    assert outcome.extras == [("d.c", False)]
    assert outcome.subdirectories == []
    assert outcome.counts["scanned_files"] == 1


def test_filtered_names_are_extras_where_that_is_asked_for(world: World) -> None:
    fill(world.source, "", "a.o", "b.c")
    fill(world.target, "", "c.o", "a.o")
    outcome = world.do("", selection=excluding("*.o"), delete_excluded=True)
    assert sorted(outcome.extras) == [("a.o", False), ("c.o", False)]


def test_sizes_select_files_and_never_directories(world: World) -> None:
    put(world.source, "small", b"1")
    put(world.source, "large", b"123")
    world.source.make_directory("d")
    outcome = world.do("", selection=Selection(min_size=2))
    assert sorted(tree(world.target)) == ["d/", "large"]
    assert [name for name, _ in outcome.subdirectories] == ["d"]


@pytest.mark.parametrize(("depth", "entered"), [(1, []), (2, ["d"]), (None, ["d"])])
def test_max_depth_stops_at_its_level(world: World, depth: int | None, entered: list[str]) -> None:
    fill(world.source, "", "a")
    world.source.make_directory("d")
    world.target.make_directory("e")
    outcome = world.do("", selection=Selection(max_depth=depth))
    assert [name for name, _ in outcome.subdirectories] == entered
    assert "a" in tree(world.target)
    assert outcome.extras == ([] if depth == 1 else [("e", True)])


def test_max_depth_deeper_down(world: World) -> None:
    world.source.make_directory("d")
    fill(world.source, "d/e", "f")
    assert world.do("d", selection=Selection(max_depth=2)).subdirectories == []
    assert [name for name, _ in world.do("d", selection=Selection(max_depth=3)).subdirectories] == ["e"]


# ---- budgets and windows ----


def test_what_is_beyond_the_budget_is_handed_back(world: World) -> None:
    for name, size in (("a", 10), ("b", 1), ("c", 1), ("d", 1)):
        put(world.source, name, b"x" * size)
    outcome = world.do(Scan("", files=2, size=5))
    assert sorted(tree(world.target)) == ["b", "c"]
    assert sorted((name, action, exists) for name, _, action, exists in outcome.waiting) == [
        ("a", Action.COPY, False),
        ("d", Action.COPY, False),
    ]
    assert outcome.unfinished  # the directory is dressed after them
    assert world.calls("target").get("set_meta", 0) == 0


def test_a_large_file_waits_also_where_a_directory_stood(world: World) -> None:
    for name in ("large", "small", "full"):
        put(world.source, name, b"x" * (2_000 if name != "small" else 10))
        world.target.make_directory(name)
    put(world.target, "full/f")
    outcome = world.do(Scan("", size=1_000), policy=Policy(clear=True), options={"clear": True})
    assert [(name, exists) for name, _, _, exists in outcome.waiting] == [("large", False)]
    assert outcome.blocked == ["full"]
    assert tree(world.target) == {"small": b"x" * 10, "full/": None, "full/f": b"content"}


def test_with_no_budget_nothing_is_copied_but_directories_and_links_are_made(world: World) -> None:
    fill(world.source, "", "a")
    world.source.make_directory("d")
    world.source.make_link("l", "a", Meta())
    put(world.target, "a", b"older")
    outcome = world.do(Scan("", files=0))
    assert tree(world.target) == {"a": b"older", "d/": None, "l": "-> a"}
    assert [(name, exists) for name, _, _, exists in outcome.waiting] == [("a", True)]


def test_a_huge_directory_comes_in_parts_and_only_the_last_is_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{n:03}" for n in range(25)]
    fill(world.source, "", *names)
    put(world.target, "m")
    put(world.target, "n003")

    monkeypatch.setattr(scanning, "RUN", 10)
    outcome = world.do("")
    assert sorted(tree(world.target)) == ["m", *names]
    assert world.parts
    assert all(part.unfinished and not part.listed for part in world.parts)
    assert outcome.listed
    everything = [*world.parts, outcome]
    assert sum(len(part.copied) + len(part.seen) for part in everything) == 25
    assert [extra for part in everything for extra in part.extras] == [("m", False)]
    assert sum(part.counts["scanned_files"] for part in everything) == 25


def test_a_lie_about_the_order_is_found_and_the_directory_sorted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world.source, "", *(f"n{n}" for n in range(9)))
    fill(world.target, "", *(f"n{n}" for n in range(9)), "x")

    monkeypatch.setattr(scanning, "RUN", 3)
    context = world.context()
    real = world.source.list

    def lying(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        for batch in real(directory):
            yield batch[::-1]

    monkeypatch.setattr(context.site.source, "list", lying)
    assert context.site.source.caps.order is Order.PROVEN
    outcome = world.do("", context)
    everything = [*world.parts, outcome]
    assert {extra for part in everything for extra in part.extras} == {("x", False)}
    assert outcome.listed
    assert world.target.stat("n0").size == 7


def test_a_directory_that_is_listed_again_holds_nothing_of_the_first_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world.source, "", *(f"n{n}" for n in range(9)))
    fill(world.target, "", *(f"n{n}" for n in range(9)), "x")
    monkeypatch.setattr(scanning, "RUN", 3)
    context = world.context()
    real = world.source.list
    held: list[int] = []

    def lying(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        held.append(context.window.numbers().held)
        names = [named for batch in real(directory) for named in batch]
        yield from ([named] for named in [*names[:-2], names[-1], names[-2]])

    monkeypatch.setattr(context.site.source, "list", lying)
    world.do("", context)
    assert held == [0, 0]
    assert context.window.numbers().peak > 0


@pytest.mark.parametrize("mode", ["sync", "check"])
def test_a_lie_that_is_found_late_counts_no_name_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(scanning, "RUN", 4)
    names = [f"n{n:02}" for n in range(20)]
    fill(world.source, "", *names)
    fill(world.target, "", *names[1:6], "x")
    fill(world.source, "n00d")
    context = world.context(mode=mode)
    real = world.source.list

    def lying(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        found = [named for batch in real(directory) for named in batch]
        yield from ([named] for named in [*found[:-2], found[-1], found[-2]])

    monkeypatch.setattr(context.site.source, "list", lying)
    outcome = world.do("", context)
    counts = sum((part.counts for part in [*world.parts, outcome]), Counter[str]())
    assert (counts["scanned_files"], counts["scanned_bytes"], counts["scanned_directories"]) == (20, 140, 1)
    assert counts["equal_files"] == 5
    assert counts["copied_files" if mode == "sync" else "missing_files"] == 15
    assert counts["missing_directories"] == (0 if mode == "sync" else 1)
    assert outcome.listed


# ---- case ----


def folding(caps: Caps = CAPS) -> Caps:
    return replace(caps, case_sensitive=False, order=Order.NONE)


def test_names_that_the_destination_holds_as_one_are_failures_and_nothing_of_them_moves(world: World) -> None:
    world.target = MemoryStore("target", caps=folding())
    for name in ("Readme", "README", "other"):
        put(world.source, name)
    put(world.target, "readme", b"older")
    outcome = world.do("")
    assert tree(world.target) == {"other": b"content", "readme": b"older"}
    assert sorted((name, kind) for name, kind, _, _ in outcome.failed) == [("README", "clash"), ("Readme", "clash")]
    assert outcome.extras == []
    assert outcome.digest is None


def test_a_case_only_rename_keeps_the_file(world: World) -> None:
    world.target = MemoryStore("target", caps=folding())
    put(world.source, "README")
    put(world.target, "Readme")
    outcome = world.do("")
    assert tree(world.target) == {"README": b"content"}
    assert outcome.extras == []
    assert outcome.failed == []


# ---- the end ----


def test_the_directory_gets_its_own_times_last(world: World) -> None:
    fill(world.source, "d", "a")
    world.source.set_meta("d", Meta(mtime=AT, mode=0o700))
    world.target.make_directory("d")
    world.do("d", options={"perms": True})
    there = world.target.stat("d").facts
    assert (there[2], there[MODE] & 0o777) == (AT, 0o700)


@pytest.mark.parametrize("mode", ["plan", "check"])
def test_dry_runs_and_checks_change_nothing(world: World, mode: str) -> None:
    fill(world.source, "", "a", "b")
    world.source.make_directory("d")
    world.source.make_link("l", "a", Meta())
    put(world.target, "a", b"other")
    put(world.target, "x")
    before = tree(world.target)
    outcome = world.do("", mode=mode)
    assert tree(world.target) == before
    assert set(world.calls("target")) <= {"list", "stat", "read_link"}
    counts = outcome.counts
    assert counts["missing_files"] == 2
    assert counts["missing_directories"] == 1
    assert counts["differing_files"] == 1
    assert counts["extra_files"] == 1
    assert {news[1] for news in outcome.news} == {"plan"}
    assert len(outcome.news) == 5


def test_the_fingerprint_sees_every_change_that_matters() -> None:
    what = (0o100644, 1, 2, 3, 4, 5, 1, 6, 7, 8, 0)
    seen = partial(fingerprint, version=itemgetter(slice(0, 5)))
    base = seen([("a", what), ("b", what)])
    assert seen([("b", what), ("a", what)]) == base
    for at in range(5):
        changed = (*what[:at], what[at] + 1, *what[at + 1 :])
        assert seen([("a", changed), ("b", what)]) != base
    assert seen([("a", (*what[:9], 99, 0)), ("b", what)]) == base  # the time of the last read
    assert seen([("a", what)]) != base
    assert seen([("a", what), ("c", what)]) != base
    directory = (int(Kind.DIRECTORY) | 0o755, 4096, *what[2:])
    grown = (directory[0], 8192, 77, *what[3:])
    assert seen([("d", directory)]) == seen([("d", grown)])  # its own unit sees to that


def test_outcomes_of_a_scan_can_be_sent(world: World) -> None:
    import marshal

    fill(world.source, "", "a", "b")
    world.source.make_directory("d")
    put(world.target, "x")
    outcome = world.do(Scan("", files=1))
    assert Outcome.unpack(marshal.loads(marshal.dumps(outcome.pack(), 2))) == outcome


def test_parts_of_a_long_listing_can_be_sent_with_their_bookmarks(world: World) -> None:
    import marshal

    service = FakeService()
    for n in range(2_500):
        service.put(f"k{n:04}", b"x", {})
    context = world.context()
    context.site.source = ObjectStore(service)
    context = Context(context.site, context.rules, context.now)
    world.do(Scan("", int(Presence.SOURCE), files=0), context)
    assert [part.bookmark for part in world.parts] == [("k0999", b"k0999"), ("k1999", b"k1999")]
    for part in world.parts:
        assert Outcome.unpack(marshal.loads(marshal.dumps(part.pack(), 2))) == part


@pytest.mark.parametrize("lists", [["k5", "k6", "k2"], ["k2", "k6", "k5", "k7"], ["k6", "k5", "k7"]])
def test_a_listing_in_no_order_is_not_taken_up_in_the_middle(
    world: World, monkeypatch: pytest.MonkeyPatch, lists: list[str]
) -> None:
    """The run before dealt with what came before `k4`, which is not all that is smaller."""
    service = FakeService()
    for name in {*lists, "k1"}:
        service.put(name, b"x", {})
    context = world.context()
    context.site.source = store = ObjectStore(service)
    context = Context(context.site, context.rules, context.now)
    found = {name: named for batch in store.list("") for name, *named in batch}

    def pages(directory: str, token: str = "") -> Iterator[tuple[list[tuple[str, Facts]], str]]:
        assert token == "page 4"
        yield [(name, found[name][0]) for name in lists], ""

    monkeypatch.setattr(store, "walk_pages", pages)
    outcome = world.do(Scan("", bookmark=("page 4", b"k4")), context)
    counts = sum((part.counts for part in [*world.parts, outcome]), Counter[str]())
    assert counts["copied_files"] == len(lists) + 1


def test_a_listing_in_order_goes_on_behind_its_bookmark(world: World) -> None:
    service = FakeService()
    for name in ("k3", "k4", "k5", "k6"):
        service.put(name, b"x", {})
    context = world.context()
    context.site.source = ObjectStore(service)
    context = Context(context.site, context.rules, context.now)
    assert world.do(Scan("", bookmark=("k3", b"k4")), context).counts["copied_files"] == 2
