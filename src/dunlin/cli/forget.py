"""`dunlin forget`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dunlin.cli import keeping, parameters
from dunlin.cli.base import Option, parsed
from dunlin.cli.working import Told, conduct
from dunlin.errors import DunlinError, printable, usage

if TYPE_CHECKING:
    from dunlin.backup.prune import Pruned
    from dunlin.backup.repository import Repository
    from dunlin.jobs.forget import Fate
    from dunlin.pace.stop import Stop
    from dunlin.report import Report

RULES = "What is kept (whatever any of these keeps; the newest snapshot of a share stays, too)"
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")

HELP = """
Remove snapshots: those that are named, by the beginnings of their ids or times; or, in each share by itself, those that
no rule keeps. With --prune what only a named one held is gone from the repository afterwards.

--keep-daily 7 keeps the newest snapshot of each of the newest seven days that have one, and so do the others of its
kind. What snapshots hold is only freed by `dunlin prune`, or with --prune right afterwards; some of it stays in packs
that are mostly needed (`dunlin prune --max-unused`).
"""

EXAMPLE = """
dunlin forget -n --repo /mnt/vault --keep-daily 7 --keep-weekly 5 --keep-monthly 12
dunlin forget --repo /mnt/vault --share docs --keep-last 3 --keep-within 30d --keep-tag release
dunlin forget --repo /mnt/vault --prune 9c2f1a70
"""


@click.pass_context
def forget(ctx: click.Context, /, snapshots: tuple[str, ...], **values: Any) -> int:
    """Parse, call, print, exit code."""
    if snapshots:
        _only_named(ctx, values)
    from dunlin.backup.retention import Policy
    from dunlin.jobs import prune
    from dunlin.jobs.forget import Options, freeing
    from dunlin.jobs.forget import forget as act

    counts = {name: values[f"keep_{name}"] or 0 for name in COUNTS}
    policy = Policy(**counts, within=values["keep_within"] or 0, tags=tuple(values["keep_tag"]))
    dry = bool(values["dry_run"])
    options = Options(policy, keeping.tenant_of(ctx), values["share"] or "", dry)
    options = options._replace(damaged=bool(values["damaged"]), snapshots=snapshots)
    frees = values["prune"] and not dry

    def acts(opened: Repository, report: Report, stop: Stop) -> tuple[list[Fate], Pruned | None]:
        fates = act(opened, options)
        if not frees:
            return fates, None
        try:
            return fates, prune.prune(opened, freeing(options), keeping.me(), report, stop)
        except DunlinError as error:
            if not all(fate.kept for fate in fates):
                error.hint = f"the snapshots are forgotten; free what they needed later: {_pruning(snapshots)}"
            raise

    return conduct(ctx, "Prune" if frees else "", acts, lambda done: _told(*done, dry, bool(snapshots)))


def _only_named(ctx: click.Context, values: dict[str, Any]) -> None:
    """Have rules of the configuration and the environment mean nothing. Raises USAGE for those of the command line."""
    for name in [*(f"keep_{each}" for each in (*COUNTS, "within", "tag")), "damaged"]:
        if values[name] and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            raise usage(f"{flag} and named snapshots do not go together", "forget by the one, then by the others")
        values[name] = () if name == "keep_tag" else None


def _told(fates: list[Fate], pruned: Pruned | None, dry: bool, named: bool) -> Told:
    freed = {} if pruned is None else {"prune": dataclasses.asdict(pruned)}
    lines = list(_people(fates, dry, named, hint=pruned is None))
    wrong: list[str] = []
    if pruned is not None:
        from dunlin.cli.prune import people, trouble

        lines += people(pruned)
        wrong += trouble(pruned)
    machine = {"dry_run": dry, "snapshots": [_machine(each) for each in fates], **freed}
    return Told(2 if pruned is not None and pruned.short else 0, lines, wrong, machine)


def _machine(fate: Fate) -> dict[str, Any]:
    return {"kept": fate.kept, "reasons": list(fate.reasons), **keeping.described(fate.snapshot)}


def _people(fates: list[Fate], dry: bool, named: bool, hint: bool) -> Iterator[str]:
    from dunlin.cli.history import table
    from dunlin.pace.sizes import format_moment, format_number

    if not fates:
        yield "none of these snapshots is there" if named else "no snapshots yet"
        return
    rows = [
        ("keep" if fate.kept else "remove", fate.snapshot.id[:8], format_moment(fate.snapshot.time, seconds=True),
         fate.snapshot.share, printable(", ".join(fate.reasons)))
        for fate in fates
    ]  # fmt: skip
    yield from table(("", "id", "time", "share", "kept by"), rows, (0, 1, 2, 3, 4))
    gone = sum(not fate.kept for fate in fates)
    kept = f", kept {len(fates) - gone:,}" if len(fates) > gone else ""
    word = "would remove" if dry else "removed"
    more = f"; `{_pruning(named)}` frees what they alone needed" if gone and hint and not dry else ""
    yield f"{word} {format_number(gone, 'snapshot')}{kept}{more}"


def _pruning(named: object) -> str:
    return "dunlin prune --max-unused 0%" if named else "dunlin prune"


def _count(text: str) -> int:
    if text.strip().lower() in ("all", "forever"):
        return -1
    return parameters.whole(0, 1_000_000)(text)


def _within(text: str) -> float:
    from dunlin.pace.sizes import parse_duration

    return parse_duration(text)


def _options() -> list[Option]:
    help = {
        "last": "The newest N.",
        "hourly": "The newest of each of the newest N hours that have one.",
        "daily": "The same by days.",
        "weekly": "The same by weeks, which begin on Monday.",
        "monthly": "The same by months.",
        "yearly": "The same by years; N may be all, here and above.",
    }
    return [
        *(Option(f"--keep-{name}", help[name], section=RULES, type=_count, metavar="N") for name in COUNTS),
        Option("--keep-within", "All that are no older than this before the newest one: 30d, 12h; a number alone means "
               "seconds.", section=RULES,
               type=parsed(_within), metavar="TIME"),
        Option("--keep-tag", "All with this tag; may be repeated.", section=RULES, multiple=True, metavar="WORD"),
        Option("--damaged", "Remove also those that cannot be read, whatever the rules say.", section=RULES,
               is_flag=True),
        Option("--prune", "Then free what no snapshot needs any more, as `dunlin prune` does.", section=RULES,
               is_flag=True),
        Option("-n --dry-run", "Tell what would be removed, and remove nothing.", section=keeping.OUTPUT, is_flag=True),
    ]  # fmt: skip


command = keeping.looking(
    "forget", "remove snapshots, by a policy or by name", HELP, EXAMPLE, forget,
    [click.Argument(["snapshots"], nargs=-1, metavar="[SNAPSHOT ...]")], _options(),
    share=keeping.ANY_SHARE, works=True,
)  # fmt: skip
