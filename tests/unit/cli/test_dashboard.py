"""`dunlin dashboard`: what it shows the dashboard with, by options, file and variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from dunlin.cli import dashboard as module
from dunlin.report import NullReport
from dunlin.state import State
from dunlin.tui.remote import Client
from tests.unit.tui.servicestub import KEY, Stub, serving

Run = Callable[..., Result]
SHOWN = list[tuple[float, str]]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SHOWN:
    """Interval and theme of each dashboard that is shown, in a terminal beside a state file."""
    monkeypatch.chdir(tmp_path)
    State.open(str(tmp_path / ".sync-state.db"), NullReport()).close()
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stdin=terminal, stdout=terminal, stderr=terminal))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found: SHOWN = []

    def run(path: str, lives: object, watches: object, interval: float, theme: str) -> int:
        found.append((interval, theme))
        return 0

    monkeypatch.setattr("dunlin.tui.app.run", run)
    return found


def test_the_command_line_wins_over_variables_and_those_over_the_file(
    dunlin: Run, shown: SHOWN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dunlin("dashboard").exit_code == 0
    (tmp_path / "dunlin.yaml").write_text("dashboard:\n  refresh_interval: 7\n  theme: light\n")
    dunlin("dashboard")
    monkeypatch.setenv("DUNLIN_DASHBOARD_THEME", "dark")
    dunlin("dashboard")
    dunlin("dashboard", "--theme", "light", "--refresh-interval", "1")
    assert shown == [(2.0, "default"), (7.0, "light"), (7.0, "dark"), (1.0, "light")]


def test_an_empty_variable_stands_for_the_default(dunlin: Run, shown: SHOWN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNLIN_THEME", "")
    monkeypatch.setenv("DUNLIN_REFRESH_INTERVAL", "")
    assert dunlin("dashboard").exit_code == 0
    assert shown == [(2.0, "default")]


def test_a_file_that_a_run_is_about_to_fill_is_waited_for(dunlin: Run, shown: SHOWN, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert dunlin("dashboard", "--state-db", "empty.db").exit_code == 0
    assert (len(shown), (tmp_path / "empty.db").stat().st_size) == (1, 0)
    missing = dunlin("dashboard", "--state-db", "missing.db")
    assert (missing.exit_code, len(shown)) == (1, 1)
    assert "there is none" in missing.stderr


def test_without_colours_there_is_one_theme(dunlin: Run, shown: SHOWN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    dunlin("dashboard", "--theme", "light")
    assert shown == [(2.0, "default")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("refresh_interval: 0", "from 1 to 3,600"),
        ("theme: pink", "is none of default, dark, light"),
        ("themes: dark", "did you mean theme?"),
    ],
)
def test_a_bad_value_of_the_file_is_one_line(dunlin: Run, shown: SHOWN, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "dunlin.yaml").write_text(f"dashboard:\n  {line}\n")
    result = dunlin("dashboard")
    assert (result.exit_code, shown) == (1, [])
    [said] = result.stderr.splitlines()
    assert said.startswith("dunlin: cannot read the configuration dunlin.yaml: line 2: dashboard.")
    assert words in said


# ---- a service ----


@pytest.fixture
def service(shown: SHOWN, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stub, list[tuple[str, float, str]]]]:
    """A service that wants a key, and of each dashboard of it that is shown: address, interval, first note."""
    found: list[tuple[str, float, str]] = []

    def run(client: Client, interval: float, theme: str, note: str = "") -> int:
        found.append((client.url, interval, note))
        return 0

    monkeypatch.setattr("dunlin.tui.service.run", run)
    monkeypatch.delenv("DUNLIN_KEY", raising=False)
    with serving(Stub()) as stub:
        stub.key = KEY
        yield stub, found


def test_the_key_of_a_service_is_a_variable_or_a_file(
    dunlin: Run, service: tuple[Stub, list[tuple[str, float, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, found = service
    (tmp_path / "key.txt").write_text(f"{KEY}\n")
    assert dunlin("dashboard", "--url", stub.url, "--key", "@key.txt").exit_code == 0
    monkeypatch.setenv("DUNLIN_KEY", KEY)
    assert dunlin("dashboard", "--url", stub.url, "--refresh-interval", "5").exit_code == 0
    monkeypatch.setenv("DUNLIN_KEY", "@key.txt")
    assert dunlin("dashboard", "--url", stub.url).exit_code == 0
    assert found == [(stub.url, 2.0, ""), (stub.url, 5.0, ""), (stub.url, 2.0, "")]


def test_a_key_that_everybody_can_read_is_told(dunlin: Run, service: tuple[Stub, list[tuple[str, float, str]]]) -> None:
    stub, found = service
    assert dunlin("dashboard", "--url", stub.url, "--key", KEY).exit_code == 0
    assert "everybody can read the key" in found[0][2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "it asks for a key; set DUNLIN_KEY, or give --key @FILE"),
        (("--key", "dk_other"), "it does not know this key, or the key was revoked"),
        (("--key", "@missing.txt"), "missing.txt"),
        (("--state-db", "x.db"), "--state-db and --url are two things"),
    ],
)
def test_what_is_wrong_with_a_service_is_one_line_without_a_screen(
    words: tuple[str, ...], said: str, dunlin: Run, service: tuple[Stub, list[tuple[str, float, str]]]
) -> None:
    stub, found = service
    result = dunlin("dashboard", "--url", stub.url, *words)
    assert (result.exit_code, found) == (1, [])
    [line] = result.stderr.splitlines()
    assert said in line
    assert "dk_" not in line


def test_a_state_file_that_is_named_wins_over_the_variable_of_a_service(
    dunlin: Run, shown: SHOWN, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUNLIN_URL", "http://127.0.0.1:1")
    assert dunlin("dashboard", "--state-db", ".sync-state.db").exit_code == 0
    assert len(shown) == 1
    assert dunlin("dashboard").exit_code == 1
    monkeypatch.setenv("DUNLIN_URL", "")
    assert dunlin("dashboard").exit_code == 0
    alone = dunlin("dashboard", "--key", "@x")
    assert (alone.exit_code, "--key is for a service" in alone.stderr) == (1, True)
