"""The pipeline of a large file: order, hash, and how it ends when one of its parts fails."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry
from dunlin.pace.bucket import Bucket
from dunlin.report import NullReport, RecordingReport
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.buffers import Buffers
from dunlin.stores.local.store import LocalStore
from dunlin.stores.memory import MemoryStore
from dunlin.transfer import Options, stream
from dunlin.transfer.options import pipeline_shape
from dunlin.transfer.stream import digest_of, pipeline, stream_file

SHARE = 64 << 10
SMALL = Options(checksum="sha256", block_size=4096, queue_capacity=4)
CONTENT = bytes(range(256)) * 400 + b"tail"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket.create()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before  # others may have left some that end meanwhile


@pytest.fixture(params=["memory", "local"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[MemoryStore | LocalStore, MemoryStore | LocalStore]:
    if request.param == "memory":
        return MemoryStore("s"), MemoryStore("t")
    (tmp_path / "s").mkdir()
    (tmp_path / "t").mkdir()
    return LocalStore(str(tmp_path / "s")), LocalStore(str(tmp_path / "t"))


def put(store: MemoryStore | LocalStore, path: str, content: bytes) -> Entry:
    store.write(path, Body(len(content), lambda start: iter((content[start:],))), meta=Meta(mtime=77))
    return store.stat(path)


def content(store: MemoryStore | LocalStore, path: str) -> bytes:
    return b"".join(bytes(data) for data in store.read(store.stat(path)))


def names(store: MemoryStore | LocalStore) -> list[str]:
    return sorted(name for batch in store.list("") for name, _ in batch)


Stores = tuple[MemoryStore | LocalStore, MemoryStore | LocalStore]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, len(CONTENT)])
def test_a_file_arrives_with_its_hash(stores: Stores, bucket: Bucket, size: int) -> None:
    source, target = stores
    entry = put(source, "f", CONTENT[:size])
    report = RecordingReport()
    meta = Meta(mtime=99)
    done = stream_file(source, target, entry, "g", meta, SMALL, SHARE, bucket, report)
    assert content(target, "g") == CONTENT[:size]
    assert done.digest == hashlib.sha256(CONTENT[:size]).digest()
    assert done.entry.facts[1:3] == (size, 99)
    assert report.tasks == [("f", size)]
    assert names(target) == ["g"]


@pytest.mark.parametrize("algorithm", [name for name in hashing.ALGORITHMS if name != "none"])
def test_every_algorithm_gives_the_digest_of_the_whole(bucket: Bucket, algorithm: str) -> None:
    source, target = MemoryStore(), MemoryStore()
    options = Options(checksum=algorithm, block_size=4096)
    done = stream_file(source, target, put(source, "f", CONTENT), "f", Meta(), options, SHARE, bucket, NullReport())
    one_shot = hashing.one_shot(algorithm)
    assert one_shot is not None
    assert done.digest == one_shot(CONTENT)
    if algorithm in hashlib.algorithms_guaranteed:
        assert done.digest == hashlib.new(algorithm, CONTENT).digest() or algorithm == "blake2b"


def test_no_checksum_is_no_digest(stores: Stores, bucket: Bucket) -> None:
    source, target = stores
    entry = put(source, "f", CONTENT)
    done = stream_file(source, target, entry, "f", Meta(), Options(checksum="none"), SHARE, bucket, NullReport())
    assert done.digest is None
    assert content(target, "f") == CONTENT


def test_blocks_come_in_order_with_what_the_record_wants() -> None:
    source = MemoryStore()
    entry = put(source, "f", CONTENT)
    pool = Buffers(4096, 3)
    read, offsets, lasts = b"", [], []
    for block in pipeline(source, entry, "there", "sha256", pool):
        read += block.data
        offsets.append(block.offset)
        lasts.append(block.is_last)
        assert (block.destination, block.facts) == ("there", entry.facts)
        assert (block.file_hash is not None) == block.is_last
        pool.give(block.data)
    assert read == CONTENT
    assert offsets == list(range(0, len(CONTENT), 4096))
    assert lasts == [False] * (len(lasts) - 1) + [True]


def test_a_part_of_a_file_has_no_file_hash() -> None:
    source = MemoryStore()
    pool = Buffers(4096, 3)
    blocks = []
    for block in pipeline(source, put(source, "f", CONTENT), "f", "sha256", pool, 5000):
        blocks.append((block.offset, bytes(block.data), block.file_hash))
        pool.give(block.data)
    assert b"".join(data for _, data, _ in blocks) == CONTENT[5000:]
    assert blocks[0][0] == 5000
    assert {found for _, _, found in blocks} == {None}


class Reader:
    """A source that gives some blocks, and then what it is told."""

    def __init__(self, size: int, blocks: int, then: BaseException | None = None) -> None:
        self.entry = Entry("f", (0o100644, size, 0, 0, 0, 0, 1, 0, 0, 0, 0))
        self.blocks = blocks
        self.then = then
        self.given = 0

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        for _ in range(self.blocks):
            assert into is not None
            block = into.take()
            block[:] = b"x" * len(block)
            self.given += 1
            yield block
        if self.then is not None:
            raise self.then


def test_a_reader_that_fails_ends_the_call_and_nothing_is_left(tmp_path: Path, bucket: Bucket) -> None:
    target, before = LocalStore(str(tmp_path)), set(threading.enumerate())
    for error in (DunlinError("read", "f", ErrorKind.IO), RuntimeError("odd"), KeyboardInterrupt()):
        for blocks in (0, 1, 20):
            reader = Reader(4096 * 30, blocks, error)
            with pytest.raises(type(error)) as caught:
                stream_file(reader, target, reader.entry, "f", Meta(), SMALL, SHARE, bucket, NullReport())
            assert caught.value is error
            assert os.listdir(tmp_path) == []
            assert set(threading.enumerate()) <= before


def test_a_hasher_that_fails_ends_the_call_and_nothing_is_left(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasher:
        def __init__(self) -> None:
            self.left = 3

        def update(self, data: Data) -> None:
            self.left -= 1
            if not self.left:
                raise RuntimeError("no more")

        def digest(self) -> bytes:
            return b""

    monkeypatch.setattr(stream.hashing, "new", lambda name: Hasher())
    target = LocalStore(str(tmp_path))
    reader = Reader(4096 * 30, 30)
    with pytest.raises(RuntimeError, match="no more"):
        stream_file(reader, target, reader.entry, "f", Meta(), SMALL, SHARE, bucket, NullReport())
    assert os.listdir(tmp_path) == []


def test_a_writer_that_fails_ends_the_call_while_its_error_is_still_held(tmp_path: Path, bucket: Bucket) -> None:
    class Full(MemoryStore):
        def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
            for n, data in enumerate(body.open(0)):
                if n == 2:
                    raise DunlinError("write", path, ErrorKind.NO_SPACE)
                body.release(data)
            raise AssertionError

    reader, before = Reader(4096 * 300, 300), set(threading.enumerate())
    with pytest.raises(DunlinError) as caught:
        stream_file(reader, Full(), reader.entry, "f", Meta(), SMALL, SHARE, bucket, NullReport())
    # The traceback in `caught` still refers to the frames of the write.
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert set(threading.enumerate()) <= before
    assert reader.given <= 3 + 4  # what was written, and the pool


def test_a_write_is_replayed_after_a_failure(bucket: Bucket) -> None:
    class Twice(MemoryStore):
        def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
            for n, data in enumerate(body.open(0)):
                if n == 3:
                    break  # the connection broke; nothing is closed, nothing given back
                body.release(data)
            return super().write(path, body, meta=meta)

    source, target = MemoryStore(), Twice()
    done = stream_file(source, target, put(source, "f", CONTENT), "f", Meta(), SMALL, SHARE, bucket, NullReport())
    assert content(target, "f") == CONTENT
    assert done.digest == hashlib.sha256(CONTENT).digest()


def test_no_more_buffers_are_made_than_the_pool_holds(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[Buffers] = []

    class Watched(Buffers):
        def __init__(self, size: int, count: int) -> None:
            super().__init__(size, count)
            self.out = self.most = 0
            pools.append(self)

        def take(self) -> memoryview:
            taken = super().take()
            self.out += 1
            self.most = max(self.most, self.out)
            return taken

        def give(self, block: bytes | memoryview) -> None:
            self.out -= 1
            super().give(block)

    monkeypatch.setattr(stream, "Buffers", Watched)
    source, target = MemoryStore(), MemoryStore()
    big = CONTENT * 10
    stream_file(source, target, put(source, "f", big), "f", Meta(), SMALL, SHARE, bucket, NullReport())
    pool = pools[-1]
    assert isinstance(pool, Watched)
    assert (pool.size, pool.count) == (4096, 4)
    assert 1 <= pool.most <= 4
    assert pool.out == 0


def test_a_stopped_bucket_ends_the_file(tmp_path: Path, bucket: Bucket) -> None:
    class Stopping(Reader):
        def read(
            self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
        ) -> Iterator[Data]:
            for n, data in enumerate(super().read(entry, start, length, into)):
                if n == 5:
                    bucket.stop()
                yield data

    reader = Stopping(4096 * 30, 30)
    with pytest.raises(DunlinError) as caught:
        stream_file(reader, LocalStore(str(tmp_path)), reader.entry, "f", Meta(), SMALL, SHARE, bucket, NullReport())
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert os.listdir(tmp_path) == []


def test_another_version_than_the_listed_one_is_told(stores: Stores, bucket: Bucket) -> None:
    source, target = stores
    entry = put(source, "f", CONTENT)
    put(source, "f", CONTENT[:-1])
    with pytest.raises(DunlinError) as caught:
        stream_file(source, target, entry, "f", Meta(), SMALL, SHARE, bucket, NullReport())
    assert caught.value.kind is ErrorKind.CHANGED
    assert names(target) == []


def test_a_file_that_changes_under_the_last_block_is_told(tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "t").mkdir()
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    source = LocalStore(str(tmp_path))

    class Slow(LocalStore):
        def write(self, name: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
            with path.open("ab") as file:
                file.write(b"more")
            return super().write(name, body, meta=meta)

    with pytest.raises(DunlinError) as caught:
        stream_file(
            source, Slow(str(tmp_path / "t")), source.stat("f"), "f", Meta(), SMALL, SHARE, bucket, NullReport()
        )
    assert caught.value.kind is ErrorKind.CHANGED
    assert os.listdir(tmp_path / "t") == []


def test_digest_of(stores: Stores, bucket: Bucket) -> None:
    entry = put(stores[0], "f", CONTENT)
    assert digest_of(stores[0], entry, "sha1", bucket) == hashlib.sha1(CONTENT).digest()
    bucket.stop()
    with pytest.raises(DunlinError) as caught:
        digest_of(stores[0], entry, "sha1", bucket)
    assert caught.value.kind is ErrorKind.INTERRUPTED


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 40])
@pytest.mark.parametrize("share", [1, 8192, 1 << 20, 1 << 30])
def test_the_shape_of_a_pipeline_keeps_its_share_and_overlaps(size: int, share: int) -> None:
    block, count = pipeline_shape(Options(), size, share)
    assert count >= 2
    assert 4096 <= block <= 1 << 20
    assert block * count <= max(share, 2 * 4096)


def test_the_options_are_caps_of_the_shape() -> None:
    assert pipeline_shape(Options(block_size=8192, queue_capacity=3), 1 << 30, 1 << 30) == (8192, 3)
