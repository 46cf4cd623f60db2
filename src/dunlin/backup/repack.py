"""Which packs are put together anew, and their chunks on the way. Figures over columns of the chunk index.

Two kinds of pack are copied, as far as snapshots need them:

    mostly unused    the worst first, until no more than a chosen part of all bytes of packs is unused
    small            many little backups leave many little packs: each costs a request in a restore, and a lookup in
                     every prune and verification. When more than `MOST_SMALL` packs of a kind are smaller than an
                     eighth of a full one, all of these become as few as hold them, the smallest first and no more
                     than `MOST_JOINED` bytes at a time. What was joined is small no longer, or waits for eight others.
                     (Many movers share the memory for packs in the making, and close theirs at a quarter.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dunlin.backup.pack import member, named
from dunlin.backup.repository import Area
from dunlin.backup.words import BUNDLE, PACK, Location

MAX_UNUSED = 0.05
"""Share of the bytes of packs that may be unused before packs are copied."""

MOST_SMALL = 8
"""Small packs of a kind that may lie beside each other before they become one."""

SMALL = 1 / 8
"""Part of a full pack below which a pack is small."""

MOST_JOINED = 1 << 30
"""Bytes of small packs of a kind that one prune puts together."""


class Used(NamedTuple):
    """A pack of which something is needed: its id, bytes of the object, and those in it that nothing needs."""

    name: bytes
    size: int
    waste: int


class Chosen(NamedTuple):
    """Packs that are to be copied: since much of them is unused, or since they are small."""

    wasteful: list[Used]
    small: list[Used]


def choose(packs: Sequence[Used], small: bool, max_unused: float, most_small: int = MOST_SMALL) -> Chosen:
    """The packs to be copied.

    Args:
        packs: of one kind. small: it is that of bundles.
        max_unused: part of their bytes that may stay unused, 0 to 1.
        most_small: small ones that may lie beside each other.
    """
    unused, whole = sum(each.waste for each in packs), sum(each.size for each in packs)
    wasteful: list[Used] = []
    for each in sorted(packs, key=lambda pack: (pack.waste / max(pack.size, 1), pack.name), reverse=True):
        if unused <= max_unused * whole or not each.waste:
            break
        wasteful.append(each)
        unused, whole = unused - each.waste, whole - each.waste
    gone, least = {each.name for each in wasteful}, SMALL * (BUNDLE if small else PACK)
    little = sorted((each for each in packs if each.name not in gone and each.size < least), key=lambda pack: pack.size)
    if len(little) <= most_small:
        return Chosen(wasteful, [])
    joined: list[Used] = []
    size = 0
    for each in little:
        size += each.size
        if joined and size > MOST_JOINED:
            break
        joined.append(each)
    return Chosen(wasteful, joined)


def contents(area: Area, key: str, places: Sequence[tuple[Location, bytes]]) -> Iterator[memoryview]:
    """The content of some chunks of a pack, each checked. Raises CORRUPT."""
    codec, (_, read) = area.codec(key), area.objects.reader(key)
    raw, offset = b"", -1
    for place, half in places:
        if place.offset != offset:
            raw, offset = codec.open(read(place.offset, place.length), place.offset), place.offset
        chunk = named(raw, place.inside)
        data = member(codec, raw, place.inside, chunk)
        if chunk[:16] != half or area.identify(data) != chunk:
            raise codec.damaged(place.offset, "holds another chunk")
        yield data
