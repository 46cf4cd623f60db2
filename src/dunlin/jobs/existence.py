"""Whether a key exists: `GET /check/{key}`, with a cache in front of the store.

Theory. Many ask, often for the same key at the same time, and each look at the store is a request that costs time and
money. So there is one look-up per key at a time, whose answer all who ask meanwhile get; there are at most so many
look-ups at a time; nobody waits longer than the time-out, though a look-up that was begun goes on and fills the cache.

The cache holds what was seen, "it exists" as well as "it does not". What is seen counts from the moment at which the
look-up *began*: an upload that ends while a look-up is under way has the later time, and what the look-up saw before it
does not replace it. A look-up that was begun before somebody invalidated its key is not put into the cache at all.

Uploads are told twice. By the worker, when it is in this process, the moment the object is there: kept in memory only,
so that it costs nothing. And by the results of units, which are put into the cache in lots and survive a crash.

Where the cache is away the store is asked each time, and that is said once a minute.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import NamedTuple, Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.publish_keys import check_key
from dunlin.queue.ledger.words import Existence as Seen
from dunlin.report import Event, Level, Report
from dunlin.stores.base import LooksFor, find_file
from dunlin.workers.publish_look import store_path

COMPLAIN = 60.0
"""Seconds between complaints about a cache that is away."""
FRESH = 10_000
"""Uploads that are remembered here until the results tell of them."""


class Cache(Protocol):
    """What is needed of the cache; see `queue.ledger.existence`."""

    def get(self, bucket: str, key: str) -> Seen | None: ...
    def put(self, bucket: str, key: str, seen: Seen, ttl: float = 0.0) -> None: ...
    def put_many(self, bucket: str, seen: Mapping[str, Seen], ttl: float = 0.0) -> None: ...
    def delete(self, bucket: str, key: str) -> bool: ...


class Found(NamedTuple):
    """Whether a key exists. `cached`: the store was not asked; `timestamp`: when it was seen; `size`: bytes, or 0."""

    exists: bool
    cached: bool
    timestamp: float
    size: int


class ExistenceOptions(NamedTuple):
    """How keys are looked for.

    Attributes:
        bucket: how the cache calls the destination.
        prefixes: what keys must begin with.
        most: look-ups at a time. timeout: seconds that one who asks waits.
        ttl: seconds that an answer is kept; 0: until it changes.
    """

    bucket: str
    prefixes: tuple[str, ...] = ("store/",)
    most: int = 10
    timeout: float = 30.0
    ttl: float = 0.0


class Existence:
    """Looks for keys; see the module docstring. Safe to use from many threads.

    Args:
        store: the destination; asked for at each look-up, so that it may be opened late.
        clock: seconds since 1970. monotonic: seconds that never go back.
    """

    def __init__(
        self,
        store: Callable[[], LooksFor],
        cache: Cache,
        options: ExistenceOptions,
        report: Report,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._cache = cache
        self._options = options
        self._report = report
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Seen]] = {}
        self._fresh: OrderedDict[str, Seen] = OrderedDict()
        self._pool = ThreadPoolExecutor(options.most, "exists")
        self._complained = float("-inf")

    def configure(self, options: ExistenceOptions) -> None:
        """Other options from now on; look-ups under way go on as they were begun."""
        with self._lock:
            before, self._options = self._options, options
            old = self._pool
            if options.most == before.most:
                return
            self._pool = ThreadPoolExecutor(options.most, "exists")
        old.shutdown(wait=False)

    def close(self) -> None:
        """Begin no more look-ups; those under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, key: str, prefixes: Sequence[str] | None = None) -> Found:
        """Whether the key exists.

        Args:
            prefixes: what this one may ask for; None: what the options say.

        Raises USAGE for what can be no key, DENIED for one outside the prefixes, TIMEOUT, and what the store raises.
        """
        check_key(key, self._options.prefixes if prefixes is None else prefixes)
        seen = self._known(key)
        if seen is not None:
            return Found(seen.exists, True, seen.timestamp, seen.size)
        future = self._look(key)
        try:
            seen = future.result(self._options.timeout)
        except Late:
            reason = f"the store did not answer within {self._options.timeout:g} seconds"
            raise DunlinError("look for the key", key, ErrorKind.TIMEOUT, reason) from None
        return Found(seen.exists, False, seen.timestamp, seen.size)

    def invalidate(self, key: str, prefixes: Sequence[str] | None = None) -> bool:
        """Forget what is known of a key; whether anything was. Raises USAGE, DENIED, and what the cache raises."""
        check_key(key, self._options.prefixes if prefixes is None else prefixes)
        with self._lock:
            self._under_way.pop(key, None)  # what it sees was seen before
            fresh = self._fresh.pop(key, None)
        return self._cache.delete(self._options.bucket, key) or fresh is not None

    # ---- what others saw ----

    def uploaded(self, bucket: str, key: str, size: int) -> None:
        """The key exists now: told by a worker in this process."""
        if bucket != self._options.bucket:
            return
        with self._lock:
            self._fresh[key] = Seen(True, size, self._clock())
            self._fresh.move_to_end(key)
            if len(self._fresh) > FRESH:
                self._fresh.popitem(last=False)

    def uploaded_many(self, bucket: str, keys: Mapping[str, int]) -> None:
        """The keys exist, by the results of units."""
        now = self._clock()
        try:
            self._cache.put_many(bucket, {key: Seen(True, size, now) for key, size in keys.items()}, self._options.ttl)
        except DunlinError as error:
            self._complain(error)
            return
        if bucket == self._options.bucket:
            with self._lock:
                for key in keys:
                    self._fresh.pop(key, None)

    # ---- within ----

    def _known(self, key: str) -> Seen | None:
        with self._lock:
            fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh
        try:
            return self._cache.get(self._options.bucket, key)
        except DunlinError as error:
            self._complain(error)
            return None

    def _look(self, key: str) -> Future[Seen]:
        """The look-up of the key that is under way, or a new one."""
        with self._lock:
            future = self._under_way.get(key)
            if future is None:
                future = Future()
                try:
                    self._pool.submit(self._look_up, key, future)
                except RuntimeError as error:
                    reason = "the service is shutting down"
                    raise DunlinError("look for the key", key, ErrorKind.INTERRUPTED, reason) from error
                self._under_way[key] = future
            return future

    def _look_up(self, key: str, future: Future[Seen]) -> None:
        began = self._clock()
        try:
            store = self._store()
            entry = find_file(store, store_path(store, key))
            seen = Seen(entry is not None, entry.size if entry is not None else 0, began)
            self._keep(key, seen, future)
        except BaseException as error:
            self._over(key, future)
            future.set_exception(error)
        else:
            self._over(key, future)
            future.set_result(seen)

    def _over(self, key: str, future: Future[Seen]) -> None:
        with self._lock:
            if self._under_way.get(key) is future:
                del self._under_way[key]

    def _keep(self, key: str, seen: Seen, future: Future[Seen]) -> None:
        """Put into the cache what a look-up saw, unless somebody knows better."""
        with self._lock:
            if self._under_way.get(key) is not future or key in self._fresh:
                return
        try:
            known = self._cache.get(self._options.bucket, key)
            if known is None or known.timestamp < seen.timestamp:
                self._cache.put(self._options.bucket, key, seen, self._options.ttl)
        except DunlinError as error:
            self._complain(error)

    def _complain(self, error: DunlinError) -> None:
        with self._lock:
            now = self._monotonic()
            if now - self._complained < COMPLAIN:
                return
            self._complained = now
        message = f"the existence cache is away, the store is asked instead: {error}"
        self._report.event(Event(Level.WARN, "cache.away", message, {"error": str(error)}))
