"""Many directories of a tree fail: the run ends, its counts are exact, and everything else arrives.

A hundred of a thousand here; a thousand of ten thousand is a row of the benchmarks (`bench/rows/`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED
from tests.acceptance.trees import Pair, names, same, temporaries
from tests.acceptance.trouble import ask

DIRECTORIES = 1_000
SHUT = 50
"""Directories of the source that may not be read, and of the destination that may be written to and not listed."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def planted(pair: Pair) -> tuple[list[Path], list[Path]]:
    """A thousand directories with two files and a sub-directory each; those that are shut, at the source and there."""
    here, there = [], []
    for n in range(DIRECTORIES):
        directory = pair.source / f"d{n:04}"
        (directory / "sub").mkdir(parents=True)
        for name in ("a", "b", "sub/c"):
            (directory / name).write_bytes(b"%d" % n)
        if n % (DIRECTORIES // SHUT) == 3:
            here.append(directory)
        elif n % (DIRECTORIES // SHUT) == 7:
            there.append(pair.target / directory.name)
    for directory in there:
        directory.mkdir(parents=True)
        (directory / "old").write_bytes(b"old")
        (directory / "a").write_bytes(b"old")
        directory.chmod(0o300)
    for directory in here:
        directory.chmod(0o000)
    return here, there


@pytest.mark.root
def test_a_hundred_of_a_thousand_directories_fail_and_all_others_arrive(pair: Pair) -> None:
    here, there = planted(pair)
    try:
        done = pair.sync("-a", "--delete-extras", "--json", prefix=UNPRIVILEGED, expect=23, timeout=120)
    finally:
        for directory in here + there:
            directory.chmod(0o755)
    stats = json.loads(done.stdout)["stats"]
    whole = DIRECTORIES - 2 * SHUT
    assert stats["failed_directories"] == 2 * SHUT
    assert stats["source_errors"] == SHUT
    assert stats["copied_files"] == 3 * whole + SHUT  # what lies below one that the destination does not list
    assert stats["failed_files"] == stats["deleted_files"] == stats["extra_files"] == 0
    assert stats["scanned_files"] == 3 * (DIRECTORIES - SHUT)
    failed = {directory.name for directory in here + there}
    arrived = {f"d{n:04}/{name}" for n in range(DIRECTORIES) for name in ("a", "b", "sub/c")}
    wanted = {path for path in arrived if path.partition("/")[0] not in failed}
    wanted |= {f"{directory.name}/{name}" for directory in there for name in ("sub/c", "a", "old")}
    assert {path for path in names(pair.target) if (pair.target / path).is_file()} == wanted
    assert all((directory / "a").read_bytes() == b"old" for directory in there)  # nothing was decided about it
    told = [line for line in done.stderr.splitlines() if "Traversal failed: " in line]
    assert {line.partition("Traversal failed: ")[2].partition(":")[0] for line in told} == failed
    assert len(told) == 2 * SHUT
    assert f"{2 * SHUT} errors: {2 * SHUT} denied (" in done.stderr
    assert ask(pair, "SELECT count(*) FROM event WHERE name = 'directory.failed'") == [(2 * SHUT,)]
    assert not temporaries(pair.target)
    pair.sync("-a", "--delete-extras", prefix=UNPRIVILEGED)
    same(pair.source, pair.target)


@pytest.mark.root
def test_news_of_one_run_does_not_push_out_that_of_others(pair: Pair) -> None:
    """More failures than one run puts on record in detail: the log has all, the state so many and the sum."""
    (pair.source / "one").write_bytes(b"1")
    many = 1_300
    for n in range(many):
        (pair.source / f"f{n:04}").write_bytes(b"x")
        (pair.source / f"f{n:04}").chmod(0o000)
    done = pair.sync("--json", prefix=UNPRIVILEGED, expect=23, timeout=120)
    assert json.loads(done.stdout)["stats"]["failed_files"] == many
    assert sum("Failed to copy file" in line for line in done.stderr.splitlines()) == many
    assert ask(pair, "SELECT count(*) FROM event WHERE name = 'file.failed'") == [(1_000,)]
    [(message,)] = ask(pair, "SELECT message FROM event WHERE name = 'errors.counted'")
    assert message.startswith("1,300 errors: 1,300 denied (f")
    assert ask(pair, "SELECT count(*) FROM file WHERE status = 2") == [(many,)]  # what `status --failed` lists
    for name in os.listdir(pair.source):
        (pair.source / name).chmod(0o644)
    done = pair.sync("--json")
    assert json.loads(done.stdout)["stats"]["copied_files"] == many
