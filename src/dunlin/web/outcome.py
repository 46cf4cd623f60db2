"""How a job ended that the service ran, and what the ledger keeps of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from dunlin.jobs.options import Result


class Done(NamedTuple):
    """How a job ended.

    Attributes:
        status: completed, failed or interrupted.
        good: it did what it was asked for.
        message: what is wrong, in a line.
        result: plain values, for the ledger.
    """

    status: str
    good: bool
    message: str
    result: dict[str, Any]


def good(status: str, exit_code: int, compares: bool = False) -> bool:
    """Whether work did what it was asked for; `compares`: to find differences is what it was asked for."""
    return status == "completed" and exit_code in ((0, 3, 24) if compares else (0, 24))


def told(result: Result) -> dict[str, Any]:
    """How a run ended, for the ledger."""
    stats = msgspec.to_builtins(result.stats)
    return {
        "status": result.status, "message": result.message, "exit_code": result.exit_code, "run": result.run,
        "continued": result.continued, "stats": {name: value for name, value in stats.items() if value},
    }  # fmt: skip


def ended(result: Result, compares: bool = False) -> Done:
    """A run that has ended."""
    failed = result.stats.failed_files + result.stats.failed_directories
    message = result.message or f"{failed:,} files failed (exit code {result.exit_code})"
    return Done(result.status, good(result.status, result.exit_code, compares), message, told(result))
