"""Every action and every option of the plan, and that no row is lost or decided twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.model import (
    CHANGED,
    FILE_BITS,
    MODE,
    TYPE_BITS,
    Action,
    Difference,
    Facts,
    Kind,
    Row,
)
from dunlin.plan import COMPARE, SECOND, Policy, decide, decide_content, same, same_content, same_facts, same_meta

KEEP_ALL: dict[str, Any] = {"perms": True, "owner": True, "group": True}


def entry(
    kind: Kind = Kind.FILE,
    size: int = 4,
    mtime: int | None = 100,
    *,
    mode: int = 0o644,
    uid: int | None = 0,
    gid: int | None = 0,
    nlink: int = 1,
    ctime: int | None = 0,
) -> Facts:
    return (int(kind) | mode, size, mtime, uid, gid, ctime, nlink, 1, 2, 0, 0)


FILE = entry()
DIRECTORY = entry(Kind.DIRECTORY)
LINK = entry(Kind.LINK)
FIFO = entry(Kind.FIFO)
SOCKET = entry(Kind.SOCKET)
BLOCK = entry(Kind.BLOCK)
CHARACTER = entry(Kind.CHARACTER)


def one(source: Facts | None, target: Facts | None, **options: Any) -> list[tuple[Action, bool, str]]:
    """The decisions about a single row."""
    row: Row = ("x", source, target)
    operations = decide(Difference([row], last=True), Policy(**options))
    assert all(operation.rows == [row] for operation in operations)
    return [(operation.action, operation.clear, operation.reason) for operation in operations]


DECISIONS: list[tuple[Facts | None, Facts | None, dict[str, Any], list[tuple[Action, bool, str]]]] = [
    # new
    (FILE, None, {}, [(Action.COPY, False, "")]),
    (DIRECTORY, None, {}, [(Action.DIRECTORY, False, "")]),
    (LINK, None, {}, [(Action.SKIP, False, "link")]),
    (LINK, None, {"links": True}, [(Action.LINK, False, "")]),
    (FIFO, None, {}, [(Action.SKIP, False, "special")]),
    (FIFO, None, {"devices": True}, [(Action.SKIP, False, "special")]),
    (FIFO, None, {"specials": True}, [(Action.SPECIAL, False, "")]),
    (SOCKET, None, {"specials": True}, [(Action.SPECIAL, False, "")]),
    (BLOCK, None, {"specials": True}, [(Action.SKIP, False, "special")]),
    (BLOCK, None, {"devices": True}, [(Action.SPECIAL, False, "")]),
    (CHARACTER, None, {"devices": True}, [(Action.SPECIAL, False, "")]),
    # only at the destination
    (None, FILE, {}, []),
    (None, FILE, {"delete": True}, [(Action.EXTRA, False, "")]),
    (None, DIRECTORY, {"delete": True}, [(Action.EXTRA, False, "")]),
    (None, LINK, {"delete": True}, [(Action.EXTRA, False, "")]),
    # another kind there
    (FILE, DIRECTORY, {}, [(Action.COPY, True, "")]),
    (FILE, LINK, {}, [(Action.COPY, False, "")]),
    (FILE, FIFO, {}, [(Action.COPY, False, "")]),
    (DIRECTORY, FILE, {}, [(Action.DIRECTORY, True, "")]),
    (DIRECTORY, LINK, {}, [(Action.DIRECTORY, True, "")]),
    (DIRECTORY, DIRECTORY, {}, [(Action.DIRECTORY, False, "")]),
    (LINK, DIRECTORY, {"links": True}, [(Action.LINK, True, "")]),
    (LINK, FILE, {"links": True}, [(Action.LINK, False, "")]),
    (FIFO, DIRECTORY, {"specials": True}, [(Action.SPECIAL, True, "")]),
    # what is skipped makes no way
    (LINK, DIRECTORY, {}, [(Action.SKIP, False, "link")]),
    (FIFO, DIRECTORY, {}, [(Action.SKIP, False, "special")]),
    (FILE, DIRECTORY, {"skip_existing": True}, [(Action.SKIP, False, "exists")]),
    # size+mtime
    (FILE, entry(size=5), {}, [(Action.COPY, False, "")]),
    (FILE, entry(mtime=101), {}, [(Action.COPY, False, "")]),
    (FILE, entry(mtime=101), {"window": 1}, [(Action.META, False, "")]),
    (FILE, entry(mtime=102), {"window": 1}, [(Action.COPY, False, "")]),
    (FILE, entry(mtime=98), {"window": 1}, [(Action.COPY, False, "")]),
    # a destination whose mtime is unknown agrees if it was written after the source's last change
    (FILE, entry(mtime=None, ctime=None), {}, [(Action.META, False, "")]),
    (FILE, entry(mtime=None, ctime=100), {}, [(Action.META, False, "")]),
    (entry(mtime=2 * SECOND), entry(mtime=None, ctime=SECOND), {}, [(Action.COPY, False, "")]),
    (entry(mtime=2 * SECOND - 1), entry(mtime=None, ctime=SECOND), {}, [(Action.META, False, "")]),
    (entry(mtime=2 * SECOND), entry(mtime=None, ctime=SECOND), {"window": SECOND + 1}, [(Action.META, False, "")]),
    (entry(size=5), entry(mtime=None, ctime=101), {"update": True}, [(Action.SKIP, False, "newer")]),
    (entry(size=5), entry(mtime=None, ctime=100), {"update": True}, [(Action.COPY, False, "")]),
    (FILE, entry(mode=0o600), {"perms": True}, [(Action.META, False, "")]),
    # size
    (FILE, entry(mtime=7), {"compare": "size"}, [(Action.META, False, "")]),
    (FILE, entry(size=5), {"compare": "size"}, [(Action.COPY, False, "")]),
    # mtime
    (FILE, entry(size=5), {"compare": "mtime"}, [(Action.META, False, "")]),
    (FILE, entry(mtime=7), {"compare": "mtime"}, [(Action.COPY, False, "")]),
    # checksum
    (FILE, entry(mtime=7), {"compare": "checksum"}, [(Action.VERIFY, False, "")]),
    (FILE, FILE, {"compare": "checksum"}, [(Action.VERIFY, False, "")]),
    (FILE, entry(size=5), {"compare": "checksum"}, [(Action.COPY, False, "")]),
    (FILE, None, {"compare": "checksum"}, [(Action.COPY, False, "")]),
    # update, skip-existing, force
    (FILE, entry(size=5, mtime=101), {"update": True}, [(Action.SKIP, False, "newer")]),
    (FILE, entry(size=5, mtime=101), {"update": True, "window": 1}, [(Action.COPY, False, "")]),
    (FILE, entry(size=5, mtime=99), {"update": True}, [(Action.COPY, False, "")]),
    (FILE, entry(size=5, mtime=100), {"update": True}, [(Action.COPY, False, "")]),
    (FILE, entry(Kind.LINK, mtime=101), {"update": True}, [(Action.COPY, False, "")]),
    (FILE, entry(size=5), {"skip_existing": True}, [(Action.SKIP, False, "exists")]),
    (FILE, FIFO, {"skip_existing": True}, [(Action.SKIP, False, "exists")]),
    (FILE, None, {"skip_existing": True}, [(Action.COPY, False, "")]),
    (FILE, FILE, {"force": True}, [(Action.COPY, False, "")]),
    (FILE, FILE, {"force": True, "skip_existing": True}, [(Action.SKIP, False, "exists")]),
    (FILE, entry(mtime=101), {"force": True, "update": True}, [(Action.COPY, False, "")]),
    # hard links
    (entry(nlink=2), None, {"hard_links": True}, [(Action.HARD, False, "")]),
    (entry(nlink=2), FILE, {"hard_links": True}, [(Action.HARD, False, "")]),
    (entry(nlink=2), DIRECTORY, {"hard_links": True}, [(Action.HARD, True, "")]),
    (entry(nlink=2), FILE, {"hard_links": True, "skip_existing": True}, [(Action.SKIP, False, "exists")]),
    (entry(nlink=2), None, {}, [(Action.COPY, False, "")]),
    (FILE, None, {"hard_links": True}, [(Action.COPY, False, "")]),
    (entry(Kind.LINK, nlink=2), None, {"links": True}, [(Action.LINK, False, "")]),
    (
        entry(Kind.LINK, nlink=2),
        None,
        {"links": True, "hard_links": True},
        [(Action.LINK, False, ""), (Action.HARD, False, "")],
    ),
    (
        entry(Kind.FIFO, nlink=2),
        DIRECTORY,
        {"specials": True, "hard_links": True},
        [(Action.SPECIAL, True, ""), (Action.HARD, False, "")],
    ),
    (entry(Kind.LINK, nlink=2), None, {"hard_links": True}, [(Action.SKIP, False, "link")]),
    # attributes: equal facts say nothing about them
    (FILE, FILE, {"attributes": True}, [(Action.META, False, "")]),
]


@pytest.mark.parametrize(("source", "target", "options", "wanted"), DECISIONS)
def test_decisions(
    source: Facts | None, target: Facts | None, options: dict[str, Any], wanted: list[tuple[Action, bool, str]]
) -> None:
    assert one(source, target, **options) == wanted


def test_the_table_has_every_action_but_rename() -> None:
    found = {action for row in DECISIONS for action, _, _ in row[3]}
    assert found == set(Action) - {Action.RENAME}


@pytest.mark.parametrize(("source", "wanted"), [(FILE, Action.META), (DIRECTORY, Action.DIRECTORY)])
def test_a_name_spelled_otherwise_is_renamed_before_it_is_done(source: Facts, wanted: Action) -> None:
    row: Row = ("README", source, source)
    operations = decide(Difference([row], renames={"README": "Readme"}), Policy(delete=True))
    assert [(o.action, o.reason, o.rows) for o in operations] == [(Action.RENAME, "Readme", [row]), (wanted, "", [row])]


def test_two_renames_are_two_operations() -> None:
    rows: list[Row] = [("A", FILE, FILE), ("B", FILE, FILE)]
    operations = decide(Difference(rows, renames={"A": "a", "B": "b"}), Policy())
    assert [(o.action, o.reason) for o in operations if o.action is Action.RENAME] == [
        (Action.RENAME, "a"),
        (Action.RENAME, "b"),
    ]


def test_rows_that_share_a_decision_share_an_operation() -> None:
    rows: list[Row] = [("a", FILE, None), ("b", FILE, entry(size=9)), ("c", FILE, None), ("d", LINK, None)]
    operations = decide(Difference(rows), Policy())
    assert {(o.action, tuple(row[0] for row in o.rows)) for o in operations} == {
        (Action.COPY, ("a", "c", "b")),
        (Action.SKIP, ("d",)),
    }


SAME: list[tuple[Facts, Facts, dict[str, Any], bool]] = [
    (FILE, FILE, {}, True),
    (FILE, FILE, KEEP_ALL, True),
    (FILE, FILE, {"perms": True}, True),
    (FILE, entry(mode=0o600), {}, True),
    (FILE, entry(mode=0o600), {"perms": True}, False),
    (entry(mode=0o4755), entry(mode=0o755), {"perms": True}, False),
    (FILE, entry(uid=7), {}, True),
    (FILE, entry(uid=7), {"owner": True}, False),
    (FILE, entry(uid=7), KEEP_ALL, False),
    (FILE, entry(gid=7), {"perms": True, "owner": True}, True),
    (FILE, entry(gid=7), {"group": True}, False),
    (entry(gid=5), FILE, {"group": True, "groups": frozenset({5})}, False),
    (entry(gid=5), FILE, {"group": True, "groups": frozenset({6})}, True),  # not ours to give: no difference
    (entry(gid=5), FILE, {**KEEP_ALL, "groups": frozenset({6})}, True),
    (entry(gid=5), FILE, {**KEEP_ALL, "groups": frozenset()}, True),
    (FILE, entry(size=5), {}, False),
    (FILE, entry(mtime=101), {}, False),
    (FILE, entry(mtime=101), {"window": 1}, True),
    (FILE, entry(mtime=101), {"compare": "size"}, True),
    (FILE, entry(size=5), {"compare": "mtime"}, True),
    (FILE, FILE, {"compare": "checksum"}, False),
    (FILE, FILE, {"force": True}, False),
    (FILE, FILE, {"attributes": True}, False),
    (FILE, FILE, {"hard_links": True}, True),
    (entry(nlink=2), FILE, {"hard_links": True}, False),
    (entry(nlink=2), FILE, {}, True),
    (DIRECTORY, DIRECTORY, {}, False),
    (DIRECTORY, DIRECTORY, KEEP_ALL, False),
    (LINK, LINK, {"perms": True}, False),
    (LINK, FILE, {}, False),
    (FILE, LINK, {}, False),
]


@pytest.mark.parametrize(("source", "target", "options", "wanted"), SAME)
def test_same(source: Facts, target: Facts, options: dict[str, Any], wanted: bool) -> None:
    assert same(Policy(**options))(source, target) is wanted


entries = st.builds(
    entry,
    st.sampled_from([Kind.FILE] * 6 + list(Kind)),
    st.integers(0, 2),
    st.integers(0, 3),
    mode=st.sampled_from([0o644, 0o755]),
    uid=st.integers(0, 1),
    gid=st.integers(0, 2),
    nlink=st.integers(1, 2),
)
policies = st.builds(
    Policy,
    compare=st.sampled_from(COMPARE),
    window=st.integers(0, 1),
    update=st.booleans(),
    skip_existing=st.booleans(),
    force=st.booleans(),
    links=st.booleans(),
    specials=st.booleans(),
    devices=st.booleans(),
    perms=st.booleans(),
    owner=st.booleans(),
    group=st.booleans(),
    groups=st.sampled_from([None, frozenset({0}), frozenset({0, 1}), frozenset()]),
    hard_links=st.booleans(),
    attributes=st.booleans(),
    delete=st.booleans(),
)
rows = st.dictionaries(
    st.text("abcXYZ", min_size=1, max_size=3),
    st.tuples(st.none() | entries, st.none() | entries).filter(lambda pair: pair != (None, None)),
)


@given(rows, policies, st.data())
def test_every_row_is_in_exactly_one_operation(
    found: dict[str, tuple[Facts | None, Facts | None]], policy: Policy, data: st.DataObject
) -> None:
    both = sorted(name for name, (source, target) in found.items() if source and target)
    renamed = data.draw(st.sets(st.sampled_from(both))) if both else set()
    difference = Difference(
        [(name, *pair) for name, pair in found.items()], renames={name: name.lower() + "!" for name in renamed}
    )
    operations = decide(difference, policy)
    beside = (Action.RENAME, Action.HARD)
    done = Counter(row[0] for o in operations if o.action not in beside for row in o.rows)
    for name in (row[0] for o in operations if o.action is Action.HARD for row in o.rows):
        # A file with several names waits for them; a link or special file is made first, and joined after.
        source = found[name][0]
        assert source is not None
        assert done[name] == (source[MODE] & TYPE_BITS != FILE_BITS)
        done[name] = 1
    unmentioned = {name for name, (source, _) in found.items() if source is None and not policy.delete}
    assert done == Counter(found.keys() - unmentioned)
    moved = [row[0] for o in operations if o.action is Action.RENAME for row in o.rows]
    assert sorted(moved) == sorted(renamed)
    for operation in operations:
        assert operation.rows
        # Nothing is ever deleted that the source has, and nothing makes way for what is skipped.
        assert operation.action is not Action.EXTRA or all(row[1] is None for row in operation.rows)
        assert not (operation.clear and operation.action is Action.SKIP)


@given(entries, entries, policies)
def test_same_agrees_with_decide(source: Facts, target: Facts, policy: Policy) -> None:
    accepted = same(policy)(source, target)
    action, clear, _ = one(source, target, **{name: getattr(policy, name) for name in Policy._fields})[0]
    if not accepted:
        return  # `test_every_row_is_in_exactly_one_operation` shows that it is not dropped
    # A pair that is only counted would have been given metadata that it has, or been left alone.
    assert source[MODE] & TYPE_BITS == target[MODE] & TYPE_BITS == FILE_BITS
    assert not clear
    assert action in (Action.META, Action.SKIP)
    assert same_content(policy, source, target)
    assert same_meta(policy, source, target)


@given(entries, entries, policies)
def test_the_short_ways_of_same_are_the_long_way(source: Facts, target: Facts, policy: Policy) -> None:
    both_files = source[MODE] & TYPE_BITS == target[MODE] & TYPE_BITS == FILE_BITS
    wanted = both_files and same_content(policy, source, target) and same_meta(policy, source, target)
    assert same_facts(policy)(source, target) == wanted


@given(entries, entries, policies)
def test_what_differs_in_content_is_moved_or_named_as_skipped(source: Facts, target: Facts, policy: Policy) -> None:
    if source[MODE] & TYPE_BITS != FILE_BITS:
        return
    action, reason = decide_content(policy, source, target)
    both_files = target[MODE] & TYPE_BITS == FILE_BITS
    if both_files and same_content(policy, source, target) and not policy.force:
        assert action in (Action.META, Action.VERIFY)
    else:
        assert action is Action.COPY or (policy.update and reason == "newer")


def test_wants() -> None:
    every = Policy(links=True, specials=True, devices=True)
    none = Policy()
    assert all(every.wants(kind) for kind in Kind)
    assert [kind for kind in Kind if none.wants(kind)] == [Kind.DIRECTORY, Kind.FILE]


@pytest.mark.parametrize("partial", [entry(mode=0o777, uid=None, gid=None), entry(mode=0, uid=None)])
def test_what_an_object_does_not_tell_is_no_difference(partial: Facts):
    policy = Policy(partial=True, **KEEP_ALL)
    assert same_meta(policy, FILE, partial)
    assert same_meta(policy, partial, FILE)
    assert same_facts(policy)(FILE, partial)
    assert not same_facts(policy)(FILE, entry(mtime=101, uid=None))


def test_a_destination_of_plain_files_takes_no_others() -> None:
    policy = Policy(links=True, specials=True, devices=True, plain=True)
    rows = [("d", entry(Kind.DIRECTORY), None), ("f", entry(), None), ("l", entry(Kind.LINK), None)]
    rows += [("p", entry(Kind.FIFO), None)]
    found = {row[0]: (op.action, op.reason) for op in decide(Difference(rows), policy) for row in op.rows}
    assert found == {
        "d": (Action.DIRECTORY, ""),
        "f": (Action.COPY, ""),
        "l": (Action.SKIP, "no-link"),
        "p": (Action.SKIP, "no-special"),
    }


@pytest.mark.parametrize(("written", "in_sync"), [(150, True), (99 - SECOND, False), (None, True)])
def test_an_object_of_unknown_time_agrees_if_it_was_written_after_the_file(written: int | None, in_sync: bool) -> None:
    there = entry(mtime=100)
    assert same_content(Policy(partial=True), entry(mtime=None, ctime=written), there) is in_sync


def test_update_asks_when_an_object_was_written_that_has_another_version() -> None:
    changed = entry(mtime=CHANGED, ctime=500)
    for there, action in ((400, Action.COPY), (600, Action.SKIP)):
        assert decide_content(Policy(update=True, partial=True), changed, entry(mtime=there))[0] is action


def test_attributes_are_in_sync_only_where_both_sides_are_sure_of_it() -> None:
    test = same(Policy(attributes=True, partial=True, perms=True))
    sure, other = (*FILE, True), (*FILE, False)
    assert test(sure, sure)
    for pair in ((FILE, sure), (sure, FILE), (other, sure), (sure, other), ((*FILE, None), sure), (FILE, FILE)):
        assert not test(*pair)
    assert not test((*entry(size=5), True), sure)
    assert not test((*entry(mode=0o600), True), sure)
    linked = (*entry(nlink=2), True)
    assert test(linked, linked)
    assert not same(Policy(attributes=True, hard_links=True))(linked, linked)
