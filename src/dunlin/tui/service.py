"""The dashboard of a service: keys, clock and screen, as `app` is for a state file.

The same habits: one widget draws the page that is open, one line takes what is typed, all requests are made by a
thread (`reader.Thread`), and a question that comes while a look is under way is followed by one more look.

An order is a request to the service, and the job says for itself when it was obeyed: until then it is looked at more
often, and the order stands beside it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from dunlin.errors import printable
from dunlin.tui.app import ANSI_STYLES, DARK, LIGHT, NOTE, STYLES, THEMES, Canvas
from dunlin.tui.reader import Thread
from dunlin.tui.remote import Client, JobNow, ServiceLook, ServiceReader, Want
from dunlin.tui.service_pages import ServiceView, chosen, paint, place_of
from dunlin.tui.text import BAD, DIM, GOOD, WARN, Line

READING = "asking the service"
LONGEST = 200
"""Characters of a search, as the service takes them."""

IMPATIENT = 20, 0.25
"""How often, and with how many seconds between, a job is looked at that was given an order."""

BACK = {"paused": "resume", "interrupted": "resume", "queued": "pause", "running": "pause"}
"""What `p` means for a job that stands so."""


class ServiceDashboard(App[None]):
    """See the module docstring.

    Args:
        reader: asks the service.
        interval: seconds between two looks.
        theme: one of `app.THEMES`.
        note: what is said first; "" for nothing.
        signals: SIGTERM and SIGHUP end it with 130, and leave the terminal as it was.
    """

    TITLE = "dunlin"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    CSS = """
    Screen { layout: vertical; }
    Input { height: 1; border: none; padding: 0; display: none; }
    Input:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit"),
        Binding("ctrl+c", "quit", priority=True),
        Binding("ctrl+q", "quit", priority=True),
        Binding("r", "refresh_now"),
        Binding("enter", "open_job"),
        Binding("question_mark,h,f1", "help"),
        Binding("p", "pause"),
        Binding("c", "cancel"),
        Binding("slash", "search"),
        Binding("up,k", "move(-1)"),
        Binding("down,j", "move(1)"),
        Binding("pageup", "move(-10)"),
        Binding("pagedown,space", "move(10)"),
        Binding("home,g", "move(-1000000)"),
        Binding("end,G", "move(1000000)"),
        Binding("escape", "back", priority=True),
    ]

    def __init__(
        self,
        reader: ServiceReader,
        interval: float = 2.0,
        theme: str = "default",
        note: str = "",
        signals: bool = False,
    ) -> None:
        # Said at once, because Textual chooses how NO_COLOR is obeyed before it knows the theme.
        super().__init__(ansi_color=True if theme == "default" else None)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = THEMES[theme]
        self._reader = reader
        self._interval = interval
        self._signals = signals
        self._thread = Thread()
        self._asked = asyncio.Event()
        self._purpose = ""
        self._to_cancel = ""
        self._note_ends = 0.0
        self._first_note = note
        self.look = ServiceLook()
        self.view = ServiceView()
        self.want = Want()
        self.looks = 0
        """How often the service was asked; tests wait for it."""
        self.canvas = Canvas(self._lines, ANSI_STYLES if theme == "default" else STYLES)
        self.line = Input(compact=True, select_on_focus=False, max_length=LONGEST)

    def compose(self) -> ComposeResult:
        """The page, and the line that takes what is typed."""
        yield self.canvas
        yield self.line

    def on_mount(self) -> None:
        """Begin to ask, and let the clock move."""
        self.set_focus(None)
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, lambda: self.exit(return_code=130))
        if self._first_note:
            self._say(self._first_note, WARN)
        self.run_worker(self._keep_looking(), exclusive=True)
        self.set_interval(1.0, self._tick)

    def on_unmount(self) -> None:
        """Let the thread end; an answer that is still waited for does not keep the program from ending."""
        self._thread.close()

    def _lines(self, width: int, height: int) -> list[Line]:
        return paint(self.look, self.view, self._reader.url, width, height, self._reader.clock())

    def _draw(self) -> None:
        self.canvas.refresh(layout=False)

    def _tick(self) -> None:
        if self._signals and not os.isatty(0):  # the window was closed, and no signal told so: nobody looks any more
            self.exit(return_code=130)
            return
        if self.view.note[0] and time.monotonic() >= self._note_ends:
            self.view.note = ("", "")
        self._draw()

    def _say(self, text: str, style: str = WARN) -> None:
        self.view.note = (text, style)
        self._note_ends = time.monotonic() + NOTE
        self._draw()

    # ---- asking the service ----

    async def _keep_looking(self) -> None:
        while True:
            self._asked.clear()
            want = self.want
            look = await self._thread.call(lambda want=want: self._reader.look(want))  # type: ignore[misc]
            if want == self.want:
                self._show(look)
            self.looks += 1
            if not self._asked.is_set():
                try:
                    await asyncio.wait_for(self._asked.wait(), self._interval)
                except TimeoutError:
                    continue

    def _show(self, look: ServiceLook) -> None:
        self.look = look
        if self.view.note[0] == READING:
            self.view.note = ("", "")
        self._draw()

    def _ask(self, **changes: str) -> None:
        self.want = self.want._replace(**changes)
        self._asked.set()
        self._draw()

    # ---- keys ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed only the keys that end that, or the program, are keys."""
        return not (self._purpose and action not in ("back", "quit"))

    def action_refresh_now(self) -> None:
        """Ask the service now."""
        self._asked.set()
        self._say(READING, DIM)

    def action_help(self) -> None:
        """The keys, or back to the main page."""
        self._turn("main" if self.view.page == "help" else "help")

    def action_open_job(self) -> None:
        """All of the chosen job."""
        job = chosen(self.look, self.view)
        if self.view.page == "main" and job is not None:
            self.view.chosen = job.id
            self._turn("job", job.id)

    def _turn(self, page: str, job: str = "") -> None:
        self.view.page, self.view.scroll, self.view.cursor, self.view.failed_search = page, 0, 0, ""
        self.look = self.look._replace(job=None, failures=[], more_failures=False)
        self._ask(job=job, failed_text="")

    async def action_back(self) -> None:
        """Stop typing; else show all again; else the main page."""
        view = self.view
        if self._purpose:
            if self._purpose == "search":
                self._searched("")
            self._end_typing()
        elif view.page == "job" and view.failed_search:
            self._searched("")
        elif view.page != "main":
            self._turn("main")
        elif view.search:
            self._searched("")

    def action_move(self, lines: int) -> None:
        """Choose another job or file, or scroll the help."""
        view, jobs = self.view, self.look.jobs
        if view.page == "job":
            view.cursor += lines
        elif view.page == "help":
            view.scroll += lines
        elif jobs:
            view.chosen = jobs[max(0, min(place_of(self.look, view) + lines, len(jobs) - 1))].id
        self._draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves as the arrows do."""
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves as the arrows do."""
        self.action_move(-1)

    # ---- orders ----

    def _to_order(self) -> JobNow | None:
        """The job that an order is for; None, with a note, where there is none."""
        job = chosen(self.look, self.view) if self.view.page != "help" else None
        if job is None:
            self._say("no job is chosen", DIM)
        elif job.over:
            self._say(f"the job is {job.status}: there is nothing to pause or cancel", WARN)
            return None
        elif job.wish:
            self._say(f"the job was told to {printable(job.wish)}; waiting for it", WARN)
            return None
        return job

    def action_pause(self) -> None:
        """Have the chosen job wait, or let it go on."""
        job = self._to_order()
        if job is not None:
            self._give(job.id, BACK[job.status])

    def action_cancel(self) -> None:
        """Ask whether the chosen job shall end."""
        job = self._to_order()
        if job is not None:
            self._to_cancel = job.id
            self._type("cancel", "", f"Cancel job {printable(job.id)}? Type y and Enter; else it goes on")

    def _give(self, job: str, verb: str) -> None:
        self._say(f"telling the job to {verb}", WARN)
        self.run_worker(self._order(job, verb))

    async def _order(self, job: str, verb: str) -> None:
        before = self._status(job)
        why_not = await self._thread.call(lambda: self._reader.tell(job, verb))
        if why_not:
            self._say(f"not done: {why_not}", BAD)
            self._asked.set()
            return
        times, pause = IMPATIENT
        for _ in range(times):
            self._asked.set()
            await asyncio.sleep(pause)
            now = self._status(job)
            if now not in (before, ""):
                self._say(f"the job is {now} now", GOOD)
                return
        self._say(f"the job has not taken the order to {verb} yet; it stays in force", WARN)

    def _status(self, id: str) -> str:
        jobs = [*self.look.jobs, *([self.look.job] if self.look.job is not None else [])]
        return next((each.status for each in jobs if each.id == id), "")

    # ---- typing ----

    def action_search(self) -> None:
        """Search jobs, or on the page of one its files that failed."""
        if self.view.page == "help":
            self._turn("main")
        old = self.view.failed_search if self.view.page == "job" else self.view.search
        self._type("search", old, "Search: type a part of a name; Enter keeps it, Esc shows all")

    def _type(self, purpose: str, text: str, words: str) -> None:
        self._purpose = purpose
        self.view.asking = words
        self.line.value = text
        self.line.cursor_position = len(text)
        self.line.display = True
        self.line.focus()
        self._draw()

    def _end_typing(self) -> None:
        self._purpose = self.view.asking = ""
        self.line.display = False
        self.set_focus(None)
        self._draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """A search shows what it finds while it is typed."""
        if self._purpose == "search":
            self._searched(event.value)

    def _searched(self, text: str) -> None:
        if self.view.page == "job":
            self.view.failed_search, self.view.cursor = text, 0
            self._ask(failed_text=text)
        else:
            self.view.search = text
            self._ask(text=text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """What was typed is complete."""
        purpose = self._purpose
        self._end_typing()
        if purpose == "cancel":
            if event.value.strip().lower() in ("y", "yes"):
                self._give(self._to_cancel, "cancel")
            else:
                self._say("the job goes on", DIM)


def run(client: Client, interval: float, theme: str, note: str = "") -> int:
    """Show the dashboard of a service until somebody quits; returns the exit code.

    Args:
        client: asks the service.
        interval: seconds between two looks.
        theme: one of `app.THEMES`.
        note: what is said first.
    """
    app = ServiceDashboard(ServiceReader(client), interval, theme, note, signals=os.name == "posix")
    app.run()
    return app.return_code or 0
