"""glance: what `dunlin status` says of a run that goes on."""

from __future__ import annotations

from pathlib import Path

from dunlin.cli.glance import days, glance, machine, running
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import Metric, State
from dunlin.state.overview import Overview
from dunlin.state.runs import Life


def test_a_paused_run_moves_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    state = State.open(path, NullReport())
    pair = state.pair("file:///s", "file:///d", "all")
    run = state.begin_run(pair, {}, "boot", 1).id
    state.put_metric(run, Metric(files=80.5, bytes=1000.0))
    rates = []
    for paused in (False, True):
        state.update_run(run, Stats(pending_files=3), Life(paused=paused))
        with Overview.open(path, lambda run: True) as view:
            told = machine(glance(view, pair.id))["now"]
        rates.append((told["files_per_second"], told["bytes_per_second"]))
    state.close()
    assert rates == [(80.5, 1000.0), (0.0, 0.0)]


def test_nearly_all_is_not_all(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    state = State.open(path, NullReport())
    pair = state.pair("file:///s", "file:///d", "all")
    for failed in (*([0] * 299), 1):
        state.finish_run(state.begin_run(pair, {}, "boot", 1).id, "completed", Stats(failed_files=failed))
    run = state.begin_run(pair, {}, "boot", 1).id
    state.update_run(run, Stats(copied_files=9_990, pending_files=10), Life(listed=True))
    state.close()
    with Overview.open(path, lambda run: True) as view:
        found = glance(view, pair.id)
    assert found.now is not None
    assert running(found.now)[0].endswith("9,990 of 10,000 files, 0 B of 0 B (99%)")
    assert "99% without a failure" in days(found)[0]
