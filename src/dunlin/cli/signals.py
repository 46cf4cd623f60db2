"""SIGINT, SIGTERM and SIGHUP: the first asks the run to stop, the second ends the process. SIGTSTP: Ctrl-Z.

The first request lets small files in flight finish, gives up large ones, saves the state and ends with 130. The
second raises KeyboardInterrupt where the process is, so that temporary files are removed on the way out; should
that hang, on a mount that does not answer, the process leaves two seconds later without ceremony. Movers end by
themselves when their parent is gone. A handler that a forked child inherits does nothing there.

Ctrl-Z stops the process and its movers as it stops any other, but the terminal is left in order before, and the time
until `fg` or `bg` is counted for nothing. Who is asked to stop meanwhile obeys when it goes on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from dunlin.pace.stop import Stop

ASKED = "stopping: saving what is done (press Ctrl-C again to stop at once)"
GRACE = 2.0
"""Seconds between the second signal and an end without ceremony."""


class Signals:
    """While entered, signals become requests to `stop`; `say` tells the person (it must not raise)."""

    def __init__(
        self,
        stop: Stop,
        say: Callable[[str], None],
        leave: Callable[[], None] = lambda: None,
        rest: Callable[[], None] = lambda: None,
        back: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Args:
        leave: called right before the process is ended without ceremony: it restores the terminal.
        rest: called before Ctrl-Z stops the process. back: called with the seconds until it went on.
        """
        self._stop = stop
        self._say = say
        self._leave = leave
        self._rest = rest
        self._back = back
        self._process = os.getpid()
        self._times = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in _wanted():
            # Whoever ignores a signal, as nohup does, means it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            return
        if self._times > 1 and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        self._times += 1
        if self._times == 1:
            self._stop.request(f"interrupted by {signal.Signals(number).name}")
            self._say(ASKED)
            return
        if self._times == 2:
            if hasattr(signal, "setitimer"):
                signal.signal(signal.SIGALRM, self._end)
                signal.setitimer(signal.ITIMER_REAL, GRACE)
            raise KeyboardInterrupt
        self._end(number, frame)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        parent, begun = os.getpid() == self._process, time.monotonic()
        if parent:
            self._rest()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # here it stops, and goes on
        signal.signal(number, self._pause)
        if parent:
            self._back(time.monotonic() - begun)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._leave()
        os._exit(130)


class Hurry:
    """While entered, signals neither stop nor end anything: the work is done, and what still goes on is cut short.

    The last messages are sent then, and the exit code of a run must not depend on whether anybody waited for them.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether there was a signal."""
        return self._asked

    def __enter__(self) -> Hurry:
        for number in _wanted():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # No lock, no event: it may come while the interpreter holds one of theirs.
        self._asked = True


def _wanted() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
