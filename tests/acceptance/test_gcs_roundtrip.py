"""From a disk to Google Cloud Storage and back, as a user does it; requests are counted on their way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import make
from tests.servers.faults import Proxy, Rules, faults
from tests.servers.gcs import Gcs

SMALL = {f"d{n % 3}/f{n}": bytes([n]) * n for n in range(30)}
ODD = {"a b": b"1", "\u00e9+%2F": b"2", "d0/e\u0301": b"3", "back\\slash": b"4", "q?#&=": b"5", "deep/er/est/x": b"6"}
LARGE = {"large": os.urandom(17 << 20)}
"""More than goes in one request: a resumable upload."""


class Bucket:
    """A bucket behind a proxy, and a working directory with a tree."""

    def __init__(self, server: Gcs, proxy: Proxy, tmp_path: Path) -> None:
        self.name = server.bucket()
        self.proxy = proxy
        self.work = tmp_path / "work"
        self.work.mkdir()
        self.source = make(tmp_path / "source", {**SMALL, **ODD, **LARGE})
        self.target = tmp_path / "target"
        for n, path in enumerate(sorted(self.source.rglob("*"))):
            if path.is_file():
                path.chmod(0o640 if n % 2 else 0o755)
                os.utime(path, ns=(1_500_000_000_000_000_000 + n, 1_600_000_000_123_456_000 + n))

    @property
    def url(self) -> str:
        return f"gs://{self.name}/p"

    def sync(self, source: str | Path, target: str | Path, *more: str, expect: int = 0) -> dict[str, Any]:
        """A run; its statistics, with how many requests of each kind it made as "requests"."""
        self.proxy.forget()
        done = dunlin(
            "sync", "-a", "--json", "--gcs-endpoint", self.proxy.origin, *more, source, target,
            cwd=self.work, expect=expect, timeout=120,
        )  # fmt: skip
        kinds = [request.kind for request in self.proxy.seen()]
        told: dict[str, Any] = json.loads(done.stdout)["stats"] if done.stdout else {}
        return told | {"requests": {kind: kinds.count(kind) for kind in sorted(set(kinds))}, "log": done.stderr}


@pytest.fixture
def bucket(gcs: Gcs, tmp_path: Path) -> Iterator[Bucket]:
    with faults(gcs.url) as proxy:
        yield Bucket(gcs, proxy, tmp_path)


def contents(tree: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, time in ns and permissions of every file."""
    found = {}
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            about = path.stat()
            found[str(path.relative_to(tree))] = (path.read_bytes(), about.st_mtime_ns, about.st_mode & 0o7777)
    return found


def test_there_and_back_and_then_nothing_to_do(bucket: Bucket) -> None:
    files = len(SMALL) + len(ODD) + len(LARGE)
    up = bucket.sync(bucket.source, bucket.url)
    assert up["copied_files"] == files
    assert up["requests"]["write"] == files - 1
    assert up["requests"]["begin"] == 1
    assert up["requests"]["part"] >= 2
    assert "read" not in up["requests"]

    again = bucket.sync(bucket.source, bucket.url)
    assert again["copied_files"] == 0
    assert set(again["requests"]) == {"list"}
    assert again["requests"]["list"] <= 8

    down = bucket.sync(bucket.url, bucket.target)
    assert down["copied_files"] == files
    assert contents(bucket.target) == contents(bucket.source)
    # A small object is asked for twice, because content comes without metadata; a large one in ranges.
    assert down["requests"]["stat"] <= files
    assert down["requests"]["read"] <= files + 3

    again = bucket.sync(bucket.url, bucket.target)
    assert again["copied_files"] == 0
    assert set(again["requests"]) == {"list"}


def test_a_change_costs_one_write(bucket: Bucket) -> None:
    (bucket.source / "large").unlink()
    bucket.sync(bucket.source, bucket.url)
    (bucket.source / "d1/f1").write_bytes(b"changed")
    told = bucket.sync(bucket.source, bucket.url)
    assert (told["copied_files"], told["requests"]["write"]) == (1, 1)


def test_extras_are_deleted_there(bucket: Bucket) -> None:
    (bucket.source / "large").unlink()
    bucket.sync(bucket.source, bucket.url)
    (bucket.source / "a b").unlink()
    told = bucket.sync(bucket.source, bucket.url, "--delete-extras")
    assert told["requests"]["delete"] == 1
    bucket.sync(bucket.url, bucket.target)
    assert not (bucket.target / "a b").exists()
    assert contents(bucket.target) == contents(bucket.source)


def test_every_byte_arrives_through_faults(bucket: Bucket) -> None:
    bucket.proxy.rules = Rules(resets=0.05, losses=0.05, busy=0.05, truncated=0.05, seed=7, retry_after_s=0)
    bucket.sync(bucket.source, bucket.url)
    met = len([request for request in bucket.proxy.seen() if request.fault])
    bucket.sync(bucket.url, bucket.target)
    assert met + len([request for request in bucket.proxy.seen() if request.fault]) > 5
    assert contents(bucket.target) == contents(bucket.source)


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket) -> None:
    told = bucket.sync("gs://no-such-bucket/p", bucket.target, expect=1)
    assert told["log"].splitlines()[-1] == "dunlin: cannot list gs://no-such-bucket: no such bucket"
    assert not bucket.target.exists()


def test_a_key_file_that_is_none_is_refused_before_anything_is_asked(bucket: Bucket) -> None:
    key = bucket.work / "key.json"
    key.write_text('{"type": "service_account", "private_key": "s3cret"}')
    told = bucket.sync(bucket.url, bucket.target, "--gcs-service-account", str(key), expect=1)
    assert "client_email" in told["log"]
    assert "s3cret" not in told["log"]
    assert told["requests"] == {}
