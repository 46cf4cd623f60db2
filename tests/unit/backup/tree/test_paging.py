"""Pages of a directory are those of all its rows, sorted."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.backup.tree import paging
from dunlin.backup.tree.find import find
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.totals import totals
from dunlin.backup.tree.view import ROOT, Directory, Tree
from dunlin.errors import DunlinError
from tests.unit.backup.tree.grown import Folder, Model, Row, grow, segment
from tests.unit.backup.tree.test_totals import two


def model() -> Model:
    found: Model = {1: Folder(0, b"", files={f"f{n:02}".encode(): Row(100 + n, n * 7 % 13, n * 5 % 11 * 10**9)
                                              for n in range(20)})}  # fmt: skip
    for n in range(9):
        found[2 + n] = Folder(1, f"d{n * 4 % 9}".encode(), mtime=n * 3 % 7 * 10**9)
        found[2 + n].files = {b"x": Row(200 + n, n * 2 % 5)}
    return found


def listed(tree: Tree, order: str, down: bool, step: int, sums: bool = True) -> list[tuple[bool, bytes]]:
    """All names of the root, a page after the other."""
    handles = paging.children(tree, ROOT)
    total = paging.sums(tree, handles) if sums else None
    found: list[tuple[bool, bytes]] = []
    while True:
        page = paging.page(tree, ROOT, handles, total, order, len(found), step, down=down)
        found += [(isinstance(row.node, Directory), row.node.name) for row in page.rows]
        assert len(page.rows) <= step
        if not page.rows:
            assert len(found) == page.directories + page.files
            return found


@pytest.mark.parametrize("step", [1, 4, 9, 100])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("order", paging.ORDERS)
def test_pages_put_together_are_the_sorted_directory(tmp_path: Path, order: str, down: bool, step: int) -> None:
    made = model()
    segment(tmp_path / "0", made)
    tree = Tree([Segment.open(tmp_path / "0")])
    names = {folder.name: (sum(row.size for row in folder.files.values()), folder.mtime)
             for node, folder in made.items() if node != 1}  # fmt: skip
    files = {name: (row.size, row.mtime) for name, row in made[1].files.items()}
    expected = []
    for directory, some in ((True, names), (False, files)):
        keys = {"name": lambda n, some=some: n, "size": lambda n, some=some: some[n][0],
                "time": lambda n, some=some: some[n][1]}  # fmt: skip
        rows = sorted(sorted(some), key=keys[order])
        expected += [(directory, name) for name in (rows[::-1] if down else rows)]
    assert listed(tree, order, down, step) == expected


def test_without_sums_directories_stay_by_name(tmp_path: Path) -> None:
    segment(tmp_path / "0", model())
    tree = Tree([Segment.open(tmp_path / "0")])
    assert [name for directory, name in listed(tree, "size", False, 7, sums=False) if directory] == [
        f"d{n}".encode() for n in range(9)
    ]


def test_what_lies_below_each_directory_is_what_its_totals_say(tmp_path: Path) -> None:
    segment(tmp_path / "0", grow(5, 150, 1_500))
    tree = Tree([Segment.open(tmp_path / "0")])
    for node in (tree.node_of(handle) for handle in range(0, tree.base.directories.rows, 11)):
        handles = paging.children(tree, node)
        found = paging.sums(tree, handles)
        assert found is not None
        for at, handle in enumerate(handles.tolist()):
            assert tuple(int(column[at]) for column in found) == totals(tree, tree.node_of(handle))


def test_deltas_count_and_removed_directories_do_not(tmp_path: Path) -> None:
    tree, _ = two(tmp_path)
    handles = paging.children(tree, ROOT)
    found = paging.sums(tree, handles)
    assert found is not None
    assert [tree.row(handle).name for handle in handles.tolist()] == [b"kept"]
    assert tuple(int(column[0]) for column in found) == (2, 2, 12)
    page = paging.page(tree, 5, paging.children(tree, 5), None, "name", 0, 10)
    assert [(row.node.name, row.below) for row in page.rows] == [(b"saved", None), (b"f", None)]


def test_directories_of_deltas_are_sorted_among_those_of_the_base(tmp_path: Path) -> None:
    from dunlin.backup.tree.build import SegmentWriter
    from tests.unit.backup.tree.grown import write

    made: Model = {1: Folder(0, b""), 2: Folder(1, b"b"), 3: Folder(1, b"d")}
    segment(tmp_path / "0", made)
    made |= {4: Folder(1, b"a"), 5: Folder(1, b"c"), 6: Folder(1, b"e")}
    with SegmentWriter(tmp_path / "1") as writer:
        write(writer, made, {4, 5, 6})
        writer.finish()
    tree = Tree([Segment.open(tmp_path / name) for name in ("0", "1")])
    assert [tree.row(handle).name for handle in paging.children(tree, ROOT).tolist()] == [b"a", b"b", b"c", b"d", b"e"]
    assert [name for _, name in listed(tree, "name", True, 2)] == [b"e", b"d", b"c", b"b", b"a"]


def test_too_much_is_not_summed_up_and_the_one_who_waits_may_stop(tmp_path: Path) -> None:
    tree, _ = two(tmp_path)
    handles = paging.children(tree, ROOT)
    assert paging.sums(tree, handles, most=1) is None
    levels: list[int] = []

    def look() -> None:
        levels.append(1)
        if len(levels) > 1:
            raise KeyError

    with pytest.raises(KeyError):
        paging.sums(tree, handles, look)


def test_a_directory_that_lies_in_itself_is_damage(tmp_path: Path) -> None:
    segment(tmp_path / "0", {1: Folder(0, b""), 2: Folder(3, b"a"), 3: Folder(2, b"b")})
    tree = Tree([Segment.open(tmp_path / "0")])
    with pytest.raises(DunlinError, match="lies in itself"):
        paging.sums(tree, paging.children(tree, 2))


def test_a_search_can_be_stopped_between_names(tmp_path: Path) -> None:
    segment(tmp_path / "0", model())
    tree = Tree([Segment.open(tmp_path / "0")])
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) > 1:  # the first is for directories
            raise KeyError

    assert len(list(find(tree, "f*"))) == 20
    with pytest.raises(KeyError):
        list(find(tree, "nothing*", look=look))
