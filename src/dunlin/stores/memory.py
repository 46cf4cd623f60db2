"""`MemoryStore`: a tree in memory, with every verb and most powers, for tests and for ``memory://`` locations.

Listings come in the proven order, times from an injected clock, and failures on request:

    store.faults["read", "a/b"] = DunlinError(...)      raised by every read of a/b
    store.faults["write", "a/b"] = lambda: next(outcomes)   called first; may raise, or return to go on

Every verb looks up its own name (list, stat, read, write, delete, ...) and path there.
"""

from __future__ import annotations

import builtins
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, IDENT, MTIME, SIZE, Entry, Facts, join, sort_key
from dunlin.stores.base import Body, Caps, Data, Listing, Meta, Order
from dunlin.stores.buffers import Buffers

CAPS = Caps(
    order=Order.PROVEN,
    modes=True,
    owners=True,
    links=True,
    hard_links=True,
    specials=True,
    xattrs=True,
    max_name=None,
)
_BATCH = 50_000
_CHUNK = 262_144

Fault = DunlinError | Callable[[], object]


@dataclass(slots=True)
class _Inode:
    mode: int
    ident: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    ctime: int = 0
    atime: int = 0
    rdev: int = 0
    links: int = 1
    xattrs: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, _Inode] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def facts(self) -> Facts:
        return (
            self.mode,
            len(self.data),
            self.mtime,
            self.uid,
            self.gid,
            self.ctime,
            self.links,
            1,
            self.ident,
            self.atime,
            self.rdev,
        )


class MemoryStore:
    """A tree in memory. Safe to use from many threads.

    Args:
        name: distinguishes stores in URLs.
        clock: ns since 1970, for the times of what is written.
        caps: what the store says of itself. It folds neither case nor spelling, whatever `caps` say.
        capacity: bytes of content that it holds; writing more raises NO_SPACE. None: no limit.
    """

    def __init__(
        self,
        name: str = "",
        *,
        clock: Callable[[], int] = time.time_ns,
        caps: Caps = CAPS,
        capacity: int | None = None,
    ) -> None:
        self.faults: dict[tuple[str, str], Fault] = {}
        self._name = name
        self._clock = clock
        self._caps = caps
        self._capacity = capacity
        self._lock = threading.RLock()
        self._idents = 0
        self._root = self._inode(stat.S_IFDIR | 0o755)

    @property
    def caps(self) -> Caps:
        """What the constructor was given."""
        return self._caps

    @property
    def url(self) -> str:
        """``memory://`` and the name."""
        return f"memory://{self._name}"

    def close(self) -> None:
        """Nothing is held open."""

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory as they are at the first step, in the proven order; see `Lists`."""
        with self._lock:
            self._fail("list", directory)
            names = self._directory(directory, "list").names
            found = [(name, inode.facts()) for name, inode in names.items()]
            found.sort(key=lambda item: sort_key(item[0], stat.S_ISDIR(item[1][0])))
        for at in range(0, len(found), _BATCH):
            yield found[at : at + _BATCH]

    def walk(self, directory: str) -> Listing:
        """The whole subtree as one ordered stream; see `Walks`."""
        batch: builtins.list[tuple[str, Facts]] = []
        for item in self._walk(directory, ""):
            batch.append(item)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _walk(self, directory: str, below: str) -> Iterator[tuple[str, Facts]]:
        for batch in self.list(directory):
            for name, what in batch:
                yield join(below, name), what
                if stat.S_ISDIR(what[0]):
                    yield from self._walk(join(directory, name), join(below, name))

    def stat(self, path: str) -> Entry:
        """The entry at `path`; see `Stats`."""
        with self._lock:
            self._fail("stat", path)
            return Entry(path, self._find(path, "look at").facts())

    # ---- content ----

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of that version of `entry`; see `Reads`."""
        self._fail("read", entry.path)
        data = self._version(entry)
        stop = len(data) if length is None else min(len(data), start + length)
        at = start
        while at < stop:
            if into is None:
                piece: Data = data[at : min(stop, at + _CHUNK)]
            else:
                block = into.take()
                n = min(len(block), stop - at)
                block[:n] = data[at : at + n]
                piece = block[:n]
            at += len(piece)
            if at == stop:
                try:
                    self._version(entry)
                except BaseException:
                    if into is not None:
                        into.give(piece)
                    raise
            yield piece

    def _version(self, entry: Entry) -> bytes:
        with self._lock:
            try:
                inode = self._find(entry.path, "read")
            except DunlinError as error:
                if error.kind is ErrorKind.NOT_FOUND:
                    raise self._error("read", entry.path, ErrorKind.VANISHED) from error
                raise
            now = inode.facts()
            for at in (SIZE, MTIME, CTIME, IDENT):
                if entry.facts[at] is not None and entry.facts[at] != now[at]:
                    raise self._error("read", entry.path, ErrorKind.CHANGED)
            if not stat.S_ISREG(inode.mode):
                raise self._error("read", entry.path, ErrorKind.CHANGED)
            return inode.data

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Write `body` to `path` whole or not at all; see `Writes`."""
        self._fail("write", path)
        with self._lock:
            self._place(path, "write", if_absent)
        content = bytearray()
        for block in body.open(0):
            content += block
            body.release(block)
        if body.size is not None and len(content) != body.size:
            raise self._error("write", path, ErrorKind.CHANGED)
        if self._capacity is not None and self._used() + len(content) > self._capacity:
            raise self._error("write", path, ErrorKind.NO_SPACE)
        with self._lock:
            parent, name = self._place(path, "write", if_absent)
            before = parent.names.get(name)
            inode = self._inode(stat.S_IFREG | (stat.S_IMODE(before.mode) if before else 0o644))
            inode.data = bytes(content)
            _dress(inode, meta)
            self._put(parent, name, inode)
            return Entry(path, inode.facts())

    # ---- names ----

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Remove files, links, special files and empty directories; see `Deletes`."""
        return [self._delete(path) for path in paths]

    def _delete(self, path: str) -> bool:
        with self._lock:
            self._fail("delete", path)
            try:
                parent, name = self._parent(path, "delete")
            except DunlinError as error:
                if error.kind is ErrorKind.NOT_FOUND:
                    return False
                raise
            inode = parent.names.get(name)
            if inode is None:
                return False
            if inode.names:
                raise self._error("delete", path, ErrorKind.EXISTS, "it is not empty")
            del parent.names[name]
            inode.links -= 1
            parent.mtime = parent.ctime = self._clock()
            return True

    def remove_directory(self, path: str) -> bool:
        """Remove an empty directory and nothing else; see `RemovesDirs`."""
        with self._lock:
            directory, _, name = path.rpartition("/")
            try:
                there = self._directory(directory, "remove the directory").names.get(name)
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                return False
            if there is not None and not there.is_directory:
                raise self._error("remove the directory", path, ErrorKind.CHANGED, "it is no directory any more")
            return self._delete(path)

    def move(self, path: str, new: str) -> None:
        """Rename within the store; see `Moves`."""
        with self._lock:
            self._fail("move", path)
            inode = self._find(path, "move")
            parent, name = self._place(new, "move", False)
            old_parent, old = self._parent(path, "move")
            if inode is not parent.names.get(name):
                del old_parent.names[old]
                self._put(parent, name, inode)

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """Make one directory; see `MakesDirs`."""
        with self._lock:
            self._fail("make_directory", path)
            if not path:
                return False
            parent, name = self._parent(path, "make the directory")
            there = parent.names.get(name)
            if there is not None:
                if not there.is_directory:
                    raise self._error("make the directory", path, ErrorKind.EXISTS)
                return False
            self._put(parent, name, self._inode(stat.S_IFDIR | (0o755 if mode is None else mode | 0o700)))
            return True

    def read_link(self, path: str) -> str:
        """The target of a symbolic link; see `MakesLinks`."""
        with self._lock:
            inode = self._find(path, "read the link")
            if not stat.S_ISLNK(inode.mode):
                raise self._error("read the link", path, ErrorKind.CHANGED)
            return inode.data.decode("utf-8", "surrogateescape")

    def make_link(self, path: str, target: str, meta: Meta) -> None:
        """Make (or replace) a symbolic link; see `MakesLinks`."""
        inode = self._inode(stat.S_IFLNK | 0o777)
        inode.data = target.encode("utf-8", "surrogateescape")
        self._appear(path, inode, replace(meta, mode=None))

    def make_hard_link(self, existing: str, path: str) -> None:
        """Make (or replace) another name of a file; see `MakesLinks`."""
        with self._lock:
            inode = self._find(existing, "link")
            parent, name = self._place(path, "link", False)
            if parent.names.get(name) is not inode:
                self._put(parent, name, inode)
                inode.links += 1

    def make_special(self, path: str, mode: int, rdev: int, meta: Meta) -> None:
        """Make (or replace) a FIFO, socket or device; see `MakesLinks`."""
        inode = self._inode(mode)
        inode.rdev = rdev
        self._appear(path, inode, meta)

    def _appear(self, path: str, inode: _Inode, meta: Meta) -> None:
        with self._lock:
            self._fail("make", path)
            parent, name = self._place(path, "make", False)
            _dress(inode, meta)
            self._put(parent, name, inode)

    # ---- metadata and space ----

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """The extended attributes in `space`; see `SetsMeta`."""
        with self._lock:
            found = self._find(path, "read the attributes of").xattrs
            return {name: value for name, value in found.items() if name.startswith(space)}

    def set_meta(self, path: str, meta: Meta) -> None:
        """Give metadata to what stands at `path`; see `SetsMeta`."""
        with self._lock:
            self._fail("set_meta", path)
            inode = self._find(path, "set the metadata of")
            _dress(inode, replace(meta, mode=None) if stat.S_ISLNK(inode.mode) else meta)
            inode.ctime = self._clock()

    def free_space(self) -> int:
        """What is left of the capacity, or a terabyte; see `HasSpace`."""
        return 1 << 40 if self._capacity is None else max(0, self._capacity - self._used())

    def checkpoint(self) -> None:
        """Memory is as stable as it will be; see `Syncs`."""
        self._fail("checkpoint", "")

    # ---- inside ----

    def _fail(self, verb: str, path: str) -> None:
        fault = self.faults.get((verb, path))
        if isinstance(fault, DunlinError):
            raise fault
        if fault is not None:
            fault()

    def _inode(self, mode: int) -> _Inode:
        with self._lock:
            self._idents += 1
            now = self._clock()
            return _Inode(mode, self._idents, mtime=now, ctime=now, atime=now)

    def _used(self) -> int:
        with self._lock:
            seen: dict[int, int] = {}
            left = [self._root]
            while left:
                inode = left.pop()
                seen[inode.ident] = len(inode.data)
                left += inode.names.values()
            return sum(seen.values())

    def _find(self, path: str, operation: str) -> _Inode:
        inode = self._root
        for name in self._names(path, operation):
            below = inode.names.get(name) if inode.is_directory else None
            if below is None:
                kind = ErrorKind.CHANGED if stat.S_ISLNK(inode.mode) else ErrorKind.NOT_FOUND
                raise self._error(operation, path, kind)
            inode = below
        return inode

    def _directory(self, path: str, operation: str) -> _Inode:
        inode = self._find(path, operation)
        if not inode.is_directory:
            kind = ErrorKind.CHANGED if stat.S_ISLNK(inode.mode) else ErrorKind.NOT_FOUND
            raise self._error(operation, path, kind)
        return inode

    def _parent(self, path: str, operation: str) -> tuple[_Inode, str]:
        if not path:
            raise self._error(operation, path, ErrorKind.NAME, "this is the root itself")
        self._names(path, operation)
        directory, _, name = path.rpartition("/")
        return self._directory(directory, operation), name

    def _place(self, path: str, operation: str, if_absent: bool) -> tuple[_Inode, str]:
        """Where a name is to appear; a directory is never replaced."""
        parent, name = self._parent(path, operation)
        there = parent.names.get(name)
        if there is not None and (if_absent or there.is_directory):
            raise self._error(operation, path, ErrorKind.EXISTS)
        return parent, name

    def _put(self, parent: _Inode, name: str, inode: _Inode) -> None:
        older = parent.names.get(name)
        if older is not None:
            older.links -= 1
        parent.names[name] = inode
        parent.mtime = parent.ctime = self._clock()

    def _names(self, path: str, operation: str) -> builtins.list[str]:
        names = path.split("/") if path else []
        if "\0" in path or any(name in ("", ".", "..") for name in names):
            raise self._error(operation, path, ErrorKind.NAME, "a path in memory cannot hold it")
        return names

    def _error(self, operation: str, path: str, kind: ErrorKind, reason: str = "") -> DunlinError:
        return DunlinError(operation, f"{self.url}/{path}", kind, reason or _REASONS.get(kind, ""))


_REASONS = {
    ErrorKind.NOT_FOUND: "no such file or directory",
    ErrorKind.VANISHED: "it is gone",
    ErrorKind.CHANGED: "another version stands there",
    ErrorKind.EXISTS: "something stands there already",
    ErrorKind.NO_SPACE: "no space left",
}


def _dress(inode: _Inode, meta: Meta) -> None:
    if meta.mode is not None:
        inode.mode = stat.S_IFMT(inode.mode) | meta.mode
    inode.uid = inode.uid if meta.uid is None else meta.uid
    inode.gid = inode.gid if meta.gid is None else meta.gid
    inode.mtime = inode.mtime if meta.mtime is None else meta.mtime
    inode.atime = inode.atime if meta.atime is None else meta.atime
    if meta.xattrs is not None:
        kept = {name: value for name, value in inode.xattrs.items() if not name.startswith(meta.xattr_space)}
        inode.xattrs = kept | meta.xattrs


_shared: dict[str, MemoryStore] = {}
_sharing = threading.Lock()


def shared(name: str) -> MemoryStore:
    """The store of that name in this process: the same one each time, like a place on disk."""
    with _sharing:
        return _shared.setdefault(name, MemoryStore(name))


def stored(store: MemoryStore) -> dict[str, Any]:
    """The tree as plain values, for assertions: path -> content, link target, or None for a directory."""
    tree: dict[str, Any] = {}
    for batch in store.walk(""):
        for path, what in batch:
            if stat.S_ISREG(what[0]):
                tree[path] = b"".join(store.read(Entry(path, what)))
            else:
                tree[path] = store.read_link(path) if stat.S_ISLNK(what[0]) else None
    return tree
