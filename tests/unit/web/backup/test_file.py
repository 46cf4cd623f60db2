"""Contents of files: parts, names, what is no page, what is damaged."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

from dunlin.backup.snapshot import SnapshotStore
from dunlin.web.backup import file
from dunlin.web.backup.file import disposition, part_of
from dunlin.web.problems import Refused
from dunlin.web.vaults import READS
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import Served
from tests.unit.web.test_shares import until
from tests.unit.web.vaulted import HOME, Home, vaulted

PATH = "/api/v1/repositories/vault/shares/home/snapshots/latest/file"
LARGE = os.urandom(5 << 20) + bytes(1 << 20)
PAGE = b"<script>alert(1)</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For tests that change nothing."""
    place = tmp_path_factory.mktemp("vaults")
    home = Home(place)
    home.link("link", "readme.txt")
    home.back_up({**HOME, "large.bin": LARGE, "empty": b"", "page.html": PAGE})
    with vaulted(place, home) as served:
        yield served


def ask(made: Served, name: str, status: int = 200, **headers: str) -> Any:
    told = {each.replace("_", "-"): value for each, value in headers.items()}
    answer = made.get(PATH, params={"path": name}, headers=told)
    assert answer.status_code == status, answer.text[:500]
    assert made.faults == []
    return answer


def test_a_file_comes_whole(made: Served) -> None:
    answer = ask(made, "large.bin")
    assert answer.content == LARGE
    assert answer.headers["content-length"] == str(len(LARGE))
    assert answer.headers["accept-ranges"] == "bytes"
    assert ask(made, "empty").content == b""
    assert ask(made, "docs/plan.txt").content == b"the plan"
    assert made.get(f"{PATH}?path=odd%FF%FE%20name").content == b"odd"


def test_a_browser_takes_none_for_a_page(made: Served) -> None:
    headers = ask(made, "page.html", accept="text/html").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_what_a_download_would_be_is_told_without_it(made: Served) -> None:
    before = len(made.services.ledger.audit.page())
    answer = made.ask("HEAD", f"{PATH}?path=large.bin", headers={"range": "bytes=0-1"})
    whole = ask(made, "large.bin")
    assert (answer.status_code, answer.content, answer.headers) == (200, b"", whole.headers)
    assert len(made.services.ledger.audit.page()) == before + 1  # of the second alone
    for name, status in (("docs", 400), ("nothing", 404)):
        assert made.ask("HEAD", f"{PATH}?path={name}").status_code == status


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=1048570-1048590", 1048570, 1048591),
        ("bytes=-5", len(LARGE) - 5, len(LARGE)), ("bytes=6291450-", 6291450, len(LARGE)),
        ("bytes=100-99999999", 100, len(LARGE)), (f"bytes=-{10**12}", 0, len(LARGE)),
    ],
)  # fmt: skip
def test_one_part(made: Served, asked: str, start: int, end: int) -> None:
    answer = ask(made, "large.bin", 206, range=asked)
    assert answer.content == LARGE[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(LARGE)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=5-2", "bytes=\u0663-\u0665", "bytes=", "bytes=0-1-2"],
)
def test_what_is_no_part_that_can_be_sent_gives_all(asked: str) -> None:
    assert part_of(asked, "", '"a"', 9) == (0, 9, True)


@pytest.mark.parametrize(("asked", "size"), [("bytes=9-", 9), ("bytes=100-200", 9), ("bytes=-0", 9), ("bytes=0-", 0)])
def test_what_the_file_does_not_have(made: Served, asked: str, size: int) -> None:
    with pytest.raises(Refused) as raised:
        part_of(asked, "", "", size)
    assert (raised.value.status, raised.value.headers["Content-Range"]) == (416, f"bytes */{size}")
    answer = ask(made, "empty", 416, range="bytes=0-")
    assert answer.headers["content-range"] == "bytes */0"


def test_a_download_goes_on_only_with_the_same_version(made: Served) -> None:
    tag = ask(made, "large.bin").headers["etag"]
    assert ask(made, "large.bin", 206, range="bytes=5-", if_range=tag).content == LARGE[5:]
    assert len(ask(made, "large.bin", range="bytes=5-", if_range='"other"').content) == len(LARGE)
    assert ask(made, "docs/plan.txt").headers["etag"] != tag


@pytest.mark.parametrize("name", [*HOSTILE, "a/b\\c", "..", " . ", "é ü.txt", 'a"b;c', "x\r\nSet-Cookie: a=b", "中文"])
def test_names_of_downloads_deceive_nobody(name: str) -> None:
    words = disposition(f"docs/{name}")
    match = re.fullmatch(r"attachment; filename=\"([ -~]+)\"; filename\*=UTF-8''([!-~]+)", words)
    assert match is not None, words
    plain, exact = match[1], unquote(match[2])
    assert not set(plain) & set('"\\/%')
    assert exact.isprintable()
    assert "\u202e" not in exact
    assert not set(exact) & set("/\\")
    assert exact not in ("", ".", "..")
    if name in ("é ü.txt", "中文"):
        assert exact == name


@pytest.mark.parametrize(("name", "status", "words"), [
    ("docs", 400, "it is a directory"), ("link", 400, "no file with content"), ("nothing", 404, "no such thing"),
    ("", 400, "it is a directory"),
])  # fmt: skip
def test_what_has_no_content(made: Served, name: str, status: int, words: str) -> None:
    assert words in ask(made, name, status).json()["detail"]


def test_a_scan_holds_no_content(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up(HOME, content=False)
    with vaulted(tmp_path / "a", home) as made:
        assert "scan" in ask(made, "readme.txt", 400).json()["detail"]


def test_what_is_damaged_is_an_error_in_words_and_the_rest_comes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.back_up({"large": os.urandom(200_000)})
    home.back_up({"small": b"fine"})
    [large, _] = sorted(home.packs(), key=lambda path: path.stat().st_size, reverse=True)
    data = bytearray(large.read_bytes())
    data[100_000] ^= 1
    large.write_bytes(data)
    with vaulted(tmp_path / "a", home) as made:
        answer = ask(made, "large", 500)
        assert "fault of dunlin" not in answer.text
        assert "large" in answer.json()["detail"]
        assert ask(made, "small").content == b"fine"
        large.unlink()
        ask(made, "large", 500)


def test_chunks_that_a_prune_moved_are_found_again(tmp_path: Path) -> None:
    from dunlin.backup import prune

    home = Home(tmp_path)
    home.back_up({f"d/{n}": os.urandom(3000) for n in range(30)})
    home.back_up({f"d/{n}": None for n in range(1, 30)})
    with vaulted(tmp_path / "a", home) as made:
        kept = ask(made, "d/0").content
        area = home.area()
        area.objects.remove([area.snapshots()[0].key])
        done = prune.prune(area.repository, "default", "somebody", max_unused=0.0)
        assert done.removed_bytes
        vaults = made.services.vaults
        assert vaults is not None
        with vaults.use("vault", "default") as vault:  # what was read is forgotten; where it lay is not
            store: SnapshotStore = vault.reading(vault.snapshot("home", "latest"))
            store._frames._kept.clear()
            store._frames._packs.clear()
        assert ask(made, "d/0").content == kept


def test_downloads_have_a_bound(made: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_EACH", 0)
    answer = ask(made, "readme.txt", 503)
    assert (answer.json()["detail"], answer.headers["retry-after"]) == ("too many downloads are under way", "10")
    monkeypatch.undo()
    for _ in range(file.MOST + 1):  # what is over counts no more
        ask(made, "readme.txt")
        ask(made, "nothing", 404)


def test_one_repository_does_not_take_all_downloads(made: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_FROM", 0)
    assert ask(made, "readme.txt", 503).json()["detail"] == "too many downloads are under way"
    answer = made.get(PATH.replace("vault", "another"), params={"path": "readme.txt"})
    assert answer.status_code == 503
    monkeypatch.undo()
    assert made.get(PATH.replace("vault", "another"), params={"path": "readme.txt"}).status_code == 404


def test_a_client_that_goes_gives_its_place_back_at_once(made: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_EACH", 1)
    kept: list[BaseException] = []  # as a log may, with all that the answer was made of

    async def goes(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise ConnectionResetError

    async def receive() -> Any:
        return await anyio.sleep_forever()

    for _ in range(2):
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": PATH, "raw_path": PATH.encode(),
            "root_path": "", "scheme": "http", "headers": [(b"host", b"localhost:8080")],
            "query_string": b"path=large.bin", "client": ("127.0.0.1", 1), "server": ("localhost", 8080),
        }  # fmt: skip
        with pytest.raises(Exception, match="after response started") as raised:
            anyio.run(made.app, scope, receive, goes)
        kept.append(raised.value)
    assert ask(made, "readme.txt").content == b"read me"


def test_a_store_that_does_not_answer_ends_a_download_and_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PATIENCE", 0.2)
    monkeypatch.setattr(file, "MOST_EACH", 1)
    back, read = threading.Event(), SnapshotStore.read

    def hangs(*args: Any) -> Iterator[bytes]:
        assert back.wait(60)
        yield from read(*args)

    home, other = Home(tmp_path), Home(tmp_path, "other")
    home.back_up(HOME)
    other.back_up(HOME)
    with vaulted(tmp_path / "a", home, other) as made:
        monkeypatch.setattr(SnapshotStore, "read", hangs)
        try:
            for _ in range(READS + 1):  # each takes a thread for good, and its place among downloads for a moment
                assert "its store has not answered" in ask(made, "docs/plan.txt", 504).json()["detail"]
            monkeypatch.setattr(SnapshotStore, "read", read)
            monkeypatch.setattr(file, "PATIENCE", 60.0)
            answer = made.get(PATH.replace("vault", "other"), params={"path": "docs/plan.txt"})
            assert (answer.status_code, answer.content) == (200, b"the plan")
        finally:
            back.set()
        assert ask(made, "docs/plan.txt").content == b"the plan"
        vaults = made.services.vaults
        assert vaults is not None
        with vaults.use("vault", "default"):
            [held] = [each for each in vaults._kept.values() if each.known.name == "vault"]
            until(lambda: held.users == 1)  # what was given up gives its vault back when its read ends


def test_who_fetched_what_is_on_record(tmp_path: Path) -> None:
    home = Home(tmp_path)
    id = home.back_up(HOME)
    with vaulted(tmp_path / "a", home) as made:
        ask(made, "docs/plan.txt")
        ask(made, "docs/plan.txt", 206, range="bytes=2-3")
        ask(made, "docs", 400)
        found = [each for each in made.services.ledger.audit.page() if each.verb == "backup.download"]
        # Each part, too: whoever asks for all but the first byte has the file.
        assert [(each.who, each.target) for each in found] == [("local", f"vault home {id[:8]}:docs/plan.txt")] * 2
