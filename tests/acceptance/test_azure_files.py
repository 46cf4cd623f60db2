"""`dunlin sync` to and from shares of Azure Files, on the emulator: content, metadata field by field, requests."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.azfiles.smb import metadata_headers
from dunlin.stores.azfiles.store import AzureFiles as Files
from dunlin.stores.login import Login
from tests.acceptance.clouds import cloud
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import same
from tests.acceptance.trouble import until
from tests.emulators.azure_files import AzureFiles, Rules, azure_files
from tests.servers.faults import Rules as Faults
from tests.servers.faults import faults

SDDL = "O:S-1-5-21-21-16-18-217G:S-1-5-21-21-16-18-513D:PAI(A;;FA;;;SY)(A;OICI;0x1200a9;;;S-1-5-21-21-16-18-1001)"
MIB = 1 << 20


@pytest.fixture(scope="module")
def files() -> Iterator[AzureFiles]:
    # Whoever trusts an order, or that a directory is one page, fails.
    with azure_files(order="shuffled", page_limit=50) as server:
        yield server


@pytest.fixture
def share(files: AzureFiles) -> str:
    """A fresh share, as the command line names it."""
    files.server.rules = Rules()
    made = f"azfiles://{files.share()}"
    files.server.forget()
    return made


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


@pytest.fixture
def opened(files: AzureFiles) -> Iterator[Callable[[str], Files]]:
    """Opens a share here."""
    made: list[Files] = []

    def opens(url: str) -> Files:
        made.append(open_place(place_of(url, Login({"connection_string": files.connection_string}))))
        return made[-1]

    yield opens
    for store in made:
        store.close()


def env(files: AzureFiles) -> dict[str, str]:
    return {"AZURE_STORAGE_CONNECTION_STRING": files.connection_string}


def asked(files: AzureFiles) -> Counter[str]:
    """How often each operation was asked for since the last time."""
    found = Counter(done.operation for done in files.server.done())
    files.server.forget()
    return found


def dress(root: Path) -> Path:
    """A tree with odd names, modes, owners, times of a nanosecond, a large file and one with holes."""
    (root / "d/e/empty").mkdir(parents=True)
    for n, name in enumerate(("top", "d/in", "d/e/deep", "d/none", "a:b", "d/CON", "dot.", "é", "new\nline")):
        path = root / name
        path.write_bytes(b"" if name == "d/none" else name.encode() * (n * 100 + 1))
        if os.geteuid() == 0:
            os.chown(path, 1000 + n, 2000 + n)
        path.chmod((0o644, 0o600, 0o755)[n % 3])
        os.utime(path, ns=(1_600_000_000_987_654_321, 1_700_000_000_123_456_789 + n))
    (root / "large").write_bytes(os.urandom(10 * MIB))
    with open(root / "holes", "wb") as file:
        file.truncate(24 * MIB)
        file.seek(17 * MIB)
        file.write(b"something")
    (root / "d/e").chmod(0o711)
    for name in ("d/e/empty", "d/e", "d", ""):
        os.utime(root / name, ns=(1_600_000_000_000_000_001, 1_650_000_000_111_111_111))
    return root


def test_there_and_back_with_every_field(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source, back = dress(tmp_path / "source"), tmp_path / "back"
    dunlin("sync", "-a", source, f"{share}/not/yet there", cwd=cwd, env=env(files), expect=0)
    dunlin("check", "-a", source, f"{share}/not/yet there", cwd=cwd, env=env(files), expect=0)
    dunlin("sync", "-aS", f"{share}/not/yet there", back, cwd=cwd, env=env(files), expect=0)
    same(source, back)
    assert (back / "holes").stat().st_blocks * 512 < 9 * MIB


def test_nothing_to_do_asks_for_no_file(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source = tmp_path / "source"
    for n in range(60):
        (source / f"d{n % 3}").mkdir(parents=True, exist_ok=True)
        (source / f"d{n % 3}" / f"f{n}").write_bytes(b"x" * n)
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    first = asked(files)
    assert first["CreateFile"] == 60
    assert first["PutRange"] + first["RenameFile"] == 0
    # A process that has not seen one of the directories in a listing asks for it as for a file first.
    assert first["GetFileProperties"] <= 4
    for places in ((source, share), (share, tmp_path / "back"), (share, tmp_path / "back")):
        dunlin("sync", "-a", *places, cwd=cwd, env=env(files), expect=0)
        done = asked(files)
        if places[0] == share and done["GetFile"]:
            assert done.pop("GetFile") == 60
        assert done.pop("GetFileProperties", 0) <= 4
        # The share's root is asked for when a run begins.
        assert done.keys() <= {"ListDirectoriesAndFiles", "GetDirectoryProperties"}
        assert done["ListDirectoriesAndFiles"] <= 5
        assert done["GetDirectoryProperties"] <= 7


def test_changed_and_deleted_files_follow(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source = dress(tmp_path / "source")
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    (source / "top").write_bytes(b"changed")
    (source / "d/in").unlink()
    (source / "top").rename(source / "TOP")
    dunlin("sync", "-a", "--delete-extras", source, share, cwd=cwd, env=env(files), expect=0)
    dunlin("sync", "-a", share, tmp_path / "back", cwd=cwd, env=env(files), expect=0)
    same(source, tmp_path / "back")
    dunlin("check", "-a", source, share, cwd=cwd, env=env(files), expect=0)


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_to_another_service_and_back(
    files: AzureFiles, share: str, kind: str, tmp_path: Path, cwd: Path, request: pytest.FixtureRequest
) -> None:
    source, there = dress(tmp_path / "source"), cloud(request, kind)
    ours = {f"DUNLIN_{side}_CONNECTION_STRING": files.connection_string for side in ("SOURCE", "DEST")}
    login = {name: ours[name] for name in ("DUNLIN_SOURCE_CONNECTION_STRING",)}
    back = {name: ours[name] for name in ("DUNLIN_DEST_CONNECTION_STRING",)}
    for name in ("new\nline",):
        (source / name).unlink()  # the servers of the tests cannot take it
    os.utime(source, ns=(1, 1_650_000_000_000_000_000))
    dunlin("sync", "-a", source, f"{share}/one", cwd=cwd, env=env(files), expect=0)
    dunlin(
        "sync", "-a", *there.options("dest"), f"{share}/one", there.url, cwd=cwd, env=there.env | login, expect=0
    )  # fmt: skip
    dunlin(
        "sync", "-a", *there.options("source"), there.url, f"{share}/two", cwd=cwd, env=there.env | back, expect=0
    )  # fmt: skip
    dunlin("sync", "-a", f"{share}/two", tmp_path / "back", cwd=cwd, env=env(files), expect=0)
    for path in source.rglob("*"):
        if not path.is_file():
            continue
        copy = tmp_path / "back" / path.relative_to(source)
        want, got = path.stat(), copy.stat()
        assert copy.read_bytes() == path.read_bytes()
        fields = [(one.st_mode, one.st_mtime_ns, one.st_uid, one.st_gid) for one in (want, got)]
        assert fields[0] == fields[1], path


def test_what_only_a_share_has_travels_with_x(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    store = opened(share)
    headers = {
        "x-ms-type": "file", "x-ms-content-length": "0", "x-ms-file-attributes": "Hidden|Archive",
        "x-ms-file-creation-time": "2011-02-03T04:05:06.1234567Z", "x-ms-file-permission": SDDL,
    }  # fmt: skip
    store.share.ask("PUT", "f", (), headers, operation="write", expects=201)
    other = f"azfiles://{files.share()}"
    dunlin("sync", "-aX", share, tmp_path / "disk", cwd=cwd, env=env(files), expect=0)
    assert os.getxattr(tmp_path / "disk/f", "user.dunlin.permission").decode() == SDDL
    dunlin("sync", "-aX", tmp_path / "disk", other, cwd=cwd, env=env(files), expect=0)
    there = opened(other)
    assert there.get_xattrs("f", ("user.",)) == store.get_xattrs("f", ("user.",))
    files.server.forget()
    done = dunlin("sync", "-aX", tmp_path / "disk", other, cwd=cwd, env=env(files), expect=0)
    assert "1 in sync, nothing to do" in done.stdout


def dressed_files(store: Files, count: int) -> None:
    """Files f0, f1, …, with attributes and, for all of them, two security descriptors."""
    for n in range(count):
        headers = {
            "x-ms-type": "file", "x-ms-content-length": "3", "x-ms-file-attributes": "Hidden|Archive",
            "x-ms-file-creation-time": f"2011-02-03T04:05:{n:02}.1234567Z",
            "x-ms-file-permission": SDDL if n % 2 else SDDL.replace("513D", "514D"),
            **metadata_headers({"xattr.user.colour": "red"}),
        }  # fmt: skip
        store.share.ask("PUT", f"f{n}", (), headers, b"abc", operation="write", expects=201)


def change(store: Files, path: str, **headers: str) -> None:
    """Set properties of a file, as an SMB client would; what is not given is kept."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    store._set(path, False, given)


ALL = ("user.",)


@pytest.mark.parametrize("target", ["share", "disk"])
def test_a_changed_attribute_alone_is_carried_without_the_content(
    files: AzureFiles, share: str, target: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    store = opened(share)
    dressed_files(store, 12)
    there = f"azfiles://{files.share()}" if target == "share" else str(tmp_path / "disk")

    def run() -> Counter[str]:
        files.server.forget()
        dunlin("sync", "-aX", share, there, cwd=cwd, env=env(files), expect=0)
        return asked(files)

    def got(path: str) -> dict[str, bytes]:
        if target == "share":
            return opened(there).get_xattrs(path, ALL)
        return {name: os.getxattr(f"{there}/{path}", name) for name in os.listxattr(f"{there}/{path}")}

    first = run()
    assert {path: got(path) for path in ("f0", "f1", "f11")} == {
        path: store.get_xattrs(path, ALL) for path in ("f0", "f1", "f11")
    }
    if target == "disk":
        # One for each that there is: two of the files, one of the root. Where the files took a tenth of a second, the
        # root is a mover's, which knows of none yet.
        assert first["GetPermission"] in (3, 4)
    again = run()
    assert not again.keys() & {"GetFile", "GetFileProperties", "CreateFile", "CopyFile"}
    assert again["GetPermission"] <= 2  # of the root on each side
    change(store, "f3", x_ms_file_attributes="ReadOnly")
    change(store, "f4", x_ms_file_permission=SDDL.replace("513D", "515D"))
    change(store, "f5", x_ms_file_creation_time="2001-02-03T04:05:06.0000001Z")
    metadata = metadata_headers({"xattr.user.colour": "blue"})
    store.share.ask("PUT", "f6", (("comp", "metadata"),), metadata, operation="set")
    done = run()
    assert not done.keys() & {"GetFile", "CreateFile", "CopyFile", "PutRange", "RenameFile"}
    assert done["GetFileProperties"] == (4 if target == "disk" else 12)
    for path in ("f3", "f4", "f5", "f6", "f7"):
        assert got(path) == store.get_xattrs(path, ALL), path
    assert got("f3")["user.dunlin.attributes"] == b"ReadOnly"
    assert got("f6")["user.colour"] == b"blue"
    again = run()
    assert not again.keys() & {"GetFile", "GetFileProperties", "SetFileProperties"}


def test_content_that_kept_its_size_and_time_is_copied_again(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    store = opened(share)
    dressed_files(store, 3)
    disk = tmp_path / "disk"
    dunlin("sync", "-aX", share, disk, cwd=cwd, env=env(files), expect=0)
    headers = {"x-ms-write": "update", "x-ms-range": "bytes=0-2", "x-ms-file-last-write-time": "preserve"}
    store.share.ask("PUT", "f1", (("comp", "range"),), headers, b"xyz", operation="write", expects=201)
    dunlin("sync", "-aX", share, disk, cwd=cwd, env=env(files), expect=0)
    assert [(disk / name).read_bytes() for name in ("f0", "f1", "f2")] == [b"abc", b"xyz", b"abc"]


def test_what_came_from_a_share_goes_back_with_few_requests(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    store, other, disk = opened(share), f"azfiles://{files.share()}", tmp_path / "disk"
    dressed_files(store, 8)
    dunlin("sync", "-aX", share, disk, cwd=cwd, env=env(files), expect=0)
    (disk / "plain").write_bytes(b"never was in a share")
    os.setxattr(disk / "plain", "user.mine", b"1")

    def run() -> Counter[str]:
        files.server.forget()
        dunlin("sync", "-aX", disk, other, cwd=cwd, env=env(files), expect=0)
        return asked(files)

    assert run()["CreateFile"] == 9
    there = opened(other)
    for n in range(8):
        assert there.get_xattrs(f"f{n}", ALL) == store.get_xattrs(f"f{n}", ALL)
        assert there.stat(f"f{n}").mtime == store.stat(f"f{n}").mtime
    assert there.get_xattrs("plain", ALL) == {"user.mine": b"1"}
    again = run()
    assert not again.keys() & {"GetFileProperties", "CreateFile", "SetFileProperties", "SetFileMetadata"}
    os.setxattr(disk / "f2", "user.dunlin.attributes", b"ReadOnly")
    os.setxattr(disk / "plain", "user.mine", b"2")
    (disk / "f5").chmod(0o600)
    change(there, "f6", x_ms_file_attributes="None")
    done = run()
    assert not done.keys() & {"CreateFile", "PutRange", "RenameFile"}
    assert there.get_xattrs("f2", ALL)["user.dunlin.attributes"] == b"ReadOnly"
    assert there.get_xattrs("plain", ALL) == {"user.mine": b"2"}
    assert there.stat("f5").facts[0] & 0o7777 == 0o600
    assert there.get_xattrs("f6", ALL) == store.get_xattrs("f6", ALL)
    again = run()
    assert not again.keys() & {"GetFileProperties", "CreateFile", "SetFileProperties", "SetFileMetadata"}


def test_every_byte_arrives_through_faults(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source = dress(tmp_path / "source")
    with faults(files.url, Faults(resets=0.04, losses=0.04, busy=0.04, throttled=0.02, truncated=0.04)) as proxy:
        through = env(files.at(proxy.origin))
        dunlin("sync", "-a", source, share, cwd=cwd, env=through, expect=0)
        dunlin("sync", "-a", "--state-db", "none", share, tmp_path / "back", cwd=cwd, env=through, expect=0)
        assert sum(bool(each.fault) for each in proxy.seen()) > 5
    same(source, tmp_path / "back")
    dunlin("sync", "-a", share, tmp_path / "calm", cwd=cwd, env=env(files), expect=0)
    same(source, tmp_path / "calm")


# ---- snapshots ----


def snapshots(files: AzureFiles, share: str) -> int:
    return len(files.server.account.shares[share.rpartition("/")[2]].snapshots)


def test_a_run_reads_from_its_own_snapshot(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source = dress(tmp_path / "source")
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    files.server.forget()
    dunlin("sync", "-a", "--share-snapshot", share, tmp_path / "back", cwd=cwd, env=env(files), expect=0)
    done = asked(files)
    assert (done["SnapshotShare"], done["DeleteShare"]) == (1, 1)
    assert snapshots(files, share) == 0
    same(source, tmp_path / "back")
    done2 = dunlin("sync", "-a", share, tmp_path / "back", cwd=cwd, env=env(files), expect=0)
    assert "nothing to do" in done2.stdout


def test_a_snapshot_goes_with_an_interrupted_run(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    name = share.rpartition("/")[2]
    files.fill(name, "", (f"f{n}" for n in range(400)), data=b"content")
    files.server.rules = Rules(latency_s=0.05, operations=frozenset({"GetFile"}))
    process = start("sync", "--share-snapshot", "--workers", "2", share, tmp_path / "back", cwd=cwd, env=env(files))
    try:
        until(lambda: files.server.count("GetFile") >= 4, process)
        assert snapshots(files, share) == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130
    assert snapshots(files, share) == 0
    files.server.rules = Rules()
    before = len(list((tmp_path / "back").iterdir()))
    files.server.forget()
    dunlin("sync", "--share-snapshot", share, tmp_path / "back", cwd=cwd, env=env(files), expect=0)
    assert 0 < asked(files)["GetFile"] <= 400 - before
    assert {path.read_bytes() for path in (tmp_path / "back").iterdir()} == {b"content"}
    assert len(list((tmp_path / "back").iterdir())) == 400


@pytest.mark.parametrize("state", [True, False], ids=["state", "no state"])
def test_the_next_run_removes_the_snapshot_of_a_killed_one_and_no_other(
    files: AzureFiles, share: str, state: bool, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    name = share.rpartition("/")[2]
    files.fill(name, "", (f"f{n}" for n in range(200)), data=b"content")
    theirs = {opened(share).share.take_snapshot(mark) for mark in ("", "0123456789abcdef01234567")}
    options = () if state else ("--state-db", "none")
    files.server.rules = Rules(latency_s=0.05, operations=frozenset({"GetFile"}))
    arguments = ("sync", "--share-snapshot", "--workers", "2", *options, share, tmp_path / "back")
    process = start(*arguments, cwd=cwd, env=env(files))
    until(lambda: files.server.count("GetFile") >= 4, process)
    process.kill()
    process.communicate()
    files.server.rules = Rules()
    assert snapshots(files, share) == 3
    # A run to another place cannot know that the run is dead.
    elsewhere = ("sync", "--share-snapshot", *options, share, tmp_path / "elsewhere")
    dunlin(*elsewhere, cwd=cwd, env=env(files), expect=0)
    assert snapshots(files, share) == 3
    done = dunlin(*arguments, cwd=cwd, env=env(files), expect=0)
    assert "deleted 1 share snapshots of runs that were killed" in done.stdout + done.stderr
    assert set(files.server.account.shares[name].snapshots) == theirs
    assert len(list((tmp_path / "back").iterdir())) == 200


@pytest.mark.parametrize("target", ["azfiles://no-such-share", "az://container"])
def test_a_snapshot_goes_with_a_run_that_cannot_begin(files: AzureFiles, share: str, target: str, cwd: Path) -> None:
    login = {"DUNLIN_SOURCE_CONNECTION_STRING": files.connection_string}
    if target.startswith("azfiles"):
        login["DUNLIN_DEST_CONNECTION_STRING"] = files.connection_string
    dunlin("sync", "--share-snapshot", share, target, cwd=cwd, env=login, expect=1)
    assert snapshots(files, share) == 0


@pytest.mark.parametrize("source", ["local", "az://container"])
def test_only_shares_have_snapshots(source: str, tmp_path: Path, cwd: Path) -> None:
    (cwd / "local").mkdir()
    login = {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "a2V5"}
    done = dunlin("sync", "--share-snapshot", source, tmp_path / "back", cwd=cwd, env=login, expect=1)
    assert "is no share of Azure Files" in done.stderr
    assert not (tmp_path / "back").exists()


# ---- what goes wrong ----


@pytest.mark.parametrize("places", ["source", "target"])
def test_a_share_that_is_not_there_ends_the_run(files: AzureFiles, places: str, tmp_path: Path, cwd: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/f").write_bytes(b"x")
    pair: list[Any] = ["azfiles://no-such-share/x", tmp_path / "disk"]
    if places == "target":
        pair.reverse()
    done = dunlin("sync", *pair, cwd=cwd, env=env(files), expect=1)
    assert "ShareNotFound" in done.stderr


def test_a_file_that_somebody_holds_fails_by_itself(files: AzureFiles, share: str, tmp_path: Path, cwd: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(5):
        (source / f"f{n}").write_bytes(b"one")
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    files.hold(share.rpartition("/")[2], "f3")
    for n in range(5):
        (source / f"f{n}").write_bytes(b"other")
    done = dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=23)
    assert "SharingViolation" in done.stderr
    files.hold(share.rpartition("/")[2], "f3", "")
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    dunlin("check", "-a", "--compare", "checksum", source, share, cwd=cwd, env=env(files), expect=0)


def test_two_names_that_differ_by_case_only_are_reported(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("Readme", "README", "other"):
        (source / name).write_bytes(name.encode())
    done = dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=23)
    assert "eadme" in done.stderr
    assert [name for batch in opened(share).list("") for name, _ in batch] == ["other"]


def test_leftovers_of_a_killed_run_go(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(40 * MIB))
    files.server.rules = Rules(latency_s=0.3, operations=frozenset({"PutRange"}))
    process = start("sync", "--movers", "1", source, share, cwd=cwd, env=env(files))
    until(lambda: files.server.count("PutRange") >= 2, process)
    process.kill()
    process.communicate()
    store = opened(share)
    assert [name for batch in store.list("") for name, _ in batch if name.endswith(".tmp")]
    files.server.rules = Rules()
    dunlin("sync", source, share, cwd=cwd, env=env(files), expect=0)
    assert [name for batch in store.list("") for name, _ in batch] == ["large"]


# ---- holes ----


def test_a_gigabyte_of_holes_is_a_few_requests_each_way(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    pieces = {0: b"begin", (600 << 20) + 12345: b"middle", (1 << 30) - 4: b"last"}
    with open(source / "holes", "wb") as file:
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)
    files.server.forget()
    dunlin("sync", "-aS", "--checksum", "none", source, share, cwd=cwd, env=env(files), expect=0)
    done = asked(files)
    assert done["PutRange"] == 3  # of 256 blocks of 4 MiB
    dunlin("sync", "-aS", "--checksum", "none", share, back, cwd=cwd, env=env(files), expect=0)
    done = asked(files)
    assert done["ListRanges"] == 1
    assert done["GetFile"] <= 9  # what was sent is three blocks
    assert (back / "holes").stat().st_size == 1 << 30
    assert (back / "holes").stat().st_blocks * 512 < 16 * MIB
    with open(back / "holes", "rb") as file:
        for at, data in pieces.items():
            file.seek(at)
            assert file.read(len(data)) == data


def test_a_killed_download_goes_on_from_its_last_byte(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    data, back = os.urandom(120_000_000), tmp_path / "back"
    files.fill(share.rpartition("/")[2], "", ("large",), data=data)
    files.server.rules = Rules(latency_s=0.2, operations=frozenset({"GetFile"}))
    arguments = ("sync", "--share-snapshot", "--disk-buffer-mb", "16", share, back)
    process = start(*arguments, cwd=cwd, env=env(files))
    until(lambda: files.server.count("GetFile") >= 18, process)
    process.kill()
    process.communicate()
    files.server.rules = Rules()
    files.server.forget()
    begun = [path for path in back.iterdir() if path.suffix == ".part"]
    assert len(begun) == 1
    there = begun[0].stat().st_size
    dunlin(*arguments, cwd=cwd, env=env(files), expect=0)
    rest = asked(files)["GetFile"]
    dunlin(*arguments[:-1], tmp_path / "anew", cwd=cwd, env=env(files), expect=0)
    whole = asked(files)["GetFile"]
    assert there > 20 * MIB
    # Up to as many as were under way when it was killed had still to end.
    assert 0 < rest <= whole * (len(data) - there) / len(data) + 6
    assert rest < whole
    assert (back / "large").read_bytes() == data


def test_a_killed_upload_goes_on_behind_its_last_mark(
    files: AzureFiles, share: str, tmp_path: Path, cwd: Path, opened: Callable[[str], Files]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = os.urandom(150 * MIB)
    (source / "large").write_bytes(data)
    files.server.rules = Rules(latency_s=0.1, operations=frozenset({"PutRange"}))
    process = start("sync", "-a", source, share, cwd=cwd, env=env(files))
    until(lambda: files.server.count("SetFileMetadata") >= 1, process)
    process.kill()
    process.communicate()
    store = opened(share)
    assert [name[-4:] for batch in store.list("") for name, _ in batch] == [".tmp"]
    files.server.rules = Rules()
    files.server.forget()
    dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0)
    done = asked(files)
    assert done["CreateFile"] == 0
    # Of 38 pieces 16 are there. One request clears what is behind them; up to 8 of the dead run have still to end.
    assert 0 < done["PutRange"] <= 38 - 16 + 1 + 8
    assert [name for batch in store.list("") for name, _ in batch] == ["large"]
    found = store.stat("large")
    assert b"".join(map(bytes, store.read(found))) == data
    assert found.mtime == (source / "large").stat().st_mtime_ns
    assert "nothing to do" in dunlin("sync", "-a", source, share, cwd=cwd, env=env(files), expect=0).stdout
