"""The environment: names of variables, the user's directories, what a terminal can do."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from dunlin import config


def test_every_option_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.variable_name("--block-size") == "DUNLIN_BLOCK_SIZE"
    assert config.variable_name("-D") == "DUNLIN_D"
    assert config.variable("--block-size") is None
    monkeypatch.setenv("DUNLIN_BLOCK_SIZE", "1M")
    assert config.variable("--block-size") == "1M"


def test_state_goes_to_the_state_home_or_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert config.user_state_dir() == str(tmp_path / "dunlin")
    monkeypatch.setenv("HOME", "/home/x")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert config.user_state_dir() == "/home/x/.local/state/dunlin"


def test_configuration_is_looked_for_in_the_config_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.user_config_dir() == str(tmp_path / "dunlin")
    monkeypatch.setenv("HOME", "/home/x")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert config.user_config_dir() == "/home/x/.config/dunlin"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", "C:/Users/x")
    assert config.user_config_dir() == os.path.join("C:/Users/x", "dunlin")


def test_locks_go_to_the_runtime_directory_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # a user without /run/user
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert config.runtime_dir() == str(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert config.runtime_dir() == tempfile.gettempdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert config.runtime_dir() == str(tmp_path)
    for ignored in ("", "relative/path", str(tmp_path / "missing")):
        monkeypatch.setenv("TMPDIR", ignored)
        monkeypatch.setattr(tempfile, "tempdir", "/asked")
        assert config.runtime_dir() == "/asked"


def test_a_job_without_the_variable_finds_the_locks_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 77)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/user/77")
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/run/user/77")
    assert config.runtime_dir() == "/run/user/77"


@pytest.mark.parametrize(("value", "wanted"), [(None, True), ("", True), ("1", False), ("0", False)])
def test_no_color(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    assert config.color() is wanted


@pytest.mark.parametrize(("term", "able"), [("xterm-256color", True), ("dumb", False), ("", False)])
def test_dumb_terminals_are_not_drawn_on(monkeypatch: pytest.MonkeyPatch, term: str, able: bool) -> None:
    monkeypatch.setenv("TERM", term)
    assert config.moves_cursor() is able


@pytest.mark.parametrize(
    ("given", "kept"), [(None, "/c/dunlin/repositories"), ("here", "here"), ("none", None), ("", None)]
)
def test_what_repositories_hold_stays_where_it_is_said_or_with_the_user(
    monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert config.repository_cache(given) == kept
