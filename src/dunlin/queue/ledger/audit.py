"""Who did what: a line for each thing that somebody did through the service or the command line."""

from __future__ import annotations

from collections.abc import Callable

from dunlin.queue.ledger.database import Base, Where, line
from dunlin.queue.ledger.words import Deed
from dunlin.queue.rules import meant, stored


class Audit:
    """The audit of a ledger. It is not `state.AuditLog`, which has a line for each file of a run."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock

    def record(self, who: str, verb: str, target: str, detail: str = "", tenant: str = "") -> None:
        """Somebody (the name of a key or user) did something (`verb`: "job.cancel") to something. Never secrets."""
        words = (stored(tenant), stored(line(who)), stored(line(verb)), stored(line(target)), stored(line(detail)))
        with self._base.writing() as rows:
            rows.execute(self._sql["audit_new"], (self._clock(), *words))

    def page(self, tenant: str | None = None, before: int = 0, count: int = 100, search: str = "") -> list[Deed]:
        """What was done, the newest first: before the number `before` (0: now), with `search` in the target."""
        where = Where()
        if tenant is not None:
            where.add("tenant = {}", stored(tenant))
        if before:
            where.add("number < {}", before)
        if search:
            where.contains("target", stored(search))
        limit = where.limit(count)
        with self._base.reading() as rows:
            found = rows.query(f"{self._sql['audit_columns']} {where} ORDER BY number DESC {limit}", where.bindings)
        return [Deed(number, time, *map(meant, words)) for number, time, *words in found]
