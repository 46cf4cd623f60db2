"""`dunlin sync --watch`: what is new is found, absences are waited out, a stop is obeyed at once."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.stores.login import Login
from tests.acceptance.clouds import Cloud, cloud, words
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair
from tests.acceptance.trouble import ask, until
from tests.servers.process import running
from tests.servers.rclone import program

Watching = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def watching(pair: Pair) -> Iterator[Watching]:
    """Starts a watch whose output goes to the files `out` and `err` of its working directory's parent."""
    begun: list[subprocess.Popen[bytes]] = []

    def go(*options: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        with open(pair.root / "out", "wb") as out, open(pair.root / "err", "wb") as err:
            begun.append(start("sync", "--watch", *options, **{"cwd": pair.cwd, **more}, stdout=out, stderr=err))
        return begun[-1]

    yield go
    for process in begun:
        process.kill()
        process.wait()


def said(pair: Pair) -> str:
    return (pair.root / "err").read_text()


def runs(pair: Pair) -> int:
    return ask(pair, "SELECT count(*) FROM run WHERE status <> 'running'")[0][0] if _has_state(pair) else 0


def _has_state(pair: Pair) -> bool:
    return (pair.cwd / ".sync-state.db").exists() and bool(
        ask(pair, "SELECT 1 FROM sqlite_master WHERE name = 'run'")
    )


def waits(pair: Pair) -> bool:
    return "the next full look is in" in said(pair)


def stopped(process: subprocess.Popen[bytes], pair: Pair) -> None:
    """It ends with 130 long before the next full look, and in good order."""
    process.wait(timeout=30)
    assert (process.returncode, "Traceback" in said(pair)) == (130, False)


# ---- local sources ----


def test_a_change_is_noticed_at_once(pair: Pair, watching: Watching) -> None:
    (pair.source / "a").write_bytes(b"1")
    process = watching("--watch-interval", "10m", pair.source, pair.target)
    until(lambda: waits(pair), process)
    # Where this process gets no time in between, a cycle finds the directory empty; the file it finds whole.
    (pair.root / "new").write_bytes(b"22")
    (pair.source / "d").mkdir()
    (pair.root / "new").rename(pair.source / "d" / "new")
    began = time.monotonic()
    until(lambda: (pair.target / "d" / "new").exists(), process)
    assert time.monotonic() - began < 60
    until(lambda: runs(pair) >= 2 and (pair.root / "out").read_text().count("copied 1 file") >= 2, process)
    process.send_signal(signal.SIGTERM)
    stopped(process, pair)
    assert "Watch ended (reason=interrupted by SIGTERM)" in said(pair)
    assert (pair.root / "out").read_text().count("copied 1 file") == 2


def test_what_it_writes_itself_wakes_nobody(pair: Pair, watching: Watching) -> None:
    (pair.source / "a").write_bytes(b"1")
    inner = pair.source / "backup"
    options = ("--watch-interval", "10m", "--log-file", "audit.log", "--report-file", "report")
    process = watching(*options, ".", inner, cwd=pair.source)
    until(lambda: waits(pair), process)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    stopped(process, pair)
    assert said(pair).count("Sync started") == 1
    assert sorted(os.listdir(inner)) == ["a"]


def test_control_stop_reaches_a_watch_that_waits(pair: Pair, watching: Watching) -> None:
    (pair.source / "a").write_bytes(b"1")
    process = watching("--watch-interval", "10m", pair.source, pair.target)
    until(lambda: waits(pair), process)
    shown = dunlin("status", cwd=pair.cwd, expect=0).stdout
    assert f"watched by process {process.pid}" in shown
    [found] = json.loads(dunlin("status", "--json", cwd=pair.cwd, expect=0).stdout)["pairs"]
    assert found["watched"] is True
    refused = dunlin("control", "pause", cwd=pair.cwd, expect=1)
    assert "only stop reaches it now" in refused.stderr
    dunlin("control", "stop", cwd=pair.cwd, expect=0)
    stopped(process, pair)
    assert "dunlin control stop" in said(pair)
    [found] = json.loads(dunlin("status", "--json", cwd=pair.cwd, expect=0).stdout)["pairs"]
    assert found["watched"] is False
    assert "no run is running" in dunlin("control", "stop", cwd=pair.cwd, expect=1).stderr


def test_a_failed_file_is_tried_in_every_cycle(pair: Pair, watching: Watching) -> None:
    (pair.source / "a").write_bytes(b"1")
    (pair.target / "a").mkdir(parents=True)
    (pair.target / "a" / "in-the-way").write_bytes(b"")
    process = watching("--json", "--watch-interval", "1s", pair.source, pair.target)
    until(lambda: runs(pair) >= 3, process)
    (pair.target / "a" / "in-the-way").unlink()
    (pair.target / "a").rmdir()
    until((pair.target / "a").is_file, process)
    until(lambda: '"exit_code": 0' in (pair.root / "out").read_text(), process)
    process.send_signal(signal.SIGTERM)
    stopped(process, pair)
    told = [json.loads(line) for line in (pair.root / "out").read_text().splitlines()]
    assert [each["cycle"] for each in told] == list(range(1, len(told) + 1))
    codes = [each["exit_code"] for each in told]
    assert codes[:3] == [23, 23, 23]
    assert 0 in codes
    assert ask(pair, "SELECT count(*) FROM run") == [(len(told),)]


def test_a_first_cycle_that_cannot_begin_ends_it(pair: Pair) -> None:
    done = dunlin("sync", "--watch", pair.root / "missing", pair.target, cwd=pair.cwd, expect=1)
    assert "there is no such directory" in done.stderr


# ---- object stores ----


def test_a_store_may_be_away_for_a_while(pair: Pair, request: pytest.FixtureRequest, watching: Watching) -> None:
    bucket = cloud(request, "az")
    bucket.put({"a": b"1"})
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        process = watching("--watch-interval", "1s", *places, env=env)
        until((pair.target / "a").exists, process)
        until(lambda: waits(pair), process)
        proxy.away = True
        until(lambda: "the next one tries again" in said(pair), process, 60)
        bucket.put({"new": b"22"})
        proxy.away = False
        until((pair.target / "new").exists, process, 60)
        until(lambda: ask(pair, "SELECT total_blobs_tracked FROM sync_checkpoint") == [(2,)], process)
        process.send_signal(signal.SIGTERM)
        stopped(process, pair)
    [(checked, total)] = ask(pair, "SELECT last_check_time, total_blobs_tracked FROM sync_checkpoint")
    assert (total, checked > "2026") == (2, True)


@pytest.mark.slow
def test_one_new_object_among_ten_thousand(pair: Pair, watching: Watching, tmp_path: Path) -> None:
    count, root, key_id, secret = 10_000, tmp_path / "served", secrets.token_hex(10), secrets.token_hex(20)
    for n in range(count):
        place = root / "many" / f"d{n // 100:03}" / f"f{n % 100:02}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"%d" % n)
    access = {"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "RCLONE_CONFIG": "/notfound"}
    serve = lambda port, data: [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", root]  # noqa: E731
    with running("rclone", serve, access) as port:
        url = f"http://127.0.0.1:{port}"
        login = Login({"access_key_id": key_id, "secret_access_key": secret, "endpoint": url, "region": "us-east-1"})
        env = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
        bucket = Cloud("s3://many", login, {"s3-endpoint": url}, env, url, lambda origin: {"s3-endpoint": origin})
        with bucket.through() as (there, proxy):
            places, env = words(there, pair.target)
            process = watching("--json", "--watch-interval", "2s", *places, env=env)
            until(lambda: runs(pair) >= 1, process, 300)
            before = runs(pair)
            proxy.forget()
            bucket.put({"d050/new": b"new"})
            began = time.monotonic()
            until((pair.target / "d050" / "new").exists, process, 60)
            took = time.monotonic() - began
            until(lambda: runs(pair) >= before + 2, process, 60)
            process.send_signal(signal.SIGTERM)
            stopped(process, pair)
            listed, cycles = proxy.count(kind="list"), runs(pair) - before + 1
            assert took < 30, f"{took:.1f} s"
            # A page has 1,000 keys; a run begins with two looks at the bucket.
            assert listed <= cycles * (count // 1_000 + 4), (listed, cycles)
            assert proxy.count(kind="read") == 1, "nothing but the new object was fetched"
    first = json.loads((pair.root / "out").read_text().splitlines()[0])
    assert first["stats"]["copied_files"] == count
