"""Which words go where."""

from __future__ import annotations

import io
import os
from typing import IO

import pytest

from dunlin.cli.outlet import SHOWN_FAILURES, Outlet, Telling, plan_line
from dunlin.jobs.told import Words
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def outlet(
    telling: Telling | None = None, out: IO[str] | None = None, err: IO[str] | None = None, ends: bool = False
) -> tuple[Outlet, IO[str], IO[str], Stop]:
    out, err, stop = out or io.StringIO(), err or io.StringIO(), Stop()
    return Outlet(telling or Telling(), stop, ends=ends, out=out, err=err), out, err, stop


@pytest.fixture(autouse=True)
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def text(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


PLAN = Event(Level.INFO, "plan", "copy a\nb", {"verb": "copy", "path": "a\nb"})
SKIP = Event(Level.INFO, "plan", "skip l", {"verb": "skip", "path": "l", "reason": "link"})
DELETED = Event(Level.INFO, "file.deleted", "x/y", {"path": "x/y"})
WARNING = Event(Level.WARN, "metadata.refused", "no owners here")


def test_results_and_news_go_their_own_ways() -> None:
    made, out, err, _ = outlet()
    report = Fan(made.reports())
    report.event(PLAN)
    report.event(WARNING)
    report.event(SKIP)
    report.event(DELETED)
    assert text(out) == "copy a\\nb\n"
    assert text(err).endswith(" WARN  no owners here\n")
    assert text(err).count("\n") == 1


def test_verbose_names_files_and_skipped_ones() -> None:
    made, out, err, _ = outlet(Telling(verbose=True))
    report = Fan(made.reports())
    for event in (SKIP, DELETED, Event(Level.DEBUG, "file.copied", "a", {"path": "a\x1b"})):
        report.event(event)
    assert text(out) == "skip l (link)\ndeleted x/y\ncopied a\\x1b\n"
    assert text(err) == ""


def test_quiet_tells_warnings_only() -> None:
    made, out, err, _ = outlet(Telling(quiet=True))
    report = Fan(made.reports())
    for event in (PLAN, DELETED, Event(Level.INFO, "run.started", "scanning"), WARNING):
        report.event(event)
    assert text(out) == ""
    assert text(err).splitlines()[0].endswith("no owners here")
    assert text(err).count("\n") == 1
    assert not made.by_lines


def test_json_keeps_standard_output_clean() -> None:
    made, out, err, _ = outlet(Telling(as_json=True, verbose=True))
    report = Fan(made.reports())
    for event in (PLAN, DELETED, WARNING):
        report.event(event)
    made.out("more")
    assert text(out) == ""
    assert "copy a\\nb" in text(err)
    made.finish("{}")
    assert text(out) == "{}\n"


@pytest.mark.parametrize(("name", "made", "shown"), [
    ("file.failed", 1, "1/3"), ("file.failed", 3, "3/3"), ("file.failed", 4, "4/4"),
    ("file.retry", 2, "1/3"), ("file.retry", 3, "2/3"),
])  # fmt: skip
def test_a_failed_attempt_is_told_out_of_those_there_may_be(name: str, made: int, shown: str) -> None:
    """Also of an error that no further attempt would mend: the first is the last of up to three, and not of one."""
    err = io.StringIO()
    words = Words("blob", "download", "Sync", ("container", "c"), "")
    it = Outlet(Telling(), Stop(), ends=False, words=words, attempts=3, out=io.StringIO(), err=err)
    fields = {"path": "p", "attempt": made, "error": "denied"}
    Fan(it.reports()).event(Event(Level.WARN, name, "denied", fields))
    assert f"Failed to download blob (blob=p, attempt={shown}, error=denied)" in text(err)


@pytest.mark.parametrize(("err", "telling", "shown"), [
    (Terminal(), Telling(), 1), (io.StringIO(), Telling(), 2), (Terminal(), Telling(log_format="json"), 2),
    (Terminal(), Telling(progress=False), 1), (io.StringIO(), Telling(quiet=True), 1),
])  # fmt: skip
def test_how_a_crawl_stands_is_for_logs_and_its_warnings_are_for_all(
    err: IO[str], telling: Telling, shown: int
) -> None:
    made, _, err, _ = outlet(telling, err=err)
    report = Fan([made.reports()[0]])
    report.event(Event(Level.INFO, "crawl.progress", "Active Dirs: 1 | Wait: 0 | Files: 2"))
    report.event(Event(Level.WARN, "crawl.contention", "High contention: 45 dirs waiting"))
    made.close()
    told = text(err)
    assert ("Active Dirs" in told) + ("High contention" in told) == shown
    assert "High contention" in told


def test_per_file_news_reaches_a_log_of_level_debug() -> None:
    made, _, err, _ = outlet(Telling(log_level="debug", log_format="logfmt"))
    Fan(made.reports()).event(DELETED)
    assert "event=file.deleted message=x/y path=x/y" in text(err)


@pytest.mark.parametrize(
    ("out_tty", "err_tty", "telling", "drawn"),
    [
        (True, True, Telling(), "out"),
        (True, False, Telling(), "out"),
        (False, True, Telling(), "err"),
        (False, False, Telling(), None),
        (True, True, Telling(as_json=True), "err"),
        (True, False, Telling(as_json=True), None),
        (True, True, Telling(quiet=True), None),
        (True, True, Telling(quiet=True, progress=True), "out"),
        (True, True, Telling(progress=False), None),
    ],
)
def test_where_the_view_is_drawn(out_tty: bool, err_tty: bool, telling: Telling, drawn: str | None) -> None:
    streams = {"out": Terminal() if out_tty else io.StringIO(), "err": Terminal() if err_tty else io.StringIO()}
    made, _, _, _ = outlet(telling, streams["out"], streams["err"])
    made.reports()
    assert made.progress is not None
    made.progress.show()
    made.close()
    assert [name for name, stream in streams.items() if "\x1b[?25l" in stream.getvalue()] == ([drawn] if drawn else [])


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    made, _, _, _ = outlet(out=Terminal(), err=Terminal())
    assert made.view is None
    assert made.by_lines


def test_errors_go_to_a_file_even_while_the_terminal_shows_the_view() -> None:
    made, out, err, _ = outlet(out=Terminal())
    report = Fan(made.reports())
    assert made.progress is not None
    made.progress.show()
    report.event(WARNING)
    made.close()
    assert "no owners" in text(err)
    assert "no owners" not in text(out)


def test_a_terminal_shows_the_first_failures_and_a_log_all() -> None:
    for stream, lines in ((Terminal(), SHOWN_FAILURES + 1), (io.StringIO(), 100)):
        made, _, err, _ = outlet(Telling(progress=False), err=stream)
        report = Fan(made.reports())
        for number in range(100):
            report.event(Event(Level.ERROR, "file.failed", f"cannot read {number}", {"path": str(number)}))
        assert text(err).count("\n") == lines


def test_rename_lines_name_both() -> None:
    event = Event(Level.INFO, "plan", "", {"verb": "rename to", "path": "README", "reason": "Readme"})
    assert plan_line(event) == "rename Readme to README"


@pytest.mark.parametrize("ends", [True, False])
def test_a_reader_who_goes_away(ends: bool) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as out:
        made, _, err, stop = outlet(out=out, ends=ends)
        report = Fan(made.reports())
        report.event(PLAN)
        report.event(PLAN)
        made.finish("the end")
    assert stop.requested is ends
    assert text(err) == ""


def test_standard_error_that_is_gone_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    err = open(write, "w", buffering=1)  # noqa: SIM115
    made, _, _, stop = outlet(err=err)
    Fan(made.reports()).event(WARNING)
    made.urgent("stopping")
    assert not stop.requested
    os.dup2(os.open(os.devnull, os.O_WRONLY), err.fileno())
    err.close()


def test_a_signal_handlers_line_appears_at_once() -> None:
    terminal = Terminal()
    made, _, _, _ = outlet(out=terminal, err=terminal)
    made.reports()
    assert made.progress is not None
    made.progress.show()
    made.urgent("stopping: soon")
    assert "stopping: soon" in terminal.getvalue()
    made.close()
