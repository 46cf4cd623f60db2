"""A FlatBuffers table whose fields are a count and vectors of numbers: how pages are stored. The schemas are `*.fbs`.

One such table for each file would take 15 µs in Python; as columns thousands of rows are written and read by numpy at
memory speed. The first field is the count (u32), each other one a vector; a field that is not there is zeros, or
nothing. Written by hand on `flatbuffers`, so no generator is needed; fields are only ever added at the end, which
older readers skip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types as types
from flatbuffers.table import Table
from numpy.typing import NDArray

Column = NDArray[Any]

_KINDS = {
    "u1": types.Uint8Flags,
    "<u4": types.Uint32Flags,
    "<u8": types.Uint64Flags,
    "<i8": types.Int64Flags,
}


def to_bytes(identifier: bytes, fields: Sequence[str], count: int, columns: Iterable[tuple[str, Column]]) -> bytes:
    """A table in its stored form; what comes first in `columns` stands last. `fields`: their names in the schema."""
    builder = flatbuffers.Builder(4096)
    places = [(fields.index(name), builder.CreateNumpyVector(column)) for name, column in columns]
    builder.StartObject(1 + len(fields))
    builder.PrependUint32Slot(0, count, 0)
    for at, place in places:
        builder.PrependUOffsetTRelativeSlot(1 + at, place, 0)
    builder.Finish(builder.EndObject(), identifier)
    return bytes(builder.Output())


def from_bytes(data: bytes, identifier: bytes, kinds: Mapping[str, str]) -> tuple[int, dict[str, Column]]:
    """The count of a table, and the vectors that are there, nothing copied. `kinds`: of its fields, in their order.

    Raises whatever the library runs into when the bytes are damaged, and ValueError for another table.
    """
    if data[4:8] != identifier:
        raise ValueError("another kind of table")
    table = Table(data, int.from_bytes(data[:4], "little"))
    found: dict[str, Column] = {}
    for slot, (name, kind) in enumerate(kinds.items(), 1):
        offset = table.Offset(4 + 2 * slot)
        if offset:
            found[name] = table.GetVectorAsNumpy(_KINDS[kind], offset)
    offset = table.Offset(4)
    return int(table.Get(types.Uint32Flags, table.Pos + offset)) if offset else 0, found


def zeros(column: Column) -> bool:
    """Whether a column holds nothing but zeros, so that it need not be stored."""
    return not np.any(column)
