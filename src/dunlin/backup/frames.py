"""One frame: up to 16 MiB, compressed with zstd and, where the repository is encrypted, sealed with AES-256-GCM.

A plain frame is a zstd frame (RFC 8878). A sealed one is a zstd *skippable* frame around the ciphertext, so that one
walk goes over both kinds, and standard tools skip what they cannot read:

    plain     zstd frame, with its own checksum (32 bits of XXH64 of the data)
    sealed    50 2A 4D 18 | length: u32 little-endian | AES-256-GCM(zstd frame) | tag: 16 bytes
    again     51 2A 4D 18 | length: u32 little-endian | nonce: 12 bytes | AES-256-GCM(zstd frame) | tag: 16 bytes

The key is that of the object (`keys.TenantKeys.object_key`). The nonce is the offset of the frame in the object, 12
bytes big-endian: an object is written once under a name of its own, so no nonce comes twice, and where a frame is found
says how it is opened. The authenticated data are the object's key: a frame that was moved within its object, or to
another object, tenant or repository, does not open.

An object that was damaged and is written *again* under its name (`mend`) may differ from what once stood there, for
another zstd packs otherwise. So its frames have random nonces, and the offset goes behind the key in what is
authenticated, as 12 bytes.

Where nothing repeats in the first 16 KiB (zstd's level -5, which looks for nothing else, tells it in 5 µs), looking
further is in vain: level 1 then takes a seventh of the time of level 3. It still packs letters that are not equally
frequent into fewer bits, and stores what does not compress at all as it is. Of small files that are put together the
sample is a piece of some of them: their tar headers, which repeat, are an eighth of what they begin with.
"""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dunlin.backup.keys import TenantKeys
from dunlin.backup.words import MOST_FRAME
from dunlin.errors import DunlinError, ErrorKind

LEVEL = 3
PIECE = 1 << 20
"""Raw bytes of one frame of a sealed container (`seal`)."""

TOGETHER = 4 << 20
"""Bytes of a container that are looked at together."""

_SKIPPABLE = 0x184D2A50
_SEALED = _SKIPPABLE
_AGAIN = _SKIPPABLE + 1
_NONCE = 12
_ZSTD = 0xFD2FB528
_HEAD = struct.Struct("<II")
_TAG = 16
PROBE = 16 << 10
"""Bytes by which is told whether anything repeats."""

_HARDLY = 0.97
_ROOM = 256 << 10
_REPEATS, _FAST = -5, 1


class Codec:
    """Makes and opens the frames of one object.

    Args:
        keys: of the tenant that the object belongs to.
        key: the object's key below the repository's root.
        level: of zstd.
        again: something else stood under this key before.
    """

    __slots__ = ("_again", "_cipher", "_expand", "_key", "_level", "key")

    def __init__(self, keys: TenantKeys, key: str, level: int = LEVEL, *, again: bool = False) -> None:
        secret = keys.object_key(key)
        self.key = key
        self._key = key.encode()
        self._cipher = AESGCM(secret) if secret is not None else None
        self._level, self._again = level, again
        self._expand = zstandard.ZstdDecompressor()

    def make(self, data: bytes | bytearray | memoryview, offset: int) -> bytes:
        """The frame of `data` that will stand at `offset` of the object."""
        return self.sealed(self.compressed(data), offset)

    def compressed(self, data: bytes | bytearray | memoryview, sample: bytes | memoryview = b"") -> bytes:
        """The zstd frame of `data`; threads may call this at the same time, and others run meanwhile.

        `sample`: what it is like, up to 16 KiB; nothing: its beginning tells. Raises INTERNAL for more than a frame
        may hold: nobody would read it again.
        """
        if len(data) > MOST_FRAME:
            reason = f"{len(data)} bytes are more than a frame may hold"
            raise DunlinError("write the object", self.key, ErrorKind.INTERNAL, reason)
        return compressed(data, self._level, sample)

    def sealed(self, frame: bytes, offset: int) -> bytes:
        """What a zstd frame becomes at `offset` of the object."""
        if self._cipher is None:
            return frame
        place = offset.to_bytes(_NONCE, "big")
        if self._again:
            nonce = secrets.token_bytes(_NONCE)
            sealed = nonce + self._cipher.encrypt(nonce, frame, self._key + place)
            return _HEAD.pack(_AGAIN, len(sealed)) + sealed
        sealed = self._cipher.encrypt(place, frame, self._key)
        return _HEAD.pack(_SEALED, len(sealed)) + sealed

    def open(self, frame: bytes | memoryview, offset: int) -> bytes:
        """The data of the frame that stands at `offset` of the object. Raises CORRUPT."""
        try:
            if self._cipher is not None:
                magic, length = _HEAD.unpack_from(frame)
                if magic not in (_SEALED, _AGAIN) or length != len(frame) - _HEAD.size:
                    raise self.damaged(offset, "is no sealed frame")
                nonce, data, bound = offset.to_bytes(_NONCE, "big"), bytes(frame[_HEAD.size :]), self._key
                if magic == _AGAIN:
                    nonce, data, bound = data[:_NONCE], data[_NONCE:], bound + nonce
                frame = self._cipher.decrypt(nonce, data, bound)
            size = zstandard.get_frame_parameters(frame).content_size
            if size > MOST_FRAME:
                raise self.damaged(offset, f"claims to hold {size} bytes")
            data = self._expand.decompress(frame)
        except InvalidTag as error:
            raise self.damaged(offset, "is not what was written there") from error
        except (struct.error, ValueError, zstandard.ZstdError) as error:
            raise self.damaged(offset, "cannot be expanded") from error
        if len(data) != size:
            raise self.damaged(offset, "is cut short")
        return data

    def damaged(self, offset: int, what: str) -> DunlinError:
        """The error for a frame that is not what it should be; `what` goes on behind "the frame at byte N"."""
        return DunlinError("read the object", self.key, ErrorKind.CORRUPT, f"the frame at byte {offset} {what}")


def compressed(data: bytes | bytearray | memoryview, level: int, sample: bytes | memoryview = b"") -> bytes:
    """The zstd frame of `data`; where nothing repeats in the sample, or at its beginning, that of a fast level."""
    if len(data) > 4 * PROBE:
        probe = sample or data[:PROBE]
        if len(_compressor(_REPEATS).compress(probe)) > _HARDLY * len(probe):
            level = min(level, _FAST)
    return _compressor(level).compress(data)


class _Own(threading.local):
    """The compressors of a thread: each has a megabyte of tables, and can be in one call at a time."""

    def __init__(self) -> None:
        self.made: dict[int, zstandard.ZstdCompressor] = {}


_OWN = _Own()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    found = _OWN.made.get(level)
    if found is None:
        found = _OWN.made[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return found


def seal(codec: Codec, data: bytes | memoryview) -> bytes:
    """A container: `data` in frames of 1 MiB each, for objects that are read as a whole; empty data is one frame."""
    whole = bytearray()
    view = memoryview(data)
    for start in range(0, max(len(view), 1), PIECE):
        whole += codec.make(view[start : start + PIECE], len(whole))
    return bytes(whole)


def seal_file(codec: Codec, source: Path, target: Path) -> None:
    """The container of a file, as another file: for what is too large to be held in memory. Raises `OSError`."""
    place = 0
    with open(source, "rb") as data, open(target, "wb") as out:
        piece = data.read(PIECE)
        while piece or not place:
            frame = codec.make(piece, place)
            out.write(frame)
            place += len(frame)
            piece = data.read(PIECE)


def seal_long(codec: Codec, data: bytes | memoryview, offset: int) -> bytes:
    """The frames of `data`, which may be more than one holds, where they will stand at `offset` of the object.

    All but the last hold `MOST_FRAME`, and the last one less: so it is told where they end.
    """
    whole = bytearray()
    view = memoryview(data)
    for start in range(0, len(view) + 1, MOST_FRAME):
        whole += codec.make(view[start : start + MOST_FRAME], offset + len(whole))
    return bytes(whole)


def unseal_long(codec: Codec, data: bytes | memoryview, offset: int) -> bytes:
    """What `seal_long` was given, of the frames that begin where `data` does. Raises CORRUPT."""
    parts: list[bytes] = []
    view, start = memoryview(data), 0
    while not parts or len(parts[-1]) == MOST_FRAME:
        end = start + frame_length(codec, view[start:], offset + start)
        parts.append(codec.open(view[start:end], offset + start))
        start = end
    if start != len(view):
        raise codec.damaged(offset, "is followed by something else")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unseal(codec: Codec, data: bytes | Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The data of a container, frame by frame. Raises CORRUPT when any of it is not what was written.

    A container that lost its last frames still opens: whoever refers to it knows its length.

    Args:
        data: the container, or pieces of any size as they come: some MiB are held of these at a time.
    """
    start, rest = 0, b""
    for block in [data] if isinstance(data, bytes) else _blocks(data):
        view, place = memoryview(rest + block if rest else block), 0
        while place < len(view):
            try:
                length = frame_length(codec, view[place:], start + place)
            except DunlinError:
                if len(view) - place > 2 * MOST_FRAME:
                    raise
                break  # the rest of it may come
            yield codec.open(view[place : place + length], start + place)
            place += length
        start, rest = start + place, bytes(view[place:])
    if rest:
        frame_length(codec, memoryview(rest), start)  # tells what is wrong with it


def _blocks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Pieces put together, so that a frame seldom lies in more than one."""
    waiting: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= TOGETHER:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def walk(codec: Codec, read: Callable[[int, int], bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """The frames of an object from its beginning, each with its offset, up to the first that is not whole.

    `read`: bytes of the object from a start, so many; `size`: bytes of it. What is in them is not looked at.
    """
    start = 0
    while start < size:
        room = _ROOM
        while True:
            data = memoryview(read(start, min(room, size - start)))
            try:
                length = frame_length(codec, data, start)
                break
            except DunlinError:
                if room >= min(2 * MOST_FRAME, size - start):
                    return
                room *= 4
        yield start, bytes(data[:length])
        start += length


def frame_length(codec: Codec, data: memoryview, offset: int) -> int:
    """Bytes of the frame that `data` begins with. Raises CORRUPT when it is no frame, or not there as a whole."""
    magic, length = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (0, 0)
    end: int
    if magic & 0xFFFFFFF0 == _SKIPPABLE:
        end = _HEAD.size + length
    elif magic == _ZSTD:
        end = _zstd_length(data)
    else:
        end = 0
    if not 0 < end <= len(data):
        raise codec.damaged(offset, "is cut short" if end or len(data) < _HEAD.size else "begins with no frame")
    return end


def _zstd_length(data: memoryview) -> int:
    """Bytes of a zstd frame, by the sizes in the headers of its blocks (RFC 8878, 3.1.1); 0: it cannot be told."""
    try:
        place = int(zstandard.frame_header_size(data))
        checksum = zstandard.get_frame_parameters(data).has_checksum
        last = False
        while not last:
            header = int.from_bytes(data[place : place + 3], "little")
            if place + 3 > len(data):
                return len(data) + 1
            last = bool(header & 1)
            place += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
    except zstandard.ZstdError:
        return 0
    return place + (4 if checksum else 0)
