"""The share of the processors that some processes take."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

import pytest

from dunlin.pace import load
from dunlin.pace.processor import Processor, processor_seconds


def test_seconds_are_those_that_a_process_computed() -> None:
    before = time.process_time()
    found = processor_seconds([os.getpid(), 2**22 + 1])
    assert list(found) == [os.getpid()], "the other one does not exist"
    assert before - 0.05 <= found[os.getpid()] <= time.process_time() + 0.05


def test_psutil_is_asked_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: (_ for _ in ()).throw(ValueError(name)))

    class Fake:
        def processes(self, pids: Iterable[int]) -> Mapping[int, tuple[float, int]]:
            return dict.fromkeys(pids, (2.5, 1))

    monkeypatch.setattr(load, "Psutil", Fake)
    assert processor_seconds([7, 8]) == {7: 2.5, 8: 2.5}


def test_the_share_is_that_since_the_last_look_over_all_processors() -> None:
    now, used = 100.0, {1: 5.0, 2: 1.0}
    processor = Processor(4, lambda pids: {pid: used[pid] for pid in pids}, lambda: now)
    assert processor.share([1, 2]) is None, "nothing to compare with"
    now, used = 102.0, {1: 7.0, 2: 3.0}
    assert processor.share([1, 2]) == 0.5
    now, used = 104.0, {1: 7.0, 2: 3.0, 3: 9.0}
    assert processor.share([1, 2, 3]) == 0, "what it did before it was known does not count"
    now, used = 105.0, {1: 99.0}
    assert processor.share([1]) == 1.0
