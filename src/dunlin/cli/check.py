"""`dunlin check`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli import parameters
from dunlin.cli.base import Command, Option, config_option

HELP = """
Compare SOURCE and DESTINATION without moving anything.

Prints a line for every name that differs: `differ`, `missing` (at DESTINATION) or `extra` (not in SOURCE), then how
many matched. Ends with 3 when anything differs. --compare checksum reads both sides.
"""

EXAMPLE = """
dunlin check /mnt/old /mnt/new
dunlin check --compare checksum --json /mnt/old /mnt/new
"""


@click.pass_context
def check(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.asking import asked
    from dunlin.cli.conduct import conduct_all

    return conduct_all(asked(ctx, parameters.FILTERS))


def _options() -> list[click.Parameter]:
    one_way = Option(
        "--one-way", "Names that only DESTINATION has are no difference.", section=parameters.SAME, is_flag=True
    )  # fmt: skip
    return [
        *parameters.places(),
        *parameters.container_options(),
        *parameters.metadata_options(),
        *parameters.compare_options(),
        one_way,
        *parameters.filter_options(),
        parameters.bandwidth_option(),
        *parameters.crew_options(),
        *parameters.patience_options(),
        parameters.checksum_option("The hash that --compare checksum compares by. Default: blake3."),
        *parameters.output_options(),
        *parameters.metrics_options(),
        *parameters.notify_options(),
        config_option(parameters.CONFIGURATION),
        *parameters.credential_options(),
    ]


command = Command(
    "check",
    help=HELP,
    short_help="compare SOURCE and DESTINATION without moving anything",
    example=EXAMPLE,
    callback=check,
    params=_options(),
)
