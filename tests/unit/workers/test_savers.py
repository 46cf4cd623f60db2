"""The pipes between a backup and its movers."""

from __future__ import annotations

import threading
from typing import Any

from dunlin.backup.save import Saved
from dunlin.workers.savers import Member, Movers, Reply


class Long:
    """Answers at length: each answer is more than a pipe holds."""

    def begin(self, own: bool, room: int) -> None: ...
    def saver(self) -> Any: ...
    def give_up(self) -> None: ...
    def close(self) -> None: ...

    def end(self) -> tuple[int, int]:
        return 0, 0

    def do(self, saver: Any, path: str, *unit: Any) -> tuple[Saved, Any]:
        return Saved(), b"x" * 1_000_000


def test_long_paths_and_long_answers_do_not_wait_for_each_other() -> None:
    found: list[Reply] = []
    taken: list[int] = []

    def run() -> None:
        movers = Movers(Long(), 1, threads=True)  # type: ignore[arg-type]
        waiting = list(range(12))
        while len(found) < 12:
            while waiting and (end := movers.free()) is not None:
                taken.append(waiting[0])
                group: list[Member] = [(waiting.pop(0), "deep/" * 60_000, 0, (), 0)]
                movers.give(end, group)
            found.extend(movers.replies(1.0))
        movers.finish()
        movers.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert [number for number, *_ in found] == taken == list(range(12))
