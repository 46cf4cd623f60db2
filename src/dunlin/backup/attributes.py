"""The attributes of a node as one blob: extended attributes, access control lists, security descriptors. Pure.

    count: u32, then for each, sorted by name: length of the name: u32 | length of the value: u32 | name | value

The blob is a chunk: whoever has the same attributes names the same chunk, so each distinct set is stored once. POSIX
access control lists are the attributes ``system.posix_acl_access`` and ``system.posix_acl_default``; a share's
security descriptor is one of the store's own names. All of them are bytes that nothing here looks into.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from dunlin.errors import DunlinError, ErrorKind

_COUNT = struct.Struct("<I")
_PAIR = struct.Struct("<II")


def pack(attributes: Mapping[str, bytes]) -> bytes:
    """The blob of some attributes."""
    parts = [_COUNT.pack(len(attributes))]
    for name, value in sorted(attributes.items()):
        raw = name.encode("utf-8", "surrogateescape")
        parts += [_PAIR.pack(len(raw), len(value)), raw, value]
    return b"".join(parts)


def unpack(blob: bytes | memoryview, where: str) -> dict[str, bytes]:
    """The attributes in a blob; `where` is whose they are, for errors. Raises CORRUPT."""
    found: dict[str, bytes] = {}
    try:
        (count,), place = _COUNT.unpack_from(blob), _COUNT.size
        for _ in range(count):
            name, value = _PAIR.unpack_from(blob, place)
            place += _PAIR.size
            raw = bytes(blob[place : place + name])
            found[raw.decode("utf-8", "surrogateescape")] = bytes(blob[place + name : place + name + value])
            place += name + value
    except struct.error as error:
        raise _damaged(where) from error
    if place != len(blob):
        raise _damaged(where)
    return found


def _damaged(where: str) -> DunlinError:
    return DunlinError("read the attributes of", where, ErrorKind.CORRUPT, "what is stored of them is damaged")
