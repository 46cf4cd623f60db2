"""What both dashboards do: the clock, the looks, the notes, the line that takes what is typed, mouse and screen.

One widget draws the page that is open, one line takes what is typed. What is read comes from a thread
(`reader.Thread`) at every interval, and at once when something else is to be shown; the clock moves every second in
between. Nothing here waits: a read that takes long leaves the figures as they are.

A look that is under way when another question comes is followed by one more, so the last question always wins.

Textual finds keys, actions and handlers by class, so this is a class to inherit from and not a part to hold. A
dashboard adds its own keys (`BINDINGS` of both count) and says what a page is, what a search changes and what becomes
of an answer; those methods stand at the end, and no dashboard is made without them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Input

from dunlin.tui.frame import Footed
from dunlin.tui.reader import Thread
from dunlin.tui.styles import ANSI_STYLES, DIM, STYLES, WARN, Line

NOTE = 4.0
"""Seconds for which a note stands in place of the keys."""

THEMES = {"default": "ansi-dark", "dark": "dunlin-dark", "light": "dunlin-light"}

DARK = Theme(
    "dunlin-dark", primary="#5fb3e8", success="#4ec97b", warning="#e8b04b", error="#ff6b6b", foreground="#e3e7eb",
    background="#11161b", surface="#161c22", panel="#1d252d", dark=True,
)  # fmt: skip
LIGHT = Theme(
    "dunlin-light", primary="#0b5c94", success="#0f6b35", warning="#8a5200", error="#b3181f", foreground="#1c2126",
    background="#fbfbf9", surface="#f2f2ee", panel="#e6e6e0", dark=False,
)  # fmt: skip

Question = TypeVar("Question")
Look = TypeVar("Look")
Asked = TypeVar("Asked", contravariant=True)
Found = TypeVar("Found", covariant=True)


class Reads(Protocol[Asked, Found]):
    """What looks are made with; called from one thread."""

    def look(self, question: Asked, /) -> Found:
        """What there is now. Raises nothing: what is wrong stands in the look."""
        ...


View = TypeVar("View", bound=Footed)


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


if TYPE_CHECKING:
    from textual.message_pump import _MessagePumpMeta as _OfTextual
else:
    _OfTextual = type(App)  # whatever it is called there


class _Kind(_OfTextual, ABCMeta):
    """Of a class that lacks an abstract method nothing is made; Textual has a metaclass of its own beside it."""


class Live(App[None], Generic[Question, Look, View], metaclass=_Kind):
    """See the module docstring.

    Args:
        reader: what looks are made with.
        question: what is to be read first.
        look: what is shown until something was read.
        view: what the person looks at.
        interval: seconds between two looks.
        theme: one of `THEMES`.
        note: what is said first; "" for nothing.
        signals: SIGTERM and SIGHUP end it with 130, and leave the terminal as it was.
        longest: characters that may be typed; 0: any number.
    """

    TITLE = "dunlin"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    READING: ClassVar[str]
    """The note while somebody waits for a look."""
    WHEEL: ClassVar[int]
    """Lines by which the wheel moves."""
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
        Binding("p", "pause"),
        Binding("question_mark,h,f1", "help"),
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
        reader: Reads[Question, Look],
        question: Question,
        look: Look,
        view: View,
        interval: float,
        theme: str,
        note: str,
        signals: bool,
        longest: int = 0,
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
        self._first_note = note
        self._note_ends = 0.0
        self.question = question
        self.look = look
        self.view = view
        self.looks = 0
        """How many looks were made; tests wait for it."""
        self.canvas = Canvas(self._lines, ANSI_STYLES if theme == "default" else STYLES)
        self.line = Input(compact=True, select_on_focus=False, max_length=longest)

    def compose(self) -> ComposeResult:
        """The page, and the line that takes what is typed."""
        yield self.canvas
        yield self.line

    def on_mount(self) -> None:
        """Begin to look, and let the clock move."""
        self.set_focus(None)
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, lambda: self.exit(return_code=130))
        if self._first_note:
            self._say(self._first_note)
        self.run_worker(self._keep_looking(), exclusive=True)
        self.set_interval(1.0, self._tick)

    async def on_unmount(self) -> None:
        """Let the thread end; a look that hangs does not keep the program from ending."""
        await self._let_go()
        self._thread.close()

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

    # ---- looking ----

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
        if self.view.note[0] == self.READING:
            self.view.note = ("", "")
        self._draw()

    def _ask(self, question: Question) -> None:
        self.question = question
        self._asked.set()
        self._draw()

    # ---- keys ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed only the keys that end that, or the program, are keys."""
        return not (self._purpose and action not in ("back", "quit"))

    def action_refresh_now(self) -> None:
        """Look now."""
        self._asked.set()
        self._say(self.READING, DIM)

    async def action_back(self) -> None:
        """Stop typing; else show all again; else the main page."""
        if not self._purpose:
            self._back()
            return
        if self._purpose == "search":
            self._searched("")
        self._end_typing()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves as the arrows do."""
        self.action_move(self.WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves as the arrows do."""
        self.action_move(-self.WHEEL)

    # ---- typing ----

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

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """What was typed is complete."""
        purpose = self._purpose
        self._end_typing()
        self._typed(purpose, event.value)

    # ---- what a dashboard says for itself ----

    @abstractmethod
    def _lines(self, width: int, height: int) -> list[Line]:
        """The page that is open."""

    @abstractmethod
    def action_move(self, lines: int) -> None:
        """Scroll what is open, or choose another of its lines."""

    @abstractmethod
    def _back(self) -> None:
        """Show all again; else the main page."""

    @abstractmethod
    def _searched(self, text: str) -> None:
        """Show only what contains the text."""

    @abstractmethod
    def _typed(self, purpose: str, text: str) -> None:
        """Do what `_type` asked for; a search is done already."""

    async def _let_go(self) -> None:
        """Close what the reader holds."""
