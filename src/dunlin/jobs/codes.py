"""The exit code of a run."""

from __future__ import annotations

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Stats


def exit_code(stats: Stats, fatal: DunlinError | None, status: str, refused: str, mode: str) -> int:
    """The most severe wins: 1, 2, 130, 25, 23, 3, 24."""
    if fatal is not None:
        return 2 if fatal.kind is not ErrorKind.INTERRUPTED else 130
    if status == "interrupted":
        return 130
    if refused == "limit":
        return 25
    if stats.failed_files or stats.failed_directories or stats.source_errors:
        return 23
    different = stats.missing_files + stats.missing_directories + stats.differing_files
    if mode == "check" and different + stats.extra_files + stats.extra_directories:
        return 3
    return 24 if stats.vanished_files else 0
