"""`ObjectStore`: directories, entries and the verbs of a store over the keys of any `Service`.

What a directory is. A service knows keys, nothing else; what lies below ``photos/`` is what begins with these
characters. A directory is therefore *there* as long as some key lies below it, and it holds nothing itself: no time,
no mode, no owner. It is neither made nor deleted (`Caps.directories` is False): making one stores nothing, and it is
gone with its last object. Two things follow that no file system knows. ``a`` and ``a/b`` can both be keys: they list
as a file and a directory of one name. And a key that ends in ``/`` and has no content, a *marker*, lets an empty
directory be seen; it is hidden unless `markers` wants it listed, as a file with the escaped empty name (`keys`).

Requests. A listing is one request per page and never one per object, so it tells what the service tells: where the
metadata is not listed, mtime and owner are None, and `stat` or `fetch` know them. Listings come in the order of the
keys, which is that of `model.sort_key` as long as no name was escaped. Escaped names are put in place within their
page; where that is not enough the reader notices and begins again, sorted (`compare.listing`).

Versions. An object's etag pins it: a read continues and a copy copies the version that was listed, or says CHANGED.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, SIZE, Entry, Facts, is_directory, sort_key
from dunlin.pace.retry import retry as patient
from dunlin.report import Report
from dunlin.stores.base import Begun, Body, Caps, Data, Listing, Meta, Order
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects import parts, reading, stated, writing
from dunlin.stores.objects.answers import stranger
from dunlin.stores.objects.keys import EMPTY, key_of, name_of, path_of
from dunlin.stores.objects.metadata import DIRECTORY, facts, facts_of, metadata_of, time_text
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object, Page, Service
from dunlin.stores.objects.shards import pages
from dunlin.stores.wrap import Retry

READ_PART = 1 << 20
WRITE_PART = 5 << 20
PARALLEL = 8
LIST_PARALLEL = 4


class ObjectStore:
    """The objects of a bucket below a root. Safe to use from many threads.

    Args:
        service: makes the requests; retries, if wanted, are its own (`persist.RetryingService`).
        root: what all keys begin with and no path shows: "" or a prefix that ends in "/".
        begin: only keys that begin with this are seen or written; a plain string, default `root`.
        markers: directory markers are listed, as files with the escaped empty name.
        verify: whole reads are compared with a checksum that the service states.
        part_size: bytes; buffers of at least this size are each filled by a range of its own.
        write_part: bytes; more than that is written in parts.
        parallel: most ranges, parts or deletes under way at a time, for each call.
        page: most keys asked for in one request of a listing; 0: as many as the service gives.
        list_parallel: most requests under way for one listing, where it is long and found to be in order
            (`shards`); 1: its pages are asked for one after the other.
        retry: how to go on after a body broke off; None: as the service retries, or by the usual policy.
    """

    def __init__(
        self,
        service: Service,
        root: str = "",
        begin: str = "",
        markers: bool = False,
        verify: bool = True,
        part_size: int = READ_PART,
        parallel: int = PARALLEL,
        *,
        write_part: int = WRITE_PART,
        page: int = 0,
        list_parallel: int = LIST_PARALLEL,
        retry: Retry | None = None,
    ) -> None:
        if root and not root.endswith("/"):
            raise ValueError(f"a root ends in a slash, {root!r} does not")
        if begin and not begin.startswith(root):
            raise ValueError(f"no key below {root!r} begins with {begin!r}")
        self.service = service
        self._root = root
        self._begin = begin or root
        self._markers = markers
        self._parallel = parallel
        self._write_part = write_part
        self._page = page
        again = retry or (service.again if isinstance(service, RetryingService) else patient)
        self._how = reading.How(part_size, parallel, verify, again)
        self._caps = _caps(service, write_part)
        self._list_parallel = list_parallel if self._caps.order is Order.PROVEN else 1

    @property
    def caps(self) -> Caps:
        """What objects can hold; the order as the service documents it."""
        return self._caps

    @property
    def url(self) -> str:
        """The service's URL and the root."""
        return f"{self.service.url}/{self._root}".rstrip("/")

    def close(self) -> None:
        """Close the service's connections."""
        self.service.close()

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory, page by page; see `Lists`."""
        below = self._below(directory)
        prefix = self._prefix(below)
        deeper = self._begin[len(below) :].partition("/") if self._begin.startswith(below) else ("", "", "")
        if prefix is None:
            raise self._error("list", directory, ErrorKind.NOT_FOUND)
        if deeper[1]:
            # Whatever may be seen lies in one directory: no need to list it all to say so.
            if self._any(prefix):
                yield [(name_of(deeper[0]), DIRECTORY)]
            elif directory:
                raise self._error("list", directory, ErrorKind.NOT_FOUND)
            return
        seen = False
        for page in self._pages(prefix, "/"):
            seen = seen or bool(page.objects or page.prefixes)
            if rows := _rows(page, len(below), self._markers):
                yield rows
        if directory and not seen:
            raise self._error("list", directory, ErrorKind.NOT_FOUND)

    def walk(self, directory: str) -> Listing:
        """Every object below `directory` in the order of the keys, by a flat listing; see `Walks`.

        Directories are no entries of it, the paths say where they are; but for those that a marker shows.
        """
        return (rows for rows, _ in self.walk_pages(directory) if rows)

    def walk_pages(self, directory: str, token: str = "") -> Iterator[tuple[builtins.list[tuple[str, Facts]], str]]:
        """The same page by page, with tokens; see `WalksPages`."""
        below = self._below(directory)
        prefix = self._prefix(below)
        seen = bool(token)
        for page in self._pages(prefix, "", token) if prefix is not None else ():
            seen = seen or bool(page.objects)
            # In the order of the keys, also where names are escaped: what lies in one directory stays together.
            yield [row for item in page.objects if (row := self._walked(item, len(below)))], page.token
        if directory and not seen:
            raise self._error("list", directory, ErrorKind.NOT_FOUND)

    def _walked(self, item: Object, below: int) -> tuple[str, Facts] | None:
        """An object of a flat listing; a hidden marker is its directory, that of the listed one is nothing."""
        if self._markers or not _is_marker(item):
            return path_of(item.key[below:]) or EMPTY, facts_of(item)
        return (path_of(item.key[below:-1]) or EMPTY, DIRECTORY) if len(item.key) > below else None

    def stat(self, path: str) -> Entry:
        """The entry at `path`: the object, else the directory; see `Stats`."""
        if path:
            found = self._head(path)
            if found is not None:
                return Entry(path, facts_of(found))
        if not self._is_directory(path):
            raise self._error("look at", path, ErrorKind.NOT_FOUND)
        return Entry(path, DIRECTORY)

    def find(self, path: str) -> Entry | None:
        """The object at `path`, by one request; see `Finds`."""
        found = self._head(path) if path else None
        return None if found is None else Entry(path, facts_of(found))

    # ---- content ----

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of that version of `entry`; see `Reads` and `reading`.

        Whole objects are compared with a checksum that the service states (CHECKSUM). An object in an archive
        tier raises DENIED, with a hint what to do.
        """
        size = int(entry.facts[SIZE])
        stop = size if length is None else min(size, start + length)
        key = self._key(entry.path, "read")
        if not key.startswith(self._begin):
            raise self._error("read", entry.path, ErrorKind.VANISHED)
        if is_directory(entry.facts):
            raise self._error("read", entry.path, ErrorKind.CHANGED, "a directory has no content")
        if start >= stop and (start or size):
            return
        what = reading.Version(key, str(entry.facts[IDENT] or ""), size, self._where(entry.path))
        yield from reading.read(self.service, what, start, stop, self._how, into)

    def stated_digest(self, entry: Entry) -> tuple[str, bytes] | None:
        """The checksum that the service states of that version; see `StatesDigests`."""
        if not self._how.verify:
            return None
        found = self._head(entry.path, self.service.stated)
        if found is None:
            raise self._error("read", entry.path, ErrorKind.VANISHED)
        if found.etag != entry.facts[IDENT]:
            raise self._error("read", entry.path, ErrorKind.CHANGED)
        return stated.cheapest(found)

    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        """A small object and its facts in one request; see `Fetches`. Raises NETWORK for one without an etag."""
        key = self._key(path, "read")
        if not key.startswith(self._begin):
            raise self._error("read", path, ErrorKind.NOT_FOUND)
        found, body = self.service.get(key)
        if found.size > most:
            reading.end(body)
            return None
        if self._hidden(found):
            reading.end(body)
            raise self._error("read", path, ErrorKind.NOT_FOUND)
        if not found.etag:
            reading.end(body)
            raise stranger("read", self._where(path))
        what = reading.Version(key, found.etag, found.size, self._where(path))
        data = b"".join(reading.pieces(self.service, what, 0, found.size, body, self._how.again))
        if self._how.verify and (proof := stated.proof(found)) is not None:
            proof.update(data)
            proof.check(what.where)
        return Entry(path, facts_of(found)), data

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Write `body` to `path` whole or not at all; see `Writes` and `writing`.

        What is larger than `write_part` goes in parts. An upload that ends with INTERRUPTED, NETWORK, TIMEOUT or
        BUSY stays with the service: the next write of this path sends only the parts that are not there
        yet, recognised by their content. After any other error it is aborted.

        The entry is made without another request: its ctime, the time of the upload, is None.
        """
        target = writing.Target(self._own_key(path, "write"), self._where(path), metadata_of(meta), if_absent)
        made = writing.write(self.service, target, body, part=self._write_part, parallel=self._parallel)
        return Entry(path, facts(made.size, None, made.etag, made.metadata))

    # ---- content from many hands: see `Parts`, and the functions of `parts` ----

    def begin_parts(self, path: str, body: Body, *, meta: Meta, token: str) -> Begun:
        """Begin, or find, an upload and send its first part; UNSUPPORTED for one part, or one sender only."""
        return parts.begin(self.service, self._target(path, meta), body, part=self._write_part)

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        """Send the parts from `start` that are not there yet."""
        return parts.put(self.service, self._target(path, Meta()), begun, start, body, parallel=self._parallel)

    def completed_parts(self, path: str, begun: Begun, *, meta: Meta) -> Entry | None:
        """The object that the upload has become, by one request."""
        made = parts.completed(self.service, self._target(path, meta), begun)
        return None if made is None else Entry(path, facts(made.size, None, made.etag, made.metadata))

    def complete_parts(self, path: str, begun: Begun, tags: Sequence[str], *, meta: Meta) -> Entry:
        """Make the object."""
        made = parts.complete(self.service, self._target(path, meta), begun, tags)
        return Entry(path, facts(made.size, None, made.etag, made.metadata))

    def drop_parts(self, path: str, begun: Begun) -> None:
        """Throw the upload away, unless it was found and may be somebody else's."""
        parts.drop(self.service, self._own_key(path, "write"), begun)

    def _target(self, path: str, meta: Meta) -> writing.Target:
        return writing.Target(self._own_key(path, "write"), self._where(path), metadata_of(meta), False)

    # ---- names ----

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Delete the objects of these paths, as many with each request as the service takes; see `Deletes`.

        Every path counts as having been there, and so does a key that somebody else has deleted since it was
        listed: S3 does not tell of the keys of one request which were there, and where a service tells it of each,
        a request made again after a lost answer cannot tell whose work the absence is. Directories are not
        deleted: they are gone with their last object.
        """
        self._delete_keys(builtins.list(dict.fromkeys(self._own_key(path, "delete") for path in paths)))
        return [True] * len(paths)

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """Store nothing, and say that it was made: there are no directories; see the module docstring."""
        if path and self._prefix(self._below(path)) is None:
            raise self._error("make the directory", path, ErrorKind.NAME, f"no key below it begins with {self._begin}")
        return bool(path)

    def drop_marker(self, directory: str) -> bool:
        """Delete the hidden marker of a directory that holds nothing else; see `DropsMarkers`."""
        marker = self._below(directory)
        if self._markers or not directory or not marker.startswith(self._begin):
            return False
        found: builtins.list[Object] = []
        for page in pages(self.service, marker, "", most=2):
            found += page.objects
            if len(found) > 1:
                return False
        if not found or found[0].key != marker or found[0].size:
            return False
        self.service.delete([marker])
        return True

    def move(self, path: str, new: str) -> None:
        """Rename by copying within the service and deleting what was copied; see `Moves`.

        A directory is moved object by object; nothing is deleted before its copy is there.
        """
        key, new_key = self._own_key(path, "move"), self._own_key(new, "move")
        found = self._head(path)
        if found is None:
            self._move_directory(path, new)
        elif key != new_key:
            self.service.copy(self.service, found, new_key, dict(found.metadata or {}))
            self.service.delete([key])

    def _move_directory(self, path: str, new: str) -> None:
        below, new_below = self._below(path), self._below(new)
        if not self._is_directory(path):
            raise self._error("move", path, ErrorKind.NOT_FOUND)
        if below == new_below:
            return
        if new_below.startswith(below):
            raise self._error("move", path, ErrorKind.NAME, "a directory cannot be moved into itself")
        if self._is_directory(new):
            raise self._error("move", new, ErrorKind.EXISTS)
        for page in pages(self.service, below, ""):
            for listed in page.objects:
                found = listed if listed.metadata is not None else self.service.head(listed.key)
                key = new_below + found.key[len(below) :]
                self.service.copy(self.service, found, key, dict(found.metadata or {}))
            self._delete_keys([copied.key for copied in page.objects])

    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        """Let the service copy one object, metadata of other programs included; see `Copies`.

        A copy keeps the time of the original: where that has no mtime, the time of its upload becomes one.

        Raises UNSUPPORTED, before anything was written, where `target` is no object store (or one whose wrapper
        must see the bytes), and where the service cannot copy between the two.
        """
        there = unwrapped(target)
        if there is None:
            raise self._error("copy", entry.path, ErrorKind.UNSUPPORTED, "the bytes have to pass through dunlin")
        found = self._head(entry.path)
        if found is None:
            raise self._error("copy", entry.path, ErrorKind.VANISHED)
        if found.size != entry.facts[SIZE] or found.etag != entry.facts[IDENT]:
            raise self._error("copy", entry.path, ErrorKind.CHANGED)
        metadata = metadata_of(meta, {"mtime": time_text(found.modified), **(found.metadata or {})})
        task = report.task(entry.path, found.size)
        try:
            etag = there.service.copy(self.service, found, there._own_key(path, "copy to"), metadata)
            task.advance(found.size)
        finally:
            task.end()
        return Entry(path, facts(found.size, None, etag, metadata))

    # ---- metadata ----

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """Objects have no extended attributes: always none; see `SetsMeta`."""
        return {}

    def set_meta(self, path: str, meta: Meta) -> None:
        """Replace the metadata of an object, keeping that of other programs; see `SetsMeta`.

        A directory holds none: nothing is done. Extended attributes are not kept.
        """
        if not path:
            return
        found = self._head(path)
        if found is None:
            if self._is_directory(path):
                return
            raise self._error("set the metadata of", path, ErrorKind.NOT_FOUND)
        have = dict(found.metadata or {})
        metadata = metadata_of(meta, have)
        if metadata != have:
            self.service.set_metadata(found.key, metadata, found.etag)

    # ---- inside ----

    def _below(self, directory: str) -> str:
        """What the keys below a directory begin with."""
        return f"{self._root}{key_of(directory)}/" if directory else self._root

    def _prefix(self, below: str) -> str | None:
        """The prefix by which a listing finds all visible keys that begin with `below`; None: there can be none."""
        if below.startswith(self._begin):
            return below
        return self._begin if self._begin.startswith(below) else None

    def _pages(self, prefix: str, delimiter: str, token: str = "") -> Iterator[Page]:
        """The pages of a listing, some of them asked for at the same time when it turns out to be long.

        A service that is found not to begin behind names, or to list in another order, is asked in turn from then on.
        """

        def refused() -> None:
            self._list_parallel = 1

        parallel = self._list_parallel
        return pages(self.service, prefix, delimiter, self._page, token, parallel, refused=refused)

    def _key(self, path: str, operation: str) -> str:
        key = self._root + key_of(path)
        if not path or not key:
            reason = "this is the root itself" if not path else "no object has an empty key"
            raise self._error(operation, path, ErrorKind.NAME, reason)
        return key

    def _own_key(self, path: str, operation: str) -> str:
        """The key of what is to be changed; it must be one that this store shows."""
        key = self._key(path, operation)
        if not key.startswith(self._begin):
            raise self._error(operation, path, ErrorKind.NAME, f"its key does not begin with {self._begin}")
        return key

    def _head(self, path: str, ask: Callable[[str], Object] | None = None) -> Object | None:
        key = self._root + key_of(path)
        # The first component of "/lead" is a directory whose own key would be empty: that no object has.
        if not key or not key.startswith(self._begin):
            return None
        try:
            found = (ask or self.service.head)(key)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return None
            raise
        return None if self._hidden(found) else found

    def _hidden(self, found: Object) -> bool:
        return not self._markers and not found.size and found.key.endswith("/")

    def _is_directory(self, path: str) -> bool:
        prefix = self._prefix(self._below(path))
        # The root of a bucket is there with the bucket: the request raises NOT_FOUND where that is not.
        return prefix is not None and (self._any(prefix) or not path)

    def _any(self, prefix: str) -> bool:
        return any(page.objects or page.prefixes for page in pages(self.service, prefix, "", most=1))

    def _delete_keys(self, keys: Sequence[str]) -> None:
        most = self.service.limits.deletes
        batches = [keys[at : at + most] for at in range(0, len(keys), most)]
        if len(batches) == 1:
            self.service.delete(batches[0])
        elif batches:
            with ThreadPoolExecutor(min(self._parallel, len(batches)), "dunlin-delete") as pool:
                builtins.list(pool.map(self.service.delete, batches))

    def _where(self, path: str) -> str:
        return f"{self.url}/{path}"

    def _error(self, operation: str, path: str, kind: ErrorKind, reason: str = "") -> DunlinError:
        return DunlinError(operation, self._where(path), kind, reason or _REASONS.get(kind, ""))


_REASONS = {
    ErrorKind.NOT_FOUND: "no such object or directory",
    ErrorKind.VANISHED: "it is gone",
    ErrorKind.CHANGED: "another version stands there",
    ErrorKind.EXISTS: "something stands there already",
}


def _caps(service: Service, write_part: int) -> Caps:
    return Caps(
        order=Order.PROVEN if service.ordered else Order.NONE,
        modes=True,
        owners=True,
        far=True,
        twins=True,
        directories=False,
        hashes=frozenset({"md5"}),
        max_name=None,
        max_part=service.limits.most_part,
        max_parts=service.limits.parts,
        block=writing.part_size(None, write_part, service.limits, ""),
    )


def unwrapped(store: object) -> ObjectStore | None:
    """The object store in its wrappers, unless one of them must see what is written."""
    while store is not None and not isinstance(store, ObjectStore):
        store = getattr(store, "inner_for_writing", None)
    return store


def _is_marker(item: Object) -> bool:
    return not item.size and item.key[-1:] == "/"


def _rows(page: Page, below: int, markers: bool) -> list[tuple[str, Facts]]:
    """Names (or, of a flat listing, paths) and facts of a page; `below` is the length of the directory's prefix."""
    found = [
        (item.key[below:], facts_of(item)) for item in page.objects if markers or item.size or item.key[-1:] != "/"
    ]
    if page.prefixes:
        found += [(prefix[below:], DIRECTORY) for prefix in page.prefixes]
        # Both are sorted; together they have to be merged. Code points order as their UTF-8 bytes do.
        found.sort(key=itemgetter(0))
        names = [text[:-1] if what is DIRECTORY else text for text, what in found]
        plain = [(name, what) for name, (_, what) in zip(names, found, strict=True)]
    else:
        plain = found
    joined = "/".join([name for name, _ in plain])
    if not plain or (joined and path_of(joined) == joined):
        return plain
    rows = [(path_of(name) or EMPTY, what) for name, what in plain]
    rows.sort(key=lambda row: sort_key(row[0], row[1] is DIRECTORY))
    return rows
