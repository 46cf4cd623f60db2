"""A body becomes an object: in one request, in parts, and going on from the parts of before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.objects import writing
from dunlin.stores.objects.service import Limits, Part
from dunlin.stores.objects.store import ObjectStore
from tests.contract.support import body, get, refused
from tests.unit.stores.objects.fake_service import LIMITS, SMALL, FakeService, network

DATA = bytes(range(250)) * 4  # 1,000 bytes: ten parts of 100
META = Meta(mtime=5)
OURS = {"mtime": "0.000000005"}


def made(parallel: int = 1, limits: Limits = SMALL) -> tuple[FakeService, ObjectStore]:
    service = FakeService(limits)
    return service, ObjectStore(service, write_part=100, parallel=parallel)


def error(kind: ErrorKind) -> DunlinError:
    return DunlinError("write", "k", kind)


@given(
    data=st.binary(max_size=1500),
    known=st.booleans(),
    step=st.integers(1, 400),
    parallel=st.integers(1, 3),
    if_absent=st.booleans(),
)
def test_whatever_the_blocks_the_object_is_the_body(
    data: bytes, known: bool, step: int, parallel: int, if_absent: bool
) -> None:
    service, store = made(parallel)
    released: list[bytes] = []
    plain = body(data, len(data) if known else None, step)
    seen = Body(plain.size, plain.open, lambda block: released.append(bytes(block)))
    entry = store.write("k", seen, meta=META, if_absent=if_absent)
    assert service.objects["k"].data == data
    assert b"".join(released) == data
    assert entry.facts[1:3] == (len(data), 5)
    assert entry.facts[8] == service.objects["k"].etag
    assert service.objects["k"].metadata == OURS
    assert service.uploads == {}
    assert service.requests["put"] == (len(data) <= 100)
    assert service.requests["part"] == (0 if len(data) <= 100 else -(-len(data) // 100))


def test_a_small_write_is_one_request_with_its_digest() -> None:
    service, store = made()
    store.write("k", body(b"x" * 100), meta=META)
    assert service.requests == {"put": 1}

    class Damaged(FakeService):
        def put(self, key: str, data: Data, metadata: Any, **options: Any) -> str:
            return super().put(key, b"damaged" + bytes(data)[7:], metadata, **options)

    refused(ErrorKind.CHECKSUM, lambda: ObjectStore(Damaged()).write("k", body(b"x" * 100), meta=META))


def test_requests_of_a_large_write() -> None:
    service, store = made()
    store.write("k", body(DATA), meta=META)
    assert service.requests == {"unfinished": 1, "begin": 1, "part": 10, "complete": 1}


@given(
    data=st.binary(min_size=101, max_size=1000),
    sent=st.integers(0, 9),
    change=st.none() | st.integers(0, 999),
    tail=st.binary(max_size=150),
    parallel=st.integers(1, 3),
    marked=st.booleans(),
)
def test_an_interrupted_upload_goes_on_with_the_parts_that_are_right(
    data: bytes, sent: int, change: int | None, tail: bytes, parallel: int, marked: bool
) -> None:
    service, store = made(parallel, SMALL._replace(marked=marked))
    service.faults["part"] = [*[None] * sent, *[error(ErrorKind.INTERRUPTED)] * 20]
    parts = -(-len(data) // 100)
    if sent < parts:
        refused(ErrorKind.INTERRUPTED, lambda: store.write("k", body(data), meta=Meta(mtime=4)))
    assert "k" not in service.objects or sent >= parts
    service.faults["part"] = []
    have = {part for upload in service.uploads for part in service.parts("k", upload)}
    after = bytearray(data)
    if change is not None and change < len(data):
        after[change] ^= 1
    after += tail
    service.requests.clear()
    entry = store.write("k", body(bytes(after)), meta=META)
    assert service.objects["k"].data == after
    assert service.objects["k"].metadata == OURS
    assert entry.mtime == 5
    cut = [bytes(after[at : at + 100]) for at in range(0, len(after), 100)]
    wanted = [Part(n, len(piece), hashlib.md5(piece).hexdigest()) for n, piece in enumerate(cut, 1)]
    # Where a service does not tell whose an upload is, it shows by the first part.
    ours = marked or wanted[0] in have or sent >= parts
    assert len(service.uploads) == (not ours)
    assert service.requests["part"] == len(set(wanted) - (have if ours else set()))
    assert service.requests["abort"] == 0


@pytest.mark.parametrize("theirs", [b"", b"x" * 100, DATA[:50], DATA[:200]])
def test_an_upload_that_another_program_began_is_left_alone(theirs: bytes) -> None:
    service, store = made()
    upload = service.begin("k", {"own": "theirs"})
    if theirs:
        service.part("k", upload, 1, theirs, hashlib.md5(theirs).digest())
    before = service.parts("k", upload)
    service.faults["part"] = [None, None, error(ErrorKind.DENIED)]
    refused(ErrorKind.DENIED, lambda: store.write("k", body(DATA), meta=META))
    assert list(service.uploads) == [upload]
    store.write("k", body(DATA), meta=META)
    assert service.parts("k", upload) == before
    assert get(store, "k") == DATA


@pytest.mark.parametrize("marked", [False, True])
def test_what_was_there_before_is_never_aborted(marked: bool) -> None:
    service, store = made(limits=SMALL._replace(marked=marked))
    upload = service.begin("k", {})
    service.part("k", upload, 1, DATA[:100], hashlib.md5(DATA[:100]).digest())
    service.faults["part"] = [None, error(ErrorKind.DENIED)]
    refused(ErrorKind.DENIED, lambda: store.write("k", body(DATA), meta=META))
    assert service.requests["abort"] == 0
    assert list(service.uploads) == [upload]


def test_nothing_of_the_body_is_sent_twice() -> None:
    service, store = made()
    service.faults["part"] = [None] * 6 + [network()]
    refused(ErrorKind.NETWORK, lambda: store.write("k", body(DATA), meta=META))
    store.write("k", body(DATA), meta=META)
    assert service.sent_bytes == len(DATA)
    assert get(store, "k") == DATA


@pytest.mark.parametrize("kind", [ErrorKind.INTERRUPTED, ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY])
@pytest.mark.parametrize("request_", ["part", "complete"])
def test_errors_after_which_an_upload_is_kept(kind: ErrorKind, request_: str) -> None:
    service, store = made()
    service.faults[request_] = [error(kind)]
    refused(kind, lambda: store.write("k", body(DATA), meta=META))
    assert len(service.uploads) == 1
    assert service.objects == {}


@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.CHECKSUM, ErrorKind.NO_SPACE])
@pytest.mark.parametrize("request_", ["part", "complete"])
def test_errors_after_which_it_is_aborted(kind: ErrorKind, request_: str) -> None:
    service, store = made(parallel=3)
    service.faults[request_] = [error(kind)]
    service.faults["abort"] = [network()]  # what fails on the way out does not hide why
    refused(kind, lambda: store.write("k", body(DATA), meta=META))
    assert service.requests["abort"] == 1
    assert service.objects == {}


def ends_with(problem: BaseException, after: int = 300) -> Body:
    def open_at(start: int) -> Iterator[Data]:
        yield DATA[:after]
        raise problem

    return Body(1000, open_at)


@pytest.mark.parametrize(
    ("problem", "kept"), [(RuntimeError(), 0), (KeyboardInterrupt(), 1), (error(ErrorKind.INTERRUPTED), 1)]
)
def test_a_body_that_fails(problem: BaseException, kept: int) -> None:
    service, store = made()
    with pytest.raises(type(problem)):
        store.write("k", ends_with(problem), meta=META)
    assert len(service.uploads) == kept
    assert service.objects == {}


@pytest.mark.parametrize("announced", [50, 99, 101, 999, 1001])
@pytest.mark.parametrize("real", [60, 100, 1000])
def test_a_body_of_another_size_is_not_stored(announced: int, real: int) -> None:
    service, store = made()
    refused(ErrorKind.CHANGED, lambda: store.write("k", body(DATA[:real], announced), meta=META))
    assert service.objects == service.uploads == {}


def test_an_upload_that_ended_meanwhile_is_begun_anew() -> None:
    service, store = made()
    service.begin("k", {})
    service.faults["parts"] = [error(ErrorKind.NOT_FOUND)]
    store.write("k", body(DATA), meta=META)
    assert service.requests["begin"] == 2
    assert get(store, "k") == DATA


def test_if_absent_is_known_before_anything_is_sent() -> None:
    service, store = made()
    service.fill("k")
    refused(ErrorKind.EXISTS, lambda: store.write("k", body(DATA), meta=META, if_absent=True))
    assert service.requests == {"head": 1}


def test_if_absent_holds_when_the_upload_is_completed() -> None:
    service, store = made()

    def open_at(start: int) -> Iterator[Data]:
        yield DATA[:500]
        service.fill("k")
        yield DATA[500:]

    refused(ErrorKind.EXISTS, lambda: store.write("k", Body(1000, open_at), meta=META, if_absent=True))
    assert service.objects["k"].data == b"x"
    assert service.uploads == {}


def test_a_continued_object_too_large_to_be_dressed_tells_what_it_has() -> None:
    service, store = made()
    service.faults["part"] = [None, network()]
    refused(ErrorKind.NETWORK, lambda: store.write("k", body(DATA), meta=Meta(mtime=4)))
    service.faults["set_metadata"] = [error(ErrorKind.UNSUPPORTED)]
    entry = store.write("k", body(DATA), meta=META)
    assert entry.mtime == store.stat("k").mtime == 4


def test_few_parts_are_held_at_a_time() -> None:
    service, store = made(parallel=2)
    ahead: list[int] = []
    taken = 0

    def open_at(start: int) -> Iterator[Data]:
        nonlocal taken
        for at in range(0, 1000, 50):
            ahead.append(taken - service.sent_bytes)
            taken += 50
            yield DATA[at : at + 50]

    store.write("k", Body(1000, open_at), meta=META)
    assert max(ahead) <= 3 * 100


def test_blocks_of_the_size_of_a_part_are_sent_as_they_came_and_given_back_when_they_have_arrived() -> None:
    sent: list[Any] = []
    released: list[Any] = []

    class Watching(FakeService):
        def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
            sent.append(data.obj if isinstance(data, memoryview) else data)
            assert not any(block is sent[-1] for block in released)
            return super().part(key, upload, number, data, digest)

    blocks = [bytearray(DATA[at : at + 100]) for at in range(0, 970, 100)]
    blocks[-1] = blocks[-1][:70]
    store = ObjectStore(Watching(SMALL), write_part=100, parallel=3)
    views = [memoryview(block) for block in blocks]
    plain = Body(970, lambda start: iter(views), lambda block: released.append(block.obj))  # type: ignore[union-attr]
    store.write("k", plain, meta=META)
    assert sorted(map(id, sent)) == sorted(map(id, released)) == sorted(map(id, blocks))


def test_a_part_that_cannot_be_sent_gives_its_block_back() -> None:
    service, store = made()
    released: list[int] = []
    service.faults["part"] = [None, error(ErrorKind.DENIED)]
    with pytest.raises(DunlinError):
        store.write("k", Body(1000, body(DATA, step=100).open, lambda block: released.append(len(block))), meta=META)
    assert len(released) >= 2
    assert service.uploads == {}


SIZES = [
    (None, 16 << 20),
    (1, 16 << 20),
    (16 << 20, 16 << 20),
    (160_000 << 20, 16 << 20),
    ((160_000 << 20) + 1, (16 << 20) + 1),
    (5 << 40, -(-(5 << 40) // 10_000)),
]


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_sizes_of_parts(size: int | None, wanted: int) -> None:
    assert writing.part_size(size, 16 << 20, LIMITS, "k") == wanted


def test_sizes_that_a_service_limits() -> None:
    sizes: Callable[..., int] = writing.part_size
    assert sizes(1000, 100, SMALL._replace(put=60), "k") == 60
    assert sizes(1000, 5, SMALL, "k") == 10
    assert sizes(1_000_000, 100, SMALL, "k") == 10_000
    refused(ErrorKind.UNSUPPORTED, lambda: sizes(1_000_001, 100, SMALL, "k"))


def test_a_body_without_end_is_refused_in_time() -> None:
    service, store = made(limits=SMALL._replace(parts=5))
    refused(ErrorKind.UNSUPPORTED, lambda: store.write("k", body(DATA, None), meta=META))
    assert service.objects == service.uploads == {}
