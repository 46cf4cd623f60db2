"""A segment that is not what was written is refused; cells and arrays agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dunlin.backup.tree.columns import ESCAPE, RAW, ZSTD
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tree.grown import Folder, Model, Row, grow, segment


def test_every_column_is_covered_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    segment(path, grow(2, 50, 400), ZSTD)
    good = path.read_bytes()
    columns = [column for column in Segment.open(path).columns.values() if column.length]
    assert len(columns) > 20
    for column in columns:
        bad = bytearray(good)
        bad[column.offset + column.length // 2] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(DunlinError, match=f"checksum of its column {column.name} is wrong") as caught:
            Segment.open(path)
        assert caught.value.kind is ErrorKind.CORRUPT
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 500, -1])
def test_a_segment_that_was_cut_off_is_refused_without_a_look_at_its_columns(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x"
    segment(path, grow(2, 5, 40))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DunlinError) as caught:
        Segment.open(path, check=False)
    assert caught.value.kind is ErrorKind.CORRUPT


def test_a_longer_file_and_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    segment(path, grow(2, 5, 40))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DunlinError, match="bytes instead of"):
        Segment.open(path)
    with pytest.raises(DunlinError) as caught:
        Segment.open(tmp_path / "missing")
    assert caught.value.kind is ErrorKind.NOT_FOUND


@pytest.mark.parametrize("names", [RAW, ZSTD])
def test_one_row_and_many_give_the_same(tmp_path: Path, names: int) -> None:
    segment(tmp_path / "x", grow(5, 100, 3_000), names)
    files = Segment.open(tmp_path / "x").files
    blob, lengths = files.names(0, files.rows), files.lengths(0, files.rows)
    ends = np.cumsum(lengths)
    every = [blob[end - size : end] for end, size in zip(ends.tolist(), lengths.tolist(), strict=True)]
    assert [files.name(row) for row in range(files.rows)] == every
    assert max(lengths) > 255
    for start, end in ((0, 0), (5, 5), (63, 65), (127, 129), (100, 700), (2_990, 3_000), (128, 256)):
        assert files.names(start, end) == b"".join(every[start:end])
        assert files.lengths(start, end).tolist() == lengths[start:end].tolist()
    rows = np.array([7, 2_999, 0, 1_234, 7], np.int64)
    for many, at, one in (
        (files.sizes, files.sizes_at, files.size),
        (files.ticks, files.ticks_at, lambda row: files.mtime(row) // 100),
    ):
        singles = [one(row) for row in range(files.rows)]
        assert many(0, files.rows).tolist() == singles
        assert many(100, 200).tolist() == singles[100:200]
        assert at(rows).tolist() == [singles[row] for row in rows]
    assert max(files.sizes(0, files.rows)) > ESCAPE
    assert min(files.ticks(0, files.rows)) < 0
    assert files.nodes(0, files.rows).tolist() == [files.node(row) for row in range(files.rows)]


@pytest.mark.parametrize("names", [RAW, ZSTD])
@pytest.mark.parametrize("count", [1, 12, 64, 65, 300, 5_000])
def test_a_name_is_found_in_runs_of_any_length(tmp_path: Path, names: int, count: int) -> None:
    every = sorted({b"a" * (n % 7) + b"%x" % (n * 2_654_435_761 % (1 << 32)) for n in range(count - 1)} | {b"a"})
    every = [b"z" * 300 + name if at % 50 == 49 else name for at, name in enumerate(every)]
    model: Model = {1: Folder(0, b"", files={name: Row(at + 9) for at, name in enumerate(every)}), 2: Folder(1, b"d")}
    model[2].files = {b"before": Row(2), b"behind": Row(3)}
    segment(tmp_path / "x", model, names)
    run = Tree([Segment.open(tmp_path / "x")]).run(1)
    wanted = sorted(model[1].files)
    assert [run.find(name) for name in wanted] == list(range(len(wanted)))
    for name in (b"", b"aa" * 9, b"before", b"behind", wanted[-1] + b"0", wanted[0][:-1], b"z" * 300, b"\xff"):
        assert run.find(name) == (wanted.index(name) if name in model[1].files else -1)


def test_bytes_by_column_are_those_of_the_file(tmp_path: Path) -> None:
    info = segment(tmp_path / "x", grow(2, 50, 400))
    made = Segment.open(tmp_path / "x")
    assert made.bytes_by_column() == info.columns
    assert made.size == info.size == (tmp_path / "x").stat().st_size
    assert 0 <= info.size - sum(info.columns.values()) < 64 * 2 * (len(info.columns) + 50)
