"""Ledgers that have to keep the contract: in a file and in PostgreSQL; with a clock that is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.queue.ledger import Ledger, NewFile, NewItem, NewJob, OpenUnit, open_ledger

NOON = 1_780_056_000.0
"""2026-05-29 12:00 UTC."""


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may lie that nobody else uses."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return str(request.getfixturevalue("postgres").queue())


@pytest.fixture
def opened() -> Iterator[Callable[..., Ledger]]:
    """`open_ledger`, whose ledgers are closed when the test ends."""
    made: list[Ledger] = []

    def make(where: str | None, clock: Callable[[], float]) -> Ledger:
        made.append(open_ledger(where, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock, opened: Callable[..., Ledger]) -> Ledger:
    """An empty ledger of each kind."""
    return opened(ledger_url, clock)


def later(ledger: Ledger, clock: Clock, seconds: float) -> None:
    """So many seconds pass: by the clock of whoever uses the ledger, and by the server's, which nobody can set."""
    clock.now += seconds
    with ledger._base.writing() as rows:
        if ledger._base.now(rows) is not None:
            rows.execute("UPDATE job SET held = held - $1::double precision", (seconds,))


def published(ledger: Ledger, *sources: str, kind: str = "publish") -> str:
    """A running job with an item for each source; its id."""
    items = [NewItem(source, f"store{source}/") for source in sources or ("/data",)]
    job = ledger.jobs.submit(NewJob(kind), items).job
    assert ledger.jobs.claim("service", 60) is not None
    return job.id


def files(count: int, item: int = 0, begin: int = 0, size: int = 10) -> list[NewFile]:
    """Files with numbers for names."""
    return [NewFile(f"{n:05}", f"store/{n:05}", size, item) for n in range(begin, begin + count)]


def walk(ledger: Ledger, job: str, *units: list[NewFile]) -> list[OpenUnit]:
    """Add units, and say that all items are walked."""
    made = ledger.files.add_units(job, units)
    for item in ledger.files.items(job):
        ledger.files.walked(job, item.number)
    return made
