"""Rows of numbers on disk, by ranges of their first number: what does not fit into memory is looked at range by range.

A prune asks of each chunk whether a snapshot needs it, and of each pack how much of it is needed. Both are joins of
tables that have no order in common (pages are ordered by path, the index by id, packs by when they were filled). So
rows are spilled once into buckets, as they come, each for a range of what the next step goes by; a bucket fits.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.scratch import on_disk

Words = NDArray[np.uint64]

_WHAT = "keep temporary tables"

_FLOOR = 8 << 20
"""Bytes of a bucket below which it is not worth looking for rows that are there twice."""


class Buckets:
    """Rows of 64-bit numbers, unsigned, in files. Whatever writes or reads them raises NO_SPACE, IO, of our own files.

    Args:
        folder: where they lie; whoever made it removes it.
        bounds: the number with which each bucket begins but the first, rising.
        width: numbers in a row.
        once: rows that are the same are one.
    """

    def __init__(self, folder: Path, bounds: Sequence[int], width: int, *, once: bool = False) -> None:
        with on_disk(_WHAT, folder):
            self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._bounds = np.array(bounds, np.uint64)
        self._width, self._once = width, once
        self._clean = [_FLOOR] * len(self)

    def __len__(self) -> int:
        return len(self._bounds) + 1

    def add(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take in rows, given as columns."""
        if not len(columns[0]):
            return
        rows = np.column_stack([np.asarray(column, np.uint64) for column in columns])
        if len(self) == 1:
            self._append(0, rows)
            return
        number = self._bounds.searchsorted(rows[:, 0], "right")
        order = np.argsort(number, kind="stable")
        ends = number[order].searchsorted(np.arange(len(self)), "right").tolist()
        for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > start:
                self._append(at, rows[order[start:end]])

    def close(self) -> None:
        """Give the disk back."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def part(self, at: int) -> list[Words]:
        """The columns of the rows in a bucket; sorted where each is there once."""
        rows = self._read(at)
        return [np.ascontiguousarray(rows[:, column]) for column in range(self._width)]

    def _read(self, at: int) -> Words:
        path = self._folder / str(at)
        with on_disk(_WHAT, path):
            rows = np.fromfile(path, np.uint64) if path.exists() else np.zeros(0, np.uint64)
        rows = rows.reshape(-1, self._width)
        if not self._once or not len(rows):
            return rows
        rows = rows[np.lexsort(rows.T[::-1])]
        first = np.ones(len(rows), bool)
        first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
        return rows[first]

    def _append(self, at: int, rows: Words) -> None:
        size = self._write(at, rows, "ab")
        if self._once and size > 2 * self._clean[at]:
            # What many snapshots share comes again and again: a bucket must not outgrow the memory that it is made for.
            left = self._read(at)
            self._write(at, left, "wb")
            self._clean[at] = max(_FLOOR, left.nbytes)

    def _write(self, at: int, rows: Words, mode: str) -> int:
        """Write rows to a bucket; its bytes."""
        path = self._folder / str(at)
        with on_disk(_WHAT, path), open(path, mode) as file:
            file.write(np.ascontiguousarray(rows).data)
            return file.tell()
