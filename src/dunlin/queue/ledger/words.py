"""The words of the ledger: jobs, items, units, files, accounts, schedules, as plain values.

Times are seconds since 1970 (UTC), ids of jobs are texts that sort by the time of submission. Paths and keys are
`str` with ``surrogateescape``, as everywhere. Nothing here ever holds a secret: of passwords, keys and tokens the
ledger keeps digests, and what is shown once (`MadeKey`, `MadeSession`) is given to whoever asked and not kept.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, int] = MappingProxyType({})


class JobStatus(enum.StrEnum):
    """How a job stands; `jobs.ALLOWED` says what may follow what."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
"""Nothing happens to these of itself; an interrupted job is to be continued."""


class Wish(enum.StrEnum):
    """What somebody wants of a job that another process runs; that process looks (`Jobs.wishes`)."""

    NONE = ""
    PAUSE = "pause"
    CANCEL = "cancel"


class FileStatus(enum.IntEnum):
    """What became of a file of a job."""

    PENDING = 0
    UPLOADED = 1
    SKIPPED = 2
    FAILED = 3
    CANCELLED = 4

    @property
    def word(self) -> str:
        """How people read it."""
        return self.name.lower()


class UnitStatus(enum.IntEnum):
    """A unit waits for its result (wherever it is), has it, or was called off."""

    OPEN = 0
    DONE = 1
    CANCELLED = 2


class Role(enum.StrEnum):
    """Who may do what: look; start and stop work; manage access."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether somebody of this role may do what `needed` may."""
        order = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
        return order.index(self) >= order.index(needed)


# ---- jobs ----


class NewJob(NamedTuple):
    """What is asked for.

    Attributes:
        kind: which job: "publish", "sync", "check", ...
        options: JSON; never secrets.
        tenant: whose it is; "": of nobody in particular.
        created_by: the name of the key or user.
        label: what people see in a list, and search: "/data/store -> store/".
        priority: higher ones are claimed first.
        key: the idempotency key, unique for its tenant; "": none.
        body: the request as it came, compared when a key is used again; b"": `kind` and `options` are.
        host: the label of the machine whose paths it names; "": it names none, or such as all have.
    """

    kind: str
    options: bytes = b"{}"
    tenant: str = ""
    created_by: str = ""
    label: str = ""
    priority: int = 0
    key: str = ""
    body: bytes = b""
    host: str = ""


class Share(NamedTuple):
    """What one tenant may have of those who do jobs. 0: as much as there is.

    Attributes:
        most: jobs at a time by tenant, whoever does them. each: of any one tenant at a time by one owner.
    """

    most: Mapping[str, int] = NOTHING
    each: int = 0


class Job(NamedTuple):
    """A job as the ledger has it.

    Attributes:
        result: JSON, when it has ended; b"": none.
        counts: how far it is, as `Jobs.progress` was last told.
        error: one line.
        started, ended: when it began last, and ended; None: not yet.
        owner: the process that runs it; "" when none does.
        wish: what is wanted of that process.
        host: as in `NewJob`.
    """

    id: str
    kind: str
    tenant: str
    created_by: str
    label: str
    status: JobStatus
    options: bytes
    result: bytes
    counts: Mapping[str, int]
    error: str
    created: float
    started: float | None
    ended: float | None
    priority: int
    key: str
    owner: str
    wish: Wish
    host: str = ""


class Submitted(NamedTuple):
    """`new` is False where the idempotency key was known: `job` is the first one then."""

    job: Job
    new: bool


# ---- the files of a job ----


class NewItem(NamedTuple):
    """One line of a publish request."""

    source: str
    to: str
    delete_after_sync: bool = False
    overwrite: bool = False


class Item(NamedTuple):
    """An item and what became of its files, so far.

    Attributes:
        number: its place in the request, from 0.
        total_files, total_bytes: as far as it was walked.
        uploaded, skipped, failed, cancelled: files; the rest is pending.
        uploaded_bytes: of uploaded files, as the results told.
        walked: all its files are known.
        error: why it could not be walked, one line.
    """

    job: str
    number: int
    source: str
    to: str
    delete_after_sync: bool
    overwrite: bool
    total_files: int
    total_bytes: int
    uploaded: int
    skipped: int
    failed: int
    cancelled: int
    uploaded_bytes: int
    walked: bool
    error: str


class NewFile(NamedTuple):
    """A file to be uploaded.

    Attributes:
        path: below the source of its item; names the file within the item.
        key: where it goes.
        size: bytes.
        item: the number of its item.
    """

    path: str
    key: str
    size: int
    item: int = 0


class Unit(NamedTuple):
    """A unit as it stands.

    Attributes:
        attempt: the highest hand-out that the ledger knows of; 0: none.
        files, reported: how many it has, and how many have an outcome.
        tries: how often its files failed in units before it.
    """

    job: str
    number: int
    attempt: int
    status: UnitStatus
    files: int
    reported: int
    tries: int


class OpenUnit(NamedTuple):
    """A unit that has to be done.

    Attributes:
        attempt, tries: as in `Unit`.
        files: in their places (`FileResult.place`).
        pending: the places of those that have no outcome.
    """

    job: str
    number: int
    attempt: int
    tries: int
    files: tuple[NewFile, ...]
    pending: tuple[int, ...]


class FileResult(NamedTuple):
    """What became of one file.

    Attributes:
        place: the file's place in its unit, from 0.
        status: UPLOADED, SKIPPED or FAILED.
        error: one line, for FAILED.
        size: its size as it was uploaded, bytes; -1: as when it was walked.
    """

    place: int
    status: FileStatus
    error: str = ""
    size: int = -1


class UnitResult(NamedTuple):
    """What a worker, or the queue, tells of a unit.

    Attributes:
        attempt: the hand-out that it comes from; the fence.
        files: what became of them; of one that is named twice, the last counts.
        final: the unit is finished; files that nobody told of have failed, with `error`.
        error: one line, for a unit that is dead.
    """

    job: str
    unit: int
    attempt: int
    files: Sequence[FileResult]
    worker: str = ""
    final: bool = True
    error: str = ""


class File(NamedTuple):
    """A file of a job. `number`: within the job, in the order of the walk; `attempt`: that its outcome comes from."""

    job: str
    number: int
    item: int
    path: str
    key: str
    size: int
    status: FileStatus
    attempt: int
    worker: str
    updated: float
    error: str


class Totals(NamedTuple):
    """A job's files, added up.

    Attributes:
        items: how many there are.
        walked: all items are walked to their end.
        open_units: units without a result.
    """

    items: int
    walked: bool
    open_units: int
    total_files: int
    total_bytes: int
    uploaded: int
    skipped: int
    failed: int
    cancelled: int
    uploaded_bytes: int

    @property
    def pending(self) -> int:
        """Files without an outcome."""
        return self.total_files - self.uploaded - self.skipped - self.failed - self.cancelled

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.walked and not self.open_units


# ---- who may do what ----


class Tenant(NamedTuple):
    """A tenant. `caps`: numbers by name ("jobs", "files"); what they mean is for whoever asks."""

    name: str
    allowed_roots: tuple[str, ...] = ()
    allowed_prefixes: tuple[str, ...] = ()
    caps: Mapping[str, int] = NOTHING
    created: float = 0.0


class User(NamedTuple):
    """Somebody who logs in with a password."""

    name: str
    role: Role
    tenant: str
    created: float


class ApiKey(NamedTuple):
    """A key of a program; its secret is not kept. `revoked`: when; None: it is good."""

    id: str
    label: str
    role: Role
    tenant: str
    created_by: str
    created: float
    last_used: float | None
    revoked: float | None


class MadeKey(NamedTuple):
    """A new key and its text (``dk_ID_SECRET``), which is shown once."""

    key: ApiKey
    text: str


class Session(NamedTuple):
    """A browser that is logged in. `csrf`: what its forms must carry."""

    user: User
    csrf: str
    created: float
    expires: float


class MadeSession(NamedTuple):
    """A new session and its token, which goes into the cookie."""

    session: Session
    token: str


# ---- when ----


class NewSchedule(NamedTuple):
    """What is to be started again and again.

    Attributes:
        name: unique within the tenant.
        kind, options: of the job, as in `NewJob`.
        cron: five fields, as in crontab(5); "": `interval` says when.
        interval: seconds, from the time it was saved.
        zone: the time zone of `cron`, an IANA name.
        overlap: start a job also while the one before has not ended.
        host: of its jobs, as in `NewJob`.
    """

    name: str
    kind: str
    options: bytes = b"{}"
    tenant: str = ""
    cron: str = ""
    interval: float = 0.0
    zone: str = "UTC"
    enabled: bool = True
    overlap: bool = False
    label: str = ""
    priority: int = 0
    host: str = ""


class Schedule(NamedTuple):
    """A schedule and how it stands.

    Attributes:
        last_run: when it last started a job; None: never.
        last_job: that job's id, "": none.
        next_run: when it is due; None: it is not enabled.
        passed_over: times that it was due while the job before still ran.
    """

    new: NewSchedule
    created_by: str
    created: float
    last_run: float | None
    last_job: str
    next_run: float | None
    passed_over: int


class Due(NamedTuple):
    """A schedule that came due at `at`, and the job that is queued for it; None: the one before still runs."""

    schedule: Schedule
    at: float
    job: Job | None


# ---- the rest ----


class Existence(NamedTuple):
    """Whether a key exists: `size` in bytes (0 where it does not), and when that was seen."""

    exists: bool
    size: int
    timestamp: float


class Deed(NamedTuple):
    """Something that somebody did: a line of the audit."""

    number: int
    time: float
    tenant: str
    who: str
    verb: str
    target: str
    detail: str


class Keep(NamedTuple):
    """How long things stay; seconds. The rules are in `thinning`.

    Attributes:
        files: rows of files and units of a job after it ended.
        jobs: jobs that ended, with their items and failures.
        most_jobs: of one tenant, however young.
        deeds: the audit.
    """

    files: float = 7 * 86_400.0
    jobs: float = 30 * 86_400.0
    most_jobs: int = 10_000
    deeds: float = 365 * 86_400.0
