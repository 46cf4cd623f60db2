"""What people write for a place, and what it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import RecordingReport
from dunlin.stores.base import MakesDirs, power
from dunlin.stores.local import LocalStore
from dunlin.stores.open import Far, beginning, canonical_url, local_path, open_store, shown_place
from tests.contract.support import get, names, put


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_local_forms_are_one_place(here: Path) -> None:
    (here / "a b").mkdir()
    urls = [f"file://{here}/a%20b", f"file://localhost{here}/a%20b/"]
    forms = ["a b", "./a b", "a b/", "x/../a b", f"{here}/a b", *urls]
    assert {canonical_url(form) for form in forms} == {f"file://{here}/a%20b"}
    for form in forms:
        store = open_store(form)
        assert store.url == canonical_url(form)
        assert isinstance(store, LocalStore)
        store.close()


def test_links_lead_to_one_place(here: Path) -> None:
    (here / "real").mkdir()
    (here / "alias").symlink_to("real")
    assert canonical_url("alias") == canonical_url("real")
    assert local_path("alias") == f"{here}/alias"


@given(st.text(st.characters(exclude_characters="/\0:", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_every_name_survives_its_url(name: str) -> None:
    path = os.path.realpath("/nowhere/" + name)
    assert local_path(canonical_url(path)) == path


def test_undecodable_bytes_survive() -> None:
    assert canonical_url("/nowhere/\udcff") == "file:///nowhere/%FF"
    assert local_path("file:///nowhere/%FF") == "/nowhere/\udcff"


@pytest.mark.parametrize("text", ["host:path", "user@host:path", "host:/abs", "1.2.3.4:x", "host:"])
def test_a_place_on_another_host_is_one_clear_error(text: str) -> None:
    with pytest.raises(DunlinError) as error:
        open_store(text)
    assert error.value.kind is ErrorKind.USAGE
    assert "host" in str(error.value)
    assert "mount" in error.value.hint
    assert error.value.exit_code == 1


def test_a_local_name_with_a_colon_is_a_name(here: Path) -> None:
    (here / "host:path").mkdir()
    assert local_path("host:path") == f"{here}/host:path"
    assert local_path("./other:path") == f"{here}/other:path"
    assert local_path("dir/other:path") == f"{here}/dir/other:path"


@pytest.mark.parametrize("text", ["C:\\data", "c:/data", "D:"])
def test_drive_letters_are_no_schemes_and_no_hosts(here: Path, text: str) -> None:
    assert local_path(text) == os.path.abspath(text)


@pytest.mark.parametrize(
    "text", ["ftp://u:secret@host/x?token=secret", "file://other/x", "file:x", "file://", "", "a\0b"]
)
def test_what_cannot_be_opened_says_what_can(text: str) -> None:
    for use in (open_store, canonical_url):
        with pytest.raises(DunlinError) as error:
            use(text)
        assert error.value.kind is ErrorKind.USAGE
        assert "secret" not in str(error.value)


def test_memory_places_are_shared_by_name() -> None:
    put(open_store("memory://shared-here"), "f", b"1")
    assert get(open_store("MEMORY://shared-here/"), "f") == b"1"
    assert names(open_store("memory://another")) == []
    assert canonical_url("memory://shared-here/") == "memory://shared-here"


def test_the_stack_is_what_was_asked_for(here: Path) -> None:
    class Bucket:
        taken = 0

        def take(self, n: int) -> None:
            self.taken += n

    bucket, report = Bucket(), RecordingReport()
    store = open_store(str(here), bucket=bucket, report=report, retry=lambda act: act())
    put(store, "f", b"12345")
    assert bucket.taken == 5
    assert report.counts["store.write"] == 1
    reader = open_store(str(here), read_only=True)
    assert get(reader, "f") == b"12345"
    assert power(reader, MakesDirs) is None
    store.close()
    reader.close()


def test_a_probe_writes_only_when_it_is_asked_for(here: Path) -> None:
    (here / "d").mkdir(mode=0o755)
    before = (here / "d").stat().st_mtime_ns
    open_store("d").close()
    open_store("d", probe=True, read_only=True).close()
    assert (here / "d").stat().st_mtime_ns == before
    store = open_store("d", probe=True)
    assert store.caps.case_sensitive
    assert store.caps.preserves_form
    assert os.listdir(here / "d") == []
    store.close()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://a.blob.core.windows.net/c/p?sv=1&sig=secret", "https://a.blob.core.windows.net/c/p"),
        ("az://c/p?sig=secret", "az://c/p"),
        ("https://me:secret@host/c", "https://host/c"),
        ("s3://key:secret@bucket/p", "s3://bucket/p"),
        ("s3://bucket/what?", "s3://bucket/what?"),
        ("s3://bucket/me@home", "s3://bucket/me@home"),
        ("/mnt/me@home/what?", "/mnt/me@home/what?"),
        ("file:///mnt/what?", "file:///mnt/what?"),
        ("s3://bucket/p?X&sig=secret", "s3://bucket/p?X&sig=***"),
        ("https:/a.blob.core.windows.net/c?sv=1&sig=secret", "https:/a.blob.core.windows.net/c"),
        ("https//me:secret@host/c?sig=secret", "https//host/c"),
        ("htps:/host/c?sv=1&SIG=secret&se=2", "htps:/host/c?sv=1&SIG=***&se=2"),
        ("c?sv=1&sig%3Dsecret", "c?sv=1&sig%3D***"),
        ("AccountName=a;AccountKey=secret==;BlobEndpoint=b", "AccountName=a;AccountKey=***;BlobEndpoint=b"),
        ("SharedAccessSignature=sv=1&sig=secret;x", "SharedAccessSignature=***;x"),
        ("/mnt/design=1", "/mnt/design=1"),
    ],
)
def test_a_place_is_shown_without_what_lets_one_in(given: str, shown: str) -> None:
    assert shown_place(given) == shown


@pytest.mark.parametrize(("given", "shown"), [
    ("u:secret@h:/x", "u:***@h:/x"), ("u:secret@h", "u:***@h"), ("u:se@cret@h:x", "u:***@h:x"),
    (":secret@h:/x", ":***@h:/x"), ("user@h:/x", "user@h:/x"), ("h:/x@y", "h:/x@y"), ("./u:p@h", "./u:p@h"),
    ("/a:b@c", "/a:b@c"), ("C:\\a@b", "C:\\a@b"),
])  # fmt: skip
def test_a_password_before_a_host_is_masked(given: str, shown: str) -> None:
    assert shown_place(given) == shown


@pytest.mark.parametrize("given", ["u:secret@far.example:/x", "u@far.example:/x", "far.example:/x"])
def test_the_host_is_named_without_the_login(given: str) -> None:
    with pytest.raises(DunlinError, match=r"path on the host far\.example,") as caught:
        open_store(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [
    *("s3://key:secret@bucket/p", "ftp://me:secret@host/?secret", "az://c!d?secret"),
    *("https:/acc.blob.core.windows.net/c?sv=1&sig=secret", "https//acc.blob.core.windows.net/c?sig=secret"),
    *("az:/c?sv=1&sig=secret", "AZ/c?sig=secret", "https:acc/c?sig=secret", "acc/c?sig=secret"),
    *("file://acc/c?sig=secret", "file:?sig=secret"),
    *("s3:/id:secret@bucket", "gs//bucket?sig=secret"),
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=secret;EndpointSuffix=core.windows.net",
    "AccountName=a;AccountKey=secret;BlobEndpoint=http://127.0.0.1:1/a",
    "BlobEndpoint=https://a.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=secret",
])  # fmt: skip
def test_a_place_that_cannot_be_opened_is_shown_like_that(given: str) -> None:
    with pytest.raises(DunlinError) as caught:
        open_store(given, far=Far())
    assert caught.value.kind is ErrorKind.USAGE
    assert "secret" not in str(caught.value)


def test_a_directory_may_be_called_like_a_scheme(here: Path) -> None:
    for name in ("s3", "az:"):
        (here / name).mkdir()
    for text in ("s3/new", "s3/", "gs", "gs/", "az:", "az:/"):
        assert local_path(text) == os.path.abspath(text)


def test_where_the_keys_of_a_place_begin() -> None:
    assert [beginning(url) for url in ("s3://bucket", "s3://bucket/p/q/", "gs://bucket/p", "/p", "memory://p")] == [
        *("", "p/q/", "p/", "", "")
    ]
