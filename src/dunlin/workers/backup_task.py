"""A worker's part in a backup: groups of directories in, what became of each out, content into packs of its own.

Theory. A backup over a queue is the backup of one machine (`saving`) whose movers may die, sleep and go. The process
that was asked for it, the coordinator, alone holds the share's lease, gives out node ids, writes the tree, the index
of chunks and the manifest. A worker opens source, repository and the last snapshot's tree by itself, lists, compares,
reads, stores packs, and answers. What must hold: *a manifest names nothing that is not stored, and stays so*.

* *A unit is acknowledged when its content is durable.* Each slot has packs of its own in the making. At the end of a
  unit they are stored, full or not, and flushed to the disk where the coordinator's own flush does not reach them;
  then the unit is answered. So an answer that counts is one of content that is there, and a worker that dies loses
  the units it had: they are done again elsewhere, from the beginning. To be worth a pack, a unit is a group of many
  directories; to be no more than seconds, it ends after `LONG`, and what is left of it is handed out again.
* *An answer names the place of every chunk that it counts on*, unless an index names it that was stored before the
  run. That is: of the chunks that this unit stored, and of those that this process had stored for earlier units of the
  run. Those are durable, but their units may have been lost meanwhile, and with them what they told. (That is the trap:
  unit A stores a chunk, its lease runs out, unit B finds the chunk in the process's memory and refers to it. If B did
  not say where it lies, no index would.) The coordinator collects these rows and writes them as segments of the index:
  as few of them as a local run would, before the manifest, and every minute, so that an interrupted backup is found.
* *Zombies do no harm.* A pack is written once under a random name, so nobody's bytes come in anybody's way, and no
  fence stands before them. What a zombie answers the queue refuses; its packs are in no index, and a prune takes them
  away when the backups that were going on are over. Until then they are safe: they are younger than the lease.
* *Prune.* It removes nothing that a live lease may count on, and all workers count on the coordinator's: they join when
  it is held, read the marks then, and take marked packs for absent. A mark that came after the lease does not ripen
  before the run is over. A coordinator that lost its lease looks before it commits whether every chunk of its snapshot
  is there (`backup.hold`), those of its workers among them.
* *A source that goes away is no source without files.* A share that is unmounted lists as empty here, however well the
  coordinator sees it. So the root is looked at when the run is joined, and at the end of each unit once more: if it is
  another one, the unit failed.

What is given up for it: two workers that meet the same new chunk in the same run both store it, and so may two slots of
one process at the same moment. The index takes one of them; a prune takes the other when it is worth it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from dunlin.backup import manifest
from dunlin.backup.chunks import ChunkIndex, Segment, build
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Area, Repository
from dunlin.backup.save import Saved, Saver
from dunlin.backup.snapshot import open_tree
from dunlin.backup.tree.view import Tree
from dunlin.backup.words import ChunkId, Location, Stored
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DEV, IDENT
from dunlin.pace.bucket import Paces
from dunlin.pace.machine import boot_id
from dunlin.queue.base import Queue
from dunlin.stores.base import Store
from dunlin.stores.open import is_far, local_path, open_store, shown_place
from dunlin.workers import backup_wire as wire
from dunlin.workers import packing
from dunlin.workers.backup_wire import BackupSetup, Result
from dunlin.workers.fence import Held, bound
from dunlin.workers.part import Done, Part, Resolve, Vaults, join, open_vault, resolved, root_of
from dunlin.workers.savers import BUFFERS, ROWS, Asked, Maker, Member, Reply, full

LONG = 5.0
"""Seconds after which a unit begins no other directory."""

NOTED = 50_000
"""Places of chunks that are told before their unit is over: 250 bytes each while they wait."""

AT_ONCE = frozenset({ErrorKind.NO_SPACE, ErrorKind.READ_ONLY})
"""Kinds of errors that no other worker would be spared."""


def take_backup(queue: Queue, token: str, slots: int, resolve: Resolve, vaults: Vaults | None) -> Part[SaveWork] | None:
    """Make ready for units of a backup; None when the board does not know it. See `part.take_part`.

    `vaults`: opens repositories; None: this worker has none. Raises `DunlinError` where this worker cannot take part.
    """

    def begin(setup: BackupSetup, bucket: Paces) -> SaveWork:
        return open_work(setup, slots, resolve, vaults, bucket)

    return join(queue, token, wire.unpack_setup, begin)


def open_work(
    setup: BackupSetup, slots: int, resolve: Resolve, vaults: Vaults | None, bucket: Paces
) -> SaveWork:
    """Open source, repository and tree here. Raises where that fails, or they are not what the coordinator sees."""
    url, far = resolved(setup.source, "source", resolve)
    root = root_of(url, setup.source)

    def check(seen: object = None) -> None:
        if (seen or root_of(url, setup.source._replace(marks=()))) != root:
            reason = "another directory stands in its place now"
            raise DunlinError("back up", shown_place(url), ErrorKind.NOT_FOUND, reason, "is it mounted?")

    opened = open_vault(vaults, setup.repository, setup.id, setup.idle, setup.total)
    try:
        area = opened.area(setup.tenant, setup.share)
        asked = Asked(
            url, selection=setup.selection, content=setup.content, force=setup.force, xattrs=setup.xattrs,
            attempts=setup.attempts,
        )  # fmt: skip
        tree = open_tree(area, manifest.from_bytes(setup.parent, setup.share)) if setup.parent else Tree()

        def open_source() -> Store:
            store = open_store(url, far=far, read_only=True)
            try:
                if root is not None:  # which the store holds on to from its first look
                    facts = store.stat("").facts
                    check((facts[DEV], facts[IDENT]))
            except DunlinError:
                store.close()
                raise
            return store

        make = Maker(asked, area, tree, open_source, lambda: opened, bucket)
        make.begin(False, BUFFERS)
    except DunlinError:
        opened.close()
        raise
    return SaveWork(make, area, opened, BUFFERS // slots, disk_of(area) == (setup.disk or None), url, check)


def disk_of(area: Area) -> str | None:
    """The kernel, and the file system in it, whose flush makes what is put into a repository durable; None: no such."""
    path = None if is_far(area.objects.url) else local_path(area.objects.url)
    boot = boot_id()
    return f"{boot} {os.stat(path).st_dev}" if path is not None and boot else None


class Known:
    """The chunks that this process stored for units that are over, and where. Safe to use from many threads."""

    def __init__(self) -> None:
        self._index = ChunkIndex()
        self._lock = threading.Lock()

    def find(self, chunk: ChunkId) -> Location | None:
        """Where one is, or None."""
        with self._lock:
            return self._index.find(chunk)

    def add(self, stored: Iterable[tuple[bytes, Sequence[Stored]]]) -> None:
        """Take in what packs hold that are durable."""
        with self._lock:
            for pack, places in stored:
                self._index.add(pack, places)


class Noted:
    """The index that a slot works with (`packing.Places`): it notes which places its unit counts on.

    Args:
        stored: the repository's own, as it was when the run began; what it names needs no note.
    """

    def __init__(self, stored: ChunkIndex, known: Known) -> None:
        self._stored, self._known = stored, known
        self._rows: dict[ChunkId, Location] = {}
        self._fresh: list[tuple[bytes, Sequence[Stored]]] = []

    @property
    def packs(self) -> int:
        """How many were stored that no answer has told of."""
        return len(self._fresh)

    @property
    def rows(self) -> int:
        """How many places there are to tell."""
        return len(self._rows)

    def find(self, chunk: ChunkId) -> Location | None:
        """See `ChunkIndex`."""
        place = self._stored.find(chunk) or self._rows.get(chunk)
        if place is None:
            place = self._known.find(chunk)
            if place is not None:
                self._rows[chunk] = place
        return place

    def add(self, pack: bytes, stored: Iterable[Stored]) -> None:
        """See `ChunkIndex`."""
        places = list(stored)
        self._fresh.append((pack, places))
        for chunk, offset, length, inside, _ in places:
            self._rows[chunk] = Location(pack, offset, length, inside)

    def take(self) -> None:
        """Nothing: the index is written by the coordinator."""

    def settle(self) -> Segment | None:
        """The unit is over and durable: what it counts on, for its answer, and from here on for other units."""
        self._known.add(self._fresh)
        rows, self._rows, self._fresh = self._rows, {}, []
        return build(rows.items()) if rows else None


class Bench:
    """What a slot works with: packs in the making, and a saver that fills them. For one thread at a time.

    Attributes:
        told: of `bytes`, what answers have told.
    """

    def __init__(
        self, make: Maker, area: Area, stored: Sequence[ChunkIndex], known: Sequence[Known], room: int
    ) -> None:
        self.notes = [Noted(*each) for each in zip(stored, known, strict=True)]
        self.shelves = [
            Shelf(area, small, notes, full(small, room), pool=make.pool)
            for small, notes in zip((True, False), self.notes, strict=True)
        ]
        self.saver: Saver = make.saver(self.shelves)
        self.told = (0, 0)

    @property
    def bytes(self) -> tuple[int, int]:
        """Of new content, and of what was stored for it, ever."""
        return sum(each.new_bytes for each in self.shelves), sum(each.stored_bytes for each in self.shelves)

    def give_up(self) -> None:
        """Remove what no answer has told of; nothing more is to be done here."""
        for shelf in self.shelves:
            shelf.give_up()


class SaveWork:
    """The units of a backup (`part.Work`).

    Args:
        make: begun. area: of the share; opened: the repository that it is of, closed with this.
        room: bytes for packs in the making, of each slot.
        near: the coordinator flushes what is stored here.
        source: URL, for people. check: raises where the source is not what it was any more.
    """

    def __init__(
        self, make: Maker, area: Area, opened: Repository, room: int, near: bool, source: str,
        check: Callable[[], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._make, self._area, self._opened = make, area, opened
        self._room, self._near, self._source, self._clock = room, near, source, clock
        self._check = check
        self._stored = [ChunkIndex(each) for each in make.segments]
        self._known = [Known(), Known()]
        self._idle: list[Bench] = []
        self._lock = threading.Lock()

    @property
    def title(self) -> str:
        """See `Work`."""
        return f"{self._source} -> {shown_place(self._opened.objects.url)}"

    def do(self, held: Held, tell: Callable[[bytes], object]) -> Done:
        """See `Work`."""
        begun = self._clock()
        group = wire.unpack_unit(held.lease.payload)
        with bound(held):
            result, whole = self._group(held, group, begun, tell)
        seconds = self._clock() - begun
        trouble = result.error if result.error is not None and result.error.kind not in AT_ONCE else None
        return Done(wire.pack_result(result._replace(seconds=seconds)), seconds, whole, trouble)

    def cancel(self) -> None:
        """See `Work`. The limit was told to stop, and is asked for every block."""

    def close(self) -> None:
        """See `Work`."""
        self._make.close()
        self._opened.close()

    def _group(
        self, held: Held, group: Sequence[Member], begun: float, tell: Callable[[bytes], object]
    ) -> tuple[Result, bool]:
        """The answer to a unit, and whether it was not broken off."""
        with self._lock:
            bench = self._idle.pop() if self._idle else None
        bench = bench or Bench(self._make, self._area, self._stored, self._known, self._room)
        whole, rows = True, 0
        replies: list[Reply] = []
        try:
            try:
                for number, path, node, facts, print_ in group:
                    emit = partial(self._tell_part, tell, bench, number)
                    saved, part = self._make.do(bench.saver, path, node, facts, print_, emit)
                    replies.append((number, saved, part))
                    rows += saved.rows
                    if rows >= ROWS or self._clock() - begun >= LONG:
                        break
            except DunlinError as error:
                if error.kind is not ErrorKind.INTERRUPTED or held.lost:
                    raise
                whole = False  # what is stored is to be kept all the same
            self._check()
            result = self._settled(bench, replies)
        except DunlinError as error:
            bench.give_up()
            return Result([], error=error), True
        except Exception:  # the lease was lost when a part was to be told
            bench.give_up()
            raise
        with self._lock:
            self._idle.append(bench)
        return result, whole

    def _tell_part(self, tell: Callable[[bytes], object], bench: Bench, number: int, part: Saved) -> None:
        """Send a part of a huge directory, which counts when the directory does; now and then what is stored, too."""
        replies: list[Reply] = [(number, part, None)]
        many = sum(notes.rows for notes in bench.notes) >= NOTED
        result = self._settled(bench, replies) if many else Result(replies)
        for piece in packing.pieces(wire.pack_result(result)):
            tell(piece)

    def _settled(self, bench: Bench, replies: list[Reply]) -> Result:
        """Make durable what the unit counts on, and tell where it lies."""
        for shelf in bench.shelves:
            shelf.finish()
        packs = sum(notes.packs for notes in bench.notes)
        if packs and not self._near:
            self._area.objects.sync()
        bundles, large = (notes.settle() for notes in bench.notes)
        new, stored = (after - old for after, old in zip(bench.bytes, bench.told, strict=True))
        bench.told = bench.bytes
        return Result(replies, (bundles, large), new, stored, packs)
