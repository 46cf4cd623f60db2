"""What speaks against deleting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.model import Stats
from dunlin.workers import endgame
from dunlin.workers.endgame import AT_LEAST, delete_limit, delete_refusal
from dunlin.workers.tasks import Finish, Join, Task


@pytest.mark.parametrize(
    ("stats", "empty", "changed", "known", "word"),
    [
        (Stats(), False, False, 100, ""),
        (Stats(extra_files=5), False, False, 0, ""),
        (Stats(source_errors=1), False, False, 0, "1 errors while reading the source"),
        (Stats(), True, False, 1, "is it mounted?"),
        (Stats(extra_files=1), True, False, 0, "is it mounted?"),
        (Stats(extra_directories=1), True, False, 0, "is it mounted?"),
        (Stats(), True, False, 0, ""),  # empty, and nothing was ever there
        (Stats(), False, True, 0, "--accept-source"),
        (Stats(source_errors=2), True, True, 9, "2 errors"),
        (Stats(failed_files=3, vanished_files=3), False, False, 9, ""),  # not errors of the source's listings
    ],
)
def test_delete_refusal(stats: Stats, empty: bool, changed: bool, known: int, word: str) -> None:
    reason = delete_refusal(stats, empty, changed, known)
    assert word in reason
    assert bool(reason) is bool(word)


@pytest.mark.parametrize(
    ("asked", "known", "limit"),
    [(None, 0, AT_LEAST), (None, 400, 100), (None, 404, 101), (None, 1_000_000, 250_000), (0, 1000, 0), (7, 0, 7)],
)
def test_delete_limit(asked: int | None, known: int, limit: int) -> None:
    assert delete_limit(asked, known) == limit


class Crew:
    """As much of a coordinator as the end of a run needs; units are done once they are drained."""

    def __init__(self, groups: int) -> None:
        self.touched: set[str] = set()
        self.most = 0
        self.waiting: list[Task] = []
        self.done: list[Task] = []
        self.stopping = False
        self.pair = 1
        self.pool = SimpleNamespace(started=False)
        self.stats = Stats()
        self.backlog = SimpleNamespace(resumed=False)
        links = [SimpleNamespace(first=f"d{n}/a", others=[f"e{n % 3}/b"]) for n in range(groups)]
        self.state = SimpleNamespace(link_groups=lambda pair: iter(links))

    def submit(self, task: Task, directory: int) -> None:
        self.most = max(self.most, len(self.touched))
        self.waiting.append(task)

    def drain(self) -> None:
        self.done += self.waiting
        self.waiting = []


def test_no_more_directories_wait_to_be_dressed_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endgame, "MOST_TOUCHED", 10)
    crew: Any = Crew(100)
    endgame.join_links(crew)
    endgame.dress_touched(crew)
    assert crew.most <= 11
    dressed = [task.directory for task in crew.done if isinstance(task, Finish)]
    assert set(dressed) == {f"d{n}" for n in range(100)} | {"e0", "e1", "e2"}
    assert len(dressed) <= 100 + 3 * 15
    for path in ("e0", "e1", "e2"):
        last = max(n for n, task in enumerate(crew.done) if isinstance(task, Join) and f"{path}/b" in task.others)
        assert any(task == Finish(path) for task in crew.done[last:]), "not before its last link"
