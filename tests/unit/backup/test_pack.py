import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.backup import frames, pack
from dunlin.backup.chunker import identify
from dunlin.backup.frames import Codec
from dunlin.backup.keys import TenantKeys
from dunlin.backup.words import Stored
from dunlin.errors import DunlinError, ErrorKind

IDENTIFY = identify(bytes(32))


def codec(sealed: bool = False) -> Codec:
    return Codec(TenantKeys("t", bytes(32), sealed=sealed), "t/packs/aa/aa")


def written(chunks: list[bytes], sealed: bool = False, group: int = 2048) -> tuple[bytes, list[Stored]]:
    writer = pack.PackWriter(codec(sealed), group)
    for chunk in chunks:
        writer.add(IDENTIFY(chunk), chunk)
    data, places = writer.finish()
    return bytes(data), places


@pytest.mark.parametrize("sealed", [False, True])
@given(st.lists(st.binary(max_size=3000), max_size=20, unique=True))
def test_every_chunk_is_found_by_the_table_of_contents(sealed: bool, chunks: list[bytes]) -> None:
    data, places = written(chunks, sealed)
    assert pack.read_contents(codec(sealed), lambda start, length: data[start : start + length], len(data)) == places
    for chunk, place in zip(chunks, places, strict=True):
        raw = codec(sealed).open(data[place.offset : place.offset + place.length], place.offset)
        assert pack.member(codec(sealed), raw, place.inside, IDENTIFY(chunk)) == chunk


def test_a_header_is_that_of_tarfile() -> None:
    info = tarfile.TarInfo("ab" * 32)
    info.mode, info.size = 0o444, 123456789
    assert pack.member_header(b"\xab" * 32, 123456789) == info.tobuf(tarfile.USTAR_FORMAT)


def test_standard_tools_list_a_plain_pack(tmp_path: Path) -> None:
    chunks = [os.urandom(n) for n in (0, 1, 511, 512, 513, 5000)]
    (tmp_path / "pack").write_bytes(written(chunks)[0])
    expanded = subprocess.run(["zstd", "-dc", tmp_path / "pack"], check=True, capture_output=True).stdout
    listed = subprocess.run(["tar", "-tv"], input=expanded, check=True, capture_output=True).stdout.decode()
    assert [line.split()[-1] for line in listed.splitlines()] == [IDENTIFY(chunk).hex() for chunk in chunks]
    with tarfile.open(fileobj=io.BytesIO(expanded)) as archive:
        assert [archive.extractfile(member).read() for member in archive] == chunks  # type: ignore[union-attr]


def test_small_members_share_frames_and_large_ones_do_not() -> None:
    _, places = written([bytes([i]) * 400 for i in range(10)] + [os.urandom(3000)], group=2048)
    per_frame: dict[int, int] = {}
    for place in places:
        per_frame[place.offset] = per_frame.get(place.offset, 0) + 1
    assert list(per_frame.values()) == [2, 2, 2, 2, 2, 1]


def test_the_sizes_that_are_told_while_it_fills() -> None:
    writer = pack.PackWriter(codec(), 2048)
    assert (writer.size, writer.chunks) == (0, 0)
    writer.add(IDENTIFY(b"x"), b"x")
    assert (writer.size, writer.chunks) == (1024, 1)


class Late:
    """A pool that does nothing until the result is asked for."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    def submit(self, call: Callable[[bytes, bytes], bytes], data: bytes, sample: bytes, /) -> "Future[bytes]":
        pool = self
        self.under_way += len(data)
        self.most = max(self.most, self.under_way)

        class Pending(Future[bytes]):
            def result(self, timeout: float | None = None) -> bytes:
                pool.under_way -= len(data)
                return call(data, sample)

        return Pending()


@pytest.mark.parametrize("sealed", [False, True])
def test_a_pack_that_threads_compress_is_the_same(sealed: bool) -> None:
    chunks = [os.urandom(n) for n in (10, 400, 3000, 5000, 20, 2048, 1)]
    writer = pack.PackWriter(codec(sealed), 2048, Late())
    for chunk in chunks:
        writer.add(IDENTIFY(chunk), chunk)
    assert writer.chunks == len(chunks)
    assert writer.size > sum(map(len, chunks))
    data, places = writer.finish()
    assert (bytes(data), places) == written(chunks, sealed)


@pytest.mark.parametrize("repeats", [False, True])
def test_a_level_is_chosen_by_what_members_hold_and_not_by_their_headers(
    repeats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    inner = frames._compressor
    monkeypatch.setattr(frames, "_compressor", lambda level: (used.append(level), inner(level))[1])
    writer = pack.PackWriter(codec())
    for number in range(40):
        data = (b"%d of many words that come again " % number) * 100 if repeats else os.urandom(3000)
        writer.add(IDENTIFY(data), data)
    data, places = writer.finish()
    assert used[:2] == [-5, frames.LEVEL if repeats else 1]
    assert len(data) < sum(512 + place.size for place in places) / (10 if repeats else 1)


def test_threads_are_not_given_more_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "AHEAD", 20_000)
    pool = Late()
    writer = pack.PackWriter(codec(), 2048, pool)
    for number in range(50):
        writer.add(IDENTIFY(bytes([number])), bytes([number]) * 3000)
    assert 20_000 < pool.most < 20_000 + 2 * 4096
    writer.finish()
    assert pool.under_way == 0


@pytest.mark.parametrize("size", [100, 3000])
def test_a_view_may_be_written_over_once_it_was_added(size: int) -> None:
    space = bytearray(os.urandom(size))
    chunk = bytes(space)
    writer = pack.PackWriter(codec(), 2048, Late())
    writer.add(IDENTIFY(chunk), memoryview(space))
    space[:] = bytes(size)
    data, (place,) = writer.finish()
    raw = codec().open(bytes(data[: place.length]), 0)
    assert pack.member(codec(), raw, place.inside, IDENTIFY(chunk)) == chunk


def test_a_table_that_is_longer_than_the_tail_is_read_in_a_second_request() -> None:
    data, places = written([i.to_bytes(4, "big") for i in range(3000)], group=1 << 16)
    asked: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        asked.append((start, length))
        return data[start : start + length]

    assert pack.read_contents(codec(), read, len(data)) == places
    assert len(asked) == 2


@pytest.mark.parametrize("sealed", [False, True])
def test_damage_to_the_table_is_seen(sealed: bool) -> None:
    data, _ = written([os.urandom(100) for _ in range(5)], sealed)
    for at in range(int.from_bytes(data[-24:-16], "little"), len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        with pytest.raises(DunlinError) as error:
            pack.read_contents(
                codec(sealed), lambda start, length, d=damaged: bytes(d[start : start + length]), len(data)
            )
        assert error.value.kind in (ErrorKind.CORRUPT, ErrorKind.NEWER)


@pytest.mark.parametrize("end", [0, 10, 100, -1])
def test_a_pack_that_is_cut_short_is_damaged(end: int) -> None:
    data = written([os.urandom(100) for _ in range(5)])[0][:end]
    with pytest.raises(DunlinError) as error:
        pack.read_contents(codec(), lambda start, length: data[start : start + length], len(data))
    assert error.value.kind is ErrorKind.CORRUPT


def test_another_chunk_where_the_index_points_is_damage() -> None:
    data, places = written([b"one", b"two"])
    raw = codec().open(data[places[0].offset : places[0].offset + places[0].length], places[0].offset)
    with pytest.raises(DunlinError, match="another chunk"):
        pack.member(codec(), raw, places[0].inside, places[1].chunk)
