"""The ledger as one object: `open_ledger` makes it.

Its parts stand, with their theory, in the module of their name:

    jobs       what was asked for, how it stands, who runs it       accounts   tenants and users; keys, sessions
    files      items, units and files of publish jobs; results      existence  whether keys are known to exist
    schedules  jobs that are started again and again                audit      who did what
    thinning   what is dropped as it grows old

All verbs are synchronous, may be called from any thread, and are transactions of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import unquote

from dunlin.errors import usage
from dunlin.queue.ledger.accounts import Accounts, Keys, Sessions
from dunlin.queue.ledger.audit import Audit
from dunlin.queue.ledger.database import Base
from dunlin.queue.ledger.existence import ExistenceRows
from dunlin.queue.ledger.files import Files
from dunlin.queue.ledger.jobs import Jobs
from dunlin.queue.ledger.lite import Lite
from dunlin.queue.ledger.schedules import Schedules
from dunlin.queue.ledger.thinning import Thinning
from dunlin.queue.open import shown
from dunlin.sqlite import Warn


class Ledger:
    """See the module docstring."""

    def __init__(self, base: Base, clock: Callable[[], float] = time.time) -> None:
        self._base = base
        self.shown = base.shown
        self.shared = "://" in base.shown
        self.jobs = Jobs(base, clock)
        self.files = Files(base, clock, self.jobs)
        self.accounts = Accounts(base, clock)
        self.keys = Keys(base, clock)
        self.sessions = Sessions(base, clock)
        self.schedules = Schedules(base, clock, self.jobs)
        self.existence = ExistenceRows(base, clock)
        self.audit = Audit(base, clock)
        self.thin = Thinning(base, clock).thin

    def ping(self) -> None:
        """Raises what keeps the ledger from being read, if anything does."""
        with self._base.reading() as rows:
            rows.query("SELECT 1 FROM job LIMIT 1")

    def close(self) -> None:
        """Let go of files and connections. Safe to call twice."""
        self._base.close()


def open_ledger(where: str | None, clock: Callable[[], float] = time.time, warn: Warn | None = None) -> Ledger:
    """Open the ledger, or make it.

    Args:
        where: a path or ``sqlite:///PATH`` (from the root), a file of its own; ``postgresql://USER@HOST/DATABASE``,
            with ``?namespace=NAME`` for one of several ledgers in a database; None: a private one that vanishes.
        clock: gives UTC seconds since 1970.
        warn: told when a file lies where SQLite is slower.

    Raises:
        DunlinError: USAGE (no such kind of URL, a missing extra, another program's file), NETWORK, AUTH, NOT_FOUND,
            DENIED, READ_ONLY, NO_SPACE, LOCKED, CORRUPT, NEWER.
    """
    scheme, colon, rest = (where or "").partition("://")
    if where is None or not colon:
        return Ledger(Lite(where, warn or _silent), clock)
    if scheme in ("postgresql", "postgres"):
        from dunlin.queue.ledger.postgres import Postgres

        return Ledger(Postgres(where), clock)
    path = unquote(rest.partition("?")[0])  # what a queue understands there (`sync`) a ledger has no use for
    if scheme == "sqlite" and path.startswith("/") and path != "/":
        return Ledger(Lite(path, warn or _silent), clock)
    raise usage(f"{shown(where)} is no ledger", "a path, sqlite:///PATH and postgresql://HOST/DATABASE work")


def _silent(message: str) -> None:
    """Nobody wants to know."""
