"""The merge against the naive comparison of two dictionaries, in every order and window size."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin import plan
from dunlin.compare import Side, merge
from dunlin.compare.listing import OrderError
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Difference, Facts, Kind, Row, facts, is_directory, sort_key

Named = tuple[str, Facts]
Collate = Callable[[str], str]

SAME = plan.same(plan.Policy())
NAMES = ("a", "a-b", "a.txt", "a0", "a b", "A", "b", "\u00e9", "e\u0301", "\udcff", "a\udcfe", "a-b-c", "a\n")


def fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def file(size: int = 1, mtime: int = 5) -> Facts:
    return facts(Kind.FILE, size, mtime)


DIRECTORY = facts(Kind.DIRECTORY)


def key(named: Named) -> bytes:
    return sort_key(named[0], is_directory(named[1]))


def batches(names: list[Named], size: int) -> Iterator[list[Named]]:
    for at in range(0, len(names), size):
        yield names[at : at + size]


@dataclass
class Seen:
    """All windows of one merge, put together."""

    rows: list[Row] = field(default_factory=list)
    equal: int = 0
    equal_bytes: int = 0
    matched: list[Named] = field(default_factory=list)
    clashes: list[list[str]] = field(default_factory=list)
    renames: dict[str, str] = field(default_factory=dict)


def gather(differences: Iterator[Difference]) -> Seen:
    seen = Seen()
    lasts = []
    for difference in differences:
        seen.rows += difference.rows
        seen.equal += difference.equal
        seen.equal_bytes += difference.equal_bytes
        seen.matched += difference.matched
        seen.clashes += difference.clashes
        seen.renames.update(difference.renames)
        lasts.append(difference.last)
    assert lasts
    assert lasts == [False] * (len(lasts) - 1) + [True]
    seen.clashes.sort()
    return seen


def naive(source: list[Named], target: list[Named], collate: Collate | None) -> Seen:
    """What the merge must find, by looking at every pair of names without any order."""
    same_name = collate or (lambda name: name)
    seen = Seen()
    sides: list[dict[str, Named]] = []
    clashing: set[str] = set()
    for side in (source, target):
        spellings: dict[str, set[str]] = {}
        kinds: dict[str, set[bool]] = {}
        for name, what in side:
            spellings.setdefault(same_name(name), set()).add(name)
            kinds.setdefault(same_name(name), set()).add(is_directory(what))
        for one, names in spellings.items():
            if len(names) > 1:
                seen.clashes.append(sorted(names))
                clashing.add(one)
            elif len(kinds[one]) > 1:
                (name,) = names
                seen.clashes.append([name, name + "/"])
                clashing.add(one)
        sides.append({same_name(name): (name, what) for name, what in side})
    left, right = sides
    for one in left.keys() | right.keys():
        if one in clashing:
            continue
        here, there = left.get(one), right.get(one)
        if here and there and here[0] != there[0]:
            seen.renames[here[0]] = there[0]
        elif here and there and SAME(here[1], there[1]):
            seen.equal += 1
            seen.equal_bytes += here[1][1]
            seen.matched.append(here)
            continue
        name = here[0] if here else there[0] if there else ""
        seen.rows.append((name, here[1] if here else None, there[1] if there else None))
    seen.clashes.sort()
    return seen


def by_row(row: Row) -> tuple[str, str]:
    return row[0], repr(row)


names = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(NAMES), st.text("a-/.A\u00e9\u0301\udc80".replace("/", ""), min_size=1, max_size=4)),
        st.one_of(st.just(DIRECTORY), st.builds(file, st.integers(0, 2), st.integers(0, 1))),
    ),
    max_size=25,
)


def check(
    source: list[Named], target: list[Named], run: int, batch: int, proven: bool, collate: Collate | None
) -> None:
    if proven:
        source, target = sorted(source, key=key), sorted(target, key=key)
    found = gather(
        merge(
            Side(batches(source, batch), proven=proven, collate=collate, run=run),
            Side(batches(target, batch), proven=proven, collate=collate, run=run),
            SAME,
            collate,
            matched=True,
        )
    )
    wanted = naive(source, target, collate)
    if not target and collate is None:
        # Nothing to compare with: the listing streams through, and a file that it names twice comes twice.
        assert {row[0] for row in wanted.rows} <= {row[0] for row in found.rows}
        assert all((name, what) in source and there is None for name, what, there in found.rows)
        made = [row[0] for row in found.rows if row[1] == DIRECTORY]
        assert len(made) == len(set(made))
        return
    assert sorted(found.rows, key=by_row) == sorted(wanted.rows, key=by_row)
    assert (found.equal, found.equal_bytes) == (wanted.equal, wanted.equal_bytes)
    assert sorted(found.matched) == sorted(wanted.matched)
    assert found.clashes == wanted.clashes
    assert found.renames == wanted.renames


@given(names, names, st.integers(1, 6), st.integers(1, 7), st.booleans())
def test_windows_give_what_two_dictionaries_give(
    source: list[Named], target: list[Named], run: int, batch: int, proven: bool
) -> None:
    # The order of several entries of one name is the listing's own: a stable sort keeps it in every case.
    check(source, target, run, batch, proven, None)


@given(names, names, st.integers(1, 6), st.integers(1, 7))
def test_collated_windows_give_what_two_dictionaries_give(
    source: list[Named], target: list[Named], run: int, batch: int
) -> None:
    check(source, target, run, batch, False, fold)


@given(names, st.integers(1, 6))
def test_a_tree_compared_with_itself_has_no_row(source: list[Named], run: int) -> None:
    files = [(name, what) for name, what in dict(source).items() if not is_directory(what)]
    found = gather(merge(Side(batches(files, 3), run=run), Side(batches(files[::-1], 2), run=run), SAME))
    assert found.rows == []
    assert found.equal == len(files)
    assert found.matched == []


def test_rows_of_a_window_come_in_order() -> None:
    source = [("b", file()), ("a", DIRECTORY), ("a-b", file()), ("a", DIRECTORY)]
    (difference,) = merge(Side(iter([source])), Side(None), SAME)
    assert [row[0] for row in difference.rows] == ["a-b", "a", "b"]
    assert difference.last


def test_two_empty_sides_are_one_last_window() -> None:
    (difference,) = merge(Side(None), Side(iter(())), SAME)
    assert difference == Difference(last=True)


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("swapped", [True, False])
def test_a_file_here_and_a_directory_there_meet_across_windows(proven: bool, swapped: bool) -> None:
    between = [(f"a-{n:03}", file()) for n in range(50)]
    source = [("a", file()), *between, ("b", file())]
    target = [*between, ("a", DIRECTORY), ("b", file())]
    if swapped:
        source, target = target, source
    sides = [Side(batches(side, 4), proven=proven, run=5) for side in (source, target)]
    found = gather(merge(sides[0], sides[1], SAME))
    here, there = (DIRECTORY, file()) if swapped else (file(), DIRECTORY)
    assert found.rows == [("a", here, there)]
    assert found.equal == 51


def test_held_names_form_a_chain_and_are_never_lost() -> None:
    # a, aa, aaa are files here; their directories there come after all names between.
    source = [("a" * n, file()) for n in range(1, 30)]
    target = [("a" * n, DIRECTORY) for n in range(1, 30)]
    found = gather(merge(Side(batches(source, 2), run=2), Side(batches(target, 3), run=3), SAME))
    assert sorted(found.rows) == [("a" * n, file(), DIRECTORY) for n in range(1, 30)]


def test_a_clash_is_seen_although_the_window_ends_between_the_two_spellings() -> None:
    source = [("Readme", file()), ("x", file()), ("README", file()), ("y", file())]
    target = [("readme", file(9)), ("x", file()), ("y", file())]
    for run in range(1, 5):
        sides = [Side(batches(side, 1), collate=fold, run=run) for side in (source, target)]
        found = gather(merge(sides[0], sides[1], SAME, fold))
        assert found.clashes == [["README", "Readme"]]
        assert found.rows == []  # neither copied, nor is the destination's own one deleted
        assert found.equal == 2


def test_a_name_that_is_a_file_and_a_directory_on_one_side_is_a_clash() -> None:
    between = [(f"a-{n}", file()) for n in range(10)]
    source = [("a", file()), *between, ("a", DIRECTORY)]
    target = [("a", file(7)), *between]
    for run in (2, 3, 100):
        sides = [Side(batches(side, 3), proven=True, run=run) for side in (source, target)]
        found = gather(merge(sides[0], sides[1], SAME))
        assert found.clashes == [["a", "a/"]]
        assert found.rows == []


def test_a_rename_keeps_the_destinations_spelling_and_is_no_extra() -> None:
    found = gather(merge(Side(iter([[("README", file())]])), Side(iter([[("Readme", file())]])), SAME, fold))
    assert found.renames == {"README": "Readme"}
    assert found.rows == [("README", file(), file())]
    assert found.equal == 0


def test_what_was_listed_twice_is_one_name_across_windows() -> None:
    target = [("a", file(1)), ("b", file()), ("b", file()), ("c", file())]
    for run in (1, 2, 3):
        sides = [Side(batches(side, 1), run=run) for side in ([("b", file()), ("c", file())], target)]
        found = gather(merge(sides[0], sides[1], SAME))
        assert found.rows == [("a", None, file(1))]
        assert found.equal == 2


def test_a_listing_that_breaks_off_never_gives_a_last_window() -> None:
    error = DunlinError("list", "x", ErrorKind.IO)

    def broken(size: int) -> Iterator[list[Named]]:
        yield from batches([(f"n{n:04}", file()) for n in range(100)], size)
        raise error

    whole = [(f"n{n:04}", file()) for n in range(100)]
    for broken_side in (0, 1):
        for proven in (True, False):
            for run in (7, 33, 100, 1000):
                seen: list[Difference] = []

                def both(broken_side: int = broken_side, proven: bool = proven, run: int = run) -> Iterator[Difference]:
                    listings = [batches(whole, 10), batches(whole, 10)]
                    listings[broken_side] = broken(10)
                    return merge(*(Side(each, proven=proven, run=run) for each in listings), SAME)

                with pytest.raises(DunlinError) as caught:
                    seen.extend(both())
                assert caught.value is error
                assert not any(difference.last for difference in seen)


def test_a_lie_about_the_order_is_told() -> None:
    liar = [("b", file()), ("a", file()), ("c", file())]
    with pytest.raises(OrderError, match="a"):
        gather(merge(Side(batches(liar, 1), proven=True, run=1), Side(batches([("d", file())], 1)), SAME))
    # Where everything fits in memory, no order is needed.
    assert len(gather(merge(Side(batches(liar, 1), proven=True, run=3), Side(None), SAME)).rows) == 3


def test_a_proven_order_does_not_count_for_a_collated_pair() -> None:
    source = sorted([("A", file()), ("B", file()), ("a-", file()), ("b", DIRECTORY)], key=key)
    side = Side(batches(source, 1), proven=True, collate=fold, run=2)
    found = gather(merge(side, Side(None), SAME, fold))
    assert found.clashes == [["B", "b"]]
    assert sorted(row[0] for row in found.rows) == ["A", "a-"]


@given(names, names, st.integers(1, 6), st.integers(1, 7), st.booleans())
def test_object_stores_hold_a_file_and_a_directory_of_one_name(
    source: list[Named], target: list[Named], run: int, batch: int, proven: bool
) -> None:
    def once(side: list[Named]) -> dict[tuple[str, bool], Facts]:
        return {(name, is_directory(what)): what for name, what in side}

    left, right = once(source), once(target)
    sides = []
    for side in (left, right):
        listed = [(name, what) for (name, _), what in side.items()]
        if proven:
            listed.sort(key=key)
        sides.append(Side(batches(listed, batch), proven=proven, run=run))
    found = gather(merge(*sides, SAME, apart=True))
    wanted = [
        (one[0], left.get(one), right.get(one))
        for one in left.keys() | right.keys()
        if one[1] or left.get(one) is None or right.get(one) is None or left[one] != right[one]
    ]
    assert sorted(found.rows, key=by_row) == sorted(wanted, key=by_row)
    assert not found.clashes
