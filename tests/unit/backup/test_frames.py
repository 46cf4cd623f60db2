import os
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dunlin.backup import frames
from dunlin.backup.keys import TenantKeys
from dunlin.errors import DunlinError, ErrorKind

KEY = bytes(32)
PLAIN = frames.Codec(TenantKeys("t", KEY, sealed=False), "t/x")
SEALED = frames.Codec(TenantKeys("t", KEY, sealed=True), "t/x")


@pytest.mark.parametrize("codec", [PLAIN, SEALED], ids=["plain", "sealed"])
@given(data=st.binary(max_size=5000), offset=st.integers(0, 1 << 40))
def test_what_was_made_opens_again(codec: frames.Codec, data: bytes, offset: int) -> None:
    frame = codec.make(data, offset)
    assert codec.open(frame, offset) == data
    assert frames.frame_length(codec, memoryview(frame + b"more"), 0) == len(frame)


def test_a_plain_frame_is_zstd_and_a_sealed_one_is_skipped_by_zstd() -> None:
    expand = zstandard.ZstdDecompressor()
    assert expand.decompress(PLAIN.make(b"words", 0)) == b"words"
    both = SEALED.make(b"secret", 0) + PLAIN.make(b"words", 0)
    assert expand.stream_reader(both, read_across_frames=True).read(100) == b"words"
    assert b"secret" not in both


def test_a_sealed_frame_opens_only_where_it_was_written() -> None:
    frame = SEALED.make(b"words", 7)
    others = [
        (frames.Codec(TenantKeys("t", KEY, sealed=True), "t/y"), 7),
        (frames.Codec(TenantKeys("t", bytes([1]) * 32, sealed=True), "t/x"), 7),
        (SEALED, 8),
    ]
    for codec, offset in others:
        with pytest.raises(DunlinError, match="is not what was written there"):
            codec.open(frame, offset)


@pytest.mark.parametrize("at", [0, 4, 8, 20, -1])
def test_every_bit_of_a_sealed_frame_counts(at: int) -> None:
    frame = bytearray(SEALED.make(b"words" * 100, 0))
    frame[at] ^= 1
    with pytest.raises(DunlinError) as error:
        SEALED.open(bytes(frame), 0)
    assert error.value.kind is ErrorKind.CORRUPT


AGAIN = frames.Codec(TenantKeys("t", KEY, sealed=True), "t/x", again=True)


def test_a_frame_that_is_written_again_has_another_nonce_each_time() -> None:
    found = {AGAIN.make(b"words", 7) for _ in range(50)} | {SEALED.make(b"words", 7)}
    assert len(found) == 51
    assert {SEALED.open(frame, 7) for frame in found} == {AGAIN.open(frame, 7) for frame in found} == {b"words"}


def test_a_frame_that_is_written_again_opens_only_where_it_was_written() -> None:
    frame = AGAIN.make(b"words", 7)
    assert frames.frame_length(SEALED, memoryview(frame + b"more"), 7) == len(frame)
    for codec, offset in ((SEALED, 8), (frames.Codec(TenantKeys("t", KEY, sealed=True), "t/y"), 7)):
        with pytest.raises(DunlinError, match="is not what was written there"):
            codec.open(frame, offset)


@pytest.mark.parametrize("at", [0, 4, 8, 19, 20, -1])
def test_every_bit_of_a_frame_that_is_written_again_counts(at: int) -> None:
    frame = bytearray(AGAIN.make(b"words" * 100, 0))
    frame[at] ^= 1
    with pytest.raises(DunlinError) as error:
        SEALED.open(bytes(frame), 0)
    assert error.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("size", [8, 12, 20, 30])
def test_a_frame_with_hardly_anything_in_it_is_damaged(size: int) -> None:
    for magic in (0x184D2A50, 0x184D2A51):
        with pytest.raises(DunlinError) as error:
            SEALED.open(magic.to_bytes(4, "little") + (size - 8).to_bytes(4, "little") + bytes(size - 8), 0)
        assert error.value.kind is ErrorKind.CORRUPT


def test_a_flipped_bit_of_a_plain_frame_is_seen_or_does_no_harm() -> None:
    data = bytes(range(200)) * 3
    frame = PLAIN.make(data, 0)
    unseen = 0
    for at in range(len(frame)):
        damaged = bytearray(frame)
        damaged[at] ^= 0x10
        try:
            assert PLAIN.open(bytes(damaged), 0) == data
            unseen += 1
        except DunlinError:
            continue
    assert unseen <= 1  # a bit of the header that means nothing


def test_a_frame_that_claims_to_be_huge_is_not_expanded() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    assert len(bomb) < 10_000
    with pytest.raises(DunlinError, match="claims to hold 67108864 bytes"):
        PLAIN.open(bomb, 0)


def test_content_that_does_not_compress_costs_hardly_a_byte_more() -> None:
    data = os.urandom(1 << 20)
    assert len(PLAIN.make(data, 0)) < len(data) + 64


def test_letters_that_do_not_repeat_are_packed_into_fewer_bits() -> None:
    letters = bytes(b"etaoin shrdlucmf"[n % 16] for n in range(256))
    data = os.urandom(1 << 20).translate(letters)
    assert len(PLAIN.make(data, 0)) < 0.52 * len(data)


@pytest.mark.parametrize("size", [0, 1, frames.PIECE, frames.PIECE + 1, 3 * frames.PIECE])
@pytest.mark.parametrize("codec", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_container_comes_back_in_frames_of_a_mebibyte(codec: frames.Codec, size: int) -> None:
    data = os.urandom(size)
    pieces = list(frames.unseal(codec, frames.seal(codec, data)))
    assert b"".join(pieces) == data
    assert len(pieces) == max(-(-size // frames.PIECE), 1)


@pytest.mark.parametrize("codec", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_container_that_is_cut_short_in_a_frame_is_damaged(codec: frames.Codec) -> None:
    whole = frames.seal(codec, os.urandom(5000))
    for end in range(1, len(whole), 97):
        with pytest.raises(DunlinError) as error:
            list(frames.unseal(codec, whole[:end]))
        assert error.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("codec", [PLAIN, SEALED, AGAIN], ids=["plain", "sealed", "again"])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 2500])
def test_what_is_too_long_for_a_frame_stands_in_several(
    monkeypatch: pytest.MonkeyPatch, codec: frames.Codec, size: int
) -> None:
    monkeypatch.setattr(frames, "MOST_FRAME", 1000)
    data = os.urandom(size)
    long = frames.seal_long(codec, data, 77)
    found, start = [], 0
    while start < len(long):
        end = start + frames.frame_length(codec, memoryview(long)[start:], start)
        found.append(len(codec.open(long[start:end], 77 + start)))
        start = end
    assert found == [1000] * (size // 1000) + [size % 1000]
    assert frames.unseal_long(codec, long, 77) == data
    for wrong in (long[:-1], long + PLAIN.make(b"", 0), b""):
        with pytest.raises(DunlinError) as error:
            frames.unseal_long(codec, wrong, 77)
        assert error.value.kind is ErrorKind.CORRUPT


def test_no_frame_is_made_that_nobody_would_open() -> None:
    with pytest.raises(DunlinError, match="more than a frame may hold") as error:
        PLAIN.make(bytes((16 << 20) + 1), 0)
    assert error.value.kind is ErrorKind.INTERNAL
    assert len(PLAIN.open(PLAIN.make(bytes(16 << 20), 0), 0)) == 16 << 20


@given(st.binary(max_size=200))
def test_any_bytes_are_a_container_or_damage(data: bytes) -> None:
    for codec in (PLAIN, SEALED):
        told = []
        for form in (data, [data[:7], data[7:]]):
            try:
                told.append(str(sum(map(len, frames.unseal(codec, form))) <= len(data) << 12))
            except DunlinError as error:
                told.append(str(error))
        assert told[0] == told[1]
        assert told[0] != "False"


@pytest.mark.parametrize("codec", [PLAIN, SEALED], ids=["plain", "sealed"])
@pytest.mark.parametrize("size", [13, 1000, 70_000, 1 << 20])
def test_a_container_opens_as_its_pieces_come(
    codec: frames.Codec, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PIECE", 40_000)
    monkeypatch.setattr(frames, "TOGETHER", 100_000)
    data = os.urandom(330_000)
    whole = frames.seal(codec, data)
    given = 0

    def pieces() -> Iterator[memoryview]:
        nonlocal given
        for start in range(0, len(whole), size):
            given = min(start + size, len(whole))
            yield memoryview(whole)[start : start + size]

    opened = 0
    for frame in frames.unseal(codec, pieces()):
        opened += len(frame)
        assert given - opened <= max(100_000, size) + 41_000  # what is held, and no more
    assert opened == len(data)
    assert b"".join(frames.unseal(codec, pieces())) == data


def test_what_begins_with_no_frame_is_not_gathered_without_end() -> None:
    asked = 0

    def pieces() -> Iterator[bytes]:
        nonlocal asked
        while asked < 1000:
            asked += 1
            yield bytes(1 << 20)

    with pytest.raises(DunlinError) as error:
        list(frames.unseal(PLAIN, pieces()))
    assert error.value.kind is ErrorKind.CORRUPT
    assert asked < 60
