"""A page is written whole or not at all, and replaces nothing but a page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.file import check, write
from dunlin.web.history import MARK


def test_a_new_file_and_one_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(str(path), f"{MARK} one")
    write(str(path), f"{MARK} two")
    assert path.read_text() == f"{MARK} two"
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.parametrize("content", [b"", b"<!doctype html><p>mine", b"\xff\x00"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.html"
    path.write_bytes(content)
    with pytest.raises(DunlinError, match="is there already, and is no history; --force"):
        write(str(path), MARK)
    assert path.read_bytes() == content
    write(str(path), MARK, force=True)
    assert path.read_text() == MARK


def test_what_is_no_plain_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    os.symlink("nowhere", tmp_path / "dangling")
    for name in ("fifo", "dangling"):
        with pytest.raises(DunlinError, match="is there already"):
            check(str(tmp_path / name), force=False)


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(DunlinError, match="it is a directory"):
        check(str(tmp_path), force=True)
    with pytest.raises(DunlinError, match="there is no such directory") as missing:
        check(str(tmp_path / "no" / "page.html"), force=False)
    assert missing.value.exit_code == 1


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "page.html"
    write(str(path), f"{MARK} old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DunlinError) as error:
        write(str(path), f"{MARK} new")
    assert error.value.kind is ErrorKind.NO_SPACE
    assert path.read_text() == f"{MARK} old"
    assert os.listdir(tmp_path) == ["page.html"]
