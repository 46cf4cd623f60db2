"""`dunlin scan`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli.backup import saving_options
from dunlin.cli.base import Command

HELP = """
Make a snapshot of SOURCE without its content: names, sizes, times, modes, owners.

No file is read, so it takes as long as a listing. `ls`, `find`, `du` and `diff` work on it as on any snapshot; there is
nothing to restore. A backup into the same share afterwards reads what it has not read yet.
"""

EXAMPLE = """
dunlin scan /srv/projects --repo /mnt/vault --share projects-scan
dunlin du --repo /mnt/vault --share projects-scan latest
"""


@click.pass_context
def scan(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.backing import conduct

    return conduct(ctx, content=False)


command = Command(
    "scan",
    help=HELP,
    short_help="make a snapshot of names, sizes and times, without content",
    example=EXAMPLE,
    callback=scan,
    params=saving_options(content=False),
)
