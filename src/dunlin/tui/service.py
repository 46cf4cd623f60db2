"""The dashboard of a service: its keys and its orders. What every dashboard does is in `base`.

An order is a request to the service, and the job says for itself when it was obeyed: until then it is looked at more
often, and the order stands beside it.
"""

from __future__ import annotations

import asyncio
import os
from typing import ClassVar

from textual.binding import Binding, BindingType

from dunlin.errors import printable
from dunlin.tui.base import Live
from dunlin.tui.remote import Client, JobNow, ServiceLook, ServiceReader, Want
from dunlin.tui.service_pages import ServiceView, chosen, paint, place_of
from dunlin.tui.styles import BAD, DIM, GOOD, WARN, Line

LONGEST = 200
"""Characters of a search, as the service takes them."""

IMPATIENT = 20, 0.25
"""How often, and with how many seconds between, a job is looked at that was given an order."""

BACK = {"paused": "resume", "interrupted": "resume", "queued": "pause", "running": "pause"}
"""What `p` means for a job that stands so."""


class ServiceDashboard(Live[Want, ServiceLook, ServiceView]):
    """See the module docstring.

    Args:
        reader: asks the service.
        interval: seconds between two looks.
        theme: one of `base.THEMES`.
        note: what is said first; "" for nothing.
        signals: SIGTERM and SIGHUP end it with 130, and leave the terminal as it was.
    """

    READING = "asking the service"
    WHEEL = 1
    _reader: ServiceReader
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open_job"),
        Binding("c", "cancel"),
    ]

    def __init__(
        self,
        reader: ServiceReader,
        interval: float = 2.0,
        theme: str = "default",
        note: str = "",
        signals: bool = False,
    ) -> None:
        super().__init__(reader, Want(), ServiceLook(), ServiceView(), interval, theme, note, signals, LONGEST)
        self._to_cancel = ""

    def _lines(self, width: int, height: int) -> list[Line]:
        return paint(self.look, self.view, self._reader.url, width, height, self._reader.clock())

    # ---- keys ----

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
        self._ask(self.question._replace(job=job, failed_text=""))

    def _back(self) -> None:
        if self.view.page == "job" and self.view.failed_search:
            self._searched("")
        elif self.view.page != "main":
            self._turn("main")
        elif self.view.search:
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

    def _searched(self, text: str) -> None:
        if self.view.page == "job":
            self.view.failed_search, self.view.cursor = text, 0
            self._ask(self.question._replace(failed_text=text))
        else:
            self.view.search = text
            self._ask(self.question._replace(text=text))

    def _typed(self, purpose: str, text: str) -> None:
        if purpose == "cancel" and text.strip().lower() in ("y", "yes"):
            self._give(self._to_cancel, "cancel")
        elif purpose == "cancel":
            self._say("the job goes on", DIM)


def run(client: Client, interval: float, theme: str, note: str = "") -> int:
    """Show the dashboard of a service until somebody quits; returns the exit code.

    Args:
        client: asks the service.
        interval: seconds between two looks.
        theme: one of `base.THEMES`.
        note: what is said first.
    """
    app = ServiceDashboard(ServiceReader(client), interval, theme, note, signals=os.name == "posix")
    app.run()
    return app.return_code or 0
