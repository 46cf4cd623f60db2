"""`dunlin du`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import Option, echo
from dunlin.cli.parameters import whole
from dunlin.errors import printable, usage

if TYPE_CHECKING:
    from dunlin.jobs.browse import Bar

HELP = """
Show how much lies in a directory of a snapshot, and in each directory right below it; from the index alone.

Bytes are those of the files as they were, before deduplication and compression; `dunlin repo stats` tells what they
take in the repository. --sizes and --ages count the files below the directory instead, by size and by the time from
their last modification to the snapshot.
"""

EXAMPLE = """
dunlin du --repo /mnt/vault latest
dunlin du --repo /mnt/vault --depth 2 latest:home
dunlin du --repo /mnt/vault --depth 0 --json 20260131
dunlin du --repo /mnt/vault --sizes --ages latest:home
"""


@click.pass_context
def du(
    ctx: click.Context, /, snapshot: str, depth: int | None, sizes: bool, ages: bool, as_json: bool, **values: Any
) -> int:
    """Parse, call, print, exit code."""
    from dunlin.jobs import browse
    from dunlin.pace.sizes import format_size

    if depth is not None and (sizes or ages):
        raise usage("--depth goes with neither --sizes nor --ages", "they count all files below the directory")
    with keeping.repository_of(ctx) as opened:
        spot = keeping.spot_of(ctx, opened, snapshot)
        if sizes:
            _show(browse.sizes(spot), format_size, as_json)
        if ages:
            _show(browse.ages(spot), _age, as_json)
        if sizes or ages:
            return 0
        for each in browse.sums(spot, 1 if depth is None else depth):
            if as_json:
                echo(json.dumps(each._asdict()))
            else:
                echo(f"{format_size(each.size):>10} {each.files:>13,}  {printable(each.path) or '.'}")
    return 0


def _show(bars: Iterable[Bar], words: Callable[[int], str], as_json: bool) -> None:
    """A histogram: a line for each bar."""
    from dunlin.pace.sizes import format_size

    for bar in bars:
        if as_json:
            echo(json.dumps(bar._asdict()))
            continue
        end = f"to {words(bar.below)}" if bar.below is not None else "and more"
        echo(f"{format_size(bar.size):>10} {bar.files:>13,}  {bar.of} {words(bar.least)} {end}")


def _age(seconds: int) -> str:
    """Whole days, or years of 365 of them."""
    days = seconds // 86_400
    return f"{days // 365}y" if days >= 365 else f"{days}d"


command = keeping.looking(
    "du", "show how much lies where in a snapshot", HELP, EXAMPLE, du,
    [click.Argument(["snapshot"], metavar="SNAPSHOT[:PATH]")],
    [Option("--depth", "Levels of directories that are shown. Default: 1.", section=keeping.OUTPUT,
            type=whole(0, 1000), metavar="N"),
     Option("--sizes", "Count files by size, in powers of two.", section=keeping.OUTPUT, is_flag=True),
     Option("--ages", "Count files by age.", section=keeping.OUTPUT, is_flag=True)],
)  # fmt: skip
