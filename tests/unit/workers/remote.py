"""A queue with a clock of its own, and what is needed around it, for tests of coordinators and workers."""

from __future__ import annotations

from pathlib import Path

from dunlin import transfer
from dunlin.plan import Policy
from dunlin.queue.base import Lease, News, Queue, WorkerInfo
from dunlin.queue.embedded import Embedded
from dunlin.stores.base import Caps
from dunlin.transfer.outcome import Outcome
from dunlin.workers import packing
from dunlin.workers.context import Rules
from dunlin.workers.packing import FORMAT, RunSetup, Side

RUN = "0badc0de"
QUEUE = f"run-{RUN}"
WORKER = "host-7-1a2b"
DOING = b"one time"


class Clock:
    """Time stands still until it is told to go on, or somebody sleeps."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def open_queue(directory: Path, clock: Clock) -> Embedded:
    """A queue in a file that measures by that clock."""
    return Embedded.open(
        str(directory / "queue.db"), lambda _: None, durable=False, clock=clock, monotonic=clock, sleep=clock.sleep
    )


def setup(root: Path, **changes: object) -> RunSetup:
    """A run from `source` to `target` below the directory, both made."""
    places = []
    for name in ("source", "target"):
        (root / name).mkdir(exist_ok=True)
        places.append(Side(f"file://{root / name}", inode=(root / name).stat().st_ino))
    rules = Rules(Policy(perms=True), run=RUN)
    made = RunSetup(FORMAT, "0", *places, transfer.Options(perms=True), rules, Caps(modes=True, links=True))
    return made._replace(**changes)  # type: ignore[arg-type]


def hello(queue: Queue, name: str = WORKER, slots: int = 4, labels: tuple[str, ...] = ()) -> None:
    """Say that a worker is alive."""
    queue.hello(WorkerInfo(name, "host", 7, slots, 0, ("run-*",), labels, "0", 0.0, 0.0), 1_000.0)


def take(queue: Queue, count: int = 100, worker: str = WORKER, seconds: float = 6.0) -> list[Lease]:
    """Lease what waits."""
    return queue.lease(worker, count, seconds, queues=("run-*",))


def outcome(**counts: int) -> bytes:
    """One with such counts."""
    made = Outcome()
    made.counts.update(counts)
    return packing.pack_outcome(made)


def tell(queue: Queue, lease: Lease, *bodies: bytes, place: int = 0, doing: bytes = DOING) -> None:
    """Tell these of a unit, as a worker does that has told `place` before."""
    for number, body in enumerate(bodies, place):
        assert queue.tell(lease, packing.placed(doing, number, body))


def done(queue: Queue, lease: Lease, place: int = 0, doing: bytes = DOING, **counts: int) -> None:
    """Acknowledge a unit with such an outcome."""
    assert queue.ack([(lease, packing.placed(doing, place, outcome(**counts)))]) == [True]


def told(news: News) -> bytes:
    """What a worker told, without its place."""
    return packing.unplaced(news.body)[2]
