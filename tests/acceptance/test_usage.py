"""Wrong words on the command line, variables, help: one clear line each, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, command, dunlin, environment
from tests.acceptance.trees import make, names

COMMANDS = ("sync", "check", "status", "control", "init", "config", "version")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check"], ["SOURCE and DESTINATION are missing", "dunlin check SOURCE DESTINATION"]),
        (["sync", "source"], ["DESTINATION is missing"]),
        (["sync", "source", "b", "c"], ["more than SOURCE and DESTINATION: c"]),
        (["sync", "", "d"], ["SOURCE is empty"]),
        (["sync", "source", " "], ["DESTINATION is empty"]),
        (["sync", "source", "source"], ["the same"]),
        (["sync", "source", "./source/"], ["the same"]),
        (["sync", "source/", "source/../source"], ["the same"]),
        (["sync", "none", "d"], ["none", "there is no such directory"]),
        (["sync", "source/file", "d"], ["is a file", "--include"]),
        (["sync", "source", "source/file"], ["it is a file"]),
        (["sync", "source", "no/such/parent"], ["no/such/parent", "directory above it is missing"]),
        (["sync", "host:path", "d"], ["host:path", "mount"]),
        (["sync", "source", "user@host:/path"], ["user@host:/path", "mount"]),
        (["sync", "s3://b/key", "d"], ["s3://b/key", "no name of a bucket"]),
        (["sync", "source", "az://container"], ["no storage account is named", "--account-name"]),
        (["sync", "source", "ftp://host/x"], ["ftp://"]),
        (["check", "source", "none"], ["none", "there is no such directory"]),
        (["copy", "source", "d"], ["no command copy", "dunlin sync"]),
        (["snyc", "source", "d"], ["no command snyc", "did you mean sync?"]),
        (["source", "d"], ["dunlin sync SOURCE DESTINATION"]),
        (["sync", "--dry-rnu", "source", "d"], ["--dry-rnu", "did you mean --dry-run?"]),
        (["sync", "--exlude=x", "source", "d"], ["--exlude", "did you mean --exclude?"]),
        (["sync", "--partial", "source", "d"], ["--partial", "never visible half written"]),
        (["sync", "-z", "source", "d"], ["-z", "nothing is compressed"]),
        (["sync", "--nonsense", "source", "d"], ["no option --nonsense"]),
        (["sync", "--bwlimit", "fast", "source", "d"], ["--bwlimit", "'fast'"]),
        (["sync", "--bwlimit", "-5M", "source", "d"], ["--bwlimit"]),
        (["sync", "--bwlimit", "08:00,5M 25:00,off", "source", "d"], ["--bwlimit", "25:00"]),
        (["sync", "--bwlimit=", "source", "d"], ["--bwlimit"]),
        (["sync", "--block-size", "0", "source", "d"], ["--block-size", "4096"]),
        (["sync", "--block-size", "-1M", "source", "d"], ["--block-size"]),
        (["sync", "--max-size", "1Q", "source", "d"], ["--max-size", "1Q"]),
        (["sync", "--workers", "0", "source", "d"], ["--workers", "from 1 to 1,024"]),
        (["sync", "--workers", "-3", "source", "d"], ["--workers"]),
        (["sync", "--workers", "1025", "source", "d"], ["--workers"]),
        (["sync", "--workers", "many", "source", "d"], ["--workers"]),
        (["sync", "--queue-capacity", "0", "source", "d"], ["--queue-capacity"]),
        (["sync", "--max-delete", "-1", "source", "d"], ["--max-delete"]),
        (["sync", "--checksum", "crc32", "source", "d"], ["--checksum", "blake3"]),
        (["sync", "--compare", "date", "source", "d"], ["--compare", "size+mtime"]),
        (["sync", "--modify-window", "x", "source", "d"], ["--modify-window"]),
        (["sync", "--lock-wait", "-1", "source", "d"], ["--lock-wait"]),
        (["sync", "--fsync", "always", "source", "d"], ["--fsync"]),
        (["sync", "--log-level", "loud", "source", "d"], ["--log-level"]),
        (["sync", "--log-file"], ["--log-file"]),
        (["sync", "--dry-run=yes", "source", "d"], ["--dry-run"]),
        (["sync", "--state-db", "no/such/dir/state.db", "source", "d"], ["no/such/dir/state.db"]),
        (["sync", "--state-db", "source", "source", "d"], ["source"]),
        (["sync", "--state-db", "source/file", "source", "d"], ["source/file", "not"]),
        (["status", "extra"], ["extra"]),
        (["status", "--state-db", "none"], ["none"]),
        (["status", "--state-db", "source/file"], ["source/file"]),
        (["control"], ["bwlimit, pause, resume, stop"]),
        (["control", "halt"], ["halt"]),
        (["control", "pausee"], ["did you mean pause?"]),
        (["control", "pause", "now"], ["now"]),
        (["control", "--run", "0", "pause"], ["--run"]),
        (["check", "--delete-extras", "source", "d"], ["--delete-extras"]),
    ],
    ids=lambda each: " ".join(each)[:40],
)
def test_one_line_and_exit_1(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    make(tmp_path / "source", {"file": b"this is no database, nor anything else"})
    done = dunlin(*words, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode in (1, 2) if "--state-db" in words else done.returncode == 1, done
    assert done.stdout == ""
    # What comes before a run begins is told in one line; after that a log has begun.
    assert [line for line in lines if line.startswith("dunlin: ")] == lines[-1:], done.stderr
    for word in expected:
        assert word in lines[-1], lines[-1]
    assert names(tmp_path / "source") == {"file"}


def test_no_words_at_all_show_the_help(tmp_path: Path) -> None:
    done = dunlin(cwd=tmp_path, expect=1)
    assert done.stderr.startswith("Usage: dunlin")
    assert "sync" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_help(tmp_path: Path, command: str, flag: str) -> None:
    done = dunlin(command, flag, cwd=tmp_path, expect=0)
    assert done.stdout.startswith(f"Usage: dunlin {command}")
    for part in ("Examples:", "Exit codes:", "130", "25 "):
        assert part in done.stdout
    assert done.stderr == ""
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if "dunlin sync" not in line)


def test_help_and_version_of_the_program(tmp_path: Path) -> None:
    for flag in ("--help", "-h"):
        done = dunlin(flag, cwd=tmp_path, expect=0)
        assert all(command in done.stdout for command in COMMANDS)
    for flag in ("--version", "-V"):
        assert dunlin(flag, cwd=tmp_path, expect=0).stdout.startswith("dunlin ")
    assert "python" in json.loads(dunlin("version", "--json", cwd=tmp_path, expect=0).stdout)
    assert not list(tmp_path.iterdir())


def test_a_place_that_begins_with_a_dash_or_holds_a_colon(tmp_path: Path) -> None:
    make(tmp_path / "-source", {"f": b"1"})
    dunlin("sync", "--", "-source", "./12:30", cwd=tmp_path, expect=0)
    assert (tmp_path / "12:30/f").exists()
    make(tmp_path / "a:b", {"g": b"1"})
    dunlin("sync", "a:b", tmp_path / "c", cwd=tmp_path, expect=0)
    assert (tmp_path / "c/g").exists(), "a directory of that name is here"


def test_file_urls_and_slashes_at_the_end(tmp_path: Path) -> None:
    make(tmp_path / "a b%20", {"f": b"1"})
    dunlin("sync", f"file://{tmp_path}/a%20b%2520/", f"{tmp_path}/d///", cwd=tmp_path, expect=0)
    assert names(tmp_path / "d") == {"f"}
    dunlin("check", f"{tmp_path}/a b%20", f"file://{tmp_path}/d", cwd=tmp_path, expect=0)
    pairs = json.loads(dunlin("status", "--json", cwd=tmp_path, expect=0).stdout)["pairs"]
    assert len(pairs) == 1


# ---- variables and --no- ----


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = make(tmp_path / "source", {"a.txt": b"1", "b.log": b"2"})
    (root / "link").symlink_to("a.txt")
    return root


def copied(source: Path, *words: str, **env: str) -> set[str]:
    destination = source.parent / f"d{len(list(source.parent.iterdir()))}"
    dunlin("sync", *words, source, destination, cwd=source.parent, env=env, expect=0)
    return names(destination)


def test_variables_give_values_and_the_command_line_wins(source: Path) -> None:
    assert copied(source) == {"a.txt", "b.log"}
    assert copied(source, DUNLIN_LINKS="1") == {"a.txt", "b.log", "link"}
    assert copied(source, DUNLIN_LINKS="true") == {"a.txt", "b.log", "link"}
    assert copied(source, "--no-links", DUNLIN_LINKS="1") == {"a.txt", "b.log"}
    assert copied(source, DUNLIN_LINKS="") == {"a.txt", "b.log"}
    assert copied(source, DUNLIN_EXCLUDE="*.log") == {"a.txt"}
    assert copied(source, DUNLIN_EXCLUDE="*.log\n*.txt") == set()
    assert copied(source, "--include=b.log", DUNLIN_EXCLUDE="*.log") == {"a.txt", "b.log"}
    assert copied(source, DUNLIN_MAX_SIZE="0") == set()
    assert copied(source, "--max-size=1K", DUNLIN_MAX_SIZE="0") == {"a.txt", "b.log"}
    assert copied(source, DUNLIN_WORKERS="0", DUNLIN_BWLIMIT="") == {"a.txt", "b.log"}


def test_a_wrong_variable_is_named(source: Path, tmp_path: Path) -> None:
    for name, value in (("DUNLIN_BWLIMIT", "fast"), ("DUNLIN_WORKERS", "-1"), ("DUNLIN_ARCHIVE", "perhaps")):
        done = dunlin("sync", source, tmp_path / "d", cwd=tmp_path, env={name: value}, expect=1)
        assert name in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_state_file_from_a_variable(source: Path, tmp_path: Path) -> None:
    env = {"DUNLIN_STATE_DB": str(tmp_path / "other.db")}
    dunlin("sync", source, tmp_path / "d", cwd=tmp_path, env=env, expect=0)
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / ".sync-state.db").exists()
    assert "copied 2 files" in dunlin("status", cwd=tmp_path, env=env, expect=0).stdout
    dunlin("sync", source, tmp_path / "e", cwd=tmp_path, env={"DUNLIN_STATE_DB": ""}, expect=0)
    assert not (tmp_path / ".sync-state.db").exists(), "empty means off"


def test_no_forms(source: Path) -> None:
    assert copied(source, "-a", "--no-links") == {"a.txt", "b.log"}
    assert copied(source, "--no-links", "-a") == {"a.txt", "b.log"}
    assert copied(source, "--no-archive") == {"a.txt", "b.log"}
    assert copied(source, "-l", "--no-l") == {"a.txt", "b.log"}
    assert copied(source, "--no-l", "-l") == {"a.txt", "b.log", "link"}
    destination = source.parent / "kept"
    destination.mkdir()
    (destination / "extra").write_bytes(b"x")
    dunlin("sync", "--delete-extras", "--no-delete-extras", source, destination, cwd=source.parent, expect=0)
    assert (destination / "extra").exists()


def test_the_names_of_other_programs_work(source: Path, tmp_path: Path) -> None:
    dunlin(
        "sync", "-rlptgoDvP", "--no-progress", "--delete", "--bandwidth-limit=off", "--database", "state.db",
        "--audit-log=audit.log", "--inplace", "--ignore-existing", "-h", source, tmp_path / "d",
        cwd=tmp_path, expect=0,
    )  # fmt: skip
    assert {"state.db", "audit.log", "d"} <= set(os.listdir(tmp_path))


# ---- faults of our own ----


def test_tracebacks_are_for_debug_only(source: Path, tmp_path: Path) -> None:
    """Every call in these files refuses tracebacks; with --log-level debug an error shows where it came from."""
    done = subprocess.run(
        command("sync", "--log-level=debug", tmp_path / "none", tmp_path / "d"),
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dunlin: ")


@pytest.mark.root
def test_a_working_directory_that_cannot_hold_the_state(source: Path, tmp_path: Path) -> None:
    here = tmp_path / "read-only"
    here.mkdir(mode=0o555)
    done = dunlin("sync", source, tmp_path / "d", cwd=here, expect=0, prefix=UNPRIVILEGED)
    (line,) = [line for line in done.stderr.splitlines() if "WARN" in line]
    assert "state" in line
    assert "read-only" in line
    told = dunlin("status", cwd=here, expect=0, prefix=UNPRIVILEGED)
    assert "copied 2 files" in told.stdout
