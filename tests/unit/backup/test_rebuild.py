"""The chunk index anew from packs: how much is held at a time, and which place of a chunk it names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from dunlin.backup import chunks, marks, rebuild
from dunlin.backup.chunks import Segment
from tests.unit.backup.world import TENANTS, World


@pytest.fixture
def world() -> World:
    return World()


def anew(world: World, share: str = "docs") -> rebuild.Rebuilt:
    opened = world.area(share).repository
    return rebuild.chunk_index(opened, TENANTS[share], "somebody", clock=lambda: world.own)


def test_what_is_gathered_one_by_one_soon_becomes_columns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        world.change("docs", "a", bytes([number]) * 50)
        world.change("docs", "b", bytes([number]) * 51)
        world.back_up("docs")
    real, sizes = chunks.build, []

    def build(rows: Iterable[Any]) -> Segment:
        rows = list(rows)
        sizes.append(len(rows))
        return real(rows)

    monkeypatch.setattr(rebuild, "GATHERED", 3)
    monkeypatch.setattr(chunks, "build", build)
    assert anew(world).chunks == 12
    assert max(sizes) <= 5
    assert [len(each) for _, each in world.area("docs").chunk_segments(True)] == [12]
    world.restores()
    monkeypatch.setattr(rebuild, "MOST_ROWS", 5)
    assert anew(world).chunks == 12
    assert len(world.area("docs").chunk_segments(True)) > 1
    world.restores()


@pytest.mark.parametrize("which", [0, 1])
def test_a_chunk_is_looked_for_in_a_damaged_pack_only_where_it_is_nowhere_else(world: World, which: int) -> None:
    found: list[str] = []
    for name in ("a", "b"):
        world.change("docs", name, b"x" * 50)
        world.back_up("docs")
        found += [each.key for each in world.area("docs").packs(True).values() if each.key not in found]
        marks.put_bad(world.area("docs"), found, [])
    assert len(found) == 2
    world.rot([found[which]])
    world.verify()
    anew(world)
    world.prune()
    world.prune()
    assert [each.key for each in world.area("docs").packs(True).values()] == [found[1 - which]]
    world.restores()
    assert not world.lost
