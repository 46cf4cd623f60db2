"""What a tree segment is made of: a header, a table of columns, columns. Everything is little-endian.

    0      64 bytes   header (`Header`)
    64     64 bytes   for each column: its line in the table (`Column`)
    ...               the columns, each at a multiple of 64, at least 8 bytes of zeros behind each

A column is one of two things, as its `coding` says: bytes of the file (`PLAIN`), or nothing at all where every row has
one value (`CONSTANT`; the value stands in the table). A checksum (CRC-64/NVME) covers header and table, another one
the bytes of each column. A reader passes over columns whose name it does not know; a change that it would misread
raises `VERSION`. docs/format.md, "Tree segments", is the same byte by byte; this module and that page change together.

Values that are rare and large do not widen a column: it holds `ESCAPE` there, and two short columns (row, value) hold
the value: sizes from 4 GiB - 1, times before 1970 or after 2106, names of 255 bytes and more.
"""

from __future__ import annotations

import functools
import importlib
import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dunlin.errors import DunlinError, ErrorKind

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Array = NDArray[Any]

MAGIC = b"DUNLTREE"
VERSION = 1
BYTE_ORDER = 0x0102
ALIGN = 64
SLACK = 8  # names are read eight bytes at a time, so the last one may be read over its end

PLAIN, CONSTANT = 0, 1
RAW, ZSTD = 0, 1
"""How file names are kept: as they are, or in zstd frames of `FRAME` rows."""

TICK = 100
"""Nanoseconds of a tick: times are counted in ticks since 1970, so 64 bits go from the year -27,000 to 31,000."""
SECOND = 10**9 // TICK

ESCAPE = 0xFFFFFFFF
LONG = 255
NO_RUN = 0xFFFFFFFF
"""The `start` of a directory row whose run stands in an older segment."""

OFFSETS = 64
"""Rows of raw names that share one offset into the heap."""
FRAME = 128
"""Rows whose names share one zstd frame."""
BASES = 4096
"""Rows whose node ids share one base where they are kept as 32-bit distances."""

HASHES = {"none": 0, "crc64": 1}
"""What the column `hash` holds, by its number in the header: nothing, CRC-64/NVME of the content."""

KIND = 0x0F
NO_CONTENT = 0x10
CHANGED = 0x20
"""Flags of a row. `KIND`: the type bits of st_mode, shifted by 12. `NO_CONTENT`: the content was not read, `hash` is
the stat fingerprint. `CHANGED`: a file that changed while it was read, a directory that could not be listed."""

_HEADER = struct.Struct("<8sHHBBHQQQQ8x")
_COLUMN = struct.Struct("<16s2sBx4xQQQQ8x")
_CRC = struct.Struct("<Q")
HEADER_BYTES = _HEADER.size + _CRC.size
COLUMN_BYTES = _COLUMN.size

_WIDTHS = {"u1": 1, "u3": 3, "u4": 4, "u8": 8, "i8": 8}


class Header(NamedTuple):
    """The facts of a whole segment. `size`: bytes of the file; `hashes`: a value of `HASHES`; `names`: RAW or ZSTD."""

    hashes: int
    names: int
    columns: int
    directories: int
    files: int
    removed: int
    size: int


class Column(NamedTuple):
    """A line of the table. `type`: u1, u3, u4, u8, i8; `offset` and `length` in bytes; `value` of a constant."""

    name: str
    type: str
    coding: int
    offset: int
    length: int
    crc: int
    value: int


def crc64(parts: Iterable[bytes | memoryview]) -> int:
    """CRC-64/NVME of `parts`, one behind the other."""
    function, value = _crc64(), 0
    for part in parts:
        value = function(part, value)
    return value


@functools.cache
def _crc64() -> Callable[[bytes | memoryview, int], int]:
    # Not `hashing.new`, which takes 10 us: a delta of one row has a checksum for each of forty columns.
    function: Callable[[bytes | memoryview, int], int] = importlib.import_module("awscrt.checksums").crc64nvme
    return function


def pack_front(header: Header, columns: list[Column]) -> bytes:
    """Header and table as they stand at the beginning of a segment."""
    head = _HEADER.pack(MAGIC, VERSION, BYTE_ORDER, header.hashes, header.names, *header[2:])
    table = b"".join(_COLUMN.pack(c.name.encode(), c.type.encode(), *c[2:]) for c in columns)
    return head + _CRC.pack(crc64((head, table))) + table


def unpack_front(data: memoryview, where: str) -> tuple[Header, dict[str, Column]]:
    """Header and table of the segment whose bytes are `data`; the columns themselves are not looked at.

    Raises NEWER for a version that this program does not know, CORRUPT for anything that is not a whole segment.
    """
    if len(data) < HEADER_BYTES or bytes(data[:8]) != MAGIC:
        raise broken(where, "it is no tree segment")
    _, version, order, *rest = _HEADER.unpack(data[: _HEADER.size])
    if version > VERSION:
        reason = f"it has format {version}, and this program knows up to {VERSION}"
        raise DunlinError("read the tree segment", where, ErrorKind.NEWER, reason, "use a newer dunlin")
    header = Header(*rest)
    end = HEADER_BYTES + header.columns * COLUMN_BYTES
    if order != BYTE_ORDER or version < 1 or end > len(data):
        raise broken(where, "its header is damaged")
    table = data[HEADER_BYTES:end]
    (crc,) = _CRC.unpack(data[_HEADER.size : HEADER_BYTES])
    if crc64((data[: _HEADER.size], table)) != crc:
        raise broken(where, "the checksum of its header is wrong")
    if header.size != len(data):
        raise broken(where, f"it has {len(data)} bytes instead of {header.size}")
    columns = {}
    for raw, kind, *numbers in _COLUMN.iter_unpack(table):
        column = Column(raw.rstrip(b"\0").decode("ascii", "replace"), kind.decode("ascii", "replace"), *numbers)
        whole = column.offset + column.length + SLACK <= len(data) and column.length % _WIDTHS.get(column.type, 1) == 0
        if column.coding == PLAIN and not whole:
            raise broken(where, f"its column {column.name} is cut off")
        columns[column.name] = column
    return header, columns


def broken(where: str, reason: str) -> DunlinError:
    """The error for a segment that cannot be trusted."""
    hint = "fetch it again, or `dunlin repo rebuild-index`"
    return DunlinError("read the tree segment", where, ErrorKind.CORRUPT, reason, hint)


def width(kind: str) -> int:
    """Bytes of one value of a column of this type."""
    return _WIDTHS[kind]


def numbers(data: Any, kind: str) -> Array:
    """`data` as an array of `kind`: a buffer is taken as it is, without a copy; a sequence or another type is turned.

    Raises ValueError where a value does not fit.
    """
    wanted = np.dtype(f"<{kind}")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return np.frombuffer(data, wanted)
    given = np.asarray(data)
    if given.dtype == wanted:
        return given
    if not given.size:
        return np.empty(0, wanted)
    if given.dtype.kind not in "iub":
        given = np.array([int(value) for value in data], object)  # from the source: numpy made floats of them
    bounds = np.iinfo(wanted)
    if int(given.min()) < bounds.min or int(given.max()) > bounds.max:
        raise ValueError(f"a number does not fit into {kind}")
    return given.astype(wanted)


def split_times(times: Ints) -> tuple[NDArray[np.uint32], Bytes, Ints, Ints]:
    """Times (ticks since 1970) as seconds in 32 bits, ticks in 3 bytes, and (index, seconds) of those outside."""
    seconds, rest = np.divmod(times, SECOND)
    ticks = rest.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    outside = np.flatnonzero((seconds < 0) | (seconds >= ESCAPE))
    late = seconds[outside]
    short = seconds.astype(np.uint32)
    short[outside] = ESCAPE
    return short, np.ascontiguousarray(ticks), outside, late


def join_ticks(ticks: Bytes) -> Ints:
    """Three bytes a row as ticks: the part of a time below a second."""
    value = ticks[:, 0].astype(np.int64)
    value += ticks[:, 1].astype(np.int64) << 8
    value += ticks[:, 2].astype(np.int64) << 16
    return value
