"""Finding the state file, and the runs in it that live: for commands that did not start the run."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from dunlin import config
from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.report import NullReport
from dunlin.state import Run, State, locate
from dunlin.state.location import DEFAULT_NAME, FALLBACK_NAME

WAIT = 10
"""Seconds for which a file that another process has locked is waited for."""

SLACK = 60.0
"""Seconds by which the start of a process, as the kernel tells it, may lie behind the start of its run."""


def open_state(option: str | None, *, write: bool) -> State:
    """The state file that `option` (``--state-db``) or the rules for the default name. Never makes one.

    Raises NOT_FOUND when there is none, and what `State.open` raises.
    """
    return open_found(find(option), write=write)


def open_found(path: str, *, write: bool) -> State:
    """The state file that `find` found; one line tells whoever has to wait for another process's lock."""

    def waits() -> None:
        line = f"dunlin: another process has locked {printable(path)}; waiting up to {WAIT} seconds for it"
        with suppress(OSError, ValueError):
            click.echo(line, err=True)

    return State.open(path, NullReport(), create=False, write=write, busy_ms=WAIT * 1000, waits=waits)


def find(option: str | None) -> str:
    """The path of the state file that is there; see `open_state`."""
    if option == "none":
        raise DunlinError("read the state", "", ErrorKind.USAGE, "--state-db none keeps none")
    directory, user = os.getcwd(), config.user_state_dir()
    path = locate(option, directory, user).path or ""
    if os.path.lexists(path):
        return path
    fallback = os.path.join(user, FALLBACK_NAME)
    if not option and path != fallback and os.path.exists(fallback):
        click.echo(f"dunlin: no {DEFAULT_NAME} here; reading {fallback}", err=True)
        return fallback
    hint = "give the file that `dunlin sync` used"
    if not option:
        hint = "go where `dunlin sync` was started, or give --state-db FILE"
    raise DunlinError("find the state file", path, ErrorKind.NOT_FOUND, "there is none", hint)


def lives(run: Run) -> bool:
    """Whether the process of a run that says "running" is there, and is not a later one of the same number."""
    return run.status == "running" and _is_there(run)


def watches(run: Run) -> bool:
    """Whether a run that is over was one of a watch that goes on."""
    return run.status != "running" and bool(run.options.get("watch")) and _is_there(run)


def _is_there(run: Run) -> bool:
    import psutil

    try:
        process = psutil.Process(run.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= run.started / 1e9 + SLACK)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and another user's
        return True
