"""Bodies of requests: their bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from dunlin.web.bodies import DRAINED, Receive, again, drain, limited
from dunlin.web.problems import Refused


def sends(*messages: dict[str, Any], then: bool = False) -> Receive:
    """A client that sends that; `then` it is silent and stays."""
    left = list(messages)

    async def receive() -> Any:
        if left:
            return left.pop(0)
        assert then, "nobody should listen any more"
        await asyncio.Event().wait()
        return GONE

    return receive


def piece(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def read(receive: Receive, times: int) -> Sequence[Any]:
    async def call() -> list[Any]:
        return [await receive() for _ in range(times)]

    return anyio.run(call)


def test_a_body_that_stops_coming_is_given_up() -> None:
    with pytest.raises(Refused) as found:
        read(limited(sends(piece(b"a"), then=True), 10, patience=0.01), 2)
    assert (found.value.status, found.value.headers) == (408, {"Connection": "close"})


def test_all_of_a_body_has_one_patience_and_not_each_piece() -> None:
    async def trickle() -> Any:
        await asyncio.sleep(0)
        return piece(b"")

    with pytest.raises(Refused, match="408"):
        read(limited(trickle, 10, patience=0.01), 10_000_000)


def test_behind_the_body_there_is_no_hurry() -> None:
    async def call() -> Any:
        late = limited(sends(piece(b"a", more=False), then=True), 10, patience=0.01)
        await late()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await late()

    anyio.run(call)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(Refused) as found:
        read(limited(sends(piece(b"12345"), piece(b"678901")), 10), 2)
    assert (found.value.status, found.value.more) == (413, {"unread": True})


def test_what_is_not_wanted_is_read_within_bounds() -> None:
    async def call(receive: Receive, patience: float = 60.0) -> None:
        await drain(receive, patience)

    anyio.run(call, sends(piece(b"a"), piece(b"b", more=False)))
    anyio.run(call, sends(piece(b"a"), GONE))
    anyio.run(call, sends(piece(bytes(DRAINED))))
    anyio.run(call, sends(piece(b"a"), then=True), 0.01)


def test_what_was_read_comes_again_and_then_the_rest() -> None:
    assert read(again(b"a", sends(GONE)), 2) == [piece(b"a", more=False), GONE]
