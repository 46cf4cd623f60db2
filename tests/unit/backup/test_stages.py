"""How long work tells how far it is, and that it can be stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from dunlin.backup import stages
from dunlin.backup.stages import Stages
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport


def test_what_is_done_is_no_longer_left() -> None:
    report = RecordingReport()
    work = Stages("verify", report)
    work.begin("reading packs", "pack", 3, 300)
    (told,) = report.named("stage.begins")
    assert (told.message, dict(told.fields)) == ("reading packs", {"unit": "pack", "items": 3, "bytes": 300})
    assert (report.gauges["pending_files"], report.gauges["pending_bytes"]) == (3, 300)
    work.done(1, 120)
    assert (report.gauges["pending_files"], report.gauges["pending_bytes"]) == (2, 180)
    assert (report.counts["copied_files"], report.counts["copied_bytes"]) == (1, 120)
    work.bad(2)
    assert report.counts["damaged_objects"] == 2
    work.begin("looking", "snapshot", 1)
    assert (report.gauges["pending_files"], report.gauges["pending_bytes"]) == (1, 0)


def test_who_is_asked_to_stop_stops_at_the_next_step() -> None:
    stop = Stop()
    work = Stages("prune", None, stop)
    work.begin("removing", "object", 2)
    stop.request("interrupted by SIGINT")
    for step in (work.look, work.done, lambda: work.begin("more", "object", 1)):
        with pytest.raises(DunlinError) as error:
            step()
        assert (error.value.kind, error.value.operation) == (ErrorKind.INTERRUPTED, "prune")
        assert error.value.reason == "interrupted by SIGINT"


def test_results_come_as_they_end_and_few_are_under_way_at_a_time() -> None:
    begun: list[int] = []

    def act(number: int) -> int:
        begun.append(number)
        return number * number

    with ThreadPoolExecutor(2) as pool:
        found = Stages("verify").results(pool, act, range(100))
        first = next(found)
        assert len(begun) <= stages.AHEAD + 1
        assert sorted([first, *found]) == [number * number for number in range(100)]


def test_somebody_who_waits_is_told_the_time_and_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "POLL", 0.001)
    stop, over = Stop(), Event()

    class Impatient(RecordingReport):
        def gauge(self, name: str, value: float) -> None:
            super().gauge(name, value)
            stop.request("enough")

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(DunlinError) as error:
            list(Stages("verify", Impatient(), stop).results(pool, lambda number: over.wait(20), [1]))
        over.set()
    assert error.value.kind is ErrorKind.INTERRUPTED
