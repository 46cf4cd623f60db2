"""The words of dunlin: what a listing holds, in which order, what a merge saw, what a plan wants. No I/O.

Facts and names
    A listed name carries its *facts*: a plain tuple of integers in the order of `FACTS`. It is
    plain because a run looks at hundreds of millions of them: `operator.attrgetter` fills one
    from a `stat` result in half a microsecond, slices of it are compared in C, and `marshal`
    sends it through a pipe. `Entry` wraps one for the code that handles single files.

    Names are `str` decoded with ``surrogateescape``, so every byte sequence survives. Paths are
    relative to the root of their store's location, with ``/`` between names and ``""`` for the root.

Order
    The key of a name is its UTF-8 bytes (surrogateescape), with ``/`` appended for a directory:
    git's tree order and the order in which S3 lists keys. `sort_key` is its only definition.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Facts = tuple[Any, ...]
"""What a listing says of one name: the fields `FACTS`, in that order; None where a store does not know."""

FACTS = ("mode", "size", "mtime", "uid", "gid", "ctime", "nlink", "dev", "ident", "atime", "rdev")
"""mode: st_mode, type bits included. size: bytes. mtime, ctime, atime: ns since 1970. dev: st_dev.
ident: what pins this version: the inode number, or an object's etag. rdev: device number of a special file."""

MODE, SIZE, MTIME, UID, GID, CTIME, NLINK, DEV, IDENT, ATIME, RDEV = range(11)

SURE = 11
"""A twelfth fact, put behind the others where extended attributes are kept that a listing does not tell (`recorded`):
True: nothing of the file, its metadata included, has changed since it was synced. False: it is another version, by its
etag. None, or not there: nobody knows."""


class Kind(enum.IntEnum):
    """What a name is. The values are those of the type bits in ``st_mode``."""

    FIFO = stat.S_IFIFO
    CHARACTER = stat.S_IFCHR
    DIRECTORY = stat.S_IFDIR
    BLOCK = stat.S_IFBLK
    FILE = stat.S_IFREG
    LINK = stat.S_IFLNK
    SOCKET = stat.S_IFSOCK


TYPE_BITS = 0o170000
PERMISSION_BITS = 0o7777
DIRECTORY_BITS = int(stat.S_IFDIR)
FILE_BITS = int(stat.S_IFREG)


CHANGED = 1 << 62
"""ns: the mtime of a version that is not the recorded one, where nobody knows it. Nothing has it; it is never set."""

BARE_DIRECTORY: Facts = (DIRECTORY_BITS, 0, None, None, None, None, 1, 0, 0, None, 0)
"""The facts of a directory that exists only in the names of what lies in it: it has no times, mode or owner."""


class Entry(NamedTuple):
    """One listed name: its path below the location's root, and its facts."""

    path: str
    facts: Facts

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def kind(self) -> Kind:
        """File, directory, link or one of the special kinds."""
        return Kind(self.facts[MODE] & TYPE_BITS)

    @property
    def size(self) -> int:
        """Bytes of content."""
        return int(self.facts[SIZE])

    @property
    def mtime(self) -> int:
        """Time of the last modification, ns since 1970."""
        return int(self.facts[MTIME])


def facts(kind: Kind, size: int = 0, mtime: int = 0, *, permissions: int = 0, ident: Any = 0) -> Facts:
    """Facts for a store that knows little more than kind, size (bytes) and mtime (ns)."""
    return (int(kind) | permissions, size, mtime, None, None, mtime, 1, 0, ident, mtime, 0)


def is_directory(what: Facts) -> bool:
    """Whether these facts are of a directory."""
    return bool((what[MODE] & TYPE_BITS) == DIRECTORY_BITS)


def is_file(what: Facts) -> bool:
    """Whether these facts are of a regular file."""
    return bool((what[MODE] & TYPE_BITS) == FILE_BITS)


def sort_key(name: str, directory: bool) -> bytes:
    """The key that orders names within one directory; see the module docstring."""
    key = name.encode("utf-8", "surrogateescape")
    return key + b"/" if directory else key


def join(directory: str, name: str) -> str:
    """The path of `name` in `directory`; the root is ``""``."""
    return f"{directory}/{name}" if directory else name


def is_below(inner: str, outer: str) -> bool:
    """Whether a place is another one or lies below it: paths or URLs, in one spelling, without links and `..`."""
    above = outer.rstrip("/")
    return inner == above or inner.startswith(above + "/")


def is_within(place: str, roots: Iterable[str]) -> bool:
    """Whether a place is one of the roots or lies below one (`is_below`)."""
    return any(is_below(place, root) for root in roots)


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is what some run has begun to write, or goes on with later: it is no file yet."""
    return name.startswith(".dunlin-") and name.endswith((".tmp", ".part"))


Collate = Callable[[str], str]
"""Maps a name to what the pair regards as the same name (case, normal form); identity for most pairs."""

Same = Callable[[Facts, Facts], bool]
"""Whether a pair of regular files is in sync; `plan.same` makes it, the merge applies it."""

Row = tuple[str, Facts | None, Facts | None]
"""A name with its facts at the source and at the destination; None where it is missing."""


@dataclass(slots=True)
class Difference:
    """What the merge saw of one window of one directory: the rows that differ, and counts of the rest.

    `rows` are sorted by key. `equal` names are counted, and listed in `matched`
    (with the source's facts) only where the caller asked for it. `clashes` are groups of
    names of one side that the pair regards as one name: each group is to be reported, none merged.
    `renames` maps the source's spelling of a name to the destination's where the pair regards them as one.
    `upto`: every name of both sides whose key is not larger has been in this window or one before; None: not known.
    `last` is set on the window after which both listings have ended cleanly and in order; only
    then is "missing" known for the directory.
    """

    rows: list[Row] = field(default_factory=list)
    equal: int = 0
    matched: list[tuple[str, Facts]] = field(default_factory=list)
    equal_bytes: int = 0
    clashes: list[list[str]] = field(default_factory=list)
    renames: dict[str, str] = field(default_factory=dict)
    upto: bytes | None = None
    last: bool = False


class Action(enum.IntEnum):
    """What is to be done with the names of one operation."""

    COPY = 1  # content (and metadata) of a regular file, new or overwritten
    META = 2  # metadata alone: the content is in sync
    DIRECTORY = 3  # make it, or keep the one that is there
    LINK = 4  # symbolic link
    SPECIAL = 5  # FIFO, socket, device
    HARD = 6  # one of several names of an inode: linked after all transfers
    EXTRA = 7  # at the destination only: deleted after all transfers, if at all
    VERIFY = 8  # read both sides, copy if the content differs
    SKIP = 9  # left alone, for the operation's reason
    RENAME = 10  # the destination spells the name in another way: rename it there


@dataclass(slots=True)
class Operation:
    """The names of one directory that share one decision.

    `clear` says that something of another kind stands at the destination and goes first.
    `reason` tells why names are skipped (a word of `SKIP_REASONS`), or how the destination spells
    the one name that is renamed.
    """

    action: Action
    rows: list[Row]
    clear: bool = False
    reason: str = ""


SKIP_REASONS = {
    "link": "symbolic links are skipped; -l copies them",
    "special": "sockets, FIFOs and devices are skipped; -D copies them",
    "no-link": "the destination holds no symbolic links",
    "no-special": "the destination holds no sockets, FIFOs and devices",
    "newer": "the destination is newer (--update)",
    "exists": "the destination exists (--skip-existing)",
    "depth": "deeper than --max-depth",
    "own": "dunlin's own state, log or temporary file",
    "nested": "the destination lies inside the source",
}


@dataclass(slots=True)
class Stats:
    """The counts of a run; every one is a sum over units, so they add up in any order.

    Names end in their unit: `*_files`, `*_bytes`, `*_directories`. `seconds` is wall time.
    """

    scanned_files: int = 0
    scanned_directories: int = 0
    scanned_bytes: int = 0
    settled_directories: int = 0
    equal_files: int = 0
    equal_bytes: int = 0
    copied_files: int = 0
    copied_bytes: int = 0
    updated_files: int = 0
    metadata_entries: int = 0
    created_directories: int = 0
    created_links: int = 0
    created_specials: int = 0
    hard_links: int = 0
    verified_files: int = 0
    deleted_files: int = 0
    deleted_directories: int = 0
    extra_files: int = 0
    extra_directories: int = 0
    missing_files: int = 0
    missing_directories: int = 0
    differing_files: int = 0
    skipped_files: int = 0
    vanished_files: int = 0
    failed_files: int = 0
    failed_directories: int = 0
    source_errors: int = 0
    warnings: int = 0
    pending_files: int = 0
    pending_bytes: int = 0
    seconds: float = 0.0

    def add(self, counts: dict[str, int]) -> None:
        """Add counts by field name, as a unit reports them."""
        for name, n in counts.items():
            setattr(self, name, getattr(self, name) + n)
