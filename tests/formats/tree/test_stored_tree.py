"""Tree segments of every format ever released can be read, and hold what they held."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from dunlin.backup.tree.columns import CHANGED, NO_CONTENT, VERSION, ZSTD
from dunlin.backup.tree.compact import compact
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.totals import Totals, totals
from dunlin.backup.tree.view import Directory, File, Tree

HERE = Path(__file__).parent
DAY = 86_400 * 10**9
FILE, LINK, DIRECTORY = 8, 10, 4
SAMPLES = {
    "segment-1-raw.tree.gz": "095e1c2d63e5653e0abfc6b84f56beefe02f925bcd173a4ffd0348848f4cc166",
    "segment-1-zstd.tree.gz": "8d49104f7415d5a9f84152a819700fdb93772a8d1c91b3235229b3d063676f4c",
}


def test_there_are_samples_of_every_format() -> None:
    assert sorted(SAMPLES) == [f"segment-{n}-{what}.tree.gz" for n in range(1, VERSION + 1) for what in ("raw", "zstd")]
    assert sorted(path.name for path in HERE.glob("*.gz")) == sorted(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((HERE / name).read_bytes()).hexdigest() == SAMPLES[name]


def stored(folder: Path, name: str) -> Segment:
    path = folder / name
    path.write_bytes(gzip.decompress((HERE / name).read_bytes()))
    return Segment.open(path)


def test_the_base_holds_what_it_held(tmp_path: Path) -> None:
    base = stored(tmp_path, "segment-1-raw.tree.gz")
    tree = Tree([base])
    first = 1 << 62
    directories, run = tree.children(1)
    assert [(d.node, d.name, d.mtime, d.fingerprint, d.flags, d.files, d.size) for d in directories] == [
        (3, b"caf\xe9", 200 * 365 * DAY, 0x3333, DIRECTORY, 1, 42),
        (first, "Überblick".encode(), -DAY, 0x2222, DIRECTORY, 0, 0),
    ]
    assert [row[:8] for row in run.files()] == [
        (9_007_199_254_740_993, 1, b"B" * 300, 5 << 40, 100, 0xAE8B14860A799888, FILE, 5),
        (11, 1, b"big", (1 << 32) - 1, 1_700_000_000_000_000_100, 1, FILE | NO_CONTENT, 6),
        (12, 1, b"new", (1 << 32) - 2, 200 * 365 * DAY, 2, FILE | CHANGED, 7),
        (13, 1, b"old", 0, -100, 3, LINK, 8),
        (14, 1, b"\xff", 7, 0, 4, FILE, 9),
    ]
    assert tree.row(tree.handle(1))[:6] == (1, 0, b"", 1_700_000_000_123_456_700, 0x1111, DIRECTORY | CHANGED)
    assert isinstance(tree.lookup("Überblick/empty".encode()), Directory)
    assert isinstance(tree.lookup(b"caf\xe9/one"), File)
    assert [tree.base.array("d.page")[tree.handle(node)] for node in (1, first, 3, 4)] == [0, 1, 2, 3]
    assert totals(tree) == Totals(4, 6, (5 << 40) + (1 << 33) - 3 + 7 + 42)


def test_the_delta_over_it_shows_what_it_showed(tmp_path: Path) -> None:
    segments = [stored(tmp_path, name) for name in SAMPLES]
    assert (segments[1].header.names, segments[1].removed.tolist()) == (ZSTD, [3])
    tree = Tree(segments)
    assert tree.lookup(b"caf\xe9") is None
    found = tree.lookup(b"renamed/full/177.txt")
    assert isinstance(found, File)
    assert found[:8] == (277, 4, b"177.txt", 177, 10**9, 7, FILE, 8)
    assert totals(tree) == Totals(3, 205, (5 << 40) + (1 << 33) - 3 + 7 + sum(range(200)))
    compact(segments, tmp_path / "all")
    again = Tree([Segment.open(tmp_path / "all")])
    assert totals(again) == totals(tree)
    assert again.lookup(b"renamed/full/177.txt")[:8] == found[:8]  # type: ignore[index]
    for node in (1, 4):
        stored_row, fresh = tree.directory(node), again.directory(node)
        assert stored_row is not None
        assert fresh is not None
        assert fresh.check == stored_row.check != 0, "computed anew from the rows"


@pytest.mark.parametrize("name", SAMPLES)
def test_what_stands_in_the_description_stands_in_the_file(tmp_path: Path, name: str) -> None:
    page = (HERE.parents[2] / "docs" / "format.md").read_text()
    for column, facts in stored(tmp_path, name).columns.items():
        assert f"| `{column}` | {facts.type} |" in page, column
