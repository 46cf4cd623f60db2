"""The repositories that the service knows: whose they are, where they may lie, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.config import schema
from dunlin.config.file import load
from dunlin.config.service import Service, kept, service
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "word"
    file.write_text("secret word\n")
    return file


def read(tmp_path: Path, text: str, **environ: str) -> Service:
    file = tmp_path / "dunlin.yaml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return service(Settings(load(str(file)), environ=environ))


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(DunlinError) as caught:
        read(tmp_path, text)
    assert caught.value.kind is ErrorKind.CONFIG
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_tenants_it_is_everybodys(tmp_path: Path, password: Path) -> None:
    found = read(tmp_path, f"repositories: {{vault: {{place: '{tmp_path}/v', password_file: word}}}}")
    vault = found.repositories["vault"]
    assert (vault.url, vault.tenants, vault.append_only) == (f"{tmp_path}/v", ("default",), False)
    assert vault.password() == b"secret word"
    assert found.repository("vault", "default") is vault
    assert found.repository("vault", "other") is None
    assert found.repository("valt", "default") is None
    password.write_text("another")
    assert vault.password() == b"another"  # it is read each time


def test_a_location_has_its_login(tmp_path: Path) -> None:
    text = (
        "locations: {off: {url: 's3://bucket/b', access_key_id: id, secret_access_key: hush}}\n"
        "repositories: {vault: {place: 'loc://off/repo', append_only: true}}\n"
        f"backup: {{cache: '{tmp_path}/x'}}"
    )
    vault = read(tmp_path, text).repositories["vault"]
    assert (vault.url, vault.place, vault.password()) == ("s3://bucket/b/repo", "loc://off/repo", None)
    assert (vault.append_only, vault.cache) == (True, f"{tmp_path}/x")
    assert vault.login["secret_access_key"] == "hush"
    assert "hush" not in repr(vault)


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    text = "repositories: {v: {place: /v}}\n"
    assert read(tmp_path, text).repositories["v"].cache is None
    assert "cannot be written to" in refused(tmp_path, text + f"backup: {{cache: '{tmp_path}/file/x'}}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert read(tmp_path, text).repositories["v"].cache == f"{tmp_path}/cache/dunlin/repositories"
    assert read(tmp_path, text + "backup: {cache: none}").repositories["v"].cache is None


TENANTS = "tenants: {a: {allowed_roots: [/srv/a]}, b: {allowed_roots: [/srv/b]}}\n"


def test_tenants_that_may_use_it_are_named(tmp_path: Path) -> None:
    text = TENANTS + "repositories: {one: {place: /v/1, tenants: [a]}, all: {place: /v/2, tenants: ['*']}}"
    found = read(tmp_path, text)
    assert found.repositories["one"].tenants == ("a",)
    assert found.repositories["all"].tenants == ("a", "b")
    assert found.repository("one", "b") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repositories: {v: {}}", "repositories.v.place: it is missing"),
        ("repositories: {v: {palce: /v}}", "repositories.v.palce: there is no such key; did you mean place?"),
        ("repositories: {v: {place: 7}}", "repositories.v.place: 7 is no text"),
        ("repositories: {'a b': {place: /v}}", "a name is made of"),
        ("repositories: {v: {place: /v, append_only: maybe}}", "it must be true or false"),
        ("repositories: {v: {place: /v, password_file: nowhere}}", "v.password_file names: NOWHERE"),
        ("repositories: {v: {place: /v, tenants: [x]}}", "there is no tenant 'x'"),
        ("repositories: {v: {place: 'az://c?sig=abc'}}", "a URL with a secret behind it"),
        (TENANTS + "repositories: {v: {place: /v}}", "repositories.v.tenants: it is missing"),
        (TENANTS + "repositories: {v: {place: /v, tenants: [aa]}}", "there is no tenant 'aa'"),
        (TENANTS + "repositories: {v: {place: /srv/b/v, tenants: [a]}}", "where tenants.b.allowed_roots leads"),
        (TENANTS + "repositories: {v: {place: /srv, tenants: [a]}}", "where tenants.a.allowed_roots leads"),
        ("tenants: {ACME: {allowed_roots: [/srv]}}\nrepositories: {v: {place: /v, tenants: ['*']}}",
         "'ACME' cannot be the name of a tenant"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    assert words.replace("NOWHERE", f"{tmp_path}/nowhere") in refused(tmp_path, text).replace(" read", "")


def test_a_link_into_the_roots_of_a_tenant_is_seen(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "link").symlink_to("roots")
    text = f"tenants: {{a: {{allowed_roots: ['{tmp_path}/roots']}}}}\n"
    words = refused(tmp_path, text + f"repositories: {{v: {{place: '{tmp_path}/link/v', tenants: [a]}}}}")
    assert "where tenants.a.allowed_roots leads" in words


def test_neither_password_nor_cache_lies_in_the_roots_of_a_tenant(tmp_path: Path, password: Path) -> None:
    text = f"tenants: {{a: {{allowed_roots: ['{tmp_path}/a']}}}}\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "word").write_text("x")
    one = "repositories: {v: {place: /v, tenants: [a], password_file: WORD}}\n"
    assert "its password lies where tenants.a" in refused(tmp_path, text + one.replace("WORD", "a/word"))
    assert read(tmp_path, text + one.replace("WORD", "word")).repositories
    cached = text + one.replace("WORD", "word") + f"backup: {{cache: '{tmp_path}/a/cache'}}"
    assert "(backup.cache) lies where tenants.a" in refused(tmp_path, cached)


def test_a_bucket_is_compared_as_it_is_opened(tmp_path: Path) -> None:
    text = "tenants: {a: {allowed_roots: ['s3://bucket/a']}}\n"
    text += "repositories: {v: {place: 's3://bucket/PLACE', tenants: [a]}}"
    assert "v" in read(tmp_path, text.replace("PLACE", "vault")).repositories
    assert "allowed_roots leads" in refused(tmp_path, text.replace("PLACE", "a/vault"))


def test_who_has_tenants_only_after_a_restart_keeps_whose_repositories_are(tmp_path: Path) -> None:
    before = read(tmp_path, "repositories: {v: {place: /v}}")
    now = read(tmp_path, TENANTS + "repositories: {v: {place: /v, tenants: [a]}}")
    assert kept(before, now).repositories["v"].tenants == ("default",)
    more = read(tmp_path, "repositories: {v: {place: /v}, w: {place: /w}}")
    assert kept(before, more).repositories.keys() == {"v", "w"}


@pytest.mark.parametrize("key", schema.REPOSITORY, ids=lambda key: key.path)
def test_every_key_is_documented(key: schema.Key) -> None:
    _, heading, rest = PAGE.read_text(encoding="utf-8").partition(f"\n### {key.section}\n")
    assert heading
    rows = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith(f"| `{key.name}` ")]
    assert len(rows) == 1, key.path
