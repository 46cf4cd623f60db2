"""`dunlin dashboard`."""

from __future__ import annotations

import sys

import click
from click.core import ParameterSource

from dunlin import config
from dunlin.cli.base import Command, Option, config_option, log_level_option, settings_of, state_option
from dunlin.cli.parameters import whole

EXAMPLE = """
dunlin dashboard
dunlin dashboard --state-db /var/lib/dunlin/nightly.db --refresh-interval 1
dunlin dashboard --theme light
dunlin dashboard --url https://files.example.com --key @key.txt
"""

COMMANDLINE = ParameterSource.COMMANDLINE

INTERVAL = 2
"""Seconds between two looks, unless somebody says otherwise."""


@click.pass_context
def dashboard(
    ctx: click.Context,
    /,
    state_db: str | None,
    url: str | None,
    key: str | None,
    refresh_interval: int | None,
    theme: str | None,
    log_level: str,
) -> int:
    """Parse, call, print, exit code."""
    from dunlin.errors import usage

    # Variables yield to the command line; one that is empty stands for the default.
    written = {name for name in ("state_db", "url", "key") if ctx.get_parameter_source(name) is COMMANDLINE}
    if {"state_db", "url"} <= written:
        raise usage("--state-db and --url are two things to look at", "give one of them")
    if "key" in written and not (url and "state_db" not in written):
        raise usage("--key is for a service", "name it with --url http://HOST:PORT")
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # Textual draws on the last
        raise usage("the dashboard needs a terminal", "`dunlin status` prints to pipes and files")
    if not config.moves_cursor():
        raise usage("the dashboard cannot draw on this terminal (TERM)", "`dunlin status` prints the same figures")
    look = theme if theme and config.color() else "default"
    seconds = float(refresh_interval or INTERVAL)
    if url and "state_db" not in written:
        return _service(ctx, url, key or "", seconds, look)
    return _state(state_db, seconds, look)


def _state(state_db: str | None, seconds: float, theme: str) -> int:
    from dunlin.cli.statefile import find, lives, watches
    from dunlin.errors import DunlinError, ErrorKind

    path = find(state_db)
    from dunlin.state.overview import Overview
    from dunlin.tui.app import run

    try:
        Overview.open(path, lives).close()  # what is wrong with the file for good is said in one line, without a screen
    except DunlinError as error:
        # A file that is locked, or that a run which began this moment is about to fill, is waited for on the screen.
        if error.kind not in (ErrorKind.LOCKED, ErrorKind.NOT_FOUND):
            raise
    return run(path, lives, watches, seconds, theme)


def _service(ctx: click.Context, url: str, key: str, seconds: float, theme: str) -> int:
    from dunlin.config.logins import Said, secret_of
    from dunlin.tui.remote import Client

    found = settings_of(ctx).find("--key")
    written = ctx.get_parameter_source("key") is COMMANDLINE
    origin = "--key" if written or found is None else found.origin
    client = Client(url, secret_of(Said(key, origin)).strip())
    client.greet()  # what is wrong with the address or the key is said in one line, without a screen
    from dunlin.tui.service import run

    shows = written and not key.startswith("@")
    note = "everybody can read the key in the list of processes; use DUNLIN_KEY or --key @FILE" if shows else ""
    return run(client, seconds, theme, note)


command = Command(
    "dashboard",
    help="""
    Show a running or finished sync live in the terminal: progress, load, throttling, the last 24 hours, activity,
    errors. Everything comes from the state file, so it may be started, and quit, at any time; ? lists the keys.
    With --url it shows a service instead: jobs, queues, workers, and what happened.
    """,
    short_help="show a running sync live in the terminal",
    example=EXAMPLE,
    callback=dashboard,
    params=[
        state_option(),
        Option("--url", "Show the service (`dunlin serve`) at this address instead of a state file.", section="Where",
               metavar="URL"),
        Option("--key", "A key of that service, where it asks for one: @FILE, or better in DUNLIN_KEY.",
               section="Where", metavar="KEY"),
        config_option("Where"),
        Option("--refresh-interval", "Seconds between two looks. Default: 2.", section="Output",
               type=whole(1, 3600), metavar="SECONDS"),
        Option("--theme", "Colours: those of the terminal (default), dark or light.", section="Output",
               type=click.Choice(["default", "dark", "light"])),
        log_level_option(),
    ],
)  # fmt: skip
