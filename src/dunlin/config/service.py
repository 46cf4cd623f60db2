"""What `dunlin serve` is told: from the layers of settings to one frozen value, checked as a whole.

The sections are those of Sync4Loong (`schema.SERVICE`). What may change while the service runs and what needs a restart
stands in `RESTART`; `changed` names the latter, so that a reload can say what it left alone.

Who may do what is decided by two things that belong together. On loopback, without tenants, the service trusts
whoever reaches it, as any command of this user would be: no keys, and any readable path. Anywhere else, or where
`http.keys` says so (as behind a proxy on the same machine), both keys and roots are needed, so that a service never
stands open because somebody changed one line.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from dunlin.config import schema
from dunlin.config.caps import StoreCaps, shared, speed, store_caps
from dunlin.config.credentials import SIDES
from dunlin.config.logins import Located, Said, place, secret_of
from dunlin.config.repositories import Repository, repositories
from dunlin.config.settings import FILE, Found, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.sizes import parse_duration, parse_size
from dunlin.queue.caps import Shared
from dunlin.report.address import Address, is_loopback, parse_address
from dunlin.stores.open import canonical_url, local_path, shown_place

DEFAULT_TENANT = "default"
RATE_ELSEWHERE = 100
QUEUE_NAME, LEDGER_NAME = ".dunlin-queue.db", ".dunlin-ledger.db"


class Tenant(NamedTuple):
    """Who shares a service, and what is theirs. 0: as much as there is.

    Attributes:
        roots: directories and URLs. prefixes: of keys.
        jobs: syncs and checks at a time. tasks: at a time over all workers. bandwidth: bytes per second over all.
        listed: it is one of `tenants`, and not whoever there is where there are none.
    """

    name: str
    roots: tuple[str, ...]
    prefixes: tuple[str, ...]
    jobs: int = 0
    tasks: int = 0
    bandwidth: int = 0
    listed: bool = False


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
        slots: units that the service publishes itself at a time; 0: workers elsewhere do all.
        roots: what jobs may name; empty: anything. prefixes: of keys. tenants: by name.
        keys: they are needed wherever it listens. proxies: what they say of who makes a request is believed.
        max_body: bytes of a request. rate: requests per second of one client, 0: any number.
        session: seconds that a login in a browser lasts.
        checks, ttl, check_timeout: look-ups at a time; seconds that an answer is kept, 0: for ever; for one look-up.
        monitor, root_path, read_only: the pages.
        hook: the command after uploads.
        locations: names and kinds of places ("s3", "azure", "gcs", "local"). lie: where they lie, as `roots` are
            spelled, where there are tenants.
        repositories: for backups, by name.
        log_level: a word of `schema`.
        caps: tasks of a store at a time. shares: those, and what tenants and publishing may have, for all on the queue.
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
    slots: int
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
    keys: bool = False
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    lie: Mapping[str, tuple[str, ...]] = {}
    caps: StoreCaps = StoreCaps()
    shares: Shared = Shared()
    repositories: Mapping[str, Repository] = {}

    @property
    def guarded(self) -> bool:
        """Whether keys are needed: it is told so, it listens elsewhere than on loopback, or there are tenants."""
        return self.keys or bool(self.tenants) or not is_loopback(self.address.host)

    def tenant(self, name: str) -> Tenant | None:
        """What is a tenant's; None where there is none of that name."""
        if not self.tenants and name in ("", DEFAULT_TENANT):
            return Tenant(DEFAULT_TENANT, self.roots, self.prefixes)
        return self.tenants.get(name)

    def repository(self, name: str, tenant: str) -> Repository | None:
        """A repository that a tenant may use; None where there is none of that name for it."""
        found = self.repositories.get(name)
        return found if found is not None and tenant in found.tenants else None


RESTART = {
    "address": "http.addr",
    "keys": "http.keys",
    "metrics": "monitor.prometheus_addr",
    "queue": "queue.url",
    "ledger": "queue.ledger",
    "redis": "redis",
    "jobs": "queue.jobs",
    "destination": "publish.destination",
    "place": "publish.destination",
    "slots": "publish.slots",
    "host": "queue.host_label",
    "monitor": "monitor.enabled",
    "root_path": "monitor.root_path",
}
"""Fields that hold from start to end, with the key that people know."""


def changed(before: Service, now: Service) -> tuple[str, ...]:
    """The keys that differ and need a restart."""
    keys = [key for field, key in RESTART.items() if getattr(before, field) != getattr(now, field)]
    return tuple(dict.fromkeys([*keys, *(["tenants"] if _turned(before, now) else [])]))


def kept(before: Service, now: Service) -> Service:
    """`now`, with all that needs a restart as it was."""
    fields = (*RESTART, *(("tenants", "roots", "shares", "repositories") if _turned(before, now) else ()))
    return now._replace(**{field: getattr(before, field) for field in fields})


def _turned(before: Service, now: Service) -> bool:
    """Whether there are tenants where there were none, or none any more.

    The former would make every key that was made for nobody one of the whole service, the latter may open the service
    to whoever reaches it: neither is for an edit of a file that somebody saves while the service runs.
    """
    return bool(before.tenants) != bool(now.tenants)


def listening(found: Service, address: Address) -> Service:
    """The settings with another address, and the usual rate of one that is reached like that."""
    moved = found._replace(address=address)
    return moved._replace(rate=_usual_rate(moved.guarded)) if found.rate == _usual_rate(found.guarded) else moved


def _usual_rate(guarded: bool) -> int:
    return RATE_ELSEWHERE if guarded else 0


def service(settings: Settings) -> Service:
    """What the layers say. Raises CONFIG, and USAGE for places that are none."""
    read = _Reader(settings)
    destination = _destination(settings, read)
    tenants = _tenants(settings, read)
    address = read.address("--http-addr") or parse_address("8080")
    keys = read.value("--http-keys", "auto") == "required"
    guarded = keys or bool(tenants) or not is_loopback(address.host)
    redis = _redis(read)
    stores = store_caps(settings)
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
        slots=read.value("--publish-slots", 2),
        roots=_roots(settings, read.value("--http-allowed-roots", ())),
        prefixes=tuple(read.value("--cache-allowed-prefixes", ("store/",))),
        tenants=tenants,
        max_body=parse_size(read.value("--http-max-body", "") or "4M"),
        rate=read.value("--http-rate-limit", _usual_rate(guarded)),
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
        lie=_lie(settings) if tenants else {},
        log_level=read.value("--daemon-log-level", "") or "info",
        keys=keys,
        proxies=tuple(ipaddress.ip_network(each) for each in read.value("--http-trusted-proxies", ())),
        caps=stores,
        shares=shared(stores, tenants.values(), speed(read.value("--publish-bandwidth", ""))),
        repositories=repositories(
            settings, tenants, {name: each.roots for name, each in tenants.items()}, DEFAULT_TENANT
        ),
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
    """Roots as places are spelled when they are compared: real paths, and URLs as `canonical_url` has them."""
    found: list[str] = []
    for root in roots:
        if "://" not in root and not os.path.isabs(root):
            raise DunlinError("read the configuration", "allowed_roots", ErrorKind.CONFIG, f"{root!r} is not absolute")
        found += _spelled(root, settings) if "://" in root else [os.path.realpath(root)]
    return tuple(dict.fromkeys(found))


def _spelled(root: str, settings: Settings) -> list[str]:
    """The places that a root means: as a source and as a destination, whose logins may name different servers."""
    found, refused = [], ""
    for side in SIDES:
        try:
            url, login, _ = place(root, side, {}, settings)
            path = local_path(url)
            found.append(os.path.realpath(path) if path is not None else canonical_url(url, login).rstrip("/"))
        except DunlinError as error:
            if error.kind is not ErrorKind.USAGE:
                raise
            refused = str(error)
    if not found:
        raise DunlinError("read the configuration", "allowed_roots", ErrorKind.CONFIG, refused)
    return found


def _tenants(settings: Settings, read: _Reader) -> dict[str, Tenant]:
    common = tuple(read.value("--cache-allowed-prefixes", ("store/",)))
    found = {}
    for name, entry in (settings.file.tenants if settings.file else {}).items():
        values = {key: each.value for key, each in entry.values.items()}
        prefixes = tuple(values.get("allowed_prefixes") or common)
        found[name] = Tenant(
            name, _roots(settings, values.get("allowed_roots") or ()), prefixes, values.get("jobs", 0),
            values.get("tasks", 0), speed(values.get("bandwidth")), listed=True,
        )  # fmt: skip
    return found


def _locations(settings: Settings) -> dict[str, str]:
    from dunlin.config.file import store_of

    known = settings.file.locations if settings.file else {}
    return {name: store_of(each.url) or "local" for name, each in known.items()}


def _lie(settings: Settings) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in settings.file.locations if settings.file else ():
        try:
            found[name] = tuple(_spelled(f"loc://{name}", settings))
        except DunlinError:
            found[name] = ()  # whoever uses it is told what is wrong with it
    return found


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
            "where keys are needed it must say what may be read",
        )  # fmt: skip
    if found.proxies and not found.guarded:
        raise DunlinError(
            "start the service", "http.trusted_proxies", ErrorKind.CONFIG, "whoever a proxy brings would need no key",
            "set http.keys to required",
        )  # fmt: skip


def shown(url: str) -> str:
    """The place of a queue or ledger without its password."""
    return re.sub(r"//[^/@]*@", "//", shown_place(url)) if "://" in url else url
