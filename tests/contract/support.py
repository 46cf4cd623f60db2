"""What the tests of the contract share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, sort_key
from dunlin.stores.base import Body, Data, MakesDirs, Meta, Reads, Store, Writes, power

P = TypeVar("P")


class FreeBucket:
    """A bucket that never makes anybody wait."""

    def take(self, n: int) -> None:
        assert n >= 0


def once(act: Callable[[], Any]) -> Any:
    """A retry policy that gives up at once."""
    return act()


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


def in_order(store: Store, names: Collection[str]) -> list[str]:
    """Names of files as the server in the tests lists them.

    Azurite compares UTF-16 units, so what lies beyond U+FFFF comes before U+E000 to U+FFFF there; that this is no order
    is found as it streams (`tests/acceptance/test_listing_order.py`).
    """
    if store.url.startswith("az:"):
        return sorted(names, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return sorted(names, key=lambda name: sort_key(name, False))


def holds(store: Store, name: str) -> bool:
    """Whether a name can be stored at all: keys of objects are valid UTF-8, and a service may refuse some."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return store.caps.directories
    storable = getattr(getattr(store, "service", None), "storable", None)
    return storable is None or bool(storable(name))


def having(store: Store, wanted: type[P]) -> P:
    """The store as one with this power, which `tests.contract.stores` says that it has."""
    found = power(store, wanted)
    assert found is not None, f"{store.url} has lost {wanted.__name__}"
    return found


def make_directory(store: Store, path: str) -> str:
    """Make a directory and return what stands in it: "", or the name without which objects have no directory."""
    assert having(store, MakesDirs).make_directory(path)
    if store.caps.directories:
        return ""
    put(store, f"{path}/in")
    return "in"


def refused(kind: ErrorKind, attempt: Callable[[], Any]) -> None:
    """`attempt` fails with an error of this kind."""
    with pytest.raises(DunlinError) as error:
        attempt()
    assert error.value.kind is kind
