"""What the chunk index says of the packs of one kind, looked at range by range of ids, and what is needed of them.

A prune compares what snapshots need with what the index knows: 16 and 28 bytes for each chunk, 44 GB for a billion. So
it is done for one range of ids after the other (`Pile`), as many as a budget of memory asks for: pieces of the index
are sorted and mapped, so a range is a slice of each; what is needed lies in buckets by the same ranges (`buckets`).

What becomes of a *pack* depends on all its chunks, and these are spread over all ranges. So each range spills what it
found out of its chunks, 16 bytes for each, into buckets by packs (`Shelves.weigh`), and in a second step each of these
is summed up: of a frame as large a part is needed as of the chunks in it. What is copied goes the same way (`Shelves.
places`), so that each pack is read once, from its beginning to its end. Sums are whole numbers: how many ranges there
are makes no difference to what comes out.

What stays in memory for each pack is its id, its listed object, and some numbers; for each piece 4 bytes for each pack
that it names, and all of it if it is too small to be mapped (`cache`). A piece may name all packs, so this grows with
their product: 40 MB for a hundred million chunks in 100 pieces and 100,000 packs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup import chunks, pieces
from dunlin.backup.buckets import Buckets
from dunlin.backup.chunks import Segment
from dunlin.backup.needs import Halves
from dunlin.backup.objects import Found
from dunlin.backup.repository import Area
from dunlin.backup.words import Location

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Range = tuple[int, int]

MEMORY = 256 << 20
"""Bytes that a prune takes for what it compares, whatever the size of the index."""

COST = 192
"""Bytes in memory, at most, for each chunk of a range while it is looked at."""

_SPARE, _UNUSED, _USED = range(3)
_BLOCK = 512


class Pile:
    """Pieces of the index, with one numbering of the packs that they name.

    Attributes:
        names: ids of the packs, by their numbers. rows: of all pieces together.
    """

    __slots__ = ("_numbers", "_segments", "names", "rows")

    def __init__(self, segments: Sequence[tuple[str, Segment]]) -> None:
        numbers: dict[bytes, int] = {}
        self._segments = segments
        self._numbers = [
            np.array([numbers.setdefault(bytes(pack), len(numbers)) for pack in segment.packs], "<u4")
            for _, segment in segments
        ]
        self.names = list(numbers)
        self.rows = sum(len(segment) for _, segment in segments)

    def mask(self, packs: AbstractSet[bytes]) -> Flags:
        """Which of the packs, by their numbers, are among these."""
        return np.fromiter((name in packs for name in self.names), bool, len(self.names))

    def parts(self, bounds: Range, groups: Sequence[Flags], skip: AbstractSet[str] = frozenset()) -> list[Segment]:
        """What the pieces but for those to skip (keys) say of a range of ids: of the packs of the first group first."""
        found = [
            segment.cut(*bounds).numbered(self.names, numbers)
            for (key, segment), numbers in zip(self._segments, self._numbers, strict=True)
            if key not in skip
        ]
        return [each.where(group) for group in groups for each in found]

    def merged(self, bounds: Range, groups: Sequence[Flags], skip: AbstractSet[str] = frozenset()) -> Segment:
        """The same as one segment: of two places of a chunk the one that comes first."""
        return chunks.merge(self.parts(bounds, groups, skip))

    def again(self, groups: Sequence[Flags], most: int) -> Iterator[Segment]:
        """What they say of the packs of some groups, as pieces to be stored, each of about `most` rows at the most."""
        for bounds in pieces.ranges(self.rows, most):
            whole = self.merged(bounds, groups)
            if len(whole):
                yield chunks.tidy(whole)


class Weighed(NamedTuple):
    """What is needed of packs, by their numbers.

    Attributes:
        used: something of it is. taken: bytes of it that are. held: bytes of its frames.
        last: something is needed that no pack has of those that count.
        missing: chunks that are needed and in no pack at all.
    """

    used: Flags
    taken: Ints
    held: Ints
    last: Flags
    missing: int


class Shelves(NamedTuple):
    """Packs of one kind, what the index knows of them, and the chunks that must be found there.

    Attributes:
        pile: of the index. packs: that are there, by id.
        need: in buckets by `ranges`, which are ranges of the numbers that ids begin with.
        folder: for temporary files.
    """

    area: Area
    small: bool
    pile: Pile
    packs: dict[bytes, Found]
    need: Buckets
    ranges: Sequence[Range]
    folder: Path

    def needs(self) -> Iterator[tuple[Range, Halves]]:
        """Each range, and what of it must be found."""
        for at, bounds in enumerate(self.ranges):
            yield bounds, Halves(*self.need.part(at))

    def there(self, leave: AbstractSet[bytes] = frozenset()) -> list[Flags]:
        """One group: the packs that are there, but for those to leave out."""
        return [self.pile.mask(self.packs.keys() - leave)]

    def all_there(self, *behind: AbstractSet[bytes]) -> list[Flags]:
        """The packs that are there; a chunk that is in several is best in none of `behind`.

        `behind`: no pack twice, the worst last.
        """
        groups = [self.packs.keys() - frozenset().union(*behind), *(self.packs.keys() & each for each in behind)]
        return [self.pile.mask(group) for group in groups]

    def weigh(self, live: Sequence[Flags], every: Sequence[Flags]) -> Weighed:
        """What is needed of packs. `live`: those that count; `every`: those that are there, the worst last."""
        spilled = self._by_pack(2)
        last, missing = np.zeros(len(self.pile.names), bool), 0
        for bounds, need in self.needs():
            known, rest = chunks.split(self.pile.parts(bounds, live))
            rows = known.rows(*need)
            lack = need.take(rows < 0)
            if len(lack.high):
                found = self.pile.merged(bounds, every)
                at = found.rows(*lack)
                missing += int((at < 0).sum())
                last[found.columns()[2][at[at >= 0]]] = True
            state = np.full(len(known), _UNUSED, np.uint64)
            state[rows[rows >= 0]] = _USED
            spilled.add(_weights(known, state))
            spilled.add(_weights(rest, np.full(len(rest), _SPARE, np.uint64)))
        used, taken, held = _summed(spilled, len(self.pile.names))
        spilled.close()
        return Weighed(used, taken, held, last, missing)

    def places(
        self, live: Sequence[Flags], chosen: AbstractSet[bytes]
    ) -> Iterator[tuple[bytes, list[tuple[Location, bytes]]]]:
        """The needed chunks of chosen packs, pack by pack in the order in which they lie, each with half its id."""
        spilled, mask = self._by_pack(4), self.pile.mask(chosen)
        for bounds, need in self.needs():
            known = self.pile.merged(bounds, live)
            rows = known.rows(*need)
            rows = rows[rows >= 0]
            rows = rows[mask[known.columns()[2][rows]]]
            high, low, pack, offset, frame = (column[rows].astype(np.uint64) for column in known.columns())
            spilled.add([pack << np.uint64(32) | offset, frame, high, low])
        for at in range(len(spilled)):
            place, frame, *half = spilled.part(at)
            order = np.lexsort((frame & np.uint64(0xFF), place))
            place, frame, high, low = place[order], frame[order], *(column[order] for column in half)
            pack = place >> np.uint64(32)
            for number in np.unique(pack).tolist():
                first, last = (int(pack.searchsorted(np.uint64(number), side)) for side in ("left", "right"))
                columns = (column[first:last].tolist() for column in (place, frame, high, low))
                name = self.pile.names[number]
                yield name, [_place(name, *row) for row in zip(*columns, strict=True)]
        spilled.close()

    def _by_pack(self, width: int) -> Buckets:
        count, parts = max(len(self.pile.names), 1), len(self.ranges)
        return Buckets(self.folder, sorted({count * at // parts << 32 for at in range(1, parts)} - {0}), width)


def _place(name: bytes, place: int, frame: int, high: int, low: int) -> tuple[Location, bytes]:
    where = Location(name, place & 0xFFFFFFFF, frame >> 8, (frame & 0xFF) * _BLOCK)
    return where, high.to_bytes(8) + low.to_bytes(8)


def _weights(segment: Segment, state: NDArray[Any]) -> list[NDArray[np.uint64]]:
    """Rows of a segment as numbers of their frames, and the frames' bytes with what is known of the row."""
    pack, offset, frame = (column.astype(np.uint64) for column in segment.columns()[2:])
    return [pack << np.uint64(32) | offset, (frame >> np.uint64(8)) << np.uint64(8) | state]


def _summed(spilled: Buckets, packs: int) -> tuple[Flags, Ints, Ints]:
    """By packs: whether something is used, bytes of frames as far as they are, bytes of all frames."""
    used = np.zeros(packs, bool)
    taken, held = np.zeros(packs, np.int64), np.zeros(packs, np.int64)
    for at in range(len(spilled)):
        place, code = spilled.part(at)
        frames, first, which = np.unique(place, return_index=True, return_inverse=True)
        state = code & np.uint64(0xFF)
        members = np.bincount(which[state != _SPARE], minlength=len(frames))
        live = np.bincount(which[state == _USED], minlength=len(frames))
        size = (code[first] >> np.uint64(8)).astype(np.int64)
        number = (frames >> np.uint64(32)).astype(np.int64)
        np.add.at(held, number, size)
        np.add.at(taken, number, size * live // np.maximum(members, 1))
        used[number[live > 0]] = True
    return used, taken, held
