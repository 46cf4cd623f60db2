"""Directories that were moved since the last snapshot are known again: nothing in them is read, their nodes go on."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.backup import windows
from dunlin.backup.rows import FINE
from dunlin.backup.tree import walk
from dunlin.backup.tree.totals import totals
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MTIME, Entry, join
from dunlin.stores.local import LocalStore
from dunlin.workers import moved, saving
from tests.integration.test_saving import Place, place, quick, same  # noqa: F401 - fixtures


@pytest.fixture
def filled(place: Place) -> Place:  # noqa: F811 - a fixture
    """Three levels of directories with ten files each, backed up."""
    for path in ("a", "a/b", "a/b/c", "other", "other/deep"):
        for number in range(10):
            place.write(f"{path}/f{number}", f"{path} {number}" * 10)
    time.sleep(2 * FINE / 1e9)  # what has just changed is read once more by the next backup
    place.back_up()
    return place


def node(place: Place, path: str) -> int:  # noqa: F811 - a fixture elsewhere
    found = place.snapshot().tree.lookup(path.encode())
    assert found is not None, path
    return found.node


def counts(place: Place) -> tuple[int, int]:  # noqa: F811 - a fixture elsewhere
    """Directories and files by the tree's own sums, which must be what a walk finds."""
    tree = place.snapshot().tree
    found = totals(tree)
    assert len(walk.live(tree)) == len(walk.below(tree)) == found.directories
    assert len({tree.node_of(handle) for handle in walk.below(tree).tolist()}) == found.directories
    return found.directories, found.files


def on_disk(root: Path) -> tuple[int, int]:
    paths = list(root.rglob("*"))
    directories = sum(path.is_dir() for path in paths)
    return directories + 1, len(paths) - directories


def test_a_renamed_directory_is_one_row_and_nothing_is_read(filled: Place) -> None:
    before = {path: node(filled, path) for path in ("a", "a/b", "a/b/c")}
    os.rename(filled.source / "a", filled.source / "z")
    done = filled.back_up()
    same(filled)
    assert {path: node(filled, "z" + path[1:]) for path in before} == before
    told = done.manifest.totals
    assert (told.read_bytes, told.new_files, told.removed_files, told.new_bytes) == (0, 0, 0, 0)
    segment = filled.snapshot().tree.segments[-1]
    assert (segment.directories.rows, segment.files.rows) == (2, 0)  # its own row, and its parent's, whose time changed
    assert counts(filled) == on_disk(filled.source)


def test_it_may_be_moved_down_and_up_and_out_of_what_is_gone(filled: Place) -> None:
    deep, b = node(filled, "other/deep"), node(filled, "a/b")
    os.rename(filled.source / "other/deep", filled.source / "a/deep")
    (filled.source / "new/er").mkdir(parents=True)
    os.rename(filled.source / "a/b", filled.source / "new/er/b")
    shutil.rmtree(filled.source / "other")
    done = filled.back_up()
    same(filled)
    assert (node(filled, "a/deep"), node(filled, "new/er/b")) == (deep, b)
    assert (done.manifest.totals.read_bytes, done.manifest.totals.removed_files) == (0, 10)
    assert counts(filled) == on_disk(filled.source)


def test_what_changed_in_it_meanwhile_is_read_and_no_more(filled: Place) -> None:
    before = node(filled, "a/b/c")
    os.rename(filled.source / "a", filled.source / "z")
    filled.write("z/b/c/f3", "something else")
    done = filled.back_up()
    same(filled)
    assert node(filled, "z/b/c") == before
    assert done.manifest.totals.read_bytes == len("something else")
    assert (done.manifest.totals.changed_files, done.manifest.totals.new_files) == (1, 0)


def test_two_that_change_places_keep_their_names_nodes(filled: Place) -> None:
    a, other = node(filled, "a"), node(filled, "other")
    os.rename(filled.source / "a", filled.source / "x")
    os.rename(filled.source / "other", filled.source / "a")
    os.rename(filled.source / "x", filled.source / "other")
    filled.back_up()
    same(filled)
    assert (node(filled, "a"), node(filled, "other")) == (a, other)  # a place that is still there has its node
    assert counts(filled) == on_disk(filled.source)


def test_one_that_only_got_an_old_inode_is_a_new_one(filled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = node(filled, "a/b")
    os.rename(filled.source / "a/b", filled.source / "b")
    filled.write("b/one more", "its time is another one now")
    filled.back_up()
    same(filled)
    assert node(filled, "b") != before
    assert counts(filled) == on_disk(filled.source)


def test_one_whose_identity_lasts_and_that_cannot_be_listed_is_kept_at_its_new_place(
    filled: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "Moves", lambda tree, pages, lasting: moved.Moves(tree, pages, lasting=True))
    os.rename(filled.source / "a/b", filled.source / "y")
    done = filled.back_up(shut(filled, "y"))
    assert [error.where for error in done.errors] == ["y"]
    same(filled)
    assert counts(filled) == on_disk(filled.source)
    filled.back_up()
    same(filled)


def shut(place: Place, *paths: str, read: str = "") -> Callable[[], LocalStore]:  # noqa: F811 - a fixture elsewhere
    """The source, in which these directories cannot be listed, and one file not be read."""

    class Shut(LocalStore):
        def list(self, directory: str):  # type: ignore[no-untyped-def]
            if directory in paths:
                raise DunlinError("list", directory, ErrorKind.DENIED, "not for you")
            return super().list(directory)

        def read(self, entry: Entry, *rest, **how):  # type: ignore[no-untyped-def]
            if entry.path == read:
                raise DunlinError("read", entry.path, ErrorKind.DENIED, "not for you")
            return super().read(entry, *rest, **how)

    return lambda: Shut(str(place.source))


def test_one_that_could_not_be_listed_may_be_moved_afterwards(filled: Place) -> None:
    os.rename(filled.source / "a/b", filled.source / "y")
    filled.back_up(shut(filled, "y"))  # its row has no fingerprint from now on
    os.rename(filled.source / "y", filled.source / "z")
    filled.back_up()
    same(filled)
    assert counts(filled) == on_disk(filled.source)


def guessed(place: Place) -> Path:  # noqa: F811 - a fixture elsewhere
    """`other` is gone, and `mine` has its inode and its time, as after a deletion and an extraction."""
    os.rename(place.source / "other", place.source / "mine")
    for number in range(10):
        path = place.source / f"mine/f{number}"
        os.rename(path, path.with_name("x"))
        # Too large to be read with others.
        path.with_name("x").write_text(f"mine, and longer than what was there before {number}" * 9_000)
        os.rename(path.with_name("x"), path)
    status = place.snapshot().stat("other").facts[MTIME]
    assert status is not None
    os.utime(place.source / "mine", ns=(status, status))
    return place.source / "mine"


def test_what_cannot_be_read_where_a_guess_was_wrong_is_not_anothers(filled: Place) -> None:
    guessed(filled)
    done = filled.back_up(shut(filled, read="mine/f3"))
    assert [error.where for error in done.errors] == ["mine/f3"]
    names = {name for batch in filled.snapshot().list("mine") for name, _ in batch}
    assert names == {"deep", *(f"f{number}" for number in range(10) if number != 3)}
    filled.back_up()
    same(filled)


def test_what_cannot_be_listed_where_a_guess_may_be_wrong_is_not_anothers(filled: Place) -> None:
    guessed(filled)
    done = filled.back_up(shut(filled, "mine"))
    assert [error.where for error in done.errors] == ["mine"]
    assert [batch for batch in filled.snapshot().list("mine") if batch] == []
    assert done.manifest.totals.removed_files == 20
    filled.back_up()
    same(filled)
    assert counts(filled) == on_disk(filled.source)


def test_below_a_guess_nothing_is_anothers_either(filled: Place) -> None:
    guessed(filled)
    done = filled.back_up(shut(filled, "mine/deep"))
    assert [error.where for error in done.errors] == ["mine/deep"]
    assert [batch for batch in filled.snapshot().list("mine/deep") if batch] == []
    assert done.manifest.totals.removed_files == 10
    directories, files = counts(filled)
    assert (directories, files) == (on_disk(filled.source)[0], on_disk(filled.source)[1] - 10)
    filled.back_up()
    same(filled)
    assert counts(filled) == on_disk(filled.source)


@pytest.mark.parametrize("huge", [False, True])
def test_what_a_file_system_lists_twice_is_there_once(
    filled: Place, huge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twice(LocalStore):
        def list(self, directory: str):  # type: ignore[no-untyped-def]
            for batch in super().list(directory):
                yield [*batch, *batch]

    if huge:
        monkeypatch.setattr(windows, "HUGE", 3)
        monkeypatch.setattr(windows, "WINDOW", 2)
    filled.write("a/one more", "x")
    filled.write("new/er/f", "y")
    filled.back_up(lambda: Twice(str(filled.source)))
    same(filled)
    assert counts(filled) == on_disk(filled.source)
    filled.write("a/another", "x")
    filled.back_up(lambda: Twice(str(filled.source)))
    same(filled)
    assert counts(filled) == on_disk(filled.source)


def test_only_so_many_are_looked_up_and_the_others_are_read(filled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "MOST", 1)
    before = node(filled, "a")
    os.rename(filled.source / "a", filled.source / "z")
    done = filled.back_up()
    same(filled)
    assert node(filled, "z") != before
    assert done.manifest.totals.read_bytes > 0
    assert done.manifest.totals.removed_files == 30


def test_only_so_many_wait(filled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "MOST_LATER", 1)
    for name in ("n1", "n2", "n3"):
        filled.write(f"{name}/f", name)
    os.rename(filled.source / "a", filled.source / "z")
    filled.back_up()
    same(filled)
    assert counts(filled) == on_disk(filled.source)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_moves_the_snapshot_is_the_source(place: Place, seed: int) -> None:  # noqa: F811 - a fixture
    chance = random.Random(seed)
    for number in range(40):
        place.write(f"d{number % 5}/e{number % 3}/f{number}", str(number))
    place.back_up()
    for turn in range(6):
        for step in range(8):
            folders = sorted(path for path in place.source.rglob("*") if path.is_dir())
            one = chance.choice(folders)
            what = chance.random()
            if what < 0.6:
                into = chance.choice([place.source, *folders])
                if one not in (into, *into.parents) and not (into / one.name).exists():
                    os.rename(one, into / chance.choice([one.name, f"m{turn}-{step}"]))
            elif what < 0.75:
                shutil.rmtree(one)
            else:
                place.write(join(str(one.relative_to(place.source)), f"new{turn}-{step}/f"), f"{turn} {step}")
        place.write("there is always something/f", str(turn))
        place.back_up()
        same(place)
        assert counts(place) == on_disk(place.source)
