"""Secrets on the command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dunlin.cli.exposed import has_password, note_of, places_with_passwords, typed
from dunlin.cli.serve import command as serve
from dunlin.cli.worker import command as worker

SECRET = "postgresql://me:Sesame@db/x"


@pytest.mark.parametrize(
    ("url", "has"),
    [
        (SECRET, True), ("redis://:Sesame@db:6379/0", True), ("postgresql://db/x?password=Sesame", True),
        ("postgresql://me@db/x", False), ("redis://db", False), ("/a:b@c/queue.db", False), ("", False),
        ("redis://[:Sesame@db", True),
    ],
)  # fmt: skip
def test_what_has_a_password(url: str, has: bool) -> None:
    assert has_password(url) is has


def parsed(command: click.Command, *arguments: str) -> click.Context:
    return command.make_context(command.name, list(arguments))


def test_only_what_is_typed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places_with_passwords(parsed(serve, "--queue", SECRET, "--ledger", SECRET)) == ["--queue", "--ledger"]
    assert places_with_passwords(parsed(worker, "--queue", SECRET)) == ["--queue"]
    assert places_with_passwords(parsed(serve, "--queue", "@/etc/queue")) == []
    monkeypatch.setenv("DUNLIN_QUEUE_URL", SECRET)
    assert places_with_passwords(parsed(serve)) == places_with_passwords(parsed(worker)) == []
    [note] = note_of(["--queue"])
    assert "list of processes; use DUNLIN_QUEUE, @FILE" in note
    assert note_of([]) == ()


def test_a_place_in_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue").write_text(f"{SECRET}\n")
    monkeypatch.setenv("DUNLIN_LEDGER", "@elsewhere")
    found = typed(parsed(serve, "--queue", f"@{tmp_path / 'queue'}"), "http_addr", "queue", "ledger")
    assert found == {"queue": SECRET}
