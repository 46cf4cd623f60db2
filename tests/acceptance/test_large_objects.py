"""Large objects that are interrupted in the middle: what has arrived is not sent again, whichever way they go.

The program talks to real servers through the proxy of `tests.servers.faults`, which counts bytes. What may be lost
are the requests under way: no more than the buffers of one file.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin, start
from tests.servers.azurite import Azurite
from tests.servers.faults import Proxy, Rules, faults
from tests.servers.s3 import S3

SIZE = 120_000_000
STOPPED_AFTER = 50_000_000
SLOW = Rules(bytes_per_second=80e6)
UNDER_WAY = 25 << 20
"""Bytes of blocks that one file has under way with the default buffers."""
ASKED_FOR = 6 << 20
"""Bytes of a range of 8 MiB beyond its first block of 2 MiB, for which alone it needs a buffer to be asked for.

The proxy sends them into sockets, where they wait until blocks before them are written: all of them, where the program
gets no processor for a moment. Beyond the range that was asked for last nothing is sent.
"""

SIGNALS = [signal.SIGINT, signal.SIGKILL]


@dataclass(frozen=True)
class Cloud:
    """A place in an object store, reached through a proxy; `unfinished` tells of uploads that nobody completed."""

    url: str
    environment: Mapping[str, str]
    proxy: Proxy
    unfinished: Callable[[], int]

    def moved(self) -> int:
        """Bytes of content that went through, either way; listings are small."""
        return sum(request.sent_bytes + request.answered_bytes for request in self.proxy.seen())


def _s3(server: S3) -> Iterator[Cloud]:
    bucket = server.bucket()
    with faults(server.url) as proxy:
        seen = server.at(proxy.origin)
        names = {"AWS_ENDPOINT_URL": seen.url, "AWS_ACCESS_KEY_ID": seen.key_id, "AWS_SECRET_ACCESS_KEY": seen.secret}

        def unfinished() -> int:
            client = server.client()
            try:
                return len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()))
            except client.exceptions.NoSuchUpload:  # rclone's way to say that there is none
                return 0
            finally:
                client.close()

        yield Cloud(f"s3://{bucket}", names, proxy, unfinished)


def _azure(server: Azurite) -> Iterator[Cloud]:
    container = server.container()
    with faults(server.url) as proxy:
        names = {"AZURE_STORAGE_CONNECTION_STRING": server.at(proxy.origin).connection_string}

        def unfinished() -> int:
            from azure.storage.blob import BlobServiceClient

            with BlobServiceClient.from_connection_string(server.connection_string) as service:
                blobs = service.get_container_client(container).list_blobs(include=["uncommittedblobs"])
                return sum(blob.etag is None or not blob.size for blob in blobs)

        yield Cloud(f"az://{container}", names, proxy, unfinished)


@pytest.fixture(params=["s3", "azure"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    if request.param == "s3":
        yield from _s3(request.getfixturevalue("rclone_s3"))
    else:
        yield from _azure(request.getfixturevalue("azurite"))


@pytest.fixture
def bucket(rclone_s3: S3) -> Iterator[Cloud]:
    yield from _s3(rclone_s3)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "d").mkdir(parents=True)
    (made / "d" / "big").write_bytes(os.urandom(SIZE))
    os.utime(made / "d" / "big", ns=(10**18, 10**18 + 1))
    return made


def interrupted(cloud: Cloud, number: signal.Signals, cwd: Path, *words: str | Path) -> int:
    """Begin a run, end it with a signal in the middle of the object; how many bytes went through."""
    cloud.proxy.forget()
    cloud.proxy.rules = SLOW
    running = start("sync", *words, cwd=cwd, env=cloud.environment)
    deadline = time.monotonic() + 60
    while cloud.moved() < STOPPED_AFTER and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == (130 if number is signal.SIGINT else -number), (out, err)
    cloud.proxy.rules = Rules()
    moved = cloud.moved()
    cloud.proxy.forget()
    return moved


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def parts(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.endswith(".part")]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_interrupted_upload_sends_only_what_is_missing(
    cloud: Cloud, tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    first = interrupted(cloud, number, tmp_path, tree, f"{cloud.url}/p")
    assert cloud.proxy.count() == 0
    dunlin("sync", tree, f"{cloud.url}/p", cwd=tmp_path, env=cloud.environment, expect=0)
    second = cloud.moved()
    assert first + second <= SIZE + UNDER_WAY + 100_000
    assert second < SIZE - STOPPED_AFTER + UNDER_WAY + 100_000
    assert cloud.unfinished() == 0
    there = tmp_path / "there"
    dunlin("sync", "-a", f"{cloud.url}/p", there, cwd=tmp_path, env=cloud.environment, expect=0)
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")
    assert (there / "d" / "big").stat().st_mtime_ns == 10**18 + 1
    cloud.proxy.forget()
    dunlin("sync", tree, f"{cloud.url}/p", cwd=tmp_path, env=cloud.environment, expect=0)
    assert cloud.moved() < 100_000


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_interrupted_download_continues_from_its_last_byte(
    cloud: Cloud, tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    dunlin("sync", tree, f"{cloud.url}/p", cwd=tmp_path, env=cloud.environment, expect=0)
    there = tmp_path / "there"
    first = interrupted(cloud, number, tmp_path, f"{cloud.url}/p", there)
    (part,) = parts(there / "d")
    assert os.listdir(there / "d") == [part]
    have = (there / "d" / part).stat().st_size
    assert have >= first - UNDER_WAY - ASKED_FOR
    done = dunlin("sync", f"{cloud.url}/p", there, cwd=tmp_path, env=cloud.environment, expect=0)
    assert SIZE - have <= cloud.moved() < SIZE - have + 100_000, done.stdout
    assert os.listdir(there / "d") == ["big"]
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")


def test_a_digest_of_a_continued_file_is_that_of_the_whole(bucket: Cloud, tree: Path, tmp_path: Path) -> None:
    words = ("--checksum", "sha256", f"{bucket.url}/p", tmp_path / "there")
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    interrupted(bucket, signal.SIGINT, tmp_path, *words)
    dunlin("sync", *words, cwd=tmp_path, env=bucket.environment, expect=0)
    import sqlite3

    with sqlite3.connect(tmp_path / ".sync-state.db") as state:
        (found,) = state.execute("SELECT hash FROM file WHERE name = 'big' AND hash_algorithm = 'sha256'").fetchone()
    assert bytes(found) == digest(tree / "d" / "big")


def test_another_version_starts_over_and_a_forgotten_one_goes(bucket: Cloud, tree: Path, tmp_path: Path) -> None:
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    there = tmp_path / "there"
    interrupted(bucket, signal.SIGINT, tmp_path, f"{bucket.url}/p", there)
    (old,) = parts(there / "d")
    (tree / "d" / "big").write_bytes(os.urandom(SIZE))
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    bucket.proxy.forget()
    run = ("sync", "--delete-extras", f"{bucket.url}/p", there)
    dunlin(*run, cwd=tmp_path, env=bucket.environment, expect=0)
    assert SIZE <= bucket.moved() < SIZE + 100_000
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")
    # It is no extra, it is nobody's file to be copied on, and it stays for a week.
    assert parts(there / "d") == [old]
    on = tmp_path / "on"
    dunlin("sync", there, on, "--state-db", "none", cwd=tmp_path, expect=0)
    assert os.listdir(on / "d") == ["big"]


def test_what_a_disk_has_damaged_is_noticed_and_fetched_anew(bucket: Cloud, tree: Path, tmp_path: Path) -> None:
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    there = tmp_path / "there"
    interrupted(bucket, signal.SIGINT, tmp_path, f"{bucket.url}/p", there)
    (part,) = parts(there / "d")
    with (there / "d" / part).open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(4096))
    done = dunlin("sync", f"{bucket.url}/p", there, cwd=tmp_path, env=bucket.environment, expect=0)
    assert "what an interrupted run left is damaged, so the file is fetched anew" in done.stderr
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")
    assert bucket.moved() > SIZE


@pytest.mark.parametrize("option", ["--inplace", "--sparse"])
def test_nothing_is_kept_where_files_are_written_in_another_way(
    bucket: Cloud, tree: Path, tmp_path: Path, option: str
) -> None:
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    there = tmp_path / "there"
    interrupted(bucket, signal.SIGINT, tmp_path, option, f"{bucket.url}/p", there)
    assert parts(there / "d") == []
    dunlin("sync", option, f"{bucket.url}/p", there, cwd=tmp_path, env=bucket.environment, expect=0)
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")


def test_bodies_that_break_off_cost_only_what_did_not_arrive(bucket: Cloud, tree: Path, tmp_path: Path) -> None:
    dunlin("sync", tree, f"{bucket.url}/p", cwd=tmp_path, env=bucket.environment, expect=0)
    bucket.proxy.forget()
    bucket.proxy.rules = Rules(truncated=0.3, kinds=frozenset({"read"}), seed=3)
    there = tmp_path / "there"
    dunlin("sync", f"{bucket.url}/p", there, cwd=tmp_path, env=bucket.environment, expect=0)
    assert bucket.proxy.count(fault="truncated") > 3
    assert bucket.moved() < SIZE + 100_000
    assert digest(there / "d" / "big") == digest(tree / "d" / "big")
