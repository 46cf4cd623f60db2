"""`dunlin retry`: only what failed is transferred, as the run would have done it; nothing else on record changes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.trouble import until
from tests.unit.stores.objects.azure_stub import Reply, stub


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A working directory where two of five files cannot be copied: directories stand in their way."""
    work = tmp_path / "work"
    for path in ("s/a", "s/bad", "s/sub/b", "s/sub/c", "s/sub/worse"):
        file = work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
        os.utime(file, (1_000_000_000, 1_000_000_000))
    os.chmod(work / "s/bad", 0o640)
    os.utime(work / "s/sub", (900_000_000, 900_000_000))
    for path in ("d/bad/in the way", "d/sub/worse/in the way"):
        (work / path).mkdir(parents=True)
    dunlin("sync", "-a", "s", "d", cwd=work, expect=23)
    return work


def query(work: Path, sql: str) -> list[Any]:
    with sqlite3.connect(f"file:{work}/.sync-state.db?mode=ro", uri=True) as database:
        return database.execute(sql).fetchall()


def rows(work: Path) -> list[Any]:
    """What is on record of files, without the files that failed."""
    return query(work, "SELECT path, hash, status, run FROM file_path WHERE path NOT IN ('bad', 'sub/worse')")


def test_what_failed_is_brought_in_sync_as_the_run_would_have(pair: Path) -> None:
    before = rows(pair), query(pair, "SELECT known_files, selection FROM pair")
    (pair / "s/new").write_text("a retry does not look for it")
    shutil.rmtree(pair / "d/bad")
    shutil.rmtree(pair / "d/sub/worse")
    done = dunlin("retry", cwd=pair, expect=0)
    assert "copied 2 files" in done.stdout
    assert (pair / "d/sub/worse").read_text() == "s/sub/worse"
    assert (pair / "d/bad").stat().st_mode & 0o777 == 0o640  # -a is that of the run
    assert (pair / "d/bad").stat().st_mtime == 1_000_000_000
    assert (pair / "d/sub").stat().st_mtime == 900_000_000
    assert not (pair / "d/new").exists()
    assert (rows(pair), query(pair, "SELECT known_files, selection FROM pair")) == before
    assert query(pair, "SELECT count(*) FROM file_path WHERE status = 'synced' AND hash <> ''") == [(5,)]
    assert query(pair, "SELECT count(*) FROM error_log WHERE NOT resolved") == [(0,)]
    assert "nothing to retry" in dunlin("retry", cwd=pair, expect=0).stdout
    assert "nothing to retry" in dunlin("retry", "1", cwd=pair, expect=0).stdout
    assert "copied 1 file" in dunlin("sync", "-a", "s", "d", cwd=pair, expect=0).stdout


def test_what_fails_again_has_the_new_reason_and_can_be_retried_again(pair: Path) -> None:
    shutil.rmtree(pair / "d/bad")
    done = dunlin("retry", cwd=pair, expect=23)
    assert "sub/worse" in done.stdout + done.stderr
    assert query(pair, "SELECT path, run FROM file_path WHERE status = 'failed'") == [("sub/worse", 2)]
    shutil.rmtree(pair / "d/sub/worse")
    assert "copied 1 file" in dunlin("retry", "1", cwd=pair, expect=0).stdout


def test_a_file_that_is_gone_has_vanished(pair: Path) -> None:
    shutil.rmtree(pair / "d/bad")
    (pair / "s/sub/worse").unlink()
    done = dunlin("retry", cwd=pair, expect=24)
    assert "1 file vanished" in done.stdout
    assert "nothing to retry" in dunlin("retry", cwd=pair, expect=0).stdout


def test_links_are_retried_as_links(pair: Path) -> None:
    (pair / "s/sub/worse").unlink()
    (pair / "s/sub/worse").symlink_to("b")
    dunlin("sync", "-a", "s", "d", cwd=pair, expect=23)
    shutil.rmtree(pair / "d/sub/worse")
    shutil.rmtree(pair / "d/bad")
    dunlin("retry", cwd=pair, expect=0)
    assert os.readlink(pair / "d/sub/worse") == "b"


def test_a_retry_is_no_look_at_everything(pair: Path) -> None:
    """Whoever asks when all was in sync for the last time is not told of a retry."""
    shutil.rmtree(pair / "d/bad")
    shutil.rmtree(pair / "d/sub/worse")
    before = query(pair, "SELECT count(*) FROM directory")
    dunlin("retry", cwd=pair, expect=0)
    assert query(pair, "SELECT count(*) FROM directory") == before
    done = dunlin("sync", "-a", "--ctime-skip", "s", "d", cwd=pair, expect=0)
    assert "no run has ended without any failure yet" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["retry", "99"], "cannot find run 99: there is none of that number"),
        (["retry", "x"], "x"),
        (["retry", "--state-db", "other.db"], "there is none"),
    ],
)
def test_what_cannot_be_found_is_one_line(pair: Path, words: list[str], said: str) -> None:
    done = dunlin(*words, cwd=pair, expect=1)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_that_goes_on_or_was_cut_short_comes_first(pair: Path) -> None:
    (pair / "s/large").write_bytes(b"x" * 5_000_000)
    with start("sync", "-a", "--bwlimit", "200K", "s", "d", cwd=pair) as running:
        going = "SELECT count(*) FROM run WHERE status = 'running'"
        until(lambda: query(pair, going) == [(1,)], running)
        done = dunlin("retry", cwd=pair, expect=1)
        assert "is still going" in done.stderr
        running.kill()
    done = dunlin("retry", cwd=pair, expect=1)
    assert "was cut short" in done.stderr
    assert query(pair, "SELECT count(*) FROM run") == [(2,)]


def test_status_tells_of_it(pair: Path) -> None:
    assert "`dunlin retry` tries" in dunlin("status", cwd=pair, expect=0).stdout
    shutil.rmtree(pair / "d/bad")
    shutil.rmtree(pair / "d/sub/worse")
    dunlin("retry", cwd=pair, expect=0)
    told = dunlin("status", cwd=pair, expect=0).stdout
    assert "tried run 1 again" in told
    assert "failed:" not in told


def test_a_retry_is_told_outside(pair: Path) -> None:
    with stub(lambda asked: Reply(200)) as chat:
        env = {"DUNLIN_NOTIFY_URL": f"{chat.url}/T0K3N", "DUNLIN_NOTIFY_FORMAT": "json"}
        done = dunlin("retry", "--metrics-addr", ":0", cwd=pair, env=env, expect=23)
    assert "metrics are at http://127.0.0.1:" in done.stderr
    [asked] = chat.asked
    assert json.loads(asked.body)["event"] == "failure"


# ---- object stores ----


def test_an_object_is_tried_again_and_no_other_is_looked_at(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket, work = cloud(request, "fast"), tmp_path / "work"
    bucket.put({"a": b"1", "bad": b"22", "sub/c": b"333"})
    (work / "d/bad/in the way").mkdir(parents=True)
    with bucket.through() as (there, proxy):
        places, env = words(there, work / "d")
        dunlin("sync", *places, cwd=work, env=env, expect=23)
        shutil.rmtree(work / "d/bad")
        bucket.put({"new": b"4444"})
        proxy.forget()
        done = dunlin("retry", *there.options("source"), cwd=work, env=env, expect=0)
        read = [each.target.partition("?")[0].rpartition("/")[2] for each in proxy.seen(kind="read")]
        stat = {each.target.partition("?")[0].rpartition("/")[2] for each in proxy.seen(kind="stat")}
        listed = [each.target.partition("?")[2] for each in proxy.seen(kind="list")]
    assert (read, stat) == (["bad"], {"bad"})
    # Whether the bucket is there, and whether it is empty: two requests however large it is, none for a directory.
    assert len(listed) == 2
    assert all("prefix=&" in each for each in listed)
    assert "copied 1 file (2 B)" in done.stdout
    assert {path.name: path.read_bytes() for path in (work / "d").rglob("*") if path.is_file()} == {
        "a": b"1", "bad": b"22", "c": b"333",
    }  # fmt: skip
    assert "nothing to retry" in dunlin("retry", cwd=work, env=env, expect=0).stdout


@pytest.mark.root
def test_a_file_is_tried_again_into_a_bucket(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket, work = cloud(request, "fast"), tmp_path / "work"
    for path in ("s/a", "s/sub/secret"):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(path)
    (work / "s/sub/secret").chmod(0)
    places, env = words(work / "s", bucket)
    dunlin("sync", *places, cwd=work, env=env, prefix=UNPRIVILEGED, expect=23)
    assert bucket.keys() == ["a"]
    login = bucket.options("dest")
    done = dunlin("retry", *login, cwd=work, env=env, prefix=UNPRIVILEGED, expect=23)
    assert "sub/secret" in done.stdout + done.stderr
    (work / "s/sub/secret").chmod(0o600)
    done = dunlin("retry", *login, cwd=work, env=env, prefix=UNPRIVILEGED, expect=0)
    assert "copied 1 file" in done.stdout
    assert bucket.content() == {"a": b"s/a", "sub/secret": b"s/sub/secret"}
    assert query(work, "SELECT path, status FROM file_path") == [("a", "synced"), ("sub/secret", "synced")]
    assert "2 in sync, nothing to do" in dunlin("sync", *places, cwd=work, env=env, expect=0).stdout


def test_without_a_login_the_line_says_what_is_missing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket, work = cloud(request, "fast"), tmp_path / "work"
    bucket.put({"bad": b"22"})
    (work / "d/bad/in the way").mkdir(parents=True)
    places, env = words(bucket, work / "d")
    dunlin("sync", *places, cwd=work, env=env, expect=23)
    shutil.rmtree(work / "d/bad")
    wrong = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "else"}
    done = dunlin("retry", *bucket.options("source"), cwd=work, env=wrong, expect=1)
    assert "login" in done.stderr
    assert "else" not in done.stderr
    assert "copied 1 file" in dunlin("retry", *bucket.options("source"), cwd=work, env=env, expect=0).stdout
