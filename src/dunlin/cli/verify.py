"""`dunlin verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping, parameters
from dunlin.cli.base import Option, parsed, settings_of
from dunlin.cli.working import Told, conduct
from dunlin.errors import printable

if TYPE_CHECKING:
    from dunlin.backup.verify import Verified

DATA = "How much is read"

HELP = """
See whether a repository is whole: everything that its snapshots need is there and is what it should be.

Without SNAPSHOT all snapshots are verified. What is damaged is named by path, with the snapshots that need it;
everything else restores. Packs are only asked what is in them, unless their data are to be read as well: then every
chunk is compared with its id. The exit code is 3 when anything is damaged.
"""

EXAMPLE = """
dunlin verify --repo /mnt/vault
dunlin verify --repo /mnt/vault latest --share docs --read-data
dunlin verify --repo s3://bucket/backups --read-data-subset 5% --max-age 90d
"""


@click.pass_context
def verify(
    ctx: click.Context, /, snapshot: str | None, read_data: bool, read_data_subset: str | None,
    max_age: float | None, **values: Any,
) -> int:  # fmt: skip
    """Parse, call, print, exit code."""
    from dunlin.backup.verified import Subset
    from dunlin.cli.asking import spread_of
    from dunlin.jobs.verify import Options, subset
    from dunlin.jobs.verify import verify as act

    part = subset(read_data_subset) if read_data_subset else Subset() if read_data or max_age is not None else None
    vault = values["repo"] or ""
    how = spread_of(ctx, settings_of(ctx), vault, vault)
    place = keeping.place_of(ctx) if how is not None else None
    options = Options(keeping.tenant_of(ctx), values["share"] or "", snapshot or "", part, max_age, how, place)
    return conduct(ctx, "Verification", lambda opened, report, stop: act(opened, options, report, stop), _told)


def _told(found: Verified) -> Told:
    lines = list(_people(found))
    return Told(0 if found.whole else 3, lines, [] if found.whole else lines, _machine(found))


def _machine(found: Verified) -> dict[str, Any]:
    import dataclasses

    known = dataclasses.asdict(found)
    lists = ("damages", "lost", "lost_snapshots")
    return {"whole": found.whole, **{name: value for name, value in known.items() if name not in lists},
            **{name: [each._asdict() for each in getattr(found, name)] for name in lists}}  # fmt: skip


def _people(found: Verified) -> Iterator[str]:
    from dunlin.pace.sizes import format_number, format_size

    for damage in found.damages:
        yield f"damaged {damage.what} {damage.key}: {printable(damage.reason)}"
    for lost in found.lost_snapshots:
        yield f"lost: all of snapshot {lost.snapshot[:8]} of {lost.share}"
    needed: dict[tuple[str, str], list[str]] = {}
    for lost in found.lost:
        needed.setdefault((lost.share, lost.path), []).append(lost.snapshot[:8])
    for (share, path), snapshots in needed.items():
        yield f"lost: {printable(path)} (share {share}, snapshots {', '.join(snapshots)})"
    told = f"{format_number(found.snapshots, 'snapshot')} and {format_number(found.packs, 'pack')} verified"
    if found.read_packs:
        told += f", {format_size(found.read_bytes)} of {format_size(found.pack_bytes)} read"
    if found.whole:
        yield f"{told}: {_unharmed(found)}"
        return
    rest = "everything else is whole" if found.read_packs == found.packs else "nothing else was found"
    damaged, lost_files = format_number(len(found.damages), "object"), format_number(len(needed), "file")
    yield f"{told}: {damaged} damaged, {lost_files} lost; {rest}"


def _unharmed(found: Verified) -> str:
    """What may be said where nothing was found: no more than what was looked at."""
    if found.read_packs == found.packs:
        return "all is whole"
    if found.read_packs:
        return "what was read is whole, nothing is missing"
    return "nothing is missing; --read-data compares what packs hold, too"


def _duration(text: str) -> float:
    from dunlin.pace.sizes import parse_duration

    return parse_duration(text)


command = keeping.looking(
    "verify", "see whether a repository is whole", HELP, EXAMPLE, verify,
    [click.Argument(["snapshot"], required=False, metavar="[SNAPSHOT]")],
    [
        Option("--read-data", "Read all packs and compare every chunk with its id.", section=DATA, is_flag=True),
        Option("--read-data-subset", "Read some packs: n/t is the n-th of t parts; x% or a size takes those that were "
               "not read for longest.", section=DATA, metavar="PART"),
        Option("--max-age", "Pass over packs that were read and found whole within this time: 30d; a number alone "
               "means seconds. Implies --read-data.", section=DATA, type=parsed(_duration), metavar="TIME"),
        *parameters.queue_options(ranges=False),
    ], share=keeping.ANY_SHARE, works=True,
)  # fmt: skip
