"""`dunlin repo`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import keeping, parameters
from dunlin.cli.base import Command, Option, closest, config_option, echo
from dunlin.errors import printable, usage

if TYPE_CHECKING:
    from dunlin.backup.mend import Fate
    from dunlin.backup.rebuild import Rebuilt
    from dunlin.backup.repository import Repository
    from dunlin.cli.working import Told

HELP = """
Make a repository, and look after it.

init LOCATION makes one, encrypted unless --no-encryption says otherwise; the password is asked for twice, or comes
from --password-file or DUNLIN_PASSWORD. Without it nothing can be read: keep it somewhere else, too. stats tells what
is stored. password add lets another password open it (--new-password-file), with --tenant only that tenant of it;
password list shows them, password remove ID takes one away. rebuild-index makes the index of chunks anew from the
packs, and damaged trees of snapshots from their metadata pages.
"""

EXAMPLE = """
dunlin repo init /mnt/vault
dunlin repo init s3://bucket/backups --password-file secret.txt
dunlin repo stats --repo /mnt/vault
dunlin repo password add --repo /mnt/vault --tenant acme
dunlin repo password remove 1f3c5a70 --repo /mnt/vault
"""

VERBS = ("init", "stats", "password", "rebuild-index")
PASSWORD_VERBS = ("add", "list", "remove")


@click.pass_context
def repo(ctx: click.Context, /, words: tuple[str, ...], **values: Any) -> int:
    """Parse, call, print, exit code."""
    if not words:
        raise usage("what about the repository?", f"write one of: {', '.join(VERBS)}")
    verb, *rest = words
    acts: dict[str, Callable[[click.Context, list[str]], int]] = {
        "init": _init, "stats": _stats, "password": _password, "rebuild-index": _rebuild,
    }  # fmt: skip
    if verb not in acts:
        raise usage(f"there is no `dunlin repo {printable(verb)}`", closest(verb, VERBS) or f"write {', '.join(VERBS)}")
    return acts[verb](ctx, rest)


def _init(ctx: click.Context, rest: list[str]) -> int:
    from dunlin.backup.repository import Settings
    from dunlin.jobs.repo import init
    from dunlin.stores.open import shown_place

    if len(rest) > 1 or (rest and ctx.params.get("repo") and rest[0] != ctx.params["repo"] and _typed(ctx, "repo")):
        raise usage("init takes one LOCATION", "write `dunlin repo init LOCATION`")
    if rest:
        ctx.params["repo"] = rest[0]
    place = keeping.place_of(ctx)
    keeping.warn(ctx)
    password = None if ctx.params.get("encryption") is False else keeping.password_of(ctx, fresh=True)()
    if password is None and ctx.params.get("encryption") is not False:
        raise usage(
            "a repository is encrypted, and there is no password",
            "give --password-file FILE or DUNLIN_PASSWORD, or --no-encryption",
        )
    made = init(place, password, Settings(append_only=bool(ctx.params.get("append_only"))))
    try:
        shown = shown_place(place.url)
        if ctx.params.get("as_json"):
            echo(json.dumps({"id": made.id, "location": shown, "encrypted": password is not None}))
        else:
            how = "encrypted" if password is not None else "not encrypted"
            echo(f"made repository {made.id[:8]} at {printable(shown)}, {how}")
            if password is not None:
                echo("without its password nothing in it can be read: keep it somewhere else, too")
    finally:
        made.close()
    return 0


def _typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _stats(ctx: click.Context, rest: list[str]) -> int:
    from dunlin.jobs.repo import stats
    from dunlin.pace.sizes import format_number, format_size

    _nothing_more("stats", rest)
    with keeping.repository_of(ctx) as opened:
        found = stats(opened, ctx.params.get("tenant"))
    if ctx.params.get("as_json"):
        kinds = {name: kind._asdict() for name, kind in found.kinds.items()}
        more = {"kinds": kinds, "bytes": found.bytes, "ratio": round(found.ratio, 3)}
        echo(json.dumps(found._asdict() | more))
        return 0
    whose = [format_number(found.tenants, "tenant"), format_number(found.shares, "share")]
    echo(f"{format_size(found.bytes)} for {', '.join(whose)}")
    for name, kind in found.kinds.items():
        echo(f"  {name:<10} {format_size(kind.bytes):>10}  {format_number(kind.objects, 'object')}")
    echo(f"{format_number(found.chunks, 'chunk')}")
    echo(f"all snapshots together hold {format_size(found.source_bytes)}, the newest {format_size(found.newest_bytes)}")
    if found.ratio:
        echo(f"each byte in packs and bundles stands for {found.ratio:,.2f} bytes of files")
    return 0


def _password(ctx: click.Context, rest: list[str]) -> int:
    verb = rest[0] if rest else ""
    if verb not in PASSWORD_VERBS:
        hint = closest(verb, PASSWORD_VERBS) or f"write {', '.join(PASSWORD_VERBS)}"
        raise usage("what about passwords?" if not verb else f"there is no `password {printable(verb)}`", hint)
    if verb == "remove":
        if len(rest) != 2:
            raise usage("which password?", "write `dunlin repo password remove ID`; `password list` shows the ids")
    else:
        _nothing_more(f"password {verb}", rest[1:])
    with keeping.repository_of(ctx) as opened:
        return {"add": _add, "list": _list, "remove": _remove}[verb](ctx, opened, rest[-1])


def _add(ctx: click.Context, opened: Repository, _: str) -> int:
    from dunlin.jobs.repo import add_password

    file = ctx.params.get("new_password_file")
    if file:
        new = keeping.secret_in(ctx, file, "--new-password-file")
    elif sys.stdin.isatty():
        text: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        new = text.encode("utf-8", "surrogateescape")
    else:
        raise usage("there is no new password", "give --new-password-file FILE")
    made = add_password(opened, new, ctx.params.get("tenant") or "")
    if ctx.params.get("as_json"):
        echo(json.dumps(made._asdict()))
    else:
        echo(f"password {made.id} opens {_opens(made.tenant)}")
    return 0


def _list(ctx: click.Context, opened: Repository, _: str) -> int:
    from dunlin.jobs.repo import slots

    found = slots(opened)
    wanted = ctx.params.get("tenant")
    found = [each for each in found if wanted is None or each.tenant == wanted]
    if ctx.params.get("as_json"):
        echo(json.dumps([each._asdict() for each in found]))
    elif not opened.secrets.sealed:
        echo("the repository is not encrypted, and has no passwords")
    for each in found if not ctx.params.get("as_json") else ():
        echo(f"{each.id}  {_opens(each.tenant)}")
    return 0


def _remove(ctx: click.Context, opened: Repository, slot: str) -> int:
    from dunlin.jobs.repo import remove_password

    remove_password(opened, slot)
    if not ctx.params.get("as_json"):
        echo(f"password {printable(slot)} opens nothing any more")
    return 0


def _opens(tenant: str) -> str:
    return f"the tenant {tenant}" if tenant else "everything"


def _rebuild(ctx: click.Context, rest: list[str]) -> int:
    from dunlin.cli.working import conduct
    from dunlin.jobs.repo import rebuild_index

    _nothing_more("rebuild-index", rest)
    tenant = ctx.params.get("tenant")
    return conduct(
        ctx, "Rebuild", lambda opened, report, stop: rebuild_index(opened, tenant, keeping.me(), report, stop), _rebuilt
    )


def _rebuilt(done: Rebuilt) -> Told:
    from dunlin.cli.working import Told
    from dunlin.pace.sizes import format_number

    damaged = [str(each) for each in done.damaged]
    trees = [
        {"share": each.share, "object": each.key, "snapshots": list(each.snapshots), "damage": each.why.reason,
         "mended": each.error is None, "reason": str(each.error) if each.error is not None else ""}
        for each in done.trees
    ]  # fmt: skip
    wrong = [f"damaged: {printable(line)}" for line in damaged]
    wrong += [f"damaged: {_tree(each)}; it cannot be mended: {printable(str(each.error))}"
              for each in done.trees if each.error is not None]  # fmt: skip
    mended = [f"mended: {_tree(each)}" for each in done.trees if each.error is None]
    known = f"the index knows {format_number(done.chunks, 'chunk')} in {format_number(done.packs, 'pack')}"
    machine = {"packs": done.packs, "chunks": done.chunks, "damaged": damaged, "trees": trees}
    return Told(3 if wrong else 0, [*wrong, *mended, known], wrong, machine)


def _tree(fate: Fate) -> str:
    """An object that was damaged, and the snapshots that need it."""
    whose = "snapshot" if len(fate.snapshots) == 1 else "snapshots"
    names = ", ".join(each[:8] for each in fate.snapshots)
    return f"{fate.key} ({printable(fate.why.reason)}), of {whose} {names}"


def _nothing_more(what: str, rest: list[str]) -> None:
    if rest:
        raise usage(f"{what} takes nothing more, but there is {printable(' '.join(rest))}")


def _options() -> list[click.Parameter]:
    made = "When it is made"
    return [
        click.Argument(["words"], metavar="init LOCATION|stats|password add|list|remove|rebuild-index", nargs=-1),
        Option("--encryption", "Encrypt what is stored. Default: yes.", section=made, is_flag=True),
        Option("--append-only", "Nothing is ever removed through dunlin: no forget, no prune.", section=made,
               is_flag=True),
        Option("--new-password-file", "A file that holds the password that `password add` adds.", section="Passwords",
               metavar="FILE"),
        Option("--tenant", "For `password`, `stats` and `rebuild-index`: this tenant alone.", section=keeping.WHOSE,
               metavar="NAME"),
        *parameters.telling_options(),
        *keeping.repository_options(),
        config_option(parameters.CONFIGURATION),
    ]  # fmt: skip


command = Command(
    "repo",
    help=HELP,
    short_help="make a repository for backups, and look after it",
    example=EXAMPLE,
    callback=repo,
    params=_options(),
)
