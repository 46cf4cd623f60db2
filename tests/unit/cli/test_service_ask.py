"""From the words of a job of the service to options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.cli.service_ask import REFUSED, ask
from dunlin.config.file import load
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError
from dunlin.pace.climb import MOST

PLACES = {"source": "/a", "destination": "/b"}
MACHINES = ("host_label", "work", "movers", "threads", "max_memory_mb", "max_active_files", "auto_throttle", "devices")
"""A few of the options that are for who runs the service."""


def settings(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "dunlin.yaml"
    file.write_text(text)
    return Settings(load(str(file)))


def test_the_words_are_those_of_a_file() -> None:
    found = ask(
        "sync",
        {**PLACES, "archive": True, "exclude": ["*.tmp", "*.bak"], "bandwidth_limit": "5M", "workers": 3,
         "delete_extras": True, "dry_run": True},
        Settings(environ={}),
    )  # fmt: skip
    assert (found.mode, found.policy.delete, found.policy.links, found.crew.workers) == ("plan", True, True, 3)
    assert [rule.pattern for rule in found.selection.rules] == ["*.tmp", "*.bak"]
    assert found.bandwidth is not None
    assert (found.crew.start, found.make_parents, found.spread) == ("spawn", True, None)


def test_the_file_lies_below_and_locations_have_their_logins(tmp_path: Path) -> None:
    below = settings(
        tmp_path,
        "sync: {compare: size, max_depth: 3}\n"
        "locations: {off: {url: 's3://bucket', access_key_id: id, secret_access_key: secret}}",
    )
    found = ask("sync", {"source": "/a", "destination": "loc://off/x", "max_depth": 5}, below)
    assert (found.policy.compare, found.selection.max_depth, found.destination) == ("size", 5, "s3://bucket/x")
    assert found.login_target["secret_access_key"] == "secret"


def test_what_a_job_says_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNLIN_WORKERS", "9")
    monkeypatch.setenv("DUNLIN_PERFORMANCE_BANDWIDTH_LIMIT", "1M")
    assert ask("sync", PLACES, Settings()).crew.workers == 9
    found = ask("sync", {**PLACES, "workers": 2, "bwlimit": "7"}, Settings())
    assert found.crew.workers == 2
    assert found.bandwidth is not None
    assert found.bandwidth.entries == ((0, 7),)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "source is missing"),
        ({"source": "/a"}, "destination is missing"),
        ({**PLACES, "wokers": 3}, "wokers: there is no such option"),
        ({**PLACES, "workers": "many"}, "workers: it must be a whole number"),
        ({**PLACES, "archive": 1}, "archive: it must be true or false"),
        ({**PLACES, "exclude": [1]}, "exclude: 1 is no text"),
        ({**PLACES, "account_key": "x"}, "does not take it"),
        ({**PLACES, "dest_s3_endpoint": "x"}, "does not take it"),
        ({**PLACES, "watch": True}, "does not take it"),
        ({**PLACES, "profile": "/x"}, "does not take it"),
        ({**PLACES, "container": ["c"]}, "does not take it"),
        *(({**PLACES, name: 1}, f"{name}: a job of the service does not take it") for name in MACHINES),
        ({**PLACES, "shared_root": ["/"]}, "does not take it"),
        ({**PLACES, "bwlimit": "1M", "bandwidth_limit": "2M"}, "say the same thing"),
        ({"source": "/a", "destination": "/a"}, "are the same"),
        ({"source": 1, "destination": "/a"}, "source: it must be a path or a URL"),
        ({"source": "/a\0", "destination": "/b"}, "NUL"),
        ({"source": "/a", "destination": "loc://none/x"}, "there is no location none"),
        ({"source": "/a", "destination": "https://x.blob.core.windows.net/c?sig=abc"}, "a secret behind it"),
        ({"source": "/a", "destination": "ftp://x"}, "is not a place that this version can open"),
        ({**PLACES, "delete_excluded": True}, "--delete-excluded deletes nothing by itself"),
        ({**PLACES, "block_size": "1"}, "less than 4096"),
    ],
)
def test_what_does_not_fit_is_told(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DunlinError) as found:
        ask("sync", options, Settings(environ={}))
    assert reason in str(found.value)
    assert "abc" not in str(found.value)


def test_a_job_takes_no_more_workers_than_the_service_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNLIN_WORKERS", "9")
    assert ask("sync", {**PLACES, "workers": 9}, Settings()).crew.workers == 9
    for more in (10, 0):
        with pytest.raises(DunlinError, match="workers: at most 9"):
            ask("sync", {**PLACES, "workers": more}, Settings())
    monkeypatch.setenv("DUNLIN_WORKERS", "0")
    assert ask("sync", {**PLACES, "workers": 40}, Settings()).crew.workers == 40
    with pytest.raises(DunlinError, match=f"workers: at most {MOST}, unless"):
        ask("sync", {**PLACES, "workers": MOST + 1}, Settings())
    monkeypatch.setenv("DUNLIN_WORKERS", "1000")
    assert ask("sync", {**PLACES, "workers": 1000}, Settings()).crew.workers == 1000


def test_no_job_makes_device_files() -> None:
    found = ask("sync", {**PLACES, "archive": True}, Settings(environ={}))
    assert (found.policy.specials, found.policy.devices) == (True, False)


def test_a_check_takes_fewer() -> None:
    assert ask("check", PLACES, Settings(environ={})).mode == "check"
    with pytest.raises(DunlinError, match="no such option of a check"):
        ask("check", {**PLACES, "in_place": True}, Settings(environ={}))


def test_a_queue_spreads_a_sync_and_no_check() -> None:
    found = ask("sync", PLACES, Settings(environ={}), "postgresql://db/dunlin")
    assert found.spread is not None
    assert found.spread.queue == "postgresql://db/dunlin"
    assert ask("check", PLACES, Settings(environ={}), "postgresql://db/dunlin").spread is None
    assert ask("sync", {**PLACES, "dry_run": True}, Settings(environ={}), "postgresql://db/dunlin").spread is None


def test_a_sync_knows_whose_destination_it_writes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNLIN_HOST_LABEL", "one")
    below = Settings(environ={})
    assert [ask("sync", PLACES, below, queue).home for queue in ("", "postgresql://db/dunlin")] == ["one", "one"]
    assert ask("sync", {**PLACES, "destination": "s3://bucket/x"}, below).home == ""


def test_no_login_is_an_option_of_a_job() -> None:
    assert {"account_key", "source_account_key", "s3_secret_access_key", "gcs_service_account"} <= REFUSED
