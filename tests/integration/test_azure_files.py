"""`AzureFiles` on the emulator that the official SDK has judged: requests, faults, metadata, holes, snapshots."""

from __future__ import annotations

import base64
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.storage.fileshare import ShareClient

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, MODE, SIZE, Entry
from dunlin.report import NullReport
from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.azfiles.store import AzureFiles
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.buffers import Buffers
from dunlin.stores.login import Login
from dunlin.stores.objects.answers import Answer
from dunlin.stores.objects.azure_login import Access
from dunlin.stores.objects.azure_sign import bearer
from tests.contract.support import body, content, get, names, put, refused
from tests.emulators.azure_files import AzureFiles as Emulator
from tests.emulators.azure_files import Rules, azure_files
from tests.emulators.azure_files.security import DEFAULT_DESCRIPTOR
from tests.integration.azure_files_sdk import account_sas, sdk
from tests.servers.faults import Proxy, faults
from tests.servers.faults import Rules as Faults

MIB = 1 << 20
SDDL = "O:S-1-5-21-21-16-18-217G:S-1-5-21-21-16-18-513D:PAI(A;;FA;;;SY)(A;OICI;0x1200a9;;;S-1-5-21-21-16-18-1001)"
NS = 1_700_000_000_123_456_789


class NoWait:
    """A gate that lets nobody wait."""

    def __init__(self) -> None:
        self.noted: list[DunlinError] = []

    def note(self, error: DunlinError, attempt: int, seconds: float) -> None:
        self.noted.append(error)

    def sleep(self, seconds: float) -> None:
        pass


Make = Callable[..., AzureFiles]


@pytest.fixture(scope="module")
def files() -> Iterator[Emulator]:
    with azure_files() as server:
        yield server


@pytest.fixture
def name(files: Emulator) -> str:
    """An empty share; the emulator counts from the start."""
    files.server.rules = Rules()
    share = files.share()
    files.server.forget()
    return share


@pytest.fixture
def make(files: Emulator, name: str) -> Iterator[Make]:
    """Opens a directory of the share."""
    made: list[AzureFiles] = []

    def opened(path: str = "", share: str = "", login: Login | None = None, **given: Any) -> AzureFiles:
        login = login or Login({"connection_string": files.connection_string})
        place = place_of(f"azfiles://{share or name}/{path}", login)
        made.append(open_place(place, gate=given.pop("gate", NoWait()), **given))
        return made[-1]

    yield opened
    for store in made:
        store.close()


@pytest.fixture
def judge(files: Emulator, name: str) -> Iterator[ShareClient]:
    """The same share through the official SDK."""
    with sdk(files) as service:
        yield service.get_share_client(name)


def asked(files: Emulator) -> Counter[str]:
    """How often each operation was asked for since the last time."""
    found = Counter(done.operation for done in files.server.done())
    files.server.forget()
    return found


# ---- requests ----


def test_a_listing_never_asks_for_a_file(files: Emulator, name: str, make: Make) -> None:
    files.fill(name, "", (f"f{n}" for n in range(120)), data=b"12345")
    files.fill(name, "", ["d"], directories=True)
    store = make(page=50)
    batches = list(store.list(""))
    assert [len(batch) for batch in batches] == [50, 50, 21]
    assert asked(files) == {"ListDirectoriesAndFiles": 3}
    listed = dict(pair for batch in batches for pair in batch)
    assert store.stat("f7").facts[:3] == listed["f7"][:3]
    assert store.stat("d").facts[MODE] == listed["d"][MODE]
    assert asked(files) == {"GetFileProperties": 1, "GetDirectoryProperties": 1}


def test_a_small_file_is_one_request_each_way(files: Emulator, make: Make) -> None:
    store = make()
    assert names(store) == []
    asked(files)
    put(store, "f", b"content", mtime=NS, mode=0o640, uid=1, gid=2)
    assert asked(files) == {"CreateFile": 1}
    found = store.fetch("f", 100)
    assert found is not None
    assert (found[1], found[0].mtime) == (b"content", NS)
    assert asked(files) == {"GetFile": 1}


def test_the_sdk_reads_what_was_written(make: Make, judge: ShareClient) -> None:
    store, large = make("d"), os.urandom(5 * MIB)
    store.make_directory("")
    store.make_directory("e", 0o750)
    put(store, "e/small", b"content", mtime=NS, mode=0o640)
    store.write("large", body(large, step=MIB), meta=Meta(mtime=NS))
    for path, data in (("d/e/small", b"content"), ("d/large", large)):
        file = judge.get_file_client(path)
        assert file.download_file().readall() == data
        told = file.get_file_properties()
        assert told.last_write_time == datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC)
        assert told.metadata["mtime"] == "1700000000.123456789"
    assert judge.get_file_client("d/e/small").get_file_properties().metadata["mode"] == "100640"
    assert judge.get_directory_client("d/e").get_directory_properties().metadata == {"mode": "40750"}
    assert [each.name for each in judge.get_directory_client("d").list_directories_and_files()] == ["e", "large"]


def test_a_large_file_appears_whole_by_a_rename(files: Emulator, make: Make) -> None:
    store, data = make(run="abcdef01"), os.urandom(9 * MIB)
    seen: list[list[str]] = []

    def open_at(start: int) -> Iterator[Data]:
        yield data[: 5 * MIB]
        seen.append(names(store))
        yield data[5 * MIB :]

    put(store, "f", b"old")
    asked(files)
    store.write("f", Body(len(data), open_at), meta=Meta(mtime=NS))
    found = asked(files)
    assert (found["CreateFile"], found["PutRange"], found["RenameFile"]) == (1, 3, 1)
    assert seen[0] in (["f"], [".dunlin-abcdef01-2.tmp", "f"])
    assert get(store, "f") == data
    assert store.stat("f").mtime == NS
    assert names(store) == ["f"]


def test_an_older_service_gets_small_files_in_steps(files: Emulator, make: Make) -> None:
    store = make()
    files.server.fail("InvalidHeaderValue", operation="CreateFile")
    refused(ErrorKind.USAGE, lambda: put(store, "f", b"content"))  # a value that is wrong, and it was not the version
    old = make()
    real = old.share._client.ask

    def older(method: str, target: str, headers: Any, body: Any = b"") -> Answer:
        if headers["x-ms-version"] <= "2024-11-04":
            return real(method, target, headers, body)
        told = b"<Error><Code>InvalidHeaderValue</Code><HeaderName>x-ms-version</HeaderName></Error>"
        return Answer(400, {"x-ms-error-code": "InvalidHeaderValue"}, told)

    old.share._client.ask = older  # type: ignore[method-assign]
    asked(files)
    put(old, "g", b"content", mtime=NS)
    put(old, "h", b"content", mtime=NS)
    found = asked(files)
    assert (found["RenameFile"], found["PutRange"]) == (2, 2)
    assert get(old, "h") == b"content"


# ---- holes ----


def test_holes_are_neither_sent_nor_fetched(files: Emulator, make: Make, judge: ShareClient) -> None:
    store = make()
    data = bytearray(40 * MIB)
    data[20 * MIB : 20 * MIB + 9] = b"something"
    store.write("f", body(bytes(data), step=4 * MIB), meta=Meta())
    assert asked(files)["PutRange"] == 1
    ranges = judge.get_file_client("f").list_ranges()
    assert sum(each.end - each.start + 1 for each in ranges) <= 4 * MIB
    asked(files)
    entry = store.stat("f")
    pool = Buffers(4 * MIB, 3)
    read = bytearray()
    for chunk in store.read(entry, into=pool):
        read += chunk
        pool.give(chunk)
    assert read == data
    assert content(store, entry) == data
    fetched = asked(files)
    assert fetched["ListRanges"] == 2
    assert fetched["GetFile"] <= 4


def test_of_five_gigabytes_three_ranges_travel(files: Emulator, make: Make) -> None:
    store, block = make(), memoryview(bytes(4 * MIB))
    size = 5 << 30
    pieces = {0: b"begin", 3 << 30: b"middle", size - 4 * MIB: b"last"}

    def blocks(start: int) -> Iterator[Data]:
        for at in range(start, size, 4 * MIB):
            data = pieces.get(at, b"")
            yield data + bytes(block[len(data) :]) if data else block

    store.write("f", Body(size, blocks), meta=Meta())
    done = asked(files)
    # One rename looks for an upload that was begun, and finds none; the metadata loses its mark at the end.
    assert (done["CreateFile"], done["PutRange"], done["RenameFile"], done["SetFileMetadata"]) == (1, 3, 2, 1)
    assert sum(done.values()) == 7
    entry = store.stat("f")
    assert entry.size == size
    asked(files)
    at, found = 0, {}
    for chunk in store.read(entry):
        if chunk[0]:
            found[at] = bytes(chunk[:6])
        at += len(chunk)
    assert at == size
    assert {at: data.rstrip(b"\0") for at, data in found.items()} == pieces
    done = asked(files)
    assert done["ListRanges"] == 1
    assert done["GetFile"] <= 12  # three blocks of 4 MiB, in pieces
    assert sum(done.values()) <= 14


def test_a_file_of_four_terabytes_is_read_at_its_end_and_none_is_larger(files: Emulator, make: Make) -> None:
    store, end = make(), 4 << 40
    headers = {"x-ms-type": "file", "x-ms-content-length": str(end)}
    store.share.ask("PUT", "f", (), headers, operation="write", expects=201)
    put_range = {"x-ms-write": "update", "x-ms-range": f"bytes={end - 4}-{end - 1}"}
    store.share.ask("PUT", "f", (("comp", "range"),), put_range, b"last", operation="write", expects=201)
    (batch,) = store.list("")
    ((_, what),) = batch
    assert what[SIZE] == end
    asked(files)
    read = b"".join(map(bytes, store.read(Entry("f", what), end - 32 * MIB)))
    assert (len(read), read.lstrip(b"\0")) == (32 * MIB, b"last")
    assert asked(files)["GetFile"] == 1
    nothing: Iterator[Data] = iter(())
    refused(ErrorKind.UNSUPPORTED, lambda: store.write("g", Body(end + 1, lambda start: nothing), meta=Meta()))
    assert sum(asked(files).values()) <= 1


def test_what_changes_while_it_is_read_is_seen(make: Make, judge: ShareClient) -> None:
    store = make()
    entry = put(store, "f", os.urandom(8 * MIB))
    chunks = store.read(entry)
    got = len(next(chunks))
    # As an SMB client does: in the middle of the file, which stays the same file.
    judge.get_file_client("f").upload_range(b"x" * 512, 4096, 512)
    rest: list[Data] = []
    refused(ErrorKind.CHANGED, lambda: rest.extend(chunks))
    assert got + sum(map(len, rest)) < entry.size


# ---- what a share keeps ----


def test_attributes_times_and_permissions_are_carried(
    files: Emulator, name: str, make: Make, judge: ShareClient
) -> None:
    created = datetime(2011, 2, 3, 4, 5, 6, 789_000, UTC)
    file = judge.get_file_client("f")
    file.create_file(
        4, file_attributes="ReadOnly|Hidden|Archive", file_creation_time=created, file_last_write_time=created,
        file_permission=SDDL, metadata={"theirs": "x"},
    )  # fmt: skip
    source, there = make(), make(share=files.share())
    xattrs = source.get_xattrs("f", ("user.",))
    assert xattrs["user.dunlin.permission"].decode() == SDDL
    assert xattrs["user.dunlin.attributes"] == b"ReadOnly|Hidden|Archive"
    for n in range(3):
        there.write(f"g{n}", body(b"1234"), meta=Meta(mtime=5, xattrs=xattrs, xattr_space=("user.",)))
    there.write("large", body(bytes(5 * MIB) + b"x", step=4 * MIB), meta=Meta(xattrs=xattrs, xattr_space=("user.",)))
    for other in ("g0", "g2", "large"):
        assert there.get_xattrs(other, ("user.",)) == xattrs
    # Each distinct descriptor is asked for once, and kept once.
    found = asked(files)
    assert (found["CreatePermission"], found["GetPermission"]) == (1, 2)
    put(there, "g0", b"over a read-only file")
    assert get(there, "g0") == b"over a read-only file"
    assert there.delete(["g1", "g2"]) == [True, True]


def test_a_permission_without_sddl_is_carried_in_its_binary_form(files: Emulator, make: Make) -> None:
    conditional = bytearray(DEFAULT_DESCRIPTOR)
    conditional[conditional.index(b"\x00\x03\x18\x00\xff\x01\x1f\x00")] = 9
    text = "binary:" + base64.b64encode(conditional).decode()
    source, there = make(), make(share=files.share())
    given = {"user.dunlin.permission": text.encode()}
    put(source, "f", xattrs=given, xattr_space=("user.",))
    found = source.get_xattrs("f", ("user.dunlin.p",))
    assert found == given
    put(there, "f", xattrs=found, xattr_space=("user.",))
    assert there.get_xattrs("f", ("user.dunlin.p",)) == given
    wrong = {"user.dunlin.permission": b"O:nonsense"}
    refused(ErrorKind.UNSUPPORTED, lambda: put(there, "g", xattrs=wrong, xattr_space=("user.",)))


def test_the_service_copies_all_that_a_share_keeps(files: Emulator, make: Make, judge: ShareClient) -> None:
    created = datetime(2011, 2, 3, 4, 5, 6, 789_000, UTC)
    judge.get_file_client("f").upload_file(
        b"1234", file_attributes="Hidden", file_creation_time=created, file_permission=SDDL, metadata={"theirs": "x"}
    )
    source, other = make(), make(share=files.share())
    entry = source.stat("f")
    asked(files)
    for target in (source, other):
        made = source.copy_into(entry, target, "copy", meta=Meta(), report=NullReport())
        there, found = target._look("copy"), source._look("f")
        assert made == Entry("copy", there.facts)
        assert (there.created, there.written, there.attributes) == (found.created, found.written, "Hidden | Archive")
        assert there.changed == found.changed
        assert there.metadata == {"theirs": "x"}
        assert target.permissions.text(there.permission) == SDDL
        assert get(target, "copy") == b"1234"
        assert ".tmp" not in "".join(names(target))
    assert asked(files)["CopyFile"] == 2


def test_what_the_service_will_not_copy_passes_through_dunlin(files: Emulator, make: Make) -> None:
    store = make()
    entry = put(store, "f", b"content")

    def attempt() -> None:
        store.copy_into(entry, store, "copy", meta=Meta(), report=NullReport())

    files.server.fail("CannotVerifyCopySource", operation="CopyFile", status=403)
    refused(ErrorKind.UNSUPPORTED, attempt)
    files.server.fail("ServerBusy", operation="RenameFile", times=50)
    refused(ErrorKind.BUSY, attempt)
    assert names(store) == ["f"]


def test_metadata_of_others_stays(make: Make, judge: ShareClient) -> None:
    judge.get_file_client("f").upload_file(b"x", metadata={"theirs": "x"})
    store = make()
    store.set_meta("f", Meta(mode=0o600, mtime=NS))
    assert judge.get_file_client("f").get_file_properties().metadata == {
        "theirs": "x", "mode": "100600", "mtime": "1700000000.123456789"
    }  # fmt: skip


def test_names_that_the_service_refuses_are_escaped(make: Make, judge: ShareClient) -> None:
    store = make()
    for odd in ("a:b", "CON", "...", "new\nline", "\udcff", "dot.", "\uffff", "x\u201b3a"):
        put(store, odd, odd.encode("utf-8", "surrogateescape"))
    assert "a\u201b3ab" in [each.name for each in judge.list_directories_and_files()]
    assert sorted(names(store)) == sorted(("a:b", "CON", "...", "new\nline", "\udcff", "dot.", "\uffff", "x\u201b3a"))
    assert all(get(store, odd) == odd.encode("utf-8", "surrogateescape") for odd in names(store))


def test_case_is_kept_and_does_not_count(make: Make) -> None:
    store = make()
    put(store, "Readme", b"1")
    assert names(store) == ["Readme"]
    assert get(store, "README") == b"1"
    assert not store.caps.case_sensitive
    store.move("Readme", "README")
    assert names(store) == ["README"]


# ---- directories ----


def test_only_an_empty_directory_is_removed(make: Make) -> None:
    store = make()
    for path in ("empty", "full"):
        assert store.make_directory(path, 0o750)
    put(store, "full/f")
    put(store, "file")
    refused(ErrorKind.EXISTS, lambda: store.remove_directory("full"))
    refused(ErrorKind.CHANGED, lambda: store.remove_directory("file"))
    assert store.remove_directory("empty") is True
    assert store.remove_directory("empty") is False
    assert store.remove_directory("absent/empty") is False
    assert sorted(names(store)) == ["file", "full"]


def test_the_root_is_made_with_all_above_it_but_no_share_is(make: Make) -> None:
    below = make("a/b/c")
    refused(ErrorKind.NOT_FOUND, lambda: below.stat(""))
    assert below.make_directory("") is True
    assert below.make_directory("") is False
    put(below, "f")
    assert names(make("a/b"), "c") == ["f"]
    nowhere = make("a", share="no-such-share")
    with pytest.raises(DunlinError) as error:
        nowhere.make_directory("")
    assert error.value.kind is ErrorKind.NOT_FOUND
    assert error.value.where.endswith("/no-such-share")


# ---- trouble ----


@pytest.mark.parametrize("code", ["ServerBusy", "OperationTimedOut", "ClientCacheFlushDelay", "SharingViolation"])
def test_what_passes_is_waited_for(files: Emulator, make: Make, code: str) -> None:
    store = make()
    put(store, "f", b"content")
    files.server.fail(code, times=2)
    assert get(store, "f") == b"content"
    files.server.fail(code, times=2)
    put(store, "f", b"other")
    assert get(store, "f") == b"other"


def test_a_file_that_somebody_holds_is_its_own_failure(files: Emulator, name: str, make: Make) -> None:
    gate = NoWait()
    store = make(gate=gate)
    put(store, "f", b"content")
    put(store, "g", b"content")
    files.hold(name, "f")
    with pytest.raises(DunlinError) as error:
        put(store, "f", b"other")
    assert "SharingViolation" in str(error.value)
    assert "--share-snapshot" in error.value.hint
    assert not error.value.fatal
    assert gate.noted == []  # the service is not overloaded: nobody has to slow down
    put(store, "g", b"other")
    files.hold(name, "f", "")
    assert get(store, "f") == b"content"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AuthenticationFailed", ErrorKind.AUTH),
        ("AuthorizationPermissionMismatch", ErrorKind.DENIED),
        ("LeaseIdMissing", ErrorKind.DENIED),
        ("ParentNotFound", ErrorKind.NOT_FOUND),
        ("ConditionNotMet", ErrorKind.CHANGED),
        ("ShareBeingDeleted", ErrorKind.NOT_FOUND),
    ],
)
def test_errors_are_translated(files: Emulator, make: Make, code: str, kind: ErrorKind) -> None:
    store = make()
    files.server.fail(code, operation="CreateFile")
    with pytest.raises(DunlinError) as error:
        put(store, "f")
    assert error.value.kind is kind
    assert code in error.value.reason


@pytest.fixture
def through(files: Emulator, make: Make) -> Iterator[tuple[AzureFiles, Proxy]]:
    """The share through a proxy that fails as told."""
    with faults(files.url) as proxy:
        login = Login({"connection_string": files.at(proxy.origin).connection_string})
        yield make(login=login), proxy


def test_every_byte_is_right_through_faults(through: tuple[AzureFiles, Proxy]) -> None:
    store, proxy = through
    proxy.rules = Faults(resets=0.1, losses=0.1, busy=0.1, throttled=0.05, truncated=0.1)
    data = {f"f{n}": os.urandom(n * 400_000) for n in range(16)}
    assert store.make_directory("d")
    for path, each in data.items():
        store.write(f"d/{path}", body(each, step=MIB), meta=Meta(mtime=NS))
    assert sorted(names(store, "d")) == sorted(data)
    for path, each in data.items():
        entry = store.stat(f"d/{path}")
        assert entry.mtime == NS
        assert content(store, entry) == each
    assert store.delete([f"d/{path}" for path in data]) == [True] * len(data)
    assert store.remove_directory("d")
    assert names(store) == []


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_rename_whose_answer_got_lost_was_done(through: tuple[AzureFiles, Proxy], if_absent: bool) -> None:
    store, proxy = through
    data = os.urandom(5 * MIB)
    lost = threading.Event()
    real = store.share._client.ask

    def ask(method: str, target: str, *rest: Any) -> Any:
        if "comp=rename" in target and not lost.is_set():
            lost.set()
            proxy.next("lost")
        return real(method, target, *rest)

    store.share._client.ask = ask  # type: ignore[method-assign]
    made = store.write("f", body(data, step=MIB), meta=Meta(), if_absent=if_absent)
    assert lost.is_set()
    assert made.facts[IDENT] == store.stat("f").facts[IDENT]
    assert get(store, "f") == data
    assert names(store) == ["f"]


# ---- logins ----


def test_sas_and_token_get_in(files: Emulator, name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sas = Login({"sas_token": account_sas(files), "account_name": files.account, "endpoint": files.url})
    store = make(login=sas)
    put(store, "f", b"content")
    store.write("large", body(os.urandom(5 * MIB), step=MIB), meta=Meta())  # its rename names a source with the SAS
    assert names(store) == ["f", "large"]
    asked(files)
    answering = Login({"account_name": files.account, "endpoint": files.url})
    monkeypatch.setattr("dunlin.stores.azfiles.place.access", lambda login, *rest: Access(
        files.url, files.account, bearer(lambda: files.token), lambda: None
    ))  # fmt: skip
    assert get(make(login=answering), "f") == b"content"
    monkeypatch.undo()
    wrong = {"sas_token": "sv=2020-02-10&sig=wrong"}
    with pytest.raises(DunlinError) as error:
        put(make(login=Login({**wrong, "account_name": files.account, "endpoint": files.url})), "f")
    assert error.value.kind is ErrorKind.AUTH
    assert "wrong" not in str(error.value)


# ---- snapshots ----


def test_a_snapshot_is_read_whatever_happens_to_the_share(files: Emulator, name: str, make: Make) -> None:
    store = make()
    store.make_directory("d")
    put(store, "d/f", b"before")
    taken = store.share.take_snapshot()
    files.hold(name, "d/f")
    held = make("d", snapshot=taken)
    files.hold(name, "d/f", "")
    put(store, "d/f", b"after")
    put(store, "d/g")
    assert names(held) == ["f"]
    assert get(held, "f") == b"before"
    assert held.url == make("d").url
    store.share.drop_snapshot(taken)
    store.share.drop_snapshot(taken)
    refused(ErrorKind.NOT_FOUND, lambda: names(held))
    assert get(store, "d/f") == b"after"
