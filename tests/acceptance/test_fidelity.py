"""`dunlin sync -aHAXS` beside `rsync -aHAXS`: the same tree, attribute by attribute, first and after every change."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import OLD, SECOND, Pair, change_times, rsync, same, snapshot, touched, write

pytestmark = pytest.mark.root

ALL = "-aHAXS"
NS = "--modify-window=-1"
"""rsync looks at whole seconds otherwise, and leaves times alone that differ by less."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def setfacl(rule: str, path: Path) -> None:
    subprocess.run(["setfacl", "-m", rule, path], check=True)


def dated(path: Path, seconds: int, ns: int = 0) -> None:
    moment = seconds * SECOND + ns
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have 108 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def sparse_file(path: Path, size: int) -> None:
    """Data at the begin, in the middle and no data at the end."""
    with path.open("wb") as file:
        file.write(b"begin" * 1000)
        file.seek(size // 2)
        file.write(b"middle" * 1000)
        file.truncate(size)


def every_kind(root: Path) -> None:
    """A small tree with one of everything."""
    for n in range(30):
        write(root / f"many/{n % 3}/f{n}", f"content {n}" * n, OLD + n * 1_000_001, 0o600 + n % 64)
    (root / "empty-dir").mkdir()
    (root / "empty-dirs/x/y/z").mkdir(parents=True)
    write(root / "empty-file")
    write(root / "large", os.urandom(1 << 20) * 9)
    for name, mode in {
        "r": 0o400,
        "none": 0o000,
        "setuid": 0o4755,
        "setgid": 0o2755,
        "sticky": 0o1644,
        "all": 0o7777,
    }.items():
        write(root / "modes" / name, name, mode=mode)
        (root / "modes" / f"dir-{name}").mkdir()
        write(root / f"modes/dir-{name}/inside", name)
        (root / "modes" / f"dir-{name}").chmod(mode | (0o111 if mode & 0o111 else 0))
    write(root / "sealed/deep/file", "x")
    (root / "sealed/deep").chmod(0o555)
    (root / "sealed").chmod(0o555)
    # ext4 holds 1901 to 2446.
    for name, seconds, ns in (("1970", 0, 0), ("before", -86_400 * 365 * 20, 5), ("far", 13_000_000_000, 999_999_999),
                              ("minus", -1, 999_999_999), ("one-ns", 1_600_000_000, 1)):  # fmt: skip
        dated(write(root / "times" / name, name), seconds, ns)
        (root / "times" / f"dir-{name}").mkdir()
        dated(root / "times" / f"dir-{name}", seconds, ns)
    for name, owner in {
        "someone": (1234, 1234),
        "group": (0, 4321),
        "user": (4321, 0),
        "large": (3_000_000_000, 3_000_000_000),
    }.items():
        os.chown(write(root / "owners" / name, name), *owner)
        (root / "owners" / f"dir-{name}").mkdir()
        os.chown(root / "owners" / f"dir-{name}", *owner)
        os.symlink("x", root / "owners" / f"link-{name}")
        os.lchown(root / "owners" / f"link-{name}", *owner)
    os.chown(write(root / "owners/setuid-of-someone", "x"), 1234, 1234)
    (root / "owners/setuid-of-someone").chmod(0o6755)
    for n in range(5):
        write(root / f"hard/{n}/one", f"hard {n}")
        for m in range(3):
            (root / f"hard/other-{m}").mkdir(exist_ok=True)
            os.link(root / f"hard/{n}/one", root / f"hard/other-{m}/name-{n}")
    os.link(root / "large", root / "hard/large-too")
    os.link(root / "empty-file", root / "hard/empty-too")
    for place in (write(root / "xattrs/file", "x"), root / "xattrs"):
        os.setxattr(place, "user.colour", b"blue\0green")
        os.setxattr(place, "user.empty", b"")
        os.setxattr(place, "trusted.deep", b"\xff\0")
    os.symlink("file", root / "xattrs/link")
    os.setxattr(root / "xattrs/link", "trusted.onlink", b"yes", follow_symlinks=False)
    os.setxattr(write(root / "xattrs/big", b"y" * 300_000), "user.note", b"n" * 1000)
    setfacl("u:1234:rw-,g:99:r--", write(root / "acls/file", "x", mode=0o640))
    setfacl("d:u:1234:rwx,d:g:99:r-x", root / "acls")
    setfacl("u:1234:rwx", root / "acls")
    (root / "acls/below").mkdir()
    write(root / "acls/below/inherits", "x")
    (root / "sparse").mkdir()
    sparse_file(root / "sparse/small", 400_000)
    sparse_file(root / "sparse/large", 30 << 20)
    with (root / "sparse/all-hole").open("wb") as file:
        file.truncate(20 << 20)
    os.link(root / "sparse/small", root / "sparse/other")
    for name, target in {"dangling": "no/such", "absolute": "/etc/passwd", "self": "self", "loop-a": "loop-b",
                         "loop-b": "loop-a", "up": "../..", "to-dir": "../many",
                         "long": "l/" * 500, "odd": "a\nb\udcff"}.items():  # fmt: skip
        (root / "links").mkdir(exist_ok=True)
        os.symlink(target, root / "links" / name)
        dated(root / "links" / name, 1_400_000_000, 7)
    (root / "special").mkdir()
    os.mkfifo(root / "special/fifo", 0o640)
    dated(root / "special/fifo", 1_300_000_000, 3)
    make_socket(root / "special/socket")
    os.mknod(root / "special/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "special/block", stat.S_IFBLK | 0o660, os.makedev(7, 200))
    os.link(root / "special/fifo", root / "special/fifo-too")
    os.link(root / "links/dangling", root / "special/link-too")
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and "times" not in path.parts:
            dated(path, 1_450_000_000 + len(path.name), 11)
    root.chmod(0o2750)
    dated(root, 1_111_111_111, 111)


def blocks(root: Path, name: str) -> int:
    return os.lstat(root / name).st_blocks


def test_everything_as_rsync_makes_it(pair: Pair) -> None:
    """Every attribute of every kind of entry equals the source and what rsync gives; a second run touches nothing."""
    every_kind(pair.source)
    pair.sync(ALL, "--workers", "8")
    pair.rsync(ALL, NS)
    same(pair.source, pair.target)
    same(pair.peer, pair.target)
    for name in ("sparse/small", "sparse/large", "sparse/all-hole"):
        assert blocks(pair.target, name) <= max(blocks(pair.source, name), blocks(pair.peer, name)) + 8
    before = change_times(pair.target)
    pair.sync(ALL)
    assert touched(before, change_times(pair.target)) == []


def test_a_run_without_movers_of_its_own_gives_the_same(pair: Pair) -> None:
    every_kind(pair.source)
    pair.sync(ALL, "--movers", "1", "--threads", "1", "--scan-first")
    same(pair.source, pair.target)


def test_plain_archive_as_rsync_makes_it(pair: Pair) -> None:
    """`-a` alone: hard links become files of their own, no attributes beyond rsync's."""
    every_kind(pair.source)
    pair.sync("-a")
    pair.rsync("-a", NS)
    same(pair.peer, pair.target)


def replace_by_link(root: Path) -> None:
    (root / "many/0/f0").unlink()
    os.symlink("../1/f1", root / "many/0/f0")


def link_becomes_file(root: Path) -> None:
    (root / "links/dangling").unlink()
    write(root / "links/dangling", "now a file")


def link_becomes_directory(root: Path) -> None:
    (root / "links/to-dir").unlink()
    write(root / "links/to-dir/a/b", "x")


def file_becomes_directory(root: Path) -> None:
    (root / "many/1/f1").unlink()
    write(root / "many/1/f1/sub/file", "x")


def empty_directory_becomes_file(root: Path) -> None:
    (root / "empty-dir").rmdir()
    write(root / "empty-dir", "a file")


def directory_becomes_link(root: Path) -> None:
    (root / "empty-dir").rmdir()
    os.symlink("many", root / "empty-dir")


def directory_becomes_fifo(root: Path) -> None:
    (root / "empty-dir").rmdir()
    os.mkfifo(root / "empty-dir")


def fifo_becomes_file(root: Path) -> None:
    (root / "special/fifo-too").unlink()
    write(root / "special/fifo-too", "plain")


def other_device(root: Path) -> None:
    (root / "special/null").unlink()
    os.mknod(root / "special/null", stat.S_IFCHR | 0o666, os.makedev(1, 5))


def link_target_of_same_length(root: Path) -> None:
    (root / "links/dangling").unlink()
    os.symlink("no/suck", root / "links/dangling")
    dated(root / "links/dangling", 1_400_000_000, 7)


def one_more_name(root: Path) -> None:
    os.link(root / "hard/0/one", root / "many/2/one-more")


def name_of_its_own(root: Path) -> None:
    path = root / "hard/other-1/name-2"
    path.unlink()
    write(path, "its own", OLD + 5 * SECOND)


def joined(root: Path) -> None:
    """Two equal files become names of one inode."""
    shutil.copy2(root / "many/1/f4", root / "many/1/f7")
    (root / "many/1/f7").unlink()
    os.link(root / "many/1/f4", root / "many/1/f7")


def acl_removed(root: Path) -> None:
    subprocess.run(["setfacl", "-b", root / "acls/file", root / "acls"], check=True)


def default_acl_removed(root: Path) -> None:
    subprocess.run(["setfacl", "-k", root / "acls"], check=True)


def acl_changed(root: Path) -> None:
    setfacl("u:1234:r--,u:77:rw-", root / "acls/file")


def xattr_changed(root: Path) -> None:
    os.setxattr(root / "xattrs/file", "user.colour", b"red")
    os.removexattr(root / "xattrs", "user.colour")
    os.setxattr(root / "xattrs", "user.new", b"1")
    os.removexattr(root / "xattrs/big", "user.note")


def xattr_on_link_changed(root: Path) -> None:
    os.setxattr(root / "xattrs/link", "trusted.onlink", b"no", follow_symlinks=False)


def xattr_of_hard_link_changed(root: Path) -> None:
    os.setxattr(root / "hard/1/one", "user.new", b"1")


def mode_of_hard_link_changed(root: Path) -> None:
    (root / "hard/other-2/name-1").chmod(0o611)


def owner_of_hard_link_changed(root: Path) -> None:
    os.chown(root / "hard/other-2/name-1", 55, 66)


def modes_changed(root: Path) -> None:
    (root / "many/0/f0").chmod(0o4711)
    (root / "many").chmod(0o3775)
    (root / "sealed").chmod(0o755)
    (root / "special/fifo").chmod(0o600)
    (root / "modes/setuid").chmod(0o755)


def owners_changed(root: Path) -> None:
    for name in ("many/0/f0", "many", "links/dangling", "special/fifo", "owners/setuid-of-someone"):
        os.lchown(root / name, 777, 888)
    (root / "owners/setuid-of-someone").chmod(0o6755)


def times_changed(root: Path) -> None:
    for name in ("many/0/f3", "many", "links/dangling", "special/fifo", "empty-dir", "."):
        dated(root / name, 1_234_567_890, 42)


def one_ns_later(root: Path) -> None:
    status = (root / "many/0/f3").stat()
    os.utime(root / "many/0/f3", ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def content_changed_in_sealed(root: Path) -> None:
    write(root / "sealed/deep/file", "longer than before")
    write(root / "sealed/deep/new", "n")


def holes_moved(root: Path) -> None:
    with (root / "sparse/large").open("r+b") as file:
        file.truncate(0)
        file.seek(25 << 20)
        file.write(b"late")


def large_shrinks(root: Path) -> None:
    os.truncate(root / "large", 100)


CHANGES: list[Callable[[Path], None]] = [
    replace_by_link, link_becomes_file, link_becomes_directory, file_becomes_directory, empty_directory_becomes_file,
    directory_becomes_link, directory_becomes_fifo, fifo_becomes_file, other_device, link_target_of_same_length,
    one_more_name, name_of_its_own, joined, acl_removed, default_acl_removed, acl_changed, xattr_changed,
    xattr_on_link_changed, xattr_of_hard_link_changed, mode_of_hard_link_changed, owner_of_hard_link_changed,
    modes_changed, owners_changed, times_changed, one_ns_later, content_changed_in_sealed, holes_moved, large_shrinks,
]  # fmt: skip


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair that was synced by both programs once; each test copies it."""
    pair = Pair.make(tmp_path_factory.mktemp("mirrored"))
    every_kind(pair.source)
    shutil.rmtree(pair.source / "large", ignore_errors=True)
    pair.sync(ALL)
    pair.rsync(ALL, NS)
    return pair


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change(mirrored: Pair, tmp_path: Path, change: Callable[[Path], None]) -> None:
    """After one change a second run gives again what rsync gives, and a third one has nothing to do."""
    subprocess.run(["cp", "-a", mirrored.root, tmp_path / "copy"], check=True)
    pair = Pair(tmp_path / "copy")
    change(pair.source)
    pair.sync(ALL, "--state-db", "none")
    pair.rsync(ALL, NS)
    same(pair.source, pair.peer)
    same(pair.source, pair.target)
    before = change_times(pair.target)
    pair.sync(ALL, "--state-db", "none")
    assert touched(before, change_times(pair.target)) == []


def test_all_changes_at_once_with_state(mirrored: Pair, tmp_path: Path) -> None:
    """The changes that do not stand in each other's way, in one run that knows the pair."""
    pair = Pair.make(tmp_path)
    every_kind(pair.source)
    pair.sync(ALL)
    before = change_times(pair.target)
    for change in (link_becomes_file, file_becomes_directory, other_device, one_more_name, name_of_its_own, acl_changed,
                   xattr_changed, modes_changed, owners_changed, times_changed, holes_moved,
                   large_shrinks):  # fmt: skip
        change(pair.source)
    pair.sync(ALL)
    same(pair.source, pair.target)
    assert touched(before, change_times(pair.target)) != []
    before = change_times(pair.target)
    pair.sync(ALL)
    assert touched(before, change_times(pair.target)) == []


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("delete", [False, True], ids=["keep", "delete"])
def test_directory_becomes_file(pair: Pair, filled: bool, delete: bool) -> None:
    """An empty directory makes way; one that holds something only with --delete-extras, as with rsync."""
    for n in range(10):
        write(pair.source / f"other{n}", "o")
    (pair.source / "d").mkdir()
    if filled:
        write(pair.source / "d/sub/file", "x")
    pair.sync("-a")
    shutil.rmtree(pair.source / "d")
    write(pair.source / "d", "a file now")
    refused = filled and not delete
    done = pair.sync("-a", *(["--delete-extras"] if delete else []), expect=23 if refused else 0)
    if refused:
        assert (pair.target / "d/sub/file").read_text() == "x"
        assert "d" in done.stderr
        assert "--delete-extras" in done.stderr
    else:
        same(pair.source, pair.target)


def test_directory_becomes_file_in_a_large_directory_of_waiting_files(pair: Pair) -> None:
    """The same where files are handed out in pages: with --scan-first nothing is copied by the scan itself."""
    write(pair.source / "d/sub/file", "x")
    pair.sync("-a")
    shutil.rmtree(pair.source / "d")
    for n in range(50):
        write(pair.source / f"f{n}", "o" * n)
    write(pair.source / "d", "a file now")
    pair.sync("-a", "--scan-first", "--delete-extras")
    same(pair.source, pair.target)


def flags(root: Path) -> None:
    """What single flags act upon."""
    os.chown(write(root / "file", "x", mode=0o604), 1234, 4321)
    write(root / "dir/setuid", "x", mode=0o4755)
    (root / "dir").chmod(0o705)
    os.symlink("file", root / "link")
    os.mkfifo(root / "fifo", 0o604)
    make_socket(root / "socket")
    os.mknod(root / "null", stat.S_IFCHR | 0o604, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o604, os.makedev(7, 201))
    (root / "empty/sub").mkdir(parents=True)
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            dated(path, 1_400_000_000)
    for path in (root / "empty/sub", root / "empty", root / "dir", root):
        dated(path, 1_400_000_000)


FLAGS = ("", "-l", "-p", "-g", "-o", "-D", "--devices", "--specials", "-a", "-lpog", "-ag", "-oH", "-pX", "-A")


@pytest.mark.parametrize(
    ("flag", "umask"), [*((flag, "022") for flag in FLAGS), *((flag, "077") for flag in ("", "-p", "-D", "-a", "-A"))]
)
def test_single_flags(pair: Pair, flag: str, umask: str) -> None:
    """Each flag alone does what it does in `rsync -rt`; permissions of new files obey the umask without -p."""
    flags(pair.source)
    under = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
    words = [flag] if flag else []
    done = pair.sync(*words, prefix=under)
    subprocess.run(
        [*under, "rsync", "-rt", NS, *words, f"{pair.source}/", f"{pair.peer}/"], check=True, capture_output=True
    )
    same(pair.peer, pair.target)
    assert ("; -l copies them" in done.stdout) == (flag not in ("-l", "-a", "-lpog", "-ag"))
    before = change_times(pair.target)
    pair.sync(*words, prefix=under)
    assert touched(before, change_times(pair.target)) == []


def test_without_archive(pair: Pair) -> None:
    """Links are skipped, counted and mentioned; special files skipped with a warning; empty directories made."""
    flags(pair.source)
    done = pair.sync()
    assert sorted(os.listdir(pair.target)) == ["dir", "empty", "file"]
    assert (pair.target / "empty/sub").is_dir()
    told = done.stdout + done.stderr
    assert "-l" in told
    assert "1 " in told
    warnings = [line for line in told.splitlines() if "warn" in line.lower() and "-D" in line]
    assert warnings, told


@pytest.mark.parametrize("options", [[], ["--scan-first"], ["-S"], ["--in-place"]], ids=" ".join)
def test_permissions_of_existing_files_stay_without_perms(pair: Pair, options: list[str]) -> None:
    """Without -p an updated file keeps the mode that it has at the destination."""
    for mode in (0o600, 0o666, 0o755, 0o444):
        write(pair.source / f"f{mode:o}", "new content", mode=0o640)
        write(pair.source / f"large{mode:o}", b"new" * (3 << 20), mode=0o640)
        write(pair.source / f"time{mode:o}", b"same", mode=0o640)
        for root in (pair.target, pair.peer):
            write(root / f"f{mode:o}", "old", OLD - SECOND, mode=mode)
            write(root / f"large{mode:o}", "old", OLD - SECOND, mode=mode)
            write(root / f"time{mode:o}", "same", OLD - SECOND, mode=mode)
    pair.rsync("-rt", NS)
    pair.sync(*options)
    same(pair.peer, pair.target)


def test_a_directory_in_the_way_of_a_setgid_parent(pair: Pair) -> None:
    """New names in a setgid directory get the group of the source, not of the directory."""
    write(pair.source / "d/f", "x")
    os.chown(pair.source / "d", 0, 4321)
    (pair.source / "d").chmod(0o2775)
    (pair.source / "d/sub").mkdir()
    os.chown(pair.source / "d/sub", 0, 0)
    (pair.source / "d/sub").chmod(0o755)
    os.chown(pair.source / "d/f", 0, 0)
    pair.sync("-a")
    same(pair.source, pair.target)


def test_in_a_destination_with_a_default_acl(pair: Pair) -> None:
    """A default ACL of the destination does not change the modes that -a copies."""
    every = pair.source
    write(every / "d/f", "x", mode=0o600)
    write(every / "g", "x", mode=0o666)
    pair.target.mkdir()
    pair.peer.mkdir()
    for root in (pair.target, pair.peer):
        setfacl("d:u::rwx,d:g::---,d:o::---,d:u:99:rwx", root)
    pair.sync("-a")
    pair.rsync("-a", NS)
    for name in (".", "d", "d/f", "g"):
        assert (pair.target / name).stat().st_mode == (pair.peer / name).stat().st_mode == (every / name).stat().st_mode


def test_acls_in_a_destination_with_a_default_acl(pair: Pair) -> None:
    write(pair.source / "d/f", "x", mode=0o600)
    write(pair.source / "g", "x", mode=0o666)
    pair.target.mkdir()
    setfacl("d:u::rwx,d:g::---,d:o::---,d:u:99:rwx", pair.target)
    pair.sync(ALL)
    same(pair.source, pair.target)


def test_a_real_tree(pair: Pair) -> None:
    """A few thousand files of this system."""
    real = next(p for p in map(Path, ("/usr/lib/python3.11", "/usr/lib/python3", "/usr/share/doc")) if p.is_dir())
    dunlin("sync", "-aH", real, pair.target, cwd=pair.cwd, expect=0)
    rsync("-aH", NS, f"{real}/", f"{pair.peer}/")
    assert len(snapshot(pair.target)) > 500
    same(pair.peer, pair.target)
    before = change_times(pair.target)
    dunlin("sync", "-aH", real, pair.target, cwd=pair.cwd, expect=0)
    assert touched(before, change_times(pair.target)) == []
