"""The six verbs, for every store and every wrapper."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, IDENT, MODE, MTIME, NLINK, SIZE, Entry
from dunlin.stores.base import Body, Data, MakesDirs, MakesLinks, Meta, Moves, Order, Store
from dunlin.stores.buffers import Buffers
from tests.contract.stores import IN_PLACE, STORES, needs
from tests.contract.support import body, content, get, having, holds, in_order, make_directory, names, put, refused

ODD_NAMES = [
    "a",
    "a-b",
    "a.txt",
    "a0",
    "a b",
    "\u00e9",
    "e\u0301",
    "trailing.",
    " ",
    "new\nline",
    "tab\t\x01",
    "*?[]",
    "back\\slash",
    "C:\\x",
    "...",
    "..a",
    "-rf",
    "\udcff\udcfe invalid",
    "x" * 255,
    "\u00e9" * 127,
]
IMPOSSIBLE = ["..", ".", "/lead", "a//b", "a/", "//", "a/../b", "../../etc/passwd", "./a", "nul\0", "a/./b", "/"]


def kind_of(error: pytest.ExceptionInfo[DunlinError]) -> ErrorKind:
    return error.value.kind


# ---- names ----


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_survive(store: Store, name: str) -> None:
    if not holds(store, name):
        refused(ErrorKind.NAME, lambda: put(store, name, b"content"))
        assert names(store) == []
        return
    put(store, name, b"content")
    assert names(store) == [name]
    assert get(store, name) == b"content"
    assert store.delete([name]) == [True]
    assert names(store) == []


def test_all_odd_names_live_side_by_side(store: Store) -> None:
    wanted = [name for name in ODD_NAMES if holds(store, name)]
    for name in wanted:
        put(store, name, name.encode("utf-8", "surrogateescape"))
    assert sorted(names(store)) == sorted(wanted)
    for name in wanted:
        assert get(store, name) == name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("path", IMPOSSIBLE)
def test_a_path_that_could_leave_the_root_is_refused(store: Store, path: str) -> None:
    inside = make_directory(store, "a")
    entry = Entry(path, store.stat("a").facts)
    for attempt in (
        lambda: put(store, path),
        lambda: store.stat(path),
        lambda: store.delete([path]),
        lambda: content(store, entry),
        lambda: having(store, MakesDirs).make_directory(path),
    ):
        with pytest.raises(DunlinError) as error:
            attempt()
        assert kind_of(error) is ErrorKind.NAME
    assert names(store) == ["a"]
    assert "".join(names(store, "a")) == inside


def test_a_file_and_a_directory_named_by_a_prefix(store: Store) -> None:
    for name in ("a-b", "a.txt", "a0"):
        put(store, name)
    make_directory(store, "a")
    put(store, "a/in")
    found = names(store)
    assert sorted(found) == ["a", "a-b", "a.txt", "a0"]
    if store.caps.order is Order.PROVEN:
        assert found == ["a-b", "a.txt", "a", "a0"]


def upper(letter: str) -> str:
    """What makes two letters one where case does not count."""
    return letter.upper() if len(letter.upper()) == 1 else letter


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sets(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
            lambda name: name not in (".", "..")
        ),
        max_size=12,
    )
)
def test_listing_returns_exactly_what_was_written(store: Store, wanted: set[str]) -> None:
    wanted = {name for name in wanted if holds(store, name)}
    if not store.caps.case_sensitive:
        wanted = set({"".join(map(upper, name)): name for name in wanted}.values())
    for name in wanted:
        put(store, name, b"")
    found = names(store)
    assert sorted(found) == sorted(wanted)
    if store.caps.order is Order.PROVEN:
        assert found == in_order(store, wanted)
    assert store.delete(found) == [True] * len(found)


# ---- list and stat ----


def test_listing_what_is_no_directory(store: Store) -> None:
    put(store, "file")
    for path in ("absent", "file", "absent/below", "file/below"):
        with pytest.raises(DunlinError) as error:
            names(store, path)
        assert kind_of(error) is ErrorKind.NOT_FOUND


def test_listing_and_stat_agree(store: Store) -> None:
    make_directory(store, "d")
    put(store, "d/f", b"12345", mtime=1_234_567_890_123_456_789)
    listed = dict(pair for batch in store.list("d") for pair in batch)
    found = store.stat("d/f").facts
    assert found[MTIME] == 1_234_567_890_123_456_789
    # A listing may know less than a look at the file, but nothing else.
    told = list(listed["f"])
    if told[MTIME] is not None and 0 <= found[MTIME] - told[MTIME] < (store.caps.mtime_precision or 1):
        told[MTIME] = found[MTIME]  # a listing tells times to the store's precision, a look may know the rest
    assert all(one in (None, known) for one, known in zip(told, found, strict=True))
    assert listed["f"] == found or store.caps.far
    assert listed["f"][SIZE] == 5
    assert stat.S_ISREG(listed["f"][MODE])
    assert stat.S_ISDIR(store.stat("d").facts[MODE])
    assert stat.S_ISDIR(store.stat("").facts[MODE])


def test_stat_of_nothing(store: Store) -> None:
    put(store, "file")
    for path in ("absent", "absent/x", "file/x"):
        with pytest.raises(DunlinError) as error:
            store.stat(path)
        assert kind_of(error) is ErrorKind.NOT_FOUND


def test_a_listing_while_names_come_and_go(store: Store) -> None:
    stay = {f"stay{number}" for number in range(50)}
    for name in stay | {f"go{number}" for number in range(50)}:
        put(store, name, b"")
    listing = store.list("")
    store.delete([f"go{number}" for number in range(25)])
    put(store, "new")
    found = [name for batch in listing for name, _ in batch]
    store.delete([f"go{number}" for number in range(25, 50)])
    assert stay <= set(found)
    assert len(found) == len(set(found))


# ---- read ----


def test_reading_ranges(store: Store) -> None:
    data = bytes(range(256)) * 3000
    entry = put(store, "f", data)
    for start, length in [(0, None), (1, None), (300_000, 400_000), (0, 0), (len(data), None), (len(data) + 5, 3)]:
        read = b"".join(bytes(chunk) for chunk in store.read(entry, start, length))
        assert read == data[start:][: len(data) if length is None else length]
    assert b"".join(store.read(put(store, "empty", b""))) == b""


def test_reading_into_a_pool_takes_no_more_than_the_pool(store: Store) -> None:
    data = bytes(range(251)) * 1000
    entry = put(store, "f", data)
    pool = Buffers(10_000, 1)
    read = bytearray()
    for chunk in store.read(entry, into=pool):
        assert isinstance(chunk, memoryview)
        assert len(chunk) <= 10_000
        read += chunk
        pool.give(chunk)
    assert bytes(read) == data


@pytest.mark.parametrize("change", ["size", "content", "replaced", "gone", "directory"])
def test_another_version_than_the_listed_one_is_refused(store: Store, change: str) -> None:
    changed_and_refused(store, change)


@needs(MakesLinks)
def test_a_link_where_a_file_was_listed_is_refused(store: Store) -> None:
    changed_and_refused(store, "link")


def changed_and_refused(store: Store, change: str) -> None:
    entry = put(store, "f", b"first", mtime=1_000_000_000)
    if change in ("gone", "directory", "link"):
        store.delete(["f"])
    if change == "directory":
        make_directory(store, "f")
    elif change == "link":
        put(store, "other", b"first", mtime=1_000_000_000)
        having(store, MakesLinks).make_link("f", "other", Meta())
    elif change == "replaced":
        # The etag of an object may be that of its content: the same content is the same version then.
        put(store, "g", b"again" if store.caps.far else b"first", mtime=1_000_000_000)
        having(store, Moves).move("g", "f")
    elif change != "gone":
        put(store, "f", b"other" if change == "content" else b"longer than before", mtime=2_000_000_000)
    with pytest.raises(DunlinError) as error:
        content(store, entry)
    gone = change == "gone" or (change == "directory" and store.caps.twins)
    assert kind_of(error) is (ErrorKind.VANISHED if gone else ErrorKind.CHANGED)


def test_a_change_during_the_read_is_seen_before_the_last_chunk(store: Store) -> None:
    entry = put(store, "f", b"a" * 1_000_000, mtime=1_000_000_000)
    chunks = store.read(entry)
    got = [next(chunks)]
    put(store, "f", b"b" * 1_000_000, mtime=1_000_000_001)
    if store.caps.far:
        # A request that is under way goes on with its version, or breaks off: never with a mixture.
        try:
            got.extend(chunks)
        except DunlinError as error:
            assert error.kind is ErrorKind.CHANGED  # noqa: PT017 - it need not fail
            assert b"".join(got) == b"a" * sum(len(chunk) for chunk in got)
        else:
            assert b"".join(got) == b"a" * 1_000_000
        return
    with pytest.raises(DunlinError) as raised:
        got.extend(chunks)
    assert kind_of(raised) is ErrorKind.CHANGED
    assert sum(len(chunk) for chunk in got) < 1_000_000


def test_a_pool_is_whole_again_after_a_failed_read(store: Store) -> None:
    entry = put(store, "f", b"a" * 50_000, mtime=1)
    put(store, "f", b"b" * 50_000, mtime=2)
    pool = Buffers(100_000, 1)
    with pytest.raises(DunlinError):
        list(store.read(entry, into=pool))
    assert len(pool.take()) == 100_000  # would wait for ever if the buffer were lost


# ---- write ----


def test_write_returns_the_entry_that_stands_there(store: Store) -> None:
    entry = put(store, "f", b"123", mtime=5_000_000_007, atime=6_000_000_008)
    found = store.stat("f")
    assert entry.facts[:CTIME] + entry.facts[NLINK:] == found.facts[:CTIME] + found.facts[NLINK:]
    # When an object was stored, its service tells in the next answer.
    assert entry.facts[CTIME] == found.facts[CTIME] or (store.caps.far and entry.facts[CTIME] is None)
    assert entry.size == 3


@pytest.mark.parametrize(("before", "after"), [(b"long" * 9000, b"short"), (b"short", b"long" * 9000), (b"full", b"")])
def test_overwriting_with_another_length(store: Store, before: bytes, after: bytes) -> None:
    put(store, "f", before)
    put(store, "f", after)
    assert get(store, "f") == after
    assert names(store) == ["f"]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 200_000])
@pytest.mark.parametrize("step", [1000, 4096, 65_536])
def test_zeros_are_written_like_anything_else(store: Store, size: int, step: int) -> None:
    for data in (bytes(size), b"a" + bytes(size) + b"b", bytes(size) + b"b", b"a" + bytes(size)):
        store.write("f", body(data, step=step), meta=Meta())
        assert get(store, "f") == data


class Broken(Exception):
    pass


def broken(data: bytes) -> Body:
    def open_at(start: int) -> Iterator[Data]:
        yield data
        raise Broken

    return Body(None, open_at)


@needs(among=STORES - IN_PLACE)
def test_a_body_that_fails_leaves_what_was_there(store: Store) -> None:
    before = put(store, "f", b"old")
    with pytest.raises(Broken):
        store.write("f", broken(b"new" * 1000), meta=Meta())
    with pytest.raises(Broken):
        store.write("g", broken(b"new" * 1000), meta=Meta())
    assert store.stat("f").facts[IDENT] == before.facts[IDENT]
    assert get(store, "f") == b"old"
    assert names(store) == ["f"]


def test_a_failed_new_file_leaves_no_name(store: Store) -> None:
    with pytest.raises(Broken):
        store.write("g", broken(b"new" * 1000), meta=Meta())
    assert names(store) == []


@pytest.mark.parametrize("size", [2, 4])
@needs(among=STORES - IN_PLACE)
def test_the_announced_size_must_come(store: Store, size: int) -> None:
    put(store, "f", b"old")
    with pytest.raises(DunlinError) as error:
        store.write("f", body(b"abc", size), meta=Meta())
    assert kind_of(error) is ErrorKind.CHANGED
    assert get(store, "f") == b"old"
    assert names(store) == ["f"]


def test_an_unknown_size_is_fine(store: Store) -> None:
    store.write("f", body(b"abc", None), meta=Meta())
    assert get(store, "f") == b"abc"


def test_each_block_is_given_back_once_also_when_the_body_fails(store: Store) -> None:
    released: list[bytes] = []
    blocks = [b"one", b"two", b"three"]
    store.write("f", Body(11, lambda start: iter(blocks), lambda data: released.append(bytes(data))), meta=Meta())
    assert released == blocks
    released.clear()
    failing = Body(None, broken(b"four").open, lambda data: released.append(bytes(data)))
    with pytest.raises(Broken):
        store.write("g", failing, meta=Meta())
    assert released == [b"four"]


def test_if_absent(store: Store) -> None:
    store.write("f", body(b"first"), meta=Meta(), if_absent=True)
    with pytest.raises(DunlinError) as error:
        store.write("f", body(b"second"), meta=Meta(), if_absent=True)
    assert kind_of(error) is ErrorKind.EXISTS
    assert get(store, "f") == b"first"
    assert names(store) == ["f"]


@needs(among=STORES - IN_PLACE)
def test_if_absent_sees_a_name_that_appears_meanwhile(store: Store) -> None:
    def open_at(start: int) -> Iterator[Data]:
        put(store, "f", b"somebody else")
        yield b"ours"

    with pytest.raises(DunlinError) as error:
        store.write("f", Body(4, open_at), meta=Meta(), if_absent=True)
    assert kind_of(error) is ErrorKind.EXISTS
    assert get(store, "f") == b"somebody else"
    assert names(store) == ["f"]


def test_writing_over_a_directory_or_into_nowhere(store: Store) -> None:
    inside = make_directory(store, "d")
    put(store, "f")
    if store.caps.twins:
        put(store, "d", b"beside")
        put(store, "f/x", b"below")
        assert names(store) == ["d", "d", "f", "f"]
        assert get(store, "d") == b"beside"
        assert names(store, "d") == [inside]
        assert get(store, "f") == b"x"
        assert names(store, "f") == ["x"]
        return
    for path, kind in [("d", ErrorKind.EXISTS), ("absent/x", ErrorKind.NOT_FOUND), ("f/x", ErrorKind.NOT_FOUND)]:
        with pytest.raises(DunlinError) as error:
            put(store, path)
        assert kind_of(error) is kind
    assert sorted(names(store)) == ["d", "f"]
    assert names(store, "d") == []


@needs(MakesLinks)
def test_a_link_is_replaced_not_followed(store: Store) -> None:
    links = having(store, MakesLinks)
    put(store, "target", b"keep")
    links.make_link("l", "target", Meta())
    put(store, "l", b"new")
    assert get(store, "target") == b"keep"
    assert get(store, "l") == b"new"


# ---- delete ----


def test_delete_tells_what_was_there(store: Store) -> None:
    put(store, "f")
    if not store.caps.directories:
        put(store, "d/e")
        assert store.delete(["f", "absent", "d", "absent/x", "f"]) == [True] * 5
        assert names(store) == ["d"]
        assert store.delete(["d/e"]) == [True]
        assert names(store) == []
        assert store.delete([]) == []
        return
    make_directory(store, "d")
    make_directory(store, "d/e")
    assert store.delete(["f", "absent", "d/e", "absent/x", "f"]) == [True, False, True, False, False]
    assert names(store) == ["d"]
    assert store.delete([]) == []


def test_a_directory_with_content_is_not_removed(store: Store) -> None:
    make_directory(store, "d")
    put(store, "d/f")
    if store.caps.directories:
        refused(ErrorKind.EXISTS, lambda: store.delete(["d"]))
        assert names(store, "d") == ["f"]
    else:
        store.delete(["d"])
        assert sorted(names(store, "d")) == ["f", "in"]


@needs(MakesLinks)
def test_a_link_is_deleted_not_its_target(store: Store) -> None:
    links = having(store, MakesLinks)
    make_directory(store, "d")
    put(store, "d/f")
    links.make_link("l", "d", Meta())
    assert store.delete(["l"]) == [True]
    assert names(store, "d") == ["f"]


def test_a_directory_made_again_is_the_new_one(store: Store) -> None:
    make_directory(store, "d")
    put(store, "d/old")
    assert "old" in names(store, "d")
    store.delete(["d/old", "d"] if store.caps.directories else ["d/old", "d/in"])
    refused(ErrorKind.NOT_FOUND, lambda: names(store, "d"))
    inside = make_directory(store, "d")
    assert "".join(names(store, "d")) == inside
    put(store, "d/new")
    assert set(names(store, "d")) == {"new", inside} - {""}
