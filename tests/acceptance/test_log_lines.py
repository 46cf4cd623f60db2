"""The lines of a run's log: what they are called, their fields, and the numbers that tie them together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make
from tests.servers.faults import Rules


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def messages(text: str) -> list[str]:
    """Level and message of each line of a text log."""
    return [re.sub(r"^\S+ \S+ ", "", line) for line in text.splitlines()]


def test_a_download_tells_its_stages(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "az")
    bucket.put({"data/a": b"1", "data/b": b"22", "other": b"3"})
    name = bucket.url.partition("://")[2]
    flags = [*bucket.options(), "--container", name, "--prefix", "data/", "--output-path", pair.target]
    told = messages(dunlin("sync", *flags, "--workers", "3", cwd=pair.cwd, env=bucket.env, expect=0).stderr)
    assert f"INFO  Sync started (container={name}, destination={pair.target}, mode=once)" == told[0]
    assert "INFO  Discovering blobs (prefix=data/)" in told
    assert "INFO  Starting download (workers=3)" in told
    assert "INFO  Found 2 blobs (new=2, changed=0, skipped=0)" in told
    assert re.fullmatch(r"INFO  Sync completed \(duration=\S+, files=2, bytes=3B, failed=0\)", told[-1])
    bucket.put({"data/a": b"9", "data/c": b"333"})
    told = messages(dunlin("sync", *flags, cwd=pair.cwd, env=bucket.env, expect=0).stderr)
    assert "INFO  Found 3 blobs (new=1, changed=1, skipped=1)" in told
    told = messages(dunlin("sync", *flags, cwd=pair.cwd, env=bucket.env, expect=0).stderr)
    assert "INFO  Found 3 blobs (new=0, changed=0, skipped=3)" in told
    assert not [line for line in told if "Starting" in line], "nothing was moved"


def test_an_upload_and_a_copy_have_words_of_their_own(pair: Pair, request: pytest.FixtureRequest) -> None:
    (pair.source / "a").write_bytes(b"1")
    bucket = cloud(request, "s3")
    places, env = words(pair.source, bucket)
    told = messages(dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0).stderr)
    assert told[0].startswith(f"INFO  Sync started (source={pair.source}, destination={bucket.url}, ")
    assert "INFO  Found 1 file (new=1, changed=0, skipped=0)" in told
    assert [line for line in told if line.startswith("INFO  Starting upload (workers=")]
    told = messages(dunlin("sync", pair.source, pair.target, cwd=pair.cwd, expect=0).stderr)
    assert "INFO  Starting copy (workers=1)" in told, "one file never leaves the process that leads"


def test_a_local_copy_tells_how_many_movers_there_are(pair: Pair) -> None:
    make(pair.source, {f"d{n}/f{k}": b"x" for n in range(50) for k in range(20)})
    told = messages(dunlin("sync", "--movers=3", pair.source, pair.target, cwd=pair.cwd, expect=0).stderr)
    assert "INFO  Starting copy (workers=3)" in told


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_has_the_same_fields_and_a_run_on_every_line(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "az")
    bucket.put({f"f{n}": b"x" for n in range(5)})
    places, env = words(bucket, pair.target)
    told = lines(dunlin("sync", "--log-format=json", *places, cwd=pair.cwd, env=env, expect=0).stderr)
    by_name = {line["event"]: line for line in told}
    assert by_name["run.begins"]["container"] == bucket.url.partition("://")[2]
    assert by_name["scan.begins"]["prefix"] == ""
    found = by_name["scan.ended"]
    assert (found["found"], found["new"], found["changed"], found["skipped"]) == (5, 5, 0, 0)
    ended = by_name["run.ended"]
    assert (ended["files"], ended["bytes"], ended["failed"], ended["exit_code"]) == (5, 5, 0, 0)
    assert {line["run"] for line in told if line["event"] != "run.begins"} == {1}


def test_a_failed_attempt_tells_the_file_the_attempt_and_why(pair: Pair, request: pytest.FixtureRequest) -> None:
    """The stored digest is a lie: the content that arrives is never what the service states."""
    bucket = lying(request)
    places, env = words(bucket, pair.target)
    done = dunlin("sync", "--log-format=json", *places, cwd=pair.cwd, env=env, expect=23)
    tries = [line for line in lines(done.stderr) if line.get("path") == "wrong"]
    assert [(line["level"], line["event"], line["attempt"]) for line in tries] == [
        ("warn", "file.retry", 1), ("warn", "file.retry", 2), ("error", "file.failed", 3),
    ]  # fmt: skip
    assert "Failed to download blob (blob=wrong, attempt=2/3, error=" in tries[1]["message"]
    assert "Failed to download blob (blob=wrong, attempt=3/3, error=" in tries[2]["message"]
    assert all(isinstance(line["operation"], int) for line in tries)
    assert "MD5" in tries[2]["error"]


def lying(request: pytest.FixtureRequest) -> Any:
    """A container with one good blob and one whose MD5 is that of something else."""
    from azure.storage.blob import BlobServiceClient, ContentSettings

    bucket = cloud(request, "az")
    bucket.put({"right": b"1", "wrong": b"22"})
    server = request.getfixturevalue("azurite")
    with BlobServiceClient.from_connection_string(server.connection_string) as service:
        blob = service.get_blob_client(bucket.url.partition("://")[2], "wrong")
        blob.set_http_headers(ContentSettings(content_md5=bytearray(16)))
    return bucket


@pytest.mark.slow
def test_progress_is_told_now_and_then(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "az")
    bucket.put({f"f{n:03}": b"x" * 1000 for n in range(38)})
    with bucket.through(Rules(latency_s=0.9, kinds=frozenset({"read"}))) as (there, _):
        places, env = words(there, pair.target)
        done = dunlin("sync", "--workers", "1", *places, cwd=pair.cwd, env=env, timeout=120, expect=0)
    told = [line for line in messages(done.stderr) if line.startswith("INFO  Progress: ")]
    assert told
    assert re.match(r"INFO  Progress: \d+/38 files \(\d+%\), \S+ \S+/37.1 KiB \(\d+%\), elapsed=3\d\S+, eta=", told[0])
