"""The window of a crawl: who is let in, who waits, and that nothing is left when all is over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.window import (
    ENDLESS,
    FILES_PER_GIB,
    GIB,
    KEPT_EVENTS,
    LEAST_FILES,
    LEAST_RUN,
    NAME_BYTES,
    Marks,
    Numbers,
    Resource,
    Slot,
    Window,
    WindowLimits,
    active_files,
    crawl_parallelism,
    run_length,
)

MIB = 1 << 20
PATIENCE = 20


class Crowd:
    """Units in threads of their own, each of which holds its slot until it is told to go."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.let_in = threading.Semaphore(0)
        self.inside: list[Slot] = []
        self.errors: list[ErrorKind] = []
        self.threads: list[threading.Thread] = []
        self.go: list[threading.Event] = []

    def come(self) -> None:
        """One more; returns once it is inside or waits."""
        before = self.window.numbers()
        event = threading.Event()
        self.go.append(event)
        thread = threading.Thread(target=self._unit, args=(event,), daemon=True)  # a test that fails leaves it
        self.threads.append(thread)
        thread.start()
        changed(self.window, lambda now: (now.active, now.waiting) != (before.active, before.waiting))

    def _unit(self, go: threading.Event) -> None:
        try:
            with self.window.slot() as slot:
                self.inside.append(slot)
                self.let_in.release()
                go.wait()
        except DunlinError as error:
            self.errors.append(error.kind)
            self.let_in.release()

    def leave(self) -> None:
        for event in self.go:
            event.set()
        for thread in self.threads:
            thread.join(PATIENCE)

    def entered(self) -> None:
        """One more was let in, or told that it will not be; the deadline is only for a test that fails."""
        assert self.let_in.acquire(timeout=PATIENCE), self.window.numbers()


def changed(window: Window, when: Callable[[Numbers], bool]) -> None:
    """Wait until the numbers of a window are so: other threads are on their way."""
    deadline = time.monotonic() + PATIENCE
    while not when(window.numbers()):
        assert time.monotonic() < deadline, window.numbers()


def test_no_more_directories_are_listed_than_allowed() -> None:
    crowd = Crowd(Window(WindowLimits(directories=2)))
    for _ in range(4):
        crowd.come()
    assert crowd.window.numbers()[:2] == (2, 2)
    crowd.go[0].set()
    crowd.threads[0].join(PATIENCE)
    for _ in range(3):
        crowd.entered()
    assert crowd.window.numbers()[:2] == (2, 1)
    crowd.leave()
    assert crowd.window.numbers()[:3] == (0, 0, 0)
    assert len(crowd.inside) == 4


@pytest.mark.parametrize("engaged", [False, True])
def test_a_slot_that_is_free_wakes_one_of_those_that_wait(monkeypatch: pytest.MonkeyPatch, engaged: bool) -> None:
    """One at a time: whoever wakes to find that there is no room has cost a turn of the lock."""
    window = Window(WindowLimits(directories=1))
    if engaged:
        window.memory(0.9)
    crowd = Crowd(window)
    for _ in range(12):
        crowd.come()
    woken: list[int] = []
    notify = window._free.notify
    monkeypatch.setattr(window._free, "notify", lambda n=1: (woken.append(n), notify(n)))
    crowd.leave()
    assert len(crowd.inside) == 12
    assert woken == [1] * 11


def test_the_next_directory_is_listed_while_one_goes_on_with_what_it_holds() -> None:
    window = Window(WindowLimits(directories=1, files=100))
    with window.slot() as first:
        first.hold(10)
        first.listed()
        with window.slot() as second:
            second.hold(5)
            assert window.numbers()[:3] == (1, 0, 15)
        first.listed()  # once is enough
        assert window.numbers()[:3] == (0, 0, 10)
    assert window.numbers()[:4] == (0, 0, 0, 15)


def test_files_that_are_held_keep_directories_waiting_until_they_are_well_below_the_limit() -> None:
    window = Window(WindowLimits(directories=9, files=100))
    crowd = Crowd(window)
    with window.slot() as slot:
        slot.hold(99)
        with window.slot():
            pass
        slot.hold(1)
        assert window.numbers().engaged == (("files", 100, 100),)
        crowd.come()
        slot.let_go(15)
        assert window.numbers()[1:3] == (1, 85)
        slot.let_go(1)
        crowd.entered()
        numbers = window.numbers()
        assert (numbers.waiting, numbers.held, numbers.engaged) == (0, 84, ())
        crowd.leave()
    assert window.numbers()[:3] == (0, 0, 0)


def test_what_happened_is_told_once_and_to_whoever_asked_for_it() -> None:
    told: list[int] = []
    window = Window(WindowLimits(files=10), changed=lambda: told.append(window.numbers().held))
    with window.slot() as slot:
        slot.hold(12)
        slot.hold(1)
    assert told == [12, 0]
    window.changed = lambda: None
    with window.slot() as slot:
        slot.hold(10)
        assert window.numbers().events == (("files", True, 100.0),)
        slot.let_go(2)
        assert window.numbers().events == (("files", False, 80.0),)
    assert window.numbers().events == ()
    for _ in range(KEPT_EVENTS):
        with window.slot() as slot:
            slot.hold(11)
    assert len(window.numbers().events) == KEPT_EVENTS


class Broken(Exception):
    """What goes wrong in a unit."""


def fails(slot: Slot) -> None:
    slot.hold(50)
    slot.let_go(60)
    slot.hold(3)
    raise Broken


def test_a_unit_lets_go_whatever_it_still_holds_and_never_more() -> None:
    window = Window(WindowLimits(files=100))
    with window.slot() as other:
        other.hold(7)
        slot = window.slot()
        with pytest.raises(Broken), slot:
            fails(slot)
        assert window.numbers()[:4] == (1, 0, 7, 57)


def test_one_directory_is_let_in_whatever_is_engaged() -> None:
    window = Window(WindowLimits(directories=1, files=1, threads=1), threads=lambda: 99)
    window.memory(5.0)
    for _ in range(3):
        with window.slot() as slot:
            slot.hold(1_000)
            slot.listed()
            assert not window._admits()
    assert {name for name, *_ in window.numbers().engaged} == {"memory", "threads"}


def test_memory_is_engaged_at_80_percent_and_released_below_70() -> None:
    window = Window()
    crowd = Crowd(window)
    crowd.come()
    window.memory(0.79)
    crowd.come()
    window.memory(0.8)
    crowd.come()
    window.memory(0.7)
    assert window.numbers()[:2] == (2, 1)
    window.memory(0.69)
    for _ in range(3):
        crowd.entered()
    assert window.numbers()[:2] == (3, 0)
    crowd.leave()


def test_threads_are_looked_at_when_a_directory_comes_and_when_somebody_asks() -> None:
    count = [64]
    window = Window(WindowLimits(threads=64), threads=lambda: count[0])
    crowd = Crowd(window)
    with window.slot():
        crowd.come()
        assert window.numbers().engaged == (("threads", 64, 64),)
        count[0] = 55
        assert window.numbers().engaged == (("threads", 55, 64),)
        count[0] = 54
        assert window.numbers().engaged == ()
        crowd.entered()
    crowd.leave()


def test_threads_that_have_ended_by_themselves_are_noticed_when_a_unit_ends() -> None:
    count = [3]
    window = Window(WindowLimits(threads=64), threads=lambda: count[0])
    crowd = Crowd(window)
    with window.slot():
        with window.slot() as slot:
            count[0] = 64
            crowd.come()
            count[0] = 3
            slot.listed()
            assert not crowd.inside
        crowd.entered()
    crowd.leave()


def test_a_change_of_the_limits_wakes_who_waits() -> None:
    window = Window(WindowLimits(directories=1, files=10))
    crowd = Crowd(window)
    with window.slot() as slot:
        slot.hold(20)
        crowd.come()
        window.limit(1, 1_000)
        assert window.numbers().waiting == 1
        window.limit(2, 1_000)
        crowd.entered()
        window.limit(1, 10)
        assert window.numbers().engaged == (("files", 20, 10),)
        assert window.run == LEAST_RUN
    crowd.leave()
    assert window.numbers()[:3] == (0, 0, 0)


def test_cancelling_frees_every_waiter_and_whoever_comes_later() -> None:
    window = Window(WindowLimits(directories=1))
    crowd = Crowd(window)
    with window.slot() as slot:
        for _ in range(3):
            crowd.come()
        window.cancel()
        for thread in crowd.threads:
            thread.join(PATIENCE)
        assert crowd.errors == [ErrorKind.INTERRUPTED] * 3
        slot.hold(5)  # whoever is inside goes on to its end
    with pytest.raises(DunlinError, match="stopped"), window.slot():
        raise AssertionError
    assert window.numbers()[:3] == (0, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_after_any_mixture_of_failures_and_changes_nothing_is_left(seed: int) -> None:
    """Many threads; random failures, limits, memory, and in every other case a cancellation."""
    rng = random.Random(seed)
    window = Window(WindowLimits(directories=3, files=200, threads=40))
    done: list[int] = []
    most = [0]

    def unit(number: int) -> None:
        mine = random.Random(seed * 1_000 + number)
        try:
            with window.slot() as slot:
                for _ in range(mine.randrange(6)):
                    slot.hold(mine.randrange(120))
                    most[0] = max(most[0], window.numbers().active)
                    if mine.random() < 0.3:
                        slot.let_go(mine.randrange(200))
                    if mine.random() < 0.2:
                        raise Broken
                slot.listed()
                slot.hold(3)
        except (Broken, DunlinError):
            pass
        done.append(number)

    def worker(numbers: range) -> None:
        for number in numbers:
            unit(number)

    threads = [threading.Thread(target=worker, args=(range(n, 400, 12),), daemon=True) for n in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        window.limit(rng.randrange(1, 5), rng.choice((1, 100, 500)))
        window.memory(rng.random() * 1.2)
    if seed % 2:
        window.cancel()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(done) == 400
    assert window.numbers()[:3] == (0, 0, 0)
    assert most[0] <= 4
    assert {name for name, *_ in window.numbers().engaged} <= {"memory"}


@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 100), st.integers(1, 99))
def test_a_resource_changes_only_at_its_marks(values: list[float], engage: int, release: int) -> None:
    marks = Marks(engage / 100, min(engage, release) / 100)
    resource = Resource("files", marks, 1.0)
    for value in values:
        before = resource.engaged
        told = resource.look(value)
        assert told == (before != resource.engaged)
        if resource.engaged:
            assert value >= (marks.release if before else marks.engage)
        else:
            assert value < (marks.release if before else marks.engage)


# ---- derivations ----


@pytest.mark.parametrize(
    ("kinds", "each"),
    [
        (("file", "file"), 4),
        (("memory", "file"), 4),
        (("s3", "file"), 8),
        (("file", "s3"), 8),
        (("az", "s3"), 8),
        (("az", "file"), 2),
        (("file", "gs"), 2),
        (("azfiles", "azfiles"), 2),
    ],
)
@pytest.mark.parametrize("cores", [1, 2, 128])
def test_directories_at_a_time_follow_processors_and_the_kind_of_the_pair(
    kinds: tuple[str, str], each: int, cores: int
) -> None:
    assert crawl_parallelism(cores, kinds) == cores * each


def test_never_none() -> None:
    assert crawl_parallelism(0, ("az",)) == 2
    assert active_files(1, 0, 1 << 40) == (LEAST_FILES, LEAST_FILES)
    assert active_files(0, 0, 0)[0] > 1_000_000


@pytest.mark.parametrize("gib", [0.5, 1, 1.5, 1.99, 2, 4, 16, 512])
def test_files_follow_memory_also_below_two_gib(gib: float) -> None:
    """B7: whole GB were multiplied, so below 2 GB the budget was 0, and the smallest machine got the largest window."""
    memory = int(gib * GIB)
    files, most = active_files(memory, 0, 0)
    assert 0 < files <= most <= gib * FILES_PER_GIB
    assert files * NAME_BYTES <= memory / 4
    assert files >= 0.7 * gib * FILES_PER_GIB


@given(st.lists(st.integers(1, 600 * 1024), min_size=2, max_size=20), st.integers(0, 8192), st.integers(0, 512))
def test_more_memory_is_never_a_smaller_window(machines: list[int], limit: int, processes: int) -> None:
    found = [active_files(mib * MIB, limit * MIB, processes * MIB) for mib in sorted(machines)]
    assert found == sorted(found)
    assert all(least >= LEAST_FILES for least, _ in found)


def test_a_limit_on_memory_counts_and_what_the_processes_take_is_off() -> None:
    files, most = active_files(64 * GIB, 256 * MIB, 120 * MIB)
    assert files == 136 * MIB // 4 // NAME_BYTES
    assert most == 136 * MIB // 2 // NAME_BYTES
    assert active_files(64 * GIB, 256 * MIB, 256 * MIB) == (LEAST_FILES, LEAST_FILES)


def test_runs_are_as_long_as_both_sides_of_all_directories_fit() -> None:
    assert run_length(0, 4) == ENDLESS
    assert run_length(1_600_000, 8) == 100_000
    assert run_length(80_000, 4) == 10_000
    assert run_length(10, 8) == LEAST_RUN
    assert Window(WindowLimits(4, 80_000)).run == 10_000
