"""The window of the crawl, on real trees: limits that are far too small make a run slow and change nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin, start
from tests.acceptance.trouble import ended


def fill(root: Path, names: int, directories: int = 0, below: int = 0) -> None:
    root.mkdir()
    for n in range(names):
        (root / f"f{n:05}").write_text("x")
    for d in range(directories):
        (root / f"d{d:03}").mkdir()
        for n in range(below):
            (root / f"d{d:03}" / f"f{n:03}").write_text("y")


def tree(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def counts(text: str) -> dict[str, int]:
    return json.loads(text)["stats"]  # type: ignore[no-any-return]


def test_a_directory_of_more_names_than_may_be_held_is_compared_whole(tmp_path: Path, cwd: Path) -> None:
    """10,000 names on both sides, of which each side lacks some and some differ, beside many small directories."""
    fill(tmp_path / "source", 10_000, 60, 30)
    fill(tmp_path / "target", 10_000)
    for n in range(0, 10_000, 500):
        (tmp_path / "source" / f"f{n:05}").write_text("changed")
        (tmp_path / "target" / f"f{n + 1:05}").unlink()
        (tmp_path / "target" / f"extra{n}").write_text("gone")
    options = ("--max-active-files", "2000", "--delete-extras", "--compare", "size", "--json")
    ended = dunlin("sync", *options, tmp_path / "source", tmp_path / "target", cwd=cwd, expect=0)
    assert tree(tmp_path / "target") == tree(tmp_path / "source")
    found = counts(ended.stdout)
    assert (found["copied_files"], found["updated_files"]) == (20 + 20 + 60 * 30, 20)
    assert (found["deleted_files"], found["failed_files"]) == (20, 0)
    again = dunlin("sync", *options, tmp_path / "source", tmp_path / "target", cwd=cwd, expect=0)
    assert counts(again.stdout)["equal_files"] == 10_000 + 60 * 30
    assert counts(again.stdout)["copied_files"] == 0


@pytest.mark.parametrize("options", [("--movers", "2"), ("--movers", "2", "--threads", "4", "--scan-first")])
def test_one_directory_at_a_time_is_enough(tmp_path: Path, cwd: Path, options: tuple[str, ...]) -> None:
    fill(tmp_path / "source", 10, 150, 20)
    one = ("--crawl-parallelism", "1", "--max-active-files", "1", "--json", *options)
    ended = dunlin("sync", *one, tmp_path / "source", tmp_path / "target", cwd=cwd, expect=0)
    assert tree(tmp_path / "target") == tree(tmp_path / "source")
    assert counts(ended.stdout)["copied_files"] == 10 + 150 * 20
    told = "WARN  --max-active-files: 1 is less than a long directory takes, up to 4,000 names may be held"
    assert ended.stderr.count(told) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--crawl-parallelism", "0x"), r"crawl-parallelism"),
        (("--crawl-parallelism", "-1"), r"crawl-parallelism"),
        (("--max-active-files", "-5"), r"max-active-files"),
        (("--throttle-engage-threshold", "101"), r"101 is no whole number from 1 to 100"),
        (("--throttle-engage-threshold", "60", "--throttle-release-threshold", "70"), r"70 is not below .* 60"),
        (("--consistency-threshold", "0"), r"consistency-threshold"),
        (("--adjustment-cooldown", "soon"), r"'soon' is no duration"),
    ],
)
def test_bad_values_are_one_clear_line(tmp_path: Path, cwd: Path, options: tuple[str, ...], words: str) -> None:
    fill(tmp_path / "source", 1)
    ended = dunlin("sync", *options, tmp_path / "source", tmp_path / "target", cwd=cwd, expect=1)
    assert re.search(words, ended.stderr)
    assert not (tmp_path / "target").exists()


def test_the_file_says_it_as_well(tmp_path: Path, cwd: Path) -> None:
    fill(tmp_path / "source", 3)
    (cwd / "dunlin.yaml").write_text("crawl:\n  crawl_parallelism: 1\n  throttle_engage_threshold: 50%\n")
    dunlin("sync", tmp_path / "source", tmp_path / "target", cwd=cwd, expect=0)
    (cwd / "dunlin.yaml").write_text("crawl:\n  max_active_files: -2\n")
    ended = dunlin("sync", tmp_path / "source", tmp_path / "target", cwd=cwd, expect=1)
    assert "line 2: crawl.max_active_files" in ended.stderr


def threads(pid: int) -> list[int]:
    """How many threads each process has that another one has started."""
    found = []
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            found.append(int(re.findall(r"^Threads:\s+(\d+)$", status, re.M)[0]))
    except OSError:
        pass  # it has ended meanwhile
    return found


@pytest.mark.parametrize("options", [("--crawl-parallelism", "1"), ("-n", "--max-active-files", "2000"), ("-n",)])
@pytest.mark.parametrize("stopped", [False, True])
def test_threads_do_not_pile_up_over_empty_directories(
    tmp_path: Path, cwd: Path, options: tuple[str, ...], stopped: bool
) -> None:
    # So many that a look at the processes, and the signal, come in time even where this process stands still a while.
    count = 20_000 if stopped else 10_000
    fill(tmp_path / "source", 0, count)
    process = start("sync", "-aq", *options, tmp_path / "source", tmp_path / "target", cwd=cwd)
    began, asked, most = time.monotonic(), 0.0, 0
    while process.poll() is None:
        found = threads(process.pid)
        most = max([most, *found])
        if stopped and found and not asked:
            asked = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.01)
    code, told = ended(process)
    assert code == (130 if stopped else 0), told
    assert 0 < most <= 2 + 16, "one that reads, one that answers, and those that take units"
    # Deadlines are for a busy machine; on an idle one it is 2 s, and 0.3 s.
    assert time.monotonic() - (asked or began) < (10 if stopped else 60)
    if not stopped and "-n" not in options:
        assert sum(1 for _ in (tmp_path / "target").iterdir()) == count
