"""Units that hang give up their slots, and others like them are not begun; what hangs waits for an event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry
from dunlin.queue.base import Lease
from dunlin.report import RecordingReport
from dunlin.stores.base import find_file, remove_directory
from dunlin.stores.local import LocalStore
from dunlin.stores.login import Login
from dunlin.stores.memory import shared
from dunlin.workers import publish_hung as module
from dunlin.workers import publish_task as task_module
from dunlin.workers.fence import Held, bound, current
from dunlin.workers.publish_hung import Hung, Looks, Watched
from dunlin.workers.publish_task import PublishTasks, TaskOptions
from dunlin.workers.publish_words import VERSION, PublishFile, PublishUnit, Root, pack, unpack_outcome


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when the share's server is back; each look lasts too long for a unit until then."""
    monkeypatch.setattr(module, "LOOK", 0.001)
    event = threading.Event()
    yield event
    event.set()


def hanging(looks: Looks, path: str, back: threading.Event, ended: threading.Event) -> Callable[[], str]:
    def act() -> str:
        try:
            with looks.at(path):
                assert back.wait(20)
            return "done"
        finally:
            ended.set()

    return act


def test_what_does_not_hang_is_done(back: threading.Event) -> None:
    hung = Hung()
    assert hung.do(["/a"], Looks(), lambda: 3, lambda: None) == 3
    with pytest.raises(ZeroDivisionError):
        hung.do(["/a"], Looks(), lambda: 1 // 0, lambda: None)


def test_it_is_done_under_the_lease_of_its_slot(back: threading.Event) -> None:
    held = Held(Lease("1", "publish", "k", b"", 1, float("inf")))
    with bound(held):
        assert Hung().do(["/a"], Looks(), current, lambda: None) is held


def test_a_unit_that_hangs_is_given_up_and_others_of_its_directory_are_refused(back: threading.Event) -> None:
    hung, looks, ended, gone = Hung(still=0.0), Looks(), threading.Event(), []
    with pytest.raises(DunlinError) as caught:
        hung.do(["/mnt/nas", "/srv"], looks, hanging(looks, "mnt/nas/d/f", back, ended), lambda: gone.append(1))
    assert (caught.value.kind, caught.value.where, gone) == (ErrorKind.TIMEOUT, "/mnt/nas/d/f", [1])
    began: list[int] = []
    with pytest.raises(DunlinError) as again:
        hung.do(["/mnt/nas"], Looks(), lambda: began.append(1), lambda: None)
    assert (again.value.kind, again.value.where, began) == (ErrorKind.TIMEOUT, "/mnt/nas", [])
    assert hung.do(["/srv"], Looks(), lambda: "other", lambda: None) == "other"
    back.set()
    assert ended.wait(20)
    deadline = time.monotonic() + 20
    while True:  # until its thread has ended
        try:
            assert hung.do(["/mnt/nas"], Looks(), lambda: "back", lambda: None) == "back"
            return
        except DunlinError:
            assert time.monotonic() < deadline, "the directory is still refused"
            threading.Event().wait(0.01)


def test_where_too_many_hang_slots_are_held(back: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 0)
    looks, ended, found = Looks(), threading.Event(), list[str]()
    hung = Hung(still=0.0)
    act = hanging(looks, "mnt/f", back, ended)
    waiting = threading.Thread(target=lambda: found.append(hung.do(["/mnt"], looks, act, lambda: None)))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    back.set()
    waiting.join(20)
    assert found == ["done"]


def test_looks_last_from_when_they_began() -> None:
    now = [0.0]
    looks = Looks(lambda: now[0])
    assert looks.hung(0.0) == ""
    with looks.at("old"):
        now[0] = 59.0
        with looks.at("new"):
            assert looks.hung(60.0) == ""
            now[0] = 60.0
            assert looks.hung(60.0) == "old"
    assert looks.hung(0.0) == ""


def test_every_look_at_the_file_system_is_noted(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"data")
    noted: list[str] = []

    class Noting(Looks):
        def at(self, path: str):  # type: ignore[no-untyped-def]
            noted.append(path)
            return super().at(path)

    store = Watched(LocalStore(str(tmp_path)), Noting())
    assert sorted(name for batch in store.list("") for name, _ in batch) == ["d", "f"]
    assert len(noted) >= 2, "one for each batch, and for the end"
    assert set(noted) == {""}
    noted.clear()
    entry = store.stat("f")
    assert b"".join(map(bytes, store.read(entry))) == b"data"
    assert noted == ["f"] * len(noted)
    assert len(noted) >= 3, "one for each block"
    for act in (lambda: remove_directory(store, "d"), lambda: store.delete(["f"])):
        before = len(noted)
        act()
        assert len(noted) == before + 1
    assert list(tmp_path.iterdir()) == []
    store.close()


def test_a_file_of_a_share_that_is_gone_costs_no_slot(
    tmp_path: Path, back: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"data")
    stat, looked, now = LocalStore.stat, threading.Event(), [0.0]

    def look(self: LocalStore, path: str) -> Entry:
        if "/gone/" in path:
            looked.set()
            now[0] += 60.0  # only this look lasts, however slow the machine is
            assert back.wait(20)
        return stat(self, path)

    monkeypatch.setattr(LocalStore, "stat", look)
    report, name = RecordingReport(), f"hung-{tmp_path.name}"
    store = shared(name)
    tasks = PublishTasks(lambda place: (f"memory://{name}", Login()), TaskOptions(), report)
    tasks._hung = Hung(still=60.0)
    monkeypatch.setattr(task_module, "Looks", lambda: Looks(lambda: now[0]))

    def lease(name: str) -> Held:
        unit = PublishUnit(
            VERSION, "job", 1, 0, "target", "b", 60.0, 0.0, ["/"], [Root(str(tmp_path / name), False, False)],
            [PublishFile(0, 0, "f", f"store/{name}", 4)],
        )  # fmt: skip
        return Held(Lease("1", "publish", "k", pack(unit), 1, float("inf")))

    def do(held: Held) -> bytes:
        with bound(held):
            return tasks.do(held.lease, lambda part: True, lambda: held.left(0.0) > 1)

    gone = lease("gone")
    with pytest.raises(DunlinError) as caught:
        do(gone)
    assert (caught.value.kind, caught.value.retry_after) == (ErrorKind.TIMEOUT, 60.0)
    assert looked.is_set()
    assert gone.lost, "it may change nothing any more"
    assert [each.status for each in unpack_outcome(do(lease("good"))).files] == [1]
    back.set()
    for thread in threading.enumerate():
        if thread.name == "publish-unit":
            thread.join(20)
            assert not thread.is_alive()
    assert find_file(store, "store/gone") is None
    tasks.close()
