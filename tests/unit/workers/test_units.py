"""The other units: waiting files, directories to be dressed, deletes, hard links."""

from __future__ import annotations

from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import read
from dunlin.filters.selection import Selection
from dunlin.model import MODE, Action
from dunlin.plan import Policy
from dunlin.stores.base import Meta
from dunlin.stores.memory import MemoryStore
from dunlin.workers import tasks
from dunlin.workers.tasks import Delete, Finish, Join, Move, Scan, Unblock
from tests.unit.transfer.trees import AT, put, tree
from tests.unit.transfer.trees import read as content
from tests.unit.workers.conftest import World

DENIED = DunlinError("delete", "", ErrorKind.DENIED, "Operation not permitted")
PERMS: dict[str, Any] = {"options": {"perms": True}}


def turn(name: str, action: Action = Action.COPY, exists: bool = False, size: int = 7) -> tuple[str, int, int, bool]:
    return (name, size, int(action), exists)


@pytest.mark.parametrize(
    "task",
    [
        Scan("d", sweep=("a",), digest=b"x"),
        Move("d", (turn("a"), turn("b", Action.VERIFY, True)), True, ("ab",)),
        Finish("d"),
        Delete("d", (("a", False),), True),
        Join("a", ("b", "c"), True),
        Unblock("d", ("a", "b")),
    ],
)
def test_tasks_survive_the_pipe(task: tasks.Task) -> None:
    import marshal

    again = tasks.unpack(marshal.loads(marshal.dumps(tasks.pack(task), 2)))
    assert again == task
    assert type(again) is type(task)


class TestMove:
    def test_waiting_files_are_copied_as_they_are_now(self, world: World) -> None:
        put(world.source, "a", b"now longer")
        put(world.source, "b")
        outcome = world.do(Move("", (turn("a"), turn("b"), turn("gone"))))
        assert tree(world.target) == {"a": b"now longer", "b": b"content"}
        assert [row[0] for row in outcome.copied] == ["a", "b"]
        assert outcome.vanished == ["gone"]

    def test_the_destination_is_asked_only_where_its_answer_matters(self, world: World) -> None:
        put(world.source, "a")
        put(world.target, "a", b"old", mode=0o600)
        world.do(Move("", (turn("a", exists=True),)), **PERMS)
        assert world.calls("target") == {"write": 1}
        world.do(Move("", (turn("a", exists=True),)))
        assert world.calls("target") == {"stat": 1, "write": 1}

    def test_without_perms_a_waiting_file_keeps_the_mode_of_the_destination(self, world: World) -> None:
        put(world.source, "a", mode=0o755)
        put(world.target, "a", b"old", mode=0o640)
        world.do(Move("", (turn("a", exists=True),)))
        assert world.target.stat("a").facts[MODE] & 0o777 == 0o640

    def test_verify_and_metadata_wait_too(self, world: World) -> None:
        for name, here, there in (("v", b"aaaa", b"bbbb"), ("w", b"same", b"same"), ("m", b"mm", b"MM")):
            put(world.source, name, here)
            put(world.target, name, there, mtime=AT + 1)
        put(world.source, "n")
        turns = (
            turn("v", Action.VERIFY, True),
            turn("w", Action.VERIFY, True),
            turn("n", Action.VERIFY, True),
            turn("m", Action.META, True),
        )
        outcome = world.do(Move("", turns))
        assert tree(world.target) == {"m": b"MM", "n": b"content", "v": b"aaaa", "w": b"same"}
        assert outcome.counts["verified_files"] == 2
        assert world.target.stat("m").mtime == AT

    def test_one_that_cannot_be_looked_at_does_not_stop_the_others(self, world: World) -> None:
        for name in ("a", "b", "c"):
            put(world.source, name)
            put(world.target, name)
        world.source.faults["stat", "b"] = DunlinError("look at", "b", ErrorKind.IO)
        turns = tuple(turn(name, Action.VERIFY, True) for name in ("a", "b", "gone", "c"))
        outcome = world.do(Move("", turns))
        assert [name for name, *_ in outcome.failed] == ["b"]
        assert outcome.vanished == ["gone"]
        assert outcome.counts["verified_files"] == 2
        assert outcome.counts["source_errors"] == 1

    def test_overwritten_files_are_kept_first(self, world: World) -> None:
        kept = MemoryStore("kept")
        put(world.source, "a", b"new")
        put(world.target, "a", b"old")
        world.do(Move("", (turn("a", exists=True),)), backup=kept)
        assert tree(kept) == {"a": b"old"}
        assert content(world.target, "a") == b"new"

    @pytest.mark.parametrize(
        ("task", "left"),
        [
            ({}, ["0badc0de01", "c0ffee0001", "c0ffee0002"]),
            ({"sweep": True}, ["c0ffee0001", "c0ffee0002"]),
            ({"sweep": True, "dead": ("c0ffee0001",)}, ["c0ffee0002"]),
        ],
    )
    def test_temporary_files_of_the_dead_go_first(self, world: World, task: dict[str, Any], left: list[str]) -> None:
        put(world.source, "a")
        for token in ("0badc0de01", "c0ffee0001", "c0ffee0002"):
            put(world.target, f".dunlin-{token}-1.tmp")
        world.do(Move("", (turn("a"),), **task), dead=frozenset({"0badc0de"}))
        assert sorted(tree(world.target)) == [f".dunlin-{token}-1.tmp" for token in left] + ["a"]

    def test_a_sweep_that_fails_is_news_and_no_more(self, world: World) -> None:
        put(world.source, "a")
        world.target.faults["list", ""] = DENIED
        outcome = world.do(Move("", (turn("a"),), sweep=True))
        assert [news[1] for news in outcome.news] == ["temporary.kept"]
        assert [row[0] for row in outcome.copied] == ["a"]

    def test_a_stop_leaves_them_waiting(self, world: World) -> None:
        put(world.source, "a")
        world.bucket.stop()
        outcome = world.do(Move("", (turn("a"),)))
        assert [name for name, *_ in outcome.waiting] == ["a"]
        assert outcome.failed == []


class TestFinish:
    def test_the_directory_is_dressed(self, world: World) -> None:
        for store in (world.source, world.target):
            store.make_directory("d")
        world.source.set_meta("d", Meta(mtime=AT))
        assert world.do(Finish("d")).failed == []
        assert world.target.stat("d").mtime == AT

    def test_a_directory_that_vanished_needs_no_dress(self, world: World) -> None:
        outcome = world.do(Finish("gone"))
        assert (outcome.failed, outcome.vanished) == ([], [])

    def test_a_destination_that_cannot_be_dressed_is_a_failed_directory(self, world: World) -> None:
        world.source.make_directory("d")
        outcome = world.do(Finish("d"))
        assert outcome.counts["failed_directories"] == 1


class TestDelete:
    def test_extras_go(self, world: World) -> None:
        put(world.target, "a")
        world.target.make_directory("d")
        world.target.make_link("l", "a", Meta())
        outcome = world.do(Delete("", (("a", False), ("d", True), ("l", False)), False))
        assert tree(world.target) == {}
        assert outcome.counts == {"deleted_files": 2, "deleted_directories": 1}
        assert [news[2] for news in outcome.news] == ["a", "l"]

    def test_each_is_looked_up_at_the_source_once_more(self, world: World) -> None:
        put(world.target, "a")
        put(world.target, "b")
        put(world.source, "b")
        outcome = world.do(Delete("", (("a", False), ("b", False)), False))
        assert world.calls("source") == {"stat": 2}
        assert tree(world.target) == {"b": b"content"}
        assert [(news[1], news[3]["path"]) for news in outcome.news if news[1] == "delete.refused"] == [
            ("delete.refused", "b")
        ]

    def test_an_absent_directory_covers_its_subtree_with_one_look(self, world: World) -> None:
        world.target.make_directory("d")
        for name in ("d/a", "d/b", "d/c"):
            put(world.target, name)
        world.do(Delete("d", (("a", False), ("b", False), ("c", False)), True))
        assert world.calls("source") == {"stat": 1}
        assert tree(world.target) == {"d/": None}

    def test_nothing_goes_when_the_directory_is_there_after_all(self, world: World) -> None:
        world.source.make_directory("d")
        world.target.make_directory("d")
        put(world.target, "d/a")
        outcome = world.do(Delete("d", (("a", False),), True))
        assert "d/a" in tree(world.target)
        assert [news[1] for news in outcome.news] == ["delete.refused"]

    def test_a_directory_is_absent_where_the_source_has_something_else(self, world: World) -> None:
        put(world.source, "file")
        world.source.make_link("link", "elsewhere", Meta())
        for name in ("file", "file/sub", "link", "link/sub"):
            world.target.make_directory(name)
            put(world.target, f"{name}/x")
        refused = DunlinError("open the directory", "link/sub", ErrorKind.CHANGED, "a symbolic link")
        world.source.faults["stat", "link/sub"] = refused
        for name in ("file", "link"):
            world.do(Delete(f"{name}/sub", (("x", False),), True))
            world.do(Delete(name, (("sub", True), ("x", False)), True))
        outcome = world.do(Delete("", (("file", True), ("link", True)), False))
        assert tree(world.target) == {}
        assert outcome.news == []

    def test_a_path_that_changes_below_a_directory_is_no_absence(self, world: World) -> None:
        world.source.make_directory("d")
        for name in ("d", "d/sub"):
            world.target.make_directory(name)
        put(world.target, "d/sub/x")
        world.source.faults["stat", "d/sub"] = DunlinError("look at", "d/sub", ErrorKind.CHANGED)
        outcome = world.do(Delete("d/sub", (("x", False),), True))
        assert "d/sub/x" in tree(world.target)
        assert outcome.counts["source_errors"] == 1

    @pytest.mark.parametrize("absent", [True, False])
    @pytest.mark.parametrize("kind", [ErrorKind.IO, ErrorKind.DENIED, ErrorKind.TIMEOUT])
    def test_a_source_that_does_not_answer_keeps_everything(self, world: World, absent: bool, kind: ErrorKind) -> None:
        world.target.make_directory("d")
        put(world.target, "d/a")
        error = DunlinError("look at", "d", kind)
        world.source.faults["stat", "d"] = world.source.faults["stat", "d/a"] = error
        outcome = world.do(Delete("d", (("a", False),), absent))
        assert "d/a" in tree(world.target)
        assert outcome.counts["source_errors"] >= 1
        assert len(outcome.failed) == 1

    def test_what_the_filters_protect_keeps_its_directory(self, world: World) -> None:
        world.target.make_directory("d")
        put(world.target, "d/protected")
        outcome = world.do(Delete("", (("d", True),), False))
        assert "d/protected" in tree(world.target)
        assert [news[1] for news in outcome.news] == ["directory.kept"]
        assert outcome.failed == []

    def test_an_excluded_name_that_the_source_has_goes_where_that_is_asked_for(self, world: World) -> None:
        for store in (world.source, world.target):
            put(store, "a.o")
        selection = Selection(rules=read.parse_rules([("exclude", "*.o")]))
        task = Delete("", (("a.o", False),), False)
        world.do(task, selection=selection)
        assert "a.o" in tree(world.target)
        world.do(task, selection=selection, delete_excluded=True)
        assert tree(world.target) == {}

    def test_deleted_files_are_kept_in_the_backup(self, world: World) -> None:
        kept = MemoryStore("kept")
        world.target.make_directory("d")
        put(world.target, "d/a")
        outcome = world.do(Delete("d", (("a", False),), False), backup=kept)
        assert tree(kept) == {"d/": None, "d/a": b"content"}
        assert tree(world.target) == {"d/": None}
        assert outcome.counts == {"deleted_files": 1}

    def test_a_file_where_a_directory_was_listed_stays(self, world: World) -> None:
        """Somebody has put it there since."""
        put(world.target, "d", b"precious")
        outcome = world.do(Delete("", (("d", True),), False))
        assert tree(world.target) == {"d": b"precious"}
        assert [(name, kind) for name, kind, *_ in outcome.failed] == [("d", "changed")]
        assert outcome.counts["deleted_directories"] == 0

    def test_one_that_cannot_go_does_not_stop_the_others(self, world: World) -> None:
        put(world.target, "a")
        put(world.target, "b")
        world.target.faults["delete", "a"] = DENIED
        outcome = world.do(Delete("", (("a", False), ("b", False), ("gone", False)), False))
        assert [name for name, *_ in outcome.failed] == ["a"]
        assert outcome.counts["deleted_files"] == 1

    def test_a_stop_ends_it(self, world: World) -> None:
        put(world.target, "a")
        world.bucket.stop()
        outcome = world.do(Delete("", (("a", False),), False))
        assert outcome.fatal is not None
        assert "a" in tree(world.target)


class TestUnblock:
    def test_what_comes_after_a_directory(self, world: World) -> None:
        world.source.make_directory("d")
        put(world.source, "d/file")
        world.source.make_link("d/link", "file", Meta())
        world.target.make_directory("d")
        outcome = world.do(Unblock("d", ("file", "gone", "link")))
        assert tree(world.target) == {"d/": None, "d/file": b"content", "d/link": "-> file"}
        assert [row[0] for row in outcome.copied] == ["file"]
        assert outcome.vanished == ["gone"]

    def test_a_directory_that_still_stands_fails_its_name_only(self, world: World) -> None:
        for name in ("a", "b"):
            put(world.source, name)
        world.target.make_directory("a")
        put(world.target, "a/x")
        outcome = world.do(Unblock("", ("a", "b")))
        assert tree(world.target) == {"a/": None, "a/x": b"content", "b": b"content"}
        ((name, kind, message, _),) = outcome.failed
        assert (name, kind) == ("a", "exists")
        assert "what is in it was not deleted" in message
        assert outcome.counts["source_errors"] == 0

    def test_one_of_several_names_is_left_to_the_coordinator(self, world: World) -> None:
        put(world.source, "a")
        world.source.make_hard_link("a", "b")
        outcome = world.do(Unblock("", ("b",)), policy=Policy(hard_links=True))
        assert [row[0] for row in outcome.linked] == ["b"]
        assert tree(world.target) == {}


class TestJoin:
    def linked(self, world: World) -> None:
        put(world.source, "a")
        world.source.make_hard_link("a", "b")
        world.source.make_hard_link("a", "c")
        put(world.target, "a")

    def test_names_become_names_of_one_inode(self, world: World) -> None:
        self.linked(world)
        outcome = world.do(Join("a", ("b", "c")))
        assert {world.target.stat(name).facts[8] for name in "abc"} == {world.target.stat("a").facts[8]}
        assert outcome.counts == {"hard_links": 2}
        assert [(first, new, row[0], row[1]) for first, new, row in outcome.joined] == [
            ("a", True, "b", 7),
            ("a", True, "c", 7),
        ]
        assert [news[1:3] for news in outcome.news] == [("file.linked", "b"), ("file.linked", "c")]
        again = world.do(Join("a", ("b", "c")))
        assert again.counts == {"equal_files": 2}
        assert [(new, row[0]) for _, new, row in again.joined] == [(False, "b"), (False, "c")]
        assert again.news == []

    def test_copies_of_their_own_are_told_by_path(self, world: World) -> None:
        world.source.make_directory("d")
        put(world.source, "d/a")
        outcome = world.do(Join("d/a", ("d/b",)))
        assert outcome.vanished == ["d/b"]
        world.target.make_directory("d")
        put(world.source, "d/b")
        world.target.faults["write", "d/b"] = DunlinError("write", "d/b", ErrorKind.DENIED)
        outcome = world.do(Join("d/a", ("d/b",)))
        assert [row[0] for row in outcome.copied] == []
        assert [name for name, *_ in outcome.failed] == ["d/b"]

    def test_a_check_tells_which_names_are_not_one(self, world: World) -> None:
        for name in "abc":
            put(world.target, name)
        world.target.make_hard_link("a", "b")
        outcome = world.do(Join("a", ("b", "c", "gone")), mode="check")
        assert (outcome.counts["equal_files"], outcome.counts["equal_bytes"]) == (1, 7)
        assert outcome.counts["differing_files"] == 1
        assert [(news[3]["verb"], news[3]["path"], news[3]["reason"]) for news in outcome.news] == [
            ("differ", "c", "no hard link of a")
        ]
        assert [name for name, *_ in outcome.failed] == ["gone"]
        assert world.calls("target").keys() == {"stat"}

    def test_a_name_that_holds_something_else_is_replaced(self, world: World) -> None:
        self.linked(world)
        put(world.target, "b", b"other")
        world.do(Join("a", ("b",)))
        assert content(world.target, "b") == b"content"

    def test_a_destination_that_cannot_link_gets_copies(self, world: World) -> None:
        self.linked(world)
        context = world.context()

        def refuse(existing: str, path: str) -> None:
            raise DunlinError("link", path, ErrorKind.DENIED, "Operation not permitted")

        world.target.make_hard_link = refuse  # type: ignore[method-assign]
        outcome = world.do(Join("a", ("b", "c")), context)
        assert tree(world.target) == dict.fromkeys("abc", b"content")
        assert len({world.target.stat(name).facts[8] for name in "abc"}) == 3
        assert [row[0] for row in outcome.copied] == ["b", "c"]
        assert outcome.failed == []

    def test_names_follow_when_the_first_has_no_copy(self, world: World) -> None:
        self.linked(world)
        world.target.delete(["a"])
        outcome = world.do(Join("a", ("b", "c")))
        assert outcome.failed == []
        assert world.target.stat("b").facts[8] == world.target.stat("c").facts[8]
        assert content(world.target, "b") == b"content"

    def test_what_the_policy_leaves_alone_is_no_other_name(self, world: World) -> None:
        """With --update a newer file keeps its content, and the first that is newer is nobody's."""
        self.linked(world)
        for name in "ab":
            put(world.target, name, b"newer " + name.encode(), mtime=AT + 1_000_000_000)
        outcome = world.do(Join("a", ("b", "c")), policy=Policy(hard_links=True, update=True))
        assert tree(world.target) == {"a": b"newer a", "b": b"newer b", "c": b"content"}
        assert outcome.counts["skipped_files"] == 1

    def test_a_stale_first_name_stays_alone(self, world: World) -> None:
        self.linked(world)
        put(world.target, "a", b"stale", mtime=AT - 1_000_000_000)
        put(world.target, "b")
        outcome = world.do(Join("a", ("b", "c")))
        assert tree(world.target) == {"a": b"stale", "b": b"content", "c": b"content"}
        assert world.target.stat("b").facts[8] == world.target.stat("c").facts[8]
        assert [row[0] for row in outcome.seen] == ["b"]

    def test_a_first_name_that_failed_stays_alone(self, world: World) -> None:
        """Of the same size as the source, which is all that is compared."""
        self.linked(world)
        put(world.target, "a", b"STALE..")
        world.do(Join("a", ("b", "c"), failed=True), policy=Policy(hard_links=True, compare="size"))
        assert tree(world.target) == {"a": b"STALE..", "b": b"content", "c": b"content"}
        assert world.target.stat("b").facts[8] == world.target.stat("c").facts[8]

    def test_what_is_kept_of_a_name_that_cannot_be_linked_stays(self, world: World) -> None:
        """Files that are in sync already, and a link: made when its directory was scanned."""
        self.linked(world)
        put(world.target, "b")
        world.source.make_link("l", "a", Meta())
        world.source.make_hard_link("l", "m")
        for name in "lm":
            world.target.make_link(name, "a", Meta())
        context = world.context(backup=MemoryStore("kept"))

        def refuse(existing: str, path: str) -> None:
            raise DunlinError("link", path, ErrorKind.UNSUPPORTED, "Invalid cross-device link")

        world.target.make_hard_link = refuse  # type: ignore[method-assign]
        for _ in range(3):
            outcomes = [world.do(Join("a", ("b", "c")), context), world.do(Join("l", ("m",)), context)]
            expected = dict.fromkeys("abc", b"content") | dict.fromkeys("lm", "-> a")
            assert tree(world.target) == expected
            assert [outcome.failed for outcome in outcomes] == [[], []]

    def test_one_that_fails_does_not_stop_the_others(self, world: World) -> None:
        """The destination cannot link, and the copy instead cannot be made either."""
        self.linked(world)
        context = world.context()

        def refuse(existing: str, path: str) -> None:
            world.source.faults["stat", path] = DunlinError("look at", path, ErrorKind.IO)
            raise DunlinError("link", path, ErrorKind.IO, "Too many links")

        world.target.make_hard_link = refuse  # type: ignore[method-assign]
        outcome = world.do(Join("a", ("b", "c")), context)
        assert [name for name, *_ in outcome.failed] == ["b", "c"]


def test_a_fault_in_a_unit_is_put_on_record(world: World) -> None:
    world.source.faults["stat", "d"] = DENIED
    outcome = world.do(Finish("d"))
    assert [(name, kind) for name, kind, *_ in outcome.failed] == [("", "denied")]  # the directory itself
    assert outcome.seconds > 0
