"""The shapes of the general API: what is sent and what is answered, as the description of the API shows them.

Times are RFC 3339 in UTC, sizes bytes, durations seconds. Lists come in pages: `next` is the `after` of the next
one, and missing from the last.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from litestar.params import HeaderParameter, QueryParameter

from dunlin.queue.base import QueueStats, TaskInfo, WorkerInfo
from dunlin.queue.ledger.words import ApiKey, File, Item, Job, Schedule, User
from dunlin.web.check_api import stamp

T = TypeVar("T")

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key", min_length=1, max_length=200, pattern="^[!-~]+$",
        description="The same key with the same body gives the job that the first request made.",
    ),
]  # fmt: skip
After = Annotated[str, QueryParameter(name="after", max_length=200, description="`next` of the page before.")]
Count = Annotated[int, QueryParameter(name="count", ge=1, le=500, description="How many at most.")]
Search = Annotated[str, QueryParameter(name="search", max_length=200, description="What a name must hold.")]

Priority = Annotated[int, msgspec.Meta(ge=-100, le=100)] | Literal["low", "normal", "high"]
"""A step is worth a minute of waiting; low is -10, high 10."""

JobKind = Literal["sync", "check", "publish", "backup", "scan", "restore", "verify", "forget", "prune"]
ListedKind = Literal[
    "sync", "check", "publish", "hook", "publish-items", "backup", "scan", "restore", "verify", "forget", "prune"
]
JobWord = Literal["queued", "running", "paused", "completed", "failed", "cancelled", "interrupted"]
RoleWord = Literal["viewer", "operator", "admin"]
TaskWord = Literal["waiting", "leased", "dead"]
FileWord = Literal["pending", "uploaded", "skipped", "failed", "cancelled"]


class Page(msgspec.Struct, Generic[T], omit_defaults=True):
    """A page of a list."""

    items: list[T]
    next: str | None = None


class NewJob(msgspec.Struct, forbid_unknown_fields=True):
    """A job to be done.

    `options` of a sync or check: `source`, `destination`, and every option of `dunlin sync` by the name that it has in
    the list `jobs` of a configuration file. Of a publish: `items`, as /publish takes them. Of a backup, scan, restore,
    verify, forget or prune: `repository`, a name of the configuration, and the options of the command of that name.
    """

    kind: JobKind
    options: dict[str, Any]
    priority: Priority = 0
    tenant: Annotated[str, msgspec.Meta(max_length=100)] = ""


class JobShown(msgspec.Struct, omit_defaults=True):
    """A job. `counts`: how far it is; `result`: when it is over."""

    id: str
    kind: str
    status: JobWord
    tenant: str
    created_by: str
    label: str
    created: str
    counts: dict[str, int]
    started: str | None = None
    ended: str | None = None
    options: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str = ""
    priority: int = 0
    wish: str = ""


def _moment(value: float | None) -> str | None:
    return None if value is None else stamp(value)


def _object(raw: bytes) -> dict[str, Any] | None:
    found = msgspec.json.decode(raw) if raw else None
    return found if isinstance(found, dict) else None


def job_shown(job: Job, whole: bool = True) -> JobShown:
    """A job as it is answered; a list leaves options and results out."""
    return JobShown(
        id=job.id,
        kind=job.kind,
        status=job.status.value,
        tenant=job.tenant,
        created_by=job.created_by,
        label=job.label,
        created=stamp(job.created),
        counts=dict(job.counts),
        started=_moment(job.started),
        ended=_moment(job.ended),
        options=_object(job.options) if whole else None,
        result=_object(job.result) if whole else None,
        error=job.error,
        priority=job.priority,
        wish=job.wish.value,
    )


class FileShown(msgspec.Struct):
    """A file of a publish job."""

    number: int
    path: str
    key: str
    size: int
    status: str
    attempt: int
    updated: str
    error: str


def file_shown(file: File) -> FileShown:
    """A file as it is answered. Bytes that are no UTF-8 are escaped."""
    return FileShown(
        file.number, legible(file.path), legible(file.key), file.size, file.status.word, file.attempt,
        stamp(file.updated), file.error,
    )  # fmt: skip


def legible(name: str) -> str:
    """A name as JSON can hold it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class ItemShown(msgspec.Struct):
    """An item of a publish job (Sync4Loong's SyncItemResult, and more)."""

    number: int
    source: str
    to: str
    total_files: int
    uploaded_files: int
    skipped_files: int
    failed_files: int
    walked: bool
    error: str


def item_shown(item: Item) -> ItemShown:
    """An item as it is answered."""
    return ItemShown(
        item.number, legible(item.source), item.to, item.total_files, item.uploaded, item.skipped, item.failed,
        item.walked, item.error,
    )  # fmt: skip


class NewScheduleForm(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule: `cron` (five fields, in `zone`) or `interval` (seconds) says when its job is started.

    `tenant`: whose it is, where a key of the whole service makes it.
    """

    kind: JobKind
    options: dict[str, Any]
    cron: Annotated[str, msgspec.Meta(max_length=200)] = ""
    interval: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 0.0
    zone: Annotated[str, msgspec.Meta(max_length=100)] = "UTC"
    enabled: bool = True
    overlap: bool = False
    priority: Priority = 0
    tenant: Annotated[str, msgspec.Meta(max_length=100)] = ""


class ScheduleShown(msgspec.Struct, omit_defaults=True):
    """A schedule and how it stands."""

    name: str
    kind: str
    options: dict[str, Any]
    cron: str
    interval: float
    zone: str
    enabled: bool
    overlap: bool
    tenant: str
    created_by: str
    created: str
    passed_over: int
    last_run: str | None = None
    last_job: str | None = None
    next_run: str | None = None


def schedule_shown(schedule: Schedule) -> ScheduleShown:
    """A schedule as it is answered."""
    new = schedule.new
    return ScheduleShown(
        new.name, "publish" if new.kind == "publish-items" else new.kind, _object(new.options) or {}, new.cron,
        new.interval, new.zone, new.enabled, new.overlap,
        new.tenant, schedule.created_by, stamp(schedule.created), schedule.passed_over, _moment(schedule.last_run),
        schedule.last_job or None, _moment(schedule.next_run),
    )  # fmt: skip


class LocationShown(msgspec.Struct):
    """A place of the configuration; what lets one in is never shown."""

    name: str
    kind: str


class QueueShown(msgspec.Struct):
    """A queue. Ages in seconds."""

    queue: str
    waiting: int
    delayed: int
    leased: int
    dead: int
    news: int
    put: int
    done: int
    failed: int
    lost: int
    oldest: float
    paused: bool


def queue_shown(stats: QueueStats) -> QueueShown:
    """A queue as it is answered."""
    return QueueShown(*stats)


class TaskShown(msgspec.Struct):
    """A task of a queue. `age` and `due` in seconds, `size` of its payload in bytes."""

    id: str
    queue: str
    key: str
    label: str
    status: TaskWord
    priority: int
    attempt: int
    retries: int
    worker: str
    error: str
    age: float
    due: float
    size: int


def task_shown(task: TaskInfo) -> TaskShown:
    """A task as it is answered."""
    words: dict[str, Any] = {
        name: legible(each) if isinstance(each, str) else each for name, each in task._asdict().items()
    }
    return TaskShown(**{**words, "status": task.status.value})


class WorkerShown(msgspec.Struct):
    """A worker that is alive."""

    worker: str
    host: str
    pid: int
    slots: int
    busy: int
    queues: list[str]
    labels: list[str]
    version: str
    age: float
    seen: float


def worker_shown(worker: WorkerInfo) -> WorkerShown:
    """A worker as it is answered."""
    shown = worker._asdict() | {"queues": list(worker.queues), "labels": list(worker.labels)}
    return WorkerShown(**shown)


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """An API key to be made."""

    label: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    role: RoleWord = "operator"
    tenant: Annotated[str, msgspec.Meta(max_length=100)] = ""


class KeyShown(msgspec.Struct, omit_defaults=True):
    """An API key. `text` is there once, when it was made."""

    id: str
    label: str
    role: RoleWord
    tenant: str
    created_by: str
    created: str
    last_used: str | None = None
    revoked: str | None = None
    text: str | None = None


def key_shown(key: ApiKey, text: str | None = None) -> KeyShown:
    """A key as it is answered."""
    return KeyShown(
        key.id, key.label, key.role.value, key.tenant, key.created_by, stamp(key.created), _moment(key.last_used),
        _moment(key.revoked), text,
    )  # fmt: skip


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody who shall log in with a password."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    password: Annotated[str, msgspec.Meta(min_length=8, max_length=1000)]
    role: RoleWord = "viewer"
    tenant: Annotated[str, msgspec.Meta(max_length=100)] = ""


class UserShown(msgspec.Struct):
    """Somebody who logs in with a password."""

    name: str
    role: RoleWord
    tenant: str
    created: str


def user_shown(user: User) -> UserShown:
    """A user as it is answered."""
    return UserShown(user.name, user.role.value, user.tenant, stamp(user.created))


class RunShown(msgspec.Struct, omit_defaults=True):
    """A run of a sync, from the state file."""

    id: int
    pair: int
    source: str
    destination: str
    status: str
    message: str
    started: str
    counts: dict[str, float]
    ended: str | None = None


class Health(msgspec.Struct):
    """Whether the service can work: `ok`, or for each part what is wrong with it."""

    status: Literal["ok", "failing"]
    parts: dict[str, str]
