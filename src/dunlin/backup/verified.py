"""The ledger of a tenant: which packs were read and found whole, and when. Shared by all machines that verify.

It lies in the repository, since whoever verifies next, on whatever machine, goes on where the last one left off. Each
verification adds a sealed container `{tenant}/verified/{id}`; the newest time of a pack counts, and many containers
become one (an append-only repository keeps them all).

    "DLVF" | version: u16 | zero: u16 | for each pack: id: 16 bytes | time: i64, ns since 1970

The times are those of the machine that verified. A pack that is not named was never read, or not since it was written.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from dunlin.backup.objects import Found
from dunlin.backup.repository import Area
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind

_HEAD = struct.Struct("<4sHH")
_ROW = struct.Struct("<16sq")
_MAGIC, VERSION = b"DLVF", 1
_MOST = 16


class Subset(NamedTuple):
    """Which packs are read. One of these at most; none: every pack.

    Attributes:
        part: the n-th of t parts, by the packs' ids.
        fraction: 0 to 1, of the bytes of all packs; size: bytes. Those come first that were not read for longest.
    """

    part: tuple[int, int] | None = None
    fraction: float | None = None
    size: int | None = None


def read(area: Area) -> dict[bytes, int]:
    """When each pack was last found whole, ns since 1970. What of the ledger is damaged counts as never written."""
    found: dict[bytes, int] = {}
    for each in _objects(area):
        for pack, when in _rows(area, each.key):
            found[pack] = max(when, found.get(pack, 0))
    return found


def add(area: Area, whole: Mapping[bytes, int], there: Mapping[bytes, object]) -> None:
    """Write down when packs were found whole; `there`: all packs that are stored, others are forgotten."""
    old = _objects(area)
    keep = dict(whole)
    many = len(old) >= _MOST and not area.objects.append_only
    if many:
        keep = {pack: when for pack, when in {**read(area), **whole}.items() if pack in there}
    rows = b"".join(_ROW.pack(pack, when) for pack, when in sorted(keep.items()))
    area.put_container(f"{area.tenant}/verified/{new_id()}", _HEAD.pack(_MAGIC, VERSION, 0) + rows)
    if many:
        area.objects.remove([each.key for each in old])


def choose(
    packs: Mapping[bytes, Found], times: Mapping[bytes, int], subset: Subset, since: int | None
) -> list[bytes]:
    """The packs to read, those first that were not read for longest.

    `since`: ns since 1970; what was found whole at that time or later is passed over.
    """
    due = sorted(packs, key=lambda pack: (times.get(pack, 0), pack))
    if since is not None:
        due = [pack for pack in due if times.get(pack, 0) < since]
    if subset.part is not None:
        number, parts = subset.part
        return [pack for pack in due if int.from_bytes(pack[:8]) % parts == number - 1]
    limit = subset.size
    if subset.fraction is not None:
        limit = int(subset.fraction * sum(each.size for each in packs.values()))
    if limit is None:
        return due
    chosen: list[bytes] = []
    for pack in due:
        if limit <= 0:
            break
        chosen.append(pack)
        limit -= packs[pack].size
    return chosen


def _objects(area: Area) -> list[Found]:
    return area.objects.list(f"{area.tenant}/verified")


def _rows(area: Area, key: str) -> list[tuple[bytes, int]]:
    try:
        data = b"".join(area.stored(key))
        magic, version, _ = _HEAD.unpack_from(data)
        if magic != _MAGIC or version > VERSION:
            return []
        return list(_ROW.iter_unpack(data[_HEAD.size :]))
    except struct.error:
        return []
    except DunlinError as error:
        if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
            raise
        return []
