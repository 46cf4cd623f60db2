"""`dunlin sync` and `check` with object stores, once they have been synced: what is seen as changed, and at what cost.

Requests are counted by a proxy between the program and the server.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clouds import KINDS, Cloud, cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair
from tests.servers.faults import Proxy

OLD = 1_600_000_000_123_456_789


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def sync(
    pair: Pair, source: Any, target: Any, *options: str, expect: int | None = 0, verb: str = "sync"
) -> dict[str, Any]:
    """The counts of a run."""
    places, env = words(source, target)
    done = dunlin(verb, "--json", *options, *places, cwd=pair.cwd, env=env, expect=expect, timeout=120)
    counts: dict[str, Any] = json.loads(done.stdout)["stats"]
    return counts


def kinds(proxy: Proxy) -> Counter[str]:
    """How many requests of each kind there were since the last time."""
    found = Counter(request.kind for request in proxy.seen())
    proxy.forget()
    return found


def put(root: Path, content: dict[str, bytes], stamp: int = OLD) -> None:
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(stamp, stamp))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# ---- what a second run costs ----


def test_a_run_with_nothing_to_do_lists_pages_and_nothing_else(
    pair: Pair, request: pytest.FixtureRequest
) -> None:
    bucket = cloud(request, "fast")
    many = {f"d{n // 30:03}/f{n:04}": b"%d" % n for n in range(3_000)}
    put(pair.source, many)
    with bucket.through() as (there, proxy):
        up = sync(pair, pair.source, there)
        assert up["copied_files"] == 3_000
        kinds(proxy)
        assert sync(pair, pair.source, there)["copied_files"] == 0
        seen = kinds(proxy)
        assert set(seen) == {"list"}
        assert seen["list"] <= 10
        down = sync(pair, there, pair.target)
        assert down["copied_files"] == 3_000
        assert kinds(proxy)["read"] == 3_000
        again = sync(pair, there, pair.target)
        assert (again["copied_files"], again["equal_files"]) == (0, 3_000)
        seen = kinds(proxy)
        assert set(seen) == {"list"}
        assert seen["list"] <= 10
    assert tree(pair.target) == many


@pytest.mark.parametrize("kind", KINDS)
def test_no_object_is_asked_about_by_itself(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {f"d{n}/f": b"x" * n for n in range(20)})
    with bucket.through() as (there, proxy):
        sync(pair, pair.source, there, "-a")
        sync(pair, there, pair.target, "-a")
        kinds(proxy)
        assert sync(pair, pair.source, there, "-a")["equal_files"] == 20
        assert sync(pair, there, pair.target, "-a")["equal_files"] == 20
        assert sync(pair, there, pair.target, "-a", verb="check")["equal_files"] == 20
        assert sync(pair, pair.source, there, "-a", verb="check")["equal_files"] == 20
        assert sync(pair, there, pair.target, "-n", "-a")["pending_files"] == 0
        assert set(kinds(proxy)) <= {"list", "other"}


def test_what_the_filters_keep_out_is_not_listed(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    bucket.put({"wanted/a": b"1", "wanted/deep/b": b"2", "huge/c": b"3", "huge/deep/d": b"4"})
    with bucket.through() as (there, proxy):
        sync(pair, there, pair.target, "--exclude", "/huge/")
        assert tree(pair.target) == {"wanted/a": b"1", "wanted/deep/b": b"2"}
        lists = [seen.target for seen in proxy.seen(kind="list")]
        assert not [target for target in lists if "prefix=huge" in target]
        assert [target for target in lists if "prefix=wanted" in target]
        proxy.forget()
        sync(pair, there, pair.root / "flat", "--max-depth", "1", expect=0)
        assert not [seen for seen in proxy.seen(kind="list") if "prefix=huge" in seen.target]
    assert tree(pair.root / "flat") == {}


# ---- what is seen as changed ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_that_kept_size_and_time_is_seen_by_its_etag(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    metadata = {"mtime": "1600000000.123456789"}
    bucket.put({"a": b"old", "b": b"stays"}, metadata)
    sync(pair, bucket, pair.target)
    bucket.put({"a": b"new"}, metadata)
    plan = sync(pair, bucket, pair.target, "-n")
    assert (plan["differing_files"], plan["equal_files"]) == (1, 1)
    assert sync(pair, bucket, pair.target, verb="check", expect=3)["differing_files"] == 1
    assert sync(pair, bucket, pair.target)["copied_files"] == 1
    assert tree(pair.target) == {"a": b"new", "b": b"stays"}
    assert (pair.target / "a").stat().st_mtime_ns == OLD
    assert sync(pair, bucket, pair.target)["copied_files"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compare", ["size", "checksum"])
def test_an_unknown_time_is_never_set(
    pair: Pair, request: pytest.FixtureRequest, kind: str, compare: str
) -> None:
    bucket, copy = cloud(request, kind), cloud(request, kind)
    metadata = {"mtime": "1600000000.123456789", "mode": "100644", "uid": "0", "gid": "0"}
    bucket.put({"a": b"same", "b": b"same"}, metadata)
    sync(pair, bucket, pair.target, "-a")
    sync(pair, bucket, copy, "-a")
    # Other versions with other metadata: only the service knows their times.
    bucket.put({"a": b"same"}, {**metadata, "mode": "100600"})
    bucket.put({"b": b"same"}, {**metadata, "mtime": "1500000000.000000001"})
    for _ in range(2):
        sync(pair, bucket, pair.target, "-a", "--compare", compare)
        sync(pair, bucket, copy, "-a", "--compare", compare)
    times = {name: (pair.target / name).stat().st_mtime_ns for name in "ab"}
    assert times["a"] == OLD
    assert times["b"] in (OLD, 1_500_000_000_000_000_001)
    kept = {key: (found.metadata or {})["mtime"] for key, found in copy.objects().items()}
    assert kept["a"] == metadata["mtime"]
    assert kept["b"] in (metadata["mtime"], "1500000000.000000001")
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as state:
        (latest,) = state.execute("SELECT max(mtime) FROM file").fetchone()
    assert latest < 2_000_000_000 * 10**9


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_object_at_the_destination_is_replaced(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"a": b"right", "b": b"right too"})
    sync(pair, pair.source, bucket)
    bucket.put({"a": b"wrong and longer"}, {"mtime": "1600000000.123456789"})
    assert sync(pair, pair.source, bucket, verb="check", expect=3)["differing_files"] == 1
    assert sync(pair, pair.source, bucket)["copied_files"] == 1
    assert bucket.content() == {"a": b"right", "b": b"right too"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metadata", [{}, {"mtime": "1600000000.123456789", "mode": "100644", "uid": "0", "gid": "0"}])
def test_an_object_at_the_destination_overwritten_with_the_same_size_is_replaced(
    pair: Pair, request: pytest.FixtureRequest, kind: str, metadata: dict[str, str]
) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"f": b"AAAA", "g": b"stays"})
    sync(pair, pair.source, bucket, "-a")
    bucket.put({"f": b"BBBB"}, metadata)
    assert sync(pair, pair.source, bucket, "-a", verb="check", expect=3)["differing_files"] == 1
    assert sync(pair, pair.source, bucket, "-a", "--update")["copied_files"] == 0
    found = sync(pair, pair.source, bucket, "-a")
    assert (found["copied_files"], found["equal_files"]) == (1, 1)
    assert bucket.content() == {"f": b"AAAA", "g": b"stays"}
    assert sync(pair, pair.source, bucket, "-a", verb="check")["equal_files"] == 2
    assert sync(pair, pair.source, bucket, "-a")["copied_files"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_dunlin_itself_sets_or_has_verified_is_no_change(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"a": b"a", "b": b"b"})
    sync(pair, pair.source, bucket, "-a")
    (pair.source / "a").chmod(0o600)
    assert sync(pair, pair.source, bucket, "-a", "--compare", "checksum")["metadata_entries"] == 1
    bucket.put({"b": b"b"}, {"mtime": "1600000000.123456789", "mode": "100644", "uid": "0", "gid": "0"})
    assert sync(pair, pair.source, bucket, "-a", "--compare", "checksum")["verified_files"] == 2
    assert sync(pair, pair.source, bucket, "-a", verb="check")["equal_files"] == 2
    assert sync(pair, pair.source, bucket, "-a")["copied_files"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_check_reads_both_sides_when_asked(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"a": b"same", "d/b": b"other"})
    sync(pair, pair.source, bucket)
    assert sync(pair, bucket, pair.source, "--compare", "checksum", verb="check")["verified_files"] == 2
    put(pair.source, {"d/b": b"OTHER"})
    found = sync(pair, pair.source, bucket, "--compare", "checksum", verb="check", expect=3)
    assert (found["verified_files"], found["differing_files"]) == (1, 1)
    assert sync(pair, pair.source, bucket, "--compare", "checksum")["copied_files"] == 1
    assert bucket.content() == {"a": b"same", "d/b": b"OTHER"}


# ---- names that look like dunlin's own ----

LIKE_OURS = {
    ".dunlin-0123abcd-1.tmp": b"1",
    "d/.dunlin-0123abcd00-2z.tmp": b"22",
    "d/.dunlin-0123456789abcdef-0.part": b"333",
    ".dunlin-notes.txt": b"4444",
    ".dunlin-0123abcd-2.tmp/in": b"5",
    "plain": b"6",
}


@pytest.mark.parametrize("kind", KINDS)
def test_objects_with_names_of_temporary_files_are_copied(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    source, middle, target = (cloud(request, kind) for _ in range(3))
    content = {key: data for key, data in LIKE_OURS.items() if not key.endswith("/in")}
    source.put(content)
    assert sync(pair, source, pair.target)["copied_files"] == 5
    assert sync(pair, source, pair.target)["equal_files"] == 5
    assert sorted(tree(pair.target).values()) == sorted(content.values())
    assert not list(pair.target.rglob(".dunlin-*.tmp")) + list(pair.target.rglob(".dunlin-*.part"))
    assert sync(pair, pair.target, middle)["copied_files"] == 5
    assert middle.content() == content
    source.put(LIKE_OURS)
    assert sync(pair, source, target)["copied_files"] == 6
    assert target.content() == LIKE_OURS
    source.delete(*(key for key in LIKE_OURS if key != "plain"))
    assert sync(pair, source, target, "--delete-extras")["deleted_files"] == 5
    assert target.content() == {"plain": b"6"}


# ---- a list of paths ----


def test_a_list_of_paths_costs_no_request_for_each(
    pair: Pair, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket = cloud(request, "fast")
    bucket.put({"d/there": b"1", "d/e/there": b"2", "file": b"3", "left/out": b"4"})
    wanted = ["d/there", "d/e/there", "file", "file/below", "d"]
    lacking = [f"d/n{n}" for n in range(20)] + [f"e{n}/f/g" for n in range(20)] + [f"top{n}" for n in range(20)]
    (tmp_path / "list").write_text("\n".join(wanted + lacking))
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        for _ in range(2):
            proxy.forget()
            options = ("--json", "--files-from", tmp_path / "list")
            done = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=23)
            seen = kinds(proxy)
            assert seen.total() - seen["read"] <= 8, seen
            assert json.loads(done.stdout)["stats"]["failed_files"] == 61
            assert [path for path in [*lacking, "file/below"] if f"{path}: " not in done.stderr] == []
    assert tree(pair.target) == {"d/there": b"1", "d/e/there": b"2", "file": b"3"}


# ---- what is left alone ----


@pytest.mark.parametrize("kind", KINDS)
def test_update_and_skip_existing(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    bucket.put({"edited": b"1", "old": b"2", "new": b"3"})
    put(pair.target, {"edited": b"by hand"}, stamp=4_000_000_000_000_000_000)
    put(pair.target, {"old": b"stale one"})
    assert sync(pair, bucket, pair.target, "--skip-existing")["copied_files"] == 1
    assert tree(pair.target) == {"edited": b"by hand", "old": b"stale one", "new": b"3"}
    assert sync(pair, bucket, pair.target, "--update")["copied_files"] == 1
    assert tree(pair.target) == {"edited": b"by hand", "old": b"2", "new": b"3"}
    put(pair.source, {"edited": b"stale", "fresh": b"4"}, stamp=1_000_000_000_000_000_000)
    assert sync(pair, pair.source, bucket, "--update")["copied_files"] == 1
    assert bucket.content() == {"edited": b"1", "old": b"2", "new": b"3", "fresh": b"4"}


def test_trust_state_does_not_look_at_the_destination(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    put(pair.source, {"a": b"1", "d/b": b"2"})
    with bucket.through() as (there, proxy):
        sync(pair, pair.source, there)
        kinds(proxy)
        assert sync(pair, pair.source, there, "--trust-state")["equal_files"] == 2
        assert kinds(proxy)["list"] <= 2  # whether the bucket is there, and whether it is empty
        put(pair.source, {"d/b": b"3"}, stamp=OLD + 10**9)
        assert sync(pair, pair.source, there, "--trust-state")["copied_files"] == 1
    assert bucket.content() == {"a": b"1", "d/b": b"3"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_objects_cannot_hold_is_said_once(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"a": b"1", "d/b": b"2"})
    (pair.source / "link").symlink_to("a")
    (pair.source / "empty").mkdir()
    os.link(pair.source / "a", pair.source / "twin")
    os.mkfifo(pair.source / "fifo")
    places, env = words(pair.source, bucket)
    options = ("-aHX", "--inplace", "--sparse", "--fsync", "file")
    done = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=0)
    assert "1 symbolic link was skipped; the destination holds none" in done.stdout
    assert "fifo" in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("extended attributes are not kept") == 1
    assert bucket.content() == {"a": b"1", "d/b": b"2", "twin": b"1"}
    again = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=0)
    assert "3 in sync, nothing to do" in again.stdout
    dunlin("check", "-aH", *places, cwd=pair.cwd, env=env, expect=0)


def test_a_backup_directory_is_refused_in_one_line(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    places, env = words(pair.source, bucket)
    done = dunlin("sync", "--backup-dir", "old", *places, cwd=pair.cwd, env=env, expect=1)
    assert "--backup-dir works with local destinations only" in done.stderr
    put(pair.target, {"a": b"mine"})
    bucket.put({"a": b"theirs"})
    sync(pair, bucket, pair.target, "--backup-dir", "old")
    assert tree(pair.target) == {"a": b"theirs", "old/a": b"mine"}


# ---- the state ----


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_tells_what_was_synced(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket: Cloud = cloud(request, kind)
    bucket.put({"a": b"1", "d/b": b"22"})
    sync(pair, bucket, pair.target)
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as state:
        rows = state.execute("SELECT blob_path, size_bytes, etag FROM blob_state ORDER BY 1").fetchall()
        runs = state.execute("SELECT * FROM sync_runs").fetchall()
    etags = {key: found.etag for key, found in bucket.objects().items()}
    assert rows == [("a", 1, etags["a"]), ("d/b", 2, etags["d/b"])]
    assert len(runs) == 1
    _, env = words(bucket, pair.target)
    told = dunlin("status", cwd=pair.cwd, env=env, expect=0).stdout
    assert bucket.url.partition("://")[2] in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_the_mode_alone_is_set(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    put(pair.source, {"a": b"a", "b": b"b"})
    for name in ("a", "b"):
        (pair.source / name).chmod(0o644)
    sync(pair, pair.source, bucket, "-a")
    # Each second change is only seen if the first left the right version and mode on record, of both files.
    for name, mode in (("a", 0o600), ("b", 0o640), ("a", 0o444)):
        (pair.source / name).chmod(mode)
        assert sync(pair, pair.source, bucket, "-a", verb="check", expect=3)["differing_files"] == 1
        counts = sync(pair, pair.source, bucket, "-a")
        assert (counts["metadata_entries"], counts["copied_files"]) == (1, 0)
        assert (bucket.objects()[name].metadata or {})["mode"] == f"{0o100000 | mode:o}"
        assert sync(pair, pair.source, bucket, "-a")["metadata_entries"] == 0
