"""`dunlin dashboard`."""

from __future__ import annotations

import sys

import click

from dunlin import config
from dunlin.cli.base import Command, Option, config_option, log_level_option, state_option
from dunlin.cli.parameters import whole

EXAMPLE = """
dunlin dashboard
dunlin dashboard --state-db /var/lib/dunlin/nightly.db --refresh-interval 1
dunlin dashboard --theme light
"""


def dashboard(state_db: str | None, refresh_interval: int, theme: str, log_level: str) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.statefile import find, lives
    from dunlin.errors import DunlinError, ErrorKind, usage

    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # Textual draws on the last
        raise usage("the dashboard needs a terminal", "`dunlin status` prints to pipes and files")
    if not config.moves_cursor():
        raise usage("the dashboard cannot draw on this terminal (TERM)", "`dunlin status` prints the same figures")
    path = find(state_db)
    from dunlin.state.overview import Overview
    from dunlin.tui.app import run

    try:
        Overview.open(path, lives).close()  # what is wrong with the file for good is said in one line, without a screen
    except DunlinError as error:
        if error.kind is not ErrorKind.LOCKED:
            raise
    return run(path, lives, float(refresh_interval), theme if config.color() else "default")


command = Command(
    "dashboard",
    help="""
    Show a running or finished sync live in the terminal: progress, load, throttling, the last 24 hours, activity,
    errors. Everything comes from the state file, so it may be started, and quit, at any time; ? lists the keys.
    """,
    short_help="show a running sync live in the terminal",
    example=EXAMPLE,
    callback=dashboard,
    params=[
        state_option(),
        config_option("Where"),
        Option("--refresh-interval", "Seconds between two looks at the state file. Default: 2.", section="Output",
               type=whole(1, 3600), default="2", metavar="SECONDS"),
        Option("--theme", "Colours: those of the terminal (default), dark or light.", section="Output",
               type=click.Choice(["default", "dark", "light"]), default="default"),
        log_level_option(),
    ],
)  # fmt: skip
