"""Connections to PostgreSQL: a few for the threads of a process, and the one place where its errors are translated.

A connection is borrowed for one statement, each of which is a transaction by itself, and never held while somebody
waits for work. So a process needs far fewer connections than it has threads; who finds none free waits for one. A
connection that broke is closed, and with it those that lie idle: when a server restarts, all of them are gone, and
each would fail one more call.

psycopg's own pool has threads of its own, which a fork leaves behind, and tests each connection before it lends it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import Retry, retry

T = TypeVar("T")

CONNECTIONS = 8
"""Most connections of a process."""

PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "dunlin",
}
"""libpq's parameters where the URL does not say otherwise: a cut connection is noticed within half a minute."""

_LOGIN = re.compile(
    r"password authentication failed|no password supplied|pg_hba\.conf|role \S+ does not exist"
    r"|(?:Ident|Peer|LDAP|PAM|GSSAPI|certificate) authentication failed|is not permitted to log in",
    re.IGNORECASE,
)
_NO_DATABASE = re.compile(r"database \S+ does not exist")
_AGAIN = Retry(attempts=6, deadline=None, base=0.01, cap=0.2, kinds=frozenset({ErrorKind.BUSY}))
"""For statements that PostgreSQL rolled back because of another one (a deadlock): nothing of them was done."""


class Pool:
    """Connections to one server; safe from several threads, and after a fork.

    Args:
        url: libpq's URL, with the password.
        where: the URL that people may see.
        most: most connections at a time.
        settings: parameters of the server for each connection, as SQL: "SET name = value".
    """

    def __init__(self, url: str, where: str, most: int = CONNECTIONS, settings: str = "") -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # libpq quotes what it did not understand, which may be a part of the password
            raise DunlinError("read the address of the queue", where, ErrorKind.USAGE, "it is no valid URL") from None
        self._parameters: dict[str, Any] = {**PATIENCE, **given}
        self._secret = str(given.get("password") or "")
        self._where = where
        self._most = most
        self._settings = settings.encode()
        self._inherited: list[object] = []
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._free = threading.Semaphore(self._most)
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []

    def rows(self, sql: str, values: Mapping[str, Any] | None = None, operation: str = "use the queue") -> list[Any]:
        """The rows that a statement gives; it is a transaction by itself.

        Raises:
            DunlinError: see `translated`. After NETWORK it is not known whether the statement was done.
        """
        return self._run(lambda connection: _rows(connection.execute(sql, values, binary=True)), operation)

    def count(self, sql: str, values: Mapping[str, Any], operation: str = "use the queue") -> int:
        """How many rows a statement changed; otherwise as `rows`."""
        return self._run(lambda connection: connection.execute(sql, values).rowcount, operation)

    def _run(self, call: Callable[[psycopg.Connection[Any]], T], operation: str) -> T:
        def once() -> T:
            with self.connection(operation) as connection:
                return call(connection)

        return retry(once, _AGAIN)

    @contextmanager
    def connection(self, operation: str) -> Iterator[psycopg.Connection[Any]]:
        """Borrow a connection; errors of the block are translated, and a connection that broke is closed."""
        if os.getpid() != self._pid:
            self._inherited += self._idle  # our parent's: libpq must not close them from here
            self._begin()
        with self._free:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            try:
                if connection is None:
                    connection = psycopg.connect(**self._parameters, autocommit=True)
                    if self._settings:
                        connection.execute(self._settings)
                yield connection
            except psycopg.Error as error:
                raise self._translated(error, operation) from None
            finally:
                if connection is not None:
                    self._give_back(connection)

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                self._idle.append(connection)
                return
            broken, self._idle = [connection, *self._idle], []
        for one in broken:
            with suppress(psycopg.Error):
                one.close()

    def close(self) -> None:
        """Close what lies idle."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _translated(self, error: psycopg.Error, operation: str) -> DunlinError:
        found = translated(error, operation, self._where)
        if self._secret:
            found.reason = found.reason.replace(self._secret, "***")
            found.args = (*found.args[:3], found.reason, found.hint)
        return found


def _rows(cursor: psycopg.Cursor[Any]) -> list[Any]:
    return cursor.fetchall() if cursor.description else []


_KINDS: dict[str, tuple[ErrorKind, str]] = {
    "08": (ErrorKind.NETWORK, "the connection broke"),
    "25006": (ErrorKind.NETWORK, "the server is read-only now (a standby?)"),
    "28": (ErrorKind.AUTH, ""),
    "3D": (ErrorKind.NOT_FOUND, ""),
    "40": (ErrorKind.BUSY, ""),
    "42501": (ErrorKind.DENIED, ""),
    "53100": (ErrorKind.NO_SPACE, ""),
    "53": (ErrorKind.NETWORK, ""),
    "57P": (ErrorKind.NETWORK, ""),
    "55P03": (ErrorKind.BUSY, ""),
    "58": (ErrorKind.NETWORK, ""),
}
"""What a SQLSTATE, or the beginning of one, means (appendix A of PostgreSQL's documentation)."""


def translated(error: psycopg.Error, operation: str, where: str) -> DunlinError:
    """The `DunlinError` for what psycopg raised.

    NETWORK: nobody answers, the connection broke, the server restarts or has no connection left. AUTH: it refuses the
    login. NOT_FOUND: it has no such database. DENIED, NO_SPACE, BUSY as they say. All else is INTERNAL.
    """
    state = error.sqlstate or ""
    text = " ".join(str(error).split()) or type(error).__name__
    for length in (5, 3, 2):
        if state[:length] in _KINDS:
            kind, reason = _KINDS[state[:length]]
            return DunlinError(operation, where, kind, reason or text)
    if isinstance(error, errors.OperationalError | errors.InterfaceError):
        text = text.removeprefix("connection failed: ").removeprefix("connection is bad: ")
        if _LOGIN.search(text):
            return DunlinError(operation, where, ErrorKind.AUTH, text, "check the user and the password in its URL")
        if _NO_DATABASE.search(text):
            return DunlinError(operation, where, ErrorKind.NOT_FOUND, text, "create it, or name another one in the URL")
        return DunlinError(operation, where, ErrorKind.NETWORK, text)
    return DunlinError(operation, where, ErrorKind.INTERNAL, text)
