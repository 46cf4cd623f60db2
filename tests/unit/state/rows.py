"""Rows for `put_files` and `put_synced`, and a clock."""

from __future__ import annotations

from typing import Any

from dunlin.state import FILE_ROW, FileStatus


class Clock:
    """A clock that stands still until it is set; ns."""

    def __init__(self, time: int = 1_000_000) -> None:
        self.time = time

    def __call__(self) -> int:
        return self.time


def row(name: str, **fields: Any) -> tuple[Any, ...]:
    """A row of `FILE_ROW`: 4 bytes, pending, with what `fields` say."""
    values = {"name": name, "size": 4, "mtime": 10, "ctime": 11, "mode": 0o100644, "status": FileStatus.PENDING}
    unknown = fields.keys() - set(FILE_ROW)
    assert not unknown, unknown
    return tuple({**values, **fields}.get(field) for field in FILE_ROW)


def synced(name: str, **fields: Any) -> tuple[Any, ...]:
    """A synced row with a hash."""
    return row(name, **{"status": FileStatus.SYNCED, "hash_algorithm": "blake3", "hash": b"\x01\x02", **fields})
