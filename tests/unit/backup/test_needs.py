"""What snapshots need, in memory and in buckets on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dunlin.backup import needs
from dunlin.backup.buckets import Buckets
from dunlin.backup.needs import Halves, gather, needed
from tests.unit.backup.world import World


@pytest.mark.parametrize("many", [1, 3, 1 << 20])
@pytest.mark.parametrize("parts", [1, 16])
def test_what_is_gathered_in_buckets_is_what_is_needed(
    many: int, parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    for number in range(12):
        world.change("docs", f"n{number}", bytes([number]) * (50 + 100 * (number % 2)))
        if number % 4 == 3:
            world.back_up("docs")
    area = world.area("docs")
    manifests = area.manifests()
    expected = needed(area, manifests)
    assert len(expected.high) == 12
    monkeypatch.setattr(needs, "_MANY", many)
    bounds = [(1 << 64) * at // parts for at in range(1, parts)]
    buckets = Buckets(tmp_path, bounds, 2, once=True)
    trees: list[int] = []
    gather(area, manifests, buckets, trees.append, lambda: trees.append(-1))
    assert trees[0] == len(trees) - 1
    for at in (0, 1):
        assert np.concatenate([buckets.part(part)[at] for part in range(parts)]).tolist() == expected[at].tolist()


def test_runs_of_rows_are_taken_a_bearable_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "_MANY", 10)
    counts = np.array([3, 3, 3, 3, 50, 1, 9, 10, 4])
    assert [counts[some].tolist() for some in needs._bearable(counts)] == [[3, 3, 3], [3], [50], [1, 9], [10], [4]]
    assert list(needs._bearable(counts[:0])) == []


def test_what_many_trees_share_is_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Halves(np.arange(100, dtype=np.uint64), np.arange(100, dtype=np.uint64))
    sizes: list[int] = []
    real = needs.distinct

    def distinct(parts: Sequence[Halves]) -> Halves:
        sizes.append(sum(len(each.high) for each in parts))
        return real(parts)

    monkeypatch.setattr(needs, "_MANY", 50)
    monkeypatch.setattr(needs, "parts_needed", lambda *_: iter([part] * 200))
    monkeypatch.setattr(needs, "distinct", distinct)
    found = needed(World().area("docs"), [])
    assert found.low.tolist() == list(range(100))
    assert max(sizes) <= 400
