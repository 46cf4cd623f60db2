"""Backups, a prune and a verification of one repository at once; and a repository from which nothing is removed."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import program
from tests.acceptance.trouble import ended, in_memory, until
from tests.acceptance.vaults import ENVIRONMENT, Run, content, going_on, leases, runner

pytestmark = pytest.mark.slow

@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path / "desk") as desk:
        for home in ("one", "two"):
            (desk / home).mkdir()
            for number in range(6):
                (desk / home / f"f{number}").write_bytes(random.Random(f"{home}{number}").randbytes(300_000))
        yield desk


@pytest.fixture
def run(desk: Path) -> Run:
    return runner(desk, ENVIRONMENT)


def test_two_shares_are_backed_up_while_a_prune_and_a_verification_run(desk: Path, run: Run) -> None:
    run("repo", "init")
    for home in ("one", "two"):
        run("backup", home)
        for number in range(3):
            (desk / home / f"f{number}").write_bytes(os.urandom(300_000))
    run("backup", "one")
    run("forget", "--keep-last", "1")
    slow = ["--bwlimit", "120K", "--movers", "1"]
    running = {home: program.start("backup", home, "--force", *slow, cwd=desk, env=ENVIRONMENT)
               for home in ("one", "two")}  # fmt: skip
    until(lambda: going_on(desk) == 2)
    said = run("backup", "one", expect=1).stderr
    assert f"another backup of this share is going on ({os.uname().nodename}, process {running['one'].pid})" in said
    told = json.loads(run("prune", "--max-unused", "0%", "--json").stdout)
    assert told["marked_objects"]
    assert (told["removed_objects"], told["waiting"]) == (0, told["marked_objects"])
    assert [each.poll() for each in running.values()] == [None, None]
    assert "nothing is missing" in run("verify").stdout
    for each in running.values():
        code, words = ended(each, 60)
        assert code == 0, words
    told = json.loads(run("prune", "--json").stdout)
    assert told["removed_objects"] + told["let_off"] > 0
    assert told["waiting"] == 0
    assert "all is whole" in run("verify", "--read-data").stdout
    for home in ("one", "two"):
        run("restore", "latest", f"back-{home}", "--share", home)
        assert content(desk / f"back-{home}") == content(desk / home)


def test_one_prune_of_a_tenant_at_a_time(desk: Path, run: Run) -> None:
    run("repo", "init")
    run("backup", "one")
    (desk / "vault/default/leases/~prune.0123456789abcdef0123456789abcdef").write_text(
        '{"began": 1, "who": "another host, process 7"}'
    )
    for words in (["prune"], ["forget", "--keep-last", "1", "--prune"], ["repo", "rebuild-index"]):
        said = run(*words, expect=1).stderr
        assert "another prune of this tenant is going on (another host, process 7)" in said
        assert "forgotten;" not in said
    said = run("forget", "--prune", run("snapshots").stdout.splitlines()[1].split()[0], expect=1).stderr
    assert "forgotten; free what they needed later: dunlin prune --max-unused 0%" in said
    assert run("backup", "one").stdout.startswith("snapshot ")


def test_from_an_append_only_repository_nothing_is_removed(desk: Path, run: Run) -> None:
    run("repo", "init", "--append-only")
    before: set[str] = set()
    for number in range(3):
        (desk / "one" / "f0").write_bytes(os.urandom(200_000 + number))
        run("backup", "one")
        now = {str(path) for path in (desk / "vault").rglob("*") if path.is_file()}
        assert before < now
        before = now
    for words in (["forget", "--keep-last", "1"], ["forget", "--keep-last", "1", "--prune"], ["prune"]):
        done = run(*words, expect=2)
        assert done.stderr.count("\n") == 1
        assert "append-only" in done.stderr
        assert done.stdout == ""
    assert "would remove 2 snapshots" in run("forget", "-n", "--keep-last", "1").stdout
    # A backup that was cut short, and what verifying and mending write, remove nothing either.
    running = program.start("backup", "two", "--bwlimit", "200K", cwd=desk, env=ENVIRONMENT)
    until(lambda: leases(desk), running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    run("backup", "two")
    for _ in range(2):
        run("repo", "rebuild-index")
        assert "all is whole" in run("verify", "--read-data").stdout
    assert before < {str(path) for path in (desk / "vault").rglob("*") if path.is_file()}
    run("restore", "latest", "back", "--share", "one")
    assert content(desk / "back") == content(desk / "one")
    assert not leases(desk)
