"""A backup from its first directory to its manifest: units to movers, rows from them, one writer.

1  the share's lease; the newest snapshot's tree; the chunk index, without packs that a prune has marked
2  directories are units. A mover lists one, compares it with the last snapshot, stores what is new (`backup.save`)
   and sends back packed rows; directories found in it become units. Nothing comes back of what is as it was
3  this process alone gives out node ids and writes the segment and its pages: a delta over the segments of the
   last snapshot. Where deltas have become many they are joined, where they are large all becomes one (`joining`)
4  movers store what they still hold, and their index; everything is synced; the lease is looked at once more (`hold`);
   then the manifest appears

"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from blake3 import blake3

from dunlin.backup import marks
from dunlin.backup.frames import seal_file
from dunlin.backup.hold import Hold, NoHold, floor, newest
from dunlin.backup.joining import Written, joined, written_pages
from dunlin.backup.manifest import Manifest, SegmentRef, Totals
from dunlin.backup.pages import PagesReader, PagesWriter, Part
from dunlin.backup.repository import Area, Repository
from dunlin.backup.rows import Kept, page_part
from dunlin.backup.rows import Outcome as RowsOutcome
from dunlin.backup.save import Child, Saved, fingerprint
from dunlin.backup.scratch import scratch
from dunlin.backup.snapshot import open_pages, open_tree
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import CHANGED
from dunlin.backup.tree.compact import since
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Directory, Tree
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DEV, IDENT, MTIME, Facts, is_directory, join
from dunlin.pace.bucket import Paces
from dunlin.pace.clock import passed
from dunlin.pace.sizes import format_duration, format_number
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from dunlin.stores.base import Store
from dunlin.workers.foreseen import tell_differences
from dunlin.workers.held import Held, Stack
from dunlin.workers.moved import Moves
from dunlin.workers.savers import FAR, Asked, Maker, Member, Movers, Reply, Saves

Hire = Callable[[Manifest | None], Saves]
"""From the snapshot that a backup goes on from to those who do its units."""


MOST_ERRORS = 1000
"""Errors of a backup that are kept; all of them are told and counted."""

AHEAD = 3600 * 10**9
"""ns by which the last snapshot may be stamped later than now before that is told."""

MOST_AHEAD = 24 * AHEAD
"""ns by which this machine's clock may be ahead of the repository's."""


class Unit(NamedTuple):
    """A directory to be saved: its path, node, parent, name, and facts; its node in the last snapshot, or 0."""

    path: str
    node: int
    parent: int
    name: bytes
    facts: Facts
    print: int
    before: int


@dataclass(slots=True)
class Outcome:
    """How a backup ended: its manifest, and what could not be read, the first `MOST_ERRORS`; totals say how many."""

    manifest: Manifest
    errors: list[DunlinError] = field(default_factory=list)
    vanished: int = 0


def back_up(
    asked: Asked,
    area: Area,
    open_source: Callable[[], Store],
    open_repository: Callable[[], Repository],
    stop: Stop,
    report: Report,
    bucket: Paces | None = None,
    clock: Callable[[], int] = time.time_ns,
    monotonic: Callable[[], float] = passed,
    hire: Hire | None = None,
) -> Outcome:
    """Make a snapshot of a source in a share.

    Args:
        area: of the share, opened for this process.
        open_source, open_repository: for each mover one.
        bucket: asked for every block of content.
        clock: ns since 1970; monotonic: seconds; see `Lease`.
        hire: who does the units; None: movers of this process.

    Raises LOCKED when another backup of the share is going on, INTERRUPTED, and what ends a run.
    """
    who = f"{asked.host or 'a host'}, process {os.getpid()}"
    hold = NoHold() if asked.dry else Hold(area, who, monotonic)
    try:
        with (
            scratch(None if asked.dry else area.repository.beside) as folder,
            _Run(asked, area, hold, folder, stop, report, clock) as run,
        ):
            return run.run(open_source, open_repository, bucket, hire)
    finally:
        with suppress(DunlinError):
            hold.release()


class _Run:
    """The parent's side of one backup."""

    def __init__(
        self, asked: Asked, area: Area, hold: Hold | NoHold, folder: Path, stop: Stop, report: Report,
        clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self._asked, self._area, self._hold = asked, area, hold
        self._stop, self._report, self._clock = stop, report, clock
        self._folder = folder
        self._started = clock()
        self._floor, self._anew = (0, ROOT + 1), False
        self._parent, self._tree = self._begun_from(hold)
        self._look_at_clocks(hold.began)
        self._base = self._parent is None or self._anew
        before = self._parent.segments if self._parent else ()
        self._pages = [cache(partial(open_pages, area, ref.id)) for ref in before]
        self._moves: Moves[Unit]  # once the source is open
        self._next_node = self._parent.next_node if self._parent else self._floor[1]
        self._id = new_id()
        self._rows = SegmentWriter(folder / "segment")
        self._page_file = open(folder / "pages", "wb")  # noqa: SIM115 - closed at the end
        self._page_key = f"{area.root}/tree/{self._id}.pages"
        self._writer = PagesWriter(area.codec(self._page_key), self._page_file.write, folder)
        self._waiting = Stack[Unit](folder)
        self._handed: dict[int, Unit] = {}
        self._parts: dict[int, Held] = {}
        self._came: deque[Reply] = deque()
        self._late = Stack[Reply](folder, live=8)  # a reply may have the rows of many directories
        self._movers: Saves
        self._number = 0
        self._counts: dict[str, int] = {}
        self._errors: list[DunlinError] = []
        self._damaged: dict[int, int] = {}
        self._told_damage = False

    def _look_at_clocks(self, store: int) -> None:
        """Later snapshots are stamped behind this one: a clock that is wrong spoils it for all. Raises CONFIG."""
        now, last = self._started, self._parent.time if self._parent is not None else 0
        if store and now - store > MOST_AHEAD:
            reason = f"this machine's clock is {format_duration((now - store) / 1e9)} ahead of the repository's"
            raise DunlinError("back up to", self._area.root, ErrorKind.CONFIG, reason, "set the clock")
        if last - now > AHEAD:
            words = f"the last snapshot is stamped {format_duration((last - now) / 1e9)} later than this machine's"
            words += " clock: one of both was wrong; this snapshot is stamped right behind it"
            self._report.event(Event(Level.WARN, "backup.clock", words))

    def _begun_from(self, hold: Hold | NoHold) -> tuple[Manifest | None, Tree]:
        """The last snapshot and its tree. Where it is damaged the backup is like a first one: everything is read."""
        parent = None
        try:
            parent = newest(self._area, hold)
            return parent, open_tree(self._area, parent) if parent else Tree()
        except DunlinError as error:
            if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
                raise
            words = f"the last snapshot is damaged, so everything is read again: {error}; dunlin verify tells more"
            self._report.event(Event(Level.WARN, "backup.anew", words))
            self._anew = True
            if parent is None:
                self._floor = floor(self._area)
            return parent, Tree()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.discard()
        self._writer.close()
        self._page_file.close()
        self._waiting.close()
        self._late.close()
        for held in self._parts.values():
            held.close()

    # ---- movers ----

    def run(
        self, open_source: Callable[[], Store], open_repository: Callable[[], Repository], bucket: Paces | None,
        hire: Hire | None = None,
    ) -> Outcome:  # fmt: skip
        source = open_source()
        root = source.stat("")
        if not is_directory(root.facts):
            raise DunlinError("back up", source.url, ErrorKind.NOT_FOUND, "it is no directory")
        far = source.caps.far
        self._moves = Moves(self._tree, self._pages, lasting=far)
        before = ROOT if self._tree.handle(ROOT) >= 0 else 0
        print_ = fingerprint(self._area.keys.seed)(root.facts)
        self._waiting.append(Unit("", ROOT, 0, b"", root.facts, print_, before))
        if hire is not None:
            movers = hire(self._parent if not self._anew else None)
        else:
            make = Maker(self._asked, self._area, self._tree, open_source, open_repository, bucket)
            with self._hold.rest():
                movers = Movers(make, self._size(far), threads=far)
        try:
            self._drive(movers)
            if self._stop.requested:
                movers.finish()
                raise DunlinError("back up", source.url, ErrorKind.INTERRUPTED, self._stop.reason)
            self._still_there(source, root.facts)
            stored = movers.finish()
            self._remove_gone()
        finally:
            movers.close()
            source.close()
        return self._commit(stored)

    def _still_there(self, source: Store, before: Facts) -> None:
        """A disk that was taken out or is not mounted looks like a tree in which everything was deleted. Raises IO."""
        hint = "is it mounted? what was stored is found by the next backup"
        try:
            now = source.stat("").facts
            same = source.caps.far or (now[DEV], now[IDENT]) == (before[DEV], before[IDENT])
            reason = "" if same else "another directory stands in its place now"
            last = self._parent
            known = last.totals.files if last is not None and last.source == self._asked.source else 0
            if known and not (reason or self._asked.accept_source or self._asked.dry) and _is_empty(source):
                reason = f"it is empty, although the last snapshot holds {format_number(known, 'file')}"
                hint += "; --accept-source says that this is right"
        except DunlinError as error:
            reason = f"it disappeared while it was read ({error.reason or error.kind.value})"
        if reason:
            raise DunlinError("back up", source.url, ErrorKind.IO, f"{reason}; no snapshot was made", hint)

    def _size(self, far: bool) -> int:
        return self._asked.movers or (FAR if far else min(os.cpu_count() or 1, 8))

    def _drive(self, movers: Saves) -> None:
        self._movers = movers
        while (self._waiting or self._handed or self._moves.later) and not self._stop.requested:
            if not (self._waiting or self._handed):
                self._waiting += map(self._placed, self._moves.settle())
                if self._moves.left_out:
                    words = "too many directories are gone to know where each has been moved: some are read again"
                    self._report.event(Event(Level.INFO, "backup.moved", words))
            # The last first: of a wide tree only the names along one way down wait, and not a level of all.
            while self._waiting and (mover := movers.free()) is not None:
                size = max(1, min(movers.group, len(self._waiting) // (2 * movers.size)))
                group = [self._waiting.pop() for _ in range(size)]
                numbers = range(self._number, self._number + size)
                self._number += size
                self._handed.update(zip(numbers, group, strict=True))
                movers.give(mover, [self._member(*each) for each in zip(numbers, group, strict=True)])
            self._came += movers.replies(1.0)
            while self._came:
                self._take(*self._came.popleft())
            while self._late:
                self._take(*self._late.pop())
            self._report.gauge("crawl_queued", len(self._waiting) + len(self._handed))
            self._hold.renew()

    # ---- what comes back ----

    def _take(self, number: int, saved: Saved, part: Part | None) -> None:
        held = self._parts.setdefault(number, Held(self._folder))
        if saved.more:
            held.add(saved)
            held.damage = held.damage or self._damage(saved)
            return
        held.end(saved)
        with closing(self._parts.pop(number)):
            self._whole(self._handed.pop(number), held, saved, part)

    def _whole(self, unit: Unit, held: Held, saved: Saved, part: Part | None) -> None:
        """A directory has come, with all of its parts."""
        children: Iterable[Child] = chain(held.children(), saved.children)
        if damaged := self._damaged.pop(unit.node, 0):
            unit, children = self._known_again(unit, saved, damaged, children)
        before = self._tree.directory(unit.before) if unit.before else None
        if saved.error is None and (damage := held.damage or self._damage(saved)) is not None:
            self._once_more(unit, damage)
            return
        self._count("directories")
        if saved.error is not None:
            self._failed(unit, before, saved.error)
            return
        self._children(unit, children)
        self._moves.gone(saved.gone)
        if saved.unread is not None:
            unit = unit._replace(print=0)  # so the next backup asks again
            self._count("failed_entries")
            self._tell(saved.unread)
        if saved.outcome is None:
            assert before is not None
            self._same(unit, before, part)
            return
        if held.count:
            self._rows.add_long_run(unit.node, self._long(held, saved.outcome))
        else:
            self._rows.add_run(unit.node, *self._columns(saved.outcome))
        self._directory(unit, part, 0)

    def _long(self, held: Held, last: RowsOutcome) -> Iterator[tuple[bytes, ...]]:
        """The columns of a huge directory, in parts. It may take long, so lease and movers are looked after."""
        for outcome in chain(held.outcomes(), [last]):
            yield self._columns(outcome)
            if self._stop.requested:
                raise DunlinError("back up", "", ErrorKind.INTERRUPTED, self._stop.reason)
            self._hold.renew()
            # Parts of one directory are taken in their order, so those that came before are not passed by.
            came, self._came = [*self._came, *self._movers.replies(0.0)], deque()
            for reply in came:
                if reply[1].more:
                    self._take(*reply)
                else:
                    self._late.append(reply)

    def _columns(self, outcome: RowsOutcome) -> tuple[bytes, ...]:
        """The columns of some rows, with their nodes; their page entries follow those of the rows before."""
        names, lengths, nodes, sizes, *others = outcome.columns
        nodes = self._numbered(nodes)
        for each in outcome.parts:
            if isinstance(each, Kept):
                self._carry(each)
            else:
                self._writer.add_files(*each)
        for name, n in outcome.counts.items():
            self._count(name, n)
        self._count("files", len(nodes) // 8)
        self._count("bytes", int(np.frombuffer(sizes, np.int64).sum()))
        for error in outcome.errors:
            self._tell(error)
        return names, lengths, nodes, sizes, *others

    def _damage(self, saved: Saved) -> DunlinError | None:
        """Why what is to go on as it was cannot be read; None: it can."""
        kept = [each for each in saved.outcome.parts if isinstance(each, Kept)] if saved.outcome is not None else []
        try:
            for each in kept:
                self._pages[each.segment]().check_files(each.row, each.rows)
        except DunlinError as error:
            if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
                raise
            return error
        return None

    def _once_more(self, unit: Unit, damage: DunlinError) -> None:
        """A unit is done again, as one that nobody knows."""
        if not self._told_damage:
            self._told_damage = True
            words = f"metadata of the last snapshot is damaged, so what it speaks of is read again: {damage}"
            self._report.event(Event(Level.WARN, "backup.anew", f"{words}; dunlin verify tells more"))
        self._damaged[unit.node] = unit.before
        self._waiting.append(unit._replace(before=0))

    def _known_again(
        self, unit: Unit, saved: Saved, node: int, children: Iterable[Child]
    ) -> tuple[Unit, Iterable[Child]]:
        """A unit that was done as if nobody knew it: its directories are those of before all the same."""
        if saved.error is not None:
            return unit._replace(before=node), ()
        known = {each.name: each.node for each in self._tree.directories(node)}
        again = [each._replace(node=known.pop(each.name, 0)) for each in children]
        saved.gone = list(known.values())
        return unit, again

    def _children(self, unit: Unit, children: Iterable[Child]) -> None:
        for child in children:
            before = self._moves.claim(child.node) if child.node else 0
            path = join(unit.path, child.name.decode("utf-8", "surrogateescape"))
            found = Unit(path, before, unit.node, child.name, child.facts, child.print, before)
            if before:
                self._waiting.append(found)
            elif self._moves.waits:
                self._moves.later.append(found)
            else:
                self._waiting.append(self._placed(found))

    def _placed(self, unit: Unit) -> Unit:
        """A new directory with its node: that of one that was moved there, or a new one."""
        before = self._moves.find(unit.facts)
        return unit._replace(node=before or self._new_node(), before=before)

    def _member(self, number: int, unit: Unit) -> Member:
        """A unit as movers get it. One that was moved has its row written anew, so its page entry is wanted."""
        return number, unit.path, unit.before, unit.facts, 0 if self._moves.anew(unit.before) else unit.print

    def _remove_gone(self) -> None:
        nodes, files = self._moves.removed()
        self._count("removed_files", files)
        for node in nodes:
            self._rows.remove(node)

    def _same(self, unit: Unit, before: Directory, part: Part | None) -> None:
        """The run of a directory is as it was; its own row may have changed."""
        self._count("files", before.files)
        self._count("bytes", before.size)
        if before.fingerprint != unit.print or (before.parent, before.name) != (unit.parent, unit.name):
            assert part is not None
            mtime = unit.facts[MTIME] or 0
            self._rows.add_directory(
                unit.node, unit.parent, unit.name, mtime, unit.print,
                files=before.files, size=before.size, check=before.check,
            )  # fmt: skip
            self._writer.add_directories(1, part)

    def _failed(self, unit: Unit, before: Directory | None, error: DunlinError) -> None:
        """A directory that could not be listed stays as it was; one that is gone is gone."""
        if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.VANISHED) and unit.parent:
            self._count("vanished_files")
            if before is not None:
                self._rows.remove(unit.before)
            return
        if not unit.parent:
            raise error
        self._tell(error)
        self._count("failed_entries")
        if self._moves.let_go(unit.before):
            unit, before = unit._replace(node=self._new_node(), before=0), None
        if before is None:
            self._rows.add_run(unit.node, b"", b"", b"", b"", b"", b"", b"", b"")
            self._rows.add_directory(unit.node, unit.parent, unit.name, unit.facts[MTIME] or 0, 0, CHANGED)
            self._writer.add_directories(1, _bare(unit.facts))
        else:
            if (before.parent, before.name) != (unit.parent, unit.name):
                self._rows.add_directory(
                    unit.node, unit.parent, unit.name, unit.facts[MTIME] or 0, 0,
                    files=before.files, size=before.size, check=before.check,
                )  # fmt: skip
                self._writer.add_directories(1, _bare(unit.facts))
            self._keep_below(before)

    def _keep_below(self, top: Directory) -> None:
        """A directory that could not be looked into, with all that was below it."""
        waiting = [top]
        while waiting:
            each = waiting.pop()
            self._count("files", each.files)
            self._count("bytes", each.size)
            below = [each for each in self._tree.directories(each.node) if not self._moves.took(each.node)]
            self._count("directories", len(below))
            waiting += below

    def _carry(self, kept: Kept) -> None:
        """The page entries of rows that go on as they were."""
        for count, part in self._pages[kept.segment]().file_parts(kept.row, kept.rows):
            self._writer.add_files(count, part)

    def _directory(self, unit: Unit, part: Part | None, flags: int) -> None:
        assert part is not None
        self._rows.add_directory(unit.node, unit.parent, unit.name, unit.facts[MTIME] or 0, unit.print, flags)
        self._writer.add_directories(1, part)

    def _numbered(self, packed: bytes) -> bytes:
        """Node ids of a run, with new ones where there are none."""
        nodes = np.frombuffer(packed, np.int64)
        fresh = nodes == 0
        count = int(fresh.sum())
        if not count:
            return packed
        nodes = nodes.copy()
        nodes[fresh] = np.arange(self._next_node, self._next_node + count)
        self._next_node += count
        return nodes.tobytes()

    def _new_node(self) -> int:
        self._next_node += 1
        return self._next_node - 1

    def _count(self, name: str, n: int = 1) -> None:
        self._counts[name] = self._counts.get(name, 0) + n
        self._report.count(f"backup.{name}", n)

    def _tell(self, error: DunlinError) -> None:
        if len(self._errors) < MOST_ERRORS:
            self._errors.append(error)
        self._report.event(Event(Level.ERROR, "backup.failed", str(error), {"path": error.where}))

    # ---- the end ----

    def _commit(self, stored: tuple[int, int]) -> Outcome:
        if not (self._base or self._asked.dry) and self._rows.empty:
            assert self._parent is not None
            return self._appear(self._parent.segments, stored)  # to write a segment of nothing takes 20 ms
        info = self._rows.finish()
        segment = Segment.open(info.path, check=False)
        self._writer.finish(None if self._asked.dry else segment)
        self._page_file.close()
        if self._asked.dry:
            tell_differences(self._tree, self._folder / "segment", self._base, self._report)
            return Outcome(self._manifest((), (0, 0)), self._errors, self._counts.get("vanished_files", 0))
        own = Written(self._id, info.directories + info.files, Path(info.path), self._folder / "pages")
        if self._base or self._parent is None:
            return self._appear((self._put_segment(own),), stored)
        return self._appear(self._with(self._parent.segments, own, segment), stored)

    def _with(self, before: tuple[SegmentRef, ...], own: Written, segment: Segment) -> tuple[SegmentRef, ...]:
        """The segments of the tree with the new delta, the last of them joined where they have become many."""
        segments = [*self._tree.segments, segment]
        first = since(segments)
        if first < len(before):
            pages: list[Callable[[], PagesReader]] = [*self._pages, cache(lambda: written_pages(self._area, own))]
            try:
                one = joined(self._area, segments[first:], pages[first:], self._folder, base=not first)
                return (*before[:first], self._put_segment(one))
            except DunlinError as error:
                if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
                    raise
                words = f"parts of the tree could not be put together: {error}; dunlin verify tells more"
                self._report.event(Event(Level.WARN, "backup.apart", words))
        return (*before, self._put_segment(own))

    def _appear(self, segments: tuple[SegmentRef, ...], stored: tuple[int, int]) -> Outcome:
        """The manifest, once everything that it names is on stable storage."""
        self._area.objects.sync()
        manifest = self._manifest(segments, stored)
        self._hold.commit(manifest)
        self._area.objects.sync()
        if stored[1]:
            self._tidy()
        return Outcome(manifest, self._errors, self._counts.get("vanished_files", 0))

    def _tidy(self) -> None:
        """See that pieces of the chunk index do not pile up. The snapshot is there, whatever comes of it."""
        try:
            marks.tidy(self._area)
        except DunlinError as error:
            words = f"the pieces of the chunk index could not be joined: {error}; the next backup tries it again"
            self._report.event(Event(Level.WARN, "backup.apart", words))

    def _manifest(self, segments: tuple[SegmentRef, ...], stored: tuple[int, int]) -> Manifest:
        asked, newest = self._asked, self._parent.time if self._parent is not None else self._floor[0]
        totals = Totals(**{name: n for name, n in self._counts.items() if name in Totals.__dataclass_fields__})
        return Manifest(
            id=self._id,
            time=max(self._clock(), newest + 1000),
            tenant=self._area.tenant,
            share=self._area.share,
            source=asked.source,
            host=asked.host,
            tags=asked.tags,
            parent=self._parent.id if self._parent else "",
            segments=segments,
            next_node=self._next_node,
            selection=asked.selection.fingerprint(),
            content=asked.content,
            complete=not self._errors,
            started=self._started,
            program=asked.program,
            totals=replace(totals, new_bytes=stored[0], stored_bytes=stored[1]),
        )

    def _put_segment(self, made: Written) -> SegmentRef:
        """Store a segment and its pages; the one stays in the cache."""
        key = f"{self._area.root}/tree/{made.id}"
        self._area.objects.put_file(f"{key}.pages", made.pages)
        sealed = self._folder / "sealed"
        seal_file(self._area.codec(key), made.segment, sealed)
        self._area.objects.put_file(key, sealed)
        digest = blake3().update_mmap(made.segment).digest()
        size = made.segment.stat().st_size
        self._area.repository.adopt(key, made.segment)
        return SegmentRef(made.id, made.rows, size, digest)


def _is_empty(source: Store) -> bool:
    return next((name for batch in source.list("") for name, _ in batch), None) is None


def _bare(facts: Facts) -> Part:
    """The page entry of a directory of which only the listing is known."""
    return page_part([(facts, None, "")])
