"""Removes what no snapshot needs, while any number of backups go on. Two phases: mark, and later delete.

    sweep   what ripe marks name (`marks`) and no snapshot needs is deleted; what is needed again is let off
    mark    packs, tree segments and pieces of the index that nothing needs are marked; packs that are mostly unused
            are copied first, as far as they are needed; the index is written anew without them
    sweep   once more: where no backup was going on, the new mark is ripe already

Why nothing is lost
    A backup B finds chunks through the index, and carries chunks on from the snapshot that it compares with. It holds
    its lease first, says which snapshot that is, reads the marks then and leaves marked packs out. Let P be a pack in
    a mark that is ripe, and let no snapshot of the moment need it. B cannot need it: if B had begun before the mark
    was there, its lease would stand in the mark and the mark would not be ripe; if it began later, P was absent for
    its index; and what it carries on is needed by a snapshot that is there, or else nothing is deleted now (`_look`).
    What the sleepers do, whose lease was lost, is told in `hold`.

    Snapshots come and go while leases and manifests are looked at. So the look is: leases, manifests, leases, and the
    names of the manifests once more; if these have changed, it begins again.

    The index must not name a pack that is gone: a later backup would count on it. Whatever names a marked pack is
    written anew without it and marked too; it is deleted before the pack is. If a pack is let off, what the index said
    of it is written again before.

    What a verification has found damaged is counted on only where a chunk is nowhere else. So a marked pack is let off
    when what it holds is needed and was copied, or lies, only in one that went bad meanwhile.

    Pieces of the index that others contain (`pieces`) are counted on by nobody, and marked like all that is not needed,
    once those others were read from the store.

    What the index does not know cannot be told from garbage. So a prune refuses as long as a snapshot needs a chunk
    that the index does not have; `rebuild` makes a new index from the packs.

What is compared does not fit into memory, and is looked at range by range (`shelves`).

Nothing of this asks a clock, but for the age of leases: the store's, or in a dry run, which writes nothing, this
machine's. One prune of a tenant at a time, by a lease of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dunlin.backup import chunks, marks, pieces, room
from dunlin.backup.buckets import Buckets
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.lease import PRUNE, Lease, Live, Unwritten, live
from dunlin.backup.manifest import Manifest
from dunlin.backup.marks import Mark, Marks
from dunlin.backup.needs import gather
from dunlin.backup.objects import Found
from dunlin.backup.packing import Shelf
from dunlin.backup.pieces import MOST_ROWS
from dunlin.backup.repack import (
    MAX_UNUSED,
    MOST_SMALL,
    Chosen,
    Used,
    choose,
    contents,
)
from dunlin.backup.repository import Area, Repository
from dunlin.backup.scratch import scratch
from dunlin.backup.shelves import COST, MEMORY, Flags, Pile, Range, Shelves
from dunlin.backup.stages import Stages
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import passed

MOST_SEGMENTS = 8
"""Segments of the chunk index that may lie beside each other before they become one."""

LEFT = 24 * 3600
"""Seconds after which a temporary file is nobody's: no object takes so long to write."""

_REMOVED_AT_ONCE = 1000


@dataclass(slots=True)
class Pruned:
    """What a prune did, or would do. Sizes in bytes.

    `waiting`: objects that are marked and have to wait for backups that were going on. `copied_packs` were mostly
    unused, `joined_packs` small; `unused_bytes`: what is left in packs that no snapshot needs. `damaged_packs` should
    have been copied and could not be read. `short`: 1 where something was left out for want of room.
    """

    removed_objects: int = 0
    removed_bytes: int = 0
    marked_objects: int = 0
    marked_bytes: int = 0
    copied_packs: int = 0
    copied_bytes: int = 0
    joined_packs: int = 0
    joined_bytes: int = 0
    waiting: int = 0
    let_off: int = 0
    damaged_packs: int = 0
    kept_bytes: int = 0
    unused_bytes: int = 0
    short: int = 0

    def add(self, other: Pruned) -> None:
        """Count another tenant in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Share(NamedTuple):
    """A share and its snapshots."""

    area: Area
    manifests: tuple[Manifest, ...]


class Looked(NamedTuple):
    """The tenant at one moment.

    Attributes:
        leases: of backups that were alive before or after the manifests were read.
        pinned: every snapshot that a backup goes on from was there.
        orphaned: some were not: a backup needs what no snapshot does, since somebody forgot it meanwhile.
    """

    shares: list[Share]
    leases: list[Live]
    pinned: bool
    orphaned: bool


def prune(
    repository: Repository,
    tenant: str,
    who: str,
    *,
    max_unused: float = MAX_UNUSED,
    most_small: int = MOST_SMALL,
    dry: bool = False,
    clock: Callable[[], float] = passed,
    stages: Stages | None = None,
    memory: int = MEMORY,
) -> Pruned:
    """Remove what no snapshot of a tenant needs.

    Args:
        who: shown to others who want to prune: host and process.
        max_unused: part of the bytes of packs that may stay unused, 0 to 1.
        most_small: small packs of a kind that may lie beside each other; see `repack`.
        dry: only tell what would be marked; nothing is written, not even a lease.
        clock: seconds; see `Lease`.
        stages: told how far it is.
        memory: bytes for what is compared at a time, more or less.

    Raises READ_ONLY for a repository that is append-only, LOCKED while another prune is going on, BUSY when this
    one stood still for too long, CORRUPT when something that a snapshot needs cannot be found.
    """
    if repository.settings.append_only:
        reason = "the repository is append-only: nothing is ever removed from it"
        raise DunlinError("prune", repository.objects.url, ErrorKind.READ_ONLY, reason)
    with scratch(repository.beside) as folder:
        if repository.cache is None:  # so that what is large of the index is mapped, and not in memory
            config, secrets, _ = repository.told(tenant)
            repository = Repository(repository.objects, config, secrets, folder / "cache")
        stages = stages or Stages("prune")
        asked = _Asked(max_unused, most_small, max(memory // COST, 1), folder)
        if dry:
            run = _Prune(repository, tenant, Unwritten(), asked, stages)
            run.mark(dry=True)
            return run.done
        return _carried_out(repository, tenant, who, asked, clock, stages)


class _Asked(NamedTuple):
    """See `prune`. `rows`: of the index that are compared at a time. `folder`: for temporary files."""

    max_unused: float
    most_small: int
    rows: int
    folder: Path


def _carried_out(
    repository: Repository, tenant: str, who: str, asked: _Asked, clock: Callable[[], float], stages: Stages
) -> Pruned:
    lease = room.made(repository.objects, lambda: Lease(repository.objects, tenant, PRUNE, who, clock))
    try:
        run = _Prune(repository, tenant, lease, asked, stages)
        run.sweep()
        while run.mark():
            before = run.done.removed_objects
            run.sweep()
            # What had no room before has it now, if anything went.
            if not run.short or run.done.removed_objects == before:
                break
        return run.done
    finally:
        with suppress(DunlinError):
            lease.release()
        room.keep(repository.objects)


class _Prune:
    def __init__(
        self, repository: Repository, tenant: str, lease: Lease | Unwritten, asked: _Asked, stages: Stages
    ) -> None:
        self._repository, self._tenant, self._lease = repository, tenant, lease
        self._objects = repository.objects
        self._asked, self._stages = asked, stages
        self.short = False
        self._ranges: list[Range] = []
        self._needs: dict[tuple[str, ...], Buckets] = {}
        self.done = Pruned()

    # ---- see ----

    def _look(self) -> Looked:
        """Leases, manifests, leases, and whether the manifests are still those; see the module docstring."""
        while True:
            before = self._leases()
            areas = self._areas()
            try:
                shares = [Share(area, tuple(map(area.manifest, area.snapshots()))) for area in areas]
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                continue  # it was forgotten in this moment
            leases = {each.key: each for each in (*before, *self._leases())}
            if [area.root for area in self._areas()] == [area.root for area in areas] and all(
                [name.key for name in share.area.snapshots()] == [manifest.key for manifest in share.manifests]
                for share in shares
            ):
                ids = {manifest.id for share in shares for manifest in share.manifests}
                every = [*before, *leases.values()]
                orphaned = any(each.parent is not None and each.parent not in ids | {""} for each in every)
                pinned = not orphaned and all(each.parent is not None for each in every)
                return Looked(shares, list(leases.values()), pinned, orphaned)

    def _leases(self) -> list[Live]:
        now, writes = self._lease.pin(""), isinstance(self._lease, Lease)
        return [each for each in live(self._objects, self._tenant, now, tidy=writes) if each.share != PRUNE]

    def _areas(self) -> list[Area]:
        """Every share of the tenant; where there is none, a name by which its packs can be reached."""
        return [self._repository.area(self._tenant, name) for name in self._repository.shares(self._tenant) or ["none"]]

    def _shelves(self, shares: list[Share], damaged: AbstractSet[bytes]) -> Iterator[Shelves]:
        """Bundles of each share, then the tenant's packs. What a whole bundle holds is looked for nowhere else."""
        area, folder = shares[0].area, self._asked.folder
        if not self._ranges:
            folders = [area.chunk_directory(False), *(share.area.chunk_directory(True) for share in shares)]
            size = sum(each.size for name in folders for each in self._objects.list(name))
            self._ranges = pieces.ranges(size // chunks.ROW, self._asked.rows)
        left, spare = self._buckets(), self._buckets()
        for share in shares:
            need, here = self._needed(share), share.area.packs(True)
            pile = Pile(marks.stored_segments(share.area, True))
            shelves = Shelves(share.area, True, pile, here, need, self._ranges, folder)
            there, whole, found = shelves.there(), shelves.there(damaged), self._buckets()
            bad = not damaged.isdisjoint(here)
            for bounds, part in shelves.needs():
                known = pile.merged(bounds, there).rows(*part) >= 0
                found.add(part.take(known))
                left.add(part.take(~known))
                if bad:
                    spare.add(part.take(known & (pile.merged(bounds, whole).rows(*part) < 0)))
            yield shelves._replace(need=found)
            found.close()
        packs = area.packs(False)
        pile = Pile(marks.stored_segments(area, False))
        last = Shelves(area, False, pile, packs, spare, self._ranges, folder)
        there = last.there()
        for bounds, part in last.needs():
            left.add(part.take(pile.merged(bounds, there).rows(*part) >= 0))
        yield last._replace(need=left)
        for each in (left, spare):
            each.close()

    def _needed(self, share: Share) -> Buckets:
        area, manifests = share
        names = tuple(manifest.key for manifest in manifests)
        if names not in self._needs:
            words = f"seeing what the snapshots of {area.share} need"
            found = self._buckets()
            begin = lambda n: self._stages.begin(words, "tree", n)  # noqa: E731
            gather(area, manifests, found, begin, self._stages.done)
            self._needs[names] = found  # half of what is needed would make the rest garbage
        return self._needs[names]

    def _buckets(self) -> Buckets:
        return Buckets(self._asked.folder, [first for first, _ in self._ranges[1:]], 2, once=True)

    # ---- sweep ----

    def sweep(self) -> None:
        """Carry out the marks that are ripe."""
        area = self._areas()[0]
        found = self._readable(area)
        if not found.marks:
            self._bury(area, found)
            return
        looked = self._look()
        alive = {each.key for each in looked.leases}
        found = self._readable(area)
        for at, mark in enumerate(found.marks):
            if mark.leases is None:  # who wrote it died; those that are alive now are more than those of then
                found.marks[at] = marks.put_leases(area, mark, alive)
        ripe = [mark for mark in found.marks if not (mark.leases or frozenset()) & alive] if looked.pinned else []
        self.done.waiting = len(found.wanted - frozenset().union(*(mark.keys for mark in ripe)))
        if ripe:
            self._carry_out(area, looked, ripe, found.damaged)
        self._bury(area, found)

    def _carry_out(self, area: Area, looked: Looked, ripe: list[Mark], bad: frozenset[str]) -> None:
        doomed = set[str]().union(*(mark.keys for mark in ripe))
        trees = self._trees(looked.shares, needed_ones=True)
        let_off = doomed & trees.keys()
        packs: dict[str, Found] = {}
        indexes: dict[str, Found] = {}
        for shelves in self._shelves(looked.shares, marks.packs(bad)):
            let_off |= self._let_off(shelves, doomed, marks.packs(bad))
            packs |= {each.key: each for each in shelves.packs.values()}
            listed = self._objects.list(shelves.area.chunk_directory(shelves.small))
            indexes |= {each.key: each for each in listed}
        self.done.let_off += len(let_off)
        doomed -= let_off
        others = self._trees(looked.shares, needed_ones=False)
        if marks.read(area, []).damaged != bad:
            return  # a verification has just told of damage: what was counted on may be gone
        # An index goes before the packs that it names, and the mark goes last. What stands in for one is safe before.
        self._objects.sync()
        self._remove([each for key, each in indexes.items() if key in doomed])
        self._remove([each for key, each in others.items() if key in doomed])
        gone = [each for key, each in packs.items() if key in doomed]
        if gone:
            room.made(self._objects, lambda: marks.put_gone(area, [each.key for each in gone]))
            self._objects.sync()
            self._remove(gone)
        self._still_ours()
        marks.remove(area, ripe)

    def _let_off(self, shelves: Shelves, doomed: AbstractSet[str], damaged: frozenset[bytes]) -> set[str]:
        """The keys of marked packs that are needed again; what the index says of them is written once more."""
        wanted = frozenset(name for name, each in shelves.packs.items() if each.key in doomed)
        pile = shelves.pile
        safe, left = shelves.there(wanted | damaged), shelves.there(wanted)
        every = shelves.all_there(wanted - damaged, damaged - wanted, wanted & damaged)
        staying = pile.mask(damaged - wanted)
        numbers, missing = np.zeros(len(pile.names), bool), 0
        for bounds, part in shelves.needs():
            need = part.take(pile.merged(bounds, safe, doomed).rows(*part) < 0)
            if not len(need.high):
                continue
            found = pile.merged(bounds, every)
            rows = found.rows(*need)
            missing += int((rows < 0).sum())
            need, rows = need.take(rows >= 0), rows[rows >= 0]
            number = found.columns()[2][rows]
            # What is in damaged packs alone, which stay as does an index that names them, is as well off as can be.
            lasting = staying[number] & (pile.merged(bounds, left, doomed).rows(*need) >= 0)
            numbers[number[~lasting]] = True
        if missing:
            raise _missing(shelves.area, missing)
        again = {pile.names[at] for at in np.flatnonzero(numbers).tolist()}
        if again:
            groups = [pile.mask(again - damaged), pile.mask(again & damaged)]
            for segment in pile.again(groups, min(self._asked.rows, MOST_ROWS)):
                shelves.area.put_chunk_segment(segment, shelves.small)
        return {shelves.packs[name].key for name in again & wanted}

    def _readable(self, area: Area) -> Marks:
        """The marks, without those that are damaged: what they named will be marked once more.

        Of packs that were removed it is left: until it is old it keeps backups from believing an index blindly.
        """
        damaged: list[tuple[Found, DunlinError]] = []
        found = marks.read(area, damaged)
        old = self._lease.pin("") - int(marks.GHOSTS * 1e9)
        gone = [each.key for each, _ in damaged if not each.key.endswith(".gone") or each.time < old]
        if not gone:
            return found
        self._objects.remove(sorted(gone, reverse=True))
        return marks.read(area, [])

    def _clear(self, now: int) -> None:
        """Remove what writings left that were cut short."""
        areas, tenant = self._areas(), self._tenant
        folders = ["", *(f"{tenant}/{name}" for name in ("chunks", "leases", "marks", "verified"))]
        folders += [f"{tenant}/packs/{name}" for name in self._objects.directories(f"{tenant}/packs")]
        folders += [f"{area.root}{name}" for area in areas for name in ("", "/chunks", "/tree", "/snapshots")]
        found = [each for folder in folders for each in self._objects.leftovers(folder)]
        self._remove([each for each in found if now - each.time > LEFT * 1e9])

    def _bury(self, area: Area, found: Marks) -> None:
        """Forget what was removed long ago."""
        now = self._lease.pin("")
        self._clear(now)
        old = [each.key for each, _ in found.gone if now - each.time > marks.GHOSTS * 1e9]
        if old:
            area.objects.remove(old)

    def _remove(self, found: Collection[Found]) -> None:
        every = list(found)
        if every:
            self._stages.begin("removing what nothing needs", "object", len(every), sum(each.size for each in every))
        for at in range(0, len(every), _REMOVED_AT_ONCE):
            self._still_ours()
            part = every[at : at + _REMOVED_AT_ONCE]
            self._objects.remove([each.key for each in part])
            self.done.removed_objects += len(part)
            self.done.removed_bytes += sum(each.size for each in part)
            self._stages.done(len(part), sum(each.size for each in part))

    def _still_ours(self) -> None:
        if not self._lease.renew():
            reason = "this prune stood still for too long; another one may have begun"
            raise DunlinError("prune", self._tenant, ErrorKind.BUSY, reason, "run it again")

    # ---- mark ----

    def mark(self, *, dry: bool = False) -> bool:
        """Mark what nothing needs; whether there was anything.

        As long as a backup goes on from a snapshot that is gone, all of that waits: its packs look unneeded.
        """
        looked = self._look()
        waits, dry = looked.orphaned and not dry, dry or looked.orphaned
        area = looked.shares[0].area
        found = marks.read(area, [])
        began = min((each.began for each in looked.leases), default=None)
        marked: dict[str, int] = {}
        self.short, self.done.unused_bytes, self.done.kept_bytes = False, 0, 0
        for shelves in self._shelves(looked.shares, marks.packs(found.damaged)):
            dead = self._mark_packs(shelves, found, began, dry)
            try:
                marked |= self._mark_index(shelves, found, dead.keys(), dry)
            except DunlinError as error:
                if error.kind is not ErrorKind.NO_SPACE:
                    raise
                self.short = True  # packs that the index names stay; trees may go, and make room for it
                continue
            marked |= {each.key: each.size for each in dead.values()}
        self.done.short = int(self.short)
        for key, each in self._trees(looked.shares, needed_ones=False).items():
            if began is None or each.time < began:
                marked[key] = each.size
        marked = {key: size for key, size in marked.items() if key not in found.wanted}
        if waits:
            self.done.waiting += len(marked)
            return False
        self.done.marked_objects += len(marked)
        self.done.marked_bytes += sum(marked.values())
        if dry or not marked:
            return False
        self._objects.sync()
        self._still_ours()
        mark = room.made(self._objects, lambda: marks.put(area, marked))
        room.made(self._objects, lambda: marks.put_leases(area, mark, {each.key for each in self._leases()}))
        return True

    def _mark_packs(self, shelves: Shelves, found: Marks, began: int | None, dry: bool) -> dict[bytes, Found]:
        """The packs that can go: those that nothing needs, and those whose live chunks were copied."""
        gone, pile = marks.packs(found.keys), shelves.pile
        weighed = shelves.weigh(shelves.there(gone), shelves.all_there(marks.packs(found.damaged)))
        if weighed.missing:
            raise _missing(shelves.area, weighed.missing)
        # Of a damaged pack nobody counts on anything that lies elsewhere, too.
        still = {pile.names[at] for at in np.flatnonzero(weighed.last).tolist()}
        bad = {name: each for name, each in shelves.packs.items()
               if each.key in found.damaged - found.wanted and name not in still}  # fmt: skip
        waste = np.maximum(weighed.held - weighed.taken, 0).tolist()
        taken = {pile.names[at]: waste[at] for at in np.flatnonzero(weighed.used).tolist()}
        there = {name: each for name, each in shelves.packs.items() if name not in gone}
        # One that is younger than a backup going on is likely to be that backup's.
        dead = {name: each for name, each in there.items()
                if name not in taken and (began is None or each.time < began)}  # fmt: skip
        partly = [Used(name, there[name].size, left) for name, left in taken.items() if name in there]
        chosen = choose(partly, shelves.small, self._asked.max_unused, self._asked.most_small)
        if not dry and any(chosen):
            chosen = self._copy(shelves, shelves.there(gone), chosen)
        copied = [*chosen.wasteful, *chosen.small]
        self.done.copied_packs += len(chosen.wasteful)
        self.done.copied_bytes += sum(each.size - each.waste for each in chosen.wasteful)
        self.done.joined_packs += len(chosen.small)
        self.done.joined_bytes += sum(each.size - each.waste for each in chosen.small)
        unused = sum(each.waste for each in partly) - sum(each.waste for each in copied)
        self.done.unused_bytes += unused
        self.done.kept_bytes += sum(each.size for each in partly) - sum(each.waste for each in copied)
        return dead | bad | {each.name: there[each.name] for each in copied}

    def _copy(self, shelves: Shelves, live: list[Flags], chosen: Chosen) -> Chosen:
        """Put the chunks of some packs that are needed into new ones; each is checked. The packs that were copied."""
        area, small = shelves.area, shelves.small
        shelf = Shelf(area, small, ChunkIndex())
        every = {each.name: each for each in (*chosen.wasteful, *chosen.small)}
        size = sum(each.size - each.waste for each in every.values())
        self._stages.begin("copying packs that are mostly unused, or small", "pack", len(every), size)
        damaged = set[bytes]()
        try:
            for pack, places in shelves.places(live, every.keys()):
                self._still_ours()
                try:
                    for data in contents(area, area.pack_key(pack.hex(), small), places):
                        shelf.put(data)
                except DunlinError as error:
                    if error.kind is not ErrorKind.CORRUPT:
                        raise
                    damaged.add(pack)  # what of it is whole stays where it is
                self._stages.done(1, every[pack].size - every[pack].waste)
            shelf.finish()
        except DunlinError as error:
            if error.kind is not ErrorKind.NO_SPACE:
                raise
            self.short = True
            shelf.give_up()
            return Chosen([], [])
        self.done.damaged_packs += len(damaged)
        return Chosen(*([each for each in part if each.name not in damaged] for part in chosen))

    def _mark_index(
        self, shelves: Shelves, found: Marks, dead: AbstractSet[bytes], dry: bool
    ) -> dict[str, int]:
        """The segments of the index that say what is no longer so, or are too many; one is written in their place."""
        area, small = shelves.area, shelves.small
        there, damaged = shelves.packs.keys() - dead, marks.packs(found.damaged)
        # What was written just now, by copying or by a backup, is among them.
        mine = [pair for pair in marks.stored_segments(area, small) if pair[0] not in found.wanted]
        fresh = area.packs(small).keys() if not dry else shelves.packs.keys()
        there |= fresh - shelves.packs.keys()
        chosen = {key: each for key, each in mine if any(bytes(pack) not in there for pack in each.packs)}
        most = min(self._asked.rows, MOST_ROWS)
        few = {key: each for key, each in mine if len(each) < most // 4}
        chosen |= few if len(few) > MOST_SEGMENTS else {}
        if len(chunks.in_order(each for key, each in mine if key not in chosen)) > MOST_SEGMENTS:
            chosen = dict(mine)
        sizes = {each.key: each.size for each in self._objects.list(area.chunk_directory(small))}
        doomed = {key: sizes.get(key, 0) for key in chosen}
        doomed |= marks.settled(lambda: pieces.superfluous(area, small, chosen.keys()))
        if not dry:
            pile = Pile(list(chosen.items()))
            for segment in pile.again([pile.mask(there - damaged), pile.mask(there & damaged)], most):
                room.made(self._objects, lambda segment=segment: area.put_chunk_segment(segment, small))  # type: ignore[misc]
        return doomed

    def _trees(self, shares: list[Share], *, needed_ones: bool) -> dict[str, Found]:
        """The tree segments and pages that some snapshot names, or those that none does."""
        found: dict[str, Found] = {}
        for area, manifests in shares:
            named = {f"{area.root}/tree/{ref.id}" for manifest in manifests for ref in manifest.segments}
            for each in self._objects.list(f"{area.root}/tree"):
                if (each.key.removesuffix(".pages") in named) is needed_ones:
                    found[each.key] = each
        return found


def _missing(area: Area, count: int) -> DunlinError:
    reason = f"{count} chunks that snapshots need are not in the chunk index; nothing was removed"
    hint = "dunlin verify tells which files need them; dunlin repo rebuild-index finds what the packs still hold"
    return DunlinError("prune", area.tenant, ErrorKind.CORRUPT, reason, hint)
