"""`--force-resync` with object stores: everything is looked at and moved once more, and nothing else is asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clouds import KINDS, cloud
from tests.acceptance.test_objects_again import kinds, put, sync, tree
from tests.acceptance.trees import Pair

FILES = {"a": b"1", "d/b": b"22", "d/e/c": b"333"}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def content(asked: Counter[str]) -> dict[str, int]:
    """What was moved; not counted: whether the bucket is there, and what is in it."""
    return {kind: count for kind, count in asked.items() if kind not in ("list", "head", "other")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forced_upload_sends_every_file_once(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    put(pair.source, FILES)
    with bucket.through() as (there, proxy):
        sync(pair, pair.source, there)
        kinds(proxy)
        assert sync(pair, pair.source, there)["copied_files"] == 0
        quiet = kinds(proxy)
        assert content(quiet) == {}
        counts = sync(pair, pair.source, there, "--force-resync")
        forced = kinds(proxy)
    assert (counts["copied_files"], counts["equal_files"]) == (3, 0)
    assert content(forced) == {"write": 3}
    # Whether the destination is empty need not be asked: nothing is continued.
    assert forced["list"] + forced["head"] >= quiet["list"] + quiet["head"] - 1 > 0, "all is looked at again"
    assert forced["head"] <= quiet["head"]
    assert bucket.content() == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_a_forced_download_fetches_every_object_once(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    bucket.put(FILES)
    with bucket.through() as (there, proxy):
        sync(pair, there, pair.target)
        first = kinds(proxy)
        sync(pair, there, pair.target)
        quiet = kinds(proxy)
        put(pair.target, {"own": b"mine"})
        counts: Any = sync(pair, there, pair.target, "--force-resync")
        forced = kinds(proxy)
    assert (counts["copied_files"], counts["equal_files"]) == (3, 0)
    assert content(quiet) == {}
    assert content(forced) == content(first)
    assert forced["read"] == 3
    assert forced["list"] >= quiet["list"] > 0
    assert tree(pair.target) == {**FILES, "own": b"mine"}


def test_a_damaged_copy_of_the_same_size_and_time_is_mended(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    bucket.put(FILES)
    sync(pair, bucket, pair.target)
    stamp = (pair.target / "a").stat().st_mtime_ns
    put(pair.target, {"a": b"X"}, stamp=stamp)
    sync(pair, bucket, pair.target)
    assert (pair.target / "a").read_bytes() == b"X", "by size and time it is in sync"
    sync(pair, bucket, pair.target, "--force-resync")
    assert tree(pair.target) == FILES
