"""disk: bytes per second over all disks, and how busy the busiest was."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.pace.disk import Disk, Disks, Used, disks


def looked(*readings: Mapping[str, Disk]) -> Used | None:
    found, times = iter(readings), iter([0.0, 2.0])
    return Disks(lambda: next(found), lambda: next(times)).look()


def test_disks_add_up_and_the_busiest_counts() -> None:
    before = {"a": Disk(100, 0), "b": Disk(0, 1000)}
    after = {"a": Disk(500, 500), "b": Disk(200, 2500), "new": Disk(9999, 9999)}
    assert looked(before, after) == Used(300.0, 0.75)


def test_a_counter_that_begins_anew_is_no_reading_below_zero() -> None:
    assert looked({"a": Disk(100, 900)}, {"a": Disk(0, 0)}) == Used(0.0, 0.0)


def test_where_nobody_tells_there_is_no_reading() -> None:
    assert looked({}, {}) is None
    assert looked({"a": Disk(0, -1)}, {"a": Disk(10, -1)}) == Used(5.0, None)


def test_partitions_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def counters(**_: Any) -> dict[str, Any]:
        return {
            name: SimpleNamespace(read_bytes=1, write_bytes=2, busy_time=4)
            for name in ("sda", "sda1", "nvme0n1", "nvme0n1p2", "loop0")
        }

    monkeypatch.setattr("psutil.disk_io_counters", counters)
    assert disks() == dict.fromkeys(("sda", "nvme0n1", "loop0"), Disk(3, 4))


def test_a_machine_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.disk_io_counters", lambda **_: None)
    assert disks() == {}


def test_this_machine_can_be_asked() -> None:
    used = Disks().look()
    assert used is None or used.moved >= 0
