"""A tree over segments is what was written into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import RAW, ZSTD
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Directory, File, Tree
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tree.grown import Folder, Model, Row, add_run, grow, paths, seen, segment, write


@pytest.mark.parametrize("names", [RAW, ZSTD])
@pytest.mark.parametrize(("directories", "files"), [(0, 0), (0, 700), (300, 3_000)])
def test_a_segment_gives_back_what_was_written(tmp_path: Path, names: int, directories: int, files: int) -> None:
    model = grow(1, directories, files)
    info = segment(tmp_path / "one", model, names)
    assert (info.directories, info.files) == (directories + 1, sum(len(f.files) for f in model.values()))
    assert info.size == (tmp_path / "one").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["one"], "nothing is left over"
    tree = Tree([Segment.open(tmp_path / "one")])
    wanted = paths(model)
    assert seen(tree) == wanted
    for path, values in wanted.items():
        found = tree.lookup(path)
        if isinstance(found, Directory):
            assert (found.node, found.mtime, found.fingerprint) == values
            assert tree.path(found.node) == path
        else:
            assert isinstance(found, File)
            assert (found.node, found.size, found.mtime, found.hash, found.flags, found.fingerprint) == values
    for path in (b"nothing", b"x/y", b"/", *(path + b"/nothing" for path in list(wanted)[:50])):
        assert tree.lookup(path) is None


def test_nothing_is_a_tree_too() -> None:
    tree = Tree()
    assert tree.lookup(b"") is None
    assert tree.children(1)[0] == []
    assert len(tree.run(1)) == 0
    assert tree.path(1) is None


def delta(path: Path, model: Model, only: set[int], removed: tuple[int, ...] = ()) -> Segment:
    with SegmentWriter(path) as writer:
        write(writer, model, only)
        for node in removed:
            writer.remove(node)
        writer.finish()
    return Segment.open(path)


def test_newer_segments_win_row_by_row_and_run_by_run(tmp_path: Path) -> None:
    model: Model = {
        1: Folder(0, b""),
        2: Folder(1, b"a", files={b"x": Row(10), b"y": Row(11)}),
        3: Folder(2, b"b", files={b"z": Row(12)}),
        4: Folder(1, b"c", files={b"q": Row(13)}),
        5: Folder(4, b"d", files={b"deep": Row(14, 7)}),
    }
    segments = [delta(tmp_path / "0", model, set(model))]

    model[2].files = {b"y": Row(11, 5)}
    segments.append(delta(tmp_path / "1", model, {2}))
    assert seen(Tree(segments)) == paths(model)

    with SegmentWriter(tmp_path / "2") as writer:
        Tree(segments).rename(writer, 5, 3, b"moved")
        assert writer.finish().files == 0
    model[5] = Folder(3, b"moved", files=model[5].files)
    segments.append(Segment.open(tmp_path / "2"))
    assert seen(Tree(segments)) == paths(model)
    assert Tree(segments).lookup(b"c/d") is None
    assert Tree(segments).path(5) == b"a/b/moved"

    del model[4]
    segments.append(delta(tmp_path / "3", model, set(), (4,)))
    tree = Tree(segments)
    assert seen(tree) == paths(model)
    assert tree.directory(4) is None
    assert tree.lookup(b"c/q") is None
    assert isinstance(tree.lookup(b"a/b/moved/deep"), File), "moved away before its old home was removed"

    model[3].files = {}
    model[6] = Folder(1, b"c", files={b"new": Row(15)})
    segments.append(delta(tmp_path / "4", model, {3, 6}))
    assert seen(Tree(segments)) == paths(model)


def test_a_rename_is_one_row_and_refuses_what_makes_no_tree(tmp_path: Path) -> None:
    model: Model = {
        1: Folder(0, b"", files={b"file": Row(9)}),
        2: Folder(1, b"a"),
        3: Folder(2, b"b"),
        4: Folder(1, b"c"),
    }
    tree = Tree([delta(tmp_path / "0", model, set(model))])
    with SegmentWriter(tmp_path / "1") as writer:
        for node, parent, name, kind in (
            (2, 3, b"x", ErrorKind.CLASH), (2, 2, b"x", ErrorKind.CLASH), (2, 1, b"c", ErrorKind.EXISTS),
            (2, 1, b"file", ErrorKind.EXISTS), (7, 1, b"x", ErrorKind.NOT_FOUND), (2, 7, b"x", ErrorKind.NOT_FOUND),
        ):  # fmt: skip
            with pytest.raises(DunlinError) as caught:
                tree.rename(writer, node, parent, name)
            assert caught.value.kind is kind
        tree.rename(writer, 2, 4, b"x")
        assert writer.finish().directories == 1


def test_a_run_is_compared_with_a_listing_as_a_whole(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "0") as writer:
        writer.add_directory(1, 0, b"")
        files = {b"one": Row(2, 3, 199, 5, fingerprint=7), b"two": Row(3, 1 << 33, -1, 6, fingerprint=8)}
        add_run(writer, 1, files)
        writer.finish()
    run = Tree([Segment.open(tmp_path / "0")]).run(1)
    assert run.names == b"onetwo"
    assert run.sizes.tolist() == [3, 1 << 33]
    assert run.ticks.tolist() == [1, -1]
    assert run.hashes.tolist() == [5, 6]
    assert run.nodes.tolist() == [2, 3]
    lengths, prints = run.lengths.copy(), run.fingerprints.copy()
    assert run.same(b"onetwo", lengths, prints)
    assert not run.same(b"onetwO", lengths, prints)
    assert not run.same(b"onetwo", np.array([4, 2], np.uint32), prints)
    assert not run.same(b"onetwo", lengths, prints[::-1])
    assert not run.same(b"one", lengths[:1], prints[:1])
    assert (run.find(b"two"), run.find(b"onf")) == (1, -1)


def test_a_row_as_new_as_its_removal_or_newer_brings_a_directory_back(tmp_path: Path) -> None:
    model: Model = {1: Folder(0, b""), 2: Folder(1, b"a", files={b"x": Row(10)})}
    base = delta(tmp_path / "0", model, set(model))
    gone = delta(tmp_path / "1", model, set(), (2,))
    back = delta(tmp_path / "2", model, {2})
    both = delta(tmp_path / "3", model, {2}, (2,))
    for segments, there in (([base, gone], False), ([base, gone, back], True), ([base, both], True),
                            ([base, back, gone], False), ([base, both, gone], False)):  # fmt: skip
        assert (Tree(segments).lookup(b"a/x") is not None) == there
        assert (Tree(segments).directory(2) is not None) == there
        assert len(Tree(segments).directories(1)) == there
