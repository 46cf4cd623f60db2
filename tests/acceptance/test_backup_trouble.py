"""Backups that cannot be made, in part or at all: each is told in one line, with the exit code of `sync`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance import program
from tests.acceptance.trouble import until
from tests.acceptance.vaults import bytes_read, going_on, leases

PASSWORD = {"DUNLIN_PASSWORD": "correct horse", "DUNLIN_REPO": "vault"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a source `home`, and a repository `vault` that holds a snapshot of it."""
    desk = tmp_path_factory.mktemp("trouble") / "desk"
    (desk / "home" / "docs").mkdir(parents=True)
    (desk / "home" / "docs" / "a").write_text("a")
    program.dunlin("repo", "init", "vault", cwd=desk, env=PASSWORD, expect=0)
    program.dunlin("backup", "home", cwd=desk, env=PASSWORD, expect=0)
    (desk / "elsewhere" / "home").mkdir(parents=True)
    (desk / "half").mkdir()
    (desk / "half" / "dunlin-repository.json").write_text('{"format": 1, "id"')
    (desk / "later").mkdir()
    (desk / "later" / "dunlin-repository.json").write_text('{"format": 99}')
    return desk


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backup", "nosuch"], "cannot read the source nosuch: there is no such directory"),
        (["backup", "home/docs/a"], "is a file"),
        (["backup", ""], "SOURCE is empty"),
        (["backup"], "missing argument 'SOURCE'"),
        (["backup", "vault"], "the source is the repository itself"),
        (["backup", "home", "--repo", "nowhere"], "there is no repository; dunlin repo init makes one"),
        (["backup", "home", "--repo", ""], "which repository?"),
        (["backup", "home", "--repo", "later"], "its format is 99, this dunlin reads up to 1"),
        (["backup", "home", "--share", "A b"], "'A b' cannot be the name of a share"),
        (["backup", "home", "--tenant", "packs"], "'packs' cannot be the name of a tenant"),
        (["backup", "/", "-n"], "gives the share no name; write --share NAME"),
        (["backup", "elsewhere/home"], "the share home holds snapshots of "),
        (["backup", "host:path"], "does not speak ssh"),
        (["backup", "home", "--movers", "0"], "no whole number"),
        (["ls", "latest:nope"], "holds no such thing"),
        (["ls", "latest:../x"], "goes up"),
        (["ls", ":x"], "names no snapshot"),
        (["ls", "zz"], "there is none; dunlin snapshots lists them"),
        (["snapshots", "--share", "none"], "there is none; there is a share home"),
        (["snapshots", "--share", "none", "--tenant", "some"], "there is none yet; --tenant: there are default"),
        (["find", "latest:docs/a", "*"], "docs/a is a file"),
        (["du", "latest", "--depth", "x"], "no whole number"),
        (["forget"], "no rule says what is kept"),
        (["forget", "--keep-last", "two"], "no whole number"),
        (["repo"], "what about the repository?"),
        (["repo", "inti"], "did you mean init?"),
        (["repo", "init", "vault"], "there is one already"),
        (["repo", "init", "home"], "other things are there"),
        (["repo", "init", "no/such"], "the directory above it is missing"),
        (["repo", "password"], "what about passwords?"),
        (["repo", "password", "remove"], "which password?"),
        (["repo", "password", "remove", "abc"], "there is no key slot 'abc'"),
        (["repo", "password", "add"], "there is no new password"),
        (["snap", "home"], "did you mean `dunlin backup`?"),
        (["backup", "home", "--repository", "vault"], "did you mean --repo?"),
    ],
)
def test_wrong_words_get_one_clear_line_and_exit_code_1(desk: Path, words: list[str], said: str) -> None:
    done = program.dunlin(*words, cwd=desk, env=PASSWORD | {"DUNLIN_PROGRESS": "0"}, expect=1)
    [line] = done.stderr.splitlines()
    assert line.startswith("dunlin: ")
    assert said in line
    assert done.stdout == ""


def test_passwords_that_are_wrong_or_missing(desk: Path) -> None:
    repo = {"DUNLIN_REPO": "vault"}
    said = program.dunlin("ls", "latest", cwd=desk, env=repo, expect=1).stderr
    assert said == "dunlin: cannot open the repository: it is encrypted; give --password-file or DUNLIN_PASSWORD\n"
    said = program.dunlin("ls", "latest", cwd=desk, env=repo | {"DUNLIN_PASSWORD": "x"}, expect=1).stderr
    assert said == "dunlin: cannot open the repository: wrong password, or its configuration was changed\n"
    said = program.dunlin("repo", "init", "other", cwd=desk, expect=1).stderr
    assert "there is no password; give --password-file FILE or DUNLIN_PASSWORD, or --no-encryption" in said
    (desk / "empty").write_text("")
    assert "empty" in program.dunlin(
        "repo", "init", "other", "--password-file", "empty", cwd=desk, expect=1
    ).stderr  # fmt: skip
    assert not (desk / "other").exists()


def test_a_half_made_repository_is_told_from_none(desk: Path) -> None:
    done = program.dunlin("backup", "home", "--repo", "half", cwd=desk, env=PASSWORD, expect=2)
    assert "dunlin-repository.json cannot be read; it was cut short, or is no file of dunlin" in done.stderr


def test_json_tells_failures_too(desk: Path) -> None:
    done = program.dunlin("backup", "nosuch", "--json", cwd=desk, env=PASSWORD, expect=1)
    told = json.loads(done.stdout)
    assert (told["status"], told["exit_code"], told["snapshot"]) == ("failed", 1, None)
    assert "nosuch" in told["message"]


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    (desk / "home").mkdir(parents=True)
    for name in ("a", "b", "secret"):
        (desk / "home" / name).write_text(name)
    (desk / "home" / "secret").chmod(0)
    env = {"DUNLIN_REPO": "vault"}
    program.dunlin("repo", "init", "vault", "--no-encryption", cwd=desk, env=env, expect=0)
    done = program.dunlin("backup", "home", cwd=desk, env=env, prefix=program.UNPRIVILEGED, expect=23)
    assert "home/secret: Permission denied" in done.stdout
    assert "incomplete" in program.dunlin("snapshots", cwd=desk, env=env).stdout
    assert program.dunlin("ls", "latest", cwd=desk, env=env).stdout.splitlines() == ["a", "b"]
    refused = program.dunlin("restore", "latest", "home", "--delete", cwd=desk, env=env, expect=1).stderr
    assert "is incomplete" in refused
    assert "leave out --delete" in refused
    assert (desk / "home" / "secret").read_text() == "secret"


def test_the_repository_and_the_cache_are_no_part_of_their_own_backup(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "a").write_text("a")
    env = {"DUNLIN_REPO": "va[u]lt", "DUNLIN_CACHE": "kept"}
    program.dunlin("repo", "init", "va[u]lt", "--no-encryption", cwd=desk, env=env, expect=0)
    for _ in range(2):
        program.dunlin("backup", ".", cwd=desk, env=env, expect=0)
    assert (desk / "kept").is_dir()
    assert program.dunlin("ls", "-R", "latest", cwd=desk, env=env).stdout == "a\n"


def test_an_interrupted_backup_makes_no_snapshot_and_is_gone_on_with(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    (desk / "home").mkdir(parents=True)
    content = os.urandom(48 << 20)
    (desk / "home" / "large").write_bytes(content)
    env = {"DUNLIN_REPO": "vault"}
    program.dunlin("repo", "init", "vault", "--no-encryption", cwd=desk, env=env, expect=0)
    running = program.start("backup", "home", "--bwlimit", "6M", cwd=desk, env=env)
    until(lambda: leases(desk), running)
    before = bytes_read(running)
    until(lambda: bytes_read(running) > before + (14 << 20), running)  # and not yet a pack of them is stored
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, (out, err)
    assert b"no snapshot was made" in out
    assert program.dunlin("snapshots", cwd=desk, env=env).stdout == "no snapshots yet\n"
    done = json.loads(program.dunlin("backup", "home", "--json", cwd=desk, env=env, expect=0).stdout)
    assert done["totals"]["read_bytes"] == len(content)
    assert done["totals"]["new_bytes"] < len(content) - (4 << 20)


def test_a_share_has_one_writer(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    (desk / "home").mkdir(parents=True)
    (desk / "home" / "large").write_bytes(os.urandom(8 << 20))
    env = {"DUNLIN_REPO": "vault"}
    program.dunlin("repo", "init", "vault", "--no-encryption", cwd=desk, env=env, expect=0)
    running = program.start("backup", "home", "--bwlimit", "200K", cwd=desk, env=env)
    until(lambda: going_on(desk), running)
    try:
        said = program.dunlin("backup", "home", cwd=desk, env=env, expect=1).stderr
        assert "another backup of this share is going on" in said
        program.dunlin("backup", "home", "-n", "--exclude", "large", cwd=desk, env=env, expect=0)
        program.dunlin("backup", "home", "--share", "other", cwd=desk, env=env, expect=0)
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == 130
    program.dunlin("backup", "home", cwd=desk, env=env, expect=0)
