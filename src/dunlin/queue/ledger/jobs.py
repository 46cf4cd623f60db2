"""Jobs: what was asked for, how it stands, who runs it.

What may follow what::

    queued ──> running ──> completed | failed | cancelled        ended; queued or running again when somebody asks
      │  ^       │  ^
      v  │       v  │
     paused <── paused          running ──> interrupted ──> queued | running

Every change is one transaction that first looks whether it is allowed, so that of two who cancel and finish a job at
the same time one is told that it came too late.

Several services may share a ledger. `claim` hands a queued job to one of them, for so many seconds; `renew` says that
it still works on it. A job whose owner stopped saying so is found by `sweep` and is interrupted: what was done stands
in the ledger and in states, so whoever takes it goes on there. Whoever wants a running job to pause or end tells its
owner with `ask`, who looks for `wishes`.

An idempotency key stands for one request of one tenant for as long as the job is kept: the same request again is given
the same job, another one with that key is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue.ledger.database import Base, Rows, Where, first, line
from dunlin.queue.ledger.ids import Ids, number_of, span_of, text_of
from dunlin.queue.ledger.words import ENDED, Job, JobStatus, NewItem, NewJob, Submitted, Wish
from dunlin.queue.rules import meant, stored

_Q, _R, _P = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED
_C, _F, _X, _I = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.INTERRUPTED

ALLOWED: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        _Q: frozenset({_R, _P, _X, _F, _C, _I}),
        _R: frozenset({_Q, _P, _C, _F, _X, _I}),
        _P: frozenset({_Q, _R, _X, _F, _I}),
        _I: frozenset({_Q, _R, _X, _F}),
        _C: frozenset({_Q, _R}),
        _F: frozenset({_Q, _R}),
        _X: frozenset({_Q, _R}),
    }
)
"""The statuses that may follow each."""

_COUNTS = msgspec.json.Decoder(dict[str, int])


class Jobs:
    """The jobs of a ledger. All verbs raise what the ledger's engine does: NETWORK, LOCKED, NO_SPACE, ..."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock
        self._ids = Ids(clock)

    def submit(self, new: NewJob, items: Sequence[NewItem] = ()) -> Submitted:
        """Queue a job, with the items of a publish job, in one transaction.

        Raises:
            DunlinError: EXISTS when the idempotency key was used for another request; USAGE when the options are no
                JSON.
        """
        with self._base.writing() as rows:
            return self.submit_within(rows, new, items)

    def submit_within(self, rows: Rows, new: NewJob, items: Sequence[NewItem] = ()) -> Submitted:
        """`submit`, as part of a transaction."""
        options = json_text(new.options, "options")
        body = hashlib.sha256(new.body or b"\0".join((new.kind.encode(), new.options))).digest()
        words = (stored(new.kind), stored(new.tenant), stored(new.created_by), stored(line(new.label)), options)
        rest = (self._clock(), new.priority, stored(new.key), body)
        for _ in range(8):
            known = first(rows.query(self._sql["job_key"], (stored(new.tenant), stored(new.key)))) if new.key else None
            if known is not None:
                if bytes(known[1]) != body:
                    raise _used(new.key)
                return Submitted(self._one(rows, known[0]), False)
            number = self._ids.next()
            if rows.execute(self._sql["job_new"], (number, *words, *rest)):
                rows.many(self._sql["item_new"], [_item(number, place, item) for place, item in enumerate(items)])
                return Submitted(self._one(rows, number), True)
        raise DunlinError("submit the job", new.label, ErrorKind.BUSY, "no free id was found")

    def asked(self, tenant: str, key: str, body: bytes) -> Job | None:
        """The job that an idempotency key of a tenant stands for, if there is one.

        For a request that can no longer be checked: what it asked for may have been done and be gone.

        Raises:
            DunlinError: EXISTS when the key was used for another request (`NewJob.body`).
        """
        with self._base.reading() as rows:
            known = first(rows.query(self._sql["job_key"], (stored(tenant), stored(key)))) if key else None
            if known is None:
                return None
            if bytes(known[1]) != hashlib.sha256(body).digest():
                raise _used(key)
            return self._one(rows, known[0])

    def get(self, id: str, tenant: str | None = None) -> Job | None:
        """The job of that id, if it is there, and of that tenant."""
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["job_columns"] + " WHERE id = $1", (number_of(id),)))
        job = None if found is None else _job(found)
        return None if job is None or tenant not in (None, job.tenant) else job

    def page(
        self,
        tenant: str | None = None,
        kind: str = "",
        statuses: Collection[JobStatus] = (),
        search: str = "",
        after: str = "",
        count: int = 100,
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            tenant: of this one only; None: of all.
            kind, statuses: only those; "" and (): all.
            search: only jobs whose label contains this, or whose id begins so.
            after: the id of the last job of the page before; "": the first page.
            count: how many at most.
        """
        where = _of(tenant, kind)
        if statuses:
            where.among("status", [status.value for status in sorted(statuses)])
        if search:
            where.found("label", stored(search), "id", span_of(search))
        if after:
            where.add("id < {}", number_of(after))
        limit = where.limit(count)
        with self._base.reading() as rows:
            found = rows.query(f"{self._sql['job_columns']} {where} ORDER BY id DESC {limit}", where.bindings)
        return [_job(row) for row in found]

    def counts(self, tenant: str | None = None, kind: str = "") -> dict[JobStatus, int]:
        """How many jobs there are of each status."""
        where = _of(tenant, kind)
        with self._base.reading() as rows:
            found = rows.query(f"SELECT status, count(*) FROM job {where} GROUP BY status", where.bindings)
        return dict.fromkeys(JobStatus, 0) | {JobStatus(status): count for status, count in found}

    def claim(self, owner: str, seconds: float, kinds: Collection[str] = ()) -> Job | None:
        """Take the queued job that comes first, for so many seconds; it is running then.

        Args:
            owner: who takes it: names one process.
            seconds: until others may think that the owner is gone.
            kinds: only jobs of these kinds; (): of all.
        """
        where = Where()
        where.add("status = 'queued'")
        if kinds:
            where.among("kind", [stored(kind) for kind in sorted(kinds)])
        choice = f"SELECT id FROM job {where} ORDER BY priority DESC, id LIMIT 1 /*postgres FOR UPDATE SKIP LOCKED*/"
        with self._base.writing() as rows:
            found = first(rows.query(choice, where.bindings))
            if found is None:
                return None
            self._begin(rows, found[0], owner, self._clock() + seconds)
            return self._one(rows, found[0])

    def renew(self, owner: str, seconds: float) -> list[str]:
        """The owner still works on its running jobs, for so many seconds from now; their ids."""
        with self._base.writing() as rows:
            return _ids(rows.query(self._sql["job_held"], (stored(owner), self._clock() + seconds)))

    def sweep(self, owner: str = "") -> list[str]:
        """Interrupt running jobs whose owners are gone, and those of `owner`, which has just started; their ids."""
        with self._base.writing() as rows:
            return _ids(rows.query(self._sql["job_lost"], (self._clock(), stored(owner))))

    def move(
        self,
        id: str,
        to: JobStatus,
        only: Collection[JobStatus] = (),
        error: str = "",
        result: bytes | None = None,
        owner: str = "",
    ) -> Job | None:
        """Give a job another status; None when there is no such job, or its status does not allow it (`ALLOWED`).

        Args:
            only: from one of these statuses; (): from each that is allowed.
            error: one line.
            result: JSON; None: what it had stays.
            owner: who runs it, when it goes to RUNNING; "": nobody whose absence would be noticed.
        """
        with self._base.writing() as rows:
            return self.move_within(rows, id, to, only, error, result, owner)

    def move_within(
        self,
        rows: Rows,
        id: str,
        to: JobStatus,
        only: Collection[JobStatus] = (),
        error: str = "",
        result: bytes | None = None,
        owner: str = "",
    ) -> Job | None:
        """`move`, as part of a transaction."""
        number = number_of(id)
        found = first(rows.query(self._sql["job_status"], (number,)))
        if found is None or to not in ALLOWED[JobStatus(found[0])] or (only and found[0] not in only):
            return None
        if to is JobStatus.RUNNING:
            self._begin(rows, number, owner, None)
        else:
            ended = self._clock() if to in ENDED or to is JobStatus.INTERRUPTED else None
            old = self._one(rows, number)
            told = stored(line(error))
            kept = (old.result if result is None else json_text(result, "result").encode()).decode()
            rows.execute(self._sql["job_move"], (number, to.value, told, kept, None, ended, "", None))
        return self._one(rows, number)

    def progress(self, id: str, counts: Mapping[str, int]) -> None:
        """Keep how far a job is; once a second is often enough."""
        text = msgspec.json.encode(dict(counts)).decode()
        with self._base.writing() as rows:
            rows.execute(self._sql["job_progress"], (number_of(id), text))

    def ask(self, id: str, wish: Wish) -> bool:
        """Tell the owner of a running job what is wanted of it; False when it does not run."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["job_wish"], (number_of(id), wish.value)) == 1

    def wishes(self, owner: str) -> dict[str, Wish]:
        """What is wanted of the jobs that this owner runs, by id."""
        with self._base.reading() as rows:
            found = rows.query(self._sql["job_wishes"], (stored(owner),))
        return {text_of(number): Wish(wish) for number, wish in found}

    def _begin(self, rows: Rows, number: int, owner: str, held: float | None) -> None:
        running = JobStatus.RUNNING.value
        rows.execute(self._sql["job_begin"], (number, running, self._clock(), stored(owner), held))

    def _one(self, rows: Rows, number: int) -> Job:
        return _job(rows.query(self._sql["job_columns"] + " WHERE id = $1", (number,))[0])


def _used(key: str) -> DunlinError:
    reason = "this idempotency key was used for another request"
    return DunlinError("submit the job", key, ErrorKind.EXISTS, reason, "use a new key")


def _of(tenant: str | None, kind: str) -> Where:
    where = Where()
    if tenant is not None:
        where.add("tenant = {}", stored(tenant))
    if kind:
        where.add("kind = {}", stored(kind))
    return where


def _ids(rows: Sequence[Any]) -> list[str]:
    return sorted(text_of(row[0]) for row in rows)


def _item(job: int, place: int, item: NewItem) -> tuple[Any, ...]:
    flags = int(item.delete_after_sync), int(item.overwrite)
    return (job, place, stored(item.source), stored(item.to), *flags)


def _job(row: Sequence[Any]) -> Job:
    id, kind, tenant, by, label, status, options, result, counts, error, *times = row
    created, started, ended, priority, key, owner, wish = times
    return Job(
        text_of(id), meant(kind), meant(tenant), meant(by), meant(label), JobStatus(status), options.encode(),
        result.encode(), _COUNTS.decode(counts), meant(error), created, started, ended, priority, meant(key),
        meant(owner), Wish(wish),
    )  # fmt: skip


def json_text(text: bytes, what: str) -> str:
    """JSON as the ledger stores it. Raises USAGE for what is none."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        return text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise usage(f"the {what} of a job must be JSON: {line(str(error))}") from None
