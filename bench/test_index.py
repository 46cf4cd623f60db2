"""The trees of the row `index` are what they are said to be: pytest bench/test_index.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import tree_flow
from bench.grown_trees import Change, Seen, computed, repeated
from bench.rows import ROWS
from dunlin.backup.tree.columns import RAW
from dunlin.backup.tree.diff import diff
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.totals import totals
from dunlin.backup.tree.view import Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Deep enough for paths of eight names below two more."""
    place = tmp_path / "root"
    deep = place / "a" / "b" / "c" / "d" / "e"
    deep.mkdir(parents=True)
    for number in range(12):
        (deep / f"file-{number}").write_bytes(b"x" * number)
    (place / "passwd").touch()
    os.symlink("a", place / "link")
    return place


def test_a_tree_is_repeated_with_all_its_names(tmp_path: Path, root: Path) -> None:
    seen = Seen(root)
    assert (seen.files, seen.directories) == (14, 6)
    info = repeated(tmp_path / "x", seen, 100, RAW)
    assert (info.files, info.directories) == (14 * 5, 6 * 5 + 2)
    tree = Tree([Segment.open(tmp_path / "x")])
    for copy in range(5):
        for path in (b"passwd", b"link", b"a/b/c/d/e/file-11"):
            assert tree.lookup(b"group-00000/copy-%05d/" % copy + path) is not None
    nodes = tree.base.files.nodes(0, info.files).tolist() + tree.base.array("d.node").tolist()
    assert len(set(nodes)) == len(nodes) == info.files + info.directories


@pytest.mark.parametrize("shift", [0, 777])
def test_other_trees_differ_in_one_file_of_so_many(tmp_path: Path, root: Path, shift: int) -> None:
    seen = Seen(root)
    repeated(tmp_path / "x", seen, 100, RAW)
    repeated(tmp_path / "y", seen, 100, RAW, Change(7, shift))
    one, other = (Tree([Segment.open(tmp_path / name)]) for name in "xy")
    assert len(list(diff(one, other))) == 10


def test_a_computed_tree_has_as_many_nodes_as_was_asked(tmp_path: Path) -> None:
    info = computed(tmp_path / "x", 500, 12, 7)
    tree = Tree([Segment.open(tmp_path / "x")])
    assert (info.directories, info.files) == (501, 6_000)
    assert totals(tree, 1)[:2] == (501, 6_000)


def test_every_step_tells_what_the_row_needs(tmp_path: Path, root: Path) -> None:
    built = tree_flow.build(tmp_path, "2000", str(root))
    assert built["raw"]["nodes"] == built["zstd"]["nodes"] == 2002
    for names in ("raw", "zstd"):
        told = tree_flow.ask(tmp_path, names)
        assert told["found"] == 100
        assert told["renamed"]["directories"] == 601
        assert 0 < told["lookup"] < 0.01
    told = tree_flow.compare(tmp_path)
    assert told["same-ids"]["differences"] == told["other-ids"]["differences"] >= 1
    assert tree_flow.flat(tmp_path, "100")["total"]["files"] == 1_200
    assert "index" in ROWS
