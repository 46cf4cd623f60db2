"""`dunlin config`."""

from __future__ import annotations

import json
from typing import Any

import click

from dunlin.cli.base import Command, Option, closest, config_option, echo, log_level_option, settings_of
from dunlin.errors import printable, usage

EXAMPLE = """
dunlin config show
dunlin config show --config nightly.toml --json
"""


@click.pass_context
def config(ctx: click.Context, /, verb: tuple[str, ...], as_json: bool, log_level: str) -> int:
    """Parse, call, print, exit code."""
    from dunlin.config.show import listed, rows

    if verb != ("show",):
        word = verb[0] if verb and verb != ("show",) else ""
        raise usage(f"config cannot {printable(word)}" if word else "what about the configuration?",
                    closest(word, ("show",)) or "write `dunlin config show`")  # fmt: skip
    settings = settings_of(ctx)
    found = [*rows(settings), *(listed(settings.file) if settings.file else ())]
    for note in settings.notes:
        click.echo(f"dunlin: {printable(note)}", err=True)
    path = settings.file.path if settings.file else None
    if as_json:
        values = [{"key": row.key, "value": row.value, "from": row.origin} for row in found]
        echo(json.dumps({"file": path, "values": values}))
        return 0
    echo(printable(path) if path else "no configuration file")
    width = max(len(row.key) for row in found)
    cells = [(row.key, _cell(row.value), row.origin) for row in found]
    middle = min(48, max(len(cell) for _, cell, _ in cells))
    for key, cell, origin in cells:
        echo(f"{key:<{width}}  {cell:<{middle}}  {printable(origin)}")
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return printable(str(value)) if value != "" else '""'


command = Command(
    "config",
    help="""
    Show what holds below the command line: every value with the variable, or the file and line, that it came from.
    Secrets are shown as ***.
    """,
    short_help="show the configuration that holds, and where it came from",
    example=EXAMPLE,
    callback=config,
    params=[
        click.Argument(["verb"], metavar="show", nargs=-1),
        config_option("Where"),
        Option("--json", "Print a JSON object.", section="Output", into="as_json", is_flag=True),
        log_level_option(),
    ],
)
