"""Whether the places that a job names are its tenant's.

Links are followed and `..` is resolved before anything is compared, so what is compared is where bytes would be read
or written. The path may change between this look and the run; who can make links below a root can be expected to reach
what lies below it, so a root must not be writable for those who are to be kept out of the rest of the machine. A
path that does not exist yet is judged by its directories that do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.jobs.options import SyncOptions
from dunlin.stores.open import canonical_url, local_path, shown_place

FILES = ("files_from", "include_from", "exclude_from", "filter_from")
"""Options that name files which are read; `SyncOptions` holds only what stood in them."""


def allowed(place: str, roots: Sequence[str]) -> bool:
    """Whether a path or URL lies in one of the roots (real paths, and URLs without a slash at the end)."""
    path = local_path(place)
    if path is not None:
        real = os.path.realpath(path)
        return any("://" not in root and _below(real, root, os.sep) for root in roots)
    if "?" in place or "#" in place:
        return False
    url = place.rstrip("/")
    return any("://" in root and _below(url, root, "/") for root in roots)


def _below(inner: str, outer: str, separator: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(separator) + separator)


def check_places(options: SyncOptions, given: Mapping[str, object], roots: Sequence[str]) -> None:
    """Refuse a job that names a place outside the roots; no roots: all places are good.

    Args:
        given: the options as they were asked for, by name.

    Raises DENIED, without saying whether there is anything at that place.
    """
    if not roots:
        return
    for name, place in (("source", options.source), ("destination", options.destination)):
        spelled = canonical_url(place, options.login_source if name == "source" else options.login_target)
        if not allowed(place, roots) or ("://" in place and local_path(place) is None and not allowed(spelled, roots)):
            raise _denied(name, place)
    for name, path in _paths(options, given):
        if not allowed(path, roots):
            raise _denied(name, path)


def check_files(given: Mapping[str, object], roots: Sequence[str]) -> None:
    """Refuse names of files of patterns that lie outside the roots, before anybody reads them. Raises USAGE, DENIED."""
    for name in FILES:
        value = given.get(name)
        for each in value if isinstance(value, list) else [value] if value else []:
            if not isinstance(each, str) or "\0" in each:
                raise usage(f"{name}: it must be a path")
            if each == "-":
                raise usage(f"{name}: the service has no standard input")
            if roots and not allowed(each, roots):
                raise _denied(name, each)


def _paths(options: SyncOptions, given: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if options.log.file:
        yield "log_file", options.log.file
    if options.log.report_file:
        yield "report_file", options.log.report_file
    if options.backup_dir:
        inner = local_path(options.destination)
        yield "backup_dir", os.path.join(inner, options.backup_dir) if inner is not None else options.backup_dir
    if "state_db" in given and options.state_db not in (None, "", "none"):
        yield "state_db", str(options.state_db)


def _denied(name: str, place: str) -> DunlinError:
    shown = printable(shown_place(place))
    return DunlinError(f"use {name}", shown, ErrorKind.DENIED, "it is outside the allowed roots")
