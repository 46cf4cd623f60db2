"""Two small local trees, and runs between them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.jobs.options import Result, SyncOptions
from dunlin.jobs.pair import PairOfStores, open_pair, selection_hash
from dunlin.jobs.sync import run
from dunlin.pace.stop import Stop
from dunlin.plan import Policy
from dunlin.report import NullReport, RecordingReport, Report
from dunlin.state.files import KnownFile
from dunlin.state.store import State
from dunlin.stores.open import canonical_url

OLD = 1_000_000_000_000_000_000
"""An mtime that no clock's granularity makes doubtful."""


class Places:
    """A source and a destination, and a state file beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source, self.target, self.state_db = root / "source", root / "target", root / "state.db"
        self.source.mkdir()
        self.report = RecordingReport()
        self.opened: list[PairOfStores] = []

    def open(self, **fields: Any) -> PairOfStores:
        """The pair, closed at the end of the test."""
        self.opened.append(open_pair(self.options(**fields)))
        return self.opened[-1]

    def options(self, **fields: Any) -> SyncOptions:
        values: dict[str, Any] = {
            "source": str(self.source),
            "destination": str(self.target),
            "state_db": str(self.state_db),
            "user_state": str(self.root / "user"),
            "runtime": str(self.root / "locks"),
            "lock_wait": 0.0,
            "policy": Policy(links=True, perms=True),
        }
        policy = {name: fields.pop(name) for name in Policy._fields if name in fields}
        values.update(fields)
        values["policy"] = values["policy"]._replace(**policy)
        return SyncOptions(**values)

    def run(self, *, stop: Stop | None = None, report: Report | None = None, **fields: Any) -> Result:
        self.report = RecordingReport()
        return run(self.options(**fields), stop or Stop(), report or self.report)

    def file(self, path: str, content: str = "content", mtime: int = OLD) -> Path:
        """A file of the source."""
        made = self.source / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(content)
        os.utime(made, ns=(mtime, mtime))
        return made

    def rows(self, directory: str = "") -> dict[str, KnownFile]:
        """What the state knows of the files of a directory."""
        state = State.open(str(self.state_db), NullReport())
        try:
            urls = canonical_url(str(self.source)), canonical_url(str(self.target))
            pair = state.pair(*urls, selection_hash(self.options()))
            number = state.digests(pair.id, [directory])[directory].id
            return {row.name: row for row in state.known_rows(number)}
        finally:
            state.close()


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Path to kind, mode, time and content of everything below `root`; directories have no time."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what: object = None
        if path.is_symlink():
            what = os.readlink(path)
        elif path.is_file():
            what = path.read_bytes()
        found[str(path.relative_to(root))] = (stat.S_IFMT(status.st_mode), status.st_mode, status.st_mtime_ns, what)
    return found


class Stopping(RecordingReport):
    """Requests a stop after so many files, as a signal would."""

    def __init__(self, stop: Stop, after: int, count: str = "copied_files") -> None:
        super().__init__()
        self.stop = stop
        self.after = after
        self.what = count

    def count(self, name: str, n: int = 1) -> None:
        super().count(name, n)
        if self.counts[self.what] >= self.after:
            self.stop.request("stopped by the test")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.chdir(tmp_path)
    made = Places(tmp_path)
    yield made
    for pair in made.opened:
        pair.source_store.close()
        pair.target_store.close()
