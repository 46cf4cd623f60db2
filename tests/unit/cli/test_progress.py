"""When a picture is taken, what a log line says, and what reaches a terminal."""

from __future__ import annotations

import io
import re
import time

import pytest

from dunlin.cli.frame import alerts
from dunlin.cli.meter import Picture
from dunlin.cli.progress import LiveView, Progress, log_line
from dunlin.cli.region import Region
from dunlin.report import Event, Level, RecordingReport
from tests.unit.cli.test_meter import Clock

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shown:
    def __init__(self) -> None:
        self.pictures: list[Picture] = []

    def __call__(self, picture: Picture) -> None:
        self.pictures.append(picture)


def test_at_most_ten_pictures_a_second_whatever_is_reported() -> None:
    clock, shown = Clock(), Shown()
    progress = Progress(shown, 0.1, first=0.3, clock=clock)
    task = progress.task("big", 10_000)
    for _ in range(2000):  # one millisecond each
        clock.now += 0.001
        progress.count("copied_files")
        progress.gauge("pending_files", 5)
        progress.event(Event(Level.INFO, "x", ""))
        task.advance(5)
    assert 16 <= len(shown.pictures) <= 18
    assert shown.pictures[-1].moved_bytes > 9_000


def test_no_picture_before_the_first_is_due() -> None:
    clock, shown = Clock(), Shown()
    progress = Progress(shown, 0.1, first=0.3, clock=clock)
    clock.now += 0.29
    progress.count("copied_files")
    assert shown.pictures == []
    clock.now += 0.02
    progress.count("copied_files")
    assert len(shown.pictures) == 1


def test_a_pause_is_shown_at_once_and_once() -> None:
    clock, shown = Clock(), Shown()
    progress = Progress(shown, 30, first=30, clock=clock)
    for _ in range(3):
        progress.gauge("paused", 1)
    assert len(shown.pictures) == 1
    progress.gauge("paused", 0)
    assert len(shown.pictures) == 2


def test_a_signal_while_drawing_draws_nothing() -> None:
    clock = Clock()
    seen: list[bool] = []

    def show(picture: Picture) -> None:
        seen.append(progress.showing)
        progress.show()

    progress = Progress(show, 0.1, first=0, clock=clock)
    progress.show()
    assert seen == [True]
    assert not progress.showing


def test_a_report_costs_next_to_nothing_when_nothing_is_drawn() -> None:
    progress = Progress(Shown(), 1e9, first=1e9)
    begun = time.process_time()
    for _ in range(50_000):
        progress.count("copied_files", 3)
    assert (time.process_time() - begun) / 50_000 < 20e-6


def test_the_line_for_a_log() -> None:
    clock, report = Clock(), RecordingReport()
    progress = Progress(log_line(report), 30, first=30, clock=clock)
    progress.gauge("pending_files", 300)
    progress.gauge("pending_bytes", 40 << 20)
    clock.now += 10
    progress.count("scanned_files", 1000)
    progress.count("copied_files", 100)
    progress.count("copied_bytes", 10 << 20)
    progress.count("failed_files", 2)
    assert report.events == []
    clock.now += 20
    progress.gauge("scan_complete", 0)
    [event] = report.events
    assert event.name == "run.progress"
    assert event.message.startswith("Progress: 100/400+ files (25%), 10.0 MiB/50.0 MiB+ (20%), elapsed=30s, eta=")
    assert event.message.endswith(", listing: 1,000 files, 2 failed")
    assert event.fields["pending_bytes"] == 40 << 20
    assert event.fields["eta_seconds"] > 0
    assert event.fields["scan_complete"] is False


def view(color: bool = True) -> tuple[LiveView, io.StringIO, Progress, Clock]:
    stream, clock = io.StringIO(), Clock()
    made = LiveView(stream, color, size=lambda: (60, 20))
    return made, stream, Progress(made.show, 0.1, first=0, clock=clock), clock


def test_before_the_first_picture_lines_are_plain() -> None:
    made, stream, _, _ = view()
    made.line("hello")
    made.close()
    assert stream.getvalue() == "hello\n"


def test_the_view_is_drawn_and_gone_in_the_end() -> None:
    made, stream, progress, _ = view()
    progress.count("scanned_files", 42)
    assert "scanning: 42 files" in ESCAPE.sub("", stream.getvalue())
    assert "\x1b[?25l" in stream.getvalue()  # the cursor is hidden
    made.line("a warning")
    assert "a warning" not in stream.getvalue()
    progress.show()
    before, _, after = stream.getvalue().partition("a warning")
    assert "scanning: 42 files" in ESCAPE.sub("", after)
    assert before
    made.line("the last one")
    made.close()
    assert "the last one" in stream.getvalue()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
    made.line("plain again")
    assert stream.getvalue().endswith("plain again\n")
    progress.show()
    assert stream.getvalue().endswith("plain again\n")


def test_a_flush_shows_waiting_lines_without_a_picture() -> None:
    made, stream, progress, _ = view()
    progress.show()
    made.line("stopping")
    made.flush()
    assert "stopping" in stream.getvalue()
    made.close()


@pytest.mark.parametrize("color", [True, False])
def test_colors_only_where_they_are_welcome(color: bool) -> None:
    made, stream, progress, _ = view(color)
    progress.count("failed_files", 3)
    made.close()
    assert "3 failed" in ESCAPE.sub("", stream.getvalue())
    assert ("\x1b[1;31m" in stream.getvalue()) is color
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", stream.getvalue()) or color


def test_brackets_in_names_are_no_markup() -> None:
    made, stream, progress, _ = view()
    task = progress.task("a[bold]b[/x]:smile:", 100)
    task.advance(1)
    made.line("[red]line")
    progress.show()
    made.close()
    plain = ESCAPE.sub("", stream.getvalue())
    assert "a[bold]b[/x]:smile:" in plain
    assert "[red]line" in plain


def test_a_terminal_that_goes_away_ends_the_view_not_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    made = LiveView(Gone(), True, size=lambda: (60, 20))
    progress = Progress(made.show, 0.1, first=0, clock=Clock())
    for _ in range(3):
        progress.count("scanned_files")
        made.line("x")
        progress.show()
    made.restore()
    made.close()


def test_a_job_in_the_background_writes_plain_lines_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, stream, progress, _ = view()
    progress.show()
    made.line("waits for the next picture")
    drawn = len(stream.getvalue())
    monkeypatch.setattr(Region, "in_front", lambda self: False)
    progress.show()
    assert stream.getvalue()[drawn:] == "waits for the next picture\n"
    made.line("at once")
    assert stream.getvalue().endswith("\nat once\n")
    monkeypatch.setattr(Region, "in_front", lambda self: True)
    progress.show()
    assert "scanning" in stream.getvalue()[drawn:]
    made.close()


def test_before_a_stop_the_view_goes_and_afterwards_it_is_drawn_anew() -> None:
    made, stream, progress, _ = view()
    progress.show()
    made.line("a warning")
    made.rest(drawing=False)
    assert stream.getvalue().endswith("\x1b[J\x1b[?25ha warning\n")
    progress.show()
    assert "scanning" in ESCAPE.sub("", stream.getvalue().partition("a warning")[2])
    made.rest(drawing=True)
    assert not made.active
    made.close()


def test_a_request_to_stop_is_shown() -> None:
    clock, shown = Clock(), Shown()
    asked: list[bool] = []
    progress = Progress(shown, 0.1, first=0, clock=clock, stopping=lambda: bool(asked))
    progress.show()
    asked.append(True)
    progress.show()
    assert [picture.gauges["stopping"] for picture in shown.pictures] == [1.0, 1.0], "one dictionary, drawn at once"
    assert "STOPPING" in "".join(alerts(shown.pictures[-1]))


def test_the_line_for_a_log_says_what_holds_a_run_back() -> None:
    clock, report = Clock(), RecordingReport()
    progress = Progress(log_line(report), 30, first=30, clock=clock)
    progress.meter.facts["resume"] = "dunlin control resume --state-db x"
    progress.gauge("paused", 1)
    progress.gauge("paused", 0)
    clock.now += 31
    progress.event(Event(Level.WARN, "throttle.engaged", "", {"gauge": "cpu", "value": 0.9, "before": 8, "workers": 5}))
    paused, _, throttled = report.events
    assert paused.message.endswith("PAUSED (dunlin control resume --state-db x)")
    assert paused.fields["paused"] is True
    assert throttled.message.endswith(", throttled: workers 8 -> 5 (cpu was 90%)")
    assert "PAUSED" not in throttled.message


def test_no_thread_is_left_behind() -> None:
    import threading

    before = set(threading.enumerate())
    made, _, progress, _ = view()
    progress.show()
    assert set(threading.enumerate()) <= before
    made.close()


def test_a_backup_says_in_lines_what_it_has_seen_and_read() -> None:
    clock, report = Clock(), RecordingReport()
    progress = Progress(log_line(report), 30, first=30, clock=clock)
    progress.meter.facts["mode"] = "backup"
    counts = {"scanned_files": 1000, "scanned_bytes": 3 << 30, "copied_files": 10, "copied_bytes": 5 << 20}
    for name, n in counts.items():
        progress.count(name, n)
    clock.now += 31
    progress.gauge("crawl_queued", 3)
    [event] = report.events
    assert event.message.startswith("Progress: 1,000 files (3.0 GiB) seen, 10 new or changed (5.0 MiB read), ")
    assert "listing" not in event.message


def test_long_work_on_a_repository_says_in_lines_how_far_it_is() -> None:
    clock, report = Clock(), RecordingReport()
    progress = Progress(log_line(report), 30, first=30, clock=clock)
    progress.event(Event(Level.DEBUG, "stage.begins", "reading packs", {"unit": "pack"}))
    progress.gauge("pending_files", 3)
    progress.gauge("pending_bytes", 300 << 20)
    clock.now += 31
    progress.count("copied_bytes", 100 << 20)
    [event] = report.events
    assert event.message.startswith("Progress: reading packs: 0 of 3 packs, 100 MiB of 400 MiB, ")
