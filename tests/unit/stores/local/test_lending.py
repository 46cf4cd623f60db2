"""The write bit of a directory: lent by whoever needs it, taken from nobody who depends on it."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dunlin.stores.local import lending
from dunlin.stores.local.lending import lent_write_bit
from tests.unit.stores.local.test_store import BARE, run


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without its write bit, seen by somebody who needs it."""
    monkeypatch.setattr(lending, "_needs_no_bits", lambda: False)
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o555)
    return tmp_path / "d"


@pytest.fixture
def fd(directory: Path) -> Iterator[int]:
    opened = os.open(directory, os.O_RDONLY)
    yield opened
    os.close(opened)


def mode(directory: Path) -> int:
    return stat.S_IMODE(directory.stat().st_mode)


def free(directory: Path, how: int) -> bool:
    """Whether somebody else gets that lock at once."""
    other = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(other, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(other)
    return True


def test_it_is_lent_to_one_at_a_time(directory: Path, fd: int) -> None:
    with lent_write_bit(fd):
        assert mode(directory) == 0o755
        assert not free(directory, fcntl.LOCK_SH)
        with lent_write_bit(fd):  # by the same thread
            assert mode(directory) == 0o755
        assert mode(directory) == 0o755
    assert mode(directory) == 0o555
    assert free(directory, fcntl.LOCK_EX)


def test_who_finds_it_set_keeps_it_from_being_taken_away(directory: Path, fd: int) -> None:
    directory.chmod(0o755)
    with lent_write_bit(fd):
        assert free(directory, fcntl.LOCK_SH)
        assert not free(directory, fcntl.LOCK_EX)
    assert mode(directory) == 0o755
    assert free(directory, fcntl.LOCK_EX)


def test_it_is_taken_away_after_a_failure_too(directory: Path, fd: int) -> None:
    with pytest.raises(KeyError), lent_write_bit(fd):
        raise KeyError
    assert mode(directory) == 0o555
    assert free(directory, fcntl.LOCK_EX)
    with lent_write_bit(fd):
        assert mode(directory) == 0o755


@pytest.mark.parametrize("opens", [True, False])
def test_where_there_are_no_such_locks_it_is_lent_all_the_same(
    directory: Path, fd: int, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    def refuse(*args: object) -> None:
        raise OSError

    if opens:
        monkeypatch.setattr(fcntl, "flock", refuse)
    else:
        monkeypatch.setattr(lending, "_opened", lambda directory: None)
    with lent_write_bit(fd):
        assert mode(directory) == 0o755
    assert mode(directory) == 0o555


def test_who_needs_no_bits_neither_locks_nor_lends(
    directory: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "_needs_no_bits", lambda: True)
    with lent_write_bit(fd):
        assert mode(directory) == 0o555
        assert free(directory, fcntl.LOCK_EX)


@pytest.mark.root
def test_several_processes_lend_the_write_bit_of_one_directory(tmp_path: Path) -> None:
    """None takes it away while another depends on it, and in the end it is as it was."""
    directory = tmp_path / "d"
    directory.mkdir(mode=0o755)
    directory.chmod(0o555)
    code = """
        import os, sys
        from dunlin.stores.local.lending import lent_write_bit, permitted
        fd = os.open(sys.argv[1], os.O_RDONLY)
        name = str(os.getpid())
        wrong = 0
        for _ in range(300):
            try:
                with lent_write_bit(fd):
                    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
                    permitted(fd, lambda: os.rename(name, name + "b", src_dir_fd=fd, dst_dir_fd=fd))
                permitted(fd, lambda: os.unlink(name + "b", dir_fd=fd))
            except OSError:
                wrong += 1
        print(wrong)
    """
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: run(code, str(directory), before=BARE), range(3))) == ["0\n"] * 3
    assert stat.S_IMODE(directory.stat().st_mode) == 0o555
    assert os.listdir(directory) == []


@pytest.mark.root
def test_a_directory_that_may_not_be_read_either_is_lent_its_write_bit(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    directory.chmod(0o111)
    code = """
        import sys
        from dunlin.stores.base import Meta
        from dunlin.stores.local import LocalStore
        LocalStore(sys.argv[1]).make_link("d/link", "x", Meta())
    """
    run(code, str(tmp_path), before=BARE)
    assert os.listdir(directory) == ["link"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o111
