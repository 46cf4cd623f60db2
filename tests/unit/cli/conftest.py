"""A sync engine that does what a test says, and the program run as a person runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Ran

from dunlin.cli.main import main
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Report


@dataclass
class Engine:
    """Stands for `dunlin.jobs.sync`: remembers what it was asked, does `act`, ends with `result`."""

    options: list[SyncOptions] = field(default_factory=list)
    act: Callable[[Stop, Report], Any] = lambda stop, report: None
    cycles: int = 1
    """Runs after which a watch is stopped."""
    result: Result = field(default_factory=lambda: Result(Stats(seconds=2.0), "completed", "", 0, run=7))

    def run(self, options: SyncOptions, stop: Stop, report: Report) -> Result:
        self.options.append(options)
        if options.watch is not None and len(self.options) >= self.cycles:
            stop.request("enough")
        return self.act(stop, report) or self.result


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    module = ModuleType("dunlin.jobs.sync")
    module.run = fake.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dunlin.jobs.sync", module)
    return fake


@pytest.fixture
def dunlin() -> Callable[..., Ran]:
    """Runs the program with these words; `env` sets variables."""

    def run(*words: str, env: dict[str, str] | None = None) -> Ran:
        return CliRunner().invoke(main, list(words), env=env)

    return run
