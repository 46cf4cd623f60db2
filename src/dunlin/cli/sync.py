"""`dunlin sync`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli import parameters
from dunlin.cli.base import Command, Option, config_option

HELP = """
Make DESTINATION equal to SOURCE: the contents of SOURCE go into DESTINATION, and a slash at the end changes nothing.

Each is a local or mounted directory (a path or file:// URL), az://CONTAINER/PREFIX or the https:// URL of a container,
s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azfiles://SHARE/PATH or the https:// URL of a share, or loc://NAME/PATH from
the configuration. Files are in sync when kind, size and modification time agree. A run that is interrupted is continued
by the next one. Nothing is deleted without --delete-extras. Pairs may also stand in the configuration file: `dunlin
sync` alone syncs them all.
"""

EXAMPLE = """
dunlin sync -a /home/me /mnt/backup/me
dunlin sync -a -n --delete-extras /mnt/old /mnt/new
dunlin sync -aHAXS --bwlimit '08:00,5M 19:00,off' --log-file audit.log /mnt/old /mnt/new
dunlin sync --include '*.jpg' --exclude '*' /mnt/camera /mnt/photos
dunlin sync --container photos --account-name me --account-key @key.txt --output-path ./data
"""


@click.pass_context
def sync(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.asking import asked
    from dunlin.cli.conduct import conduct_all

    return conduct_all(asked(ctx, parameters.FILTERS))


def _options() -> list[click.Parameter]:
    dry = Option(
        "-n --dry-run", "Print what would be done, and do nothing.", section=parameters.OUTPUT, is_flag=True
    )  # fmt: skip
    return [
        *parameters.places(),
        *parameters.container_options(),
        *parameters.sync_metadata_options(),
        *parameters.sync_compare_options(),
        *parameters.filter_options(),
        *parameters.mirror_options(),
        *parameters.speed_options(),
        *parameters.integrity_options(),
        *parameters.state_options(),
        *parameters.queue_options(),
        dry,
        *parameters.output_options(),
        *parameters.audit_options(),
        *parameters.watch_options(),
        *parameters.metrics_options(),
        *parameters.notify_options(),
        config_option(parameters.CONFIGURATION),
        *parameters.credential_options(),
    ]


command = Command(
    "sync",
    help=HELP,
    short_help="make DESTINATION equal to SOURCE",
    example=EXAMPLE,
    callback=sync,
    params=_options(),
)
