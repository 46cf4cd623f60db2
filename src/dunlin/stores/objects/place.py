"""Which bucket, which keys, let in by what: URLs of object stores, taken apart.

    s3://BUCKET[/PREFIX]                                   S3, or whatever `--s3-endpoint` names
    gs://BUCKET[/PREFIX]                                   Google Cloud Storage
    az://CONTAINER[/PREFIX]                                Azure Blob, of the account that the login names
    https://ACCOUNT.blob.core.windows.net/CONTAINER/...    the same with account and, as a query, a SAS

The canonical URL names a place once and for all, without query or login: an endpoint of one's own stands in it,
because the same bucket name at two endpoints is two buckets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.pace.gate import Gate
from dunlin.pace.retry import PATIENCE, REACH, REQUEST, Retry
from dunlin.stores.base import Store
from dunlin.stores.login import Login
from dunlin.stores.objects.answers import TIMEOUTS, Timeouts
from dunlin.stores.objects.service import Service

SCHEMES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "https": "az", "http": "az"}
"""The service that each scheme means."""

_FORMS = {
    **{scheme: f"{service}://BUCKET/PREFIX" for scheme, service in SCHEMES.items()},
    **dict.fromkeys(("az", "azure"), "az://CONTAINER/PREFIX"),
    "https": "https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX",
    "http": "http://HOST:PORT/ACCOUNT/CONTAINER/PREFIX",
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._$-]{1,220}|\$root|\$web|\$logs")


class Place(NamedTuple):
    """A prefix in a bucket.

    Attributes:
        service: "s3", "gs" or "az". bucket: or container.
        prefix: what the keys below the root begin with: "" or ending in "/".
        login: with what the URL itself said (account, endpoint, SAS).
        url: the canonical URL.
    """

    service: str
    bucket: str
    prefix: str
    login: Login
    url: str


def place_of(url: str, login: Login | None = None) -> Place:
    """Take a URL apart. Raises USAGE."""
    login = login or Login()
    _check_text(url)
    scheme, _, rest = url.partition("://")
    service = SCHEMES[scheme.lower()]
    if service == "az":
        return _azure(url, login)
    bucket, _, prefix = rest.partition("/")
    _check_bucket(bucket, url)
    prefix = _directory(prefix)
    endpoint = login["endpoint"].rstrip("/")
    canonical = f"{endpoint}/{bucket}/{prefix}" if endpoint else f"{service}://{bucket}/{prefix}"
    return Place(service, bucket, prefix, login, canonical.rstrip("/"))


def _azure(url: str, login: Login) -> Place:
    from dunlin.stores.objects import azure
    from dunlin.stores.objects.azure_login import check_host

    endpoint, account, container, prefix, sas = azure.parse_url(url)
    if endpoint and not sas:
        check_host(endpoint, login)
    found = {name: login[name] for name in login.given()}
    found.update({name: value for name, value in (("account_name", account), ("sas_token", sas)) if value})
    if endpoint:
        found["endpoint"] = endpoint
    login = Login(found)
    _check_bucket(container, url)
    prefix = _directory(prefix)
    return Place("az", container, prefix, login, f"{azure.endpoint_of(login)}/{container}/{prefix}".rstrip("/"))


def _check_text(url: str) -> None:
    try:
        url.encode()
    except UnicodeEncodeError:
        from dunlin.stores.open import shown_place

        raise usage(f"{printable(shown_place(url))} is no UTF-8 text", "keys of object stores are UTF-8") from None


def _check_bucket(bucket: str, url: str) -> None:
    if not _BUCKET.fullmatch(bucket):
        from dunlin.stores.open import shown_place

        shown = shown_place(url).partition("?")[0]
        name = bucket.rpartition("@")[2].partition("?")[0] or "nothing"
        scheme = url.partition("://")[0].lower()
        raise usage(f"{shown}: {name} is no name of a bucket or container", f"write {_FORMS[scheme]}")


def _directory(prefix: str) -> str:
    prefix = prefix.rstrip("/") if prefix.strip("/") else ""
    return prefix + "/" if prefix else ""


def open_service(
    place: Place,
    connections: int,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> Service:
    """The service of a place; its libraries are loaded here and not before. Raises USAGE without them, AUTH.

    `on_login` is told which login answered, where that is another's business than the command line's.
    """
    try:
        if place.service == "s3":
            from dunlin.stores.objects import s3

            return s3.open_service(
                place.bucket, place.login, connections=connections, on_login=on_login, timeouts=timeouts
            )
        if place.service == "gs":
            from dunlin.stores.objects import gcs

            return gcs.open_service(
                place.bucket, place.login, connections=connections, on_login=on_login, timeouts=timeouts
            )
        from dunlin.stores.objects import azure

        return azure.open_service(
            place.bucket, place.login, connections=connections, on_login=on_login, timeouts=timeouts
        )
    except ImportError as error:
        if (error.name or "dunlin").partition(".")[0] == "dunlin":
            raise  # a fault of ours, which no installing mends
        missing = isinstance(error, ModuleNotFoundError)
        reason = f"{error.name} is not installed" if missing else f"{error.name} cannot be loaded: {error.msg}"
        hint = "install it with: pip install 'dunlin[cloud]'"
        raise DunlinError("open", place.url, ErrorKind.USAGE, reason, hint) from error


def policy_of(timeouts: Timeouts) -> Retry:
    """`REQUEST`, with a deadline that a request which took all its time does not pass: it is worth another attempt."""
    return replace(REQUEST, deadline=(REQUEST.deadline or 0.0) + timeouts.total)


def open_place(
    place: Place,
    *,
    begin: str = "",
    markers: bool = False,
    verify: bool = True,
    page: int = 0,
    connections: int = 64,
    gate: Gate | None = None,
    start: bool = False,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
    listings: int = 0,
) -> Store:
    """The store of a place: `ObjectStore(RetryingService(Service))`.

    Args:
        begin: only keys that begin with it take part, a plain string; "" for all below the prefix.
        markers, verify, page: see `ObjectStore`.
        connections: how many requests may be under way.
        gate: told of every request that failed and is made again; a stop that it knows of ends the waiting.
        start: what cannot be reached is given up within seconds (`pace.retry.REACH`); who only asks for patience
            gets it.
        on_login: see `open_service`.
        timeouts: how long each request waits for the service.
        listings: requests that may be under way for one listing, however many would pay; 0: as many as pay.
    """
    from dunlin.stores.objects.persist import RetryingService
    from dunlin.stores.objects.store import LIST_PARALLEL, ObjectStore

    note, sleep = (None, time.sleep) if gate is None else (gate.note, gate.sleep)
    inner = open_service(place, connections, on_login, timeouts)
    if start:
        service = RetryingService(RetryingService(inner, REACH, note, sleep=sleep), PATIENCE, note, sleep=sleep)
    else:
        service = RetryingService(inner, policy_of(timeouts), note, sleep=sleep)
    root = place.prefix
    parallel = min(LIST_PARALLEL, listings or LIST_PARALLEL)
    return ObjectStore(
        service, root, begin and root + begin, markers, verify, page=page, list_parallel=parallel, retry=service.again
    )
