"""Live news of jobs as server-sent events (HTML Living Standard, 9.2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from litestar import Request, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from dunlin.web.auth import principal_of, viewer
from dunlin.web.hub import Hub
from dunlin.web.problems import Refused, responses
from dunlin.web.services import Principal, Services

LOOK = 0.2
"""Seconds between two looks for news."""

ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that nobody between takes the connection for dead."""

MOST = 200
"""Listeners at a time."""

MOST_EACH = 20
"""Of one key or user: a browser has one for each tab."""

SURE = 1.0
"""Seconds between two questions whether the listener is still let in; `gate` asks the ledger less often."""

Again = Callable[[], Awaitable[Principal | None]]


async def stream(
    hub: Hub,
    principal: Principal,
    number: int | None,
    again: Again | None = None,
    look: float = LOOK,
    alive: float = ALIVE,
    sure: float = SURE,
) -> AsyncIterator[bytes]:
    """The news after a number (None: from now on, after `reset` or the greeting), until the hub is closed.

    `again`: who listens, now; the news end when that is somebody else, or nobody. None: nobody asks.
    """
    if number is None:
        number = hub.latest
        yield f"id: {hub.id(number)}\nevent: reset\ndata: {{}}\n\n".encode()
    else:
        yield b": welcome back\n\n"
    silent = unasked = 0.0
    while not hub.closed:
        if again is not None and unasked >= sure:
            unasked = 0.0
            if await again() != principal:
                return
        news = hub.since(number)
        if news is None:
            number = hub.latest
            yield f"id: {hub.id(number)}\nevent: reset\ndata: {{}}\n\n".encode()
        elif news:
            number = news[-1].number
            chunks = [
                f"id: {hub.id(each.number)}\nevent: {each.event}\ndata: ".encode() + each.body + b"\n\n"
                for each in news
                if principal.may_see(each.tenant)
            ]
            if chunks:
                silent = 0.0
                yield b"".join(chunks)
        if silent >= alive:
            silent = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(look)
        silent += look
        unasked += look


def routes(services: Services) -> list[Any]:
    """The route."""
    listeners: Counter[str] = Counter()

    def full(client: str) -> int:
        """How many listen already, where they are too many; else 0."""
        own = MOST if client.startswith("address:") else MOST_EACH
        counts = ((listeners[client], own), (listeners.total(), MOST))
        return next((most for found, most in counts if found >= most), 0)

    async def counted(client: str, principal: Principal, number: int | None, again: Again) -> AsyncIterator[bytes]:
        if full(client):  # others came between the request and its answer
            return
        listeners[client] += 1
        try:
            async for chunk in stream(services.hub, principal, number, again):
                yield chunk
        finally:
            listeners[client] -= 1
            if not listeners[client]:
                del listeners[client]

    @get(
        "/api/v1/events",
        guards=[viewer],
        media_type="text/event-stream",
        summary="Live news of jobs",
        description="Server-sent events. `job` holds a job as GET /api/v1/jobs/{id} does, at most twice a second for "
        "each; `reset` says that news was missed, and the jobs should be asked for. A connection that is taken up "
        "again with Last-Event-ID gets what it missed. The stream does not end by itself.",
        responses={
            200: ResponseSpec(str, generate_examples=False, description="News.", media_type="text/event-stream"),
            **responses(),
        },
        tags=["Events"],
    )
    async def events(request: Request[Any, Any, Any]) -> Stream:
        client, again = request.scope["state"]["client"], request.scope["state"]["again"]
        if most := full(client):
            raise Refused(503, f"{most} listen already", headers={"Retry-After": "10"})
        last = request.headers.get("last-event-id", "")
        number = services.hub.place(last) if last else None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        body = counted(client, principal_of(request), number, again)
        return Stream(body, media_type="text/event-stream", headers=headers)

    return [events]
