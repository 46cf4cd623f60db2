"""`dunlin ls`."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import Option, echo
from dunlin.errors import printable

if TYPE_CHECKING:
    from dunlin.jobs.browse import Line

HELP = """
List what a snapshot holds: a directory of it, or with -R everything below. Nothing but the index is read.

-l adds mode, owner, size and time, and where links lead.
"""

EXAMPLE = """
dunlin ls --repo /mnt/vault latest
dunlin ls --repo /mnt/vault -l latest:photos/2024
dunlin ls --repo /mnt/vault -R --json 3f2a > names.json
"""


@click.pass_context
def ls(ctx: click.Context, /, snapshot: str, long: bool, recursive: bool, as_json: bool, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.jobs.browse import listing

    with keeping.repository_of(ctx) as opened:
        spot = keeping.spot_of(ctx, opened, snapshot)
        show(listing(spot, deep=bool(recursive), long=bool(long)), as_json, bool(long), _below(spot.path, recursive))
    return 0


def _below(path: str, recursive: bool) -> str:
    """What is cut off the paths that are shown: names alone are easier to read, where they are plain."""
    return f"{path}/" if path and not recursive else ""


def show(lines: Iterable[Line], as_json: bool, long: bool, cut: str = "") -> int:
    """Print them one by one, JSON as a line for each; how many there were."""
    number = 0
    for line in lines:
        number += 1
        path = line.path.removeprefix(cut)
        echo(json.dumps(machine(line)) if as_json else f"{_facts(line)}{_shown(line, path)}" if long
             else _shown(line, path))  # fmt: skip
    return number


def machine(line: Line) -> dict[str, Any]:
    """A name as a value of --json; what nobody asked for is left out."""
    facts = {"path": line.path, "kind": _KINDS.get(line.kind, "other"), "size": line.size, "mtime": line.mtime}
    if line.mode is not None:
        facts |= {"mode": stat.S_IMODE(line.mode), "uid": line.uid, "gid": line.gid}
    if line.target:
        facts["target"] = line.target
    return facts


_KINDS = {
    stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device",
}  # fmt: skip


def _shown(line: Line, path: str) -> str:
    slash = "/" if line.kind == stat.S_IFDIR else ""
    target = f" -> {printable(line.target)}" if line.target else ""
    return f"{printable(path)}{slash}{target}"


def _facts(line: Line) -> str:
    from dunlin.pace.sizes import format_moment

    mode = stat.filemode(line.mode if line.mode is not None else line.kind)
    owners = [str(each) if each is not None else "-" for each in (line.uid, line.gid)]
    return f"{mode} {owners[0]:>5} {owners[1]:>5} {line.size:>14,} {format_moment(line.mtime, seconds=True)} "


command = keeping.looking(
    "ls", "list a directory of a snapshot", HELP, EXAMPLE, ls,
    [click.Argument(["snapshot"], metavar="SNAPSHOT[:PATH]")],
    [
        Option("-l --long", "Show mode, owner, group, size, time and where links lead.", section=keeping.OUTPUT,
               is_flag=True),
        Option("-R --recursive", "List everything below, too.", section=keeping.OUTPUT, is_flag=True),
    ],
)  # fmt: skip
