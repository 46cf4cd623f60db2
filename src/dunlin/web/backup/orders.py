"""What the forms of the pages ask for: jobs, put on record as through the API, with the same checks."""

from __future__ import annotations

from typing import Any

import msgspec

from dunlin.queue.ledger.words import Job
from dunlin.web.backup.shares import RULES
from dunlin.web.backup.words import holds, unescaped
from dunlin.web.forms import JobKind, NewJob
from dunlin.web.jobs_api import submit
from dunlin.web.kinds import check_role
from dunlin.web.monitor.shell import Page
from dunlin.web.problems import Refused


class Form(msgspec.Struct):
    """All that forms send; each order takes what is its own."""

    repository: str = ""
    tenant: str = ""
    share: str = ""
    into: str = ""
    what: str = "backup"
    source: str = ""
    at: str = ""
    place: str = ""
    destination: str = ""
    overwrite: str = ""
    verify: str = ""
    read: str = ""
    prune: str = ""
    last: str = ""
    hourly: str = ""
    daily: str = ""
    weekly: str = ""
    monthly: str = ""
    yearly: str = ""
    within: str = ""
    tag: str = ""


def back_up(form: Form) -> tuple[JobKind, dict[str, Any]]:
    """Make a snapshot."""
    if form.into:
        form.repository, _, form.tenant = form.into.partition("/")
    return ("scan" if form.what == "scan" else "backup"), {
        "repository": form.repository, "source": form.source, **_some(share=form.share, tag=form.tag),
    }  # fmt: skip


def restore(form: Form) -> tuple[JobKind, dict[str, Any]]:
    """Bring back what lies at a path of a snapshot."""
    path = unescaped(form.place)
    if not holds(path):
        raise Refused(400, "this name is no text", "restore the directory above it")
    return "restore", {
        "repository": form.repository, "destination": form.destination, "snapshot": form.at or "latest",
        **_some(share=form.share, path=path, overwrite=form.overwrite, verify=form.verify == "true"),
    }  # fmt: skip


def verify(form: Form) -> tuple[JobKind, dict[str, Any]]:
    """Look whether a share is whole; `read`: how much of the content is read."""
    return "verify", {"repository": form.repository, **_some(share=form.share, read_data_subset=form.read)}


def prune(form: Form) -> tuple[JobKind, dict[str, Any]]:
    """Free what no snapshot needs."""
    return "prune", {"repository": form.repository}


def forget(form: Form) -> tuple[JobKind, dict[str, Any]]:
    """Remove the snapshots of a share that no rule keeps, or the one at which the form was drawn."""
    rules: dict[str, Any] = {f"keep_{name}": counted(getattr(form, name)) for name in RULES}
    return "forget", {
        "repository": form.repository, "share": form.share, **{name: value for name, value in rules.items() if value},
        **_some(
            keep_within=form.within.strip(), keep_tag=[each.strip() for each in form.tag.split(",") if each.strip()],
            prune=form.prune == "true", snapshots=[form.at] if form.at else [],
        ),
    }  # fmt: skip


ORDERS = {"backup": back_up, "restore": restore, "verify": verify, "prune": prune, "forget": forget}


def counted(words: str) -> int | str:
    """What stands in a field of the policy: a number, or `all`; 0 for nothing. Raises `Refused`."""
    words = words.strip().lower()
    if words in ("", "all"):
        return words or 0
    if not words.isdecimal() or not words.isascii() or len(words) > 6:
        raise Refused(400, f"{words!r} is no number, and not `all`")
    return int(words)


def obey(page: Page, verb: str, form: Form) -> Job:
    """Put on record what a form asks for. Raises `Refused`, USAGE, DENIED."""
    kind, options = ORDERS[verb](form)
    check_role(page.principal, kind)
    job, _ = submit(page.services, page.principal, NewJob(kind, options, tenant=form.tenant), "")
    return job


def _some(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}
