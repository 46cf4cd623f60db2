"""The lines by which a run tells where it is: what they are called for this pair, and what they say.

    Sync started (container=photos, destination=./data, mode=watch)
    Discovering blobs (prefix=2024/)
    Found 15,432 blobs (new=1,234, changed=56, skipped=14,142)
    Starting download (workers=10)
    Progress: 1,000/1,234 files (81%), 2.3 GiB/2.8 GiB (82%), elapsed=2m15s, eta=35s
    Failed to download blob (blob=data/file.txt, attempt=2/3, error=...)
    Sync completed (duration=2m50s, files=1234, bytes=2.8GiB, failed=2)

The lines and their fields are those of getblobz; here they hold for any pair of stores, so the thing that is moved is a
blob, an object or a file, and it is downloaded, uploaded or copied. Transfers overlap the listing, so "Starting" may
come before "Found". Numbers in parentheses are plain in the fields of the event, which JSON and logfmt show as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.errors import DunlinError, printable
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration, format_size
from dunlin.report import Event, Level
from dunlin.stores.open import is_far, is_share, shown_place

if TYPE_CHECKING:
    from dunlin.state.runs import Run

_NOUNS = {"az": "blob", "s3": "object", "gs": "object"}
AGAIN = "only what failed before is tried again"

_TITLES = {"sync": "Sync", "plan": "Dry run", "check": "Check"}


class Words(NamedTuple):
    """What the things of a pair are called, and what is done to them.

    Attributes:
        noun: "blob", "object" or "file", by the store of the source.
        verb: "download", "upload", "copy" or "restore".
        title: of what is done: "Sync", "Restore", "Dry run", "Check".
        place: the field that names the source ("container", "bucket", "source"), and its value.
        prefix: what the names that take part begin with, or "".
    """

    noun: str
    verb: str
    title: str
    place: tuple[str, str]
    prefix: str


def words_of(options: SyncOptions) -> Words:
    """The words for a pair; for places that dunlin cannot open those of files, since the run will say so."""
    title, plain = _TITLES[options.mode], ("source", shown_place(options.source))
    if options.opens is not None:
        return Words("file", "restore", "Restore" if options.mode == "sync" else title, plain, "")
    try:
        source, target = is_far(options.source), is_far(options.destination)
        verb = "copy" if source == target else "download" if source else "upload"
        if not source:
            return Words("file", verb, title, plain, options.begin)
        if is_share(options.source):
            from dunlin.stores.azfiles.place import place_of as share_of

            there = share_of(options.source, options.login_source)
            return Words("file", verb, title, ("share", there.share), options.begin)
        from dunlin.stores.objects.place import place_of

        place = place_of(options.source, options.login_source)
    except DunlinError:
        return Words("file", "copy", title, plain, options.begin)
    name = "container" if place.service == "az" else "bucket"
    return Words(_NOUNS[place.service], verb, title, (name, place.bucket), place.prefix + options.begin)


def started(words: Words, options: SyncOptions, version: str) -> Event:
    """The run begins."""
    mode = {"plan": "dry-run", "check": "check"}.get(options.mode, "watch" if options.watch is not None else "once")
    fields = {words.place[0]: words.place[1], "destination": shown_place(options.destination), "mode": mode}
    return _line(Level.INFO, "run.begins", f"{words.title} started", fields, fields | {"version": version})


def discovering(words: Words) -> Event:
    """The listing begins."""
    return _line(Level.INFO, "scan.begins", f"Discovering {words.noun}s", {"prefix": words.prefix})


def found(words: Words, stats: Stats) -> Event:
    """The listing is over. Of files that are in the way or could not be read it says nothing."""
    new, changed = stats.missing_files, stats.differing_files
    skipped = stats.equal_files + stats.skipped_files
    total = max(stats.scanned_files, new + changed)
    shown = {"new": f"{new:,}", "changed": f"{changed:,}", "skipped": f"{skipped:,}"}
    fields = {"found": total, "new": new, "changed": changed, "skipped": skipped}
    noun = words.noun if total == 1 else f"{words.noun}s"
    return _line(Level.INFO, "scan.ended", f"Found {total:,} {noun}", shown, fields)


def starting(words: Words, workers: int) -> Event:
    """The first file is about to be moved, or was."""
    return _line(Level.INFO, "transfer.begins", f"Starting {words.verb}", {"workers": workers})


def failing(words: Words, path: str, attempt: int, attempts: int, error: str) -> str:
    """The words for a file of which an attempt failed."""
    shown = {words.noun: path, "attempt": f"{attempt}/{attempts}", "error": error}
    return f"Failed to {words.verb} {words.noun} {_parenthesis(shown)}"


def ended(words: Words, result: Result) -> Event:
    """The run is over."""
    stats = result.stats
    failed = stats.failed_files + stats.failed_directories
    numbers = {"files": stats.copied_files, "bytes": stats.copied_bytes, "failed": failed}
    shown = {"duration": format_duration(stats.seconds), **numbers, "bytes": _compact(stats.copied_bytes)}
    fields = {"seconds": round(stats.seconds, 3), **numbers, "status": result.status, "exit_code": result.exit_code}
    if result.status == "completed":
        level = Level.INFO if result.exit_code in (0, 3, 24) else Level.WARN
        return _line(level, "run.ended", f"{words.title} completed", shown, fields)
    if result.status == "interrupted":
        return _line(
            Level.WARN, "run.ended", f"{words.title} interrupted", {"reason": result.message, **shown}, fields
        )
    return _line(Level.ERROR, "run.ended", f"{words.title} failed", {"error": result.message, **shown}, fields)


def waiting(seconds: float, holder: str) -> Event:
    """The run waits for the lock of its destination; `holder`: `` (process 123)`` or ""."""
    time = f"{seconds:g} second{'' if seconds == 1 else 's'}"
    message = f"another run works on this destination{holder}; waiting up to {time} for it"
    return Event(Level.INFO, "lock.waits", message, {"seconds": seconds})


_ORDERS = {
    "pause": "paused by an order; `dunlin control resume` lets it go on",
    "resume": "going on, by an order",
    "stop": "stopping, by an order: saving what is done",
}


def ordered(verb: str, argument: str) -> Event:
    """An order of `dunlin control`, or of a dashboard, was taken."""
    message = _ORDERS.get(verb) or f"by an order the limit is now {argument or 'off'}"
    return Event(Level.INFO, "control", message, {"verb": verb, "argument": argument})


def went_badly(run: Run | None) -> bool:
    """Whether the run of a pair before this one failed, or some of its files did; not if it was interrupted."""
    if run is None or run.status == "interrupted":
        return False
    stats = run.stats
    return run.status == "failed" or bool(stats.failed_files or stats.failed_directories or stats.source_errors)


def progress(
    done_files: int, files: int, done_bytes: float, size: float, seconds: float, left: float | None, more: bool
) -> str:
    """How far a run is; `more`: the listing goes on, so there may be more files. `left`: seconds, if they are known."""
    plus = "+" if more else ""
    parts = [f"{done_files:,}/{files:,}{plus} files ({_percent(done_files, files)})"]
    parts.append(f"{format_size(done_bytes)}/{format_size(size)}{plus} ({_percent(done_bytes, size)})")
    parts.append(f"elapsed={_whole(seconds)}")
    if left is not None:
        parts.append(f"eta={_whole(left)}")
    return f"Progress: {', '.join(parts)}"


def _whole(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds < 59.5 else format_duration(round(seconds))


def _percent(part: float, whole: float) -> str:
    return f"{part * 100 / whole if whole else 100:.0f}%"


def _compact(size: float) -> str:
    return format_size(size).replace(" ", "")


def _line(
    level: Level, name: str, begin: str, shown: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> Event:
    return Event(level, name, f"{begin} {_parenthesis(shown)}", dict(shown if fields is None else fields))


def _parenthesis(shown: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{name}={printable(str(value))}' for name, value in shown.items())})"
