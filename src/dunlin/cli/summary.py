"""The end of a run, for people and for programs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dunlin.errors import printable
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.sizes import format_duration, format_number, format_rate, format_size
from dunlin.stores.open import shown_place

_REASONS = {
    "link": ("symbolic link was skipped; -l copies them", "symbolic links were skipped; -l copies them"),
    "special": (
        "socket, FIFO or device was skipped; -D copies them",
        "sockets, FIFOs and devices were skipped; -D copies them",
    ),
    "no-link": (
        "symbolic link was skipped; the destination holds none",
        "symbolic links were skipped; the destination holds none",
    ),
    "no-special": (
        "socket, FIFO or device was skipped; the destination holds none",
        "sockets, FIFOs and devices were skipped; the destination holds none",
    ),
    "newer": ("file is newer at the destination (--update)", "files are newer at the destination (--update)"),
    "exists": ("file exists at the destination (--skip-existing)", "files exist at the destination (--skip-existing)"),
    "depth": ("name is deeper than --max-depth", "names are deeper than --max-depth"),
}
"""Why names were skipped, worth a line: for one name and for several. The keys are those of `model.SKIP_REASONS`."""


def people(
    result: Result,
    mode: str,
    *,
    skipped: Mapping[str, int] | None = None,
    failures: Sequence[str] = (),
    total_bytes: float = 0,
    status_hint: str = "dunlin status --failed",
) -> list[str]:
    """Three to five lines on how a run ended, and a hint for everything that a person may want to act on.

    Args:
        mode: of `SyncOptions`.
        skipped: how many names were skipped, by reason.
        failures: the first failures, one line each.
        total_bytes: copied in all runs of the pair.
        status_hint: the command that lists the failed files; "" when no state is kept.
    """
    stats = result.stats
    lines = [_outcome(result, mode)]
    if mode == "sync":
        lines.append(_speed(stats, total_bytes))
    else:
        lines.append(f"{format_duration(stats.seconds)}, {format_number(stats.scanned_files, 'file')} compared")
    for reason, number in (skipped or {}).items():
        if number and reason in _REASONS:
            one, many = _REASONS[reason]
            lines.append(f"{number:,} {one if number == 1 else many}")
    lines += [f"failed: {_line(failure)}" for failure in failures]
    failed = stats.failed_files + stats.failed_directories
    if failed > len(failures) and mode == "sync" and status_hint:
        lines.append(f"{failed:,} failed; `{status_hint}` lists them with their reasons")
    if stats.vanished_files:
        lines.append(f"{format_number(stats.vanished_files, 'file')} vanished before being read")
    return lines


def _line(text: str) -> str:
    return printable(" ".join(text.splitlines()))


def _outcome(result: Result, mode: str) -> str:
    words = {"sync": _done, "plan": _planned, "check": _compared}[mode](result.stats)
    if result.status == "completed":
        return "no files found, nothing to do" if words == _done(Stats()) else words
    message = _line(result.message)
    if message.startswith(f"{result.status} "):
        return f"{message}: {words}"
    return f"{result.status} ({message}): {words}" if message else f"{result.status}: {words}"


def _done(stats: Stats) -> str:
    parts = []
    if stats.copied_files or not stats.equal_files:
        parts.append(f"copied {format_number(stats.copied_files, 'file')} ({format_size(stats.copied_bytes)})")
    parts.append(f"{stats.equal_files:,} in sync")
    # Metadata of directories is set again in every run that made or changed something in them: no news.
    made = ((stats.created_links, "link"), (stats.created_specials, "special file"), (stats.hard_links, "hard link"))
    parts += [f"{format_number(number, word)} made" for number, word in made if number]
    for number, word in (
        (stats.deleted_files + stats.deleted_directories, "deleted"),
        (stats.failed_files + stats.failed_directories, "failed"),
        (stats.pending_files, "still pending"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    if parts == [f"{stats.equal_files:,} in sync"]:
        parts.append("nothing to do")
    return ", ".join(parts)


def _planned(stats: Stats) -> str:
    parts = [f"would copy {format_number(stats.missing_files, 'file')}", f"update {stats.differing_files:,}"]
    parts.append(f"{format_size(stats.pending_bytes)} in all")
    extras = stats.extra_files + stats.extra_directories
    if extras:
        parts.append(f"delete {extras:,}")
    parts.append(f"{stats.equal_files:,} in sync")
    return ", ".join([*parts, *_unread(stats)])


def _compared(stats: Stats) -> str:
    missing, extra = stats.missing_files + stats.missing_directories, stats.extra_files + stats.extra_directories
    counts = [f"{stats.equal_files:,} matched", f"{stats.differing_files:,} differ"]
    counts += [f"{missing:,} missing at the destination", f"{extra:,} missing at the source"]
    word = "different" if missing or extra or stats.differing_files else "in sync"
    if stats.failed_files or stats.failed_directories:
        word = "not fully compared"
    return f"{word}: {', '.join([*counts, *_unread(stats)])}"


def _unread(stats: Stats) -> list[str]:
    failed = stats.failed_files + stats.failed_directories
    return [f"{failed:,} could not be read"] if failed else []


def _speed(stats: Stats, total_bytes: float) -> str:
    parts = [format_duration(stats.seconds)]
    rates = rates_of(stats)
    if stats.copied_bytes:
        parts.append(format_rate(rates["bytes_per_second"]))
    if rates["files_per_second"] >= 0.5:
        parts.append(f"{rates['files_per_second']:,.0f} files/s")
    elif rates["scanned_per_second"] >= 0.5:
        parts.append(f"scanned {rates['scanned_per_second']:,.0f} files/s")
    if total_bytes > stats.copied_bytes:
        parts.append(f"{format_size(total_bytes)} copied in all runs")
    return ", ".join(parts)


def rates_of(stats: Stats) -> dict[str, float]:
    """Bytes and files copied, and files looked at, per second of the run."""
    seconds = stats.seconds or 1e-9
    return {
        "bytes_per_second": round(stats.copied_bytes / seconds, 1) if stats.seconds else 0.0,
        "files_per_second": round(stats.copied_files / seconds, 1) if stats.seconds else 0.0,
        "scanned_per_second": round(stats.scanned_files / seconds, 1) if stats.seconds else 0.0,
    }


def machine(
    result: Result, options: SyncOptions, *, skipped: Mapping[str, int] | None = None, cycle: int = 0
) -> dict[str, Any]:
    """The object of --json for one run; `cycle` of a watch, from 1."""
    return {
        **({"cycle": cycle} if cycle else {}),
        "mode": options.mode,
        "status": result.status,
        "exit_code": result.exit_code,
        "message": result.message,
        "run": result.run or None,
        "continued": result.continued,
        "source": shown_place(options.source),
        "destination": shown_place(options.destination),
        "seconds": round(result.stats.seconds, 3),
        "rates": rates_of(result.stats),
        "skipped": dict(skipped or {}),
        "stats": dataclasses.asdict(result.stats),
    }
