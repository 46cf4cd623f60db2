"""Names that are touched without being copied: their lines in audit log, report file and output, and their rows."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make, same


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """One name of every kind; `d/two` and `three` are second names of `one`."""
    made = Pair.make(tmp_path)
    make(made.source, {"one": b"several", "same": b"s", "mode": b"m", "d/e": b"e"})
    make(made.target, {"same": b"s", "mode": b"m", "old": b"o"})
    os.link(made.source / "one", made.source / "three")
    os.link(made.source / "one", made.source / "d/two")
    (made.source / "mode").chmod(0o600)
    (made.source / "link").symlink_to("one")
    os.mkfifo(made.source / "d/fifo")
    return made


OUTCOMES = {
    "one": "copied", "d/e": "copied", "mode": "metadata", "d/two": "linked", "three": "linked", "link": "created",
    "d/fifo": "created", "old": "deleted",
}  # fmt: skip


@pytest.mark.parametrize("movers", [(), ("--movers", "2", "--scan-first")])
def test_every_name_has_its_line(pair: Pair, movers: tuple[str, ...]) -> None:
    make(pair.source, {f"many/{n}": b"n" for n in range(400)} if movers else {})
    log, report = pair.root / "log", pair.root / "report"
    options = ("-aH", "--delete-extras", "--log-file", log, "--log-file-format=json", "--report-file", report, *movers)
    pair.sync(*options)
    same(pair.source, pair.target)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = {line["source"].partition("/source/")[2]: line for line in lines}
    # Which name of a file is copied is a matter of chance where movers share the work.
    linked = {path for path, line in found.items() if line["outcome"] == "linked"}
    first = ({"one", "three", "d/two"} - linked).pop()
    assert linked == {"one", "three", "d/two"} - {first}
    others = {path: word for path, word in OUTCOMES.items() if word != "linked" and path != "one"}
    told = {path: line["outcome"] for path, line in found.items() if "many/" not in path}
    assert told == others | {first: "copied"} | dict.fromkeys(linked, "linked")
    assert len(lines) == len(found)
    for path in linked:
        assert (found[path]["hash"], found[path]["size"]) == (found[first]["hash"], 7)
    outcomes = dict(reversed(line.split("\t")) for line in report.read_text().splitlines() if "many/" not in line)
    assert outcomes == told
    # A run without news adds nothing.
    pair.sync(*options)
    assert len(log.read_text().splitlines()) == len(lines)
    assert report.read_text() == ""


def test_verbose_names_them(pair: Pair) -> None:
    told = pair.sync("-aHv", "--delete-extras", "--movers", "1").stdout.splitlines()
    words = {tuple(line.split(" ", 1)) for line in told}
    for path in ("link", "d/fifo"):
        assert ("created", path) in words
    assert ("metadata", "mode") in words
    assert len([line for line in told if line.startswith("linked ")]) == 2


def rows(pair: Pair) -> dict[str, tuple[object, ...]]:
    database = sqlite3.connect(pair.cwd / ".sync-state.db")
    try:
        query = "SELECT path, status, size, hash_algorithm, hash, permissions FROM file_path"
        return {path: rest for path, *rest in map(tuple, database.execute(query))}
    finally:
        database.close()


def test_joined_names_have_their_rows(pair: Pair) -> None:
    pair.sync("-aH")
    known = rows(pair)
    assert known.keys() == {"one", "three", "d/two", "same", "mode", "d/e"}
    assert known["one"] == known["three"] == known["d/two"]
    assert known["one"][:3] == ["synced", 7, "blake3"]
    assert known["one"][3]
    # One more name, and one that the destination had joined already but the state did not know.
    os.link(pair.source / "one", pair.source / "four")
    (pair.cwd / ".sync-state.db").unlink()
    pair.sync("-aH")
    again = rows(pair)
    assert again.keys() == known.keys() | {"four"}
    assert {row[0] for row in again.values()} == {"synced"}


def test_a_name_that_could_not_be_joined_is_on_record(pair: Pair) -> None:
    pair.sync("-aH")
    (pair.target / "three").unlink()
    make(pair.target, {"three/full": b"x"})
    pair.sync("-aH", expect=23)
    assert rows(pair)["three"][0] == "failed"
    (pair.target / "three/full").unlink()
    pair.sync("-aH")
    assert rows(pair)["three"][0] == "synced"
    assert (pair.target / "three").samefile(pair.target / "one")


def test_check_has_no_state(tmp_path: Path) -> None:
    make(tmp_path / "a", {})
    for option in (("--state-db", "x"), ("--lock-wait", "1")):
        done = dunlin("check", *option, tmp_path / "a", tmp_path / "a", cwd=tmp_path, expect=1)
        assert option[0] in done.stderr
