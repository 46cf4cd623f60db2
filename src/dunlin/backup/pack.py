"""A pack: chunks as members of a tar stream, in zstd frames, with a table of contents at the end.

    frame      tar members, up to 128 KiB raw together; a larger member has a frame of its own
    ...
    frame      the two zero blocks that end a tar archive
    contents   zstd skippable frame 5E 2A 4D 18 | length: u32 | a frame (see `frames`) of the table | footer

    table      frames: u32 | members: u32
               per frame  length of the frame: u32 | members in it: u32
               per member id: 32 bytes            (all ids, then all sizes)
                          size: u32
    footer     offset of the contents frame: u64 | CRC-64/NVME of the bytes between head and footer: 8
               | version: u16 | zero: u16 | "DLPK"                                    (24 bytes)

All numbers are little-endian, checksums big-endian as everywhere in dunlin. A member is named by its chunk id in
hexadecimal digits and has mode 0444, owner 0 and time 0, so that ``zstd -dc PACK | tar -tv`` lists a pack that is not
encrypted. Its header is POSIX ustar, put together here: `tarfile` takes 17 µs for one, and there is one for each
small file.

Where a chunk lies is computed, never stored: the members of a frame follow each other, each behind its header and
padded to 512 bytes. The table is inside the pack, so packs alone are enough to make the chunk index anew (`chunks`).
"""

from __future__ import annotations

import struct
from binascii import hexlify
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from dunlin.backup.frames import PROBE, Codec
from dunlin.backup.words import CHUNK_ID, GROUP, ChunkId, Stored
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import one_shot

if TYPE_CHECKING:  # it brings `logging` with it
    from concurrent.futures import Future

BLOCK = 512
VERSION = 1
TAIL = 64 << 10
"""Bytes at the end of a pack that are read first: most tables of contents are shorter."""

AHEAD = 8 << 20
"""Raw bytes of a pack that threads may be compressing before who adds more must wait."""

_PIECES = 8
"""Members of which a piece is looked at."""

_CONTENTS = 0x184D2A5E
_HEAD = struct.Struct("<II")
_COUNTS = struct.Struct("<II")
_FOOTER = struct.Struct("<Q8sHH4s")
_MAGIC = b"DLPK"
_END = bytes(2 * BLOCK)
_ZEROS = bytes(BLOCK)

_BEFORE = bytes(36) + b"0000444\0" + b"0000000\0" * 2
_BETWEEN = b"00000000000\0"
_AFTER = b"0" + bytes(100) + b"ustar\00000" + bytes(32 + 32 + 16 + 155 + 12)
_SUM = sum(_BEFORE) + sum(_BETWEEN) + 8 * ord(" ") + sum(_AFTER)


def member_header(chunk: ChunkId, size: int) -> bytes:
    """The ustar header of a member: 512 bytes."""
    name = hexlify(chunk)
    length, total = _length(size)
    return b"".join((name, _BEFORE, length, _BETWEEN, _checksum(total + sum(name)), _AFTER))


@lru_cache(8192)
def _length(size: int) -> tuple[bytes, int]:
    """The length in a header, and the sum of all its bytes but those of the name."""
    length = b"%011o\0" % size
    return length, _SUM + sum(length)


@lru_cache(8192)
def _checksum(total: int) -> bytes:
    return b"%06o\0 " % total


def padding(size: int) -> int:
    """Bytes from the end of a member of `size` bytes to the next block."""
    return -size % BLOCK


class Pool(Protocol):
    def submit(self, call: Callable[[bytes, bytes], bytes], data: bytes, sample: bytes, /) -> Future[bytes]:
        """Do it in another thread, some time."""


class PackWriter:
    """Puts chunks together into one pack, in memory.

    Args:
        codec: of the pack as an object.
        group: raw bytes of members that go into one frame.
        pool: threads that compress; frames are sealed in their order, by whoever adds. None: compressed at once.
    """

    __slots__ = (
        "_codec", "_frames", "_group", "_limit", "_members", "_out", "_pool", "_pressed", "_raw", "_under_way",
        "_waiting",
    )  # fmt: skip

    def __init__(self, codec: Codec, group: int = GROUP, pool: Pool | None = None) -> None:
        self._codec = codec
        self._limit = group
        self._pool = pool
        self._pressed: deque[tuple[Future[bytes], int, list[tuple[ChunkId, int]]]] = deque()
        self._under_way = 0
        self._out = bytearray()
        self._group: list[bytes | memoryview] = []
        self._raw = 0
        self._waiting: list[tuple[ChunkId, int]] = []
        self._frames: list[tuple[int, int]] = []
        self._members: list[tuple[ChunkId, int]] = []

    def add(self, chunk: ChunkId, data: bytes | memoryview) -> None:
        """Put a chunk into the pack; a view may be written over afterwards."""
        size = len(data)
        raw = BLOCK + size + -size % BLOCK
        if self._raw + raw > self._limit:
            self._close_group()
        whole = raw >= self._limit  # it is copied into its frame now, and not once more
        kept = data if whole or isinstance(data, bytes) else bytes(data)
        self._group += (member_header(chunk, size), kept, _ZEROS[: -size % BLOCK])
        self._raw += raw
        self._waiting.append((chunk, size))
        if whole:
            self._close_group()

    @property
    def size(self) -> int:
        """Bytes of the pack so far, those that are not yet compressed as they are."""
        return len(self._out) + self._under_way + self._raw

    @property
    def chunks(self) -> int:
        """Chunks in it so far."""
        return len(self._members) + sum(len(members) for *_, members in self._pressed) + len(self._waiting)

    def finish(self) -> tuple[bytearray, list[Stored]]:
        """The whole pack, and where each chunk lies in it, in the order in which they came."""
        self._close_group()
        self._take_pressed(0)
        self._out += self._codec.make(_END, len(self._out))
        table = _pack_table(self._frames, self._members)
        start = len(self._out)
        payload = self._codec.make(table, start + _HEAD.size)
        footer = _FOOTER.pack(start, _crc64(payload), VERSION, 0, _MAGIC)
        self._out += _HEAD.pack(_CONTENTS, len(payload) + len(footer)) + payload + footer
        return self._out, _places(self._frames, self._members)

    def _close_group(self) -> None:
        if not self._waiting:
            return
        raw, sample = b"".join(self._group), _sample(self._group[1::3])
        if self._pool is None:
            self._put(self._codec.compressed(raw, sample), self._waiting)
        else:
            self._pressed.append((self._pool.submit(self._codec.compressed, raw, sample), len(raw), self._waiting))
            self._under_way += len(raw)
            self._take_pressed(AHEAD)
        self._group, self._waiting, self._raw = [], [], 0

    def _take_pressed(self, most: int) -> None:
        """Seal the frames that are compressed, until no more than `most` raw bytes are under way."""
        while self._pressed and (self._under_way > most or self._pressed[0][0].done()):
            frame, raw, members = self._pressed.popleft()
            self._under_way -= raw
            self._put(frame.result(), members)

    def _put(self, frame: bytes, members: list[tuple[ChunkId, int]]) -> None:
        sealed = self._codec.sealed(frame, len(self._out))
        self._out += sealed
        self._frames.append((len(sealed), len(members)))
        self._members += members


def read_contents(codec: Codec, read: Callable[[int, int], bytes], size: int) -> list[Stored]:
    """What is in a pack and where, from its table of contents.

    Args:
        codec: of the pack as an object.
        read: bytes of the pack from a start (bytes), so many of them.
        size: bytes of the pack.

    Raises CORRUPT when the table is damaged or not there, NEWER when it was written by a newer dunlin.
    """
    tail = read(max(size - TAIL, 0), min(size, TAIL))
    begins = size - len(tail)
    if len(tail) < _FOOTER.size:
        raise _broken(codec, "is too short for a pack")
    start, crc, version, zero, magic = _FOOTER.unpack(tail[-_FOOTER.size :])
    if magic != _MAGIC or zero:
        raise _broken(codec, "does not end as a pack does")
    if version > VERSION:
        reason = f"its format is {version}, this dunlin reads up to {VERSION}"
        raise DunlinError("read the pack", codec.key, ErrorKind.NEWER, reason, "use a newer dunlin")
    if not 0 <= start <= size - _FOOTER.size - _HEAD.size:
        raise _broken(codec, "has no table of contents where its end says")
    if start < begins:
        tail = read(start, begins - start) + tail
        begins = start
    head = _HEAD.pack(_CONTENTS, size - start - _HEAD.size)
    payload = tail[start - begins + _HEAD.size : -_FOOTER.size]
    if tail[start - begins :][: _HEAD.size] != head or _crc64(payload) != crc:
        raise _broken(codec, "has a damaged table of contents")
    return _places(*_unpack_table(codec, codec.open(payload, start + _HEAD.size)))


def check_end(codec: Codec, data: memoryview, table: Sequence[Stored]) -> None:
    """See that the end of the archive stands between the last member and the table of contents. Raises CORRUPT."""
    start = max((each.offset + each.length for each in table), default=0)
    contents = int(_FOOTER.unpack(data[-_FOOTER.size :])[0])
    if codec.open(data[start:contents], start) != _END:
        raise _broken(codec, "has something else where its archive should end")


def member(codec: Codec, raw: bytes, inside: int, chunk: ChunkId) -> memoryview:
    """The bytes of a chunk in a frame that was opened: `inside` is where they begin. Raises CORRUPT."""
    header = raw[inside - BLOCK : inside]
    size = int(header[124:135], 8) if header[124:135].isdigit() else -1
    if header[:64] != chunk.hex().encode() or not 0 <= size <= len(raw) - inside:
        raise _broken(codec, "holds another chunk where the index says this one lies")
    return memoryview(raw)[inside : inside + size]


def named(raw: bytes, inside: int) -> ChunkId:
    """The id in the header of the member whose bytes begin at `inside`; nothing where there is none."""
    try:
        return bytes.fromhex(bytes(raw[max(inside - BLOCK, 0) : max(inside - BLOCK + 64, 0)]).decode("ascii"))
    except ValueError:
        return b""


def _sample(contents: list[bytes | memoryview]) -> bytes:
    """Pieces of some members, as much as is looked at to tell whether anything repeats."""
    some = contents[:: max(1, len(contents) // _PIECES)][:_PIECES]
    return b"".join([each[: PROBE // len(some)] for each in some])


def _pack_table(frames: list[tuple[int, int]], members: list[tuple[ChunkId, int]]) -> bytes:
    parts = [_COUNTS.pack(len(frames), len(members))]
    parts += [_COUNTS.pack(*frame) for frame in frames]
    parts += [chunk for chunk, _ in members]
    parts.append(struct.pack(f"<{len(members)}I", *[size for _, size in members]))
    return b"".join(parts)


def _unpack_table(codec: Codec, table: bytes) -> tuple[list[tuple[int, int]], list[tuple[ChunkId, int]]]:
    try:
        frames, members = _COUNTS.unpack_from(table)
        if len(table) != _COUNTS.size * (1 + frames) + (CHUNK_ID + 4) * members:
            raise _broken(codec, "has a table of contents of another length")
        pairs = list(_COUNTS.iter_unpack(table[_COUNTS.size : _COUNTS.size * (1 + frames)]))
        if sum(count for _, count in pairs) != members:
            raise _broken(codec, "has a table of contents that contradicts itself")
    except struct.error as error:
        raise _broken(codec, "has a table of contents that cannot be read") from error
    start = _COUNTS.size * (1 + frames)
    sizes = struct.unpack_from(f"<{members}I", table, start + CHUNK_ID * members)
    ids = [table[place : place + CHUNK_ID] for place in range(start, start + CHUNK_ID * members, CHUNK_ID)]
    return pairs, list(zip(ids, sizes, strict=True))


def _places(frames: list[tuple[int, int]], members: list[tuple[ChunkId, int]]) -> list[Stored]:
    found: list[Stored] = []
    offsets = accumulate((length for length, _ in frames), initial=0)
    for offset, (length, count) in zip(offsets, frames, strict=False):
        inside = BLOCK
        for chunk, size in members[len(found) : len(found) + count]:
            found.append(Stored(chunk, offset, length, inside, size))
            inside += size + padding(size) + BLOCK
    return found


def _crc64(data: bytes) -> bytes:
    check = one_shot("crc64")
    assert check is not None
    return check(data)


def _broken(codec: Codec, what: str) -> DunlinError:
    return DunlinError("read the pack", codec.key, ErrorKind.CORRUPT, f"it {what}")
