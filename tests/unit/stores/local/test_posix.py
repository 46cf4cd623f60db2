"""The system calls behind functions, and their fallbacks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dunlin.stores.local import posix


class Libc:
    """A C library in which every call fails with `number`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> int:
            import ctypes

            ctypes.set_errno(self.number)
            return -1

        return call


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_birth_time_is_that_of_stat(tmp_path: Path, opened: int) -> None:
    (tmp_path / "f").touch()
    os.symlink("f", tmp_path / "l")
    answer = subprocess.run(["stat", "-c", "%W", tmp_path / "f"], capture_output=True, text=True, check=True).stdout
    birth = posix.birth_time(opened, "f")
    assert birth is not None
    assert birth // 1_000_000_000 == int(answer)
    assert posix.birth_time(opened, "l") is not None
    with pytest.raises(FileNotFoundError):
        posix.birth_time(opened, "absent")


def test_rename_no_replace(tmp_path: Path, opened: int) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(FileExistsError):
        posix.rename_no_replace("a", "b", opened)
    if posix.rename_no_replace("a", "c", opened):
        assert sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_pushing_and_syncing_work_here(tmp_path: Path, opened: int) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.write(bytes(100_000))
        file.flush()
        assert posix.push_start(file.fileno(), 0, 100_000)
        assert posix.push_wait(file.fileno(), 0, 100_000)
        posix.sync_data(file.fileno())
    posix.sync_file_system(opened)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_a_call_that_does_not_exist_is_not_an_error(
    opened: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(posix, "_libc", lambda: Libc(number))
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    assert posix.birth_time(opened, ".") is None
    assert posix.push_start(opened, 0, 1) is False
    assert posix.rename_no_replace("a", "b", opened) is False
    posix.sync_file_system(opened)
    assert synced == [True]


def test_a_call_that_fails_is_an_error(opened: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "_libc", lambda: Libc(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        posix.sync_file_system(opened)


def test_without_a_c_library_everything_falls_back(
    opened: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "_libc", lambda: None)
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    posix.sync_file_system(opened)
    assert synced == [True]
    assert posix.push_wait(opened, 0, 1) is False
    (tmp_path / "f").touch()
    assert posix.birth_time(opened, "f") is None


def test_ctypes_waits_until_it_is_needed() -> None:
    source = str(Path(posix.__file__).parents[3])
    code = "import sys, dunlin.stores.local, dunlin.stores.open; print('ctypes' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=source)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_file_system_has_a_type() -> None:
    assert posix.file_system("/proc") == "proc"
    assert posix.file_system("/no/such/place") == ""
