"""The sections of the service: defaults, ranges, and what leaves it open."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.config import schema
from dunlin.config.file import load
from dunlin.config.service import RESTART, Service, changed, kept, listening, service, shown
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError
from dunlin.report.address import is_loopback, parse_address

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"

SYNC4LOONG = """
[redis]
addr = "localhost:6379"
password = "p/w"
db = 2
[s3]
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
bucket = "nix4loong"
access_key = "id"
secret_key = "secret"
[daemon]
log_level = "fatal"
ssh_command = "ssh host reindex"
ssh_debounce_minutes = 2
ssh_timeout_minutes = 3
enable_ssh_task = true
[publish]
max_retry = 0
timeout_minutes = 1440
[http]
addr = ":8081"
[cache]
max_concurrent_s3_checks = 100
allowed_prefixes = ["store/", "nix/"]
[asynqmon]
enabled = false
root_path = "/queue"
read_only_mode = true
prometheus_addr = "127.0.0.1:9100"
"""


def read(tmp_path: Path, text: str, name: str = "dunlin.toml", **environ: str) -> Service:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return service(Settings(load(str(file)), environ=environ))


def test_defaults() -> None:
    found = service(Settings(environ={}))
    assert (str(found.address), found.log_level, found.max_retry, found.timeout) == ("127.0.0.1:8080", "info", 3, 1800)
    assert (found.checks, found.prefixes, found.ttl, found.rate) == (10, ("store/",), 0, 0)
    assert (found.monitor, found.root_path, found.read_only, found.metrics) == (True, "/monitoring", False, None)
    assert (found.queue, found.redis, found.destination, found.guarded) == ("", "", None, False)


def test_a_file_of_sync4loong_is_accepted_as_written(tmp_path: Path) -> None:
    found = read(tmp_path, SYNC4LOONG)
    assert found.queue == found.redis == "redis://:p%2Fw@localhost:6379/2"
    assert found.destination is not None
    assert (found.destination.url, found.place) == ("s3://nix4loong", "s3://nix4loong")
    assert found.destination.login["secret_access_key"] == "secret"
    assert found.destination.login["endpoint"] == "http://127.0.0.1:9000"
    assert (str(found.address), str(found.metrics)) == ("127.0.0.1:8081", "127.0.0.1:9100")
    assert found.hook == ("ssh host reindex", 120, 180, True)
    assert (found.max_retry, found.timeout, found.checks, found.prefixes) == (0, 86_400, 100, ("store/", "nix/"))
    assert (found.monitor, found.root_path, found.read_only, found.log_level) == (False, "/queue", True, "fatal")


def test_variables_win_and_those_of_sync4loong_are_told(tmp_path: Path) -> None:
    file = tmp_path / "dunlin.toml"
    file.write_text(SYNC4LOONG)
    file.chmod(0o600)
    environ = {"SYNC4LOONG_HTTP_ADDR": "9000", "DUNLIN_ASYNQMON_ENABLED": "true"}
    settings = Settings(load(str(file)), environ=environ | {"DUNLIN_CACHE_ALLOWED_PREFIXES": "a/,b/"})
    found = service(settings)
    assert (found.address.port, found.monitor, found.prefixes) == (9000, True, ("a/", "b/"))
    assert settings.notes == ["SYNC4LOONG_HTTP_ADDR is read as DUNLIN_HTTP_ADDR: use that name"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("publish: {max_retry: 11}", "publish.max_retry: 11 is no whole number from 0 to 10"),
        ("publish: {slots: 65}", "publish.slots: 65 is no whole number from 0 to 64"),
        ("publish: {timeout_minutes: 0}", "publish.timeout_minutes: 0 is no whole number from 1 to 1,440"),
        ("redis: {db: 16}", "redis.db: 16 is no whole number from 0 to 15"),
        ("redis: {addr: '6379'}", "redis.addr: '6379' names no host"),
        ("cache: {max_concurrent_s3_checks: 101}", "101 is no whole number from 1 to 100"),
        ("cache: {allowed_prefixes: []}", "at least one is needed"),
        ("daemon: {log_level: loud}", "'loud' is none of debug, info, warn, error, fatal"),
        ("daemon: {ssh_debounce_minutes: 0}", "0 is no whole number from 1"),
        ("monitor: {root_path: queue}", "is no path like /monitoring"),
        ("monitor: {root_path: /api/x}", "is taken by the service itself"),
        ("monitor: {root_path: /assets}", "is taken by the service itself"),
        ("http: {addr: nowhere}", "is no address to listen on"),
        ("http: {port: 8080}", "http.port: there is no such key"),
        ("queue: {url: 'mysql://x'}", "mysql:// is none of"),
        ("tenants: {a: {allowed_root: [/a]}}", "tenants.a.allowed_root: there is no such key; did you mean allowed_ro"),
        ("tenants: {a: {}}", "tenants.a: allowed_roots is missing"),
        ("http: {addr: '0.0.0.0:8080'}", "http.allowed_roots is missing"),
        ("http: {keys: required}", "http.allowed_roots is missing"),
        ("http: {keys: always}", "'always' is none of auto, required"),
        ("http: {trusted_proxies: [proxy]}", "'proxy' is no address or network like 10.0.0.0/8"),
        ("http: {trusted_proxies: [127.0.0.1]}", "whoever a proxy brings would need no key"),
        ("http: {allowed_roots: [relative]}", "'relative' is not absolute"),
        ("http: {allowed_roots: ['s3://b']}", "b is no name of a bucket or container"),
        ("redis: {password: x}", "redis.addr: it is missing"),
        ("s3: {bucket: a}\npublish: {destination: 's3://b'}", "name different places"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(DunlinError) as found:
        read(tmp_path, line, "dunlin.yaml")
    assert reason in str(found.value)
    assert "\n" not in str(found.value)


def test_tenants_need_keys_and_have_their_own(tmp_path: Path) -> None:
    inner = tmp_path / "link"
    inner.symlink_to(tmp_path)
    words = f"tenants: {{a: {{allowed_roots: ['{inner}', 's3://bucket/x/'], allowed_prefixes: [a/]}}}}"
    found = read(tmp_path, words, "x.yaml")
    tenant = found.tenant("a")
    assert tenant is not None
    assert (tenant.roots, tenant.prefixes) == ((str(tmp_path.resolve()), "s3://bucket/x"), ("a/",))
    assert found.guarded
    assert found.tenant("default") is found.tenant("") is None


def test_roots_are_spelled_as_places_are(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "s3: {endpoint: 'http://127.0.0.1:9000'}\n"
        "sync: {dest_s3_endpoint: 'http://127.0.0.1:9001'}\n"
        "locations: {off: {url: 's3://other/x/', endpoint: 'http://127.0.0.1:9002'}, near: {url: /srv/near}}\n"
        "http: {allowed_roots: ['s3://bucket', 'loc://off/y', 'loc://near/x', 'file:///srv/a', /srv/a]}",
        "dunlin.yaml",
    )
    assert found.roots == (
        "http://127.0.0.1:9000/bucket", "http://127.0.0.1:9001/bucket", "http://127.0.0.1:9002/other/x/y",
        "http://127.0.0.1:9001/other/x/y", "/srv/near/x", "/srv/a",
    )  # fmt: skip


def test_elsewhere_than_on_loopback_there_is_a_rate(tmp_path: Path) -> None:
    found = read(tmp_path, "http: {addr: '[::]:8080', allowed_roots: [/srv]}", "dunlin.yaml")
    assert (found.guarded, found.rate) == (True, 100)
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.9", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "example", "10.0.0.1"))


def test_what_needs_a_restart_is_named_and_kept() -> None:
    before = service(Settings(environ={}))
    after = service(Settings(environ={"DUNLIN_HTTP_ADDR": "9", "DUNLIN_QUEUE_JOBS": "4", "DUNLIN_CACHE_TTL": "5m"}))
    assert changed(before, after) == ("http.addr", "queue.jobs")
    now = kept(before, after)
    assert (now.address, now.jobs, now.ttl) == (before.address, before.jobs, 300)
    assert set(RESTART) <= set(Service._fields)


def test_keys_may_be_required_on_loopback_as_well(tmp_path: Path) -> None:
    found = read(tmp_path, "http: {keys: required, allowed_roots: [/srv], trusted_proxies: [127.0.0.1, '10.0.0.0/8']}",
                 "dunlin.yaml")  # fmt: skip
    assert (found.guarded, found.rate) == (True, 100)
    assert [str(each) for each in found.proxies] == ["127.0.0.1/32", "10.0.0.0/8"]
    variables = {"DUNLIN_HTTP_KEYS": "required", "DUNLIN_HTTP_ALLOWED_ROOTS": "/srv",
                 "DUNLIN_HTTP_TRUSTED_PROXIES": "127.0.0.1, ::1"}  # fmt: skip
    assert len(service(Settings(environ=variables)).proxies) == 2


def test_tenants_come_and_go_with_a_restart_alone(tmp_path: Path) -> None:
    none = read(tmp_path, "http: {allowed_roots: [/srv]}", "dunlin.yaml")
    some = read(tmp_path, "tenants: {a: {allowed_roots: [/a]}}", "dunlin.yaml")
    more = read(tmp_path, "tenants: {a: {allowed_roots: [/b]}, b: {allowed_roots: [/b]}}", "dunlin.yaml")
    assert changed(none, some) == changed(some, none) == ("tenants",)
    assert not kept(none, some).guarded
    assert kept(none, some).roots == ("/srv",)
    assert kept(some, none).guarded
    assert kept(some, none).tenants == some.tenants
    assert changed(some, more) == ()
    assert kept(some, more).tenants.keys() == {"a", "b"}


def test_an_address_of_the_command_line_has_its_usual_rate() -> None:
    found = service(Settings(environ={"DUNLIN_HTTP_ALLOWED_ROOTS": "/srv"}))
    assert listening(found, parse_address("0.0.0.0:8080")).rate == 100
    assert listening(found._replace(rate=7), parse_address("0.0.0.0:8080")).rate == 7
    assert listening(found, parse_address("9000")) == found._replace(address=parse_address("9000"))


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://me:secret@db/x?sslmode=require") == "postgresql://db/x"
    assert shown("/var/lib/queue.db") == "/var/lib/queue.db"


def test_a_file_with_passwords_that_others_may_read_is_said(tmp_path: Path) -> None:
    for text in ("redis: {addr: 'h:1', password: x}", "queue: {url: 'postgresql://a:b@h/d'}", "s3: {secret_key: x}"):
        file = tmp_path / "dunlin.yaml"
        file.write_text(text)
        file.chmod(0o644)
        assert load(str(file)).exposed, text
    file.write_text("queue: {url: 'postgresql://h/d'}\nredis: {addr: 'h:1', password: '@file'}")
    assert not load(str(file)).exposed


@pytest.mark.parametrize("key", [*schema.SERVICE, *schema.TENANT], ids=lambda key: key.path)
def test_every_key_of_the_service_is_documented(key: schema.Key) -> None:
    _, heading, rest = PAGE.read_text(encoding="utf-8").partition(f"\n### {key.section}\n")
    assert heading, f"no chapter on {key.section}"
    rows = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith(f"| `{key.name}` ")]
    assert len(rows) == 1, key.path


def test_no_flag_stands_for_two_things() -> None:
    flags = [key.flag for key in schema.SERVICE]
    assert len(set(flags)) == len(flags)
    assert not set(flags) & {key.flag for key in schema.KEYS}
