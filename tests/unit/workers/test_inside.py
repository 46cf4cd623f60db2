"""The worker inside a service, on the embedded queue: what it publishes, and what it bears."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.queue.base import Kind, Lease, NewTask
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.stores.login import Login
from dunlin.stores.memory import shared
from dunlin.workers import inside
from dunlin.workers.agent import Pace
from dunlin.workers.inside import Inside, work_inside
from dunlin.workers.publish_task import QUEUE, PublishTasks, TaskOptions
from dunlin.workers.publish_words import VERSION, PublishFile, PublishUnit, Root, pack, unpack_outcome

QUICK = Inside("host", slots=2, grace=10.0, pace=Pace(lease=2.0, beat=0.05, sweep=0.05, margin=0.3))


class Scene:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = open_queue(str(root / "queue.db"))
        name = f"inside-{os.urandom(8).hex()}"
        self.place, self.store = f"memory://{name}", shared(name)
        self.report = RecordingReport()
        self.stop = Stop()
        self.asked: list[str] = []
        self.thread: threading.Thread | None = None

    def where(self, place: str) -> tuple[str, Login]:
        self.asked.append(place)
        if place == "nowhere":
            raise DunlinError("open", place, ErrorKind.AUTH, "login refused")
        return place, Login()

    def put(self, key: str, place: str = "", seconds: float = 60.0, **more: Any) -> None:
        (self.root / key).write_bytes(b"data")
        unit = PublishUnit(
            VERSION, "job", 1, 0, place or self.place, "b", seconds, 0.0, ["/"], [Root(str(self.root), False, False)],
            [PublishFile(0, 0, key, f"store/{key}", 4)],
        )  # fmt: skip
        self.queue.put([NewTask("publish", key, pack(unit), **more)])

    def start(self, how: Inside = QUICK, parallel: int = 8) -> None:
        tasks = PublishTasks(self.where, TaskOptions(parallel, how.pace.margin), self.report)
        self.thread = threading.Thread(
            target=work_inside, args=(self.queue, {QUEUE: tasks}, how, self.stop, self.report)
        )
        self.thread.start()

    def end(self) -> None:
        self.stop.request("the end of the test")
        if self.thread is not None:
            self.thread.join(30)
            assert not self.thread.is_alive()
            self.thread = None

    def held_up(self, key: str) -> tuple[threading.Event, threading.Event]:
        """An upload that waits: it has begun, and it may go on."""
        begun, go = threading.Event(), threading.Event()

        def write() -> None:
            begun.set()
            assert go.wait(15)

        self.store.faults["write", f"store/{key}"] = write
        return begun, go

    def until(self, what: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 20
        while not (found := what()):
            assert time.monotonic() < limit, self.report.events
            threading.Event().wait(0.005)
        return found

    def news(self, count: int = 1) -> Any:
        return self.until(lambda: len(got := self.queue.collect("publish", 9)) == count and got)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.end()
    made.queue.close()


def test_units_are_done_and_acknowledged(scene: Scene) -> None:
    for name in "abc":
        scene.put(name)
    scene.start()
    news = scene.news(3)
    assert {each.kind for each in news} == {Kind.DONE}
    assert all(unpack_outcome(each.body).files[0].status == 1 for each in news)
    assert scene.store.stat("store/c").size == 4
    assert scene.asked == [scene.place]


def test_a_worker_says_that_it_is_there_and_that_it_leaves(scene: Scene) -> None:
    begun, go = scene.held_up("a")
    scene.put("a")
    scene.start()
    assert begun.wait(20)
    [info] = scene.until(lambda: [each for each in scene.queue.workers() if each.busy])
    assert (info.host, info.slots, info.busy, info.queues) == ("host", 2, 1, ("publish",))
    go.set()
    scene.end()
    assert scene.queue.workers() == []


def test_a_unit_that_fails_as_a_whole_is_delivered_again_later(scene: Scene) -> None:
    scene.put("a", "nowhere", retries=1)
    scene.start()
    [task] = scene.until(lambda: [each for each in scene.queue.tasks() if each.error])
    assert "login refused" in task.error
    assert task.attempt == 1
    assert 2 < task.due <= 10


def test_a_lease_is_extended_while_a_unit_takes_its_time(scene: Scene) -> None:
    _, go = scene.held_up("a")
    scene.put("a")
    scene.start(QUICK._replace(pace=QUICK.pace._replace(lease=2.0)))
    scene.until(lambda: [each for each in scene.queue.stats() if each.leased])
    scene.until(lambda: scene.queue.tasks()[0].age > 2.4)
    go.set()
    # What takes longer than two seconds is told in parts; the last piece says that it is done.
    told = scene.until(lambda: (got := scene.queue.collect("publish", 9)) and got[-1].kind is Kind.DONE and got)
    assert {each.attempt for each in told} == {1}


@pytest.mark.parametrize("slots", [1, 2])
def test_a_unit_that_takes_too_long_is_somebody_elses(scene: Scene, slots: int) -> None:
    """Even where its thread hangs for good: its heart is not beaten any more, and its slot is not free."""
    begun, go = scene.held_up("a")
    scene.put("a", seconds=0.05, retries=1)
    scene.start(QUICK._replace(slots=slots, pace=QUICK.pace._replace(lease=0.6)))
    assert begun.wait(20)
    scene.until(lambda: [each for each in scene.queue.tasks() if each.status == "waiting" or each.attempt == 2])
    if slots == 1:
        scene.put("b")
        scene.until(lambda: max(each.age for each in scene.queue.tasks()) > 1.5)
        assert [each.status for each in scene.queue.tasks()] == ["waiting", "waiting"]
        go.set()
        assert {each.key for each in scene.news(2)} == {"a", "b"}
    else:  # the free slot takes it, and hangs as well
        scene.until(lambda: scene.queue.collect("publish", 9))
        [news] = scene.news()
        assert (news.attempt, news.kind) == (2, Kind.DEAD)
        with pytest.raises(DunlinError):
            scene.store.stat("store/a")
        go.set()
        scene.end()
        with pytest.raises(DunlinError):  # what came to its end without a lease left nothing behind
            scene.store.stat("store/a")


def test_a_task_that_was_called_off_is_dropped(scene: Scene) -> None:
    begun, go = scene.held_up("a")
    scene.put("a")
    scene.start()
    assert begun.wait(20)
    scene.queue.cancel("publish")
    go.set()
    scene.put("b")
    [news] = scene.news()
    assert news.key == "b"


def test_stopping_finishes_what_is_under_way(scene: Scene) -> None:
    begun, go = scene.held_up("a")
    scene.put("a")
    scene.start()
    assert begun.wait(20)
    scene.stop.request("now")
    go.set()
    scene.end()
    [news] = scene.queue.collect("publish", 9)
    assert (news.key, news.kind) == ("a", Kind.DONE)


def test_what_does_not_end_in_time_is_given_back(scene: Scene) -> None:
    """And that delivery does not count: that a service is restarted is not the fault of a file."""
    begun, go = scene.held_up("a")
    for name in ("a", "b"):
        (scene.root / name).write_bytes(b"data")
    files = [PublishFile(0, 0, "a", "store/a", 4), PublishFile(1, 0, "b", "store/b", 4)]
    unit = PublishUnit(
        VERSION, "job", 1, 0, scene.place, "b", 60.0, 0.0, ["/"], [Root(str(scene.root), False, False)], files
    )
    scene.queue.put([NewTask("publish", "u", pack(unit), retries=0)])
    scene.start(QUICK._replace(grace=0.0), parallel=1)
    assert begun.wait(20)
    scene.stop.request("now")
    [task] = scene.until(lambda: [each for each in scene.queue.tasks() if each.status == "waiting"])
    assert task.error == ""
    go.set()
    scene.end()
    assert scene.queue.collect("publish", 9) == []
    assert len(scene.queue.lease("another", 1, 5.0)) == 1


@pytest.mark.parametrize("error", [DunlinError("lease", "", ErrorKind.LOCKED, "busy"), ZeroDivisionError("nonsense")])
def test_a_queue_that_does_not_work_ends_no_service(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(inside, "AGAIN", 0.0)
    lease, failures = scene.queue.lease, [0]

    def broken(*args: Any, **kwargs: Any) -> list[Lease]:
        failures[0] += 1
        if failures[0] < 3:
            raise error
        return lease(*args, **kwargs)

    monkeypatch.setattr(scene.queue, "lease", broken)
    scene.put("a")
    scene.start()
    scene.news()
    [event] = scene.report.named("worker.trouble")  # once a minute
    assert event.message.endswith("; trying again")


def test_a_fault_of_ours_is_told_and_the_worker_goes_on(scene: Scene) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    scene.store.faults["write", "store/a"] = fault
    scene.put("a", retries=0)
    scene.put("b")
    scene.start()
    news = scene.news(2)
    assert {(each.key, each.kind) for each in news} == {("a", Kind.DEAD), ("b", Kind.DONE)}
    [dead] = [each for each in news if each.kind is Kind.DEAD]
    assert dead.error == "a fault of dunlin itself: ZeroDivisionError"
    assert len(scene.report.named("worker.fault")) == 1
