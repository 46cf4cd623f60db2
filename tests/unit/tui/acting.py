"""Driving the dashboard in a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from dunlin.tui.app import Dashboard

SIZE = 100, 30


async def read(pilot: Pilot[Any]) -> None:
    """Wait until what is shown is what was asked for last."""
    app = pilot.app
    assert isinstance(app, Dashboard)
    await until(pilot, lambda: app.looks > 0 and app.look.question == app.question)


async def until(pilot: Pilot[Any], true: Callable[[], bool], seconds: float = 20) -> None:
    """Let the dashboard go on until something holds."""
    deadline = time.monotonic() + seconds
    await pilot.pause()
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)
        await pilot.pause()


def act(app: Dashboard, steps: Callable[[Pilot[Any]], Awaitable[None]], size: tuple[int, int] = SIZE) -> None:
    """Run the dashboard without a terminal, do the steps, and end it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await read(pilot)
            await steps(pilot)

    asyncio.run(run())


def screen(app: Dashboard) -> list[str]:
    """What the canvas shows, as text."""
    return ["".join(text for text, _ in line) for line in app._lines(app.canvas.size.width, app.canvas.size.height)]
