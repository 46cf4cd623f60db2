"""The end of a run, for people and for programs."""

from __future__ import annotations

import json

import pytest

from dunlin.cli.summary import _REASONS, machine, people
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import SKIP_REASONS, Stats


def result(status: str = "completed", message: str = "", code: int = 0, **stats: float) -> Result:
    return Result(Stats(**{"seconds": 2.0, **stats}), status, message, code, run=7)  # type: ignore[arg-type]


def test_a_usual_run() -> None:
    end = result(
        copied_files=1234, copied_bytes=3 << 30, equal_files=5, scanned_files=1239, deleted_files=2, created_links=1
    )
    assert people(end, "sync", skipped={"link": 12, "special": 1}, total_bytes=30 << 30) == [
        "copied 1,234 files (3.0 GiB), 5 in sync, 1 link made, 2 deleted",
        "2.00s, 1.5 GiB/s, 617 files/s, 30.0 GiB copied in all runs",
        "12 symbolic links were skipped; -l copies them",
        "1 socket, FIFO or device was skipped; -D copies them",
    ]


def test_nothing_to_do() -> None:
    assert people(result(equal_files=10, scanned_files=10), "sync")[0] == "10 in sync, nothing to do"


def test_an_empty_source() -> None:
    assert people(result(), "sync")[0] == "no files found, nothing to do"
    assert people(result(created_links=1), "sync")[0] == "copied 0 files (0 B), 0 in sync, 1 link made"
    early = people(result("interrupted", "interrupted by SIGINT", 130), "sync")
    assert early == ["interrupted by SIGINT: copied 0 files (0 B), 0 in sync", "2.00s"]


def test_failures_are_named_and_the_rest_is_where_to_find() -> None:
    end = result("failed", "", 23, equal_files=1, failed_files=4, failed_directories=1)
    lines = people(
        end, "sync", failures=["cannot read a: no\nreally", "cannot read b: no"], status_hint="dunlin status --failed"
    )
    assert lines[0] == "failed: 1 in sync, 5 failed"
    assert lines[2:] == [
        "failed: cannot read a: no really",
        "failed: cannot read b: no",
        "5 failed; `dunlin status --failed` lists them with their reasons",
    ]
    assert not any("status" in line for line in people(end, "sync", status_hint=""))


def test_an_interrupted_run_says_why_and_what_is_left() -> None:
    end = result("interrupted", "interrupted by SIGINT", 130, copied_files=1, copied_bytes=5, pending_files=3)
    assert people(end, "sync")[0] == "interrupted by SIGINT: copied 1 file (5 B), 0 in sync, 3 still pending"
    end = result("interrupted", "stopped by `dunlin control stop`", 130)
    assert people(end, "sync")[0].startswith("interrupted (stopped by `dunlin control stop`): copied")


def test_a_dry_run() -> None:
    end = result(
        missing_files=3, differing_files=2, pending_bytes=1 << 20, extra_files=1, equal_files=9, scanned_files=14
    )
    assert people(end, "plan") == [
        "would copy 3 files, update 2, 1.0 MiB in all, delete 1, 9 in sync",
        "2.00s, 14 files compared",
    ]


@pytest.mark.parametrize(
    ("stats", "start"),
    [
        ({"equal_files": 4}, "in sync: 4 matched, 0 differ, 0 missing at the destination, 0 missing at the source"),
        ({"differing_files": 1}, "different: 0 matched, 1 differ"),
        ({"missing_directories": 1}, "different: 0 matched, 0 differ, 1 missing at the destination"),
        ({"extra_files": 1}, "different: "),
        ({"failed_files": 2}, "not fully compared: "),
    ],
)
def test_check(stats: dict[str, float], start: str) -> None:
    assert people(result(**stats), "check")[0].startswith(start)


def test_vanished_files() -> None:
    assert people(result(vanished_files=1), "sync")[-1] == "1 file vanished before being read"


def test_reasons_are_words_of_the_model() -> None:
    assert set(_REASONS) <= set(SKIP_REASONS)


def test_the_object_for_programs() -> None:
    end = result("failed", "full", 2, copied_files=4, copied_bytes=100, scanned_files=10)
    found = json.loads(json.dumps(machine(end, SyncOptions("s\udcff", "d"), skipped={"link": 1})))
    assert found["stats"]["copied_files"] == 4
    assert set(found["stats"]) == set(Stats.__dataclass_fields__)
    del found["stats"]
    assert found == {
        "mode": "sync", "status": "failed", "exit_code": 2, "message": "full", "run": 7, "continued": False,
        "source": "s\udcff", "destination": "d", "seconds": 2.0, "skipped": {"link": 1},
        "rates": {"bytes_per_second": 50.0, "files_per_second": 2.0, "scanned_per_second": 5.0},
    }  # fmt: skip
