"""A state file, a pair and a run for the tests of `dunlin.state`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.report import NullReport
from dunlin.state import Pair, Run, State
from tests.unit.state.rows import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


@pytest.fixture
def state(path: str, clock: Clock) -> Iterator[State]:
    opened = State.open(path, NullReport(), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def pair(state: State) -> Pair:
    return state.pair("file:///source", "file:///destination", "all")


@pytest.fixture
def run(state: State, pair: Pair) -> Run:
    return state.begin_run(pair, {}, "boot-1", 100)
