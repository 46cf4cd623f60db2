"""Content that arrives over hours: kept after some errors, continued by the next write of the same version."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.local import LocalStore, WriteOptions, partial
from dunlin.stores.local.partial import KEPT, PART, part_name

VERSION = "0123456789abcdef"
NAME = f".dunlin-{VERSION}-0.part"
CONTENT = bytes(range(256)) * 40


class Source:
    """A body that breaks off where it is told to, and remembers what it was asked for and shown."""

    def __init__(self, stop: int | None = None, error: BaseException | None = None, proven: bool = True) -> None:
        self.asked: list[int] = []
        self.shown = b""
        self.stop = stop
        self.error = error
        self.body = Body(len(CONTENT), self.open, version=VERSION, seen=self.see, proven=proven)

    def see(self, data: Data) -> None:
        self.shown += data

    def open(self, start: int) -> Iterator[Data]:
        self.asked.append(start)
        stop = len(CONTENT) if self.stop is None else self.stop
        for at in range(start, stop, 1000):
            yield CONTENT[at : min(at + 1000, stop)]
        if self.error is not None:
            raise self.error


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def broken(store: LocalStore, error: BaseException, stop: int = 5500, meta: Meta | None = None) -> None:
    with pytest.raises(type(error)):
        store.write("f", Source(stop, error).body, meta=meta or Meta())


def interruption(kind: ErrorKind = ErrorKind.INTERRUPTED) -> DunlinError:
    return DunlinError("copy", "f", kind)


def finished(store: LocalStore, tmp_path: Path, source: Source | None = None) -> Source:
    source = source or Source()
    store.write("f", source.body, meta=Meta(mtime=7))
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "f").stat().st_mtime_ns == 7
    return source


PASSING = [*map(interruption, sorted(KEPT, key=str)), KeyboardInterrupt()]
FINAL = [*map(interruption, sorted(set(ErrorKind) - KEPT, key=str)), RuntimeError("odd")]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_arrived_is_shown_and_the_rest_is_asked_for(
    store: LocalStore, tmp_path: Path, error: BaseException
) -> None:
    (tmp_path / "f").write_bytes(b"old")
    broken(store, error)
    assert sorted(os.listdir(tmp_path)) == [NAME, "f"]
    assert (tmp_path / "f").read_bytes() == b"old"
    source = finished(store, tmp_path)
    assert source.asked == [5500]
    assert source.shown == CONTENT[:5500]


@pytest.mark.parametrize("error", FINAL, ids=str)
def test_after_other_errors_nothing_stays(store: LocalStore, tmp_path: Path, error: BaseException) -> None:
    broken(store, error)
    assert os.listdir(tmp_path) == []


def test_nothing_stays_of_nothing(store: LocalStore, tmp_path: Path) -> None:
    broken(store, interruption(), stop=0)
    assert os.listdir(tmp_path) == []


def test_a_short_body_is_no_reason_to_keep_it(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(DunlinError) as caught:
        store.write("f", Source(5500).body, meta=Meta())
    assert caught.value.kind is ErrorKind.CHANGED
    assert os.listdir(tmp_path) == []


def test_all_may_be_there_already(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    assert finished(store, tmp_path).asked == [len(CONTENT)]


def test_more_than_there_can_be_is_begun_anew(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT + b"x")
    source = finished(store, tmp_path)
    assert (source.asked, source.shown) == ([0], b"")


@pytest.mark.parametrize(("proven", "begins"), [(True, 5500), (False, 0)])
def test_what_a_power_cut_may_have_damaged_is_continued_only_when_it_is_proved(
    store: LocalStore, tmp_path: Path, proven: bool, begins: int
) -> None:
    broken(store, interruption())
    before_boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 10**9
    os.utime(tmp_path / NAME, ns=(before_boot, before_boot))
    assert finished(store, tmp_path, Source(proven=proven)).asked == [begins]
    broken(store, interruption())
    assert finished(store, tmp_path, Source(proven=False)).asked == [5500]


def test_what_seeing_raises_ends_the_write(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:5000])

    def see(data: Data) -> None:
        raise interruption()

    with pytest.raises(DunlinError):
        store.write("f", Body(len(CONTENT), Source().open, version=VERSION, seen=see), meta=Meta())
    assert (tmp_path / NAME).read_bytes() == CONTENT[:5000]


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda part, other: part.symlink_to(other),
    "second name": lambda part, other: os.link(other, part),
    "fifo": lambda part, other: os.mkfifo(part),
}


@pytest.mark.parametrize("planted", sorted(PLANTED))
def test_what_is_not_ours_alone_is_not_written_to(tmp_path: Path, planted: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    other = tmp_path / "other"
    other.write_bytes(b"somebody's")
    PLANTED[planted](root / NAME, other)
    source = finished(LocalStore(str(root)), root)
    assert source.asked == [0]
    assert other.read_bytes() == b"somebody's"


def test_while_somebody_writes_it_another_takes_a_temporary_file(store: LocalStore, tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.write(b"half")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        source = Source()
        store.write("f", source.body, meta=Meta())
    assert source.asked == [0]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / NAME).read_bytes() == b"half"


def test_permissions_are_those_that_are_wanted_at_the_end(store: LocalStore, tmp_path: Path) -> None:
    def mode(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    before = os.umask(0o027)
    try:
        broken(store, interruption(), meta=Meta(mode=0o644))
        assert mode(NAME) == 0o600
        finished(store, tmp_path)
        assert mode("f") == 0o640
        (tmp_path / "f").unlink()
        broken(store, interruption())
        seen: list[int] = []
        source = Source()
        store.write("f", Body(*[getattr(source.body, n) for n in ("size", "open", "release", "version")],
                              seen=lambda data: seen.append(mode(NAME))), meta=Meta(mode=0o604))  # fmt: skip
        assert set(seen) == {0o600}
        assert mode("f") == 0o604
    finally:
        os.umask(before)


@pytest.mark.parametrize("options", [WriteOptions(in_place=True), WriteOptions(sparse=True)])
def test_other_ways_of_writing_keep_nothing(tmp_path: Path, options: WriteOptions) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:5000])
    source = Source()
    LocalStore(str(tmp_path), options=options).write("f", source.body, meta=Meta())
    assert source.asked == [0]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_names() -> None:
    assert part_name(VERSION) == NAME
    assert PART.fullmatch(NAME)
    for other in ("", "0123456789abcde", "0123456789abcdeF", "../../etc/passwd1"):
        with pytest.raises(ValueError, match="hexadecimal"):
            part_name(other)


def test_a_name_that_another_writer_renamed_meanwhile_is_made_anew(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:5000])
    locked = partial._locked

    def finishing(fd: int) -> bool:
        if (tmp_path / NAME).exists() and not (tmp_path / "done").exists():
            os.rename(tmp_path / NAME, tmp_path / "done")
        return locked(fd)

    monkeypatch.setattr(partial, "_locked", finishing)
    store.write("f", Source().body, meta=Meta())
    assert (tmp_path / "done").read_bytes() == CONTENT[:5000]
    assert (tmp_path / "f").read_bytes() == CONTENT
