"""`dunlin user`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from dunlin.cli import access
from dunlin.cli.base import Option, echo
from dunlin.errors import DunlinError, ErrorKind, printable, usage

HELP = """
People who log in to the service with a browser. `add` asks for the password, or reads it from --password-file or, where
there is no terminal, from standard input. `revoke` removes a user and ends all sessions.
"""
EXAMPLE = """
dunlin user add alice --role admin
dunlin user add bob --role viewer --password-file bob.txt
dunlin user revoke bob
"""


@click.pass_context
def user(ctx: click.Context, /, words: tuple[str, ...], **values: Any) -> int:
    """Parse, call, print, exit code."""
    verb, name = access.verb_of(words, "user")
    if verb != "list" and not name:
        raise usage(f"{verb} needs a name", f"write `dunlin user {verb} NAME`")
    password = _password(values.get("password_file")) if verb == "add" else ""
    with access.ledger_of(ctx) as (ledger, _):
        if verb == "add":
            return _add(ledger, name, password, values)
        if verb == "list":
            return _list(ledger, values)
        if not ledger.accounts.remove_user(name):
            raise DunlinError("remove the user", name, ErrorKind.NOT_FOUND, "there is none of that name")
        ledger.audit.record(access.me(), "user.revoke", name)
        echo(f"user {printable(name)} is gone")
    return 0


def _add(ledger: Any, name: str, password: str, values: dict[str, Any]) -> int:
    from dunlin.queue.ledger.words import Role

    tenant = values.get("tenant") or ""
    made = ledger.accounts.add_user(name, password, Role(values.get("role") or "viewer"), tenant)
    ledger.audit.record(access.me(), "user.add", name, made.role.value, tenant)
    if values.get("as_json"):
        echo(json.dumps(made._asdict()))
    else:
        echo(f"user {printable(name)} may log in as {made.role.value}")
    return 0


def _list(ledger: Any, values: dict[str, Any]) -> int:
    wanted = values.get("tenant")
    users = [each for each in ledger.accounts.users() if wanted is None or each.tenant == wanted]
    if values.get("as_json"):
        echo(json.dumps([each._asdict() for each in users]))
        return 0
    rows = [(each.name, each.role.value, each.tenant or "-", access.when(each.created)) for each in users]
    access.table(("name", "role", "tenant", "made"), rows)
    return 0


def _password(file: str | None) -> str:
    """The password of a new user. Raises USAGE, NOT_FOUND and its like."""
    if file:
        from dunlin.config.logins import Said, secret_of

        return secret_of(Said(f"@{file}", "--password-file"))
    if sys.stdin.isatty():
        found: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return found
    return sys.stdin.readline().rstrip("\r\n")


command = access.command(
    "user", "add, list and remove users of the service", HELP, EXAMPLE, user,
    [Option("--password-file", "A file that holds the password.", section="What", metavar="FILE")],
)  # fmt: skip
