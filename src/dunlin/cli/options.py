"""From the values of a command line to `SyncOptions`. Pure, except that lists of files and rules are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from dunlin.errors import printable, usage
from dunlin.filters import Selection, parse_rules, read_files
from dunlin.jobs.options import Crawling, Crew, Limits, Log, SyncOptions, Watch
from dunlin.pace.schedule import Schedule
from dunlin.pace.sizes import parse_age
from dunlin.plan import Policy
from dunlin.stores.login import Login
from dunlin.stores.open import shown_place
from dunlin.transfer import Options as Transfer

Values = Mapping[str, Any]
"""What click found, by the names of the parameters; None where nothing was given."""


class Where(NamedTuple):
    """A pair as `SyncOptions` takes it; see there."""

    source: str
    destination: str
    begin: str = ""
    login_source: Login = Login()
    login_target: Login = Login()


def pair(places: Sequence[str], command: str) -> tuple[str, str]:
    """SOURCE and DESTINATION. Raises USAGE when there are not two, or when they are one place."""
    how = f"write `dunlin {command} SOURCE DESTINATION`"
    if not places:
        raise usage("SOURCE and DESTINATION are missing", how)
    if len(places) == 1:
        raise usage("DESTINATION is missing", how)
    if len(places) > 2:
        words = " ".join(printable(shown_place(place)) for place in places[2:5]) + (" ..." if len(places) > 5 else "")
        raise usage(f"more than SOURCE and DESTINATION: {words}", "quote names with spaces; one SOURCE at a time")
    source, destination = places
    for place, name in ((source, "SOURCE"), (destination, "DESTINATION")):
        if not place.strip():
            raise usage(f"{name} is empty", "is a variable of the shell unset?")
    differ(source, destination)
    return source, destination


def differ(source: str, destination: str) -> None:
    """Raises USAGE when both are one place."""
    if _plain(source) == _plain(destination):
        raise usage(f"SOURCE and DESTINATION are the same: {printable(shown_place(source))}")


def _plain(place: str) -> str:
    """A place in one spelling, good enough to notice that both are the same."""
    path = place.removeprefix("file://")
    return path if "://" in path else os.path.realpath(path)


def metadata(values: Values) -> dict[str, bool]:
    """Which kinds and which metadata are kept; what is said in particular wins over -a, -D and -A."""
    archive = bool(values.get("archive"))
    acls = bool(values.get("acls"))
    both = _first(values.get("devices_specials"), archive)
    return {
        "links": _first(values.get("links"), archive),
        "perms": _first(values.get("perms"), archive or acls),
        "owner": _first(values.get("owner"), archive),
        "group": _first(values.get("group"), archive),
        "devices": _first(values.get("devices"), both),
        "specials": _first(values.get("specials"), both),
        "hard_links": bool(values.get("hard_links")),
        "xattrs": bool(values.get("xattrs")),
        "acls": acls,
    }


def _first(said: bool | None, otherwise: bool) -> bool:
    return otherwise if said is None else said


def compare(values: Values) -> str:
    """The one comparison that --compare, -c and --size-only ask for. Raises USAGE when they disagree."""
    asked = {
        "--compare": values.get("compare"),
        "-c": "checksum" if values.get("compare_checksum") else None,
        "--size-only": "size" if values.get("size_only") else None,
    }
    given = {name: how for name, how in asked.items() if how}
    if len(set(given.values())) > 1:
        raise usage(f"{' and '.join(given)} ask for different comparisons", "give one of them")
    return next(iter(given.values()), Policy().compare)


def policy(values: Values, *, delete: bool) -> Policy:
    """What decides about a name. `delete`: names only at the destination are to be told or deleted."""
    kept = metadata(values)
    return Policy(
        compare=compare(values),
        window=round((values.get("modify_window") or 0) * 1e9),
        update=bool(values.get("update")),
        skip_existing=bool(values.get("skip_existing")),
        force=bool(values.get("force_resync")),
        links=kept["links"],
        specials=kept["specials"],
        devices=kept["devices"],
        perms=kept["perms"],
        owner=kept["owner"],
        group=kept["group"],
        hard_links=kept["hard_links"],
        attributes=kept["xattrs"] or kept["acls"],
        delete=delete,
        clear=bool(values.get("delete_extras")),
    )


def transfer(values: Values) -> Transfer:
    """How bytes and metadata are moved."""
    kept = metadata(values)
    default = Transfer()
    megabytes = values.get("disk_buffer_mb")
    return Transfer(
        checksum=values.get("checksum") or default.checksum,
        block_size=values.get("block_size") or default.block_size,
        queue_capacity=values.get("queue_capacity") or default.queue_capacity,
        buffer_bytes=megabytes << 20 if megabytes else default.buffer_bytes,
        in_place=bool(values.get("in_place")),
        sparse=bool(values.get("sparse")),
        fsync=values.get("fsync") or default.fsync,
        attempts=values.get("attempts") or default.attempts,
        clear=bool(values.get("delete_extras")),
        perms=kept["perms"],
        owner=kept["owner"],
        group=kept["group"],
        xattrs=kept["xattrs"],
        acls=kept["acls"],
        hard_links=kept["hard_links"],
    )


def selection(values: Values, rules: Iterable[tuple[str, str]], now: int) -> Selection:
    """Which names take part.

    Args:
        rules: (option, value) of --include and the like in the order of the command line.
        now: ns since 1970, for ages.
    """
    young, old = values.get("min_age"), values.get("max_age")
    least, most = values.get("min_size"), values.get("max_size")
    if least is not None and most is not None and least > most:
        raise usage("--min-size is larger than --max-size: no file could take part")
    listed = values.get("files_from")
    return Selection(
        rules=parse_rules((option.replace("_", "-"), value) for option, value in rules),
        files=read_files("/dev/stdin" if listed == "-" else listed) if listed else None,
        min_size=least,
        max_size=most,
        newer_than=parse_age(old, now, what="age for --max-age") if old else None,
        older_than=parse_age(young, now, what="age for --min-age") if young else None,
        max_depth=values.get("max_depth"),
        ignore_case=bool(values.get("ignore_case")),
        ages=(young or "", old or ""),
    )


def bandwidth(schedule: Schedule | None) -> Schedule | None:
    """The timetable, None when it never limits anything."""
    if schedule is None or not any(rate for _, rate in schedule.entries):
        return None
    return schedule


def sync_options(
    values: Values,
    rules: Iterable[tuple[str, str]] = (),
    *,
    where: Where | None = None,
    command: str = "sync",
    now: int = 0,
    user_state: str = "",
    runtime: str = "",
) -> SyncOptions:
    """What `dunlin sync` or `dunlin check` was asked to do.

    Args:
        values: by parameter; `places` holds SOURCE and DESTINATION.
        rules: (option, value) of the filters in the order of the command line.
        where: the pair; None: SOURCE and DESTINATION as they are, without a login.
        command: "sync" or "check".
        now: ns since 1970, for ages.
        user_state, runtime: directories for state and locks (`config`).

    Raises USAGE or CONFIG.
    """
    where = where or Where(*pair(values.get("places") or (), command))
    check = command == "check"
    if values.get("delete_excluded") and not values.get("delete_extras"):
        raise usage("--delete-excluded deletes nothing by itself", "give --delete-extras too")
    for word in ("trust_state", "ctime_skip"):
        if values.get(word) and values.get("state_db") == "none":
            raise usage(f"--{word.replace('_', '-')} needs a state, and --state-db none keeps none")
    if values.get("watch") and values.get("dry_run"):
        raise usage("--watch repeats a run, and a dry run is made once", "leave one of them out")
    mode = "check" if check else "plan" if values.get("dry_run") else "sync"
    wait = values.get("lock_wait")
    return SyncOptions(
        where.source,
        where.destination,
        mode=mode,
        policy=policy(values, delete=not values.get("one_way") if check else bool(values.get("delete_extras"))),
        selection=selection(values, rules, now),
        transfer=transfer(values),
        crew=Crew(
            workers=values.get("workers") or 0,
            movers=values.get("movers") or 0,
            threads=values.get("threads") or 0,
            scan_first=bool(values.get("scan_first")),
            start=values.get("mover_start") or "",
        ),
        log=_log(values),
        bandwidth=bandwidth(values.get("bwlimit")),
        state_db=values.get("state_db"),
        user_state=user_state,
        runtime=runtime,
        rescan=bool(values.get("rescan")),
        force_resync=bool(values.get("force_resync")),
        trust_state=bool(values.get("trust_state")),
        ctime_skip=bool(values.get("ctime_skip")),
        ctime_margin=60.0 if values.get("ctime_margin") is None else values["ctime_margin"],
        delete_excluded=bool(values.get("delete_excluded")),
        max_delete=values.get("max_delete"),
        accept_source=bool(values.get("accept_source")),
        backup_dir=values.get("backup_dir"),
        lock_wait=10.0 if wait is None else wait,
        login_source=where.login_source,
        login_target=where.login_target,
        begin=where.begin,
        batch_size=values.get("batch_size") or 0,
        watch=Watch(values.get("watch_interval") or Watch().interval) if values.get("watch") else None,
        verify=_first(values.get("verify_checksums"), True),
        share_snapshot=bool(values.get("share_snapshot")),
        limits=_limits(values),
        crawl=_crawling(values),
        **{name: values[name] for name in ("timeout", "request_timeout") if values.get(name) is not None},
    )


def _crawling(values: Values) -> Crawling:
    default = Crawling()
    engage = values.get("throttle_engage_threshold") or round(default.engage * 100)
    release = values.get("throttle_release_threshold") or min(round(default.release * 100), max(1, engage * 85 // 100))
    if release > engage or (release == engage and engage > 1):
        hint = "directories that wait go on below it: choose a smaller one"
        raise usage(f"--throttle-release-threshold {release} is not below --throttle-engage-threshold {engage}", hint)
    cooldown = values.get("adjustment_cooldown")
    return Crawling(
        parallelism=values.get("crawl_parallelism") or 0,
        max_active_files=values.get("max_active_files") or 0,
        engage=engage / 100,
        release=release / 100,
        consistency=values.get("consistency_threshold") or default.consistency,
        cooldown=default.cooldown if cooldown is None else cooldown,
    )


def _limits(values: Values) -> Limits:
    return Limits(
        memory_bytes=(values.get("max_memory_mb") or 0) << 20,
        cpu_percent=values.get("max_cpu_percent") or 0,
        auto_throttle=values.get("auto_throttle"),
        throttle_threshold=values.get("throttle_threshold") or Limits().throttle_threshold,
        link_bytes=values.get("link_speed") or 0,
    )


def _log(values: Values) -> Log:
    default = Log()
    size, keep = values.get("log_file_size"), values.get("log_file_keep")
    return Log(
        file=values.get("log_file"),
        format=values.get("log_file_format") or default.format,
        max_size=default.max_size if size is None else size,
        keep=default.keep if keep is None else keep,
        report_file=values.get("report_file"),
        names=bool(values.get("verbose")),
        profile=values.get("profile") or None,
    )


def ordered(
    arguments: Sequence[str], parameters: Iterable[click.Parameter], wanted: Sequence[str]
) -> list[tuple[str, str]]:
    """(parameter, value) of the `wanted` options in the order in which they were written.

    click collects the values of each option apart, so what stood first is lost; this reads the same
    arguments once more, by the same rules (``--name value``, ``--name=value``, clusters of short options,
    ``--`` ends the options).
    """
    options = [each for each in parameters if isinstance(each, click.Option)]
    by_name = {name: each for each in options for name in (*each.opts, *each.secondary_opts)}
    found: list[tuple[str, str]] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = by_name.get(name)
            if option is None or not _takes_value(option):
                continue
            if not equals:
                value = next(rest, "")
        elif word.startswith("-") and word != "-":
            option, value = None, ""
            for at, letter in enumerate(word[1:], 2):
                option = by_name.get(f"-{letter}")
                if option is not None and _takes_value(option):
                    value = word[at:] or next(rest, "")
                    break
        else:
            continue
        if option is not None and option.name in wanted:
            found.append((option.name, value))
    return found


def _takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def rules_of(ctx: click.Context, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """The filter rules of a command line in their order; behind them those of the environment or the file."""
    written = ordered(ctx.meta["dunlin.arguments"], ctx.command.params, wanted)
    below = (click.core.ParameterSource.ENVIRONMENT, click.core.ParameterSource.DEFAULT_MAP)
    for name in wanted:
        if ctx.get_parameter_source(name) in below:
            written += [(name, value) for value in ctx.params[name]]
    return written
