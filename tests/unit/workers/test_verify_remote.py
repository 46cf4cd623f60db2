"""A verification over a queue: packs go out in units, what is wrong with them comes back, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import keys, repository
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Repository, Settings
from dunlin.backup.verified import Subset
from dunlin.backup.verify import Index, Looked, Verified, look_at, read_index, verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.queue.base import Lease
from dunlin.stores.local import LocalStore
from dunlin.workers import packing, verify_remote, verify_task
from dunlin.workers import verify_wire as wire
from dunlin.workers.doers import Arrival
from dunlin.workers.fence import Held
from dunlin.workers.verify_remote import TRIES, RemoteLooks
from dunlin.workers.verify_task import VerifyWork
from dunlin.workers.verify_wire import FORMAT, Pack, Packs, Seen, VerifySetup
from tests.unit.workers.remote import Clock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


class Desk:
    """A repository with some bundles, and a worker that looks at them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        made = repository.init(self.objects(), None, Settings())
        self.opened = made
        self.area = made.area("acme", "docs")
        rng = random.Random(1)
        for _ in range(5):
            shelf = Shelf(self.area, True, ChunkIndex())
            for _ in range(20):
                shelf.put(rng.randbytes(9_000))
            shelf.finish()
        self.bucket, self.clock = Bucket.create(), Clock()
        self.work = VerifyWork(self.again(), "acme", self.bucket, self.clock)

    def objects(self) -> Objects:
        return Objects(LocalStore(str(self.root)))

    def again(self) -> Repository:
        return repository.open_repository(self.objects(), lambda: None)

    def index(self) -> Index:
        return read_index(self.area, True, Verified())

    def do(self, packed: tuple[Any, ...]) -> wire.Result:
        """A unit as a worker does it, by way of the queue's bodies."""
        held = Held(Lease("1", "run-x", "1", verify_remote.SPEECH.unit(packed, False, []), 1, float("inf")))
        done = self.work.do(held, lambda body: None)
        found: wire.Result = verify_remote.SPEECH.outcome(done.body)
        return found

    def hurt(self, pack: bytes) -> None:
        path = self.root / self.area.pack_key(pack.hex(), True)
        content = bytearray(path.read_bytes())
        content[3_000] ^= 1
        path.write_bytes(content)

    def close(self) -> None:
        self.work.close()
        self.opened.close()
        self.bucket.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


class Pool:
    """Does units as they come, but for those that a script has something else for."""

    def __init__(self, desk: Desk, script: Sequence[str] = (), room: int = 2) -> None:
        self._desk, self._script, self._all = desk, list(script), room
        self.units: list[Packs] = []
        self._news: list[Arrival] = []
        self.closed = False

    @property
    def room(self) -> int:
        return self._all - len(self._news)

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        self.units.append(packed[2])
        what = self._script.pop(0) if self._script else "done"
        if what == "done":
            self._news.append(Arrival("done", unit, (self._desk.do(packed),)))
        elif what == "error":
            error = DunlinError("read", "p", ErrorKind.TIMEOUT, "nothing came")
            self._news.append(Arrival("done", unit, (wire.Result([], error),)))
        else:
            self._news.append(Arrival(what, unit, ("0", False) if what == "lost" else ("KeyError", "")))

    def poll(self, timeout: float) -> list[Arrival]:
        found, self._news = self._news, []
        return found

    def settled(self) -> None:
        pass

    def learn(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def looks(pool: Pool) -> RemoteLooks:
    return RemoteLooks(pool, lambda: None)  # type: ignore[arg-type]


def told(found: Sequence[Looked]) -> dict[bytes, tuple[list[str], bool]]:
    return {name: (reasons, read) for name, _, reasons, read in found}


def here(index: Index, read: set[bytes]) -> dict[bytes, tuple[list[str], bool]]:
    return {name: look_at(index, name, found, read=name in read) for name, found in index.packs.items()}


@pytest.mark.parametrize("all_read", [True, False])
def test_workers_find_what_this_process_would_find(desk: Desk, all_read: bool) -> None:
    first, second = sorted(desk.index().packs)[:2]
    desk.hurt(first)
    (desk.root / desk.area.pack_key(second.hex(), True)).write_bytes(b"cut short")
    mine, theirs = desk.index(), desk.index()
    read = set(mine.packs) if all_read else set()
    assert told(list(looks(Pool(desk))(theirs, read))) == here(mine, read)
    assert theirs.bad.tolist() == mine.bad.tolist()
    assert mine.bad.any()


def test_a_whole_verification_is_the_same_either_way(desk: Desk) -> None:
    desk.hurt(min(desk.index().packs))
    pool = looks(Pool(desk))
    away = verify([desk.area], data=Subset(), clock=lambda: 5, elsewhere=pool)
    assert away == verify([desk.area], data=Subset(), clock=lambda: 5)
    assert (away.packs, away.read_packs, len(away.damages)) == (5, 5, 1)


def test_units_are_bounded_and_no_more_go_out_than_there_is_room_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_remote, "CHUNKS", 45)
    pool = Pool(desk, room=1)
    index = desk.index()
    assert len(list(looks(pool)(index, set()))) == 5
    assert [len(unit.packs) for unit in pool.units] == [2, 2, 1]
    assert [len(unit.known) for unit in pool.units] == [40, 40, 20]
    monkeypatch.setattr(verify_remote, "BYTES", 1)
    pool = Pool(desk)
    assert len(list(looks(pool)(index, set(index.packs)))) == 5
    assert [len(unit.packs) for unit in pool.units] == [1] * 5


def test_what_was_lost_goes_out_again(desk: Desk) -> None:
    pool = Pool(desk, ["lost", "fault", "done"])
    assert len(list(looks(pool)(desk.index(), set()))) == 5
    assert [len(unit.packs) for unit in pool.units] == [5, 5, 5]


def test_what_is_left_of_a_unit_goes_out_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify_task.look_at

    def slow(*words: Any, **how: Any) -> Any:
        desk.clock.now += verify_task.LONG / 2
        return real(*words, **how)

    monkeypatch.setattr(verify_task, "look_at", slow)
    pool = Pool(desk)
    assert len(list(looks(pool)(desk.index(), set()))) == 5
    assert [len(unit.packs) for unit in pool.units] == [5, 3, 1]


@pytest.mark.parametrize(("what", "kind"), [("lost", ErrorKind.INTERNAL), ("error", ErrorKind.TIMEOUT)])
def test_what_nobody_can_do_ends_it(desk: Desk, what: str, kind: ErrorKind) -> None:
    pool = Pool(desk, [what] * TRIES)
    with pytest.raises(DunlinError) as raised:
        list(looks(pool)(desk.index(), set()))
    assert raised.value.kind is kind
    assert len(pool.units) == TRIES


def test_who_wants_it_to_stop_is_heard(desk: Desk) -> None:
    def look() -> None:
        raise DunlinError("verify", "", ErrorKind.INTERRUPTED, "asked")

    with pytest.raises(DunlinError) as raised:
        list(RemoteLooks(Pool(desk), look)(desk.index(), set()))  # type: ignore[arg-type]
    assert raised.value.kind is ErrorKind.INTERRUPTED


def test_a_worker_that_is_stopped_tells_what_it_has(desk: Desk) -> None:
    index = desk.index()
    packs = [Pack(name, found, True) for name, found in index.packs.items()]
    held = Held(Lease("1", "q", "1", wire.pack_unit(Packs("docs", True, packs, index.known)), 1, float("inf")))
    desk.bucket.stop()
    done = desk.work.do(held, lambda body: None)
    assert (done.whole, done.trouble, wire.unpack_result(done.body).seen) == (False, None, [])


def test_what_travels_arrives_and_what_is_none_of_ours_is_refused() -> None:
    setup = VerifySetup(FORMAT, "1", "loc://vault", "ab" * 16, "acme", 1.0, 2.0, ("tenant:x",))
    assert wire.unpack_setup(wire.pack_setup(setup)) == setup
    with pytest.raises(DunlinError) as raised:
        wire.unpack_setup(wire.pack_setup(setup._replace(version=FORMAT + 1)))
    assert raised.value.kind is ErrorKind.USAGE
    error = DunlinError("read", "p", ErrorKind.DENIED, "no", "ask")
    result = wire.unpack_result(wire.pack_result([Seen(b"p" * 16, ["odd \udce9"], True, [1, 5])], error, 2.0))
    assert (result.seen, str(result.error), result.seconds) == ([Seen(b"p" * 16, ["odd \udce9"], True, [1, 5])],
                                                                str(error), 2.0)  # fmt: skip
    for body in (b"", b"q", packing.packed(wire.RESULT, [[], ["read", "x", "no kind", "", ""], 0.0])):
        with pytest.raises(DunlinError) as raised:
            wire.unpack_result(body)
        assert raised.value.kind is ErrorKind.INTERNAL
