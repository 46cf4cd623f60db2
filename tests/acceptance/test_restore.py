"""`dunlin restore`: what comes back, into which places, after which accidents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.clouds import Cloud, cloud
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair, change_times, names, same, temporaries, touched, write
from tests.acceptance.trouble import copied, ended, in_memory, many, tmpfs, until

PASSWORD = {"DUNLIN_PASSWORD": "word"}


class Vault:
    """A source, a repository, and what is restored from it."""

    def __init__(self, pair: Pair, where: str | Path | None = None, *flags: str, **env: str) -> None:
        self.pair = pair
        self.repository = where or pair.root / "vault"
        self.flags = ["--repo", str(self.repository), "--cache", str(pair.root / "cache"), *flags]
        self.env = PASSWORD | env

    def call(self, *words: str | Path, expect: int = 0) -> str:
        done = dunlin(*words, *self.flags, cwd=self.pair.cwd, env=self.env, expect=expect)
        return done.stdout + done.stderr

    def init(self) -> Vault:
        done = dunlin("repo", "init", self.repository, *self.flags[2:], cwd=self.pair.cwd, env=self.env, expect=0)
        assert "made repository" in done.stdout
        return self

    def back_up(self) -> None:
        self.call("backup", self.pair.source)

    def restore(self, *words: str | Path, what: str = "latest", expect: int = 0) -> str:
        return self.call("restore", what, self.pair.target, *words, expect=expect)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with in_memory(tmp_path / "pair") as place:
        yield Vault(Pair.make(place)).init()


def tree(root: Path) -> None:
    """Directories of small files, one file of several chunks, and a file that is empty."""
    for number in range(60):
        write(root / f"d{number % 4}/e/f{number}", f"content {number}" * (number + 1), mode=0o600 + number % 8)
    write(root / "large", os.urandom(3 << 20))
    write(root / "medium", os.urandom(100_000))
    write(root / "empty")


@pytest.mark.root
def test_everything_comes_back_as_it_was(vault: Vault) -> None:
    source = vault.pair.source
    tree(source)
    (source / "void").mkdir(0o1777)
    (source / "link").symlink_to("no/where\n")
    os.mkfifo(source / "pipe", 0o620)
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.link(source / "d1/e/f1", source / "twin")
    os.chown(source / "d2/e/f2", 1234, 99)
    os.chmod(source / "d2/e/f2", 0o6750)
    write(source / "é\udcff\n", "odd name")
    os.utime(source / "large", ns=(1, -5_000_000_001))
    os.setxattr(source / "d3/e/f3", "user.mark", b"\0value")
    acl = bytes.fromhex("02000000" "01000600ffffffff" "02000400d2040000" "04000400ffffffff" "10000600ffffffff"
                        "20000400ffffffff")  # fmt: skip
    os.setxattr(source / "d3/e/f7", "system.posix_acl_access", acl)
    os.setxattr(source / "d3", "user.of", b"a directory")
    vault.back_up()
    vault.restore()
    same(source, vault.pair.target)
    assert os.getxattr(vault.pair.target / "d3/e/f7", "system.posix_acl_access") == acl
    before = change_times(vault.pair.target)
    assert "nothing to do" in vault.restore()
    assert touched(before, change_times(vault.pair.target)) == []


def test_a_directory_a_file_and_what_the_filters_let_through(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    vault.restore(what="latest:d1/e")
    same(pair.source / "d1/e", pair.target)
    one = pair.root / "one"
    one.mkdir(0o700)
    vault.call("restore", "latest:d2/e/f2", one)
    assert names(one) == {"f2"}
    assert (one / "f2").read_bytes() == (pair.source / "d2/e/f2").read_bytes()
    assert one.stat().st_mode & 0o777 == 0o700  # nobody asked for the mode of the directory that it lay in
    vault.call("restore", "latest", pair.peer, "--include", "f1*", "--include", "*/", "--exclude", "*")
    assert {name for name in names(pair.peer) if "/f" in name} == {
        f"d{n % 4}/e/f{n}" for n in range(60) if str(n).startswith("1")
    }
    assert "holds no such thing" in vault.restore(what="latest:nothing", expect=1)
    assert "it is a file" in vault.call("restore", "latest", one / "f2", expect=1)


def test_an_older_snapshot_and_what_becomes_of_files_that_are_there(vault: Vault) -> None:
    source, target = vault.pair.source, vault.pair.target
    write(source / "f", "first", mtime=10**18)
    write(source / "same", "same", mtime=10**18)
    vault.back_up()
    write(source / "f", "second one", mtime=10**18 + 10**9)
    vault.back_up()
    ids = [line.split()[0] for line in vault.call("snapshots").splitlines() if "default/" in line or "source" in line]
    vault.restore()
    assert (target / "f").read_text() == "second one"
    first = next(word for word in ids if vault.call("ls", f"{word}:f", "-l").find("   5 ") >= 0)
    vault.restore("--overwrite", "never", what=first)
    vault.restore("--overwrite", "if-newer", what=first)
    assert (target / "f").read_text() == "second one"
    vault.restore(what=first)
    assert (target / "f").read_text() == "first"
    # Another content of the same size and time is only replaced by who asks for it.
    write(target / "same", "else", mtime=10**18)
    vault.restore()
    assert (target / "same").read_text() == "else"
    vault.restore("--overwrite", "always")
    assert (target / "same").read_text() == "same"


def test_extras_go_only_where_that_is_asked_for_and_a_dry_run_does_nothing(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    assert "copy d0/e/f0" in vault.restore("-n")
    assert not pair.target.exists()
    vault.restore()
    write(pair.target / "extra/file")
    vault.restore()
    assert (pair.target / "extra/file").exists()
    assert "delete extra/file" in vault.restore("-n", "--delete")
    assert (pair.target / "extra/file").exists()
    vault.restore("--delete")
    same(pair.source, pair.target)


def test_a_repository_in_the_destination_is_left_alone(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    pair.target.mkdir()
    inside = Vault(pair, pair.target / "backups/vault")
    inside.repository.parent.mkdir()  # type: ignore[union-attr]
    shutil.copytree(vault.repository, inside.repository)
    inside.restore("--delete")
    same(vault.repository, inside.repository, ignore=["mtime_ns", "mode"])
    assert names(pair.target) >= names(pair.source)
    told = inside.call("restore", "latest", inside.repository, expect=1)
    assert "which is read from" in told


def test_a_restore_that_is_killed_is_gone_on_with(vault: Vault) -> None:
    pair = vault.pair
    many(pair.source, directories=30, files=60)
    vault.back_up()
    # So slow that it is surely killed in the middle.
    words = ["restore", "latest", pair.target, *vault.flags, "--bwlimit", "100K"]
    process = start(*words, cwd=pair.cwd, env=vault.env)
    try:
        until(lambda: copied(pair) > 20, process)
    finally:
        process.kill()
        ended(process)
    there = {path: path.stat().st_ino for path in pair.target.rglob("*") if path.is_file()}
    kept = {path: inode for path, inode in there.items() if not path.name.startswith(".dunlin-")}
    assert len(kept) < sum(len(files) for _, _, files in os.walk(pair.source))
    vault.restore()
    same(pair.source, pair.target)
    assert not temporaries(pair.target)
    assert {path: path.stat().st_ino for path in kept} == kept


def damage(vault: Vault, what: str) -> Path:
    """The largest object below a part of the repository."""
    found = [path for path in Path(vault.repository, "default", what).rglob("*") if path.is_file()]
    return max(found, key=lambda path: path.stat().st_size)


def test_what_is_damaged_fails_by_name_and_all_else_comes_back(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    pack = damage(vault, "packs")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    told = vault.restore(expect=23)
    hurt = [name for name in ("large", "medium") if not (pair.target / name).exists()]
    assert len(hurt) == 1
    assert f"cannot read {hurt[0]}: " in told
    assert names(pair.source) - names(pair.target) == set(hurt)
    assert not temporaries(pair.target)
    pack.unlink()
    told = vault.restore("--overwrite", "always", expect=23)
    assert "cannot read large: " in told
    assert "cannot read medium: " in told
    assert (pair.target / "d1/e/f1").read_bytes() == (pair.source / "d1/e/f1").read_bytes()


def test_what_was_restored_is_read_back(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    assert "63 matched, 0 differ" in vault.restore("--verify")
    status = (pair.target / "medium").stat()
    (pair.target / "medium").write_bytes(bytes(100_000))
    os.utime(pair.target / "medium", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "medium" in vault.restore("--verify", expect=3)


@pytest.mark.root
def test_a_destination_that_is_full_ends_the_restore(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    with tmpfs(pair.target, "size=1m"):
        vault.restore("--exclude", "large", "--exclude", "medium")
        told = vault.restore(expect=2)
        assert "free at the destination" in told or "No space left" in told
        assert not temporaries(pair.target)


def test_a_scan_holds_nothing_to_restore(vault: Vault) -> None:
    tree(vault.pair.source)
    vault.call("scan", vault.pair.source)
    assert "is a scan" in vault.restore(expect=1)
    assert not vault.pair.target.exists()


def test_two_restores_of_one_destination_wait_for_each_other(vault: Vault) -> None:
    pair = vault.pair
    tree(pair.source)
    vault.back_up()
    words = ["restore", "latest", pair.target, *vault.flags, "--bwlimit", "50K"]
    process = start(*words, cwd=pair.cwd, env=vault.env)
    try:
        until(lambda: copied(pair) > 0, process)
        assert str(process.pid) in vault.restore("--lock-wait", "0.1", expect=1)
    finally:
        process.kill()
        ended(process)


# ---- far away ----


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_into_a_bucket(vault: Vault, request: pytest.FixtureRequest, kind: str) -> None:
    there = cloud(request, kind)
    pair = vault.pair
    tree(pair.source)
    (pair.source / "link").symlink_to("large")
    vault.back_up()
    vault.env |= there.env
    told = vault.call("restore", "latest", there.url, *there.options("dest"))
    assert "1 symbolic link was skipped" in told
    wanted = {str(path.relative_to(pair.source)): path.read_bytes() for path in pair.source.rglob("*")
              if path.is_file() and not path.is_symlink()}  # fmt: skip
    assert there.content() == wanted
    assert "nothing to do" in vault.call("restore", "latest", there.url, *there.options("dest"))


def far(vault: Vault, there: Cloud) -> Vault:
    """A repository in a bucket."""
    return Vault(vault.pair, f"{there.url}/backups", *there.options("repo"), **there.env).init()


def test_out_of_a_bucket(vault: Vault, request: pytest.FixtureRequest) -> None:
    vault = far(vault, cloud(request, "s3"))
    pair = vault.pair
    many(pair.source, directories=12, files=40)
    tree(pair.source)
    vault.back_up()
    shutil.rmtree(pair.root / "cache")
    vault.restore("--movers", "2")
    same(pair.source, pair.target)


def test_from_bucket_to_bucket(vault: Vault, request: pytest.FixtureRequest) -> None:
    vault = far(vault, cloud(request, "s3"))
    there = cloud(request, "s3")
    tree(vault.pair.source)
    vault.back_up()
    vault.call("restore", "latest:d1", f"{there.url}/put", *there.options("dest"))
    assert sorted(there.content()) == sorted(f"put/e/f{n}" for n in range(60) if n % 4 == 1)


def test_a_repository_in_the_bucket_that_is_backed_up_is_no_part_of_it(
    vault: Vault, request: pytest.FixtureRequest
) -> None:
    """Each backup would otherwise store all that the ones before it have stored."""
    there = cloud(request, "s3")
    vault = far(vault, there)
    write(vault.pair.source / "photo", "content")
    vault.call("backup", vault.pair.source, "--share", "first")
    for _ in range(2):
        vault.call("backup", there.url, "--share", "bucket", *there.options("source"), expect=0)
    assert vault.call("find", "latest", "*", "--share", "bucket") == ""
    said = vault.call("backup", f"{there.url}/backups", "--share", "again", *there.options("source"), expect=1)
    assert "the source is the repository itself" in said
