"""The report behind the live view and behind the line every 30 seconds: one clock, two ways to show.

The parent of a run is single-threaded and may fork at any moment, so there is no thread that draws. Whoever reports
anything pays for a look at the clock, and now and then for a picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from dunlin.cli.frame import count, frame
from dunlin.cli.meter import Meter, Picture
from dunlin.jobs.told import progress
from dunlin.pace.sizes import format_rate
from dunlin.report import Event, Level, Report, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

REDRAW = 0.1
"""Seconds between two pictures in a terminal."""

LINE = 30.0
"""Seconds between two lines elsewhere."""


class Progress:
    """A report that keeps a `Meter` and calls `show` with a picture every `interval` seconds, first after `first`."""

    def __init__(
        self,
        show: Callable[[Picture], None],
        interval: float,
        first: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.meter = Meter(clock)
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
        self.meter.gauges[name] = value
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
        paused = bool(gauges.get("paused"))
        left = None if paused else picture.left
        files, size = moved + int(pending[0]), picture.moved_bytes + picture.pending_bytes
        line = progress(moved, files, picture.moved_bytes, size, picture.seconds, left, more)
        parts = [line, format_rate(picture.byte_rate)]
        if more:
            parts.append(f"listing: {count(counts['scanned_files'], 'file')}")
        if failed:
            parts.append(f"{failed:,} failed")
        if paused:
            parts.append("paused")
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
            "elapsed_seconds": round(picture.seconds),
        }
        report.event(Event(Level.INFO, "run.progress", ", ".join(parts), fields))

    return show


class LiveView:
    """A region at the bottom of a terminal that is drawn over; lines appear above it."""

    def __init__(self, stream: IO[str], color: bool, size: Callable[[], tuple[int, int]] | None = None) -> None:
        """Args:
        stream: the terminal.
        size: gives (columns, lines); None: ask the terminal.
        """
        self._stream = stream
        self._color = color
        self._size = size
        self._live: Live | None = None
        self._above: list[str] = []
        self._lost = False
        self._closed = False

    def show(self, picture: Picture) -> None:
        """Draw; the first call imports rich and takes the region."""
        if self._lost or self._closed:
            return
        live = self._live or self._start()
        width, height = self._size() if self._size else live.console.size
        self._draw(live, frame(picture, width, height))

    @property
    def active(self) -> bool:
        """Whether the region is there."""
        return self._live is not None

    def line(self, text: str) -> None:
        """A line above the region; at once where there is none yet."""
        if self._live is None:
            self._write(text + "\n")
        else:
            self._above.append(text)
            # Failures may come by the thousand; they are drawn with the next picture.

    def flush(self) -> None:
        """Show the lines that wait for the next picture."""
        if self._live is not None and self._above:
            with self._guard():
                self._print(self._live.console)

    def close(self) -> None:
        """Remove the region and show the cursor again; lines are written plainly afterwards."""
        live, self._live = self._live, None
        self._closed = True
        if live is not None and not self._lost:
            with self._guard():
                if self._above:
                    self._print(live.console)
                live.stop()

    def restore(self) -> None:
        """Show the cursor, without ceremony: the process is about to end."""
        if self._live is not None:
            with suppress(OSError, ValueError):
                self._stream.write("\x1b[?25h\n")
                self._stream.flush()

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(
            file=self._stream, no_color=not self._color, highlight=False, markup=False, emoji=False, soft_wrap=False,
            force_terminal=True, width=self._size()[0] if self._size else None,
        )  # fmt: skip
        live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
            vertical_overflow="crop",
        )  # fmt: skip
        with self._guard():
            live.start()
        self._live = live
        return live

    def _draw(self, live: Live, lines: list[str]) -> None:
        from rich.text import Text

        with self._guard():
            body = Text("\n".join(lines), no_wrap=True, overflow="crop", end="")
            body.highlight_regex(r"PAUSED.*?\)|[\d,]+ failed", "bold red")
            body.highlight_regex(r"ETA +~?\d\S*", "cyan")
            if self._above:
                self._print(live.console)
            live.update(body, refresh=True)

    def _print(self, console: Console) -> None:
        lines, self._above = self._above, []
        console.print("\n".join(lines), soft_wrap=True)

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
