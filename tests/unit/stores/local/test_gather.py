import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.errors import ErrorKind
from dunlin.model import Facts
from dunlin.stores.local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(b"other")
    return tmp_path


def listed(root: Path) -> list[tuple[str, Facts]]:
    return sorted(row for batch in LocalStore(str(root)).list("") for row in batch)


def removed(path: Path) -> None:
    path.unlink()


def longer(path: Path) -> None:
    path.write_bytes(b"content and more")


def written_again(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(b"content")
    os.replace(path.with_name("new"), path)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("b")


CHANGES: list[tuple[Callable[[Path], None], ErrorKind]] = [
    (removed, ErrorKind.VANISHED),
    (longer, ErrorKind.CHANGED),
    (written_again, ErrorKind.CHANGED),
    (replaced, ErrorKind.CHANGED),
    (a_pipe, ErrorKind.CHANGED),
]


def test_a_pipe_that_took_the_place_of_a_file_keeps_what_is_in_it(root: Path) -> None:
    rows = listed(root)
    a_pipe(root / "a")
    ours = os.open(root / "a", os.O_RDWR)
    try:
        os.write(ours, b"for somebody else")
        first, _ = LocalStore(str(root)).read_batch("", rows, ())
        assert first.error is not None
        assert os.read(ours, 100) == b"for somebody else"
    finally:
        os.close(ours)


@pytest.mark.parametrize(("change", "kind"), CHANGES, ids=[each[0].__name__ for each in CHANGES])
def test_another_version_than_the_listed_one_is_an_error_and_the_next_file_is_read(
    root: Path, change: Callable[[Path], None], kind: ErrorKind
) -> None:
    rows = listed(root)
    change(root / "a")
    first, second = LocalStore(str(root)).read_batch("", rows, ())
    assert first.error is not None
    assert (first.error.kind, first.data) == (kind, b"")
    assert str(root / "a") in str(first.error)
    assert (second.data, second.error) == (b"other", None)


def test_a_link_that_took_the_place_of_a_file_is_not_followed(root: Path) -> None:
    rows = listed(root)
    a_link(root / "a")
    first, _ = LocalStore(str(root)).read_batch("", rows, ())
    assert first.error is not None
    assert first.data == b""


def test_a_file_that_grows_between_the_two_looks_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listed(root)
    read = os.pread

    def slowly(fd: int, size: int, start: int) -> bytes:
        found = read(fd, size, start)
        if found == b"content":
            with open(root / "a", "ab") as file:
                file.write(b"!")
        return found

    monkeypatch.setattr(os, "pread", slowly)
    first, second = LocalStore(str(root)).read_batch("", rows, ())
    assert first.error is not None
    assert first.error.kind is ErrorKind.CHANGED
    assert (second.data, second.error) == (b"other", None)


def test_attributes_come_with_the_content(root: Path) -> None:
    os.setxattr(root / "a", "user.colour", b"red")
    rows = listed(root)
    first, second = LocalStore(str(root)).read_batch("", rows, ("user.",))
    assert (first.data, first.xattrs) == (b"content", {"user.colour": b"red"})
    assert (second.data, second.xattrs) == (b"other", {})
