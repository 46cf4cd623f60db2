"""The figures that are shown, as a file: JSON with all of them, CSV with one kind of rows.

A CSV holds the errors when the page of errors is open, else the runs of the pair. Text that a spreadsheet would take
for a formula gets an apostrophe before it, since names of files come from anywhere.

The file is written under another name beside its place and linked or renamed to it when it is whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dunlin.errors import DunlinError, ErrorKind, printable, translate, usage
from dunlin.state.overview import plain

if TYPE_CHECKING:
    from dunlin.state import Run
    from dunlin.state.overview import Activity, Overview

RUNS = 1_000
EVENTS = 10_000
SAMPLES = 100_000
PAGE = 1_000

ENDINGS = (".json", ".csv")

RUN_COLUMNS = (
    "run", "pair", "status", "started", "ended", "seconds", "copied_files", "copied_bytes", "deleted_files",
    "failed_files", "message",
)  # fmt: skip
ERROR_COLUMNS = ("time", "run", "type", "kind", "path", "attempt", "resolved", "message")

_ELSEWHERE = ("run", "life", "source", "destination")


def check_name(path: str) -> str:
    """The path, expanded. Raises USAGE when its ending says neither JSON nor CSV."""
    path = os.path.expanduser(path.strip())
    name = os.path.basename(path).lower()
    if not name.endswith(ENDINGS) or name in ENDINGS:
        raise usage("the name must end in .json or .csv")
    if os.path.isdir(path):
        raise DunlinError("export", path, ErrorKind.USAGE, "it is a directory")
    return path


def content(path: str, overview: Overview, page: str, run: int | None, pair: int | None, now: int) -> str:
    """What the file is to hold. Raises `DunlinError` when the state cannot be read."""
    if not path.lower().endswith(".csv"):
        return json.dumps(_everything(overview, run, pair, now), indent=2, ensure_ascii=False) + "\n"
    if page == "errors":
        return _table(ERROR_COLUMNS, [_error(each) for each in overview.errors(EVENTS, pair=pair, resolved=True)])
    return _table(RUN_COLUMNS, [_run(each, overview.word) for each in overview.runs(pair, limit=RUNS)])


def write(path: str, text: str, replace: bool) -> None:
    """Write the file, whole or not at all; without `replace` never over one that is there.

    Raises `DunlinError`, EXISTS where one is there.
    """
    partial = os.path.join(os.path.dirname(path), f".dunlin-export-{os.getpid()}.tmp")
    try:
        try:
            with open(partial, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(partial, path)
            else:
                _place(partial, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)
    except OSError as error:
        raise translate(error, "export", path) from error


def _place(partial: str, path: str) -> None:
    try:
        os.link(partial, path)  # unlike a rename it never takes the place of another file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(partial, path)


def _everything(overview: Overview, run: int | None, pair: int | None, now: int) -> dict[str, Any]:
    current = overview.now(run) if run is not None else None
    day, ever = overview.day(pair), overview.ever(pair)
    shown: dict[str, Any] = {"exported": _stamp(now), "pair": None, "current": None}
    if current is not None:
        shown["pair"] = {"source": current.source, "destination": current.destination}
        fields = {name: value for name, value in current._asdict().items() if name not in _ELSEWHERE}
        shown["current"] = {"run": current.run.id, "share": current.share} | fields | {"status": plain(current.status)}
    shown["last_24_hours"] = day._asdict() | {"since": _stamp(day.since), "success": day.success}
    shown["on_record"] = ever._asdict() | {"since": _stamp(ever.since), "success": ever.success}
    runs = [_run(each, overview.word) for each in overview.runs(pair, limit=RUNS)]
    errors = [_error(each) for each in overview.errors(EVENTS, pair=pair, resolved=True)]
    shown["runs"] = [dict(zip(RUN_COLUMNS, row, strict=True)) for row in runs]
    shown["errors"] = [dict(zip(ERROR_COLUMNS, row, strict=True)) for row in errors]
    shown["samples"] = [] if run is None else _samples(overview, run)
    return shown


def _samples(overview: Overview, run: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = 0
    while len(rows) < SAMPLES:
        page = overview.samples(run, after, PAGE)
        rows += [{"time": _stamp(each.time)} | each.metric._asdict() for each in page]
        if len(page) < PAGE:
            break
        after = page[-1].time
    return rows


def _run(run: Run, word: Callable[[Run], str]) -> tuple[Any, ...]:
    stats = run.stats
    return (
        run.id, run.pair, plain(word(run)), _stamp(run.started), _stamp(run.ended) if run.ended else None,
        round(run.seconds, 3), stats.copied_files, stats.copied_bytes,
        stats.deleted_files + stats.deleted_directories, stats.failed_files + stats.failed_directories, run.message,
    )  # fmt: skip


def _error(item: Activity) -> tuple[Any, ...]:
    kind = item.kind.value if item.kind else "unknown"
    path, message = printable(item.path), printable(item.message)
    return (_stamp(item.time), item.run, item.category, kind, path, item.attempt, item.resolved, message)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow(columns)
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _stamp(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
