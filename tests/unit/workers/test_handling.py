"""A task of another queue: what becomes of it when it comes to no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Kind, Lease, NewTask, Queue
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.workers import fence
from dunlin.workers.fence import Held
from dunlin.workers.handling import handle

INTERRUPTED = DunlinError("go on", "", ErrorKind.INTERRUPTED, "its lease ran out")


class Tasks:
    """Do what they are told to."""

    def __init__(self, act: Callable[[Lease], bytes], limit: float = 60.0) -> None:
        self.act, self._limit = act, limit

    def do(self, lease: Lease, tell: Callable[[bytes], bool], may: Callable[[], bool]) -> bytes:
        return self.act(lease)

    def limit(self, lease: Lease) -> float:
        return self._limit


def failing(error: Exception) -> Callable[[Lease], bytes]:
    def act(lease: Lease) -> bytes:
        raise error

    return act


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = open_queue(str(tmp_path / "queue.db"))
    yield made
    made.close()


def held(queue: Queue, retries: int = 0) -> Held:
    queue.put([NewTask("publish", "k", b"", retries=retries)])
    [lease] = queue.lease("w", 1, 60.0)
    return Held(lease)


def test_it_is_done_under_its_lease(queue: Queue) -> None:
    mine = held(queue)
    seen: list[object] = []

    def act(lease: Lease) -> bytes:
        seen.append(fence.current())
        return b"result"

    assert handle(queue, mine, Tasks(act), 1.0, RecordingReport()) == b"result"
    assert seen == [mine]
    assert fence.current() is None


def test_one_that_may_not_go_on_is_given_back_and_its_delivery_does_not_count(queue: Queue) -> None:
    assert handle(queue, held(queue), Tasks(failing(INTERRUPTED)), 1.0, RecordingReport()) is None
    assert len(queue.lease("another", 1, 60.0)) == 1


def test_one_that_took_too_long_has_had_its_delivery(queue: Queue) -> None:
    """What may not go on since its time is over would else be delivered for ever."""
    assert handle(queue, held(queue), Tasks(failing(INTERRUPTED), 0.0), 1.0, RecordingReport()) is None
    [news] = queue.collect("publish", 9)
    assert (news.kind, news.error) == (Kind.DEAD, "it took longer than it may take")


@pytest.mark.parametrize("after", [None, 100.0])
def test_one_that_fails_waits_as_long_as_whoever_refused_it_wants(queue: Queue, after: float | None) -> None:
    error = DunlinError("open", "s3://b", ErrorKind.BUSY, "slow down")
    error.retry_after = after
    assert handle(queue, held(queue, 1), Tasks(failing(error)), 1.0, RecordingReport()) is None
    [task] = queue.tasks()
    assert "slow down" in task.error
    assert (90 < task.due <= 100) if after else (2 < task.due <= 10)


def test_a_queue_that_cannot_be_told_is_no_fault(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease runs out, and the task is delivered again: nothing may be acknowledged for it."""
    mine, report = held(queue), RecordingReport()

    def away(*_: object) -> bool:
        raise DunlinError("reach the queue", "", ErrorKind.NETWORK)

    monkeypatch.setattr(queue, "nack", away)
    assert handle(queue, mine, Tasks(failing(ZeroDivisionError())), 1.0, report) is None
    assert [event.name for event in report.events] == ["worker.fault", "worker.untold"]
    assert queue.collect("publish", 9) == []
