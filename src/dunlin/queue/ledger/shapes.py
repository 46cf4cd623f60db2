"""Rows of the ledger's tables as values of `words`, and rows of files by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from dunlin.queue.ledger.database import Rows
from dunlin.queue.ledger.ids import text_of
from dunlin.queue.ledger.words import File, FileStatus, Item, UnitStatus
from dunlin.queue.rules import meant

_NUMBERS = msgspec.json.Decoder(list[int])


class UnitRow(NamedTuple):
    """A row of a unit. `item`: of all its files, -1: they differ; `members`: None: `first` and those after it."""

    job: int
    number: int
    item: int
    first: int
    files: int
    members: tuple[int, ...] | None
    attempt: int
    status: UnitStatus
    reported: int
    tries: int

    def number_at(self, place: int) -> int:
        """The number of the file in a place."""
        return self.first + place if self.members is None else self.members[place]

    def numbers(self) -> Sequence[int]:
        """The numbers of its files, in their places."""
        return range(self.first, self.first + self.files) if self.members is None else self.members


def unit_of(row: Sequence[Any]) -> UnitRow:
    """A row of the table `unit`."""
    job, number, item, first, files, members, attempt, status, reported, tries = row
    listed = None if members is None else tuple(_NUMBERS.decode(members))
    return UnitRow(job, number, item, first, files, listed, attempt, UnitStatus(status), reported, tries)


def item_of(row: Sequence[Any]) -> Item:
    """A row of `item_all`."""
    job, number, source, to, delete, overwrite = row[:6]
    found = Item(text_of(job), number, meant(source), meant(to), bool(delete), bool(overwrite), *row[6:])
    return found._replace(walked=bool(found.walked), error=meant(found.error))


def file_of(row: Sequence[Any]) -> File:
    """A row of `file_columns` or `failure_columns`."""
    job, number, item, path, key, size, status, attempt, worker, updated, error = row
    words = meant(path), meant(key)
    code = FileStatus(status)
    return File(text_of(job), number, item, *words, size, code, attempt, meant(worker), updated, meant(error))


def rows_of(rows: Rows, job: int, numbers: Sequence[int], columns: str, lock: bool = False) -> list[Any]:
    """Columns of the files of these numbers, by number. `lock`: they are to be changed in this transaction."""
    end = "ORDER BY number /*postgres FOR UPDATE*/" if lock else "ORDER BY number"
    if not numbers:
        return []
    if isinstance(numbers, range) or numbers[-1] - numbers[0] + 1 == len(numbers):
        span = (job, numbers[0], numbers[-1] + 1)
        return rows.query(f"SELECT {columns} FROM file WHERE job = $1 AND number >= $2 AND number < $3 {end}", span)
    found = []
    for begin in range(0, len(numbers), 500):
        part = numbers[begin : begin + 500]
        some = ", ".join(f"${place + 2}" for place in range(len(part)))
        found += rows.query(f"SELECT {columns} FROM file WHERE job = $1 AND number IN ({some}) {end}", (job, *part))
    return found
