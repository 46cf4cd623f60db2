"""A worker's part in a backup: units of real directories into a real repository, and what their answers name."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.backup import keys, repository, windows
from dunlin.backup.chunks import Segment
from dunlin.backup.objects import Objects
from dunlin.backup.pack import read_contents
from dunlin.backup.repository import Area, Repository, Settings
from dunlin.backup.save import Saved, fingerprint
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.queue.base import Lease
from dunlin.queue.embedded import Embedded
from dunlin.stores.local import LocalStore
from dunlin.stores.login import Login
from dunlin.workers import backup_task, packing
from dunlin.workers import backup_wire as wire
from dunlin.workers.backup_task import Known, Noted, SaveWork, disk_of, open_work, take_backup
from dunlin.workers.backup_wire import FORMAT, BackupSetup, Result
from dunlin.workers.fence import Held
from dunlin.workers.packing import Orders, Side
from dunlin.workers.part import Done
from dunlin.workers.remote import orders_name, setup_name
from dunlin.workers.savers import Member
from tests.unit.workers.remote import RUN, Clock, open_queue


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


class Desk:
    """A source, a repository, and a worker's part in a backup from the one into the other."""

    def __init__(self, root: Path) -> None:
        self.source, self.target = root / "source", root / "vault"
        for place in (self.source, self.target):
            place.mkdir()
        opened = repository.init(Objects(LocalStore(str(self.target))), b"word", Settings())
        self.area = opened.area("acme", "docs")
        self.setup = BackupSetup(
            FORMAT, "1", Side(f"file://{self.source}", self.source.stat().st_ino), f"file://{self.target}", opened.id,
            "acme", "docs", disk=disk_of(self.area) or "",
        )  # fmt: skip
        self.bucket = Bucket.create()
        self.clock = Clock()
        self.syncs = 0

    def vault(self, place: str, idle: float, total: float) -> Repository:
        opened = repository.open_repository(Objects(LocalStore(place.removeprefix("file://"))), lambda: b"word")
        checkpoint = opened.objects.sync

        def sync() -> None:
            self.syncs += 1
            checkpoint()

        opened.objects.sync = sync  # type: ignore[method-assign]
        return opened

    def work(self, **changes: object) -> SaveWork:
        setup = self.setup._replace(**changes)  # type: ignore[arg-type]
        made = open_work(setup, 8, lambda text, side: (text, Login()), self.vault, self.bucket)
        made._clock = self.clock
        return made

    def write(self, name: str, content: bytes) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def members(self, *paths: str) -> list[Member]:
        store, print_ = LocalStore(str(self.source)), fingerprint(self.area.keys.seed)
        found = [(path, store.stat(path).facts) for path in paths]
        return [(number, path, 0, facts, print_(facts)) for number, (path, facts) in enumerate(found)]

    def held(self, *paths: str) -> Held:
        payload = wire.pack_unit(self.members(*paths))
        return Held(Lease("1", "run-x", "1", payload, 1, float("inf")))

    def packs(self) -> int:
        return len(self.area.packs(True)) + len(self.area.packs(False))

    def close(self) -> None:
        self.area.repository.close()
        self.bucket.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def never(body: bytes) -> None:
    raise AssertionError("nothing is told before the end")


def do(work: SaveWork, held: Held) -> tuple[Done, Result]:
    done = work.do(held, never)
    return done, wire.unpack_result(done.body)


def named(segment: Segment | None) -> set[bytes]:
    """The packs of which an index speaks."""
    return set() if segment is None else {bytes(segment.packs[at]) for at in segment.columns()[2].tolist()}


def chunks_of(saved: Saved) -> set[bytes]:
    """The first halves of the ids that a reply's new entries refer to."""
    assert saved.outcome is not None
    ids = b"".join(part[1]["chunks"] for part in saved.outcome.parts if not hasattr(part, "segment"))
    return {ids[at : at + 16] for at in range(0, len(ids), 32)}


def halves(segment: Segment | None) -> set[bytes]:
    """The first halves of the ids in an index."""
    if segment is None:
        return set()
    high, low = segment.columns()[:2]
    return {int(h).to_bytes(8) + int(w).to_bytes(8) for h, w in zip(high, low, strict=True)}


def test_a_unit_is_answered_when_its_packs_are_stored_and_no_index_is_written(desk: Desk) -> None:
    desk.write("a/f", b"one")
    desk.write("a/sub/g", b"deeper")
    desk.write("b/large", random.Random(1).randbytes(200_000))
    work = desk.work()
    done, result = do(work, desk.held("", "a", "b"))
    assert (done.whole, done.trouble, result.error) == (True, None, None)
    assert [number for number, *_ in result.replies] == [0, 1, 2]
    top, a, b = (saved for _, saved, _ in result.replies)
    assert [child.name for child in top.children] == [b"a", b"b"]
    assert [child.name for child in a.children] == [b"sub"]
    assert (desk.packs(), result.packs) == (2, 2)
    assert chunks_of(a) == halves(result.places[0])
    assert chunks_of(b) == halves(result.places[1])
    assert result.new_bytes == 200_003
    assert desk.area.chunk_segments(True) == desk.area.chunk_segments(False) == []
    work.close()


def test_what_an_answer_says_of_places_is_true(desk: Desk) -> None:
    for number in range(30):
        desk.write(f"d/f{number}", os.urandom(100 + number))
    work = desk.work()
    _, result = do(work, desk.held("d"))
    (name,) = named(result.places[0])
    key = desk.area.pack_key(name.hex(), True)
    size, read = desk.area.objects.reader(key)
    there = {each.chunk[:16]: each for each in read_contents(desk.area.codec(key), read, size)}
    assert there.keys() == halves(result.places[0])
    assert result.places[0] is not None
    for half, each in there.items():
        place = result.places[0].find(int.from_bytes(half[:8]), int.from_bytes(half[8:]))
        assert place is not None
        assert (place.offset, place.length, place.inside) == (each.offset, each.length, each.inside)
    work.close()


def test_an_answer_names_what_an_earlier_unit_stored_whose_answer_may_be_lost(desk: Desk) -> None:
    """Else a snapshot would refer to a chunk that no index names."""
    desk.write("a/f", b"the same")
    desk.write("b/g", b"the same")
    desk.write("b/h", b"another")
    work = desk.work()
    _, first = do(work, desk.held("a"))
    _, second = do(work, desk.held("b"))
    assert first.packs == second.packs == 1
    assert second.new_bytes == len(b"another")  # it is not stored twice
    assert chunks_of(second.replies[0][1]) == halves(second.places[0])
    assert halves(first.places[0]) < halves(second.places[0])
    _, third = do(work, desk.held("b"))
    assert (third.packs, third.stored_bytes) == (0, 0)
    assert chunks_of(third.replies[0][1]) == halves(third.places[0])
    work.close()


def test_what_a_stored_index_names_needs_no_word(desk: Desk) -> None:
    desk.write("a/f", b"known")
    work = desk.work()
    _, first = do(work, desk.held("a"))
    assert first.places[0] is not None
    desk.area.put_chunk_segment(first.places[0], True)
    work.close()
    again = desk.work()
    _, second = do(again, desk.held("a"))
    assert (second.packs, second.places) == (0, (None, None))
    assert chunks_of(second.replies[0][1]) == halves(first.places[0])
    again.close()


def test_a_unit_that_takes_long_gives_back_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        desk.write(f"{name}/f", name.encode())
    work = desk.work()
    real = work._make.do

    def slow(*unit: object) -> object:
        desk.clock.now += backup_task.LONG / 2
        return real(*unit)  # type: ignore[arg-type]

    monkeypatch.setattr(work._make, "do", slow)
    done, result = do(work, desk.held("a", "b", "c"))
    assert [number for number, *_ in result.replies] == [0, 1]
    assert (done.seconds, result.packs) == (backup_task.LONG, 1)
    work.close()


def test_flushed_is_what_the_coordinators_own_flush_does_not_reach(desk: Desk) -> None:
    desk.write("a/f", b"one")
    desk.write("b/f", b"two")
    near = desk.work()
    do(near, desk.held("a"))
    assert desk.syncs == 0
    near.close()
    far = desk.work(disk="another machine 5")
    do(far, desk.held("b"))
    assert desk.syncs == 1
    do(far, desk.held("b"))
    assert desk.syncs == 1  # nothing was stored
    far.close()


def test_what_goes_wrong_is_told_and_leaves_nothing_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("a/f", b"one")
    desk.write("a/large", random.Random(1).randbytes(200_000))
    work = desk.work()
    put = Area.pack_key

    def refused(area: Area, pack: str, small: bool) -> str:
        if not small:
            raise DunlinError("write", "pack", ErrorKind.DENIED, "not here")
        return put(area, pack, small)

    with monkeypatch.context() as patch:
        patch.setattr(Area, "pack_key", refused)
        done, result = do(work, desk.held("a"))
    assert result.error is not None
    assert (result.error.kind, result.replies, done.whole) == (ErrorKind.DENIED, [], True)
    assert done.trouble is not None
    done, result = do(work, desk.held("a"))  # nothing of the failure is held against the next unit
    assert (result.error, done.trouble) == (None, None)
    assert chunks_of(result.replies[0][1]) == halves(result.places[0]) | halves(result.places[1])
    work.close()


def test_a_source_that_went_away_meanwhile_is_not_taken_for_an_empty_one(desk: Desk, tmp_path: Path) -> None:
    desk.write("a/f", b"one")
    work = desk.work()
    desk.source.rename(tmp_path / "unmounted")
    desk.source.mkdir()
    held = desk.held("")
    done, result = do(work, held)
    assert (result.replies, result.places, done.trouble is not None) == ([], (None, None), True)
    desk.source.rmdir()
    (tmp_path / "unmounted").rename(desk.source)
    _, result = do(work, desk.held(""))
    assert [child.name for child in result.replies[0][1].children] == [b"a"]
    work.close()


def test_a_full_repository_is_no_reason_to_leave_the_run_to_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("a/f", b"one")
    work = desk.work()

    def full(*_: object) -> object:
        raise DunlinError("write", "pack", ErrorKind.NO_SPACE, "full")

    monkeypatch.setattr(work._make, "do", full)
    done, result = do(work, desk.held("a"))
    assert result.error is not None
    assert (result.error.kind, done.trouble) == (ErrorKind.NO_SPACE, None)
    work.close()


@pytest.mark.parametrize("lost", [False, True])
def test_a_unit_that_is_stopped_tells_what_it_has_unless_its_lease_is_lost(desk: Desk, lost: bool) -> None:
    desk.write("a/f", b"one")
    desk.write("a/large", random.Random(1).randbytes(10 << 20))
    desk.write("b/f", b"two")
    work, held = desk.work(), desk.held("a", "b")
    real = work._make.do
    full = 0

    def stopped(*unit: object) -> object:
        nonlocal full
        if unit[1] == "b":
            full = desk.packs()
            held.lost = lost
            raise DunlinError("go on", "", ErrorKind.INTERRUPTED, "the run was stopped")
        return real(*unit)  # type: ignore[arg-type]

    work._make.do = stopped  # type: ignore[assignment, method-assign]
    done = work.do(held, never)
    result = wire.unpack_result(done.body)
    assert held.lost is lost
    assert full >= 1
    if not lost:
        assert not done.whole
        assert [number for number, *_ in result.replies] == [0]
        # That of small files, and what the large one's last chunks began: they are cut elsewhere by every key.
        assert full < desk.packs() <= full + 2
    else:
        assert (result.replies, desk.packs()) == ([], 0)
    work.close()


@pytest.mark.parametrize("why", ["another repository", "no vault", "wrong password", "another source"])
def test_a_worker_that_sees_something_else_takes_no_part(desk: Desk, tmp_path: Path, why: str) -> None:
    setup, vault = desk.setup, desk.vault
    if why == "another repository":
        setup = setup._replace(id="ff" * 16)
    if why == "another source":
        shutil.move(desk.source, tmp_path / "moved")
        desk.source.mkdir()
        setup = setup._replace(source=setup.source._replace(inode=(tmp_path / "moved").stat().st_ino))
    if why == "wrong password":

        def vault(place: str, idle: float, total: float) -> Repository:
            return repository.open_repository(Objects(LocalStore(place.removeprefix("file://"))), lambda: b"no")

    opens: Callable[[str, float, float], Repository] | None = None if why == "no vault" else vault
    with pytest.raises(DunlinError) as raised:
        open_work(setup, 1, lambda text, side: (text, Login()), opens, desk.bucket)
    wanted = {"no vault": ErrorKind.USAGE, "wrong password": ErrorKind.AUTH}
    assert raised.value.kind is wanted.get(why, ErrorKind.NOT_FOUND)


def test_a_part_is_taken_from_the_board(desk: Desk, tmp_path: Path) -> None:
    queue: Embedded = open_queue(tmp_path, Clock())

    def taken() -> object:
        return take_backup(queue, RUN, 1, lambda text, side: (text, Login()), desk.vault)

    assert taken() is None
    queue.write(setup_name(RUN), wire.pack_setup(desk.setup))
    assert taken() is None
    queue.write(orders_name(RUN), packing.pack_orders(Orders(rate=7, paused=True)))
    part = take_backup(queue, RUN, 1, lambda text, side: (text, Login()), desk.vault)
    assert part is not None
    assert (part.bucket.rate, part.bucket.paused) == (7, True)
    assert part.work.title == f"file://{desk.source} -> file://{desk.target}"
    part.close()
    queue.close()


def test_other_units_learn_of_chunks_when_their_unit_is_over() -> None:
    from dunlin.backup.chunks import ChunkIndex
    from dunlin.backup.words import Location, Stored

    known = Known()
    one, two = Noted(ChunkIndex(), known), Noted(ChunkIndex(), known)
    chunk = b"c" * 32
    one.add(b"p" * 16, [Stored(chunk, 512, 100, 0, 9)])
    place = Location(b"p" * 16, 512, 100, 0)
    assert (one.find(chunk), two.find(chunk)) == (place, None)  # it may not be durable yet
    assert halves(one.settle()) == {chunk[:16]}
    assert two.find(chunk) == place
    assert halves(two.settle()) == {chunk[:16]}
    assert one.settle() is two.settle() is None


def test_a_huge_directory_is_told_in_parts_with_what_is_stored_by_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "HUGE", 4)
    monkeypatch.setattr(windows, "WINDOW", 3)
    monkeypatch.setattr(backup_task, "NOTED", 5)
    monkeypatch.setattr(backup_task, "full", lambda small, room: 2000)
    for at in range(20):
        desk.write(f"d/f{at:02}", os.urandom(100))
    work = desk.work(disk="another machine 5")
    told: list[Result] = []
    syncs: list[int] = []

    def tell(body: bytes) -> None:
        told.append(wire.unpack_result(body))
        syncs.append(desk.syncs)

    result = wire.unpack_result(work.do(desk.held("d"), tell).body)
    parts = [saved for each in told for _, saved, _ in each.replies]
    assert [(saved.more, saved.place) for saved in parts] == [(True, at) for at in range(len(parts))]
    ((_, last, part),) = result.replies
    assert (last.more, last.place, last.same, part is not None) == (
        False, len(parts), False, True,
    )  # fmt: skip
    assert max(saved.rows for saved in parts) == 3
    assert b"".join(saved.outcome.columns[0] for saved in parts if saved.outcome is not None) == b"".join(
        b"f%02d" % at for at in range(20)
    )
    every = [*told, result]
    chunks = [chunks_of(saved) for saved in parts]
    assert set().union(*chunks) == set().union(*(halves(each.places[0]) for each in every))
    assert sum(each.new_bytes for each in every) == 2000
    assert sum(each.packs for each in every) == desk.packs()
    first = next(at for at, each in enumerate(told) if each.places[0] is not None)
    assert syncs[first] > 0  # it is durable when it is told
    work.close()


def test_who_loses_the_lease_in_the_middle_takes_back_what_nobody_was_told_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "HUGE", 4)
    monkeypatch.setattr(windows, "WINDOW", 3)
    for at in range(20):
        desk.write(f"d/f{at:02}", random.Random(at).randbytes(100))
    desk.write("d/0", random.Random(1).randbytes(9 << 20))
    work = desk.work()

    class LostError(Exception):
        pass

    def lost(body: bytes) -> None:
        assert desk.packs() == 1  # the large one is full
        raise LostError

    with pytest.raises(LostError):
        work.do(desk.held("d"), lost)
    assert desk.packs() == 0
    work.close()
