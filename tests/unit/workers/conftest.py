"""Two stores in memory whose calls are counted, contexts to do units in, and a state file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.report import NullReport, RecordingReport
from dunlin.state.store import State
from dunlin.stores.memory import MemoryStore
from dunlin.stores.wrap import Counted
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import Site
from dunlin.workers.context import Context, Rules
from dunlin.workers.tasks import Scan, Task
from dunlin.workers.units import run_unit

NOW = 1_000_000_000_000_000_000


class World:
    """A pair of stores in memory, and what was asked of them."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.source, self.target = MemoryStore("source"), MemoryStore("target")
        self.asked = {"source": RecordingReport(), "target": RecordingReport()}
        self.parts: list[Outcome] = []

    def context(self, *, options: dict[str, Any] | None = None, backup: Any = None, **rules: Any) -> Context:
        policy = rules.pop("policy", Policy(delete=True, links=True))
        site = Site(
            source=Counted(self.source, self.asked["source"]),
            target=Counted(self.target, self.asked["target"]),
            options=Options(**(options or {})),
            bucket=self.bucket,
            backup=backup,
        )
        return Context(site, Rules(policy=policy, **rules), lambda: NOW)

    def calls(self, side: str) -> dict[str, int]:
        """Requests since the last time this was asked, by verb."""
        found = {name.removeprefix("store."): n for name, n in self.asked[side].counts.items() if "bytes" not in name}
        self.asked[side].counts.clear()
        return found

    def do(self, task: Task | str, context: Context | None = None, **rules: Any) -> Outcome:
        """Do one unit; a directory's name stands for its scan."""
        self.parts = []
        unit = Scan(task) if isinstance(task, str) else task
        return run_unit(context or self.context(**rules), unit, self.parts.append)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket.create()
    yield made
    made.close()


@pytest.fixture
def world(bucket: Bucket) -> World:
    return World(bucket)


@pytest.fixture
def state() -> Iterator[State]:
    opened = State.open(None, NullReport())
    yield opened
    opened.close()


Make = Callable[..., Context]
