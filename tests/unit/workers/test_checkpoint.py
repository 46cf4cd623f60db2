"""The flush in the background: what becomes durable, and that nobody waits for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.memory import MemoryStore
from dunlin.workers import checkpoint
from dunlin.workers.checkpoint import Checkpointer


class Slow(MemoryStore):
    """A destination whose flush lasts until a file appears. The flush runs in another process."""

    def __init__(self, go: Path, error: DunlinError | None = None) -> None:
        super().__init__()
        self.go = go
        self.error = error

    def checkpoint(self) -> None:
        with self.go.open():  # a FIFO: opening it waits for the other end
            pass
        if self.error is not None:
            raise self.error


class Told:
    """What a checkpointer reported."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.failed: list[str] = []


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def go(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "go")
    return tmp_path / "go"


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)


@pytest.fixture
def make(told: Told) -> Iterator[Callable[[MemoryStore], Checkpointer]]:
    made: list[Checkpointer] = []

    def new(store: MemoryStore) -> Checkpointer:
        one = Checkpointer(store, told.durable.append, told.failed.append)
        made.append(one)
        return one

    yield new
    for one in made:
        pid = one._pid
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            one.close()


def let_go(fifo: Path) -> None:
    with fifo.open("w"):
        pass


def until(done: Callable[[], bool], poll: Callable[[], None]) -> None:
    """Poll until the other process has answered; the deadline is only for a test that fails."""
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        poll()


Make = Callable[[MemoryStore], Checkpointer]


def test_what_was_written_before_the_request_is_durable_after_the_answer(
    make: Make, told: Told, go: Path, due: None
) -> None:
    one = make(Slow(go))
    moments = iter([11, 22, 33])
    now = lambda: next(moments)  # noqa: E731
    one.poll(now)
    for _ in range(3):
        one.poll(now)  # busy: nothing more is asked for, nothing is durable yet
    assert told.durable == []
    let_go(go)
    until(lambda: bool(told.durable), lambda: one._take(0.1))
    assert told.durable == [11]
    one.poll(now)
    let_go(go)
    until(lambda: len(told.durable) == 2, lambda: one._take(0.1))
    assert told.durable == [11, 22]


def test_nothing_is_asked_for_before_it_is_due(make: Make, told: Told, go: Path) -> None:
    one = make(Slow(go))
    one.poll(lambda: 1)
    assert one._pid == 0


def test_the_end_does_not_wait_for_a_slow_flush(make: Make, told: Told, go: Path, due: None) -> None:
    one = make(Slow(go))
    one.poll(lambda: 1)
    child = one._pid
    begin = time.monotonic()
    one.finish(lambda: 2)
    assert time.monotonic() - begin < 20 * checkpoint.GRACE
    assert told.durable == []
    let_go(go)  # it goes on by itself, and ends when nobody wants its answer
    assert os.waitpid(child, 0)[1] == 0


def test_a_quick_flush_is_taken_at_the_end(make: Make, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "GRACE", 10.0)
    one = make(MemoryStore())
    one.finish(lambda: 7)
    assert told.durable == [7]


def test_a_destination_that_cannot_be_flushed_is_told_once(make: Make, told: Told, go: Path, due: None) -> None:
    error = DunlinError("flush", "file:///t", ErrorKind.IO, "Input/output error")
    one = make(Slow(go, error))
    one.poll(lambda: 1)
    let_go(go)
    until(lambda: bool(told.failed), lambda: one._take(0.1))
    assert told.failed == [str(error)]
    one.poll(lambda: 2)
    one.finish(lambda: 3)
    assert told.durable == []
    assert len(told.failed) == 1


def test_a_flusher_that_was_killed_is_told_and_does_not_break_the_run(
    make: Make, told: Told, go: Path, due: None
) -> None:
    one = make(Slow(go))
    one.poll(lambda: 1)
    os.kill(one._pid, signal.SIGKILL)
    until(lambda: bool(told.failed), lambda: one.poll(lambda: 2))
    assert told.durable == []
    one.poll(lambda: 3)
    one.finish(lambda: 4)


def test_a_store_that_cannot_be_flushed_starts_no_process(make: Make, told: Told, due: None) -> None:
    class Plain:
        pass

    plain: object = Plain()
    one = make(plain)  # type: ignore[arg-type]
    one.poll(lambda: 1)
    one.finish(lambda: 2)
    assert one._pid == 0


def test_the_flusher_holds_no_descriptor_of_the_run(make: Make, told: Told, go: Path, due: None) -> None:
    read, write = os.pipe()
    one = make(Slow(go))
    one.poll(lambda: 1)
    until(lambda: f"pipe:[{os.fstat(write).st_ino}]" not in open_files(one._pid), lambda: None)
    os.close(write)
    assert os.read(read, 1) == b""  # the end of the pipe is seen although the flusher lives
    os.close(read)
    os.kill(one._pid, 0)


def open_files(pid: int) -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found
