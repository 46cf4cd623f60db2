"""The loop of a worker that publishes, on the embedded queue."""

from __future__ import annotations

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
from dunlin.stores.base import Store
from dunlin.stores.memory import MemoryStore
from dunlin.workers.publish_serve import ServeOptions, serve_publish
from dunlin.workers.publishing import VERSION, PublishFile, PublishUnit, Root, pack, unpack_outcome

QUICK = ServeOptions("w", "host", 7, lease=2.0, heartbeat=0.05, sweep=0.05, grace=10.0)


class Scene:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = open_queue(str(root / "queue.db"))
        self.store = MemoryStore()
        self.report = RecordingReport()
        self.stop = Stop()
        self.opened: list[str] = []
        self.thread: threading.Thread | None = None

    def open(self, place: str) -> Store:
        self.opened.append(place)
        if place == "nowhere":
            raise DunlinError("open", place, ErrorKind.AUTH, "login refused")
        return self.store

    def put(self, key: str, place: str = "memory://", **more: Any) -> None:
        (self.root / key).write_bytes(b"data")
        unit = PublishUnit(
            VERSION, "job", 1, 0, place, "b", 60.0, 0.0, ["/"], [Root(str(self.root), False, False)],
            [PublishFile(0, 0, key, f"store/{key}", 4)],
        )  # fmt: skip
        self.queue.put([NewTask("publish", key, pack(unit), **more)])

    def start(self, options: ServeOptions = QUICK) -> None:
        self.thread = threading.Thread(
            target=serve_publish, args=(self.queue, self.open, options, self.stop, self.report)
        )
        self.thread.start()

    def end(self) -> None:
        self.stop.request("the end of the test")
        if self.thread is not None:
            self.thread.join(30)
            assert not self.thread.is_alive()
            self.thread = None

    def until(self, what: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 20
        while not (found := what()):
            assert time.monotonic() < limit
            threading.Event().wait(0.005)
        return found


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
    news = scene.until(lambda: len(got := scene.queue.collect("publish", 9)) == 3 and got)
    assert {each.kind for each in news} == {Kind.DONE}
    assert all(unpack_outcome(each.body).files[0].status == 1 for each in news)
    assert scene.store.stat("store/c").size == 4
    assert scene.opened == ["memory://"]


def test_a_worker_says_that_it_is_there_and_that_it_leaves(scene: Scene) -> None:
    scene.start()
    [info] = scene.until(scene.queue.workers)
    assert (info.worker, info.host, info.pid, info.slots, info.queues) == ("w", "host", 7, 2, ("publish",))
    scene.end()
    assert scene.queue.workers() == []


def test_a_unit_that_fails_as_a_whole_is_delivered_again_later(scene: Scene) -> None:
    scene.put("a", "nowhere", retries=1)
    scene.start()
    [task] = scene.until(lambda: [each for each in scene.queue.tasks() if each.error])
    assert "login refused" in task.error
    assert task.attempt == 1
    assert 0 < task.due <= 10


def test_a_lease_is_extended_while_a_unit_takes_its_time(scene: Scene) -> None:
    go = threading.Event()
    scene.store.faults["write", "store/a"] = lambda: go.wait(20)
    scene.put("a")
    scene.start(QUICK._replace(lease=2.5, margin=0.1))
    scene.until(lambda: [each for each in scene.queue.stats() if each.leased])
    [task] = scene.queue.tasks()
    scene.until(lambda: scene.queue.tasks()[0].age > 2.8)
    assert scene.queue.sweep() == 0
    go.set()
    [news] = scene.until(lambda: [each for each in scene.queue.collect("publish", 9) if each.kind is Kind.DONE])
    assert news.attempt == task.attempt == 1


def test_a_task_that_was_called_off_is_dropped(scene: Scene) -> None:
    go, begun = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert go.wait(20)

    scene.store.faults["write", "store/a"] = write
    scene.put("a")
    scene.start()
    assert begun.wait(20)
    scene.queue.cancel("publish")
    go.set()
    scene.put("b")
    [news] = scene.until(lambda: scene.queue.collect("publish", 9))
    assert news.key == "b"


def test_stopping_finishes_what_is_under_way(scene: Scene) -> None:
    go, begun = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert go.wait(20)

    scene.store.faults["write", "store/a"] = write
    scene.put("a")
    scene.start()
    assert begun.wait(20)
    scene.stop.request("now")
    scene.put("b")
    go.set()
    scene.end()
    [news] = scene.queue.collect("publish", 9)
    assert news.key == "a"
    [task] = scene.queue.tasks()
    assert (task.key, task.status) == ("b", "waiting")


def test_what_does_not_end_in_time_is_given_back(scene: Scene) -> None:
    begun, go = threading.Event(), threading.Event()
    (scene.root / "large").write_bytes(b"x")

    def write() -> None:
        begun.set()
        assert go.wait(20)

    scene.store.faults["write", "store/a"] = write
    for name in ("a", "b"):
        (scene.root / name).write_bytes(b"data")
    files = [PublishFile(0, 0, "a", "store/a", 4), PublishFile(1, 0, "b", "store/b", 4)]
    unit = PublishUnit(
        VERSION, "job", 1, 0, "memory://", "b", 60.0, 0.0, ["/"], [Root(str(scene.root), False, False)], files
    )
    scene.queue.put([NewTask("publish", "u", pack(unit))])
    # With one file after the other the second one finds that the time is over.
    scene.start(QUICK._replace(grace=0.0, parallel=1))
    assert begun.wait(20)
    scene.stop.request("now")
    go.set()
    scene.end()
    assert scene.queue.collect("publish", 9) == []
    [task] = scene.queue.tasks()
    assert (task.status, task.error) == ("waiting", "")


def test_a_queue_that_is_away_is_told_once_and_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, failures = scene.queue.lease, [0]

    def away(*args: Any, **kwargs: Any) -> list[Lease]:
        failures[0] += 1
        if failures[0] < 3:
            raise DunlinError("reach the queue", "", ErrorKind.NETWORK)
        return lease(*args, **kwargs)

    monkeypatch.setattr(scene.queue, "lease", away)
    scene.put("a")
    scene.start()
    scene.until(lambda: scene.queue.collect("publish", 9))
    assert len(scene.report.named("queue.away")) == 1


def test_a_fault_of_ours_is_told_and_the_worker_goes_on(scene: Scene) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    scene.store.faults["write", "store/a"] = fault
    scene.put("a", retries=0)
    scene.put("b")
    scene.start()
    news = scene.until(lambda: len(got := scene.queue.collect("publish", 9)) == 2 and got)
    assert {(each.key, each.kind) for each in news} == {("a", Kind.DEAD), ("b", Kind.DONE)}
    assert len(scene.report.named("publish.fault")) == 1
