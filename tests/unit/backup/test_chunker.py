import io
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.backup.chunker import Chunker, Sizes, identify

SMALL = Sizes(least=256, average=1024, greatest=4096)
CONTENT = random.Random(1).randbytes(300_000)


def cut(content: bytes, seed: int = 1, most: int = 1 << 30) -> list[bytes]:
    source = io.BytesIO(content)
    chunker = Chunker(seed, SMALL)
    chunker._space = bytearray(16_384)  # windows that are small against the content
    return [bytes(chunk) for chunk in chunker.cut(lambda space: source.readinto(space[:most]))]


@settings(max_examples=30)
@given(st.integers(0, 60_000), st.integers(1, 50_000))
def test_chunks_put_together_are_the_content_however_it_arrives(size: int, most: int) -> None:
    chunks = cut(CONTENT[:size], most=most)
    assert b"".join(chunks) == CONTENT[:size]
    assert all(256 <= len(chunk) <= 4096 for chunk in chunks[:-1])
    assert chunks == cut(CONTENT[:size])


def test_windows_make_no_difference() -> None:
    source = io.BytesIO(CONTENT)
    assert [bytes(chunk) for chunk in Chunker(1, SMALL).cut(source.readinto)] == cut(CONTENT)


def test_bytes_put_in_at_the_front_change_one_or_two_chunks() -> None:
    before, after = set(cut(CONTENT)), set(cut(b"some more" + CONTENT))
    assert len(before) > 100
    assert len(after - before) <= 2


def test_a_tenants_seed_moves_the_cuts() -> None:
    assert not set(cut(CONTENT, seed=1)[:-1]) & set(cut(CONTENT, seed=2)[:-1])


def test_one_chunker_cuts_one_content_after_another() -> None:
    chunker = Chunker(1, SMALL)
    first = [bytes(chunk) for chunk in chunker.cut(io.BytesIO(CONTENT).readinto)]
    assert [bytes(chunk) for chunk in chunker.cut(io.BytesIO(b"").readinto)] == []
    assert [bytes(chunk) for chunk in chunker.cut(io.BytesIO(CONTENT).readinto)] == first


def test_ids_are_keyed() -> None:
    assert identify(bytes(32))(b"x") != identify(bytes([1]) * 32)(b"x")
    assert len(identify(bytes(32))(b"x")) == 32
