"""A flat listing gives what a listing directory by directory gives, in fewer requests and bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.compare.listing import OrderError
from dunlin.model import BARE_DIRECTORY, Facts, Kind, facts
from dunlin.workers.flat import Batches, Carried, directory_names, unpacked

FILE = facts(Kind.FILE, 1, 5)
components = st.text("ab-.0\u00e9", min_size=1, max_size=3)
paths = st.lists(st.lists(components, min_size=1, max_size=4).map("/".join), unique=True, max_size=30)


class Bucket:
    """Sorted keys, listed in pages; counts the requests."""

    def __init__(self, keys: list[str], page: int) -> None:
        self.keys = sorted(keys, key=str.encode)
        self.page = page
        self.requests = 0

    def walk(self) -> Iterator[list[tuple[str, Facts]]]:
        for at in range(0, len(self.keys), self.page):
            self.requests += 1
            yield [(key, FILE) for key in self.keys[at : at + self.page]]


def model(keys: list[str]) -> list[tuple[str, bool]]:
    """Names of the root and whether they are directories."""
    return sorted({(key.partition("/")[0], "/" in key) for key in keys})


def listed(batches: Batches) -> list[tuple[str, bool]]:
    return sorted((name, what == BARE_DIRECTORY) for batch in batches for name, what in batch)


@given(paths, st.integers(1, 5), st.integers(0, 6))
def test_it_lists_what_the_keys_say_at_every_level(keys: list[str], page: int, most: int) -> None:
    below = Carried()
    names = listed(directory_names(Bucket(keys, page).walk(), below, most))
    assert names == model(keys)
    for name, is_directory in names:
        inner = [key[len(name) + 1 :] for key in keys if key.startswith(name + "/")]
        travelled = below.take(name) if is_directory else None
        assert (travelled is not None) == (is_directory and len(inner) <= most)
        if travelled is not None:
            assert listed(directory_names(unpacked(travelled), Carried(), most)) == model(inner)


def test_a_tree_of_small_directories_takes_one_request_per_page() -> None:
    bucket = Bucket([f"d{n:03}/f{m}" for n in range(100) for m in range(10)], page=100)
    below = Carried()
    assert len(listed(directory_names(bucket.walk(), below))) == 100
    assert bucket.requests == 10
    assert all(below.take(f"d{n:03}") is not None for n in range(100))


def test_a_file_and_a_directory_of_one_name_are_both_there() -> None:
    bucket = Bucket(["a", "a-b", "a/b", "a/c"], 10)
    assert listed(directory_names(bucket.walk(), Carried())) == [("a", False), ("a", True), ("a-b", False)]


def test_an_empty_directory_may_be_an_entry() -> None:
    walk = iter([[("d", BARE_DIRECTORY), ("e", BARE_DIRECTORY), ("e/f", FILE), ("g", FILE)]])
    below = Carried()
    assert listed(directory_names(walk, below)) == [("d", True), ("e", True), ("g", False)]
    assert listed(unpacked(below.take("d") or b"")) == []
    assert listed(unpacked(below.take("e") or b"")) == [("f", False)]


def test_what_there_is_no_room_for_is_not_kept() -> None:
    kept = Carried(room=10)
    kept.put_all("a", {"b": b"12345678", "c": b"123"})
    assert (kept.take("a/b"), kept.take("a/c")) == (b"12345678", None)
    kept.put("x", b"1234567890")
    assert kept.take("x") == b"1234567890"
    assert kept.take("x") is None


def test_a_directory_that_comes_in_two_pieces_is_no_half_listing() -> None:
    walk = iter([[("d/a", FILE), ("e/f", FILE)], [("d/b", FILE)]])
    with pytest.raises(OrderError):
        list(directory_names(walk, Carried()))


def test_escaped_names_stand_where_their_keys_do() -> None:
    walk = iter([[("d/\u201b_/1", FILE)], [("d/\u201b_/2", FILE), ("d/a", FILE)], [("e", FILE)]])
    below = Carried()
    assert listed(directory_names(walk, below)) == [("d", True), ("e", False)]
    inner = Carried()
    assert listed(directory_names(unpacked(below.take("d") or b""), inner)) == [("a", False), ("\u201b_", True)]
    assert listed(unpacked(inner.take("\u201b_") or b"")) == [("1", False), ("2", False)]
