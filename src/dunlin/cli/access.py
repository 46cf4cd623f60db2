"""What `dunlin user` and `dunlin key` share: they write to the ledger that a service of the same configuration uses.

The service may be running or not; what it is told by another key it takes up within seconds.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli.base import Command, Option, closest, config_option, echo, log_level_option, settings_of
from dunlin.cli.exposed import note_of, places_with_passwords, typed
from dunlin.errors import printable, usage

if TYPE_CHECKING:
    from dunlin.config.service import Service
    from dunlin.queue.ledger.ledger import Ledger

ROLES = ("viewer", "operator", "admin")
VERBS = ("add", "list", "revoke")


def verb_of(words: tuple[str, ...], what: str) -> tuple[str, str]:
    """The verb and the name behind it, or "". Raises USAGE."""
    if not words:
        raise usage(f"what about the {what}?", f"write one of: {', '.join(VERBS)}")
    verb, *rest = words
    if verb not in VERBS:
        hint = closest(verb, VERBS) or f"write {', '.join(VERBS)}"
        raise usage(f"a {what} cannot be told to {printable(verb)}", hint)
    if len(rest) > 1 or (verb == "list" and rest):
        raise usage(f"{verb} takes nothing more, but there is {printable(' '.join(rest[1:] or rest))}")
    return verb, rest[0] if rest else ""


@contextmanager
def ledger_of(ctx: click.Context) -> Iterator[tuple[Ledger, Service]]:
    """The ledger that the options and the configuration name, and what the latter says."""
    from dunlin.cli.serve import ledger_place, place_of
    from dunlin.config.service import DEFAULT_TENANT, service
    from dunlin.queue.ledger.ledger import open_ledger
    from dunlin.queue.ledger.words import Tenant

    found = service(settings_of(ctx))
    values = ctx.params
    over = typed(ctx, "queue", "ledger")
    found = found._replace(queue=over.get("queue", found.queue), ledger=over.get("ledger", found.ledger))
    for note in note_of(places_with_passwords(ctx)):
        click.echo(f"Warning: {note}", err=True)
    ledger = open_ledger(ledger_place(found, place_of(ctx, "ledger")))
    try:
        wanted = values.get("tenant")
        if wanted and wanted not in (*found.tenants, DEFAULT_TENANT):
            raise usage(f"there is no tenant {printable(wanted)}", "tenants stand in the configuration")
        for tenant in found.tenants.values():
            ledger.accounts.put_tenant(Tenant(tenant.name, tenant.roots, tenant.prefixes))
        yield ledger, found
    finally:
        ledger.close()


def me() -> str:
    """Who does it, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "?"


def when(moment: float | None) -> str:
    """A time for people."""
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns."""
    cells = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def command(name: str, short: str, help: str, example: str, callback: Any, more: Sequence[click.Parameter]) -> Command:
    """A command of this kind."""
    from dunlin.cli.serve import queue_options

    return Command(
        name,
        help=help,
        short_help=short,
        example=example,
        callback=callback,
        params=[
            click.Argument(["words"], metavar="add|list|revoke NAME", nargs=-1),
            *more,
            Option("--role", "viewer, operator or admin.", section="What", type=click.Choice(ROLES), metavar="ROLE"),
            Option("--tenant", "Whose it is. Default: where there are tenants, everybody's.", section="What",
                   metavar="NAME"),
            Option("--json", "Print JSON.", section="Output", is_flag=True, into="as_json"),
            *queue_options(),
            config_option("Where"),
            log_level_option(),
        ],
    )  # fmt: skip
