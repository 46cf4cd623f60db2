"""`RetryingService`: every request made again by the one retry policy.

A request whose answer got lost may have been carried out. Most can simply be made again. Two cannot: a put with
`if_absent` finds its own object in the way, and a `complete` finds its upload gone. When the attempt before failed,
a look at the object tells whether it is the one that was meant.

Bodies of `get` are not retried here: the reader knows what it has, and goes on from there (`reading.pieces`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import REQUEST, Retry, retry
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service

T = TypeVar("T")


class RetryingService:
    """A service whose requests are made again as `policy` says. Safe to use from many threads.

    Args:
        inner: the service that makes each request once.
        on_retry: called before each wait with the error, the number of the attempt, and the seconds to wait.
        sleep, clock, chance: see `pace.retry.retry`; a `sleep` that raises ends the retrying.
    """

    def __init__(
        self,
        inner: Service,
        policy: Retry = REQUEST,
        on_retry: Callable[[DunlinError, int, float], object] | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self.inner = inner
        self._policy = policy
        self._on_retry = on_retry
        self._sleep = sleep
        self._clock = clock
        self._chance = chance

    def again(self, act: Callable[[], T], /) -> T:
        """What `act` returns, after as many attempts as the policy allows."""
        return retry(act, self._policy, self._on_retry, sleep=self._sleep, clock=self._clock, chance=self._chance)

    def _once_done(self, act: Callable[[], str], done: ErrorKind, ours: Callable[[], str]) -> str:
        """`act` again and again; when it says `done` after a failed attempt, `ours` may tell the etag that it made."""
        attempts = 0

        def step() -> str:
            nonlocal attempts
            attempts += 1
            try:
                return act()
            except DunlinError as error:
                if error.kind is not done or attempts == 1:
                    raise
                etag = ours()
                if not etag:
                    raise
                return etag

        return self.again(step)

    def _etag_if(self, key: str, fits: Callable[[Object], bool]) -> str:
        try:
            there = self.inner.head(key)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return ""
            raise
        return there.etag if fits(there) else ""

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def limits(self) -> Limits:
        return self.inner.limits

    @property
    def ordered(self) -> bool:
        # Azure has to be asked.
        return self.again(lambda: self.inner.ordered)

    @property
    def metadata_listed(self) -> bool:
        return self.inner.metadata_listed

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        return self.again(lambda: self.inner.page(prefix, delimiter=delimiter, token=token, after=after, most=most))

    def head(self, key: str) -> Object:
        return self.again(lambda: self.inner.head(key))

    def stated(self, key: str) -> Object:
        return self.again(lambda: self.inner.stated(key))

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        return self.again(lambda: self.inner.get(key, start, length, etag))

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        def ours() -> str:
            digest = md5 or hashlib.md5(data, usedforsecurity=False).digest()
            return self._etag_if(key, lambda there: there.md5 == digest and dict(there.metadata or {}) == metadata)

        return self._once_done(
            lambda: self.inner.put(key, data, metadata, md5=md5, if_absent=if_absent), ErrorKind.EXISTS, ours
        )

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        return self.again(lambda: self.inner.begin(key, metadata))

    def unfinished(self, key: str) -> str:
        return self.again(lambda: self.inner.unfinished(key))

    def parts(self, key: str, upload: str) -> list[Part]:
        return self.again(lambda: self.inner.parts(key, upload))

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        return self.again(lambda: self.inner.part(key, upload, number, data, digest))

    def part_digest(self, data: Data) -> bytes:
        return self.inner.part_digest(data)

    def part_tag(self, number: int, digest: bytes) -> str:
        return self.inner.part_tag(number, digest)

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        size = sum(part.size for part in parts)

        def ours() -> str:
            return self._etag_if(key, lambda there: there.size == size and dict(there.metadata or {}) == metadata)

        # Where a name may not be there yet, a lost answer shows as EXISTS, else as an upload that is gone.
        done = ErrorKind.EXISTS if if_absent else ErrorKind.NOT_FOUND
        return self._once_done(
            lambda: self.inner.complete(key, upload, parts, metadata, if_absent=if_absent), done, ours
        )

    def abort(self, key: str, upload: str) -> None:
        self.again(lambda: self.inner.abort(key, upload))

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        there = source.inner if isinstance(source, RetryingService) else source
        return self.again(lambda: self.inner.copy(there, origin, key, metadata))

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        return self.again(lambda: self.inner.set_metadata(key, metadata, etag))

    def delete(self, keys: Sequence[str]) -> None:
        self.again(lambda: self.inner.delete(keys))

    def close(self) -> None:
        self.inner.close()
