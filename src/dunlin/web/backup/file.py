"""The content of a file in a snapshot, sent in parts while it is read.

A browser must never take what somebody backed up for a page of this service: it is sent as a download of no particular
kind, which browsers neither show nor guess at, and under a policy that would let it do nothing. The name for it on disk
is the file's own without what names may hold to deceive: control characters, slashes, signs that turn the direction of
writing around (RFC 6266, RFC 8187).

One range may be asked for (RFC 9110, 14): so a download that broke off goes on. Several at once are answered with the
whole file, as is a range whose `If-Range` names another version; a snapshot never changes, so there is one version.

The first part is read before the answer begins, so that what is damaged or lost is an error in words. What shows
later ends the connection before its time, which every client takes for a failure: the length was told.

A store may never answer, and no time-out reaches into its thread. So each repository has threads of its own and no more
than half of all downloads, and one that has waited for a part for `PATIENCE` ends; `gate` sees to clients that take
nothing. Its thread goes on: what it opens after that is given back as soon as it is opened (`_Held`).
"""

from __future__ import annotations

import asyncio
import re
import stat
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from litestar import Request
from litestar.response import Stream

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.backup.looks import node_at
from dunlin.web.backup.words import tidy
from dunlin.web.problems import Refused
from dunlin.web.vaults import PART

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.model import Entry
    from dunlin.web.vaults import Vault, Vaults

T = TypeVar("T")

MOST, MOST_EACH, MOST_FROM = 32, 6, 16
"""Downloads at a time: of all, of one key, user or address, and from one repository."""

PATIENCE = PART
"""Seconds that a store may take for a part of a file."""

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Part(NamedTuple):
    """Bytes of a file: from `start`, so many. `whole`: no range was asked for."""

    start: int
    length: int
    whole: bool


class Wanted(NamedTuple):
    """A file of a snapshot that is there. `tag`: its version (an entity tag)."""

    vault: Vault
    snapshot: Manifest
    entry: Entry
    tag: str


def find(vault: Vault, snapshot: Manifest, path: str) -> Wanted:
    """A file whose content can be sent. Raises NOT_FOUND, USAGE for what is no file, UNSUPPORTED for a scan."""
    from dunlin.backup.tree.view import File
    from dunlin.model import MODE

    path = tidy(path)
    node = node_at(vault.tree(snapshot), snapshot, path)
    if not isinstance(node, File) or not stat.S_ISREG(node.kind):
        what = "it is a directory; restore it" if not isinstance(node, File) else "it is no file with content"
        raise DunlinError("read", path, ErrorKind.USAGE, what)
    if not snapshot.content:
        raise DunlinError("read", path, ErrorKind.UNSUPPORTED, "this snapshot is a scan: it holds no content")
    entry = vault.reading(snapshot).stat(path)
    assert stat.S_ISREG(entry.facts[MODE])
    return Wanted(vault, snapshot, entry, f'"{snapshot.id}-{node.hash & (1 << 64) - 1:016x}"')


def part_of(words: str, condition: str, tag: str, size: int) -> Part:
    """The part that a request means by `Range` and `If-Range`. Raises `Refused` (416)."""
    match = _RANGE.fullmatch(words.strip())
    if match is None or match[1] == match[2] == "" or (condition and condition.strip() != tag):
        return Part(0, size, True)
    first, last = match[1], match[2]
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < start:
            return Part(0, size, True)
    else:
        start, end = max(0, size - int(last)), size
    if start >= size or start >= end:
        raise Refused(416, "the file has no such part", headers={"Content-Range": f"bytes */{size}"})
    return Part(start, end - start, False)


def disposition(path: str) -> str:
    """The header that says what a download is to be called."""
    name = path.rpartition("/")[2]
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    name = _TURNS.sub("_", "".join(each if each.isprintable() else "_" for each in name))
    name = name.replace("/", "_").replace("\\", "_").strip(" .") or "file"
    plain = re.sub(r'[^ !#$&+.0-9A-Z^_a-z{}~()@,=\[\]-]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def headers(wanted: Wanted, part: Part) -> dict[str, str]:
    """Those of the answer."""
    found = {
        "Content-Disposition": disposition(wanted.entry.path),
        "Content-Length": str(part.length),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Accept-Ranges": "bytes",
        "ETag": wanted.tag,
        "X-Accel-Buffering": "no",
    }
    if not part.whole:
        found["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{wanted.entry.size}"
    return found


def content(wanted: Wanted, part: Part) -> Iterator[bytes]:
    """The bytes of a part, a few MiB at a time. Raises IO for what is damaged or lost.

    Chunks may lie elsewhere since the snapshot was opened: where one is not found, it is looked up again, once.
    """
    at, end, again = part.start, part.start + part.length, True
    while at < end:
        store = wanted.vault.reading(wanted.snapshot)
        try:
            for data in store.read(wanted.entry, at, end - at):
                at += len(data)
                yield bytes(data)
            if at < end:
                raise DunlinError("read", wanted.entry.path, ErrorKind.IO, "its chunks end before it does")
        except DunlinError:
            if not again:
                raise
            again = False
            wanted.vault.moved(wanted.snapshot)


class _Held:
    """What a download holds until it ends, also where a thread takes something only then. `ended`: told of the end."""

    def __init__(self, ended: Callable[[], object]) -> None:
        self._lock, self._stack, self._over = threading.Lock(), ExitStack(), False
        self._stack.callback(ended)

    def take(self, what: ExitStack) -> None:
        """Hold this, too; give it back at once where the download is over."""
        with self._lock:
            if not self._over:
                self._stack.push(what.pop_all())
        what.close()

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self._over = True
        self._stack.close()


class Downloads:
    """Sends contents, so many at a time.

    Args:
        note: told of each download that begins: the request, and what it is of.
    """

    def __init__(self, vaults: Vaults, note: Callable[[Request[Any, Any, Any], Wanted], object]) -> None:
        self._vaults, self._note = vaults, note
        self._going: Counter[str] = Counter()

    async def send(
        self, request: Request[Any, Any, Any], repository: str, tenant: str, share: str, snapshot: str, path: str
    ) -> Stream:
        """The answer. Raises `Refused`, NOT_FOUND, USAGE, UNSUPPORTED, IO."""
        client = request.scope["state"]["client"]
        most = {"all": MOST, f"client {client}": MOST_EACH, f"repository {repository}": MOST_FROM}
        if any(self._going[whose] >= count for whose, count in most.items()):
            raise Refused(503, "too many downloads are under way", headers={"Retry-After": "10"})
        self._going.update(most.keys())
        held = _Held(partial(self._ended, most.keys()))
        # Not by the body: it is left alone where its client goes, until somebody collects the garbage.
        request.scope["state"]["ending"].callback(held.close)
        return await self._begin(request, held, repository, tenant, share, snapshot, path)

    async def _begin(
        self, request: Request[Any, Any, Any], held: _Held, repository: str, tenant: str, share: str,
        snapshot: str, path: str,
    ) -> Stream:  # fmt: skip
        reads = self._vaults.reads(repository)

        def look() -> tuple[Wanted, Part, Iterator[bytes], bytes]:
            with ExitStack() as stack:
                vault = stack.enter_context(self._vaults.use(repository, tenant))
                wanted = find(vault, vault.snapshot(share, snapshot), path)
                asked, condition = (request.headers.get(name, "") for name in ("range", "if-range"))
                part = part_of(asked, condition, wanted.tag, wanted.entry.size)
                pieces = content(wanted, part)
                first = next(pieces, b"") if part.length else b""
                self._note(request, wanted)
                held.take(stack)
                return wanted, part, pieces, first

        wanted, part, pieces, first = await _patiently(reads(look), path)

        async def body() -> AsyncIterator[bytes]:
            data = first
            while data:
                yield data
                data = await _patiently(reads(next, pieces, b""), path)

        return Stream(
            body(), status_code=200 if part.whole else 206, media_type="application/octet-stream",
            headers=headers(wanted, part),
        )  # fmt: skip

    def _ended(self, whose: Iterable[str]) -> None:
        self._going.subtract(whose)
        self._going += Counter()  # without those of which none is left


async def _patiently(part: Awaitable[T], path: str) -> T:
    try:
        async with asyncio.timeout(PATIENCE):
            return await part
    except TimeoutError:
        why = f"its store has not answered for {PATIENCE:g} seconds"
        raise DunlinError("read", path, ErrorKind.TIMEOUT, why) from None
