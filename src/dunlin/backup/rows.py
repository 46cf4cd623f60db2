"""The rows of one run in the making: what goes on unchanged is taken over by reference, the rest is read and stored."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dunlin.backup.content import Content, Reader
from dunlin.backup.pages import FAR, LATE, UNKNOWN, Part
from dunlin.backup.tree.columns import CHANGED, NO_CONTENT, TICK
from dunlin.backup.tree.view import Run
from dunlin.backup.words import ChunkId
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import (
    CTIME,
    DEV,
    FILE_BITS,
    GID,
    IDENT,
    MODE,
    MTIME,
    NLINK,
    RDEV,
    SIZE,
    TYPE_BITS,
    UID,
    Entry,
    Facts,
    Kind,
    join,
)

_LINK_BITS = int(Kind.LINK)
_ROWS = 4096

COARSE = 2 * 10**9
"""ns within which two changes can have one time where times are whole seconds (ext3) or pairs of them (exFAT, FAT)."""

FINE = 10**7
"""ns within which they can have one time anywhere else: kernels before 6.13 stamp with the time of their last tick."""

LONGEST = (1 << 63) - 1
"""ns since 1970 that 64 bits hold; in April 2262. The kernel's own times (ctime) go no further here."""


class Listed(NamedTuple):
    """A name that is no directory: its bytes, as text, its facts, its fingerprint."""

    key: bytes
    name: str
    facts: Facts
    print: int


class Kept(NamedTuple):
    """Rows that go on as they were: of a segment of the last snapshot, from a row on, so many rows."""

    segment: int
    row: int
    rows: int


class Outcome(NamedTuple):
    """The rows of a run, packed, and where their page entries come from.

    Attributes:
        columns: names, lengths (u32), nodes (i64; 0: a new one), sizes, times (in ticks), hashes, flags, fingerprints.
        parts: in the order of the rows: rows of before, or so many new entries.
        counts: of `manifest.Totals`.
        errors: what could not be read.
    """

    columns: tuple[bytes, ...]
    parts: list[Kept | tuple[int, Part]]
    counts: dict[str, int]
    errors: list[DunlinError]


class Old:
    """The run of the last snapshot, by name."""

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self._at: dict[bytes, int] = {}
        if run is not None and run.count:
            self._at = {name: at for at, name in enumerate(run.each_name())}
            self.prints: list[int] = run.fingerprints.tolist()
            self._rows = tuple(c.tolist() for c in (run.nodes, run.sizes, run.ticks, run.hashes, run.flags))

    def __len__(self) -> int:
        return len(self._at)

    def find(self, name: bytes) -> int:
        """The place of a name in the run, -1: it was not there."""
        return self._at.get(name, -1)

    def node(self, at: int, kind: int) -> int:
        """The node of a place if it was of that kind (type bits of st_mode); 0 otherwise."""
        return int(self._rows[0][at]) if at >= 0 and self.flags(at) & 0x0F == kind >> 12 else 0

    def flags(self, at: int) -> int:
        """Kind and flags of a place."""
        return int(self._rows[4][at])

    def row(self, at: int) -> tuple[int, int, int, int, int, int]:
        """Node, size, time in ticks, hash, flags, fingerprint of a place."""
        node, size, ticks, check, flags = (column[at] for column in self._rows)
        return node, size, ticks, check, flags, self.prints[at]


class Rows:
    """Builds the rows of one run.

    Args:
        reader: reads and stores; None: only the tree is made.
        path: of the directory.
        old: its run in the last snapshot.
        force: what has not changed is read, too.
        moved: the directory was elsewhere in the last snapshot, and may have been another one.
        clock: ns since 1970.
    """

    def __init__(
        self, reader: Reader, path: str, old: Old, *, content: bool = True, force: bool = False,
        moved: bool = False, clock: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self._reader, self._path, self._old = reader, path, old
        self._content, self._force, self._moved = content, force, moved
        self._listed = clock()
        self._names: list[bytes] = []
        self._columns = tuple(array(code) for code in "IqqqQBQ")
        self._rows: list[tuple[int, ...]] = []
        self._parts: list[Kept | tuple[int, Part]] = []
        self._fresh: list[tuple[Facts, Content | None, str]] = []
        self._counts: dict[str, int] = {}
        self._errors: list[DunlinError] = []

    def build(self, listed: list[Listed]) -> Outcome:
        """The rows of what was listed, sorted by name bytes; the list is used up. Raises what ends a run.

        Some thousands at a time: what a huge directory holds is packed before the rest of it is looked at.
        """
        there = 0
        while listed:
            window = listed[:_ROWS]
            del listed[:_ROWS]
            there += self._window(window)
        self._settle()
        self._count("removed_files", len(self._old) - there)
        columns = (b"".join(self._names), *(column.tobytes() for column in self._columns))
        return Outcome(columns, self._parts, self._counts, self._errors)

    def _window(self, listed: Sequence[Listed]) -> int:
        """The next rows; how many of them the last snapshot had."""
        old, force = self._old, self._force
        places = [old.find(each.key) for each in listed]
        kept = [at >= 0 and not force and old.prints[at] == each.print and self._good(at)
                for at, each in zip(places, listed, strict=True)]  # fmt: skip
        small = self._small(each for each, keep in zip(listed, kept, strict=True) if not keep)
        for each, at, keep in zip(listed, places, kept, strict=True):
            if keep:
                self._keep(each.key, at)
            elif (each.facts[MODE] & TYPE_BITS) == FILE_BITS:
                self._file(each, at, small)
            else:
                self._other(each, at)
        self._close()
        return len(places) - places.count(-1)

    def _good(self, at: int) -> bool:
        """Whether what the last snapshot has at a place is good enough to go on."""
        flags = self._old.flags(at)
        return not flags & CHANGED and not (self._content and flags & NO_CONTENT and flags & 0x0F == FILE_BITS >> 12)

    def _small(self, fresh: Iterator[Listed]) -> Iterator[Content | DunlinError]:
        reader = self._reader
        if not self._content:
            return iter(())
        rows = [
            (each.name, each.facts)
            for each in fresh
            if (each.facts[MODE] & TYPE_BITS) == FILE_BITS and reader.is_small(each.facts)
        ]
        return reader.small_files(self._path, rows, lambda name: join(self._path, name))

    def _file(self, each: Listed, at: int, small: Iterator[Content | DunlinError]) -> None:
        if not self._content:
            self._count("new_files" if at < 0 else "changed_files")
            self._row(each, at, each.facts, each.print, each.print, NO_CONTENT)
            self._fresh.append((each.facts, None, ""))
            return
        if self._reader.is_small(each.facts):
            found = next(small)
        else:
            found = self._reader.file(Entry(join(self._path, each.name), each.facts))
        if isinstance(found, DunlinError):
            self._count("new_files" if at < 0 else "changed_files")
            self._lost(each, at, found)
            return
        if at < 0 or not self._was_so(at, found):
            self._count("new_files" if at < 0 else "changed_files")
        if found.torn:
            self._row(each, at, found.facts, 0, found.check, CHANGED)
        else:
            self._row(each, at, found.facts, 0 if recent(each.facts, self._listed) else each.print, found.check, 0)
        self._fresh.append((found.facts, found, ""))
        self._count("read_bytes", found.facts[SIZE])
        if found.torn:
            self._count("torn_files")

    def _was_so(self, at: int, found: Content) -> bool:
        """Whether a file was read only because the last snapshot could not tell, and is what it was."""
        _, size, ticks, check, flags, print_ = self._old.row(at)
        if print_ or flags & CHANGED:
            return False
        return (size, ticks, check) == (found.facts[SIZE], (found.facts[MTIME] or 0) // TICK, found.check)

    def _other(self, each: Listed, at: int) -> None:
        """A symbolic link, or a special file."""
        path = join(self._path, each.name)
        try:
            target = self._reader.target(path) if (each.facts[MODE] & TYPE_BITS) == _LINK_BITS else ""
            found = self._reader.attributes(path) if self._content else None
        except DunlinError as error:
            if error.fatal:
                raise
            self._lost(each, at, error)
            return
        self._row(each, at, each.facts, each.print, each.print, NO_CONTENT)
        self._fresh.append((each.facts, Content(each.facts, [], 0, found), target))

    def _lost(self, each: Listed, at: int, error: DunlinError) -> None:
        """What could not be read stays as it was, if it was here; what vanished is gone."""
        if error.kind in (ErrorKind.VANISHED, ErrorKind.NOT_FOUND):
            self._count("vanished_files")
            return
        self._errors.append(error)
        self._count("failed_entries")
        if at >= 0 and (not self._moved or self._looks_as_before(each, at)):
            self._keep(each.key, at)

    def _looks_as_before(self, each: Listed, at: int) -> bool:
        _, size, ticks, _, flags, _ = self._old.row(at)
        facts = each.facts
        kind = (facts[MODE] & TYPE_BITS) >> 12
        return (flags & 0x0F, size, ticks) == (kind, facts[SIZE], (facts[MTIME] or 0) // TICK)

    def _keep(self, name: bytes, at: int) -> None:
        """A row that goes on as it was."""
        self._close()
        self._add(name, *self._old.row(at))
        run = self._old.run
        assert run is not None
        row, last = run.start + at, self._parts[-1] if self._parts else None
        if isinstance(last, Kept) and last.row + last.rows == row:
            self._parts[-1] = last._replace(rows=last.rows + 1)
        else:
            self._parts.append(Kept(run.segment, row, 1))

    def _row(self, each: Listed, at: int, facts: Facts, print_: int, check: int, flags: int) -> None:
        kind = facts[MODE] & TYPE_BITS
        node = self._old.node(at, kind) if at >= 0 else 0
        self._add(each.key, node, facts[SIZE], (facts[MTIME] or 0) // TICK, check, kind >> 12 | flags, print_)

    def _add(self, name: bytes, node: int, size: int, ticks: int, check: int, flags: int, print_: int) -> None:
        self._names.append(name)
        self._rows.append((len(name), node, size, ticks, check, flags, print_))
        if len(self._rows) >= _ROWS:
            self._settle()

    def _settle(self) -> None:
        """Rows become columns, many at a time: seven calls for each of them took as long as to open a file."""
        for column, values in zip(self._columns, zip(*self._rows, strict=True), strict=False):
            column.extend(values)
        self._rows = []

    def _close(self) -> None:
        """The new entries so far become one part."""
        if self._fresh:
            self._parts.append((len(self._fresh), page_part(self._fresh)))
            self._fresh = []

    def _count(self, name: str, n: int = 1) -> None:
        if n:
            self._counts[name] = self._counts.get(name, 0) + n


def recent(facts: Facts, now: int) -> bool:
    """Whether a file could change once more and look as it did: it changed in the tick that goes on, or just before.

    Its fingerprint says nothing then, and the next backup reads it again (git's "racily clean"). `now`: ns since 1970,
    before it is read. A version that has an etag is told from all others by that.
    """
    if type(facts[IDENT]) is str:
        return False
    times = (at for at in (facts[MTIME], facts[CTIME]) if at is not None)
    return any(abs(now - at) <= (COARSE if at % FINE == 0 else FINE) for at in times)


def page_part(entries: Sequence[tuple[Facts, Content | None, str]]) -> Part:
    """The page entries of some facts, what was stored of each, and where links lead, as columns."""
    facts, contents, links = zip(*entries, strict=True)
    of = list(zip(*facts, strict=False))  # a column for each fact
    chunks = [content.chunks if content is not None else [] for content in contents]
    attributes: list[ChunkId] = [(content and content.attributes) or b"" for content in contents]
    idents = [b"%d" % ident if ident and type(ident) is int else str(ident or "").encode("utf-8", "surrogateescape")
              for ident in of[IDENT]]  # fmt: skip
    targets = [link.encode("utf-8", "surrogateescape") for link in links]
    several = [many is not None and many > 1 for many in of[NLINK]]
    return {
        "mode": _packed("I", of[MODE]),
        "uid": _packed("I", [UNKNOWN if uid is None else uid for uid in of[UID]]),
        "gid": _packed("I", [UNKNOWN if gid is None else gid for gid in of[GID]]),
        **_times(of[MTIME]),
        "ctime": _packed("q", [min(max(ctime or 0, -LONGEST), LONGEST) for ctime in of[CTIME]]),
        "size": _packed("Q", of[SIZE]),
        "rdev": _packed("Q", [rdev or 0 for rdev in of[RDEV]]),
        "device": _packed("Q", [device if many else 0 for device, many in zip(of[DEV], several, strict=True)]),
        "nlink": _packed("I", [many or 1 for many in of[NLINK]]),
        "chunks_n": _packed("I", [len(each) for each in chunks]),
        "chunks": b"".join(chunk for each in chunks for chunk, _ in each),
        "lengths": _packed("I", [size for each in chunks for _, size in each]),
        "attributes_n": _packed("I", [1 if each else 0 for each in attributes]),
        "attributes": b"".join(attributes),
        "ident_n": _packed("I", [len(each) for each in idents]),
        "ident": b"".join(idents),
        "target_n": _packed("I", [len(each) for each in targets]),
        "target": b"".join(targets),
    }


def _times(mtimes: Sequence[int | None]) -> dict[str, bytes]:
    """Times of modification (ns) as the page's columns, and those apart that 64 bits do not hold."""
    try:
        return {"mtime": _packed("q", [mtime or 0 for mtime in mtimes])}
    except OverflowError:
        known = [mtime or 0 for mtime in mtimes]
        far = [not -LONGEST <= mtime <= LONGEST for mtime in known]
        return {
            "mtime": _packed("q", [FAR if late else mtime for mtime, late in zip(known, far, strict=True)]),
            "late_n": _packed("I", far),
            "late": b"".join(LATE.pack(*divmod(mtime, 10**9)) for mtime, late in zip(known, far, strict=True) if late),
        }


def _packed(code: str, values: Sequence[int]) -> bytes:
    return array(code, values).tobytes()
