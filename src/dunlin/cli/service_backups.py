"""From the options of a job with a repository to those of the work: the words, layers and checks of the command.

As in `service_ask`, the job stands above the file and the environment. The repository is one that the configuration of
the service names, and the tenant is who asks: a job has no say in either beyond the name, nor in passwords and caches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dunlin import config
from dunlin.cli import parameters
from dunlin.cli.options import Where, bandwidth, rules_of, selection, sync_options
from dunlin.cli.service_ask import context_of, located, no_more_workers, understood
from dunlin.config import schema
from dunlin.config.file import Job, Value
from dunlin.config.logins import Located
from dunlin.config.settings import Settings
from dunlin.config.spread import home, spread
from dunlin.errors import usage
from dunlin.jobs.options import Log, SyncOptions
from dunlin.web.backups import Asked

if TYPE_CHECKING:
    from dunlin.config.service import Tenant

MOST_KEPT = 1_000_000


def _count(value: Any) -> str:
    """How many are kept: a whole number, or all."""
    if value in ("all", "forever"):
        return "all"
    return str(schema.whole(0, MOST_KEPT)(value))


def _part(value: Any) -> str:
    """Text, or a number that means the same."""
    return schema.text(str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value)


def _own(name: str, kind: schema.Kind) -> schema.Key:
    return schema.Key("job", name, "--" + name.replace("_", "-"), kind)


_FILTERS = (
    *("include", "exclude", "include_from", "exclude_from", "filter_from", "files_from", "ignore_case"),
    *("min_size", "max_size", "min_age", "max_age", "max_depth"),
)
_PATIENCE = ("timeout", "request_timeout")
_AS_SYNC = {
    "scan": (*_FILTERS, *_PATIENCE, "share_snapshot", "dry_run"),
    "backup": (*_FILTERS, *_PATIENCE, "share_snapshot", "dry_run", "attempts", "xattrs", "bwlimit", "bandwidth_limit",
               "accept_source"),
    "restore": (
        *_FILTERS, *_PATIENCE, "dry_run", "perms", "owner", "group", "hard_links", "xattrs", "sparse", "max_delete",
        "bwlimit", "bandwidth_limit", "workers", "fsync", "lock_wait",
    ),
    "prune": ("dry_run",),
    "forget": ("dry_run",),
}  # fmt: skip
"""Options that are those of a sync."""

_KEEP = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_SHARE = _own("share", schema.text)
_OWN = {
    "scan": (_SHARE, _own("tag", schema.names)),
    "backup": (_SHARE, _own("tag", schema.names), _own("force", schema.switch)),
    "restore": (
        _SHARE, _own("snapshot", schema.text), _own("path", schema.text), _own("delete", schema.switch),
        _own("verify", schema.switch),
        _own("overwrite", schema.choice("if-changed", "always", "if-newer", "never")),
    ),
    "verify": (
        _SHARE, _own("snapshot", schema.text), _own("read_data", schema.switch), _own("read_data_subset", _part),
        _own("max_age", schema.duration),
    ),
    "prune": (_own("max_unused", _part),),
    "forget": (
        _SHARE, *(_own(f"keep_{name}", _count) for name in _KEEP), _own("keep_within", schema.duration),
        _own("keep_tag", schema.names), _own("prune", schema.switch), _own("damaged", schema.switch),
        _own("snapshots", schema.names),
    ),
}  # fmt: skip
_SPREAD = ("backup", "scan", "restore", "verify")
_PLACES = {
    "scan": ("repository", "source"), "backup": ("repository", "source"), "restore": ("repository", "destination"),
}  # fmt: skip


def keys_of(kind: str) -> dict[str, schema.Key]:
    """The options that a kind of job takes beside its places, by name."""
    return {name: schema.OPTIONS[name] for name in _AS_SYNC.get(kind, ())} | {key.name: key for key in _OWN[kind]}


def ask(kind: str, options: Mapping[str, Any], tenant: Tenant, settings: Settings, queue: str = "") -> Asked:
    """What a job asks for; `kind` is one of `web.kinds.KEEPS`. Raises USAGE and CONFIG.

    `queue`: where workers on other machines take their work from; "": it is done here alone.
    """
    places, values = understood(options, _PLACES.get(kind, ("repository",)), keys_of(kind))
    job = Job(values, places.get("source", ""), places.get("destination", ""), "the job")
    context = context_of(_command(kind), kind, job, settings, _arguments(kind, places))
    name = places["repository"]
    if kind in ("backup", "scan"):
        asked = _backup(context, name, job, tenant, content=kind == "backup")
    elif kind == "restore":
        no_more_workers(job, settings)
        asked = _restore(context, name, job, tenant)
    else:
        asked = {"verify": _verify, "prune": _prune, "forget": _forget}[kind](context, name, job, tenant)
    entry = settings.file.repositories.get(name) if settings.file else None
    if not queue or entry is None or asked.dry or kind not in _SPREAD:
        return asked
    # A repository is a place that workers find by its name, as those of a sync are.
    vault = str(entry.values["place"].value)
    source, target = (vault, job.destination) if kind == "restore" else (job.source or vault, vault)
    how = spread({**context.params, "queue": queue}, source, target, None, context.meta["dunlin.settings"])
    return asked._replace(options=asked.options._replace(spread=how))


def _arguments(kind: str, places: Mapping[str, str]) -> list[str]:
    words = {"restore": ["latest", places.get("destination", "")], "backup": [places.get("source", "")]}
    found = words.get("backup" if kind == "scan" else kind)
    return ["--", *found] if found else []


def _command(kind: str) -> click.Command:
    from importlib import import_module

    found: click.Command = import_module(f"dunlin.cli.{kind}").command
    return found


def _said(job: Job, flag: str, default: Any = "") -> Any:
    """What the job itself says: of these options no other layer has a say."""
    found: Value | None = job.values.get(flag)
    return default if found is None else found.value


def _share_of(job: Job) -> str:
    from dunlin.backup.words import check_name

    share = str(_said(job, "--share"))
    return check_name("share", share) if share else ""


def _backup(context: click.Context, name: str, job: Job, tenant: Tenant, *, content: bool) -> Asked:
    from dunlin.jobs.backup import Options, name_of
    from dunlin.jobs.repo import Place

    values, source = context.params, located(job.source, "source", context.meta["dunlin.settings"])
    share = _share_of(job)
    patience = {each: values[each] for each in _PATIENCE if values.get(each) is not None}
    asked = Options(
        source.url,
        Place(""),
        login=source.login,
        tenant=tenant.name,
        share=share,
        tags=tuple(dict.fromkeys(tag for tag in _said(job, "--tag", ()) if tag)),
        selection=selection(values, rules_of(context, parameters.FILTERS), time.time_ns()),
        content=content,
        force=bool(values.get("force")),
        dry=bool(_said(job, "--dry-run", False)),
        accept_source=bool(_said(job, "--accept-source", False)),
        xattrs=values.get("xattrs") is not False,
        attempts=values.get("attempts") or 3,
        bandwidth=bandwidth(values.get("bwlimit")),
        share_snapshot=bool(values.get("share_snapshot")),
        **patience,
    )
    return Asked(name, asked, share=share or name_of(source.url), dry=asked.dry)


def _restore(context: click.Context, name: str, job: Job, tenant: Tenant) -> Asked:
    from dunlin.backup.repository import LATEST
    from dunlin.jobs.browse import parse

    target = located(job.destination, "dest", context.meta["dunlin.settings"])
    snapshot = str(_said(job, "--snapshot") or LATEST)
    if ":" in snapshot:
        raise usage("snapshot: the path in it is an option of its own", "write it as `path`")
    wanted = parse(f"{snapshot}:{_said(job, '--path')}")
    options = _restoring(context, job, target, tenant)
    return Asked(
        name, options, share=_share_of(job), dry=options.mode != "sync", snapshot=wanted.snapshot, path=wanted.path,
        overwrite=str(_said(job, "--overwrite") or "if-changed"), verify=bool(_said(job, "--verify", False)),
    )  # fmt: skip


def _restoring(context: click.Context, job: Job, target: Located, tenant: Tenant) -> SyncOptions:
    values = context.params
    # A process of root that hands out root to a tenant is refused (`web.roots.check_kept`); unasked it does not try.
    usual = not (tenant.listed and os.geteuid() == 0)
    kept = {each: usual if values.get(each) is None else values[each] for each in ("perms", "owner", "group", "xattrs")}
    kept["hard_links"] = values.get("hard_links") is not False
    found = sync_options(
        {
            **values, **kept, "acls": kept["xattrs"] and kept["perms"], "state_db": "none",
            "delete_extras": bool(_said(job, "--delete", False)), "dry_run": bool(_said(job, "--dry-run", False)),
        },
        rules_of(context, parameters.FILTERS),
        where=Where("", target.url, login_target=target.login),
        command="restore",
        now=time.time_ns(),
        user_state=config.user_state_dir(),
        runtime=config.runtime_dir(),
    )  # fmt: skip
    below: Settings = context.meta["dunlin.settings"]
    shared, label = below.find("--shared-root"), below.find("--host-label")
    machine = {"shared_root": shared and shared.value, "host_label": label and label.value}
    # The service has threads: movers must not be forked from it.
    return found._replace(
        make_parents=True, crew=found.crew._replace(start="spawn"), log=Log(),
        home=home(machine, job.destination, below) if found.mode == "sync" else "",
    )  # fmt: skip


def _verify(context: click.Context, name: str, job: Job, tenant: Tenant) -> Asked:
    from dunlin.backup.verified import Subset
    from dunlin.jobs.verify import Options, subset

    values, share, snapshot = context.params, _share_of(job), str(_said(job, "--snapshot"))
    part, age = values.get("read_data_subset"), values.get("max_age")
    data = subset(part) if part else Subset() if values.get("read_data") or age is not None else None
    return Asked(name, Options(tenant.name, share, snapshot, data, age), share=share, snapshot=snapshot)


def _prune(context: click.Context, name: str, job: Job, tenant: Tenant) -> Asked:
    from dunlin.jobs.prune import Options

    most, dry = context.params.get("max_unused"), bool(_said(job, "--dry-run", False))
    options = Options(tenant.name, dry=dry) if most is None else Options(tenant.name, most, dry)
    return Asked(name, options, dry=dry)


def _forget(context: click.Context, name: str, job: Job, tenant: Tenant) -> Asked:
    from dunlin.backup.retention import Policy
    from dunlin.backup.words import is_id
    from dunlin.jobs.forget import Options, check

    values, share = context.params, _share_of(job)
    # Rules are the job's alone: what the environment of the service says must not remove anybody's snapshots.
    given = {each: values[f"keep_{each}"] or 0 for each in _KEEP if f"--keep-{each}" in job.values}
    within = values["keep_within"] if "--keep-within" in job.values else 0
    policy = Policy(**given, within=within or 0, tags=tuple(_said(job, "--keep-tag", ())))
    damaged = bool(_said(job, "--damaged", False))
    dry = bool(_said(job, "--dry-run", False))
    prune = bool(_said(job, "--prune", False))
    named = tuple(_said(job, "--snapshots", ()))
    if not all(map(is_id, named)):  # a job may be done twice, and other snapshots may come before it is
        raise usage("snapshots: they are named by their whole ids there", "`dunlin snapshots --json` tells them")
    options = Options(policy, tenant.name, share, dry, damaged=damaged, snapshots=named)
    check(options)
    shown = ", ".join(each[:8] for each in named)
    return Asked(name, options, share=share, dry=dry, snapshot=shown, prune=prune)
