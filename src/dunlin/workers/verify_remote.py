"""The packs of a verification, looked at by workers wherever they are (`backup.verify.Elsewhere`).

Some packs are a unit: as many as are read in a few seconds. A unit that is lost, or of which a worker told a part, goes
out again, what is left of it; one that fails `TRIES` times ends the verification with what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from dunlin.backup.objects import Found
from dunlin.backup.verify import Index, Looked
from dunlin.errors import DunlinError, ErrorKind
from dunlin.workers import verify_wire as wire
from dunlin.workers.doers import Arrival, Doers
from dunlin.workers.remote import Speech
from dunlin.workers.verify_wire import Pack, Packs, Result

MOST, BYTES, CHUNKS = 64, 256 << 20, 100_000
"""Packs of a unit at most, bytes of them that are read, and chunks that the index names in them."""

TRIES = 3

POLL = 0.5
"""Seconds that are waited for news."""

SPEECH = Speech(wire.pack_setup, lambda packed, announce, known: wire.pack_unit(packed[2]), wire.unpack_result)
"""How a verification and its workers talk (`remote.Sending`). A unit is ("Look", share, packs)."""


class _Out(NamedTuple):
    """A unit that is out, and how often it came back without an answer."""

    packs: list[Pack]
    tries: int


class RemoteLooks:
    """Looks at packs through workers.

    Args:
        pool: carries the units; closed with this.
        look: called again and again; what it raises ends the verification.
    """

    def __init__(self, pool: Doers, look: Callable[[], None]) -> None:
        self._pool, self._look = pool, look
        self._out: dict[int, _Out] = {}
        self._number = 0

    def __call__(self, index: Index, read: AbstractSet[bytes]) -> Iterator[Looked]:
        """See `Elsewhere`."""
        groups = self._groups(index, read)
        more: list[Pack] | None = next(groups, None)
        while more or self._out:
            self._look()
            while more and self._pool.room > 0:
                self._send(index, more, 0)
                more = next(groups, None)
            for arrival in self._pool.poll(POLL):
                yield from self._arrived(index, arrival)
            self._pool.settled()

    def close(self) -> None:
        """Forget what is out."""
        self._pool.close()

    def _groups(self, index: Index, read: AbstractSet[bytes]) -> Iterator[list[Pack]]:
        group: list[Pack] = []
        size = chunks = 0
        for name, found in index.packs.items():
            mine = len(index.rows(name))
            if group and (len(group) >= MOST or size >= BYTES or chunks + mine > CHUNKS):
                yield group
                group, size, chunks = [], 0, 0
            group.append(Pack(name, found, name in read))
            size, chunks = size + (found.size if name in read else 0), chunks + mine
        if group:
            yield group

    def _send(self, index: Index, packs: list[Pack], tries: int) -> None:
        self._number += 1
        self._out[self._number] = _Out(packs, tries)
        known = index.known.part({pack.name for pack in packs}, inside=True)
        share = index.area.share
        self._pool.submit(self._number, ("Look", share, Packs(share, index.small, packs, known)))

    def _arrived(self, index: Index, arrival: Arrival) -> Iterable[Looked]:
        if arrival.kind not in ("done", "lost", "fault") or arrival.unit not in self._out:
            return ()
        sent = self._out.pop(arrival.unit)
        if arrival.kind == "done":
            return self._done(index, sent, arrival.body[0])
        lost = arrival.kind == "lost"
        reason = "the workers that had it were lost" if lost else f"a worker failed: {arrival.body[0]}"
        self._again(index, sent.packs, sent.tries, DunlinError("verify", "", ErrorKind.INTERNAL, reason))
        return ()

    def _done(self, index: Index, sent: _Out, result: Result) -> list[Looked]:
        self._pool.learn(result.seconds)
        mine: dict[bytes, Found] = {pack.name: pack.found for pack in sent.packs}
        looked: list[Looked] = []
        for seen in result.seen:
            found = mine.pop(seen.name, None)
            if found is not None:
                index.bad[index.rows(seen.name)[seen.bad]] = True
                looked.append((seen.name, found, seen.reasons, seen.read))
        left = [pack for pack in sent.packs if pack.name in mine]
        if left:
            error = result.error or DunlinError("verify", "", ErrorKind.INTERNAL, "a worker told nothing of it")
            self._again(index, left, -1 if looked else sent.tries, error)
        return looked

    def _again(self, index: Index, packs: list[Pack], tries: int, error: DunlinError) -> None:
        if tries + 1 >= TRIES:
            raise error
        self._send(index, packs, tries + 1)
