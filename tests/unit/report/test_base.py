"""The reports that keep silent, remember, or pass on."""

from __future__ import annotations

import logging

from dunlin.report import Event, Fan, Level, NullReport, RecordingReport, Report


def tell(report: Report) -> None:
    report.count("copied_files")
    report.count("copied_files", 2)
    report.gauge("pending", 3)
    report.gauge("pending", 1)
    report.event(Event(Level.INFO, "file.copied", "a", {"path": "a"}))
    task = report.task("a", 10)
    task.advance(4)
    task.end()


def test_recording_report_remembers() -> None:
    report = RecordingReport()
    tell(report)
    assert report.counts == {"copied_files": 3}
    assert report.gauges == {"pending": 1}
    assert report.tasks == [("a", 10)]
    assert [event.fields for event in report.named("file.copied")] == [{"path": "a"}]
    assert report.named("file.failed") == []


def test_a_fan_tells_all_and_in_order() -> None:
    reports = [RecordingReport(), RecordingReport()]
    heard: list[str] = []

    class Listening(NullReport):
        def __init__(self, name: str) -> None:
            self.name = name

        def event(self, event: Event) -> None:
            heard.append(self.name)

    tell(Fan([reports[0], Listening("first"), Listening("second"), reports[1]]))
    assert heard == ["first", "second"]
    for report in reports:
        assert report.counts == {"copied_files": 3}
        assert report.gauges == {"pending": 1}
        assert len(report.events) == 1


def test_a_fans_task_advances_and_ends_all() -> None:
    class Counting(NullReport):
        def __init__(self) -> None:
            self.done: list[int] = []

        def task(self, name: str, total: int | None) -> Counting:
            return self

        def advance(self, amount: int) -> None:
            self.done.append(amount)

        def end(self) -> None:
            self.done.append(-1)

    reports = [Counting(), Counting()]
    tell(Fan(reports))
    assert [report.done for report in reports] == [[4, -1], [4, -1]]


def test_a_null_report_takes_everything() -> None:
    tell(NullReport())
    tell(Fan([]))


def test_levels_are_those_of_logging() -> None:
    for level in (Level.DEBUG, Level.INFO, Level.ERROR, Level.FATAL):
        assert level == getattr(logging, level.name)
    assert Level.WARN == logging.WARNING
