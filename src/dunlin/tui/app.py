"""The dashboard itself: keys, clock and screen. Only this module and `service` import Textual.

One widget draws the page that is open (`pages.paint`), one line takes what is typed. What is read comes from a thread
(`reader.Thread`) at every interval, and at once when something else is to be shown; the clock moves every second in
between. Nothing here waits: a read that takes long leaves the figures as they are.

A look that is under way when another question comes is followed by one more, so the last question always wins.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Input

from dunlin.errors import DunlinError, ErrorKind
from dunlin.tui import export
from dunlin.tui.pages import KINDS, View, first_shown, paint
from dunlin.tui.reader import MOST_ERRORS, Lives, Look, Question, Reader, Thread, in_words
from dunlin.tui.text import BAD, DIM, GOOD, STRONG, TITLE, WARN, Line

NOTE = 4.0
"""Seconds for which a note stands in place of the keys."""

PATIENCE = 10.0
"""Seconds in which a run takes an order; it looks for some several times a second."""

READING = "reading the state file"

STYLES = {
    DIM: "$foreground-muted",
    STRONG: "bold",
    GOOD: "$text-success",
    WARN: "$text-warning",
    BAD: "bold $text-error",
    TITLE: "$text-primary",
}
"""What the styles of `text` look like; the theme knows the colours."""

ANSI_STYLES = {
    DIM: "dim",
    STRONG: "bold",
    GOOD: "ansi_green",
    WARN: "ansi_yellow",
    BAD: "bold ansi_red",
    TITLE: "ansi_cyan",
}
"""The same with the colours of the terminal itself."""

THEMES = {"default": "ansi-dark", "dark": "dunlin-dark", "light": "dunlin-light"}

DARK = Theme(
    "dunlin-dark", primary="#5fb3e8", success="#4ec97b", warning="#e8b04b", error="#ff6b6b", foreground="#e3e7eb",
    background="#11161b", surface="#161c22", panel="#1d252d", dark=True,
)  # fmt: skip
LIGHT = Theme(
    "dunlin-light", primary="#0b5c94", success="#0f6b35", warning="#8a5200", error="#b3181f", foreground="#1c2126",
    background="#fbfbf9", surface="#f2f2ee", panel="#e6e6e0", dark=False,
)  # fmt: skip


class Canvas(Widget):
    """Draws the page that is open."""

    DEFAULT_CSS = "Canvas { height: 1fr; width: 1fr; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, draw: Callable[[int, int], list[Line]], styles: dict[str, str]) -> None:
        super().__init__()
        self._draw = draw
        self._names = styles

    def render(self) -> Content:
        """The lines, with the styles that the theme has for them."""
        parts: list[str | tuple[str, str]] = []
        for at, line in enumerate(self._draw(self.size.width, self.size.height)):
            if at:
                parts.append("\n")
            parts += [(text, self._style(names)) if names else text for text, names in line]
        return Content.assemble(*parts)

    def _style(self, names: str) -> str:
        return " ".join(self._names[name] for name in names.split())


class Dashboard(App[None]):
    """See the module docstring.

    Args:
        reader: reads the state file. Closed with the app.
        interval: seconds between two looks.
        theme: one of `THEMES`.
        clock: ns since 1970; default: the reader's.
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
        Binding("f", "open('errors')"),
        Binding("s", "open('statistics')"),
        Binding("question_mark,h,f1", "open('help')"),
        Binding("p", "pause"),
        Binding("slash", "search"),
        Binding("e", "export"),
        Binding("t", "kind"),
        Binding("o", "resolved"),
        Binding("tab", "pair(1)", priority=True),
        Binding("shift+tab", "pair(-1)", priority=True),
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
        reader: Reader,
        interval: float = 2.0,
        theme: str = "default",
        clock: Callable[[], int] | None = None,
        signals: bool = False,
    ) -> None:
        # Said at once, because Textual chooses how NO_COLOR is obeyed before it knows the theme.
        super().__init__(ansi_color=True if theme == "default" else None)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = THEMES[theme]
        self._reader = reader
        self._interval = interval
        self._clock = clock or reader.clock
        self._signals = signals
        self._thread = Thread()
        self._asked = asyncio.Event()
        self._purpose = ""
        self._replace = ""
        self._note_ends = 0.0
        self._order_ends = 0.0
        self.look = Look()
        self.view = View()
        self.question = Question()
        self.looks = 0
        """How often the file was read; tests wait for it."""
        self.canvas = Canvas(self._lines, ANSI_STYLES if theme == "default" else STYLES)
        self.line = Input(compact=True, select_on_focus=False)

    def compose(self) -> ComposeResult:
        """The page, and the line that takes what is typed."""
        yield self.canvas
        yield self.line

    def on_mount(self) -> None:
        """Begin to read, and let the clock move."""
        self.set_focus(None)
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, lambda: self.exit(return_code=130))
        self.run_worker(self._keep_looking(), exclusive=True)
        self.set_interval(1.0, self._tick)

    def _lines(self, width: int, height: int) -> list[Line]:
        return paint(self.look, self.view, width, height, self._clock())

    def _draw(self) -> None:
        self.canvas.refresh(layout=False)

    def _tick(self) -> None:
        if self._signals and not os.isatty(0):  # the window was closed, and no signal told so: nobody looks any more
            self.exit(return_code=130)
            return
        now = time.monotonic()
        if self.view.note[0] and now >= self._note_ends:
            self.view.note = ("", "")
        if self.view.ordered and now >= self._order_ends:
            run = self.look.now.run.id if self.look.now is not None else "?"
            self.view.ordered = ""
            self._say(f"run {run} has not taken the order yet; it stays in force", WARN)
        self._draw()

    def _say(self, text: str, style: str = WARN) -> None:
        self.view.note = (text, style)
        self._note_ends = time.monotonic() + NOTE
        self._draw()

    # ---- reading ----

    async def _keep_looking(self) -> None:
        while True:
            self._asked.clear()
            question = self.question
            look = await self._thread.call(lambda question=question: self._reader.look(question))  # type: ignore[misc]
            if question == self.question:
                self._show(look)
            self.looks += 1
            if not self._asked.is_set():
                try:
                    await asyncio.wait_for(self._asked.wait(), self._interval)
                except TimeoutError:
                    continue

    def _show(self, look: Look) -> None:
        self.look = look
        if self.view.note[0] == READING:
            self.view.note = ("", "")
        status = look.now.status if look.now is not None else ""
        ordered = self.view.ordered
        if ordered and (status == "paused") == (ordered == "pause"):
            self.view.ordered = ""
            run = look.now.run.id if look.now is not None else "?"
            self._say(f"run {run} is paused; p lets it go on" if ordered == "pause" else f"run {run} goes on", GOOD)
        self._draw()

    def _ask(self, **changes: object) -> None:
        self.question = self.question._replace(**changes)  # type: ignore[arg-type]
        self._asked.set()
        self._draw()

    # ---- keys ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed only the keys that end that, or the program, are keys."""
        return not (self._purpose and action not in ("back", "quit"))

    def action_refresh_now(self) -> None:
        """Read the file now."""
        self._asked.set()
        self._say(READING, DIM)

    def action_open(self, page: str) -> None:
        """Another page; the key of the open one leads back."""
        if self.view.page == page:
            page = "main"
        self.view.page, self.view.scroll, self.view.cursor = page, 0, 0
        self._ask(page=page, errors=Question().errors)

    async def action_back(self) -> None:
        """Stop typing; else show all again; else the main page."""
        view = self.view
        if self._purpose:
            if self._purpose == "search":
                self._searched("")
            self._end_typing()
        elif view.page == "errors" and (view.error_search or view.kind):
            view.error_search = view.kind = ""
            self._ask(error_text="", kind="")
        elif view.page != "main":
            self.action_open(view.page)
        elif view.search or view.top is not None:
            view.search, view.top = "", None
            self._ask(text="")

    def action_move(self, lines: int) -> None:
        """Scroll what is open."""
        view, look = self.view, self.look
        if view.page == "errors":
            view.cursor += lines
            limit = self.question.errors
            if view.cursor >= limit - 20 and len(look.log) >= limit and limit < MOST_ERRORS:
                self._ask(errors=min(max(limit * 2, lines), MOST_ERRORS))
        elif view.page == "main":
            items = look.activity
            at = max(0, min(first_shown(items, view.top) + lines, len(items) - 1))
            view.top = items[at].id if at > 0 else None
        else:
            view.scroll += lines
        self._draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel scrolls as the arrows do."""
        self.action_move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel scrolls as the arrows do."""
        self.action_move(-3)

    def action_kind(self) -> None:
        """One type of error after another."""
        if self.view.page == "errors":
            self.view.kind = KINDS[(KINDS.index(self.view.kind) + 1) % len(KINDS)]
            self.view.cursor = 0
            self._ask(kind=self.view.kind)

    def action_resolved(self) -> None:
        """With or without errors about files that were synced later."""
        if self.view.page == "errors":
            self.view.resolved = not self.view.resolved
            self._ask(resolved=self.view.resolved)

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
        self._ask(pair=pairs[(at + step) % len(pairs)])

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

    def _type(self, purpose: str, text: str, words: str) -> None:
        self._purpose = purpose
        self.view.asking = words
        self.line.value = text
        self.line.cursor_position = len(text)
        self.line.display = True
        self.line.focus()
        self._draw()

    def _end_typing(self) -> None:
        self._purpose = self._replace = self.view.asking = ""
        self.line.display = False
        self.set_focus(None)
        self._draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """A search shows what it finds while it is typed."""
        if self._purpose == "search":
            self._searched(event.value)

    def _searched(self, text: str) -> None:
        if self.view.page == "errors":
            self.view.error_search, self.view.cursor = text, 0
            self._ask(error_text=text)
        else:
            self.view.search, self.view.top = text, None
            self._ask(text=text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """What was typed is complete."""
        purpose, text, replace = self._purpose, event.value, self._replace
        if purpose == "replace" and text.strip().lower() not in ("y", "yes"):
            self._end_typing()
            self._say("nothing was exported", WARN)
            return
        self._end_typing()
        if purpose == "export":
            self.run_worker(self._export(text, False))
        elif purpose == "replace":
            self.run_worker(self._export(replace, True))

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

    async def on_unmount(self) -> None:
        """Let the file go; a read that hangs does not keep the program from ending."""
        await asyncio.wait({asyncio.ensure_future(self._thread.call(self._reader.close))}, timeout=1.0)
        self._thread.close()


def run(path: str, lives: Lives, watches: Lives, interval: float, theme: str) -> int:
    """Show the dashboard of a state file until somebody quits; returns the exit code.

    Args:
        path: the state file.
        lives, watches: see `Reader`.
        interval: seconds between two looks.
        theme: one of `THEMES`.
    """
    app = Dashboard(Reader(path, lives, watches=watches), interval, theme, signals=os.name == "posix")
    app.run()
    return app.return_code or 0
