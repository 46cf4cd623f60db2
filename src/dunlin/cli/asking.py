"""From a command line, with what stands below it, to the runs that are asked for: places, logins, options.

What is synced is said in one of three ways, the first that is there:

    SOURCE DESTINATION               on the command line
    --container, again and again     or the same in the environment or the file: blobs go to --output-path
    jobs                             a list in the file; every entry is a run with options of its own

Each entry of `jobs` is a reading of the same command line with the entry between environment and file, so that one
order of precedence holds for everything.

Who writes SOURCE DESTINATION looks at the path, and a missing directory above it is a slip of the pen or a disk that is
not mounted. The other two ways name places that a program is to set up, so there the directories above are made, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from dunlin import config
from dunlin.cli.base import settings_of
from dunlin.cli.exposed import note_of, places_with_passwords
from dunlin.cli.options import Where, differ, pair, rules_of, sync_options
from dunlin.cli.outlet import Telling
from dunlin.config.credentials import CREDENTIALS, REPOSITORY, SIDES, side_flag
from dunlin.config.settings import FILE, Settings
from dunlin.errors import DunlinError, printable, usage
from dunlin.jobs.options import Spread, SyncOptions
from dunlin.stores.open import canonical_url, is_far, shown_place

if TYPE_CHECKING:
    from dunlin.jobs.outward import Options
    from dunlin.jobs.retry import Retry

NO_CONFIGURATION = (
    "Error: No configuration found. Please provide --config, create dunlin.yaml in current directory, or pass "
    "required flags (--container, --connection-string)"
)
OUTPUT_PATH = "./data"
OUTWARD = (
    *("metrics_addr", "notify_url", "notify_format", "notify_email", "notify_from", "smtp_url", "smtp_password"),
    *("notify_on", "stalled_after", "notify_interval"),
)
OUTWARD_SECRETS = ("notify_url", "smtp_password")
_CONTAINER_OPTIONS = ("container", "output_path", "prefix")


class NoConfiguration(click.exceptions.NoArgsIsHelpError):
    """Nothing at all says what is synced: one line, and the help."""

    def __init__(self, context: click.Context) -> None:
        click.UsageError.__init__(self, f"{NO_CONFIGURATION}\n\n{context.get_help()}", context)


class Asked(NamedTuple):
    """The runs, how they are told about, and lines to tell before they begin.

    `outward`: metrics and messages while they go on; None: none.
    """

    runs: tuple[SyncOptions, ...]
    telling: Telling
    notes: tuple[str, ...] = ()
    outward: Options | None = None


class Reading(NamedTuple):
    """One reading of the command line: its context, and the settings below it."""

    context: click.Context
    settings: Settings

    def values(self) -> dict[str, Any]:
        """By parameter, as click converted them."""
        return self.context.params


def asked(context: click.Context, filters: tuple[str, ...]) -> Asked:
    """What the command line asks for. Raises USAGE and CONFIG."""
    command = context.info_name or "sync"
    runs: list[SyncOptions] = []
    notes: list[str] = []
    outward = _outward(context)
    shown = _shown_secrets(context)
    for reading in _readings(context):
        for where, exposed, names in _wheres(reading, command):
            runs.append(
                sync_options(
                    reading.values(),
                    rules_of(reading.context, filters),
                    where=where,
                    command=command,
                    now=time.time_ns(),
                    user_state=config.user_state_dir(),
                    runtime=config.runtime_dir(),
                )._replace(make_parents=not reading.values().get("places"), **spread_to(*reading, *names))
            )
            shown += ["the URL"] if exposed and "the URL" not in shown else []
        notes += [note for note in reading.settings.notes if note not in notes]
    notes += note_of(shown)
    _apart(runs)
    return Asked(tuple(runs), telling_of(context), tuple(notes), outward)


def asked_again(context: click.Context, found: Retry, state_db: str) -> Asked:
    """The run that tries again what failed in another one. Raises USAGE where it is not on record how that was made."""
    from dunlin.config.logins import place
    from dunlin.jobs.public import as_before

    flags, settings = flags_of(context), settings_of(context)
    source = place(found.source, "source", flags, settings)
    target = place(found.destination, "dest", flags, settings)
    where = Where(source.url, target.url, "", source.login, target.login)
    given = sync_options(
        {**context.params, "state_db": state_db},
        where=where,
        now=time.time_ns(),
        user_state=config.user_state_dir(),
        runtime=config.runtime_dir(),
    )
    options = as_before(given, found.public, found.runs)
    if options is None:
        raise usage(
            f"run {found.run} was made by an older dunlin, which did not put on record how",
            "`dunlin sync` with the same pair tries its files again",
        )
    outward = _outward(context)
    notes = (*settings.notes, *note_of(_shown_secrets(context)))
    return Asked((options,), telling_of(context), notes, outward)


def _outward(context: click.Context) -> Options | None:
    """Metrics and messages. They are the whole command's, so entries of `jobs` have no say in them."""
    values, origins = dict(context.params), context.meta.get("dunlin.origins", {})
    told = origins.get("--metrics-addr")
    if context.info_name != "sync" and told is not None and told.layer == FILE:
        # The address belongs to the sync of that configuration, which may go on beside a check of it.
        values["metrics_addr"] = None
    if not any(values.get(name) for name in OUTWARD) or values.get("dry_run"):
        return None
    from dunlin.config.outward import outward

    written = {name for name in OUTWARD if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return outward(values, written, origins, settings_of(context))


def telling_of(context: click.Context) -> Telling:
    """How much is told, and how."""
    names = ("as_json", "quiet", "verbose", "progress", "log_level", "log_format")
    return Telling(**{name: _plain(context.params.get(name), name) for name in names})


def _plain(value: Any, name: str) -> Any:
    if name in ("progress", "log_format"):
        return value
    return (value or "info") if name == "log_level" else bool(value)


def _readings(context: click.Context) -> Iterator[Reading]:
    """One, or one for each entry of `jobs` when nothing else says what is synced."""
    settings = settings_of(context)
    file = settings.file
    if file is None or not file.jobs or context.params.get("places") or context.params.get("container"):
        yield Reading(context, settings)
        return
    _no_strays(context)
    for job in file.jobs:
        below = settings.for_job(job)
        again = click.Context(context.command, info_name=context.info_name, parent=context.parent)
        again.meta["dunlin.settings"] = below
        again.meta["dunlin.job"] = job
        try:
            context.command.parse_args(again, list(context.meta["dunlin.arguments"]))
        finally:
            again.meta.pop("dunlin.job")
        below.notes[:0] = settings.notes
        yield Reading(again, below)


def spread_of(context: click.Context, settings: Settings, source: str, destination: str) -> Spread | None:
    """How a run goes to workers; None: it does not. Raises CONFIG. Places as they were written."""
    if not context.params.get("queue"):
        return None
    from dunlin.config.spread import spread

    found = context.meta.get("dunlin.origins", {}).get("--queue")
    return spread(context.params, source, destination, found, settings)


def spread_to(context: click.Context, settings: Settings, source: str, destination: str) -> dict[str, Any]:
    """The same as fields of `SyncOptions`, with the machine that alone has the destination."""
    how = spread_of(context, settings, source, destination)
    if how is None:
        return {}
    from dunlin.config.spread import home

    return {"spread": how, "home": home(context.params, destination, settings)}


def _wheres(reading: Reading, command: str) -> Iterator[tuple[Where, bool, tuple[str, str]]]:
    """The pairs of a reading, whether their URLs hold secrets, and how the places were written."""
    flags = flags_of(reading.context)
    for source, destination, begin in _places(reading, command):
        if "://" not in source + destination:
            differ(source, destination)
            yield Where(source, destination, begin), False, (source, destination)
            continue
        from dunlin.config.logins import place

        left = place(source, "source", flags, reading.settings)
        right = place(destination, "dest", flags, reading.settings)
        differ(left.url, right.url)
        exposed = bool(reading.values().get("places")) and (left.exposed or right.exposed)
        yield Where(left.url, right.url, begin, left.login, right.login), exposed, (source, destination)


def _places(reading: Reading, command: str) -> list[tuple[str, str, str]]:
    """(source, destination, beginning of the names), as people wrote them."""
    values, job = reading.values(), reading.settings.job
    places = values.get("places") or ()
    if places:
        _no_strays(reading.context)
        return [(*pair(places, command), "")]
    if job is not None and job.source:
        return [(job.source, job.destination, "")]
    containers: Sequence[str] = values.get("container") or ()
    if not containers:
        raise _nothing(reading, command)
    for name in containers:
        if not name.strip() or "/" in name:
            raise usage(f"{printable(name)!r} is no name of a container", "a part of one is chosen with --prefix")
        if containers.count(name) > 1:
            raise usage(f"the container {printable(name)} is given twice")
    output = values.get("output_path") or OUTPUT_PATH
    many = len(containers) > 1
    if job is not None and "--output-path" not in job.values:
        many = many or len(reading.settings.file.jobs if reading.settings.file else ()) > 1
    prefix = values.get("prefix") or ""
    return [(f"az://{name}", os.path.join(output, name) if many else output, prefix) for name in containers]


def _no_strays(context: click.Context) -> None:
    """SOURCE and DESTINATION, or jobs, together with what belongs to --container."""
    for name in _CONTAINER_OPTIONS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            if not context.params.get("places"):
                raise usage(f"{flag} goes with --container, and here the list of jobs says what is synced")
            raise usage(
                f"{flag} and SOURCE DESTINATION are two ways to say what is synced",
                "write `--container NAME --output-path DIR`, or `az://NAME/PREFIX DIR`",
            )


def _nothing(reading: Reading, command: str) -> Exception:
    """The error for a command line that does not say what is synced."""
    file = reading.settings.file
    given = flags_of(reading.context) or any(reading.values().get(name) for name in _CONTAINER_OPTIONS)
    if file is not None:
        return usage(
            f"neither the command line nor {printable(file.path)} says what is synced",
            f"write `dunlin {command} SOURCE DESTINATION`, or sync.container or jobs in the file",
        )
    if given:
        return usage("--container is missing", f"or write `dunlin {command} SOURCE DESTINATION`")
    if command == "check":
        return usage("SOURCE and DESTINATION are missing", "write `dunlin check SOURCE DESTINATION`")
    return NoConfiguration(reading.context)


def flags_of(context: click.Context) -> dict[str, str]:
    """The credential options that the command line gives; switches are "true" or ""."""
    found = {}
    for each in CREDENTIALS:
        for flag in (each.flag, *(side_flag(each.flag, side) for side in (*SIDES, REPOSITORY))) if each.flag else ():
            name = flag.lstrip("-").replace("-", "_")
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                value = context.params[name]
                found[flag] = ("true" if value else "") if each.switch else value
    return found


def _shown_secrets(context: click.Context) -> list[str]:
    """The options of the command line whose values are secrets themselves."""
    secret = {flag for each in CREDENTIALS if each.secret
              for flag in (each.flag, *(side_flag(each.flag, side) for side in (*SIDES, REPOSITORY)))}  # fmt: skip
    found = [
        f"--{name.replace('_', '-')}"
        for name in OUTWARD_SECRETS
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        and not context.params[name].startswith("@")
    ]
    for flag, value in flags_of(context).items():
        plain = value.lstrip().startswith("{") if "service-account" in flag else not value.startswith("@")
        if flag in secret and value and plain:
            found.append(flag)
    return [*found, *places_with_passwords(context)]


def notes_of(context: click.Context) -> tuple[str, ...]:
    """What is to be said before a command works: of its configuration, and of secrets that everybody can read."""
    shown = [*_shown_secrets(context), *context.meta.get("dunlin.shown", ())]
    return (*settings_of(context).notes, *note_of(shown))


def _apart(runs: Sequence[SyncOptions]) -> None:
    """Raises USAGE when one run would delete what another one has brought, in whatever order they come."""
    if len(runs) < 2 or not any(run.policy.delete and run.mode != "check" for run in runs):
        return
    places = [_below_which(run) for run in runs]
    for at, run in enumerate(runs):
        if not run.policy.delete or run.mode == "check" or not places[at]:
            continue
        for other, there in enumerate(places):
            if other == at or not there.startswith(places[at]) or _left_alone(run, there[len(places[at]) :]):
                continue
            here = printable(shown_place(run.destination))
            if there == places[at]:
                raise usage(
                    f"several pairs have the destination {here}, and each would delete what the others brought",
                    "give each a directory of its own, or leave out --delete-extras",
                )
            raise usage(
                f"the destination {printable(shown_place(runs[other].destination))} lies in {here}, and the pair of "
                "that would delete what the other brought",
                "give each a directory of its own, exclude the inner one, or leave out --delete-extras",
            )


def _below_which(run: SyncOptions) -> str:
    """What the URLs of all that lies in the destination begin with; "" for a place that the run will not even open."""
    try:
        return canonical_url(run.destination, run.login_target).rstrip("/") + "/"
    except DunlinError:
        return ""


def _left_alone(run: SyncOptions, inner: str) -> bool:
    """Whether a directory of the destination is no extra, whatever the source has: a filter keeps it out.

    `inner`: how its URL goes on behind that of the destination; "" for the destination itself.
    """
    from urllib.parse import unquote

    path = inner.rstrip("/") if is_far(run.destination) else unquote(inner, errors="surrogateescape").rstrip("/")
    return bool(path) and not run.delete_excluded and not run.selection.explain(path, True).takes_part
