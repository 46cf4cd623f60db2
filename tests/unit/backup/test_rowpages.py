"""What row pages hold of a segment makes the same file again, to the last byte."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import numpy as np
import pytest

from dunlin.backup import mend, pages, rowpages, vectors
from dunlin.backup.frames import Codec
from dunlin.backup.keys import TenantKeys
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import RAW, ZSTD
from dunlin.backup.tree.segment import Segment
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tree.grown import grow, write

CODEC = Codec(TenantKeys("t", bytes(32), sealed=True), "t/s/tree/x.pages")


def paged(segment: Segment, told: Segment | None, seed: int = 0) -> bytes:
    """Pages of its rows, whose times and sizes are now those of the rows, now others; `told`: to `finish`."""
    chance, out = random.Random(seed), bytearray()
    writer = pages.PagesWriter(CODEC, out.extend)

    def part(count: int) -> pages.Part:
        return {
            "mtime": array("q", [chance.choice((0, -5, 1_700_000_000_123_456_789)) for _ in range(count)]).tobytes(),
            "size": array("Q", [chance.choice((0, 4096, 1 << 42)) for _ in range(count)]).tobytes(),
        }

    for add, rows in ((writer.add_directories, segment.directories.rows), (writer.add_files, segment.files.rows)):
        while rows:
            count = chance.randint(1, rows)
            add(count, part(count))
            rows -= count
    assert writer.finish(told) == len(out)
    return bytes(out)


def reader(data: bytes) -> pages.PagesReader:
    return pages.PagesReader(CODEC, lambda start, length: data[start : start + length], len(data))


@pytest.mark.parametrize("names", [RAW, ZSTD])
@pytest.mark.parametrize(("directories", "files"), [(0, 0), (1, 0), (40, 600), (5, 2_000), (300, 50)])
def test_any_segment_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: int, directories: int, files: int
) -> None:
    monkeypatch.setattr(pages, "PAGE", 64)  # so that runs lie across the bounds of pages,
    monkeypatch.setattr(mend, "BATCH", 100)  # and are given to the writer in several calls
    monkeypatch.setattr(pages, "_REMOVED", 3)
    model = grow(directories + files, directories, files)
    with SegmentWriter(tmp_path / "first", names=names) as writer:
        write(writer, model)
        writer.add_directory(1 << 40, 1, b"whose run stands elsewhere", -7, 8, 0x20, files=9, size=10, check=11)
        for node in range(5_000_000, 5_000_010):
            writer.remove(node)
        writer.finish()
    segment = Segment.open(tmp_path / "first")
    read = reader(paged(segment, segment))
    assert read.remade
    mend.remake(read, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()


def test_pages_without_rows_make_nothing(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "first") as writer:
        write(writer, grow(1, 3, 5))
        writer.finish()
    read = reader(paged(Segment.open(tmp_path / "first"), None))
    assert not read.remade
    with pytest.raises(DunlinError, match="no rows") as error:
        mend.remake(read, tmp_path / "again")
    assert error.value.kind is ErrorKind.CORRUPT


def test_pages_of_other_rows_are_not_written(tmp_path: Path) -> None:
    found = []
    for name, files in (("one", 5), ("two", 6)):
        with SegmentWriter(tmp_path / name) as writer:
            write(writer, grow(1, 3, files))
            writer.finish()
        found.append(Segment.open(tmp_path / name))
    with pytest.raises(ValueError, match="other rows"):
        paged(found[0], found[1])


def test_rows_that_contradict_their_page_are_damage(tmp_path: Path) -> None:
    page = pages.Page(pages.to_bytes(3, {}), "x")
    names = list(rowpages._FIELDS)
    for count, columns in (
        (2, []), (4_000_000_000, []), (3, [("node", array("q", [1, 2]))]), (3, [("length", array("I", [1, 0, 0]))]),
    ):  # fmt: skip
        data = vectors.to_bytes(rowpages.IDENTIFIER, names, count, [(name, np.array(each)) for name, each in columns])
        with pytest.raises(DunlinError, match="damaged row page"):
            rowpages.RowPage(data, 1, page, "x")
    with pytest.raises(DunlinError, match="damaged row page"):
        rowpages.RowPage(b"1234DLPG5678", 1, page, "x")
