"""`dunlin find`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import Option
from dunlin.cli.ls import show

HELP = """
Find names in a snapshot, from its index alone.

PATTERN is for the name, not its path: * stands for any characters, ? for one, [abc] for one of these. Put it in quotes.
Directories come first, in no other order.
"""

EXAMPLE = """
dunlin find --repo /mnt/vault latest '*.docx'
dunlin find --repo /mnt/vault -i latest:photos 'img_[0-9]*'
"""


@click.pass_context
def find(ctx: click.Context, /, snapshot: str, pattern: str, ignore_case: bool, as_json: bool, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.jobs.browse import find as found

    with keeping.repository_of(ctx) as opened:
        spot = keeping.spot_of(ctx, opened, snapshot)
        show(found(spot, pattern, ignore_case=bool(ignore_case)), as_json, long=False)
    return 0


command = keeping.looking(
    "find", "find names in a snapshot", HELP, EXAMPLE, find,
    [click.Argument(["snapshot"], metavar="SNAPSHOT[:PATH]"), click.Argument(["pattern"], metavar="PATTERN")],
    [Option("-i --ignore-case", "Do not tell upper from lower case.", section="Names", is_flag=True)],
)  # fmt: skip
