"""The existence cache: whether a key is known to exist in a bucket, so that nobody has to ask the store again.

Two places hold it. In the ledger it is a table. In Redis it is the layout of specification E, so that other programs
may read and write it:

    key    file_exists:{bucket}:{key}
    value  {"exists":true,"size":1024,"timestamp":"2024-01-01T12:00:00Z"}       JSON; the time as in RFC 3339, UTC

A value that cannot be read is a value that is not there. Nothing expires unless a `ttl` is given. Where Redis is away,
every verb raises NETWORK within `PATIENCE` seconds, and the caller asks the store itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import urlsplit

import msgspec

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue.ledger.database import Base, first
from dunlin.queue.ledger.words import Existence
from dunlin.queue.rules import stored

if TYPE_CHECKING:
    import redis

PATIENCE = 2.0
"""Seconds until a Redis that does not answer counts as away."""


class ExistenceCache(Protocol):
    """What is known about keys. Every verb may raise NETWORK, AUTH and others: then ask the store."""

    def get(self, bucket: str, key: str) -> Existence | None:
        """What is known of a key; None: nothing."""
        ...

    def put(self, bucket: str, key: str, seen: Existence, ttl: float = 0.0) -> None:
        """Keep what was seen, for so many seconds; 0: until it changes."""
        ...

    def put_many(self, bucket: str, seen: Mapping[str, Existence], ttl: float = 0.0) -> None:
        """`put` for many keys at a time."""
        ...

    def delete(self, bucket: str, key: str) -> bool:
        """Forget a key; whether it was known."""
        ...


class ExistenceRows:
    """An `ExistenceCache` in the ledger. What was seen later counts, whatever is put last."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock

    def get(self, bucket: str, key: str) -> Existence | None:
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["existence_get"], (stored(bucket), stored(key), self._clock())))
        return None if found is None else Existence(bool(found[0]), found[1], found[2])

    def put(self, bucket: str, key: str, seen: Existence, ttl: float = 0.0) -> None:
        self.put_many(bucket, {key: seen}, ttl)

    def put_many(self, bucket: str, seen: Mapping[str, Existence], ttl: float = 0.0) -> None:
        expires = self._clock() + ttl if ttl > 0 else None
        new = [
            (stored(bucket), stored(key), int(one.exists), one.size, one.timestamp, expires)
            for key, one in sorted(seen.items())
        ]
        with self._base.writing() as rows:
            rows.many(self._sql["existence_put"], new)

    def delete(self, bucket: str, key: str) -> bool:
        with self._base.writing() as rows:
            return rows.execute(self._sql["existence_drop"], (stored(bucket), stored(key))) == 1


class RedisExistence:
    """An `ExistenceCache` in Redis, in the layout of specification E.

    Args:
        url: ``redis://`` or ``rediss://``, with password and number of the database where they are needed.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._shown = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        except ValueError:
            raise usage("the URL of Redis cannot be read", "write redis://HOST:PORT/NUMBER") from None
        try:
            import redis
        except ImportError as error:
            reason, hint = "Redis needs the package redis", "install it with: pip install 'dunlin[queue]'"
            raise DunlinError("open the existence cache", self._shown, ErrorKind.USAGE, reason, hint) from error
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # once more on another connection, since those that are kept die with a Redis that is started again
        again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        try:
            self._redis: redis.Redis = redis.Redis.from_url(
                url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=again
            )
        except ValueError:
            raise usage(f"the URL of Redis cannot be read: {self._shown}", "write redis://HOST:PORT/NUMBER") from None

    def get(self, bucket: str, key: str) -> Existence | None:
        return _meant(self._ask(lambda: self._redis.get(_key(bucket, key))))

    def put(self, bucket: str, key: str, seen: Existence, ttl: float = 0.0) -> None:
        self.put_many(bucket, {key: seen}, ttl)

    def put_many(self, bucket: str, seen: Mapping[str, Existence], ttl: float = 0.0) -> None:
        milliseconds = max(1, round(ttl * 1000)) if ttl > 0 else None

        def send() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for key, one in seen.items():
                    pipe.set(_key(bucket, key), _value(one), px=milliseconds)
                pipe.execute()

        self._ask(send)

    def delete(self, bucket: str, key: str) -> bool:
        return bool(self._ask(lambda: self._redis.delete(_key(bucket, key))))

    def close(self) -> None:
        """Let go of connections."""
        self._redis.close()

    def _ask(self, call: Callable[[], Any]) -> Any:
        import redis

        try:
            return call()
        except (redis.RedisError, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        import redis

        kind = ErrorKind.INTERNAL
        if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
            kind = ErrorKind.AUTH
        elif isinstance(error, redis.TimeoutError | redis.ConnectionError | redis.ReadOnlyError | OSError):
            kind = ErrorKind.NETWORK
        text = " ".join(str(error).split())[:500]
        raise DunlinError("use the existence cache", self._shown, kind, text or type(error).__name__) from error


class _Stored(msgspec.Struct):
    """The value as other programs write it."""

    exists: bool
    size: int = 0
    timestamp: str | float = 0.0


_DECODER = msgspec.json.Decoder(_Stored)


def _key(bucket: str, key: str) -> str:
    return f"file_exists:{stored(bucket)}:{stored(key)}"


def _value(seen: Existence) -> bytes:
    stamp = datetime.fromtimestamp(seen.timestamp, UTC).isoformat().replace("+00:00", "Z")
    return msgspec.json.encode({"exists": seen.exists, "size": seen.size, "timestamp": stamp})


def _meant(value: Any) -> Existence | None:
    with contextlib.suppress(msgspec.DecodeError, ValueError, TypeError):
        if value is not None:
            found = _DECODER.decode(value)
            return Existence(found.exists, found.size, _seconds(found.timestamp))
    return None


def _seconds(stamp: str | float) -> float:
    if isinstance(stamp, float):
        return stamp
    when = datetime.fromisoformat(stamp)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
