"""How a run goes, and what was done in a day, in a few lines: for `dunlin status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.pace.sizes import format_number, format_share, format_size, format_span

if TYPE_CHECKING:
    from dunlin.state.overview import Overview, RunNow, Statistics


class Glance(NamedTuple):
    """How a pair stands. `now`: None unless a run goes on."""

    now: RunNow | None
    day: Statistics
    ever: Statistics


def glance(view: Overview, pair: int) -> Glance:
    """The figures of one pair."""
    going = next((run for run in view.going() if run.pair == pair), None)
    return Glance(view.now(going.id) if going is not None else None, view.day(pair), view.ever(pair))


def running(now: RunNow) -> list[str]:
    """How far a run is, how fast, and what holds it up."""
    share = f" ({format_share(now.share)})" if now.share is not None else ""
    more = "" if now.listed else "+"
    files = f"{now.done_files:,} of {now.total_files:,}{more} files"
    size = f"{format_size(now.done_bytes)} of {format_size(now.total_bytes)}{more}"
    lines = [f"    done: {files}, {size}{share}"]
    if now.status == "paused":
        return [*lines, "    paused; `dunlin control resume` lets it go on"]
    if now.files_rate is not None and now.bytes_rate is not None:
        limit = f" of {format_size(now.limit)}/s allowed" if now.limit else ""
        rate = f"    {now.files_rate:,.0f} files/s, {format_size(now.bytes_rate)}/s{limit}"
        left = f", about {format_span(now.left)} left" if now.left is not None and now.left >= 1 else ""
        lines.append(rate + left + ("" if now.listed or not left else ", and the listing goes on"))
    if now.status == "throttled":
        workers = f", workers {now.wanted} -> {now.workers}" if now.wanted > now.workers else ""
        lines.append(f"    throttled: {now.cause}{workers}")
    return lines


def days(glance: Glance) -> list[str]:
    """What was done in the last 24 hours, and ever."""
    lines = []
    for words, sums in (("last 24 h", glance.day), ("in all", glance.ever)):
        if not sums.runs:
            continue
        parts = [format_number(sums.runs, "run")]
        if sums.success is not None:
            parts.append(f"{format_share(sums.success)} without a failure")
        copied = f"copied {format_number(sums.files, 'file')} ({format_size(sums.bytes)})"
        if words == "last 24 h" and sums.files and sums.files_rate:
            copied += f", {sums.files_rate:,.0f} files/s"
        parts.append(copied)
        if sums.failed and sums.failed_share is not None:
            parts.append(f"{sums.failed:,} failed ({format_share(sums.failed_share, 1)})")
        if sums.deleted:
            parts.append(f"{sums.deleted:,} deleted")
        lines.append(f"  {words}: {', '.join(parts)}")
    return lines


def machine(glance: Glance) -> dict[str, Any]:
    """The same for --json: sizes in bytes, rates per second, times in seconds, shares from 0 to 1."""
    now = glance.now
    found: dict[str, Any] = {"last_24h": _sums(glance.day), "total": _sums(glance.ever), "now": None}
    if now is not None:
        found["now"] = {
            "run": now.run.id,
            "status": now.status,
            "seconds": round(now.seconds, 3),
            "done_files": now.done_files,
            "total_files": now.total_files,
            "done_bytes": now.done_bytes,
            "total_bytes": now.total_bytes,
            "listed": now.listed,
            "files_per_second": 0.0 if now.status == "paused" else now.files_rate,
            "bytes_per_second": 0.0 if now.status == "paused" else now.bytes_rate,
            "seconds_left": now.left,
            "workers": now.workers,
            "workers_wanted": now.wanted,
            "throttled_by": now.cause,
            "bandwidth_limit": now.limit,
        }
    return found


def _sums(sums: Statistics) -> dict[str, Any]:
    return {
        "runs": sums.runs,
        "ended_runs": sums.ended,
        "clean_runs": sums.clean,
        "success_rate": sums.success,
        "copied_files": sums.files,
        "copied_bytes": sums.bytes,
        "failed": sums.failed,
        "failed_share": sums.failed_share,
        "deleted": sums.deleted,
        "seconds": round(sums.seconds, 3),
        "files_per_second": sums.files_rate,
        "bytes_per_second": sums.bytes_rate,
    }
