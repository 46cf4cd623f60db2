"""State files of every schema ever released can be opened, and hold what they held."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from dunlin.errors import ErrorKind
from dunlin.report import NullReport
from dunlin.state import CrawlMetric, Extra, LinkGroup, State, store
from dunlin.state.overview import Overview

HERE = Path(__file__).parent
SAMPLES = {
    "schema-1.db.gz": "fc470b5316d40b2e922a7f9adfaa06746fdbfd3604016c78d0561d4bb29ea37f",
    "schema-2.db.gz": "082464a43cdf3838727ca7d3ed774da223bb9305ed5c73df4ddefeab4a4ec02a",
    "schema-3.db.gz": "0bf9916945f57b75581678601c48d2d2e8458aaf3e9cefd232c2ca21d1816256",
}


def test_there_is_a_sample_of_every_schema() -> None:
    assert sorted(SAMPLES) == [f"schema-{n}.db.gz" for n in range(1, store.SCHEMA.version + 1)]
    assert sorted(path.name for path in HERE.glob("*.gz")) == sorted(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((HERE / name).read_bytes()).hexdigest() == SAMPLES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_opens_and_a_run_can_continue_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(gzip.decompress((HERE / name).read_bytes()))
    state = State.open(str(path), NullReport())
    assert state.database.value("PRAGMA integrity_check") == "ok"
    assert state.database.value("PRAGMA user_version") == store.SCHEMA.version

    pair = state.pair("file:///home/me/photos", "file:///mnt/nas/photos", "all")
    assert (pair.changed, pair.root, pair.known_files) == (False, "8:1", 2)
    known = state.digests(pair.id, ["", "2023", "caf\udce9", "2024"])
    assert known[""].digest == b"digest"
    assert len(known) == 4
    photo = next(state.known_rows(known[""].id))
    assert (photo.name, photo.size, photo.hash_algorithm, photo.hash) == ("a.jpg", 3, "blake3", b"\x01" * 32)

    left = state.unfinished(pair.id)
    assert left is not None
    assert (left.queued, left.scanned, left.pending_files, left.pending_bytes) == (1, 1, 1, 7)
    run = state.begin_run(pair, {}, "boot-1", 1, continues=left.run)
    assert [pending.name for pending in state.pending(run.id)] == ["b\udcff.jpg"]
    assert [queued.path for queued in state.next_directories(run.id, 9)] == ["2024"]
    assert state.extras(pair.id) == [Extra("old/x", False, False), Extra("old", True, True)]
    assert list(state.link_groups(pair.id)) == [LinkGroup(1, 2, "one", True, ["two"])]

    (status,) = state.status(pair.id)
    assert [r.status for r in status.runs] == ["running", "interrupted", "completed"]
    assert [(f.path, f.kind) for f in status.failed] == [("2023/locked", ErrorKind.DENIED)]
    assert state.database.value("SELECT count(*) FROM file_path") == 3
    assert [metric.metric.workers for metric in state.metrics(left.run)] == [2]
    crawls = [(stored.crawl.active, stored.crawl.engaged) for stored in state.crawls(left.run)]
    assert crawls == ([] if name == "schema-1.db.gz" else [(4, "memory")])
    told = (state.run(left.run).life.limit, state.metrics(left.run)[0].metric.cause)
    more = [event.number for event in state.events() if event.level == 20]
    new = name not in ("schema-1.db.gz", "schema-2.db.gz")
    assert (*told, more) == ((9, "memory", [7]) if new else (0, "", []))
    with Overview.open(str(path), lives=lambda run: True) as view:
        assert view.ever().runs == (4 if new else 3)
        assert view.now() is not None
    state.put_crawl(left.run, CrawlMetric(active=5))
    assert state.database.value("SELECT max(active_dirs) FROM crawl_metrics") == 5
    state.close()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_migrated_file_has_all_that_a_new_one_has(tmp_path: Path, name: str) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(gzip.decompress((HERE / name).read_bytes()))
    columns = (
        "SELECT s.type, s.name, c.name, c.type FROM sqlite_schema AS s LEFT JOIN pragma_table_info(s.name) AS c "
        "ORDER BY s.type, s.name, c.cid"
    )
    found = []
    for path in (old, tmp_path / "new.db"):
        state = State.open(str(path), NullReport())
        found.append(state.database.query(columns))
        state.close()
    assert found[0] == found[1]
