"""`dunlin verify` and `dunlin prune` by the command line, and backups that are killed at any moment."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tests.acceptance import program
from tests.acceptance.vaults import Run, fill, runner

ENVIRONMENT = {"DUNLIN_PASSWORD": "correct horse", "DUNLIN_REPO": "vault"}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    desk = tmp_path / "desk"
    fill(desk / "home", 300, 100, 4000, 90_000, directories=20)
    return desk


@pytest.fixture
def run(desk: Path) -> Run:
    run = runner(desk, ENVIRONMENT)
    run("repo", "init", "vault")
    return run


def test_a_backup_that_is_killed_twenty_times_harms_nothing(desk: Path, run: Run) -> None:
    rng = random.Random(7)
    killed = 0
    for number in range(20):
        (desk / "home" / f"new{number}").write_bytes(rng.randbytes(100_000))
        started = program.start("backup", "home", cwd=desk, env=ENVIRONMENT)
        try:
            started.wait(rng.uniform(0.1, 0.9))
        except TimeoutExpired:
            started.kill()
            killed += 1
        started.communicate()
    assert killed
    run("backup", "home")
    assert "all is whole" in run("verify", "--read-data").stdout
    run("restore", "latest", "back")
    assert {path.name: path.read_bytes() for path in (desk / "home").rglob("*") if path.is_file()} == {
        path.name: path.read_bytes() for path in (desk / "back").rglob("*") if path.is_file()
    }
    run("prune")
    assert "all is whole" in run("verify", "--read-data").stdout


def test_damage_is_named_by_path_and_ends_with_3(desk: Path, run: Run) -> None:
    (desk / "home" / "movie").write_bytes(random.Random(1).randbytes(3_000_000))
    run("backup", "home")
    assert run("verify").stdout.endswith("verified: nothing is missing; --read-data compares what packs hold, too\n")
    some = run("verify", "--read-data-subset", "1%").stdout
    assert some.endswith(" read: what was read is whole, nothing is missing\n")
    pack = max((desk / "vault/default/packs").rglob("*"), key=lambda path: path.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.write_bytes(raw)
    assert run("verify").returncode == 0
    told = run("verify", "latest", "--read-data", expect=3).stdout
    assert f"damaged pack default/packs/{pack.parent.name}/{pack.name}" in told
    assert "1 file lost; everything else is whole" in told
    found = json.loads(run("verify", "--read-data-subset", "100%", "--json", expect=3).stdout)
    assert found["whole"] is False
    (lost,) = found["lost"]
    assert f"lost: {lost['path']} (share home" in told
    pack.unlink()
    assert "it is missing" in run("verify", expect=3).stdout


def test_what_was_forgotten_is_freed(desk: Path, run: Run) -> None:
    run("backup", "home")
    before = sum(path.stat().st_size for path in (desk / "vault").rglob("*") if path.is_file())
    shutil.rmtree(desk / "home" / "d1")
    for number in range(200):
        (desk / "home" / f"d{number % 20}" / f"f{number}").unlink(missing_ok=True)
    run("backup", "home")
    run("forget", "--keep-last", "1")
    told = run("prune", "-n").stdout
    assert "would mark" in told
    assert "removed" not in told
    assert "removed: " in run("prune", "--max-unused", "0%").stdout
    after = sum(path.stat().st_size for path in (desk / "vault").rglob("*") if path.is_file())
    assert after < 0.5 * before
    assert "all is whole" in run("verify", "--read-data").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "--read-data-subset", "3/2"), "part of the data"),
        (("verify", "--read-data-subset", "0%"), "percentage above 0"),
        (("verify", "--share", "nothing"), "no such share"),
        (("verify", "nothing"), "no such share"),
        (("prune", "--max-unused", "200%"), "0% to 100%"),
    ],
)
def test_wrong_words_are_told_in_one_line(run: Run, words: tuple[str, ...], said: str) -> None:
    if "--max-unused" not in words:
        run("backup", "home", "--share", "docs")
    told = run(*words, expect=1).stderr
    assert told.count("\n") == 1
    assert said in told or "there is none" in told


def test_an_append_only_repository_is_not_pruned(desk: Path, run: Run) -> None:
    run("repo", "init", "kept", "--append-only")
    told = run("prune", "--repo", "kept", expect=2).stderr
    assert "append-only" in told
    assert told.count("\n") == 1


def test_lost_trees_come_back_from_their_pages(desk: Path, run: Run) -> None:
    run("backup", "home")
    (desk / "home" / "d1" / "f1").write_bytes(b"another")
    run("backup", "home")
    listed, found = run("ls", "-lR", "latest").stdout, run("find", "latest", "*").stdout
    base, delta = sorted(
        (path for path in (desk / "vault/default/home/tree").iterdir() if not path.suffix),
        key=lambda path: -path.stat().st_size,
    )
    base.unlink()
    delta.write_bytes(delta.read_bytes()[:-5])
    run("ls", "latest", "--no-cache", expect=2)
    assert "2 snapshots" in run("verify", expect=3).stdout
    told = run("repo", "rebuild-index")
    assert told.stdout.count("mended: default/home/tree/") == 2
    assert "all is whole" in run("verify", "--read-data").stdout
    assert (run("ls", "-lR", "latest", "--no-cache").stdout, run("find", "latest", "*").stdout) == (listed, found)
    run("restore", "latest", "back")
    assert {path.relative_to(desk / "home"): path.read_bytes() for path in (desk / "home").rglob("f*")} == {
        path.relative_to(desk / "back"): path.read_bytes() for path in (desk / "back").rglob("f*")
    }
    base.unlink()
    base.with_suffix(".pages").unlink()
    trees = json.loads(run("repo", "rebuild-index", "--json", expect=3).stdout)["trees"]
    assert [(each["mended"], each["object"], len(each["snapshots"])) for each in trees] == [
        (False, f"default/home/tree/{base.name}{suffix}", 2) for suffix in ("", ".pages")
    ]
