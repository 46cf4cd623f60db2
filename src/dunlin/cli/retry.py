"""`dunlin retry`."""

from __future__ import annotations

from typing import Any

import click

from dunlin.cli import parameters
from dunlin.cli.base import Command, config_option, echo, state_option

HELP = """
Transfer the files now that failed in RUN (default: the last one), and nothing else.

Nothing is listed and nothing deleted. Places, how files are compared and what of them is kept (-a and the like) are
those of the run. Logins are not on record: give the options for them again, unless they come from the environment or
the configuration file, and so with limits. Directories that could not be listed are not tried: `dunlin sync` does.
"""

EXAMPLE = """
dunlin retry
dunlin retry 12 --state-db /var/lib/dunlin/nightly.db
dunlin retry --account-key @key.txt
"""


@click.pass_context
def retry(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.asking import asked_again
    from dunlin.cli.conduct import conduct_all
    from dunlin.cli.statefile import find as find_state
    from dunlin.cli.statefile import lives, open_found
    from dunlin.jobs.retry import find

    path = find_state(values["state_db"])
    state = open_found(path, write=True)
    try:
        found = find(state, values["run"], lives)
    finally:
        state.close()
    if not found.files:
        echo(f"nothing to retry: no file that failed in run {found.run} is still out of sync")
        return 0
    return conduct_all(asked_again(ctx, found, path))


command = Command(
    "retry",
    help=HELP,
    short_help="transfer the files now that failed in a run",
    example=EXAMPLE,
    callback=retry,
    params=[
        click.Argument(["run"], metavar="[RUN]", required=False, type=parameters.whole(1)),
        state_option(),
        parameters.bandwidth_option(),
        *parameters.crew_options(),
        *parameters.limit_options(),
        *parameters.patience_options(),
        *parameters.output_options(),
        *parameters.audit_options(),
        *parameters.metrics_options(),
        *parameters.notify_options(),
        config_option(parameters.CONFIGURATION),
        *parameters.credential_options(),
    ],
)
