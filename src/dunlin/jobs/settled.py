"""`--ctime-skip`: before which change time a directory counts as settled, and is not looked up at the destination.

Theory. The change time (ctime) of a file moves whenever its content or metadata do, and no program can set it. So a
directory in which everything changed last before the last successful run *began* was seen by that run as it is now,
and what that run saw, it made so at the destination. Skipping it saves the listing of the destination; what somebody
changed *there* meanwhile is not noticed, as with `--trust-state`.

The rule rests on one clock, the source's, being compared with another, ours, that said when the run began. If the
source's is behind by an hour, a file written an hour after the run began bears the time at which it began, and the
change would be lost for good. Three things stand against that:

    * The state must agree. A directory is skipped only if its fingerprint (names, kinds, sizes, mtimes, modes,
      owners; change times too where extended attributes or ACLs are kept) is the recorded one as well. So a clock can
      hide only a change that `--compare size+mtime` cannot see either, while the change time, where the clocks are
      right, shows even that one.
    * A margin (`--ctime-margin`) is taken off the time at which the run began.
    * A last successful run that began in the future shows that our clock was set back: nothing is skipped.

Nothing is skipped either in a mirror (what somebody put there must go), at the root, and where no run of these
options has ended without any failure. A source without change times is an object store: the version of each object
is in the fingerprint, which then decides alone.
"""

from __future__ import annotations

import time

from dunlin.jobs.options import SyncOptions
from dunlin.model import Stats
from dunlin.report import Event, Level, Report
from dunlin.state.store import State

EVER = (1 << 63) - 1
"""Every change time lies before it."""

MARGIN = SyncOptions._field_defaults["ctime_margin"]


def settled_before(options: SyncOptions, state: State, pair: int, far: bool, report: Report, now: int) -> int | None:
    """Change times (ns) before this are settled; None: nothing is skipped, and why is reported.

    Args:
        pair: its number in the state. far: the source is an object store.
        now: the time by the machine's clock, ns since 1970; the state's own never goes back.
    """
    if not options.ctime_skip:
        if options.ctime_margin != MARGIN:
            report.event(Event(Level.WARN, "ctime.off", "--ctime-margin does nothing without --ctime-skip", {}))
        return None
    began = state.last_success(pair)
    refusal = _refusal(options, began, now)
    if began is None or refusal:
        level = Level.WARN if began is not None else Level.INFO
        report.event(Event(level, "ctime.off", f"--ctime-skip skips nothing: {refusal}", {}))
        return None
    return EVER if far else began - int(options.ctime_margin * 1e9)


def _refusal(options: SyncOptions, began: int | None, now: int) -> str:
    if options.policy.delete:
        return "extras are deleted, so every directory of the destination is listed"
    if began is None:
        return "no run has ended without any failure yet"
    return "the last run began in the future; was the clock set back?" if began > now else ""


def none_settled(before: int | None, stats: Stats) -> str:
    """Why a crawl that was to skip directories has skipped none; "" where it did, or there was none to skip.

    Args:
        before: as `settled_before` said. stats: of the crawl.
    """
    if before is None or stats.settled_directories or stats.scanned_directories < 2:
        return ""
    if before == EVER:
        return "--ctime-skip skipped nothing: no directory below the root is as the state has it"
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(max(0, before) // 10**9))
    return (
        f"--ctime-skip skipped nothing: every directory holds what changed after {moment} (--ctime-margin before the "
        "last successful run began), or is not as the state has it"
    )
