"""What `dunlin serve` is told: from the layers of settings to one frozen value, checked as a whole.

The sections are those of Sync4Loong (`schema.SERVICE`). What may change while the service runs and what needs a restart
stands in `RESTART`; `changed` names the latter, so that a reload can say what it left alone.

Who may do what is decided by two things that belong together. On loopback, without tenants, the service trusts
whoever reaches it, as any command of this user would be: no keys, and any readable path. Anywhere else both keys and
roots are needed, so that a service never stands open because somebody changed one line.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from dunlin.config import schema
from dunlin.config.logins import Located, Said, place, secret_of
from dunlin.config.settings import FILE, Found, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.sizes import parse_duration, parse_size
from dunlin.report.address import Address, parse_address
from dunlin.stores.open import shown_place

DEFAULT_TENANT = "default"
RATE_ELSEWHERE = 100
QUEUE_NAME, LEDGER_NAME = ".dunlin-queue.db", ".dunlin-ledger.db"


class Tenant(NamedTuple):
    """Who shares a service, and what is theirs. `roots`: directories and URLs; `prefixes`: of keys."""

    name: str
    roots: tuple[str, ...]
    prefixes: tuple[str, ...]


class Hook(NamedTuple):
    """The command that runs after uploads. Times in seconds."""

    command: str
    debounce: float
    timeout: float
    enabled: bool


class Service(NamedTuple):
    """What holds for the service.

    Attributes:
        address: where it listens. metrics: where metrics are served besides; None: only at /metrics there.
        queue, ledger: paths or URLs; "" for the default place. They may hold a password.
        redis: URL of the Redis that caches what exists; "": beside the ledger.
        jobs: syncs and checks at a time.
        destination: where /publish puts files; None: nowhere. place: as workers elsewhere find it.
        host: the label of workers that reach this machine's paths. shared: directories that all of them reach.
        max_retry, timeout: of a published file: further deliveries, and seconds.
        roots: what jobs may name; empty: anything. prefixes: of keys. tenants: by name.
        max_body: bytes of a request. rate: requests per second of one client, 0: any number.
        session: seconds that a login in a browser lasts.
        checks, ttl, check_timeout: look-ups at a time; seconds that an answer is kept, 0: for ever; for one look-up.
        monitor, root_path, read_only: the pages.
        hook: the command after uploads.
        locations: names and kinds of places ("s3", "azure", "gcs", "local").
        log_level: a word of `schema`.
    """

    address: Address
    metrics: Address | None
    queue: str
    ledger: str
    redis: str
    jobs: int
    destination: Located | None
    place: str
    host: str
    shared: tuple[str, ...]
    max_retry: int
    timeout: float
    roots: tuple[str, ...]
    prefixes: tuple[str, ...]
    tenants: Mapping[str, Tenant]
    max_body: int
    rate: int
    session: float
    checks: int
    ttl: float
    check_timeout: float
    monitor: bool
    root_path: str
    read_only: bool
    hook: Hook
    locations: Mapping[str, str]
    log_level: str

    @property
    def guarded(self) -> bool:
        """Whether keys are needed: it listens elsewhere than on loopback, or there are tenants."""
        return bool(self.tenants) or not is_loopback(self.address.host)

    def tenant(self, name: str) -> Tenant | None:
        """What is a tenant's; None where there is none of that name."""
        if not self.tenants and name in ("", DEFAULT_TENANT):
            return Tenant(DEFAULT_TENANT, self.roots, self.prefixes)
        return self.tenants.get(name)


RESTART = {
    "address": "http.addr",
    "metrics": "monitor.prometheus_addr",
    "queue": "queue.url",
    "ledger": "queue.ledger",
    "redis": "redis",
    "jobs": "queue.jobs",
    "destination": "publish.destination",
    "place": "publish.destination",
    "host": "queue.host_label",
    "monitor": "monitor.enabled",
    "root_path": "monitor.root_path",
}
"""Fields that hold from start to end, with the key that people know."""


def changed(before: Service, now: Service) -> tuple[str, ...]:
    """The keys that differ and need a restart."""
    keys = (key for field, key in RESTART.items() if getattr(before, field) != getattr(now, field))
    return tuple(dict.fromkeys(keys))


def kept(before: Service, now: Service) -> Service:
    """`now`, with all that needs a restart as it was."""
    return now._replace(**{field: getattr(before, field) for field in RESTART})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service(settings: Settings) -> Service:
    """What the layers say. Raises CONFIG, and USAGE for places that are none."""
    read = _Reader(settings)
    destination = _destination(settings, read)
    tenants = _tenants(settings, read)
    address = read.address("--http-addr") or parse_address("8080")
    redis = _redis(read)
    found = Service(
        address=address,
        metrics=read.address("--monitor-prometheus-addr"),
        queue=read.secret("--queue") or redis,
        ledger=read.secret("--ledger"),
        redis=redis,
        jobs=read.value("--queue-jobs", 2),
        destination=destination[1] if destination else None,
        place=destination[0] if destination else "",
        host=str(_found(settings, "--host-label") or socket.gethostname()),
        shared=tuple(os.path.realpath(root) for root in schema.names(_found(settings, "--shared-root") or "")),
        max_retry=read.value("--publish-max-retry", 3),
        timeout=60.0 * read.value("--publish-timeout-minutes", 30),
        roots=_roots(settings, read.value("--http-allowed-roots", ())),
        prefixes=tuple(read.value("--cache-allowed-prefixes", ("store/",))),
        tenants=tenants,
        max_body=parse_size(read.value("--http-max-body", "") or "4M"),
        rate=read.value("--http-rate-limit", 0 if is_loopback(address.host) else RATE_ELSEWHERE),
        session=3600.0 * read.value("--http-session-hours", 12),
        checks=read.value("--cache-max-concurrent-s3-checks", 10),
        ttl=parse_duration(read.value("--cache-ttl", "") or "0"),
        check_timeout=parse_duration(read.value("--cache-timeout", "") or "10"),
        monitor=read.value("--monitor-enabled", True),
        root_path=read.value("--monitor-root-path", "/monitoring"),
        read_only=read.value("--monitor-read-only-mode", False),
        hook=Hook(
            read.value("--ssh-command", ""),
            60.0 * read.value("--ssh-debounce-minutes", 5),
            60.0 * read.value("--ssh-timeout-minutes", 10),
            read.value("--enable-ssh-task", False),
        ),
        locations=_locations(settings),
        log_level=read.value("--daemon-log-level", "") or "info",
    )
    check(found)
    return found


class _Reader:
    """Values of `schema.SERVICE` from the environment or the file, each checked by its kind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = {key.flag: key for key in schema.SERVICE}

    def value(self, flag: str, default: Any) -> Any:
        """The value of a key."""
        found = self._settings.find(flag)
        return default if found is None else self._checked(flag, found)

    def _checked(self, flag: str, found: Found) -> Any:
        key, value = self._keys[flag], found.value
        if found.layer == FILE:
            return value
        if key.kind is schema.switch:
            value = _truth(found)
        elif key.kind in (schema.names, schema.some_names):
            value = [part for line in str(value).splitlines() for part in line.split(",")] if value else value
        try:
            return key.kind(value)
        except ValueError as error:
            raise DunlinError("read the configuration", found.key, ErrorKind.CONFIG, str(error)) from None

    def address(self, flag: str) -> Address | None:
        """Where to listen; None where nothing is said."""
        words = self.value(flag, "")
        return parse_address(words) if words else None

    def secret(self, flag: str) -> str:
        """A value that may be ``@FILE``, relative to the configuration file."""
        found = self._settings.find(flag)
        if found is None:
            return ""
        file = self._settings.file
        base = os.path.dirname(os.path.abspath(file.path)) if found.layer == FILE and file is not None else ""
        return secret_of(Said(str(self._checked(flag, found)), found.origin, base)).strip()


def _truth(found: Found) -> bool:
    word = str(found.value).strip().lower()
    if word in ("", "0", "false", "no", "off", "n", "f"):
        return False
    if word in ("1", "true", "yes", "on", "y", "t"):
        return True
    raise DunlinError("read the configuration", found.key, ErrorKind.CONFIG, "it must be true or false")


def _redis(read: _Reader) -> str:
    address = read.value("--redis-addr", "")
    password, number = read.secret("--redis-password"), read.value("--redis-db", 0)
    if not address:
        if password or number:
            raise DunlinError("read the configuration", "redis.addr", ErrorKind.CONFIG, "it is missing")
        return ""
    from urllib.parse import quote

    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{address}/{number}"


def _found(settings: Settings, flag: str) -> Any:
    """A value of another command's option."""
    found = settings.find(flag)
    return None if found is None else found.value


def _destination(settings: Settings, read: _Reader) -> tuple[str, Located] | None:
    where, bucket = read.value("--publish-destination", ""), read.value("--s3-bucket", "")
    if where and bucket and where.rstrip("/") != f"s3://{bucket}":
        reason = f"publish.destination and s3.bucket ({bucket}) name different places"
        raise DunlinError("read the configuration", "publish.destination", ErrorKind.CONFIG, reason)
    where = where or (f"s3://{bucket}" if bucket else "")
    if not where:
        return None
    found = place(where, "dest", {}, settings)
    # A location is sent to workers by its name, anything else without what stands behind its question mark.
    return where if where.lower().startswith("loc:") else found.url, found


def _roots(settings: Settings, roots: Any) -> tuple[str, ...]:
    """Roots in the spelling in which places are compared with them: real paths, and URLs without a slash at the end."""
    found = []
    for root in roots:
        url = place(root, "source", {}, settings).url if "://" in root else root
        if "://" in url and not url.startswith("file://"):
            found.append(url.rstrip("/"))
            continue
        from dunlin.stores.open import local_path

        path = local_path(url) or ""
        if "://" not in url and not os.path.isabs(root):
            raise DunlinError("read the configuration", "allowed_roots", ErrorKind.CONFIG, f"{root!r} is not absolute")
        found.append(os.path.realpath(path))
    return tuple(found)


def _tenants(settings: Settings, read: _Reader) -> dict[str, Tenant]:
    common = tuple(read.value("--cache-allowed-prefixes", ("store/",)))
    found = {}
    for name, entry in (settings.file.tenants if settings.file else {}).items():
        values = {key: each.value for key, each in entry.values.items()}
        prefixes = tuple(values.get("allowed_prefixes") or common)
        found[name] = Tenant(name, _roots(settings, values.get("allowed_roots") or ()), prefixes)
    return found


def _locations(settings: Settings) -> dict[str, str]:
    from dunlin.config.file import store_of

    known = settings.file.locations if settings.file else {}
    return {name: store_of(each.url) or "local" for name, each in known.items()}


def check(found: Service) -> None:
    """Refuse what would leave the service open to everybody who reaches it."""
    for tenant in found.tenants.values():
        if not tenant.roots:
            raise DunlinError(
                "start the service", f"tenants.{tenant.name}", ErrorKind.CONFIG, "allowed_roots is missing",
                "name the directories that belong to it",
            )  # fmt: skip
    if found.guarded and not found.tenants and not found.roots:
        raise DunlinError(
            "listen at", str(found.address), ErrorKind.CONFIG, "http.allowed_roots is missing",
            "elsewhere than on loopback it must say what may be read",
        )  # fmt: skip


def shown(url: str) -> str:
    """The place of a queue or ledger without its password."""
    return re.sub(r"//[^/@]*@", "//", shown_place(url)) if "://" in url else url
