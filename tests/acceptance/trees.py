"""Trees made for tests, and what a tree holds, so that two can be compared with ``==``."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
}  # fmt: skip


class Fact(NamedTuple):
    """Everything about one name that a faithful copy keeps."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    content: str | bytes | int | None
    """sha256 of a file, target of a link, number of a device."""
    group: bytes | None
    """The first name of the same file, where it has several."""
    xattrs: tuple[tuple[str, bytes], ...]


def snapshot(root: str | Path, *, content: bool = True) -> dict[bytes, Fact]:
    """Relative path -> ``Fact`` of everything below ``root``; ``b"."`` is the root itself.

    Sizes of directories differ between file systems and are 0. Links are never followed.
    """
    top = os.fsencode(root)
    found: dict[bytes, Fact] = {}
    groups: dict[tuple[int, int], bytes] = {}
    for path in sorted(_walk(top)):
        name = os.path.relpath(path, top)
        status = os.lstat(path)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        group = groups.setdefault((status.st_dev, status.st_ino), name) if kind != "directory" else None
        found[name] = Fact(
            kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
            status.st_size if kind in ("file", "link") else 0, status.st_mtime_ns,
            _content(path, kind, status) if content or kind != "file" else None,
            group if status.st_nlink > 1 else None, _xattrs(path),
        )  # fmt: skip
    return found


def names(root: str | Path) -> set[str]:
    """Every relative path below ``root``."""
    return {os.fsdecode(name) for name in snapshot(root, content=False)} - {"."}


def make(root: str | Path, content: Mapping[str, bytes | None], *, mtime: float | None = 1_600_000_000.25) -> Path:
    """Make files below ``root``: name -> bytes, ``None`` for a directory. Every name gets ``mtime``, deepest first."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for name, body in content.items():
        path = root / name
        if body is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    if mtime is not None:
        stamp = int(mtime * 1_000_000_000)
        touched = {root / name for name in content}
        touched |= {parent for path in touched for parent in path.parents if parent.is_relative_to(root)}
        for path in sorted(touched, reverse=True):
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)
    return root


def _walk(top: bytes) -> list[bytes]:
    found, waiting = [], [top]
    while waiting:
        path = waiting.pop()
        found.append(path)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            waiting.extend(entry.path for entry in os.scandir(path))
    return found


def _content(path: bytes, kind: str, status: os.stat_result) -> str | bytes | int | None:
    if kind == "file":
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if kind == "link":
        return os.readlink(path)
    return status.st_rdev if kind in ("char", "block") else None


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        listed = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system without them
        return ()
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(listed))
