"""Metadata that a share refuses: noted once per kind, never a failed file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Meta
from dunlin.stores.local import LocalStore
from tests.contract.support import get, names, put

EVERYTHING: dict[str, Any] = {
    "mode": 0o6755,
    "uid": 1,
    "gid": 2,
    "mtime": 3,
    "atime": 4,
    "xattrs": {"user.a": b"1"},
    "xattr_space": ("user.",),
}


def refusing(number: int) -> Callable[..., None]:
    def call(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EINVAL, errno.EACCES, errno.ENOSYS])
def test_a_share_that_refuses_everything_still_gets_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    told: list[str] = []
    store = LocalStore(str(tmp_path), on_refused=lambda kind, error: told.append(kind))
    for call in ("chown", "chmod", "utime", "setxattr"):
        monkeypatch.setattr(os, call, refusing(number))
    for name in ("f", "g"):
        put(store, name, b"content", **EVERYTHING)
    store.make_link("l", "f", Meta(uid=1, mtime=3))
    store.set_meta("f", Meta(**EVERYTHING))
    assert sorted(told) == ["group", "mode", "owner", "times", "xattrs"]
    assert sorted(store.refused) == sorted(told)
    assert all(isinstance(error, DunlinError) for error in store.refused.values())
    assert get(store, "f") == b"content"
    assert sorted(names(store)) == ["f", "g", "l"]
    store.close()


@pytest.mark.parametrize("call", ["chown", "chmod", "utime", "setxattr"])
def test_a_broken_device_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store = LocalStore(str(tmp_path))
    monkeypatch.setattr(os, call, refusing(errno.EIO))
    with pytest.raises(DunlinError) as error:
        put(store, "f", **EVERYTHING)
    assert error.value.kind is ErrorKind.IO
    assert names(store) == []
    assert store.refused == {}
    store.close()


def test_set_id_bits_are_not_set_for_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    monkeypatch.setattr(os, "chown", refusing(errno.EPERM))
    put(store, "f", mode=0o6755, uid=1, gid=2)
    put(store, "g", mode=0o6755)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o6755
    store.close()


def test_the_group_is_tried_when_the_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    tried: list[tuple[int, int]] = []

    def chown(target: object, uid: int, gid: int) -> None:
        tried.append((uid, gid))
        if uid != -1:
            raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr(os, "chown", chown)
    put(store, "f", uid=1, gid=2)
    assert tried == [(1, 2), (-1, 2)]
    assert list(store.refused) == ["owner"]
    store.close()


def test_the_order_is_owner_mode_attributes_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    order: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: order.append(name)

    for call in ("chown", "chmod", "setxattr", "utime"):
        monkeypatch.setattr(os, call, noting(call))
    put(store, "f", **EVERYTHING)
    assert order == ["chown", "chmod", "setxattr", "utime"]
    store.close()


def test_a_time_beyond_all_clocks_is_refused(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    put(store, "f", mtime=2**100)
    assert list(store.refused) == ["times"]
    store.close()


def test_attributes_that_are_too_large_are_refused(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    put(store, "f", xattrs={"user.big": bytes(70_000), "nonsense": b""}, xattr_space=("user.",))
    assert list(store.refused) == ["xattrs"]
    store.close()


def test_one_of_the_two_times_leaves_the_other(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    put(store, "f", mtime=11, atime=22)
    store.set_meta("f", Meta(mtime=33))
    assert (tmp_path / "f").stat().st_atime_ns == 22
    store.set_meta("f", Meta(atime=44))
    status = (tmp_path / "f").stat()
    assert (status.st_mtime_ns, status.st_atime_ns) == (33, 44)
    store.close()
