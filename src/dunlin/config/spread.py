"""What a run over a queue, and a worker, are told by the layers: the queue, the machine's label, who reaches a place.

A place reaches workers by its name. An object store is there for all; a local path is this machine's own, unless it
lies below one of `queue.shared_roots` or is a location with `shared: true`: then workers with the same mount reach it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from dunlin.config.caps import store_caps
from dunlin.config.logins import Said, place, secret_of
from dunlin.config.settings import FILE, Found, Settings
from dunlin.jobs.options import Spread
from dunlin.model import is_within
from dunlin.sqlite import network_mount
from dunlin.stores.login import Login
from dunlin.stores.open import is_far, local_path

_LOCATION = re.compile(r"loc://([^/]+)", re.IGNORECASE)


def queue_url(value: str | None, found: Found | None, settings: Settings) -> str:
    """The queue's URL; "" where none is named. Raises CONFIG for an ``@FILE`` that cannot be read.

    Args:
        value: of ``--queue``. found: where it comes from, if the command line does not give it.
        settings: the layers below the command line; the section `redis` names a queue, too.
    """
    if value:
        base = ""
        if found is not None and found.layer == FILE and settings.file is not None:
            base = os.path.dirname(os.path.abspath(settings.file.path))
        return secret_of(Said(value, found.origin if found is not None else "--queue", base)).strip()
    if value is None and settings.find("--redis-addr") is not None:
        from dunlin.config.service import service

        return service(settings).queue
    return ""


def host_label(value: str | None) -> str:
    """This machine's label: as told, else its name."""
    return value or socket.gethostname()


def spread(
    values: Mapping[str, Any], source: str, destination: str, found: Found | None, settings: Settings
) -> Spread | None:
    """How the run of a pair goes to workers; None: it does not.

    Args:
        values: of the command, by parameter. source, destination: as they were written.
        found: where ``--queue`` comes from, if not from the command line.
    """
    url = queue_url(values.get("queue") or "", found, settings)
    if not url:
        return None
    label = host_label(values.get("host_label"))
    roots = _roots(values)
    everywhere = all(_everywhere(each, settings, roots) for each in (source, destination))
    work = values.get("work")
    split_above = values.get("split_above")
    return Spread(
        url,
        True if work is None else bool(work),
        source if _LOCATION.match(source) else "",
        destination if _LOCATION.match(destination) else "",
        "" if everywhere else label,
        label,
        values.get("priority") or 0,
        capped=store_caps(settings).directories,
        **({} if split_above is None else {"split_above": split_above}),
    )


def home(values: Mapping[str, Any], destination: str, settings: Settings) -> str:
    """The label of the machine that alone has a destination (`jobs.office`); "": others reach it, or may.

    A network mount that nobody said is shared counts as one that others may have: they must not write there, too.
    """
    roots = _roots(values)
    if _everywhere(destination, settings, roots):
        return ""
    named = _LOCATION.match(destination)
    if named is not None:
        location = settings.file.locations.get(named[1]) if settings.file is not None else None
        if location is None:
            return ""
        destination = f"{location.url}/{destination[named.end() :]}"
    path = local_path(destination)
    if path is None or is_within(os.path.realpath(path), roots) or network_mount(path):
        return ""
    return host_label(values.get("host_label"))


def _roots(values: Mapping[str, Any]) -> list[str]:
    return [os.path.realpath(root) for root in values.get("shared_root") or ()]


def _everywhere(text: str, settings: Settings, roots: Sequence[str]) -> bool:
    """Whether workers on other machines reach a place."""
    named = _LOCATION.match(text)
    if named is not None:
        location = settings.file.locations.get(named[1]) if settings.file is not None else None
        return location is not None and (location.shared or is_far(location.url))
    if is_far(text):
        return True
    return is_within(os.path.realpath(local_path(text) or "/"), roots)


class Places:
    """From the names of places to URLs and logins, by the configuration of this machine (`workers.part.Resolve`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, text: str, side: str) -> tuple[str, Login]:
        """Raises USAGE and CONFIG."""
        found = place(text, side, {}, self._settings)
        return found.url, found.login
