"""Columns while they grow, in bounded memory, and the file that they end up in.

Rows come by the run and columns are written one behind the other, so each column is kept apart until all rows are
there: `Spill` holds the first `KEPT` bytes in memory and the rest in an unnamed temporary file next to the segment.
`Output` then copies one column at a time into the file, with its checksum, and writes header and table last.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from dunlin.backup.tree import columns
from dunlin.backup.tree.columns import (
    ALIGN,
    COLUMN_BYTES,
    CONSTANT,
    HEADER_BYTES,
    PLAIN,
    SLACK,
    Array,
    Bytes,
    Column,
    Header,
)

Pieces = Callable[[], Iterator[bytes | Array]]
"""A column that can be gone through more than once."""

_ZEROS = bytes(ALIGN + SLACK)
KEPT = 1 << 20
PIECE = 1 << 22


class Spill:
    """Bytes of one column in the order in which they come; `folder` holds what does not fit into memory."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._parts: list[bytes] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self.size = 0

    def add(self, data: bytes | Array) -> None:
        """More bytes."""
        raw = data if isinstance(data, bytes) else data.tobytes()
        self._parts.append(raw)
        self._held += len(raw)
        self.size += len(raw)
        if self._held > KEPT:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as this
            self._file.write(b"".join(self._parts))
            self._parts, self._held = [], 0

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """All of it, in pieces of `size` bytes; the last may be shorter."""
        if not self.size:
            return
        tail = b"".join(self._parts)
        if self._file is None:
            for at in range(0, len(tail), size):
                yield tail[at : at + size]
            return
        self._file.seek(0)
        rest = b""
        while data := self._file.read(size):
            if len(data) < size:
                rest = data
                break
            yield data
        rest += tail
        for at in range(0, len(rest), size):
            yield rest[at : at + size]
        self._file.seek(0, os.SEEK_END)

    def array(self, kind: str) -> Array:
        """All of it as an array of `kind`, in memory."""
        found = np.empty(self.size // np.dtype(kind).itemsize, f"<{kind}")
        raw = found.view(np.uint8)
        at = 0
        for piece in self.pieces():
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        return found

    def close(self) -> None:
        """Give memory and disk back."""
        self._parts, self._held = [], 0
        if self._file is not None:
            self._file.close()
            self._file = None


class Output:
    """A segment being written into `file`, which is empty and seekable; `most` columns at most."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._columns: list[Column] = []
        self._at = HEADER_BYTES + most * COLUMN_BYTES
        self._at += -self._at % ALIGN
        file.write(bytes(self._at))

    def put(self, name: str, kind: str, pieces: Pieces, *, shrink: bool = False) -> None:
        """A column, whole. `shrink`: where all of its rows are equal, only the value is kept."""
        same = _one_value(kind, pieces) if shrink else None
        if same is not None:
            self._columns.append(Column(name, kind, CONSTANT, 0, 0, 0, same))
            return
        length = 0

        def written() -> Iterator[memoryview]:
            nonlocal length
            for piece in pieces():
                raw = _flat(piece).data
                self._file.write(raw)
                length += len(raw)
                yield raw

        crc = columns.crc64(written())
        self._columns.append(Column(name, kind, PLAIN, self._at, length, crc, 0))
        gap = SLACK + -(length + SLACK) % ALIGN
        self._file.write(_ZEROS[:gap])
        self._at += length + gap

    def put_array(self, name: str, kind: str, rows: Array, *, shrink: bool = False) -> None:
        """A column that is in memory."""
        self.put(name, kind, lambda: iter((rows,)), shrink=shrink)

    def finish(
        self, *, hashes: int, names: int, directories: int, files: int, removed: int
    ) -> tuple[int, list[Column]]:
        """Header and table; returns the size of the file and what stands in it."""
        header = Header(hashes, names, len(self._columns), directories, files, removed, self._at)
        self._file.seek(0)
        self._file.write(columns.pack_front(header, self._columns))
        self._file.flush()
        return self._at, self._columns


def _flat(piece: bytes | Array) -> Bytes:
    if isinstance(piece, bytes):
        return np.frombuffer(piece, np.uint8)
    return np.ascontiguousarray(piece).reshape(-1).view(np.uint8)


def _one_value(kind: str, pieces: Pieces) -> int | None:
    """The value that every row has; None where rows differ or there are none. Three bytes are told only if all 0."""
    value = None
    for piece in pieces():
        cells = _flat(piece).view("<u1" if kind == "u3" else f"<{kind}")
        if value is None and len(cells):
            value = cells[0]
        if not bool((cells == value).all()):
            return None
    if value is None or (kind == "u3" and value):
        return None
    return int(value) & 0xFFFFFFFFFFFFFFFF
