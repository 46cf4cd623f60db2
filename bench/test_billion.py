"""The projection is the straight line that it is said to be: pytest bench/test_billion.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.rows import billion
from bench.vaults import Vault


def test_a_straight_line_leads_where_it_leads() -> None:
    counts = [250, 500, 1000]
    assert billion.line(counts, [3.5, 6.0, 11.0], 1_000_000) == pytest.approx(10_001.0)
    assert billion.bend(counts, [3.5, 6.0, 11.0]) == pytest.approx(1.0)


def test_what_grows_faster_than_a_line_bends_upwards() -> None:
    assert billion.bend([1, 2, 4], [1.0, 4.0, 16.0]) == pytest.approx(2.0)
    assert billion.bend([1, 2, 4], [5.0, 5.0, 5.0]) == 1.0
    assert billion.bend([1, 2, 4], [5.0, 5.0, 6.0]) == float("inf")


def test_every_object_counts_for_its_kind(tmp_path: Path) -> None:
    files = {"dunlin-repository.json": 1, "t/s/0": 10, "t/packs/aa/aa": 100, "t/s/chunks/1": 1000, "t/s/tree/1": 10_000,
             "t/s/tree/1.pages": 100_000}  # fmt: skip
    for name, size in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    vault = Vault("dunlin", tmp_path, "", {}, (), (), (), nested=False)
    assert {kind: round(value * 1e9) for kind, value in billion.kept(vault).items() if "GB" in kind} == {
        "tree, GB": 10_000, "pages, GB": 100_000, "chunk index, GB": 1000, "packs, GB": 111,
    }  # fmt: skip
    assert billion.kept(vault)["objects, millions"] * 1e6 == pytest.approx(6)
