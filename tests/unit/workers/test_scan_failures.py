"""Directories whose listing fails on one side: nothing of them is acted on, and what lies below is visited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MODE, Facts
from dunlin.report import Level
from dunlin.stores.base import Meta
from dunlin.stores.memory import CAPS, MemoryStore
from dunlin.transfer.outcome import Presence
from dunlin.workers import scan as scanning
from dunlin.workers.tasks import Scan
from tests.unit.transfer.trees import put, tree
from tests.unit.workers.conftest import World

DENIED = DunlinError("list", "d", ErrorKind.DENIED, "Permission denied")


def fill(store: MemoryStore, directory: str, *names: str, content: bytes = b"content") -> None:
    store.make_directory(directory)
    for name in names:
        put(store, f"{directory}/{name}", content)


def tree_of(store: MemoryStore) -> dict[str, object]:
    store.faults.clear()
    return tree(store)


class Listings:
    """Listings that break off: batches of names, then an error."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch, directory: str, batches: list[list[str]]) -> None:
        real, facts = store.list, {name: what for batch in store.list(directory) for name, what in batch}

        def listing(wanted: str) -> Iterator[list[tuple[str, Facts]]]:
            if wanted != directory:
                yield from real(wanted)
                return
            for batch in batches:
                yield [(name, facts[name]) for name in batch]
            raise DENIED

        monkeypatch.setattr(store, "list", listing)


def branching(world: World) -> None:
    """A directory at both sides with files, extras and sub-directories."""
    fill(world.source, "d", "a", "b", "z")
    fill(world.target, "d", "b", "extra", content=b"other")
    for name in ("s", "t", "u"):
        world.source.make_directory(f"d/{name}")


UNKNOWN = int(Presence.UNKNOWN)


@pytest.mark.parametrize("batches", [[["a", "b", "s"], ["t"]], [["a", "b", "s", "t"]], [["a"], ["b"], ["s"], ["t"]]])
@pytest.mark.parametrize("presence", [Presence.UNKNOWN, Presence.BOTH])
def test_what_half_a_listing_named_is_visited_and_nothing_else_of_it_acted_on(
    world: World, monkeypatch: pytest.MonkeyPatch, batches: list[list[str]], presence: Presence
) -> None:
    branching(world)
    before = tree(world.target)
    context = world.context()
    Listings(context.site.source, monkeypatch, "d", batches)
    outcome = world.do(Scan("d", int(presence)), context)
    assert sorted(outcome.subdirectories) == [("s", UNKNOWN), ("t", UNKNOWN)]
    assert tree(world.target) == before
    assert outcome.extras == []
    assert not outcome.listed
    assert (outcome.counts["source_errors"], outcome.counts["failed_directories"]) == (1, 1)


def test_windows_that_were_whole_before_a_listing_broke_off_stay_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination is known to have nothing, so each name was decided on for good; what did not come is not lost."""
    branching(world)
    world.target = MemoryStore("target")
    world.target.make_directory("d")
    context = world.context()
    Listings(context.site.source, monkeypatch, "d", [["a"], ["s"], ["b", "t"], ["u"]])
    outcome = world.do(Scan("d", int(Presence.SOURCE)), context)
    assert {"s", "t", "u"} <= {name for part in [*world.parts, outcome] for name, _ in part.subdirectories}
    assert "d/z" not in tree(world.target)
    assert outcome.failed
    assert not outcome.listed
    assert outcome.extras == []


def test_a_destination_that_cannot_be_listed_does_not_hide_what_the_source_has_below(world: World) -> None:
    branching(world)
    before = tree(world.target)
    world.target.faults["list", "d"] = DENIED
    outcome = world.do("d")
    assert sorted(outcome.subdirectories) == [("s", UNKNOWN), ("t", UNKNOWN), ("u", UNKNOWN)]
    assert tree_of(world.target) == before
    assert outcome.counts["scanned_files"] == 3
    assert (outcome.counts["source_errors"], outcome.counts["failed_directories"]) == (0, 1)


@pytest.mark.parametrize("names", [8, 60])
def test_a_long_listing_is_gone_through_when_the_destinations_breaks_off_late(
    world: World, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    """Of windows that were dealt with before nothing is lost, and no sub-directory of the rest."""
    monkeypatch.setattr(scanning, "RUN", 5)
    fill(world.source, "d", *(f"f{n:02}" for n in range(names)))
    fill(world.target, "d", *(f"f{n:02}" for n in range(12)), "x")
    for n in range(names):
        world.source.make_directory(f"d/s{n:02}")
    context = world.context()
    Listings(context.site.target, monkeypatch, "d", [[f"f{n:02}" for n in range(4 * k, 4 * k + 4)] for k in range(3)])
    outcome = world.do("d", context)
    found = [name for part in [*world.parts, outcome] for name, _ in part.subdirectories]
    assert sorted(set(found)) == [f"s{n:02}" for n in range(names)]
    total: Counter[str] = Counter()
    for part in [*world.parts, outcome]:
        total += part.counts
    assert total["scanned_files"] == names
    assert total["failed_directories"] == 1
    assert outcome.failed  # in the last outcome: it is what says how the directory ended
    assert [part.listed for part in world.parts] == [False] * len(world.parts)


def test_a_directory_that_fails_on_both_sides_fails_once_and_is_a_source_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    branching(world)
    world.target.faults["list", "d"] = DENIED
    context = world.context()
    Listings(context.site.source, monkeypatch, "d", [["a"], ["s"], ["t"]])
    outcome = world.do("d", context)
    assert (outcome.counts["source_errors"], outcome.counts["failed_directories"]) == (1, 1)
    assert len(outcome.failed) == 2
    assert sorted(name for name, _ in outcome.subdirectories) == ["s", "t"]


def test_half_a_listing_has_its_directory_made_before_what_lies_below(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    branching(world)
    world.source.set_meta("d", Meta(mode=0o710))
    world.target = MemoryStore("target")
    context = world.context(options={"perms": True})
    Listings(context.site.source, monkeypatch, "d", [["a", "s"]])
    outcome = world.do("d", context)
    assert outcome.subdirectories == [("s", UNKNOWN)]
    assert sorted(tree(world.target)) == ["d/"]
    assert world.target.stat("d").facts[MODE] & 0o077 == 0o010  # nobody else gets in, also while it is incomplete


def test_where_its_directory_cannot_be_made_nothing_below_is_visited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    branching(world)
    world.target = MemoryStore("target")
    world.target.faults["make_directory", "d"] = DENIED
    context = world.context()
    Listings(context.site.source, monkeypatch, "d", [["a", "s"]])
    outcome = world.do("d", context)
    assert outcome.subdirectories == []
    assert outcome.counts["failed_directories"] == 1
    assert outcome.counts["source_errors"] == 1


@pytest.mark.parametrize("half", [False, True])
def test_two_spellings_of_one_name_never_become_one_directory(
    world: World, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    """The rest of a half listing may hold another spelling; a whole one tells which names have none."""
    fill(world.source, "d")
    for name in ("one", "Two", "two"):
        world.source.make_directory(f"d/{name}")
    world.target = MemoryStore("target", caps=replace(CAPS, case_sensitive=False))
    world.target.make_directory("d")
    context = world.context()
    if half:
        Listings(context.site.source, monkeypatch, "d", [["one", "two"]])
    else:
        world.target.faults["list", "d"] = DENIED
    outcome = world.do("d", context)
    assert [name for name, _ in outcome.subdirectories] == ([] if half else ["one"])


@pytest.mark.parametrize(
    ("presence", "level"),
    [(Presence.UNKNOWN, Level.DEBUG), (Presence.BOTH, Level.WARN), (Presence.TARGET, Level.DEBUG)],
)
def test_a_destination_without_the_directory_is_worth_a_warning_only_if_it_had_it_a_moment_ago(
    world: World, presence: Presence, level: Level
) -> None:
    fill(world.source, "d", "a")
    outcome = world.do(Scan("d", int(presence)))
    assert [(level, message) for level, name, message, _ in outcome.news if name == "target.absent"] == [
        (int(level), "Expected error (404): d")
    ]
    assert outcome.failed == []
    assert world.do(Scan("d", int(Presence.SOURCE))).news == []  # it is known to have none, so nobody asks


def test_a_unit_never_carries_more_failures_than_two_windows_have_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many names of a directory fail, they come in outcomes of a bounded size, and none is lost."""
    monkeypatch.setattr(scanning, "RUN", 10)
    names = [f"n{n:03}" for n in range(200)]
    fill(world.source, "d", *names)
    fill(world.target, "d", "n000", content=b"old")
    for name in names:
        world.source.faults["read", f"d/{name}"] = DENIED
    outcome = world.do("d")
    parts = [*world.parts, outcome]
    assert sum(part.counts["failed_files"] for part in parts) == 200
    assert sorted(name for part in parts for name, *_ in part.failed) == names
    assert max(len(part.failed) for part in parts) <= 2 * 10
