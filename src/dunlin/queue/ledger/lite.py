"""The ledger in a SQLite file: one connection that writes, a few that read.

Readers have connections of their own, so that a page is shown while a bulk of rows is being written (WAL). Other
processes may use the same file at the same time: `dunlin key add` while the service runs.

The file is made for its owner alone (mode 600, which SQLite gives its WAL too): it holds no secret, but what is kept of
passwords may be tried out by whoever has it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dunlin.queue.ledger.database import VERSION, Rows, dialect, statements
from dunlin.sqlite import Database, Schema, Warn, open_database

_HERE = os.path.dirname(__file__)
READERS = 16
"""Connections for reading that are kept open."""


def read(name: str) -> str:
    """The text of a file beside this one."""
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


SCHEMA = Schema(
    what="ledger",
    option="--ledger",
    application_id=0x446E6C4C,  # "DnlL"
    version=VERSION,
    create=lambda: dialect(read("schema.sql"), "sqlite"),
    migrations={2: lambda: dialect(read("schema_2.sql"), "sqlite")},
)


class _Rows:
    """`Rows` of one connection."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        return self._database.execute(dialect(sql, "sqlite"), bindings)

    def many(self, sql: str, rows: Sequence[Sequence[Any]], fixed: Sequence[Any] = ()) -> int:
        before = self._database.value("SELECT total_changes()")
        self._database.many(dialect(sql, "sqlite"), [(*fixed, *row) for row in rows] if fixed else rows)
        return int(self._database.value("SELECT total_changes()") - before)

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        return self._database.query(dialect(sql, "sqlite"), bindings)

    def load(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> bool:
        return False


class Lite:
    """A `Base` in a file; None: a private temporary one, which vanishes when it is closed."""

    def __init__(self, path: str | None, warn: Warn) -> None:
        self.sql = statements(os.path.join(_HERE, "queries.sql"), "sqlite")
        self.shown = path or ""
        self._path = path
        if path:
            with suppress(OSError):  # why it cannot be made is told by the attempt to open it
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self._writer = open_database(path, SCHEMA, warn)
        if path:
            self._writer.execute("PRAGMA synchronous=FULL")
        self._writes = threading.Lock()
        self._lock = threading.Lock()
        self._idle: list[Database] = []
        self._closed = False

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        with self._writes, self._writer.transaction():
            yield _Rows(self._writer)

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        if self._path is None:
            with self._writes:
                yield _Rows(self._writer)
            return
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = open_database(self._path, SCHEMA, _silent, create=False, write=False)
        try:
            yield _Rows(reader)
        finally:
            self._give(reader)

    def _give(self, reader: Database) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < READERS:
                self._idle.append(reader)
                return
        reader.close()

    def now(self, rows: Rows) -> float | None:
        return None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            readers, self._idle = self._idle, []
        for reader in readers:
            reader.close()
        with self._writes:
            self._writer.close()


def _silent(message: str) -> None:
    """The connection that writes has said it."""
