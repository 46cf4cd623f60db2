"""The report behind the live view and behind the line every 30 seconds: one clock, two ways to show.

The parent of a run is single-threaded and may fork at any moment, so there is no thread that draws. Whoever reports
anything pays for a look at the clock, and now and then for a picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from dunlin.cli.frame import alerts, eta, frame, stage, styled
from dunlin.cli.meter import Meter, Picture
from dunlin.cli.region import Region
from dunlin.jobs.told import progress
from dunlin.pace.sizes import format_number, format_rate, format_size
from dunlin.report import Event, Level, Report, Task
from dunlin.report.cells import cells

REDRAW = 0.1
"""Seconds between two pictures in a terminal."""

LINE = 30.0
"""Seconds between two lines elsewhere."""


class Progress:
    """A report that keeps a `Meter` and calls `show` with a picture every `interval` seconds, first after `first`.

    `stopping`: whether the run was asked to stop.
    """

    def __init__(
        self,
        show: Callable[[Picture], None],
        interval: float,
        first: float,
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.meter = Meter(clock)
        self._stopping = stopping
        self._show = show
        self._interval = interval
        self._clock = clock
        self._next = clock() + first
        self._showing = False

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        self.meter.counts[name] += n
        if self._clock() >= self._next:
            self.show()

    def gauge(self, name: str, value: float) -> None:
        """See `Report`. A pause is shown at once: nothing more may come for hours."""
        changed = name == "paused" and self.meter.gauges.get(name, 0) != value
        self.meter.gauge(name, value)
        if changed or self._clock() >= self._next:
            self.show()

    def event(self, event: Event) -> None:
        """See `Report`."""
        self.meter.event(event)
        self._poll()

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        moving = self.meter.begin(name, total, self._poll)
        self._poll()
        return moving

    def _poll(self) -> None:
        if self._clock() >= self._next:
            self.show()

    @property
    def showing(self) -> bool:
        """Whether a picture is being drawn: a signal handler may ask."""
        return self._showing

    def show(self) -> None:
        """Take a picture now, unless a signal came while one is being drawn."""
        if self._showing:
            return
        self._showing = True
        try:
            self.meter.gauges["stopping"] = float(self._stopping())
            self._show(self.meter.picture())
        finally:
            self._showing = False
            self._next = self._clock() + self._interval


def log_line(report: Report) -> Callable[[Picture], None]:
    """A way to show: one event per picture, for logs."""

    def show(picture: Picture) -> None:
        counts, gauges = picture.counts, picture.gauges
        moved = counts["copied_files"] + counts["hard_links"]
        pending = gauges.get("pending_files", 0), picture.pending_bytes
        failed = counts["failed_files"] + counts["failed_directories"]
        more = not picture.scanned
        files, size = moved + int(pending[0]), picture.moved_bytes + picture.pending_bytes
        line = progress(moved, files, picture.moved_bytes, size, picture.seconds, picture.left, more)
        saving = picture.facts.get("mode") in ("backup", "scan")
        if saving:
            seen = f"{format_number(counts['scanned_files'], 'file')} ({format_size(counts['scanned_bytes'])})"
            line = f"Progress: {seen} seen, {moved:,} new or changed ({format_size(picture.moved_bytes)} read)"
        parts = [line, format_rate(picture.byte_rate)]
        if "stage" in picture.facts:
            parts = [f"Progress: {', '.join(stage(picture))}", *filter(None, [eta(picture)])]
        if more and not saving:
            parts.append(f"listing: {format_number(counts['scanned_files'], 'file')}")
        parts += alerts(picture)
        fields = {
            "scanned_files": counts["scanned_files"],
            "scan_complete": picture.scanned,
            "copied_files": counts["copied_files"],
            "copied_bytes": picture.moved_bytes,
            "bytes_per_second": round(picture.byte_rate),
            "pending_files": int(pending[0]),
            "pending_bytes": int(pending[1]),
            "eta_seconds": None if picture.left is None else round(picture.left),
            "failed_files": failed,
            "paused": picture.paused,
            "elapsed_seconds": round(picture.seconds),
        }
        report.event(Event(Level.INFO, "run.progress", ", ".join(parts), fields))

    return show


class LiveView:
    """A region at the bottom of a terminal that is drawn over; lines appear above it."""

    def __init__(self, stream: IO[str], color: bool, size: Callable[[], tuple[int, int]] | None = None) -> None:
        """Args:
        stream: the terminal.
        color: whether colours are welcome.
        size: gives (columns, lines); None: ask the terminal.
        """
        self._stream = stream
        self._size = size or self._ask
        self._region = Region(stream, cells, styled) if color else Region(stream, cells)
        self._above: list[str] = []
        self._lost = False
        self._closed = False

    def show(self, picture: Picture) -> None:
        """Draw, if the terminal is ours at the moment; the first call takes the region."""
        if self._lost or self._closed:
            return
        with self._guard():
            if not self._region.in_front():
                self._region.forget()
                self._release()
                return
            width, height = self._size()
            above, self._above = self._above, []
            self._region.draw(frame(picture, width, height), width, above)

    @property
    def active(self) -> bool:
        """Whether the region is there."""
        return self._region.there

    def line(self, text: str) -> None:
        """A line above the region; at once where there is none yet."""
        if self.active:
            self._above.append(text)
            # Failures may come by the thousand; they are drawn with the next picture.
        else:
            self._write(text + "\n")

    def flush(self) -> None:
        """Show the lines that wait for the next picture."""
        if self.active and self._above:
            with self._guard(), suppress(RuntimeError):  # a signal handler may ask in the midst of writing
                self._region.leave(self._size()[0])
                self._release()

    def close(self) -> None:
        """Remove the region and show the cursor again; lines are written plainly afterwards."""
        self._closed = True
        self._leave()

    def rest(self, drawing: bool) -> None:
        """The process is about to be stopped, to go on one day: leave the terminal as it was found.

        `drawing`: a picture is being drawn at this moment, so there is no saying where the cursor is.
        """
        # Something else may be written at this moment: the signal that stops us has come in the middle of it.
        with suppress(RuntimeError):
            if drawing:
                self._region.let_go()
            else:
                self._leave()

    def restore(self) -> None:
        """Show the cursor, without ceremony: the process is about to end."""
        self._region.let_go()

    def _leave(self) -> None:
        if self._lost:
            return
        with self._guard():
            self._region.leave(self._size()[0])
            self._release()

    def _release(self) -> None:
        """Write the lines that wait for a picture."""
        lines, self._above = self._above, []
        for line in lines:
            self._write(line + "\n")

    def _ask(self) -> tuple[int, int]:
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        return columns or 80, lines or 24  # a serial line may not know

    def _write(self, text: str) -> None:
        with self._guard():
            self._stream.write(text)
            self._stream.flush()

    def _guard(self) -> _Guard:
        return _Guard(self)

    def lose(self) -> None:
        """The terminal is gone: never write to it again."""
        self._lost = True


class _Guard:
    """Swallows what a terminal that went away raises: a run does not end because nobody watches."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> bool:
        if isinstance(error, (OSError, ValueError)):
            self._view.lose()
            return True
        return False
