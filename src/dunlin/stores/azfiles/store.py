"""`AzureFiles`: a directory of a share as a store.

Unlike objects, files of a share lie in directories that exist by themselves, and names are found in any case; unlike a
local directory, every look takes a round trip. So `Caps` say both: far, and with directories.

**Requests.** A listing is one request per page of 5,000 entries, with times and etags, and never one per file: it does
not tell metadata, so mode and owner are None there, as at S3. `stat` is one request where the kind is known (what a
listing has shown to be a directory is asked for as one), else two. A small file is read by one request and written by
one (`writing`).

**Holes.** Of a file of `SPARSE` bytes or more, what is allocated is asked for first, and zeros are not transferred.
Written, blocks of zeros stay holes.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, SIZE, Entry, is_directory, join
from dunlin.report import Report
from dunlin.stores.azfiles import begun, smb, writing
from dunlin.stores.azfiles.moving import rename
from dunlin.stores.azfiles.names import stored_path
from dunlin.stores.azfiles.permissions import Permissions
from dunlin.stores.azfiles.share import DIRECTORY, MOST, Share
from dunlin.stores.base import Body, Caps, Data, Listing, Meta, Order
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects import reading

CAPS = Caps(
    order=Order.NONE, mtime_precision=smb.TICK, case_sensitive=False, modes=True, owners=True, xattrs=True,
    max_name=None, max_part=MOST, far=True, directories=True, block=MOST,
)  # fmt: skip
SPARSE = 16 << 20
"""Bytes of a file from which on it is asked where its holes are."""
HOLE = 1 << 20
"""Bytes of the smallest hole that is worth a request of its own."""
PARALLEL = 8
SPACE_S = 60.0
"""Seconds for which an answer on free space is believed."""
_KNOWN = 100_000
_COPY_S = 300.0


class AzureFiles:
    """What lies below a directory of a share. Safe to use from many threads.

    Args:
        share: makes the requests, and makes them again.
        root: the directory, "" for the share's own root.
        run: the token of a run, in temporary names.
        parallel: most ranges or deletes under way at a time, for each call.
        page: most names asked for in one request of a listing; 0: as many as the service gives.
        clock: seconds that never go back. sleep: for waiting until a copy is done.
    """

    def __init__(
        self,
        share: Share,
        root: str = "",
        run: str = "0",
        *,
        parallel: int = PARALLEL,
        page: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.share = share
        self.permissions = Permissions(share)
        self._root = root
        self._run = run
        self._numbers = itertools.count(1)
        self._parallel = parallel
        self._page = page
        self._clock = clock
        self._sleep = sleep
        self._known: set[str] = set()
        self._space = (-SPACE_S, 0)
        self._how = reading.How(1 << 20, parallel, False, share.again)

    @property
    def caps(self) -> Caps:
        """What a share can hold."""
        return CAPS

    @property
    def url(self) -> str:
        """The URL of the share and the directory, never with a SAS."""
        return self.share.where(self._root)

    def close(self) -> None:
        """Close the connections."""
        self.share.close()

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory, page by page, in no order that could be relied on; see `Lists`."""
        path = self._path(directory)
        token = ""
        while True:
            try:
                page = self.share.page(path, token, self._page)
            except DunlinError as error:
                if error.kind is ErrorKind.EXISTS:
                    raise self._error("list", directory, ErrorKind.NOT_FOUND, "it is no directory") from error
                raise
            self._note(join(path, name) for name, what in page.rows if is_directory(what))
            if page.rows:
                yield page.rows
            token = page.token
            if not token:
                return

    def stat(self, path: str) -> Entry:
        """The entry at `path`; see `Stats`."""
        return Entry(path, self._look(path).facts)

    def _look(self, path: str) -> smb.Told:
        """All about a file or directory. Raises NOT_FOUND."""
        full = self._path(path)
        first = not path or full in self._known
        try:
            return self.share.look(full, first)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND or not path or error.where == self.share.url:
                raise
        self._known.discard(full)
        found = self.share.look(full, not first)
        if found.directory:
            self._note([full])
        return found

    def _note(self, paths: Any) -> None:
        """Remember directories, so that they are asked for as such."""
        if len(self._known) > _KNOWN:
            self._known.clear()
        self._known.update(paths)

    # ---- content ----

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of that version of `entry`; see `Reads`.

        A file that is read by several requests is looked at once more before its last bytes are handed out.
        """
        path = self._path(entry.path)
        size = int(entry.facts[SIZE])
        stop = size if length is None else min(size, start + length)
        if is_directory(entry.facts):
            raise self._error("read", entry.path, ErrorKind.NAME if not entry.path else ErrorKind.CHANGED)
        if start >= stop and (start or size):
            return
        what = reading.Version(path, str(entry.facts[IDENT] or ""), size, self.share.where(path))
        at = start
        for data in self._content(what, start, stop, into):
            at += len(data)
            if at == stop and stop - start > MOST and not self.share.snapshot:
                try:
                    self._still(what)
                except BaseException:
                    if into is not None:
                        into.give(data)
                    raise
            yield data

    def _still(self, what: reading.Version) -> None:
        try:
            there = self.share.look(what.key, False)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            raise DunlinError("read", what.where, ErrorKind.VANISHED, "it is gone") from error
        if what.etag and there.etag != what.etag:
            raise DunlinError("read", what.where, ErrorKind.CHANGED, "it was written to while it was read")

    def _content(self, what: reading.Version, start: int, stop: int, into: Buffers | None) -> Iterator[Data]:
        """The bytes from `start` to `stop`, zeros of large holes made here."""
        if stop - start < SPARSE:
            yield from reading.read(self.share, what, start, stop, self._how, into)
            return
        try:
            held = self.share.ranges(what.key, what.etag)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            raise DunlinError("read", what.where, ErrorKind.VANISHED, "it is gone") from error
        for first, last, hole in _segments(held, start, stop):
            if hole:
                yield from _zeros(last - first, into)
            else:
                yield from reading.read(self.share, what, first, last, self._how, into)

    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        """A small file with its facts, in one request; see `Fetches`."""
        found = self._fetched(path, most)
        return None if found is None else (Entry(path, found[0].facts), found[1])

    def fetch_dressed(
        self, path: str, most: int, space: tuple[str, ...]
    ) -> tuple[Entry, bytes, dict[str, bytes]] | None:
        """The same with its extended attributes; see `FetchesDressed` and `smb`. A new permission is asked for."""
        found = self._fetched(path, most)
        return None if found is None else (Entry(path, found[0].facts), found[1], self._xattrs(found[0], space))

    def _fetched(self, path: str, most: int) -> tuple[smb.Told, bytes] | None:
        full = self._path(path)
        found, body = self.share.content(full)
        if found.size > most:
            reading.end(body)
            return None
        what = reading.Version(full, found.etag, found.size, self.share.where(full))
        return found, b"".join(reading.pieces(self.share, what, 0, found.size, body, self._how.again))

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Write `body` to `path` whole or not at all; see `Writes` and `writing`."""
        full = self._own(path, "write")
        stored_path(full)  # before the body is read
        metadata = smb.metadata_of(meta, {}, False)
        headers = smb.smb_headers(meta, self.permissions.key(smb.permission_of(meta)))
        renamed = {name: value for name, value in headers.items() if name != "x-ms-file-property-semantics"}
        dressed = {**smb.metadata_headers(metadata), **headers}
        target = writing.Target(full, self._temporary(full), dressed, renamed, if_absent)
        made = writing.write(self.share, target, body, self._parallel)
        return Entry(path, made._replace(metadata=metadata).facts)

    def _temporary(self, path: str) -> str:
        return join(path.rpartition("/")[0], f".dunlin-{self._run}-{next(self._numbers)}.tmp")

    # ---- names ----

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Remove files and empty directories, several at a time where they do not depend on each other; see `Deletes`.

        A read-only file loses that attribute first.
        """
        full = [self._own(path, "delete") for path in paths]
        above = {path.rpartition("/")[0] for path in full}
        if len(full) < 2 or len(set(full)) < len(full) or above & set(full):
            return [self._delete(path) for path in full]
        with ThreadPoolExecutor(min(self._parallel, len(full)), "dunlin-delete") as pool:
            return builtins.list(pool.map(self._delete, full))

    def _delete(self, path: str) -> bool:
        kinds = (True, False) if path in self._known else (False, True)
        return self._remove(path, kinds[0]) or self._remove(path, kinds[1])

    def _remove(self, path: str, directory: bool) -> bool:
        """Remove a file, or an empty directory; whether there was one."""

        def act(attempt: int) -> bool:
            try:
                self.share.once("DELETE", path, DIRECTORY if directory else (), operation="delete", expects=202)
            except DunlinError as error:
                if error.reason.startswith("ReadOnlyAttribute"):
                    self._set(path, False, {"x-ms-file-attributes": "None"})
                    self.share.once("DELETE", path, operation="delete", expects=202)
                    return True
                absent = error.kind is ErrorKind.NOT_FOUND and error.where != self.share.url
                if absent or error.reason.startswith("ResourceTypeMismatch"):
                    return absent and attempt > 1
                raise
            return True

        removed = self.share.tried(act)
        if removed and directory:
            self._known.discard(path)
        return removed

    def keep_begun(self, path: str) -> bool:
        """Keep an upload that a dead run has left; see `KeepsBegun`."""
        return begun.keep(self.share, self._own(path, "keep"))

    def remove_directory(self, path: str) -> bool:
        """Remove an empty directory and nothing else; see `RemovesDirs`."""
        full = self._own(path, "remove the directory")
        if self._remove(full, True):
            return True
        try:
            self.share.look(full, False)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return False
        raise self._error("remove the directory", path, ErrorKind.CHANGED, "it is no directory any more")

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """Make one directory; see `MakesDirs`. The root is made with all that is missing above it."""
        full = self._path(path)
        if path:
            return self._make(full, smb.metadata_of(Meta(mode=mode), {}, True))
        made = False
        names = full.split("/") if full else []
        for depth in range(1, len(names) + 1):
            made = self._make("/".join(names[:depth]), {})
        return made

    def _make(self, path: str, metadata: dict[str, str]) -> bool:
        headers = smb.metadata_headers(metadata)

        def act(attempt: int) -> bool:
            try:
                self.share.once("PUT", path, DIRECTORY, headers, operation="make the directory", expects=201)
            except DunlinError as error:
                if error.kind is not ErrorKind.EXISTS or not self.share.is_directory(path):
                    raise
                return attempt > 1
            return True

        made = self.share.tried(act)
        self._note([path])
        return made

    def move(self, path: str, new: str) -> None:
        """Rename within the share, replacing a file; see `Moves`."""
        old, full = self._own(path, "move"), self._own(new, "move")
        found = self._look(path)
        if old == full:
            return
        rename(self.share, old, full, found.ident, {}, replace=True, directory=found.directory)
        if found.directory:
            self._known.clear()

    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        """Let the service copy a file within the account, with all that a share keeps of it; see `Copies`.

        Raises UNSUPPORTED, before anything was written, where `target` is no share of the same account.
        """
        there = unwrapped(target)
        own = self.share.found
        if there is None or (there.share.found.endpoint, there.share.found.account) != (own.endpoint, own.account):
            raise self._error("copy", entry.path, ErrorKind.UNSUPPORTED, "the bytes have to pass through dunlin")
        if self.share.snapshot:
            raise self._error("copy", entry.path, ErrorKind.UNSUPPORTED, "snapshots pass through dunlin")
        try:
            found = self.share.look(self._path(entry.path), False)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            raise self._error("copy", entry.path, ErrorKind.VANISHED, "it is gone") from error
        if found.size != entry.facts[SIZE] or found.etag != entry.facts[IDENT]:
            raise self._error("copy", entry.path, ErrorKind.CHANGED, "another version stands there")
        task = report.task(entry.path, found.size)
        try:
            made = there.take_copy(self, self._path(entry.path), path, found, meta)
            task.advance(found.size)
            return made
        finally:
            task.end()

    def take_copy(self, source: AzureFiles, origin: str, path: str, found: smb.Told, meta: Meta) -> Entry:
        """Have the file `origin` of `source`, which was found so, copied to `path`."""
        full = self._own(path, "copy to")
        temporary = self._temporary(full)
        metadata = smb.metadata_of(meta, dict(found.metadata), False)
        if meta.mtime is not None and "mtime" not in smb.metadata_of(meta, {}, False):
            metadata.pop("mtime", None)
        key = found.permission
        if self.share.url != source.share.url:
            key = self.permissions.key(source.permissions.text(found.permission))
        kept = {
            "x-ms-file-creation-time": smb.time_text(found.created),
            "x-ms-file-last-write-time": smb.time_text(found.written),
            "x-ms-file-change-time": smb.time_text(found.changed),
            "x-ms-file-attributes": smb.words(found.attributes),
            "x-ms-file-permission-key": key,
        }
        dressed = {**kept, **smb.smb_headers(meta)}
        dressed.pop("x-ms-file-property-semantics", None)
        headers = {
            "x-ms-copy-source": source.share.source(origin),
            "x-ms-source-allow-trailing-dot": "true",
            "x-ms-type": "file",
            **smb.metadata_headers(metadata),
        }
        answer = self.share.ask("PUT", temporary, (), headers, operation="copy to", expects=202)
        try:
            self._copied(temporary, answer.headers.get("x-ms-copy-status", ""))
            # The rename says what of metadata is to be, too: a copy without any would have the source's.
            ident = answer.headers.get("x-ms-file-id", "")
            given = {**smb.metadata_headers(metadata), **dressed}
            made = rename(self.share, temporary, full, ident, given, replace=True)
        except BaseException:
            with contextlib.suppress(DunlinError):
                self.share.ask("DELETE", temporary, operation="delete", expects=202)
            raise
        return Entry(path, made._replace(size=found.size, metadata=metadata).facts)

    def _copied(self, path: str, status: str) -> None:
        began, pause = self._clock(), 0.05
        while status == "pending" and self._clock() < began + _COPY_S:
            self._sleep(pause)
            pause = min(pause * 2, 2.0)
            status = self.share.ask("HEAD", path, operation="copy to").headers.get("x-ms-copy-status", "")
        if status != "success":
            kind = ErrorKind.TIMEOUT if status == "pending" else ErrorKind.IO
            raise DunlinError("copy to", self.share.where(path), kind, f"the service says {status or 'nothing'}")

    # ---- metadata and space ----

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """The extended attributes in `space`; see `SetsMeta` and `smb`."""
        return self.look_at(path, space)[1]

    def look_at(self, path: str, space: tuple[str, ...]) -> tuple[Entry, dict[str, bytes]]:
        """The entry with its extended attributes: one request, and one for each new permission; see `LooksAt`."""
        found = self._look(path)
        return Entry(path, found.facts), self._xattrs(found, space)

    def _xattrs(self, found: smb.Told, space: tuple[str, ...]) -> dict[str, bytes]:
        wanted = smb.PLAIN not in found.metadata and f"{smb.OURS}permission".startswith(space)
        permission = self.permissions.text(found.permission) if wanted else ""
        return smb.xattrs_of(found, permission, space)

    def set_meta(self, path: str, meta: Meta) -> None:
        """Give metadata to a file or directory; that of other programs stays; see `SetsMeta`."""
        found = self._look(path)
        full = self._path(path)
        metadata = smb.metadata_of(meta, found.metadata, found.directory)
        if metadata != dict(found.metadata):
            query = (*(DIRECTORY if found.directory else ()), ("comp", "metadata"))
            headers = smb.metadata_headers(metadata)
            self.share.ask("PUT", full, query, headers, operation="set the metadata of")
        headers = smb.smb_headers(meta, self.permissions.key(smb.permission_of(meta)))
        headers.pop("x-ms-file-property-semantics", None)
        if headers:
            self._set(full, found.directory, headers)

    def _set(self, path: str, directory: bool, headers: dict[str, str]) -> None:
        query = (*(DIRECTORY if directory else ()), ("comp", "properties"))
        preserved = {
            "x-ms-file-attributes": "preserve",
            "x-ms-file-creation-time": "preserve",
            "x-ms-file-last-write-time": "preserve",
        }
        if "x-ms-file-permission-key" not in headers:
            preserved["x-ms-file-permission"] = "preserve"
        self.share.ask("PUT", path, query, {**preserved, **headers}, operation="set the metadata of")

    def free_space(self) -> int:
        """What is left of the share's quota, as asked within a minute; see `HasSpace`."""
        asked, free = self._space
        if self._clock() < asked + SPACE_S:
            return free
        try:
            free = self.share.free_space()
        except DunlinError as error:
            if error.kind not in (ErrorKind.DENIED, ErrorKind.AUTH):
                raise
            free = 1 << 60  # who may write need not be allowed to ask
        self._space = (self._clock(), free)
        return free

    # ---- inside ----

    def _path(self, path: str) -> str:
        """The path in the share, checked. Raises NAME."""
        if path:
            stored_path(path)
        return join(self._root, path) if path else self._root

    def _own(self, path: str, operation: str) -> str:
        if not path:
            raise self._error(operation, path, ErrorKind.NAME, "this is the root itself")
        return self._path(path)

    def _error(self, operation: str, path: str, kind: ErrorKind, reason: str = "") -> DunlinError:
        where = self.share.where(join(self._root, path) if path else self._root)
        return DunlinError(operation, where, kind, reason)


def unwrapped(store: object) -> AzureFiles | None:
    """The store of a share in its wrappers, unless one of them must see what is written."""
    while store is not None and not isinstance(store, AzureFiles):
        store = getattr(store, "inner_for_writing", None)
    return store


def _segments(held: Sequence[tuple[int, int]], start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    """The bytes from `start` to `stop` as (first, behind last, whether it is a hole), small holes as content."""
    begun = at = start
    for first, last in held:
        first, last = max(first, start), min(last, stop)
        if first >= last:
            continue
        if first - at >= HOLE:
            if at > begun:
                yield begun, at, False
            yield at, first, True
            begun = first
        at = max(at, last)
    if stop - at >= HOLE:
        if at > begun:
            yield begun, at, False
        yield at, stop, True
    elif stop > begun:
        yield begun, stop, False


def _zeros(size: int, into: Buffers | None) -> Iterator[Data]:
    block = bytes(min(size, 1 << 20))
    while size:
        if into is None:
            data: Data = block[:size]
        else:
            view = into.take()
            data = view[: min(size, len(view), len(block))]
            data[:] = block[: len(data)]
        size -= len(data)
        yield data
