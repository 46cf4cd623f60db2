"""Which repository, which password: what comes before what."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dunlin.cli import keeping
from dunlin.cli.snapshots import command
from dunlin.errors import DunlinError


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("REPO", "PASSWORD", "PASSWORD_FILE", "CACHE"):
        monkeypatch.delenv(f"DUNLIN_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def read(*words: str) -> click.Context:
    """A command line, as the commands see it."""
    return command.make_context("snapshots", list(words))


def configured(text: str) -> None:
    Path("dunlin.yaml").write_text(text)


def test_the_repository_is_named_by_flag_variable_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DunlinError, match="which repository"):
        keeping.place_of(read())
    configured("backup: {repository: loc://vault/sub}\nlocations: {vault: {url: 's3://bucket/a', access_key_id: AK, "
               "secret_access_key: word}}")  # fmt: skip
    place = keeping.place_of(read())
    assert (place.url, place.login["access_key_id"]) == ("s3://bucket/a/sub", "AK")
    monkeypatch.setenv("DUNLIN_REPO", "from-variable")
    assert keeping.place_of(read()).url == "from-variable"
    assert keeping.place_of(read("--repo", "from-flag", "--timeout", "5")).url == "from-flag"


def test_the_login_of_the_repository_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--repo", "az://c", "--account-name", "both", "--repo-account-name", "mine", "--repo-account-key", "k")
    login = keeping.place_of(read(*words)).login
    assert (login["account_name"], login["account_key"]) == ("mine", "k")
    monkeypatch.setenv("DUNLIN_REPO_ACCOUNT_NAME", "variable")
    assert keeping.place_of(read("--repo", "az://c")).login["account_name"] == "variable"


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keeping.cache_of(read()) == str(tmp_path / "cache" / "dunlin" / "repositories")
    assert keeping.cache_of(read("--cache", "here")) == "here"
    assert keeping.cache_of(read("--cache", "none")) is None
    assert keeping.cache_of(read("--cache", "here", "--no-cache")) is None
    monkeypatch.setenv("DUNLIN_CACHE", "")
    assert keeping.cache_of(read()) is None


def test_the_password_that_is_nearest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keeping.password_of(read())() is None
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "word").write_text("of the file\n")
    configured("backup: {password_file: conf/word}")
    assert keeping.password_of(read())() == b"of the file"
    monkeypatch.setenv("DUNLIN_PASSWORD", "of the variable")
    assert keeping.password_of(read())() == b"of the variable"
    (tmp_path / "typed").write_text("two\nlines\n")
    assert keeping.password_of(read("--password-file", "typed"))() == b"two\nlines"
    with pytest.raises(DunlinError, match="No such file"):
        keeping.password_of(read("--password-file", "nosuch"))()


def test_a_password_of_the_configuration_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "word").write_text("beside")
    (tmp_path / "etc" / "conf.yaml").write_text("backup: {password_file: word}")
    assert keeping.password_of(read("--config", "etc/conf.yaml"))() == b"beside"


def test_it_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, **how: object) -> str:
        asked.append(text)
        return "typed"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    password = keeping.password_of(read())
    assert [password(), password()] == [b"typed", b"typed"]
    assert asked == ["Password"]


def test_keys_of_the_backup_are_for_its_commands_alone() -> None:
    from dunlin.cli.user import command as user

    configured("backup: {password_file: word, tenant: acme}")
    assert read().params["tenant"] == "acme"
    context = user.make_context("user", ["list"])
    assert (context.params["tenant"], context.params["password_file"]) == (None, None)
