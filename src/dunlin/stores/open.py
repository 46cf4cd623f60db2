"""From what people write for a place to a store.

    /path, path, ./path, C:\\path      a local directory
    file:///path                      the same as a URL; %-escapes are decoded
    memory://NAME                     a tree in this process, for tests and trials
    s3://  gs://  az://  https://     object stores: see `stores.objects.place`
    azfiles://  https://….file.…      shares of Azure Files: see `stores.azfiles.place`
    snapshot://                       in what is shown only: a tree in a repository is opened by rooms above
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import DunlinError, printable, usage
from dunlin.report import Report
from dunlin.stores.base import Caps, Store
from dunlin.stores.local.paths import file_url
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.wrap import Counted, Paced, ReadOnly, Retry, Retrying, Takes

if TYPE_CHECKING:
    from dunlin.pace.gate import Gate
    from dunlin.stores.azfiles.store import AzureFiles
    from dunlin.stores.login import Login

SNAPSHOT = "snapshot"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DRIVE = re.compile(r"[A-Za-z]:(?:[\\/]|$)")
_FAR = frozenset({"s3", "gs", "gcs", "az", "azure", "azfiles", "http", "https"})
_SHARES = re.compile(r"azfiles://|https?://[a-z0-9-]+\.(?:z[0-9]+\.)?file\.[^/]", re.IGNORECASE)
_HOST = re.compile(r"[^/\\:]+:(?!//)")
_LOGIN = re.compile(r"^(?![A-Za-z]:\\)([^/\\:@]*:)[^/]*(?=@)")
"""The name before the password of ``name:password@host``, with or without a path behind it, and the password."""
_MISTYPED = re.compile(r"(https?|azure|azfiles|az|s3|gcs|gs):?/+[^/]", re.IGNORECASE)
_SIGNED = re.compile(r"[?&]sig(?:=|%3d)", re.IGNORECASE)
_CONNECTION = re.compile(r"(?:^|;)\s*(?:AccountKey|SharedAccessSignature)\s*=", re.IGNORECASE)
_SECRET = re.compile(r"\b((?:AccountKey|SharedAccessSignature)\s*=)[^;]*|\b(sig(?:=|%3d))[^&;\s]*", re.IGNORECASE)

WORKS = "local paths, file:///path, s3://, gs://, az://, azfiles:// and memory://NAME work"


class Far(NamedTuple):
    """What only stores far away are told: object stores and shares.

    Attributes:
        login: what lets us in; None: nothing was given.
        begin: only keys that begin with it take part, a plain string; "" for all below the URL's prefix.
        markers: directory markers are files of their own (see `ObjectStore`).
        verify: content is compared with the checksum that the service states.
        page: most names asked for in one request; 0: as many as the service gives.
        connections: requests that may be under way in this process.
        gate: told of requests that are made again.
        start: a run begins with it: what cannot be reached is said within seconds.
        on_login: told which login of a chain answered. Not for other processes.
        idle, total: seconds without a byte, and altogether, that a request waits for the service; 0: for ever.
        snapshot: the share snapshot from which everything is read; "" for the share as it is.
        listings: requests that may be under way for one listing, however many would pay; 0: as many as pay.
    """

    login: Login | None = None
    begin: str = ""
    markers: bool = False
    verify: bool = True
    page: int = 0
    connections: int = 32
    gate: Gate | None = None
    start: bool = False
    on_login: Callable[[str], object] | None = None
    idle: float = 30.0
    total: float = 300.0
    snapshot: str = ""
    listings: int = 0


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
    far: Far | None = None,
    batch: int = 0,
) -> Store:
    """The store for a place, with only the wrappers that were asked for.

    Args:
        url: see the module docstring. The directory need not exist yet.
        options, on_refused, batch: see `LocalStore`.
        read_only: whatever would change something is refused.
        retry: makes failed requests again.
        bucket: asked for every block of content. (The engine paces its transfers itself.)
        report: gets counts of requests and bytes.
        caps: what another process found out about the place already; None: ask the system.
        probe: write a file to see how the place treats the case and spelling of names.
        far: what object stores are told; they make failed requests again by themselves.

    Raises USAGE for what is no place that dunlin can open.
    """
    made = _made(url, options or WriteOptions(), probe and not read_only, caps, on_refused, far or Far(), batch)
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
    far: Far,
    batch: int,
) -> Store:
    scheme, path = _parsed(url)
    if scheme == "memory":
        from dunlin.stores.memory import shared

        return shared(path)
    if scheme == SNAPSHOT:
        raise usage("a snapshot is no place by itself", "dunlin restore SNAPSHOT DESTINATION --repo LOCATION reads it")
    if scheme != "file" and is_share(url):
        return _share(url, far, options.run_id)
    if scheme != "file":
        from dunlin.stores.objects.answers import Timeouts
        from dunlin.stores.objects.place import open_place, place_of

        return open_place(
            place_of(url, far.login),
            begin=far.begin,
            markers=far.markers,
            verify=far.verify,
            page=far.page,
            connections=far.connections,
            gate=far.gate,
            start=far.start,
            on_login=far.on_login,
            timeouts=Timeouts(far.idle, far.total),
            listings=far.listings,
        )
    return _local(path, options, probe, caps, on_refused, batch)


def _share(url: str, far: Far, run: str = "0") -> AzureFiles:
    from dunlin.stores.azfiles.place import open_place, place_of
    from dunlin.stores.objects.answers import Timeouts

    return open_place(
        place_of(url, far.login),
        run=run,
        page=far.page,
        snapshot=far.snapshot,
        connections=far.connections,
        gate=far.gate,
        start=far.start,
        on_login=far.on_login,
        timeouts=Timeouts(far.idle, far.total),
    )


def _local(
    path: str,
    options: WriteOptions,
    probe: bool,
    caps: Caps | None,
    on_refused: Callable[[str, DunlinError], None] | None,
    batch: int,
) -> Store:
    from dunlin.stores.local import LocalStore, local_caps
    from dunlin.stores.probe import probe_case

    caps = caps or local_caps(path, options.in_place)
    store = LocalStore(path, options=options, caps=caps, on_refused=on_refused, batch=batch)
    if not probe:
        return store
    case, form = probe_case(store, options.run_id)
    store.close()
    caps = replace(caps, case_sensitive=case, preserves_form=form)
    return LocalStore(path, options=options, caps=caps, on_refused=on_refused, batch=batch)


def canonical_url(url: str, login: Login | None = None) -> str:
    """One spelling for each place: absolute, links resolved, without query or credentials.

    Raises USAGE like `open_store`.
    """
    scheme, path = _parsed(url)
    if scheme == "file":
        return file_url(path)
    if scheme in ("memory", SNAPSHOT):
        return f"{scheme}://{path}"
    if is_share(url):
        from dunlin.stores.azfiles.place import place_of as share_of

        return share_of(url, login).url
    from dunlin.stores.objects.place import place_of

    return place_of(url, login).url


def shown_place(url: str) -> str:
    """A place as people wrote it, fit to be shown, logged and stored: without the query and the login it may hold.

    Whatever prints a place that a person gave prints this. A path that looks like nothing of the kind stays as it is.
    What is only meant to be a URL may hold a secret as well: a signature or key is masked wherever it stands.
    """
    scheme = _SCHEME.match(url)
    if scheme is None and _MISTYPED.match(url):
        return _masked(re.sub(r"^([^/]*/+)[^/]*@", r"\1", url).partition("?")[0])
    if scheme is None or scheme[1].lower() == "file":
        return _masked(_LOGIN.sub(r"\1***", url))
    shown = re.sub(r"^([^/]*//)[^/]*@", r"\1", url)
    return _masked(shown if scheme[1].lower() in ("s3", "gs", "gcs", "memory") else shown.partition("?")[0])


def _masked(text: str) -> str:
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


def beginning(url: str, login: Login | None = None) -> str:
    """What all keys below a place begin with; "" for a whole bucket and for what has no keys. Raises USAGE."""
    if not is_far(url) or is_share(url):
        return ""
    from dunlin.stores.objects.place import place_of

    return place_of(url, login).prefix


def is_far(url: str) -> bool:
    """Whether each request to the place takes a round trip: it is an object store, or a share of Azure Files."""
    return _parsed(url)[0] not in ("file", "memory", SNAPSHOT)


def take_snapshot(url: str, far: Far, mark: str = "") -> str:
    """Make a share snapshot of the share that `url` means, and return its id. Raises USAGE where it is no share.

    `mark`: letters and digits by which `drop_snapshots` knows it.
    """
    if not is_share(url):
        hint = "azfiles://SHARE/PATH is one; leave --share-snapshot out for any other place"
        raise usage(f"--share-snapshot: {shown_place(url)} is no share of Azure Files", hint)
    store = _share(url, far)
    try:
        return store.share.take_snapshot(mark)
    finally:
        store.close()


def drop_snapshot(url: str, far: Far) -> None:
    """Delete the share snapshot that `far` names. It is made again for seconds only: the run is over."""
    store = _share(url, Far(login=far.login, start=True, idle=far.idle, total=far.total))
    try:
        store.share.drop_snapshot(far.snapshot)
    finally:
        store.close()


def drop_snapshots(url: str, far: Far, marks: Collection[str]) -> int:
    """Delete the share snapshots that were made with one of these marks, and no others; how many there were."""
    store = _share(url, far._replace(snapshot=""))
    try:
        found = [snapshot for snapshot, mark in store.share.snapshots() if mark in marks]
        for snapshot in found:
            store.share.drop_snapshot(snapshot)
        return len(found)
    finally:
        store.close()


def is_share(url: str) -> bool:
    """Whether the place is a share of Azure Files."""
    return _SHARES.match(url) is not None


def local_path(url: str) -> str | None:
    """The absolute local path that `url` means; None for a place that is not local. Raises USAGE."""
    scheme, path = _parsed(url)
    return os.path.abspath(path) if scheme == "file" else None


def _parsed(url: str) -> tuple[str, str]:
    """("file", local path), ("memory", name), or the scheme of an object store and the rest of the URL."""
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
    if name == SNAPSHOT:
        return name, url[scheme.end() :]
    if name in _FAR:
        return name, url[scheme.end() :]
    raise usage(f"{shown_place(url).partition('?')[0]}: {name}:// is not a place that this version can open", WORKS)


def _plain_path(text: str) -> str:
    shown = printable(shown_place(text))
    if text.startswith("file:"):
        raise usage(f"{shown}: a file URL begins with file:///", WORKS)
    if _CONNECTION.search(text) and not os.path.lexists(text):
        raise usage(
            "a connection string names no place",
            "write az://CONTAINER/PREFIX, and give the string as DUNLIN_CONNECTION_STRING or --connection-string @FILE",
        )
    scheme = _MISTYPED.match(text)
    signed = text[0] not in "./" and _SIGNED.search(text)
    if (scheme is not None or signed) and not os.path.lexists(text.partition("/")[0]):
        name = scheme[1].lower() if scheme else "https"
        raise usage(
            f"{shown} looks like a URL, and none begins like that",
            f"write {name}://..., or ./{shown} for a local directory of that name",
        )
    if _HOST.match(text) and not _DRIVE.match(text) and not os.path.lexists(text):
        host = text.partition("/")[0].rpartition("@")[2].partition(":")[0]
        raise usage(
            f"{shown} looks like a path on the host {printable(host)}, and dunlin does not speak ssh",
            f"mount it and give the mount's path, or write ./{shown} for a local directory of that name",
        )
    return text


def _path_of(url: str) -> str:
    """The local path of a file URL (RFC 8089)."""
    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise usage(f"{printable(shown_place(url))}: a file URL names no other host", "write file:///path")
    path = "/" + path
    if "%" in path:
        from urllib.parse import unquote_to_bytes

        path = os.fsdecode(unquote_to_bytes(path))
    if "\0" in path:
        raise usage("a path cannot hold a NUL byte")
    return path[1:] if os.name == "nt" and _DRIVE.match(path[1:]) else path
