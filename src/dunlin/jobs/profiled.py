"""A run that tells where its time went: `--profile FILE`.

The file is what `python -m pstats FILE`, snakeviz and gprof2dot read; `workers.profiles` has the theory.
"""

from __future__ import annotations

import marshal
import os
import re
import shutil
import tempfile
from typing import Any

from dunlin.errors import DunlinError, ErrorKind, printable, translate
from dunlin.jobs.options import Result, SyncOptions
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from dunlin.workers.profiles import Profiles, gather

SHOWN = 10
"""Functions that are named in the log."""

Function = tuple[str, int, str]
"""File, line, name: the keys of `pstats.Stats.stats`."""


def run(options: SyncOptions, stop: Stop, report: Report) -> Result:
    """`jobs.sync.run`, with a profile of it in `options.log.profile`, also if it fails.

    Raises USAGE, before anything is done, when that file cannot be written; and what `jobs.sync.run` raises.
    """
    from dunlin.jobs.sync import run as run_itself

    path = options.log.profile
    assert path is not None
    _claim(path)
    parts = tempfile.mkdtemp(prefix="dunlin-profile-")
    profiles = Profiles(parts)
    try:
        return profiles.run(run_itself, options._replace(log=options.log._replace(parts=parts)), stop, report)
    finally:
        profiles.leave()
        try:
            _write(path, parts, options.log.names, report)
        finally:
            shutil.rmtree(parts, ignore_errors=True)


def _claim(path: str) -> None:
    """Make sure that the file can be written; one that is there keeps its content until the run is over."""
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        reason = translate(error, "write the profile", path).reason
        raise DunlinError("write the profile", path, ErrorKind.USAGE, reason) from error


def _write(path: str, parts: str, names: bool, report: Report) -> None:
    stats, processes = gather(parts)
    try:
        with open(path, "wb") as file:
            marshal.dump(stats.stats, file)
    except OSError as error:
        reason = str(translate(error, "write the profile", path))
        report.event(Event(Level.WARN, "profile.lost", reason, {"path": path}))
        return
    fields = {"path": path, "processes": processes, "calls": stats.total_calls, "seconds": round(stats.total_tt, 3)}
    words = f"Profile written to {printable(path)} (processes={processes}, calls={stats.total_calls:,})"
    report.event(Event(Level.INFO, "profile.written", words, fields))
    level = Level.INFO if names else Level.DEBUG
    for function, own, whole, calls in expensive(stats.stats):
        words = f"{own:9.3f}s own {whole:9.3f}s with what it calls {calls:11,} calls  {function}"
        told = {"function": function, "own_seconds": round(own, 6), "seconds": round(whole, 6), "calls": calls}
        report.event(Event(level, "profile.function", words, told))


def expensive(stats: dict[Function, Any], most: int = SHOWN) -> list[tuple[str, float, float, int]]:
    """The functions that took the longest by themselves: name, own seconds, seconds with what they call, calls."""
    ranked = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)[:most]
    return [(_shown(function), own, whole, calls) for function, (_, calls, own, whole, _) in ranked]


def _shown(function: Function) -> str:
    """``workers/scan.py:149(run)``; what is built in has no file."""
    file, line, name = function
    if file == "~":
        return name
    file = re.split(r"/(?:dunlin|site-packages|lib/python[0-9.]+)/", file.replace(os.sep, "/"))[-1]
    return f"{file}:{line}({name})"
