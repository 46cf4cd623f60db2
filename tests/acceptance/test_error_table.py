"""Spec A's table of errors row by row, and the sizes and numbers of its lists of tests.

| what goes wrong | what dunlin does |
|---|---|
| network time-out, reset | the request is made again with growing pauses; the file arrives |
| login refused | one line, exit 1, within seconds |
| container missing | one line, exit 1 |
| disk full | the run stops with 2, temporary files are removed, the next run goes on |
| permission denied while writing | 2 for the destination itself, 23 for a file in it |
| content that is not what the service states | three attempts, then failed (23), and no file |
| download interrupted | goes on at the first missing byte |
| state file locked | waited for, then one line |
| blob deleted meanwhile | a warning (24) |
| names that no file can have | escaped, in both directions |
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from tests.acceptance.clouds import Cloud, cloud, words
from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.test_log_lines import lying
from tests.acceptance.trees import Pair, temporaries
from tests.acceptance.trouble import ask, ended, tmpfs, until
from tests.servers.faults import Rules


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Cloud:
    """An empty container of Azurite."""
    return cloud(request, "az")


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def first_line(text: str) -> str:
    """The one line that says what is wrong, which comes last."""
    lines = [line for line in text.splitlines() if line.startswith("dunlin: ")]
    assert len(lines) == 1, text
    return lines[0]


# ---- the table ----


def test_requests_that_time_out_or_break_are_made_again(pair: Pair, bucket: Cloud) -> None:
    content = {f"f{n}": os.urandom(2_000) for n in range(12)}
    bucket.put(content)
    with bucket.through() as (there, proxy):
        proxy.next("reset", "lost", "busy", "truncated", "reset", kind="read")
        places, env = words(there, pair.target)
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
        assert proxy.count(kind="read") == len(content) + 5
    assert tree(pair.target) == content


def test_a_refused_login_is_one_line_within_seconds(pair: Pair, bucket: Cloud) -> None:
    wrong = base64.b64encode(b"x" * 64).decode()
    places, env = words(bucket, pair.target)
    env = {name: wrong if name.endswith("KEY") else value for name, value in env.items()}
    began = time.monotonic()
    done = dunlin("sync", *places, cwd=pair.cwd, env=env, expect=1)
    assert time.monotonic() - began < 10
    assert "failed to authenticate" in first_line(done.stderr)
    assert wrong not in done.stdout + done.stderr
    assert not pair.target.exists() or not os.listdir(pair.target)


def test_a_missing_container_is_one_line(pair: Pair, bucket: Cloud) -> None:
    flags = [*bucket.options(), "--container", "nobodys-container", "--output-path", pair.target]
    done = dunlin("sync", *flags, cwd=pair.cwd, env=bucket.env, expect=1)
    assert "nobodys-container" in first_line(done.stderr)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_nobody_at_the_endpoint_is_one_line_within_seconds(pair: Pair, bucket: Cloud, origin: str) -> None:
    places, env = words(bucket, pair.target)
    moved = [f"{origin}/x" if str(word).startswith("http") else word for word in places]
    began = time.monotonic()
    done = dunlin("sync", *moved, cwd=pair.cwd, env=env, expect=1)
    assert time.monotonic() - began < 8
    assert f"cannot reach {origin}" in first_line(done.stderr)


@pytest.mark.root
def test_a_full_disk_stops_the_run_and_leaves_nothing_half(pair: Pair, bucket: Cloud) -> None:
    content = {f"f{n:02}": os.urandom(300_000) for n in range(20)}
    bucket.put(content)
    places, env = words(bucket, pair.target)
    with tmpfs(pair.target, "size=3m") as there:
        done = dunlin("sync", "--log-format=json", *places, cwd=pair.cwd, env=env, expect=2)
        assert "Sync failed (error=" in done.stderr
        assert "No space left on device" in done.stderr or "are free" in done.stderr
        assert not temporaries(there)
        assert all(content[name] == data for name, data in tree(there).items())
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == content


@pytest.mark.root
def test_a_destination_that_may_not_be_written_stops_the_run(pair: Pair, bucket: Cloud) -> None:
    bucket.put({"a": b"1", "d/b": b"22"})
    places, env = words(bucket, pair.target)
    pair.target.mkdir(exist_ok=True)
    os.chown(pair.target, 1234, 1234)  # to a directory of its own a user lends the bit
    done = dunlin("sync", *places, cwd=pair.cwd, env=env, prefix=UNPRIVILEGED, expect=2)
    assert "ermission denied" in first_line(done.stderr)
    os.chown(pair.target, 0, 0)
    (pair.target / "d").mkdir()
    os.chown(pair.target / "d", 1234, 1234)
    dunlin("sync", *places, cwd=pair.cwd, env=env, prefix=UNPRIVILEGED, expect=23)
    assert tree(pair.target) == {"a": b"1"}
    [(path, kind)] = ask(pair, "SELECT blob_name, error_type FROM error_log WHERE resolved = 0 AND blob_name <> ''")
    assert (path.rpartition("/")[2], kind) == ("b", "auth")


def test_corrupted_content_is_tried_three_times_and_never_kept(
    pair: Pair, bucket: Cloud, request: pytest.FixtureRequest
) -> None:
    liar = lying(request)
    with liar.through() as (there, proxy):
        places, env = words(there, pair.target)
        done = dunlin("sync", *places, cwd=pair.cwd, env=env, expect=23)
        assert len([each for each in proxy.seen(kind="read") if each.target.endswith("/wrong")]) == 3
        assert "attempt=2/3" in done.stderr
        assert tree(pair.target) == {"right": b"1"}
        assert not temporaries(pair.target)
        kinds = ask(pair, "SELECT error_type, retry_count FROM error_log WHERE error_message LIKE '%MD5%'")
        assert ("checksum", 3) in kinds
        dunlin("sync", "--no-verify-checksums", *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == {"right": b"1", "wrong": b"22"}


def test_an_interrupted_download_goes_on_at_the_missing_byte(pair: Pair, bucket: Cloud) -> None:
    content = os.urandom(6 << 20)
    bucket.put({"large": content})
    with bucket.through() as (there, proxy):
        proxy.next("truncated", kind="read")
        places, env = words(there, pair.target)
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
        read = proxy.seen(kind="read")
        assert sum(each.answered_bytes for each in read) < len(content) + (64 << 10)
    assert tree(pair.target) == {"large": content}


def test_a_locked_state_is_waited_for(pair: Pair, bucket: Cloud) -> None:
    bucket.put({"a": b"1"})
    places, env = words(bucket, pair.target)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    bucket.put({"b": b"22"})
    with contextlib.closing(sqlite3.connect(pair.cwd / ".sync-state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = start("sync", *places, cwd=pair.cwd, env=env)
        with pytest.raises(AssertionError, match="did not come true"):
            until((pair.target / "b").exists, process, 2)
        other.execute("ROLLBACK")
        code, told = ended(process, 40)
    assert code == 0, told
    assert tree(pair.target) == {"a": b"1", "b": b"22"}


def test_a_blob_deleted_meanwhile_is_a_warning(pair: Pair, bucket: Cloud) -> None:
    content = {f"f{n}": b"x" * 100 for n in range(12)}
    bucket.put(content)
    with bucket.through(Rules(latency_s=0.5, kinds=frozenset({"read"}))) as (there, proxy):
        places, env = words(there, pair.target)
        process = start("sync", "--workers", "1", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(kind="list") >= 1 and (pair.target / "f0").exists(), process, 30)
        bucket.delete("f9")
        code, told = ended(process, 60)
    assert code == 24, told
    assert sorted(tree(pair.target)) == sorted(set(content) - {"f9"})


def test_names_that_no_file_can_have_are_escaped_both_ways(
    pair: Pair, bucket: Cloud, request: pytest.FixtureRequest
) -> None:
    odd = {"a//b": b"1", "../outside": b"2", "./here": b"3", "/lead": b"4", "trail/": b"5", "line\nbreak": b"6"}
    bucket.put(odd)
    places, env = words(bucket, pair.target)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    assert sorted(tree(pair.target).values()) == sorted(odd.values())
    assert not (pair.target.parent / "outside").exists()
    back = cloud(request, "az")
    places, env = words(pair.target, back)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    assert back.content() == odd


# ---- sizes and numbers ----


@pytest.mark.parametrize("size", [0, 1, 1 << 10, (1 << 20) - 1, 5 << 20, (8 << 20) + 1, 40 << 20])
def test_sizes(pair: Pair, bucket: Cloud, size: int) -> None:
    content = os.urandom(size)
    (pair.source / "f").write_bytes(content)
    places, env = words(pair.source, bucket)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    places, env = words(bucket, pair.target)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == {"f": content}


@pytest.mark.slow
def test_a_gibibyte(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "fast")
    digest, block = hashlib.blake2b(), os.urandom(1 << 20)
    with open(pair.source / "large", "wb") as file:
        for n in range(1024):
            piece = n.to_bytes(4, "big") + block[4:]
            file.write(piece)
            digest.update(piece)
    for source, target in ((pair.source, bucket), (bucket, pair.target)):
        places, env = words(source, target)
        dunlin("sync", *places, cwd=pair.cwd, env=env, timeout=120, expect=0)
    with open(pair.target / "large", "rb") as file:
        assert hashlib.file_digest(file, hashlib.blake2b).digest() == digest.digest()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "24", "200"])
def test_any_number_of_workers(pair: Pair, request: pytest.FixtureRequest, workers: str) -> None:
    bucket = cloud(request, "fast")
    content = {f"d{n % 9}/f{n:04}": b"%d" % n * 50 for n in range(600)}
    for name, data in content.items():
        path = pair.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    for source, target in ((pair.source, bucket), (bucket, pair.target)):
        places, env = words(source, target)
        done = dunlin("sync", "--workers", workers, *places, cwd=pair.cwd, env=env, timeout=120, expect=0)
        assert ("HTTP 429" in done.stderr) == (int(workers) > 24)
    assert tree(pair.target) == content
