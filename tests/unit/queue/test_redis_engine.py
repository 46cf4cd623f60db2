"""redis_engine: what redis-py raises becomes one error; requests are sent once."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import NewTask
from dunlin.queue.redis_engine import RedisQueue, open_redis, translated

CLASSES = sorted(
    {one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, exceptions.RedisError)},
    key=lambda one: one.__name__,
)
BY_HAND = {"AskError", "MovedError", "ClusterCrossSlotError"}
"""Read a text of a certain form when they are made."""


@pytest.mark.parametrize("one", [one for one in CLASSES if one.__name__ not in BY_HAND], ids=lambda one: one.__name__)
def test_every_error_of_the_library_is_translated(one: type[Exception]) -> None:
    try:
        error: Any = one("two\r\n lines")
    except TypeError:
        error = one("a", "b")
    found = translated(error, "use the queue", "redis://h")
    assert not set(str(found)) & set("\r\n")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ConnectionError("refused"), ErrorKind.NETWORK),
        (exceptions.TimeoutError("slow"), ErrorKind.NETWORK),
        (exceptions.BusyLoadingError("loading"), ErrorKind.NETWORK),
        (exceptions.ReadOnlyError("replica"), ErrorKind.NETWORK),
        (exceptions.MaxConnectionsError("none free"), ErrorKind.NETWORK),
        (exceptions.ResponseError("LOADING Redis is loading"), ErrorKind.NETWORK),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), ErrorKind.NETWORK),
        (exceptions.AuthenticationError("WRONGPASS"), ErrorKind.AUTH),
        (exceptions.AuthenticationWrongNumberOfArgsError("x"), ErrorKind.AUTH),
        (exceptions.ResponseError("NOAUTH Authentication required."), ErrorKind.AUTH),
        (exceptions.ResponseError("WRONGPASS invalid username-password pair"), ErrorKind.AUTH),
        (exceptions.NoPermissionError("NOPERM"), ErrorKind.DENIED),
        (exceptions.OutOfMemoryError("OOM command not allowed"), ErrorKind.NO_SPACE),
        (exceptions.ResponseError("OOM command not allowed"), ErrorKind.NO_SPACE),
        (exceptions.ResponseError("ERR unknown command"), ErrorKind.INTERNAL),
        (exceptions.DataError("x"), ErrorKind.INTERNAL),
    ],
)
def test_kinds(error: exceptions.RedisError, kind: ErrorKind) -> None:
    assert translated(error, "use the queue", "w").kind is kind


class Client:
    """Has scripts that fail once they are called."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def register_script(self, text: str) -> Any:
        def script(keys: list[str], args: list[Any]) -> Any:
            self.calls += 1
            raise self.error

        return script


@pytest.mark.parametrize("error", [exceptions.ConnectionError("reset by hunter2"), OSError("hunter2 is unknown")])
def test_a_request_is_sent_once_and_its_error_keeps_the_secret(error: Exception) -> None:
    client: Any = Client(error)
    queue = RedisQueue(client, "redis://h", secret="hunter2")
    with pytest.raises(DunlinError) as raised:
        queue.put([NewTask("q", "k", b"")])
    assert raised.value.kind is ErrorKind.NETWORK
    assert client.calls == 1
    assert "hunter2" not in f"{raised.value!r}{raised.value}{raised.value.args}"


def test_the_library_may_not_repeat_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisQueue, "check", lambda self: None)
    queue = open_redis("redis://127.0.0.1:1/0?socket_timeout=3", "redis://127.0.0.1:1/0")
    connection = queue._client.connection_pool.make_connection()
    assert connection.retry.get_retries() == 0
    assert connection.socket_connect_timeout == 10
    queue.close()
