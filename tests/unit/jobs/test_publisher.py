"""The publisher on a real ledger and the embedded queue: once and only once, whatever is done twice, lost or late."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import publisher as module
from dunlin.jobs.publish import PublishItem, Rules, options_of
from dunlin.jobs.publish_results import sync_result, unit_key, unit_of
from dunlin.jobs.publish_tasks import PublishSettings
from dunlin.jobs.publisher import Publisher
from dunlin.pace.aside import Aside
from dunlin.queue.base import Lease, NewTask, Status
from dunlin.queue.ledger import Job, JobStatus, Ledger, Wish, open_ledger
from dunlin.queue.ledger.words import FileStatus
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.stores.memory import MemoryStore
from dunlin.workers.publish_words import VERSION, FileOutcome, UnitOutcome, pack, unpack_outcome, unpack_unit
from dunlin.workers.publishing import Tools, publish_unit
from tests.unit.workers.remote import Clock

QUEUE = "publish"


class Scene:
    """A service and a worker, each doing a step when told."""

    def __init__(self, root: Path) -> None:
        self.root = root / "from"
        self.root.mkdir()
        self.queue = open_queue(str(root / "queue.db"))
        self.ledger: Ledger = open_ledger(str(root / "ledger.db"))
        self.store = MemoryStore()
        self.report = RecordingReport()
        self.settings = PublishSettings("memory://target", "bucket", max_retry=2)
        self.rules: dict[str, Rules | None] = {"": Rules()}
        self.cached: dict[str, int] = {}
        self.uploads: list[int] = []
        self.publisher = self.service("service")

    def service(self, owner: str, **settings: Any) -> Publisher:
        return Publisher(
            self.ledger,
            self.queue,
            lambda: self.settings._replace(**settings),
            self.report,
            owner=owner,
            uploads=self,
            uploaded=self.uploads.append,
            rules=lambda tenant: self.rules.get(tenant, self.rules[""]),
        )

    def uploaded_many(self, bucket: str, keys: Mapping[str, int]) -> None:
        assert bucket == "bucket"
        self.cached.update(keys)

    def close(self) -> None:
        self.publisher.close()
        self.queue.close()
        self.ledger.close()

    def file(self, path: str, data: bytes = b"data") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def publish(self, *items: PublishItem, **more: Any) -> Job:
        return self.publisher.publish(items or [PublishItem(str(self.root), "store/")], Rules(), **more)

    def walk(self, job: Job | None = None) -> None:
        """What the watching thread and the pool do."""
        claimed = self.ledger.jobs.claim("service", 60.0, ("publish",))
        assert claimed is not None
        self.publisher._work_on(claimed)

    def lease(self, count: int = 100, seconds: float = 60.0, worker: str = "w") -> list[Lease]:
        return self.queue.lease(worker, count, seconds)

    def do(self, lease: Lease, **tools: Any) -> bytes:
        """Do a task; where it waits for the ledger, the publisher gets its turn."""

        def recorded(name: str) -> bytes | None:
            self.collect()
            return self.queue.read(name)

        made = Tools(lambda place: self.store, lambda body: self.queue.tell(lease, body), attempt=lease.attempt)
        rest = {"sleep": lambda seconds: None, "recorded": recorded, **tools}
        return publish_unit(lease.payload, made._replace(**rest))

    def work(self) -> int:
        """Everything that can be leased."""
        leases = self.lease()
        for lease in leases:
            assert self.queue.ack([(lease, self.do(lease))]) == [True]
        return len(leases)

    def collect(self) -> int:
        count = 0
        while got := self.publisher.collect(0.0):
            count += got
        return count

    def job(self, job: Job) -> Job:
        found = self.ledger.jobs.get(job.id)
        assert found is not None
        return found

    def counts(self, job: Job) -> tuple[int, int, int, int]:
        totals = self.ledger.files.totals(job.id)
        return totals.total_files, totals.uploaded, totals.skipped, totals.failed

    def result(self, job: Job) -> dict[str, Any]:
        return sync_result(self.job(job), self.ledger.files, 0.0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def denied() -> DunlinError:
    return DunlinError("write", "store/b", ErrorKind.DENIED, "Access Denied")


def broken() -> DunlinError:
    return DunlinError("write", "store/b", ErrorKind.CHECKSUM, "the bytes are wrong")


def test_from_the_request_to_the_result(scene: Scene) -> None:
    scene.file("a"), scene.file("d/b", b"larger")
    single = scene.file("../single", b"1")
    job = scene.publish(PublishItem(str(scene.root), "store"), PublishItem(str(single), "store/x", False, True))
    assert job.status is JobStatus.QUEUED
    scene.walk()
    assert scene.work() >= 1
    assert scene.collect() >= 1
    assert scene.job(job).status is JobStatus.COMPLETED
    result = scene.result(job)
    assert result.pop("duration").endswith("s")
    assert result == {
        "items": [
            {"from": str(scene.root), "to": "store", "total_files": 2, "uploaded_files": 2, "failed_files": []},
            {"from": str(single), "to": "store/x", "total_files": 1, "uploaded_files": 1, "failed_files": []},
        ],
        "total_files": 3,
        "uploaded_files": 3,
        "failed_files": [],
    }
    assert scene.cached == {"store/a": 4, "store/d/b": 6, "store/x": 1}
    assert sum(scene.uploads) == 3
    assert scene.job(job).counts["uploaded"] == 3
    assert scene.queue.stats() == [] or all(each.news == 0 for each in scene.queue.stats())


def test_what_a_job_did_is_on_record_before_its_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.file("a"), scene.file("b")
    job = scene.publish()
    scene.walk()
    settle, seen = scene.ledger.files.settle, list[Any]()

    def look(id: str) -> Job | None:
        seen.append(scene.job(job).counts.get("uploaded"))
        return settle(id)

    monkeypatch.setattr(scene.ledger.files, "settle", look)
    scene.work()
    scene.collect()
    assert seen == [2]
    assert scene.job(job).status is JobStatus.COMPLETED


def test_a_bad_item_queues_nothing(scene: Scene) -> None:
    scene.file("a")
    with pytest.raises(DunlinError):
        scene.publish(PublishItem(str(scene.root), "store/"), PublishItem("/nowhere/at/all", "store/"))
    assert scene.ledger.jobs.page() == []


def test_the_same_request_twice_is_one_job(scene: Scene) -> None:
    scene.file("a")
    one = scene.publish(key="k", body=b"body")
    assert scene.publish(key="k", body=b"body").id == one.id
    assert scene.publish(key="k", body=b"body", tenant="other").id != one.id
    with pytest.raises(DunlinError) as caught:
        scene.publish(key="k", body=b"other")
    assert caught.value.kind is ErrorKind.EXISTS
    (scene.root / "a").unlink()  # done, and deleted: the same request can no longer be checked
    assert scene.publish(key="k", body=b"body").id == one.id


def test_nothing_secret_travels(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    assert options_of(job).destination == "memory://target"
    scene.walk()
    [lease] = scene.lease()
    unit = unpack_unit(lease.payload)
    assert (unit.place, unit.bucket, unit.seconds, unit.within) == ("memory://target", "bucket", 1800.0, ["/"])


# ---- exactly once ----


def test_a_result_that_is_read_twice_counts_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.file("a")
    job = scene.publish()
    scene.walk()
    scene.work()
    with monkeypatch.context() as patch:
        patch.setattr(scene.queue, "confirm", lambda queue, upto: None)  # a crash right before it was confirmed
        assert scene.publisher.collect(0.0) == 1
    assert scene.publisher.collect(0.0) == 1
    assert scene.publisher.collect(0.0) == 0
    assert scene.counts(job) == (1, 1, 0, 0)
    assert scene.uploads == [1, 1]  # the hook bears being told twice, and must not miss it


def test_a_zombie_changes_nothing(scene: Scene) -> None:
    place = scene.file("a")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [zombie] = scene.lease(seconds=0.001, worker="zombie")
    while not scene.queue.sweep():
        pass
    [lease] = scene.lease(worker="other")
    assert lease.attempt == 2
    with pytest.raises(DunlinError) as caught:  # it may not even say that it is about to delete
        scene.do(zombie)
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert place.exists()
    assert scene.queue.ack([(zombie, b"nonsense")]) == [False]
    assert scene.queue.ack([(lease, scene.do(lease))]) == [True]
    scene.collect()
    assert scene.counts(job) == (1, 1, 0, 0)
    assert scene.job(job).status is JobStatus.COMPLETED
    assert not place.exists()


def test_a_worker_that_died_after_it_deleted(scene: Scene) -> None:
    """What it told before it deleted stands; the next one finds the source gone."""
    scene.file("a"), scene.file("b")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease(seconds=0.05)
    scene.do(lease)  # and never acknowledged
    assert not list(scene.root.iterdir())
    while not scene.queue.sweep():
        pass
    assert scene.work() == 1
    scene.collect()
    assert scene.counts(job) == (2, 2, 0, 0)
    assert scene.result(job)["failed_files"] == []


# ---- failures ----


def test_a_file_that_cannot_be_published_fails_alone(scene: Scene) -> None:
    scene.file("a"), scene.file("b"), scene.file("c")
    scene.store.faults["write", "store/b"] = denied()
    job = scene.publish()
    scene.walk()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (3, 2, 0, 1)
    assert (scene.job(job).status, scene.job(job).error) == (JobStatus.FAILED, "1 of 3 files failed")
    assert scene.result(job)["failed_files"] == [f"{scene.root}/b"]
    [failure] = scene.ledger.files.failures(job.id)
    assert failure.error == "cannot write: Access Denied"


def test_only_the_file_that_failed_is_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.file("a"), scene.file("b")
    scene.store.faults["write", "store/b"] = broken()
    monkeypatch.setattr(module, "LATER", module.LATER.__class__(base=0.0))
    job = scene.publish()
    scene.walk()
    tried = []
    while leases := scene.lease():
        for lease in leases:
            tried.append([file.path for file in unpack_unit(lease.payload).files])
            scene.queue.ack([(lease, scene.do(lease))])
        scene.collect()
    assert [sorted(paths) for paths in tried] == [["a", "b"], ["b"], ["b"]]  # max_retry is 2
    assert scene.job(job).status is JobStatus.FAILED
    assert scene.counts(job) == (2, 1, 0, 1)

    del scene.store.faults["write", "store/b"]
    assert scene.publisher.retry(job.id) == 1
    assert scene.job(job).status is JobStatus.QUEUED
    scene.walk()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (2, 2, 0, 0)
    assert scene.job(job).status is JobStatus.COMPLETED


def test_a_try_comes_later_each_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.file("b")
    scene.store.faults["write", "store/b"] = broken()
    scene.publish()
    scene.walk()
    delays: list[float] = []
    put = scene.queue.put

    def recorded(tasks: Sequence[NewTask]) -> int:
        delays.extend(task.delay for task in tasks)
        return put([task._replace(delay=0.0) for task in tasks])

    monkeypatch.setattr(scene.queue, "put", recorded)
    while scene.work():
        scene.collect()
    assert len(delays) == 2
    assert 0 < delays[0] < delays[1]


def test_a_unit_whose_workers_all_died(scene: Scene) -> None:
    scene.file("a"), scene.file("b")
    job = scene.publish()
    scene.walk()
    for _ in range(3):  # the delivery, and two more
        [lease] = scene.lease()
        assert scene.queue.nack(lease, "out of memory")
    assert scene.lease() == []
    scene.collect()
    assert scene.counts(job) == (2, 0, 0, 2)
    assert {each.error for each in scene.ledger.files.failures(job.id)} == {"out of memory"}
    assert scene.job(job).status is JobStatus.FAILED


def test_a_result_that_cannot_be_read_fails_its_files(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    scene.walk()
    [lease] = scene.lease()
    scene.queue.ack([(lease, b"\x01")])
    scene.collect()
    assert scene.counts(job) == (1, 0, 0, 1)


@pytest.mark.parametrize("file", [(0, 9, 0, "", False, ""), (7, 1, 0, "", False, ""), (-1, 3, 0, "", True, "")])
def test_a_result_that_makes_no_sense_holds_nothing_up(scene: Scene, file: tuple[Any, ...]) -> None:
    scene.file("a")
    job = scene.publish()
    other = scene.publish()
    scene.walk(), scene.walk()
    wrong, right = scene.lease()
    unit = unpack_unit(wrong.payload)
    body = pack(UnitOutcome(1, unit.job, unit.unit, 0, "bucket", [FileOutcome(*file)]))
    scene.queue.ack([(wrong, body), (right, scene.do(right))])
    scene.collect()
    assert scene.job(other).status is JobStatus.COMPLETED
    assert scene.counts(job)[1] == 0


def test_many_single_files_share_units(scene: Scene) -> None:
    items = [PublishItem(str(scene.file(f"{n}")), "store/", n % 2 == 1) for n in range(40)]
    job = scene.publish(*items)
    scene.walk()
    assert scene.work() < 6
    scene.collect()
    assert scene.counts(job) == (40, 40, 0, 0)
    assert sorted(int(path.name) for path in scene.root.iterdir()) == list(range(0, 40, 2))
    result = scene.result(job)
    assert [item["uploaded_files"] for item in result["items"]] == 40 * [1]


def test_news_of_others_is_passed_over(scene: Scene) -> None:
    scene.queue.put([NewTask(QUEUE, "what", b""), NewTask(QUEUE, "2zzzzzzzzzzzz/0", b"")])
    for lease in scene.lease():
        scene.queue.ack([(lease, b"x")])
    assert scene.collect() == 2


def test_a_folder_that_was_emptied_meanwhile(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    (scene.root / "a").unlink()
    scene.walk()
    assert scene.job(job).status is JobStatus.FAILED
    assert scene.job(job).error == "the folder holds no files"
    assert scene.result(job)["failed_files"] == [str(scene.root)]


def test_options_that_are_none_end_the_job(scene: Scene) -> None:
    from dunlin.queue.ledger import NewItem, NewJob

    job = scene.ledger.jobs.submit(NewJob("publish", b"{}"), [NewItem("/x", "store/")]).job
    scene.walk()
    assert scene.job(job).status is JobStatus.FAILED
    assert "cannot read the options of the job" in scene.job(job).error


def test_nothing_is_published_out_of_the_destination(scene: Scene) -> None:
    """A destination that came to lie in the folder after the request."""
    scene.file("a"), scene.file("pub/store/a")
    job = scene.publish()
    scene.settings = scene.settings._replace(target=str(scene.root / "pub"))
    scene.walk()
    assert scene.lease() == []
    assert scene.job(job).error == "'from' cannot be published: the destination lies in it"


# ---- crashes, and a queue that forgets ----


def test_a_crash_between_the_ledger_and_the_queue(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(30):
        scene.file(f"{n}")
    job = scene.publish()

    def crash(tasks: Sequence[NewTask]) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scene.queue, "put", crash)
        with pytest.raises(KeyboardInterrupt):
            scene.walk()
    assert scene.ledger.files.totals(job.id).total_files == 8
    assert not scene.lease()
    scene.ledger.jobs.sweep("service")
    scene.ledger.jobs.move(job.id, JobStatus.QUEUED)
    scene.walk()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (30, 30, 0, 0)


def test_a_walk_that_is_made_again_adds_nothing_twice(scene: Scene) -> None:
    for n in range(30):
        scene.file(f"{n}")
    job = scene.publish()
    scene.publisher._ended.set()
    scene.walk()
    assert scene.ledger.files.totals(job.id).total_files == 0
    scene.publisher._ended.clear()
    scene.ledger.jobs.move(job.id, JobStatus.QUEUED)
    scene.walk()
    scene.ledger.jobs.move(job.id, JobStatus.QUEUED)
    scene.walk()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (30, 30, 0, 0)


@pytest.mark.parametrize("seen", [False, True])
def test_a_queue_that_was_emptied_gets_its_units_again(scene: Scene, seen: bool) -> None:
    scene.file("a"), scene.file("b")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease()
    if seen:
        scene.do(lease)  # tells a part, deletes
        scene.collect()
    scene.queue.drop(QUEUE)
    scene.publisher._reconcile()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (2, 2, 0, 0)
    assert scene.job(job).status is JobStatus.COMPLETED


@pytest.mark.parametrize("whose", ["the queue's", "somebody's who tries again"])
def test_what_was_uploaded_and_deleted_unheard_is_found_at_its_key(scene: Scene, whose: str) -> None:
    """The worker deleted, and ledger and queue have forgotten it: both were restored from older copies."""
    scene.file("a"), scene.file("b", b"more")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease()
    marks: list[bytes] = []

    def tell(body: bytes) -> bool:
        marks.append(unpack_outcome(body).mark)
        return scene.queue.tell(lease, body)

    scene.do(lease, tell=tell, recorded=lambda name: marks[-1])
    assert not list(scene.root.iterdir())
    if whose == "the queue's":
        scene.queue.drop(QUEUE)
        scene.publisher._reconcile()
    else:
        assert scene.queue.nack(lease, "out of memory", final=True)
        parts = scene.queue.collect(QUEUE, 9)
        scene.queue.confirm(QUEUE, parts[-2].number)  # as if the queue had lost the part
        scene.collect()
        assert scene.counts(job) == (2, 0, 0, 2)
        assert scene.publisher.retry(job.id) == 2
        scene.walk()
    assert scene.work() == 1
    scene.collect()
    assert scene.counts(job) == (2, 2, 0, 0)
    assert scene.job(job).status is JobStatus.COMPLETED


def test_a_unit_that_the_walk_is_just_putting_is_not_lost(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known at the first look; then it is put, leased, and a part of it is told."""
    scene.file("a"), scene.file("b")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    put, known = scene.queue.put, scene.queue.known
    held: list[NewTask] = []
    leases: list[Lease] = []

    def late(tasks: Sequence[NewTask]) -> int:
        held.extend(tasks)
        return len(tasks)

    def first_look(queue: str, keys: Collection[str]) -> set[str]:
        found = known(queue, keys)
        if not leases:
            put(held)
            leases.extend(scene.lease())
            told = UnitOutcome(VERSION, job.id, 0, 0, "bucket", [FileOutcome(0, FileStatus.UPLOADED, 4)])
            assert scene.queue.tell(leases[0], pack(told))
            scene.collect()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(scene.queue, "put", late)
        scene.walk()
    monkeypatch.setattr(scene.queue, "known", first_look)
    scene.publisher._reconcile()
    assert scene.queue.ack([(leases[0], scene.do(leases[0]))]) == [True]
    scene.collect()
    assert scene.lease() == []
    assert [each.put for each in scene.queue.stats()] == [1]
    assert len(scene.ledger.files.units(job.id)) == 1
    assert scene.counts(job) == (2, 2, 0, 0)


def test_trying_again_takes_the_dead_tasks_of_the_job_away(scene: Scene) -> None:
    scene.file("a")
    job, other = scene.publish(), scene.publish()
    scene.walk(), scene.walk()
    for lease in scene.lease():
        assert scene.queue.nack(lease, "out of memory", final=True)
    scene.collect()
    assert scene.publisher.retry(job.id) == 1
    [dead] = scene.queue.tasks(QUEUE, Status.DEAD)
    assert dead.key == unit_key(other.id, 0)
    scene.walk()
    scene.work()
    scene.collect()
    assert (scene.counts(job), scene.counts(other)) == ((1, 1, 0, 0), (1, 0, 0, 1))


def test_what_the_queue_knows_is_not_put_again(scene: Scene) -> None:
    scene.file("a")
    scene.publish()
    scene.walk()
    scene.publisher._reconcile()
    [lease] = scene.lease()
    scene.publisher._reconcile()
    scene.queue.ack([(lease, scene.do(lease))])
    scene.publisher._reconcile()
    assert [each.put for each in scene.queue.stats()] == [1]


# ---- cancel, pause, resume ----


def test_cancel(scene: Scene) -> None:
    for n in range(30):
        scene.file(f"{n}")
    job = scene.publish()
    scene.walk()
    [lease, *_] = scene.lease(1)
    assert scene.publisher.cancel(job.id)
    assert not scene.publisher.cancel(job.id)
    assert scene.queue.heartbeat([lease], 10) == [None]
    assert scene.lease() == []
    assert scene.ledger.files.totals(job.id).cancelled == 30
    assert scene.job(job).status is JobStatus.CANCELLED


def test_a_cancelled_job_is_walked_no_further(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    claimed = scene.ledger.jobs.claim("service", 60.0, ("publish",))
    assert claimed is not None
    scene.publisher.cancel(job.id)
    scene.publisher._work_on(claimed)
    assert scene.ledger.files.totals(job.id).total_files == 0
    assert scene.job(job).status is JobStatus.CANCELLED


def test_pause_and_resume(scene: Scene) -> None:
    for n in range(30):
        scene.file(f"{n}")
    job = scene.publish()
    scene.walk()
    [lease, *_] = scene.lease(1)
    scene.queue.ack([(lease, scene.do(lease))])
    scene.collect()
    assert scene.publisher.pause(job.id)
    assert scene.lease() == []
    assert scene.job(job).status is JobStatus.PAUSED
    assert scene.publisher.resume(job.id)
    scene.walk()
    scene.work()
    scene.collect()
    assert scene.counts(job) == (30, 30, 0, 0)
    assert scene.job(job).status is JobStatus.COMPLETED


def test_failures_of_a_paused_job_wait(scene: Scene) -> None:
    scene.file("b")
    scene.store.faults["write", "store/b"] = broken()
    job = scene.publish()
    scene.walk()
    [lease] = scene.lease()
    scene.queue.ack([(lease, scene.do(lease))])
    scene.ledger.jobs.move(job.id, JobStatus.PAUSED)
    scene.collect()
    assert [each.put for each in scene.queue.stats()] == [1]
    assert scene.counts(job) == (1, 0, 0, 1)


# ---- several services ----


def test_wishes_of_others_are_obeyed(scene: Scene) -> None:
    scene.file("a")
    one, two = scene.publish(), scene.publish()
    for _ in range(2):
        assert scene.ledger.jobs.claim("service", 60.0, ("publish",))
    scene.ledger.jobs.ask(one.id, Wish.CANCEL)
    scene.ledger.jobs.ask(two.id, Wish.PAUSE)
    scene.publisher._keep_office()
    assert (scene.job(one).status, scene.job(two).status) == (JobStatus.CANCELLED, JobStatus.PAUSED)


def test_one_holds_the_office(scene: Scene) -> None:
    other = scene.service("other")
    scene.publisher._keep_office()
    other._keep_office()
    assert scene.publisher._in_office.is_set()
    assert not other._in_office.is_set()
    scene.publisher._leave()
    other._keep_office()
    assert other._in_office.is_set()


# ---- several machines ----


class Machines:
    """Services on two machines that share ledger and queue; `theirs` has the office for results."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.mine = scene.service("mine", machine="nas", host="nas")
        self.theirs = scene.service("theirs", machine="far", host="far")
        for each in (self.theirs, self.mine):
            each._keep_office()

    def accept(self) -> Job:
        """Have `mine` take a job, and walk it; `theirs` looks first."""
        self.scene.file("a")
        job = self.mine.publish([PublishItem(str(self.scene.root), "store/", True)], Rules())
        for each in (self.theirs, self.mine):
            self.look(each)
        return job

    def look(self, publisher: Publisher) -> None:
        """What the watching thread does, and its walks."""
        publisher._claim()
        assert publisher._walks.wait(20)
        publisher._reconcile()


@pytest.fixture
def machines(scene: Scene) -> Machines:
    return Machines(scene)


def test_a_job_is_walked_by_the_machine_that_accepted_it(scene: Scene, machines: Machines) -> None:
    job = machines.accept()
    assert (scene.job(job).status, scene.job(job).owner) == (JobStatus.RUNNING, "mine")
    assert scene.lease() == [], "it is for workers of that machine"
    [lease] = scene.queue.lease("w", 9, 60.0, labels=("nas",))
    assert not machines.mine._reads.is_set()
    assert machines.theirs._reads.is_set()
    told: list[int] = []

    def recorded(name: str) -> bytes | None:
        told.append(machines.theirs.collect(0.0))
        return scene.queue.read(name)

    scene.queue.ack([(lease, scene.do(lease, recorded=recorded))])
    assert (told, machines.theirs.collect(0.0)) == ([1], 1), "what was told before it was deleted, and the end"
    assert scene.job(job).status is JobStatus.COMPLETED


def test_what_is_tried_again_is_put_by_the_machine_that_has_it(scene: Scene, machines: Machines) -> None:
    """Neither its rules nor its label are those of the service that reads the results."""
    job = machines.accept()
    [lease] = scene.queue.lease("w", 9, 60.0, labels=("nas",))
    unit = unpack_unit(lease.payload)
    failed = FileOutcome(0, FileStatus.FAILED, 4, "broken", True)
    scene.queue.ack([(lease, pack(UnitOutcome(VERSION, unit.job, unit.unit, 0, "bucket", [failed])))])
    scene.rules[""] = Rules(("/elsewhere",))  # links lead elsewhere over there
    assert machines.theirs.collect(0.0) == 1
    machines.look(machines.theirs)
    assert scene.job(job).status is JobStatus.RUNNING
    scene.rules[""] = Rules()
    machines.look(machines.mine)
    [again] = scene.queue.lease("w", 9, 60.0, labels=("nas",))
    scene.queue.ack([(again, scene.do(again))])
    machines.theirs.collect(0.0)
    assert scene.counts(job) == (1, 1, 0, 0)


def test_a_job_below_shared_directories_is_any_machines(scene: Scene) -> None:
    shared = (str(scene.root),)
    mine, theirs = (scene.service(name, machine=name, host=name, shared=shared) for name in ("nas", "far"))
    scene.file("a")
    job = mine.publish([PublishItem(str(scene.root), "store/")], Rules())
    machines = Machines(scene)
    theirs._keep_office()
    machines.look(theirs)
    assert scene.job(job).owner == "far"
    assert len(scene.lease()) == 1


def test_jobs_of_a_service_that_died_are_taken_over(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    assert scene.ledger.jobs.claim("dead", -1.0, ("publish",))
    scene.publisher._keep_office()
    assert scene.job(job).status is JobStatus.QUEUED


def test_units_carry_the_priority_the_groups_and_the_accounts_of_their_job(scene: Scene) -> None:
    scene.file("a")
    every = ("tenant:one", "store:s3://b", f"store:{scene.root}")
    scene.settings = scene.settings._replace(groups=every[1:2], capped=(str(scene.root), "/elsewhere"))
    scene.publish(tenant="one", priority=5)
    scene.walk()
    assert [task.priority for task in scene.queue.tasks()] == [5]
    for group in every:
        scene.queue.cap(group, 1)
    (lease,) = scene.lease()
    assert unpack_unit(lease.payload).accounts == ("publishing", "tenant:one")
    for group, tenant in zip(every, ("one", "", "two"), strict=True):
        for each in every:
            scene.queue.cap(each, int(each == group))
        scene.publish(tenant=tenant)
        scene.walk()
        assert [one for one in scene.lease() if one.key != lease.key] == [], f"{group} is full"
        scene.queue.cancel("publish", [task.key for task in scene.queue.tasks(status=Status.WAITING)])


def test_paths_that_only_this_machine_has_carry_its_label(scene: Scene, tmp_path: Path) -> None:
    scene.file("a")
    scene.settings = scene.settings._replace(host="here", shared=("/shared",))
    scene.publish()
    scene.walk()
    assert scene.lease() == []
    assert len(scene.queue.lease("w", 9, 9.0, labels=("here",))) == 1
    scene.settings = scene.settings._replace(shared=(str(tmp_path),))
    scene.publish()
    scene.walk()
    assert len(scene.lease()) == 1


# ---- rules that became narrower ----


def outside(scene: Scene, tmp_path: Path) -> Rules:
    (tmp_path / "other").mkdir(exist_ok=True)
    return Rules((str(tmp_path / "other"),))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda scene: Rules((f"{scene.root}/d",)), "is outside the allowed roots by now"),
        (lambda scene: Rules((), ("nix/",)), "store/ does not start with an allowed prefix any more"),
        (lambda scene: None, "there is no tenant t any more"),
    ],
)
def test_what_may_not_be_published_any_more_ends_the_job(
    scene: Scene, rule: Callable[[Scene], Rules | None], reason: str
) -> None:
    for n in range(30):
        scene.file(f"{n}")
    waiting, running = scene.publish(tenant="t"), scene.publish(tenant="t")
    order = [scene.ledger.jobs.claim("service", 60.0, ("publish",)) for _ in range(2)]
    assert order[1] is not None
    scene.publisher._work_on(order[1])
    assert len(scene.lease(1)) == 1
    scene.rules["t"] = rule(scene)
    assert order[0] is not None
    scene.publisher._work_on(order[0])  # had not begun
    scene.publisher._reconcile()  # had
    for job in (waiting, running):
        assert scene.job(job).status is JobStatus.FAILED
        assert reason in scene.job(job).error
    assert scene.lease() == []
    assert sum(scene.ledger.files.totals(job.id).cancelled for job in (waiting, running)) == 30


def test_failed_files_are_not_tried_again_against_the_rules_of_today(scene: Scene, tmp_path: Path) -> None:
    scene.file("b")
    scene.store.faults["write", "store/b"] = broken()
    job, other = scene.publish(tenant="t"), scene.publish()
    scene.walk(), scene.walk()
    leases = scene.lease()
    scene.rules["t"] = outside(scene, tmp_path)
    scene.queue.ack([(lease, scene.do(lease)) for lease in leases])
    scene.collect()
    assert scene.job(job).status is JobStatus.FAILED
    assert scene.job(other).status is JobStatus.RUNNING  # its news is taken in, and its file is tried once more
    with pytest.raises(DunlinError) as caught:
        scene.publisher.retry(job.id)
    assert caught.value.kind is ErrorKind.DENIED


def test_links_lead_where_both_rules_allow_it(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    scene.file("a")
    (scene.root / "link").symlink_to(tmp_path / "secret")
    scene.rules[""] = Rules((str(tmp_path),))
    scene.publisher.publish([PublishItem(str(scene.root), "store/")], scene.rules[""])
    scene.rules[""] = Rules((str(scene.root), "/elsewhere"))
    scene.walk()
    [lease] = scene.lease()
    assert unpack_unit(lease.payload).within == [str(scene.root)]
    [failure] = scene.ledger.files.failures(scene.ledger.jobs.page()[0].id)
    assert failure.error == "the symbolic link leads outside the allowed roots"


# ---- threads ----


def wait_for(what: Callable[[], bool]) -> None:
    import time

    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        os.sched_yield()


def test_the_threads_do_all_of_it(scene: Scene) -> None:
    for n in range(30):
        scene.file(f"{n}")
    scene.publisher.start()
    job = scene.publish()

    def done() -> bool:
        scene.work()
        return scene.job(job).status is JobStatus.COMPLETED

    wait_for(done)
    scene.publisher.close()
    assert scene.counts(job) == (30, 30, 0, 0)
    assert [event.name for event in scene.report.events] == ["publish.ended"]


def test_a_service_that_ends_gives_its_jobs_back(scene: Scene) -> None:
    scene.file("a")
    scene.publisher.start()
    job = scene.publish()
    wait_for(lambda: scene.job(job).status is JobStatus.RUNNING)
    scene.publisher.close()
    assert scene.job(job).status is JobStatus.QUEUED
    assert scene.queue.hold("publisher/publish", "next", 1.0)


def test_a_job_that_no_thread_was_left_for_is_walked_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.file("a")
    job = scene.publish()

    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        for _ in range(2):
            assert not scene.publisher._guarded("begin jobs", scene.publisher._claim)
    assert scene.job(job).status is JobStatus.RUNNING
    assert scene.publisher._guarded("begin jobs", scene.publisher._claim)
    assert scene.publisher._walks.wait(20)
    assert scene.work() == 1


def test_a_fault_of_ours_ends_no_thread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise AttributeError("nonsense")

    assert not scene.publisher._guarded("think", fault)
    [event] = scene.report.named("publish.fault")
    assert event.message == "cannot think: AttributeError: nonsense"


def test_a_ledger_that_is_away_is_told_once_a_minute(scene: Scene) -> None:
    times = [0.0]
    scene.publisher._monotonic = lambda: times[0]

    def away() -> None:
        raise DunlinError("reach the ledger", "", ErrorKind.NETWORK)

    for times[0] in (0.0, 59.0, 61.0):
        scene.publisher._guarded("begin jobs", away)
    assert len(scene.report.named("publish.trouble")) == 2


def test_keys_of_units() -> None:
    assert unit_of(unit_key("2abc", 7)) == ("2abc", 7)
    assert unit_of("2abc") is unit_of("/7") is unit_of("a/b") is None


# ---- one key for two files ----


def test_a_key_that_the_job_has_given_already_is_refused(scene: Scene) -> None:
    for path in ("one/x", "one/only", "two/x", "two/d/y", "y", "z"):
        scene.file(path, path.encode())
    root = scene.root
    job = scene.publish(
        PublishItem(str(root / "one"), "store/", True, True),
        PublishItem(str(root / "two"), "store", True, True),
        PublishItem(str(root / "y"), "store/d/", True, True),
        PublishItem(str(root / "z"), "store/z", True, True),
        PublishItem(str(root / "y"), "store/z", True, True),
    )
    scene.walk()
    scene.work()
    scene.collect()
    failed = {(each.item, each.path): each.error for each in scene.ledger.files.failures(job.id)}
    assert failed == dict.fromkeys([(1, "x"), (2, "y"), (4, "y")], "another file of the job has the same key")
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert left == ["two/x", "y"], "what was refused is kept"
    assert scene.counts(job) == (7, 4, 0, 3)


def test_a_key_is_refused_though_its_first_file_is_gone_and_the_walk_is_another_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.file("one/x", b"first"), scene.file("two/x", b"second")
    monkeypatch.setattr(module, "MANY_ITEMS", 1)
    walk, walked = module.walk, list[str]()

    def cut(source: Any, *more: Any, **named: Any) -> str:
        walked.append(source.root)
        if len(walked) == 2:
            raise KeyboardInterrupt
        return walk(source, *more, **named)

    items = [PublishItem(str(scene.root / name), "store/", True) for name in ("one", "two")]
    job = scene.publish(*items)
    with monkeypatch.context() as patch:
        patch.setattr(module, "walk", cut)
        with pytest.raises(KeyboardInterrupt):
            scene.walk()
    scene.work()
    scene.collect()
    assert not (scene.root / "one/x").exists()
    scene.publisher._work_on(scene.job(job))
    scene.work()
    scene.collect()
    assert (scene.root / "two/x").read_bytes() == b"second"
    assert scene.counts(job) == (2, 1, 0, 1)


def test_what_was_refused_for_its_key_is_refused_again(scene: Scene) -> None:
    scene.file("one/x", b"first"), scene.file("two/x", b"second")
    job = scene.publish(*(PublishItem(str(scene.root / name), "store/", True, True) for name in ("one", "two")))
    scene.walk(), scene.work(), scene.collect()
    assert scene.publisher.retry(job.id) == 1
    scene.walk(), scene.work(), scene.collect()
    assert scene.counts(job) == (2, 1, 0, 1)
    assert (scene.root / "two/x").read_bytes() == b"second"


# ---- on record before it is deleted ----


def test_what_the_ledger_has_not_heard_of_is_not_deleted(scene: Scene) -> None:
    place = scene.file("a")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease()
    clock = Clock(0.0)
    body = scene.do(lease, recorded=scene.queue.read, clock=clock, sleep=clock.sleep)
    assert place.exists(), "the queue knows of the upload, nobody has read it"
    scene.queue.ack([(lease, body)])
    scene.collect()
    assert scene.counts(job) == (1, 1, 0, 0)


def test_what_the_ledger_refused_is_not_deleted(scene: Scene) -> None:
    """It was called off, and the worker has not heard of that: the queue had been cut off."""
    place = scene.file("a")
    job = scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease()
    clock = Clock(0.0)

    def recorded(name: str) -> bytes | None:
        if scene.job(job).status is JobStatus.RUNNING:
            scene.ledger.jobs.move(job.id, JobStatus.CANCELLED)
            scene.ledger.files.cancel(job.id)
        scene.collect()
        return scene.queue.read(name)

    scene.do(lease, recorded=recorded, clock=clock, sleep=clock.sleep)
    assert place.exists()


def test_a_mark_is_put_again_after_a_crash(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    place = scene.file("a")
    scene.publish(PublishItem(str(scene.root), "store/", True))
    scene.walk()
    [lease] = scene.lease()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    crashed: list[bool] = []

    def recorded(name: str) -> bytes | None:
        if not crashed:
            with monkeypatch.context() as patch:
                patch.setattr(scene.queue, "write", crash)
                with pytest.raises(KeyboardInterrupt):
                    scene.publisher.collect(0.0)
            crashed.append(True)
            return scene.queue.read(name)
        scene.collect()
        return scene.queue.read(name)

    scene.do(lease, recorded=recorded)
    assert crashed
    assert not place.exists()


# ---- a share whose server is gone ----


class Gone:
    """Shares that do not answer until they are back; all of it by the scene's own clock."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.now, self.back, self.hangs = scene, 0.0, threading.Event(), threading.Semaphore(0)
        scene.publisher._walks = Aside("walk", 2, module.STILL, 5, lambda: self.now)
        walk = module.walk

        def look(source: Any, *more: Any, **named: Any) -> str:
            if "gone" in source.root:
                self.hangs.release()
                assert self.back.wait(20)
            return walk(source, *more, **named)

        monkeypatch.setattr(module, "walk", look)

    def job(self, name: str) -> Job:
        self.scene.file(f"{name}/a")
        return self.scene.publish(PublishItem(str(self.scene.root / name), "store/"))

    def begin(self, count: int) -> list[Job]:
        """Walks that hang."""
        made = [self.job(f"gone{n}") for n in range(count)]
        self.scene.publisher._claim()
        for _ in made:
            assert self.hangs.acquire(timeout=20)
        return made


@pytest.fixture
def gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gone]:
    made = Gone(scene, monkeypatch)
    yield made
    made.back.set()
    assert scene.publisher._walks.wait(20)


def test_walks_that_hang_hold_no_place(scene: Scene, gone: Gone) -> None:
    jobs = gone.begin(2)
    good = gone.job("good")
    scene.publisher._claim()
    assert scene.job(good).status is JobStatus.QUEUED, "they may be slow"
    gone.now += module.STILL
    for _ in range(2):
        scene.publisher._claim()
    wait_for(lambda: scene.ledger.files.totals(good.id).total_files == 1)
    told = [event.fields["job"] for event in scene.report.named("publish.hung")]
    assert sorted(told) == sorted(job.id for job in jobs), "each is told once"
    gone.back.set()
    assert scene.publisher._walks.wait(20)
    assert [scene.ledger.files.totals(job.id).total_files for job in jobs] == [1, 1], "they went on"


def test_no_more_walks_hang_than_there_may(scene: Scene, gone: Gone) -> None:
    for _ in range(2):
        gone.begin(2)
        gone.now += module.STILL
    gone.begin(1)
    gone.now += module.STILL
    good = gone.job("good")
    scene.publisher._claim()
    assert scene.job(good).status is JobStatus.QUEUED


def test_a_job_whose_walk_hangs_is_walked_by_one_at_a_time(scene: Scene, gone: Gone) -> None:
    [job] = gone.begin(1)
    assert scene.publisher.pause(job.id)
    assert scene.publisher.resume(job.id)
    scene.publisher._claim()
    assert scene.job(job).status is JobStatus.RUNNING
    assert not gone.hangs.acquire(blocking=False)
    gone.back.set()
    assert scene.publisher._walks.wait(20)
    assert scene.ledger.files.totals(job.id).total_files == 0, "the first was told to leave"
    scene.publisher._claim()
    assert scene.publisher._walks.wait(20)
    assert scene.ledger.files.totals(job.id).total_files == 1


def test_a_service_ends_though_a_walk_hangs(scene: Scene, gone: Gone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDING", 0.0)
    scene.publisher.start()
    job = gone.job("gone")
    assert gone.hangs.acquire(timeout=20)
    scene.publisher.close()
    assert scene.job(job).status is JobStatus.QUEUED
    gone.back.set()
    assert scene.publisher._walks.wait(20)
    assert scene.ledger.files.totals(job.id).total_files == 0, "another service walks it"


def test_neither_results_nor_the_look_for_lost_tasks_look_at_paths(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They serve all jobs, and one of those may lie where nobody answers."""
    scene.rules[""] = Rules((str(scene.root),))
    scene.file("b")
    scene.store.faults["write", "store/b"] = broken()
    scene.publish()
    scene.walk()
    [lease] = scene.lease()
    body = scene.do(lease)
    scene.queue.ack([(lease, body)])

    def touched(*_: object, **__: object) -> str:
        raise AssertionError("a path was looked at")

    for name in ("realpath", "exists", "lexists", "isdir"):
        monkeypatch.setattr(os.path, name, touched)
    assert scene.publisher.collect(0.0) == 1
    scene.publisher._reconcile()
    assert scene.report.named("publish.fault") == []
