"""A listing is taken up again behind what is on record: nothing is skipped, whatever the pages and windows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hypothesis import given
from hypothesis import strategies as st

from dunlin.model import Facts, Kind, facts, sort_key
from dunlin.workers.bookmark import Bookmarks
from dunlin.workers.flat import Carried, directory_names

FILE = facts(Kind.FILE, 1, 5)
components = st.text("ab-.0", min_size=1, max_size=2)
keys = st.lists(st.lists(components, min_size=1, max_size=3).map("/".join), unique=True, max_size=40)


def pages(
    paths: list[str], size: int, begin: int = 0, without: Collection[int] = ()
) -> Iterator[tuple[list[tuple[str, Facts]], str]]:
    for at in range(begin, len(paths), size):
        token = str(at + size) if at + size < len(paths) and at // size not in without else ""
        yield [(path, FILE) for path in paths[at : at + size]], token


def names(paths: list[str]) -> set[bytes]:
    return {sort_key(path.partition("/")[0], "/" in path) for path in paths}


@given(keys, st.integers(1, 5), st.integers(0, 40), st.sets(st.integers(0, 20)))
def test_what_was_dealt_with_and_what_is_listed_again_is_everything(
    paths: list[str], size: int, stop: int, without: set[int]
) -> None:
    paths.sort(key=str.encode)
    marks = Bookmarks()
    done: set[bytes] = set()
    mark = None
    for batch in directory_names(marks.note(pages(paths, size, without=without)), Carried()):
        done |= {sort_key(name, what[0] != FILE[0]) for name, what in batch}
        mark = marks.best(max(done)) or mark
        if len(done) >= stop:
            break
    if mark is None:
        return
    rest = paths[int(mark.token) :]
    assert {name for name in names(paths) if name <= mark.last} <= done
    assert names(rest) == {name for name in names(paths) if name > mark.last}


def test_every_page_of_plain_names_can_be_used() -> None:
    marks = Bookmarks()
    listing = marks.note(pages(["a", "b", "c", "d", "e"], 2))
    assert marks.best(b"z") is None
    next(listing)
    next(listing)
    assert marks.best(b"a") is None
    mark = marks.best(b"b")
    assert mark is not None
    assert (mark.token, mark.last) == ("2", b"b")
    assert marks.best(b"b") is None


def test_a_page_that_ends_within_a_directory_cannot() -> None:
    marks = Bookmarks()
    for _ in marks.note(pages(["a/1", "a/2", "a/3", "b"], 2)):
        pass
    assert marks.best(b"z") is None


def test_a_page_without_a_token_does_not_lend_its_end_to_the_token_before() -> None:
    marks = Bookmarks()
    for _ in marks.note(pages(["a/1", "a/2", "b"], 1, without={1})):
        pass
    assert marks.best(b"z") is None


def test_nothing_is_marked_before_it_was_dealt_with() -> None:
    marks = Bookmarks()
    for _ in marks.note(pages(["a", "b", "c"], 1)):
        pass
    assert marks.best(None) is None
    assert marks.best(b"\0") is None
