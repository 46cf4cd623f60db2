"""A sync over a queue, as a black box: workers come, die, sleep and go, and the destination is what it should be."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.open import open_queue
from tests.acceptance.clouds import cloud
from tests.acceptance.program import command, dunlin, environment, start
from tests.acceptance.spread import Site, content
from tests.acceptance.trouble import halted, until
from tests.servers.redis import redis_server

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "work").mkdir()
    made = Site(tmp_path / "work", "queue.db")
    yield made
    made.end()


@pytest.fixture(params=["embedded", "redis", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on each engine."""
    (tmp_path / "work").mkdir()
    url = "queue.db"
    if request.param != "embedded":
        url = request.getfixturevalue(request.param).queue()
    made = Site(tmp_path / "work", url)
    yield made
    made.end()


def test_two_workers_make_the_destination_equal_and_the_counts_are_exact(anywhere: Site) -> None:
    site = anywhere
    site.fill(60, 40)
    (site.source / "not UTF-8 \udce9").write_text("odd")
    (site.target / "a1/extra/deep").mkdir(parents=True)
    (site.target / "a1/extra/deep/file").write_text("goes")
    (site.target / "gone").write_text("goes")
    site.worker("--workers", "2", "--processes", "1")
    site.worker("--workers", "2", "--processes", "1")
    run = site.sync("--no-work", "--delete-extras", "--bwlimit", "100K")  # so slow that there is work for both
    until(lambda: all("worker.joined" in site.told(number) for number in (0, 1)), run)
    dunlin("control", "bwlimit", "off", cwd=site.work, expect=0)
    result = site.result(run)
    site.equal()
    stats = result["stats"]
    assert (stats["copied_files"], stats["scanned_files"]) == (site.files + 1, site.files + 1)
    assert (stats["deleted_files"], stats["deleted_directories"]) == (2, 2)
    assert stats["failed_files"] == stats["failed_directories"] == 0
    assert not (site.target / "a1/extra").exists()
    with sqlite3.connect(f"file:{site.work}/.sync-state.db?mode=ro", uri=True) as state:
        assert state.execute("SELECT count(*) FROM file_path WHERE status = 'synced' AND hash <> ''").fetchone() == (
            site.files + 1,
        )
    again = site.result(site.sync("--no-work"))["stats"]
    assert (again["copied_files"], again["equal_files"]) == (0, site.files + 1)
    site.rest()


def test_the_machine_that_coordinates_works_along(anywhere: Site) -> None:
    anywhere.fill(10, 40)
    result = anywhere.result(anywhere.sync())
    anywhere.equal()
    assert result["stats"]["copied_files"] == anywhere.files


def test_what_a_killed_worker_had_is_done_by_another_within_ten_seconds(anywhere: Site) -> None:
    site = anywhere
    site.fill(40, 20, 4_000)
    first = site.worker("--workers", "4", "--processes", "1")
    site.ready()
    rate = 500_000  # slow enough that the other one is up while much is still to be done
    run = site.sync("--no-work", "--bwlimit", str(rate))
    until(lambda: site.copied() > 50)
    site.worker("--workers", "4", "--processes", "1")
    site.ready(1)
    first.kill()
    begun = time.monotonic()
    first.wait()
    result = site.result(run)
    site.equal()
    assert result["stats"]["copied_files"] + result["stats"]["equal_files"] == site.files
    assert result["stats"]["scanned_files"] == site.files
    assert list(site.target.rglob(".dunlin-*")) == []
    size = sum(path.stat().st_size for path in site.source.rglob("*") if path.is_file())
    assert time.monotonic() - begun < 10 + size / rate


def test_a_worker_that_slept_writes_nothing_when_it_wakes(site: Site) -> None:
    with open(site.source / "huge", "wb") as file:
        file.write(os.urandom(12 << 20))
    first = site.worker("--workers", "1", "--processes", "1")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "4M")
    until(site.writing)
    child = site.put_to_sleep(first)
    site.worker("--workers", "1", "--processes", "1")
    assert site.result(run)["stats"]["copied_files"] == 1
    site.equal()
    assert list(site.target.glob(".dunlin-*")) == []  # what the sleeper had is swept away
    assert site.target.stat().st_mtime_ns == site.source.stat().st_mtime_ns
    (site.target / "huge").write_text("somebody's")
    os.kill(child, signal.SIGCONT)
    until(lambda: "worker.lost" in site.told())
    assert (site.target / "huge").read_text() == "somebody's"
    assert [path.name for path in site.target.iterdir()] == ["huge"]


def test_a_source_that_changes_during_the_run(anywhere: Site) -> None:
    """Files change, vanish and appear, in directories that are done, under way, and not begun."""
    site = anywhere
    site.fill(40, 20, 2_000)
    for _ in range(2):
        site.worker("--workers", "2", "--processes", "1")
        site.ready(len(site.workers) - 1)
    before = content(site.source)
    run = site.sync("--no-work", "--bwlimit", "250K", "--scan-first", "--delete-extras")
    until(lambda: site.copied() > 100)
    names = [path.relative_to(site.source) for path in site.source.rglob("f*")]
    removed = [name for name in names if name.name in ("f3", "f17") and not (site.target / name).exists()]
    for name in removed:
        (site.source / name).unlink()
    new = site.work / "new"  # elsewhere: what stands in the source is whole at any moment
    for name in names:
        if name.name in ("f5", "f11"):
            new.write_bytes(b"changed " * 3_000)
            new.replace(site.source / name)
        elif name.name == "f7":
            with open(site.source / name, "ab") as file:
                file.write(b"more")
    for path in list(site.source.glob("a*/b*")):
        (path / "sub").mkdir()
        for name in ("appeared", "sub/file"):
            new.write_text("new")
            new.rename(path / name)
    after = content(site.source)
    dunlin("control", "bwlimit", "off", cwd=site.work, expect=0)
    out = run.communicate(timeout=60)[0].decode()
    result = json.loads(out.splitlines()[-1])
    found = content(site.target)
    for name, what in found.items():
        assert what in (before.get(name), after.get(name)), name  # whole, of the one time or the other
    gone = [name for name in removed if str(name) not in found]
    stats = result["stats"]
    assert (run.returncode, result["exit_code"]) == (24, 24), out
    assert 0 < stats["vanished_files"] <= len(gone)  # others were gone before their directory was listed
    assert stats["scanned_files"] == stats["copied_files"] + stats["vanished_files"]
    assert len(found) == stats["copied_files"]
    assert stats["failed_files"] == stats["deleted_files"] == 0
    assert set(after) - set(found) <= {name for name in after if name not in before}
    again = site.result(site.sync("--no-work", "--delete-extras"))
    site.equal()
    assert again["stats"]["deleted_files"] == len(removed) - len(gone)
    assert list(site.target.rglob(".dunlin-*")) == []


def test_a_run_whose_coordinator_was_killed_is_continued(site: Site) -> None:
    site.fill(40, 20, 2_000)
    (site.target).mkdir()
    (site.target / "extra").write_text("goes")
    site.worker("--workers", "4", "--processes", "1")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "150K", "--delete-extras")
    until(lambda: site.copied() > 100)
    run.kill()
    run.wait()
    assert run.stdout is not None
    run.stdout.close()
    result = site.result(site.sync("--no-work", "--delete-extras"))
    assert result["continued"]
    assert 0 < result["stats"]["copied_files"] < site.files
    site.rest()
    site.equal()
    assert list(site.target.rglob(".dunlin-*")) == []


def test_what_the_queue_lost_is_done_again(site: Site) -> None:
    site.fill(40, 20, 2_000)
    site.worker("--workers", "4", "--processes", "1")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "2M")
    until(lambda: site.copied() > 100)
    queue = open_queue(str(site.work / "queue.db"))
    for stats in queue.stats():
        queue.drop(stats.queue)
    queue.close()
    result = site.result(run)
    site.equal()
    assert result["stats"]["scanned_files"] == site.files


def test_a_worker_without_the_location_says_so_and_leaves_the_work_to_others(site: Site) -> None:
    site.fill(4, 10)
    site.target.mkdir()
    places = "locations:\n  from: {url: %s, shared: true}\n  to: {url: %s, shared: true}\n"
    (site.work / "good.yaml").write_text(places % (site.source, site.target))
    (site.work / "bad.yaml").write_text("locations: {other: {url: /nowhere}}\n")
    site.worker("--config", "bad.yaml")
    site.ready()
    run = start(
        "sync", "-a", "loc://from", "loc://to", "--config", "good.yaml", "--queue", site.url, "--no-work", "--json",
        cwd=site.work, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until(lambda: "takes no part" in site.told())
    assert site.told().count("there is no location from") >= 1
    assert run.poll() is None
    site.worker("--config", "good.yaml", "--host-label", "another-machine")
    assert site.result(run)["stats"]["copied_files"] == site.files
    site.equal()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_wrong_share_is_refused_though_its_root_has_the_same_inode(site: Site, side: str) -> None:
    """All roots of tmpfs are inode 1. In the worker's namespace another one is mounted, as on another machine."""
    site.source.rmdir()
    wrong = str(site.work / side)
    worker = shlex.join(command("worker", "--queue", site.url, "--workers", "1", "--processes", "1"))
    sync = shlex.join(command("sync", "-a", "source", "target", "--queue", site.url, "--no-work", "--json"))
    script = f"""
set -e
mkdir source target
for path in source target; do mount -t tmpfs -o size=16m none $path; done
for n in 1 2 3; do echo $n >source/f$n; done
unshare --mount sh -c "mount -t tmpfs -o size=16m none {side}; echo theirs >{side}/theirs; exec {worker}" 2>wrong.log &
echo $! >wrong.pid
{sync} 2>sync.log >result &
run=$!
for n in $(seq 300); do grep -q "takes no part" sync.log && break; sleep 0.1; done
kill $(cat wrong.pid)
test -e target/f1 && exit 7
{worker} 2>right.log &
right=$!
wait $run
kill $right
test "$(ls -A target)" = "$(ls -A source)"
"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=site.work, env=environment(site.work), capture_output=True,
        check=False,
    )  # fmt: skip
    told = (site.work / "sync.log").read_text()
    assert done.returncode == 0, (done.stderr, told)
    assert f"takes no part: cannot take part with file://{wrong}: it is another directory here" in told
    assert json.loads((site.work / "result").read_text())["stats"]["copied_files"] == 3


def test_local_paths_are_left_to_workers_of_this_machine(site: Site) -> None:
    site.fill(2, 5)
    site.worker("--host-label", "another-machine")
    site.ready()
    run = site.sync("--no-work", "--host-label", "this-one")
    time.sleep(1.5)
    assert not site.target.exists() or site.copied() == 0
    site.worker("--host-label", "this-one")
    assert site.result(run)["stats"]["copied_files"] == site.files
    assert "worker.joined" not in site.told(0)


def test_a_limit_holds_for_all_workers_together(site: Site) -> None:
    site.fill(30, 10, 20_000)
    size = sum(path.stat().st_size for path in site.source.rglob("*") if path.is_file())
    for _ in range(2):
        site.worker("--workers", "2", "--processes", "1")
    site.ready(0)
    site.ready(1)
    rate = size // 8
    result = site.result(site.sync("--no-work", "--bwlimit", str(rate)))
    site.equal()
    assert 7 < result["seconds"] < 16


def test_pause_and_resume_reach_the_workers(site: Site) -> None:
    site.fill(30, 20, 4_000)
    site.worker("--workers", "2", "--processes", "1")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "100K")
    until(lambda: site.copied() > 20)
    dunlin("control", "pause", cwd=site.work, expect=0)
    assert halted(site.copied) < site.files
    dunlin("control", "bwlimit", "off", cwd=site.work, expect=0)
    dunlin("control", "resume", cwd=site.work, expect=0)
    assert site.result(run)["stats"]["copied_files"] == site.files
    site.equal()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_ends_at_once_and_is_continued(site: Site, workers: int) -> None:
    site.fill(30, 20, 4_000)
    for _ in range(workers):
        site.worker("--workers", "2", "--processes", "1")
        site.ready()
    run = site.sync("--no-work", "--bwlimit", "200K")
    until(lambda: site.copied() > 20 if workers else site.waiting())
    run.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    result = site.result(run, 130)
    assert time.monotonic() - begun < 8
    assert result["stats"]["copied_files"] < site.files
    again = site.result(site.sync())
    assert again["stats"]["copied_files"] + result["stats"]["copied_files"] == site.files
    site.rest()
    site.equal()


def test_a_worker_lets_what_is_under_way_end(site: Site) -> None:
    site.fill(20, 20, 2_000)
    worker = site.worker("--workers", "2", "--processes", "2")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "1M")
    until(lambda: site.copied() > 20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert "worker.lost" not in site.told()
    site.worker()
    assert site.result(run)["stats"]["copied_files"] == site.files
    site.equal()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--queue", "nope://x"), "nope://x is no queue"),
        ((), "which queue? --queue is missing"),
        (("--queue", "q.db", "--heartbeat", "10s", "--lease", "6s"), "--lease 6s is too short for --heartbeat 10s"),
        (("--queue", "q.db", "--lease", "4s"), "a lease is two heartbeats and 1 s at least: --lease 5s, or a shorter"),
        (("--queue", "q.db", "--heartbeat", "2600ms"), "--lease 6s is too short for --heartbeat 2.6s"),
        (("--queue", "redis://me:sekret@127.0.0.1:1/0"), "cannot open the queue redis://me@127.0.0.1:1/0"),
        (("--queue", "postgresql://me:sekret@127.0.0.1:1/x"), "cannot open the queue postgresql://me@127.0.0.1:1/x"),
    ],
)
def test_a_queue_that_is_none_is_one_clear_line(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    (tmp_path / "work").mkdir()
    done = dunlin("worker", *words, cwd=tmp_path / "work", expect=1)
    assert line in done.stderr
    assert "sekret" not in done.stdout + done.stderr
    assert len([each for each in done.stderr.splitlines() if each.startswith("dunlin:")]) == 1


def test_the_queues_password_reaches_no_log_state_or_process_title(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "source").mkdir(parents=True)
    (work / "url").write_text("redis://me:sekret@127.0.0.1:1/0\n")
    done = dunlin("sync", "source", "target", "--queue", "@url", cwd=work)
    assert done.returncode == 1
    assert "redis://me@127.0.0.1:1/0" in done.stderr
    assert "sekret" not in done.stdout + done.stderr
    assert b"sekret" not in (work / ".sync-state.db").read_bytes()


def test_two_runs_on_one_destination_over_a_queue_are_refused(site: Site) -> None:
    site.fill(10, 20, 4_000)
    site.worker("--workers", "1", "--processes", "1")
    site.ready()
    run = site.sync("--no-work", "--bwlimit", "20K")
    until(lambda: site.target.exists() and site.copied() > 5)
    env = {"XDG_RUNTIME_DIR": str(site.work / "elsewhere")}  # as on another machine, where the lock is not seen
    (site.work / "elsewhere").mkdir(mode=0o700)
    refused = dunlin(
        *("sync", "-a", "source", "target", "--queue", site.url, "--no-work", "--lock-wait", "1s"),
        *("--state-db", "other.db"), cwd=site.work, env=env,
    )  # fmt: skip
    assert refused.returncode == 1, refused.stderr
    assert "another run writes there" in refused.stderr
    dunlin("control", "bwlimit", "off", cwd=site.work, expect=0)
    assert site.result(run)["stats"]["copied_files"] == site.files


def test_object_stores_are_reached_with_each_workers_own_login(site: Site, request: pytest.FixtureRequest) -> None:
    site.fill(12, 10)
    bucket = cloud(request, "fast")
    env = {**bucket.env, **{f"DUNLIN_{name.replace('-', '_').upper()}": value for name, value in bucket.flags.items()}}
    for _ in range(2):
        site.worker("--workers", "2", "--processes", "1", env=env)

    def sync(source: Path | str, target: Path | str) -> dict[str, Any]:
        words = (source, target, "--queue", site.url, "--no-work", "--json", "--state-db", "clouds.db")
        done = dunlin("sync", *words, cwd=site.work, env=env, expect=0)
        found: dict[str, Any] = json.loads(done.stdout)["stats"]
        return found

    up = sync(site.source, bucket.url)
    assert (up["copied_files"], up["failed_files"]) == (site.files, 0)
    assert bucket.content() == {name: data for name, (data, *_) in content(site.source).items()}
    again = sync(site.source, bucket.url)
    assert (again["copied_files"], again["equal_files"]) == (0, site.files)
    down = sync(bucket.url, site.work / "back")
    assert down["copied_files"] == site.files
    assert {name: data for name, (data, *_) in content(site.work / "back").items()} == bucket.content()
    again = sync(bucket.url, site.work / "back")
    assert (again["copied_files"], again["equal_files"]) == (0, site.files)  # rows of the state went along
    stored = b"".join(path.read_bytes() for path in site.work.glob("queue.db*"))
    assert bucket.url.encode() in stored
    assert not [secret for secret in bucket.login.secrets() if secret.encode() in stored]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_queue_server_that_is_killed_and_starts_again(tmp_path: Path, forgets: bool) -> None:
    """With and without a memory of what it held: everybody waits, and what is lost is done again."""
    (tmp_path / "work").mkdir()
    with redis_server(fsync="" if forgets else "always") as server:
        site = Site(tmp_path / "work", server.queue())
        site.fill(40, 20, 2_000)
        site.worker("--workers", "4", "--processes", "1")
        site.ready()
        run = site.sync("--no-work", "--bwlimit", "2M")
        until(lambda: site.copied() > 100)
        server.process.kill()
        time.sleep(1)
        server.process.start()
        try:
            result = site.result(run)
        finally:
            site.end()
    site.equal()
    assert result["stats"]["scanned_files"] == site.files
    assert result["stats"]["failed_files"] == 0
    assert list(site.target.rglob(".dunlin-*")) == []
