"""Events as lines: for people, as JSON (RFC 8259), and as logfmt (``key=value``, quoted where needed).

    text     2026-01-31 12:00:00 WARN  the destination does not take owners
    json     {"time":"2026-01-31T11:00:00.000Z","level":"warn","run":7,"event":"metadata.refused","message":"…",…}
    logfmt   time=2026-01-31T11:00:00.000Z level=warn run=7 event=metadata.refused message="…"

`run` and `operation` tie lines together: the first is set for all later lines by `Log.bind`, the second comes with
the event. A line never breaks, whatever a name holds, and nothing in it acts upon a terminal.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from dunlin.errors import printable
from dunlin.report.base import Event, Level, Task, _NullTask

Format = Callable[[float, Event, Mapping[str, Any]], str]
"""(seconds since 1970, event, identifiers) -> one line without its end."""

_BARE = re.compile(r"[!#-<>-\[\]-~]+")
_RESERVED = frozenset({"time", "level", "event", "message"})


def text_line(now: float, event: Event, ids: Mapping[str, Any]) -> str:
    """A line for people, in local time. A traceback keeps its lines."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    return f"{stamp} {event.level.name:5} {readable(event)}"


def short_line(now: float, event: Event, ids: Mapping[str, Any]) -> str:
    """A line for the person who sits before it: no time, and no level below a warning."""
    if event.level >= Level.ERROR:
        return f"dunlin: {readable(event)}"
    word = "warning: " if event.level is Level.WARN else "debug: " if event.level is Level.DEBUG else ""
    return f"dunlin: {word}{readable(event)}"


def json_line(now: float, event: Event, ids: Mapping[str, Any]) -> str:
    """A JSON object; fields that would hide one of ours get a trailing ``_``."""
    return _dump(_record(now, event, ids))


def logfmt_line(now: float, event: Event, ids: Mapping[str, Any]) -> str:
    """``key=value`` pairs; values with spaces, quotes or anything unprintable are JSON strings."""
    return " ".join(f"{_key(key)}={_value(value)}" for key, value in _record(now, event, ids).items())


FORMATS: dict[str, Format] = {"text": text_line, "short": short_line, "json": json_line, "logfmt": logfmt_line}
"""The formats by name."""


class Log:
    """A report that writes events at or above a level, one line each."""

    def __init__(
        self,
        write: Callable[[str], None],
        format: str = "text",
        level: Level = Level.INFO,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        write: takes a line without its end; must not raise.
        format: a name of `FORMATS`.
        clock: gives seconds since 1970.
        """
        self._write = write
        self._format = FORMATS[format]
        self.level = level
        self._clock = clock
        self._ids: dict[str, Any] = {}

    def bind(self, **ids: Any) -> None:
        """Put these identifiers on every line from now on."""
        self._ids.update(ids)

    def count(self, name: str, n: int = 1) -> None:
        """Counts make no lines."""

    def gauge(self, name: str, value: float) -> None:
        """Gauges make no lines."""

    def event(self, event: Event) -> None:
        """Write the event's line; the first event with a field `run` binds it."""
        if "run" in event.fields and "run" not in self._ids:
            self.bind(run=event.fields["run"])
        if event.level >= self.level:
            self._write(self._format(self._clock(), event, self._ids))

    def task(self, name: str, total: int | None) -> Task:
        """Tasks make no lines."""
        return _NullTask()


def readable(event: Event) -> str:
    """The message of an event, fit for a terminal. Only a traceback (event ``fault``) may have several lines."""
    if event.name == "fault":
        return "\n".join(printable(line) for line in event.message.rstrip("\n").split("\n"))
    return printable(event.message)


def _record(now: float, event: Event, ids: Mapping[str, Any]) -> dict[str, Any]:
    whole = int(now)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((now - whole) * 1000):03d}Z"
    record: dict[str, Any] = {"time": stamp, "level": event.level.name.lower(), **ids}
    record |= {"event": event.name, "message": event.message}
    for key, value in event.fields.items():
        record[f"{key}_" if key in _RESERVED else key] = value
    return record


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    # Undecodable bytes and characters that steer a terminal are escaped; the rest stays readable.
    return text if text.isprintable() else json.dumps(value, separators=(",", ":"), default=str)


def _key(key: str) -> str:
    return re.sub(r"[^\w.-]", "_", key)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else _dump(value)
    return str(value) if isinstance(value, (int, float)) else _dump(_dump(value))
