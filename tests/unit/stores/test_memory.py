"""What the memory store has beyond the contract: clock, faults, capacity."""

from __future__ import annotations

import itertools

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, MTIME
from dunlin.stores.base import Meta
from dunlin.stores.memory import MemoryStore, stored
from tests.contract.support import content, get, names, put


def test_times_come_from_the_clock() -> None:
    ticks = itertools.count(100)
    store = MemoryStore(clock=lambda: next(ticks))
    first = put(store, "f")
    second = put(store, "f")
    assert first.facts[MTIME] < second.facts[MTIME] < 110
    assert put(store, "g", mtime=7).facts[MTIME] == 7
    assert store.stat("g").facts[CTIME] >= 100


@pytest.mark.parametrize("verb", ["list", "read", "write", "stat", "delete", "move", "make_directory", "set_meta"])
def test_faults_hit_one_verb_at_one_path(verb: str) -> None:
    store = MemoryStore()
    store.make_directory("d")
    entry = put(store, "d/f")
    path = "d" if verb == "list" else "d/new" if verb == "make_directory" else "d/f"
    calls = {
        "list": lambda: names(store, "d"),
        "read": lambda: content(store, entry),
        "write": lambda: put(store, "d/f"),
        "stat": lambda: store.stat("d/f"),
        "delete": lambda: store.delete(["d/f"]),
        "move": lambda: store.move("d/f", "d/g"),
        "make_directory": lambda: store.make_directory("d/new"),
        "set_meta": lambda: store.set_meta("d/f", Meta(mtime=1)),
    }
    before = stored(store)
    store.faults[verb, path] = DunlinError(verb, path, ErrorKind.IO)
    with pytest.raises(DunlinError) as error:
        calls[verb]()
    assert error.value.kind is ErrorKind.IO
    store.faults.clear()
    assert stored(store) == before
    calls[verb]()


def test_capacity() -> None:
    store = MemoryStore(capacity=10)
    put(store, "f", b"12345")
    assert store.free_space() == 5
    with pytest.raises(DunlinError) as error:
        put(store, "g", b"123456")
    assert error.value.kind is ErrorKind.NO_SPACE
    store.make_hard_link("f", "h")
    assert store.free_space() == 5
    assert get(store, "h") == b"12345"


def test_stored_shows_the_tree() -> None:
    store = MemoryStore()
    store.make_directory("d")
    put(store, "d/f", b"1")
    store.make_link("l", "d/f", Meta())
    assert stored(store) == {"d": None, "d/f": b"1", "l": "d/f"}
