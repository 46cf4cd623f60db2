"""The files that a run itself writes, state, logs, reports: whatever the other side has, they stay what they are."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.clouds import KINDS, Cloud, cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair

STATE = ".sync-state.db"
BESIDE = [f"{STATE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
LOGS = ["audit.log", "audit.log.1", "report.txt"]
OPTIONS = ("--log-file", "sub/audit.log", "--report-file", "sub/report.txt")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def namesakes() -> dict[str, bytes]:
    """Somebody's files with the names of ours, and one that is nobody's."""
    content = {name: f"somebody's {name}".encode() for name in BESIDE}
    content |= {f"sub/{name}": b"somebody's" for name in LOGS}
    return content | {"plain": b"1", "deep/.sync-state.db": b"2"}


def fill(root: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def runs(directory: Path) -> int:
    with closing(sqlite3.connect(directory / STATE)) as state:
        return int(state.execute("SELECT count(*) FROM run").fetchone()[0])


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if "own file" in line]


@pytest.mark.parametrize("source", ["local", *KINDS])
@pytest.mark.parametrize("name", ["local", "link"])
def test_what_lies_in_the_destination_is_not_overwritten(
    pair: Pair, request: pytest.FixtureRequest, source: str, name: str
) -> None:
    here: Path | Cloud = pair.source
    if source == "local":
        fill(pair.source, namesakes())
    else:
        here = cloud(request, source)
        here.put(namesakes())
    (pair.cwd / "sub").mkdir()
    there: Path = Path(".")
    if name == "link":
        there = pair.root / "link"
        there.symlink_to(pair.cwd)
    places, env = words(here, there)
    options = ("--delete-extras", "--accept-source", *OPTIONS)
    for number in (1, 2):
        done = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=0)
        assert runs(pair.cwd) == number
        told = lines(done.stderr)
        assert len(told) == 2, "one line for each directory"
        assert all(word in told[0] for word in BESIDE)
        assert all(word in told[1] for word in LOGS)
    assert (pair.cwd / "plain").read_bytes() == b"1"
    assert (pair.cwd / "deep" / STATE).read_bytes() == b"2"
    assert "copied" in (pair.cwd / "sub" / "audit.log").read_text()
    places, env = words(here, there)
    done = dunlin("check", "--json", *places, cwd=pair.cwd, env=env, expect=None)
    counts = json.loads(done.stdout)["stats"]
    # Of the logs a check knows nothing: only the state is its own, too.
    assert (counts["missing_files"], counts["equal_files"]) == (1, 2)


def test_a_link_to_the_state_is_not_replaced(pair: Pair) -> None:
    fill(pair.source, {STATE: b"somebody's"})
    (pair.root / "elsewhere.db").touch()
    (pair.cwd / STATE).symlink_to(pair.root / "elsewhere.db")
    dunlin("sync", pair.source, ".", cwd=pair.cwd, expect=0)
    assert (pair.cwd / STATE).is_symlink()
    assert (pair.root / "elsewhere.db").stat().st_size > 4096


def test_what_lies_in_the_source_is_not_taken_for_what_the_destination_has(pair: Pair) -> None:
    fill(pair.cwd, {"plain": b"1"})
    fill(pair.target, {STATE: b"somebody's"})
    for _ in range(2):
        done = dunlin("sync", "--delete-extras", ".", pair.target, cwd=pair.cwd, expect=0)
        assert len(lines(done.stderr)) == 1
    assert sorted(path.name for path in pair.target.iterdir()) == [STATE, "plain"]
    assert (pair.target / STATE).read_bytes() == b"somebody's"
    (pair.target / STATE).unlink()
    assert lines(dunlin("sync", ".", pair.target, cwd=pair.cwd, expect=0).stderr) == []
    assert sorted(path.name for path in pair.target.iterdir()) == ["plain"]


def test_a_check_knows_the_state_of_its_directory(pair: Pair) -> None:
    fill(pair.source, {"plain": b"1"})
    dunlin("sync", pair.source, ".", cwd=pair.cwd, expect=0)
    dunlin("check", pair.source, ".", cwd=pair.cwd, expect=0)
    dunlin("sync", "-n", "--delete-extras", pair.source, ".", cwd=pair.cwd, expect=0)
    assert json.loads(
        dunlin("sync", "-n", "--json", "--delete-extras", pair.source, ".", cwd=pair.cwd, expect=0).stdout
    )["stats"]["extra_files"] == 0
