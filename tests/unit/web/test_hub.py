"""News of jobs, and the stream that carries it."""

from __future__ import annotations

import itertools
from pathlib import Path

import anyio

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Role
from dunlin.web.hub import Hub, Watcher
from dunlin.web.services import EVERYBODY, Principal
from dunlin.web.sse import stream


def test_news_is_numbered_and_forgotten_in_order() -> None:
    hub = Hub(kept=3)
    assert hub.since(0) == []
    for number in range(5):
        hub.tell("job", number)
    assert [each.number for each in hub.since(3) or ()] == [4, 5]
    assert hub.since(1) is None
    assert [each.body for each in hub.since(2) or ()] == [b"2", b"3", b"4"]
    assert hub.place(hub.id(4)) == 4
    for id in ("", "4", "other-4", f"{hub.epoch}-x", hub.id(6), Hub().id(1)):
        assert hub.place(id) is None, id


def test_the_watcher_tells_what_changed_and_the_end(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    try:
        hub = Hub()
        going = (JobStatus.QUEUED, JobStatus.RUNNING)
        watcher = Watcher(hub, lambda: ledger.jobs.page(statuses=going), ledger.jobs.get, lambda job: job.status.value)
        id = ledger.jobs.submit(NewJob("sync", tenant="t")).job.id
        assert (watcher.look(), watcher.look()) == (1, 0)
        ledger.jobs.claim("me", 60)
        ledger.jobs.progress(id, {"copied_files": 1})
        assert (watcher.look(), watcher.look()) == (1, 0)
        ledger.jobs.progress(id, {"copied_files": 2})
        assert watcher.look() == 1
        ledger.jobs.move(id, JobStatus.COMPLETED)
        assert (watcher.look(), watcher.look()) == (1, 0)
        words = [(each.event, each.body, each.tenant) for each in hub.since(0) or ()]
        assert words == [("job", f'"{word}"'.encode(), "t") for word in ("queued", "running", "running", "completed")]
    finally:
        ledger.close()


def test_a_ledger_that_is_away_is_no_news() -> None:
    def away() -> list[Job]:
        raise DunlinError("read", "", ErrorKind.NETWORK)

    assert Watcher(Hub(), away, lambda id: None, str).look() == 0


def heard(hub: Hub, number: int | None, tenant: str = EVERYBODY) -> bytes:
    """What a listener gets until nothing is left: the hub is closed at its third look."""

    async def listen() -> bytes:
        found, looks = b"", itertools.count(1)
        principal = Principal("a", Role.VIEWER, tenant, "key")
        async for chunk in stream(hub, principal, number, look=0, alive=0):
            found += chunk
            if next(looks) == 3:
                hub.close()
        return found

    return anyio.run(listen)


def test_a_listener_hears_what_is_its_own_and_what_it_missed() -> None:
    hub = Hub()
    hub.tell("job", {"id": 1}, "a")
    hub.tell("job", {"id": 2}, "b")
    hub.tell("job", {"id": 3}, "a")
    words = heard(hub, 1, "a").decode()
    assert f'id: {hub.id(3)}\nevent: job\ndata: {{"id":3}}\n\n' in words
    assert '"id":2' not in words
    assert "reset" not in words
    hub.closed = False
    hub.tell("job", {"id": 4})  # nobody's: of the service itself
    assert '"id":4' not in heard(hub, 1, "a").decode()
    hub.closed = False
    assert '"id":4' in heard(hub, 1).decode()
    assert ": still here" in words


def test_a_new_listener_and_one_that_missed_too_much_are_told_to_ask() -> None:
    hub = Hub(kept=1)
    for number in range(3):
        hub.tell("job", number)
    assert heard(hub, None).decode().startswith(f"id: {hub.id(3)}\nevent: reset\n")
    hub.closed = False
    assert f"id: {hub.id(3)}\nevent: reset" in heard(hub, 0).decode()
