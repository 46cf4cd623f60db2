"""postgres_pool: what psycopg raises becomes one error, and connections come and go."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.postgres_pool import Pool, translated

CLASSES = sorted(
    {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, psycopg.Error)},
    key=lambda one: one.__name__,
)


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_every_error_of_the_library_is_translated(one: type[psycopg.Error]) -> None:
    found = translated(one("two\n lines"), "use the queue", "postgresql://h/d")
    assert "\n" not in str(found)
    assert found.where == "postgresql://h/d"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.AdminShutdown("terminating connection"), ErrorKind.NETWORK),
        (errors.CannotConnectNow("starting up"), ErrorKind.NETWORK),
        (errors.ConnectionFailure("x"), ErrorKind.NETWORK),
        (errors.TooManyConnections("sorry"), ErrorKind.NETWORK),
        (errors.ReadOnlySqlTransaction("x"), ErrorKind.NETWORK),
        (errors.InvalidPassword("x"), ErrorKind.AUTH),
        (errors.InvalidCatalogName("x"), ErrorKind.NOT_FOUND),
        (errors.DeadlockDetected("x"), ErrorKind.BUSY),
        (errors.SerializationFailure("x"), ErrorKind.BUSY),
        (errors.InsufficientPrivilege("x"), ErrorKind.DENIED),
        (errors.DiskFull("x"), ErrorKind.NO_SPACE),
        (errors.UndefinedTable("x"), ErrorKind.INTERNAL),
        (errors.UniqueViolation("x"), ErrorKind.INTERNAL),
        (psycopg.OperationalError("the connection is lost"), ErrorKind.NETWORK),
        (psycopg.InterfaceError("the connection is closed"), ErrorKind.NETWORK),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), ErrorKind.AUTH),
        (psycopg.OperationalError("fe_sendauth: no password supplied"), ErrorKind.AUTH),
        (psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "h"'), ErrorKind.AUTH),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), ErrorKind.NOT_FOUND),
    ],
)
def test_kinds(error: psycopg.Error, kind: ErrorKind) -> None:
    assert translated(error, "use the queue", "w").kind is kind


def test_a_password_in_a_servers_words_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**parameters: object) -> None:
        raise psycopg.OperationalError(f"it said: {parameters['password']}!")

    monkeypatch.setattr(psycopg, "connect", connect)
    pool = Pool("postgresql://me:hunter2@127.0.0.1:1/d", "postgresql://me@127.0.0.1:1/d")
    with pytest.raises(DunlinError) as raised:
        pool.count("SELECT 1", {})
    assert "hunter2" not in f"{raised.value!r}{raised.value}{raised.value.args}"
    assert "***" in str(raised.value)


def test_a_deadlock_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Connection:
        """Fails twice as PostgreSQL does when it rolls one of two back."""

        class info:
            transaction_status = psycopg.pq.TransactionStatus.IDLE

        def execute(self, sql: str, values: object) -> object:
            calls.append(sql)
            if len(calls) < 3:
                raise errors.DeadlockDetected("deadlock detected")
            return type("Cursor", (), {"rowcount": 7})

    opened: list[int] = []
    monkeypatch.setattr(psycopg, "connect", lambda **_: opened.append(1) or Connection())
    monkeypatch.setattr("dunlin.pace.retry.time.sleep", lambda seconds: None)
    assert Pool("postgresql://h/d", "w").count("UPDATE", {}) == 7
    assert (len(calls), len(opened)) == (3, 1)


def lose(connection: Any) -> None:
    connection.info.transaction_status = psycopg.pq.TransactionStatus.UNKNOWN
    raise psycopg.OperationalError("server closed the connection unexpectedly")


def test_a_broken_connection_takes_the_idle_ones_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        """In order until `broken`."""

        def __init__(self) -> None:
            self.closed = False
            self.info = type("Info", (), {"transaction_status": psycopg.pq.TransactionStatus.IDLE})()

        def close(self) -> None:
            self.closed = True

    made: list[Connection] = []
    monkeypatch.setattr(psycopg, "connect", lambda **_: made.append(Connection()) or made[-1])
    pool = Pool("postgresql://h/d", "w")
    with pool.connection("x"), pool.connection("x"):
        pass
    assert len(made) == 2
    with pytest.raises(DunlinError), pool.connection("x") as connection:
        lose(connection)
    assert [one.closed for one in made] == [True, True]
    with pool.connection("x"):
        assert len(made) == 3
    pool.close()
    assert made[2].closed
