"""Makes anew what can be made from something else: the chunk index from the packs. (Trees: `mend`.)

Every pack tells at its end what is in it; where that is damaged, its frames are walked from the beginning, as far as
they open, and the members in them name themselves. What was marked by a prune stays marked: an index may name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from dunlin.backup import chunks, marks
from dunlin.backup.frames import Codec, frame_length
from dunlin.backup.lease import PRUNE, Lease
from dunlin.backup.mend import Fate
from dunlin.backup.objects import Found
from dunlin.backup.pack import BLOCK, padding, read_contents
from dunlin.backup.pieces import MOST_ROWS
from dunlin.backup.repository import Area, Repository
from dunlin.backup.stages import Stages
from dunlin.backup.words import ChunkId, Location, Stored
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import passed

GATHERED = 1 << 17
"""Chunks that are gathered one by one, some 350 bytes each, before they become columns of 28."""


@dataclass(slots=True)
class Rebuilt:
    """What a new chunk index knows.

    `damaged`: packs whose table of contents could not be read, and why. `trees`: what became of damaged trees.
    """

    packs: int = 0
    chunks: int = 0
    damaged: list[DunlinError] = field(default_factory=list)
    trees: list[Fate] = field(default_factory=list)


def chunk_index(
    repository: Repository,
    tenant: str,
    who: str,
    *,
    clock: Callable[[], float] = passed,
    stages: Stages | None = None,
) -> Rebuilt:
    """Write the chunk index of a tenant anew from its packs alone. Backups may go on meanwhile.

    Args:
        who: shown to others who want to prune, which has to wait: host and process.
        clock: seconds; see `Lease`.
        stages: told of packs that were read.

    Raises LOCKED while a prune is going on, BUSY when this process stood still for too long, and what reading a
    store raises. An append-only repository keeps the old pieces of the index, too.
    """
    lease = Lease(repository.objects, tenant, PRUNE, who, clock)
    try:
        lease.pin("")
        done, stages = Rebuilt(), stages or Stages("rebuild the chunk index")
        areas = [repository.area(tenant, name) for name in repository.shares(tenant)] or [
            repository.area(tenant, "none")
        ]
        for area in areas:
            _kind(area, True, done, lease, stages)
        _kind(areas[0], False, done, lease, stages)
        return done
    finally:
        with suppress(DunlinError):
            lease.release()


def _kind(area: Area, small: bool, done: Rebuilt, lease: Lease, stages: Stages) -> None:
    # First the segments, then the packs: what a backup names in a segment that is there now is listed, too.
    old = area.objects.list(area.chunk_directory(small))
    rows: list[tuple[ChunkId, Location]] = []
    parts: list[chunks.Segment] = []
    packs = area.packs(small)
    stages.begin(f"reading what {'bundles' if small else 'packs'} of {area.root if small else area.tenant} hold",
                 "bundle" if small else "pack", len(packs))  # fmt: skip
    # Of two places of a chunk the first stays.
    bad = marks.packs(marks.read(area, []).damaged)
    for name, each in sorted(packs.items(), key=lambda item: item[0] in bad):
        if not lease.renew():
            raise DunlinError("rebuild the chunk index", area.tenant, ErrorKind.BUSY, "the lease was lost")
        rows += [(known.chunk, Location(name, *known[1:4])) for known in contents(area, each, done.damaged)]
        done.packs += 1
        stages.done()
        if len(rows) > GATHERED:
            parts.append(chunks.build(rows))
            rows = []
        if sum(map(len, parts)) > MOST_ROWS:
            _put(area, parts, small, done)
            parts = []
    if rows or parts:
        _put(area, [*parts, chunks.build(rows)], small, done)
    area.objects.sync()
    if not area.objects.append_only and lease.alive():
        area.objects.remove([each.key for each in old])


def _put(area: Area, parts: list[chunks.Segment], small: bool, done: Rebuilt) -> None:
    whole = chunks.merge(parts)
    area.put_chunk_segment(whole, small)
    done.chunks += len(whole)


def contents(area: Area, pack: Found, damaged: list[DunlinError]) -> list[Stored]:
    """What is in a pack; from its frames where its table of contents is damaged, which is told."""
    codec = area.codec(pack.key)
    try:
        size, read = area.objects.reader(pack.key)
        return read_contents(codec, read, size)
    except DunlinError as error:
        if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
            raise
        damaged.append(error)
        return [] if error.kind is ErrorKind.NOT_FOUND else list(salvaged(area, codec, area.objects.get(pack.key)))


def salvaged(area: Area, codec: Codec, data: bytes) -> Iterator[Stored]:
    """What the frames of a damaged pack hold, up to the first that is cut short; each chunk is checked."""
    view, start = memoryview(data), 0
    while start < len(view):
        try:
            length = frame_length(codec, view[start:], start)
        except DunlinError:
            return
        with suppress(DunlinError):
            raw = codec.open(view[start : start + length], start)
            for chunk, inside, size in members(raw):
                if area.identify(memoryview(raw)[inside : inside + size]) == chunk:
                    yield Stored(chunk, start, length, inside, size)
        start += length


def members(raw: bytes) -> Iterator[tuple[ChunkId, int, int]]:
    """The chunks in a frame that was opened: id, where it begins, bytes."""
    place = 0
    while place + BLOCK <= len(raw):
        name, length = raw[place : place + 64], raw[place + 124 : place + 135]
        if not length.isdigit() or not set(name) <= set(b"0123456789abcdef"):
            return
        size = int(length, 8)
        if place + BLOCK + size > len(raw):
            return
        yield bytes.fromhex(name.decode()), place + BLOCK, size
        place += BLOCK + size + padding(size)
