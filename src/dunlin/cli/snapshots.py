"""`dunlin snapshots`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import echo
from dunlin.errors import DunlinError, printable

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.repository import SnapshotName

HELP = """
List the snapshots of a repository, the oldest first: of one share, or of all shares of the tenant.

SNAPSHOT in other commands is the beginning of an id or of a time (20260131, 20260131T18), or latest.
"""

EXAMPLE = """
dunlin snapshots --repo /mnt/vault
dunlin snapshots --repo /mnt/vault --share docs --tag monthly
dunlin snapshots --repo s3://bucket/backups --json
"""


@click.pass_context
def snapshots(ctx: click.Context, /, share: str | None, tag: tuple[str, ...], as_json: bool, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.jobs.browse import snapshots as listed

    with keeping.repository_of(ctx) as opened:
        damaged: list[tuple[SnapshotName, DunlinError]] = []
        found = listed(opened, keeping.tenant_of(ctx), share or "", tag, damaged)
    _show(found, bool(tag), as_json, [name.id for name, _ in damaged])
    for _, error in damaged:
        click.echo(f"dunlin: {error}; dunlin forget --damaged lets go of it", err=True)
    return 3 if damaged else 0


def _show(found: list[Manifest], tagged: bool, as_json: bool, damaged: list[str]) -> None:
    if as_json:
        echo(json.dumps({"snapshots": [keeping.described(each) for each in found], "damaged": damaged}))
        return
    if not found:
        if not damaged:
            echo("no snapshots yet" if not tagged else "no snapshot has these tags")
        return
    from dunlin.cli.history import table
    from dunlin.pace.sizes import format_moment, format_size

    rows = [
        (each.id[:8], format_moment(each.time, seconds=True), each.share, f"{each.totals.files:,}",
         format_size(each.totals.bytes), format_size(each.totals.stored_bytes), keeping.marks(each),
         printable(each.host))
        for each in found
    ]  # fmt: skip
    echo("\n".join(table(("id", "time", "share", "files", "bytes", "stored", "tags", "host"), rows, (0, 1, 2, 6, 7))))


command = keeping.looking(
    "snapshots", "list the snapshots of a repository", HELP, EXAMPLE, snapshots, [],
    [keeping.tag_option("Only those with this tag; several times: with all of them.")],
    share=keeping.ANY_SHARE,
)  # fmt: skip
