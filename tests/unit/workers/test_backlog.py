"""The backlog: nothing is lost, nothing handed out twice, and only a window of it is in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.model import Action, Kind, facts
from dunlin.report import NullReport
from dunlin.state.codec import DirectoryStatus, FileStatus
from dunlin.state.store import State
from dunlin.transfer.outcome import Waiting
from dunlin.transfer.site import STREAM
from dunlin.workers import backlog as backlogs
from dunlin.workers.backlog import PAGE_BYTES, PAGE_FILES, PAGE_LEAST, Backlog, Open

Row = tuple[Any, ...]


def waiting(*names: str, size: int = 1, action: Action = Action.COPY) -> list[Waiting]:
    return [(name, facts(Kind.FILE, size), int(action), False) for name in names]


def pending(name: str, size: int, status: FileStatus = FileStatus.PENDING) -> Row:
    return (name, size, 1, 1, None, 0o100644, 0, 0, None, None, None, None, int(status), None, None)


class Tree:
    """A run in a state file with directories of pending files, as the coordinator leaves them."""

    def __init__(self, state: State, sizes: list[int], scanned: bool = True) -> None:
        self.state = state
        pair = state.pair("file:///s", "file:///t", "all")
        self.run = state.begin_run(pair, {}, "boot", 1).id
        self.ids = state.add_directories(self.run, [(f"d{n}", 0) for n in range(len(sizes))])
        self.names: dict[int, list[str]] = {}
        for number, size in zip(self.ids, sizes, strict=True):
            # A name of each kind: text, and bytes that are none.
            self.names[number] = [f"f{n:05}" if n % 7 else f"\udcff{n:05}" for n in range(size)]
            state.put_files(self.run, number, [pending(name, 1) for name in self.names[number]], written=False)
            if scanned:
                state.finish_directory(self.run, number, DirectoryStatus.SCANNED)

    def synced(self, number: int, names: list[str]) -> None:
        self.state.put_files(self.run, number, [pending(name, 1, FileStatus.SYNCED) for name in names])


def test_small_files_come_in_pages_and_large_ones_first_and_alone(state: State) -> None:
    backlog = Backlog(state, 1)
    small = waiting(*(f"s{n}" for n in range(PAGE_FILES + 1)))
    backlog.add(Open(7, "d"), [*small, *waiting("L", size=STREAM + 1)])
    units = []
    while (unit := backlog.next()) is not None:
        units.append(unit)
    assert [(number, task.directory, len(task.turns)) for number, task in units] == [
        (7, "d", 1),
        (7, "d", PAGE_FILES),
        (7, "d", 1),
    ]
    assert units[0][1].turns == (("L", STREAM + 1, Action.COPY, False),)
    assert not backlog


def test_the_files_of_one_directory_are_split_for_movers_that_have_nothing_else(state: State) -> None:
    backlog = Backlog(state, 1, parts=3)
    backlog.add(Open(1, "d"), waiting(*(f"{n:02}" for n in range(10))))
    backlog.add(Open(2, "e"), waiting(*(f"{n:02}" for n in range(10))))
    units = []
    while (unit := backlog.next()) is not None:
        units.append((unit[0], len(unit[1].turns)))
    assert units == [(1, 4), (1, 4), (1, 2), (2, 10)]


def test_a_page_is_bounded_in_bytes(state: State) -> None:
    backlog = Backlog(state, 1)
    backlog.add(Open(1, "d"), waiting(*(f"{n:02}" for n in range(20)), size=STREAM))
    pages = []
    while (unit := backlog.next()) is not None:
        pages.append(sum(turn[1] for turn in unit[1].turns))
    assert sum(pages) == 20 * STREAM
    assert max(pages) <= PAGE_BYTES


@pytest.mark.parametrize(
    ("rate", "most"), [(0, PAGE_BYTES), (1 << 30, PAGE_BYTES), (2 << 20, 4 << 20), (1, PAGE_LEAST)]
)
def test_under_a_limit_a_page_is_a_matter_of_seconds(rate: int, most: int, state: State) -> None:
    backlog = Backlog(state, 1, rate=lambda: rate)
    backlog.add(Open(1, "d"), waiting(*(f"{n:03}" for n in range(900)), size=100 << 10))
    backlog.add(Open(2, "e"), waiting("a", "b", size=STREAM))
    pages: dict[int, list[int]] = {1: [], 2: []}
    while (unit := backlog.next()) is not None:
        pages[unit[0]].append(sum(turn[1] for turn in unit[1].turns))
    assert sum(pages[1]) == 900 * (100 << 10)
    assert most - (100 << 10) < max(pages[1]) <= most
    assert pages[2] == [2 * STREAM] if most >= 2 * STREAM else [STREAM, STREAM]  # no file is too large for a page


def test_a_limit_that_comes_later_holds_for_units_that_wait_already(state: State) -> None:
    rate = 0
    backlog = Backlog(state, 1, rate=lambda: rate)
    backlog.add(Open(1, "d", sweep=True), waiting(*(f"{n:02}" for n in range(40)), size=1 << 20))
    rate = 5 << 20
    units = [unit for _ in range(3) if (unit := backlog.next()) is not None]
    rate = 0
    while (unit := backlog.next()) is not None:
        units.append(unit)
    assert [len(task.turns) for _, task in units] == [10, 10, 10, 10]
    assert [turn[0] for _, task in units for turn in task.turns] == [f"{n:02}" for n in range(40)]
    assert [task.sweep for _, task in units] == [True, False, False, False]
    assert backlog.room == backlogs.WINDOW
    assert [known is not None for known in (backlog.done(1) for _ in units)] == [False, False, False, True]


def test_what_does_not_fit_is_read_back_when_the_rest_is_done(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "WINDOW", 10)
    tree = Tree(state, [6, 6])
    first, second = (Open(number, f"d{n}") for n, number in enumerate(tree.ids))
    backlog = Backlog(state, tree.run)
    backlog.add(first, waiting(*tree.names[first.id]))
    backlog.add(second, waiting(*tree.names[second.id]))
    assert second.more
    assert backlog.settle(second) is None  # nothing of it is in the window: it waits on disk
    unit = backlog.next()
    assert unit is not None
    assert unit[0] == first.id
    tree.synced(first.id, tree.names[first.id])
    assert backlog.done(first.id) is first
    unit = backlog.next()
    assert unit is not None
    assert unit[0] == second.id
    assert not unit[1].sweep  # its listing in this run has seen to that
    assert sorted(turn[0] for turn in unit[1].turns) == sorted(tree.names[second.id])
    assert backlog.next() is None


def test_directories_of_a_killed_run_are_swept_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "PAGE_FILES", 4)
    tree = Tree(state, [6, 6])
    backlog = Backlog(state, tree.run)
    backlog.on_disk = backlog.resumed = True
    swept = []
    while (unit := backlog.next()) is not None:
        swept.append((unit[1].directory, unit[1].sweep))
    assert swept == [("d0", True), ("d0", False), ("d1", True), ("d1", False)]


def test_a_directory_is_open_until_its_scan_and_its_units_are_through(state: State) -> None:
    backlog = Backlog(state, 1)
    directory = Open(3, "d", scanning=True)
    backlog.add(directory, waiting("a"))
    assert backlog.next() is not None
    assert backlog.done(3) is None  # more of it may be found
    backlog.add(directory, waiting("b"))
    directory.scanning = False
    assert backlog.settle(directory) is None
    assert backlog.next() is not None
    assert backlog.done(3) is directory
    assert 3 not in backlog.open


def test_nothing_of_a_directory_that_is_still_queued_is_read_back(state: State) -> None:
    tree = Tree(state, [5], scanned=False)
    backlog = Backlog(state, tree.run)
    backlog.on_disk = True
    assert backlog.next() is None  # it is listed again anyway
    assert not backlog


def test_a_full_page_at_the_end_is_not_read_back_twice(state: State) -> None:
    """Exactly a page of rows: the next is asked for and is empty; a later look must not begin them again."""
    tree = Tree(state, [1000, 3])
    state.finish_directory(tree.run, tree.ids[1], DirectoryStatus.QUEUED)
    backlog = Backlog(state, tree.run)
    backlog.on_disk = True
    unit = backlog.next()
    assert unit is not None
    assert len(unit[1].turns) == 1000
    state.finish_directory(tree.run, tree.ids[1], DirectoryStatus.SCANNED)
    backlog.on_disk = True
    again = backlog.next()
    assert again is not None
    assert (again[0], len(again[1].turns)) == (tree.ids[1], 3)
    assert backlog.next() is None


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from([0, 1, 30, 400, 999, 1000, 1001, 2500]), min_size=1, max_size=7),
    st.sampled_from([50, 1500, 20_000]),
    st.randoms(use_true_random=False),
)
def test_every_pending_file_is_handed_out_once(sizes: list[int], window: int, random: Any) -> None:
    state = State.open(None, NullReport())
    patch = pytest.MonkeyPatch()
    patch.setattr(backlogs, "WINDOW", window)
    try:
        tree = Tree(state, sizes)
        backlog = Backlog(state, tree.run)
        backlog.on_disk = True
        flights: list[Any] = []
        seen: Counter[tuple[int, str]] = Counter()
        held = 0
        while True:
            # Give out and take back in any order, as movers of any speed would.
            unit = backlog.next() if random.random() < 0.6 or not flights else None
            if unit is not None:
                number, task = unit
                assert task.directory == f"d{tree.ids.index(number)}"
                seen.update((number, turn[0]) for turn in task.turns)
                flights.append(unit)
                held = max(held, backlog._in_window)
                continue
            if not flights:
                break
            number, task = flights.pop(random.randrange(len(flights)))
            tree.synced(number, [turn[0] for turn in task.turns])
            closed = backlog.done(number)
            if closed is not None:
                state.finish_directory(tree.run, number, DirectoryStatus.DONE)
        assert seen == Counter((number, name) for number in tree.ids for name in tree.names[number])
        assert not backlog
        assert backlog.open == {}
        assert held <= window // 2 + 1000  # the window, and the page that went over it
        assert state.pending_totals(tree.run) == (0, 0)
    finally:
        patch.undo()
        state.close()


@settings(max_examples=12)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(5, 80), st.randoms(use_true_random=False))
def test_a_scan_that_runs_ahead_loses_nothing(sizes: list[int], window: int, random: Any) -> None:
    """Directories arrive in parts while others are done; the window overflows again and again."""
    state = State.open(None, NullReport())
    patch = pytest.MonkeyPatch()
    patch.setattr(backlogs, "WINDOW", window)
    try:
        tree = Tree(state, sizes, scanned=False)
        backlog = Backlog(state, tree.run)
        parts = []
        for n, number in enumerate(tree.ids):
            names = tree.names[number]
            cut = random.randint(0, len(names))
            parts.append([Open(number, f"d{n}", scanning=True), names[:cut], names[cut:]])
        flights: list[Any] = []
        seen: Counter[tuple[int, str]] = Counter()
        while parts or flights or backlog:
            if parts and random.random() < 0.4:
                directory, *rest = part = random.choice(parts)
                if rest:
                    backlog.add(directory, waiting(*rest[0]))
                    del part[1]
                else:
                    parts.remove(part)
                    directory.scanning = False
                    state.finish_directory(tree.run, directory.id, DirectoryStatus.SCANNED)
                    if directory.id in backlog.open:
                        backlog.settle(directory)
                continue
            unit = backlog.next() if random.random() < 0.6 else None
            if unit is not None:
                seen.update((unit[0], turn[0]) for turn in unit[1].turns)
                flights.append(unit)
            elif flights:
                number, task = flights.pop(random.randrange(len(flights)))
                tree.synced(number, [turn[0] for turn in task.turns])
                backlog.done(number)
            assert backlog._in_window <= window + PAGE_FILES
        assert seen == Counter((number, name) for number in tree.ids for name in tree.names[number])
        assert state.pending_totals(tree.run) == (0, 0)
    finally:
        patch.undo()
        state.close()
