"""`dunlin prune`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping
from dunlin.cli.base import Option, parsed
from dunlin.cli.working import Told, conduct
from dunlin.errors import usage

if TYPE_CHECKING:
    from dunlin.backup.prune import Pruned

WHAT = "What is removed"

HELP = """
Free what no snapshot of a tenant needs any more. Backups may go on meanwhile, and are never kept waiting.

What is not needed is marked first. It is removed as soon as no backup is going on that began before: by this run if
there is none, else by a later one. Packs that are mostly unused are copied, as far as snapshots need them, and many
small ones are joined.
"""

EXAMPLE = """
dunlin prune -n --repo /mnt/vault
dunlin prune --repo /mnt/vault
dunlin prune --repo /mnt/vault --tenant acme --max-unused 0%
"""


@click.pass_context
def prune(ctx: click.Context, /, max_unused: float | None, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.backup.repack import MAX_UNUSED
    from dunlin.jobs.prune import Options
    from dunlin.jobs.prune import prune as act

    dry = bool(values["dry_run"])
    options = Options(keeping.tenant_of(ctx), MAX_UNUSED if max_unused is None else max_unused, dry)

    def told(done: Pruned) -> Told:
        machine = {"dry_run": dry, **dataclasses.asdict(done)}
        return Told(2 if done.short else 0, list(people(done, dry)), list(trouble(done)), machine)

    return conduct(
        ctx, "Prune", lambda opened, report, stop: act(opened, options, keeping.me(), report, stop), told
    )


def people(done: Pruned, dry: bool = False) -> Iterator[str]:
    """What a prune did, or would do."""
    from dunlin.pace.sizes import format_number, format_size

    word = "to be copied" if dry else "copied"
    if done.copied_packs:
        yield f"{word}: {format_size(done.copied_bytes)} out of {format_number(done.copied_packs, 'pack')}"
    if done.joined_packs:
        packs = format_number(done.joined_packs, "small pack")
        yield f"{'to be joined' if dry else 'joined'}: {packs}, {format_size(done.joined_bytes)}"
    yield from trouble(done)
    if dry:
        yield f"would mark: {format_number(done.marked_objects, 'object')}, {format_size(done.marked_bytes)}"
        return
    yield f"removed: {format_number(done.removed_objects, 'object')}, {format_size(done.removed_bytes)}"
    if done.waiting:
        yield (f"waiting: {format_number(done.waiting, 'object')} until backups that are going on have ended; "
               "prune again then")  # fmt: skip
    yield f"kept: {format_size(done.kept_bytes)} in packs, of which {format_size(done.unused_bytes)} are unused"


def trouble(done: Pruned) -> Iterator[str]:
    """What went wrong in a prune."""
    from dunlin.pace.sizes import format_number

    if done.damaged_packs:
        yield f"damaged: {format_number(done.damaged_packs, 'pack')}, left as they are; dunlin verify tells more"
    if done.short:
        yield "short of room: some packs could not be copied, or their index written; prune again, or make room"


def _percent(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        found = float(number) / 100
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise usage(f"{text!r} is no percentage", "write 0% to 100%")
    return found


command = keeping.looking(
    "prune", "free what no snapshot needs", HELP, EXAMPLE, prune, [],
    [
        Option("--max-unused", "How much of the packs may stay unused before they are copied. Default: 5%.",
               section=WHAT, type=parsed(_percent), metavar="PERCENT"),
        Option("-n --dry-run", "Tell what would be marked, and write nothing.", section=keeping.OUTPUT, is_flag=True),
    ], share="", works=True,
)  # fmt: skip
