"""What becomes of units that no mover brought to an end."""

from __future__ import annotations

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import Level
from dunlin.transfer.outcome import Outcome


def given_up(directory: str, deaths: int, stopping: bool) -> Outcome:
    """The unit is not done again: so many movers died over it, or the run is to stop, which ends all units."""
    outcome = Outcome()
    if stopping:
        outcome.end(DunlinError("finish", directory, ErrorKind.INTERRUPTED))
    else:
        error = DunlinError("finish", directory, ErrorKind.INTERNAL, f"{deaths} movers died over it")
        outcome.fail("", error, deaths, "failed_directories")
    return outcome


def fault(directory: str, text: str, trace: str) -> Outcome:
    """The unit ended with an exception that nobody expected."""
    outcome = Outcome()
    error = DunlinError("finish", directory, ErrorKind.INTERNAL, text, "this is a fault of dunlin")
    outcome.fail("", error, count="failed_directories")
    outcome.tell(Level.DEBUG, "fault", trace)
    return outcome
