"""The words of a repository: ids, names of tenants and shares, sizes that bound what is stored. No I/O.

Sizes, and why
    A *small* file is one chunk in a bundle of its share; a larger one is cut by its content (`chunker`) and its chunks
    lie in packs of the tenant. 64 KiB is where the cost of a ranged read of its own stops to matter against the bytes.
    Chunks of 1 MiB on average keep the chunk index at 28 bytes for a megabyte, and one byte that changes costs a
    megabyte at most.
    A *group* of 128 KiB is compressed as one frame: frames of single 4 KiB files take 8 % more space and twice the
    time, and one that is larger makes the restore of one small file read more than it needs.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

from dunlin.errors import usage

ChunkId = bytes
"""32 bytes: BLAKE3 of the content, keyed for the tenant."""

CHUNK_ID = 32

SMALL = 64 << 10
"""Files below this many bytes are one chunk each and go into bundles."""

GROUP = 128 << 10
"""Raw bytes of tar members that are compressed as one frame; a larger member has a frame of its own."""

MOST_FRAME = 16 << 20
"""No frame holds more raw bytes than this; one that claims to is damaged, or was made to exhaust our memory."""

BUNDLE = 16 << 20
PACK = 32 << 20
"""Bytes at which a bundle (small files) and a pack (chunks of larger ones) are closed and stored."""

TENANT = "default"
"""Whose backups they are where nobody says it."""


class Location(NamedTuple):
    """Where a chunk lies: a pack (16 bytes), its frame (offset and length in bytes), and in the frame's raw bytes."""

    pack: bytes
    offset: int
    length: int
    inside: int


class Stored(NamedTuple):
    """A chunk in a pack that was just written; `size` is in raw bytes, the others are as in `Location`."""

    chunk: ChunkId
    offset: int
    length: int
    inside: int
    size: int


_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_RESERVED = frozenset({"packs", "chunks", "snapshots", "tree", "leases", "marks", "verified"})


def is_name(name: str) -> bool:
    """Whether a tenant or share can be called so."""
    return _NAME.fullmatch(name) is not None and ".." not in name and name not in _RESERVED


def check_name(kind: str, name: str) -> str:
    """`name` if a tenant or share (`kind`) can be called so; raises USAGE with the rule otherwise.

    Names are parts of object keys, of which some belong to the layout; two dots in a row would look like a way up.
    """
    if not is_name(name):
        hint = "1 to 63 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
        if name in _RESERVED:
            hint += f"; not {', '.join(sorted(_RESERVED))}"
        raise usage(f"{name!r} cannot be the name of a {kind}", hint)
    return name


_HEX = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Whether it is such a name as `new_id` makes, whole."""
    return _HEX.fullmatch(text) is not None


def new_id() -> str:
    """A fresh name for an object: 16 random bytes in 32 hexadecimal digits."""
    return secrets.token_hex(16)
