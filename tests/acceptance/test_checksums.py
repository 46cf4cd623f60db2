"""What the state file holds: hashes of every algorithm, every field per file, and what `dunlin status` says of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums
from blake3 import blake3
from xxhash import xxh3_128_digest

from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.trees import being_written, make
from tests.acceptance.trouble import until

root = pytest.mark.root

REFERENCE: dict[str, Callable[[bytes], bytes]] = {
    "md5": lambda data: hashlib.md5(data).digest(),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "blake2b": lambda data: hashlib.blake2b(data).digest(),
    "blake3": lambda data: blake3(data).digest(),
    "xxh3": xxh3_128_digest,
    "crc64": lambda data: checksums.crc64nvme(data).to_bytes(8, "big"),
}


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    """Every way a file takes: nothing, one read, several reads, the pipeline; and the sizes around their borders."""
    return {
        "empty": b"",
        "small": b"small",
        "medium": os.urandom(300 << 10),
        "large": os.urandom(20 << 20),
        "buffer": os.urandom(256 << 10),
        "below": os.urandom((256 << 10) - 1),
        "stream": os.urandom((8 << 20) + 1),
    }


def rows(cwd: Path, what: str = "path, hash_algorithm, hash", order: str = "path") -> list[Any]:
    """Rows of the view for people, read with another SQLite than dunlin's own."""
    database = sqlite3.connect(cwd / ".sync-state.db")
    try:
        return database.execute(f"SELECT {what} FROM file_path ORDER BY {order}").fetchall()
    finally:
        database.close()


def sync(cwd: Path, *more: str | Path, expect: int = 0, **options: Any) -> dict[str, Any]:
    done = dunlin("sync", "--json", *more, cwd / "source", cwd / "destination", cwd=cwd, expect=expect, **options)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("algorithm", REFERENCE)
def test_the_hash_on_record_is_the_hash(tmp_path: Path, content: dict[str, bytes], algorithm: str) -> None:
    make(tmp_path / "source", content)
    sync(tmp_path, "--checksum", algorithm)
    expected = [(name, algorithm, REFERENCE[algorithm](data).hex()) for name, data in sorted(content.items())]
    assert rows(tmp_path) == expected
    # A second run that reads both sides keeps them, and so does one that finds nothing to do.
    sync(tmp_path, "--checksum", algorithm, "--compare=checksum")
    sync(tmp_path, "--checksum", algorithm)
    assert rows(tmp_path) == expected


def test_known_answers(tmp_path: Path) -> None:
    """Against figures from the algorithms' own documents: the reference above could share a fault."""
    make(tmp_path / "source", {"abc": b"abc", "check": b"123456789"})
    sync(tmp_path, "--checksum=md5")
    assert ("abc", "md5", "900150983cd24fb0d6963f7d28e17f72") in rows(tmp_path)
    sync(tmp_path, "--checksum=sha256", "--force-resync")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert ("abc", "sha256", digest) in rows(tmp_path)
    sync(tmp_path, "--checksum=crc64", "--force-resync")
    assert ("check", "crc64", "ae8b14860a799888") in rows(tmp_path)


def test_none_stores_none(tmp_path: Path, content: dict[str, bytes]) -> None:
    make(tmp_path / "source", content)
    sync(tmp_path, "--checksum=none")
    assert {row[1:] for row in rows(tmp_path, "path, hash_algorithm, hash IS NULL OR hash = ''")} == {(None, 1)}


def test_in_place_and_sparse_and_limited_runs_hash_the_same(tmp_path: Path, content: dict[str, bytes]) -> None:
    make(tmp_path / "source", content | {"holes": bytes(3 << 20) + b"x" + bytes(3 << 20)})
    seen = []
    for more in (("--in-place",), ("--sparse",), ("--bwlimit=400M",), ("--movers=2", "--scan-first"), ("-X",)):
        sync(tmp_path, "--force-resync", *more)
        seen.append(rows(tmp_path))
    assert all(each == seen[0] for each in seen)
    assert {name: digest for name, _, digest in seen[0]}["large"] == blake3(content["large"]).hexdigest()


def test_the_hash_survives_a_rescan_and_a_change_of_metadata_alone(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"a": b"1", "b": b"2"})
    sync(tmp_path, "-a")
    before = rows(tmp_path)
    sync(tmp_path, "-a", "--rescan")
    assert rows(tmp_path) == before
    (source / "a").chmod(0o700)
    told = sync(tmp_path, "-a")
    assert told["stats"]["copied_files"] == 0
    assert (tmp_path / "destination/a").stat().st_mode & 0o777 == 0o700
    assert rows(tmp_path) == before
    assert rows(tmp_path, "permissions")[0] == ("0700",)
    (source / "a").write_bytes(b"9")
    sync(tmp_path, "-a")
    assert rows(tmp_path)[0][2] == blake3(b"9").hexdigest()
    assert rows(tmp_path)[1] == before[1]


def test_a_hash_of_another_version_is_not_kept(tmp_path: Path) -> None:
    """Found in sync without having been copied by us: there is no hash, and none of an older version."""
    source = make(tmp_path / "source", {"a": b"1"})
    sync(tmp_path)
    for place in (source, tmp_path / "destination"):
        (place / "a").write_bytes(b"other")
        os.utime(place / "a", ns=(10**18, 10**18))
    sync(tmp_path)
    assert rows(tmp_path, "path, size, hash = '' OR hash IS NULL, hash_algorithm") == [("a", 5, 1, None)]


# ---- every field ----


def nanoseconds(stamp: str) -> int:
    """ns since 1970 of a date in the view."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * 10**9 + int(fraction)


def birth(path: Path) -> int:
    """What `stat` of the system says of the birth time, ns."""
    said = subprocess.run(["stat", "-c", "%.9W", path], capture_output=True, text=True, check=True).stdout
    seconds, _, fraction = said.strip().partition(".")
    return int(seconds) * 10**9 + int(fraction)


@pytest.mark.parametrize("before", [1_700_000_000_123_456_789, 0, -1_000_000_001])
def test_every_field_of_a_file(tmp_path: Path, before: int) -> None:
    source = make(tmp_path / "source", {"sub/file": b"content", "large": bytes(9 << 20)})
    (source / "sub/file").chmod(0o4751)
    for name in ("sub/file", "large"):
        os.utime(source / name, ns=(before, before))
    begun = time.time()
    sync(tmp_path)
    for name in ("sub/file", "large"):
        status = (source / name).stat()
        (row,) = (
            row
            for row in rows(
                tmp_path,
                "source_path, dest_path, created_date, changed_date, modified_date, permissions, uid, gid, hash, size,"
                " status, first_seen, last_synced, error, path",
            )
            if row[-1] == name
        )
        assert row[0] == f"file://{source}/{name}"
        assert row[1] == f"file://{tmp_path}/destination/{name}"
        assert nanoseconds(row[2]) == birth(source / name), "created date"
        assert nanoseconds(row[3]) == status.st_ctime_ns, "changed date"
        assert nanoseconds(row[4]) == before, "modified date"
        assert row[5] == f"{status.st_mode & 0o7777:04o}"
        assert row[6:8] == (status.st_uid, status.st_gid)
        assert row[8] == blake3((source / name).read_bytes()).hexdigest()
        assert row[9:11] == (status.st_size, "synced")
        for stamp in row[11:13]:
            assert abs(datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() - begun) < 60
        assert row[13] is None


def test_the_fields_of_files_that_were_in_sync_already(tmp_path: Path) -> None:
    for place in ("source", "destination"):
        make(tmp_path / place, {"file": b"content"})
    sync(tmp_path)
    (row,) = rows(tmp_path, "status, size, modified_date, changed_date, created_date, permissions, hash")
    assert row[:2] == ("synced", 7)
    status = (tmp_path / "source/file").stat()
    assert nanoseconds(row[2]) == status.st_mtime_ns
    assert nanoseconds(row[3]) == status.st_ctime_ns
    assert nanoseconds(row[4]) == birth(tmp_path / "source/file")
    assert row[5] == f"{status.st_mode & 0o7777:04o}"


def test_a_pending_file_has_its_fields_and_no_hash(tmp_path: Path) -> None:
    make(tmp_path / "source", {"large": bytes(9 << 20), "later": bytes(9 << 20)})
    make(tmp_path / "destination", {"there": b""})  # an empty one would be scanned anew
    process = start("sync", "--scan-first", "--bwlimit=1M", "source", "destination", cwd=tmp_path)
    until(lambda: being_written(tmp_path / "destination"), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    for row in rows(tmp_path, "path, status, size, hash, hash_algorithm, last_synced"):
        assert row[1:3] == ("pending", 9 << 20)
        assert not row[3]
        assert row[4:] == (None, None)
    status = status_of(tmp_path)
    assert status["pending_files"] == 2
    assert status["pending_bytes"] == 18 << 20
    text = dunlin("status", cwd=tmp_path, expect=0).stdout
    assert "pending: 2 files (18.0 MiB)" in text
    assert "interrupted" in text
    told = sync(tmp_path)
    assert told["continued"] is True
    assert [row[1] for row in rows(tmp_path, "path, status")] == ["synced", "synced"]
    assert status_of(tmp_path)["pending_files"] == 0


def test_rows_of_files_that_are_gone_go(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"stays": b"1", "goes": b"2", "tree/goes/too": b"3"})
    sync(tmp_path)
    (source / "goes").unlink()
    (source / "tree/goes/too").unlink()
    (source / "tree/goes").rmdir()
    (source / "tree").rmdir()
    sync(tmp_path, "--delete-extras")
    assert rows(tmp_path, "path") == [("stays",)]


# ---- dunlin status ----


def status_of(cwd: Path, *more: str) -> dict[str, Any]:
    told = json.loads(dunlin("status", "--json", *more, cwd=cwd, expect=0).stdout)
    (pair,) = told["pairs"]
    assert isinstance(pair, dict)
    return pair


def test_status_without_a_state_is_one_line(tmp_path: Path) -> None:
    done = dunlin("status", cwd=tmp_path, expect=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "there is none" in done.stderr
    assert not list(tmp_path.iterdir()), "asking makes nothing"


def test_status_after_a_run(tmp_path: Path) -> None:
    make(tmp_path / "source", {"a": b"1", "b": b"22"})
    sync(tmp_path)
    sync(tmp_path)
    pair = status_of(tmp_path)
    assert pair["source"] == f"file://{tmp_path}/source"
    assert pair["destination"] == f"file://{tmp_path}/destination"
    assert pair["known_files"] == 2
    assert [run["status"] for run in pair["runs"]] == ["completed", "completed"]
    assert [run["stats"]["copied_files"] for run in pair["runs"]] == [0, 2]
    assert pair["failed"] == []
    text = dunlin("status", cwd=tmp_path, expect=0).stdout
    assert "2 files known" in text
    assert "copied 2 files (3 B)" in text
    assert text.count("completed") == 2


@root
def test_status_of_failed_files(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"f{at:03}": b"x" for at in range(130)})
    for path in source.iterdir():
        path.chmod(0)
    sync(tmp_path, expect=23, prefix=UNPRIVILEGED)
    pair = status_of(tmp_path)
    assert pair["failed_files"] == 130
    assert pair["failed_by_category"] == {"auth": 130}
    short = dunlin("status", cwd=tmp_path, expect=0).stdout
    assert "failed: 130 files (auth 130)" in short
    assert "--failed lists them" in short
    whole = dunlin("status", "--failed", cwd=tmp_path, expect=0).stdout
    assert all(f"f{at:03}: " in whole for at in range(130))
    assert "Permission denied" in whole
    assert len(status_of(tmp_path, "--failed")["failed"]) == 130
    assert {row[0] for row in rows(tmp_path, "status")} == {"failed"}
    for path in source.iterdir():
        path.chmod(0o600)
    sync(tmp_path)
    assert status_of(tmp_path)["failed_files"] == 0
    assert "failed: " not in dunlin("status", cwd=tmp_path, expect=0).stdout


def test_status_while_a_run_is_going_on_and_after_it_was_killed(tmp_path: Path) -> None:
    make(tmp_path / "source", {"large": bytes(9 << 20)})
    process = start("sync", "--bwlimit=1M", "source", "destination", cwd=tmp_path)
    try:
        until(lambda: being_written(tmp_path / "destination"), process)
        text = dunlin("status", cwd=tmp_path, expect=0).stdout
        assert f"running: run 1, process {process.pid}" in text
        assert status_of(tmp_path)["runs"][0]["status"] == "running"
    finally:
        process.kill()
        process.communicate()
    text = dunlin("status", cwd=tmp_path, expect=0).stdout
    assert "was cut short" in text
    assert status_of(tmp_path)["runs"][0]["status"] == "interrupted"


def test_several_pairs_share_a_state(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, {name: b"x"})
        dunlin("sync", name, f"to-{name}", cwd=tmp_path, expect=0)
    told = json.loads(dunlin("status", "--json", cwd=tmp_path, expect=0).stdout)
    assert [pair["known_files"] for pair in told["pairs"]] == [1, 1]
    assert dunlin("status", cwd=tmp_path, expect=0).stdout.count(" -> ") == 2
