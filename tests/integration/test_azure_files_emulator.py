"""The Azure Files emulator as the official SDK sees it: nothing of ours takes part but the emulator.

The SDK is the judge: it signs, writes and parses by itself, and what it reads back is what the reference promises.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.storage.fileshare import (
    AccessPolicy,
    FileSasPermissions,
    NTFSAttributes,
    ShareClient,
    ShareSasPermissions,
    ShareServiceClient,
    generate_file_sas,
    generate_share_sas,
)

from tests.emulators.azure_files import AzureFiles, Rules, azure_files, times
from tests.integration.azure_files_sdk import ALL, Altering, account_sas, altered, listed, raw, refused, sdk

MIB = 1 << 20
SDDL = "O:S-1-5-21-21-16-18-217G:S-1-5-21-21-16-18-513D:PAI(A;;FA;;;SY)(A;OICI;0x1200a9;;;S-1-5-21-21-16-18-1001)"
OTHER_SDDL = "O:BAG:SYD:(A;OICI;FA;;;BA)(D;;FW;;;BU)"
SOON = datetime.now(UTC) + timedelta(days=1)  # this may be read long before the tests run


@pytest.fixture(scope="module")
def files() -> Iterator[AzureFiles]:
    """An emulator for all tests here; each takes shares of its own."""
    with azure_files() as server:
        yield server


@pytest.fixture
def share(files: AzureFiles) -> Iterator[ShareClient]:
    """An empty share."""
    files.server.rules = Rules()
    files.server.forget()
    with sdk(files) as service:
        yield service.get_share_client(files.share())


# -- who may ask


def test_connection_string(files: AzureFiles) -> None:
    with ShareServiceClient.from_connection_string(files.connection_string, retry_total=0) as service:
        service.create_share("by-connection-string")
        assert "by-connection-string" in [each.name for each in service.list_shares()]


def test_wrong_key(files: AzureFiles, share: ShareClient) -> None:
    wrong = replace(files, key=base64.b64encode(b"another key").decode())
    with sdk(wrong) as service, refused("AuthenticationFailed", 403):
        list(service.list_shares())
    nobody = replace(files, account="nobody")
    credential = {"account_name": nobody.account, "account_key": files.key}
    with sdk(files, credential=credential) as service, refused("AuthenticationFailed", 403):
        service.get_share_client(share.share_name).get_share_properties()


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.headers.pop("Authorization"),
        lambda request: request.headers.update({"x-ms-meta-added": "1"}),
        lambda request: setattr(request, "url", request.url.replace("restype=share", "restype=share&timeout=5")),
        lambda request: setattr(request, "url", request.url.replace("?", "/?")),
        lambda request: setattr(request, "method", "HEAD"),
    ],
    ids=["unsigned", "header", "query", "path", "method"],
)
def test_altered_requests(files: AzureFiles, share: ShareClient, change: Callable[[Any], None]) -> None:
    with sdk(files, transport=Altering(change)) as service, pytest.raises(HttpResponseError) as raised:
        service.get_share_client(share.share_name).get_share_properties()
    assert (raised.value.status_code, files.server.done()[-1].code) == (403, "AuthenticationFailed")


@pytest.mark.parametrize(("ahead_s", "good"), [(-16 * 60, False), (-14 * 60, True), (14 * 60, True), (16 * 60, False)])
def test_old_and_early_dates(ahead_s: int, good: bool) -> None:
    answered = nullcontext() if good else refused("AuthenticationFailed", 403)
    with azure_files(clock=lambda: times.now() + ahead_s * times.TICKS) as files, sdk(files) as service, answered:
        service.get_service_properties()


def test_account_sas(files: AzureFiles, share: ShareClient) -> None:
    with sdk(files, credential=account_sas(files)) as service:
        mine = service.get_share_client(share.share_name)
        mine.get_file_client("ä b").upload_file(b"123")
        assert listed(mine) == ["ä b"]
    cases = [
        (account_sas(files, letters="r"), "AuthorizationPermissionMismatch"),
        (account_sas(files, types="o"), "AuthorizationResourceTypeMismatch"),
        (account_sas(files, expiry=datetime.now(UTC) - timedelta(minutes=1)), "AuthenticationFailed"),
        (account_sas(files, start=SOON, expiry=SOON + timedelta(hours=1)), "AuthenticationFailed"),
        (account_sas(files, ip="10.0.0.1-10.0.0.9"), "AuthorizationSourceIPMismatch"),
        (account_sas(files, protocol="https"), "AuthorizationProtocolMismatch"),
        (account_sas(files)[:-8] + "AAAA%3D", "AuthenticationFailed"),
    ]
    for token, code in cases:
        with sdk(files, credential=token) as service, refused(code, 403):
            listed(service.get_share_client(share.share_name))


def test_service_sas(files: AzureFiles, share: ShareClient) -> None:
    directory = share.create_directory("d é")
    directory.upload_file("a+b", b"one")
    directory.upload_file("other", b"two")
    name = share.share_name
    token = generate_share_sas(files.account, name, files.key, ShareSasPermissions(read=True, list=True), SOON)
    with sdk(files, credential=token) as service:
        mine = service.get_share_client(name)
        assert listed(mine.get_directory_client("d é")) == ["a+b", "other"]
        with refused("AuthorizationPermissionMismatch", 403):
            mine.create_directory("e")
        with refused("AuthenticationFailed", 403):
            listed(service.get_share_client(files.share()))
    token = generate_file_sas(files.account, name, ["d é", "a+b"], files.key, FileSasPermissions(read=True), SOON)
    with sdk(files, credential=token) as service:
        mine = service.get_share_client(name)
        assert mine.get_file_client("d é/a+b").download_file().readall() == b"one"
        with refused("AuthenticationFailed", 403):
            mine.get_file_client("d é/other").download_file()


def test_sas_with_stored_policy(files: AzureFiles, share: ShareClient) -> None:
    policy = AccessPolicy(
        permission=ShareSasPermissions(list=True), expiry=SOON, start=datetime(2020, 1, 1, tzinfo=UTC)
    )
    share.set_share_access_policy({"look": policy})
    assert [each.id for each in share.get_share_access_policy()["signed_identifiers"]] == ["look"]
    token = generate_share_sas(files.account, share.share_name, files.key, policy_id="look")
    with sdk(files, credential=token) as service:
        mine = service.get_share_client(share.share_name)
        assert listed(mine) == []
        with refused("AuthorizationPermissionMismatch", 403):
            mine.get_share_properties()
        share.set_share_access_policy({})
        with refused("AuthenticationFailed", 403):
            listed(mine)


class Token:
    """A credential with one token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """The token, good for an hour."""
        return AccessToken(self.token, int(time.time()) + 3600)


def test_token(files: AzureFiles, share: ShareClient) -> None:
    share.create_directory("d")
    secure = replace(files, url=files.url.replace("http:", "https:"))

    def plain(request: Any) -> None:
        # The SDK gives tokens to HTTPS only.
        request.url = request.url.replace("https:", "http:")

    with sdk(secure, credential=Token(files.token), token_intent="backup", transport=Altering(plain)) as service:
        assert listed(service.get_share_client(share.share_name)) == ["d"]
    with sdk(secure, credential=Token("another"), token_intent="backup", transport=Altering(plain)) as service:
        with pytest.raises(HttpResponseError) as raised:
            listed(service.get_share_client(share.share_name))
        assert raised.value.status_code == 401

    def without_intent(request: Any) -> None:
        plain(request)
        del request.headers["x-ms-file-request-intent"]

    transport = Altering(without_intent)
    good = sdk(secure, credential=Token(files.token), token_intent="backup", transport=transport)
    with good as service, refused("MissingRequiredHeader", 400):
        listed(service.get_share_client(share.share_name))


# -- the account and its shares


def test_service_properties(files: AzureFiles) -> None:
    with azure_files() as mine, sdk(mine) as service:
        assert service.get_service_properties()["hour_metrics"].enabled is False
        service.set_service_properties(cors=[])
        assert service.get_service_properties()["cors"] == []


def test_list_shares_in_pages(files: AzureFiles) -> None:
    with azure_files() as mine, sdk(mine) as service:
        names = [f"share-{n:02d}" for n in range(7)]
        for name in names:
            service.create_share(name, metadata={"Number": name[-1]})
        when = service.get_share_client("share-03").create_snapshot()["snapshot"]
        pages = [[each.name for each in page] for page in service.list_shares(results_per_page=3).by_page()]
        assert pages == [names[:3], names[3:6], names[6:]]
        found = list(service.list_shares(name_starts_with="share-03", include_snapshots=True, include_metadata=True))
        assert [(each.snapshot, each.metadata["Number"]) for each in found] == [(when, "3"), (None, "3")]


def test_share_from_start_to_end(share: ShareClient) -> None:
    with refused("ShareAlreadyExists", 409):
        share.create_share()
    share.set_share_quota(7)
    share.set_share_metadata({"a": "1", "Bc": "ü"})
    found = share.get_share_properties()
    assert (found.quota, found.metadata, found.protocols) == (7, {"a": "1", "Bc": "ü"}, ["SMB"])
    file = share.get_file_client("f")
    file.create_file(10 * MIB)
    assert share.get_share_stats() == 0
    file.upload_range(b"x" * 1024, 0, 1024)
    assert share.get_share_stats() == 1024
    share.delete_share()
    for call in (share.get_share_properties, share.delete_share, share.create_snapshot, file.get_file_properties):
        with refused("ShareNotFound", 404):
            call()


@pytest.mark.parametrize(("name", "code"), [("a_b", "InvalidResourceName"), ("ab", "OutOfRangeInput")])
def test_share_names(files: AzureFiles, name: str, code: str) -> None:
    with sdk(files) as service, refused(code, 400):
        service.create_share(name)


def test_share_being_deleted() -> None:
    with azure_files(deleting_s=600) as files, sdk(files) as service:
        service.create_share("gone").delete_share()
        with refused("ShareBeingDeleted", 409):
            service.create_share("gone")


def test_snapshots_are_isolated(files: AzureFiles, share: ShareClient) -> None:
    share.create_directory("d").upload_file("f", b"before", metadata={"is": "old"})
    share.get_file_client("gone").upload_file(b"here")
    when = share.create_snapshot(metadata={"why": "test"})["snapshot"]
    file = share.get_file_client("d/f")
    file.upload_range(b"after!", 0, 6)
    file.set_file_metadata({"is": "new"})
    share.get_file_client("gone").delete_file()
    share.get_file_client("d/new").upload_file(b"")
    with sdk(files) as service:
        old = service.get_share_client(share.share_name, snapshot=when)
        assert old.get_share_properties().metadata == {"why": "test"}
        assert old.get_file_client("d/f").download_file().readall() == b"before"
        assert old.get_file_client("d/f").get_file_properties().metadata == {"is": "old"}
        assert old.get_file_client("d/f").get_file_properties().file_id == file.get_file_properties().file_id
        assert (listed(old), listed(old.get_directory_client("d"))) == (["d", "gone"], ["f"])
        with refused("ShareSnapshotNotFound", 404):
            service.get_share_client(share.share_name, snapshot="2020-01-01T00:00:00.0000000Z").get_share_properties()
        with refused("ShareHasSnapshots", 409):
            share.delete_share()
        old.delete_share()
        with refused("ShareSnapshotNotFound", 404):
            listed(old)
    assert file.download_file().readall() == b"after!"
    share.create_snapshot()
    share.delete_share(delete_snapshots=True)


def test_changed_ranges_since_a_snapshot(share: ShareClient) -> None:
    file = share.get_file_client("f")
    file.upload_file(b"a" * 4096)
    when = share.create_snapshot()["snapshot"]
    file.upload_range(b"b" * 512, 1024, 512)
    file.upload_range(b"a" * 512, 2048, 512)
    file.clear_range(3072, 512)
    found = [(each.start, each.end, each.cleared) for each in file.list_ranges_diff(when)]
    assert found == [(1024, 1535, False), (3072, 3583, True)]
    file.create_file(10)
    with refused("FileGenerationMismatch", 409):
        list(file.list_ranges_diff(when))


# -- permissions


def test_permissions_round_trip(share: ShareClient) -> None:
    key = share.create_permission_for_share(SDDL)
    other = share.create_permission_for_share(OTHER_SDDL)
    assert key == share.create_permission_for_share(SDDL) != other
    assert share.get_permission_for_share(key) == SDDL
    binary = share.get_permission_for_share(other, file_permission_format="binary")
    assert base64.b64decode(binary)[:4] == b"\1\0\4\x80"  # revision 1, self-relative, with a DACL
    # The SDK's create_permission_for_share cannot send the format that its documentation names.
    same = share.get_file_client("same").create_file(1, file_permission=binary, file_permission_format="binary")
    assert same["file_permission_key"] == other
    file, directory = share.get_file_client("f"), share.create_directory("d", file_permission=OTHER_SDDL)
    file.create_file(1, permission_key=key)
    assert (file.get_file_properties().permission_key, directory.get_directory_properties().permission_key) == (
        key,
        other,
    )
    directory.set_http_headers(file_permission=SDDL)
    assert directory.get_directory_properties().permission_key == key


def test_permissions_are_inherited(share: ShareClient) -> None:
    sddl = "O:BAG:SYD:PAI(A;OICI;FA;;;BA)(D;;FW;;;BU)(A;CI;FR;;;AU)(A;OIIO;FX;;;WD)"
    directory = share.create_directory("d", file_permission=sddl)
    directory.create_subdirectory("e").upload_file("f", b"")
    directory.upload_file("f", b"")
    keys = {entry.name: entry.permission_key for entry in directory.list_directories_and_files(include=ALL)}
    assert share.get_permission_for_share(keys["e"]) == (
        "O:BAG:SYD:AI(A;OICIID;FA;;;BA)(A;CIID;FR;;;AU)(A;OIIOID;FX;;;WD)"
    )
    assert share.get_permission_for_share(keys["f"]) == "O:BAG:SYD:AI(A;ID;FA;;;BA)(A;ID;FX;;;WD)"
    assert share.get_file_client("d/e/f").get_file_properties().permission_key == keys["f"]


def test_permissions_that_are_none(share: ShareClient) -> None:
    with refused("FileInvalidPermission", 400):
        share.create_permission_for_share("D:(A;;FA;;;SY)")  # owner and group must be there
    with refused("FileInvalidPermissionKey", 400):
        share.get_permission_for_share("1*2")
    with refused("FileInvalidPermissionKey", 400):
        share.get_file_client("f").create_file(1, permission_key="1*2")
    assert listed(share) == []
    plain = share.create_permission_for_share("O:BAG:SYD:(A;;FA;;;BU)")
    conditional = bytearray(base64.b64decode(share.get_permission_for_share(plain, file_permission_format="binary")))
    conditional[conditional.index(b"\0\0\x18\0")] = 9  # the type of its ACE: allow, with a condition
    text = base64.b64encode(conditional).decode()
    made = share.get_file_client("f").create_file(1, file_permission=text, file_permission_format="binary")
    key = str(made["file_permission_key"])
    with refused("CannotConvertToSddlDueToCustomAce", 400):
        share.get_permission_for_share(key)
    assert base64.b64decode(share.get_permission_for_share(key, file_permission_format="binary")) == conditional


# -- directories


def test_directory_from_start_to_end(share: ShareClient) -> None:
    directory = share.create_directory(
        "Docs", metadata={"Key": "v"}, file_attributes=NTFSAttributes(hidden=True, directory=True)
    )
    with refused("ResourceAlreadyExists", 409):
        share.create_directory("DOCS")
    with refused("ParentNotFound", 404):
        share.create_directory("no/such")
    found = directory.get_directory_properties()
    assert (found.metadata, found.file_attributes) == ({"Key": "v"}, "Hidden | Directory")
    directory.set_directory_metadata({"other": "1"})
    headers = raw(directory.set_http_headers, file_attributes="none", file_creation_time="2001-02-03T04:05:06.1234567Z")
    assert headers["x-ms-file-attributes"] == "Directory"
    assert headers["x-ms-file-creation-time"] == "2001-02-03T04:05:06.1234567Z"
    assert directory.get_directory_properties().metadata == {"other": "1"}
    inside = directory.create_subdirectory("in")
    assert inside.get_directory_properties().parent_id == directory.get_directory_properties().file_id
    with refused("DirectoryNotEmpty", 409):
        directory.delete_directory()
    inside.delete_directory()
    directory.delete_directory()
    with refused("ResourceNotFound", 404):
        directory.get_directory_properties()
    with refused("ResourceNotFound", 404):
        listed(directory)


def test_entries_change_the_smb_times_of_their_directory_only(share: ShareClient) -> None:
    directory = share.create_directory("d", file_last_write_time="2001-01-01T00:00:00.0000000Z")
    before = raw(directory.get_directory_properties)
    directory.upload_file("f", b"")
    after = raw(directory.get_directory_properties)
    assert after["x-ms-file-last-write-time"] > "2026" > before["x-ms-file-last-write-time"]
    assert (after["ETag"], after["Last-Modified"]) == (before["ETag"], before["Last-Modified"])


def test_twelve_thousand_entries(files: AzureFiles, share: ShareClient) -> None:
    names = [f"file {n:05d}" for n in range(12_000)]
    files.fill(share.share_name, "", names, data=b"12345")
    pages = [list(page) for page in share.list_directories_and_files(include=ALL).by_page()]
    assert [len(page) for page in pages] == [5000, 5000, 2000]
    entries = [entry for page in pages for entry in page]
    assert [entry.name for entry in entries] == names
    assert {entry.size for entry in entries} == {5}
    assert len({entry.file_id for entry in entries}) == len({entry.etag for entry in entries}) == 12_000
    assert files.server.count("ListDirectoriesAndFiles") == 3


def test_pages_go_on_while_entries_come_and_go(files: AzureFiles, share: ShareClient) -> None:
    files.fill(share.share_name, "", [f"{n:02d}" for n in range(10)])
    pages = share.list_directories_and_files(results_per_page=4).by_page()
    first = [entry.name for entry in next(pages)]
    share.get_file_client("03").delete_file()
    share.get_file_client("04").delete_file()
    files.fill(share.share_name, "", ["00a", "045"])
    assert first + [entry.name for page in pages for entry in page] == [
        "00", "01", "02", "03", "045", "05", "06", "07", "08", "09",
    ]  # fmt: skip
    with refused("InvalidQueryParameterValue", 400):
        next(share.list_directories_and_files().by_page(continuation_token="made up"))
    with refused("OutOfRangeQueryParameterValue", 400):
        next(share.list_directories_and_files(results_per_page=-1).by_page())


def test_prefix_ignores_case(files: AzureFiles, share: ShareClient) -> None:
    files.fill(share.share_name, "", ["Alpha", "album", "beta", "al"], directories=True)
    assert listed(share, name_starts_with="AL") == ["al", "album", "Alpha"]
    assert listed(share, name_starts_with="al", results_per_page=2) == ["al", "album", "Alpha"]


def test_what_a_listing_includes(share: ShareClient) -> None:
    times = {
        "file_creation_time": "2001-01-01T00:00:00.1234567Z",
        "file_last_write_time": "2002-01-01T00:00:00.7654321Z",
    }
    file = share.get_file_client("f")
    file.create_file(17, file_attributes="ReadOnly|Archive", file_change_time="2003-01-01T00:00:00.0000001Z", **times)
    (bare,) = share.list_directories_and_files()
    assert (bare.size, bare.file_id, bare.creation_time, bare.etag, bare.permission_key) == (17, None, None, None, None)
    headers = raw(lambda **options: list(share.list_directories_and_files(**options)))
    assert headers["Transfer-Encoding"] == "chunked"  # as in recorded replies
    (extended,) = share.list_directories_and_files(include_extended_info=True)
    assert (extended.file_id, extended.etag) == (file.get_file_properties().file_id, None)
    (full,) = share.list_directories_and_files(include=ALL)
    found = file.get_file_properties()
    assert (full.creation_time, full.last_write_time) == tuple(times.values())
    assert full.change_time == "2003-01-01T00:00:00.0000001Z"
    assert full.file_attributes == "ReadOnly | Archive"
    assert (full.last_modified, full.etag, full.permission_key, full.file_id) == (
        found.last_modified, found.etag, found.permission_key, found.file_id,
    )  # fmt: skip


@pytest.mark.parametrize("order", ["folded", "bytes", "shuffled"])
def test_orders(order: str) -> None:
    names = ["b", "A", "a-b", "ab", "Z", "é", "_", "a.txt", "a0", "\U0001f600", "ﬀ"]
    sorts = {
        "folded": sorted(names, key=lambda name: (name.upper() if name != "ﬀ" else name).encode("utf-16-be")),
        "bytes": sorted(names, key=str.encode),
    }
    with azure_files(order=order, page_limit=3) as files, sdk(files) as service:
        share = service.get_share_client(files.share())
        files.fill(share.share_name, "", names)
        found = listed(share)
        assert found == listed(share)
        assert sorted(found) == sorted(names)
        assert files.server.count("ListDirectoriesAndFiles") == 8
        assert found == sorts[order] if order in sorts else found not in sorts.values()


@pytest.mark.parametrize("comma", ["%82", ","])
def test_separators_of_include(files: AzureFiles, share: ShareClient, comma: str) -> None:
    share.get_file_client("f").upload_file(b"1")

    def separate(request: Any) -> None:
        # The reference has "%82", the SDK sends "%2C".
        request.url = request.url.replace("%2C", comma)

    with altered(files, separate) as service:
        (entry,) = service.get_share_client(share.share_name).list_directories_and_files(include=ALL)
    assert (entry.file_attributes, entry.permission_key is None) == ("Archive", False)


# -- names


ODD = [
    "a b", "a+b", "a%20b", "a&b=c;d", "é", "e\u0301", "name#1", "[x]{y}", "'q'", " lead", "\U0001f600",
    "~tilde", "ÿ" * 255, "日本", "a\ufffe", "\uffff&", "a@b,c$d!",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names(share: ShareClient, name: str) -> None:
    directory = share.create_directory(name)
    assert listed(share) == [name]
    directory.upload_file(name, name.encode())
    (entry,) = directory.list_directories_and_files(include=ALL)
    assert (entry.name, entry.size) == (name, len(name.encode()))
    file = share.get_file_client(f"{name}/{name}")
    assert file.download_file().readall() == name.encode()
    moved = file.rename_file(f"{name}/moved")
    assert moved.get_file_properties().size == len(name.encode())
    back = moved.rename_file(f"{name}/{name}")
    back.delete_file()
    directory.delete_directory()
    assert listed(share) == []


@pytest.mark.parametrize("name", ["a:b", "a|b", "a*b", "a?b", 'a"b', "a<b", "a\x01b", "NUL", "com1", "..."])
def test_names_that_are_refused(share: ShareClient, name: str) -> None:
    with refused("InvalidResourceName", 400):
        share.get_file_client(name).create_file(1)


def test_long_names_and_paths(share: ShareClient) -> None:
    with refused("InvalidFileOrDirectoryPathName", 400):
        share.create_directory("x" * 256)
    path = ""
    for _ in range(8):
        path = f"{path}{'x' * 240}"
        share.create_directory(path)
        path += "/"
    file = share.get_file_client(path + "y" * (2048 - len(path)))
    file.upload_file(b"deep")
    assert file.download_file().readall() == b"deep"
    with refused("InvalidFileOrDirectoryPathName", 400):
        share.get_file_client(path + "y" * (2049 - len(path))).create_file(1)


def test_case_is_kept_and_ignored(share: ShareClient) -> None:
    share.create_directory("Straße").upload_file("ReadMe", b"1")
    assert share.get_file_client("STRAßE/README").download_file().readall() == b"1"
    share.get_file_client("straße/readme").upload_file(b"22")
    assert listed(share.get_directory_client("straße")) == ["readme"]
    with refused("ParentNotFound", 404):
        share.get_file_client("STRASSE/README").get_file_properties()


def test_trailing_dots(files: AzureFiles, share: ShareClient) -> None:
    share.get_file_client("a...").upload_file(b"dots dropped")
    assert listed(share) == ["a"]
    with sdk(files, allow_trailing_dot=True, allow_source_trailing_dot=True) as service:
        kept = service.get_share_client(share.share_name)
        kept.get_file_client("a.").upload_file(b"dot kept")
        kept.create_directory("d.").create_subdirectory("..x..")
        assert listed(kept) == ["d.", "a", "a."]
        assert kept.get_file_client("a.").download_file().readall() == b"dot kept"
        kept.get_file_client("a.").rename_file("b.")
        assert listed(kept) == ["d.", "a", "b."]
    with refused("ParentNotFound", 404):
        share.get_file_client("d./f").create_file(1)
