"""Whose paths a job names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dunlin.jobs.options import Spread, SyncOptions
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.web.machine import Machine, machine
from tests.servers.postgres import Postgres
from tests.unit.web.served import settings

FAR = SyncOptions("s3://a", "az://b")


@pytest.mark.parametrize(
    ("options", "given", "label"),
    [
        (FAR, {}, ""),
        (SyncOptions("/a", "s3://b"), {}, "nas"),
        (SyncOptions("s3://a", "/b"), {}, "nas"),
        (SyncOptions("s3://a", "/shared/b"), {}, ""),
        (SyncOptions("s3://a", "/shared/../b"), {}, "nas"),
        (SyncOptions("s3://a", "/sharedby"), {}, "nas"),
        (FAR, {"files_from": "/list"}, "nas"),
        (FAR, {"exclude_from": ["/shared/one", "/other"]}, "nas"),
        (FAR, {"exclude_from": ["/shared/one"]}, ""),
        (FAR._replace(state_db="/state.db"), {"state_db": "/state.db"}, "nas"),
        (FAR._replace(state_db="/state.db"), {}, ""),
        (SyncOptions("/mounted/everywhere", "s3://b", spread=Spread("redis://q")), {}, ""),
        (SyncOptions("/a", "s3://b", spread=Spread("redis://q", host="nas", label="nas")), {}, "nas"),
    ],
)
def test_a_run(options: SyncOptions, given: Mapping[str, object], label: str) -> None:
    assert Machine("nas", ("/shared",)).of_run(options, given) == label


@pytest.mark.parametrize(
    ("paths", "label"),
    [(["/a"], "nas"), (["/shared", "/shared/b"], ""), (["/shared/a", "/b"], "nas"), (["/shared/../b"], "nas")],
)
def test_paths(paths: list[str], label: str) -> None:
    assert Machine("nas", ("/shared",)).of_paths(paths) == label
    assert Machine("", ("/shared",)).of_paths(paths) == ""


def test_a_ledger_in_a_file_is_one_machines(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    try:
        assert machine(settings(HOST_LABEL="nas"), ledger).label == ""
    finally:
        ledger.close()


def test_a_ledger_on_a_server_may_be_shared(postgres: Postgres) -> None:
    ledger = open_ledger(postgres.queue())
    try:
        assert machine(settings(HOST_LABEL="nas", SHARED_ROOT="/"), ledger) == Machine("nas", ("/",))
    finally:
        ledger.close()
