"""A directory in windows: all names come once and in order, and each stands beside what it was before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.backup import windows
from dunlin.backup.rows import Listed
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Run, Tree
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DIRECTORY_BITS, FILE_BITS, MODE

NAMES = st.sets(st.text("ab-.é0", min_size=1, max_size=4), max_size=25)


def listed(name: str, folder: bool = False) -> Listed:
    facts: list[object] = [None] * 11
    facts[MODE] = DIRECTORY_BITS if folder else FILE_BITS
    return Listed(name.encode(), name, tuple(facts), len(name))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


def run_of(place: Path, names: set[str]) -> Run:
    keys = sorted(name.encode() for name in names)
    path = place / f"segment{len(os.listdir(place))}"
    with SegmentWriter(path) as writer:
        writer.add_directory(ROOT, 0, b"")
        count = len(keys)
        writer.add_run(ROOT, b"".join(keys), [len(key) for key in keys], range(2, 2 + count), [0] * count, [0] * count)
        writer.finish()
    return Tree([Segment.open(path)]).run(ROOT)


@given(now=NAMES, folders=NAMES, before=NAMES, batch=st.integers(1, 9), window=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_each_name_comes_once_beside_what_it_was(
    place: Path, now: set[str], folders: set[str], before: set[str], batch: int, window: int
) -> None:
    folders -= now
    every = [*(listed(name) for name in now), *(listed(name, True) for name in folders)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "HUGE", 3)
        patch.setattr(windows, "WINDOW", window)
        batches = [every[at : at + batch] for at in range(0, len(every), batch)]
        cuts = list(windows.cuts(windows.in_order(batches, None), run_of(place, before)))
    assert [each.name for cut in cuts for each in cut.others] == sorted(now, key=str.encode)
    assert {each.name for cut in cuts for each in cut.folders} == folders
    assert all((each.key, each.print) == (each.name.encode(), len(each.name)) for cut in cuts for each in cut.folders)
    old = [[name.decode() for name in cut.old.each_name()] for cut in cuts if cut.old is not None]
    assert [name for names in old for name in names] == sorted(before, key=str.encode)
    for cut, names in zip(cuts, old, strict=True):
        there = {each.name for each in cut.others}
        assert there & before == set(names) & now
        assert len(names) <= 2 * window
        assert len(cut.others) + len(cut.folders) <= window


@given(before=NAMES, count=st.integers(0, 25))
@settings(max_examples=20, deadline=None)
def test_what_is_kept_is_the_beginning_of_the_run(place: Path, before: set[str], count: int) -> None:
    run = run_of(place, before)
    count = min(count, run.count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "WINDOW", 4)
        parts = list(windows.all_kept(run, count))
    assert b"".join(part.columns[0] for part in parts) == run.part(0, count).names
    assert b"".join(part.columns[2] for part in parts) == run.nodes[:count].tobytes()
    assert [row for part in parts for kept in part.parts for row in range(kept[1], kept[1] + kept[2])] == list(
        range(run.start, run.start + count)
    )


def test_a_listing_that_fails_is_not_taken_for_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "HUGE", 3)

    def half() -> object:
        yield [listed(f"{at}") for at in range(9)]
        raise DunlinError("list", "d", ErrorKind.IO, "the disk broke")

    with pytest.raises(DunlinError) as raised:
        windows.in_order(half(), None)  # type: ignore[arg-type]
    assert (raised.value.where, raised.value.fatal) == ("d", False)


def test_a_disk_without_room_for_names_ends_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(windows, "HUGE", 3)
    batches = [[listed(f"{at}") for at in range(9)]]
    with pytest.raises(DunlinError) as raised:
        windows.in_order(batches, str(tmp_path / "nowhere"))
    assert raised.value.fatal
