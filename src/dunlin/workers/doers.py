"""Whoever does the units of a run, as the coordinator sees them: movers here (`pool`), workers anywhere (`remote`)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from dunlin.pace.window import WindowLimits


class Arrival(NamedTuple):
    """What came from a mover: `kind` is "done", "part", "fault", "task", "end", "window", "lost" or "gone".

    `unit` is the unit's number (for "task", "end", "window" and "gone", which tells that it died: the mover's), `body`
    the rest of the message; for "lost" it holds the dead mover's token and whether the unit was announced as begun.
    """

    kind: str
    unit: int
    body: tuple[Any, ...]


class Doers(Protocol):
    """Takes units and tells what became of them.

    Attributes:
        threads: files in flight per mover, or over all workers.
        batch: files that a unit copies at most while it scans; 0: the usual number.
        page: most files of a unit that only transfers; 0: the usual number.
        parts: into how many units a directory's files are split when no other unit waits; 0: the coordinator decides.
    """

    threads: int
    batch: int
    page: int
    parts: int

    @property
    def started(self) -> bool:
        """Whether units go there; else the coordinator does them itself."""
        ...

    @property
    def size(self) -> int:
        """How many processes there are, or will be, among whom the limits of the run are shared."""
        ...

    @property
    def room(self) -> int:
        """How many more units are taken now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether there are units that have not come back."""
        ...

    @property
    def wanted(self) -> int:
        """Files that would be in flight if the machine bore everything."""
        ...

    @property
    def in_flight(self) -> int:
        """Files that may be in flight now."""
        ...

    @property
    def pids(self) -> list[int]:
        """The processes of this machine."""
        ...

    @property
    def numbers(self) -> list[int]:
        """Those that answer how their window stands."""
        ...

    def start(self) -> None:
        """Be ready for units."""
        ...

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        """Take a unit (`tasks.pack`). `announce`: tell before it is begun."""
        ...

    def poll(self, timeout: float) -> list[Arrival]:
        """What has come, waiting up to `timeout` seconds for the first of it."""
        ...

    def settled(self) -> None:
        """All that has come is on record."""
        ...

    def tell(self, *message: object) -> None:
        """Tell each something: ("cancel",): no directory is begun; ("trim",), ("window?", share)."""
        ...

    def learn(self, seconds: float) -> None:
        """Take note of how long a unit took."""
        ...

    def grow(self, threads: int) -> None:
        """Use so many threads each."""
        ...

    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None:
        """Have no more files in flight than that."""
        ...

    def window(self, limits: WindowLimits) -> None:
        """Have listings take no more than that."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...
