"""`dunlin restore`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping, parameters
from dunlin.cli.base import Command, Option, config_option, settings_of

if TYPE_CHECKING:
    from dunlin.jobs.options import SyncOptions

HELP = """
Bring back what a snapshot holds into DESTINATION, which may be any place that `dunlin sync` writes to.

SNAPSHOT is latest, or the beginning of an id or of a time. The contents of the snapshot, or of the directory PATH in
it, go into DESTINATION; of a file PATH it is that file. Permissions, owners, times, links, special files, extended
attributes and access control lists come back where the destination can hold them. A restore that was interrupted is
begun again with the same words: it brings what is missing.
"""

EXAMPLE = """
dunlin restore latest /mnt/new --repo /mnt/vault
dunlin restore latest:etc/ssh /tmp/ssh --repo /mnt/vault
dunlin restore 20260131 s3://bucket/site --repo /mnt/vault --include '*.html' --exclude '*'
dunlin restore -n --delete latest /home/me --repo /mnt/vault
"""

WHAT = "What is restored"
OVERWRITE = ("if-changed", "always", "if-newer", "never")


@click.pass_context
def restore(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    opening = keeping.opening(ctx)
    from dunlin.cli.asking import notes_of, telling_of
    from dunlin.cli.conduct import conduct
    from dunlin.jobs.options import SEVERITY
    from dunlin.jobs.restore import Snapshot, restoring, verifying

    given, place = _asked(ctx), keeping.place_of(ctx)
    opened = opening()
    try:
        snapshot = Snapshot(place, opened, keeping.spot_of(ctx, opened, values["snapshot"], content=True))
    finally:
        opened.close()
    options = restoring(given, snapshot, values.get("overwrite") or OVERWRITE[0])
    code = conduct(options, telling_of(ctx), notes_of(ctx))
    if not values.get("verify") or options.mode != "sync" or code not in (0, 23, 24):
        return code
    return min(code, conduct(verifying(options), telling_of(ctx)), key=SEVERITY.index)


def _asked(ctx: click.Context) -> SyncOptions:
    """What the command line says beside the snapshot. Raises USAGE and CONFIG."""
    from dunlin import config
    from dunlin.cli.asking import flags_of, spread_to
    from dunlin.cli.options import Where, rules_of, sync_options
    from dunlin.config.logins import place
    from dunlin.errors import usage

    destination = ctx.params["destination"]
    if not destination.strip():
        raise usage("DESTINATION is empty", "is a variable of the shell unset?")
    target = place(destination, "dest", flags_of(ctx), settings_of(ctx))
    if target.exposed:
        ctx.meta["dunlin.shown"] = [*ctx.meta.get("dunlin.shown", ()), "the URL"]
    kept = {name: ctx.params.get(name) is not False for name in ("perms", "owner", "group", "xattrs", "hard_links")}
    values = {
        **ctx.params,
        **kept,
        "acls": kept["xattrs"] and kept["perms"],
        "delete_extras": ctx.params.get("delete"),
        "state_db": ctx.params.get("state_db") or "none",
    }
    return sync_options(
        values,
        rules_of(ctx, parameters.FILTERS),
        where=Where("", target.url, login_target=target.login),
        command="restore",
        now=time.time_ns(),
        user_state=config.user_state_dir(),
        runtime=config.runtime_dir(),
    )._replace(**spread_to(ctx, settings_of(ctx), ctx.params["repo"], destination))


def _switch(shown: str, help: str, section: str = WHAT, **attributes: Any) -> Option:
    return Option(shown, help, section=section, is_flag=True, **attributes)


def _options() -> list[click.Parameter]:
    return [
        click.Argument(["snapshot"], metavar="SNAPSHOT[:PATH]"),
        click.Argument(["destination"], metavar="DESTINATION"),
        keeping.tenant_option(),
        keeping.share_option(),
        Option("--overwrite", "What becomes of files that the destination has: if-changed (default) writes those that "
               "differ in size or time, always writes all, if-newer those that are newer in the snapshot, never none.",
               section=WHAT, type=click.Choice(OVERWRITE), metavar="WHEN"),
        _switch("--perms", "Restore permissions. Default: yes."),
        _switch("--owner", "Restore owners, where this user may set them. Default: yes."),
        _switch("--group", "Restore groups, where this user may set them. Default: yes."),
        _switch("--hard-links", "Names of one file become names of one file. Default: yes."),
        _switch("--xattrs", "Restore extended attributes and access control lists. Default: yes."),
        _switch("-S --sparse", "Leave holes where a file holds only zeros."),
        _switch("--verify", "Read everything back afterwards and compare it with the snapshot."),
        *parameters.filter_options(),
        _switch("--delete", "Delete what only the destination has, after all transfers.", parameters.MIRROR),
        Option("--max-delete", "Delete nothing if there is more to delete. Default: a quarter of the snapshot's files, "
               "at least 100.", section=parameters.MIRROR, type=parameters.whole(0), metavar="N"),
        parameters.bandwidth_option(),
        *parameters.crew_options(),
        *parameters.queue_options(),
        Option("--fsync", "none, checkpoint (default: in the background) or file (each file before it is named).",
               section=parameters.WHOLE, type=click.Choice(("none", "checkpoint", "file")), metavar="HOW"),
        Option("--state-db", "Keep the state of a sync in FILE. Default: none.", section=parameters.STATE,
               metavar="FILE"),
        Option("--lock-wait", "Seconds to wait for another run on the same destination. Default: 10.",
               section=parameters.STATE, type=parameters.SECONDS, metavar="SECONDS"),
        _switch("-n --dry-run", "Print what would be done, and do nothing.", parameters.OUTPUT),
        *(each for each in parameters.output_options() if each.name in _TOLD),
        *keeping.repository_options("dest"),
        config_option(parameters.CONFIGURATION),
    ]  # fmt: skip


_TOLD = ("verbose", "quiet", "progress", "as_json", "report_file", "log_level", "log_format")

command = Command(
    "restore",
    help=HELP,
    short_help="bring back what a snapshot holds",
    example=EXAMPLE,
    callback=restore,
    params=_options(),
)
