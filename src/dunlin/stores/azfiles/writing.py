"""A body becomes a file: in one request where it is small, else beside its place and renamed into it.

A small file is created with its content by one request, which the service carries out or refuses; what was there is
replaced by it. A larger one is created under a temporary name, empty and of full size; its pieces are put into it,
several at a time, but for those that are all zeros: they stay holes. Then it is renamed over what is there. Each piece
carries its MD5, which the service checks. What is larger than 100 MB can be continued (`begun`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles import smb
from dunlin.stores.azfiles.begun import CONTINUED, Upload
from dunlin.stores.azfiles.moving import own_headers, rename
from dunlin.stores.azfiles.share import MOST, Share
from dunlin.stores.base import Body, Data
from dunlin.stores.local.partial import is_kept
from dunlin.stores.objects.writing import Cut, Piece, cut_up

LARGEST = 4 << 40
"""Bytes of the largest file."""
HELD = 8
"""Pieces under way that were put together here, of 4 MiB each."""
_ZEROS = bytes(64 << 10)


class Target(NamedTuple):
    """Where a body goes: its path, a temporary one beside it, the headers that dress it, whether nothing may be there.

    `renamed`: the headers that the rename carries, since it counts as a change.
    """

    path: str
    temporary: str
    headers: dict[str, str]
    renamed: dict[str, str]
    if_absent: bool


def write(share: Share, target: Target, body: Body, parallel: int) -> smb.Told:
    """Store `body` whole or not at all; what the service says of it then.

    Raises CHANGED when the body does not have the size that it announced, EXISTS for `if_absent` and where a directory
    stands, NOT_FOUND without a directory above, UNSUPPORTED for what is too large.
    """
    where = share.where(target.path)
    if body.size is not None and body.size > LARGEST:
        raise DunlinError("write", where, ErrorKind.UNSUPPORTED, "it is larger than 4 TiB")
    with contextlib.closing(cut_up(body, MOST, where)) as cut:
        first = next(cut)
        if first.last and not target.if_absent and share.creates_whole():
            try:
                made = _created(share, target, first.data)
            except BaseException:
                first.release()
                raise
            if made is not None:
                first.release()
                return made
        return _beside(share, target, body.size, first, cut, parallel)


def _created(share: Share, target: Target, data: Data) -> smb.Told | None:
    """Create a small file whole; None where it cannot be done like that: over a read-only file."""
    headers = {"x-ms-type": "file", "x-ms-content-length": str(len(data)), **target.headers}
    if data:
        headers["content-md5"] = md5(data)
    try:
        answer = share.ask("PUT", target.path, (), headers, data, operation="write", expects=201)
    except DunlinError as error:
        if error.reason.startswith("ReadOnlyAttribute"):
            return None
        raise
    return share.told(target.path, {"content-length": str(len(data)), **own_headers(answer.headers)}, False, "write")


def md5(data: Data) -> str:
    """The value of Content-MD5."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _beside(share: Share, target: Target, size: int | None, first: Piece, rest: Cut, parallel: int) -> smb.Told:
    """Write under the temporary name, and rename."""
    upload = None
    if size is not None and size > CONTINUED:
        metadata = {name: value for name, value in target.headers.items() if name.startswith("x-ms-meta-")}
        upload = Upload(share, target.path, target.temporary, size, metadata)
    ident = upload.ident if upload is not None and upload.done else _made(share, target, size, upload)
    try:
        written = _send(share, target, size is None, first, rest, parallel, upload)
        if upload is not None:
            upload.end()
        answer = rename(share, target.temporary, target.path, ident, target.renamed, replace=not target.if_absent)
    except BaseException as error:
        with contextlib.suppress(DunlinError):
            if upload is not None and upload.worthwhile and is_kept(error):
                upload.keep()
            else:
                share.ask("DELETE", target.temporary, operation="delete", expects=202)
        raise
    return answer._replace(size=written)


def _made(share: Share, target: Target, size: int | None, upload: Upload | None) -> str:
    """Make the file under its temporary name, empty and of full size; its id."""
    headers = {"x-ms-type": "file", "x-ms-content-length": str(size or 0), **target.headers}
    # What is read-only cannot be written to: that comes with the rename.
    headers.pop("x-ms-file-attributes", None)
    if upload is not None:
        headers |= upload.marked()
    made = share.ask("PUT", target.temporary, (), headers, operation="write", expects=201)
    return made.headers.get("x-ms-file-id", "")


class Arrived(NamedTuple):
    """A piece that is there: its bytes, its MD5 ("" for zeros), and whether it had to be sent."""

    size: int
    md5: str
    sent: bool


def _send(
    share: Share, target: Target, grows: bool, first: Piece, rest: Cut, parallel: int, upload: Upload | None
) -> int:
    """Put all pieces where they belong; how many bytes they have."""

    def pieces() -> Iterator[Piece]:
        yield first
        if not first.last:
            yield from rest

    def put(at: int, piece: Piece) -> Arrived:
        try:
            size = len(piece.data)
            digest = "" if is_zero(piece.data) else md5(piece.data)
            sent = bool(digest) and (upload is None or at + size > upload.done)
            if sent:
                _put(share, target.temporary, at, piece.data, digest)
            return Arrived(size, digest, sent)
        finally:
            piece.release()

    def arrived(future: Future[Arrived]) -> None:
        done = future.result()
        if upload is not None:
            upload.took(*done)

    at = 0
    with ThreadPoolExecutor(parallel, "dunlin-range") as pool:
        under_way: deque[Future[Arrived]] = deque()
        try:
            for piece in pieces():
                most = min(parallel, HELD) if piece.held else parallel
                while len(under_way) >= most or (under_way and under_way[0].done()):
                    arrived(under_way.popleft())
                if grows and piece.data:
                    _resize(share, target.temporary, at + len(piece.data))
                under_way.append(pool.submit(put, at, piece))
                at += len(piece.data)
            while under_way:
                arrived(under_way.popleft())
        except BaseException:
            for future in under_way:
                future.cancel()
            with contextlib.suppress(DunlinError):  # what was on its way arrives all the same, and may count
                while upload is not None and under_way and not under_way[0].cancelled():
                    arrived(under_way.popleft())
            raise
    return at


def _put(share: Share, path: str, at: int, data: Data, digest: str) -> None:
    headers = {
        "x-ms-write": "update",
        "x-ms-range": f"bytes={at}-{at + len(data) - 1}",
        "x-ms-file-last-write-time": "preserve",
        "content-md5": digest,
    }
    share.ask("PUT", path, (("comp", "range"),), headers, data, operation="write", expects=201)


def _resize(share: Share, path: str, size: int) -> None:
    headers = {"x-ms-content-length": str(size)}
    share.ask("PUT", path, (("comp", "properties"),), headers, operation="write")


def is_zero(data: Data) -> bool:
    """Whether all bytes are 0."""
    view = memoryview(data)
    if not view or view[0] or view[-1]:
        return False
    # Not ==, which goes through a view byte by byte; this compares memory, seventy times as fast.
    return all(_ZEROS.startswith(view[at : at + len(_ZEROS)]) for at in range(0, len(view), len(_ZEROS)))
