"""Roots are known by what stands in them: by one thing that has not changed, or by a file that was made for that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dunlin.workers import root as module
from dunlin.workers.context import TEMPORARY
from dunlin.workers.root import MARKS, marks, prove, retract, same


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for d in range(3):
        (made / f"d{d}").mkdir(parents=True)
        for f in range(5):
            (made / f"d{d}/f{f}").write_text("x")
    (made / "bad \udce9").write_text("x")
    return made


def test_a_tree_is_the_one_that_was_seen(root: Path) -> None:
    seen = marks(str(root))
    assert seen[0] == ("", root.stat().st_ino, root.stat().st_ctime_ns)
    assert {"d0", "d1", "d2", "bad \udce9"} < {path for path, _, _ in seen}
    assert any("/" in path for path, _, _ in seen)
    assert len(seen) <= MARKS
    assert same(str(root), seen)


def test_another_tree_with_the_same_names_is_not(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    assert not same(str(tmp_path / "copy"), marks(str(root)))
    (tmp_path / "empty").mkdir()
    assert not same(str(tmp_path / "empty"), marks(str(root)))
    assert not same(str(root), marks(str(tmp_path / "empty")))


def test_an_inode_with_another_time_of_change_proves_nothing(root: Path) -> None:
    """As the number 2 or 11 stands in every file system of one kind."""
    assert not same(str(root), tuple((path, inode, changed - 1) for path, inode, changed in marks(str(root))))


def test_what_stays_is_enough_whatever_else_changes(root: Path) -> None:
    seen = marks(str(root))
    (root / "new").write_text("appears")
    shutil.rmtree(root / "d0")
    shutil.rmtree(root / "d1")
    (root / "d2/f9").write_text("appears")
    os.unlink(root / "bad \udce9")
    assert same(str(root), seen)
    for name in list((root / "d2").iterdir()):
        name.chmod(0o600)
    assert not same(str(root), seen)
    assert same(str(root), marks(str(root)))


def test_two_roots_of_one_inode_that_changed_in_one_step_of_the_clock_are_told_apart(root: Path) -> None:
    """Roots of file systems of one kind have one inode, and times of change come in steps of milliseconds."""
    top, *_ = marks(str(root))
    assert not same(str(root), (top, ("theirs", 7, 7)))
    assert not same(str(root), (top, ("d0", 7, 7)))
    inode = (root / "d0").stat().st_ino
    assert same(str(root), (top, ("d0", inode, 7)))  # d0 has changed since
    assert same(str(root), (top,))  # an empty one has nothing else


def test_times_of_whole_seconds_prove_less(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two disks that were formatted in one second have one inode and one such time of change for what that makes."""
    (root / "lost+found").mkdir()
    assert "lost+found" not in {path for path, _, _ in marks(str(root))}
    (root / "d0").chmod(0o700)  # now and in no whole second
    top, *below = marks(str(root))
    other = (top[0], top[1], top[2] - 1)
    look = module._look

    def coarse(root: str, path: str) -> tuple[int, int] | None:
        found = look(root, path)
        return None if found is None else (found[0], found[1] // 10**9 * 10**9)

    whole = [(path, inode, changed // 10**9 * 10**9) for path, inode, changed in below]
    monkeypatch.setattr(module, "_look", coarse)
    assert not same(str(root), (other, whole[0]))
    assert same(str(root), (other, *whole[:2]))
    assert same(str(root), ((top[0], top[1], top[2] // 10**9 * 10**9), whole[0]))


def test_the_marks_of_a_large_directory_are_few(tmp_path: Path) -> None:
    for n in range(100):
        (tmp_path / f"f{n}").touch()
    assert len(marks(str(tmp_path))) <= MARKS


def test_a_destination_is_known_by_a_temporary_file(root: Path, tmp_path: Path) -> None:
    name = prove(str(root), run="0badc0de")
    assert TEMPORARY.fullmatch(name)
    assert same(str(root), (), name)
    (tmp_path / "other").mkdir()
    assert not same(str(tmp_path / "other"), (), name)
    assert prove(str(root), name) == name
    os.utime(root, ns=(1, 2))
    retract(str(root), name)
    assert not same(str(root), (), name)
    assert root.stat().st_mtime_ns == 2
    assert prove(str(root), name) == name  # somebody removed it: it is made again
    assert same(str(root), (), name)


def test_where_nothing_may_be_made_there_is_no_proof(tmp_path: Path) -> None:
    assert prove(str(tmp_path / "nowhere")) == ""
