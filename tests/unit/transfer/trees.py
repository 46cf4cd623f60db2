"""Small trees in stores: put them there, and look at what became of them."""

from __future__ import annotations

import stat

from dunlin.model import MODE, MTIME, Facts, Kind, Row, facts
from dunlin.stores.base import Body, Meta, Store
from dunlin.stores.memory import MemoryStore

AT = 5_000_000_000


def put(store: Store, path: str, content: bytes = b"content", *, mtime: int = AT, mode: int = 0o644) -> Facts:
    meta = Meta(mode=mode, mtime=mtime, atime=mtime)
    return store.write(path, Body(len(content), lambda start: iter((content[start:],))), meta=meta).facts


def read(store: Store, path: str) -> bytes:
    return b"".join(bytes(data) for data in store.read(store.stat(path)))


def row(source: MemoryStore, target: MemoryStore, path: str) -> Row:
    """The row that a merge would make of `path`."""
    return (path.rpartition("/")[2], known(source, path), known(target, path))


def known(store: MemoryStore, path: str) -> Facts | None:
    directory, _, name = path.rpartition("/")
    for batch in store.list(directory):
        for found, what in batch:
            if found == name:
                return what
    return None


def tree(store: Store, directory: str = "") -> dict[str, object]:
    """Path to content, link target (as `str`), or kind."""
    found: dict[str, object] = {}
    for batch in store.list(directory):
        for name, what in batch:
            path = f"{directory}/{name}" if directory else name
            kind = stat.S_IFMT(what[MODE])
            if kind == Kind.DIRECTORY:
                found[path + "/"] = None
                found.update(tree(store, path))
            elif kind == Kind.FILE:
                found[path] = read(store, path)
            elif kind == Kind.LINK:
                found[path] = "-> " + store.read_link(path)  # type: ignore[attr-defined]
            else:
                found[path] = Kind(kind)
    return found


def mtime(store: Store, path: str) -> int:
    return int(store.stat(path).facts[MTIME])


def gone(path: str) -> Row:
    """A row of a file that the source listed and has no more."""
    return (path, facts(Kind.FILE, 3), None)
