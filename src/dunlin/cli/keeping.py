"""What the commands with a repository share: which one, its password, whose snapshots; how they are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from dunlin import config
from dunlin.cli import parameters
from dunlin.cli.base import Command, Option, config_option, log_level_option, settings_of
from dunlin.config.credentials import REPOSITORY
from dunlin.errors import DunlinError, printable, usage

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.repository import Repository
    from dunlin.jobs.browse import Place as Spot
    from dunlin.jobs.repo import Place

WHERE = "Repository"
WHOSE = "Which snapshots"
OUTPUT = parameters.OUTPUT
THE_SHARE = "The share. Default: the only one there is."
ANY_SHARE = "The share. Default: all of the tenant."


# ---- options ----


def repository_options(*sides: str) -> list[Option]:
    """Which repository, how it is opened, and logins; `sides`: what else takes part (`config.credentials.SIDES`)."""
    return [
        Option("--repo", "Where the repository lies: a path or URL, or loc://NAME/PATH.", section=WHERE,
               metavar="LOCATION"),
        Option("--password-file", "A file that holds the password. Without it DUNLIN_PASSWORD counts, then a terminal "
               "is asked.", section=WHERE, metavar="FILE"),
        Option("--cache", "Where indexes that were read stay, or none; also --no-cache. Default: the user's cache "
               "directory.", section=WHERE, off="none", metavar="DIR"),
        Option("--no-cache", "Keep nothing.", section=WHERE, is_flag=True, plain=True, hidden=True),
        *parameters.patience_options(),
        *parameters.credential_options((*sides, REPOSITORY)),
    ]  # fmt: skip


def tenant_option() -> Option:
    """``--tenant``."""
    return Option("--tenant", "Whose snapshots. Default: default.", section=WHOSE, metavar="NAME")


def share_option(help: str = THE_SHARE) -> Option:
    """``--share``."""
    return Option("--share", help, section=WHOSE, metavar="NAME")


def tag_option(help: str) -> Option:
    """``--tag``."""
    return Option("--tag", help, section=WHOSE, multiple=True, metavar="WORD")


def json_option(help: str = "Print JSON.") -> Option:
    """``--json`` of commands that print an answer."""
    return Option("--json", help, section=OUTPUT, is_flag=True, into="as_json")


def looking(
    name: str, short: str, help: str, example: str, callback: Any, arguments: Sequence[click.Parameter],
    more: Sequence[Option] = (), *, share: str = THE_SHARE, works: bool = False,
) -> Command:  # fmt: skip
    """A command that looks into a repository; `works`: for long, and tells how far it is (`working`).

    `share`: the help of --share; "": it has none.
    """
    return Command(
        name,
        help=help,
        short_help=short,
        example=example,
        callback=callback,
        params=[
            *arguments,
            *more,
            tenant_option(),
            *([share_option(share)] if share else []),
            *(parameters.telling_options() if works else [json_option(), log_level_option(OUTPUT)]),
            *repository_options(),
            config_option(parameters.CONFIGURATION),
        ],
    )


# ---- what they say ----


def place_of(ctx: click.Context) -> Place:
    """Where the repository lies. Raises USAGE where nobody says it."""
    from dunlin.cli.asking import flags_of
    from dunlin.config.logins import place
    from dunlin.jobs.repo import Place

    text = ctx.params.get("repo")
    if not text:
        hint = "give --repo LOCATION, set DUNLIN_REPO, or backup.repository in the configuration"
        raise usage("which repository?", hint)
    found = place(text, REPOSITORY, flags_of(ctx), settings_of(ctx))
    if found.exposed and ctx.get_parameter_source("repo") is ParameterSource.COMMANDLINE:
        ctx.meta["dunlin.shown"] = ["the URL"]
    patience = {name: ctx.params[name] for name in ("timeout", "request_timeout") if ctx.params.get(name) is not None}
    return Place(found.url, found.login, cache_of(ctx), **patience)


def cache_of(ctx: click.Context) -> str | None:
    """The directory for what can be fetched again; None: nothing is kept."""
    return config.repository_cache("none" if ctx.params.get("no_cache") else ctx.params.get("cache"))


def password_of(ctx: click.Context, *, fresh: bool = False, what: str = "Password") -> Callable[[], bytes | None]:
    """What gives the password when it is asked for, the same each time; `fresh`: a new one, typed twice."""
    known: list[bytes | None] = []

    def ask() -> bytes | None:
        if not known:
            known.append(_password(ctx, fresh, what))
        return known[0]

    return ask


def opening(ctx: click.Context) -> Callable[[], Repository]:
    """What opens the repository; that is under way from now on, unless somebody has to type the password.

    So what a command is done with is loaded while the password is tried. The call tells what is wrong.
    """
    from dunlin.jobs.repo import begin_opening, open_at

    place, password, known = place_of(ctx), password_of(ctx), known_password(ctx)
    if sys.stdin.isatty() and not (ctx.params.get("password_file") or config.variable("--password")):
        return lambda: open_at(place, password, known=known)
    try:
        return begin_opening(place, password, known=known)
    except DunlinError as error:
        wrong = error

    def tell() -> NoReturn:
        raise wrong

    return tell


def known_password(ctx: click.Context) -> Callable[[], bytes | None]:
    """What gives the password, or None where a person would have to type it."""
    return lambda: _known(ctx)


def _password(ctx: click.Context, fresh: bool, what: str) -> bytes | None:
    known = _known(ctx)
    if known is not None or not sys.stdin.isatty():
        return known
    text: str = click.prompt(what, hide_input=True, confirmation_prompt=fresh, err=True)
    return text.encode("utf-8", "surrogateescape")


def _known(ctx: click.Context) -> bytes | None:
    file, variable = ctx.params.get("password_file"), config.variable("--password")
    in_file = ctx.get_parameter_source("password_file") is ParameterSource.DEFAULT_MAP
    if file and not (in_file and variable):
        return secret_in(ctx, file, "--password-file", in_file)
    return os.fsencode(variable) if variable else None


def secret_in(ctx: click.Context, file: str, name: str, in_file: bool = False) -> bytes:
    """The content of a file without the line break at its end; `in_file`: the configuration names it."""
    from dunlin.config.logins import Said, secret_of

    named = settings_of(ctx).file
    base = os.path.dirname(os.path.abspath(named.path)) if in_file and named is not None else ""
    return secret_of(Said(f"@{file}", name, base)).encode("utf-8", "surrogateescape")


@contextmanager
def repository_of(ctx: click.Context) -> Iterator[Repository]:
    """The repository that the command line names, open. Warnings of the configuration are told first."""
    from dunlin.jobs.repo import open_at

    place = place_of(ctx)
    warn(ctx)
    opened = open_at(place, password_of(ctx), known=known_password(ctx))
    try:
        yield opened
    finally:
        opened.close()


def warn(ctx: click.Context) -> None:
    """Tell what is wrong with secrets on the command line and in the configuration."""
    from dunlin.cli.asking import notes_of

    for note in notes_of(ctx):
        click.echo(f"Warning: {note}", err=True)


def tenant_of(ctx: click.Context) -> str:
    """Whose snapshots."""
    from dunlin.backup.words import TENANT

    return ctx.params.get("tenant") or TENANT


def spot_of(ctx: click.Context, opened: Repository, text: str, *, content: bool = False) -> Spot:
    """The snapshot, and the path in it, that ``SNAPSHOT[:PATH]`` means. `content`: the latest that is no scan."""
    from dunlin.jobs.browse import parse, resolve

    return resolve(opened, tenant_of(ctx), ctx.params.get("share") or "", parse(text), content=content)


def me() -> str:
    """This process, for others who find the repository in use."""
    import platform

    return f"{platform.node() or 'a host'}, process {os.getpid()}"


# ---- how they are shown ----


def described(found: Manifest) -> dict[str, Any]:
    """A snapshot as a value of --json. Times in ns since 1970, sizes in bytes."""
    import dataclasses

    return {
        "id": found.id,
        "time": found.time,
        "started": found.started,
        "tenant": found.tenant,
        "share": found.share,
        "source": found.source,
        "host": found.host,
        "tags": list(found.tags),
        "parent": found.parent or None,
        "content": found.content,
        "complete": found.complete,
        "totals": dataclasses.asdict(found.totals),
    }


def marks(found: Manifest) -> str:
    """What is out of the ordinary about a snapshot, and its tags."""
    words = [] if found.content else ["scan"]
    words += [] if found.complete else ["incomplete"]
    return ", ".join([*words, *(printable(tag) for tag in found.tags)])
