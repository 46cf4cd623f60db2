"""What is to be sent waits here, in threads of its own: whoever puts something in never waits.

Each way of sending has a thread, so that a server that does not answer holds up nobody but itself. Room is bounded: in
a full box the oldest message makes way, since the newest says most. Errors are kept as events until the run's own
thread asks for them (`troubles`), because nobody else may write to its terminal: the first after a success, and how
many messages were lost at the end.

The end is bounded as well: a program that has done its work is not held up by a message that says so. A message that
waits for its next attempt has it at once; who cannot be reached then is given up, and only a server that answers
"later" is asked again. `close` gives all boxes together a few seconds, less when somebody is in a hurry, then leaves
what is left. Threads are daemons and die with the program.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report.base import Event, Level
from dunlin.report.notify import Notice

ROOM = 50
"""Messages that wait at most, for each way of sending."""

WAIT = 3.0
"""Seconds that the end of the program waits for messages under way."""

SLICE = 0.1
"""Seconds between two looks at whether somebody is in a hurry."""

_AWAY = frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT})

Pause = Callable[[DunlinError, float], object]
"""Waits so many seconds before the next attempt, the last one having failed so; raises the error if no more is made."""

Send = Callable[[Notice, Pause], None]
"""Sends one message, however often it must try, with a pause after each attempt that failed. Raises `DunlinError`."""


class Way(NamedTuple):
    """A way of sending. `name`: for people, with nothing secret in it."""

    name: str
    send: Send


class Outbox:
    """One way of sending, with its queue and thread.

    Args:
        room: messages that wait at most.

    Attributes:
        lost: messages that were given up. reason: why the last attempt failed, where it did.
    """

    def __init__(self, way: Way, room: int = ROOM) -> None:
        self.way = way
        self._waiting: deque[Notice] = deque()
        self._room = room
        self._changed = threading.Condition()
        self._until: float | None = None
        self._failing = False
        self._busy = 0
        self.lost = 0
        self.reason = ""
        self._troubles: deque[Event] = deque(maxlen=room)
        self._thread = threading.Thread(target=self._work, name=f"notify {way.name}", daemon=True)
        self._thread.start()

    def put(self, notice: Notice) -> None:
        """Take a message; returns at once."""
        with self._changed:
            if len(self._waiting) >= self._room:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(notice)
            self._changed.notify()

    def troubles(self) -> list[Event]:
        """What went wrong since the last call, for the run's own thread to tell."""
        found = []
        while self._troubles:
            found.append(self._troubles.popleft())
        return found

    def hasten(self, seconds: float) -> None:
        """Send what is left within so long, and then no more; returns at once."""
        with self._changed:
            self._until = time.monotonic() + seconds
            self._changed.notify()

    def close(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> int:
        """Wait so long for what is still to be sent, or until `hurry` says so.

        Returns how many messages were not delivered in all.
        """
        self.hasten(seconds)
        until = time.monotonic() + seconds
        while self._thread.is_alive() and not hurry() and (left := until - time.monotonic()) > 0:
            self._thread.join(min(SLICE, left))
        with self._changed:
            self.lost += len(self._waiting) + self._busy
            self._waiting.clear()
            return self.lost

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and self._until is None:
                    self._changed.wait()
                if not self._waiting:
                    return
                notice = self._waiting.popleft()
                self._busy = 1
            error = self._try(notice)
            with self._changed:
                self._busy = 0
                if error is None:
                    self._failing = False
                    continue
                self.lost += 1
                if not self._failing:
                    self._failing = True
                    fields = {"way": self.way.name, "kind": notice.kind}
                    self._troubles.append(Event(Level.WARN, "notify.failed", error, fields))

    def _try(self, notice: Notice) -> str | None:
        """What went wrong, in words that are fit to be shown."""
        try:
            self.reason = ""
            self.way.send(notice, self._pause)
        except DunlinError as error:
            self.reason = error.reason
            return str(error)
        except Exception as error:
            # Its text may quote what it was given, a password for instance.
            return f"cannot send a message by {self.way.name}: a fault of dunlin itself: {type(error).__name__}"
        return None

    def _pause(self, error: DunlinError, seconds: float) -> None:
        with self._changed:
            self.reason = error.reason
            if self._until is None:
                self._changed.wait_for(lambda: self._until is not None, seconds)
                return
            if error.kind in _AWAY or time.monotonic() + seconds > self._until:
                raise error
        time.sleep(seconds)


class Outboxes:
    """Several ways of sending, and the clock that calls `look` every `every` seconds."""

    def __init__(self, ways: Sequence[Way], every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.boxes = [Outbox(way) for way in ways]
        self._clock = clock
        self._every = every
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def put(self, notice: Notice) -> None:
        """Hand a message to all of them."""
        for box in self.boxes:
            box.put(notice)

    def watch(self, look: Callable[[], None]) -> None:
        """Call `look` now and then until the end."""

        def work() -> None:
            while not self._over.wait(self._every):
                look()

        self._ticker = threading.Thread(target=work, name="notify clock", daemon=True)
        self._ticker.start()

    def troubles(self) -> list[Event]:
        """See `Outbox.troubles`."""
        return [event for box in self.boxes for event in box.troubles()]

    def rest(self) -> None:
        """Call `look` no more."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join(1.0)

    def close(self, seconds: float = WAIT, hurry: Callable[[], bool] = lambda: False) -> list[Event]:
        """Wait for what is under way, `seconds` for all together; returns what there is to tell about it.

        `hurry`: whether to wait no longer; asked again and again.
        """
        self.rest()
        until = self._clock() + seconds
        for box in self.boxes:
            box.hasten(seconds)
        lost = [(box, box.close(until - self._clock(), hurry)) for box in self.boxes]
        told = self.troubles()
        failed = {event.fields.get("way") for event in told}
        for box, number in lost:
            if number and not (box.way.name in failed and number == 1):
                words = "a message was" if number == 1 else f"{number} messages were"
                why = f": {box.reason}" if box.reason else ": no answer in time"
                message = f"{words} not delivered by {box.way.name}{why}"
                told.append(Event(Level.WARN, "notify.lost", message, {"way": box.way.name, "messages": number}))
        return told
