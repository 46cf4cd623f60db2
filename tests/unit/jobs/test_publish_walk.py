"""The walk of a folder: files go out as they are found, in units that are neither too small nor too large."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import publish_walk
from dunlin.jobs.publish_place import Here, look_here
from dunlin.jobs.publish_walk import BYTES, FILES, FIRST, Batcher, Source, walk
from dunlin.queue.ledger.words import NewFile, OpenUnit
from dunlin.report import RecordingReport
from dunlin.stores.base import Listing
from dunlin.stores.memory import MemoryStore


class Ledger:
    """Takes units as the ledger would, and remembers how."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.files: list[NewFile] = []
        self.failed: list[tuple[str, str]] = []

    def add_units(self, job: str, units: Sequence[Sequence[NewFile]]) -> list[OpenUnit]:
        self.calls.append([len(unit) for unit in units])
        self.files += [file for unit in units for file in unit]
        return [OpenUnit(job, 0, 0, 0, tuple(unit), tuple(range(len(unit)))) for unit in units]

    def add_failed(self, job: str, failed: Sequence[tuple[NewFile, str]]) -> int:
        self.failed += [(file.path, error) for file, error in failed]
        return len(failed)


class Walk:
    def __init__(self, root: Path) -> None:
        self.root = root / "from"
        self.root.mkdir()
        self.ledger = Ledger()
        self.put: list[int] = []
        self.now = 0.0
        self.report = RecordingReport()
        self.batcher = Batcher(
            "job", self.ledger, lambda units: self.put.extend(len(unit.files) for unit in units), lambda: self.now
        )

    def file(self, path: str, size: int = 1) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.truncate(size)

    def go(self, prefix: str = "store/", name: str = "", **more: Any) -> str:
        source = Source(3, str(self.root), name, prefix)
        how: dict[str, Any] = {"within": ["/"], "own": frozenset(), "going": lambda: None, **more}
        error = walk(source, self.batcher, how.pop("within"), how.pop("own"), how.pop("going"), self.report, **how)
        self.batcher.flush()
        return error

    @property
    def keys(self) -> list[str]:
        return sorted(file.key for file in self.ledger.files)


@pytest.fixture
def walked(tmp_path: Path) -> Walk:
    return Walk(tmp_path)


def test_every_file_once_with_its_key(walked: Walk) -> None:
    for path in ("a", "d/b", "d/e/c", "é/x y", ".hidden"):
        walked.file(path, len(path))
    assert walked.go() == ""
    assert walked.keys == sorted(["store/a", "store/d/b", "store/d/e/c", "store/é/x y", "store/.hidden"])
    assert NewFile("d/e/c", "store/d/e/c", 5, 3) in walked.ledger.files


def test_a_single_file(walked: Walk) -> None:
    walked.file("one", 7)
    assert walked.go("store/other", "one") == ""
    assert walked.ledger.files == [NewFile("one", "store/other", 7, 3)]
    assert walked.go("store/other", "absent") == "'from' cannot be looked at: No such file or directory"


def test_the_first_unit_is_small_and_later_ones_are_not(walked: Walk) -> None:
    for n in range(2 * FILES + 300):
        walked.batcher.add(NewFile(str(n), str(n), 1))
    walked.batcher.flush()
    assert walked.put[:6] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, FILES]
    assert max(walked.put) == FILES
    assert sum(walked.put) == 2 * FILES + 300
    assert walked.ledger.calls[0] == [FIRST]


def test_units_are_put_on_record_in_lots(walked: Walk) -> None:
    for n in range(250 + 40 * FILES):
        walked.batcher.add(NewFile(str(n), str(n), 1))
    walked.batcher.flush()
    assert publish_walk.LOT * [FILES] in walked.ledger.calls


def test_units_are_bounded_by_bytes(walked: Walk) -> None:
    for n in range(4):
        walked.batcher.add(NewFile(str(n), str(n), BYTES // 2))
    walked.batcher.add(NewFile("large", "large", 3 * BYTES))
    walked.batcher.flush()
    assert walked.put == [2, 2, 1]


def test_nothing_waits_for_others_for_long(walked: Walk) -> None:
    for n in range(1000):
        walked.batcher.add(NewFile(str(n), str(n), 1))
    before = sum(walked.put)
    walked.batcher.hurry()
    assert sum(walked.put) == before
    walked.now = 0.3
    walked.batcher.hurry()
    assert sum(walked.put) == 1000


# ---- what is no file, or none that may be published ----


def test_names_that_can_be_no_keys_fail_by_themselves(walked: Walk) -> None:
    walked.file("good")
    walked.file("new\nline")
    (walked.root / os.fsdecode(b"\xff")).write_bytes(b"")
    walked.file("x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + "/" + "a" * 200 + "/" + "b" * 250)
    assert walked.go() == ""
    assert walked.keys == ["store/good"]
    reasons = sorted(error for _, error in walked.ledger.failed)
    assert [reason.partition(",")[0] for reason in reasons] == [
        "the key has 1060 bytes",
        "the key holds a control character",
        "the key is not valid UTF-8",
    ]


def test_a_backslash_becomes_a_slash_unless_that_is_another_file(walked: Walk) -> None:
    walked.file("a\\b")
    walked.file("c\\d")
    walked.file("c/d")
    walked.file("..\\..\\etc")
    walked.go()
    assert walked.keys == ["store/a/b", "store/c/d"]
    assert sorted(path for path, _ in walked.ledger.failed) == ["..\\..\\etc", "c\\d"]


def test_links(walked: Walk, tmp_path: Path) -> None:
    walked.file("real", 5)
    walked.file("d/inner")
    (tmp_path / "outside").write_bytes(b"secret")
    (walked.root / "good").symlink_to("real")
    (walked.root / "out").symlink_to(tmp_path / "outside")
    (walked.root / "folder").symlink_to("d")
    (walked.root / "nowhere").symlink_to("absent")
    os.mkfifo(walked.root / "fifo")
    walked.go(within=[str(walked.root)])
    assert walked.keys == ["store/d/inner", "store/good", "store/real"]
    assert NewFile("good", "store/good", 5, 3) in walked.ledger.files
    assert walked.ledger.failed == [("out", "the symbolic link leads outside the allowed roots")]
    [event] = walked.report.named("publish.left_out")
    assert event.message.endswith(
        "1 sockets, FIFOs and devices, 1 symbolic links that lead nowhere, 1 symbolic links to folders"
    )


def test_the_services_own_files_are_left_out(walked: Walk) -> None:
    walked.file("ledger.db")
    walked.file("other")
    walked.go(own=frozenset({f"{walked.root}/ledger.db"}))
    assert walked.keys == ["store/other"]


def test_a_folder_that_became_a_link_is_not_walked(walked: Walk, tmp_path: Path) -> None:
    walked.file("f")
    walked.root.rename(tmp_path / "moved")
    walked.root.symlink_to(tmp_path / "moved")
    assert walked.go() == "'from' leads elsewhere than when it was accepted"
    assert not walked.ledger.files


def test_a_folder_outside_the_roots_is_not_walked(walked: Walk) -> None:
    walked.file("f")
    assert walked.go(within=["/nowhere"]) == "'from' leads elsewhere than when it was accepted"


def memory(walked: Walk, *paths: str) -> MemoryStore:
    """A file system in memory that has the folder at its place."""
    store = MemoryStore()
    from dunlin.stores.base import Body, Meta

    for path in paths:
        above = ""
        for name in f"{walked.root}/{path}".strip("/").split("/")[:-1]:
            above = f"{above}/{name}".strip("/")
            store.make_directory(above)
        store.write(f"{walked.root}/{path}".strip("/"), Body(1, lambda start: iter([b"x"[start:]])), meta=Meta())
    return store


def test_a_directory_that_cannot_be_listed_is_one_failure(walked: Walk) -> None:
    store = memory(walked, "a/f", "b/f", "gone/f")
    root = str(walked.root).strip("/")
    store.faults["list", f"{root}/b"] = DunlinError("list", "b", ErrorKind.DENIED, "Permission denied")
    store.faults["list", f"{root}/gone"] = DunlinError("list", "gone", ErrorKind.NOT_FOUND)
    assert walked.go(store=store) == ""
    assert walked.keys == ["store/a/f"]
    assert walked.ledger.failed == [("b", "cannot list: Permission denied")]


def test_a_folder_that_cannot_be_listed_is_no_walk(walked: Walk) -> None:
    store = memory(walked, "a/f")
    store.faults["list", str(walked.root).strip("/")] = DunlinError("list", "", ErrorKind.DENIED, "Permission denied")
    assert walked.go(store=store) == "cannot list: Permission denied"


def test_a_walk_can_be_ended(walked: Walk) -> None:
    walked.file("a/f")

    def ended() -> None:
        raise DunlinError("walk", "", ErrorKind.INTERRUPTED)

    with pytest.raises(DunlinError):
        walked.go(going=ended)


def test_deep_trees_hold_few_directories_open(walked: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_walk, "DEEP", 5)
    paths = ["/".join(str(n) for n in range(depth)) + "/f" for depth in range(1, 40)]
    inner = memory(walked, *paths, "0/1/2/3/4/5/other/f", "0/1/2/3/4/5/other/g/f")
    opened = most = 0

    class Counting:
        def list(self, directory: str) -> Listing:
            nonlocal opened, most
            opened += 1
            most = max(most, opened)
            try:
                yield from inner.list(directory)
            finally:
                opened -= 1

    walked.go(store=Counting())
    assert len(walked.keys) == len(set(walked.keys)) == len(paths) + 2
    assert most <= 6
    assert opened == 0


def test_what_is_held_is_a_batch_for_each_level(walked: Walk) -> None:
    """The second batch of a directory is not asked for before the directories of the first are walked."""
    asked: list[str] = []
    inner = memory(walked, "a/f", "b/f")
    root = str(walked.root).strip("/")

    class Slow:
        def list(self, directory: str) -> Iterator[Any]:
            for [row] in ([row] for batch in inner.list(directory) for row in batch):
                asked.append(f"{directory.removeprefix(root)}:{row[0]}")
                yield [row]

    walked.go(store=Slow())
    assert asked == [":a", "/a:f", ":b", "/b:f"]


# ---- a destination on this machine ----


def test_the_destination_is_never_entered(walked: Walk) -> None:
    """However it came to lie there: mounted a second time, or moved while the folder was being walked."""
    walked.file("a"), walked.file("d/pub/store/a"), walked.file("other/store/a")
    status = (walked.root / "d/pub").stat()
    assert walked.go(here=Here("/elsewhere", (status.st_dev, status.st_ino))) == ""
    assert walked.keys == ["store/a", "store/other/store/a"]


def test_a_destination_that_lies_around_or_in_the_folder_by_now_ends_the_walk(walked: Walk) -> None:
    walked.file("a")
    error = walked.go(here=look_here(str(walked.root / "pub")))
    assert error == "'from' cannot be published: the destination lies in it"
    assert walked.go(here=look_here(str(walked.root.parent))).endswith("it lies in the destination")
    assert walked.go("store/a", "a", here=look_here(str(walked.root))).endswith("it lies in the destination")
    assert walked.keys == []


def test_unfinished_files_of_runs_are_left_out(walked: Walk) -> None:
    begun = "d/.dunlin-0123abcd-w1x1.tmp", ".dunlin-0-wffx2.tmp", "d/.dunlin-0123456789abcdef-0.part"
    for name in ("a", *begun, ".dunlin-mine", "x.tmp"):
        walked.file(name)
    assert walked.go() == ""
    assert walked.keys == ["store/.dunlin-mine", "store/a", "store/x.tmp"]
    [event] = walked.report.named("publish.left_out")
    assert event.message.endswith("not published: 3 unfinished files of runs")
