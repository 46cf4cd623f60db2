"""Manifests: one small object that makes a snapshot. FlatBuffers, in a sealed container.

A snapshot is there as soon as its manifest is, and names everything it needs: the tree's segments with their
checksums, and how many chunks it refers to. Its key is `{tenant}/{share}/snapshots/{time}-{id}`; the time is stamped
by the process that commits, from its clock, and is later than that of the share's newest snapshot even where that
clock was set back: else somebody could write a snapshot into the past, or let retention throw the wrong ones away.

The schema is `manifest.fbs`, beside this file. The tables are small, so the code for it is written by hand on
`flatbuffers` and needs no generator; fields are only ever added at the end, which older readers skip.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import flatbuffers
from flatbuffers import number_types as types
from flatbuffers.table import Table

from dunlin.errors import DunlinError, ErrorKind

IDENTIFIER = b"DLSN"
_SEGMENT = re.compile("[0-9a-f]{32}")
VERSION = 1


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A tree segment that a snapshot needs: its object's id, rows in it, bytes of the unpacked file, and its BLAKE3."""

    id: str
    rows: int
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Totals:
    """What a snapshot holds, and what it cost. Sizes in bytes.

    `new_bytes` were read and not yet stored anywhere; `stored_bytes` is what the packs of this run took.
    `failed_entries` could not be read and stand as they were in the snapshot before, or not at all; `changed_files`
    changed while they were read.
    """

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0
    new_files: int = 0
    changed_files: int = 0
    removed_files: int = 0
    read_bytes: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    failed_entries: int = 0
    torn_files: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one snapshot is.

    Attributes:
        id: 32 hexadecimal digits.
        time: ns since 1970, of the commit.
        source: canonical URL of what was backed up, without credentials; `host`: name of the machine.
        tags: words for people and for retention.
        parent: id of the snapshot that this run compared with, "" for none.
        segments: of the tree, oldest first.
        next_node: the next node id that the share may give out.
        selection: hash of the options that choose what takes part (filters, one file system, links).
        content: False: a scan, whose tree has no content (`dunlin scan`).
        complete: False: some directories or files could not be read.
        started: when the backup began, ns since 1970; 0: it was not told.
        program: the version of dunlin that made it.
    """

    id: str
    time: int
    tenant: str
    share: str
    source: str = ""
    host: str = ""
    tags: tuple[str, ...] = ()
    parent: str = ""
    segments: tuple[SegmentRef, ...] = ()
    next_node: int = 2
    selection: str = ""
    content: bool = True
    complete: bool = True
    started: int = 0
    program: str = ""
    totals: Totals = field(default_factory=Totals)

    @property
    def name(self) -> str:
        """The last part of its key."""
        when = datetime.fromtimestamp(self.time // 10**9, UTC)
        return f"{when:%Y%m%dT%H%M%S}.{self.time % 10**9 // 1000:06d}Z-{self.id}"

    @property
    def key(self) -> str:
        """Its key in the repository."""
        return f"{self.tenant}/{self.share}/snapshots/{self.name}"


_TEXTS = ("id", "tenant", "share", "source", "host", "parent", "selection", "program")
_NUMBERS = ("time", "started", "next_node")
_FLAGS = ("content", "complete")
_TOTALS = tuple(Totals.__dataclass_fields__)
# Slots of the table in the order of manifest.fbs.
_SLOTS = ("version", *_TEXTS, *_NUMBERS, *_FLAGS, "tags", "segments", "totals")


def to_bytes(manifest: Manifest) -> bytes:
    """A manifest in its stored form."""
    builder = flatbuffers.Builder(1024)
    texts = {name: builder.CreateString(getattr(manifest, name)) for name in _TEXTS}
    tags = _offsets(builder, [builder.CreateString(tag) for tag in manifest.tags])
    segments = _offsets(builder, [_segment(builder, segment) for segment in manifest.segments])
    builder.StartVector(8, len(_TOTALS), 8)
    for name in reversed(_TOTALS):
        builder.PrependInt64(getattr(manifest.totals, name))
    totals = builder.EndVector()
    builder.StartObject(len(_SLOTS))
    builder.PrependUint16Slot(0, VERSION, 0)
    for name in _TEXTS:
        builder.PrependUOffsetTRelativeSlot(_SLOTS.index(name), texts[name], 0)
    for name in _NUMBERS:
        builder.PrependInt64Slot(_SLOTS.index(name), getattr(manifest, name), 0)
    for name in _FLAGS:
        builder.PrependBoolSlot(_SLOTS.index(name), getattr(manifest, name), False)
    for name, place in (("tags", tags), ("segments", segments), ("totals", totals)):
        builder.PrependUOffsetTRelativeSlot(_SLOTS.index(name), place, 0)
    builder.Finish(builder.EndObject(), IDENTIFIER)
    return bytes(builder.Output())


def from_bytes(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; `where` is its key in errors. Raises CORRUPT, NEWER."""
    if data[4:8] != IDENTIFIER:
        raise DunlinError("read the snapshot", where, ErrorKind.CORRUPT, "it is no manifest")
    try:
        return _read(Table(data, int.from_bytes(data[:4], "little")), where)
    except DunlinError:
        raise
    except Exception as error:  # the library tells damage by whatever its reading of it runs into
        raise DunlinError("read the snapshot", where, ErrorKind.CORRUPT, "its manifest is damaged") from error


def _read(table: Any, where: str) -> Manifest:
    version = _scalar(table, 0, types.Uint16Flags)
    if version > VERSION:
        reason = f"its format is {version}, this dunlin reads up to {VERSION}"
        raise DunlinError("read the snapshot", where, ErrorKind.NEWER, reason, "use a newer dunlin")
    if not version:
        raise ValueError("a table without a version")
    counts = _vector(table, _SLOTS.index("totals"), lambda at: table.Get(types.Int64Flags, at), 8)
    plain: dict[str, Any] = {name: _text(table, _SLOTS.index(name)) for name in _TEXTS}
    plain |= {name: _scalar(table, _SLOTS.index(name), types.Int64Flags) for name in _NUMBERS}
    plain |= {name: bool(_scalar(table, _SLOTS.index(name), types.BoolFlags)) for name in _FLAGS}
    return Manifest(
        **plain,
        tags=tuple(_vector(table, _SLOTS.index("tags"), lambda at: table.String(at).decode())),
        segments=tuple(_vector(table, _SLOTS.index("segments"), lambda at: _read_segment(table, at))),
        totals=Totals(**dict(zip(_TOTALS, counts, strict=False))),
    )


def _segment(builder: Any, segment: SegmentRef) -> int:
    name, digest = builder.CreateString(segment.id), builder.CreateByteVector(segment.digest)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependInt64Slot(1, segment.rows, 0)
    builder.PrependInt64Slot(2, segment.size, 0)
    builder.PrependUOffsetTRelativeSlot(3, digest, 0)
    return int(builder.EndObject())


def _read_segment(table: Any, at: int) -> SegmentRef:
    inner = Table(table.Bytes, table.Indirect(at))
    digest = bytes(_vector(inner, 3, lambda place: inner.Get(types.Uint8Flags, place), 1))
    rows, size = (_scalar(inner, slot, types.Int64Flags) for slot in (1, 2))
    name = _text(inner, 0)
    if not _SEGMENT.fullmatch(name):
        raise ValueError("a segment of another name")  # it becomes part of a path in the cache
    return SegmentRef(name, rows, size, digest)


def _offsets(builder: Any, places: list[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _at(table: Any, slot: int) -> int:
    return int(table.Offset(4 + 2 * slot))


def _scalar(table: Any, slot: int, kind: Any) -> int:
    offset = _at(table, slot)
    return int(table.Get(kind, table.Pos + offset)) if offset else 0


def _text(table: Any, slot: int) -> str:
    offset = _at(table, slot)
    return table.String(table.Pos + offset).decode() if offset else ""


def _vector(table: Any, slot: int, read: Callable[[int], Any], width: int = 4) -> list[Any]:
    offset = _at(table, slot)
    if not offset:
        return []
    start = table.Vector(offset)
    return [read(start + width * i) for i in range(table.VectorLen(offset))]
