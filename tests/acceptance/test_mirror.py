"""--delete-extras: what it deletes, and everything that must keep it from deleting."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin, start
from tests.acceptance.trees import being_written, make, names, snapshot
from tests.acceptance.trouble import until
from tests.fuse.slowfs import mounted

root = pytest.mark.root
fuse = pytest.mark.fuse


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source of five files in three directories, and a destination that is equal to it."""
    source = make(
        tmp_path / "source",
        {"a": b"1", "b": b"22", "sub/c": b"333", "sub/deep/d": b"4444", "other/e": b"55555", "empty": None},
    )
    destination = tmp_path / "destination"
    mirror(source, destination, expect=0)
    assert snapshot(source) == snapshot(destination)
    return source, destination


def mirror(source: Path, destination: Path, *more: str | Path, expect: int, **options: Any) -> dict[str, Any]:
    """A mirroring run, started beside the source; its --json object, with the log as "log"."""
    done = dunlin(
        "sync", "-a", "--delete-extras", "--json", *more, source, destination,
        cwd=source.parent, expect=expect, **options,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {"log": done.stderr}


def stats(told: dict[str, Any], *which: str) -> tuple[int, ...]:
    return tuple(told["stats"][name] for name in which)


def add_extras(destination: Path) -> set[str]:
    """One extra of every kind and a subtree; what there is of them."""
    before = names(destination)
    (destination / "extra").write_bytes(b"x")
    (destination / "sub/deep/extra").write_bytes(b"x")
    (destination / "extra-link").symlink_to("a")
    (destination / "dangling").symlink_to("nowhere")
    (destination / "sub/to-directory").symlink_to("../other", target_is_directory=True)
    os.mkfifo(destination / "extra-fifo")
    for at in range(3):
        make(destination, {f"tree/one/two{at}/three/file": b"x", f"tree/empty{at}": None}, mtime=None)
    make(destination, {"sub/deep/below/f": b"x", "line\nfeed/\udcff": b"x"}, mtime=None)
    return names(destination) - before


def test_extras_of_every_kind_go_and_directory_times_are_repaired(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    extras = add_extras(destination)
    told = mirror(source, destination, expect=0)
    assert snapshot(destination) == snapshot(source)
    directories = {"tree", "tree/one", "sub/deep/below", "line\nfeed"}
    directories |= {f"tree/{name}{at}" for at in range(3) for name in ("one/two", "empty")}
    directories |= {f"tree/one/two{at}/three" for at in range(3)}
    assert directories < extras
    deleted = stats(told, "deleted_files", "deleted_directories")
    assert deleted == (len(extras) - len(directories), len(directories))


def test_a_link_to_a_directory_is_deleted_not_what_is_behind_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    source, destination = pair
    precious = make(tmp_path / "precious", {"keep/me": b"!"})
    (destination / "link").symlink_to(precious)
    (destination / "tree").mkdir()
    (destination / "tree" / "link").symlink_to(precious)
    before = snapshot(precious)
    mirror(source, destination, expect=0)
    assert snapshot(precious) == before
    assert snapshot(destination) == snapshot(source)


def test_nothing_is_deleted_without_the_option(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    extras = add_extras(destination)
    dunlin("sync", "-a", source, destination, cwd=source.parent, expect=0)
    assert extras <= names(destination)


def test_what_was_deleted_at_the_source_goes(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (source / "sub/deep/d").unlink()
    (source / "sub/deep").rmdir()
    (source / "a").unlink()
    mirror(source, destination, "--trust-state", expect=0)
    assert snapshot(destination) == snapshot(source)


def test_a_directory_where_a_file_belongs_gives_way(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (destination / "a").unlink()
    make(destination, {"a/b/c": b"x", "a-b": b"y", "a.txt": b"z"}, mtime=None)
    mirror(source, destination, expect=0)
    assert snapshot(destination) == snapshot(source)


def test_a_full_directory_where_a_file_belongs_stays_without_the_option(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (destination / "a").unlink()
    make(destination, {"a/b": b"x"}, mtime=None)
    for more in ((), ("--backup-dir", ".kept")):
        done = dunlin("sync", "-a", *more, source, destination, cwd=source.parent, expect=23)
        assert "--delete-extras" in done.stderr
        assert (destination / "a/b").read_bytes() == b"x"


@pytest.mark.parametrize("more", [(), ("--backup-dir", ".kept")])
def test_a_directory_where_a_file_belongs_is_guarded_as_extras_are(
    pair: tuple[Path, Path], more: tuple[str, ...]
) -> None:
    source, destination = pair
    (destination / "a").unlink()
    make(destination, {"a/b": b"x", "a/c": b"x", "a/keep.log": b"x"}, mtime=None)
    before = snapshot(destination / "a")
    told = mirror(source, destination, "--exclude", "*.log", *more, expect=23)
    assert "keep.log" in told["log"]
    told = mirror(source, destination, "--max-delete=3", *more, expect=25)
    assert "--max-delete 3" in told["log"]
    assert snapshot(destination / "a") == before
    told = mirror(source, destination, "--max-delete=4", *more, expect=0)
    assert stats(told, "deleted_files", "deleted_directories") == (3, 1)
    assert (destination / "a").read_bytes() == b"1"
    assert (destination / ".kept/a/keep.log").exists() is bool(more)


# ---- the source could not be read ----


def assert_kept(told: dict[str, Any], extras: set[str], destination: Path, reason: str) -> None:
    assert stats(told, "deleted_files", "deleted_directories") == (0, 0)
    assert extras <= names(destination)
    assert reason in told["log"], told["log"]


@root
def test_an_unreadable_source_directory_disables_every_delete(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    extras = add_extras(destination) | {"sub/c", "sub/deep/d"}
    (source / "sub").chmod(0o000)
    told = mirror(source, destination, expect=23, prefix=UNPRIVILEGED)
    assert_kept(told, extras, destination, "errors while reading the source")
    (source / "sub").chmod(0o755)
    mirror(source, destination, expect=0)
    assert names(destination) == names(source)


@root
def test_an_unreadable_source_file_disables_every_delete(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    extras = add_extras(destination)
    (source / "other/e").write_bytes(b"changed")
    (source / "other/e").chmod(0o000)
    told = mirror(source, destination, expect=23, prefix=UNPRIVILEGED)
    assert_kept(told, extras, destination, "errors while reading the source")


@fuse
@pytest.mark.parametrize("rule", ["readdir:sub", "stat:sub/c", "any:sub/deep"])
def test_io_errors_of_the_source_disable_every_delete(pair: tuple[Path, Path], tmp_path: Path, rule: str) -> None:
    source, destination = pair
    extras = add_extras(destination)
    with mounted(source, tmp_path / "mnt", errors={rule: errno.EIO}) as mount:
        told = mirror(mount.path, destination, "--accept-source", expect=23)
    assert_kept(told, extras | {"sub/c", "sub/deep/d"}, destination, "errors while reading the source")


def test_an_empty_source_deletes_nothing(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    extras = add_extras(destination) | names(source)
    source.rename(source.with_name("unmounted"))
    source.mkdir()
    told = mirror(source, destination, expect=1)
    assert_kept(told, extras, destination, "is it mounted?")
    mirror(source, destination, "--accept-source", "--max-delete", "1000", expect=0)
    assert names(destination) == set()


def test_an_empty_source_deletes_nothing_without_state_either(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {})
    destination = make(tmp_path / "destination", {"a/b": b"x"})
    told = mirror(source, destination, "--state-db", "none", expect=0)
    assert_kept(told, {"a", "a/b"}, destination, "is it mounted?")


@pytest.fixture
def over(pair: tuple[Path, Path]) -> Iterator[Path]:
    """A tmpfs is mounted over the source of the known pair, and holds one file."""
    source = pair[0]
    subprocess.run(["mount", "-t", "tmpfs", "none", source], check=True)
    try:
        (source / "other-file").write_bytes(b"o")
        yield source
    finally:
        subprocess.run(["umount", "-l", source], check=True)


@root
def test_another_file_system_at_the_source_deletes_nothing_until_it_is_accepted(
    pair: tuple[Path, Path], over: Path
) -> None:
    source, destination = pair
    before = names(destination)
    told = mirror(source, destination, expect=0)
    assert_kept(told, before, destination, "--accept-source")
    told = mirror(source, destination, expect=0)
    assert_kept(told, before, destination, "another file system")
    mirror(source, destination, "--accept-source", expect=0)
    assert names(destination) == {"other-file"}
    (destination / "late").write_bytes(b"x")
    mirror(source, destination, expect=0)
    assert names(destination) == {"other-file"}, "once accepted, it is the known one"


# ---- too many ----


@pytest.mark.parametrize(("limit", "code"), [("8", 25), ("9", 0), ("0", 25)])
def test_more_than_max_delete_deletes_nothing(pair: tuple[Path, Path], limit: str, code: int) -> None:
    source, destination = pair
    extras = make(destination, {f"x{at}": b"" for at in range(5)} | {"d/e/f": b"", "d/g": b""}, mtime=None)
    assert extras == destination
    before = names(destination)
    told = mirror(source, destination, "--max-delete", limit, expect=code)
    if code:
        assert names(destination) == before
        assert f"--max-delete {limit}" in told["log"]
        assert "7 files and 2 directories are not deleted" in told["log"]
    else:
        assert names(destination) == names(source)


def test_nothing_to_delete_is_within_a_limit_of_zero(pair: tuple[Path, Path]) -> None:
    mirror(*pair, "--max-delete", "0", expect=0)


def test_transfers_are_done_although_there_is_too_much_to_delete(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (source / "new").write_bytes(b"new")
    (destination / "extra").write_bytes(b"x")
    mirror(source, destination, "--max-delete=0", expect=25)
    assert (destination / "new").read_bytes() == b"new"
    assert (destination / "extra").exists()


@pytest.mark.parametrize(("extras", "code"), [(100, 0), (101, 25)])
def test_by_default_a_hundred_may_go_in_a_small_tree(pair: tuple[Path, Path], extras: int, code: int) -> None:
    source, destination = pair
    make(destination, {f"x{at}": b"" for at in range(extras)}, mtime=None)
    mirror(source, destination, expect=code)
    assert (names(destination) == names(source)) is (code == 0)


@pytest.mark.parametrize(("extras", "code"), [(150, 0), (152, 25)])
def test_by_default_a_quarter_may_go_in_a_larger_tree(tmp_path: Path, extras: int, code: int) -> None:
    source = make(tmp_path / "source", {f"f{at}": b"" for at in range(600)}, mtime=None)
    destination = make(tmp_path / "destination", {f"x{at}": b"" for at in range(extras)}, mtime=None)
    mirror(source, destination, expect=code)
    assert (names(destination) == names(source)) is (code == 0)


# ---- the run was cut short ----


def wait_for_transfer(process: subprocess.Popen[bytes], destination: Path) -> None:
    """Return once a file is being written: the scan is over then, with --scan-first."""
    until(lambda: being_written(destination), process)


def interrupted(source: Path, destination: Path, *more: str, sig: int = signal.SIGINT) -> int:
    """A mirroring run over a slow line, cut short after its scan has begun; its exit code."""
    process = start(
        "sync", "-a", "--delete-extras", "--bwlimit=64K", "--scan-first", *more, source, destination, cwd=source.parent
    )
    try:
        wait_for_transfer(process, destination)
        process.send_signal(sig)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode


def slow_pair(pair: tuple[Path, Path]) -> tuple[Path, Path, set[str]]:
    """Extras, and a file that takes eight seconds on a slow line."""
    source, destination = pair
    extras = add_extras(destination)
    (source / "large").write_bytes(os.urandom(512 << 10))
    return source, destination, extras


def test_an_interrupted_run_deletes_nothing_and_the_next_one_does(pair: tuple[Path, Path]) -> None:
    source, destination, extras = slow_pair(pair)
    assert interrupted(source, destination) == 130
    assert extras <= names(destination)
    told = mirror(source, destination, expect=0)
    assert told["continued"] is True
    assert snapshot(destination) == snapshot(source)


@root
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_continues_one_with_source_errors_deletes_nothing(pair: tuple[Path, Path], sig: int) -> None:
    source, destination, extras = slow_pair(pair)
    (source / "sub").chmod(0o000)
    process = start(
        "sync", "-a", "--delete-extras", "--bwlimit=64K", "--scan-first", source, destination,
        cwd=source.parent, prefix=UNPRIVILEGED,
    )  # fmt: skip
    try:
        wait_for_transfer(process, destination)
        process.send_signal(sig)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    (source / "sub").chmod(0o755)
    time.sleep(0.1)
    told = mirror(source, destination, expect=0)
    assert told["continued"] is True
    assert_kept(told, extras, destination, "errors while reading the source")
    mirror(source, destination, expect=0)
    assert snapshot(destination) == snapshot(source)


# ---- the live look ----


def test_what_appears_at_the_source_after_the_scan_is_not_deleted(pair: tuple[Path, Path]) -> None:
    """The extras were listed before a slow transfer; meanwhile some of them came into being at the source."""
    source, destination = pair
    make(destination, {"late": b"x", "really-extra": b"x", "late-tree/one/two": b"x", "gone/f": b"x"}, mtime=None)
    (source / "large").write_bytes(os.urandom(256 << 10))
    process = start(
        "sync", "-a", "--delete-extras", "--bwlimit=64K", "--scan-first", source, destination, cwd=source.parent
    )
    try:
        wait_for_transfer(process, destination)
        make(source, {"late": b"y", "late-tree/one/two": b"y"}, mtime=None)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log
    there = names(destination)
    assert {"late", "late-tree", "late-tree/one", "late-tree/one/two"} <= there
    assert not {"really-extra", "gone", "gone/f"} & there
    assert b"late" in log
    mirror(source, destination, expect=0)
    assert snapshot(destination) == snapshot(source)


# ---- filters ----


def test_filtered_names_are_protected(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    make(destination, {"keep.log": b"", "tree/keep.log": b"", "tree/go": b"", "cache/x/y": b"", "go": b""}, mtime=None)
    make(source, {"cache/z": b"z", "sub/s.log": b""}, mtime=None)
    mirror(source, destination, "--exclude", "*.log", "--exclude", "cache/", expect=0)
    there = names(destination)
    assert {"keep.log", "tree", "tree/keep.log", "cache", "cache/x", "cache/x/y"} <= there
    assert not {"go", "tree/go", "sub/s.log", "cache/z"} & there


def test_delete_excluded_deletes_them(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    excluded = {"keep.log": b"", "cache/x/y": b"", "cache/x/z/deeper": b"", "sub/s.log": b""}
    make(source, excluded, mtime=None)
    make(destination, excluded | {"tree/keep.log": b"", "tree/go": b""}, mtime=None)
    mirror(source, destination, "--exclude", "*.log", "--exclude", "cache/", "--delete-excluded", expect=0)
    assert names(destination) == names(source) - {"keep.log", "cache", "sub/s.log"} - {
        name for name in names(source) if name.startswith("cache/")
    }


def test_delete_excluded_alone_is_refused(pair: tuple[Path, Path]) -> None:
    done = dunlin("sync", "--delete-excluded", *pair, cwd=pair[0].parent, expect=1)
    assert "--delete-extras" in done.stderr


def test_names_that_size_and_age_keep_out_are_neither_extras_nor_overwritten(pair: tuple[Path, Path]) -> None:
    """A file that the source has, whatever its size there, is no extra at the destination, nor is a filtered one."""
    source, destination = pair
    (source / "large-here").write_bytes(bytes(5000))
    (destination / "large-here").write_bytes(b"an old version")
    (destination / "large-there").write_bytes(bytes(5000))
    (destination / "extra").write_bytes(b"x")
    told = mirror(source, destination, "--max-size=1K", expect=0)
    assert (destination / "large-here").read_bytes() == b"an old version"
    assert (destination / "large-there").exists()
    assert not (destination / "extra").exists()
    assert "not deleted" not in told["log"], "it was never to be deleted"
    # A name that takes part is compared with whatever stands at the destination, even if that is too large.
    (source / "both").write_bytes(b"small")
    (destination / "both").write_bytes(bytes(5000))
    mirror(source, destination, "--max-size=1K", "--skip-existing", expect=0)
    assert (destination / "both").read_bytes() == bytes(5000)


def test_extras_in_a_directory_beyond_max_depth_are_protected(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    make(destination, {"sub/deep/x": b"", "sub/y": b"", "z": b""}, mtime=None)
    mirror(source, destination, "--max-depth=1", expect=0)
    assert names(destination) == names(source) | {"sub/deep/x", "sub/y"}


# ---- --backup-dir ----


@pytest.mark.parametrize("where", [".kept", "deep/er/kept", "{tmp}/kept", "{other}/kept"])
def test_backup_dir_keeps_what_is_deleted_and_overwritten(
    pair: tuple[Path, Path], tmp_path: Path, where: str, other: Path
) -> None:
    source, destination = pair
    where = where.format(tmp=tmp_path, other=other)
    kept = destination / where
    make(destination, {"extra": b"old extra", "tree/one/two": b"old two"}, mtime=1_500_000_000.5)
    (destination / "link").symlink_to("a")
    (source / "a").write_bytes(b"new a")
    (destination / "sub/c").unlink()
    make(destination, {"sub/c/was/directory": b"old"}, mtime=None)
    (destination / "other/e").unlink()
    (destination / "other").rmdir()
    make(destination, {"other": b"was a file"}, mtime=None)
    mirror(source, destination, "--backup-dir", where, expect=0)

    def of_the_tree() -> dict[bytes, Any]:
        top = os.path.relpath(kept, destination).encode().split(b"/")[0]
        return {name: fact for name, fact in snapshot(destination).items() if name.split(b"/")[0] != top}

    assert of_the_tree() == snapshot(source)
    expected = {"extra": b"old extra", "tree/one/two": b"old two", "a": b"1", "sub/c/was/directory": b"old",
                "other": b"was a file"}  # fmt: skip
    for name, content in expected.items():
        assert (kept / name).read_bytes() == content, name
    assert os.readlink(kept / "link") == "a"
    assert (kept / "extra").stat().st_mtime_ns == 1_500_000_000_500_000_000
    # The same paths once more, of another kind this time; and what was kept is no part of any tree.
    for path in (kept / "b", source / "kept"):
        assert not path.exists()
    (destination / "tree").write_bytes(b"a file now")
    make(destination, {"extra/is/directory": b"now"}, mtime=None)
    (source / "a").write_bytes(b"newer a")
    mirror(source, destination, "--backup-dir", where, expect=0)
    assert of_the_tree() == snapshot(source)
    assert (kept / "a").read_bytes() == b"new a"
    assert (kept / "tree").read_bytes() == b"a file now"
    assert (kept / "extra/is/directory").read_bytes() == b"now"
    told = mirror(source, destination, "--backup-dir", where, expect=0)
    assert stats(told, "copied_files", "deleted_files", "deleted_directories") == (0, 0, 0)
    assert (kept / "a").read_bytes() == b"new a"


@pytest.fixture
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system, where the test wants one."""
    if "{other}" not in str(getattr(request.node, "callspec", "") and request.node.callspec.params):
        yield tmp_path
        return
    if os.geteuid() != 0:
        pytest.fail("mounting another file system needs root", pytrace=False)
    place = tmp_path / "other-file-system"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_backup_dir_may_not_be_the_destination(pair: tuple[Path, Path]) -> None:
    done = dunlin("sync", "--backup-dir", ".", *pair, cwd=pair[0].parent, expect=1)
    assert "--backup-dir" in done.stderr


def test_a_backup_dir_in_the_source_is_no_part_of_it(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (destination / "extra").write_bytes(b"x")
    for _ in range(2):
        mirror(source, destination, "--backup-dir", source / ".kept", expect=0)
        assert (source / ".kept/extra").read_bytes() == b"x"
        assert not (destination / ".kept").exists()
    done = dunlin("sync", "--backup-dir", source, *pair, cwd=source.parent, expect=1)
    assert "--backup-dir is the source itself" in done.stderr


def test_our_own_files_in_the_destination_are_not_deleted(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    own = ("--state-db", "state.db", "--log-file", "audit.log", "--report-file", "report", "--log-file-size", "300")
    for at in range(4):
        (source / "a").write_bytes(b"version %d" % at)
        dunlin("sync", "-a", "--delete-extras", *own, source, destination, cwd=destination, expect=0)
    kept = {"state.db", "audit.log", "audit.log.1", "report"}
    assert kept <= names(destination)
    assert {name for name in names(destination) if "state.db" not in name and "audit.log" not in name} - kept == names(
        source
    )


def test_deleting_survives_names_of_every_kind(pair: tuple[Path, Path]) -> None:
    """Names that sort oddly, that are not UTF-8, and deep ones: children go before their parents."""
    source, destination = pair
    odd = ["x", "x-y", "x.y", "x0", "\udcff", "\udcff\udcfe", "é", "e\u0301", " ", "*", "-rf", "\t", "z" * 255]
    make(destination, {f"{name}/{inner}/f": b"" for name in odd for inner in odd[:8]}, mtime=None)
    deep = "/".join(["deep"] * 300)
    make(destination, {f"{deep}/f": b""}, mtime=None)
    mirror(source, destination, "--max-delete=10000", expect=0)
    assert snapshot(destination) == snapshot(source)
