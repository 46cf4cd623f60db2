"""Rows on disk, by ranges of their first number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dunlin.backup import buckets
from dunlin.backup.buckets import Buckets
from dunlin.errors import DunlinError, ErrorKind, Place


@pytest.mark.parametrize("bounds", [[], [100], [10, 20, 500, 1 << 63]])
def test_every_row_is_in_the_bucket_of_its_first_number(bounds: list[int], tmp_path: Path) -> None:
    found = Buckets(tmp_path, bounds, 2)
    rows = [(number * 7919 % 1000, number) for number in range(300)] + [((1 << 64) - 1, 5), (1 << 63, 6)]
    for start in range(0, len(rows), 50):
        some = np.array(rows[start : start + 50], np.uint64)
        found.add([some[:, 0], some[:, 1]])
    found.add([np.zeros(0, np.uint64)] * 2)
    assert len(found) == len(bounds) + 1
    told = []
    for at, (first, last) in enumerate(zip([0, *bounds], [*bounds, 1 << 64], strict=True)):
        columns = [column.tolist() for column in found.part(at)]
        assert all(first <= number < last for number in columns[0])
        told += list(zip(*columns, strict=True))
    assert sorted(told) == sorted(rows)
    found.close()
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_wanted_once_are_sorted_and_there_once_however_often_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_FLOOR", 1000)
    found = Buckets(tmp_path, [50], 2, once=True)
    high, low = np.arange(100, dtype=np.uint64)[::-1], np.arange(100, dtype=np.uint64) % np.uint64(3)
    most = 0
    for _ in range(40):
        found.add([high, low])
        most = max(most, *(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))
    assert most <= 4 * 50 * 16
    for at in (0, 1):
        assert found.part(at)[0].tolist() == list(range(50 * at, 50 * at + 50))


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    found = Buckets(tmp_path, [], 1)
    (folder,) = tmp_path.iterdir()
    (folder / "0").symlink_to("/dev/full")
    with pytest.raises(DunlinError) as error:
        found.add([np.arange(5)])
    assert (error.value.kind, error.value.place) == (ErrorKind.NO_SPACE, Place.STATE)
    with pytest.raises(DunlinError) as error:
        Buckets(tmp_path / "gone", [], 1)
    assert error.value.place is Place.STATE
