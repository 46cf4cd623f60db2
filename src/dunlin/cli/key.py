"""`dunlin key`."""

from __future__ import annotations

import json
from typing import Any

import click

from dunlin.cli import access
from dunlin.cli.base import Option, echo
from dunlin.errors import DunlinError, ErrorKind, printable

HELP = """
Keys for programs that use the service. `add` prints a new key, once: send it as `Authorization: Bearer dk_...`. A
revoked key works for a few seconds more at most.
"""
EXAMPLE = """
dunlin key add ci --role operator
dunlin key list
dunlin key revoke a1b2c3d4e5
"""


@click.pass_context
def key(ctx: click.Context, /, words: tuple[str, ...], **values: Any) -> int:
    """Parse, call, print, exit code."""
    verb, name = access.verb_of(words, "key")
    with access.ledger_of(ctx) as (ledger, _):
        if verb == "add":
            return _add(ledger, name or values.get("label") or "key", values)
        if verb == "list":
            return _list(ledger, values)
        if not name or not ledger.keys.revoke(name):
            raise DunlinError("revoke the key", name, ErrorKind.NOT_FOUND, "there is no such key, or it was revoked",
                              "`dunlin key list` shows their ids")  # fmt: skip
        ledger.audit.record(access.me(), "key.revoke", name)
        echo(f"key {printable(name)} is good for nothing now")
    return 0


def _add(ledger: Any, label: str, values: dict[str, Any]) -> int:
    from dunlin.queue.ledger.words import Role

    tenant = values.get("tenant") or ""
    made = ledger.keys.add(label, Role(values.get("role") or "operator"), tenant, access.me())
    ledger.audit.record(access.me(), "key.add", made.key.id, label, tenant)
    if values.get("as_json"):
        echo(json.dumps({"id": made.key.id, "label": made.key.label, "role": made.key.role, "key": made.text}))
    else:
        echo(made.text)
    return 0


def _list(ledger: Any, values: dict[str, Any]) -> int:
    wanted = values.get("tenant")
    keys = [each for each in ledger.keys.all() if wanted is None or each.tenant == wanted]
    if values.get("as_json"):
        echo(json.dumps([each._asdict() for each in keys]))
        return 0
    rows = [
        (each.id, each.label, each.role.value, each.tenant or "-", access.when(each.created),
         access.when(each.last_used) or "never", access.when(each.revoked))
        for each in keys
    ]  # fmt: skip
    access.table(("id", "label", "role", "tenant", "made", "last used", "revoked"), rows)
    return 0


command = access.command(
    "key", "make, list and revoke keys of programs for the service", HELP, EXAMPLE, key,
    [Option("--label", "What the key is for; the same as the name behind `add`.", section="What", metavar="TEXT")],
)  # fmt: skip
