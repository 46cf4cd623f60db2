"""In which order directories are handed out, and which of them are in memory."""

from __future__ import annotations

import pytest

from dunlin.state.store import State
from dunlin.transfer.outcome import Presence
from dunlin.workers import frontier
from dunlin.workers.frontier import Frontier, Queued

BOTH = int(Presence.BOTH)


@pytest.fixture
def made(state: State, monkeypatch: pytest.MonkeyPatch) -> Frontier:
    monkeypatch.setattr(frontier, "WINDOW", 20)
    pair = state.pair("file:///s", "file:///t", "x")
    return Frontier(state, pair.id, state.begin_run(pair, {}, "boot", 1).id)


def taken(made: Frontier, n: int) -> list[str]:
    found = []
    for _ in range(n):
        queued = made.next()
        assert queued is not None
        found.append(queued.path)
    return found


def test_while_there_are_few_the_oldest_comes_first_so_that_the_tree_is_taken_in_breadth(made: Frontier) -> None:
    made.put(Queued(1, "", BOTH, None, False))
    assert taken(made, 1) == [""]
    made.add("", [("a", BOTH), ("b", BOTH)])
    assert taken(made, 1) == ["a"]
    made.add("a", [("c", BOTH), ("d", BOTH)])
    assert taken(made, 3) == ["b", "a/c", "a/d"]
    assert made.next() is None


def test_when_there_are_many_the_newest_comes_first_so_that_they_become_no_more(made: Frontier) -> None:
    """From half of the window on."""
    made.add("", [(f"d{n:02}", BOTH) for n in range(12)])
    assert taken(made, 1) == ["d11"]
    made.add("d11", [("x", BOTH), ("y", BOTH)])
    assert taken(made, 4) == ["d11/y", "d11/x", "d10", "d09"], "down to nine"
    assert taken(made, 9) == [f"d{n:02}" for n in range(9)]


def test_the_most_in_memory_of_a_deep_tree_stays_near_half_of_the_window(made: Frontier) -> None:
    """Every directory has three below it, down to six levels: 1,093, of which only a few wait at any time."""
    made.put(Queued(1, "", BOTH, None, False))
    most = seen = 0
    while (queued := made.next()) is not None:
        seen += 1
        level = queued.path.count("/") + 1 if queued.path else 0
        if level < 6:
            made.add(queued.path, [(name, BOTH) for name in "abc"])
        most = max(most, made.queued)
        assert made.queued >= 0, "some of them are on disk only"
    assert seen == sum(3**n for n in range(7))
    assert most <= 20
