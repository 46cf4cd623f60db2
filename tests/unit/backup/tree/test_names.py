"""Operations on many names are those on each."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dunlin.backup.tree import names
from dunlin.backup.tree.columns import Bytes, Ints

TRICKY = [b"", b"\0", b"a", b"a\0", b"a\0b", b"aa", b"aaaaaaa", b"aaaaaaaa", b"aaaaaaaa\0", b"aaaaaaaab", b"b",
          b"\xff" * 9, b"x" * 300, b"x" * 300 + b"\0", b"x" * 301]  # fmt: skip
NAME = st.one_of(st.sampled_from(TRICKY), st.binary(max_size=20))


def packed(given: list[bytes]) -> tuple[Bytes, Ints, Ints]:
    lengths = np.array([len(name) for name in given], np.int64)
    return names.padded(b"".join(given)), names.starts(lengths)[:-1], lengths


@given(st.lists(st.tuples(st.integers(0, 3), NAME)))
def test_order_is_that_of_group_and_bytes(rows: list[tuple[int, bytes]]) -> None:
    groups = np.array([group for group, _ in rows], np.int64)
    found = names.order(groups, *packed([name for _, name in rows]))
    assert [rows[at] for at in found.tolist()] == sorted(rows)


@given(st.lists(NAME), st.lists(st.booleans()))
def test_the_first_unsorted_is_found(given: list[bytes], cuts: list[bool]) -> None:
    cut = [*cuts, *[False] * len(given)][: len(given)]
    runs = np.cumsum(cut)
    wrong = [at for at in range(1, len(given)) if runs[at] == runs[at - 1] and given[at - 1] >= given[at]]
    found = names.first_unsorted(runs, *packed(given))
    assert (found is None) == (not wrong)
    assert found is None or found in wrong


def test_every_two_tricky_names_are_told_apart() -> None:
    pairs = list(itertools.product(TRICKY, repeat=2))
    one, other = packed([pair[0] for pair in pairs]), packed([pair[1] for pair in pairs])
    assert names.equal(*one, *other).tolist() == [a == b for a, b in pairs]
    for a, b in pairs:
        assert (names.first_unsorted(np.array([0, 0]), *packed([a, b])) is None) == (a < b)


def test_hashes_are_of_the_name_alone() -> None:
    some = [*TRICKY, *(random.Random(1).randbytes(n % 40) + bytes([n]) for n in range(200))]
    one = names.hashes(*packed(some), 5)
    other = names.hashes(*packed(some[::-1]), 5)
    assert one.tolist() == other.tolist()[::-1]
    assert len(set(one.tolist())) == len(set(some))
    assert not set(one.tolist()) & set(names.hashes(*packed(some), 6).tolist())


def test_short_names_that_differ_in_length_and_letter_have_other_hashes() -> None:
    every = [bytes(parts) for n in (1, 2) for parts in itertools.product(range(256), repeat=n)]
    assert len(set(names.hashes(*packed(every)).tolist())) == len(every)
