"""A body becomes an object: in one request where it is small, in parts where it is large or its size unknown.

A put and the completion of an upload are atomic: readers see the old object or the new one. Parts are sent some at a
time. A block of the body that has the size of a part *is* a part: it is sent as it came and given back when it has
arrived, so the buffers of whoever reads the body are the only bound. Other blocks are put together in buffers of
their own, `HELD` bytes of them at most, or two parts.

Continuing. What a killed run has sent is not lost: the service keeps the parts of an unfinished upload, and tells
their sizes and tags. Before the first part is sent the newest unfinished upload of the key is looked for, and a part
that is there with the size and the tag that this one would have is not sent again. Nothing is trusted but the
content: another version of the file has other digests, and its parts replace those that differ. No state is needed,
but the parts must be cut alike: their size follows from that of the body alone.

Other programs. S3 tells of an upload who began it and when, but not by which program, and takes no mark that its
listing would show. So an upload is continued only if it has our first part: one that another program began with other
content, or cut otherwise, or that is still empty, is left to that program and a new one is begun. What was found is
never aborted, since it may be somebody else's even so. Azure's blocks have names of our own, and no others are seen
(`marked`).

The metadata of an upload is set when it begins, at S3. One that is continued may have begun with the mtime of another
version, so the object is looked at after it is complete and its metadata is replaced where it differs.

An upload stays with the service when the error is one after which it makes sense to go on: INTERRUPTED, NETWORK,
TIMEOUT, BUSY. After any other it is aborted, if it began here, because its parts are paid for. A process that is
killed leaves one; the next write of the key continues it, and a bucket's life-cycle rule removes what nobody continues.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Data
from dunlin.stores.objects.reading import end
from dunlin.stores.objects.service import Limits, Object, Part, Service

PARTS = 10_000
"""Parts into which a body of known size is cut at most: what S3 allows, the least of all services."""

CONTINUED = frozenset({ErrorKind.INTERRUPTED, ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY})
"""Errors after which an unfinished upload is kept, to be continued later."""

HELD = 32 << 20
"""Bytes of parts under way that had to be put together from blocks of another size."""


class Piece(NamedTuple):
    """One part: its bytes, whether it is the last, what is called once nobody needs them any more, and whether they
    are in a buffer of our own."""

    data: Data
    last: bool
    release: Callable[[], object] = lambda: None
    held: bool = False


Cut = Generator[Piece, None, None]


class Target(NamedTuple):
    """Where a body goes: the key, its path for messages, the metadata, and whether nothing may stand there yet."""

    key: str
    where: str
    metadata: Mapping[str, str]
    if_absent: bool


class Written(NamedTuple):
    """What became of a body: its size in bytes, the etag, and the metadata that the object has."""

    size: int
    etag: str
    metadata: Mapping[str, str]


def write(service: Service, target: Target, body: Body, *, part: int, parallel: int) -> Written:
    """Store `body` whole or not at all.

    Args:
        part: bytes up to which one put is made, and of each part, unless the service's limits or a size of
            more than 10,000 parts want something else.
        parallel: parts under way at a time.

    Raises CHANGED when the body does not have the size that it announced, EXISTS for `if_absent`, UNSUPPORTED
    for what is larger than the service holds.
    """
    size = part_size(body.size, part, service.limits, target.where)
    with contextlib.closing(cut_up(body, size, target.where)) as cut:
        first = next(cut)
        if not first.last:
            return _write_parts(service, target, first, cut, min(parallel, service.limits.parallel))
        data = first.data
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        etag = service.put(target.key, data, target.metadata, md5=digest, if_absent=target.if_absent)
        first.release()
        return Written(len(data), etag, target.metadata)


def part_size(size: int | None, part: int, limits: Limits, where: str) -> int:
    """Bytes per part for a body of `size` bytes (None: unknown). Raises UNSUPPORTED when it needs too many."""
    usual = max(min(part, limits.put), limits.least_part)
    if size is None or size <= usual:
        return usual
    wanted = max(usual, -(-size // min(limits.parts, PARTS)))
    if wanted > limits.most_part:
        wanted = limits.most_part
        if size > wanted * limits.parts:
            raise _too_large(where)
    return wanted


def _too_large(where: str) -> DunlinError:
    return DunlinError("write", where, ErrorKind.UNSUPPORTED, "it is larger than the service can store")


def cut_up(body: Body, size: int, where: str) -> Cut:
    """The body in parts of `size` bytes, the last marked (and perhaps smaller, or empty)."""
    pieces = _pieces(body, size, where)
    try:
        if body.size is not None:
            left = body.size
            for piece in pieces:
                left -= len(piece.data)
                if not left:
                    # Whatever else came would be too much, and raises.
                    for _ in pieces:
                        pass
                yield piece._replace(last=not left)
            if body.size == 0:
                yield Piece(b"", True)
            return
        # Only the next one tells whether this one is the last.
        held: Piece | None = None
        for piece in pieces:
            if held is not None:
                yield held
            held = piece
        yield Piece(b"", True) if held is None else held._replace(last=True)
    finally:
        pieces.close()


def _pieces(body: Body, size: int, where: str) -> Cut:
    """The body in parts of `size` bytes, the last perhaps smaller; CHANGED when its size is not the announced one."""
    blocks = body.open(0)
    part = bytearray()
    seen = 0
    try:
        for block in blocks:
            seen += len(block)
            if body.size is not None and seen > body.size:
                body.release(block)
                raise _other_size(where, body.size, "more")
            if not part and (len(block) == size or (len(block) < size and seen == body.size)):
                yield Piece(block, False, partial(body.release, block))
                continue
            try:
                rest = memoryview(block)
                while rest:
                    n = min(size - len(part), len(rest))
                    part += rest[:n]
                    rest = rest[n:]
                    if len(part) == size:
                        yield Piece(memoryview(part), False, held=True)
                        part = bytearray()
            finally:
                body.release(block)
        if body.size is not None and seen != body.size:
            raise _other_size(where, body.size, str(seen))
        if part:
            yield Piece(memoryview(part), False, held=True)
    finally:
        end(blocks)


def _other_size(where: str, announced: int, found: str) -> DunlinError:
    reason = (
        f"the content has {found} than the announced {announced} bytes"
        if found == "more"
        else (f"the content has {found} bytes, {announced} were announced")
    )
    return DunlinError("write", where, ErrorKind.CHANGED, reason)


def _write_parts(service: Service, target: Target, first: Piece, rest: Cut, parallel: int) -> Written:
    if target.if_absent:
        _refuse_existing(service, target)
    upload, have = unfinished(service, target.key, first)
    continued = bool(upload)
    if not upload:
        upload = service.begin(target.key, target.metadata)
    try:
        parts = send(service, target, upload, have, first, rest, parallel)
        etag = service.complete(target.key, upload, parts, target.metadata, if_absent=target.if_absent)
    except BaseException as error:
        final = error.kind not in CONTINUED if isinstance(error, DunlinError) else isinstance(error, Exception)
        if final and not continued:
            with contextlib.suppress(DunlinError):
                service.abort(target.key, upload)
        raise
    size = sum(part.size for part in parts)
    return dressed(service, target, size) if continued else Written(size, etag, target.metadata)


def _refuse_existing(service: Service, target: Target) -> None:
    """Better before gigabytes are sent than when the upload is completed."""
    try:
        service.head(target.key)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return
    raise DunlinError("write", target.where, ErrorKind.EXISTS, "something stands there already")


def unfinished(service: Service, key: str, first: Piece) -> tuple[str, frozenset[Part]]:
    """The upload to go on with and its parts; "" where there is none that can be told from another program's."""
    upload = service.unfinished(key)
    if upload:
        try:
            parts = frozenset(service.parts(key, upload))
            data = memoryview(first.data)
            begun = Part(1, len(data), service.part_tag(1, service.part_digest(data)))
            return (upload, parts) if service.limits.marked or begun in parts else ("", frozenset())
        except DunlinError as error:
            # Somebody has completed or aborted it meanwhile.
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
    return "", frozenset()


def send(
    service: Service,
    target: Target,
    upload: str,
    have: frozenset[Part],
    first: Piece,
    rest: Iterator[Piece],
    parallel: int,
    begin: int = 1,
) -> list[Part]:
    """Send what is not there yet, `parallel` parts at a time, the first with the number `begin`; all, in order."""

    def send_one(number: int, piece: Piece) -> Part:
        data = memoryview(piece.data)
        try:
            digest = service.part_digest(data)
            there = Part(number, len(data), service.part_tag(number, digest))
            return there if there in have else service.part(target.key, upload, number, data, digest)
        finally:
            piece.release()

    sent: list[Part] = []
    with ThreadPoolExecutor(parallel, "dunlin-part") as pool:
        under_way: deque[Future[Part]] = deque([pool.submit(send_one, begin, first)])
        try:
            for number, piece in enumerate(rest, begin + 1):
                if number > service.limits.parts:
                    raise _too_large(target.where)
                most = max(1, min(parallel, HELD // len(piece.data))) if piece.held else parallel
                while len(under_way) >= most or (under_way and under_way[0].done()):
                    sent.append(under_way.popleft().result())
                under_way.append(pool.submit(send_one, number, piece))
            sent.extend(future.result() for future in under_way)
        except BaseException:
            for future in under_way:
                future.cancel()
            raise
    return sent


def dressed(service: Service, target: Target, size: int) -> Written:
    """The object that a continued upload became, with the metadata it should have."""
    there: Object = service.head(target.key)
    metadata = dict(there.metadata or {})
    if metadata == dict(target.metadata):
        return Written(size, there.etag, metadata)
    try:
        etag = service.set_metadata(target.key, target.metadata, there.etag)
    except DunlinError as error:
        # The object is whole. One that is too large to be copied onto itself keeps what it has, and that is told.
        if error.kind is not ErrorKind.UNSUPPORTED:
            raise
        return Written(size, there.etag, metadata)
    return Written(size, etag, target.metadata)
