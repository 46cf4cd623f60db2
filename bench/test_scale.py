"""Computed trees agree with themselves, and looks from outside with what was used: pytest bench/test_scale.py."""

from __future__ import annotations

import json
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from bench import made
from bench.context import CHECKOUT, Context
from bench.made import Made, Shape, order, place
from bench.measure import Failed, run
from bench.outside import EVERY, Look, Outside, busiest, mean_rate, mean_resident
from bench.rows import ROWS, scale
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, MTIME, is_directory, join
from dunlin.stores.local import LocalStore


@pytest.mark.parametrize("count", [1, 7, 5_000, 12_345])
def test_every_number_comes_once_and_in_no_order(count: int) -> None:
    batches = list(order(count, 1))
    numbers = [number for batch in batches for number in batch]
    assert sorted(numbers) == list(range(count))
    assert max(map(len, batches)) <= made.BATCH
    if count > 100:
        assert numbers != [number for batch in order(count, 2) for number in batch]
        assert all(max(batch) - min(batch) > count * 0.9 for batch in batches)
        rising = sum(one < other for one, other in pairwise(numbers))
        assert 0.4 < rising / count < 0.6


def side(tmp_path: Path, shape: Shape) -> Made:
    return Made(LocalStore(str(place(tmp_path / shape.side, shape))), shape)


@pytest.mark.parametrize("shape", [Shape(120, 7, "source"), Shape(0, 12_000, "source", 50, True)])
def test_a_computed_tree_lists_what_it_says_of_each_path(tmp_path: Path, shape: Shape) -> None:
    store = side(tmp_path, shape)
    waiting, seen = [""], {}
    while waiting:
        directory = waiting.pop()
        for batch in store.list(directory):
            for name, facts in batch:
                path = join(directory, name)
                assert path not in seen
                assert store.stat(path).facts == facts
                seen[path] = facts
                if is_directory(facts):
                    waiting.append(path)
    absent = len(list(shape.names(made.EXTRA)))
    assert len(seen) == shape.entries - absent
    assert len({facts[IDENT] for facts in seen.values()}) == len(seen)
    store.close()


def test_what_a_computed_tree_has_not_is_not_found(tmp_path: Path) -> None:
    store = side(tmp_path, Shape(60, 5, "source", differing=4))
    for path in ("d00002", "d00000/s000050", "d00001/s000060", "file-0000000.dat", "d00000/s000000/file-0000005.dat",
                 "d00000/s000000/file-0000001.dat", "d0", "d00000/s000000/file-1.dat"):  # fmt: skip
        with pytest.raises(DunlinError) as caught:
            store.stat(path)
        assert caught.value.kind is ErrorKind.NOT_FOUND, path
    with pytest.raises(DunlinError):
        next(store.list("d00002"))
    store.close()


def test_two_sides_differ_in_the_names_that_are_told(tmp_path: Path) -> None:
    shape = Shape(0, 12_000, "source", differing=1_000, shuffled=True)
    one, other = (
        {name: facts for batch in side(tmp_path, each).list("") for name, facts in batch}
        for each in (shape, Shape(0, 12_000, "target", 1_000, True))
    )
    assert set(other) - set(one) == set(shape.names(made.EXTRA))
    assert set(one) - set(other) == set(shape.names(made.MISSING))
    changed = {name for name in set(one) & set(other) if one[name][MTIME] != other[name][MTIME]}
    assert changed == set(shape.names(made.CHANGED))
    assert len(changed) == 12


def context(tmp_path: Path) -> Context:
    for name in ("work", "disk"):
        (tmp_path / name).mkdir()
    return Context(tmp_path / "work", tmp_path / "disk", 1, True, "dunlin")


def test_the_real_program_takes_a_computed_tree_for_a_tree(tmp_path: Path) -> None:
    small = context(tmp_path)
    shape = Shape(60, 50, "source", differing=5)
    source, target = place(tmp_path / "one", shape), place(tmp_path / "two", Shape(60, 50, "target", 5))
    measured = small.run(scale.computed(small, source, target, "--dry-run", "--delete-extras"))
    assert measured.processes > 1, "movers have computed trees, too"
    scale.expect(small, equal_files=60 * 20, missing_files=60 * 10, differing_files=60 * 10, extra_files=60 * 10)
    with pytest.raises(Failed, match="equal_files"):
        scale.expect(small, equal_files=1)


def test_a_command_that_tells_nothing_is_a_failure(tmp_path: Path) -> None:
    small = context(tmp_path)
    small.run([sys.executable, "-c", "print('a line'); print('12:00 a log line{\"a\": {\"b\": 1}}')"])
    assert small.told() == {"a": {"b": 1}}
    small.run([sys.executable, "-c", "print('nothing')"])
    with pytest.raises(Failed):
        small.told()


def test_what_a_command_uses_is_seen_from_outside(tmp_path: Path) -> None:
    outside = Outside(stop_after=3.0)  # a busy machine may take a while to start the two
    begun = time.monotonic()
    command = [sys.executable, "-c", TWO]
    measured = run(command, output=tmp_path / "out", expect=-signal.SIGTERM, watch=outside)
    outside.end()
    assert time.monotonic() - begun < 30
    assert 0.7 * measured.cpu < outside.looks[-1].cpu <= measured.cpu, "what both of them used"
    assert max(look.resident for look in outside.looks) > 100e6, "pages that two share count twice"
    assert 50e6 < max(look.proportional for look in outside.looks) < 90e6


TWO = """
import ctypes, os
big = bytearray(b'x') * 50_000_000
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # it ends with the one that was asked to end
while True: sum(range(1000))
"""


def test_the_busiest_window_is_found_between_looks() -> None:
    def looks(*rates: float) -> list[Look]:
        used, found = 0.0, [Look(0.0, 0.0, 100, 0)]
        for number, rate in enumerate(rates):
            used += rate
            found.append(Look(number + 1.0, used, 300, 0))
        return found

    series = looks(0.0, 0.5, 0.5, 1.0, 1.0, 0.0)
    assert busiest(series, 2.0) == 1.0
    assert busiest(series, 3.0) == pytest.approx(2.5 / 3)
    assert busiest(series, 6.0) == pytest.approx(0.5)
    assert busiest(series, 7.0) == 0.0, "there is no such window"
    assert mean_rate(series) == pytest.approx(3.0 / (6.0 + EVERY))
    assert mean_resident(looks(1.0)) == 200


def test_the_rows_of_scale_are_in_the_table() -> None:
    named = {f"scale-{name}" for name in ("again", "generated", "onedir", "failing", "caps")}
    assert named <= set(ROWS)


def test_a_place_is_emptied_before_it_is_used_again(tmp_path: Path) -> None:
    shape = Shape(1, 1, "source")
    (place(tmp_path / "a", shape) / made.DELETED).touch()
    assert [path.name for path in place(tmp_path / "a", shape).iterdir()] == [made.MARK]
    assert json.loads((tmp_path / "a" / made.MARK).read_text())["files"] == 1
    assert CHECKOUT.is_dir()
