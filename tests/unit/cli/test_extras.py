"""What is missing is found in the chain of errors; nobody but the launcher's environment gets it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from dunlin.cli import extras
from dunlin.cli.main import complain
from dunlin.errors import DunlinError, ErrorKind

ROOT = Path(__file__).resolve().parents[3]


def lacking(name: str) -> DunlinError:
    error = DunlinError("open", "s3://bucket", ErrorKind.USAGE, f"{name} is not installed", "install it")
    error.__cause__ = ImportError(name=name)
    return error


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Started by the launcher of a checkout, whose path has a space in it."""
    root = tmp_path / "a checkout"
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name="dunlin.__main__")))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / ".dunlin-core").write_text(f"# fingerprint 0123 {root}\n")
    script = root / "scripts" / "add.sh"
    script.parent.mkdir(parents=True)
    script.write_text('echo "$1" >>"${0%/*}/asked"; exit 3\n')
    return root


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("boto3", "cloud"),
        ("google.oauth2", "cloud"),
        ("azure.identity", "cloud"),
        ("watchfiles", "watch"),
        ("textual.app", "tui"),
        ("psycopg", "queue"),
        ("redis.exceptions", "queue"),
        ("litestar", "web"),
        ("cronsim", "web"),
        ("numpy", "backup"),
        ("cryptography.hazmat", "backup"),
        ("apsw", ""),
    ],
)
def test_the_extra_is_found_by_the_package(name: str, extra: str) -> None:
    assert extras.missing(lacking(name)) == extra


def test_errors_without_an_import_lack_nothing() -> None:
    error = DunlinError("open", "s3://bucket", ErrorKind.AUTH)
    error.__cause__ = error.__context__ = OSError("refused")
    assert extras.missing(error) == ""


def test_a_circle_of_errors_has_an_end() -> None:
    one, two = ValueError(), ValueError()
    one.__context__, two.__context__ = two, one
    assert extras.missing(one) == ""


def test_another_environment_is_left_alone(tmp_path: Path) -> None:
    assert not extras.addable(lacking("boto3"))
    assert extras.begin_again(lacking("boto3")) is None


def test_the_launchers_environment_is_asked_for_it(launched: Path) -> None:
    assert extras.addable(lacking("boto3"))
    assert extras.begin_again(lacking("boto3")) == 3
    assert (launched / "scripts" / "asked").read_text() == "cloud\n"


def test_it_is_added_once(launched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys._xoptions, "dunlin_cloud", True)
    assert extras.begin_again(lacking("boto3")) is None
    assert extras.begin_again(lacking("watchfiles")) == 3


def test_other_errors_ask_for_nothing(launched: Path) -> None:
    assert extras.begin_again(lacking("apsw")) is None
    assert not (launched / "scripts" / "asked").exists()


@pytest.mark.parametrize(
    ("source", "installed", "asked"), [(".", False, True), (".", True, False), ("s3://b", False, False)]
)
def test_watching_needs_its_extra_for_local_sources(
    launched: Path, monkeypatch: pytest.MonkeyPatch, source: str, installed: bool, asked: bool
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    extras.prepare_watch(source)  # and goes on, although it could not be added
    assert (launched / "scripts" / "asked").exists() == asked


@pytest.mark.parametrize(("ending", "code"), [("exit 130", 130), ("kill -INT $$", 130), ("kill -TERM $$", 143)])
def test_who_interrupts_the_adding_ends_the_command(launched: Path, ending: str, code: int) -> None:
    (launched / "scripts" / "add.sh").write_text(ending)
    assert extras.begin_again(lacking("boto3")) == code


def test_who_interrupts_the_adding_does_not_begin_to_watch(launched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (launched / "scripts" / "add.sh").write_text("exit 130")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KeyboardInterrupt):
        extras.prepare_watch(".")


def test_a_missing_package_that_nobody_translated_is_one_line_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain(ModuleNotFoundError("No module named 'boto3'", name="boto3"), traceback=False) == 1
    assert capsys.readouterr().err == "dunlin: boto3 is not installed; install it with: pip install 'dunlin[cloud]'\n"


def test_extras_bring_what_they_are_asked_for() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in extras.EXTRAS.items():
        distribution = {"azure": "azure-", "google": "google-auth", "botocore": "boto3"}.get(package, package)
        assert any(line.startswith(distribution) for line in wanted[extra]), package


OPENED = """
import json, sys
from dunlin.stores.login import Login
from dunlin.stores.objects.place import open_service, place_of
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(name, name=name)
url, given, foreign = json.loads(sys.argv[1])
sys.meta_path.insert(0, Nobody())
open_service(place_of(url, Login(given)), 1).close()
"""
FOREIGN = ("azure", "boto3", "botocore", "google", "obstore", "requests", "urllib3")
KEY = "a2V5" * 16


@pytest.mark.parametrize(
    ("url", "given", "alone"),
    [
        ("s3://bucket", {"access_key_id": "id", "secret_access_key": "key"}, True),
        ("s3://bucket", {"anonymous": "yes"}, True),
        ("s3://bucket", {}, False),
        ("gs://bucket", {"anonymous": "yes"}, True),
        ("gs://bucket", {}, False),
        ("az://container", {"account_name": "account", "account_key": KEY}, True),
        ("az://container", {"connection_string": f"AccountName=account;AccountKey={KEY}"}, True),
        ("https://account.blob.core.windows.net/container?sv=2022-11-02&sp=rl&sr=c&sig=abc", {}, True),
        ("az://container", {"account_name": "account"}, False),
    ],
)
def test_keys_and_anonymous_access_need_the_core_alone(url: str, given: dict[str, str], alone: bool) -> None:
    command = [sys.executable, "-c", OPENED, json.dumps([url, given, FOREIGN])]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode == 0) == alone, result.stderr
    assert alone or "pip install 'dunlin[cloud]'" in result.stderr.splitlines()[-1]
