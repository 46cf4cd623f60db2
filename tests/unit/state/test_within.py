"""Files that must lie within directories, whatever is done to the paths that lead there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import NullReport
from dunlin.state import AuditLog, AuditOptions
from dunlin.state.audit import AuditRow
from dunlin.state.within import directory_of, open_file, root_of

CUT = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
ROW: AuditRow = ("copied", "sub/x", None, None, 4096, 0.0012, "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "root"
    (found / "inner" / "deep").mkdir(parents=True)
    (found.parent / "outside").mkdir()
    return found


def write(path: Path, root: Path) -> None:
    file = open_file(str(path), CUT, directory_of(str(path), [str(root)]))
    os.write(file, b"new")
    os.close(file)


def test_which_root_a_path_lies_in() -> None:
    assert root_of("/a/b", ["/x", "/a"]) == root_of("/a", ["/a"]) == "/a"
    assert root_of("/ab", ["/a"]) is None
    assert root_of("/etc", ["/"]) == "/"


def test_files_within_are_written_and_cut(root: Path) -> None:
    (root / "link").symlink_to("inner/deep")
    for path in (root / "a", root / "inner" / "deep" / "a", root / "link" / "b"):
        path.write_text("something longer")
        write(path, root)
        assert path.read_text() == "new"
    assert (root / "inner" / "deep" / "b").read_text() == "new"


def test_a_link_in_place_of_the_file_is_not_followed(root: Path) -> None:
    secret = root.parent / "outside" / "secret"
    secret.write_text("kept")
    for name, there in (("one", secret), ("two", root / "inner")):
        (root / name).symlink_to(there)
        with pytest.raises(OSError, match=r"symbolic links|[Ll]oop"):
            write(root / name, root)
    assert secret.read_text() == "kept"


def test_a_directory_that_leads_out_is_refused(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        write(root / "out" / "new", root)
    assert list((root.parent / "outside").iterdir()) == []


def test_a_directory_that_becomes_a_link_after_the_look_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.path.realpath

    def swapped(path: str) -> str:
        found = look(path)
        if not (root / "inner").is_symlink():
            (root / "inner").rename(root / "moved")
            (root / "inner").symlink_to(root.parent / "outside")
        return found

    (root.parent / "outside" / "deep").mkdir()
    monkeypatch.setattr(os.path, "realpath", swapped)
    with pytest.raises(OSError, match=r"[Nn]ot a directory|symbolic links"):
        write(root / "inner" / "deep" / "new", root)
    assert list((root.parent / "outside" / "deep").iterdir()) == []


def test_a_pipe_is_no_file_and_does_not_hold_anybody_up(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError, match="No such device"):  # ENXIO: nobody reads it
        write(root / "pipe", root)
    reader = os.open(root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(DunlinError, match="no regular file") as found:
            write(root / "pipe", root)
        assert found.value.kind is ErrorKind.DENIED
    finally:
        os.close(reader)


def test_a_log_within_rotates_and_follows_no_link_later_on(root: Path) -> None:
    path, secret = root / "inner" / "log", root.parent / "outside" / "log"
    secret.write_text("kept")
    at = directory_of(str(path), [str(root)])
    log = AuditLog(str(path), AuditOptions(max_bytes=200, keep=2), 7, "/a", "/b", NullReport(), lambda: 0, at)
    for _ in range(3):
        log.write([ROW])
    assert sorted(each.name for each in path.parent.iterdir() if each.is_file()) == ["log", "log.1", "log.2"]
    (root / "inner").rename(root / "moved")
    (root / "inner").symlink_to(root.parent / "outside")
    log.write([ROW])
    assert log.lost == 1
    log.close()
    assert secret.read_text() == "kept"
    assert len((root / "moved" / "log").read_text().splitlines()) == 1
