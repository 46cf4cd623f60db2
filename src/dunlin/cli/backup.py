"""`dunlin backup`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli import keeping, parameters
from dunlin.cli.base import Command, Option, config_option

HELP = """
Make a snapshot of SOURCE in a repository.

What is stored already is not stored again: content is cut where it repeats, compressed and encrypted. Files that are
as they were in the last snapshot (by size, times, owner, mode and inode or etag) are not read. SOURCE may be any place
that `dunlin sync` reads. A backup that is interrupted leaves no snapshot, but the next one finds what it stored.
"""

EXAMPLE = """
dunlin backup /home/me --repo /mnt/vault
dunlin backup /home/me --repo /mnt/vault --tag monthly --exclude '*.tmp'
dunlin backup azfiles://projects --repo s3://bucket/backups --tenant acme --share-snapshot
dunlin backup -n /home/me --repo /mnt/vault
dunlin backup loc://nas/photos --repo loc://vault --queue redis://queue:6379/0
"""


@click.pass_context
def backup(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.backing import conduct

    return conduct(ctx, content=True)


def saving_options(content: bool) -> list[click.Parameter]:
    """The options of `backup` and `scan`."""
    what = parameters.WHAT_IS_SAVED
    whose = [
        keeping.tenant_option(),
        keeping.share_option("The share that the snapshot belongs to. Default: the last name of SOURCE."),
        keeping.tag_option("A word that the snapshot gets, for `snapshots` and `forget`; may be repeated."),
    ]
    read = [
        Option("--force", "Read every file, also those that have not changed.", section=what, is_flag=True),
        Option("--xattrs", "Keep extended attributes and access control lists. Default: yes.", section=what,
               is_flag=True),
        Option("--attempts", "How often a file is tried that changes while it is read. Default: 3.", section=what,
               type=parameters.whole(1, 100), metavar="N"),
    ]  # fmt: skip
    return [
        click.Argument(["source"], metavar="SOURCE"),
        *whose,
        *(read if content else []),
        Option("--share-snapshot", "Read SOURCE, a share of Azure Files, from a share snapshot that is made for the "
               "run and deleted after it.", section=what, is_flag=True),
        Option("--accept-source", "SOURCE may be empty although the last snapshot is not.", section=what, is_flag=True),
        *parameters.filter_options(),
        *([parameters.bandwidth_option()] if content else []),
        Option("--movers", "Processes that read, or for places far away threads. Default: automatic.",
               section=parameters.SPEED, automatic=True, type=parameters.whole(1, 256), metavar="N"),
        *parameters.queue_options(ranges=False),
        Option("-n --dry-run", "List what differs from the last snapshot, and write nothing.",
               section=parameters.OUTPUT, is_flag=True),
        *parameters.telling_options(),
        *keeping.repository_options("source"),
        config_option(parameters.CONFIGURATION),
    ]  # fmt: skip


command = Command(
    "backup",
    help=HELP,
    short_help="make a snapshot of SOURCE in a repository",
    example=EXAMPLE,
    callback=backup,
    params=saving_options(content=True),
)
