"""The ledger in PostgreSQL, on the connections of `queue.postgres_pool`.

The tables stand in a schema of their own, ``dunlin_ledger`` (``?namespace=NAME`` in the URL: ``NAME_ledger``), so that
a database may be shared. Several services may use one ledger at the same time.

A server that was restarted leaves dead connections behind. Reads are made again on another connection, and a
transaction begins with a statement of its own (BEGIN), which is. What fails later in a transaction is NETWORK: whether
a COMMIT arrived is not known then, and every verb of the ledger that a service repeats may be repeated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue.ledger.database import VERSION, Rows, dialect, statements
from dunlin.queue.ledger.lite import read
from dunlin.queue.open import NAMESPACE, shown

if TYPE_CHECKING:
    import psycopg

_HERE = os.path.dirname(__file__)
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_DOING = "use the ledger"
_NEVER = "enable_seqscan", "enable_bitmapscan", "enable_material", "enable_hashjoin", "enable_mergejoin", "jit"
_BY_INDEX = "; ".join(f"SET {way} TO off" for way in _NEVER)
"""Every statement of ours finds its rows by an index. Without this, PostgreSQL rather reads a whole table whose size it
has not noticed yet: one that a walk has just filled with a million files, once for each result. (`jit`: where there is
no index, a plan looks so dear that it would be compiled.)"""


class _Rows:
    """`Rows` of one connection, whose errors whoever lent it translates."""

    __slots__ = ("_connection",)

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        return _run(self._connection, sql, bindings).rowcount

    def many(self, sql: str, rows: Sequence[Sequence[Any]], fixed: Sequence[Any] = ()) -> int:
        if not rows:
            return 0
        if "unnest(" in sql:
            columns = [list(column) for column in zip(*rows, strict=True)]
            return _run(self._connection, sql, [*fixed, *columns]).rowcount
        import psycopg

        with psycopg.RawCursor(self._connection) as cursor:
            cursor.executemany(_text(sql), [(*fixed, *row) for row in rows] if fixed else rows)
            return cursor.rowcount

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        return _run(self._connection, sql, bindings).fetchall()

    def load(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> bool:
        import psycopg

        connection = self._connection
        columns_of_text = [_copied(column) for column in zip(*rows, strict=True)]
        text = "\n".join(map("\t".join, zip(*columns_of_text, strict=True))) + "\n"
        connection.execute("SAVEPOINT load")
        try:
            with psycopg.RawCursor(connection).copy(_text(f"COPY {table} ({columns}) FROM STDIN")) as copy:
                copy.write(text)
        except psycopg.errors.UniqueViolation:
            connection.execute("ROLLBACK TO SAVEPOINT load")
            return False
        connection.execute("RELEASE SAVEPOINT load")
        return True


class _Reads:
    """`Rows` of which each statement borrows a connection, and another one when that is dead."""

    __slots__ = ("_base",)

    def __init__(self, base: Postgres) -> None:
        self._base = base

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        raise TypeError("reading() is for statements that give rows")

    def many(self, sql: str, rows: Sequence[Sequence[Any]], fixed: Sequence[Any] = ()) -> int:
        raise TypeError("reading() is for statements that give rows")

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._once(sql, bindings)
        except DunlinError as error:
            if error.kind is not ErrorKind.NETWORK:
                raise
            return self._once(sql, bindings)

    def load(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> bool:
        raise TypeError("reading() is for statements that give rows")

    def _once(self, sql: str, bindings: Sequence[Any]) -> list[Any]:
        with self._base.connection() as connection:
            return _Rows(connection).query(sql, bindings)


class Postgres:
    """A `Base` on a PostgreSQL server.

    Args:
        url: ``postgresql://…``; ``?namespace=`` names the schema, other parameters are libpq's.

    Raises:
        DunlinError: USAGE (the URL, a missing extra), NETWORK, AUTH, NOT_FOUND (no such database), DENIED, NEWER.
    """

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        address, namespace = _apart(url)
        try:
            from dunlin.queue.postgres_pool import Pool
        except ImportError as error:
            reason, hint = "PostgreSQL needs psycopg", "install it with: pip install 'dunlin[queue]'"
            raise DunlinError("open the ledger", self.shown, ErrorKind.USAGE, reason, hint) from error
        self._schema = f"{namespace}_ledger"
        self.sql: Mapping[str, str] = statements(os.path.join(_HERE, "queries.sql"), "postgres")
        self._pool = Pool(address, self.shown)
        self._ready: WeakSet[psycopg.Connection[Any]] = WeakSet()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Rows]:
        try:
            connection, held = self._begun()
        except DunlinError as error:
            if error.kind is not ErrorKind.NETWORK:
                raise
            connection, held = self._begun()
        with held:
            try:
                yield _Rows(connection)
                connection.execute("COMMIT")
            except BaseException:
                if not connection.closed:
                    with suppress(Exception):  # the error that led here matters more
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        yield _Reads(self)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that finds our tables; errors of the block are translated."""
        with self._pool.connection(_DOING) as connection:
            if connection not in self._ready:
                connection.execute(_text(f'SET search_path TO "{self._schema}"; {_BY_INDEX}'))
                self._ready.add(connection)
            yield connection

    def now(self, rows: Rows) -> float | None:
        return float(rows.query("SELECT extract(epoch FROM clock_timestamp())::double precision")[0][0])

    def close(self) -> None:
        self._pool.close()

    def _begun(self) -> tuple[psycopg.Connection[Any], ExitStack]:
        with ExitStack() as stack:
            connection = stack.enter_context(self.connection())
            connection.execute("BEGIN")
            return connection, stack.pop_all()

    def _prepare(self) -> None:
        """Make the tables, or see that they are those that we know."""
        with self.reading() as rows:
            if self._version(rows) == VERSION:
                return
        with self.writing() as rows:
            rows.query("SELECT pg_advisory_xact_lock(hashtext($1))", (self._schema,))
            if version := self._version(rows):
                for step in range(version + 1, VERSION + 1):  # none, where another service was faster
                    for statement in _split(read(f"schema_{step}.sql")):
                        rows.execute(statement)
                rows.execute(f'UPDATE "{self._schema}".version SET number = $1', (VERSION,))
                return
            rows.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
            for statement in _split(read("schema.sql")):
                rows.execute(statement)
            rows.execute("CREATE TABLE version (number integer NOT NULL)")
            rows.execute("INSERT INTO version VALUES ($1)", (VERSION,))

    def _version(self, rows: Rows) -> int:
        """The schema's version, 0 where there is none. Raises NEWER."""
        # A query: to_regclass would remember from before the lock that there is none.
        there = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'version'"
        if not rows.query(there, (self._schema,)):
            return 0
        version = int(rows.query(f'SELECT number FROM "{self._schema}".version')[0][0])
        if version > VERSION:
            reason = f"it was written by a newer dunlin (schema {version}, this one knows {VERSION})"
            raise DunlinError("open the ledger", self.shown, ErrorKind.NEWER, reason, "update dunlin")
        return version


def _run(connection: psycopg.Connection[Any], sql: str, bindings: Sequence[Any]) -> psycopg.Cursor[Any]:
    import psycopg

    return psycopg.RawCursor(connection).execute(_text(sql), bindings, binary=True)


def _text(sql: str) -> LiteralString:
    """psycopg wants texts that stand in the program; ours do, some of them put together of such."""
    return dialect(sql, "postgres")


_IN_COPY = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""What means something in the text form of COPY, and how it is written."""
_MEANS = re.compile(r"[\\\t\n\r]")


def _copied(column: Sequence[Any]) -> Sequence[str]:
    """A column in the text form of COPY. Looked at as a whole: hardly any name has something to be escaped."""
    texts = ["\\N" if value is None else value if isinstance(value, str) else repr(value) for value in column]
    if not _MEANS.search("".join(value for value in column if isinstance(value, str))):
        return texts
    pairs = zip(texts, column, strict=True)
    return [text if value is None else text.translate(_IN_COPY) for text, value in pairs]


def _split(script: str) -> list[str]:
    """The statements of schema.sql, which has no semicolon elsewhere but in comments."""
    plain = re.sub(r"--[^\n]*", "", script)
    return [part.strip() for part in plain.split(";") if part.strip()]


def _apart(url: str) -> tuple[str, str]:
    """The URL as libpq wants it, and the namespace."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise usage(f"{shown(url)} cannot be read", "write postgresql://USER@HOST/DATABASE") from None
    namespace = dict(pairs).get("namespace", NAMESPACE)
    if not _NAMESPACE.fullmatch(namespace):
        raise usage(f"{namespace!r} cannot be a namespace", "lower-case letters, digits and _, 40 at most")
    rest = urlencode([pair for pair in pairs if pair[0] != "namespace"])
    return urlunsplit(parts._replace(query=rest)), namespace
