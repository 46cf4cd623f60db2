"""What the tests of the contract share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dunlin.model import Entry
from dunlin.stores.base import Body, Data, Meta, Reads, Store, Writes


def body(data: bytes, size: int | None = -1, step: int = 1000) -> Body:
    """`data` in blocks of `step` bytes; `size` as announced (-1: the truth)."""

    def open_at(start: int) -> Iterator[Data]:
        for at in range(start, len(data), step):
            yield data[at : at + step]

    return Body(len(data) if size == -1 else size, open_at)


def put(store: Writes, path: str, data: bytes = b"x", **meta: Any) -> Entry:
    return store.write(path, body(data), meta=Meta(**meta))


def get(store: Store, path: str) -> bytes:
    return content(store, store.stat(path))


def content(store: Reads, entry: Entry) -> bytes:
    return b"".join(bytes(data) for data in store.read(entry))


def names(store: Store, directory: str = "") -> list[str]:
    return [name for batch in store.list(directory) for name, _ in batch]
