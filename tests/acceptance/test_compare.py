"""What counts as in sync: --compare and everything that changes its verdict."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import make, names, snapshot
from tests.fuse.slowfs import Mount, mounted

fuse = pytest.mark.fuse

OLD, TIME, NEW = 1_500_000_000.0, 1_600_000_000.25, 1_700_000_000.5


def put(path: Path, content: bytes, mtime: float = TIME) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(int(mtime * 1e9), int(mtime * 1e9)))


def sync(source: Path, destination: Path, *more: str | Path, expect: int = 0, **options: Any) -> dict[str, Any]:
    done = dunlin("sync", "--json", *more, source, destination, cwd=source.parent, expect=expect, **options)
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {"log": done.stderr}


def copied(told: dict[str, Any]) -> int:
    return int(told["stats"]["copied_files"])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """One file for every relation of content, size and time; no state yet."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    cases: dict[str, tuple[tuple[bytes, float] | None, tuple[bytes, float] | None]] = {
        "equal": ((b"same", TIME), (b"same", TIME)),
        "damaged": ((b"good", TIME), (b"BAD!", TIME)),  # the same size, the same time
        "touched": ((b"same", NEW), (b"same", TIME)),
        "older": ((b"new!", OLD), (b"old.", TIME)),  # the same size, and the source's time goes backwards
        "longer": ((b"longer", TIME), (b"long", TIME)),
        "newer-there": ((b"mine", TIME), (b"theirs", NEW)),
        "older-there": ((b"mine!", TIME), (b"theirs", OLD)),
        "missing": ((b"x", TIME), None),
        "near": ((b"near", TIME + 0.001), (b"NEAR", TIME)),
    }
    for name, sides in cases.items():
        for root, side in zip((source, destination), sides, strict=True):
            if side is not None:
                put(root / name, *side)
    return source, destination


ALL = {"equal", "damaged", "touched", "older", "longer", "newer-there", "older-there", "missing", "near"}
DIFFER = ALL - {"equal", "damaged"}


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ((), DIFFER),
        (("--compare", "size+mtime"), DIFFER),
        (("--compare", "size"), {"longer", "newer-there", "older-there", "missing"}),
        (("--size-only",), {"longer", "newer-there", "older-there", "missing"}),
        (("--compare", "mtime"), DIFFER - {"longer"}),
        # what differs in time alone gets the right time, not the bytes
        (("--compare", "checksum"), DIFFER - {"touched"} | {"damaged"}),
        (("-c",), DIFFER - {"touched"} | {"damaged"}),
        (("--update",), DIFFER - {"newer-there", "older"}),
        (("--skip-existing",), {"missing"}),
        (("--skip-existing", "--force-resync"), {"missing"}),
        (("--modify-window", "0.002"), DIFFER - {"near"}),
        (("--modify-window", "0.0005"), DIFFER),
        (("--force-resync",), ALL),
        (("--update", "--modify-window", "2000d"), {"longer", "newer-there", "missing", "older-there"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_which_files_are_written(pair: tuple[Path, Path], options: tuple[str, ...], written: set[str]) -> None:
    source, destination = pair
    before = {path.name: path.stat().st_ino for path in destination.iterdir()}
    plan = dunlin("sync", "-n", *options, source, destination, cwd=source.parent, expect=0).stdout.splitlines()
    planned = {line.split()[-1] for line in plan if line.startswith(("copy ", "update "))}
    told = sync(source, destination, *options)
    after = {path.name: path.stat().st_ino for path in destination.iterdir()}
    assert {name for name in after if before.get(name) != after[name]} == written
    assert copied(told) == len(written)
    assert planned == written
    for name in written:
        assert (destination / name).read_bytes() == (source / name).read_bytes()
        assert (destination / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns
    for name in ALL - written - {"missing"}:
        assert (destination / name).stat().st_size == len((destination / name).read_bytes())
    told = sync(source, destination, *[option for option in options if option != "--force-resync"])
    assert copied(told) == 0, "the second run finds nothing to do"


def test_checksum_sets_the_time_where_only_that_differs(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    before = (destination / "touched").stat().st_ino
    sync(source, destination, "-c")
    assert (destination / "touched").stat().st_mtime_ns == (source / "touched").stat().st_mtime_ns
    assert (destination / "touched").stat().st_ino == before


def test_size_leaves_times_alone(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    before = (destination / "touched").stat().st_mtime_ns
    sync(source, destination, "--compare=size")
    assert (destination / "touched").stat().st_mtime_ns == before


def test_an_older_file_of_the_same_size_is_copied_again_after_a_sync(pair: tuple[Path, Path]) -> None:
    """The classic miss: somebody restores an old version, of the same size, over a file that was synced."""
    source, destination = pair
    sync(source, destination)
    put(source / "equal", b"EMAS", OLD)
    assert copied(sync(source, destination)) == 1
    assert (destination / "equal").read_bytes() == b"EMAS"
    put(source / "equal", b"back", OLD - 10)
    assert copied(sync(source, destination, "--trust-state")) == 1
    assert (destination / "equal").read_bytes() == b"back"


def test_one_nanosecond_is_a_difference(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    sync(source, destination)
    stamp = (source / "equal").stat().st_mtime_ns + 1
    os.utime(source / "equal", ns=(stamp, stamp))
    assert copied(sync(source, destination)) == 1
    assert (destination / "equal").stat().st_mtime_ns == stamp


def test_damage_that_size_and_time_hide_is_found_by_checksum(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    sync(source, destination)
    assert (destination / "damaged").read_bytes() == b"BAD!"
    dunlin("check", source, destination, cwd=source.parent, expect=0)
    found = dunlin("check", "--compare=checksum", source, destination, cwd=source.parent, expect=3)
    assert "differ damaged\n" in found.stdout
    told = sync(source, destination, "--compare", "checksum")
    assert copied(told) == 1
    assert "damaged" in told["log"] or told["stats"]["updated_files"] == 1
    assert snapshot(source) == snapshot(destination)


def test_different_comparisons_at_once_are_refused(pair: tuple[Path, Path]) -> None:
    done = dunlin("sync", "-c", "--size-only", *pair, cwd=pair[0].parent, expect=1)
    assert "different comparisons" in done.stderr


@pytest.mark.parametrize("where", ["source", "destination"])
@fuse
def test_a_store_with_coarse_times_agrees_within_its_precision(tmp_path: Path, where: str) -> None:
    """FAT keeps even seconds: nothing is copied twice only because a store rounds."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    put(source / "f", b"content", 1_600_000_001.75)
    destination.mkdir()
    with mounted(tmp_path / where, tmp_path / "mnt", mtime_granularity_ns=2_000_000_000) as mount:
        pair = (mount.path, destination) if where == "source" else (source, mount.path)
        assert copied(sync(*pair, "--state-db", tmp_path / "state.db")) == 1
        if where == "destination":
            assert copied(sync(*pair, "--state-db", tmp_path / "state.db", "--modify-window", "2")) == 0


# ---- --trust-state ----


@fuse
def test_trust_state_does_not_list_the_destination_of_an_unchanged_tree(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"d{a}/s{b}/f{c}": b"x" for a in range(10) for b in range(9) for c in range(2)})
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing", tmp_path / "mnt", attr_timeout=0.0, entry_timeout=0.0) as mount:
        sync(source, mount.path, "-a")
        sync(source, mount.path, "-a")
        mount.reset()
        told = sync(source, mount.path, "-a", "--trust-state")
        counters = mount.counters()
        assert told["stats"]["equal_files"] == 180
        assert told["stats"]["scanned_directories"] == 101
        assert not {"open", "read", "write", "mkdir"} & set(counters), counters
        # The root is looked at: whether it is there, writable, empty, and how it treats names. Nothing else is.
        assert counters.get("readdir", 0) + counters.get("readdirplus", 0) <= 2, counters
        assert sum(counters.values()) < 70, counters
        mount.reset()
        put(source / "d1/s1/f1", b"changed")
        told = sync(source, mount.path, "-a", "--trust-state")
        counters = mount.counters()
        assert copied(told) == 1
        assert 1 <= sum(counters.get(name, 0) for name in ("readdir", "readdirplus")) <= 8, counters
        assert (tmp_path / "backing/d1/s1/f1").read_bytes() == b"changed"


def test_trust_state_leaves_a_locally_deleted_file_deleted(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"a/f": b"1", "a/g": b"2", "b/h": b"3"})
    destination = tmp_path / "destination"
    sync(source, destination, "-a")
    (destination / "a/f").unlink()
    assert copied(sync(source, destination, "-a", "--trust-state")) == 0
    assert not (destination / "a/f").exists()
    put(source / "a/new", b"new")
    assert copied(sync(source, destination, "-a", "--trust-state")) == 2, "a changed directory is listed"
    assert snapshot(source) == snapshot(destination)
    (destination / "b/h").unlink()
    assert copied(sync(source, destination, "-a")) == 1, "without it the destination counts"


def test_trust_state_does_not_trust_an_empty_destination(tmp_path: Path) -> None:
    """Another disk, or none, is mounted there: what is on record of it means nothing."""
    source = make(tmp_path / "source", {"a/f": b"1", "b/h": b"3"})
    destination = tmp_path / "destination"
    sync(source, destination, "-a")
    destination.rename(tmp_path / "elsewhere")
    assert copied(sync(source, destination, "-a", "--trust-state")) == 2
    assert snapshot(source) == snapshot(destination)


def test_trust_state_needs_a_complete_record(tmp_path: Path) -> None:
    """A directory that has a failed file is not trusted: the file is tried again."""
    source = make(tmp_path / "source", {"a/f": b"1", "a/g": b"2"})
    destination = make(tmp_path / "destination", {"a/f/in-the-way": b"x"})
    sync(source, destination, "-a", "--trust-state", expect=23)
    sync(source, destination, "-a", "--trust-state", expect=23)
    (destination / "a/f/in-the-way").unlink()
    (destination / "a/f").rmdir()
    assert copied(sync(source, destination, "-a", "--trust-state")) == 1
    assert snapshot(source) == snapshot(destination)


@pytest.mark.parametrize("option", ["--update", "--skip-existing"])
def test_trust_state_does_not_call_in_sync_what_was_left_alone(tmp_path: Path, option: str) -> None:
    source = make(tmp_path / "source", {"a/f": b"1", "a/g": b"2"})
    destination = make(tmp_path / "destination", {"a/f": b"newer"}, mtime=1_700_000_000)
    for _ in range(3):
        stats = sync(source, destination, "-a", option, "--trust-state")["stats"]
        assert stats["skipped_files"] >= 1
        assert (destination / "a/f").read_bytes() == b"newer"
    assert stats["equal_files"] + stats["skipped_files"] == 2


def test_trust_state_of_another_option_looks_again(tmp_path: Path) -> None:
    """What was in sync without its permissions is not in sync with them."""
    source = make(tmp_path / "source", {"a/f": b"1"})
    (source / "a/f").chmod(0o751)
    destination = tmp_path / "destination"
    sync(source, destination)
    sync(source, destination)
    sync(source, destination, "--perms", "--trust-state")
    assert (destination / "a/f").stat().st_mode & 0o777 == 0o751


def test_trust_state_without_a_state_is_refused(tmp_path: Path) -> None:
    done = dunlin("sync", "--trust-state", "--state-db=none", "s", "d", cwd=tmp_path, expect=1)
    assert "--trust-state" in done.stderr


# ---- --force-resync, the state ----


def test_force_resync_writes_everything_and_repairs_what_is_hidden(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    sync(source, destination)
    told = sync(source, destination, "--force-resync")
    assert copied(told) == len(ALL)
    assert snapshot(source) == snapshot(destination)


def test_the_verdict_does_not_depend_on_the_state(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    sync(source, destination, "--state-db", "none")
    assert not list(source.parent.glob(".sync-state*"))
    assert copied(sync(source, destination, "--state-db", "none")) == 0
    assert copied(sync(source, destination)) == 0
    database = sqlite3.connect(source.parent / ".sync-state.db")
    recorded = dict(database.execute("SELECT path, status FROM file_path"))
    database.close()
    assert recorded == dict.fromkeys(names(source), "synced")


# ---- --ctime-skip ----


@fuse
def test_ctime_skip_lists_only_what_changed_since_the_last_success(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"d{a}/f{c}": b"x" for a in range(40) for c in range(2)})
    (tmp_path / "backing").mkdir()
    skip = ("-a", "--ctime-skip", "--ctime-margin", "0")

    def listings(mount: Mount) -> int:
        counters = mount.counters()
        return counters.get("readdir", 0) + counters.get("readdirplus", 0)

    with mounted(tmp_path / "backing", tmp_path / "mnt", attr_timeout=0.0, entry_timeout=0.0) as mount:
        sync(source, mount.path, *skip)
        sync(source, mount.path, *skip)
        mount.reset()
        told = sync(source, mount.path, *skip)
        assert (told["stats"]["settled_directories"], told["stats"]["equal_files"]) == (40, 80)
        assert listings(mount) <= 4, "the root, which is never skipped, and nothing else"
        # The same size and time: --compare size+mtime sees nothing, and the change time does.
        times = (source / "d7/f1").stat()
        (source / "d7/f1").write_bytes(b"y")
        os.utime(source / "d7/f1", ns=(times.st_atime_ns, times.st_mtime_ns))
        mount.reset()
        told = sync(source, mount.path, *skip, "--compare", "checksum")
        assert (told["stats"]["settled_directories"], copied(told)) == (0, 1), "other rules: nothing is skipped"
        told = sync(source, mount.path, *skip)
        put(source / "d9/f1", b"changed")
        told = sync(source, mount.path, *skip)
        assert (told["stats"]["settled_directories"], copied(told)) == (39, 1)


def test_ctime_skip_skips_nothing_in_a_mirror_nor_within_its_margin(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"d/a": b"1", "d/b": b"2"})
    destination = tmp_path / "destination"
    for _ in range(3):
        told = sync(source, destination, "-a", "--ctime-skip")
    assert told["stats"]["settled_directories"] == 0, "a minute has not passed"
    done = dunlin("sync", "-a", "--ctime-skip", source, destination, cwd=tmp_path, expect=0)
    assert done.stderr.count("--ctime-skip skipped nothing: every directory holds what changed after") == 1
    sync(source, destination, "-a", "--ctime-skip", "--ctime-margin", "0")
    (destination / "d/extra").write_bytes(b"")
    done = dunlin("sync", "-a", "--ctime-skip", "--delete-extras", source, destination, cwd=tmp_path, expect=0)
    assert "--ctime-skip skips nothing: extras are deleted" in done.stderr
    assert not (destination / "d/extra").exists()
