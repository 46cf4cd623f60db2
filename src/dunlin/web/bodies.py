"""The body of a request: how long it may be, and how long it may take.

A body comes in pieces, as fast as the client likes. Whoever sends one byte now and then holds a connection, and what a
request has in hand by then, for as long as it likes; so all of a body has to be there `PATIENCE` seconds after the
first piece was asked for. Behind the body the client is listened to without end: so one hears that it went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dunlin.web.problems import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

PATIENCE = 60.0
"""Seconds that a body may take."""

DRAINED = 64 << 20
"""Bytes of a body that is too large which are still read, so that the client gets to the answer."""

DRAINING = 10.0
"""Seconds that this may take."""


def too_large(most: int) -> Refused:
    """A body of more than `most` bytes, of which not all was read."""
    detail = f"the body is larger than {most:,} bytes"
    return Refused(413, detail, "http.max_body in the configuration allows more", unread=True)


def limited(receive: Receive, most: int, patience: float = PATIENCE) -> Receive:
    """The body, which may come without its length, up to so many bytes and seconds. It raises `Refused`."""
    total, whole, end = 0, False, 0.0

    async def next() -> Message:
        nonlocal total, whole, end
        if whole:
            return await receive()
        now = asyncio.get_running_loop().time()
        end = end or now + patience
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            # Whatever still comes would be taken for the next request.
            headers = {"Connection": "close"}
            raise Refused(408, f"the body did not come within {patience:g} seconds", headers=headers) from None
        whole = message["type"] != "http.request" or not message.get("more_body")
        total += len(message.get("body", b""))
        if total > most:
            raise too_large(most)
        return message

    return next


async def drain(receive: Receive, patience: float = DRAINING) -> None:
    """Read a body of which nothing was read yet, to its end, within bounds."""
    total = 0
    try:
        async with asyncio.timeout(patience):
            while total < DRAINED:
                message = await receive()
                total += len(message.get("body", b"")) + 1
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
    except TimeoutError:
        return


def again(body: bytes, receive: Receive) -> Receive:
    """What was read of a body already, and then the rest."""
    told = False

    async def next() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next
