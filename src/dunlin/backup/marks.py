"""Marks: what a prune wants removed. Everybody else treats it as absent, nobody removes it before that is true.

    {tenant}/marks/{id}         keys of objects, one on a line, behind the line "dunlin marks 2", before "end N"
    {tenant}/marks/{id}.after   keys of the leases that were alive when the mark was there, in the same form
    {tenant}/marks/{id}.gone    keys of packs that were removed
    {tenant}/marks/{id}.bad     keys of packs that a verification found damaged or missing

All are sealed containers. Frames of a container that are missing at its end are not missed, so the last line says how
many keys there are. (Form 1 ended without it, and is read as it was.)

A backup writes its lease first and reads the marks then. So whoever is not named in ``.after`` came later than the
mark, saw it, and refers to nothing in it. As soon as none of those that are named is alive any more, the mark is
*ripe*: what the snapshots of that moment do not need can go, and no clock had a part in it.

A backup whose machine sleeps may write, weeks later, an index that names packs which were taken for garbage meanwhile;
and a person or a rule of the bucket may remove packs. Therefore a backup lists the packs, and counts on none that is
not there (`segments`). What was removed stays marked for `GHOSTS` besides.

A backup believes the index and reads no packs, so it would count for ever on what lies in a damaged one. Therefore a
verification says which these are: what lies in them is absent for backups, which store it anew when they read it, and
whoever reads looks everywhere else first. A prune removes those of which nothing is needed that is not elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeVar

from dunlin.backup import chunks, pieces
from dunlin.backup.frames import seal
from dunlin.backup.objects import Found
from dunlin.backup.repository import Area
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind

GHOSTS = 7 * 86400
"""Seconds for which packs stay marked after they were removed."""

T = TypeVar("T")

_HEAD, _OLD_HEAD = "dunlin marks 2", "dunlin marks 1"
_NAME = re.compile(r"([0-9a-f]{32})(|\.after|\.gone|\.bad)")


class Mark(NamedTuple):
    """Objects that a prune wants removed.

    Attributes:
        keys: of the objects. leases: that must end first; None: nobody has looked.
        time: of the mark, by the store's clock, ns since 1970.
    """

    id: str
    keys: frozenset[str]
    leases: frozenset[str] | None
    time: int


class Marks(NamedTuple):
    """The marks of a tenant; the packs that were removed lately, and those that are damaged, with what says so."""

    marks: list[Mark]
    gone: list[tuple[Found, frozenset[str]]]
    bad: list[tuple[Found, frozenset[str]]]

    @property
    def keys(self) -> frozenset[str]:
        """What a backup treats as absent."""
        return self.unneeded | self.damaged

    @property
    def unneeded(self) -> frozenset[str]:
        """What a prune wants removed, or has removed lately."""
        return self.wanted.union(*(keys for _, keys in self.gone))

    @property
    def damaged(self) -> frozenset[str]:
        """Packs that a verification found damaged or missing."""
        return frozenset().union(*(keys for _, keys in self.bad))

    @property
    def wanted(self) -> frozenset[str]:
        """What is marked and not yet removed."""
        return frozenset().union(*(mark.keys for mark in self.marks))


def read(area: Area, damaged: list[tuple[Found, DunlinError]] | None = None) -> Marks:
    """The marks of the tenant of a share. What cannot be read is added to `damaged`; None: it is raised, CORRUPT."""
    found: dict[str, dict[str, tuple[Found, frozenset[str]]]] = {}
    for each in area.objects.list(f"{area.tenant}/marks"):
        match = _NAME.fullmatch(each.key.rpartition("/")[2])
        try:
            keys = _read(area, each.key) if match else None
        except DunlinError as error:
            if error.kind is not ErrorKind.CORRUPT or damaged is None:
                raise
            damaged.append((each, error))
            continue
        if match and keys is not None:
            found.setdefault(match[1], {})[match[2]] = (each, keys)
    marks, gone, bad = [], [], []
    for name, parts in found.items():
        if "" in parts:
            leases = parts[".after"][1] if ".after" in parts else None
            marks.append(Mark(name, parts[""][1], leases, parts[""][0].time))
        if ".gone" in parts:
            gone.append(parts[".gone"])
        if ".bad" in parts:
            bad.append(parts[".bad"])
    return Marks(marks, gone, bad)


def absent(area: Area) -> frozenset[bytes]:
    """The ids of the packs that a backup must not count on; to be asked once it holds its lease. Raises CORRUPT.

    Packs that are not there are left out by `segments`.
    """
    damaged: list[tuple[Found, DunlinError]] = []
    found = packs(read(area, damaged).keys)
    for each, error in damaged:
        if "." not in each.key.rpartition("/")[2]:
            # Nobody knows what is about to go.
            raise DunlinError("read the marks", each.key, error.kind, error.reason, "dunlin prune mends that")
    return found


def packs(keys: Iterable[str]) -> frozenset[bytes]:
    """The ids in these keys. Ids of other objects may be among them: they are no packs' ids."""
    names = (key.rpartition("/")[2].partition(".")[0] for key in keys)
    return frozenset(bytes.fromhex(name) for name in names if len(name) == 32)


def segments(area: Area, small: bool, without: AbstractSet[bytes]) -> list[chunks.Segment]:
    """The chunk index for a backup: of packs that are there, and not among those `without`.

    What a damaged piece of it names is absent, too, and so is a pack that a power cut has cut short. Small pieces are
    put together, so that a chunk is looked for in few.
    """
    found = [segment for _, segment in stored_segments(area, small, [])]
    # Listed behind the index, so that what was named by then is seen.
    there = area.packs(small) if any(map(len, found)) else {}
    kept = []
    for segment in found:
        whole = {pack for pack, end in segment.ends().items() if pack in there and there[pack].size >= end}
        kept.append(_part(area, segment, whole - without, inside=True))
    return pieces.fewer(kept, area.repository.beside)


def for_reading(area: Area, small: bool) -> list[chunks.Segment]:
    """The chunk index for whoever reads: what is marked may be needed still and comes late, what is damaged last.

    What a damaged piece of it names is not found, and all else is; a damaged mark hides nothing.
    """
    told = read(area, [])
    behind, damaged = packs(told.keys), packs(told.damaged)
    found = [segment for _, segment in stored_segments(area, small, [])]
    parts = [[_part(area, segment, behind, inside=False) for segment in found]]
    for each in (behind - damaged, damaged):
        parts += [[_part(area, segment, each, inside=True) for segment in found]] if each else []
    return [segment for part in parts for segment in pieces.fewer(part, area.repository.beside)]


def _part(area: Area, segment: chunks.Segment, packs: AbstractSet[bytes], *, inside: bool) -> chunks.Segment:
    """`Segment.part`, which copies; a large copy lies in a file, as what it was copied from does."""
    part = segment.part(packs, inside)
    return part if part is segment or len(part) < pieces.LARGE else chunks.mapped(part, area.repository.beside)


def stored_segments(
    area: Area, small: bool, damaged: list[DunlinError] | None = None
) -> list[tuple[str, chunks.Segment]]:
    """The segments of the chunk index; of those that others replace while they are listed (a prune, a backup that joins
    them, who makes the index anew) the new ones.

    `damaged`: see `Area.chunk_segments`.
    """
    return settled(lambda: area.chunk_segments(small, damaged))


def settled(read: Callable[[], T]) -> T:
    """What `read` returns, which lists objects and fetches them: once more where others have taken their place."""
    for _ in range(10):
        try:
            return read()
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
    return read()


def tidy(area: Area) -> None:
    """See that the pieces of the chunk index are few; for a backup at its end, while it holds its lease."""
    pieces.tidy(area, lambda: read(area, []).wanted)


def put(area: Area, keys: Collection[str]) -> Mark:
    """Mark objects; `put_leases` makes it whole."""
    name = new_id()
    time = _put(area, f"{area.tenant}/marks/{name}", keys)
    return Mark(name, frozenset(keys), None, time)


def put_leases(area: Area, mark: Mark, leases: Collection[str]) -> Mark:
    """Say which leases were alive when they were looked for after the mark had been written."""
    _put(area, f"{area.tenant}/marks/{mark.id}.after", leases)
    return mark._replace(leases=frozenset(leases))


def put_gone(area: Area, keys: Collection[str]) -> None:
    """Say that packs are about to be removed."""
    _put(area, f"{area.tenant}/marks/{new_id()}.gone", keys)


def put_bad(area: Area, keys: Collection[str], old: Iterable[Found]) -> None:
    """Say which packs are damaged, instead of what was said before."""
    if keys:
        _put(area, f"{area.tenant}/marks/{new_id()}.bad", keys)
    if not area.objects.append_only:
        area.objects.remove([each.key for each in old])


def remove(area: Area, found: Iterable[Mark]) -> None:
    """Take marks away that were carried out."""
    for mark in found:
        # The first goes last: what stays if this is the end is a mark that nobody has looked at.
        area.objects.remove([f"{area.tenant}/marks/{mark.id}.after"])
        area.objects.remove([f"{area.tenant}/marks/{mark.id}"])


def _put(area: Area, key: str, lines: Collection[str]) -> int:
    data = "\n".join([_HEAD, *sorted(lines), f"end {len(lines)}"]).encode()
    return area.objects.put(key, seal(area.codec(key), data), if_absent=True).time


def _read(area: Area, key: str) -> frozenset[str] | None:
    try:
        data = b"".join(area.stored(key))
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None  # it was carried out in this moment
    head, *lines = data.decode("utf-8", "replace").split("\n")
    if head == _OLD_HEAD:
        return frozenset(lines)
    if head != _HEAD:
        kind = ErrorKind.NEWER if head.startswith("dunlin marks ") else ErrorKind.CORRUPT
        raise DunlinError("read the marks", key, kind, "they are in a form that this dunlin does not know")
    if not lines or lines.pop() != f"end {len(lines)}":
        raise DunlinError("read the marks", key, ErrorKind.CORRUPT, "some of them are missing at the end")
    return frozenset(lines)
