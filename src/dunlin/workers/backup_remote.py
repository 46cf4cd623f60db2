"""The workers of a backup, wherever they are, as its coordinator sees them: movers at the far end of a queue.

To `saving` they are movers (`savers.Saves`): groups of directories go out, replies come in. Beneath them lies what
carries the units of a sync (`remote.RemotePool`), with all that it knows of workers that die and queues that forget:
a group is one unit, and comes back done or lost. What theory there is stands in `backup_task`.

* *A group that was lost, or of which a worker answered a part, goes out again*, what is left of it, under another
  number. After `TRIES` it is taken apart into single directories, so that one which kills workers takes no others with
  it; a directory that has killed as many is told as failed, and stays as it was in the last snapshot. When that goes
  for more than `GIVEN_UP` of them, it is not the directories, and the run ends.
* *What workers tell of chunks* becomes segments of the index here, as often as in a local run.
* *News is confirmed at once*: nothing of a backup is on record before its manifest is, and a coordinator that dies is
  not continued. The next backup finds what is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from dunlin.backup.chunks import Segment, merge
from dunlin.backup.packing import FLUSHED_PACKS, FLUSHED_SECONDS
from dunlin.backup.repository import Area
from dunlin.backup.save import Saved
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Queue
from dunlin.workers import backup_wire as wire
from dunlin.workers.backup_task import AT_ONCE
from dunlin.workers.backup_wire import Result
from dunlin.workers.doers import Arrival, Doers
from dunlin.workers.remote import Speech, forget
from dunlin.workers.savers import Member, Reply

GROUP = 256
"""Most directories of a unit: to store what is in them makes a pack worth its name, and takes seconds."""

TRIES = 3
"""How often a group fails before it is taken apart, and a single directory before it is given up."""

GIVEN_UP = 10
"""Directories that may be given up."""

SPEECH = Speech(
    wire.pack_setup, lambda packed, announce, known: wire.pack_unit(packed[2]), lambda body: wire.unpack_result(body)
)
"""How a backup and its workers talk (`remote.Sending`). A unit is ("Save", path of its first directory, group)."""


class _Out(NamedTuple):
    """A group that is out, and how often it came back without an answer."""

    group: Sequence[Member]
    tries: int


class RemoteMovers:
    """See `savers.Saves`.

    Args:
        pool: carries the units; closed with this.
        area: where the index of chunks is written.
        clock: monotonic, seconds.
    """

    group = GROUP

    def __init__(self, pool: Doers, area: Area, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool, self._area, self._clock = pool, area, clock
        self._out: dict[int, _Out] = {}
        self._number = 0
        self._index: dict[bool, list[Segment]] = {True: [], False: []}
        self._packs, self._written = 0, clock()
        self._totals = [0, 0]
        self._given_up = 0

    @property
    def size(self) -> int:
        """Slots of all workers."""
        return self._pool.wanted

    def free(self) -> RemoteMovers | None:
        """See `Saves`."""
        return self if self._pool.room > 0 else None

    def give(self, end: Any, group: Sequence[Member]) -> None:
        """See `Saves`."""
        self._send(group, 0)

    def replies(self, seconds: float) -> list[Reply]:
        """See `Saves`."""
        found: list[Reply] = []
        for arrival in self._pool.poll(seconds):
            found += self._arrived(arrival)
        self._pool.settled()
        if self._packs >= FLUSHED_PACKS or self._clock() - self._written >= FLUSHED_SECONDS:
            self._write()
        return found

    def finish(self) -> tuple[int, int]:
        """See `Saves`. Where units are out, workers are told to stop, and what they have stored by then counts."""
        if self._out:
            self._pool.tell("cancel")
            self._out.clear()
            while self._pool.busy:
                for arrival in self._pool.poll(0.2):
                    if arrival.kind in ("done", "part"):
                        self._stored(arrival.body[0])
                self._pool.settled()
        self._write()
        return self._totals[0], self._totals[1]

    def close(self) -> None:
        """See `Saves`."""
        with suppress(DunlinError):  # who ends in the middle leaves an index for the next one, if that can be
            self._write()
        self._pool.close()

    # ---- what comes ----

    def _arrived(self, arrival: Arrival) -> list[Reply]:
        if arrival.kind == "done":
            return self._done(arrival.unit, arrival.body[0])
        if arrival.kind == "part":
            self._stored(arrival.body[0])
            return self._mine(arrival.unit, arrival.body[0])
        if arrival.kind == "lost":
            return self._failed(arrival.unit, _gave_up("the workers that had it were lost"))
        if arrival.kind == "fault":
            return self._failed(arrival.unit, _gave_up(f"a worker failed: {arrival.body[0]}"))
        return []

    def _done(self, unit: int, result: Result) -> list[Reply]:
        self._stored(result)
        self._pool.learn(result.seconds)
        if result.error is not None:
            return self._failed(unit, result.error)
        found = self._mine(unit, result)
        if not found:
            return self._failed(unit, _gave_up("a worker told nothing of it"))
        sent, told = self._out.pop(unit), {number for number, *_ in found}
        left = [member for member in sent.group if member[0] not in told]
        if left:
            self._send(left, sent.tries)
        return found

    def _mine(self, unit: int, result: Result) -> list[Reply]:
        """The replies that a unit was asked for."""
        mine = {member[0] for member in self._out[unit].group} if unit in self._out else set()
        return [reply for reply in result.replies if reply[0] in mine]

    def _failed(self, unit: int, error: DunlinError) -> list[Reply]:
        sent = self._out.pop(unit, None)
        if sent is None:
            return []
        if error.kind in AT_ONCE:
            raise error
        if sent.tries + 1 < TRIES:
            self._send(sent.group, sent.tries + 1)
        elif len(sent.group) > 1:
            for member in sent.group:
                self._send([member], 0)
        elif error.kind is not ErrorKind.INTERNAL or self._given_up >= GIVEN_UP:
            raise error
        else:
            self._given_up += 1
            number, path, *_ = sent.group[0]
            gone = DunlinError(error.operation, path, error.kind, error.reason)
            return [(number, Saved(error=gone), None)]
        return []

    def _send(self, group: Sequence[Member], tries: int) -> None:
        self._number += 1
        self._out[self._number] = _Out(group, tries)
        self._pool.submit(self._number, ("Save", group[0][1], group))

    # ---- the index ----

    def _stored(self, result: Result) -> None:
        for small, segment in zip((True, False), result.places, strict=True):
            if segment is not None:
                self._index[small].append(segment)
        self._packs += result.packs
        self._totals = [self._totals[0] + result.new_bytes, self._totals[1] + result.stored_bytes]

    def _write(self) -> None:
        if any(self._index.values()):
            self._area.objects.sync()  # an index must not outlive a power cut that its packs did not: see `packing`
        for small, segments in self._index.items():
            if segments:
                self._area.put_chunk_segment(merge(segments), small)
                segments.clear()
        self._packs, self._written = 0, self._clock()


def take_over(queue: Queue, repository: str, tenant: str, share: str, token: str) -> Callable[[], None]:
    """Forget what a backup of this share left in the queue that was killed; returns what is called at the end.

    `token`: of the run that begins. To be called by who holds the share's lease: so whatever other run stands there is
    over. Raises what the queue raises.
    """
    name = f"backup/{repository}/{tenant}/{share}"
    before = queue.read(name)
    if before is not None:
        forget(queue, before.decode("ascii", "replace"))
    queue.write(name, token.encode())

    def leave() -> None:
        with suppress(DunlinError):
            queue.write(name, None)

    return leave


def _gave_up(reason: str) -> DunlinError:
    return DunlinError("back up", "", ErrorKind.INTERNAL, reason)
