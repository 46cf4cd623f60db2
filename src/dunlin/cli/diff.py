"""`dunlin diff`."""

from __future__ import annotations

import json
from typing import Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import echo
from dunlin.errors import printable

HELP = """
Show what differs between two snapshots, or between one directory of both; from their indexes alone.

A line for each name: added, removed, changed, or metadata (the content is the same; time, mode, owner or the like is
not). Ends with 3 when anything differs.
"""

EXAMPLE = """
dunlin diff --repo /mnt/vault 20260131 latest
dunlin diff --repo /mnt/vault 3f2a:home latest:home
"""


@click.pass_context
def diff(ctx: click.Context, /, old: str, new: str, as_json: bool, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.jobs.browse import diff as changes

    number = 0
    with keeping.repository_of(ctx) as opened:
        for each in changes(keeping.spot_of(ctx, opened, old), keeping.spot_of(ctx, opened, new)):
            number += 1
            if as_json:
                echo(json.dumps(each._asdict()))
            else:
                echo(f"{each.what} {printable(each.path) or '.'}{'/' if each.directory else ''}")
    return 3 if number else 0


command = keeping.looking(
    "diff", "show what differs between two snapshots", HELP, EXAMPLE, diff,
    [click.Argument(["old"], metavar="A[:PATH]"), click.Argument(["new"], metavar="B[:PATH]")],
)  # fmt: skip
