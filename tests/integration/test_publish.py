"""Publishing for real: S3 servers, the embedded queue, worker processes that are killed, an sshd."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dunlin.jobs.existence import Existence, ExistenceOptions, Found
from dunlin.jobs.hook import CommandHook, Hook
from dunlin.jobs.publish import PublishItem, Rules
from dunlin.jobs.publish_results import sync_result
from dunlin.jobs.publish_tasks import PublishSettings
from dunlin.jobs.publisher import Publisher
from dunlin.pace.stop import Stop
from dunlin.queue.ledger import Job, JobStatus, open_ledger
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.stores.base import Store
from dunlin.stores.login import Login
from dunlin.stores.open import Far, open_store
from dunlin.workers.inside import Inside, work_inside
from dunlin.workers.publish_task import QUEUE, PublishTasks, TaskOptions
from tests.acceptance.spread import free
from tests.servers.faults import Rules as Faults
from tests.servers.faults import faults
from tests.servers.s3 import S3
from tests.servers.sshd import Sshd, sshd

CHECKOUT = Path(__file__).resolve().parents[2]
GOING = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.INTERRUPTED)


class Service:
    """A publisher, the look-ups and one worker, in this process."""

    def __init__(
        self, root: Path, server: S3, bucket: str, worker: bool = True, queue: str = "", ledger: str = ""
    ) -> None:
        self.root, self.server, self.bucket = root, server, bucket
        self.report = RecordingReport()
        self.queue = open_queue(queue or str(root / "queue.db"))
        self.ledger = open_ledger(ledger or str(root / "ledger.db"))
        self.store = self.open(f"s3://{bucket}")
        self.existence = Existence(
            lambda: self.store, self.ledger.existence, ExistenceOptions(bucket, ("store/",)), self.report
        )
        self.publisher = Publisher(
            self.ledger,
            self.queue,
            lambda: PublishSettings(f"s3://{bucket}", bucket),
            self.report,
            owner="service",
            rules=lambda tenant: Rules((str(root),), ("store/",)),
            uploads=self.existence,
        )
        self.stop = Stop()
        self.tasks = PublishTasks(
            lambda place: (place, self.login()),
            TaskOptions(notes=self.existence, recorded=self.queue.read),
            self.report,
        )
        self.worker = threading.Thread(
            target=work_inside, args=(self.queue, {QUEUE: self.tasks}, Inside("host"), self.stop, self.report)
        )
        self.publisher.start()
        if worker:
            self.worker.start()

    def open(self, place: str) -> Store:
        return open_store(place, far=Far(login=self.login(), listings=1))

    def login(self) -> Login:
        keys = {"access_key_id": self.server.key_id, "secret_access_key": self.server.secret}
        return Login({**keys, "endpoint": self.server.url})

    def close(self) -> None:
        self.stop.request("the end of the test")
        if self.worker.ident is not None:
            self.worker.join(60)
        self.tasks.close()
        self.publisher.close()
        self.existence.close()
        self.store.close()
        self.queue.close()
        self.ledger.close()

    def publish(self, source: Path, to: str = "store/", delete: bool = False, overwrite: bool = False) -> Job:
        rules = Rules((str(self.root),), ("store/",))
        return self.publisher.publish([PublishItem(str(source), to, delete, overwrite)], rules)

    def until_done(self, job: Job) -> Job:
        return self.until(lambda: (now := self.now(job)).status not in GOING and now)

    def now(self, job: Job) -> Job:
        found = self.ledger.jobs.get(job.id)
        assert found is not None
        return found

    def until(self, what: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 60
        while not (found := what()):
            assert time.monotonic() < limit, self.report.events
            time.sleep(0.01)
        return found

    def result(self, job: Job) -> dict[str, Any]:
        return sync_result(self.now(job), self.ledger.files, time.time())

    def counts(self, job: Job) -> tuple[int, int, int, int]:
        totals = self.ledger.files.totals(job.id)
        return totals.total_files, totals.uploaded, totals.skipped, totals.failed

    def objects(self) -> dict[str, int]:
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}
        client.close()
        return found


@pytest.fixture(params=["moto_s3", "rclone_s3"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    server: S3 = request.getfixturevalue(request.param)
    made = Service(tmp_path, server, server.bucket())
    yield made
    made.close()


def tree(root: Path, files: int = 60) -> Path:
    folder = root / "folder"
    for n in range(files):
        place = folder / f"d{n % 4}" / f"file {n}é"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(hashlib.sha256(str(n).encode()).digest() * (n % 5))
    (folder / "empty").write_bytes(b"")
    return folder


def keys(folder: Path, to: str = "store/") -> dict[str, int]:
    return {
        f"{to}{path.relative_to(folder)}": path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_folder_goes_up_and_again_nothing_does(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path)
    job = service.until_done(service.publish(folder))
    assert (job.status, job.error) == (JobStatus.COMPLETED, "")
    assert service.counts(job) == (61, 61, 0, 0)
    assert service.objects() == keys(folder)
    assert service.result(job)["failed_files"] == []
    again = service.until_done(service.publish(folder))
    assert service.counts(again) == (61, 0, 61, 0)
    forced = service.until_done(service.publish(folder, overwrite=True))
    assert service.counts(forced) == (61, 61, 0, 0)


def test_another_size_is_uploaded(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path, 3)
    service.until_done(service.publish(folder))
    (folder / "empty").write_bytes(b"no more")
    job = service.until_done(service.publish(folder))
    assert service.counts(job) == (4, 1, 3, 0)
    assert service.objects()["store/empty"] == 7


def test_a_large_file_goes_up_in_parts(service: Service, tmp_path: Path) -> None:
    data = os.urandom((12 << 20) + 7)
    (tmp_path / "large").write_bytes(data)
    job = service.until_done(service.publish(tmp_path / "large", "store/large"))
    assert service.counts(job) == (1, 1, 0, 0)
    client = service.server.client()
    got = client.get_object(Bucket=service.bucket, Key="store/large")["Body"].read()
    client.close()
    assert got == data


def test_files_are_deleted_after_they_are_there(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path)
    wanted = keys(folder)
    job = service.until_done(service.publish(folder, delete=True))
    assert service.counts(job) == (61, 61, 0, 0)
    service.until(lambda: not list(folder.iterdir()))
    assert folder.is_dir()
    assert service.objects() == wanted


def test_skipped_files_are_deleted_where_the_content_is_the_same(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path, 3)
    service.until_done(service.publish(folder))
    (folder / "d1/file 1é").write_bytes(b"x" * 32)  # the same size
    job = service.until_done(service.publish(folder, delete=True))
    assert service.counts(job) == (4, 0, 4, 0)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == ["d1/file 1é"]


def test_look_ups_know_of_uploads(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path, 3)
    assert not service.existence.check("store/empty").exists
    assert service.existence.check("store/empty").cached
    service.until_done(service.publish(folder))
    found = service.existence.check("store/empty")
    assert (found.exists, found.cached, found.size) == (True, True, 0)
    assert service.existence.invalidate("store/d2/file 2é")
    assert service.existence.check("store/d2/file 2é") == Found(True, False, pytest.approx(time.time(), abs=60), 64)


def test_a_bucket_that_is_not_there(service: Service, tmp_path: Path) -> None:
    folder = tree(tmp_path, 3)
    service.publisher._settings = lambda: PublishSettings("s3://absent-bucket", "absent-bucket", max_retry=0)
    job = service.until_done(service.publish(folder))
    assert job.status is JobStatus.FAILED
    assert service.counts(job) == (4, 0, 0, 4)
    assert sorted(service.result(job)["failed_files"]) == sorted(str(p) for p in folder.rglob("*") if p.is_file())


def test_a_store_that_stumbles(moto_s3: S3, tmp_path: Path) -> None:
    """Every request is tried again by the store itself: no file is lost to a busy minute."""
    folder = tree(tmp_path)
    with faults(moto_s3.url, Faults(busy=0.05, seed=3)) as proxy:
        service = Service(tmp_path, moto_s3.at(proxy.origin), moto_s3.bucket())
        try:
            job = service.until_done(service.publish(folder))
            assert service.counts(job) == (61, 61, 0, 0)
        finally:
            service.close()


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_over_a_server(request: pytest.FixtureRequest, rclone_s3: S3, tmp_path: Path, kind: str) -> None:
    """The queue in Redis, the ledger in a file; or both in PostgreSQL."""
    folder = tree(tmp_path)
    queue = request.getfixturevalue(kind).queue()
    service = Service(tmp_path, rclone_s3, rclone_s3.bucket(), queue=queue, ledger=queue if kind == "postgres" else "")
    try:
        job = service.until_done(service.publish(folder, delete=True))
        assert job.status is JobStatus.COMPLETED
        assert service.counts(job) == (61, 61, 0, 0)
        assert list(folder.iterdir()) == []
        assert service.existence.check("store/empty").cached
    finally:
        service.close()


# ---- processes that die ----

WORKER = """
import json, sys
from dunlin.pace.stop import Stop
from dunlin.queue.open import open_queue
from dunlin.report import NullReport
from dunlin.stores.login import Login
from dunlin.workers.agent import Pace
from dunlin.workers.inside import Inside, work_inside
from dunlin.workers.publish_task import QUEUE, TaskOptions, PublishTasks
name, queue, login = sys.argv[1:]
queue = open_queue(queue)
how = TaskOptions(recorded=queue.read)
tasks = PublishTasks(lambda place: (place, Login(json.loads(login))), how, NullReport())
pace = Pace(lease=3.0, beat=0.5)
work_inside(queue, {QUEUE: tasks}, Inside(name, pace=pace), Stop(), NullReport())
"""


def test_workers_that_are_killed_lose_nothing(rclone_s3: S3, tmp_path: Path) -> None:
    """Each is killed in the middle of its unit, sources being deleted; every file counts once as uploaded."""
    folder = tree(tmp_path, 600)
    wanted = keys(folder)
    service = Service(tmp_path, rclone_s3, rclone_s3.bucket(), worker=False)
    workers: list[subprocess.Popen[bytes]] = []
    with faults(rclone_s3.url, Faults(latency_s=0.05)) as proxy:
        login = {"access_key_id": rclone_s3.key_id, "secret_access_key": rclone_s3.secret, "endpoint": proxy.origin}

        def start() -> None:
            rest = [f"w{len(workers)}", str(tmp_path / "queue.db"), json.dumps(login)]
            workers.append(subprocess.Popen([sys.executable, "-c", WORKER, *rest]))

        try:
            job = service.publish(folder, delete=True)
            for _ in range(3):
                before = len(service.objects())
                start()
                service.until(lambda before=before: len(service.objects()) > before + 5)
                workers[-1].send_signal(signal.SIGKILL)
                workers[-1].wait()
            assert len(service.objects()) < 601
            start()
            ended = service.until_done(job)
            assert service.counts(job) == (601, 601, 0, 0)
            assert ended.status is JobStatus.COMPLETED
            assert service.objects() == wanted
            assert not [path for path in folder.rglob("*") if path.is_file()]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            service.close()


def stopped(worker: subprocess.Popen[bytes], queue: Path) -> bool:
    """Stop a worker, but for one that is just writing into the queue: it would hold up everybody else."""
    worker.send_signal(signal.SIGSTOP)
    while psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.001)
    if free(queue):
        return True
    worker.send_signal(signal.SIGCONT)
    return False


def test_a_worker_that_sleeps_for_long_overwrites_nothing(rclone_s3: S3, tmp_path: Path) -> None:
    """It is stopped while its upload is refused for now; meanwhile another one uploads what the file has become, and
    deletes the source. What the first one holds in memory is the only copy of the old version, and must not win."""
    source = tmp_path / "folder" / "file"
    source.parent.mkdir()
    source.write_bytes(b"old")
    service = Service(tmp_path, rclone_s3, rclone_s3.bucket(), worker=False)
    with faults(rclone_s3.url, Faults(busy=1.0, kinds=frozenset({"write"}))) as proxy:
        login = {"access_key_id": rclone_s3.key_id, "secret_access_key": rclone_s3.secret, "endpoint": proxy.origin}
        rest = ["sleeper", str(tmp_path / "queue.db"), json.dumps(login)]
        sleeper = subprocess.Popen([sys.executable, "-c", WORKER, *rest])
        try:
            job = service.publish(source.parent, delete=True)
            service.until(lambda: proxy.count(kind="write", fault="busy") >= 2)
            service.until(lambda: stopped(sleeper, tmp_path / "queue.db"))
            source.write_bytes(b"newer")
            service.worker.start()
            assert service.until_done(job).status is JobStatus.COMPLETED
            service.until(lambda: not source.exists())
            before = proxy.count(kind="write")
            proxy.rules = Faults()
            sleeper.send_signal(signal.SIGCONT)
            service.until(lambda: any(each.host == "sleeper" and not each.busy for each in service.queue.workers()))
            assert proxy.count(kind="write") == before
        finally:
            sleeper.kill()
            sleeper.wait()
            service.close()
    client = rclone_s3.client()
    assert client.get_object(Bucket=service.bucket, Key="store/file")["Body"].read() == b"newer"
    client.close()


def test_a_service_that_is_killed_goes_on_where_it_was(rclone_s3: S3, tmp_path: Path) -> None:
    folder = tree(tmp_path, 300)
    bucket = rclone_s3.bucket()
    first = Service(tmp_path, rclone_s3, bucket, worker=False)
    job = first.publish(folder)
    first.until(lambda: first.ledger.files.totals(job.id).total_files > 0)
    # As if it were dead: its threads end, and nothing is put in order.
    first.publisher._leave = lambda: None  # type: ignore[method-assign]
    first.close()
    second = Service(tmp_path, rclone_s3, bucket)
    second.ledger.jobs.sweep("service")
    try:
        assert second.until_done(job).status is JobStatus.COMPLETED
        assert second.counts(job) == (301, 301, 0, 0)
        assert second.objects() == keys(folder)
    finally:
        second.close()


# ---- the command after uploads ----


@pytest.fixture(scope="module")
def ssh() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


@pytest.mark.parametrize("status", [0, 3])
def test_the_command_runs_on_another_machine(ssh: Sshd, tmp_path: Path, status: int) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    report = RecordingReport()
    times = [time.time()]
    remote = f"'echo $SSH_CONNECTION; echo indexed >> {tmp_path}/log; exit {status}'"
    hook = Hook(ssh.command(remote), 60.0, 30.0, True)
    command = CommandHook(
        lambda: hook, ledger.jobs, ledger.audit, report, owner="service", clock=lambda: times[0]
    )
    for _ in range(5):
        command.uploaded(100)
    times[0] += 61
    assert command.step()
    assert not command.step()
    assert (tmp_path / "log").read_text() == "indexed\n"
    [job] = ledger.jobs.page(kind="hook")
    result = json.loads(job.result)
    assert result["exit_status"] == status, result
    assert result["output"].startswith("127.0.0.1 ")
    assert job.status is (JobStatus.COMPLETED if status == 0 else JobStatus.FAILED)
    ledger.close()


def test_a_command_on_another_machine_that_hangs(ssh: Sshd, tmp_path: Path) -> None:
    from dunlin.jobs.hook import run_command

    ran = run_command(Hook(ssh.command("'echo begun; sleep 60'"), 1.0, 2.0, True), lambda pid: None, lambda: True)
    assert (ran.output, ran.timed_out) == ("begun\n", True)
    assert ran.error == "ended after 2 seconds: it took too long"
