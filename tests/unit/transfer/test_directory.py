"""Operations carried out: their order, what may make way, and that one bad file does not stop the others."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin import plan
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters.read import parse_rules
from dunlin.filters.selection import Selection
from dunlin.model import MODE, UID, Action, Difference, Kind, Operation, Row, facts
from dunlin.pace.bucket import Bucket
from dunlin.report import Level
from dunlin.stores.base import Meta
from dunlin.stores.local.store import LocalStore
from dunlin.stores.memory import MemoryStore
from dunlin.transfer import content
from dunlin.transfer.directory import carry_out, dress_directory
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.site import Site
from tests.unit.transfer.trees import AT, gone, known, mtime, put, read, row, tree

Make = Callable[..., Site]


def do(site: Site, *operations: Operation, where: str = "") -> Outcome:
    outcome = Outcome()
    carry_out(site, where, operations, outcome)
    return outcome


def test_files_arrive_with_times_and_hash_and_are_counted(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    put(source, "new", b"one")
    put(source, "old", b"two!")
    put(target, "old", b"")
    rows = [row(source, target, "new"), row(source, target, "old")]
    outcome = do(site(checksum="sha1"), Operation(Action.COPY, rows))
    assert tree(target) == {"new": b"one", "old": b"two!"}
    assert mtime(target, "new") == AT
    assert [(c[0], c[1], c[2], c[8]) for c in outcome.copied] == [
        ("new", 3, AT, hashlib.sha1(b"one").digest()),
        ("old", 4, AT, hashlib.sha1(b"two!").digest()),
    ]
    assert outcome.counts == {"copied_files": 2, "copied_bytes": 7, "updated_files": 1}


def test_large_files_go_through_the_pipeline(
    site: Make, source: MemoryStore, target: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "STREAM", 10)
    put(source, "large", b"x" * 11)
    put(source, "small", b"x" * 10)
    where = site()
    before = set(threading.enumerate())
    outcome = do(where, Operation(Action.COPY, [row(source, target, name) for name in ("large", "small")]))
    assert tree(target) == {"large": b"x" * 11, "small": b"x" * 10}
    assert {len(c[8] or b"") for c in outcome.copied} == {32}
    assert set(threading.enumerate()) <= before


def test_one_bad_file_does_not_stop_the_others(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    for name in ("a", "b", "c", "d"):
        put(source, name)
    source.faults["read", "a"] = DunlinError("read", "a", ErrorKind.DENIED, "Permission denied")
    target.faults["write", "c"] = DunlinError("write", "c", ErrorKind.IO, "Input/output error")
    rows = [row(source, target, name) for name in ("a", "b", "c", "d")]
    outcome = do(site(), Operation(Action.COPY, [*rows[:2], gone("gone"), *rows[2:]]))
    assert sorted(tree(target)) == ["b", "d"]
    assert [(name, kind, attempts) for name, kind, _, attempts in outcome.failed] == [
        ("a", "denied", 1),
        ("c", "io", 1),
    ]
    assert outcome.vanished == ["gone"]
    assert outcome.counts["failed_files"] == 2
    assert outcome.counts["vanished_files"] == 1
    assert outcome.counts["source_errors"] == 1  # a was there and could not be read; c is the destination's
    assert outcome.fatal is None


def test_a_destination_directory_that_is_gone_is_no_vanished_file(
    site: Make, source: MemoryStore, target: MemoryStore
) -> None:
    source.make_directory("d")
    put(source, "d/f")
    outcome = do(site(), Operation(Action.COPY, [("f", known(source, "d/f"), None)]), where="d")
    assert outcome.vanished == []
    assert [(name, kind) for name, kind, _, _ in outcome.failed] == [("f", "not-found")]


def test_a_file_that_keeps_changing_is_tried_three_times_and_said(
    site: Make, source: MemoryStore, target: MemoryStore
) -> None:
    put(source, "f")
    source.faults["read", "f"] = DunlinError("read", "f", ErrorKind.CHANGED, "it grew")
    outcome = do(site(), Operation(Action.COPY, [row(source, target, "f")]))
    retries = [message for _, name, message, _ in outcome.news if name == "file.retry"]
    assert retries == ["f: it grew; attempt 2/3", "f: it grew; attempt 3/3"]
    assert [(kind, attempts) for _, kind, _, attempts in outcome.failed] == [("changed", 3)]
    assert tree(target) == {}


def test_a_file_that_changed_once_is_copied_as_it_is_now(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    stale = put(source, "f", b"old")
    changes = iter([1])

    def change() -> None:
        if next(changes, 0):
            put(source, "f", b"longer now")

    source.faults["read", "f"] = change
    outcome = do(site(), Operation(Action.COPY, [("f", stale, None)]))
    assert read(target, "f") == b"longer now"
    assert [row[1] for row in outcome.copied] == [10]
    assert outcome.failed == []


@pytest.mark.parametrize("change", [b"much more content" * 300_000, b"s"])
@pytest.mark.parametrize("large", [True, False])
def test_a_file_that_grows_or_shrinks_while_it_is_written_is_tried_again(
    site: Make, tmp_path: Path, change: bytes, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "STREAM", 4 if large else 8 << 20)
    (tmp_path / "s").mkdir()
    (tmp_path / "t").mkdir()
    (tmp_path / "s/f").write_bytes(b"first" * 600_000)
    local = LocalStore(str(tmp_path / "s"))
    times = iter([1])
    real = local.read

    def reading(*args: object, **kwargs: object) -> object:
        for data in real(*args, **kwargs):  # type: ignore[arg-type]
            if next(times, 0):
                (tmp_path / "s/f").write_bytes(change)
            yield data

    monkeypatch.setattr(local, "read", reading)
    target = LocalStore(str(tmp_path / "t"))
    outcome = Outcome()
    content.copy_file(site(source=local, target=target), "", ("f", local.stat("f").facts, None), outcome)
    assert (tmp_path / "t/f").read_bytes() == change
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["f"]
    assert [news[1] for news in outcome.news] == ["file.retry"]


@pytest.mark.parametrize("kind", [ErrorKind.NO_SPACE, ErrorKind.READ_ONLY])
def test_a_full_destination_ends_the_unit_and_what_is_left_stays_pending(
    site: Make, source: MemoryStore, target: MemoryStore, kind: ErrorKind
) -> None:
    for name in ("a", "b", "c"):
        put(source, name)
    source.make_link("l", "x", Meta())
    target.faults["write", "b"] = DunlinError("write", "b", kind, "No space left on device")
    rows = [row(source, target, name) for name in ("a", "b", "c")]
    outcome = do(site(), Operation(Action.LINK, [row(source, target, "l")]), Operation(Action.COPY, rows))
    assert outcome.fatal is not None
    assert outcome.fatal[0] == kind.value
    assert sorted(tree(target)) == ["a"]
    assert [name for name, *_ in outcome.waiting] == ["b"]
    assert outcome.failed == []


def test_a_stopped_bucket_leaves_files_waiting(
    site: Make, source: MemoryStore, target: MemoryStore, bucket: Bucket
) -> None:
    put(source, "a")
    put(source, "b")
    source.faults["stat", "b"] = bucket.stop
    rows = [row(source, target, name) for name in ("a", "b")]
    rows.append(("c", rows[0][1], rows[0][1]))
    outcome = do(site(), Operation(Action.COPY, rows))
    assert sorted(tree(target)) == ["a"]
    assert [(name, action, exists) for name, _, action, exists in outcome.waiting] == [
        ("b", Action.COPY, False),
        ("c", Action.COPY, True),
    ]
    assert outcome.failed == []


def test_steps_come_in_the_safe_order(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    calls: list[str] = []
    for verb, path in (
        ("move", "Up"),
        ("delete", "way"),
        ("make_directory", "dir"),
        ("write", "file"),
        ("make", "link"),
        ("make", "way"),
        ("set_meta", "meta"),
    ):
        target.faults[verb, path] = lambda verb=verb, path=path: calls.append(f"{verb} {path}")
    for name in ("file", "meta", "UP"):
        put(source, name)
    put(target, "meta")
    put(target, "Up")
    source.make_directory("dir")
    source.make_link("link", "there", Meta())
    source.make_special("way", Kind.FIFO | 0o644, 0, Meta())
    target.make_directory("way")
    outcome = do(
        site(),
        Operation(Action.META, [row(source, target, "meta")]),
        Operation(Action.SPECIAL, [row(source, target, "way")], clear=True),
        Operation(Action.LINK, [row(source, target, "link")]),
        Operation(Action.COPY, [row(source, target, "file")]),
        Operation(Action.DIRECTORY, [row(source, target, "dir")]),
        Operation(Action.RENAME, [("UP", known(source, "UP"), known(target, "Up"))], reason="Up"),
    )
    assert outcome.failed == []
    assert calls == [
        "move Up",
        "make_directory dir",
        "write file",
        "make link",
        "delete way",
        "make way",
        "set_meta meta",
    ]
    assert tree(target) == {
        "UP": b"content",
        "dir/": None,
        "file": b"content",
        "link": "-> there",
        "meta": b"content",
        "way": Kind.FIFO,
    }


def test_a_full_directory_makes_way_only_when_it_may(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    put(source, "x")
    put(source, "y")
    target.make_directory("x")
    put(target, "x/precious")
    clear = Operation(Action.COPY, [row(source, target, "x"), row(source, target, "y")], clear=True)
    clear.rows[1] = ("y", clear.rows[1][1], facts(Kind.DIRECTORY))  # it was listed, and is gone: nothing is in the way
    outcome = do(site(), clear)
    assert tree(target) == {"x/": None, "x/precious": b"content", "y": b"content"}
    ((name, kind, message, _),) = outcome.failed
    assert (name, kind) == ("x", "exists")
    assert "--delete-extras" in message
    outcome = do(site(clear=True), Operation(Action.COPY, clear.rows[:1], clear=True))
    assert outcome.failed == []
    assert outcome.blocked == ["x"]  # it waits until the deletes of the run have passed their guards
    assert tree(target) == {"x/": None, "x/precious": b"content", "y": b"content"}
    assert outcome.counts["deleted_files"] == 0


def test_a_directory_with_something_protected_does_not_even_wait(
    site: Make, source: MemoryStore, target: MemoryStore
) -> None:
    put(source, "x")
    target.make_directory("x")
    put(target, "x/precious.bak")
    clear = Operation(Action.COPY, [row(source, target, "x")], clear=True)
    outcome = do(site(clear=True, protected=Selection(rules=parse_rules([("exclude", "*.bak")]))), clear)
    assert outcome.blocked == []
    ((name, kind, message, _),) = outcome.failed
    assert (name, kind) == ("x", "exists")
    assert "the filters protect x/precious.bak" in message


def test_an_empty_directory_and_a_file_make_way(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    put(source, "x")
    source.make_directory("y")
    target.make_directory("x")
    put(target, "y")
    outcome = do(
        site(),
        Operation(Action.COPY, [row(source, target, "x")], clear=True),
        Operation(Action.DIRECTORY, [row(source, target, "y")], clear=True),
    )
    assert tree(target) == {"x": b"content", "y/": None}
    assert outcome.subdirectories == [("y", int(Presence.SOURCE))]


@pytest.mark.parametrize("policy", [plan.Policy(skip_existing=True), plan.Policy()])
def test_what_is_skipped_removes_nothing(
    site: Make, source: MemoryStore, target: MemoryStore, policy: plan.Policy
) -> None:
    if policy.skip_existing:
        put(source, "x")
    else:
        source.make_link("x", "y", Meta())
    target.make_directory("x")
    before = tree(target)
    outcome = do(site(clear=True), *plan.decide(Difference([row(source, target, "x")]), policy))
    assert tree(target) == before
    assert outcome.counts["skipped_files"] == 1


def test_directories_are_made_and_told(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    for name in ("new", "both", "bad"):
        source.make_directory(name, 0o750)
    target.make_directory("both", 0o700)
    target.faults["make_directory", "bad"] = DunlinError("make", "bad", ErrorKind.DENIED)
    rows = [row(source, target, name) for name in ("new", "both", "bad")]
    outcome = do(site(perms=True), Operation(Action.DIRECTORY, rows))
    assert outcome.subdirectories == [("new", int(Presence.SOURCE)), ("both", int(Presence.BOTH))]
    assert outcome.counts["created_directories"] == 1
    assert outcome.counts["failed_directories"] == 1
    assert target.stat("new").facts[MODE] & 0o777 == 0o750


def test_links_are_made_replaced_and_counted_as_equal(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    for name in ("new", "same", "other", "over"):
        source.make_link(name, f"to-{name}", Meta(mtime=AT))
    target.make_link("same", "to-same", Meta(mtime=AT))
    target.make_link("other", "elsewhere", Meta(mtime=AT))
    put(target, "over")
    rows = [row(source, target, name) for name in ("new", "same", "other", "over")]
    outcome = do(site(), Operation(Action.LINK, rows))
    assert tree(target) == {name: f"-> to-{name}" for name in ("new", "same", "other", "over")}
    assert outcome.counts == {"created_links": 3, "equal_files": 1}
    assert mtime(target, "new") == AT


def test_special_files(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    mode = Kind.FIFO | 0o640
    for name in ("new", "same", "dressed"):
        source.make_special(name, mode, 0, Meta(mtime=AT, mode=0o640))
    source.make_special("device", Kind.CHARACTER | 0o640, 259, Meta(mtime=AT))
    target.make_special("same", mode, 0, Meta(mtime=AT, mode=0o640))
    target.make_special("dressed", mode, 0, Meta(mtime=AT + 1))
    target.make_special("device", Kind.CHARACTER | 0o640, 260, Meta(mtime=AT))
    rows = [row(source, target, name) for name in ("new", "same", "dressed", "device")]
    outcome = do(site(perms=True), Operation(Action.SPECIAL, rows))
    assert outcome.failed == []
    assert outcome.counts == {"created_specials": 2, "equal_files": 1, "metadata_entries": 1}
    assert target.stat("device").facts[10] == 259
    assert mtime(target, "dressed") == AT


def test_metadata_alone(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    put(source, "f", mode=0o600)
    put(target, "f", b"CONTENT", mode=0o644)
    outcome = do(site(perms=True), Operation(Action.META, [row(source, target, "f")]))
    assert read(target, "f") == b"CONTENT"
    assert target.stat("f").facts[MODE] & 0o777 == 0o600
    assert outcome.counts == {"metadata_entries": 1}
    assert [seen[0] for seen in outcome.seen] == ["f"]


def test_equal_attributes_are_no_work(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    for store in (source, target):
        put(store, "f")
        store.set_meta("f", Meta(xattrs={"user.a": b"1"}, xattr_space=("user.",)))
    calls: list[int] = []
    target.faults["set_meta", "f"] = lambda: calls.append(1)
    one = Operation(Action.META, [row(source, target, "f")])
    assert do(site(xattrs=True), one).counts["equal_files"] == 1
    assert calls == []
    source.set_meta("f", Meta(xattrs={"user.a": b"2"}, xattr_space=("user.",)))
    assert do(site(xattrs=True), one).counts == {"metadata_entries": 1}
    assert target.get_xattrs("f", ("user.",)) == {"user.a": b"2"}


@pytest.mark.parametrize("checksum", ["blake3", "none"])
def test_verify_copies_only_what_differs(site: Make, source: MemoryStore, target: MemoryStore, checksum: str) -> None:
    for store, data in ((source, b"aaaa"), (target, b"bbbb")):
        put(store, "differs", data)
        put(store, "same", b"cccc")
        put(store, "late", b"dddd", mtime=AT + (store is target))
    rows = [row(source, target, name) for name in ("differs", "late", "same")]
    outcome = do(site(checksum=checksum), Operation(Action.VERIFY, rows))
    assert read(target, "differs") == b"aaaa"
    assert [c[0] for c in outcome.copied] == ["differs"]
    assert [(seen[0], seen[8] is not None) for seen in outcome.seen] == [
        ("late", checksum == "blake3"),
        ("same", checksum == "blake3"),
    ]
    assert mtime(target, "late") == AT
    assert outcome.counts["verified_files"] == 3
    assert outcome.counts["equal_files"] == 1
    assert [news[1] for news in outcome.news] == ["file.differs", "file.metadata"]


def test_extras_hard_links_and_skips_only_go_on_record(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    put(source, "h")
    put(target, "e")
    target.make_directory("d")
    extra = Operation(Action.EXTRA, [row(source, target, "d"), row(source, target, "e")])
    hard = Operation(Action.HARD, [row(source, target, "h")])
    skip = Operation(Action.SKIP, [row(source, target, "h")], reason="newer")
    outcome = do(site(), extra, hard, skip)
    assert outcome.extras == [("d", True), ("e", False)]
    assert [row[0] for row in outcome.linked] == ["h"]
    assert outcome.counts == {"skipped_files": 1}
    assert [(news[0], news[1], news[3]["reason"]) for news in outcome.news] == [(Level.DEBUG, "file.skipped", "newer")]
    assert sorted(tree(target)) == ["d/", "e"]


NOW: dict[str, object] = {
    "d/": None,
    "d/f": b"new!",
    "d/l": "-> new",
    "d/n": b"n",
    "d/s": Kind.FIFO,
    "d/t": b"now a file",
}
KEPT: dict[str, object] = {
    "d/": None,
    "d/f": b"old",
    "d/l": "-> old",
    "d/s": b"was a file",
    "d/t": "-> elsewhere",
}


class TestBackup:
    """`--backup-dir`: what is overwritten is kept first, inside the destination or beside it."""

    def overwritten(self, site: Make, source: MemoryStore, target: MemoryStore, **fields: object) -> Outcome:
        source.make_directory("d")
        target.make_directory("d")
        put(source, "d/f", b"new!")
        put(target, "d/f", b"old")
        put(source, "d/n", b"n")
        source.make_link("d/l", "new", Meta())
        target.make_link("d/l", "old", Meta())
        source.make_special("d/s", Kind.FIFO | 0o644, 0, Meta())
        put(target, "d/s", b"was a file")
        put(source, "d/t", b"now a file")
        target.make_link("d/t", "elsewhere", Meta())
        rows = {name: row(source, target, f"d/{name}") for name in "fnlst"}
        where = site(clear=True, **fields)
        return do(
            where,
            Operation(Action.COPY, [rows["f"], rows["n"]]),
            Operation(Action.COPY, [rows["t"]], clear=True),
            Operation(Action.LINK, [rows["l"]]),
            Operation(Action.SPECIAL, [rows["s"]]),
            where="d",
        )

    def test_beside_the_destination(self, site: Make, source: MemoryStore, target: MemoryStore) -> None:
        kept = MemoryStore("kept")
        outcome = self.overwritten(site, source, target, backup=kept)
        assert outcome.failed == []
        assert tree(target) == NOW
        assert tree(kept) == KEPT

    @pytest.mark.parametrize("in_place", [True, False])
    def test_inside_the_destination(self, site: Make, source: MemoryStore, target: MemoryStore, in_place: bool) -> None:
        outcome = self.overwritten(site, source, target, backup=target, backup_prefix="kept/here", in_place=in_place)
        assert outcome.failed == []
        kept = {f"kept/here/{path}": what for path, what in KEPT.items()}
        assert tree(target) == {**NOW, "kept/": None, "kept/here/": None, **kept}
        assert target.stat("kept/here/d/f").facts[6] == 1  # no second name of what is written to

    def test_what_could_not_be_kept_is_not_overwritten(
        self, site: Make, source: MemoryStore, target: MemoryStore
    ) -> None:
        put(source, "f", b"new")
        put(target, "f", b"old")
        kept = MemoryStore("kept")
        kept.faults["write", "f"] = DunlinError("write", "f", ErrorKind.DENIED)
        outcome = do(site(backup=kept), Operation(Action.COPY, [row(source, target, "f")]))
        assert read(target, "f") == b"old"
        assert [name for name, *_ in outcome.failed] == ["f"]


def test_dress_directory_sets_what_is_not_right_already(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    source.make_directory("d", 0o750)
    source.set_meta("d", Meta(mtime=AT, uid=7))
    target.make_directory("d", 0o700)
    calls: list[int] = []
    target.faults["set_meta", "d"] = lambda: calls.append(1)
    what = source.stat("d").facts
    where = site(perms=True, owner=True)
    dress_directory(where, "d", what, target.stat("d").facts, Outcome())
    assert calls == [1]
    dressed = target.stat("d").facts
    assert (dressed[MODE] & 0o777, dressed[UID], dressed[2]) == (0o750, 7, AT)
    dress_directory(where, "d", what, dressed, Outcome())
    assert calls == [1]
    dress_directory(where, "d", what, None, Outcome())
    assert calls == [1, 1]


def test_dress_directory_looks_at_attributes(site: Make, source: MemoryStore, target: MemoryStore) -> None:
    for store in (source, target):
        store.make_directory("d")
        store.set_meta("d", Meta(mtime=AT))
    source.set_meta("d", Meta(xattrs={"user.a": b"1"}, xattr_space=("user.",)))
    where = site(xattrs=True)
    dress_directory(where, "d", source.stat("d").facts, target.stat("d").facts, Outcome())
    assert target.get_xattrs("d", ("user.",)) == {"user.a": b"1"}
    target.faults["set_meta", "d"] = DunlinError("set", "d", ErrorKind.DENIED)
    dress_directory(where, "d", source.stat("d").facts, target.stat("d").facts, Outcome())  # nothing to do


@pytest.mark.parametrize(("umask", "wanted"), [(0o022, 0o755), (0o077, 0o700), (0o000, 0o775)])
@pytest.mark.parametrize("large", [True, False])
def test_a_new_file_without_perms_gets_what_the_umask_leaves_and_an_old_one_keeps_its_mode(
    site: Make,
    source: MemoryStore,
    umask: int,
    wanted: int,
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(content, "STREAM", 1 if large else 100)
    local = LocalStore(str(tmp_path))
    put(source, "new", mode=0o4775)
    put(source, "old", mode=0o775)
    put(local, "old", b"", mode=0o640)
    rows: list[Row] = [
        ("new", source.stat("new").facts, None), ("old", source.stat("old").facts, local.stat("old").facts)
    ]  # fmt: skip
    before = os.umask(umask)
    try:
        do(site(target=local), Operation(Action.COPY, rows))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o7777 == wanted
    assert (tmp_path / "old").stat().st_mode & 0o7777 == 0o640


def test_a_store_without_a_power_fails_one_name_at_a_time(site: Make, source: MemoryStore) -> None:
    class Plain:
        """The five verbs and nothing else."""

        def __init__(self) -> None:
            self.inner = MemoryStore()
            self.caps, self.url = self.inner.caps, "plain://"
            self.list, self.stat, self.read = self.inner.list, self.inner.stat, self.inner.read
            self.write, self.delete, self.close = self.inner.write, self.inner.delete, self.inner.close

    put(source, "f")
    source.make_directory("d")
    plain = Plain()
    rows: list[Row] = [("f", source.stat("f").facts, None)]
    where = site(target=plain)
    outcome = do(
        where, Operation(Action.COPY, rows), Operation(Action.DIRECTORY, [("d", source.stat("d").facts, None)])
    )
    assert tree(plain.inner) == {"f": b"content"}
    assert outcome.subdirectories == [("d", int(Presence.SOURCE))]
    assert outcome.failed == []
