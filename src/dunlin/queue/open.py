"""From a URL to a queue.

    PATH, sqlite:///PATH          a file on this machine; `?sync=normal`: the last commits may go with the power
    redis://, rediss://           Redis: [USER:PASSWORD@]HOST[:PORT][/DB]
    postgresql://                 PostgreSQL: [USER[:PASSWORD]@]HOST[:PORT]/DATABASE, and libpq's own parameters

On servers, `?namespace=NAME` (default `dunlin`; lower-case letters, digits, `_`) keeps several installations apart.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from dunlin.errors import usage
from dunlin.queue.base import Queue
from dunlin.sqlite import Warn

WORKS = "a path, sqlite:///PATH, redis://HOST, rediss://HOST and postgresql://HOST/DATABASE work"
NAMESPACE = "dunlin"
_OURS = ("sqlite", "redis", "rediss", "postgresql", "postgres")
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")


def _silent(message: str) -> None:
    """What is said to nobody."""


def open_queue(url: str, warn: Warn = _silent) -> Queue:
    """The queue at `url`; see the module docstring.

    Args:
        url: where it lies; made there when there is none.
        warn: told when the file lies on a network mount.

    Raises:
        DunlinError: USAGE for what is no queue, or when the package for it is missing; NETWORK when nobody answers;
            AUTH when the login is refused; for a file, what `sqlite.open_database` raises.
    """
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if not url or (found and not found[2] and scheme in _OURS):
        raise usage(f"{shown(url) or 'an empty word'} is no queue", WORKS)
    if not found or not found[2]:
        return _embedded(url, {}, warn)
    if scheme not in _OURS:
        raise usage(f"{shown(url)} is no queue", WORKS)
    address, options = _parts(url)
    if scheme == "sqlite":
        if urlsplit(url).netloc:
            raise usage(f"{shown(url)} names a host", "a file is written with three slashes: sqlite:///PATH")
        return _embedded(unquote(urlsplit(url).path), options, warn)
    return _far(scheme, address, shown(url), _namespace(options))


def _far(scheme: str, address: str, where: str, namespace: str) -> Queue:
    try:
        if scheme in ("redis", "rediss"):
            from dunlin.queue.redis_engine import open_redis

            return open_redis(address, where, namespace)
        from dunlin.queue.postgres import open_postgres

        return open_postgres(address, where, namespace)
    except ImportError as error:
        package = error.name or "a package"
        raise usage(f"queues on {scheme}:// need {package}", "install it with: pip install 'dunlin[queue]'") from error


def shown(url: str) -> str:
    """A queue's URL for people: without password and parameters."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    rest = rest.partition("?")[0]
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"


def _parts(url: str) -> tuple[str, dict[str, str]]:
    """The URL without our own parameters, and these."""
    try:
        split = urlsplit(url)
    except ValueError:
        raise usage(f"{shown(url)} is no valid URL", WORKS) from None
    pairs = parse_qsl(split.query, keep_blank_values=True)
    ours = {"namespace", "sync"}
    left = urlencode([pair for pair in pairs if pair[0] not in ours])
    return urlunsplit(split._replace(query=left)), {name: value for name, value in pairs if name in ours}


def _namespace(options: dict[str, str]) -> str:
    name = options.get("namespace", NAMESPACE)
    if not _NAMESPACE.fullmatch(name):
        raise usage(f"{name!r} cannot be a namespace", "lower-case letters, digits and _, 40 at most")
    return name


def _embedded(path: str, options: dict[str, str], warn: Warn) -> Queue:
    from dunlin.queue.embedded import Embedded

    sync = options.get("sync", "full")
    if sync not in ("full", "normal"):
        raise usage(f"sync={sync} is no way to write a queue file", "sync=full and sync=normal work")
    return Embedded.open(path, warn, durable=sync == "full")
