"""The movers of a backup: each makes itself a saver, takes groups of directories, sends back what became of them.

They are processes where the source is local (Python computes in one thread at a time), threads where it is far away and
waiting is what takes the time; threads share their packs, processes have their own. Both speak through the same
pipes. A mover that dies ends the run: what was stored is in the index, and the next backup finds it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from typing import Any, NamedTuple, Protocol

from dunlin.backup import marks
from dunlin.backup.chunker import Chunker
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.content import Reader
from dunlin.backup.packing import Shelf
from dunlin.backup.pages import Part
from dunlin.backup.repository import Area, Repository
from dunlin.backup.rows import page_part
from dunlin.backup.save import Emit, Saved, Saver, fingerprint
from dunlin.backup.tree.view import Tree
from dunlin.backup.words import BUNDLE, PACK
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Selection
from dunlin.model import Facts
from dunlin.pace.bucket import Paces
from dunlin.stores.base import Store

BUFFERS = 64 << 20
"""Bytes of packs in the making, of all movers together."""

LEAST = 4 << 20
"""However many movers there are, a bundle is filled to this, and a pack to twice as much."""

FAR = 16
"""Movers, and small files under way in all of them, where the source is far away."""

COMPRESS = 4
"""Most threads of a mover that compress chunks of large files; the one that reads keeps about four of them busy."""

GROUP = 32
"""Most directories of a group."""

ROWS = 50_000
"""Rows, of all directories of a group, after which what is known is told before the rest of the group is done."""

AHEAD = 3
"""Groups of units that wait at a mover."""

SENT = 32 << 10
"""Bytes that may lie in a pipe. More would block who sends them, and a mover that answers at length waits for him to
read: both would wait for ever. A mover that has nothing to do reads, so it may get one group of any size."""


class Asked(NamedTuple):
    """What a backup is asked for.

    Attributes:
        source: canonical URL, without credentials, for the manifest; host: name of this machine.
        tags: see `Manifest`.
        selection: what takes part.
        content: files are read; else only the tree is made.
        force: everything is read, changed or not.
        xattrs: extended attributes and access control lists are kept.
        attempts: times that a file is read which changes meanwhile.
        movers: processes or threads; 0: as many as there are processors, or `FAR` for a source far away.
        program: version of dunlin.
        dry: nothing is written: what the run finds is told, and that is all (`content` is False then).
        accept_source: it may be empty although the last snapshot is not.
    """

    source: str
    host: str = ""
    tags: tuple[str, ...] = ()
    selection: Selection = Selection()
    content: bool = True
    force: bool = False
    xattrs: bool = True
    attempts: int = 3
    movers: int = 0
    program: str = ""
    dry: bool = False
    accept_source: bool = False


Member = tuple[int, str, int, Facts, int]
"""A unit on its way: its number, its path, its node in the last snapshot (0: none), its facts, its fingerprint."""

Reply = tuple[int, Saved, Part | None]
"""The number of a unit, what became of it (or a part of that), and the page entry of its directory where needed."""


class Told(NamedTuple):
    """What a mover says of a group; `over`: there is no more of it to come."""

    replies: list[Reply]
    over: bool


class Saves(Protocol):
    """Takes groups of directories and tells what became of each: movers here, or workers anywhere.

    Attributes:
        group: most directories of a group.
    """

    group: int

    @property
    def size(self) -> int:
        """How many of them there are."""
        ...

    def free(self) -> Any:
        """Who takes another group; None: nobody does."""
        ...

    def give(self, end: Any, group: list[Member]) -> None:
        """Hand a group to who is free."""
        ...

    def replies(self, seconds: float) -> list[Reply]:
        """What has come back, after waiting for it so long. Raises what ends the run."""
        ...

    def finish(self) -> tuple[int, int]:
        """Have all that was stored in the index; bytes of new content, and of what was stored. What is unfinished is
        dropped."""
        ...

    def close(self) -> None:
        """End what is still there."""
        ...


class Maker:
    """Makes the saver of a mover; in a process of its own, or shared by threads.

    Args: see `back_up`.
    """

    def __init__(
        self, asked: Asked, area: Area, tree: Tree, open_source: Callable[[], Store],
        open_repository: Callable[[], Repository], bucket: Paces | None,
    ) -> None:  # fmt: skip
        self._asked, self._area, self._tree = asked, area, tree
        self._open_source, self._open_repository, self._bucket = open_source, open_repository, bucket
        without = marks.absent(area)
        self.segments = tuple(marks.segments(area, small, without) for small in (True, False))
        self._source: Store | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._pools: list[ThreadPoolExecutor] = []
        self.pool: ThreadPoolExecutor | None = None
        self.shelves: tuple[Shelf, ...] = ()
        self.print = fingerprint(area.keys.seed)

    def begin(self, own: bool, room: int) -> None:
        """Open what a process works with; `own`: this is a process of its own. `room`: bytes for packs in memory."""
        repository = self._open_repository() if own else self._area.repository
        area = repository.area(self._area.tenant, self._area.share)
        self._source = self._open_source()
        if self._source.caps.far:
            self._readers = self._threads(self._asked.movers or FAR)
        pool = self.pool = self._threads(min(os.cpu_count() or 1, COMPRESS))
        # Small files: a mover computes as much for each as it compresses, and the other movers use the processors.
        # A mover alone would wait while its pack is on its way; of many threads others go on.
        sender = self._threads(1) if own and area.objects.far else None
        room = room // 2 if sender is not None else room
        self.shelves = tuple(
            Shelf(area, small, ChunkIndex(segments), full(small, room), pool=each, sender=sender)
            for small, segments, each in zip((True, False), self.segments, (None if own else pool, pool), strict=True)
        )

    def _threads(self, most: int) -> ThreadPoolExecutor:
        self._pools.append(ThreadPoolExecutor(most, "backup"))
        return self._pools[-1]

    def saver(self, shelves: Sequence[Shelf] = ()) -> Saver:
        """A saver for one thread, which stores on the shelves of the process, or on its own."""
        assert self._source is not None
        asked, settings = self._asked, self._area.repository.settings
        small, large = shelves or self.shelves
        reader = Reader(
            self._source, small, large, settings.small, Chunker(self._area.keys.seed, settings.chunks),
            xattrs=asked.xattrs and asked.content, attempts=asked.attempts,
            advance=self._bucket.take if self._bucket is not None else lambda n: None, pool=self._readers,
        )  # fmt: skip
        return Saver(
            self._source, self._tree, reader, self._area.keys.seed, _matcher(asked.selection), asked.selection.takes,
            content=asked.content, force=asked.force, folder=self._folder(),
        )  # fmt: skip

    def _folder(self) -> str | None:
        """Where temporary files go that are too large for a directory which may lie in memory; see `scratch`."""
        beside = self._area.repository.beside
        return str(beside) if beside is not None and os.access(beside, os.W_OK | os.X_OK) else None

    def do(
        self, saver: Saver, path: str, before: int, facts: Facts, print_: int, emit: Emit
    ) -> tuple[Saved, Part | None]:
        """One unit. `emit`: takes parts of it."""
        saved = saver.directory(path, before, emit, moved=not print_)
        if saved.error is not None:
            return saved, None
        if saved.same:
            known = self._tree.directory(before)
            if print_ and known is not None and known.fingerprint == print_:
                return saved, None
        try:
            return saved, saver.directory_part(path, facts)
        except DunlinError as error:
            if error.fatal:
                raise
            if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.VANISHED):
                return Saved(error=error), None  # it is gone by now
            saved.unread = error
            return saved, page_part([(facts, None, "")])

    def end(self) -> tuple[int, int]:
        """Store what is left; bytes of new content, and of what was stored for it."""
        for shelf in self.shelves:
            shelf.finish()
        for pool in self._pools:
            pool.shutdown(wait=False)
        return sum(shelf.new_bytes for shelf in self.shelves), sum(shelf.stored_bytes for shelf in self.shelves)

    def give_up(self) -> None:
        """The run ends in the middle: what is stored is to be found by the next one."""
        for shelf in self.shelves:
            shelf.end()

    def close(self) -> None:
        """Give back what the source holds; threads are over."""
        for pool in self._pools:
            pool.shutdown(wait=False)
        if self._source is not None:
            self._source.close()


class _Line:
    """What waits at a mover: the sizes of the groups that were sent and not answered, and groups that are not sent."""

    def __init__(self) -> None:
        self.sent: deque[int] = deque()
        self.held: deque[list[Member]] = deque()

    @property
    def count(self) -> int:
        return len(self.sent) + len(self.held)


class Movers:
    """The movers of a backup, as processes or threads, each at the end of a pipe."""

    def __init__(self, make: Maker, size: int, *, threads: bool) -> None:
        self.size, self.group = size, GROUP
        self._threads, self._make = threads, make
        self._ends: dict[connection.Connection, _Line] = {}
        self._all: list[Any] = []
        if threads:
            make.begin(False, BUFFERS)
        context = multiprocessing.get_context("fork")
        room = BUFFERS // size
        for _ in range(size):
            ours, theirs = multiprocessing.Pipe()
            if threads:
                mover: Any = threading.Thread(target=_serve, args=(theirs, make, 0), daemon=True)
                mover.start()
            else:
                mover = context.Process(target=_serve, args=(theirs, make, room, [ours, *self._ends]), daemon=True)
                mover.start()
                theirs.close()
            self._ends[ours] = _Line()
            self._all.append(mover)

    def free(self) -> connection.Connection | None:
        """The end of a mover that takes another group, the idlest first."""
        end = min(self._ends, key=lambda each: self._ends[each].count)
        return end if self._ends[end].count < AHEAD else None

    def give(self, end: connection.Connection, group: list[Member]) -> None:
        """Hand a group of units to a mover; it is sent once there is room."""
        self._ends[end].held.append(group)
        self._push(end)

    def _push(self, end: connection.Connection) -> None:
        sent, held = self._ends[end].sent, self._ends[end].held
        while held:
            size = sum(150 + len(path.encode("utf-8", "surrogatepass")) for _, path, *_ in held[0])
            if sent and sum(sent) + size > SENT:
                return
            sent.append(size)
            end.send(held.popleft())

    def replies(self, seconds: float) -> list[Reply]:
        """What has come back, after waiting for it so long. Raises what ended a mover."""
        found: list[Reply] = []
        for end in connection.wait(list(self._ends), seconds):
            assert isinstance(end, connection.Connection)
            told: Told = self._received(end)
            found += told.replies
            if told.over:
                self._ends[end].sent.popleft()
                self._push(end)
        return found

    def finish(self) -> tuple[int, int]:
        """Let them store what they hold; bytes of new content, and of what was stored. Unfinished units are dropped."""
        totals = [0, 0]
        for end in self._ends:
            end.send(None)
        for end in self._ends:
            answer = self._received(end)
            while isinstance(answer, Told):
                answer = self._received(end)
            totals = [a + b for a, b in zip(totals, answer, strict=True)]
        if self._threads:
            totals = list(self._make.end())
        return totals[0], totals[1]

    def close(self) -> None:
        """End what is still there."""
        for end in self._ends:
            end.close()
        for mover in self._all:
            if not self._threads:
                mover.join(5)
                if mover.is_alive():
                    mover.kill()
            mover.join(5)
        if self._threads:
            self._make.give_up()
            self._make.close()

    def _received(self, end: connection.Connection) -> Any:
        try:
            answer = end.recv()
        except (EOFError, ConnectionResetError) as error:
            reason = "a mover died; what it had stored is kept, and the next backup finds it"
            raise DunlinError("back up", "", ErrorKind.INTERNAL, reason) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer


def full(small: bool, room: int) -> int:
    """Bytes of a bundle or a pack of which one each is in the making, where there is so much room for both."""
    return max(LEAST, min(BUNDLE, room // 3)) if small else max(2 * LEAST, min(PACK, room * 2 // 3))


def _serve(end: connection.Connection, make: Maker, room: int, others: Sequence[connection.Connection] = ()) -> None:
    """A mover: groups of units in, what became of them out, until there are no more. `room` 0: it is a thread."""
    try:
        for other in others:
            other.close()  # or the parent's death would go unnoticed
        if room:
            gc.freeze()  # to look for cycles in what was inherited would copy all of its pages
            make.begin(True, room)
        saver = make.saver()
        while (group := end.recv()) is not None:
            end.send(Told(_done(make, saver, group, lambda replies: end.send(Told(replies, False))), True))
        end.send(make.end() if room else (0, 0))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        if room:
            make.give_up()  # the parent is gone, or wants no more
    except DunlinError as error:
        _say(end, error)
        if room:
            make.give_up()
    except Exception as error:
        fault = DunlinError("back up", "", ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
        _say(end, fault)
        raise


def _done(make: Maker, saver: Saver, group: Sequence[Member], tell: Callable[[list[Reply]], object]) -> list[Reply]:
    """What became of the units of a group, as far as it came: where a run is stopped, what is stored is to be kept.

    Where that is long, `tell` takes the beginning of it, and what is returned is the rest.
    """
    found: list[Reply] = []
    rows = 0
    try:
        for number, path, before, facts, print_ in group:
            saved, part = make.do(saver, path, before, facts, print_, partial(_pass_on, tell, number))
            found.append((number, saved, part))
            rows += saved.rows
            if rows >= ROWS:
                tell(found)
                found, rows = [], 0
    except DunlinError as error:
        if error.kind is not ErrorKind.INTERRUPTED:
            raise
    return found


def _pass_on(tell: Callable[[list[Reply]], object], number: int, part: Saved) -> None:
    tell([(number, part, None)])


def _matcher(selection: Selection) -> Callable[[str], Callable[[str, bool], bool]]:
    """For a directory, which names in it take part; below the deepest level none does."""
    if selection.max_depth is None:
        return selection.matcher

    def matcher(directory: str) -> Callable[[str, bool], bool]:
        depth = directory.count("/") + 2 if directory else 1
        return selection.matcher(directory) if selection.depth_ok(depth) else lambda name, is_directory: False

    return matcher


def _say(end: connection.Connection, error: DunlinError) -> None:
    with suppress(OSError):
        end.send(error)
