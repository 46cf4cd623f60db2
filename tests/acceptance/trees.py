"""Trees made for tests, and what a tree holds, so that two can be compared with ``==``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.program import dunlin

SECOND = 1_000_000_000
OLD = 1_500_000_000 * SECOND + 123_456_789
"""A time that no file gets by accident, ns since 1970."""

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


def random_tree(place: Path, chance: random.Random, depth: int = 0) -> None:
    """Names from a small alphabet, so that two trees share many, of any kind."""
    place.mkdir(parents=True, exist_ok=True)
    for name in chance.sample("abcdefgh", 5):
        path = place / name
        what = chance.random()
        if what < 0.3 and depth < 3:
            random_tree(path, chance, depth + 1)
        elif what < 0.42:
            path.symlink_to(chance.choice("abc"))
        elif what < 0.47:
            os.mkfifo(path)
        else:
            path.write_bytes(bytes(chance.randrange(4)))
            path.chmod(chance.choice((0o644, 0o600)))
        if not path.is_symlink() or chance.random() < 0.9:
            stamp = chance.choice((1_500_000_000, 1_600_000_000)) * 10**9
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)


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


# ---- comparing ----


def differences(one: dict[bytes, Fact], other: dict[bytes, Fact]) -> list[str]:
    """A line for each path that is not the same in both."""
    lines = []
    for path in sorted(one.keys() | other.keys()):
        a, b = one.get(path), other.get(path)
        if a is None or b is None:
            lines.append(f"{path!r}: only in the {'second' if a is None else 'first'}")
        elif a != b:
            fields = [f"{f}: {x!r} != {y!r}" for f, x, y in zip(Fact._fields, a, b, strict=True) if x != y]
            lines.append(f"{path!r}: {'; '.join(fields)}")
    return lines


def same(one: str | Path, other: str | Path, ignore: Sequence[str] = ()) -> None:
    """Fail with the differences of two trees, unless there are none. Fields in `ignore` do not count."""
    trees = []
    for root in (one, other):
        tree = snapshot(root)
        # Names of one inode that lie outside the tree belong to no copy.
        inside = Counter(fact.group for fact in tree.values())
        blank: dict[str, Any] = dict.fromkeys(ignore)
        for path, fact in tree.items():
            tree[path] = fact._replace(group=fact.group if inside[fact.group] > 1 else None)._replace(**blank)
        trees.append(tree)
    found = differences(*trees)
    assert not found, "\n".join(found[:40])


def change_times(root: str | Path) -> dict[bytes, int]:
    """The ctime of every path below `root`, ns: what touches an inode in any way moves it.

    Not of the root itself: every run writes a file there and removes it, to see whether it can.
    """
    top = os.fsencode(root)
    return {path: os.lstat(path).st_ctime_ns for path in _walk(top) if path != top}


def touched(before: dict[bytes, int], after: dict[bytes, int]) -> list[bytes]:
    """Paths whose inode was changed, made or removed between two `change_times`."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def temporaries(root: Path) -> list[str]:
    """Temporary files of dunlin and directories of such: left over, or in the middle of a run."""
    return [path for path in _below(root) if os.path.basename(path).startswith(".dunlin-")]


def _below(root: Path) -> Iterator[str]:
    """Every path below `root`, while others make and remove some: a directory that is gone by now has nothing."""
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.join(directory, name)


def being_written(root: Path) -> list[str]:
    """Files that are being written, not the empty one with which a run tries out how the destination treats names.

    That is its first process's; files of movers have the mover's number behind that of the run.
    """
    found = []
    for path in temporaries(root):
        name = os.path.basename(path)
        with contextlib.suppress(FileNotFoundError):
            if name.count("-") > 1 and (re.match(r"\.dunlin-[0-9a-f]{10,}-", name) or os.stat(path).st_size):
                found.append(path)
    return found


# ---- making ----


def write(path: Path, content: bytes | str = b"", mtime: int | None = OLD, mode: int | None = None) -> Path:
    """Make a file with its parents; `mtime` in ns, None leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if mode is not None:
        path.chmod(mode)
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
    return path


def rsync(*arguments: str | Path) -> None:
    """Run the peer; both of its trees must end in a slash."""
    done = subprocess.run(["rsync", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


@dataclass(frozen=True)
class Pair:
    """A source, two destinations, and the working directory of the program."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Pair:
        """With an empty source; the destinations do not exist."""
        pair = cls(root)
        pair.cwd.mkdir(parents=True)
        pair.source.mkdir()
        return pair

    @property
    def cwd(self) -> Path:
        return self.root / "cwd"

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def peer(self) -> Path:
        """Where rsync copies to."""
        return self.root / "peer"

    def sync(
        self, *options: str | Path, expect: int | None = 0, prefix: Sequence[str] = (), timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """`dunlin sync` of the pair."""
        return dunlin(
            "sync", *options, self.source, self.target, cwd=self.cwd, expect=expect, prefix=prefix, timeout=timeout
        )

    def rsync(self, *options: str) -> None:
        """`rsync` of the source to `peer`."""
        rsync(*options, f"{self.source}/", f"{self.peer}/")
