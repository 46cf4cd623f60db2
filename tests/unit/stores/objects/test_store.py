"""Directories over keys: listings against a model, requests counted, and what one request may do."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.compare.listing import OrderError, Side
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, MTIME, Entry, is_directory, is_file, join, sort_key
from dunlin.report import NullReport, RecordingReport
from dunlin.stores.base import Meta, Moves, Order, power
from dunlin.stores.objects.keys import EMPTY, ESCAPE, name_of, path_of
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Page
from dunlin.stores.objects.store import ObjectStore
from tests.contract.support import get, names, put, refused
from tests.unit.stores.objects.fake_service import LIMITS, SMALL, FakeService

# Few letters, so that keys share prefixes; buckets without anything to escape, and with hardly anything else.
PLAIN = st.lists(st.text("a-0", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)
ODD = st.text(f"ab/.-{ESCAPE}0\0", min_size=1, max_size=6)
CONTENT = st.sampled_from([b"", b"x"])


class Model:
    """What an object store over these keys shows, said in another way: components of keys, one by one."""

    def __init__(self, keys: dict[str, bytes], root: str, begin: str, markers: bool) -> None:
        self.files: dict[tuple[str, ...], bytes] = {}
        self.directories: set[tuple[str, ...]] = set()
        self.marked: set[tuple[str, ...]] = set()
        for key, data in keys.items():
            if not key.startswith(begin):
                continue
            components = tuple(name_of(one) for one in key.removeprefix(root).split("/"))
            self.directories |= {components[:n] for n in range(1, len(components))}
            if markers or data or not key.endswith("/"):
                self.files[components] = data
            elif components[:-1]:
                self.marked.add(components[:-1])

    def list(self, directory: tuple[str, ...]) -> list[tuple[str, bool]]:
        n = len(directory)
        found = [(one[n], False) for one in self.files if one[:n] == directory and len(one) == n + 1]
        found += [(one[n], True) for one in self.directories if one[:n] == directory and len(one) == n + 1]
        return sorted(found, key=lambda item: sort_key(*item))


def listed(store: ObjectStore, path: str) -> list[tuple[str, bool]]:
    return [(name, is_directory(what)) for batch in store.list(path) for name, what in batch]


@given(
    keys=st.dictionaries(PLAIN, CONTENT, max_size=12) | st.dictionaries(PLAIN | ODD, CONTENT, max_size=12),
    root=st.just("") | st.sampled_from(["a/", "/", "a//"]),
    rest=st.just("") | st.text("ab/.-", max_size=3),
    markers=st.booleans(),
    ordered=st.booleans(),
    page=st.integers(1, 12),
)
def test_listings_are_what_the_model_says(
    keys: dict[str, bytes], root: str, rest: str, markers: bool, ordered: bool, page: int
) -> None:
    service = FakeService(LIMITS._replace(page=page), ordered=ordered)
    for key, data in keys.items():
        service.fill(key, data=data)
    model = Model(keys, root, root + rest, markers)
    store = ObjectStore(service, root, root + rest, markers)
    for directory in [(), *model.directories]:
        path = "/".join(directory)
        found = listed(store, path)
        wanted = model.list(directory)
        assert sorted(found) == sorted(wanted)
        if ordered and not any(ESCAPE in name for name, _ in wanted):
            assert found == wanted
        assert store.stat(path).facts[0] & stat.S_IFDIR or directory in model.files
    for path in ("b/a", "a", "-", "a/b", "."):
        if path == "." or tuple(path.split("/")) in model.directories:
            continue
        refused(ErrorKind.NOT_FOUND, lambda path=path: listed(store, path))
        refused(ErrorKind.NOT_FOUND, lambda path=path: list(store.walk(path)))
    walked = [path for batch in store.walk("") for path, what in batch if is_file(what)]
    assert sorted(walked) == sorted("/".join(one) for one in model.files)
    marked = [path for batch in store.walk("") for path, what in batch if is_directory(what)]
    assert sorted(marked) == sorted("/".join(one) for one in model.marked)
    for components, data in model.files.items():
        assert get(store, "/".join(components)) == data


def test_requests_are_counted_in_pages_and_never_in_objects() -> None:
    service = FakeService(LIMITS._replace(page=1000), metadata_listed=False)
    service.fill(*(f"d/{number:05d}" for number in range(3000)))
    store = ObjectStore(service)
    assert len(names(store, "d")) == 3000
    assert service.requests == {"page": 3}
    service.requests.clear()
    assert sum(len(batch) for batch in store.walk("")) == 3000
    assert service.requests == {"page": 3}
    service.requests.clear()
    assert store.stat("").facts[MTIME] is None
    assert service.requests == {"page": 1}
    service.requests.clear()
    store.stat("d/00001")
    assert service.requests == {"head": 1}
    service.requests.clear()
    store.stat("d")
    assert service.requests == {"head": 1, "page": 1}


def test_a_directory_that_holds_one_prefix_is_not_listed_whole() -> None:
    service = FakeService(SMALL)
    service.fill(*(f"x/y/{number}" for number in range(30)))
    store = ObjectStore(service, begin="x/y/")
    assert names(store) == ["x"]
    assert service.requests == {"page": 1}


def test_pages_come_as_they_are_asked_for() -> None:
    service = FakeService(SMALL)
    service.fill("a", "b", "c", "d", "e")
    batches = ObjectStore(service).list("")
    assert [name for name, _ in next(batches)] == ["a", "b", "c"]
    assert service.requests["page"] == 1


def test_escaped_names_are_in_place_within_their_page_and_noticed_beyond() -> None:
    service = FakeService(LIMITS._replace(page=2))
    service.fill("/x", "a", "b", "c")
    listing = [(name, what) for batch in ObjectStore(service).list("") for name, what in batch]
    assert [name for name, _ in listing] == ["a", EMPTY, "b", "c"]
    side = Side(ObjectStore(service).list(""), proven=True, run=2)
    side.start()

    def through() -> None:
        while (boundary := side.boundary()) is not None:
            side.cut(boundary)

    with pytest.raises(OrderError):
        through()


@pytest.mark.parametrize("page", [Page([], [], "more"), Page([], [], "")])
def test_a_listing_that_does_not_move_on_is_no_listing(page: Page) -> None:
    class Stuck(FakeService):
        def page(self, prefix: str, **options: Any) -> Page:
            return page

    store = ObjectStore(Stuck())
    if page.token:
        refused(ErrorKind.IO, lambda: names(store))
    else:
        assert names(store) == []


def test_empty_pages_are_not_the_end() -> None:
    class Sparse(FakeService):
        """Says on every second page that there is more to come, as Azure may."""

        def page(self, prefix: str, *, token: str = "", **options: Any) -> Page:
            if not token.startswith("+"):
                return Page([], [], f"+{token}")
            return super().page(prefix, token=token[1:], **options)

    service = Sparse(SMALL)
    service.fill("d/a", "d/b", "d/c", "d/d")
    store = ObjectStore(service)
    assert names(store, "d") == ["a", "b", "c", "d"]
    assert is_directory(store.stat("d").facts)


def test_a_missing_bucket_is_not_an_empty_directory() -> None:
    service = FakeService()
    service.missing = True
    store = ObjectStore(service)
    for attempt in (lambda: names(store), lambda: store.stat(""), lambda: list(store.walk(""))):
        refused(ErrorKind.NOT_FOUND, attempt)


def test_caps_say_what_the_service_says() -> None:
    caps = ObjectStore(FakeService(SMALL)).caps
    assert caps.order is Order.PROVEN
    assert (caps.max_part, caps.max_parts) == (SMALL.most_part, SMALL.parts)
    assert not caps.directories
    assert ObjectStore(FakeService(ordered=False)).caps.order is Order.NONE


def test_the_url_names_bucket_and_root() -> None:
    assert ObjectStore(FakeService()).url == "fake://bucket"
    assert ObjectStore(FakeService(), "a/b/").url == "fake://bucket/a/b"
    with pytest.raises(ValueError, match="slash"):
        ObjectStore(FakeService(), "a")
    with pytest.raises(ValueError, match="begins"):
        ObjectStore(FakeService(), "a/", "b")


def test_errors_name_the_path() -> None:
    store = ObjectStore(FakeService(), "a/")
    with pytest.raises(DunlinError) as error:
        store.stat("b/c")
    assert error.value.where == "fake://bucket/a/b/c"


# ---- changing ----


def test_deletes_go_in_batches() -> None:
    service = FakeService(SMALL)
    service.fill("a", "b", "c", "d", "e")
    assert ObjectStore(service).delete(["a", "b", "c", "b", "e"]) == [True] * 5
    assert sorted(service.objects) == ["d"]
    assert service.requests == {"delete": 2}


def test_a_failed_delete_is_told() -> None:
    service = FakeService(SMALL)
    service.fill("a", "b", "c")
    service.faults["delete"] = [None, DunlinError("delete", "c", ErrorKind.DENIED)]
    refused(ErrorKind.DENIED, lambda: ObjectStore(service, parallel=1).delete(["a", "b", "c"]))


def test_set_meta_keeps_what_others_stored_and_asks_for_no_more_than_it_must() -> None:
    service = FakeService()
    service.fill("f")
    service.objects["f"].metadata = {"colour": "red", "mode": "100600"}
    store = ObjectStore(service)
    store.set_meta("f", Meta(mtime=1))
    assert service.objects["f"].metadata == {"colour": "red", "mode": "100600", "mtime": "0.000000001"}
    service.requests.clear()
    store.set_meta("f", Meta(mtime=1))
    assert service.requests == {"head": 1}
    service.fill("d/x")
    store.set_meta("d", Meta(mtime=1))
    store.set_meta("", Meta(mtime=1))
    assert service.requests["set_metadata"] == 0


def test_set_meta_of_a_version_that_is_replaced_meanwhile() -> None:
    class Raced(FakeService):
        def head(self, key: str) -> Any:
            found = super().head(key)
            self.fill(key, data=b"newer")
            return found

    service = Raced()
    service.fill("f")
    refused(ErrorKind.CHANGED, lambda: ObjectStore(service).set_meta("f", Meta(mtime=1)))


def test_a_move_keeps_content_and_metadata() -> None:
    service = FakeService(SMALL)
    store = ObjectStore(service)
    entry = put(store, "f", b"content", mtime=5, mode=0o640)
    service.requests.clear()
    store.move("f", "g")
    assert service.requests == {"head": 1, "copy": 1, "delete": 1}
    assert store.stat("g").facts[:5] == entry.facts[:5]
    assert names(store) == ["g"]


@pytest.mark.parametrize("metadata_listed", [True, False])
def test_a_directory_moves_with_its_markers(metadata_listed: bool) -> None:
    service = FakeService(SMALL, metadata_listed=metadata_listed)
    keys = ["d/", "d/a", "d/b/c", "d//x", "d/e/", "d0"]
    service.fill(*keys[1:4], "d0")
    service.fill("d/", "d/e/", data=b"")
    service.objects["d/a"].metadata = {"mtime": "7"}
    store = ObjectStore(service)
    store.move("d", "e/f")
    assert sorted(service.objects) == ["d0", "e/f/", "e/f//x", "e/f/a", "e/f/b/c", "e/f/e/"]
    assert service.objects["e/f/a"].metadata == {"mtime": "7"}
    refused(ErrorKind.NAME, lambda: store.move("e", "e/f/g"))
    service.fill("h/x")
    refused(ErrorKind.EXISTS, lambda: store.move("e", "h"))
    store.move("e", "e")
    assert "e/f/a" in service.objects


def test_a_move_whose_copy_fails_deletes_nothing() -> None:
    service = FakeService(SMALL)
    service.fill("d/1", "d/2")
    service.faults["copy"] = [None, DunlinError("copy", "d/2", ErrorKind.UNSUPPORTED)]
    store = ObjectStore(service)
    moves = power(store, Moves)
    assert moves is not None
    refused(ErrorKind.UNSUPPORTED, lambda: moves.move("d", "e"))
    assert {"d/1", "d/2"} <= set(service.objects)


def test_a_copy_by_the_service_tells_its_bytes_and_keeps_foreign_metadata() -> None:
    one, two = FakeService(), FakeService()
    one.fill("f", data=b"12345")
    one.objects["f"].metadata = {"colour": "red"}
    report = RecordingReport()
    source, target = ObjectStore(RetryingService(one)), ObjectStore(RetryingService(two), "p/")
    made = source.copy_into(source.stat("f"), target, "g", meta=Meta(mtime=3), report=report)
    assert two.objects["p/g"].data == b"12345"
    assert two.objects["p/g"].metadata == {"colour": "red", "mtime": "0.000000003"}
    assert made.facts[IDENT] == two.objects["p/g"].etag
    assert made.mtime == 3


def test_what_a_service_cannot_copy_is_unsupported_and_leaves_nothing() -> None:
    service, other = FakeService(), FakeService()
    service.fill("f")
    other.faults["copy"] = [DunlinError("copy", "f", ErrorKind.UNSUPPORTED)]
    source, target = ObjectStore(service), ObjectStore(other)
    entry = source.stat("f")
    refused(
        ErrorKind.UNSUPPORTED, lambda: source.copy_into(entry, target, "f", meta=Meta(), report=NullReport())
    )
    assert other.objects == {}


def test_names_that_no_object_can_have() -> None:
    store = ObjectStore(FakeService())
    for path in ("", EMPTY, "..", "a//b"):
        refused(ErrorKind.NAME, lambda path=path: put(store, path))
    assert put(ObjectStore(FakeService(), "p/"), EMPTY).path == EMPTY
    entry = Entry(join("d", path_of("x//y")), put(store, f"d/x/{EMPTY}/y").facts)
    assert get(store, entry.path) == b"x"


def test_pages_are_as_large_as_was_asked_for() -> None:
    service = FakeService(LIMITS)
    service.fill("a", "b", "c", "d", "e")
    assert names(ObjectStore(service, page=2)) == ["a", "b", "c", "d", "e"]
    assert service.requests == {"page": 3}


def test_an_object_without_an_etag_is_not_taken_for_one() -> None:
    service = FakeService()
    service.fill("k", data=b"<html>Log in</html>")
    service.objects["k"].etag = ""
    refused(ErrorKind.NETWORK, lambda: ObjectStore(service).fetch("k", 100))
    assert service.open_bodies == 0
