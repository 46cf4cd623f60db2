"""The dashboard of a state file: its keys, its orders, its exports. What every dashboard does is in `base`.

Orders go to the run by the state file, and the run says for itself when it obeyed: until then it is looked at more
often, and the order stands beside it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType

from dunlin.errors import DunlinError, ErrorKind
from dunlin.tui import export
from dunlin.tui.base import Live
from dunlin.tui.pages import KINDS, View, first_shown, paint
from dunlin.tui.reader import MOST_ERRORS, Lives, Look, Question, Reader, in_words
from dunlin.tui.styles import BAD, DIM, GOOD, WARN, Line

PATIENCE = 10.0
"""Seconds in which a run takes an order; it looks for some several times a second."""


class Dashboard(Live[Question, Look, View]):
    """See the module docstring.

    Args:
        reader: reads the state file. Closed with the app.
        interval: seconds between two looks.
        theme: one of `base.THEMES`.
        clock: ns since 1970; default: the reader's.
        signals: SIGTERM and SIGHUP end it with 130, and leave the terminal as it was.
    """

    READING = "reading the state file"
    WHEEL = 3
    _reader: Reader
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "open('errors')"),
        Binding("s", "open('statistics')"),
        Binding("e", "export"),
        Binding("t", "kind"),
        Binding("o", "resolved"),
        Binding("tab", "pair(1)", priority=True),
        Binding("shift+tab", "pair(-1)", priority=True),
    ]

    def __init__(
        self,
        reader: Reader,
        interval: float = 2.0,
        theme: str = "default",
        clock: Callable[[], int] | None = None,
        signals: bool = False,
    ) -> None:
        super().__init__(reader, Question(), Look(), View(), interval, theme, "", signals)
        self._clock = clock or reader.clock
        self._replace = ""
        self._order_ends = 0.0

    async def _let_go(self) -> None:
        await asyncio.wait({asyncio.ensure_future(self._thread.call(self._reader.close))}, timeout=1.0)

    def _lines(self, width: int, height: int) -> list[Line]:
        return paint(self.look, self.view, width, height, self._clock())

    def _tick(self) -> None:
        if self.view.ordered and time.monotonic() >= self._order_ends:
            self.view.ordered = ""
            self._say(f"{self._named()} has not taken the order yet; it stays in force", WARN)
        super()._tick()

    def _show(self, look: Look) -> None:
        super()._show(look)
        status = look.now.status if look.now is not None else ""
        ordered = self.view.ordered
        if ordered and (status == "paused") == (ordered == "pause"):
            self.view.ordered = ""
            run = self._named()
            self._say(f"{run} is paused; p lets it go on" if ordered == "pause" else f"{run} goes on", GOOD)

    def _named(self) -> str:
        """The run that is shown, in a message."""
        return f"run {self.look.now.run.id}" if self.look.now is not None else "run ?"

    # ---- keys ----

    def action_help(self) -> None:
        """The keys, or back to the main page."""
        self.action_open("help")

    def action_open(self, page: str) -> None:
        """Another page; the key of the open one leads back."""
        if self.view.page == page:
            page = "main"
        self.view.page, self.view.scroll, self.view.cursor = page, 0, 0
        self._ask(self.question._replace(page=page, errors=Question().errors))

    def _back(self) -> None:
        view = self.view
        if view.page == "errors" and (view.error_search or view.kind):
            view.error_search = view.kind = ""
            self._ask(self.question._replace(error_text="", kind=""))
        elif view.page != "main":
            self.action_open(view.page)
        elif view.search or view.top is not None:
            view.search, view.top = "", None
            self._ask(self.question._replace(text=""))

    def action_move(self, lines: int) -> None:
        """Scroll what is open."""
        view, look = self.view, self.look
        if view.page == "errors":
            view.cursor += lines
            limit = self.question.errors
            if view.cursor >= limit - 20 and len(look.log) >= limit and limit < MOST_ERRORS:
                self._ask(self.question._replace(errors=min(max(limit * 2, lines), MOST_ERRORS)))
        elif view.page == "main":
            items = look.activity
            at = max(0, min(first_shown(items, view.top) + lines, len(items) - 1))
            view.top = items[at].id if at > 0 else None
        else:
            view.scroll += lines
        self._draw()

    def action_kind(self) -> None:
        """One type of error after another."""
        if self.view.page == "errors":
            self.view.kind = KINDS[(KINDS.index(self.view.kind) + 1) % len(KINDS)]
            self.view.cursor = 0
            self._ask(self.question._replace(kind=self.view.kind))

    def action_resolved(self) -> None:
        """With or without errors about files that were synced later."""
        if self.view.page == "errors":
            self.view.resolved = not self.view.resolved
            self._ask(self.question._replace(resolved=self.view.resolved))

    def action_pair(self, step: int) -> None:
        """Another pair of the state file."""
        pairs = [each.id for each in self.look.pairs if each.run]
        if len(pairs) < 2:
            self._say("there is only one pair in this state file", DIM)
            return
        shown = self.look.now.run.pair if self.look.now is not None else pairs[0]
        chosen = self.question.pair if self.question.pair in pairs else shown
        at = pairs.index(chosen) if chosen in pairs else 0
        self.view.top = None
        self._ask(self.question._replace(pair=pairs[(at + step) % len(pairs)]))

    def action_pause(self) -> None:
        """Pause or resume the run that is shown."""
        now = self.look.now
        if now is None or now.run.ended is not None or now.status == "stale":
            what = "the watch waits for its next look" if self.look.watched else "no run is going on here"
            self._say(f"{what}: there is nothing to pause", WARN)
        elif self.view.ordered:
            self._say(f"run {now.run.id} was told to {self.view.ordered}; waiting for it", WARN)
        else:
            verb = "resume" if now.status == "paused" else "pause"
            self.view.ordered = verb
            self._order_ends = time.monotonic() + PATIENCE
            self._say(f"telling run {now.run.id} to {verb}", WARN)
            self.run_worker(self._order(now.run.id, verb))

    async def _order(self, run: int, verb: str) -> None:
        why_not = await self._thread.call(lambda: self._reader.tell(run, verb))
        if why_not:
            self.view.ordered = ""
            self._say(why_not, BAD)
        # The run says so in its next sign of life: look more often until then.
        for _ in range(20):
            if not self.view.ordered:
                return
            self._asked.set()
            await asyncio.sleep(0.25)

    # ---- typing ----

    def action_search(self) -> None:
        """Search the activity, or the errors on their page."""
        if self.view.page not in ("main", "errors"):
            self.action_open(self.view.page)
        old = self.view.error_search if self.view.page == "errors" else self.view.search
        self._type("search", old, "Search: type a part of a name or message; Enter keeps it, Esc shows all")

    def action_export(self) -> None:
        """Ask for the name of a file."""
        run = self.look.now.run.id if self.look.now is not None else 0
        what = "errors" if self.view.page == "errors" else "runs"
        name = f"dunlin-run-{run}.json"
        self._type("export", name, f"Export to FILE.json (everything) or FILE.csv ({what}); Esc: not at all")

    def _searched(self, text: str) -> None:
        if self.view.page == "errors":
            self.view.error_search, self.view.cursor = text, 0
            self._ask(self.question._replace(error_text=text))
        else:
            self.view.search, self.view.top = text, None
            self._ask(self.question._replace(text=text))

    def _typed(self, purpose: str, text: str) -> None:
        if purpose == "export":
            self.run_worker(self._export(text, False))
        elif purpose == "replace" and text.strip().lower() in ("y", "yes"):
            self.run_worker(self._export(self._replace, True))
        elif purpose == "replace":
            self._say("nothing was exported", WARN)

    async def _export(self, name: str, replace: bool) -> None:
        now = self.look.now
        run, pair = (None, None) if now is None else (now.run.id, now.run.pair)
        page, when = self.view.page, self._clock()

        def work() -> str:
            path = export.check_name(name)
            export.write(path, export.content(path, self._reader.overview(), page, run, pair, when), replace)
            return path

        try:
            path = await self._thread.call(work)
        except DunlinError as error:
            if error.kind is ErrorKind.EXISTS and not replace:
                words = f"{name.strip()} exists. Replace it? Type y and Enter; anything else keeps it"
                self._type("replace", "", words)
                self._replace = name
            else:
                words = error.reason if error.operation == "export" or not error.where else in_words(error)
                self._say(f"nothing was exported: {words or error.kind.value}", BAD)
        else:
            self._say(f"exported to {path}", GOOD)


def run(path: str, lives: Lives, watches: Lives, interval: float, theme: str) -> int:
    """Show the dashboard of a state file until somebody quits; returns the exit code.

    Args:
        path: the state file.
        lives, watches: see `Reader`.
        interval: seconds between two looks.
        theme: one of `base.THEMES`.
    """
    app = Dashboard(Reader(path, lives, watches=watches), interval, theme, signals=os.name == "posix")
    app.run()
    return app.return_code or 0
