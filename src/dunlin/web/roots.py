"""Whether the places that a job names are its tenant's.

Links are followed and `..` is resolved before anything is compared, so what is compared is where bytes would be read
or written. Places are compared in the spelling in which a run opens them (`canonical_url`): a bucket of a server of
one's own is another place than the one of the same name elsewhere. A path means two things where `..` stands behind a
link, one to who resolves words and another to the system; both have to lie within. A path that does not exist yet is
judged by its directories that do.

Only what the job itself names is looked at. What the service's own configuration says, as a log file, is its
operator's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.jobs.options import SyncOptions, Within
from dunlin.model import is_below
from dunlin.stores.login import Login
from dunlin.stores.open import canonical_url, local_path, shown_place

FILES = ("files_from", "include_from", "exclude_from", "filter_from")
"""Options that name files which are read; `SyncOptions` holds only what stood in them."""


def allowed(place: str, roots: Sequence[str], login: Login | None = None) -> bool:
    """Whether a place lies in one of the roots (`config.service`: real paths, and canonical URLs).

    Raises USAGE for what is no place.
    """
    path = local_path(place)
    if path is not None:
        return allowed_path(path, roots) and allowed_path(local_path(canonical_url(place)) or "", roots)
    # A query is no part of a place, and steps upwards are resolved by whoever is asked.
    if "?" in place or "#" in place or {".", ".."} & set(place.split("/")):
        return False
    url = canonical_url(place, login).rstrip("/")
    return any("://" in root and is_below(url, root) for root in roots)


def concerns(place: str, roots: Sequence[str]) -> bool:
    """Whether a place, spelled as roots are, lies in one of them or holds one."""
    return any(
        ("://" in root) is ("://" in place) and (is_below(place, root) or is_below(root, place)) for root in roots
    )


def allowed_path(path: str, roots: Sequence[str]) -> bool:
    """Whether a path of this machine lies in one of the roots, whoever resolves it."""
    return all(
        any("://" not in root and is_below(os.path.realpath(each), root) for root in roots)
        for each in (path, os.path.abspath(path))
    )


def check_kept(options: SyncOptions) -> None:
    """Refuse what would have a process of root hand out root to a tenant. Raises USAGE.

    Who writes the source, or an object's metadata, says whose a file is and what it may do when it is run: set-user-id
    programs of root among it.
    """
    policy, how = options.policy, options.transfer
    if (policy.perms or policy.owner or policy.group or how.xattrs or how.acls) and os.geteuid() == 0:
        raise usage(
            "this service runs as root, and then keeps no owners, permissions or attributes for its tenants",
            "leave out archive and its like, or have the service run as a user of its own",
        )


def check_places(options: SyncOptions, given: Mapping[str, object], roots: Sequence[str]) -> SyncOptions:
    """Refuse a job that names a place outside the roots, and have its run stay there; no roots: all places are good.

    Args:
        given: the options as they were asked for, by name.

    Raises DENIED, without saying whether there is anything at that place.
    """
    if not roots:
        return options
    for name, place, login in (
        ("source", options.source, options.login_source), ("destination", options.destination, options.login_target)
    ):  # fmt: skip
        if not allowed(place, roots, login):
            raise denied(name, place)
    named = dict(named_paths(options, given))
    for name, path in named.items():
        if not allowed_path(path, roots):
            raise denied(name, path)
    return options._replace(within=Within(tuple(root for root in roots if "://" not in root), frozenset(named)))


def check_files(given: Mapping[str, object], roots: Sequence[str]) -> None:
    """Refuse names of files of patterns that lie outside the roots, before anybody reads them. Raises USAGE, DENIED."""
    for name in FILES:
        value = given.get(name)
        for each in value if isinstance(value, list) else [value] if value else []:
            if not isinstance(each, str) or "\0" in each:
                raise usage(f"{name}: it must be a path")
            if each == "-":
                raise usage(f"{name}: the service has no standard input")
            if roots and not allowed_path(each, roots):
                raise denied(name, each)


def named_paths(options: SyncOptions, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What a job has written beside its destination: (option, path), of those that it names itself."""
    inner = local_path(options.destination)
    backup = options.backup_dir or ""
    named = {
        "log_file": options.log.file, "report_file": options.log.report_file, "state_db": options.state_db,
        "backup_dir": os.path.join(inner, backup) if inner is not None and backup else backup,
    }  # fmt: skip
    for name, path in named.items():
        if given.get(name) is not None and path and (name, path) != ("state_db", "none"):
            yield name, path


def denied(name: str, place: str) -> DunlinError:
    """The error for a place (`name`: of the option) that is none of a tenant's."""
    shown = printable(shown_place(place))
    return DunlinError(f"use {name}", shown, ErrorKind.DENIED, "it is outside the allowed roots")
