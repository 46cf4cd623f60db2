"""Which sub-directories are kept by name in case their directory fails, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dunlin.compare import RUN
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Facts, sort_key
from dunlin.pace.window import LEAST_RUN, Window, WindowLimits
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.workers import names as module
from dunlin.workers import scan as scanning
from dunlin.workers.context import Context
from dunlin.workers.names import PAGES, Names
from dunlin.workers.tasks import Scan
from tests.unit.workers.conftest import World


def made(context: Context) -> Names:
    return Names(context, Scan(""), True, Outcome)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (WindowLimits(), 2 * RUN),
        (WindowLimits(8, 10), PAGES),
        (WindowLimits(1, 40 * LEAST_RUN), 40 * LEAST_RUN),
        (WindowLimits(1, 1 << 30), 2 * RUN),
    ],
)
def test_so_many_are_kept_as_two_runs_have_names(world: World, limits: WindowLimits, most: int) -> None:
    context = world.context()
    context.window = Window(limits)
    names = made(context)
    names.passed.extend(f"d{n:07}" for n in range(2 * RUN + 5))
    assert len(names.passed) == names.most == most
    assert names.passed[-1] == f"d{2 * RUN + 4:07}"


def test_those_that_were_dealt_with_are_kept_no_more(world: World) -> None:
    names = made(world.context())
    names.passed.extend(["c", "a", "a-", "b"])
    names.dealt_with(sort_key("a", True))
    assert list(names.passed) == ["c", "b"]  # `-` sorts before `/`
    names.dealt_with(sort_key("b", False))
    assert list(names.passed) == ["c", "b"], "the file b comes before the directory b"
    names.dealt_with(None)
    assert not names.passed
    assert names.passed.maxlen == names.most


def test_names_are_compared_as_the_pair_spells_them(world: World) -> None:
    context = world.context()
    context.collate = str.casefold
    names = made(context)
    names.passed.extend(["A", "b", "C"])
    names.dealt_with(sort_key("b", True))
    assert list(names.passed) == ["C"]


class Kept:
    """Scans whose names are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[Names] = []

        def watched(*arguments: Any) -> Names:
            self.names.append(Names(*arguments))
            return self.names[-1]

        monkeypatch.setattr(scanning, "Names", watched)


def planted(world: World) -> list[str]:
    found = [f"s{n:02}" for n in range(12)]
    for name in found:
        world.source.make_directory(name)
        world.target.make_directory(name)
    return found


def test_nothing_is_kept_of_a_directory_that_is_through(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(monkeypatch)
    planted(world)
    outcome = world.do("")
    assert len(outcome.subdirectories) == 12
    assert [len(names.passed) for names in kept.names] == [0]


def test_what_windows_have_told_is_not_told_again_when_the_listing_breaks_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "RUN", 3)
    found = planted(world)
    context = world.context()
    real = context.site.source.list

    def breaking(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        names = [named for batch in real(directory) for named in batch]
        yield from (names[at : at + 3] for at in range(0, 9, 3))
        raise DunlinError("list", "", ErrorKind.IO, "broken")

    monkeypatch.setattr(context.site.source, "list", breaking)
    outcome = world.do(Scan("", int(Presence.BOTH)), context)
    before = [name for part in world.parts for name, _ in part.subdirectories]
    after = [name for name, _ in outcome.subdirectories]
    assert before
    assert sorted(before + after) == found[:9], "each of those that came by, and once"


def test_a_failed_directory_tells_its_sub_directories_before_more_come_than_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGES", 4)
    monkeypatch.setattr(module, "RUN", 2)
    monkeypatch.setattr(scanning, "RUN", 2)
    found = planted(world)
    context = world.context()
    real = context.site.source.list

    def small(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        for batch in real(directory):
            yield from ([named] for named in batch)

    def failing(directory: str) -> Iterator[list[tuple[str, Facts]]]:
        raise DunlinError("list", directory, ErrorKind.DENIED, "Permission denied")
        yield []

    monkeypatch.setattr(context.site.source, "list", small)
    monkeypatch.setattr(context.site.target, "list", failing)
    outcome = world.do(Scan("", int(Presence.UNKNOWN)), context)
    told = [name for part in [*world.parts, outcome] for name, _ in part.subdirectories]
    assert sorted(told) == found
