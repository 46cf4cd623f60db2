"""The content of one version of an object: in order, whole, and going on where a body broke off.

A body that breaks off costs what was not yet received: the next request begins at the first byte that is missing,
pinned to the same etag, so that two versions are never mixed. Every byte that arrives starts the retry policy anew;
an answer that could not be had at all has been through the policy already and ends the reading.

One connection seldom fills a fast link far away. Objects larger than a part are therefore fetched in ranges, some of
them ahead of the receiver, and delivered in order. What waits is bounded: `parallel` parts ahead of the one that is
being delivered.

Where the service states an MD5 and the whole object is read, the last piece is handed out only after the digest of
all was compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from dunlin.errors import RETRYABLE, DunlinError, ErrorKind
from dunlin.stores.base import Data
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects.service import Object, Service
from dunlin.stores.wrap import Retry

Pieces = Generator[Data, None, None]


class Version(NamedTuple):
    """What is to be read: a key, its etag ("": whatever stands there), its size in bytes, its path for messages."""

    key: str
    etag: str
    size: int
    where: str


class How(NamedTuple):
    """How to read: bytes per range, ranges ahead (1: a single stream), whether digests are compared, retry policy."""

    part: int
    parallel: int
    verify: bool
    again: Retry


class _Spent(Exception):
    """A request failed after all its attempts: the policy around the body must not multiply them."""

    def __init__(self, error: DunlinError) -> None:
        super().__init__(error)
        self.error = error


def read(service: Service, what: Version, start: int, stop: int, how: How) -> Pieces:
    """The bytes of `what` from `start` to `stop`.

    Raises VANISHED when the object is gone, CHANGED when it is another version, CHECKSUM when the bytes are not
    those that the service has a digest of.
    """
    try:
        if how.parallel > 1 and what.etag and stop - start > how.part:
            yield from _ranges(service, what, start, stop, how)
        else:
            found, body = opened(service, what, start, stop)
            with contextlib.closing(pieces(service, what, start, stop, body, how.again)) as blocks:
                yield from _verified(blocks, found, start, stop, what, how)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            raise DunlinError("read", what.where, ErrorKind.VANISHED, "it is gone") from error
        raise


def opened(service: Service, what: Version, start: int, stop: int) -> tuple[Object, Iterator[Data]]:
    """Begin to read; the object must be of the announced size."""
    whole = start == 0 and stop == what.size
    found, body = service.get(what.key, start, None if whole else stop - start, what.etag)
    if found.size != what.size:
        end(body)
        raise DunlinError("read", what.where, ErrorKind.CHANGED, "another version stands there")
    return found, body


def pieces(service: Service, what: Version, start: int, stop: int, first: Iterator[Data], again: Retry) -> Pieces:
    """The bytes from `start` to `stop`, beginning with the body `first`, going on with others where it breaks off."""
    at = start
    body: Iterator[Data] | None = first

    def step() -> Data:
        nonlocal body
        if body is None:
            try:
                _, body = opened(service, what, at, stop)
            except DunlinError as error:
                raise _Spent(error) from error
        try:
            data = next(body, None)
            if data is None:
                reason = f"the content broke off after {at - start} of {stop - start} bytes"
                raise DunlinError("read", what.where, ErrorKind.NETWORK, reason)
        except DunlinError as error:
            if error.kind in RETRYABLE:
                end(body)
                body = None
            raise
        return data

    try:
        while at < stop:
            data = again(step)
            at += len(data)
            if at > stop:
                reason = "the service sent more than it was asked for"
                raise DunlinError("read", what.where, ErrorKind.IO, reason)
            if data:
                yield data
    except _Spent as spent:
        raise spent.error from spent.error.__cause__
    finally:
        end(body)


def _verified(
    blocks: Iterable[Data], found: Object, start: int, stop: int, what: Version, how: How
) -> Iterator[Data]:
    if not how.verify or found.md5 is None or start or stop != what.size:
        yield from blocks
        return
    digest = hashlib.md5(usedforsecurity=False)
    left = stop
    for data in blocks:
        digest.update(data)
        left -= len(data)
        if not left:
            check(digest.digest(), found, what.where)
        yield data


def check(digest: bytes, found: Object, where: str) -> None:
    """Raise CHECKSUM unless `digest` is the MD5 that the service states, if it states one."""
    if found.md5 is not None and digest != found.md5:
        reason = f"the content has the MD5 {digest.hex()}, the service states {found.md5.hex()}"
        raise DunlinError("read", where, ErrorKind.CHECKSUM, reason)


def _ranges(service: Service, what: Version, start: int, stop: int, how: How) -> Iterator[Data]:
    """The bytes from `start` to `stop` in ranges, some fetched ahead."""
    abandoned = threading.Event()

    def fetch(at: int) -> tuple[Object, list[Data]]:
        until = min(stop, at + how.part)
        found, body = opened(service, what, at, until)
        got: list[Data] = []
        for data in pieces(service, what, at, until, body, how.again):
            if abandoned.is_set():
                break
            got.append(data)
        return found, got

    offsets = iter(range(start, stop, how.part))
    with ThreadPoolExecutor(how.parallel, "dunlin-range") as pool:
        ahead: deque[Future[tuple[Object, list[Data]]]] = deque()
        try:
            ahead.extend(pool.submit(fetch, at) for at in islice(offsets, how.parallel))
            found, got = ahead.popleft().result()

            def blocks() -> Iterator[Data]:
                ready = got
                while True:
                    ahead.extend(pool.submit(fetch, at) for at in islice(offsets, 1))
                    yield from ready
                    if not ahead:
                        return
                    ready = ahead.popleft().result()[1]

            yield from _verified(blocks(), found, start, stop, what, how)
        finally:
            abandoned.set()
            for future in ahead:
                future.cancel()


def into_buffers(blocks: Pieces, into: Buffers) -> Iterator[Data]:
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
        blocks.close()
        if block is not None:
            into.give(block)


def end(body: Iterator[Data] | None) -> None:
    """Close a body that may not have been read to its end, so that its connection is not kept waiting."""
    close: Callable[[], None] | None = getattr(body, "close", None)
    if close is not None:
        close()
