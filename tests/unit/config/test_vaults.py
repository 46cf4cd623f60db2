"""The repositories of a worker: which password opens them, and where what was read of them stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.backup import keys, repository
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Settings as Chosen
from dunlin.config.file import load
from dunlin.config.settings import Settings
from dunlin.config.vaults import Vaults
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.local import LocalStore


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    monkeypatch.delenv("DUNLIN_PASSWORD", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    place = tmp_path / "vault"
    place.mkdir()
    repository.init(Objects(LocalStore(str(place))), b"right", Chosen()).close()
    return place


def settings(folder: Path, text: str = "", **environ: str) -> Settings:
    (folder / "dunlin.yaml").write_text(text)
    return Settings(load(str(folder / "dunlin.yaml")) if text else None, environ=environ)


def kind(vaults: Vaults, place: Path) -> ErrorKind | None:
    try:
        vaults(str(place), 1.0, 1.0).close()
    except DunlinError as error:
        return error.kind
    return None


@pytest.mark.parametrize(
    ("in_variable", "named_by_variable", "in_file", "opens"),
    [
        ("right", "", "", True),
        ("wrong", "", "", False),
        ("", "", "right", True),
        ("", "", "", False),
        ("right", "", "wrong", True),
        ("wrong", "right", "wrong", True),
        ("right", "wrong", "right", False),
    ],
)
def test_the_password_is_the_one_a_backup_here_would_take(
    vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_variable: str, named_by_variable: str,
    in_file: str, opens: bool,
) -> None:  # fmt: skip
    if in_variable:
        monkeypatch.setenv("DUNLIN_PASSWORD", in_variable)
    environ = {}
    if named_by_variable:
        (tmp_path / "named").write_text(f"{named_by_variable}\n")
        environ["DUNLIN_PASSWORD_FILE"] = str(tmp_path / "named")
    text = ""
    if in_file:
        (tmp_path / "beside").write_text(f"{in_file}\n")  # relative to the file that names it
        text = "backup:\n  password_file: beside\n"
    assert kind(Vaults(settings(tmp_path, text, **environ)), vault) == (None if opens else ErrorKind.AUTH)


def test_a_place_may_be_a_location_of_this_machine(
    vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUNLIN_PASSWORD", "right")
    known = settings(tmp_path, f"locations:\n  vault: {{url: {vault.parent}}}\n")
    opened = Vaults(known)("loc://vault/vault", 1.0, 1.0)
    assert opened.objects.url == f"file://{vault}"
    opened.close()
    with pytest.raises(DunlinError) as raised:
        Vaults(known)("loc://other", 1.0, 1.0)
    assert raised.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize(
    ("text", "cache"),
    [("", "user/dunlin/repositories"), ("backup:\n  cache: here\n", "here"), ("backup:\n  cache: none\n", None)],
)
def test_what_was_read_stays_where_it_would_stay_for_any_command(
    vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cache: str | None
) -> None:
    monkeypatch.setenv("DUNLIN_PASSWORD", "right")
    monkeypatch.chdir(tmp_path)
    opened = Vaults(settings(tmp_path, text))(str(vault), 1.0, 1.0)
    area = opened.area("acme", "docs")
    key = f"{area.root}/tree/{'ab' * 16}"
    area.put_container(key, b"a tree")
    opened.unpacked(key, area.codec(key))
    kept = [path for path in tmp_path.rglob("ab" * 16) if not path.is_relative_to(vault)]
    assert len(kept) == (cache is not None)
    assert all(path.is_relative_to(tmp_path / str(cache)) for path in kept)
    opened.close()
