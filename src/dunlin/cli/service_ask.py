"""From the options of a job of the service to those of a run: the same words, layers and checks as an entry of `jobs`.

The entry stands above the file and, unlike there, above the environment, which belongs to whoever started the service.
What a client of the service has no business with is refused: logins (a location has them), what is about the terminal
or the process, which machines do the work and how much of this one a run may take, and device files, which open a way
around every permission. The configuration of the service says all of that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from dunlin import config
from dunlin.cli.options import Where, differ, rules_of, sync_options
from dunlin.cli.parameters import FILTERS
from dunlin.config import schema
from dunlin.config.credentials import CREDENTIALS, SIDES, side_flag
from dunlin.config.file import Job, Value
from dunlin.config.logins import Located, place
from dunlin.config.settings import OLD_PREFIXES, Settings
from dunlin.config.spread import home, spread
from dunlin.config.words import closest
from dunlin.errors import printable, usage
from dunlin.jobs.options import SyncOptions
from dunlin.pace.climb import MOST
from dunlin.stores.open import canonical_url

REFUSED = frozenset(
    {
        *("watch", "watch_interval", "profile", "verbose", "quiet", "progress", "json", "log_level", "log_format"),
        *("container", "output_path", "prefix"),
        *("shared_root", "host_label", "work", "priority", "devices"),
        *("movers", "threads", "max_memory_mb", "max_cpu_percent", "disk_buffer_mb", "queue_capacity", "link_speed"),
        *("auto_throttle", "throttle_threshold", "crawl_parallelism", "max_active_files", "consistency_threshold"),
        *("throttle_engage_threshold", "throttle_release_threshold", "adjustment_cooldown"),
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
    command = _command(kind)
    known = {each.name for each in command.params} | {
        each.flag for each in command.params if hasattr(each, "flag")
    }  # fmt: skip
    for flag, value in job.values.items():
        if flag not in known:
            raise usage(f"{value.key}: {CHECK_LACKS}")
    no_more_workers(job, settings)
    context = context_of(command, kind, job, settings)
    below: Settings = context.meta["dunlin.settings"]
    source, target = located(job.source, "source", below), located(job.destination, "dest", below)
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
    # The service has threads: movers must not be forked from it. `archive` means device files as well.
    found = found._replace(
        watch=None, make_parents=True, crew=found.crew._replace(start="spawn"),
        policy=found.policy._replace(devices=False),
    )  # fmt: skip
    if kind != "sync" or found.mode != "sync":
        return found
    found = found._replace(home=home(context.params, job.destination, below))
    if not queue:
        return found
    return found._replace(spread=spread({**context.params, "queue": queue}, job.source, job.destination, None, below))


def no_more_workers(job: Job, settings: Settings) -> None:
    """Refuse more files in flight than the service's own configuration has; automatic: than a run ever takes itself."""
    asked, ours = job.values.get("--workers"), settings.find("--workers")
    if asked is None:
        return
    most = int(ours.value) if ours is not None else 0
    if most and (not asked.value or int(asked.value) > most):
        raise usage(f"workers: at most {most}, as the configuration of the service says")
    if not most and int(asked.value) > MOST:
        raise usage(f"workers: at most {MOST}, unless the configuration of the service (sync.workers) says more")


def context_of(
    command: click.Command, kind: str, job: Job, settings: Settings, arguments: Sequence[str] = ()
) -> click.Context:
    """The command line that a job stands for, read: the job above the file and the environment. Raises USAGE."""
    file = settings.file._replace(exposed=False) if settings.file else None
    context = click.Context(command, info_name=kind)
    context.meta["dunlin.settings"] = Settings(file, job, _environment(job))
    context.meta["dunlin.job"] = job
    with context.scope(cleanup=False):
        try:
            command.parse_args(context, list(arguments))
        except click.UsageError as error:
            raise usage(error.format_message().rstrip(".")) from error
    return context


def located(text: str, side: str, below: Settings) -> Located:
    """A place that a job names; `side`: one of `config.credentials.SIDES`. Raises USAGE and CONFIG."""
    found = place(text, side, {}, below)
    if found.exposed:
        raise usage("a URL with a secret behind it", "make it a location of the configuration, and write loc://NAME")
    canonical_url(found.url, found.login)  # what is no place is told now, and not when the job's turn comes
    return found


def _command(kind: str) -> click.Command:
    if kind == "check":
        from dunlin.cli.check import command
    else:
        from dunlin.cli.sync import command
    return command


def _entry(options: Mapping[str, Any]) -> Job:
    places, values = understood(options, schema.PLACES, schema.OPTIONS, REFUSED)
    return Job(values, places["source"], places["destination"], "the job")


def understood(
    options: Mapping[str, Any], places: Sequence[str], keys: Mapping[str, schema.Key], refused: Collection[str] = ()
) -> tuple[dict[str, str], dict[str, Value]]:
    """The options of a job, checked: those that are places, all of which are needed, and the rest by long option.

    Args:
        keys: what else there may be, by name. refused: those of them that a job does not take.

    Raises USAGE.
    """
    found = dict.fromkeys(places, "")
    values: dict[str, Value] = {}
    for name, value in options.items():
        if name in found:
            if not isinstance(value, str) or not value.strip():
                raise usage(f"{name}: it must be {'a path or a URL' if name in schema.PLACES else 'a name'}")
            found[name] = value
            continue
        key = keys.get(name)
        if name in refused or key is None:
            hint = closest(name, [*places, *(keys.keys() - refused)]) if key is None else ""
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
    for name, where in found.items():
        if not where:
            raise usage(f"{name} is missing")
        if "\0" in where:
            raise usage(f"{name}: a path cannot hold a NUL byte")
    return found, values


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
