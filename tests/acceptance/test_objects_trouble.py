"""`dunlin sync` with object stores on bad days: faults of the network, kills, mistyped places, secrets."""

from __future__ import annotations

import base64
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.clouds import KINDS, Cloud, cloud, words
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair, temporaries
from tests.acceptance.trouble import ended, until
from tests.servers.faults import Rules

ROUGH = Rules(resets=0.05, busy=0.05, truncated=0.02, losses=0.01, latency_s=0.002, retry_after_s=1, seed=5)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def some(count: int, size: int = 3_000) -> dict[str, bytes]:
    """Files in directories, each with content of its own."""
    dice = random.Random(11)
    return {f"d{n % 7}/f{n:03}": dice.randbytes(dice.randrange(size)) for n in range(count)}


def fill(root: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def elsewhere(bucket: Cloud, url: str = "", **flags: str) -> Cloud:
    """The same login, for another place."""
    found = {name.replace("_", "-"): value for name, value in flags.items()}
    return Cloud(url or bucket.url, bucket.login, {**bucket.flags, **found}, bucket.env, bucket.origin, bucket.moved)


# ---- the network ----


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_is_right_over_a_rough_line(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    content = some(60)
    fill(pair.source, content)
    with bucket.through(ROUGH) as (there, proxy):
        # Chance depends on the bucket's name; these come for sure, and never twice to the same request.
        proxy.next(*("busy", "", "", "reset", "", "") * 3)
        for source, target in ((pair.source, there), (there, pair.target)):
            places, env = words(source, target)
            dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0, timeout=170)
        assert proxy.count(fault="reset") > 2
        assert proxy.count(fault="busy") > 2
    assert bucket.content() == content
    assert tree(pair.target) == content


@pytest.mark.parametrize(("one", "other"), [("s3", "az"), ("az", "az")])
def test_object_to_object_over_a_rough_line(
    pair: Pair, request: pytest.FixtureRequest, one: str, other: str
) -> None:
    source, target = cloud(request, one), cloud(request, other)
    content = some(40)
    source.put(content)
    with source.through(ROUGH) as (here, _), target.through(ROUGH) as (there, _):
        if one == other:
            there = Cloud(there.url, there.login, here.flags, there.env, here.origin, here.moved)
        places, env = words(here, there)
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0, timeout=170)
    assert target.content() == content


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_goes_away_meanwhile_is_no_failure(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    bucket.put({f"f{n}": b"x" for n in range(8)})
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        # What is listed stays listed for the run; the first read finds it slow enough to delete another.
        proxy.rules = Rules(latency_s=0.6)
        process = start("sync", "--workers", "1", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(kind="list") and any(s.kind == "read" for s in proxy.seen()), process)
        bucket.delete("f6", "f7")
        proxy.rules = Rules()
        code, told = ended(process, 60)
    assert code == 24, told
    assert sorted(tree(pair.target)) == [f"f{n}" for n in range(6)]


def test_a_limit_holds_in_both_directions(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "fast")
    content = {f"f{n}": os.urandom(500_000) for n in range(4)}
    fill(pair.source, content)
    for source, target in ((pair.source, bucket), (bucket, pair.target)):
        places, env = words(source, target)
        began = time.monotonic()
        dunlin("sync", "--bwlimit", "1M", *places, cwd=pair.cwd, env=env, expect=0)
        assert time.monotonic() - began > 1.2
    assert tree(pair.target) == content


# ---- ends in the middle ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_ended_in_the_middle_is_continued(
    pair: Pair, request: pytest.FixtureRequest, kind: str, how: signal.Signals
) -> None:
    bucket = cloud(request, kind)
    content = some(80)
    fill(pair.source, content)
    with bucket.through(Rules(latency_s=0.05)) as (there, proxy):
        for source, target, act in ((pair.source, there, "write"), (there, pair.target, "read")):
            proxy.forget()
            places, env = words(source, target)
            process = start("sync", "--workers", "4", *places, cwd=pair.cwd, env=env)
            until(lambda act=act: proxy.count(kind=act) >= 20, process)
            process.send_signal(how)
            code, told = ended(process, 30)
            assert code == (130 if how is signal.SIGINT else -9), told
            assert proxy.count(kind=act) < len(content)
            proxy.rules = Rules()
            dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
            assert not temporaries(pair.target)
            proxy.rules = Rules(latency_s=0.05)
    assert bucket.content() == content
    assert tree(pair.target) == content


def test_two_runs_on_one_destination_do_not_meet(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    fill(pair.source, some(30))
    with bucket.through(Rules(latency_s=0.2)) as (there, proxy):
        places, env = words(pair.source, there)
        first = start("sync", "--workers", "1", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(kind="write"), first)
        second = dunlin("sync", "--lock-wait", "0", *places, cwd=pair.cwd, env=env, expect=1)
        assert str(first.pid) in second.stderr
        proxy.rules = Rules()
        code, told = ended(first, 60)
    assert code == 0, told
    assert bucket.content() == some(30)


def test_control_stop_ends_a_run(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    content = some(60)
    bucket.put(content)
    with bucket.through(Rules(latency_s=0.4)) as (there, proxy):
        places, env = words(there, pair.target)
        process = start("sync", "--workers", "2", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(kind="read") >= 4, process)
        dunlin("control", "stop", cwd=pair.cwd, env=env, expect=0)
        code, told = ended(process, 30)
        assert code == 130, told
        assert len(tree(pair.target)) < len(content)
        proxy.rules = Rules()
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == content


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_signal_ends_the_wait_for_a_service_that_says_later(
    pair: Pair, request: pytest.FixtureRequest, side: str
) -> None:
    bucket = cloud(request, "s3")
    with bucket.through(Rules(busy=1, retry_after_s=60)) as (there, proxy):
        places, env = words(*((there, pair.target) if side == "source" else (pair.source, there)))
        process = start("sync", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(), process)
        process.send_signal(signal.SIGINT)
        code, told = ended(process, 10)
        assert (code, proxy.count()) == (130, 1), told


def test_a_signal_ends_the_look_at_a_long_list(
    pair: Pair, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket = cloud(request, "s3")
    bucket.put({"there": b"1"})
    (tmp_path / "list").write_text("\n".join(f"n{n}" for n in range(60)))
    with bucket.through(Rules(latency_s=0.2)) as (there, proxy):
        places, env = words(there, pair.target)
        process = start("sync", "--files-from", str(tmp_path / "list"), *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count() >= 3, process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        ended(process, 10)
        assert time.monotonic() - began < 2


# ---- what could not be fetched ----


def tiered(request: pytest.FixtureRequest, bucket: Cloud, key: str, tier: str) -> None:
    """Put an object of Azurite into another tier: that changes neither its etag nor its time."""
    from azure.storage.blob import BlobServiceClient

    server = request.getfixturevalue("azurite")
    with BlobServiceClient.from_connection_string(server.connection_string) as service:
        name = bucket.url.partition("://")[2]
        service.get_blob_client(name, key).set_standard_blob_tier(tier)


SAME = {"mtime": "1600000000.123456789"}


@pytest.mark.parametrize("again", [(), ("--rescan",), ("--watch", "--watch-interval", "1")])
def test_what_could_not_be_fetched_is_not_in_sync_later(
    pair: Pair, request: pytest.FixtureRequest, again: tuple[str, ...]
) -> None:
    bucket = cloud(request, "az")
    bucket.put({"f": b"AAAA", "g": b"stays"}, SAME)
    places, env = words(bucket, pair.target)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    bucket.put({"f": b"BBBB"}, SAME)
    tiered(request, bucket, "f", "Archive")
    if "--watch" in again:
        process = start("sync", *again, *places, cwd=pair.cwd, env=env)
        try:
            until(lambda: failures(pair) == ["f"], process)
            tiered(request, bucket, "f", "Hot")
            until(lambda: (pair.target / "f").read_bytes() == b"BBBB", process)
        finally:
            process.send_signal(signal.SIGINT)
            code, told = ended(process, 20)
        assert code == 130, told
        return
    for _ in range(2):
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=23)
        assert failures(pair) == ["f"]
    tiered(request, bucket, "f", "Hot")
    dunlin("check", *places, cwd=pair.cwd, env=env, expect=3)
    dunlin("sync", *again, *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == {"f": b"BBBB", "g": b"stays"}
    assert "2 in sync, nothing to do" in dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0).stdout


def failures(pair: Pair) -> list[str]:
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as state:
        return [name for (name,) in state.execute("SELECT name FROM file WHERE status = 2")]


@pytest.mark.parametrize("again", [(), ("--rescan",)])
def test_what_was_left_waiting_is_not_in_sync_later(
    pair: Pair, request: pytest.FixtureRequest, again: tuple[str, ...]
) -> None:
    bucket = cloud(request, "az")
    content = {f"f{n}": b"AAAA" for n in range(12)}
    bucket.put(content, SAME)
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
        content = dict.fromkeys(content, b"BBBB")
        bucket.put(content, SAME)
        proxy.forget()
        proxy.rules = Rules(latency_s=0.3)
        process = start("sync", "--scan-first", "--workers", "1", *places, cwd=pair.cwd, env=env)
        until(lambda: proxy.count(kind="read"), process)
        process.send_signal(signal.SIGINT)
        assert ended(process, 20)[0] == 130
        proxy.rules = Rules()
        with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as state:
            assert state.execute("SELECT count(*) FROM file WHERE status = 0").fetchone()[0] > 5
        dunlin("sync", *again, *places, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.target) == content


# ---- places that are not there ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistyped_prefix_is_no_empty_source(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    bucket.put({"photos/a": b"1"})
    typo = elsewhere(bucket, f"{bucket.url}/photso")
    places, env = words(typo, pair.target)
    for options in ((), ("-n",), ("--delete-extras",)):
        done = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=1)
        assert "there is nothing whose name begins with photso/" in done.stderr
    dunlin("sync", "--accept-source", *places, cwd=pair.cwd, env=env, expect=0)
    empty = cloud(request, kind)
    places, env = words(empty, pair.root / "other")
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_bucket_is_one_line(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    missing = elsewhere(bucket, f"{bucket.url[:-4]}none")
    for source, target in ((missing, pair.target), (pair.source, missing)):
        places, env = words(source, target)
        began = time.monotonic()
        done = dunlin("sync", "--quiet", *places, cwd=pair.cwd, env=env, expect=1)
        assert time.monotonic() - began < 10
        assert "none" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("origin", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_nobody_at_the_endpoint_is_one_line(
    pair: Pair, request: pytest.FixtureRequest, kind: str, origin: str
) -> None:
    bucket = cloud(request, kind)
    nobody = Cloud(bucket.url, bucket.login, bucket.moved(origin), bucket.env, origin, bucket.moved)
    places, env = words(nobody, pair.target)
    began = time.monotonic()
    done = dunlin("sync", *places, cwd=pair.cwd, env=env, expect=1)
    assert time.monotonic() - began < 15
    assert f"cannot reach {origin}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", ["fast", "az"])
def test_a_refused_login_tells_no_secret(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    secret = base64.b64encode(b"a secret that nobody knows, of 64 bytes, written for this test.!").decode()
    env = {name: secret if name.endswith("KEY") else value for name, value in bucket.env.items()}
    wrong = Cloud(bucket.url, bucket.login, bucket.flags, env, bucket.origin, bucket.moved)
    places, env = words(wrong, pair.target)
    began = time.monotonic()
    files = ("--log-file", "audit.log", "--report-file", "report.txt")
    done = dunlin("sync", "-v", *files, *places, cwd=pair.cwd, env=env, expect=1)
    assert time.monotonic() - began < 10
    found = [path for path in pair.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert (found, secret in done.stdout + done.stderr) == ([], False)


def test_a_sas_behind_a_url_is_kept_nowhere(pair: Pair, request: pytest.FixtureRequest) -> None:
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    bucket = cloud(request, "az")
    server = request.getfixturevalue("azurite")
    name = bucket.url.partition("://")[2]
    sas = generate_container_sas(
        server.account, name, account_key=server.key, permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    signature = sas.partition("sig=")[2].partition("&")[0]
    bucket.put({"a": b"1", "d/b": b"2"})
    place = f"{server.url}/{name}?{sas}"
    files = ("--log-file", "audit.log", "--report-file", "report.txt")
    said = ""
    for options in (("-v",), ("--json",), ("-n",)):
        done = dunlin("sync", *files, *options, place, pair.target, cwd=pair.cwd, expect=0)
        said += done.stdout + done.stderr
    said += dunlin("status", "--json", cwd=pair.cwd, expect=0).stdout
    refused = dunlin("sync", pair.target, place, cwd=pair.cwd, expect=None)
    said += refused.stdout + refused.stderr
    assert tree(pair.target) == {"a": b"1", "d/b": b"2"}
    found = [path for path in pair.root.rglob("*") if path.is_file() and signature.encode() in path.read_bytes()]
    assert (found, signature in said, "sig=" in said) == ([], False, False)
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as state:
        assert [row for row in state.execute("SELECT source, destination FROM pair") if "?" in "".join(row)] == []
