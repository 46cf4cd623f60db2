"""From the options of a job of the service to those of a run: the same words, layers and checks as an entry of `jobs`.

The entry stands above the file and, unlike there, above the environment, which belongs to whoever started the service.
What a client of the service has no business with is refused: logins (a location has them), and what is about the
terminal or the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import click

from dunlin import config
from dunlin.cli.options import Where, differ, rules_of, sync_options
from dunlin.cli.parameters import FILTERS
from dunlin.config import schema
from dunlin.config.credentials import CREDENTIALS, SIDES, side_flag
from dunlin.config.file import Job, Value
from dunlin.config.logins import place
from dunlin.config.settings import OLD_PREFIXES, Settings
from dunlin.config.spread import spread
from dunlin.config.words import closest
from dunlin.errors import printable, usage
from dunlin.jobs.options import SyncOptions
from dunlin.stores.open import canonical_url

REFUSED = frozenset(
    {
        *("watch", "watch_interval", "profile", "verbose", "quiet", "progress", "json", "log_level", "log_format"),
        *("container", "output_path", "prefix"),
        *(
            flag.lstrip("-").replace("-", "_")
            for each in CREDENTIALS
            if each.flag
            for flag in (each.flag, *(side_flag(each.flag, side) for side in SIDES))
        ),
    }
)
"""Options that a job of the service does not take."""

CHECK_LACKS = "there is no such option of a check"


def ask(kind: str, options: Mapping[str, Any], settings: Settings, queue: str = "") -> SyncOptions:
    """What a job asks for. Raises USAGE and CONFIG.

    Args:
        kind: "sync" or "check".
        options: by name, with `source` and `destination`.
        settings: the layers below.
        queue: where workers on other machines take their work from; "": the run is done here alone.
    """
    job = _entry(options)
    below = Settings(
        settings.file._replace(exposed=False) if settings.file else None, job, _environment(job)
    )  # fmt: skip
    command = _command(kind)
    known = {each.name for each in command.params} | {
        each.flag for each in command.params if hasattr(each, "flag")
    }  # fmt: skip
    for flag, value in job.values.items():
        if flag not in known:
            raise usage(f"{value.key}: {CHECK_LACKS}")
    context = click.Context(command, info_name=kind)
    context.meta["dunlin.settings"], context.meta["dunlin.job"] = below, job
    with context.scope(cleanup=False):
        try:
            command.parse_args(context, [])
        except click.UsageError as error:
            raise usage(error.format_message().rstrip(".")) from error
    source, target = place(job.source, "source", {}, below), place(job.destination, "dest", {}, below)
    if source.exposed or target.exposed:
        raise usage("a URL with a secret behind it", "make it a location of the configuration, and write loc://NAME")
    for each in (source, target):
        canonical_url(each.url, each.login)  # what is no place is told now, and not when the job's turn comes
    differ(source.url, target.url)
    found = sync_options(
        context.params,
        rules_of(context, FILTERS),
        where=Where(source.url, target.url, "", source.login, target.login),
        command=kind,
        now=time.time_ns(),
        user_state=config.user_state_dir(),
        runtime=config.runtime_dir(),
    )
    # The service has threads: movers must not be forked from it.
    found = found._replace(watch=None, make_parents=True, crew=found.crew._replace(start="spawn"))
    if kind != "sync" or not queue or found.mode != "sync":
        return found
    return found._replace(spread=spread({**context.params, "queue": queue}, job.source, job.destination, None, below))


def _command(kind: str) -> click.Command:
    if kind == "check":
        from dunlin.cli.check import command
    else:
        from dunlin.cli.sync import command
    return command


def _entry(options: Mapping[str, Any]) -> Job:
    places = dict.fromkeys(schema.PLACES, "")
    values: dict[str, Value] = {}
    for name, value in options.items():
        if name in places:
            if not isinstance(value, str) or not value.strip():
                raise usage(f"{name}: it must be a path or a URL")
            places[name] = value
            continue
        key = schema.OPTIONS.get(name)
        if name in REFUSED or key is None:
            hint = closest(name, [*schema.PLACES, *(schema.OPTIONS.keys() - REFUSED)]) if key is None else ""
            reason = "there is no such option" if key is None else "a job of the service does not take it"
            raise usage(f"{printable(name)}: {reason}", hint)
        if value is None:
            continue
        if key.flag in values:
            raise usage(f"{name} and {values[key.flag].key} say the same thing")
        try:
            values[key.flag] = Value(key.kind(value), name, name)
        except (ValueError, TypeError) as error:
            raise usage(f"{name}: {error}") from None
    for name, where in places.items():
        if not where:
            raise usage(f"{name} is missing")
        if "\0" in where:
            raise usage(f"{name}: a path cannot hold a NUL byte")
    return Job(values, places["source"], places["destination"], "the job")


def _environment(job: Job) -> dict[str, str]:
    """The environment without variables of options that the job gives."""
    given = {config.variable_name(flag).removeprefix(config.PREFIX) for flag in job.values}
    for flag in job.values:
        given |= {f"{section}_{name}".upper() for section, name in schema.FLAGS.get(flag, ())}
    ours = (config.PREFIX, *OLD_PREFIXES)
    return {
        name: value
        for name, value in os.environ.items()
        if not any(name.upper().startswith(prefix) and name.upper()[len(prefix) :] in given for prefix in ours)
    }
