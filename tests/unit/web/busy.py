"""A service in the middle of its work: jobs of every status, files, queues, workers and schedules that never were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dunlin.jobs.publisher import COUNTED
from dunlin.queue.base import NewTask, WorkerInfo
from dunlin.queue.ledger.words import (
    FileResult,
    FileStatus,
    JobStatus,
    NewFile,
    NewItem,
    NewJob,
    NewSchedule,
    UnitResult,
)
from dunlin.web.monitor.depth import Depth
from tests.unit.web.served import Served

REASON = "put store/nix/b7c1.tar: the store says 503 after 8 requests"


class Made(NamedTuple):
    """Ids of what was made."""

    running: str
    paused: str
    failed: str
    queued: str
    published: str
    dead: str


def submit(made: Served, label: str, kind: str = "sync", tenant: str = "default", **options: object) -> str:
    """A job on record; its id."""
    asked = {"source": label, "destination": "s3://archive/photos", "archive": True, **options}
    new = NewJob(kind, msgspec.json.encode(asked), tenant, "ann", f"{label} -> s3://archive/photos")
    return made.services.ledger.jobs.submit(new).job.id


def publish(made: Served, names: Sequence[str], tenant: str = "default") -> str:
    """A publish job whose files have these names; every third one failed, and one still waits."""
    ledger = made.services.ledger
    new = NewJob("publish", b'{"items": 1}', tenant, "ci", "/data/nix-store -> store/")
    job = ledger.jobs.submit(new, [NewItem("/data/nix-store", "store/")]).job.id
    ledger.jobs.move(job, JobStatus.RUNNING)
    files = [NewFile(name, f"store/{name}", 4096 * (at + 1)) for at, name in enumerate(names)]
    [unit] = ledger.files.add_units(job, [files])
    ledger.files.walked(job, 0)
    told = [
        FileResult(at, FileStatus.FAILED, REASON) if at % 3 == 2 else FileResult(at, FileStatus.UPLOADED)
        for at in range(len(files) - 1)
    ]
    ledger.files.apply([UnitResult(job, unit.number, 1, told, "worker-1", False)])
    totals = ledger.files.totals(job)  # as the publisher counts
    ledger.jobs.progress(job, {name: getattr(totals, name) for name in COUNTED})
    return job


def busy(made: Served, names: Sequence[str] = ("bin/bash", "lib/libc.so.6", "nix/b7c1.tar", "share/doc")) -> Made:
    """Fill ledger and queue; `names` are those of files, and stand in labels, too."""
    jobs, queue = made.services.ledger.jobs, made.services.queue
    for tenant in made.services.settings().tenants or ("default",):
        from dunlin.queue.ledger.words import Tenant

        made.services.ledger.accounts.put_tenant(Tenant(tenant))
    done = [submit(made, f"/srv/{name}") for name in ("mail", "home", "www")]
    for id in done:
        jobs.move(id, JobStatus.RUNNING)
        jobs.progress(id, {"copied_files": 1_204, "copied_bytes": 88_211_034})
        jobs.move(id, JobStatus.COMPLETED, result=b'{"exit_code": 0}')
    failed = submit(made, "/srv/music")
    jobs.move(failed, JobStatus.RUNNING)
    jobs.move(failed, JobStatus.FAILED, error="cannot write /mnt/archive: no space left on device")
    paused = submit(made, "/srv/video")
    jobs.move(paused, JobStatus.RUNNING)
    jobs.progress(paused, {"copied_files": 40, "pending_files": 160})
    jobs.move(paused, JobStatus.PAUSED)
    published = publish(made, names)
    running = submit(made, "/srv/photos", bwlimit="20M")
    jobs.move(running, JobStatus.RUNNING)
    counts = {"scanned_files": 148_211, "copied_files": 41_730, "copied_bytes": 190_884_416_000}
    jobs.progress(running, counts | {"pending_files": 22_470, "pending_bytes": 101_000_000_000})
    queued = submit(made, "/srv/backup", "check")

    unit = {"job": published, "unit": 7, "files": [[name.encode("utf-8", "surrogateescape"), 4096] for name in names]}
    payload = msgspec.msgpack.encode(unit)
    labels = [name.encode("utf-8", "replace").decode().replace("\x00", "") for name in names]
    tasks = [NewTask("publish", f"unit-{at}", payload, label=labels[at % len(labels)]) for at in range(60)]
    tasks += [NewTask("run-1a", f"dir-{at}", payload, retries=0, label=f"list 2026/{at:02}") for at in range(9)]
    queue.put(tasks)
    queue.put([NewTask("publish", "later", payload, delay=600.0, label="again in ten minutes")])
    for number, slots in ((1, 8), (2, 4)):
        worker = f"worker-{number}"
        queue.hello(WorkerInfo(worker, f"node{number}.example", 4711, slots, 3, (), ("nas",), "1.0", 0, 0), 600.0)
        queue.lease(worker, 3, 600.0)
    [lease] = queue.lease("worker-2", 1, 600.0)
    queue.nack(lease, REASON, final=True)
    [done_one] = queue.lease("worker-1", 1, 600.0)
    queue.ack([(done_one, b"")])
    queue.pause("run-1a")

    schedules = made.services.ledger.schedules
    options = b'{"source": "/srv/photos", "destination": "s3://archive/photos"}'
    tenant = next(iter(made.services.settings().tenants), "default")
    label = "/srv/photos -> s3://archive/photos"
    schedules.put(NewSchedule("nightly", "sync", options, tenant, "30 2 * * *", zone="Europe/Vienna", label=label))
    schedules.put(NewSchedule("hourly-check", "check", options, tenant, interval=3600.0, enabled=False))
    return Made(running, paused, failed, queued, published, lease.id)


def hour(depth: Depth) -> None:
    """Looks of an hour in `depth`, which has none yet: a burst that two workers carry off."""
    done = 0
    for at in range(720):
        wave = max(0.0, 4000 * math.exp(-(((at - 200) / 90) ** 2)) + 1500 * math.exp(-(((at - 520) / 60) ** 2)))
        done += int(20 + wave / 40)
        depth._kept.append((5.0 * at, int(wave), min(12, int(wave)), 1, done))
