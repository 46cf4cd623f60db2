"""Bad days of backups: places that are missing, half-made, read-only, full; sources that disappear; names that do not
fit. Each is told in one clear line, with the documented exit code, and leaves a repository that is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.acceptance import program
from tests.acceptance.clouds import cloud
from tests.acceptance.trouble import ended, in_memory, remount, tmpfs, until
from tests.acceptance.vaults import COMMANDS, ENVIRONMENT, Run, bytes_read, content, fill, leases, runner
from tests.fuse.slowfs import mounted

pytestmark = pytest.mark.slow

@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path / "desk") as desk:
        fill(desk / "home", 30, 5_000)
        yield desk


def fill_up(path: Path) -> None:
    """Write until the disk is full."""
    ballast = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while os.write(ballast, bytes(4096)):
                pass
        with pytest.raises(OSError, match="No space"):
            os.write(ballast, bytes(4096))
    finally:
        os.close(ballast)


@pytest.fixture
def run(desk: Path) -> Run:
    return runner(desk, ENVIRONMENT)


def line(done: CompletedProcess[str]) -> str:
    """The one line that was said."""
    (said,) = done.stderr.splitlines()
    assert said.startswith("dunlin: ")
    return said


def whole(run: Run, snapshots: int) -> None:
    told = json.loads(run("verify", "--read-data", "--json").stdout)
    assert (told["whole"], told["snapshots"]) == (True, snapshots)


def test_commands_refuse_a_wrong_password_and_a_missing_repository(desk: Path, run: Run) -> None:
    run("repo", "init")
    run("backup", "home")
    for number, (name, words) in enumerate(COMMANDS.items()):
        if number % 2:
            said = line(run(*words, env={"DUNLIN_PASSWORD": "wrong"}, expect=1))
            assert said.startswith("dunlin: cannot open the repository: wrong password"), name
        else:
            said = line(run(*words, env={"DUNLIN_REPO": "nowhere"}, expect=1))
            assert "nowhere: there is no repository" in said, name
    assert not (desk / "back").exists()
    assert not (desk / "nowhere").exists()


# ---- half-made ----


def test_a_repository_of_which_the_making_was_cut_short(desk: Path, run: Run) -> None:
    """Each step of `init` is the last one in turn: whatever is there then, it is made or can be made."""
    steps = ["mkdir", "openat", "write", "rename", "renameat2", "unlink"]
    made = again = 0
    for step in steps:
        for number in (1, 2):
            shutil.rmtree(desk / "vault", ignore_errors=True)
            shot = ("strace", "-f", "-qq", "-o", "/dev/null", "-P", desk / "vault",
                    "-P", desk / "vault/dunlin-repository.json",
                    "-e", f"trace={step}", "-e", f"inject={step}:signal=KILL:when={number}")  # fmt: skip
            running = program.start("repo", "init", cwd=desk, env=ENVIRONMENT, prefix=list(map(str, shot)))
            running.communicate(timeout=60)
            if running.returncode == 0:
                break  # this step is not done so often
            done = program.dunlin("repo", "init", cwd=desk, env=ENVIRONMENT)
            if done.returncode == 0:
                again += 1
            else:
                assert "there is one already" in line(done)
                made += 1
            run("backup", "home")
            assert "nothing is missing" in run("verify").stdout
    assert made + again >= 4
    assert again >= 2


def test_of_two_who_make_one_repository_at_once_one_does(desk: Path, run: Run) -> None:
    for _ in range(4):
        shutil.rmtree(desk / "vault", ignore_errors=True)
        both = [program.start("repo", "init", cwd=desk, env=ENVIRONMENT | {"DUNLIN_PASSWORD": word}) for word in "ab"]
        told = [ended(each, 60) for each in both]
        assert sorted(code for code, _ in told) == [0, 1], told
        winner = "ab"[[code for code, _ in told].index(0)]
        assert "there is one already" in told[1 - "ab".index(winner)][1]
        run("backup", "home", env={"DUNLIN_PASSWORD": winner})
        other = {"DUNLIN_PASSWORD": "ba"["ab".index(winner)]}
        assert "wrong password" in line(run("ls", "latest", env=other, expect=1))


# ---- read-only and full ----


WRITING = ("backup", "scan", "forget", "prune", "rebuild-index")


@pytest.mark.root
def test_from_a_read_only_repository_everything_is_read_and_nothing_written(desk: Path, run: Run) -> None:
    with tmpfs(desk / "vault", "size=50m"):
        run("repo", "init")
        run("backup", "home")
        (desk / "home" / "new").write_text("new")
        run("backup", "home")
        remount(desk / "vault", "ro")
        for name, words in COMMANDS.items():
            if name in WRITING:
                said = line(run(*words, expect=2))
                assert "Read-only file system" in said, name
            else:
                run(*words)
        assert "writable" in line(run("backup", "home", expect=2))
        assert content(desk / "back") == content(desk / "home")
        run("verify", "--read-data")
        run("backup", "-n", "home")
        remount(desk / "vault", "rw")
        run("backup", "home")
        whole(run, 3)


@pytest.mark.root
def test_a_repository_that_this_user_may_not_write_to(desk: Path, run: Run) -> None:
    run("repo", "init")
    run("backup", "home")
    for path in [desk / "vault", *(desk / "vault").rglob("*")]:
        os.chown(path, 1234, 1234)
        path.chmod(0o755 if path.is_dir() else 0o644)
    how = {"prefix": ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown",
                      "--inh-caps=-dac_override,-dac_read_search,-fowner,-chown")}  # fmt: skip
    for name, words in COMMANDS.items():
        if name in WRITING and name != "forget":  # that removes nothing here
            assert "Permission denied" in line(run(*words, expect=2, **how)), name
        elif name != "forget":
            run(*words, **how)
    assert content(desk / "back") == content(desk / "home")


@pytest.mark.root
def test_a_repository_that_is_full(desk: Path, run: Run) -> None:
    with tmpfs(desk / "vault", "size=8m"):
        run("repo", "init")
        run("backup", "home")
        fill(desk / "home", 12, 900_000, name="large")
        said = line(run("backup", "home", expect=2))
        assert "No space left on device" in said
        assert "make room there" in said
        whole(run, 1)
        assert json.loads(run("snapshots", "--json").stdout)["snapshots"][0]["totals"]["files"] == 30
        run("restore", "latest", "back")
        assert not list((desk / "vault/default/leases").iterdir())
        # Now nothing at all can be written: the lease of a backup has no room, that of a prune has.
        fill_up(desk / "vault" / "ballast")
        assert "No space left on device" in line(run("backup", "home", expect=2))
        run("prune")
        for path in (desk / "home").rglob("large*"):
            path.unlink()
        (desk / "vault" / "ballast").unlink()
        # What forgetting frees can be freed in a repository that is full to the last byte.
        fill(desk / "home", 4, 900_000, name="once")
        run("backup", "home")
        for path in (desk / "home").rglob("once*"):
            path.unlink()
        run("backup", "home")
        fill_up(desk / "vault" / "ballast")
        run("forget", "--keep-last", "1")
        told = json.loads(run("prune", "--json").stdout)
        assert told["removed_bytes"] > 3_000_000
        whole(run, 1)
        remount(desk / "vault", "size=60m")
        fill(desk / "home", 12, 900_000, name="large")
        run("backup", "home")
        whole(run, 2)
        run("restore", "latest", "again")
        assert content(desk / "again") == content(desk / "home")


@pytest.mark.root
def test_a_cache_that_cannot_be_written_ends_nothing(desk: Path, run: Run) -> None:
    run("repo", "init")
    with tmpfs(desk / "cache", "size=1m"):
        remount(desk / "cache", "ro")
        for _ in range(2):
            run("backup", "home", "--cache", desk / "cache")
        run("ls", "latest", "--cache", desk / "cache")
        remount(desk / "cache", "rw,size=4k")
        (desk / "cache" / "full").write_bytes(bytes(4096))
        run("restore", "latest", "back", "--cache", desk / "cache")
    assert content(desk / "back") == content(desk / "home")


# ---- sources that disappear ----


@pytest.mark.root
def test_a_source_that_is_not_mounted_is_no_source_in_which_everything_was_deleted(desk: Path, run: Run) -> None:
    run("repo", "init")
    (desk / "disk").mkdir()
    assert "0 files" in run("backup", "disk").stdout  # it was empty from the beginning
    with tmpfs(desk / "disk", "size=10m"):
        fill(desk / "disk", 10, 5_000)
        run("backup", "disk")
    said = line(run("backup", "disk", expect=1))
    assert "it is empty, although the last snapshot holds 10 files" in said
    assert "--accept-source" in said
    assert "removed d0/" in run("backup", "-n", "disk").stdout
    assert len(json.loads(run("snapshots", "--json").stdout)["snapshots"]) == 2
    assert "10 gone" in run("backup", "disk", "--accept-source").stdout


@pytest.mark.root
@pytest.mark.parametrize("how", ["unmounted", "removed", "replaced"])
def test_a_source_that_disappears_in_the_middle_makes_no_snapshot(desk: Path, run: Run, how: str) -> None:
    run("repo", "init")
    with tmpfs(desk / "disk", "size=30m"):
        source = desk / "disk" if how == "unmounted" else desk / "disk" / "home"
        fill(source, 200, 60_000)
        run("backup", source, "--share", "disk")
        fill(source, 200, 70_000)
        running = program.start(
            "backup", str(source), "--share", "disk", "--bwlimit", "2M", "--movers", "1", cwd=desk, env=ENVIRONMENT
        )
        until(lambda: leases(desk), running)
        before = bytes_read(running)
        until(lambda: bytes_read(running) > before + (3 << 20), running)  # of 14 MB
        if how == "unmounted":
            subprocess.run(["umount", "-l", desk / "disk"], check=True)
        elif how == "removed":
            shutil.rmtree(source, ignore_errors=True)
        else:
            source.rename(desk / "disk" / "old")
            source.mkdir()
        code, said = ended(running, 120)
        made = json.loads(run("snapshots", "--json").stdout)["snapshots"]
        if code:
            assert code == 2, said
            assert "no snapshot was made" in said or "another directory stands there now; was it unmounted?" in said
            assert len(made) == 1
        else:  # who held on to what was there has read all of it
            assert made[-1]["totals"]["files"] == 200
        if how == "unmounted":
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", desk / "disk"], check=True)
    run("restore", made[0]["id"], "back")
    assert len(content(desk / "back")) == 200


# ---- names that do not fit ----


def test_names_that_a_file_system_cannot_hold(desk: Path, run: Run, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    long, deep = "n" * 300, "/".join("p" * 200 for _ in range(4))
    good = {"data/a": b"a", f"data/{deep}/b": b"b", "data/" + "é" * 127: b"e"}
    bucket.put({**good, f"data/{long}": b"long", f"data/sub/{long}": b"long", "data/sub/c": b"c"})
    run("repo", "init")
    where = bucket.options("source")
    run("backup", f"{bucket.url}/data", *where, env=dict(bucket.env))
    assert long in run("ls", "latest").stdout
    done = run("restore", "latest", "back", expect=23)
    assert done.stderr.count(f"{long}: File name too long") >= 2
    wanted = {name.removeprefix("data/"): data for name, data in good.items()}
    assert content(desk / "back") == wanted | {"sub/c": b"c"}


@pytest.mark.fuse
def test_names_that_a_destination_takes_for_one(desk: Path, run: Run) -> None:
    for name in ("Readme", "README", "other"):
        (desk / "home" / name).write_text(name)
    run("repo", "init")
    run("backup", "home")
    (desk / "backing").mkdir()
    with mounted(desk / "backing", desk / "back", case_insensitive=True):
        done = run("restore", "latest", "back", expect=23)
        assert "eadme" in done.stderr
        assert (desk / "back" / "other").read_text() == "other"
        assert len([name for name in os.listdir(desk / "back") if name.lower() == "readme"]) <= 1
        assert {name: data for name, data in content(desk / "back").items() if name.lower() != "readme"} == {
            name: data for name, data in content(desk / "home").items() if name.lower() != "readme"
        }


def test_names_that_a_bucket_cannot_hold(desk: Path, run: Run, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    odd = os.fsdecode(b"caf\xe9")
    (desk / "home" / odd).write_text("odd")
    run("repo", "init")
    run("backup", "home")
    assert odd in run("ls", "latest").stdout.encode().decode("unicode_escape").encode("latin-1").decode(
        "utf-8", "surrogateescape"
    ) or "caf" in run("ls", "latest").stdout
    done = run("restore", "latest", f"{bucket.url}/back", *bucket.options("dest"), env=dict(bucket.env), expect=23)
    assert "caf" in done.stderr
    there = {key.removeprefix("back/"): data for key, data in bucket.content().items()}
    assert there == {name: data for name, data in content(desk / "home").items() if name != odd}
