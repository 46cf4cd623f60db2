"""The optional powers, for every store and wrapper that has them, and the forwarding of each by each."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, GID, IDENT, MODE, NLINK, UID, Kind, sort_key
from dunlin.pace.bucket import Bucket
from dunlin.report import NullReport
from dunlin.stores import base
from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.base import (
    Copies,
    DropsMarkers,
    Fetches,
    FetchesDressed,
    Finds,
    Gathered,
    HasSpace,
    KnowsBirths,
    LooksAt,
    MakesDirs,
    MakesLinks,
    Meta,
    Moves,
    Order,
    ReadsBatch,
    RemovesDirs,
    SetsMeta,
    Store,
    Syncs,
    Walks,
    WritesBatch,
    power,
)
from dunlin.stores.local import LocalStore
from dunlin.stores.local.batch import BatchOptions, new_worker
from dunlin.stores.login import Login
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import POWERS, Paced, ReadOnly
from dunlin.transfer.options import Options
from tests.contract.stores import LACKS, WRAPPERS, lacks, needs, of
from tests.contract.support import FreeBucket, get, having, make_directory, names, put, refused
from tests.unit.stores.objects.fake_service import FakeService


def test_a_store_has_every_power_but_those_it_lacks_on_purpose(store: Store, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["store"]
    assert {wanted for wanted in POWERS if power(store, wanted) is None} == lacks(name)
    assert store.caps.far is (name in of("objects", "share"))


def test_make_directory(store: Store) -> None:
    dirs = having(store, MakesDirs)
    if not store.caps.directories:
        assert dirs.make_directory("d", 0o2755) is True
        assert dirs.make_directory("") is False
        assert names(store) == []
        refused(ErrorKind.NOT_FOUND, lambda: store.stat("d"))
        put(store, "d/f")
        assert store.stat("d").kind is Kind.DIRECTORY
        assert dirs.make_directory("d/f/g") is True
        return
    assert dirs.make_directory("d", 0o2755) is True
    assert dirs.make_directory("d", 0o700) is False
    assert stat.S_IMODE(store.stat("d").facts[MODE]) == 0o2755
    assert dirs.make_directory("") is False
    dirs.make_directory("narrow", 0o555)
    put(store, "narrow/f")
    put(store, "f")
    for path, kind in [("f", ErrorKind.EXISTS), ("absent/d", ErrorKind.NOT_FOUND), ("f/d", ErrorKind.NOT_FOUND)]:
        with pytest.raises(DunlinError) as error:
            dirs.make_directory(path)
        assert error.value.kind is kind


@needs(RemovesDirs)
def test_only_an_empty_directory_is_removed(store: Store) -> None:
    removes, dirs = having(store, RemovesDirs), having(store, MakesDirs)
    for name in ("empty", "full"):
        dirs.make_directory(name)
    put(store, "full/f")
    put(store, "file")
    for path, kind in [("full", ErrorKind.EXISTS), ("file", ErrorKind.CHANGED)]:
        refused(kind, lambda path=path: removes.remove_directory(path))
    assert removes.remove_directory("empty") is True
    assert removes.remove_directory("empty") is False
    assert removes.remove_directory("absent/empty") is False
    assert names(store) == ["file", "full"]
    put(store, "full/g")
    dirs.make_directory("empty")
    put(store, "empty/f")  # another directory than before
    assert get(store, "empty/f") != b""


@needs(RemovesDirs, MakesLinks)
def test_a_link_is_not_removed_as_the_directory_it_names(store: Store) -> None:
    removes = having(store, RemovesDirs)
    having(store, MakesDirs).make_directory("empty")
    having(store, MakesLinks).make_link("link", "empty", Meta())
    refused(ErrorKind.CHANGED, lambda: removes.remove_directory("link"))
    assert sorted(names(store)) == ["empty", "link"]


@needs(DropsMarkers)
def test_what_shows_an_empty_directory_is_dropped(store: Store) -> None:
    markers = having(store, DropsMarkers)
    put(store, "d/\u201b_", b"")
    put(store, "d", b"a file of that name")
    put(store, "full/\u201b_", b"")
    put(store, "full/f")
    put(store, "file/\u201b_", b"content")
    assert store.stat("d").kind is Kind.FILE
    assert markers.drop_marker("d") is True
    assert markers.drop_marker("d") is False
    assert [markers.drop_marker(name) for name in ("full", "file", "absent", "")] == [False] * 4
    assert names(store) == ["d", "file", "full"]
    assert get(store, "d") == b"a file of that name"
    assert get(store, "file/\u201b_") == b"content"


@needs(MakesLinks)
def test_links(store: Store) -> None:
    links = having(store, MakesLinks)
    for target in ("nowhere", "../up", "/abs/\udcff", "x" * 1000):
        links.make_link("l", target, Meta(mtime=3_000_000_001, atime=4_000_000_002))
        assert links.read_link("l") == target
        entry = store.stat("l")
        assert entry.kind is Kind.LINK
        assert entry.mtime == 3_000_000_001
    assert names(store) == ["l"]
    put(store, "f")
    with pytest.raises(DunlinError) as error:
        links.read_link("f")
    assert error.value.kind is ErrorKind.CHANGED


@needs(MakesLinks)
def test_hard_links(store: Store) -> None:
    links = having(store, MakesLinks)
    put(store, "one", b"content")
    put(store, "two", b"other")
    links.make_hard_link("one", "two")
    links.make_hard_link("one", "three")
    links.make_hard_link("one", "three")  # both names are one inode already
    facts = [store.stat(name).facts for name in ("one", "two", "three")]
    assert {what[IDENT] for what in facts} == {facts[0][IDENT]}
    assert facts[0][NLINK] == 3
    assert get(store, "two") == b"content"
    assert sorted(names(store)) == ["one", "three", "two"]
    with pytest.raises(DunlinError) as error:
        links.make_hard_link("absent", "four")
    assert error.value.kind is ErrorKind.NOT_FOUND


@needs(MakesLinks)
def test_special_files(store: Store) -> None:
    links = having(store, MakesLinks)
    put(store, "fifo", b"in the way")
    links.make_special("fifo", stat.S_IFIFO | 0o640, 0, Meta(mtime=7))
    links.make_special("socket", stat.S_IFSOCK | 0o600, 0, Meta())
    assert store.stat("fifo").kind is Kind.FIFO
    assert stat.S_IMODE(store.stat("fifo").facts[MODE]) == 0o640
    assert store.stat("fifo").mtime == 7
    assert store.stat("socket").kind is Kind.SOCKET


def test_metadata_to_the_nanosecond(store: Store) -> None:
    setter = having(store, SetsMeta)
    put(store, "f", b"x", mode=0o640, mtime=1_111_111_111_111_111_111, atime=999_999_999)
    assert store.stat("f").mtime == 1_111_111_111_111_111_111
    assert stat.S_IMODE(store.stat("f").facts[MODE]) == 0o640
    setter.set_meta("f", Meta(mtime=-5_000_000_001))
    assert store.stat("f").mtime == -5_000_000_001
    setter.set_meta("f", Meta(mode=0o7711))
    assert stat.S_IMODE(store.stat("f").facts[MODE]) == 0o7711
    assert store.stat("f").mtime == -5_000_000_001
    setter.set_meta("", Meta(mtime=42))
    if store.caps.directories:
        assert store.stat("").mtime == 42
    with pytest.raises(DunlinError) as error:
        setter.set_meta("absent", Meta(mtime=1))
    assert error.value.kind is ErrorKind.NOT_FOUND


@needs(MakesLinks)
def test_metadata_of_a_link_is_its_own(store: Store) -> None:
    links, setter = having(store, MakesLinks), having(store, SetsMeta)
    put(store, "f", mtime=1, mode=0o600)
    links.make_link("l", "f", Meta())
    setter.set_meta("l", Meta(mtime=9, atime=9, mode=0o777))
    assert store.stat("l").mtime == 9
    assert store.stat("f").mtime == 1
    assert stat.S_IMODE(store.stat("f").facts[MODE]) == 0o600


@pytest.mark.root
def test_ownership(store: Store) -> None:
    setter, links = having(store, SetsMeta), power(store, MakesLinks)
    put(store, "f", uid=1234, gid=2345, mode=0o6755)
    assert store.stat("f").facts[UID] == 1234
    assert store.stat("f").facts[GID] == 2345
    assert stat.S_IMODE(store.stat("f").facts[MODE]) == 0o6755
    if links is not None:
        links.make_link("l", "f", Meta(uid=77))
        assert store.stat("l").facts[UID] == 77
    setter.set_meta("f", Meta(gid=5))
    assert store.stat("f").facts[GID] == 5
    assert store.stat("f").facts[UID] == 1234


@needs(LooksAt)
def test_a_look_tells_the_entry_and_its_attributes(store: Store) -> None:
    looks = having(store, LooksAt)
    put(store, "f", b"1234", xattrs={"user.a.one": b"1"}, xattr_space=("user.a.",), mode=0o640)
    entry, found = looks.look_at("f", ("user.a.",))
    assert (entry, found) == (store.stat("f"), {"user.a.one": b"1"})
    refused(ErrorKind.NOT_FOUND, lambda: looks.look_at("g", ("user.",)))


def test_extended_attributes_are_exact_within_their_space(store: Store) -> None:
    setter = having(store, SetsMeta)
    space = ("user.a.",)
    if not store.caps.xattrs:
        put(store, "f", xattrs={"user.a.one": b"1"}, xattr_space=space)
        assert setter.get_xattrs("f", ("user.",)) == {}
        return
    put(store, "f", xattrs={"user.a.one": b"1", "user.a.two": b"\0\xff"}, xattr_space=space)
    both = ("user.a.", "user.b")  # a share has others besides, of its own
    setter.set_meta("f", Meta(xattrs={"user.b": b"b"}, xattr_space=("user.b",)))
    assert setter.get_xattrs("f", both) == {"user.a.one": b"1", "user.a.two": b"\0\xff", "user.b": b"b"}
    setter.set_meta("f", Meta(xattrs={"user.a.two": b"2"}, xattr_space=space))
    assert setter.get_xattrs("f", both) == {"user.a.two": b"2", "user.b": b"b"}
    setter.set_meta("f", Meta(mtime=1))
    assert setter.get_xattrs("f", both) == {"user.a.two": b"2", "user.b": b"b"}
    setter.set_meta("", Meta(xattrs={"user.a.root": b""}, xattr_space=space))
    assert setter.get_xattrs("", space) == {"user.a.root": b""}


def test_moves(store: Store) -> None:
    moves, dirs = having(store, Moves), having(store, MakesDirs)
    dirs.make_directory("d")
    dirs.make_directory("d/e")
    put(store, "d/e/f", b"1")
    put(store, "g", b"2")
    moves.move("d/e", "h")
    assert get(store, "h/f") == b"1"
    with pytest.raises(DunlinError):
        store.stat("d/e")
    moves.move("h/f", "g")
    assert get(store, "g") == b"1"
    if store.caps.directories:
        assert names(store, "h") == []
    else:
        refused(ErrorKind.NOT_FOUND, lambda: names(store, "h"))
    moves.move("g", "g")
    assert get(store, "g") == b"1"
    with pytest.raises(DunlinError) as error:
        moves.move("absent", "x")
    assert error.value.kind is ErrorKind.NOT_FOUND


@needs(HasSpace)
def test_space(store: Store) -> None:
    put(store, "f")
    assert having(store, HasSpace).free_space() > 0


@needs(Syncs)
def test_checkpoint(store: Store) -> None:
    put(store, "f")
    having(store, Syncs).checkpoint()


@needs(KnowsBirths)
def test_birth_times(store: Store) -> None:
    births = having(store, KnowsBirths)
    having(store, MakesDirs).make_directory("d")
    put(store, "d/f")
    there, absent, again = births.birth_times("d", ["f", "absent", "f"])
    assert absent is None
    assert there == again
    assert there is None or abs(there - store.stat("d/f").facts[CTIME]) < 60_000_000_000
    with pytest.raises(DunlinError):
        births.birth_times("absent", ["f"])


@needs(ReadsBatch)
def test_small_files_of_a_directory_at_once(store: Store) -> None:
    reads = having(store, ReadsBatch)
    having(store, MakesDirs).make_directory("d")
    for name, content in (("a", b"one"), ("b", b""), ("c", b"three"), ("e", b"gone soon"), ("f", b"another soon")):
        put(store, f"d/{name}", content)
    rows = [(name, store.stat(f"d/{name}").facts) for name in ("a", "b", "c", "e", "f")]
    store.delete(["d/e", "d/f"])
    put(store, "d/f", b"another one")
    found = list(reads.read_batch("d", rows, ("user.",)))
    assert [each.data for each in found] == [b"one", b"", b"three", b"", b""]
    assert [each.xattrs for each in found] == [{}, {}, {}, None, None]
    kinds = [each.error.kind if each.error else None for each in found]
    assert kinds == [None, None, None, ErrorKind.VANISHED, ErrorKind.CHANGED]
    assert [each.xattrs for each in reads.read_batch("d", rows[:1], ())] == [None]
    with pytest.raises(DunlinError):
        list(reads.read_batch("absent", rows, ()))


@needs(WritesBatch)
def test_small_files_at_hand_are_written_at_once(store: Store) -> None:
    writes = having(store, WritesBatch)
    having(store, MakesDirs).make_directory("d")
    put(store, "d/b", b"old")
    known = store.stat("d/b").facts
    rows = [("a", known, None), ("b", known, known), ("c", known, None)]
    lost = DunlinError("read", "d/c", ErrorKind.IO, "damaged")

    def contents(wanted: Any) -> Any:
        assert [row[0] for row in wanted] == ["a", "b", "c"]
        return iter([Gathered(b"one", None, None), Gathered(b"two", None, None), Gathered(b"", None, lost)])

    options = BatchOptions(token="0" * 10, perms=True)
    result = writes.write_batch("d", rows, contents, Options().meta, options, Bucket.create(0), new_worker())
    assert [each[0] for each in result.rows] == ["a", "b"]
    assert result.failed == [("c", lost, 1)]
    assert (get(store, "d/a"), get(store, "d/b"), sorted(names(store, "d"))) == (b"one", b"two", ["a", "b"])
    with pytest.raises(DunlinError):
        writes.write_batch("absent", rows, contents, Options().meta, options, Bucket.create(0), new_worker())


@needs(Walks)
def test_walk_is_ordered(store: Store) -> None:
    walks, dirs = having(store, Walks), having(store, MakesDirs)
    for name in ("a", "a/b", "z"):
        dirs.make_directory(name)
    for name in ("a.txt", "a/x", "a/b/y", "a0", "b"):
        put(store, name)
    found = [item for batch in walks.walk("") for item in batch]
    if store.caps.order is Order.NONE:
        found.sort(key=lambda item: sort_key(item[0], stat.S_ISDIR(item[1][MODE])))
    keys = [sort_key(path, stat.S_ISDIR(what[MODE])) for path, what in found]
    assert keys == sorted(keys)
    wanted = ["a.txt", "a", "a/b", "a/b/y", "a/x", "a0", "b", "z"]
    if not store.caps.directories:
        wanted = ["a.txt", "a/b/y", "a/x", "a0", "b"]
    assert [path for path, _ in found] == wanted


@needs(Copies, among=of("local"))
def test_copying_by_the_kernel(store: Store, tmp_path: Path) -> None:
    copies = having(store, Copies)
    data = bytes(range(256)) * 40_000
    entry = put(store, "f", data, mtime=11)
    (tmp_path / "other").mkdir()
    other = LocalStore(str(tmp_path / "other"))
    made = copies.copy_into(entry, other, "g", meta=Meta(mtime=12, mode=0o600), report=NullReport())
    assert get(other, "g") == data
    assert made == other.stat("g")
    assert made.mtime == 12
    put(store, "f", b"changed", mtime=13)
    with pytest.raises(DunlinError) as error:
        copies.copy_into(entry, other, "h", meta=Meta(), report=NullReport())
    assert error.value.kind is ErrorKind.CHANGED
    for target in (MemoryStore(), Paced(other, FreeBucket()), ReadOnly(other), object()):
        with pytest.raises(DunlinError) as error:
            copies.copy_into(store.stat("f"), target, "h", meta=Meta(), report=NullReport())
        assert error.value.kind is ErrorKind.UNSUPPORTED
    assert names(other) == ["g"]
    other.close()


@needs(Copies, among=of("objects", "share"))
def test_copying_by_the_service(store: Store, tmp_path: Path) -> None:
    copies = having(store, Copies)
    data = bytes(range(256)) * 1000
    entry = put(store, "f", data, mtime=11, uid=5, gid=6, mode=0o640)
    if store.caps.directories:
        having(store, MakesDirs).make_directory("d")
    made = copies.copy_into(entry, store, "d/g", meta=Meta(mtime=12), report=NullReport())
    assert get(store, "d/g") == data
    found = store.stat("d/g")
    assert made.facts[IDENT] == found.facts[IDENT]
    assert (found.mtime, found.facts[UID], stat.S_IMODE(found.facts[MODE])) == (12, 5, 0o640)
    put(store, "f", b"changed", mtime=13)
    refused(ErrorKind.CHANGED, lambda: copies.copy_into(entry, store, "h", meta=Meta(), report=NullReport()))
    store.delete(["f"])
    refused(ErrorKind.VANISHED, lambda: copies.copy_into(entry, store, "h", meta=Meta(), report=NullReport()))
    there = store.stat("d/g")
    for target in (MemoryStore(), LocalStore(str(tmp_path)), Paced(store, FreeBucket()), ReadOnly(store), object()):
        refused(
            ErrorKind.UNSUPPORTED,
            lambda target=target: copies.copy_into(there, target, "h", meta=Meta(), report=NullReport()),
        )
    assert names(store) == ["d"]


@needs(Finds)
def test_finding(store: Store) -> None:
    finds = having(store, Finds)
    put(store, "f", b"12345", mtime=7)
    put(store, "d/g", b"1")
    assert finds.find("f") == store.stat("f")
    assert finds.find("absent") is None
    assert finds.find("d") is None
    assert finds.find("") is None


@needs(Fetches)
def test_fetching(store: Store) -> None:
    fetches = having(store, Fetches)
    written = put(store, "f", b"12345", mtime=7, mode=0o640, uid=1, gid=2)
    fetched = fetches.fetch("f", 5)
    assert fetched is not None
    assert fetched == (store.stat("f"), b"12345")
    assert fetched[0].facts[IDENT] == written.facts[IDENT]
    assert fetches.fetch("f", 4) is None
    put(store, "empty", b"")
    nothing = fetches.fetch("empty", 0)
    assert nothing is not None
    assert nothing[1] == b""
    make_directory(store, "d")
    for path in ("absent", "d"):
        refused(ErrorKind.NOT_FOUND, lambda path=path: fetches.fetch(path, 100))
    refused(ErrorKind.NAME, lambda: fetches.fetch("../f", 100))


@needs(FetchesDressed, LooksAt)
def test_fetching_with_attributes(store: Store) -> None:
    fetches = having(store, FetchesDressed)
    looks = having(store, LooksAt)
    put(store, "f", b"12345", mtime=7, mode=0o640, xattrs={"user.a.one": b"1"}, xattr_space=("user.a.",))
    assert fetches.fetch_dressed("f", 5, ("user.a.",)) == (store.stat("f"), b"12345", {"user.a.one": b"1"})
    assert fetches.fetch_dressed("f", 5, ("user.",)) == (store.stat("f"), b"12345", looks.look_at("f", ("user.",))[1])
    assert fetches.fetch_dressed("f", 4, ("user.",)) is None
    refused(ErrorKind.NOT_FOUND, lambda: fetches.fetch_dressed("absent", 100, ("user.",)))


# ---- wrappers x powers ----


def test_the_wrappers_know_every_power_there_is() -> None:
    everything = {
        one
        for one in vars(base).values()
        if isinstance(one, type) and getattr(one, "_is_runtime_protocol", False) and one is not Protocol
    }
    assert everything == POWERS


@pytest.mark.parametrize("wanted", sorted(POWERS, key=lambda one: one.__name__))
@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
@pytest.mark.parametrize("kind", ["local", "memory", "objects", "share", "none"])
def test_a_wrapper_forwards_what_its_store_has_and_no_more(
    wrapper: str, wanted: type, kind: str, tmp_path: Path
) -> None:
    wrap, withheld = WRAPPERS[wrapper]
    made: dict[str, Callable[[], Any]] = {
        "local": lambda: LocalStore(str(tmp_path)),
        "memory": MemoryStore,
        "objects": lambda: ObjectStore(FakeService()),
        "share": lambda: open_place(place_of("azfiles://share", LOGIN)),
        "none": Bare,
    }
    inner = made[kind]()
    has = power(inner, wanted) is not None
    assert has is (wanted not in LACKS[kind])
    wrapped = wrap(inner)
    assert (power(wrapped, wanted) is not None) is (has and wanted not in withheld)
    assert (power(wrap(wrapped), wanted) is not None) is (has and wanted not in withheld)


LOGIN = Login({"account_name": "account", "account_key": "a2V5"})


class Bare:
    """A store without any power."""


def test_a_power_that_is_not_there_is_refused_even_when_called(tmp_path: Path) -> None:
    paced = Paced(LocalStore(str(tmp_path)), FreeBucket())
    entry = put(paced, "f")
    for attempt in (
        lambda: list(paced.walk("")),
        lambda: paced.copy_into(entry, paced, "g", meta=Meta(), report=NullReport()),
    ):
        with pytest.raises(DunlinError) as error:
            attempt()
        assert error.value.kind is ErrorKind.UNSUPPORTED


WRITES: dict[str, Any] = {
    "write": lambda store: put(store, "new"),
    "delete": lambda store: store.delete(["f"]),
    "make_directory": lambda store: store.make_directory("d"),
    "make_link": lambda store: store.make_link("l", "f", Meta()),
    "make_hard_link": lambda store: store.make_hard_link("f", "l"),
    "make_special": lambda store: store.make_special("l", stat.S_IFIFO | 0o600, 0, Meta()),
    "set_meta": lambda store: store.set_meta("f", Meta(mode=0o777)),
    "move": lambda store: store.move("f", "g"),
    "checkpoint": lambda store: store.checkpoint(),
}


@pytest.mark.parametrize("verb", sorted(WRITES))
@pytest.mark.parametrize("kind", ["local", "memory", "objects"])
def test_read_only_changes_nothing(verb: str, kind: str, tmp_path: Path) -> None:
    made: dict[str, Callable[[], Any]] = {
        "local": lambda: LocalStore(str(tmp_path)),
        "memory": MemoryStore,
        "objects": lambda: ObjectStore(FakeService()),
    }
    inner = made[kind]()
    put(inner, "f", b"content", mtime=5, mode=0o600)
    before = inner.stat("f")
    store = ReadOnly(inner)
    with pytest.raises(DunlinError) as error:
        WRITES[verb](store)
    assert error.value.kind in (ErrorKind.READ_ONLY, ErrorKind.UNSUPPORTED)
    assert names(inner) == ["f"]
    assert inner.stat("f") == before
    assert get(store, "f") == b"content"
    assert store.get_xattrs("f", ("user.",)) == {}
