"""What waits on disk: parts until they are whole, units until their turn."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from dunlin.backup.rows import Kept, Outcome
from dunlin.backup.save import Child, Saved
from dunlin.errors import DunlinError, ErrorKind, Place
from dunlin.workers import held
from dunlin.workers.held import Held, Stack


def part(place: int, name: bytes = b"", child: bytes = b"") -> Saved:
    outcome = Outcome((name,), [Kept(0, place, 1)], {"new_files": 1}, []) if name else None
    return Saved(outcome=outcome, children=[Child(child, (), 0, 0)] if child else [], more=True, place=place)


def seen(parts: Held) -> tuple[list[bytes], list[bytes]]:
    return [each.columns[0] for each in parts.outcomes()], [each.name for each in parts.children()]


def test_parts_come_back_in_their_order(tmp_path: Path) -> None:
    parts = Held(tmp_path)
    for each in (part(0, b"a"), part(1, child=b"x"), part(2, b"b", b"y")):
        parts.add(each)
    parts.end(Saved(place=3))
    assert seen(parts) == ([b"a", b"b"], [b"x", b"y"])
    assert next(parts.outcomes()) == part(0, b"a").outcome
    parts.close()
    assert (seen(parts), parts.count, list(tmp_path.iterdir())) == (([], []), 0, [])


def test_a_directory_that_is_done_again_begins_anew(tmp_path: Path) -> None:
    parts = Held(tmp_path)
    parts.add(part(0, b"a"))
    parts.add(part(1, b"b"))
    parts.damage = DunlinError("read", "", ErrorKind.CORRUPT)
    parts.add(part(0, b"c"))
    assert (seen(parts), parts.damage) == (([b"c"], []), None)
    parts.end(Saved())  # it is not huge any more
    assert seen(parts) == ([], [])
    parts.add(part(0, b"d"))
    parts.end(Saved(error=DunlinError("list", "d", ErrorKind.NOT_FOUND)))
    assert seen(parts) == ([], [])


def test_parts_that_are_missing_are_noticed(tmp_path: Path) -> None:
    parts = Held(tmp_path)
    parts.add(part(0, b"a"))
    for wrong in (lambda: parts.add(part(2, b"c")), lambda: parts.end(Saved(place=2))):
        with pytest.raises(DunlinError) as raised:
            wrong()
        assert raised.value.kind is ErrorKind.INTERNAL
    parts.close()


def test_a_stack_is_one_however_much_lies_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "LIVE", 4)
    stack, model = Stack[int](tmp_path), list[int]()
    chance = random.Random(5)
    most = 0
    for number in range(2000):
        if model and chance.random() < (0.3 if number < 900 else 0.7):
            assert stack.pop() == model.pop()
        else:
            stack.append(number)
            model.append(number)
        assert len(stack) == len(model)
        most = max(most, len(stack._top))
    stack += range(9)
    assert [stack.pop() for _ in range(9)] == list(reversed(range(9)))
    assert most < 8
    while stack:
        assert stack.pop() == model.pop()
    with pytest.raises(IndexError):
        stack.pop()
    stack.close()


def test_a_full_disk_is_told_as_one_of_our_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*what: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(held.pickle, "dump", full)
    stack, parts = Stack[int](tmp_path, live=1), Held(tmp_path)
    stack.append(1)
    for call in (lambda: stack.append(2), lambda: parts.add(part(0, b"a"))):
        with pytest.raises(DunlinError) as error:
            call()
        assert (error.value.kind, error.value.place) == (ErrorKind.NO_SPACE, Place.STATE)
    stack.close()
    parts.close()
