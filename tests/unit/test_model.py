"""The words: order, facts, paths, counts."""

from __future__ import annotations

import os
import stat
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin import model
from dunlin.model import Action, Entry, Kind, Stats, facts, is_directory, is_file, is_unfinished, join, sort_key

NAMES = st.text(min_size=1, max_size=6).filter(lambda name: "/" not in name and "\0" not in name)


def encodable(name: str) -> bool:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


NAMES = NAMES.filter(encodable)


def test_the_order_is_gits() -> None:
    names = [("a0", False), ("a", True), ("a.txt", False), ("a-b", False), ("a", False), ("b", False)]
    ordered = sorted(names, key=lambda pair: sort_key(*pair))
    assert ordered == [("a", False), ("a-b", False), ("a.txt", False), ("a", True), ("a0", False), ("b", False)]


@given(st.lists(st.tuples(NAMES, NAMES)))
def test_the_order_is_that_of_flat_keys(pairs: list[tuple[str, str]]) -> None:
    """What a flat listing gives: the directory `a` stands where all keys `a/...` stand."""
    flat = sorted(f"{directory}/{name}".encode("utf-8", "surrogateescape") for directory, name in pairs)
    by_directory = sorted({directory for directory, _ in pairs}, key=lambda name: sort_key(name, True))
    nested = [
        join(directory, name).encode("utf-8", "surrogateescape")
        for directory in by_directory
        for name in sorted((n for d, n in pairs if d == directory), key=lambda name: sort_key(name, False))
    ]
    assert nested == flat


@given(st.binary(min_size=1, max_size=8).filter(lambda raw: b"\0" not in raw))
def test_every_byte_sequence_survives_as_a_name(raw: bytes) -> None:
    assert sort_key(os.fsdecode(raw), False) == raw


@pytest.mark.parametrize(("directory", "name", "path"), [("", "a", "a"), ("a", "b", "a/b"), ("a/b", "c", "a/b/c")])
def test_join(directory: str, name: str, path: str) -> None:
    assert join(directory, name) == path
    assert Entry(path, facts(Kind.FILE)).name == name


def test_facts_have_the_order_of_a_stat_result(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    os.utime(path, ns=(5, 7))
    st_names = ("st_mode", "st_size", "st_mtime_ns", "st_uid", "st_gid", "st_ctime_ns")
    st_names += ("st_nlink", "st_dev", "st_ino", "st_atime_ns", "st_rdev")
    found = attrgetter(*st_names)(path.stat())
    assert len(found) == len(model.FACTS) == len(facts(Kind.FILE))
    entry = Entry("f", found)
    assert (entry.kind, entry.size, entry.mtime) == (Kind.FILE, 3, 7)
    assert [found[at] for at in (model.MTIME, model.ATIME, model.IDENT)] == [7, 5, path.stat().st_ino]


def test_kinds_are_type_bits() -> None:
    for kind in Kind:
        assert stat.S_IFMT(int(kind)) == kind
        assert Entry("x", facts(kind, permissions=0o7777)).kind is kind
        assert is_directory(facts(kind)) is (kind is Kind.DIRECTORY)
        assert is_file(facts(kind)) is (kind is Kind.FILE)
    assert model.TYPE_BITS | model.PERMISSION_BITS == 0o177777


def test_counts_add_up_in_any_order() -> None:
    one, other = Stats(), Stats()
    parts = [{"copied_files": 2, "copied_bytes": 10}, {"copied_files": 1}, {"failed_files": 4}]
    for part in parts:
        one.add(part)
    for part in reversed(parts):
        other.add(part)
    assert one == other
    assert (one.copied_files, one.copied_bytes, one.failed_files) == (3, 10, 4)


def test_a_count_that_stats_does_not_have_is_a_fault() -> None:
    with pytest.raises(AttributeError):
        Stats().add({"copied_birds": 1})


def test_actions_are_numbers_that_can_be_stored() -> None:
    assert sorted(action.value for action in Action) == list(range(1, len(Action) + 1))


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        (".dunlin-0123abcd-w1x1.tmp", True),
        (".dunlin-0123456789abcdef-0.part", True),
        (".dunlin-a\nb.tmp", True),
        (".dunlin-ready", False),
        ("x.part", False),
        ("a.dunlin-1.tmp", False),
        (".dunlin-1.tmp.gz", False),
    ],
)
def test_what_is_no_file_yet(name: str, begun: bool) -> None:
    assert is_unfinished(name) is begun
