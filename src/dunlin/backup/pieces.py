"""The pieces of the stored chunk index: which of them count, how many become few, and what may go then.

Every backup leaves pieces behind, each mover some. A repository that is never pruned would have thousands after a year,
each to be listed, fetched and asked. So a backup that has stored something *joins* at its end those that are of like
size (`tidy`), once there are more than a few groups of them: by rising size all up to the last that is no larger than
twice all before it. What stays then is ever more than twice as large as all that is smaller, so there are no more
groups than the logarithm of the chunks and those few, and each chunk is written again no more often than that.

    {directory}/{id}          a piece (`chunks`)
    {directory}/{id}.joins    a join: a sealed container of text. Made of "+ {id}", one for each piece that was made,
                              "- {id}", one for each piece or join that these contain, behind "dunlin joins 1" and
                              before "end N" (the number of lines between)

A join of more than `MOST_ROWS` chunks makes several pieces, each for a range of ids, so that a lookup asks one.

Which pieces count
    All but those that a join contains whose own pieces are there and can be read (`read`). What is contained is not
    fetched. A join also names what the joins contained that it contains, and these joins, so one of them is read for
    each group. Whoever does not know joins reads all pieces, and finds the same.

    A piece that is damaged is contained by none, and a join with such a piece among its own holds no longer: what it
    contained counts again, as far as it is there. Joins that do not hold say nothing, so the next join names them, too,
    and nobody reads them any more.

What goes, and when
    First the pieces of a join are stored, then the join, and nothing goes in that backup. Later ones remove what a join
    contains that was there before the oldest live lease began (prunes have leases, too): whoever works now has seen
    it. But first they read what was made of it once more, from the store (`_proved`): it was written from memory, or
    lies in a cache, and is all that is left afterwards. A reader holds no lease, and may miss an object between listing
    and fetching; it lists again (`marks.stored_segments`). In an append-only repository nothing goes, and nobody
    fetches it. A prune marks what is contained, like everything that nobody needs.

    A join is made of pieces alone and says what they say: also where else a chunk lies, since a pack may be gone or
    damaged. If a prune removes a pack that it names, that is the same as with a piece that a sleeper writes: no backup
    counts on packs that are not there, and the next prune writes it anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dunlin.backup import chunks
from dunlin.backup.chunks import ENDS, Segment
from dunlin.backup.lease import live
from dunlin.backup.objects import Found
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind

if TYPE_CHECKING:
    from dunlin.backup.repository import Area

MOST_ROWS = 1 << 20
"""Most chunks that are put together at a time, and in a piece that was; about 30 MB, and five times that meanwhile."""

LARGE = MOST_ROWS // 4
"""Chunks from which a piece is left as it is when an index is opened: less than any of several that one join makes."""

FEW = 8
"""Groups of pieces that may lie beside each other."""

SUFFIX = ".joins"

_UNREADABLE = (ErrorKind.CORRUPT, ErrorKind.CHECKSUM, ErrorKind.NEWER, ErrorKind.IO)

_HEAD = "dunlin joins 1"
_PIECE = re.compile(r"[0-9a-f]{32}")
_LINE = re.compile(r"[+-] [0-9a-f]{32}")


class Join(NamedTuple):
    """Pieces that were made (`made`) and hold what others held, and those and other joins (`of`): ids.

    `time`: when it was stored, by the store's clock, ns since 1970.
    """

    id: str
    time: int
    made: frozenset[str]
    of: frozenset[str]


class Listed(NamedTuple):
    """What lies in a directory of the index: pieces and joins by their ids."""

    directory: str
    pieces: dict[str, Found]
    joins: dict[str, Found]

    def key(self, name: str) -> str:
        """Of a piece, or of a join if there is one of that id."""
        return f"{self.directory}/{name}{SUFFIX if name in self.joins else ''}"


class Known(NamedTuple):
    """The joins that hold, and what they contain: ids."""

    joins: list[Join]
    contained: frozenset[str]


def listed(area: Area, small: bool) -> Listed:
    """What there is of the index of bundles, or of packs."""
    directory = area.chunk_directory(small)
    found = {each.key.rpartition("/")[2]: each for each in area.objects.list(directory)}
    pieces = {name: each for name, each in found.items() if _PIECE.fullmatch(name)}
    joins = {name.removesuffix(SUFFIX): each for name, each in found.items()
             if name.endswith(SUFFIX) and _PIECE.fullmatch(name.removesuffix(SUFFIX))}  # fmt: skip
    return Listed(directory, pieces, joins)


def read(
    area: Area, small: bool, damaged: list[DunlinError] | None = None,
    piece: Callable[[str], Segment | None] | None = None,
) -> list[tuple[str, Segment]]:  # fmt: skip
    """The pieces that count, each with its key; what is contained in others is not fetched.

    All at once: those that the cache maps take no memory, small ones (`cache`) and all without a cache do.

    What is wrong with those that cannot be read is added to `damaged`; None: it is raised, CORRUPT. (Not so for joins:
    without them all pieces count.) Raises NOT_FOUND where one is removed in this moment.

    `piece`: reads one from the store, as joins are then, too; None: it is damaged, and that is noted.
    """
    fresh = piece is not None
    piece = piece or partial(_piece, area, damaged=damaged)
    there, cache = listed(area, small), area.repository.cache
    found: dict[str, Segment | None] = {}
    void = set[str]()
    while True:
        known = _known(area, there, void, damaged, fresh=fresh)
        for name, each in there.pieces.items():
            if name not in known.contained and name not in found:
                found[name] = piece(each.key)
        broken = {join.id for join in known.joins if any(found.get(name, join) is None for name in join.made)}
        if not broken:
            break
        void |= broken
    if cache is not None:
        cache.keep(there.directory, {*found, *(name + SUFFIX for name in there.joins)})
    count = {name: segment for name, segment in found.items() if name not in known.contained}
    return [(there.pieces[name].key, segment) for name, segment in count.items() if segment is not None]


def superfluous(area: Area, small: bool, gone: AbstractSet[str]) -> dict[str, int]:
    """Bytes by key of what is contained in pieces that can be read, and of joins that say nothing any more.

    `gone`: keys of pieces that are about to go, since what they say is written anew. Raises NOT_FOUND as `read` does.
    """
    there = listed(area, small)
    known = _proved(area, there, _known(area, there), gone)
    kept = there.pieces.keys() - known.contained
    kept = {name for name in kept if there.pieces[name].key not in gone}
    lasting = {join.id for join in known.joins if join.made <= kept}
    found = {there.pieces[name].key: there.pieces[name].size for name in known.contained & there.pieces.keys()}
    return found | {each.key: each.size for name, each in there.joins.items() if name not in lasting}


def fewer(segments: Iterable[Segment], folder: Path | None, least: int = LARGE, most: int = MOST_ROWS) -> list[Segment]:
    """The same places in few segments: what is small is merged, and lies in files without names in `folder`."""
    large: list[Segment] = []
    small: list[Segment] = []
    rows = 0
    for segment in segments:
        if len(segment) >= least:
            large.append(segment)
            continue
        small.append(segment)
        rows += len(segment)
        if rows >= most:
            large.append(chunks.mapped(chunks.merge(small, every=True), folder))
            small, rows = [], 0
    if rows:
        whole = chunks.merge(small, every=True) if len(small) > 1 else small[0]
        large.append(chunks.mapped(whole, folder) if len(whole) >= least else whole)
    return [segment for run in chunks.in_order(large) for segment in run]


def ranges(rows: int, most: int) -> list[tuple[int, int]]:
    """Ranges of the numbers that ids begin with, in each of which about so many (`most`) of all rows lie.

    Ids are keyed hashes: as many of them begin with one number as with another.
    """
    count = max(-(-rows // max(most, 1)), 1)
    bounds = [ENDS * at // count for at in range(count + 1)]
    return list(pairwise(bounds))


def merged(segments: Sequence[Segment], most: int = MOST_ROWS) -> Iterator[Segment]:
    """Several segments as one after the other for rising ranges of ids, each of about `most` rows at the most.

    A chunk that is in several packs has a row for each: whoever merges them cannot know which one will last.
    """
    for first, last in ranges(sum(map(len, segments)), most):
        cuts = [cut for segment in segments if len(cut := segment.cut(first, last))]
        whole = chunks.merge(cuts, every=True)
        if len(whole):
            yield chunks.tidy(whole)


def tidy(area: Area, marked: Callable[[], AbstractSet[str]]) -> None:
    """Join pieces of like size, and remove what was joined long ago; for a backup at its end, with its lease.

    `marked`: asked for the keys that a prune wants removed; they are let be.
    """
    for small in (True, False):
        there = listed(area, small)
        known = _remove_old(area, there, _known(area, there))
        _join(area, small, there, known, marked)


def _join(
    area: Area, small: bool, there: Listed, known: Known, marked: Callable[[], AbstractSet[str]]
) -> None:  # fmt: skip
    groups = alike(_groups(there, known))
    if not groups:
        return
    wanted = marked()
    groups = [names for names in groups if not any(there.key(name) in wanted for name in names)]
    if len(groups) < 2:
        return
    names, broken = frozenset().union(*groups), set[str]()
    whole = fewer(_readable(area, there, names, broken), area.repository.beside)
    if sum(not group <= broken for group in groups) < 2:
        return
    made: list[str] = []
    try:
        for segment in merged(whole):
            made.append(area.put_chunk_segment(segment, small))
        _put_join(area, there, known, names - broken, broken, made)
    except DunlinError as error:
        # A disk that is full would be fuller after each backup. Any other error says nothing of what was written, and
        # where the join is there, what was made for it must be. What is left without a join is a piece like others.
        if error.kind is ErrorKind.NO_SPACE:
            with suppress(DunlinError):
                area.objects.remove(made)
        raise


def _readable(area: Area, there: Listed, names: AbstractSet[str], broken: set[str]) -> Iterator[Segment]:
    """The pieces of these names; those that are damaged are added to `broken`."""
    for name in names:
        segment = _piece(area, there.key(name), [])
        if segment is None:
            broken.add(name)
        else:
            yield segment


def _put_join(
    area: Area, there: Listed, known: Known, names: frozenset[str], broken: AbstractSet[str], made: Sequence[str]
) -> None:  # fmt: skip
    joins = [join for join in known.joins if join.made <= names]
    holding = known.contained.union(join.id for join in known.joins if not join.made & broken)
    void = there.joins.keys() - holding
    of = names.union(void, {join.id for join in joins}, *(join.of for join in joins))
    of &= there.pieces.keys() | there.joins.keys()
    ids = sorted(key.rpartition("/")[2] for key in made)
    lines = [*(f"+ {name}" for name in ids), *(f"- {name}" for name in sorted(of))]
    key = f"{there.directory}/{new_id()}{SUFFIX}"
    area.objects.sync()
    area.put_container(key, "\n".join([_HEAD, *lines, f"end {len(lines)}"]).encode())


def alike(groups: Iterable[tuple[int, frozenset[str]]]) -> list[frozenset[str]]:
    """The groups (bytes, names) that are to become one: as many of the smallest as are of like size, or none."""
    rising = sorted(groups, key=lambda group: group[0])
    if len(rising) <= FEW:
        return []
    total, count = 0, 0
    for at, (size, _) in enumerate(rising, 1):
        if at > 1 and size <= 2 * total:
            count = at
        total += size
    return [names for _, names in rising[:count]]


def _groups(there: Listed, known: Known) -> Iterator[tuple[int, frozenset[str]]]:
    """Pieces that one join made and that count are one group; any other is one of its own."""
    left = there.pieces.keys() - known.contained
    for join in known.joins:
        if join.made and join.made <= left:
            left -= join.made
            yield sum(there.pieces[name].size for name in join.made), join.made
    for name in left:
        yield there.pieces[name].size, frozenset({name})


def _remove_old(area: Area, there: Listed, known: Known) -> Known:
    """Remove what was joined long ago. What is known then: without joins whose own pieces turned out to be damaged."""
    if area.objects.append_only or not known.contained:
        return known
    began = min((each.began for each in live(area.objects, area.tenant, 0, tidy=False)), default=0)
    here = there.pieces.keys() | there.joins.keys()
    if not any(join.time < began and join.of & here for join in known.joins):
        return known
    try:
        # Who may only add is told so by one request, and need not read pieces in each backup to be told the same.
        area.objects.remove([there.key(new_id())])
        known = _proved(area, there, known, before=began)
        old = frozenset().union(*(join.of for join in known.joins if join.time < began))
        for names in (old & there.pieces.keys(), old & there.joins.keys()):
            if names:
                area.objects.remove([there.key(name) for name in names])
    except DunlinError as error:
        if error.kind not in (ErrorKind.DENIED, ErrorKind.READ_ONLY):
            raise  # else this user may only add, and it stays as in an append-only repository
    return known


def _proved(
    area: Area, there: Listed, known: Known, safe: AbstractSet[str] = frozenset(), before: int | None = None
) -> Known:  # fmt: skip
    """What is known without joins whose own pieces the store does not hold whole: what these contain must stay.

    Looked at are joins that contain something that is still there, and those that contain what such a join made.

    `safe`: keys of pieces that need not be read. `before`: the joins that matter are older; None: all do.
    """
    here = there.pieces.keys() | there.joins.keys()
    void, whole = set[str](), dict[str, bool]()
    while True:
        bad, lent = set[str](), set[str]()
        for join in reversed(known.joins):  # what an older one made a newer one may contain
            if not join.of & lent and not (join.of & here and (before is None or join.time < before)):
                continue
            for name in join.made & there.pieces.keys() - whole.keys():
                key = there.key(name)
                whole[name] = key in safe or _is_whole(area, key)
            lent |= join.made - there.pieces.keys()
            if not all(whole.get(name, True) for name in join.made):
                bad.add(join.id)
        if not bad:
            return known
        void |= bad
        known = _known(area, there, void)


def _is_whole(area: Area, key: str) -> bool:
    """Whether a piece can be read from the store; a copy in the cache proves nothing."""
    try:
        chunks.from_buffer(b"".join(area.stored(key)), key)
    except DunlinError as error:
        if error.kind not in _UNREADABLE:
            raise
        return False
    return True


def _known(
    area: Area, there: Listed, void: AbstractSet[str] = frozenset(), damaged: list[DunlinError] | None = None,
    *, fresh: bool = False,
) -> Known:  # fmt: skip
    """The joins whose pieces are there, but for those that are `void`; the newest come first, and save the others."""
    joins: list[Join] = []
    contained = set[str]()
    for name, each in sorted(there.joins.items(), key=lambda item: item[1].time, reverse=True):
        if name in contained or name in void:
            continue
        join = _read_join(area, name, each, damaged, fresh)
        if join is not None and join.made <= there.pieces.keys() | contained:
            joins.append(join)
            contained |= join.of
    return Known(joins, frozenset(contained))


def _read_join(area: Area, name: str, each: Found, damaged: list[DunlinError] | None, fresh: bool) -> Join | None:
    """A join; None where it is damaged: then all that it contains counts, and nothing is missed."""

    def parse(data: object) -> Join:
        head, *lines = bytes(data).decode("utf-8", "replace").split("\n")  # type: ignore[call-overload]
        if head != _HEAD or not lines or lines.pop() != f"end {len(lines)}" or not all(map(_LINE.fullmatch, lines)):
            raise DunlinError("read the chunk index", each.key, ErrorKind.CORRUPT, "a join is damaged")
        made, of = (frozenset(line[2:] for line in lines if line[0] == sign) for sign in "+-")
        return Join(name, each.time, made, of)

    try:
        if fresh:
            return parse(b"".join(area.stored(each.key)))
        return area.repository.parsed(each.key, area.codec(each.key), parse, sealed=True)
    except DunlinError as error:
        if error.kind is not ErrorKind.CORRUPT and not (fresh and error.kind in _UNREADABLE):
            raise
        if damaged is not None and each.key not in {other.where for other in damaged}:
            damaged.append(DunlinError(error.operation, each.key, error.kind, error.reason, error.hint))
        return None


def _piece(area: Area, key: str, damaged: list[DunlinError] | None) -> Segment | None:
    """A piece; None where it is damaged, and that is noted."""
    try:
        return area.repository.parsed(key, area.codec(key), partial(chunks.from_buffer, where=key))
    except DunlinError as error:
        if error.kind is not ErrorKind.CORRUPT or damaged is None:
            raise
        damaged.append(error)
        return None
