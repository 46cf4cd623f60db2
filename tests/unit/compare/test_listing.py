"""One side of the merge: windows, their sizes, and what is spilled."""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Iterator

import pytest

from dunlin.compare.listing import SLICE, Side
from dunlin.model import Facts, Kind, facts, sort_key

Named = tuple[str, Facts]


def listing(names: list[str], batch: int) -> Iterator[list[Named]]:
    for at in range(0, len(names), batch):
        yield [(name, facts(Kind.FILE, 3, 4)) for name in names[at : at + batch]]


def windows(side: Side) -> Iterator[list[str]]:
    while (boundary := side.boundary()) is not None:
        yield [name for _, name, _ in side.cut(boundary)]


def test_what_fits_is_one_window_without_order() -> None:
    side = Side(listing(["b", "a"], 1), run=2)
    side.gather()
    assert side.single
    assert [name for name, _ in side.first] == ["b", "a"]


def test_a_missing_side_is_empty() -> None:
    side = Side(None)
    assert side.single
    side.start()
    assert side.boundary() is None
    assert side.cut(None) == []


@pytest.mark.parametrize("batch", [1, 7, 100, 3000])
def test_a_spilled_side_comes_sorted_in_bounded_windows(batch: int) -> None:
    names = [f"{n:05}" for n in range(10_000)]
    shuffled = names[:]
    random.Random(1).shuffle(shuffled)
    side = Side(listing(shuffled, batch), run=100)
    side.start()
    found = list(windows(side))
    assert [name for window in found for name in window] == names
    assert max(map(len, found)) <= 101  # a run, and one name held for its twins


def test_a_spilled_side_holds_a_slice_of_each_run_and_no_more() -> None:
    # Names in an order that makes every run span the whole range, so that all slices are open at once.
    names = [f"{n % 1000:04}-{n // 1000:02}" for n in range(20_000)]
    side = Side(listing(names, 1000), run=1000)
    side.start()
    live = []
    for n, _ in enumerate(windows(side)):
        if n == 3:
            gc.collect()
            live = [o for o in gc.get_objects() if type(o) is tuple and len(o) == 3 and type(o[0]) is bytes]
    # 20 runs, a slice of each; and the windows themselves.
    assert 0 < len(live) <= 20 * SLICE + 2 * 1001 + 100


def test_the_spill_file_goes_with_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = tempfile.TemporaryFile

    def watched(*args: object, **kwargs: object) -> object:
        made.append(real(*args, **kwargs))  # type: ignore[call-overload]
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    side = Side(listing([f"{n}" for n in range(50)], 10), run=10)
    side.start()
    assert [file.closed for file in made] == [False]
    list(windows(side))
    assert [file.closed for file in made] == [True]


def test_a_proven_side_streams_without_a_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    names = sorted((f"n{n}" for n in range(500)), key=lambda name: sort_key(name, False))
    taken = []

    def watched() -> Iterator[list[Named]]:
        for batch in listing(names, 10):
            taken.append(len(batch))
            yield batch

    side = Side(watched(), proven=True, run=50)
    side.start()
    assert sum(taken) < 200  # what is behind the first windows was not asked for yet
    assert [name for window in windows(side) for name in window] == names


def test_a_spilled_name_keeps_every_fact() -> None:
    strange = ("a\udcff\n", (0o100644, 1 << 60, -5, None, 0, None, 2, 1 << 63, "etag", 7, 0))
    side = Side(iter([[strange], [("~" * 300 + "\udcff", facts(Kind.FILE))]]), run=1)
    side.start()
    keyed = side.cut(side.boundary())
    assert [k[1:] for k in keyed] == [strange]


class Held:
    """Counts what is held, as the slot of a window does."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def hold(self, n: int) -> None:
        self.now += n
        self.most = max(self.most, self.now)

    def let_go(self, n: int) -> None:
        self.now -= n
        assert self.now >= 0


def read(side: Side) -> list[str]:
    side.start()
    found = []
    while side.boundary() is not None:
        found += [name for _, name, _ in side.cut(None)]
    return found


def test_short_runs_of_a_large_listing_are_merged_in_several_passes() -> None:
    """30,000 names in runs of 50: 600 runs, of which only two slices fit into memory at a time."""
    names = [f"{n:06}" for n in range(30_000)]
    shuffled = names[:]
    random.Random(3).shuffle(shuffled)
    held = Held()
    assert read(Side(listing(shuffled, 700), run=50, holds=held)) == names
    assert held.most <= 2 * 700 + 2 * 50


@pytest.mark.parametrize("proven", [False, True])
def test_a_side_tells_what_it_has_in_memory_and_no_more_than_runs_and_batches(proven: bool) -> None:
    held = Held()
    side = Side(listing([f"{n:06}" for n in range(20_000)], 500), proven=proven, run=1_000, holds=held)
    assert held.now == 1_000
    assert len(read(side)) == 20_000
    assert 1_000 <= held.most <= 4_000
    side.cut(None)
    assert held.now <= 1_000


def test_whoever_reads_batches_has_two_of_them_at_a_time() -> None:
    held = Held()
    side = Side(listing([f"{n:06}" for n in range(20_000)], 500), run=1_000, holds=held)
    assert sum(len(batch) for batch in side.batches()) == 20_000
    assert held.most <= 1_500
    assert held.now == 500
