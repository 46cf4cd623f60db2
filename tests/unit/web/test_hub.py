"""News of jobs, and the stream that carries it."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import anyio
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Role
from dunlin.web import sse
from dunlin.web.hub import Hub, Watcher
from dunlin.web.services import EVERYBODY, Principal
from dunlin.web.sse import stream
from tests.unit.web.served import served
from tests.unit.web.test_gate import bearer, guarded


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


@pytest.mark.parametrize(
    "now", [None, Principal("a", Role.VIEWER, "b", "key"), Principal("a", Role.ADMIN, "a", "key")]
)
def test_a_listener_who_is_no_more_what_it_was_is_let_go(now: Principal | None) -> None:
    hub, asked = Hub(), []
    before = Principal("a", Role.VIEWER, "a", "key")

    async def again() -> Principal | None:
        asked.append(hub.latest)
        hub.tell("job", {"id": hub.latest}, "a")
        return before if len(asked) < 3 else now

    async def listen() -> str:
        news = stream(hub, before, 0, again, look=0.0, alive=60.0, sure=0.0)
        return b"".join([chunk async for chunk in news]).decode()

    words = anyio.run(listen)
    assert len(asked) == 3
    assert '"id":1' in words
    assert '"id":2' not in words


def test_one_key_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_EACH", 2)
    monkeypatch.setattr(sse, "MOST", 3)
    with served(tmp_path, found=guarded()) as made:
        one, other = (bearer(made.services.ledger.keys.add(name, Role.VIEWER).text) for name in ("one", "other"))

        async def listen() -> list[int]:
            """The status of each, while all before it listen."""
            found: list[int] = []
            begun = []
            for headers in (one, one, one, other, other):
                status = anyio.Event()
                begun.append(asyncio.create_task(connect(made.app, headers, found, status)))
                await status.wait()
            made.services.hub.close()
            await asyncio.gather(*begun)
            return found

        assert anyio.run(listen) == [200, 200, 503, 200, 503]
        assert made.get("/api/v1/events", headers=one).status_code == 200  # all of them are gone


async def connect(app: Any, headers: dict[str, str], found: list[int], begun: anyio.Event) -> None:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/api/v1/events",
        "raw_path": b"/api/v1/events", "query_string": b"", "root_path": "", "scheme": "http",
        "server": ("localhost", 8080), "client": ("192.0.2.1", 1), "state": {},
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    told, over = [{"type": "http.request", "body": b"", "more_body": False}], anyio.Event()

    async def receive() -> Any:
        if told:
            return told.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])
            return
        begun.set()
        if not message.get("more_body"):
            over.set()

    await app(scope, receive, send)


def test_a_new_listener_and_one_that_missed_too_much_are_told_to_ask() -> None:
    hub = Hub(kept=1)
    for number in range(3):
        hub.tell("job", number)
    assert heard(hub, None).decode().startswith(f"id: {hub.id(3)}\nevent: reset\n")
    hub.closed = False
    assert f"id: {hub.id(3)}\nevent: reset" in heard(hub, 0).decode()
