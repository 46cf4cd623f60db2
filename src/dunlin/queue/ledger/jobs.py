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

A job that names paths of one machine is of that machine (`NewJob.host`): services elsewhere do not claim it, since to
them the same path is another file.

Those seconds are counted by the clock of the ledger's server, where it has one (`Base.now`), so that services whose
clocks differ do not take each other's jobs. An owner that was asleep for longer than that loses its jobs to whoever
sweeps first: from then on `renew` does not name them, and `move` and `progress` refuse what it says of them when it
names itself. As long as nobody has swept they are still its own.

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
from dunlin.queue.ledger.words import ENDED, Job, JobStatus, NewItem, NewJob, Share, Submitted, Wish
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

EVERYTHING = Share()
MINUTE = 60_000 << 20
"""By how much ids grow in a minute (`ids`)."""

_COUNTS = msgspec.json.Decoder(dict[str, int])
_RAW = msgspec.json.Decoder(msgspec.Raw)


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
        rest = (self._clock(), new.priority, stored(new.key), body, stored(new.host))
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

    def claim(
        self,
        owner: str,
        seconds: float,
        kinds: Collection[str] = (),
        share: Share = EVERYTHING,
        host: str = "",
    ) -> Job | None:
        """Take the queued job that comes first, for so many seconds; it is running then.

        First come those of the tenant of whom the fewest run. Of equal tenants, and of one tenant, the oldest job comes
        first, where a step of priority counts as a minute of age: so nothing is overtaken for ever.

        Args:
            owner: who takes it: names one process.
            seconds: until others may think that the owner is gone.
            kinds: only jobs of these kinds; of them alone it counts how many of a tenant run. (): of all.
            share: a tenant that has so much waits.
            host: only jobs of the machine of this label, and of none; "": of any.
        """
        with self._base.writing() as rows:
            if share != EVERYTHING:
                rows.query(self._sql["job_claiming"])  # of two at once both would see room for the last one
            running, full = {}, []
            for tenant, all_, here in rows.query(*_running(owner, kinds)):
                running[tenant] = all_
                if 0 < share.most.get(meant(tenant), 0) <= all_ or 0 < share.each <= here:
                    full.append(tenant)
            found = first(rows.query(*_next(kinds, running, full, host)))
            if found is None:
                return None
            self._begin(rows, found[0], owner, self._now(rows) + seconds)
            return self._one(rows, found[0])

    def renew(self, owner: str, seconds: float) -> list[str]:
        """The owner still works on its running jobs, for so many seconds from now; their ids: others are lost."""
        with self._base.writing() as rows:
            return _ids(rows.query(self._sql["job_held"], (stored(owner), self._now(rows) + seconds)))

    def sweep(self, owner: str = "") -> list[str]:
        """Interrupt running jobs whose owners are gone, and those of `owner`, which has just started; their ids."""
        with self._base.writing() as rows:
            return _ids(rows.query(self._sql["job_lost"], (self._clock(), stored(owner), self._now(rows))))

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
            owner: who runs it, when it goes to RUNNING; "": nobody whose absence would be noticed. To other statuses:
                only if this owner runs it; "": whoever does.
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
        if owner and to is not JobStatus.RUNNING and found[1] != stored(owner):
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

    def progress(self, id: str, counts: Mapping[str, int], owner: str = "") -> bool:
        """Keep how far a job is; once a second is often enough. Whether it was done: with `owner`, if that runs it."""
        text = msgspec.json.encode(dict(counts)).decode()
        with self._base.writing() as rows:
            return rows.execute(self._sql["job_progress"], (number_of(id), text, stored(owner))) == 1

    def prioritise(self, id: str, priority: int) -> bool:
        """Give a job that is not over another priority: for when it is claimed, and for tasks that it puts from now on.

        False where there is no such job, or it is over.
        """
        with self._base.writing() as rows:
            return rows.execute(self._sql["job_priority"], (number_of(id), priority)) == 1

    def ask(self, id: str, wish: Wish) -> bool:
        """Tell the owner of a running job what is wanted of it; False when it does not run."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["job_wish"], (number_of(id), wish.value)) == 1

    def wishes(self, owner: str) -> dict[str, Wish]:
        """What is wanted of the jobs that this owner runs, by id."""
        with self._base.reading() as rows:
            found = rows.query(self._sql["job_wishes"], (stored(owner),))
        return {text_of(number): Wish(wish) for number, wish in found}

    def _now(self, rows: Rows) -> float:
        """The time that leases are measured by."""
        now = self._base.now(rows)
        return self._clock() if now is None else now

    def _begin(self, rows: Rows, number: int, owner: str, held: float | None) -> None:
        running = JobStatus.RUNNING.value
        rows.execute(self._sql["job_begin"], (number, running, self._clock(), stored(owner), held))

    def _one(self, rows: Rows, number: int) -> Job:
        return _job(rows.query(self._sql["job_columns"] + " WHERE id = $1", (number,))[0])


def _running(owner: str, kinds: Collection[str]) -> tuple[str, list[Any]]:
    """Asks for tenants with running jobs: how many they are, and how many of them are this owner's."""
    where = _standing("running", kinds)
    where.bindings.append(stored(owner))
    here = f"sum(CASE WHEN owner = ${len(where.bindings)} THEN 1 ELSE 0 END)"
    return f"SELECT tenant, count(*), {here} FROM job {where} GROUP BY tenant", where.bindings


def _next(
    kinds: Collection[str], running: Mapping[str, int], full: Sequence[str], host: str
) -> tuple[str, list[Any]]:
    """Asks for the job that comes first; see `Jobs.claim`. The names of tenants are as they are stored."""
    where = _standing("queued", kinds)
    if full:
        where.add(f"tenant NOT IN ({', '.join(['{}'] * len(full))})", *full)
    if host:
        where.add("host IN ('', {})", stored(host))
    begin = len(where.bindings) + 1
    where.bindings += running
    turns = " ".join(f"WHEN ${place} THEN {count}" for place, count in enumerate(running.values(), begin))
    turn = f"CASE tenant {turns} ELSE 0 END, " if turns else ""
    # The upper bits of an id are the milliseconds in which it was given.
    order = f"ORDER BY {turn}id - priority * {MINUTE}, id LIMIT 1 /*postgres FOR UPDATE SKIP LOCKED*/"
    return f"SELECT id FROM job {where} {order}", where.bindings


def _standing(status: str, kinds: Collection[str]) -> Where:
    where = Where()
    where.add(f"status = '{status}'")  # no binding: it is what lets partial indexes be used
    if kinds:
        where.among("kind", [stored(kind) for kind in sorted(kinds)])
    return where


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
    created, started, ended, priority, key, owner, wish, host = times
    return Job(
        text_of(id), meant(kind), meant(tenant), meant(by), meant(label), JobStatus(status), options.encode(),
        result.encode(), _COUNTS.decode(counts), meant(error), created, started, ended, priority, meant(key),
        meant(owner), Wish(wish), meant(host),
    )  # fmt: skip


def json_text(text: bytes, what: str) -> str:
    """JSON as the ledger stores it. Raises USAGE for what is none."""
    try:
        _RAW.decode(text)
        return text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise usage(f"the {what} of a job must be JSON: {line(str(error))}") from None
