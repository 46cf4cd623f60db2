"""Uploads to a share that go on where they were cut short: what is sent again, and that nothing is taken on trust."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles import begun
from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.azfiles.store import AzureFiles
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.login import Login
from tests.contract.support import get, names
from tests.emulators.azure_files import AzureFiles as Emulator
from tests.emulators.azure_files import azure_files

PIECE = 4 << 20
Opens = Callable[[str], AzureFiles]


@pytest.fixture(scope="module")
def files() -> Iterator[Emulator]:
    with azure_files() as server:
        yield server


@pytest.fixture
def opened(files: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opens]:
    """Opens one fresh share for the run with a token; uploads of more than two pieces are continued, marked each."""
    monkeypatch.setattr(begun, "CONTINUED", 2 * PIECE)
    monkeypatch.setattr("dunlin.stores.azfiles.writing.CONTINUED", 2 * PIECE)
    monkeypatch.setattr(begun, "STEP", PIECE)
    place = place_of(f"azfiles://{files.share()}/d", Login({"connection_string": files.connection_string}))
    made: list[AzureFiles] = []

    def opens(run: str) -> AzureFiles:
        made.append(open_place(place, run=run))
        return made[-1]

    opens("0").make_directory("")
    yield opens
    for store in made:
        store.close()


def body(data: bytes, *, ends: int | None = None, error: BaseException | None = None) -> Body:
    """A body of pieces that breaks off before the piece `ends`."""

    def blocks(start: int) -> Iterator[Data]:
        for at in range(start, len(data), PIECE):
            if ends is not None and at >= ends * PIECE:
                raise error or DunlinError("read", "f", ErrorKind.INTERRUPTED, "stop")
            yield memoryview(data)[at : at + PIECE]

    return Body(len(data), blocks)


def asked(files: Emulator) -> Counter[str]:
    found = Counter(done.operation for done in files.server.done())
    files.server.forget()
    return found


META = Meta(mtime=1_700_000_000_123_456_789, mode=0o640)


def test_an_interrupted_upload_goes_on_behind_what_is_there(files: Emulator, opened: Opens) -> None:
    data = os.urandom(6 * PIECE + 5)
    with pytest.raises(DunlinError):
        opened("1").write("f", body(data, ends=4), meta=Meta(mtime=5))
    store = opened("2")
    (part,) = names(store)
    assert part.startswith(".dunlin-")
    assert part.endswith("-0.part")
    files.server.forget()
    entry = store.write("f", body(data), meta=META)
    done = asked(files)
    assert done["PutRange"] == 3 + 1  # three pieces, and what is behind the mark is cleared
    assert done["CreateFile"] == 0
    assert get(store, "f") == data
    assert names(store) == ["f"]
    found = store.stat("f")
    assert (found.facts, found.mtime) == (entry.facts, META.mtime)
    assert begun.MARK not in store._look("f").metadata


def test_another_content_of_the_same_size_is_sent_anew(files: Emulator, opened: Opens) -> None:
    store, data = opened("1"), os.urandom(5 * PIECE)
    with pytest.raises(DunlinError):
        store.write("f", body(data, ends=3), meta=META)
    other = data[:PIECE] + b"x" + data[PIECE + 1 :]
    with pytest.raises(DunlinError) as error:
        store.write("f", body(other), meta=META)
    assert error.value.kind is ErrorKind.CHECKSUM  # after which the file is tried again
    assert names(store) == []
    store.write("f", body(other), meta=META)
    assert get(store, "f") == other


def test_what_arrived_behind_the_mark_is_not_in_the_way_of_holes(opened: Opens) -> None:
    store, data = opened("1"), os.urandom(3 * PIECE) + bytes(2 * PIECE)
    with pytest.raises(DunlinError):
        store.write("f", body(data, ends=2), meta=META)
    (part,) = names(store)
    headers = {"x-ms-write": "update", "x-ms-range": f"bytes={4 * PIECE}-{4 * PIECE + 3}"}
    store.share.ask("PUT", f"d/{part}", (("comp", "range"),), headers, b"junk", operation="write", expects=201)
    store.write("f", body(data), meta=META)
    assert get(store, "f") == data


def test_a_killed_run_leaves_a_temporary_file_that_is_kept_if_it_is_of_use(files: Emulator, opened: Opens) -> None:
    data, store = os.urandom(4 * PIECE), opened("1")

    class Killed(Exception):
        """Nothing can be done any more."""

    keep, begun.Upload.keep = begun.Upload.keep, lambda self: (_ for _ in ()).throw(Killed())  # type: ignore[assignment]
    try:
        with pytest.raises(Killed):
            store.write("f", body(data, ends=3), meta=META)
    finally:
        begun.Upload.keep = keep  # type: ignore[method-assign]
    store.write("small.tmp", body(b"x"), meta=Meta())
    (left,) = (name for name in names(store) if name.startswith(".dunlin-"))
    assert left.endswith(".tmp")
    later = opened("2")
    assert later.keep_begun(left) is True
    assert later.keep_begun("small.tmp") is False
    files.server.forget()
    later.write("f", body(data), meta=META)
    assert asked(files)["PutRange"] <= 3
    assert get(later, "f") == data
    assert names(later) == ["f", "small.tmp"]


def test_only_one_takes_what_was_begun_and_a_zombie_finds_nothing(files: Emulator, opened: Opens) -> None:
    data, zombie = os.urandom(5 * PIECE), opened("1")
    with pytest.raises(DunlinError):
        zombie.write("f", body(data, ends=3), meta=META)
    one = begun.Upload(zombie.share, "d/f", "d/.dunlin-1-9.tmp", len(data), {})
    other = begun.Upload(zombie.share, "d/f", "d/.dunlin-2-9.tmp", len(data), {})
    assert (one.done > 0, other.done) == (True, 0)
    (part,) = names(zombie)
    assert part == ".dunlin-1-9.tmp"
    one.keep()
    files.server.forget()
    with pytest.raises(DunlinError) as error:
        one.took(PIECE, "x", True)  # marks the old name, which somebody else has taken
    assert error.value.kind is ErrorKind.NOT_FOUND


@pytest.mark.parametrize(
    "text", ["", "x", "0123456789abcdef", "0123456789abcdef 0 a", "../../etc 5 a", "0123456789abcdef z a"]
)
def test_a_mark_that_is_none_is_not_believed(text: str) -> None:
    assert begun.begun({begun.MARK: text}) is None
    assert begun.begun({}) is None
