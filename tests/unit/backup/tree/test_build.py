"""What the writer refuses, what it keeps small, what it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dunlin.backup.tree import spill
from dunlin.backup.tree.build import FILE, SegmentWriter, empty
from dunlin.backup.tree.columns import NO_CONTENT, ZSTD
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from dunlin.errors import DunlinError
from tests.unit.backup.tree.grown import Folder, Model, Row, add_run, grow, paths, seen, segment

WRONG: dict[str, Callable[[SegmentWriter], Any]] = {
    "unsorted": lambda w: add(w, [b"b", b"a"]),
    "one name twice": lambda w: add(w, [b"a", b"a"]),
    "node 0": lambda w: w.add_run(1, b"a", [1], [0], [0], [0]),
    "size below 0": lambda w: w.add_run(1, b"a", [1], [2], [-1], [0]),
    "names and lengths": lambda w: w.add_run(1, b"ab", [1], [2], [0], [0]),
    "rows and columns": lambda w: w.add_run(1, b"ab", [1, 1], [2, 3], [0], [0, 0]),
    "no such directory": lambda w: w.add_run(9, b"a", [1], [2], [0], [0]),
    "two runs": lambda w: (add(w, [b"a"]), add(w, [b"b"])),
    "two rows": lambda w: w.add_directory(1, 0, b"again"),
    "two of one name": lambda w: (w.add_directory(2, 1, b"a"), w.add_directory(3, 1, b"a")),
    "in itself": lambda w: w.add_directory(2, 2, b"a"),
    "node id": lambda w: w.add_directory(-2, 1, b"a"),
}


def add(writer: SegmentWriter, names: list[bytes]) -> None:
    count = len(names)
    writer.add_run(1, b"".join(names), [len(name) for name in names], range(2, 2 + count), [0] * count, [0] * count)


@pytest.mark.parametrize("what", WRONG)
def test_rows_that_make_no_tree_are_refused(tmp_path: Path, what: str) -> None:
    def write() -> None:
        with SegmentWriter(tmp_path / "x") as writer:
            writer.add_directory(1, 0, b"")
            WRONG[what](writer)
            writer.finish()

    with pytest.raises(ValueError, match=r"\w"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"as it was")
    with SegmentWriter(tmp_path / "x") as writer:
        writer.add_directory(1, 0, b"")
        add(writer, [b"a"])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"as it was"]


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DunlinError), SegmentWriter(tmp_path / "missing" / "x") as writer:
        writer.finish()


def test_columns_spill_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "KEPT", 100)
    monkeypatch.setattr("dunlin.backup.tree.build.BATCH", 50)
    model = grow(3, 120, 1_000)
    for coding in (0, ZSTD):
        segment(tmp_path / "x", model, coding)
        assert os.listdir(tmp_path) == ["x"]
        assert seen(Tree([Segment.open(tmp_path / "x")])) == paths(model)


def test_spills_hold_no_more_than_they_may(tmp_path: Path) -> None:
    column = spill.Spill(str(tmp_path))
    for number in range(100):
        column.add(bytes([number]) * 50_000)
        assert column._held <= spill.KEPT + 50_000
    assert b"".join(column.pieces(70_001)) == b"".join(bytes([number]) * 50_000 for number in range(100))
    assert [len(piece) for piece in column.pieces(70_001)][:-1] == [70_001] * (5_000_000 // 70_001)
    assert column.array("u1").tobytes() == b"".join(column.pieces())
    column.close()


def one_run(path: Path, rows: dict[bytes, Row]) -> Segment:
    with SegmentWriter(path) as writer:
        writer.add_directory(1, 0, b"")
        add_run(writer, 1, rows)
        writer.finish()
    return Segment.open(path)


def test_columns_of_one_value_take_no_room(tmp_path: Path) -> None:
    same = one_run(tmp_path / "same", {b"%03d" % n: Row(n + 2, 5, 10**9, 7) for n in range(100)})
    taken = same.bytes_by_column()
    assert [taken[f"f.{name}"] for name in ("size", "mtime", "ticks", "hash", "flags", "fingerprint")] == [0] * 6
    other = one_run(tmp_path / "other", {b"%03d" % n: Row(n + 2, n // 99, 10**9, 7) for n in range(100)})
    assert other.bytes_by_column()["f.size"] == 400
    assert other.files.sizes(98, 100).tolist() == [0, 1]
    assert same.files.sizes(98, 100).tolist() == [5, 5]


def test_node_ids_are_distances_where_they_are_near(tmp_path: Path) -> None:
    rows = {b"%05d" % n: Row((1 << 60) + n) for n in range(10_000)}
    near = one_run(tmp_path / "near", rows)
    assert near.bytes_by_column()["f.near"] == 40_000
    far = one_run(tmp_path / "far", {**rows, b"x": Row(2)})
    assert far.bytes_by_column()["f.node"] == 80_008
    for made in (near, far):
        assert made.files.nodes(4_000, 5_000).tolist() == list(range((1 << 60) + 4_000, (1 << 60) + 5_000))
        assert made.files.node(9_999) == (1 << 60) + 9_999
    assert far.files.node(10_000) == 2


def test_the_check_of_a_run_changes_with_all_that_is_told_of_a_file(tmp_path: Path) -> None:
    def check(name: bytes = b"name", **changed: int) -> int:
        row = Row(**{"node": 5, "size": 7, "mtime": 900, "hash": 11, "flags": FILE, "fingerprint": 13, **changed})
        return int(one_run(tmp_path / "x", {b"other": Row(4), name: row}).array("d.check")[0])

    assert check() == check(node=6) == check(mtime=901) != 0
    others = [check(b"nam\xe9"), check(size=8), check(mtime=1_000), check(hash=12), check(flags=0o120000 >> 12),
              check(fingerprint=14)]  # fmt: skip
    assert len({check(), *others}) == 7
    unread = FILE | NO_CONTENT
    assert check(flags=unread) == check(flags=unread, hash=12), "what was not read has no checksum"


def test_packed_columns_are_taken_as_they_are(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "x") as writer:
        writer.add_directory(1, 0, b"")
        number = np.array([2, 3], "<i8").tobytes()
        writer.add_run(1, b"ab", np.array([1, 1], "<u4").tobytes(), number, number, number, number, b"\x08\x0a", number)
        writer.finish()
    files = list(Tree([Segment.open(tmp_path / "x")]).run(1).files())
    assert [(f.name, f.node, f.size, f.hash, f.kind, f.fingerprint) for f in files] == [
        (b"a", 2, 2, 2, 0o100000, 2), (b"b", 3, 3, 3, 0o120000, 3),
    ]  # fmt: skip


def test_directories_tell_which_of_the_pages_is_theirs(tmp_path: Path) -> None:
    added = [1, 9, 4, 7, 2]
    with SegmentWriter(tmp_path / "x") as writer:
        for number, node in enumerate(added):
            writer.add_directory(node, 1 if number else 0, b"%d" % node)
        writer.finish()
    made = Segment.open(tmp_path / "x")
    assert made.array("d.node").tolist() == [1, 2, 4, 7, 9]
    assert [added[page] for page in made.array("d.page").tolist()] == made.array("d.node").tolist()


def test_a_segment_without_rows() -> None:
    assert (empty().directories.rows, empty().files.rows, empty().removed.tolist()) == (0, 0, [])


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    model: Model = {1: Folder(0, b"", files={b"x": Row(3)}), 2: Folder(1, b"a")}
    assert segment(tmp_path / "1", model).size == segment(tmp_path / "2", model).size
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("names", [0, ZSTD])
def test_a_run_in_parts_is_the_run_in_one(tmp_path: Path, names: int) -> None:
    keys = [f"{number:04}{'x' * (number % 300)}".encode() for number in range(700)]
    rows = [[len(key) for key in keys], range(5, 705), range(0, 7 << 30, (7 << 30) // 700)[:700], [7] * 700,
            range(700), [FILE] * 700, range(700)]  # fmt: skip

    def part(start: int, end: int) -> list[Any]:
        return [b"".join(keys[start:end]), *(column[start:end] for column in rows)]

    def write(path: Path, cuts: list[int]) -> bytes:
        with SegmentWriter(path, names=names) as writer:
            writer.add_directory(1, 0, b"")
            writer.add_directory(2, 1, b"d")
            writer.add_directory(3, 1, b"e")
            writer.add_run(2, b"z", [1], [900], [1], [1])
            if cuts:
                writer.add_long_run(1, (part(*pair) for pair in pairwise(cuts)))
            else:
                writer.add_run(1, *part(0, 700))
            writer.add_long_run(3, iter(()))
            writer.finish()
        return path.read_bytes()

    whole = write(tmp_path / "whole", [])
    assert write(tmp_path / "parts", [0, 1, 130, 130, 700]) == whole
    with pytest.raises(ValueError, match="stands behind"), SegmentWriter(tmp_path / "wrong") as writer:
        writer.add_long_run(1, [part(100, 200), part(199, 300)])
