"""The content of one version of an object: in order, whole, and going on where a body broke off.

A body that breaks off costs what was not yet received: the next request begins at the first byte that is missing,
pinned to the same etag, so that two versions are never mixed. Every byte that arrives starts the retry policy anew;
an answer that could not be had at all has been through the policy already and ends the reading. So does a server that
only trickles: after as many time-outs as the policy has attempts, with less than `PROGRESS` before each of them.

One connection seldom fills a fast link far away. A receiver that offers buffers gets a large object in ranges, one for
each buffer: it is received into the buffer itself, several at a time, and handed out in order. The buffers are
the only bound on what is ahead. They are taken in the order of the ranges, by the one thread that reads, so that
the range that everybody waits for is never the one without a buffer. Small buffers (a bandwidth limit asks for
them) are not worth a request each: they are filled from a single body.

Where the service states a checksum of the whole object, and all of it is read, the last piece is handed out only after
that of all was compared (`stated`: which one). An answer to a range may not tell them (S3): when the first has
arrived, the object is asked, while others are under way.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from dunlin.errors import RETRYABLE, DunlinError, ErrorKind
from dunlin.pace.retry import REQUEST
from dunlin.stores.base import Data
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects import stated
from dunlin.stores.objects.service import Gets, Object
from dunlin.stores.wrap import Retry

PROGRESS = 1 << 20
"""Bytes of one body after which a time-out is no longer one of a server that only trickles."""
LATE = REQUEST.attempts
"""Time-outs without such progress after which a reading is given up."""

Pieces = Generator[Data, None, None]


class Version(NamedTuple):
    """What is to be read: a key, its etag ("": whatever stands there), its size in bytes, its path for messages."""

    key: str
    etag: str
    size: int
    where: str


class How(NamedTuple):
    """How to read: least bytes of a range, most ranges at a time (1: a single stream), whether checksums are compared,
    retry policy."""

    part: int
    parallel: int
    verify: bool
    again: Retry


class _Spent(Exception):
    """A request failed after all its attempts: the policy around the body must not multiply them."""

    def __init__(self, error: DunlinError) -> None:
        super().__init__(error)
        self.error = error


def read(service: Gets, what: Version, start: int, stop: int, how: How, into: Buffers | None = None) -> Pieces:
    """The bytes of `what` from `start` to `stop`; in buffers of `into`, if there is such.

    Raises VANISHED when the object is gone, CHANGED when it is another version, CHECKSUM when the bytes are not
    those that the service has a checksum of.
    """
    try:
        if into is not None and how.parallel > 1 and what.etag and how.part <= into.size < stop - start:
            yield from _ranges(service, what, start, stop, how, into)
        else:
            found, body = opened(service, what, start, stop)
            with contextlib.closing(pieces(service, what, start, stop, body, how.again)) as blocks:
                proved = _verified(blocks, [found], start, stop, what, how)
                yield from proved if into is None else into_buffers(proved, into)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            raise DunlinError("read", what.where, ErrorKind.VANISHED, "it is gone") from error
        raise


def opened(service: Gets, what: Version, start: int, stop: int) -> tuple[Object, Iterator[Data]]:
    """Begin to read; the object must be of the announced size."""
    whole = start == 0 and stop == what.size
    found, body = service.get(what.key, start, None if whole else stop - start, what.etag)
    if found.size != what.size:
        end(body)
        raise DunlinError("read", what.where, ErrorKind.CHANGED, "another version stands there")
    return found, body


def pieces(service: Gets, what: Version, start: int, stop: int, first: Iterator[Data], again: Retry) -> Pieces:
    """The bytes from `start` to `stop`, beginning with the body `first`, going on with others where it breaks off."""
    body = _Lasting(service, what, start, stop, first, again)
    try:
        while not body.ended:
            data = body.get(lambda current: next(current, b""))
            if data:
                yield data
    finally:
        body.close()


def fill(
    service: Gets,
    what: Version,
    start: int,
    view: memoryview,
    first: Iterator[Data],
    again: Retry,
    abandoned: threading.Event,
) -> None:
    """Receive the bytes from `start` into `view`, as `pieces` does, unless nobody wants them any more."""
    body = _Lasting(service, what, start, start + len(view), first, again)
    try:
        while not body.ended and not abandoned.is_set():
            rest = view[body.at - start :]
            body.get(lambda current, rest=rest: _received(current, rest))  # type: ignore[misc]
    finally:
        body.close()


def _received(body: Iterator[Data], into: memoryview) -> memoryview:
    """What came of `body` into the beginning of a buffer: directly where the body can do that."""
    receive: Callable[[memoryview], int] | None = getattr(body, "readinto", None)
    if receive is not None and getattr(body, "counted", False):
        return into[: receive(into)]
    data = memoryview(next(body, b""))
    if len(data) > len(into):
        return data  # more than was asked for: whoever counts says so
    into[: len(data)] = data
    return into[: len(data)]


class _Lasting:
    """A body from `at` to `stop` that goes on with another where it breaks off."""

    def __init__(
        self, service: Gets, what: Version, start: int, stop: int, first: Iterator[Data], again: Retry
    ) -> None:
        self.at = start
        self._start = start
        self._stop = stop
        self._service = service
        self._what = what
        self._body: Iterator[Data] | None = first
        self._again = again
        self._begun = start
        self._late = 0

    @property
    def ended(self) -> bool:
        return self.at >= self._stop

    def get(self, take: Callable[[Iterator[Data]], Data]) -> Data:
        """What `take` gets out of the body, as often as the policy wants; counted."""
        try:
            data = self._again(lambda: self._step(take))
        except _Spent as spent:
            raise spent.error from spent.error.__cause__
        self.at += len(data)
        if self.at > self._stop:
            reason = "the service sent more than it was asked for"
            raise DunlinError("read", self._what.where, ErrorKind.IO, reason)
        return data

    def _step(self, take: Callable[[Iterator[Data]], Data]) -> Data:
        if self._body is None:
            try:
                _, self._body = opened(self._service, self._what, self.at, self._stop)
            except DunlinError as error:
                raise _Spent(error) from error
            self._begun = self.at
        try:
            data = take(self._body)
            if not data:
                got, wanted = self.at - self._start, self._stop - self._start
                reason = f"the content broke off after {got} of {wanted} bytes"
                raise DunlinError("read", self._what.where, ErrorKind.NETWORK, reason)
        except DunlinError as error:
            if error.kind in RETRYABLE:
                end(self._body)
                self._body = None
            if error.kind is ErrorKind.TIMEOUT and self._trickles():
                raise _Spent(error) from error
            raise
        return data

    def _trickles(self) -> bool:
        """Whether this time-out is one too many; another one has come without bytes worth a request."""
        self._late = 1 if self.at - self._begun >= PROGRESS else self._late + 1
        return self._late >= LATE

    def close(self) -> None:
        end(self._body)


def _verified(
    blocks: Iterable[Data], found: list[Object], start: int, stop: int, what: Version, how: How
) -> Iterator[Data]:
    """The blocks, and before the last of them the comparison; `found` holds the object when the first has come."""
    proof = None
    left = stop
    for data in blocks:
        if left == stop and _provable(start, stop, what, how):
            proof = stated.proof(found[0])
        left -= len(data)
        if proof is not None:
            proof.update(data)
            if not left:
                proof.check(what.where)
        yield data


def _provable(start: int, stop: int, what: Version, how: How) -> bool:
    return how.verify and not start and stop == what.size


def _ranges(service: Gets, what: Version, start: int, stop: int, how: How, into: Buffers) -> Iterator[Data]:
    """The bytes from `start` to `stop`, each buffer filled by a range of its own, some fetched ahead."""
    abandoned = threading.Event()

    def fetch(at: int, view: memoryview) -> Object:
        found, body = opened(service, what, at, at + len(view))
        fill(service, what, at, view, body, how.again, abandoned)
        if at == 0 and found.sums is None and _provable(start, stop, what, how) and not abandoned.is_set():
            told = service.stated(what.key)
            return told if told.etag == what.etag else found
        return found

    ahead: deque[tuple[Future[Object], memoryview]] = deque()
    offsets = iter(range(start, stop, into.size))
    most = min(how.parallel, into.count)

    with ThreadPoolExecutor(most, "dunlin-range") as pool:

        def begin() -> bool:
            at = next(offsets, None)
            if at is None:
                return False
            view = into.take()[: min(into.size, stop - at)]
            ahead.append((pool.submit(fetch, at, view), view))
            return True

        def blocks() -> Iterator[Data]:
            while ahead or begin():
                # The receiver may hold all other buffers: nobody may wait for one while there is something to give.
                while len(ahead) < most and (not ahead or into.ready) and begin():
                    pass
                future, view = ahead[0]
                found.append(future.result())
                yield view

        found: list[Object] = []
        try:
            for view in _verified(blocks(), found, start, stop, what, how):
                ahead.popleft()
                yield view
        finally:
            abandoned.set()
            for future, _ in ahead:
                future.cancel()
            wait([future for future, _ in ahead])
            for _, view in ahead:
                into.give(view)


def into_buffers(blocks: Iterator[Data], into: Buffers) -> Iterator[Data]:
    """The same bytes in buffers of a pool, each filled before it is handed out."""
    block: memoryview | None = None
    filled = 0
    try:
        for piece in blocks:
            rest = memoryview(piece)
            while rest:
                if block is None:
                    block, filled = into.take(), 0
                n = min(len(rest), len(block) - filled)
                block[filled : filled + n] = rest[:n]
                filled += n
                rest = rest[n:]
                if filled == len(block):
                    full, block = block, None
                    yield full
        if block is not None:
            last, block = block[:filled], None
            yield last
    finally:
        end(blocks)
        if block is not None:
            into.give(block)


def end(body: Iterator[Data] | None) -> None:
    """Close a body that may not have been read to its end, so that its connection is not kept waiting."""
    close: Callable[[], None] | None = getattr(body, "close", None)
    if close is not None:
        close()
