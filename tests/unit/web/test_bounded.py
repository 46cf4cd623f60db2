"""Calls that may never end hold up nobody but their like."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from dunlin.web import bounded as module
from dunlin.web.bounded import FULL, Bounded
from dunlin.web.problems import Refused
from tests.unit.web.served import served


@pytest.fixture
def hung() -> Iterator[tuple[threading.Event, Callable[[], str]]]:
    """A look at a share whose server is gone, until it comes back."""
    back = threading.Event()

    def look() -> str:
        assert back.wait(20)
        return "there"

    yield back, look
    back.set()


async def _both(
    bounded: Bounded, first: Callable[[], Any], then: Callable[[], Any], refused: Callable[[], object] = lambda: None
) -> list[Any]:
    """What comes of two calls, the second made while the first is under way; `refused` is told that one was."""
    found: list[Any] = []

    async def make(call: Callable[[], Any]) -> None:
        try:
            found.append(await bounded(call))
        except Refused as error:
            found.append((error.status, error.detail))
            refused()

    async with anyio.create_task_group() as group:
        group.start_soon(make, first)
        await anyio.sleep(0)
        group.start_soon(make, then)
    return found


@pytest.mark.parametrize(("waiting", "patience"), [(0, 60.0), (5, 0.01)])
def test_what_finds_no_thread_is_refused(
    hung: tuple[threading.Event, Callable[[], str]], waiting: int, patience: float
) -> None:
    back, look = hung
    bounded = Bounded(1, waiting, patience)
    ran: list[int] = []

    try:
        assert anyio.run(_both, bounded, look, lambda: ran.append(1), back.set) == [(503, FULL), "there"]
        assert ran == []  # what was refused is not done later
        assert anyio.run(lambda: bounded(lambda: "free again")) == "free again"
    finally:
        bounded.close()


def test_what_waits_its_turn_is_done() -> None:
    bounded = Bounded(1, 1, 60.0)
    try:
        assert anyio.run(_both, bounded, lambda: 1, lambda: 2) == [1, 2]
    finally:
        bounded.close()


def test_what_is_given_up_before_it_begins_is_not_done(hung: tuple[threading.Event, Callable[[], str]]) -> None:
    back, look = hung
    bounded, ran = Bounded(1, 5, 60.0), []

    async def go() -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(bounded, look)
            await anyio.sleep(0)
            with anyio.move_on_after(0.05):
                await bounded(ran.append, 1)
            back.set()
        return await bounded(lambda: "free again")

    try:
        assert (anyio.run(go), ran) == ("free again", [])
    finally:
        bounded.close()


def test_what_a_call_raises_is_raised() -> None:
    bounded = Bounded(1, 0, 0.01)
    try:
        for _ in range(3):  # and its place is free again
            with pytest.raises(ZeroDivisionError):
                anyio.run(lambda: bounded(lambda: 1 / 0))
    finally:
        bounded.close()


def test_requests_on_a_share_that_is_gone_stop_nothing_else(
    tmp_path: Path, hung: tuple[threading.Event, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    back, look = hung
    with served(tmp_path) as made:
        begun = threading.Semaphore(0)

        def publish(*_: object) -> str:
            begun.release()
            return look()

        monkeypatch.setattr(made.publisher, "publish", publish)
        body = [{"from": "/gone/folder", "to": "store/"}]
        asked = [threading.Thread(target=made.post, args=("/publish",), kwargs={"json": body}) for _ in range(8)]
        for thread in asked:
            thread.start()
        try:
            assert begun.acquire(timeout=10)
            assert begun.acquire(timeout=10)
            assert made.get("/api/v1/jobs").status_code == 200
            answer = made.post("/publish", json=body)
            assert (answer.status_code, answer.json()) == (503, {"success": False, "error": FULL})
        finally:
            back.set()
            for thread in asked:
                thread.join()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/jobs", {"kind": "sync", "options": {"source": "/gone/folder", "destination": "/b"}}),
        ("PUT", "/api/v1/schedules/nightly",
         {"kind": "sync", "interval": 60, "options": {"source": "/gone/folder", "destination": "/b"}}),
    ],
)  # fmt: skip
def test_jobs_and_schedules_on_a_share_that_is_gone_stop_nothing_else(
    tmp_path: Path, hung: tuple[threading.Event, Callable[[], str]], monkeypatch: pytest.MonkeyPatch,
    method: str, path: str, body: dict[str, Any],
) -> None:  # fmt: skip
    back, look = hung
    with served(tmp_path) as made:
        begun = threading.Semaphore(0)

        def check(*_: object) -> str:
            begun.release()
            return look()

        monkeypatch.setattr(made.runner, "check", check)
        asked = [threading.Thread(target=made.ask, args=(method, path), kwargs={"json": body}) for _ in range(8)]
        for thread in asked:
            thread.start()
        try:
            assert begun.acquire(timeout=10)
            assert begun.acquire(timeout=10)
            assert made.get("/api/v1/jobs").status_code == 200, "other requests have other threads"
        finally:
            back.set()
            for thread in asked:
                thread.join()


def test_what_hangs_for_long_takes_no_place(hung: tuple[threading.Event, Callable[[], str]]) -> None:
    back, look = hung
    bounded = Bounded(1, 5, 60.0, still=0.0)

    async def go() -> list[Any]:
        async def come_back() -> str:
            found = await bounded(lambda: "not held up")
            back.set()
            return found

        return list(await asyncio.gather(bounded(look), come_back()))

    try:
        assert anyio.run(go) == ["there", "not held up"]
    finally:
        bounded.close()


def test_one_that_waits_sees_that_another_hangs(
    hung: tuple[threading.Event, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing ends then that could make room, so whoever waits looks again and again."""
    back, look = hung
    monkeypatch.setattr(module, "LOOK", 0.01)
    bounded = Bounded(1, 5, 60.0, still=0.05)

    async def go() -> list[Any]:
        async def come_back() -> str:
            await anyio.sleep(0)
            found = await bounded(lambda: "not held up for long")
            back.set()
            return found

        return list(await asyncio.gather(bounded(look), come_back()))

    try:
        assert anyio.run(go) == ["there", "not held up for long"]
    finally:
        bounded.close()


def test_its_threads_keep_no_process_from_ending() -> None:
    bounded = Bounded()
    assert anyio.run(lambda: bounded(lambda: threading.current_thread().daemon)) is True
    bounded.close()
