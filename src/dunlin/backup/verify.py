"""Looks at a repository the way a restore would, at everything that snapshots need; says what is damaged, by path.

    manifests   are read from the store, never from the cache
    trees       segments have the BLAKE3 that manifests name, their columns the checksums of their own tables
    pages       of what the trees show open, and have an entry for each row; so do those that would make trees again
    index       every chunk that a shown entry refers to is in it
    packs       are there, end in a table of contents that is whole, and hold what the index says, where it says
    data        of chosen packs: frames open, members are where they should be, their content has their id

Damage goes up from chunks to files: the index has a flag for each chunk whose reading would fail. Entries of pages that
refer to such chunks, and entries of pages that cannot be read, are rows of segments; each snapshot that shows such a
row loses that file, and is asked for its path. Everything else is whole.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.backup import chunks, marks, pieces, verified
from dunlin.backup.manifest import Manifest, SegmentRef
from dunlin.backup.marks import Marks
from dunlin.backup.needs import Shown, halves, shown
from dunlin.backup.objects import Found
from dunlin.backup.pack import check_end, member, named, read_contents
from dunlin.backup.pages import PAGE, PagesReader
from dunlin.backup.repository import Area, SnapshotName
from dunlin.backup.scratch import scratch
from dunlin.backup.snapshot import open_pages
from dunlin.backup.stages import Stages
from dunlin.backup.tree import walk
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Tree
from dunlin.backup.verified import Subset
from dunlin.backup.words import Stored
from dunlin.errors import DunlinError, ErrorKind

_THREADS = 4
_DAMAGE = (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND, ErrorKind.CHECKSUM, ErrorKind.NEWER, ErrorKind.IO)
Ints = NDArray[np.int64]


class Damage(NamedTuple):
    """An object that is not what it should be: what it is (snapshot, tree, pages, index, pack), its key, and why."""

    what: str
    key: str
    reason: str


class Lost(NamedTuple):
    """A file or directory that does not restore: of which share and snapshot (id), and its path."""

    share: str
    snapshot: str
    path: str


@dataclass(slots=True)
class Verified:
    """What was looked at, and what was found."""

    snapshots: int = 0
    segments: int = 0
    files: int = 0
    chunks: int = 0
    packs: int = 0
    pack_bytes: int = 0
    read_packs: int = 0
    read_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    lost_snapshots: list[Lost] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.damages or self.lost or self.lost_snapshots)


class Index:
    """The chunk index of one kind of pack, the packs that there are, and which of its chunks cannot be read there.

    `known`: the same chunk may be in several packs; it is lost where it cannot be read in any of them.
    """

    def __init__(self, area: Area, small: bool, known: chunks.Segment, packs: Mapping[bytes, Found]) -> None:
        self.area, self.small, self.known, self.packs = area, small, known, packs
        gone = np.array([bytes(name) not in packs for name in known.packs], bool)
        self.bad = gone[known.columns()[2]]
        self._numbers = {bytes(name): at for at, name in enumerate(self.known.packs)}
        self._order = np.argsort(self.known.columns()[2], kind="stable")
        self._sorted = self.known.columns()[2][self._order]

    def rows(self, pack: bytes) -> Ints:
        """The rows that speak of a pack."""
        number = self._numbers.get(pack)
        if number is None:
            return np.zeros(0, np.int64)
        first, last = (int(self._sorted.searchsorted(number, side)) for side in ("left", "right"))
        return self._order[first:last]

    def missing(self) -> list[bytes]:
        """The packs that it names, that are not there, and in which something lay that is nowhere else."""
        here, gone = (self.known.part(self.packs.keys(), inside=inside) for inside in (True, False))
        high, low, pack, *_ = gone.columns()
        return [bytes(gone.packs[at]) for at in np.unique(pack[here.rows(high, low) < 0]).tolist()]

    def whole(self) -> chunks.Segment:
        """What can be read."""
        if not self.bad.any():
            return self.known
        good = ~self.bad
        return chunks.Segment(self.known.packs, [column[good] for column in self.known.columns()])


def read_index(area: Area, small: bool, done: Verified) -> Index:
    """The index as it is in the store; what of it is damaged is noted."""
    noted = len(done.damages)

    def stored(key: str) -> chunks.Segment | None:
        try:
            return chunks.from_buffer(b"".join(area.stored(key)), key)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND and area.objects.find(key) is None:
                raise  # another one has taken its place since they were listed
            _note(done, "index", key, error)
            return None

    def read() -> list[tuple[str, chunks.Segment]]:
        del done.damages[noted:]
        damaged: list[DunlinError] = []
        found = pieces.read(area, small, damaged, stored)
        for error in damaged:
            _note(done, "index", error.where, error)
        return found

    found = [segment for _, segment in marks.settled(read)]
    return Index(area, small, chunks.merge(found, every=True), area.packs(small))


Looked = tuple[bytes, Found, list[str], bool]
"""A pack, what is wrong with it, and whether its content was read."""

Elsewhere = Callable[[Index, AbstractSet[bytes]], Iterator[Looked]]
"""Looks at the packs of an index, and reads some of them (`look_at`), wherever that is done; flags what is bad."""


def verify(
    areas: Sequence[Area],
    *,
    text: str | None = None,
    data: Subset | None = None,
    max_age: float | None = None,
    clock: Callable[[], int] = time.time_ns,
    stages: Stages | None = None,
    elsewhere: Elsewhere | None = None,
) -> Verified:
    """Verify shares of one tenant.

    Args:
        areas: of the shares.
        text: the snapshot, as for `Area.resolve`; None: all of them. Packs are always all looked at.
        data: packs whose content is read; None: none.
        max_age: seconds; packs that were found whole within them are not read again.
        clock: ns since 1970, for the ledger.
        stages: told how far it is.
        elsewhere: looks at packs; None: threads of this process do.

    Raises NOT_FOUND and USAGE for the snapshot, and what the store raises when it cannot be reached.
    """
    done, stages = Verified(), stages or Stages("verify")
    # Before the index: what a backup stores from here on is not in it.
    names = [area.snapshots() if text is None else [area.resolve(text)] for area in areas]
    large = read_index(areas[0], False, done)
    indexes = [read_index(area, True, done) for area in areas]
    bad, pruned = _packs([*indexes, large], data, max_age, done, stages, clock, elsewhere)
    with scratch(areas[0].repository.beside) as folder:
        for area, small, mine in zip(areas, indexes, names, strict=True):
            whole = [small.whole(), large.whole()]
            if pruned:
                whole += [_as_it_is_now(area, kind, bad) for kind in (True, False)]
            _Share(area, whole, folder, done, stages).look(mine)
    if done.lost:
        done.damages += pruned  # something was needed after all
    return done


def _as_it_is_now(area: Area, small: bool, bad: AbstractSet[str]) -> chunks.Segment:
    """What the index says after a prune has moved chunks: it copies them before it removes packs.

    `bad`: keys of packs that do not count. Packs that have come since are looked at by the next verification.
    """
    index = read_index(area, small, Verified())
    return index.known.part({name for name, each in index.packs.items() if each.key not in bad}, inside=True)


# ---- packs ----


def _packs(
    indexes: Sequence[Index], data: Subset | None, max_age: float | None, done: Verified,
    stages: Stages, clock: Callable[[], int], elsewhere: Elsewhere | None,
) -> tuple[set[str], list[Damage]]:  # fmt: skip
    """Look at all packs. The keys of those that are bad; and what looks like damage, and is a prune's doing."""
    area = indexes[0].area
    every = {name: each for index in indexes for name, each in index.packs.items()}
    damaged: list[tuple[Found, DunlinError]] = []
    before = marks.read(area, damaged)
    done.damages += [Damage("mark", each.key, error.reason) for each, error in damaged]
    chosen = marks.packs(before.damaged) & every.keys()  # what was damaged once is looked at each time
    if data is not None:
        since = clock() - int(max_age * 1e9) if max_age is not None else None
        chosen |= set(verified.choose(every, verified.read(area), data, since))
    whole: dict[bytes, int] = {}
    bad, pruned = set[str](), list[Damage]()
    words = "reading packs" if chosen else "looking at packs"
    stages.begin(words, "pack", len(every), sum(every[name].size for name in chosen))
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for index in indexes:
            missing = _missing(index)
            pruned += [each for each in missing if each.key in before.unneeded]
            missing = [each for each in missing if each.key not in before.unneeded]
            done.damages += missing
            bad |= {each.key for each in missing}

            def one(item: tuple[bytes, Found], index: Index = index) -> Looked:
                return item[0], item[1], *look_at(index, *item, read=item[0] in chosen)

            stages.bad(len(missing))
            here = stages.results(pool, one, index.packs.items()) if elsewhere is None else elsewhere(index, chosen)
            for name, each, reasons, was_read in here:
                if reasons and _is_pruned(area, each.key):
                    pruned += [Damage("pack", each.key, reason) for reason in reasons]
                    stages.done(1, each.size if name in chosen else 0)
                    continue
                done.packs += 1
                done.pack_bytes += each.size
                done.damages += [Damage("pack", each.key, reason) for reason in reasons]
                if was_read:
                    done.read_packs += 1
                    done.read_bytes += each.size
                if reasons:
                    bad.add(each.key)
                elif was_read:
                    whole[name] = clock()
                stages.bad(len(reasons))
                stages.done(1, each.size if name in chosen else 0)
    finally:
        pool.shutdown(cancel_futures=True)  # who interrupts does not wait for what is still to be read
        roots = tuple(f"{index.area.root}/" if index.small else f"{area.tenant}/packs/" for index in indexes)
        _remember(area, whole, every, bad, before, roots)
    return bad, pruned


def _missing(index: Index) -> list[Damage]:
    """The packs that an index names, and that were not there when they were listed."""
    found = [(index.area.pack_key(name.hex(), index.small), len(index.rows(name))) for name in index.missing()]
    return [Damage("pack", key, f"it is missing; {rows} chunks lay in it") for key, rows in found]


def _is_pruned(area: Area, key: str) -> bool:
    """Whether a pack was removed by a prune since it was listed: that says so before."""
    return area.objects.find(key) is None and key in marks.read(area, []).unneeded


def _remember(
    area: Area, whole: Mapping[bytes, int], every: Mapping[bytes, Found], bad: AbstractSet[str], before: Marks,
    looked: tuple[str, ...],
) -> None:  # fmt: skip
    """Write the ledger, and what backups must not count on, where the repository can be written to.

    `looked`: what the keys of all packs begin with that were looked at.
    """
    # Of what this look is about, all that is damaged is in `bad`; what was not read now, and of other shares, stays.
    good, there = {every[name].key for name in whole}, {each.key for each in every.values()}
    wanted = bad | {key for key in before.damaged - good if key in there or not key.startswith(looked)}
    try:
        if whole:
            verified.add(area, whole, every)
        if wanted != before.damaged:
            marks.put_bad(area, wanted, [each for each, _ in before.bad])
    except DunlinError as error:
        if error.kind not in (ErrorKind.READ_ONLY, ErrorKind.DENIED, ErrorKind.NO_SPACE):
            raise


def look_at(index: Index, name: bytes, found: Found, *, read: bool) -> tuple[list[str], bool]:
    """What is wrong with a pack, and whether its content was read; what cannot be read of it is flagged."""
    area, rows = index.area, index.rows(name)
    codec = area.codec(found.key)
    reasons: list[str] = []
    table: list[Stored] = []
    try:
        size, get = area.objects.reader(found.key)
        table = read_contents(codec, get, size)
    except DunlinError as error:
        if error.kind not in _DAMAGE:
            raise
        reasons.append(error.reason)
        read = True  # its frames may still be whole: only reading them tells
    high, low, _, offset, frame = (column[rows] for column in index.known.columns())
    places = {}
    for at, row in enumerate(rows.tolist()):
        half = int(high[at]).to_bytes(8) + int(low[at]).to_bytes(8)
        places[half] = (row, int(offset[at]), int(frame[at]) >> 8, (int(frame[at]) & 0xFF) * 512)
    if table:
        told = {each.chunk[:16]: each[1:4] for each in table}
        wrong = [row for half, (row, *place) in places.items() if told.get(half) != tuple(place)]
        index.bad[wrong] = True
        if wrong:
            reasons.append(f"{len(wrong)} chunks that the index names are not in it")
    if read:
        reasons += _content(index, found, places, table)
    return reasons, read


def _content(
    index: Index, found: Found, places: dict[bytes, tuple[int, int, int, int]], table: Sequence[Stored]
) -> list[str]:
    """Read a whole pack; what is wrong with what is in it."""
    area, codec = index.area, index.area.codec(found.key)
    try:
        data = memoryview(area.objects.get(found.key))
    except DunlinError as error:
        if error.kind not in _DAMAGE:
            raise
        index.bad[[row for row, *_ in places.values()]] = True
        return [error.reason]
    wanted = [(each.offset, each.length, each.inside, each.chunk[:16]) for each in table]
    wanted += [(*place, half) for half, (_, *place) in places.items()] if not table else []  # type: ignore[misc]
    reasons, raw, last, bad = [], b"", -1, 0
    for offset, length, inside, half in sorted(wanted):
        try:
            if offset != last:
                raw, last = b"", offset
                raw = codec.open(data[offset : offset + length], offset)
            chunk = named(raw, inside)
            if chunk[:16] == half and area.identify(member(codec, raw, inside, chunk)) == chunk:
                continue
            reasons.append(f"a chunk in the frame at byte {offset} is not what it should be")
        except DunlinError as error:
            if error.kind not in _DAMAGE:
                raise
            reasons.append(error.reason)
        bad += 1
        if half in places:
            index.bad[places[half][0]] = True
    told = [f"{bad} chunks of it cannot be read: {reasons[0]}"] if bad else []
    if table:
        try:
            check_end(codec, data, table)
        except DunlinError as error:
            if error.kind not in _DAMAGE:
                raise
            told.append(error.reason)
    return told


# ---- snapshots ----


class _Share:
    """The snapshots of one share. `whole`: the chunks that can be read."""

    def __init__(
        self, area: Area, whole: Sequence[chunks.Segment], folder: Path, done: Verified, stages: Stages
    ) -> None:
        self._area, self._folder, self._done = area, folder, done
        self._whole = whole
        self._stages = stages
        self._segments: dict[str, Segment | None] = {}
        self._shown: dict[str, Shown] = {}

    def look(self, names: Sequence[SnapshotName]) -> None:
        """Verify some snapshots."""
        trees, before = [], len(self._done.damages)
        self._stages.begin(f"looking at the snapshots of {self._area.share}", "snapshot", len(names))
        for name in names:
            noted = len(self._done.damages)
            found = self._manifest(name)
            tree = self._tree(found) if found is not None else None
            self._stages.done()
            if (found is None or tree is None) and self._forgotten({name.id}, noted):
                continue
            self._done.snapshots += 1
            if found is None or tree is None:
                self._done.lost_snapshots.append(Lost(self._area.share, name.id, ""))
                continue
            refs = [ref.id for ref in found.segments]
            shown(tree, refs, self._shown)
            trees.append((found, tree, refs))
        self._stages.bad(len(self._done.damages) - before)
        self._stages.begin(f"looking at the files of {self._area.share}", "tree", len(self._shown))
        bad = {}
        for segment, flags in self._shown.items():
            noted = len(self._done.damages)
            bad[segment] = self._entries(segment, flags)
            users = {found.id for found, _, refs in trees if segment in refs}
            if len(self._done.damages) > noted and self._forgotten(users, noted):
                bad[segment] = _none_of(flags)
            self._stages.done()
        for found, tree, refs in trees:
            paths = sorted(_paths(tree, [bad[name] for name in refs]))
            if paths and not self._forgotten({found.id}, len(self._done.damages)):
                self._done.lost += [Lost(self._area.share, found.id, path) for path in paths]

    def _forgotten(self, snapshots: AbstractSet[str], noted: int) -> bool:
        """Whether snapshots (ids) were forgotten since they were listed: a prune may have removed what they needed.

        `noted`: what was noted of damage behind so much of it was about them, and is taken back then.
        """
        if not snapshots.isdisjoint(name.id for name in self._area.snapshots()):
            return False
        del self._done.damages[noted:]
        # What is not there for them may be there, and damaged, for others.
        self._segments = {key: each for key, each in self._segments.items() if each is not None}
        return True

    def _manifest(self, name: SnapshotName) -> Manifest | None:
        try:
            return self._area.manifest(name, stored=True)
        except DunlinError as error:
            _note(self._done, "snapshot", name.key, error)
            return None

    def _tree(self, found: Manifest) -> Tree | None:
        segments = [self._segment(ref) for ref in found.segments]
        whole = [each for each in segments if each is not None]
        if len(whole) < len(segments):
            return None
        try:
            tree = Tree(whole)
            if tree.handle(ROOT) >= 0:
                return tree
            self._done.damages.append(Damage("snapshot", found.key, "its tree has no root"))
        except DunlinError as error:
            _note(self._done, "snapshot", found.key, error)
        return None

    def _segment(self, ref: SegmentRef) -> Segment | None:
        if ref.id not in self._segments:
            key = f"{self._area.root}/tree/{ref.id}"
            self._done.segments += 1
            try:
                self._segments[ref.id] = self._fetched(ref, key)
                self._done.files += ref.rows
            except DunlinError as error:
                _note(self._done, "tree", key, error)
                self._segments[ref.id] = None
        return self._segments[ref.id]

    def _fetched(self, ref: SegmentRef, key: str) -> Segment:
        path = self._folder / ref.id
        try:
            with open(path, "wb") as file:
                file.writelines(self._area.tree(ref))
            with open(path, "rb") as file:
                return Segment(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), key)
        finally:
            path.unlink(missing_ok=True)

    def _entries(self, name: str, flags: Shown) -> Shown:
        """Which of the entries that are shown do not restore."""
        bad = _none_of(flags)
        try:
            pages = open_pages(self._area, name)
        except DunlinError as error:
            _note(self._done, "pages", f"{self._area.root}/tree/{name}.pages", error)
            return flags
        if pages.damage is not None:
            _note(self._done, "pages", pages.key, pages.damage)
        for space, live in enumerate(flags):
            for number in range((len(live) + PAGE - 1) // PAGE):
                part = slice(number * PAGE, (number + 1) * PAGE)
                if not live[part].any():
                    continue
                try:
                    page = pages.page(space, number)
                    if page.count != len(live[part]):
                        raise DunlinError("read", pages.key, ErrorKind.CORRUPT, "a page has too few or many entries")
                except DunlinError as error:
                    _note(self._done, "pages", pages.key, error)
                    bad[space][part] = live[part]
                    continue
                entries, ids = page.references(live[part])
                self._done.chunks += len(ids)
                bad[space][entries[self._unreadable(ids)] + number * PAGE] = True
        self._spare(pages)
        return bad

    def _spare(self, pages: PagesReader) -> None:
        """Look at the rows of which a lost segment would be made again. Nothing else needs them."""
        if any(each.key == pages.key for each in self._done.damages):
            return
        try:
            pages.check_rows()
        except DunlinError as error:
            _note(self._done, "pages", pages.key, error)

    def _unreadable(self, ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of these chunks a restore could not read."""
        need = halves(ids)
        bad = np.ones(len(ids), bool)
        for each in self._whole:
            bad &= each.rows(*need) < 0
        return bad


def _none_of(flags: Shown) -> Shown:
    """No entry of a segment."""
    return Shown(np.zeros_like(flags.directories), np.zeros_like(flags.files))


def _paths(tree: Tree, bad: Sequence[Shown]) -> Iterator[str]:
    """The paths of what a tree shows of the bad entries of its segments."""
    if not any(each.directories.any() or each.files.any() for each in bad):
        return
    handles = walk.below(tree)
    nodes = walk.take(tree, "node", handles)
    holder, row = walk.rows_of(tree, handles)
    number, start, count = walk.places(tree, handles)
    for at, (flags, segment) in enumerate(zip(bad, tree.segments, strict=True)):
        mine = np.flatnonzero(holder == at)
        entries = segment.array("d.page")[row[mine]].astype(np.int64)
        for node in nodes[mine[flags.directories[entries]]].tolist():
            yield _text(tree.path(node) or b"") or "."
        runs = np.flatnonzero((number == at) & (count > 0))
        runs = runs[np.argsort(start[runs])]
        files = np.flatnonzero(flags.files)
        owner = start[runs].searchsorted(files, "right") - 1
        for file, which in zip(files.tolist(), owner.tolist(), strict=True):
            if which >= 0 and file < start[runs[which]] + count[runs[which]]:
                folder = tree.path(int(nodes[runs[which]])) or b""
                yield _text((folder + b"/" if folder else b"") + segment.files.name(file))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _note(done: Verified, what: str, key: str, error: DunlinError) -> None:
    """Take damage down; whatever else went wrong is raised."""
    if error.kind not in _DAMAGE:
        raise error
    done.damages.append(Damage(what, key, error.reason))
