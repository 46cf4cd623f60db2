"""The merge: two listings of one directory, compared window by window.

Theory. Both sides are sets of names with facts. If both fit in memory, a dictionary lookup per name
is the whole comparison, no order is needed and pairs in sync are counted by one C comparison of
tuple slices. If one does not fit, both are brought into the order of `model.sort_key` and cut at
common keys: a *window* holds every name of both sides up to a boundary, so the same dictionary
comparison works on it and memory stays bounded by the windows.

One thing crosses boundaries. A file `a` and a directory `a` have different keys (``a`` and ``a/``)
with any number of names between them (``a-b``, ``a.txt``), and must still meet as one difference. So
a *file* whose ``a/`` lies beyond the boundary is held back into the next window. All held
names are prefixes of the boundary key, so there are never more of them than a name has bytes.

"Missing" is known only when both listings have ended cleanly: `Difference.last` says so, and an
exception from a listing passes through before it is ever set.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from dunlin.compare.listing import Keyed, Named, Side
from dunlin.model import DIRECTORY_BITS, MODE, SIZE, TYPE_BITS, Collate, Difference, Facts, Same, sort_key

_name = itemgetter(0)


def merge(
    source: Side,
    target: Side,
    same: Same,
    collate: Collate | None = None,
    matched: bool = False,
    apart: bool = False,
) -> Iterator[Difference]:
    """Compare the two sides of one directory and yield what differs, window by window.

    Args:
        source, target: the sides; a missing directory is a `Side(None)`.
        same: whether a pair of regular files is in sync (`plan.same`); such pairs are only counted.
        collate: as given to the sides.
        matched: also list the pairs in sync, for a directory that is not on record yet.
        apart: both sides can hold a file and a directory of one name, as object stores do.
    """
    if target.empty and not source.single and collate is None:
        yield from _one_sided(source, same, apart)
        return
    if source.single and target.single:
        difference = compare_window(source.first, target.first, same, collate, matched, apart)
        difference.last = True
        yield difference
        return
    source.start()
    target.start()
    held_source: list[Keyed] = []
    held_target: list[Keyed] = []
    while True:
        ends = [end for end in (source.boundary(), target.boundary()) if end is not None]
        boundary = min(ends) if ends else None
        left = held_source + source.cut(boundary)
        right = held_target + target.cut(boundary)
        last = source.boundary() is None and target.boundary() is None
        if last:
            held_source, held_target = [], []
        else:
            assert boundary is not None
            left, held_source = _hold_back(left, boundary)
            right, held_target = _hold_back(right, boundary)
        difference = compare_window([k[1:] for k in left], [k[1:] for k in right], same, collate, matched, apart)
        difference.last = last
        difference.upto = None if held_source or held_target else boundary
        yield difference
        if last:
            return


def _one_sided(source: Side, same: Same, apart: bool) -> Iterator[Difference]:
    """Where there is nothing to compare with no order is needed, and the first names can be dealt with at once.

    A directory that the listing names twice comes once; for a file, doing it twice does no harm.
    """
    batches = source.batches()
    batch = next(batches, [])
    directories: set[str] = set()
    while True:
        following = next(batches, None)
        inner = {name for name, what in batch if what[MODE] & TYPE_BITS == DIRECTORY_BITS}
        if not directories.isdisjoint(inner):
            batch = [
                (name, what)
                for name, what in batch
                if name not in directories or (apart and what[MODE] & TYPE_BITS != DIRECTORY_BITS)
            ]
        directories |= inner
        difference = compare_window(batch, [], same, apart=apart)
        difference.last = following is None
        if source.proven and difference.rows:
            name, what, _ = difference.rows[-1]
            difference.upto = sort_key(name, what is not None and what[MODE] & TYPE_BITS == DIRECTORY_BITS)
        yield difference
        if following is None:
            return
        batch = following


def _hold_back(mine: list[Keyed], boundary: bytes) -> tuple[list[Keyed], list[Keyed]]:
    """Split off the files whose directory twin, on either side, may still come after `boundary`."""
    held = [k for k in mine if boundary.startswith(k[0]) and k[0] + b"/" > boundary and not k[0].endswith(b"/")]
    if not held:
        return mine, []
    keys = {k[0] for k in held}
    return [k for k in mine if k[0] not in keys], held


def compare_window(
    source: list[Named],
    target: list[Named],
    same: Same,
    collate: Collate | None = None,
    matched: bool = False,
    apart: bool = False,
) -> Difference:
    """Compare two complete sets of names; rows come out sorted by name."""
    if collate is not None:
        return _compare_collated(source, target, same, collate, matched)
    if apart:
        return _compare_apart(source, target, same, matched)
    left = dict(source)
    right = dict(target)
    difference = Difference()
    if len(left) != len(source) or len(right) != len(target):
        _drop_twins(source, target, left, right, difference)
    rows = difference.rows
    if right:
        get = right.get
        size = 0
        for name, facts in left.items():
            other = get(name)
            if other is None:
                rows.append((name, facts, None))
            elif same(facts, other):
                size += facts[SIZE]
            else:
                rows.append((name, facts, other))
        difference.equal = len(left) - len(rows)
        difference.equal_bytes = size
        if matched and difference.equal:
            differing = {row[0] for row in rows}
            difference.matched = [named for named in left.items() if named[0] not in differing]
        if len(right) > len(left) - sum(1 for row in rows if row[2] is None):
            rows += [(name, None, facts) for name, facts in right.items() if name not in left]
    else:
        rows += [(name, facts, None) for name, facts in left.items()]
    _sort(rows)
    return difference


def _compare_apart(source: list[Named], target: list[Named], same: Same, matched: bool) -> Difference:
    """As `compare_window`, where a file and a directory of one name are two: the directory's key ends in ``/``."""
    left, right = [
        {name + "/" if what[MODE] & TYPE_BITS == DIRECTORY_BITS else name: (name, what) for name, what in side}
        for side in (source, target)
    ]
    difference = Difference()
    for key, (name, facts) in left.items():
        there = right.get(key)
        if there is not None and same(facts, there[1]):
            difference.equal += 1
            difference.equal_bytes += facts[SIZE]
            if matched:
                difference.matched.append((name, facts))
        else:
            difference.rows.append((name, facts, there[1] if there is not None else None))
    difference.rows += [(name, None, facts) for key, (name, facts) in right.items() if key not in left]
    _sort(difference.rows)
    return difference


def _drop_twins(
    source: list[Named], target: list[Named], left: dict[str, Facts], right: dict[str, Facts], difference: Difference
) -> None:
    """A name that one side lists as a file and as a directory (object stores hold both) is a clash.

    Other names that came twice are one name that was renamed while it was listed: the later facts hold.
    """
    for side in (source, target):
        kinds: dict[str, bool] = {}
        twins = set()
        for name, facts in side:
            is_directory = facts[MODE] & TYPE_BITS == DIRECTORY_BITS
            if kinds.setdefault(name, is_directory) != is_directory:
                twins.add(name)
        for name in sorted(twins):
            difference.clashes.append([name, name + "/"])
            left.pop(name, None)
            right.pop(name, None)


def _sort(rows: list[tuple[str, Facts | None, Facts | None]]) -> None:
    kinds = {(row[1] or row[2] or (0,))[MODE] & TYPE_BITS for row in rows}
    if DIRECTORY_BITS not in kinds and "".join([row[0] for row in rows]).isascii():
        rows.sort(key=_name)  # the same order, at a fifth of the time
        return
    rows.sort(key=lambda row: sort_key(row[0], ((row[1] or row[2] or (0,))[MODE] & TYPE_BITS) == DIRECTORY_BITS))


def _compare_collated(
    source: list[Named], target: list[Named], same: Same, collate: Collate, matched: bool
) -> Difference:
    """As `compare_window`, for a pair on which several spellings are one name."""
    difference = Difference()
    left = _group(source, collate, difference)
    right = _group(target, collate, difference)
    clashing = {collate(name) for group in difference.clashes for name in group}
    for key in clashing:
        left.pop(key, None)
        right.pop(key, None)
    for key, (name, facts) in left.items():
        there = right.get(key)
        if there is None:
            difference.rows.append((name, facts, None))
            continue
        if there[0] != name:
            difference.renames[name] = there[0]
        elif same(facts, there[1]):
            difference.equal += 1
            difference.equal_bytes += facts[SIZE]
            if matched:
                difference.matched.append((name, facts))
            continue
        difference.rows.append((name, facts, there[1]))
    difference.rows += [(name, None, facts) for key, (name, facts) in right.items() if key not in left]
    difference.rows.sort(key=_name)
    return difference


def _group(side: list[Named], collate: Collate, difference: Difference) -> dict[str, Named]:
    grouped: dict[str, Named] = {}
    clashes: dict[str, set[str]] = {}
    for name, facts in side:
        key = collate(name)
        if key in grouped:
            other, there = grouped[key]
            if other != name:
                clashes.setdefault(key, {other}).add(name)
            elif (there[MODE] ^ facts[MODE]) & TYPE_BITS and DIRECTORY_BITS in (
                there[MODE] & TYPE_BITS,
                facts[MODE] & TYPE_BITS,
            ):
                clashes.setdefault(key, {name})
        grouped[key] = (name, facts)
    difference.clashes += [
        sorted(names) if len(names) > 1 else [*names, min(names) + "/"] for names in clashes.values()
    ]
    return grouped
