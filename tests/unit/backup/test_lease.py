import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import lease
from dunlin.backup.objects import Objects
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.memory import MemoryStore


class Clocks:
    """The store's clock and the machine's; they run alike unless a test says otherwise."""

    def __init__(self) -> None:
        self.store, self.own = 10**18, 0.0

    def on(self, seconds: float) -> None:
        self.store += int(seconds * 1e9)
        self.own += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def objects(clocks: Clocks) -> Iterator[Objects]:
    yield Objects(MemoryStore(clock=lambda: clocks.store))
    while TAKEN:
        TAKEN.pop().release()


TAKEN: list[lease.Lease] = []


def take(objects: Objects, clocks: Clocks, share: str = "s", who: str = "box 1") -> lease.Lease:
    TAKEN.append(lease.Lease(objects, "t", share, who, clock=lambda: clocks.own))
    return TAKEN[-1]


def test_one_writer_per_share_and_any_number_of_shares(objects: Objects, clocks: Clocks) -> None:
    first = take(objects, clocks)
    take(objects, clocks, "other")
    with pytest.raises(DunlinError, match=r"going on \(box 1\)") as error:
        take(objects, clocks, who="box 2")
    assert error.value.kind is ErrorKind.LOCKED
    first.release()
    take(objects, clocks, who="box 2")


def test_who_was_refused_leaves_nothing_behind(objects: Objects, clocks: Clocks) -> None:
    first = take(objects, clocks)
    with pytest.raises(DunlinError):
        take(objects, clocks)
    assert [each.key for each in objects.list("t/leases")] == [first.key]


def test_a_lease_is_written_again_every_minute_and_no_more_often(objects: Objects, clocks: Clocks) -> None:
    mine = take(objects, clocks)
    times = []
    for _ in range(12):
        clocks.on(20)
        assert mine.renew()
        times.append(objects.list("t/leases")[0].time)
    assert len(set(times)) == 5  # the first writing and four later ones
    assert lease.live(objects, "t", clocks.store)[0].began == mine.began == 10**18


def test_a_dead_lease_is_forgotten_and_its_owner_does_not_come_back(objects: Objects, clocks: Clocks) -> None:
    sleeper = take(objects, clocks)
    clocks.on(lease.EXPIRES + 1)
    new = take(objects, clocks, who="box 2")
    assert not sleeper.alive()
    assert not sleeper.renew()
    assert [each.key for each in objects.list("t/leases")] == [new.key]
    assert new.alive()


def test_an_owner_that_was_late_gives_up_before_others_take_it_for_dead(objects: Objects, clocks: Clocks) -> None:
    mine = take(objects, clocks)
    clocks.on(lease.GIVES_UP)
    assert not mine.renew()
    with pytest.raises(DunlinError):
        take(objects, clocks, who="box 2")
    assert lease.GIVES_UP + 5 * 60 < lease.EXPIRES


def test_a_machine_that_sleeps_grows_older(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = 1_000.0
    monkeypatch.setattr(time, "clock_gettime", lambda which: {time.CLOCK_BOOTTIME: boot}[which])
    mine = lease.Lease(objects, "t", "s", "box 1")
    TAKEN.append(mine)
    assert mine.alive()
    boot += lease.GIVES_UP
    assert not mine.alive()
    assert not mine.renew()


def test_who_slept_while_it_wrote_lets_go_of_what_came_back_to_life(objects: Objects, clocks: Clocks) -> None:
    mine = take(objects, clocks)
    real = objects.put

    def put(key: str, data: bytes, **how: bool) -> object:
        clocks.on(lease.GIVES_UP)
        return real(key, data, **how)

    objects.put = put  # type: ignore[method-assign,assignment]
    clocks.on(lease.RENEWED)
    assert not mine.renew()
    assert not mine.alive()


def test_two_that_begin_in_one_moment_never_both_go_on(objects: Objects, clocks: Clocks) -> None:
    real, inner = objects.put, []

    def put(key: str, data: bytes, **how: bool) -> object:
        found = real(key, data, **how)
        if not inner:  # between the other's writing and its look, we come and look
            inner.append(None)
            with pytest.raises(DunlinError):
                take(objects, clocks, who="box 2")
        return found

    objects.put = put  # type: ignore[method-assign,assignment]
    take(objects, clocks)


def test_whose_process_has_ended_on_this_machine_need_not_be_waited_for(objects: Objects, clocks: Clocks) -> None:
    child = subprocess.Popen(["sleep", "60"])
    first = take(objects, clocks)
    content = json.loads(objects.get(first.key))
    objects.put(first.key, json.dumps({**content, "owner": lease.owner(child.pid)}).encode())
    with pytest.raises(DunlinError):
        take(objects, clocks, who="box 2")
    child.kill()
    child.wait()
    take(objects, clocks, who="box 2")


def test_a_process_of_another_machine_is_never_taken_for_ended(objects: Objects, clocks: Clocks) -> None:
    first = take(objects, clocks)
    content = json.loads(objects.get(first.key))
    for other in (f"boot {lease.owner(1)}", "another-boot pid:[1] 4000000 1", "", "x"):
        objects.put(first.key, json.dumps({**content, "owner": other}).encode())
        with pytest.raises(DunlinError):
            take(objects, clocks, who="box 2")


def test_leases_are_told_oldest_first(objects: Objects, clocks: Clocks) -> None:
    first = take(objects, clocks, "b")
    clocks.on(100)
    second = take(objects, clocks, "a")
    clocks.on(200)
    first.renew()
    assert [each.key for each in lease.live(objects, "t", clocks.store)] == [first.key, second.key]


def test_an_unreadable_lease_is_a_live_one(objects: Objects, clocks: Clocks) -> None:
    objects.put("t/leases/s.abc", b"not JSON")
    with pytest.raises(DunlinError, match="unknown"):
        take(objects, clocks)


def test_an_append_only_repository_lets_leases_go(objects: Objects, clocks: Clocks) -> None:
    objects.append_only = True
    take(objects, clocks).release()
    take(objects, clocks).release()


def test_a_thread_keeps_it_alive_until_it_is_released(
    objects: Objects, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.0)
    monkeypatch.setattr(lease, "AGAIN", 0.001)
    mine = take(objects, clocks)
    real, written = objects.put, threading.Event()

    def put(key: str, data: bytes, **how: bool) -> object:
        written.set()
        return real(key, data, **how)

    objects.put = put  # type: ignore[method-assign,assignment]
    assert written.wait(60)
    with mine.rest():  # a process may be forked
        assert mine.key not in {thread.name for thread in threading.enumerate()}
        written.clear()
    assert written.wait(60)
    mine.release()
    assert mine.key not in {thread.name for thread in threading.enumerate()}
    assert objects.list("t/leases") == []


def test_a_store_that_does_not_answer_for_a_moment_costs_no_lease(objects: Objects, clocks: Clocks) -> None:
    mine = take(objects, clocks)
    real = objects.put
    kinds = [ErrorKind.NETWORK, ErrorKind.TIMEOUT]

    def put(key: str, data: bytes, **how: bool) -> object:
        if kinds:
            raise DunlinError("write", key, kinds.pop(0))
        return real(key, data, **how)

    objects.put = put  # type: ignore[method-assign,assignment]
    before = objects.list("t/leases")[0].time
    for _ in range(2):
        clocks.on(lease.RENEWED)
        assert mine.renew()
        assert mine.renew()  # not at once
    assert objects.list("t/leases")[0].time == before
    clocks.on(lease.AGAIN)
    assert mine.renew()
    assert objects.list("t/leases")[0].time == clocks.store
    kinds += [ErrorKind.AUTH]
    clocks.on(lease.RENEWED)
    with pytest.raises(DunlinError) as error:
        mine.renew()
    assert error.value.kind is ErrorKind.AUTH
    kinds += [ErrorKind.NETWORK] * 100
    clocks.on(lease.GIVES_UP)
    assert not mine.renew()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"began": [1]}', b'{"began": "x", "owner": "a b c d"}', b'{"owner": [1], "parent": 5}']
)
def test_a_lease_that_cannot_be_read_is_one_all_the_same(objects: Objects, clocks: Clocks, content: bytes) -> None:
    made = objects.put("t/leases/s.0", content)
    [found] = lease.live(objects, "t", clocks.store)
    assert (found.share, found.began, found.parent) == ("s", made.time, None)


def test_an_owner_that_is_none_has_not_ended(objects: Objects, clocks: Clocks) -> None:
    mine = lease.owner(os.getpid()).split()
    objects.put("t/leases/s.0", json.dumps({"owner": " ".join([*mine[:2], "x", mine[3]])}).encode())
    assert len(lease.live(objects, "t", clocks.store)) == 1


def test_who_only_looks_removes_no_dead_lease(objects: Objects, clocks: Clocks) -> None:
    objects.put("t/leases/s.0", b"{}")
    clocks.on(lease.EXPIRES + 1)
    assert lease.live(objects, "t", clocks.store, tidy=False) == []
    assert len(objects.list("t/leases")) == 1
    assert lease.live(objects, "t", clocks.store) == []
    assert objects.list("t/leases") == []


@pytest.mark.parametrize("hidden", [PermissionError, FileNotFoundError])
def test_a_process_of_another_user_is_never_taken_for_ended(
    objects: Objects, clocks: Clocks, monkeypatch: pytest.MonkeyPatch, hidden: type[OSError]
) -> None:
    """Where /proc hides it (hidepid, ProtectProc=invisible), only a signal tells that it is there."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        first = take(objects, clocks)
        content = json.loads(objects.get(first.key))
        objects.put(first.key, json.dumps({**content, "owner": lease.owner(child.pid)}).encode())
        read, kill = Path.read_text, os.kill

        def looked(self: Path, *rest: Any, **how: Any) -> str:
            if str(child.pid) in str(self):
                raise hidden
            return read(self, *rest, **how)

        def signalled(pid: int, number: int) -> None:
            if pid == child.pid:
                raise PermissionError
            kill(pid, number)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", looked)
            patched.setattr(os, "kill", signalled)
            with pytest.raises(DunlinError):
                take(objects, clocks, who="box 2")
    finally:
        child.kill()
        child.wait()
