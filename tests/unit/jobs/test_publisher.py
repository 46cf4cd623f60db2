"""The publisher on a real ledger and the embedded queue: once and only once, whatever is done twice, lost or late."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import publisher as module
from dunlin.jobs.publish import PublishItem, Rules, options_of
from dunlin.jobs.publish_results import sync_result, unit_key, unit_of
from dunlin.jobs.publish_tasks import PublishSettings
from dunlin.jobs.publisher import Publisher
from dunlin.queue.base import Lease, NewTask
from dunlin.queue.ledger import Job, JobStatus, Ledger, Wish, open_ledger
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.stores.memory import MemoryStore
from dunlin.workers.publishing import FileOutcome, Tools, UnitOutcome, pack, publish_unit, unpack_unit

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
        self.cached: dict[str, int] = {}
        self.uploads: list[int] = []
        self.publisher = self.service("service")

    def service(self, owner: str) -> Publisher:
        return Publisher(
            self.ledger,
            self.queue,
            lambda: self.settings,
            self.report,
            owner=owner,
            uploads=self,
            uploaded=self.uploads.append,
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
        self.publisher._work_on(claimed, None)

    def lease(self, count: int = 100, seconds: float = 60.0, worker: str = "w") -> list[Lease]:
        return self.queue.lease(worker, count, seconds)

    def do(self, lease: Lease, **tools: Any) -> bytes:
        made = Tools(lambda place: self.store, lambda body: self.queue.tell(lease, body), attempt=lease.attempt)
        return publish_unit(lease.payload, made._replace(sleep=lambda seconds: None, **tools))

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
    scene.publisher._work_on(claimed, None)
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


def test_jobs_of_a_service_that_died_are_taken_over(scene: Scene) -> None:
    scene.file("a")
    job = scene.publish()
    assert scene.ledger.jobs.claim("dead", -1.0, ("publish",))
    scene.publisher._keep_office()
    assert scene.job(job).status is JobStatus.QUEUED


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
