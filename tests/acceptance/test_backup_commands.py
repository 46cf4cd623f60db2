"""Repositories by the command line: made, backed up into, looked into, thinned out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import cast

import pytest

from tests.acceptance import program
from tests.acceptance.terminal import Terminal
from tests.acceptance.vaults import Run, runner

Done = CompletedProcess[str]

PASSWORD = {"DUNLIN_PASSWORD": "correct horse", "DUNLIN_REPO": "vault"}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory with something to back up."""
    desk = tmp_path / "desk"
    home = desk / "home"
    (home / "docs").mkdir(parents=True)
    (home / "photos").mkdir()
    (home / "docs" / "plan.txt").write_text("plan")
    (home / "docs" / "notes.txt").write_text("notes")
    (home / "photos" / "one.jpg").write_bytes(os.urandom(200_000))
    (home / "link").symlink_to("docs/plan.txt")
    return desk


@pytest.fixture
def run(desk: Path) -> Run:
    return runner(desk, PASSWORD)


def answer(done: Done) -> dict[str, object]:
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_from_nothing_to_a_snapshot_that_can_be_looked_into(desk: Path, run: Run) -> None:
    made = run("repo", "init", "vault").stdout
    assert "at vault, encrypted" in made
    assert (desk / "vault").stat().st_mode & 0o777 == 0o700
    first, second, *rest = run("backup", "home", "--tag", "first").stdout.splitlines()
    assert first.endswith("of default/home: 4 files (195 KiB), 3 new, 0 changed")
    assert second.startswith("stored ")
    assert not rest
    assert run("ls", "latest").stdout.splitlines() == ["docs/", "link", "photos/"]
    assert run("ls", "latest:docs").stdout.splitlines() == ["notes.txt", "plan.txt"]
    assert run("ls", "-R", "latest:docs").stdout.splitlines() == ["docs/notes.txt", "docs/plan.txt"]
    long = run("ls", "-l", "latest").stdout.splitlines()
    assert long[0].startswith("drwxr-xr-x ")
    assert long[0].endswith(" docs/")
    assert long[1].startswith("lrwxrwxrwx ")
    assert long[1].endswith(" link -> docs/plan.txt")
    assert run("find", "latest", "*.TXT", "-i").stdout.splitlines() == ["docs/notes.txt", "docs/plan.txt"]
    assert run("find", "latest:photos", "*.txt").stdout == ""
    sums = [line.split() for line in run("du", "latest").stdout.splitlines()]
    assert [line[-2:] for line in sums] == [["2", "docs"], ["1", "photos"], ["4", "."]]
    [shown] = answer(run("snapshots", "--json"))["snapshots"]  # type: ignore[misc]
    assert (shown["share"], shown["tags"], shown["totals"]["files"]) == ("home", ["first"], 4)
    table = run("snapshots", "--tag", "first").stdout.splitlines()
    assert table[1].split()[0] == shown["id"][:8]
    assert run("snapshots", "--tag", "other").stdout == "no snapshot has these tags\n"


def test_files_are_counted_by_size_and_by_age(desk: Path, run: Run) -> None:
    home = desk / "home"
    (home / "docs" / "old").write_bytes(b"x" * 700)
    (home / "docs" / "empty").touch()
    now = time.time()
    for name, days in (("plan.txt", 3), ("notes.txt", 45), ("old", 4000)):
        os.utime(home / "docs" / name, (now - days * 86_400, now - days * 86_400))
    run("repo", "init", "vault")
    run("scan", "home")
    shown = [line.split() for line in run("du", "latest:docs", "--sizes").stdout.splitlines()]
    assert [(line[2], " ".join(line[3:])) for line in shown] == [
        ("1", "size 0 B to 1 B"), ("2", "size 4 B to 8 B"), ("1", "size 512 B to 1.0 KiB")
    ]  # fmt: skip
    bars = [json.loads(line) for line in run("du", "latest", "--sizes", "--json").stdout.splitlines()]
    assert {"of": "size", "least": 512, "below": 1024, "files": 1, "size": 700} in bars
    assert sum(bar["files"] for bar in bars) == 6
    bars = [json.loads(line) for line in run("du", "latest:docs", "--ages", "--json").stdout.splitlines()]
    assert [(bar["least"] // 86_400, bar["files"]) for bar in bars] == [
        (0, 1), (1, 1), (7, 0), (30, 1), (90, 0), (365, 0), (730, 0), (1825, 0), (3650, 1)
    ]  # fmt: skip
    assert bars[-1] == {"of": "age", "least": 3650 * 86_400, "below": None, "files": 1, "size": 700}
    both = run("du", "latest:docs", "--ages", "--sizes").stdout.splitlines()
    assert both[-1].split() == ["700", "B", "1", "age", "10y", "and", "more"]
    assert " ".join(both[-9].split()[3:]) == "age 0d to 1d"
    assert "is a file" in run("du", "latest:docs/old", "--sizes", expect=1).stderr
    assert "--depth" in run("du", "latest", "--sizes", "--depth", "2", expect=1).stderr


def test_what_changed_between_two_snapshots(desk: Path, run: Run) -> None:
    run("repo", "init", "vault")
    first = answer(run("backup", "home", "--json"))["snapshot"]
    (desk / "home" / "docs" / "plan.txt").write_text("another plan")
    (desk / "home" / "photos" / "one.jpg").unlink()
    (desk / "home" / "docs" / "new").touch()
    planned = run("backup", "-n", "home").stdout.splitlines()
    wanted = {"changed docs/plan.txt", "added docs/new", "metadata docs/", "metadata photos/", "removed photos/one.jpg"}
    assert set(planned[:5]) == wanted
    assert planned[5].endswith("of default/home: 4 files (30 B), 1 new, 1 changed, 1 gone")
    assert len(answer(run("snapshots", "--json"))["snapshots"]) == 1  # type: ignore[arg-type]
    run("backup", "home")
    assert isinstance(first, dict)
    assert set(run("diff", first["id"][:10], "latest", expect=3).stdout.splitlines()) == wanted
    assert run("diff", f"{first['id']}:photos", "latest:photos", expect=3).stdout.splitlines() == [
        "metadata photos/", "removed photos/one.jpg",
    ]  # fmt: skip
    assert run("diff", "latest", "latest").stdout == ""


def test_snapshots_are_forgotten_by_a_rule_only(desk: Path, run: Run) -> None:
    run("repo", "init", "vault")
    for _ in range(3):
        run("backup", "home", "--share", "a")
    run("backup", "home", "--share", "b", "--tag", "keep")
    assert "no rule says what is kept" in run("forget", expect=1).stderr
    assert run("forget", "-n", "--keep-last", "1").stdout.splitlines()[-1] == "would remove 2 snapshots, kept 2"
    done = answer(run("forget", "--keep-last", "2", "--share", "a", "--json"))
    assert [each["kept"] for each in done["snapshots"]] == [True, True, False]  # type: ignore[attr-defined]
    assert len(answer(run("snapshots", "--json"))["snapshots"]) == 3  # type: ignore[arg-type]
    assert run("ls", "latest", "--share", "a").stdout.splitlines() == ["docs/", "link", "photos/"]
    said = run("ls", "latest", expect=1).stderr
    assert "latest of which share? there are a, b; write --share NAME" in said


def test_a_snapshot_with_a_secret_is_removed_by_name_and_the_secret_with_it(desk: Path) -> None:
    run = runner(desk, {"DUNLIN_REPO": "vault", "DUNLIN_KEEP_LAST": "5"})  # which is no rule of this command line
    run("repo", "init", "--no-encryption", "vault")
    secret = os.urandom(3_000)
    (desk / "home/secret").write_bytes(secret)
    for number in range(60):  # they share a bundle with it, most of which is still needed
        (desk / f"home/docs/small{number}").write_bytes(os.urandom(3_000))
    run("backup", "home")
    (desk / "home/secret").unlink()
    run("backup", "home")
    spoilt, after = (line.split()[0] for line in run("snapshots").stdout.splitlines()[1:3])

    def told() -> bool:
        return any(secret[:500] in path.read_bytes() for path in (desk / "vault").rglob("*") if path.is_file())

    wrong = run("forget", "--keep-last", "1", spoilt, expect=1).stderr
    assert "--keep-last and named snapshots do not go together" in wrong
    assert "cannot find the snapshot feeblest" in run("forget", spoilt, "feeblest", expect=1).stderr
    assert "name it by its id" in run("forget", "latest", expect=1).stderr
    assert "'2' is too short for a name" in run("forget", "2", expect=1).stderr
    assert run("forget", "-n", spoilt).stdout.splitlines()[-1] == "would remove 1 snapshot"
    assert told()
    done = run("forget", "--prune", spoilt).stdout.splitlines()
    assert done[1].split()[:2] == ["remove", spoilt]
    assert done[2] == "removed 1 snapshot"
    assert not told()
    run("verify", "--read-data")
    assert run("backup", "home").stdout.splitlines()[0].endswith(", 0 new, 0 changed")
    listed = run("snapshots").stdout
    assert spoilt not in listed
    assert after in listed


def test_a_scan_has_the_tree_and_no_content(desk: Path, run: Run) -> None:
    run("repo", "init", "vault")
    run("scan", "home")
    assert not [path for path in (desk / "vault/default").rglob("*") if path.is_file() and path.stat().st_size > 50_000]
    assert [line.split()[-2:] for line in run("du", "latest", "--depth", "0").stdout.splitlines()] == [["4", "."]]
    assert "scan" in run("snapshots").stdout.splitlines()[1].split()
    assert run("backup", "home").stdout.splitlines()[0].endswith("(195 KiB), 0 new, 3 changed")


def test_what_a_repository_holds_is_told(desk: Path, run: Run) -> None:
    run("repo", "init", "vault")
    run("backup", "home")
    run("backup", "home")
    told = answer(run("repo", "stats", "--json"))
    assert (told["tenants"], told["shares"], told["chunks"]) == (1, 1, 3)
    assert told["source_bytes"] == 2 * told["newest_bytes"]  # type: ignore[operator]
    kinds = cast("dict[str, dict[str, int]]", told["kinds"])
    content = kinds["packs"]["bytes"] + kinds["bundles"]["bytes"]
    assert told["ratio"] == pytest.approx(cast(int, told["source_bytes"]) / content, abs=0.001)
    disk = sum(path.stat().st_size for path in (desk / "vault").rglob("*") if path.is_file())
    kept = sum(path.stat().st_size for path in (desk / "vault").glob("dunlin-*"))
    assert told["bytes"] == disk - kept
    before = {path for path in (desk / "vault" / "default").rglob("*") if path.parent.name == "chunks"}
    for path in before:
        path.unlink()
    assert run("repo", "rebuild-index").stdout == "the index knows 3 chunks in 2 packs\n"
    assert "0 new" in run("backup", "home", "--force").stdout
    assert answer(run("repo", "stats", "--json"))["chunks"] == 3


def test_passwords_come_and_go(desk: Path, run: Run) -> None:
    run("repo", "init", "vault")
    run("backup", "home", "--tenant", "acme")
    run("backup", "home", "--tenant", "other")
    (desk / "new").write_text("for acme\n")
    run("repo", "password", "add", "--new-password-file", "new", "--tenant", "acme")
    slots = json.loads(run("repo", "password", "list", "--json").stdout)
    assert [each["tenant"] for each in slots] == ["", "acme"]
    acme = {"DUNLIN_PASSWORD": "for acme"}
    assert run("ls", "latest", "--tenant", "acme", env=acme).stdout
    said = run("ls", "latest", "--tenant", "other", env=acme, expect=1).stderr
    assert "that of another tenant" in said
    assert "is the last that opens" in run("repo", "password", "remove", slots[0]["id"], expect=1).stderr
    run("repo", "password", "remove", slots[1]["id"])
    assert "wrong password" in run("ls", "latest", "--tenant", "acme", env=acme, expect=1).stderr


def test_filters_and_the_configuration(desk: Path, run: Run) -> None:
    (desk / "word").write_text("from a file\n")
    (desk / "dunlin.yaml").write_text("backup: {repository: kept, password_file: word, share: mine}\n")

    def configured(*words: str, expect: int = 0) -> Done:
        return program.dunlin(*words, cwd=desk, expect=expect)

    configured("repo", "init")
    configured("backup", "home", "--exclude", "*.txt", "--max-size", "100K")
    assert configured("ls", "-R", "latest").stdout.splitlines() == ["docs/", "link", "photos/"]
    [shown] = answer(configured("snapshots", "--json"))["snapshots"]  # type: ignore[misc]
    assert shown["share"] == "mine"
    configured("backup", "home", "--max-depth", "1", "--no-cache")
    assert configured("ls", "-R", "latest").stdout.splitlines() == ["docs/", "link", "photos/"]


def test_a_password_for_what_says_that_it_is_not_encrypted_is_refused(desk: Path, run: Run) -> None:
    """Who can write to the store may have let it say that."""
    bare = {"DUNLIN_PASSWORD": ""}
    run("repo", "init", "vault", "--no-encryption", env=bare)
    run("backup", "home", env=bare)
    (desk / "word").write_text("a word")
    for words, env in ((("backup", "home"), {}), (("ls", "latest"), {}), (("verify", "--password-file", "word"), bare)):
        said = run(*words, env=env, expect=1).stderr
        assert "there is a password for it, and it says that it is not encrypted" in said
        assert "leave the password out" in said
    assert len(run("snapshots", env=bare).stdout.splitlines()) == 2
    (desk / "dunlin.yaml").write_text("backup:\n  password_file: word\n")
    assert "leave the password out" in run("snapshots", env=bare, expect=1).stderr
    assert len(run("snapshots", "--password-file", "", env=bare).stdout.splitlines()) == 2


def test_a_password_is_asked_for_in_a_terminal_and_twice_when_it_is_new(desk: Path) -> None:
    terminal = Terminal(desk, 100, 30)
    try:
        terminal.type("dunlin repo init vault")
        terminal.until(lambda screen: "Password:" in screen)
        terminal.type("a word")
        terminal.until(lambda screen: "Repeat for confirmation:" in screen)
        terminal.type("a word")
        terminal.until(lambda screen: "made repository" in screen)
        terminal.type("clear; dunlin backup home --repo vault")
        terminal.until(lambda screen: "Password:" in screen and "Repeat" not in screen)
        terminal.type("a word")
        assert "a word" not in terminal.until(lambda screen: "snapshot " in screen and "stored " in screen)
    finally:
        terminal.close()
    program.dunlin("repo", "stats", "--repo", "vault", cwd=desk, env={"DUNLIN_PASSWORD": "a word"}, expect=0)
