"""The run lock: one at a time, named by its process, held by whoever inherited it."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.workers.lock import RunLock
from tests.unit.workers.remote import Clock

PLACE = "file:///destination"


def holder(directory: Path) -> int:
    """A process that takes the lock and holds it until it is killed; returns its pid once it has it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            RunLock(PLACE, str(directory)).take(0, "0badc0de")
            os.write(write, b"x")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_second_run_waits_and_then_names_the_process_that_has_it(tmp_path: Path) -> None:
    pid = holder(tmp_path)
    clock = Clock(0.0)
    lock = RunLock(PLACE, str(tmp_path))
    try:
        with pytest.raises(DunlinError) as caught:
            lock.take(10, clock=clock, sleep=clock.sleep)
        assert caught.value.kind is ErrorKind.LOCKED
        assert caught.value.exit_code == 1
        assert f"process {pid}" in str(caught.value)
        assert "--lock-wait" in caught.value.hint
        assert 10 <= clock.now < 10.2
        RunLock("file:///elsewhere", str(tmp_path)).take(0)
    finally:
        end(pid)
    lock.take(0)
    assert lock.dead == {"0badc0de"}  # it was cut short: its temporary files may go
    lock.release()


def test_it_is_taken_as_soon_as_it_is_free(tmp_path: Path) -> None:
    pid = holder(tmp_path)
    clock = Clock(0.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 1:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    lock = RunLock(PLACE, str(tmp_path))
    lock.take(10, clock=clock, sleep=sleep)
    assert 1 < clock.now < 1.3
    lock.release()


def test_a_run_that_came_to_its_end_is_not_dead(tmp_path: Path) -> None:
    first = RunLock(PLACE, str(tmp_path))
    first.take(0, "aaaaaaaa")
    first.ended()
    first.release()
    second = RunLock(PLACE, str(tmp_path))
    second.take(0, "bbbbbbbb")
    assert second.dead == frozenset()
    second.release()  # without `ended`: cut short
    third = RunLock(PLACE, str(tmp_path))
    third.take(0, "cccccccc")
    assert third.dead == {"bbbbbbbb"}
    third.release()
    fourth = RunLock(PLACE, str(tmp_path))
    fourth.take(0)
    assert fourth.dead == {"bbbbbbbb", "cccccccc"}
    fourth.release()


def test_an_inherited_descriptor_holds_the_lock_after_its_taker_is_gone(tmp_path: Path) -> None:
    lock = RunLock(PLACE, str(tmp_path))
    lock.take(0)
    read, write = os.pipe()
    orphan = os.fork()
    if orphan == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(lock.fd)  # as a kill would
    other = RunLock(PLACE, str(tmp_path))
    with pytest.raises(DunlinError):
        other.take(0)
    os.close(read)
    os.close(write)
    os.waitpid(orphan, 0)
    other.take(0)
    other.release()


def test_a_lock_that_was_given_back_is_free_although_a_child_still_has_its_descriptor(tmp_path: Path) -> None:
    """The process that flushes the destination is forked at the end of a run, and may be slow to close it."""
    lock = RunLock(PLACE, str(tmp_path))
    lock.take(0)
    read, write = os.pipe()
    flusher = os.fork()
    if flusher == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    lock.release()
    other = RunLock(PLACE, str(tmp_path))
    other.take(0)
    other.release()
    os.close(read)
    os.close(write)
    os.waitpid(flusher, 0)


def test_the_file_is_named_by_the_destination_and_shared_by_users(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    lock = RunLock(PLACE, str(directory))
    other = RunLock(PLACE + "/below", str(directory))
    assert lock.path != other.path
    assert os.path.dirname(lock.path) == str(directory)
    assert "/destination" not in lock.path[len(str(directory)) :]
    assert stat.S_IMODE(os.stat(lock.path).st_mode) == 0o666
    for one in (lock, other):
        one.release()


def test_a_link_planted_in_its_place_is_not_followed(tmp_path: Path) -> None:
    lock = RunLock(PLACE, str(tmp_path))
    lock.release()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.unlink(lock.path)
    os.symlink(precious, lock.path)
    with pytest.raises(DunlinError, match="cannot open the lock file"):
        RunLock(PLACE, str(tmp_path))
    assert precious.read_text() == "precious"


def test_rubbish_in_the_file_is_no_process(tmp_path: Path) -> None:
    lock = RunLock(PLACE, str(tmp_path))
    with open(lock.path, "wb") as file:
        file.write(b"\xff\x00 rubbish")
    other = os.open(lock.path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(DunlinError) as caught:
        lock.take(0)
    assert "process" not in caught.value.reason
    os.close(other)
    lock.take(0)
    lock.release()


def test_who_waits_is_told_once_and_by_whom_it_is_held(tmp_path: Path) -> None:
    first, second, told = RunLock("d", str(tmp_path)), RunLock("d", str(tmp_path)), list[str]()
    first.take(0)
    moments = iter(range(100))
    with pytest.raises(DunlinError):
        second.take(5, clock=lambda: next(moments), sleep=lambda seconds: None, waits=told.append)
    assert told == [f" (process {os.getpid()})"]
    with pytest.raises(DunlinError):
        second.take(0, clock=lambda: 0.0, waits=told.append)
    assert len(told) == 1, "who does not wait is not told to"
    first.release()
    second.take(5, waits=told.append)
    assert len(told) == 1
    second.release()
