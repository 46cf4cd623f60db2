"""Every section and key of a configuration file: what it holds, and the option of `dunlin sync` that it stands for.

One table serves YAML, TOML, the environment and the documentation. The sections `azure`, `sync`, `watch`, `logging`,
`state` and `performance` have the keys of getblobz; `s3` and `gcs` are their like, and `crawl` has those of the
SyncOrchestrator, in our spelling. `sync` takes every other option
by its name (`--delete-extras` is `sync.delete_extras`). `jobs` is a list of pairs whose entries take the same names,
and those of the named sections (`account_key`, `bandwidth_limit`); `locations` names places with their credentials.
The sections of Sync4Loong (`SERVICE`) are for `dunlin serve`; `tenants` are those who share one.

A kind of value is a function: it takes what the file says, returns it in the form in which it would stand behind the
option, and raises ValueError with the reason where it does not fit. "" (off) passes wherever the option has a meaning
for it, 0 (automatic) wherever the program can find the value out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dunlin.config.credentials import CREDENTIALS, SIDES, Credential, side_flag
from dunlin.errors import DunlinError

Kind = Callable[[Any], Any]


class Key(NamedTuple):
    """One key.

    Attributes:
        section, name: where it stands. flag: the long option that it stands for.
        kind: see the module docstring.
        default: what holds without it, in words for people; "" where that is nothing.
        secret: its value is never shown; ``@path`` stands for the content of a file.
    """

    section: str
    name: str
    flag: str
    kind: Kind
    default: str = ""
    secret: bool = False

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"


def text(value: Any) -> str:
    """Words."""
    if isinstance(value, str):
        return value
    shown = f"{value} is no text; put it in quotes" if isinstance(value, (int, float)) else "it must be text"
    raise ValueError(shown)


def secret(value: Any) -> str:
    """As `text`, and nothing of a wrong value is told."""
    if isinstance(value, str):
        return value
    raise ValueError("it must be text; put it in quotes")


def switch(value: Any) -> bool:
    """true or false; "" is false."""
    if isinstance(value, bool):
        return value
    if value == "" and isinstance(value, str):
        return False
    raise ValueError(f"it must be true or false, not {_shown(value)}")


def names(value: Any) -> list[str]:
    """A list of texts, or one; "" is an empty list."""
    if isinstance(value, list):
        return [text(each) for each in value]
    return [text(value)] if value != "" else []


def whole(least: int, most: int | None = None, *, automatic: bool = False) -> Kind:
    """A whole number within limits; 0 too where it may be found out."""

    def kind(value: Any) -> int:
        number = int(value) if isinstance(value, str) and value.strip().lstrip("-").isdecimal() else value
        limits = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        limits += ", or 0 for automatic" if automatic and least else ""
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"it must be a whole number {limits}, not {_shown(value)}")
        if not (automatic and number == 0) and (number < least or (most is not None and number > most)):
            raise ValueError(f"{number} is no whole number {limits}")
        return number

    return kind


def share(value: Any) -> float:
    """A number above 0 and up to 1."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number <= 1:
        raise ValueError(f"{_shown(value)} is no number above 0 and up to 1")
    return number


def percent(most: int) -> Kind:
    """A whole number from 1 on, with or without a percent sign."""
    number = whole(1, most)

    def kind(value: Any) -> int:
        text = value.strip().removesuffix("%") if isinstance(value, str) else value
        return int(number(text))

    return kind


def choice(*words: str) -> Kind:
    """One of some words; "" where that means off or the default."""

    def kind(value: Any) -> str:
        if value is False and "none" in words:  # YAML 1.1 reads off and no as false
            return "none"
        if value != "" and value not in words:
            raise ValueError(f"{_shown(value)} is none of {', '.join(words)}")
        return str(value)

    return kind


def _parsed(parse: str) -> Kind:
    """What a parser of `pace` reads; it is imported by the first value."""

    def kind(value: Any) -> str:
        if value is False:
            value = "off"
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError(f"it must be text or a number, not {_shown(value)}")
        words = str(value)
        if words:
            from dunlin.pace import schedule, sizes

            try:
                (schedule.parse_schedule if parse == "parse_schedule" else getattr(sizes, parse))(words)
            except DunlinError as error:
                raise ValueError("; ".join(filter(None, (error.reason, error.hint)))) from error
        return words

    return kind


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a list" if isinstance(value, list) else "a section"
    return str(value).lower() if isinstance(value, bool) else repr(value)


size, duration, rate = _parsed("parse_size"), _parsed("parse_duration"), _parsed("parse_schedule")
speed = _parsed("parse_rate")
"""Bytes per second, always the same."""

PRIORITIES = {"low": -10, "normal": 0, "high": 10}
"""Words for priorities. A step is worth a minute of waiting (`queue.rules`)."""
MOST_PRIORITY = 100


def priority(value: Any) -> int:
    """A word of `PRIORITIES`, or a whole number."""
    word = value.strip().lower() if isinstance(value, str) else ""
    try:
        return PRIORITIES[word] if word in PRIORITIES else int(whole(-MOST_PRIORITY, MOST_PRIORITY)(value))
    except ValueError:
        reason = f"{_shown(value)} is no priority: low, normal, high, or a whole number from -100 to 100"
        raise ValueError(reason) from None

LEVELS = choice("debug", "info", "warn", "error")
ALGORITHMS = ("blake3", "sha256", "blake2b", "sha1", "md5", "xxh3", "crc64", "none")


def interval(value: Any) -> str:
    """A duration of at least a second."""
    words: str = duration(value)
    if words:
        from dunlin.pace.sizes import parse_duration

        if parse_duration(words) < 1:
            raise ValueError(f"{words!r} is less than a second")
    return words


def address(value: Any) -> str:
    """Where to listen; a port alone may be a number."""
    words = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if words:
        from dunlin.report.address import parse_address

        try:
            parse_address(words)
        except DunlinError as error:
            raise ValueError("; ".join(filter(None, (error.reason, error.hint)))) from None
    return words


def networks(value: Any) -> list[str]:
    """Addresses and networks (10.0.0.0/8), a list or separated by commas; "" is none."""
    import ipaddress

    words = [part.strip() for each in names(value) for part in each.split(",") if part.strip()]
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise ValueError(f"{word!r} is no address or network like 10.0.0.0/8") from None
    return words


def address_elsewhere(value: Any) -> str:
    """Where another program listens: ``HOST:PORT``."""
    words = address(value)
    if words and ":" not in words:
        raise ValueError(f"{words!r} names no host; write HOST:PORT")
    return words


def place_of_queue(value: Any) -> str:
    """A path, or a URL of a kind that can hold a queue or a ledger; nothing of a wrong one is told."""
    words = secret(value)
    scheme = words.partition("://")[0] if "://" in words else ""
    if scheme not in ("", "sqlite", "redis", "rediss", "postgresql", "postgres"):
        raise ValueError(f"{scheme}:// is none of sqlite, redis, rediss, postgresql")
    return words


MOST_TASKS = 100_000


def caps(value: Any) -> dict[str, int]:
    """Numbers of tasks by the name of a place; as text ``PLACE=NUMBER``, with commas between them."""
    if not isinstance(value, dict):
        lines = names(value)
        pairs = [part.rpartition("=") for line in lines for each in line.splitlines() for part in each.split(",")]
        value = {place.strip() or number: number.strip() for place, _, number in pairs}
    found = {text(place): whole(1, MOST_TASKS)(most) for place, most in value.items()}
    for place in found:
        if "://" not in place and not os.path.isabs(place):
            raise ValueError(f"{place!r} is no place: write loc://NAME, s3://BUCKET or an absolute path")
    return found


def some_names(value: Any) -> list[str]:
    """As `names`, at least one of them; "" is one that fits everything."""
    found = [""] if value == "" else names(value)
    if not found:
        raise ValueError('at least one is needed; [""] fits everything')
    return found


def root_path(value: Any) -> str:
    """Where pages lie below the service's address: ``/monitoring``."""
    words = text(value).rstrip("/")
    inner = words.split("/")[1:]
    if not words.startswith("/") or not all(part and part not in (".", "..") and _plain(part) for part in inner):
        raise ValueError(f"{value!r} is no path like /monitoring")
    if inner[0] in ("publish", "check", "api", "metrics", "healthz", "readyz", "login", "logout", "assets"):
        raise ValueError(f"{words} is taken by the service itself")
    return words


def _plain(part: str) -> bool:
    return part.isascii() and all(char.isalnum() or char in "._-" for char in part)


NOTIFY_EVENTS = ("failure", "finish", "stalled", "recovery")


def notify_events(value: Any) -> str:
    """Some of `NOTIFY_EVENTS`, as a list or with commas between them."""
    words = [word.strip() for each in names(value) for word in each.split(",")] if value != "" else []
    for word in words:
        if word not in NOTIFY_EVENTS:
            raise ValueError(f"{word!r} is none of {', '.join(NOTIFY_EVENTS)}")
    return ",".join(dict.fromkeys(words))


def patience(value: Any) -> str:
    """A duration from a second to a day; 0 and "" for no end."""
    words: str = duration(value)
    if words:
        from dunlin.pace.sizes import parse_duration

        seconds = parse_duration(words)
        if seconds and not 1 <= seconds <= 86_400:
            raise ValueError(f"{words!r} is not from 1s to 1d, or 0 for no limit")
    return words


def kind_of(credential: Credential) -> Kind:
    """What a credential's value may be."""
    return switch if credential.switch else secret if credential.secret else text


def _credentials() -> Iterator[Key]:
    for each in CREDENTIALS:
        if each.flag:
            yield Key(each.store, each.name, each.flag, kind_of(each), secret=each.secret)


_SWITCHES = (
    "archive links perms owner group devices specials hard_links xattrs acls sparse numeric_ids times recursive "
    "size_only update trust_state ctime_skip force_resync ignore_case delete_extras delete_excluded accept_source "
    "scan_first in_place rescan dry_run verbose quiet json share_snapshot"
)
_AUTOMATIC = "automatic"
_OTHERS: tuple[tuple[str, Kind, str], ...] = (
    ("progress", switch, "in a terminal"),
    ("compare", choice("size+mtime", "size", "mtime", "checksum"), "size+mtime"),
    ("modify_window", duration, "0"),
    ("include", names, ""),
    ("exclude", names, ""),
    ("include_from", names, ""),
    ("exclude_from", names, ""),
    ("filter_from", names, ""),
    ("files_from", text, ""),
    ("min_size", size, ""),
    ("max_size", size, ""),
    ("min_age", text, ""),
    ("max_age", text, ""),
    ("max_depth", whole(1), ""),
    ("max_delete", whole(0), "a quarter of the known files, at least 100"),
    ("backup_dir", text, ""),
    ("movers", whole(1, 256, automatic=True), _AUTOMATIC),
    ("threads", whole(1, 256, automatic=True), _AUTOMATIC),
    ("block_size", size, "5M"),
    ("queue_capacity", whole(1, 10_000), "20"),
    ("checksum", choice(*ALGORITHMS), "blake3"),
    ("fsync", choice("none", "checkpoint", "file"), "checkpoint"),
    ("attempts", whole(1, 100), "3"),
    ("timeout", patience, "30"),
    ("request_timeout", patience, "300"),
    ("lock_wait", duration, "10s"),
    ("ctime_margin", duration, "1m"),
    ("report_file", text, ""),
    ("profile", text, ""),
    ("log_file", text, ""),
    ("log_file_format", choice("text", "json"), "text"),
    ("log_file_size", size, "100M"),
    ("log_file_keep", whole(0, 1000), "5"),
)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


KEYS = (
    *_credentials(),
    Key("sync", "container", "--container", names),
    Key("sync", "output_path", "--output-path", text, "./data"),
    Key("sync", "prefix", "--prefix", text),
    Key("sync", "workers", "--workers", whole(1, 1024, automatic=True), _AUTOMATIC),
    Key("sync", "batch_size", "--batch-size", whole(1, 5000, automatic=True), _AUTOMATIC),
    Key("sync", "skip_existing", "--skip-existing", switch, "false"),
    Key("sync", "verify_checksums", "--verify-checksums", switch, "true"),
    *(Key("sync", name, _flag(name), switch, "false") for name in _SWITCHES.split()),
    *(Key("sync", name, _flag(name), kind, default) for name, kind, default in _OTHERS),
    Key("watch", "enabled", "--watch", switch, "false"),
    Key("watch", "interval", "--watch-interval", interval, "5m"),
    Key("logging", "level", "--log-level", LEVELS, "info"),
    Key("logging", "format", "--log-format", choice("text", "json", "logfmt"), "text"),
    Key("state", "database", "--state-db", text, ".sync-state.db"),
    Key("performance", "max_memory_mb", "--max-memory-mb", whole(64, 1 << 24, automatic=True), _AUTOMATIC),
    Key("performance", "max_cpu_percent", "--max-cpu-percent", whole(1, 100, automatic=True), _AUTOMATIC),
    Key("performance", "auto_throttle", "--auto-throttle", switch, _AUTOMATIC),
    Key("performance", "throttle_threshold", "--throttle-threshold", share, "0.8"),
    Key("performance", "link_speed", "--link-speed", size, "as the interfaces say"),
    Key("performance", "bandwidth_limit", "--bwlimit", rate, "off"),
    Key("performance", "disk_buffer_mb", "--disk-buffer-mb", whole(1, 1 << 20, automatic=True), "64"),
    Key("metrics", "address", "--metrics-addr", address),
    Key("notify", "webhook_url", "--notify-url", secret, secret=True),
    Key("notify", "format", "--notify-format", choice("slack", "json"), "slack"),
    Key("notify", "email", "--notify-email", names),
    Key("notify", "email_from", "--notify-from", text),
    Key("notify", "smtp_url", "--smtp-url", text),
    Key("notify", "smtp_password", "--smtp-password", secret, secret=True),
    Key("notify", "events", "--notify-on", notify_events, "failure,stalled,recovery"),
    Key("notify", "stalled_after", "--stalled-after", interval, "10m"),
    Key("notify", "interval", "--notify-interval", duration, "5m"),
    Key("dashboard", "refresh_interval", "--refresh-interval", whole(1, 3600), "2"),
    Key("dashboard", "theme", "--theme", choice("default", "dark", "light"), "default"),
    Key("queue", "host_label", "--host-label", text, "the machine's name"),
    Key("queue", "shared_roots", "--shared-root", names),
    Key("queue", "split_above", "--split-above", size, "256M"),
    Key("queue", "work", "--work", switch, "true"),
    Key("queue", "priority", "--priority", priority, "normal"),
    Key("backup", "repository", "--repo", text),
    Key("backup", "password_file", "--password-file", text),
    Key("backup", "tenant", "--tenant", text, "default"),
    Key("backup", "share", "--share", text, "the last name of the source"),
    Key("backup", "cache", "--cache", text, "the user's cache directory"),
    Key("crawl", "crawl_parallelism", "--crawl-parallelism", whole(1, 10_000, automatic=True), _AUTOMATIC),
    Key("crawl", "max_active_files", "--max-active-files", whole(1, 1 << 40, automatic=True), _AUTOMATIC),
    Key("crawl", "throttle_engage_threshold", "--throttle-engage-threshold", percent(100), "100"),
    Key("crawl", "throttle_release_threshold", "--throttle-release-threshold", percent(99), "85"),
    Key("crawl", "consistency_threshold", "--consistency-threshold", whole(1, 10_000), "10"),
    Key("crawl", "adjustment_cooldown", "--adjustment-cooldown", duration, "2m"),
)
"""Every key that stands for an option."""

COMMANDS_OWN = ("metrics", "notify", "dashboard", "backup")
"""Sections that are for a whole command: an entry of `jobs` has no say in them."""

SERVICE = (
    Key("queue", "url", "--queue", place_of_queue, "a file of the service's own"),
    Key("queue", "ledger", "--ledger", place_of_queue, "with the queue where that is PostgreSQL, else a file"),
    Key("queue", "jobs", "--queue-jobs", whole(1, 64), "2"),
    Key("queue", "caps", "--queue-caps", caps),
    Key("redis", "addr", "--redis-addr", address_elsewhere),
    Key("redis", "password", "--redis-password", secret, secret=True),
    Key("redis", "db", "--redis-db", whole(0, 15), "0"),
    Key("s3", "bucket", "--s3-bucket", text),
    Key("daemon", "log_level", "--daemon-log-level", choice("debug", "info", "warn", "error", "fatal"), "info"),
    Key("daemon", "ssh_command", "--ssh-command", text),
    Key("daemon", "ssh_debounce_minutes", "--ssh-debounce-minutes", whole(1, 1440), "5"),
    Key("daemon", "ssh_timeout_minutes", "--ssh-timeout-minutes", whole(1, 1440), "10"),
    Key("daemon", "enable_ssh_task", "--enable-ssh-task", switch, "false"),
    Key("publish", "destination", "--publish-destination", text),
    Key("publish", "max_retry", "--publish-max-retry", whole(0, 10), "3"),
    Key("publish", "bandwidth", "--publish-bandwidth", speed, "off"),
    Key("publish", "timeout_minutes", "--publish-timeout-minutes", whole(1, 1440), "30"),
    Key("publish", "slots", "--publish-slots", whole(0, 64), "2"),
    Key("http", "addr", "--http-addr", address, "127.0.0.1:8080"),
    Key("http", "allowed_roots", "--http-allowed-roots", names),
    Key("http", "keys", "--http-keys", choice("auto", "required"), "auto"),
    Key("http", "trusted_proxies", "--http-trusted-proxies", networks),
    Key("http", "max_body", "--http-max-body", size, "4M"),
    Key("http", "rate_limit", "--http-rate-limit", whole(0, 1_000_000), "none without keys, else 100"),
    Key("http", "session_hours", "--http-session-hours", whole(1, 8760), "12"),
    Key("cache", "max_concurrent_s3_checks", "--cache-max-concurrent-s3-checks", whole(1, 100), "10"),
    Key("cache", "allowed_prefixes", "--cache-allowed-prefixes", some_names, "store/"),
    Key("cache", "ttl", "--cache-ttl", duration, "for ever"),
    Key("cache", "timeout", "--cache-timeout", interval, "10s"),
    Key("monitor", "enabled", "--monitor-enabled", switch, "true"),
    Key("monitor", "root_path", "--monitor-root-path", root_path, "/monitoring"),
    Key("monitor", "read_only_mode", "--monitor-read-only-mode", switch, "false"),
    Key("monitor", "prometheus_addr", "--monitor-prometheus-addr", address),
)
"""Keys of `dunlin serve` alone. Most stand for no option: the flag names their variable (``DUNLIN_HTTP_ADDR``)."""

SPELLINGS = {("s3", "access_key"): "--s3-access-key-id", ("s3", "secret_key"): "--s3-secret-access-key"}
"""Keys that are another name of an option, as Sync4Loong has them."""

SECTION_NAMES = {"asynqmon": "monitor"}
"""Other names of sections, likewise."""

TENANT = (
    Key("tenants", "allowed_roots", "--tenant-allowed-roots", names),
    Key("tenants", "allowed_prefixes", "--tenant-allowed-prefixes", names),
    Key("tenants", "jobs", "--tenant-jobs", whole(1, 64)),
    Key("tenants", "tasks", "--tenant-tasks", whole(1, MOST_TASKS)),
    Key("tenants", "bandwidth", "--tenant-bandwidth", speed),
)
"""What an entry of `tenants` holds."""

REPOSITORY = (
    Key("repositories", "place", "--repository-place", text),
    Key("repositories", "password_file", "--repository-password-file", text),
    Key("repositories", "tenants", "--repository-tenants", names),
    Key("repositories", "append_only", "--repository-append-only", switch, "false"),
)
"""What an entry of `repositories` holds."""

SECTIONS = tuple(dict.fromkeys(key.section for key in (*KEYS, *SERVICE)))
LISTS = ("jobs", "locations", "tenants", "repositories")
"""What a file may hold besides sections."""

PLACES = ("source", "destination")
"""What an entry of `jobs` has besides options."""



def _by_option() -> dict[str, Key]:
    keys = [key for key in KEYS if key.section not in COMMANDS_OWN]
    found = {key.flag.lstrip("-").replace("-", "_"): key for key in keys}
    for each in CREDENTIALS:
        for side in SIDES if each.flag else ():
            flag = side_flag(each.flag, side)
            name = flag.lstrip("-").replace("-", "_")
            found[name] = Key("sync", name, flag, kind_of(each), secret=each.secret)
    for key in KEYS:
        if key.section == "performance":
            found.setdefault(key.name, key)
    return found


OPTIONS = _by_option()
"""Every option by its name (``bwlimit``, ``source_account_key``): the keys of an entry of `jobs`."""

PATHS = {("sync", name): key for name, key in OPTIONS.items()}
PATHS |= {(key.section, key.name): key for key in (*KEYS, *SERVICE)}
PATHS |= {path: next(key for key in KEYS if key.flag == flag) for path, flag in SPELLINGS.items()}
PATHS |= {(old, name): key for old, new in SECTION_NAMES.items() for (at, name), key in PATHS.items() if at == new}
"""The keys of a file by section and name; `sync` also takes every option under the option's own name."""


def _by_flag() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for path, key in PATHS.items():
        found.setdefault(key.flag, []).append(path)
    return found


FLAGS = _by_flag()
"""Sections and names of the keys that stand for an option, for variables."""
