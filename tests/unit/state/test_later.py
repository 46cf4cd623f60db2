"""later: deletions come children first, links by inode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dunlin.report import NullReport
from dunlin.state import Extra, LinkGroup, Pair, Run, State
from dunlin.state.later import Top

part = st.sampled_from(["a", "a-b", "a.txt", "b", "é", "\udcff"])


@given(st.sets(st.lists(part, min_size=1, max_size=4).map("/".join), max_size=12), st.integers(1, 5))
def test_children_come_before_their_parents(paths: set[str], limit: int) -> None:
    state = State.open(None, NullReport())
    pair = state.pair("s", "d", "").id
    state.add_extras(pair, [(path, False, False) for path in sorted(paths)])
    found: list[str] = []
    while page := state.extras(pair, limit, found[-1] if found else None):
        found += [extra.path for extra in page]
    state.close()
    assert sorted(found) == sorted(paths)
    for number, path in enumerate(found):
        assert not any(later.startswith(path + "/") for later in found[number + 1 :])


def test_what_stands_in_the_way_of_something_else_is_found_again(state: State, pair: Pair) -> None:
    state.add_extras(pair.id, [(f"d/{n}", True, Top.OTHER) for n in range(3)])
    state.add_extras(pair.id, [("d/1/x", False, Top.BELOW), ("d/e", True, Top.NOTHING), ("\udcff", True, Top.OTHER)])
    assert state.count_extras(pair.id) == (1, 5)
    found = state.blocked(pair.id, 2)
    assert found == ["\udcff", "d/2"]
    assert state.blocked(pair.id, 9, found[-1]) == ["d/1", "d/0"]
    assert state.blocked(pair.id + 1) == []
    assert [bool(extra.top) for extra in state.extras(pair.id)] == [True, True, True, False, True, True]


def test_extras_are_counted_and_dropped(state: State, pair: Pair) -> None:
    state.add_extras(pair.id, [("d", True, True), ("d/x", False, False), ("d/y", False, False)])
    state.add_extras(pair.id, [("d/x", False, False)])
    assert state.count_extras(pair.id) == (2, 1)
    assert state.extras(pair.id)[-1] == Extra("d", True, Top.NOTHING)
    state.drop_extras(pair.id, ["d/y", "d/x"])
    assert state.count_extras(pair.id) == (0, 1)
    state.clear_extras(pair.id)
    assert state.count_extras(pair.id) == (0, 0)


def test_first_name_of_an_inode_is_told(state: State, pair: Pair) -> None:
    assert state.add_links(pair.id, [(1, 5, "b", True), (1, 5, "a", False), (1, 6, "z", False)]) == [None, "b", None]
    assert state.add_links(pair.id, [(1, 5, "c", False), (1, 6, "z", True)]) == ["b", None]


def test_links_are_grouped_by_inode_with_the_copied_name_first(state: State, pair: Pair) -> None:
    big = 2**64 - 1
    state.add_links(pair.id, [(2, 9, "n", False), (2, 9, "m", False), (1, big, "y", False), (1, big, "x\udcff", True)])
    state.add_links(pair.id, [(1, 7, "alone", True)])
    assert list(state.link_groups(pair.id)) == [
        LinkGroup(1, -1, "x\udcff", True, ["y"]),
        LinkGroup(2, 9, "m", False, ["n"]),
    ]


def test_inode_with_very_many_names_comes_in_pieces(state: State, pair: Pair) -> None:
    state.add_links(pair.id, [(1, 2, f"{n:05d}", n == 1234) for n in range(2501)])
    groups = list(state.link_groups(pair.id))
    assert {group.first for group in groups} == {"01234"}
    assert max(len(group.others) for group in groups) == 1000
    assert sorted(name for group in groups for name in group.others) == [f"{n:05d}" for n in range(2501) if n != 1234]


def test_new_scan_drops_what_waited_and_a_continued_run_keeps_it(state: State, pair: Pair, run: Run) -> None:
    state.add_extras(pair.id, [("x", False, True)])
    state.add_links(pair.id, [(1, 2, "a", True), (1, 2, "b", False)])
    second = state.begin_run(pair, {}, "boot-1", 1, continues=run.id)
    assert state.count_extras(pair.id) == (1, 0)
    assert len(list(state.link_groups(pair.id))) == 1
    state.begin_run(pair, {}, "boot-1", 1)
    assert second.id > run.id
    assert state.count_extras(pair.id) == (0, 0)
    assert list(state.link_groups(pair.id)) == []
