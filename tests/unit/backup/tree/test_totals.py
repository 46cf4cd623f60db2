"""Sums and histograms are those of the rows."""

from __future__ import annotations

from pathlib import Path

from dunlin.backup.tree import totals, walk
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.totals import Bucket, Totals
from dunlin.backup.tree.view import Tree
from tests.unit.backup.tree.grown import Folder, Model, Row, add_run, grow, paths, segment, write

DAY = 86_400


def two(folder: Path) -> tuple[Tree, Model]:
    """A tree with a delta that removes a directory with others below it and replaces a run."""
    model: Model = {
        1: Folder(0, b"", files={b"a": Row(10, 0), b"b": Row(11, 1)}),
        2: Folder(1, b"gone", files={b"c": Row(12, 1 << 40)}),
        3: Folder(2, b"below", files={b"d": Row(13, 3)}),
        4: Folder(3, b"deep", files={b"e": Row(14, 3)}),
        5: Folder(1, b"kept", files={b"f": Row(15, 4), b"g": Row(16, 1 << 33)}),
        6: Folder(3, b"saved", files={b"h": Row(17, 7)}),
    }
    segment(folder / "0", model)
    model[5].files = {b"f": Row(15, 5)}
    model[6].parent = 5
    for node in (2, 3, 4):
        del model[node]
    with SegmentWriter(folder / "1") as writer:
        write(writer, model, {5})
        Tree([Segment.open(folder / "0")]).rename(writer, 6, 5, b"saved")
        writer.remove(2)
        writer.finish()
    return Tree([Segment.open(folder / "0"), Segment.open(folder / "1")]), model


def test_totals_leave_out_what_cannot_be_reached(tmp_path: Path) -> None:
    tree, _ = two(tmp_path)
    assert totals.totals(tree) == Totals(3, 4, 0 + 1 + 5 + 7)
    assert totals.totals(tree, 1) == totals.totals(tree)
    assert totals.totals(tree, 5) == Totals(2, 2, 12)
    assert totals.totals(tree, 2) == totals.totals(tree, 99) == Totals(0, 0, 0)
    [kept] = tree.directories(1)
    assert (kept.name, totals.totals(tree, kept.node)) == (b"kept", Totals(2, 2, 12))


def test_totals_of_parts_are_those_of_paths(tmp_path: Path) -> None:
    model = grow(4, 200, 2_000)
    segment(tmp_path / "0", model)
    tree = Tree([Segment.open(tmp_path / "0")])
    every = paths(model)
    for handle in range(0, tree.base.directories.rows, 7):
        node = tree.node_of(handle)
        prefix = tree.path(node) or b""
        inside = [v for p, v in every.items() if not prefix or p == prefix or p.startswith(prefix + b"/")]
        files = [values for values in inside if len(values) == 6]
        assert totals.totals(tree, node) == (len(inside) - len(files), len(files), sum(v[1] for v in files))


def test_sizes_go_by_powers_of_two(tmp_path: Path) -> None:
    tree, _ = two(tmp_path)
    assert totals.sizes(tree) == [Bucket(0, 1, 0), Bucket(1, 1, 1), Bucket(4, 2, 12)]
    assert totals.sizes(tree, 5) == [Bucket(4, 2, 12)]
    assert totals.sizes(tree, 99) == []
    base = Tree(tree.segments[:1])
    assert totals.sizes(base)[-2:] == [Bucket(1 << 33, 1, 1 << 33), Bucket(1 << 40, 1, 1 << 40)]


def test_sizes_of_many_runs_are_all_counted(tmp_path: Path) -> None:
    model = grow(4, 200, 2_000)
    segment(tmp_path / "0", model)
    found = totals.sizes(Tree([Segment.open(tmp_path / "0")]))
    sizes = [row.size for folder in model.values() for row in folder.files.values()]
    assert sum(bucket.files for bucket in found) == len(sizes) == 2_000
    for bucket in found:
        assert bucket.files == sum(size.bit_length() == bucket.least.bit_length() for size in sizes)


def test_ages_go_by_the_edges_that_are_asked_for(tmp_path: Path) -> None:
    now = 1_700_000_000 * 10**9
    back = {b"new": 0, b"future": -5, b"day": DAY, b"almost": DAY - 1, b"old": 900 * DAY, b"ancient": 60 * 366 * DAY}
    with SegmentWriter(tmp_path / "0") as writer:
        writer.add_directory(1, 0, b"")
        rows = {name: Row(at + 2, 10, now - age * 10**9) for at, (name, age) in enumerate(back.items())}
        add_run(writer, 1, rows)
        writer.finish()
    found = totals.ages(Tree([Segment.open(tmp_path / "0")]), now, [DAY, 365 * DAY, 10_000 * DAY])
    assert found == [Bucket(0, 3, 30), Bucket(DAY, 1, 10), Bucket(365 * DAY, 1, 10), Bucket(10_000 * DAY, 1, 10)]


def test_what_lies_below_removed_directories_is_lost(tmp_path: Path) -> None:
    tree, model = two(tmp_path)
    assert sorted(tree.node_of(handle) for handle in walk.lost(tree).tolist()) == [3, 4]
    assert sorted(tree.node_of(handle) for handle in walk.live(tree).tolist()) == sorted(model)
