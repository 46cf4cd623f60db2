"""Whether a local root is the same directory on two machines.

Theory. A share that is not mounted on a worker's machine is an empty directory there, or holds somebody else's files:
what is copied would land below the mount point, and what is missing there would look deleted at the source. The number
of the root's inode tells most of these apart, but not two file systems of one kind: their roots are inode 2 (ext4), 128
(XFS), 256 (btrfs) or 1 (tmpfs), all of them. Machines do not agree on what tells file systems apart (numbers of
devices, the id of statvfs), so the tree itself must.

* *At a destination* the coordinator makes an empty file whose name nobody can guess, a temporary one of its run. Where
  that name is found, the directory is the same. It goes with the run, or, like all temporary files, with the next.
* *At a source* nothing may be written. There some names are told with their inodes and the times of their last change
  (ctime, which nobody can set): the root itself and a few names below it. One name that agrees is proof enough, for
  hardly another file system has an inode of that number, under that name, changed at the same time; but where that time
  has whole seconds only (some file systems know no others, and programs that format write such), two must. What
  formatting makes (`lost+found`) is no mark. The root has no name, and times of change come in steps of some
  milliseconds: two that were filled by one command agree. So a root that agrees needs one of the names to have its
  inode still, where there are names. As long as that much stays as it is, all else may change, vanish and appear; else
  the coordinator looks anew and the worker asks again (`remote`). The same goes for a destination that only workers may
  write to.

What cannot be told apart are two copies of one block device, and two file systems of one kind that were filled in step,
the same names in the same tick of the clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

Mark = tuple[str, int, int]
"""A path below the root, "" for itself; the number of its inode; its ctime, ns."""

MARKS = 16
"""So many at most: each costs a worker a round trip if none agrees."""

SECOND = 10**9

BELOW = 4
"""Directories in the root that are looked into."""


def marks(root: str) -> tuple[Mark, ...]:
    """Some names of a tree as they are now, the root first. Raises OSError when that is not there."""
    status = os.stat(root)
    found = ((path, st.st_ino, st.st_ctime_ns) for path, st in _some(root))
    return (("", status.st_ino, status.st_ctime_ns), *islice(found, MARKS - 1))


def _some(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Half of them in the root, the rest below it, where things change less often."""
    directories = []
    for name, entry in islice(_entries(root), MARKS // 2):
        yield name, entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            directories.append(name)
    for directory in directories[:BELOW]:
        for name, entry in islice(_entries(os.path.join(root, directory)), MARKS // 2 // BELOW + 1):
            yield f"{directory}/{name}", entry.stat(follow_symlinks=False)


def _entries(path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What can be looked at; what has just gone or is forbidden is no mark."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if not entry.name.startswith(".dunlin-") and entry.name != "lost+found":
                    yield entry.name, entry
    except OSError:
        return


def prove(root: str, name: str = "", run: str = "") -> str:
    """See to it that a file stands in a destination by which it is known; its name, "" where none may be made.

    `name`: of the one that was made before; "": a new one is made, for the run with that token.
    """
    name = name or f".dunlin-{run}-{os.urandom(8).hex()}.tmp"
    try:
        os.close(os.open(os.path.join(root, name), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError:
        return ""
    return name


def retract(root: str, name: str) -> None:
    """Remove that file again, and leave the directory's times as they are. Raises OSError."""
    status = os.stat(root)
    os.unlink(os.path.join(root, name))
    os.utime(root, ns=(status.st_atime_ns, status.st_mtime_ns))


def same(root: str, marks: tuple[Mark, ...], proof: str = "") -> bool:
    """Whether the directory is the one in which that file was made, or of which these marks were taken."""
    if proof:
        return os.path.lexists(os.path.join(root, proof))
    if not marks:
        return True
    top, *below = marks
    there, agreed = not below, 0
    for path, *was in below:
        now = _look(root, path)
        if now == tuple(was):
            agreed += 1
            if agreed > 1 or now[1] % SECOND:
                return True
        there = there or (now is not None and now[0] == was[0])
    return there and _look(root, "") == top[1:]


def _look(root: str, path: str) -> tuple[int, int] | None:
    """Inode and ctime of what stands there; None: nothing."""
    try:
        status = os.lstat(os.path.join(root, path)) if path else os.stat(root)
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns
