"""From what people write for a place to a store.

    /path, path, ./path, C:\\path      a local directory
    file:///path                      the same as a URL; %-escapes are decoded
    memory://NAME                     a tree in this process, for tests and trials
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import replace

from dunlin.errors import DunlinError, usage
from dunlin.report import Report
from dunlin.stores.base import Caps, Store
from dunlin.stores.local.paths import file_url
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.wrap import Counted, Paced, ReadOnly, Retry, Retrying, Takes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DRIVE = re.compile(r"[A-Za-z]:(?:[\\/]|$)")
_HOST = re.compile(r"[^/\\:]+:(?!//)")

WORKS = "local paths, file:///path and memory://NAME work"


def open_store(
    url: str,
    *,
    options: WriteOptions | None = None,
    read_only: bool = False,
    retry: Retry | None = None,
    bucket: Takes | None = None,
    report: Report | None = None,
    probe: bool = False,
    caps: Caps | None = None,
    on_refused: Callable[[str, DunlinError], None] | None = None,
) -> Store:
    """The store for a place, with only the wrappers that were asked for.

    Args:
        url: see the module docstring. The directory need not exist yet.
        options, on_refused: see `LocalStore`.
        read_only: whatever would change something is refused.
        retry: makes failed requests again.
        bucket: asked for every block of content. (The engine paces its transfers itself.)
        report: gets counts of requests and bytes.
        caps: what another process found out about the place already; None: ask the system.
        probe: write a file to see how the place treats the case and spelling of names.

    Raises USAGE for what is no place that dunlin can open.
    """
    made = _made(url, options or WriteOptions(), probe and not read_only, caps, on_refused)
    return _counted(_paced(_retrying(_read_only(made, read_only), retry), bucket), report)


def _read_only(store: Store, wanted: bool) -> Store:
    return ReadOnly(store) if wanted else store


def _retrying(store: Store, retry: Retry | None) -> Store:
    return store if retry is None else Retrying(store, retry)


def _paced(store: Store, bucket: Takes | None) -> Store:
    return store if bucket is None else Paced(store, bucket)


def _counted(store: Store, report: Report | None) -> Store:
    return store if report is None else Counted(store, report)


def _made(
    url: str,
    options: WriteOptions,
    probe: bool,
    caps: Caps | None,
    on_refused: Callable[[str, DunlinError], None] | None,
) -> Store:
    scheme, path = _parsed(url)
    if scheme == "memory":
        from dunlin.stores.memory import shared

        return shared(path)
    return _local(path, options, probe, caps, on_refused)


def _local(
    path: str,
    options: WriteOptions,
    probe: bool,
    caps: Caps | None,
    on_refused: Callable[[str, DunlinError], None] | None,
) -> Store:
    from dunlin.stores.local import LocalStore, local_caps
    from dunlin.stores.probe import probe_case

    caps = caps or local_caps(path, options.in_place)
    store = LocalStore(path, options=options, caps=caps, on_refused=on_refused)
    if not probe:
        return store
    case, form = probe_case(store, options.run_id)
    store.close()
    caps = replace(caps, case_sensitive=case, preserves_form=form)
    return LocalStore(path, options=options, caps=caps, on_refused=on_refused)


def canonical_url(url: str) -> str:
    """One spelling for each place: absolute, links resolved, without query or credentials.

    Raises USAGE like `open_store`.
    """
    scheme, path = _parsed(url)
    return f"memory://{path}" if scheme == "memory" else file_url(path)


def local_path(url: str) -> str | None:
    """The absolute local path that `url` means; None for a place that is not local. Raises USAGE."""
    scheme, path = _parsed(url)
    return os.path.abspath(path) if scheme == "file" else None


def _parsed(url: str) -> tuple[str, str]:
    """("file", local path) or ("memory", name)."""
    if not url:
        raise usage("an empty path names no directory", "use . for the current one")
    if "\0" in url:
        raise usage("a path cannot hold a NUL byte")
    scheme = _SCHEME.match(url)
    if scheme is None:
        return "file", _plain_path(url)
    name = scheme[1].lower()
    if name == "memory":
        return name, url[scheme.end() :].strip("/")
    if name == "file":
        return name, _path_of(url)
    shown = re.sub(r"//[^/@]*@", "//", url).split("?")[0]
    raise usage(f"{shown}: {name}:// is not a place that this version can open", WORKS)


def _plain_path(text: str) -> str:
    if text.startswith("file:"):
        raise usage(f"{text}: a file URL begins with file:///", WORKS)
    if _HOST.match(text) and not _DRIVE.match(text) and not os.path.lexists(text):
        host = text.partition(":")[0]
        raise usage(
            f"{text} looks like a path on the host {host}, and dunlin does not speak ssh",
            f"mount it and give the mount's path, or write ./{text} for a local directory of that name",
        )
    return text


def _path_of(url: str) -> str:
    """The local path of a file URL (RFC 8089)."""
    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise usage(f"{url}: a file URL names no other host", "write file:///path")
    path = os.fsdecode(urllib.parse.unquote_to_bytes("/" + path))
    if "\0" in path:
        raise usage("a path cannot hold a NUL byte")
    return path[1:] if os.name == "nt" and _DRIVE.match(path[1:]) else path
