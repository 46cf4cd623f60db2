"""Publish jobs of schedules: what is refused fails for good, what may pass is tried again, and none holds up others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec
import pytest

from dunlin.config.service import Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.ledger import Ledger, open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Wish
from dunlin.report import Event
from dunlin.web import later as module
from dunlin.web.later import Later
from dunlin.web.publish_api import PUBLISH_LATER
from dunlin.web.services import Item
from tests.unit.web.served import Publisher

ITEMS = msgspec.json.encode({"items": [{"from": "/data", "to": "store/"}]})
GONE = msgspec.json.encode({"items": [{"from": "/gone", "to": "store/"}]})


class Hanging(Publisher):
    """What some ask for lies on a share whose server is gone, until it is back."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.gone: set[str] = set()
        self.back = threading.Event()
        self.hangs = threading.Semaphore(0)

    def publish(
        self, items: Sequence[Item], tenant: Tenant, by: str, key: str, body: bytes, priority: int = 0
    ) -> Job:
        if items[0].source in self.gone:
            self.hangs.release()
            assert self.back.wait(20)
        return super().publish(items, tenant, by, key, body, priority)


class Scene:
    """A ledger, a publisher that may fail, and what was told."""

    def __init__(self) -> None:
        self.ledger: Ledger = open_ledger(None)
        self.publisher = Hanging(self.ledger)
        self.events: list[Event] = []
        self.now = 0.0
        self.host = ""
        self.later = self.service(self.publisher)

    def service(self, publisher: Publisher | None) -> Later:
        tenant = Tenant("t", (), ())
        return Later(
            self.ledger.jobs, publisher, lambda name: tenant if name == "t" else None, "me:later", self.events.append,
            lambda: self.host, lambda: self.now,
        )  # fmt: skip

    def submit(self, options: bytes = ITEMS) -> str:
        return self.ledger.jobs.submit(NewJob(PUBLISH_LATER, options, "t", label="nightly")).job.id

    def due(self, host: str = "") -> None:
        """A look, and what it has begun done."""
        self.host = host
        self.later.look()
        assert self.later.wait(20)

    def job(self, id: str) -> Job:
        found = self.ledger.jobs.get(id)
        assert found is not None
        return found

    def published(self) -> list[Job]:
        return self.ledger.jobs.page(kind="publish")


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.publisher.back.set()
    assert made.later.wait(20)
    made.ledger.close()


def test_it_becomes_a_publish_job(scene: Scene) -> None:
    id = scene.submit()
    scene.due()
    [made] = scene.published()
    assert scene.job(id).status is JobStatus.COMPLETED
    assert msgspec.json.decode(scene.job(id).result) == {"job": made.id}


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.BUSY, ErrorKind.TIMEOUT, ErrorKind.LOCKED])
def test_what_may_pass_is_tried_again(scene: Scene, kind: ErrorKind) -> None:
    ids = [scene.submit() for _ in range(2)]
    scene.publisher.fails = DunlinError("use the ledger", "db", kind, "away for a moment")
    scene.due()
    scene.publisher.fails = None
    with pytest.raises(DunlinError, match="away for a moment"):
        scene.due()
    assert scene.later.wait(20)
    assert [scene.job(id).status for id in ids] == [JobStatus.COMPLETED] * 2
    assert len(scene.published()) == 2


def test_what_finds_no_thread_is_begun_with_a_later_look(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [scene.submit() for _ in range(2)]

    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        scene.due()
    assert JobStatus.COMPLETED not in [scene.job(id).status for id in ids]
    with pytest.raises(DunlinError, match="can't start new thread"):
        scene.due()
    assert scene.later.wait(20)
    assert [scene.job(id).status for id in ids] == [JobStatus.COMPLETED] * 2


@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.NOT_FOUND, ErrorKind.USAGE])
def test_what_is_refused_has_failed(scene: Scene, kind: ErrorKind) -> None:
    id = scene.submit()
    scene.publisher.fails = DunlinError("publish", "/data", kind, "no")
    scene.due()
    assert (scene.job(id).status, [event.name for event in scene.events]) == (JobStatus.FAILED, ["schedule.failed"])
    scene.publisher.fails = None
    scene.due()
    assert scene.job(id).status is JobStatus.FAILED


def test_a_fault_fails_one_and_holds_up_none(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = scene.submit(b"{}"), scene.submit()
    scene.due()
    assert scene.job(bad).status is JobStatus.FAILED
    assert scene.job(bad).error == "a fault of dunlin itself: KeyError"
    assert scene.job(good).status is JobStatus.COMPLETED


def test_without_a_destination_it_has_failed(scene: Scene) -> None:
    id = scene.submit()
    scene.later = scene.service(None)
    scene.due()
    assert "publish.destination" in scene.job(id).error


def test_what_a_service_that_died_began_is_begun_again(scene: Scene) -> None:
    id = scene.submit()
    assert scene.ledger.jobs.claim("dead:later", -1.0)
    scene.ledger.jobs.sweep()
    scene.due()
    assert scene.job(id).status is JobStatus.COMPLETED


def test_one_of_another_machine_is_left_to_it(scene: Scene) -> None:
    id = scene.ledger.jobs.submit(NewJob(PUBLISH_LATER, ITEMS, "t", host="nas")).job.id
    scene.due(host="far")
    assert (scene.job(id).status, scene.published()) == (JobStatus.QUEUED, [])
    scene.due(host="nas")
    assert scene.job(id).status is JobStatus.COMPLETED


# ---- a share whose server is gone ----


@pytest.fixture
def hung(scene: Scene) -> str:
    """A row that is being begun, and hangs."""
    scene.publisher.gone.add("/gone")
    id = scene.submit(GONE)
    scene.later.look()
    assert scene.publisher.hangs.acquire(timeout=20)
    return id


def done(scene: Scene, *ids: str) -> bool:
    """Whether these became publish jobs, in the end."""
    until = time.monotonic() + 20
    while any(scene.job(id).status is not JobStatus.COMPLETED for id in ids):
        if time.monotonic() > until:
            return False
        os.sched_yield()
    return True


def test_what_hangs_holds_up_no_other(scene: Scene, hung: str) -> None:
    others = [scene.submit() for _ in range(module.PLACES - 1)]
    scene.later.look()
    assert done(scene, *others)
    assert scene.job(hung).status is JobStatus.RUNNING
    scene.publisher.back.set()
    assert scene.later.wait(20)
    assert scene.job(hung).status is JobStatus.COMPLETED


def test_what_hangs_for_long_holds_no_place(scene: Scene, hung: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [scene.submit(GONE) for _ in range(module.PLACES)]
    scene.later.look()
    assert [scene.job(id).status for id in ids] == [JobStatus.RUNNING] * (module.PLACES - 1) + [JobStatus.QUEUED]
    good = scene.submit()
    scene.now += module.PATIENCE
    scene.later.look()
    assert done(scene, good)
    told = [event for event in scene.events if event.name == "schedule.hung"]
    assert len(told) == module.PLACES, "each is told once"
    assert "nightly" in told[0].message
    scene.later.look()
    assert len([event for event in scene.events if event.name == "schedule.hung"]) == module.PLACES


def test_what_hangs_stays_this_service_s(scene: Scene, hung: str) -> None:
    for _ in range(4):
        scene.now += module.HELD / 2
        scene.later.look()
    assert scene.ledger.jobs.sweep() == []
    assert scene.ledger.jobs.claim("other", 9.0, (PUBLISH_LATER,)) is None


def test_what_hangs_can_be_cancelled(scene: Scene, hung: str) -> None:
    assert scene.ledger.jobs.ask(hung, Wish.CANCEL)
    scene.later.look()
    assert scene.job(hung).status is JobStatus.CANCELLED
    scene.publisher.back.set()
    assert scene.later.wait(20)
    assert scene.job(hung).status is JobStatus.CANCELLED
    assert [job.status for job in scene.published()] == [JobStatus.CANCELLED], "nobody wants it any more"
