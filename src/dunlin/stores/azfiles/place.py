"""Which share, which directory, let in by what: URLs of Azure Files, taken apart; and the store of one.

azfiles://SHARE[/PATH]                                       a share of the account that the login names
https://ACCOUNT.file.core.windows.net/SHARE[/PATH][?SAS]     the same with account and, as a query, a SAS
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.pace.gate import Gate
from dunlin.pace.retry import PATIENCE, REACH, retry
from dunlin.stores.azfiles.names import stored_path
from dunlin.stores.azfiles.share import Share
from dunlin.stores.azfiles.store import AzureFiles
from dunlin.stores.login import Login
from dunlin.stores.objects.address import http_address
from dunlin.stores.objects.answers import TIMEOUTS, Timeouts
from dunlin.stores.objects.azure_login import access, check_host, checked_sas, endpoint_of
from dunlin.stores.objects.place import policy_of
from dunlin.stores.wrap import Retry

T = TypeVar("T")

_SHARE = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")


class Place(NamedTuple):
    """A directory of a share. `path`: "" for its root. `login`: with what the URL said. `url`: the canonical URL."""

    share: str
    path: str
    login: Login
    url: str


def place_of(url: str, login: Login | None = None) -> Place:
    """Take a URL apart. Raises USAGE."""
    login = login or Login()
    scheme, _, rest = url.partition("://")
    found = {name: login[name] for name in login.given()}
    shown = printable(url.partition("?")[0])
    if scheme.lower() in ("http", "https"):
        rest, _, query = rest.partition("?")
        host, _, rest = rest.partition("/")
        endpoint = f"{scheme.lower()}://{host}"
        if "@" in host or http_address(endpoint) is None:
            raise usage("this is no address of a share", "https://ACCOUNT.file.core.windows.net/SHARE/PATH")
        if query:
            found["sas_token"] = checked_sas(query)
        else:
            check_host(endpoint, login, "file")
        found |= {"account_name": host.partition(".")[0].lower(), "endpoint": endpoint}
        rest = unquote(rest)
    share, _, path = rest.partition("/")
    path = "/".join(name for name in path.split("/") if name)
    if not _SHARE.fullmatch(share):
        hint = "a share's name has 3 to 63 lower-case letters, digits and single hyphens"
        raise usage(f"{shown}: {printable(share) or 'nothing'} is no name of a share", hint)
    try:
        stored_path(path)
    except DunlinError as error:
        raise usage(f"{shown}: {error.reason}") from error
    login = Login(found)
    return Place(share, path, login, f"{endpoint_of(login, 'file')}/{share}/{path}".rstrip("/"))


def open_place(
    place: Place,
    *,
    run: str = "0",
    page: int = 0,
    snapshot: str = "",
    connections: int = 64,
    gate: Gate | None = None,
    start: bool = False,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> AzureFiles:
    """The store of a place; arguments as in `objects.place.open_place`.

    `run`: the token of the run, in temporary names. `snapshot`: the share snapshot that everything is read from.
    """
    note, sleep = (None, time.sleep) if gate is None else (gate.note, gate.sleep)
    policy = policy_of(timeouts)

    class Again:
        """The one retry policy, as it is to be at the start of a run or later."""

        def __call__(self, act: Callable[[], T], /) -> T:
            if start:
                return retry(lambda: retry(act, REACH, note, sleep=sleep), PATIENCE, note, sleep=sleep)
            return retry(act, policy, note, sleep=sleep)

    again: Retry = Again()
    try:
        found = access(place.login, on_login, "file")
    except ImportError as error:
        if (error.name or "dunlin").partition(".")[0] == "dunlin":
            raise
        hint = "install it with: pip install 'dunlin[cloud]'"
        raise DunlinError("open", place.url, ErrorKind.USAGE, f"{error.name} is not installed", hint) from error
    share = Share(
        place.share, found, again, snapshot=snapshot, connections=connections, timeouts=timeouts, sleep=sleep
    )  # fmt: skip
    return AzureFiles(share, place.path, run, page=page, sleep=sleep)
