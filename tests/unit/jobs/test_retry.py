"""retry: which runs' files are tried again, and when that has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError
from dunlin.jobs.retry import find
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import FileStatus, State, Target

OPTIONS = {"places": ["s3://bucket/x", "/there"], "how": {}}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(str(tmp_path / "state.db"), NullReport())
    yield opened
    opened.close()


def ran(state: State, *failed: str, retry: list[int] | None = None, end: str = "completed", place: str = "x") -> int:
    """A run in which these files failed."""
    options = {**OPTIONS, "retry": retry} if retry else OPTIONS
    run = state.begin_run(state.pair(f"https://host/bucket/{place}", "file:///there", "all"), options, "boot", 1)
    (root,) = state.add_directories(run.id, [("", Target.UNKNOWN)])
    empty = (1, 1, 1, None, 0, 0, 0, None, None, None, None)
    state.put_files(run.id, root, [(name, *empty, int(FileStatus.FAILED), "x", "denied") for name in failed])
    state.finish_directory(run.id, root, 2)
    if end:
        state.finish_run(run.id, end, Stats())
    return run.id


def test_the_last_run_and_what_failed_again_since(state: State) -> None:
    ran(state, "old")
    last = ran(state, "a", "b", "c")
    again = ran(state, "b", retry=[last])
    found = find(state, None, lambda run: False)
    assert (found.run, found.runs, found.files) == (last, (last, again), 3)
    assert (found.source, found.destination) == ("s3://bucket/x", "file:///there")
    assert find(state, again, lambda run: False) == find(state, last, lambda run: False) == found


def test_a_run_by_its_number(state: State) -> None:
    first = ran(state, "old")
    ran(state, "new")
    found = find(state, first, lambda run: False)
    assert (found.runs, found.files) == ((first,), 1)


def test_a_run_of_another_pair_may_go_on(state: State) -> None:
    first = ran(state, "a")
    ran(state, end="", place="y")
    assert find(state, first, lambda run: True).files == 1


@pytest.mark.parametrize(("lives", "said"), [(True, "is still going"), (False, "was cut short")])
def test_beside_a_run_of_the_pair_nothing_is_tried(state: State, lives: bool, said: str) -> None:
    first = ran(state, "a")
    going = ran(state, end="")
    state.add_directories(going, [("more", Target.UNKNOWN)])
    with pytest.raises(DunlinError, match=said) as raised:
        find(state, first, lambda run: lives)
    assert raised.value.exit_code == 1


def test_what_is_not_there(state: State) -> None:
    with pytest.raises(DunlinError, match="there was none yet") as raised:
        find(state, None, lambda run: False)
    assert raised.value.exit_code == 1
    with pytest.raises(DunlinError, match="none of that number"):
        find(state, 7, lambda run: False)
