"""Changes of local directories, as the operating system tells them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.local.changes import Changes


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories."""
    for name in "ab":
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def changes(places: tuple[Path, Path]) -> Iterator[Changes]:
    made = Changes([str(place) for place in places], lambda name: name.endswith(".own"))
    yield made
    made.close()


def test_which_directory_has_changed(changes: Changes, places: tuple[Path, Path]) -> None:
    (places[1] / "d").mkdir()
    (places[1] / "d" / "f").write_bytes(b"1")
    assert changes.wait(20, lambda: False) == {1}
    until = time.monotonic() + 20
    while more := changes.wait(0, lambda: False):  # the file may be told apart from its directory
        assert more == {1}
        assert time.monotonic() < until


def test_what_is_ignored_wakes_nobody(changes: Changes, places: tuple[Path, Path]) -> None:
    (places[0] / "x.own").write_bytes(b"1")
    assert changes.wait(0.6, lambda: False) == frozenset()


def test_a_stop_ends_the_wait(changes: Changes) -> None:
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert changes.wait(3600, stopped) == frozenset()
    assert len(asked) == 3


def test_a_directory_that_was_replaced_is_watched_anew(changes: Changes, places: tuple[Path, Path]) -> None:
    places[0].rename(places[0].with_name("old"))
    places[0].mkdir()
    while changes.wait(0, lambda: False):  # the move itself
        pass
    (places[0] / "new").write_bytes(b"1")
    assert changes.wait(20, lambda: False) == {0}


def test_a_directory_that_is_gone_leaves_the_clock(changes: Changes, places: tuple[Path, Path]) -> None:
    places[0].rmdir()
    while changes.wait(0, lambda: False):
        pass
    slept: list[float] = []
    assert changes.wait(0, lambda: False, slept.append) == frozenset()
    assert slept, "it does not turn round and round"


def test_without_the_library_the_line_says_so(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(DunlinError) as caught:
        Changes([str(places[0])], lambda name: False)
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "dunlin[watch]" in caught.value.hint


def test_when_the_system_has_no_watches_left(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: str, **options: object) -> Iterator[object]:
        raise OSError(28, os.strerror(28))
        yield

    broken = ModuleType("watchfiles")
    broken.watch = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", broken)
    with pytest.raises(DunlinError, match="No space left"):
        Changes([str(places[0])], lambda name: False)
