"""Work in a process of its own: what it tells, how it ends, and that it ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.apart import apart
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, RecordingReport, Report

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions below can be imported in the other process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# ---- what is done in the other process ----


def telling(words: str, stop: Stop, report: Report) -> tuple[str, int]:
    for _ in range(1000):
        report.count("copied_files")
        report.gauge("pending_files", 7.0)
    report.event(Event(Level.WARN, "file.failed", words, {"path": "a", "kind": ErrorKind.DENIED}))
    report.count("copied_bytes", 5)
    report.task("a", None).advance(3)
    return words.upper(), os.getpid()


def refusing(words: str, stop: Stop, report: Report) -> None:
    report.count("failed_files")
    raise DunlinError("read", words, ErrorKind.LOCKED, "it is in use", "wait")


def breaking(words: str, stop: Stop, report: Report) -> None:
    raise ZeroDivisionError(words)


def obeying(words: str, stop: Stop, report: Report) -> str:
    report.event(Event(Level.INFO, "began", ""))
    while not stop.requested:
        signal.pause()
    report.count("copied_files", 2)
    return stop.reason


def deaf(words: str, stop: Stop, report: Report) -> None:
    report.event(Event(Level.INFO, "began", str(os.getpid())))
    while True:
        signal.pause()


def dying(words: str, stop: Stop, report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_with_a_child(words: str, stop: Stop, report: Report) -> None:
    if pid := os.fork():
        Path(words).write_text(str(pid))
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()


def with_signals(words: str, stop: Stop, report: Report) -> str:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), each)
    return stop.reason


# ---- what is seen here ----


class Stopping(RecordingReport):
    """Asks to stop when the work has begun."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def event(self, event: Event) -> None:
        super().event(event)
        if event.name == "began":
            self._stop.request("enough")


def test_the_result_and_all_news_come_back() -> None:
    report = RecordingReport()
    words, pid = apart(telling, "done", Stop(), report)
    assert words == "DONE"
    assert pid != os.getpid()
    assert dict(report.counts) == {"copied_files": 1000, "copied_bytes": 5}
    assert report.gauges == {"pending_files": 7.0}
    [event] = report.events
    assert event == Event(Level.WARN, "file.failed", "done", {"path": "a", "kind": ErrorKind.DENIED})
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_error_there_is_one_here_and_what_was_counted_stays() -> None:
    report = RecordingReport()
    with pytest.raises(DunlinError) as caught:
        apart(refusing, "/a", Stop(), report)
    assert (caught.value.kind, str(caught.value)) == (ErrorKind.LOCKED, "cannot read /a: it is in use; wait")
    assert report.counts["failed_files"] == 1


def test_a_fault_there_is_told_as_one(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DunlinError) as caught:
        apart(breaking, "by nothing", Stop(), RecordingReport())
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.INTERNAL, "ZeroDivisionError: by nothing")
    assert "Traceback" in capfd.readouterr().err


def test_who_is_asked_to_stop_may_end_as_it_likes() -> None:
    stop = Stop()
    report = Stopping(stop)
    assert apart(obeying, "", stop, report) == "asked to stop"
    assert report.counts["copied_files"] == 2


def test_who_does_not_stop_is_killed() -> None:
    stop = Stop()
    report = Stopping(stop)
    with pytest.raises(DunlinError) as caught:
        apart(deaf, "", stop, report, patience=0.1)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.INTERRUPTED, "enough")
    with pytest.raises(ProcessLookupError):
        os.kill(int(report.named("began")[0].message), 0)


def test_a_process_that_dies_is_told_with_its_signal() -> None:
    with pytest.raises(DunlinError) as caught:
        apart(dying, "", Stop(), RecordingReport())
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "killed by signal 9" in caught.value.reason
    assert "memory" in caught.value.hint


def test_signals_to_all_processes_of_a_service_are_for_the_service() -> None:
    assert apart(with_signals, "", Stop(), RecordingReport()) == ""


def test_it_ends_with_the_process_that_started_it() -> None:
    body = (
        "from dunlin.jobs.apart import apart; from dunlin.pace.stop import Stop\n"
        "from tests.unit.jobs.test_apart import Printing, deaf\n"
        "apart(deaf, '', Stop(), Printing())"
    )
    words = [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'src')]!r}\n{body}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    end = time.monotonic() + PATIENCE
    while _alive(pid):
        assert time.monotonic() < end


class Printing(RecordingReport):
    """Prints the process that works."""

    def event(self, event: Event) -> None:
        print(event.message, flush=True)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between opening and reading
        return False


def test_a_process_that_dies_is_missed_though_one_that_it_forked_lives(tmp_path: Path) -> None:
    """Movers hold its end of the sockets, and may be at a file for hours."""
    found = tmp_path / "pid"
    try:
        with pytest.raises(DunlinError) as caught:
            apart(dying_with_a_child, str(found), Stop(), RecordingReport())
        assert "killed by signal 9" in caught.value.reason
        os.kill(int(found.read_text()), 0)
    finally:
        os.kill(int(found.read_text()), signal.SIGKILL)
