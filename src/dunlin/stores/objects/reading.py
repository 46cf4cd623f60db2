"""The content of one version of an object: in order, whole, and going on where a body broke off.

A body that breaks off costs what was not yet received: the next request begins at the first byte that is missing,
pinned to the same etag, so that two versions are never mixed. Every byte that arrives starts the retry policy anew;
an answer that could not be had at all has been through the policy already and ends the reading. So does a server that
only trickles: after as many time-outs as the policy has attempts, with less than `PROGRESS` before each of them.

One connection seldom fills a fast link far away. A receiver that offers buffers gets a large object in ranges, several
at a time. A range is received into as many buffers as it takes, each of them handed out in order as soon as it is full.
The buffers are the only bound on what is ahead. They are given out in the order of the content, by the one thread that
reads, so that the buffer that everybody waits for is never the one that is missing; a range whose next buffer has not
come waits with its connection open. Where there are not enough for two ranges that are worth a request (a bandwidth
limit asks for small ones), all are filled from a single body.

Where the service states a checksum of the whole object, and all of it is read, the last piece is handed out only after
that of all was compared (`stated`: which one). An answer to a range may not tell them (S3): when the first has
arrived, the object is asked, while others are under way.
"""

from __future__ import annotations

import contextlib
import queue
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

RANGE = 8 << 20
"""Bytes of a range where there are buffers enough. A server that reads ahead for each request does so in vain at its
end: with 50 MiB `rclone serve s3` takes a third less of its processor than with 5, with 8 a little."""

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
        if into is not None and how.parallel > 1 and what.etag and _worth_ranges(how, into, stop - start):
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


def _received(body: Iterator[Data], into: memoryview) -> memoryview:
    """What came of `body` into the beginning of a buffer: directly where the body can do that.

    Of a piece that is longer than the buffer nothing is copied.
    """
    receive: Callable[[memoryview], int] | None = getattr(body, "readinto", None)
    if receive is not None and getattr(body, "counted", False):
        return into[: receive(into)]
    data = memoryview(next(body, b""))
    if len(data) > len(into):
        return data
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


class _Block(NamedTuple):
    """A buffer that a range is received into, and the object once it is full."""

    view: memoryview
    filled: Future[Object]


class _Range:
    """One request for several blocks, which are filled one after the other as their buffers come.

    Args:
        at, end: bytes of the content. blocks: to be filled; None: there are no more.
        abandoned: nobody wants them any more.
    """

    def __init__(
        self, service: Gets, what: Version, at: int, end: int, again: Retry, abandoned: threading.Event
    ) -> None:
        self.blocks: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._service = service
        self._what = what
        self._at = at
        self._end = end
        self._again = again
        self._abandoned = abandoned
        self._rest = memoryview(b"")

    def run(self) -> None:
        """Fill them; an error is told to whoever waits for the block, and ends the range."""
        body: _Lasting | None = None
        try:
            while self._at < self._end and not self._abandoned.is_set() and (block := self.blocks.get()) is not None:
                try:
                    if body is None:
                        found, first = opened(self._service, self._what, self._at, self._end)
                        body = _Lasting(self._service, self._what, self._at, self._end, first, self._again)
                    self._fill(body, block.view)
                except BaseException as error:  # passed on, not swallowed
                    block.filled.set_exception(error)
                    return
                self._at += len(block.view)
                block.filled.set_result(found)
        finally:
            if body is not None:
                body.close()

    def _fill(self, body: _Lasting, view: memoryview) -> None:
        while view and not self._abandoned.is_set():
            came = self._rest or body.get(lambda current, into=view: _received(current, into))  # type: ignore[misc]
            if self._rest or len(came) > len(view):
                view[: len(came)] = came[: len(view)]
                self._rest = memoryview(came)[len(view) :]
            view = view[len(came) :]


def _worth_ranges(how: How, into: Buffers, size: int) -> bool:
    """Whether there are buffers for two ranges at least, or each of them is one."""
    return into.size < size and (how.part <= into.size or 2 * _span(how, into) <= into.size * into.count)


def _span(how: How, into: Buffers) -> int:
    """Bytes of a range: as many whole buffers as are worth a request, and more where three such ranges find room."""
    more = min(RANGE, into.count * into.size // 3)
    return max(-(-how.part // into.size), more // into.size) * into.size


def _ranges(service: Gets, what: Version, start: int, stop: int, how: How, into: Buffers) -> Iterator[Data]:
    """The bytes from `start` to `stop` by ranges, each received into as many buffers as it takes, some ahead."""
    span = _span(how, into)
    abandoned = threading.Event()
    ahead: deque[_Block] = deque()
    offsets = iter(range(start, stop, into.size))
    under_way: deque[tuple[_Range, Future[None]]] = deque()
    found: list[Object] = []

    with ThreadPoolExecutor(min(how.parallel, -(-into.count * into.size // span) + 1), "dunlin-range") as pool:

        def begin() -> bool:
            at = next(offsets, None)
            if at is None:
                return False
            block = _Block(into.take()[: min(into.size, stop - at)], Future())
            ahead.append(block)
            if (at - start) % span:
                under_way[-1][0].blocks.put(block)
                return True
            while under_way and under_way[0][1].done():
                under_way.popleft()
            new = _Range(service, what, at, min(at + span, stop), how.again, abandoned)
            new.blocks.put(block)
            under_way.append((new, pool.submit(new.run)))
            return True

        def blocks() -> Iterator[Data]:
            while ahead or begin():
                # The receiver may hold all other buffers: nobody may wait for one while there is something to give.
                while (not ahead or into.ready) and begin():
                    pass
                first = ahead[0].filled.result()
                if not found:
                    found.append(_stating(service, what, first) if _provable(start, stop, what, how) else first)
                yield ahead[0].view

        try:
            for view in _verified(blocks(), found, start, stop, what, how):
                ahead.popleft()
                yield view
        finally:
            abandoned.set()
            for one, future in under_way:
                one.blocks.put(None)
                future.cancel()
            wait([future for _, future in under_way])
            for block in ahead:
                into.give(block.view)


def _stating(service: Gets, what: Version, found: Object) -> Object:
    """The object with all its checksums, where the answer to a range did not tell."""
    if found.sums is not None:
        return found
    told = service.stated(what.key)
    return told if told.etag == what.etag else found


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
