"""Where words go: results to standard output, all else to standard error, both through the live view if there is one.

    what                               terminal                     pipe or file
    lines of --dry-run, check, -v      standard output, above the view   standard output
    summary                            standard output              standard output
    warnings, errors                   standard error, above the view    standard error, with time and level
    progress                           the view                     a line every 30 seconds on standard error

With --json standard output is one JSON object for each run, and what else would go there goes to standard error.
A reader who goes away (`dunlin sync -n | head`) ends a dry run or check; a real run goes on in silence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, NamedTuple

from dunlin import config
from dunlin.cli.progress import LINE, REDRAW, LiveView, Progress, log_line
from dunlin.errors import printable, translate
from dunlin.jobs.told import Words, failing
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report, Task
from dunlin.report.logs import Log

SHOWN_FAILURES = 20
"""Failures named in a terminal; a log names all."""

FIRST = 0.3
"""Seconds before the first picture: a short run needs none, and does not pay for rich."""

_STAGES = frozenset({"scan.begins", "scan.ended", "transfer.begins"})

LEVELS = {"debug": Level.DEBUG, "info": Level.INFO, "warn": Level.WARN, "error": Level.ERROR}


class Telling(NamedTuple):
    """How much is told, and how.

    Attributes:
        as_json: one JSON object on standard output, nothing else there.
        quiet: warnings and errors only. verbose: every file by name.
        progress: True, False, or None for: where there is a terminal, or a line now and then.
        log_level, log_format: as on the command line; no format: short in a terminal, text elsewhere.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool | None = None
    log_level: str = "info"
    log_format: str | None = None


class Outlet:
    """Standard output, standard error and the view, for one run. `unwritten`: results were lost for want of room."""

    def __init__(
        self,
        telling: Telling,
        stop: Stop,
        *,
        ends: bool,
        words: Words | None = None,
        attempts: int = 3,
        facts: Mapping[str, str] | None = None,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
    ) -> None:
        """Args:
        stop: asked when nobody reads what the run is for.
        ends: whether the lines on standard output are what the run is for (dry run, check).
        words: what the things of the pair are called in lines of a log. attempts: how often a file is tried.
        facts: for the view: `mode` of the run, and the command that lets it `resume` after a pause.
        out, err: default: the process's own.
        """
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        self._stop = stop
        self._ends = ends
        self._telling = telling
        self.words = words
        self.attempts = attempts
        self._facts = dict(facts or {})
        self._out_lost = False
        self.unwritten = False
        out_terminal = not telling.as_json and _is_terminal(self._out)
        err_terminal = _is_terminal(self._err)
        terminal = self._out if out_terminal else self._err if err_terminal else None
        live = telling.progress if telling.progress is not None else not telling.quiet
        if terminal is not None and live and config.moves_cursor():
            self.view: LiveView | None = LiveView(terminal, config.color())
        else:
            self.view = None
        self._out_view = self.view if out_terminal else None
        self._err_view = self.view if err_terminal else None
        self._out_terminal, self._err_terminal = out_terminal, err_terminal
        self.progress: Progress | None = None
        form = telling.log_format or ("short" if err_terminal else "text")
        self.log = Log(self.say, form, self._level())
        self.short = form == "short"

    def _level(self) -> Level:
        level = LEVELS[self._telling.log_level]
        return max(level, Level.WARN) if self._telling.quiet else level

    @property
    def by_lines(self) -> bool:
        """Whether progress is told in lines: no view, and it is not unwanted."""
        wanted = self._telling.progress
        return self.view is None and (not self._telling.quiet if wanted is None else wanted)

    @property
    def told_failures(self) -> bool:
        """Whether who reads the summary has just read the first failures."""
        return self.short and self._out_terminal

    def reports(self) -> list[Report]:
        """What the run reports to: first lines, then what draws."""
        news: list[Report] = [News(self, self._telling, SHOWN_FAILURES if self._err_terminal else None)]
        if self.view is not None:
            self.progress = Progress(self.view.show, REDRAW, first=FIRST, stopping=self._stops)
        else:
            # Without lines it still collects what the summary tells.
            pause = LINE if self.by_lines else float("inf")
            self.progress = Progress(log_line(self.log), pause, first=pause, stopping=self._stops)
        self.progress.meter.facts.update(self._facts)
        return [*news, self.progress]

    def _stops(self) -> bool:
        return self._stop.requested

    def out(self, text: str) -> None:
        """A line of the result."""
        if self._telling.as_json:
            self.say(text)
        elif self._out_view is not None:
            self._out_view.line(text)
        else:
            self._result(text + "\n")

    def _result(self, text: str) -> None:
        if self._out_lost:
            return
        try:
            self._out.write(text)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Standard output is gone or full. What is buffered must not be complained about when Python exits."""
        self._out_lost = True
        if not isinstance(error, BrokenPipeError):
            self.unwritten = True
            self.say(f"dunlin: {translate(error, 'write the output', '')}")
        if self._ends:
            self._stop.request("nobody reads the output")
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)

    def say(self, text: str) -> None:
        """A line for standard error; never raises."""
        if self._err_view is not None:
            self._err_view.line(text)
            return
        with suppress(OSError, ValueError):
            self._err.write(text + "\n")
            self._err.flush()

    def urgent(self, text: str) -> None:
        """A line for standard error from a signal handler, whatever is being written at the moment."""
        showing = self.progress is not None and self.progress.showing
        if self._err_view is not None and self._err_view.active:
            self._err_view.line(text)
            if not showing:
                self._err_view.flush()
            return
        with suppress(OSError, ValueError):
            os.write(self._err.fileno(), (text + "\n").encode("utf-8", "backslashreplace"))

    def rest(self) -> None:
        """The process is about to be stopped by Ctrl-Z: the view goes until it is back."""
        if self.view is not None:
            self.view.rest(self.progress is not None and self.progress.showing)

    def back(self, seconds: float) -> None:
        """The process goes on after so long."""
        if self.progress is not None:
            self.progress.meter.rest(seconds)

    def close(self) -> None:
        """The run is over: the view goes, what follows is written plainly."""
        if self.view is not None:
            self.view.close()

    def finish(self, text: str) -> None:
        """The last words on standard output."""
        self.close()
        if text:
            self._result(text + "\n")
        if not self._out_lost:
            try:
                self._out.flush()
            except OSError as error:
                self._lose(error)


class News:
    """A report that turns events into lines: results, names of files for --verbose, and the log."""

    def __init__(self, outlet: Outlet, telling: Telling, most_failures: int | None) -> None:
        self._outlet = outlet
        self._telling = telling
        self._most = most_failures
        self._failures = 0

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""

    def event(self, event: Event) -> None:
        """See `Report`."""
        log = self._outlet.log
        stands = event.name in _STAGES or (event.name.startswith("crawl.") and event.level is Level.INFO)
        if stands and self._outlet.short and not self._outlet.by_lines:
            return  # the view shows it
        if event.name in ("file.failed", "file.retry"):
            event = self._worded(event)
        if event.name == "plan":
            if self._telling.quiet or (event.fields.get("verb") == "skip" and not self._telling.verbose):
                return
            if self._telling.as_json:
                log.event(Event(event.level, event.name, plan_line(event), event.fields))
            else:
                self._outlet.out(plan_line(event))
        elif event.level < Level.WARN and event.name.startswith(("file.", "directory.")):
            self._file(event, log)
        elif event.name in ("file.failed", "directory.failed") and self._most is not None:
            self._failures += 1
            if self._failures <= self._most:
                log.event(event)
            elif self._failures == self._most + 1:
                log.event(Event(Level.WARN, "failures.hidden", "further failures are counted, not shown"))
        else:
            log.event(event)

    def _worded(self, event: Event) -> Event:
        """A failed attempt in the words of the log; in a terminal the bare reason is enough."""
        words = self._outlet.words
        if words is None or self._outlet.short:
            return event
        fields = event.fields
        made = int(fields.get("attempt") or 1)
        # A retry tells the attempt that follows. Not every error is worth all attempts: the last may be the first.
        attempt = made if event.name == "file.failed" else made - 1
        attempts = max(attempt, self._outlet.attempts)
        error = str(fields.get("error") or event.message)
        message = failing(words, str(fields.get("path", "")), attempt, attempts, error)
        return event._replace(message=message, fields={**fields, "attempt": attempt, "error": error})

    def _file(self, event: Event, log: Log) -> None:
        """News of a single file that is no trouble: too much for a log unless it was asked for."""
        if self._telling.verbose and "path" in event.fields:
            self._outlet.out(f"{event.name.partition('.')[2]} {printable(str(event.fields['path']))}")
        elif log.level <= Level.DEBUG or self._telling.verbose:
            log.event(event)

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return _SILENT


class _Silent:
    def advance(self, amount: int) -> None:
        pass

    def end(self) -> None:
        pass


_SILENT = _Silent()


def plan_line(event: Event) -> str:
    """A line of --dry-run or check: what would be done, or how the sides differ, and the path."""
    verb, path = str(event.fields.get("verb", "")), str(event.fields.get("path", ""))
    reason = str(event.fields.get("reason", ""))
    if verb == "rename to":
        return f"rename {printable(reason)} to {printable(path)}"
    return f"{verb} {printable(path)}" + (f" ({printable(reason)})" if verb in ("skip", "differ") and reason else "")


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


