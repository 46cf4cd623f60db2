"""Two trees are compared by names, whatever their node ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.backup.tree.build import FILE
from dunlin.backup.tree.columns import NO_CONTENT
from dunlin.backup.tree.diff import What, diff
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from tests.unit.backup.tree.grown import Folder, Model, Row, grow, paths, segment


def tree(path: Path, model: Model) -> Tree:
    segment(path, model)
    return Tree([Segment.open(path)])


def told(old: Tree, new: Tree) -> dict[bytes, What]:
    changes = list(diff(old, new))
    assert len({change.path for change in changes}) == len(changes)
    for change in changes:
        assert old.lookup(change.path) == change.old or change.what is What.ADDED
        assert new.lookup(change.path) == change.new or change.what is What.REMOVED
    return {change.path: change.what for change in changes}


def shifted(model: Model, by: int) -> Model:
    """The same tree with other node ids; only the root keeps its own."""

    def moved(node: int) -> int:
        return node if node <= 1 else node + by

    return {
        moved(node): Folder(moved(f.parent), f.name, f.mtime, f.fingerprint,
                            {name: Row(moved(r.node), *list(vars(r).values())[1:]) for name, r in f.files.items()})
        for node, f in model.items()
    }  # fmt: skip


@pytest.mark.parametrize("by", [0, 5_000])
def test_equal_trees_do_not_differ(tmp_path: Path, by: int) -> None:
    model = grow(1, 200, 1_000)
    assert told(tree(tmp_path / "0", model), tree(tmp_path / "1", shifted(model, by))) == {}


@pytest.mark.parametrize("by", [0, 5_000])
def test_every_change_is_told_once(tmp_path: Path, by: int) -> None:
    model = grow(2, 200, 1_000)
    old = tree(tmp_path / "0", model)
    before = paths(model)
    new = shifted(model, by)
    homes = [node for node in new if len(new[node].files) > 2]
    first, second, third = homes[3], homes[10], homes[20]
    one, other, *_ = sorted(new[first].files)
    new[first].files[one].size += 1
    new[first].files[other].fingerprint += 1
    gone = sorted(new[second].files)[0]
    del new[second].files[gone]
    new[third].files[b"fresh"] = Row(100_000)
    new[third].fingerprint += 1
    new[200_000] = Folder(first, b"made", files={b"inside": Row(200_001)})
    view = tree(tmp_path / "1", new)

    def at(node: int, name: bytes = b"") -> bytes:
        return b"/".join(filter(None, (view.path(node), name)))

    wanted = {
        at(first, one): What.CHANGED,
        at(first, other): What.METADATA if not new[first].files[other].flags & NO_CONTENT else What.CHANGED,
        at(second, gone): What.REMOVED,
        at(third, b"fresh"): What.ADDED,
        at(third): What.METADATA,
        at(first, b"made"): What.ADDED,
        at(first, b"made/inside"): What.ADDED,
    }
    assert told(old, view) == wanted
    assert before.keys() ^ paths(new).keys() == {
        path for path, what in wanted.items() if what in (What.ADDED, What.REMOVED)
    }
    turned = {What.ADDED: What.REMOVED, What.REMOVED: What.ADDED}
    assert told(view, old) == {path: turned.get(what, what) for path, what in wanted.items()}


def test_against_nothing_everything_is_new(tmp_path: Path) -> None:
    model = grow(3, 20, 60)
    view = tree(tmp_path / "0", model)
    assert told(Tree(), view) == dict.fromkeys(paths(model), What.ADDED)
    assert told(view, Tree()) == dict.fromkeys(paths(model), What.REMOVED)
    assert told(Tree(), Tree()) == {}


def test_a_part_against_nothing_is_that_part_alone(tmp_path: Path) -> None:
    model = grow(3, 50, 300)
    new = tree(tmp_path / "0", model)
    node = next(node for node in model if node > 1 and model[node].files)
    path = new.path(node)
    assert path
    below = {each for each in paths(model) if each == path or each.startswith(path + b"/")}
    assert {change.path: change.what for change in diff(new, new, 99_999, node)} == dict.fromkeys(below, What.ADDED)
    assert {change.path: change.what for change in diff(new, new, node, 99_999)} == dict.fromkeys(below, What.REMOVED)


def test_a_file_where_a_directory_was_is_told_twice(tmp_path: Path) -> None:
    old = tree(tmp_path / "0", {1: Folder(0, b""), 2: Folder(1, b"x", files={b"in": Row(3)})})
    new = tree(tmp_path / "1", {1: Folder(0, b"", files={b"x": Row(4)})})
    assert sorted((change.path, change.what.value) for change in diff(old, new)) == [
        (b"x", "added"), (b"x", "removed"), (b"x/in", "removed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({}, None),
        ({"node": 77}, None),
        ({"size": 2}, What.CHANGED),
        ({"hash": 2}, What.CHANGED),
        ({"mtime": 200}, What.METADATA),
        ({"mtime": 1}, None),
        ({"fingerprint": 2}, What.METADATA),
        ({"fingerprint": 0}, None),
        ({"flags": 0o120000 >> 12}, What.CHANGED),
        ({"flags": FILE | NO_CONTENT, "hash": 9}, None),
        ({"flags": FILE | NO_CONTENT, "fingerprint": 9}, What.CHANGED),
        ({"flags": FILE | NO_CONTENT, "fingerprint": 0}, What.CHANGED),
    ],
)
def test_content_and_metadata_are_told_apart(tmp_path: Path, changed: dict[str, int], what: What | None) -> None:
    row = {"node": 5, "size": 1, "mtime": 0, "hash": 1, "flags": FILE, "fingerprint": 1}
    old = tree(tmp_path / "0", {1: Folder(0, b"", files={b"x": Row(**row)})})
    new = tree(tmp_path / "1", {1: Folder(0, b"", files={b"x": Row(**{**row, **changed})})})
    assert told(old, new) == ({b"x": what} if what else {})
