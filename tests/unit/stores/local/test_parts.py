"""The temporary file that many write: who makes it, who may write into it, what it becomes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Meta
from dunlin.stores.local import LocalStore, WriteOptions

TOKEN = "0badc0de-r1"


def body(data: bytes) -> Body:
    return Body(len(data), lambda start: iter([data[start:]]))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    made = LocalStore(str(tmp_path))
    yield made
    made.close()


def test_its_owner_may_write_to_it_until_the_end_whatever_it_will_be(store: LocalStore, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        begun = store.begin_parts("f", body(b"content"), meta=Meta(like=0o444), token=TOKEN)
    finally:
        os.umask(before)
    assert begun.id == ".dunlin-0badc0de-r1.tmp"
    assert stat.S_IMODE((tmp_path / begun.id).stat().st_mode) == 0o640
    store.put_part("f", begun, 0, body(b"content"))
    store.complete_parts("f", begun, (), meta=Meta())
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o440


def test_it_is_made_once_and_no_name_but_a_temporary_one_is_taken(store: LocalStore) -> None:
    store.begin_parts("f", body(b"content"), meta=Meta(), token=TOKEN)
    with pytest.raises(DunlinError) as error:
        store.begin_parts("f", body(b"content"), meta=Meta(), token=TOKEN)
    assert error.value.kind is ErrorKind.EXISTS
    for token in ("../../x", "0badc0de", "0badc0de-r/1", "mine"):
        with pytest.raises(ValueError, match="a token is"):
            store.begin_parts("f", body(b"content"), meta=Meta(), token=token)


@pytest.mark.parametrize("how", ["another", "link", "longer"])
def test_what_took_its_place_is_neither_written_to_nor_published(store: LocalStore, tmp_path: Path, how: str) -> None:
    begun = store.begin_parts("f", body(b"content"), meta=Meta(), token=TOKEN)
    temp = tmp_path / begun.id
    if how == "longer":
        with open(temp, "ab") as file:
            file.write(b"!")
    else:
        (tmp_path / "other").write_bytes(b"1234567")
        temp.rename(tmp_path / "away")
        if how == "another":
            (tmp_path / "other").rename(temp)
        else:
            temp.symlink_to("other")
    seen = temp.read_bytes()
    for attempt in (
        lambda: store.put_part("f", begun, 0, body(b"content")),
        lambda: store.complete_parts("f", begun, (), meta=Meta()),
    ):
        with pytest.raises(DunlinError):
            attempt()
    assert temp.read_bytes() == seen
    assert not (tmp_path / "f").exists()


def test_each_part_is_flushed_by_who_wrote_it_where_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_size))
    for wanted, count in [(False, 0), (True, 3)]:
        store = LocalStore(str(tmp_path), options=WriteOptions(fsync_file=wanted))
        begun = store.begin_parts("f", body(b"content"), meta=Meta(), token=TOKEN)
        store.put_part("f", begun, 0, body(b"cont"))
        store.put_part("f", begun, 4, body(b"ent"))
        store.complete_parts("f", begun, (), meta=Meta())
        assert flushed == [7] * count
        store.close()
    assert (tmp_path / "f").read_bytes() == b"content"


def test_the_lease_is_asked_about_right_before_the_rename(tmp_path: Path) -> None:
    def lost() -> None:
        raise DunlinError("finish", "f", ErrorKind.INTERRUPTED, "its lease ran out")

    store = LocalStore(str(tmp_path), options=WriteOptions(commit=lost))
    begun = store.begin_parts("f", body(b"content"), meta=Meta(), token=TOKEN)
    with pytest.raises(DunlinError) as error:
        store.complete_parts("f", begun, (), meta=Meta())
    assert error.value.kind is ErrorKind.INTERRUPTED
    assert os.listdir(tmp_path) == [begun.id]  # whoever has the lease now goes on with it
    store.close()
