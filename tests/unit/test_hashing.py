from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind

# Published values: RFC 1321, FIPS 180-4 examples, RFC 7693 appendix A, the test vectors of BLAKE3 and xxHash,
# and the catalogue of parametrised CRC algorithms ("check" = the CRC of the digits 1 to 9).
PUBLISHED = [
    ("md5", b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("md5", b"", "d41d8cd98f00b204e9800998ecf8427e"),
    ("sha1", b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        "blake2b",
        b"abc",
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
    ),
    ("blake3", b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("blake3", b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
    ("xxh3", b"", "99aa06d3014798d86001c324468d497f"),
    ("xxh3", b"abc", "06b05ab6733a618578af5f94892f3950"),
    ("crc64", b"123456789", "ae8b14860a799888"),
    ("crc64", b"", "0000000000000000"),
]
REAL = [name for name in hashing.ALGORITHMS if name != "none"]


@pytest.mark.parametrize(("name", "data", "expected"), PUBLISHED)
def test_published_values(name: str, data: bytes, expected: str) -> None:
    hasher, once = hashing.new(name), hashing.one_shot(name)
    assert hasher is not None
    assert once is not None
    for start in range(0, len(data), 2):
        hasher.update(data[start : start + 2])
    assert hasher.hexdigest() == expected
    assert hashing.hex(hasher.digest()) == expected
    assert hashing.hex(once(data)) == expected


@pytest.mark.parametrize(("name", "expected"), [("crc32", "cbf43926"), ("crc32c", "e3069283")])
def test_published_values_of_what_is_only_compared(name: str, expected: str) -> None:
    hasher = hashing.stated(name)
    for data in (b"1234", b"", memoryview(b"56789")):
        hasher.update(data)
    assert (hasher.digest().hex(), hasher.hexdigest()) == (expected, expected)
    assert name not in hashing.ALGORITHMS


def test_what_is_compared_may_be_any_algorithm_but_none() -> None:
    for name in REAL:
        made, usual = hashing.stated(name), hashing.new(name)
        assert usual is not None
        made.update(b"abc")
        usual.update(b"abc")
        assert made.digest() == usual.digest()
    for name in ("none", "crc16"):
        with pytest.raises(DunlinError) as caught:
            hashing.stated(name)
        assert caught.value.kind is ErrorKind.USAGE


def test_every_algorithm_has_a_published_value() -> None:
    assert {name for name, _, _ in PUBLISHED} == set(REAL)


@pytest.mark.parametrize("name", REAL)
@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_parts_one_shot_and_kinds_of_buffers_agree(name: str, parts: list[bytes]) -> None:
    hasher, once = hashing.new(name), hashing.one_shot(name)
    assert hasher is not None
    assert once is not None
    whole = b"".join(parts)
    for part in parts:
        hasher.update(memoryview(bytearray(part)))
    assert hasher.digest() == once(whole) == once(memoryview(bytearray(whole))) == once(bytearray(whole))
    assert len(hasher.digest()) == hashing.size(name)


def test_none_means_no_hasher() -> None:
    assert hashing.new("none") is None
    assert hashing.one_shot("none") is None
    assert hashing.size("none") == 0


@pytest.mark.parametrize("ask", [hashing.new, hashing.one_shot, hashing.parallel, hashing.cryptographic, hashing.size])
def test_an_unknown_name_is_a_usage_error_that_lists_the_names(ask: object) -> None:
    with pytest.raises(DunlinError) as caught:
        ask("crc32")  # type: ignore[operator]
    assert caught.value.kind is ErrorKind.USAGE
    assert "crc32" in str(caught.value)
    assert all(name in caught.value.hint for name in hashing.ALGORITHMS)


def test_which_are_cryptographic_and_which_combine() -> None:
    assert [name for name in hashing.ALGORITHMS if hashing.cryptographic(name)] == ["blake3", "sha256", "blake2b"]
    assert [name for name in hashing.ALGORITHMS if hashing.parallel(name)] == ["crc64"]


@given(a=st.binary(max_size=500), b=st.binary(max_size=500), c=st.binary(max_size=50))
def test_crc64_of_parts_combines_to_that_of_the_whole(a: bytes, b: bytes, c: bytes) -> None:
    crc = hashing.one_shot("crc64")
    assert crc is not None
    left = hashing.combine_crc64(hashing.combine_crc64(crc(a), crc(b), len(b)), crc(c), len(c))
    right = hashing.combine_crc64(crc(a), hashing.combine_crc64(crc(b), crc(c), len(c)), len(b) + len(c))
    assert left == right == crc(a + b + c)


@given(a=st.binary(min_size=8, max_size=8), b=st.binary(min_size=8, max_size=8), length=st.integers(1, 2**45))
def test_combining_agrees_with_an_independent_implementation(a: bytes, b: bytes, length: int) -> None:
    from awscrt.checksums import combine_crc64nvme

    theirs = combine_crc64nvme(int.from_bytes(a, "big"), int.from_bytes(b, "big"), length)
    assert int.from_bytes(hashing.combine_crc64(a, b, length), "big") == theirs


def test_a_part_has_no_negative_length() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        hashing.combine_crc64(bytes(8), bytes(8), -1)


@pytest.mark.parametrize("name", REAL)
def test_threads_may_share_a_one_shot_function(name: str) -> None:
    once = hashing.one_shot(name)
    assert once is not None
    blocks = [bytes([n]) * 5000 for n in range(8)]
    expected = [once(block) for block in blocks]
    wrong: list[int] = []

    def work(n: int) -> None:
        wrong.extend(n for _ in range(50) if once(blocks[n]) != expected[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(blocks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
