"""`--profile FILE`: what `python -m pstats` makes of it, for local trees and object stores, sync and check."""

from __future__ import annotations

import json
import pstats
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def calls(path: Path, *names: str) -> list[int]:
    stats: Any = pstats.Stats(str(path))
    return [sum(row[1] for (_, _, function), row in stats.stats.items() if function == name) for name in names]


def test_pstats_reads_it_and_every_process_is_in_it(pair: Pair) -> None:
    make(pair.source, {f"d{n}/f{k}": b"x" for n in range(60) for k in range(15)})
    told = dunlin("sync", "--profile", "run.prof", "--movers=2", "--log-format=json", pair.source, pair.target,
                  cwd=pair.cwd, expect=0).stderr  # fmt: skip
    written = [json.loads(line) for line in told.splitlines() if '"profile.' in line]
    assert [(line["event"], line["path"], line["processes"]) for line in written] == [
        ("profile.written", "run.prof", 3)
    ]
    path = pair.cwd / "run.prof"
    assert calls(path, "crawl", "scan") == [1, 61], "the loop once, and every directory wherever it was done"
    shown = subprocess.run(
        [sys.executable, "-m", "pstats", path], input="sort tottime\nstats 5\n", text=True, capture_output=True,
        check=True,
    )  # fmt: skip
    assert "function calls" in shown.stdout
    assert list(pair.cwd.glob("*.unfinished")) == []


def test_the_most_expensive_functions_are_named_with_v(pair: Pair) -> None:
    make(pair.source, {"a": b"x"})
    path = pair.cwd / "run.prof"
    told = [
        dunlin("sync", *options, "--profile", path, pair.source, pair.target, cwd=pair.cwd, expect=0).stderr
        for options in ((), ("-v",))
    ]
    assert ["INFO  Profile written to" in each for each in told] == [True, True]
    assert [each.count("s own ") for each in told] == [0, 10]


def test_hands_that_carry_objects_are_seen(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    make(pair.source, {f"f{n}": b"x" for n in range(20)})
    places, env = words(pair.source, bucket)
    dunlin("sync", "--profile", "up.prof", *places, cwd=pair.cwd, env=env, expect=0)
    assert calls(pair.cwd / "up.prof", "crawl", "carry")[0] == 1
    assert calls(pair.cwd / "up.prof", "carry")[0] > 1


def test_check_has_it_too_and_a_file_or_variable_may_ask_for_it(pair: Pair) -> None:
    make(pair.source, {"a": b"x"})
    make(pair.target, {"a": b"x"})
    dunlin("check", "--compare", "size", "--profile", "check.prof", pair.source, pair.target, cwd=pair.cwd, expect=0)
    assert calls(pair.cwd / "check.prof", "crawl") == [1]
    (pair.cwd / "dunlin.yaml").write_text("sync:\n  profile: file.prof\n")
    dunlin("sync", pair.source, pair.target, cwd=pair.cwd, expect=0)
    assert calls(pair.cwd / "file.prof", "crawl") == [1]
    env = {"DUNLIN_PROFILE": ""}
    told = dunlin("sync", pair.source, pair.target, cwd=pair.cwd, env=env, expect=0).stderr
    assert "rofile" not in told, "off"


def test_a_place_where_nothing_can_be_written_is_one_line_and_nothing_is_done(pair: Pair) -> None:
    make(pair.source, {"a": b"x"})
    for path, reason in (("no/run.prof", "No such file or directory"), (str(pair.cwd), "s a directory")):
        done = dunlin("sync", "-q", "--profile", path, pair.source, pair.cwd / "new", cwd=pair.cwd, expect=1)
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"dunlin: cannot write the profile {path}: ")
        assert reason in line
    assert not (pair.cwd / "new").exists()
    assert not (pair.cwd / ".sync-state.db").exists()


def test_the_profile_of_a_run_that_could_not_begin_is_there(pair: Pair) -> None:
    done = dunlin("sync", "--profile", "run.prof", pair.source / "no", pair.target, cwd=pair.cwd, expect=1)
    assert "Profile written to run.prof" in done.stderr
    assert calls(pair.cwd / "run.prof", "open_pair") == [1]
