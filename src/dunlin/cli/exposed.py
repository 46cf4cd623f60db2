"""Secrets on a command line: everybody on the machine may read them in the list of processes."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource

from dunlin.config.environment import variable_name

PLACES = ("queue", "ledger")
"""Options whose URLs may hold the password of a server."""


def typed(context: click.Context, *names: str) -> dict[str, str]:
    """The values of options that the command line itself gives, by parameter; ``@FILE`` is read for `PLACES`."""
    found = {
        name: context.params[name]
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and context.params.get(name)
    }
    for name in found.keys() & set(PLACES):
        if found[name].startswith("@"):
            from dunlin.config.logins import Said, secret_of

            found[name] = secret_of(Said(found[name], f"--{name}")).strip()
    return found


def places_with_passwords(context: click.Context) -> list[str]:
    """Those of `PLACES` that the command line gives with a password in them."""
    given = [name for name in PLACES if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return [f"--{name}" for name in given if has_password(context.params[name] or "")]


def has_password(url: str) -> bool:
    """Whether a URL holds a password, before the host's name or behind the question mark."""
    if "://" not in url:
        return False
    from urllib.parse import parse_qsl, urlsplit  # a run without such a URL does not pay for it

    try:
        parts = urlsplit(url)
        return bool(parts.password) or any(name == "password" and value for name, value in parse_qsl(parts.query))
    except ValueError:
        return "@" in url


def note_of(shown: Sequence[str]) -> tuple[str, ...]:
    """The warning that goes with secrets, named by their options; none where there are none."""
    if not shown:
        return ()
    better = variable_name(shown[0]) if shown[0].startswith("--") else "DUNLIN_SAS_TOKEN"
    return (
        f"the secret in {' and '.join(shown)} can be read by everybody in the list of processes; use {better}, "
        "@FILE or the configuration file",
    )
