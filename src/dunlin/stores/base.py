"""What a store is: one small protocol per verb, optional powers, and the caps that describe it.

A function declares the least it needs: ``crawl(tree: Lists)``, ``verify(a: Reads, b: Reads)``.
Optional powers are asked for with `power(store, Walks)`, never with `isinstance`: a wrapper has
the methods of every power but forwards only those that the wrapped store really has.

Paths are relative to the store's root, ``/`` between names, ``""`` for the root itself. No path
handed to a store may leave its root: stores refuse ``..`` components and never follow a symbolic
link found below the root, neither on the way to a name nor at its end.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, Facts, Kind, Row
from dunlin.report import Report
from dunlin.stores.buffers import Buffers

Data = bytes | memoryview


class Order(enum.Enum):
    """Whether a store's listings come in the order of `model.sort_key`."""

    PROVEN = "proven"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Caps:
    """What a store can hold and promise. Times in ns, sizes in bytes.

    Attributes:
        order: PROVEN when the service documents that listings are ordered; still checked.
        atomic_replace: a write appears under its name whole or not at all.
        mtime_precision: the coarsest step between two times it can tell apart; None: it holds no mtime.
        case_sensitive: `Readme` and `README` are two names.
        preserves_form: NFC and NFD spellings of a name are two names.
        modes, owners, links, hard_links, specials, xattrs: what it can hold beside content.
        hashes: names of checksums (as in `hashing`) that the store itself can state.
        max_name: longest name in bytes; None: no limit.
        max_part, max_parts: limits of multipart writes; None: no parts.
        far: each request takes a round trip, so that many are made at a time; versions are named by etags.
        twins: it can hold a file and a directory of one name.
        directories: directories exist by themselves, also empty ones; else only as parts of names.
        block: bytes: large content is best handed over, and asked for, in blocks of this size; 0: any will do.
    """

    order: Order = Order.NONE
    atomic_replace: bool = True
    mtime_precision: int | None = 1
    case_sensitive: bool = True
    preserves_form: bool = True
    modes: bool = False
    owners: bool = False
    links: bool = False
    hard_links: bool = False
    specials: bool = False
    xattrs: bool = False
    hashes: frozenset[str] = frozenset()
    max_name: int | None = 255
    max_part: int | None = None
    max_parts: int | None = None
    far: bool = False
    twins: bool = False
    directories: bool = True
    block: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata to give to a name; None leaves the store's own default or what is there.

    `mode` holds permission bits only; where it is None, `like` are those from which the umask takes its
    part for a name that is new. Times are ns since 1970. `xattrs` maps attribute names to values
    and is exact: attributes in `xattr_space` that it lacks are removed. `xattr_space` tells which
    name prefixes it speaks for (``("user.",)``, ``("system.posix_acl_",)``).
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    atime: int | None = None
    xattrs: dict[str, bytes] | None = None
    xattr_space: tuple[str, ...] = ()
    like: int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """Content to be written: its size in bytes (None: unknown) and a way to read it from any offset.

    `open(start)` may be called again after a failure: that is how a write is retried.
    Chunks are given to `release` once they are written, so that their buffer can be used again.

    A store that can keep what arrived of an interrupted write may go on from there the next time:

    Attributes:
        version: 16 hexadecimal digits that stand for this content and no other; "": never continued.
        seen: shown what is there already, from its first byte, before `open` is called with its end. What it raises
            ends the write.
        proven: the content is compared with a checksum of its source before its last chunk comes. Without that,
            nothing is continued that a power cut may have damaged.
    """

    size: int | None
    open: Callable[[int], Iterator[Data]]
    release: Callable[[Data], None] = lambda data: None
    version: str = ""
    seen: Callable[[Data], None] = lambda data: None
    proven: bool = False


Listing = Iterator[list[tuple[str, Facts]]]
"""Batches of (name, facts) of one directory, at most 50,000 names each, in the order of `Caps.order`."""


class Lists(Protocol):
    def list(self, directory: str) -> Listing:
        """The entries of one directory, streaming.

        Raises NOT_FOUND when it does not exist or is no directory. A listing that breaks off raises:
        an iterator that ends without an exception has yielded every entry.
        """


class Stats(Protocol):
    def stat(self, path: str) -> Entry:
        """The entry at `path`, links not followed. Raises NOT_FOUND."""


class Reads(Protocol):
    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of *that version* of `entry`, in chunks, from `start`, at most `length` bytes.

        The version is pinned: to the listed etag, or to inode, ctime, size and mtime before the first and
        after the last byte. With `into`, chunks are views of its buffers and the receiver gives each back
        with `into.give(chunk)`; without, they are `bytes` of their own.
        Raises VANISHED when it is gone, CHANGED when another version was found or while it was read.
        """


class Writes(Protocol):
    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Write `body` to `path` whole or not at all, with `meta`, and return the entry that now stands there.

        Readers see the old content or the new, never a mixture. What was there (a file or link) is
        replaced, unless `if_absent`: then EXISTS is raised. The parent directory must exist.
        """


class Deletes(Protocol):
    def delete(self, paths: Sequence[str]) -> list[bool]:
        """Remove files, links, special files and *empty* directories; tell of each whether it was there.

        A store without directories (`Caps.directories`) removes objects only, and says that all were there: it cannot
        know. Absence is no error. Raises at the first path that cannot be removed.
        """


class Closes(Protocol):
    def close(self) -> None:
        """Give back connections and descriptors. The store is not used afterwards."""


class Store(Lists, Stats, Reads, Writes, Deletes, Closes, Protocol):
    """All verbs together, with the caps and the location's URL (never with credentials)."""

    @property
    def caps(self) -> Caps: ...

    @property
    def url(self) -> str: ...


# ---- optional powers: ask with power(store, Power) ----


@runtime_checkable
class Walks(Protocol):
    def walk(self, directory: str) -> Iterator[list[tuple[str, Facts]]]:
        """A whole subtree as one ordered stream of (path below `directory`, facts): flat object listings."""


@runtime_checkable
class WalksPages(Protocol):
    def walk_pages(self, directory: str, token: str = "") -> Iterator[tuple[list[tuple[str, Facts]], str]]:
        """As `Walks.walk`, page by page: each with the token by which what follows is asked for.

        A token is "" on the last page, and may be so on others, behind which nothing can be taken up again.

        `token`: begin behind the page that came with it, in this process or another.
        """


@runtime_checkable
class Fetches(Protocol):
    def fetch(self, path: str, most: int) -> tuple[Entry, bytes] | None:
        """A whole small file with its facts, in one request; None when it is larger than `most` bytes.

        Of a larger one no more than the head is transferred. Raises NOT_FOUND, CHECKSUM.
        """


@runtime_checkable
class Finds(Protocol):
    def find(self, path: str) -> Entry | None:
        """The file at `path` in one request; None where there is none, also where a directory has the name."""


@runtime_checkable
class StatesDigests(Protocol):
    def stated_digest(self, entry: Entry) -> tuple[str, bytes] | None:
        """A checksum of that version of `entry` that the service states, and its name (`hashing.stated`).

        None where it states none, or none is wanted.

        Raises VANISHED, CHANGED.
        """


@runtime_checkable
class MakesDirs(Protocol):
    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """Make one directory; its parent must exist. True if made, False if it was there already.

        `mode` are its permission bits (None: the umask decides, which of those in `like` remain); the owner
        may always write to it until `set_meta` says otherwise. Raises EXISTS when something else stands there.
        """


@runtime_checkable
class RemovesDirs(Protocol):
    def remove_directory(self, path: str) -> bool:
        """Where directories exist by themselves: remove an empty one; True if it was there.

        Raises EXISTS when it is not empty, CHANGED when something else stands there: that stays.
        """


class Begun(NamedTuple):
    """A file that is being written in parts: plain values, so that whoever is told them, anywhere, may write one.

    Attributes:
        id: of the upload, or the name of the temporary file beside the final name.
        size: bytes of the whole.
        part: bytes of each part; what is put begins at a multiple of it.
        tags: of the parts at the beginning that are there already.
        mark: tells what it becomes from what stood there before.
        mode: its permission bits where none are given in the end; None: not known.
        found: somebody else may have begun it: it is never thrown away.
    """

    id: str
    size: int
    part: int = 1
    tags: tuple[str, ...] = ()
    mark: str = ""
    mode: int | None = None
    found: bool = False


@runtime_checkable
class Parts(Protocol):
    """A large file from many hands: begun once, its parts put by anybody and in any order, completed once.

    Every step may be done twice. Nothing is seen under the final name before it is complete.
    """

    def begin_parts(self, path: str, body: Body, *, meta: Meta, token: str) -> Begun:
        """Make ready for a file of `body.size` bytes, of which only the beginning is read.

        `token`: names a temporary file, as ``RUN-NUMBER``: 8 hexadecimal digits, a dash, letters and digits.
        Raises UNSUPPORTED where nobody else could go on with it.
        """

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        """Write what lies from `start`, a multiple of `Begun.part`; the tags of these parts.

        Raises NOT_FOUND, CHANGED when what was begun is there no more, CHANGED when `body` has another size than said.
        """

    def completed_parts(self, path: str, begun: Begun, *, meta: Meta) -> Entry | None:
        """What the file has become, if somebody completed it already."""

    def complete_parts(self, path: str, begun: Begun, tags: Sequence[str], *, meta: Meta) -> Entry:
        """Make the file of its parts, replacing what stands there. `tags`: of all parts, in order.

        Raises NOT_FOUND, CHANGED when what was begun is there no more.
        """

    def drop_parts(self, path: str, begun: Begun) -> None:
        """Throw away what was begun. Absence is no error."""


@runtime_checkable
class KeepsBegun(Protocol):
    def keep_begun(self, path: str) -> bool:
        """Keep the temporary file of a run that is dead where the next write looks for it; False: it is of no use."""


@runtime_checkable
class DropsMarkers(Protocol):
    def drop_marker(self, directory: str) -> bool:
        """Where directories exist as parts of names only: remove what shows an empty one; True if there was such.

        Nothing is removed while anything else lies in it.
        """


@runtime_checkable
class MakesLinks(Protocol):
    def read_link(self, path: str) -> str:
        """The target of a symbolic link, as stored."""

    def make_link(self, path: str, target: str, meta: Meta) -> None:
        """Make (or atomically replace) a symbolic link with its own times and owner."""

    def make_hard_link(self, existing: str, path: str) -> None:
        """Make (or atomically replace) `path` as another name of the file `existing`."""

    def make_special(self, path: str, mode: int, rdev: int, meta: Meta) -> None:
        """Make (or atomically replace) a FIFO, socket or device; `mode` includes the type bits."""


@runtime_checkable
class SetsMeta(Protocol):
    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """The extended attributes whose names begin with one of `space`; links not followed."""

    def set_meta(self, path: str, meta: Meta) -> None:
        """Give metadata to what stands at `path`; links not followed."""


CHANGE_TIME = "user.dunlin.changed"
"""The extended attribute as which a share's change time travels: it differs after any change, so it explains none."""


@runtime_checkable
class LooksAt(Protocol):
    def look_at(self, path: str, space: tuple[str, ...]) -> tuple[Entry, dict[str, bytes]]:
        """The entry at `path` with its extended attributes in `space`, in one request. Raises NOT_FOUND."""


@runtime_checkable
class FetchesDressed(Protocol):
    def fetch_dressed(
        self, path: str, most: int, space: tuple[str, ...]
    ) -> tuple[Entry, bytes, dict[str, bytes]] | None:
        """What `Fetches.fetch` and `LooksAt.look_at` tell of one version of a small file, in one request."""


@runtime_checkable
class Moves(Protocol):
    def move(self, path: str, new: str) -> None:
        """Rename within the store, replacing a file that stands at `new`."""


@runtime_checkable
class HasSpace(Protocol):
    def free_space(self) -> int:
        """Bytes that may still be written."""


@runtime_checkable
class Syncs(Protocol):
    def checkpoint(self) -> None:
        """Return when everything written before the call is on stable storage."""


@runtime_checkable
class KnowsBirths(Protocol):
    def birth_times(self, directory: str, names: Sequence[str]) -> list[int | None]:
        """When each of the names in `directory` was made, ns since 1970; None where nobody knows, or it is gone."""


@runtime_checkable
class Copies(Protocol):
    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        """Copy one file within or between stores of this kind without passing its bytes through Python."""


@runtime_checkable
class CopiesBatch(Protocol):
    def copy_batch(
        self,
        source: object,
        source_directory: str,
        directory: str,
        rows: Sequence[Row],
        options: Any,
        bucket: Any,
        worker: Any,
        fresh: bool = False,
    ) -> Any:
        """Copy the small files `rows` of one directory from a store of the same kind, as fast as it goes.

        `fresh`: this run has just made `directory`, and nobody else works in it: the files may appear all at
        once, in a directory that replaces it. The one above (unless that is the root) is then given the times
        that the one above `source_directory` has.

        Returns what became of each row (`stores.local.batch.BatchResult`), or None when `source` is of
        another kind. Raises when one of the two directories cannot be opened.
        """


class Gathered(NamedTuple):
    """What `ReadsBatch` found of a file: its content and extended attributes (None: not asked for), or an error."""

    data: bytes
    xattrs: dict[str, bytes] | None
    error: DunlinError | None


@runtime_checkable
class ReadsBatch(Protocol):
    def read_batch(
        self, directory: str, rows: Sequence[tuple[str, Facts]], space: tuple[str, ...]
    ) -> Iterator[Gathered]:
        """The whole content of some small regular files of one directory, in their order, as fast as it goes.

        Each is that version which its facts describe, as with `Reads.read`, and comes with its extended attributes
        in `space`, or is an error. Raises when the directory cannot be opened.
        """


MakesMeta = Callable[[Facts, dict[str, bytes] | None], Meta]
"""What a file with these facts and extended attributes (None: not asked for) gets."""

Contents = Callable[[Sequence[Row]], Iterator[Gathered]]
"""What some small files hold, in their order; may be asked for a second time."""


@runtime_checkable
class WritesBatch(Protocol):
    def write_batch(
        self,
        directory: str,
        rows: Sequence[Row],
        contents: Contents,
        meta: MakesMeta,
        options: Any,
        bucket: Any,
        worker: Any,
        above: Facts | None = None,
    ) -> Any:
        """Write the small files `rows` of one directory, whose content is at hand, as fast as it goes.

        `above`: this run has just made `directory`, and nobody else works in it: the files may appear all at once, in
        a directory that replaces it. The one above (unless that is the root) is then given the times in these facts.
        The rest is as with `CopiesBatch`.

        Returns what became of each row (`stores.local.batch.BatchResult`). Raises when the directory cannot be opened.
        """


class HasCaps(Protocol):
    @property
    def caps(self) -> Caps:
        """What the store can hold and promise."""


class RemovesDirectories(Deletes, HasCaps, Protocol):
    """What `remove_directory` needs."""


def remove_directory(store: RemovesDirectories, path: str) -> bool:
    """Remove a directory that holds nothing, and nothing else of that name; whether there was something to remove.

    `delete` would take a file, too: one that was put there since somebody looked, or that has the same name
    where directories are parts of names only. Raises EXISTS and CHANGED, see `RemovesDirs`.
    """
    if store.caps.directories:
        removes = power(store, RemovesDirs)
        if removes is None:
            raise DunlinError("remove the directory", path, ErrorKind.UNSUPPORTED, "the store has no such power")
        return removes.remove_directory(path)
    markers = power(store, DropsMarkers)
    return markers is not None and markers.drop_marker(path)


class LooksFor(Stats, HasCaps, Protocol):
    """What `find_file` needs, and whoever makes the path of a key."""


def find_file(store: LooksFor, path: str) -> Entry | None:
    """The file at `path`, in one request where the store can do that; None where there is none (`Finds`)."""
    finds = power(store, Finds)
    if finds is not None:
        return finds.find(path)
    try:
        entry = store.stat(path)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None
    return entry if entry.kind is Kind.FILE else None


P = TypeVar("P")


def power(store: object, wanted: type[P]) -> P | None:
    """The store as `wanted` if it really has that power, else None.

    A wrapper tells through its `powers` method which of its store's powers it forwards.
    """
    tell = getattr(store, "powers", None)
    if tell is not None and wanted not in cast(Iterable[type], tell()):
        return None
    # A look at every method of a protocol takes 10 µs, and powers are asked for once per directory.
    key = (type(store), wanted)
    if key not in _powers:
        _powers[key] = isinstance(store, wanted)
    return cast(P, store) if _powers[key] else None


_powers: dict[tuple[type, type], bool] = {}
