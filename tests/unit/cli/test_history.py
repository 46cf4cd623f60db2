"""`dunlin history` over state files with made-up runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from dunlin.cli.history import table
from dunlin.model import Stats
from tests.unit.web.made import HOSTILE, Made, begin, empty, long_run

Run = Callable[..., Result]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.chdir(tmp_path)
    found = empty(tmp_path / ".sync-state.db")
    yield found
    found.state.close()


def one_line(result: Result, *words: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    for word in words:
        assert word in line


def test_no_runs(dunlin: Run, made: Made) -> None:
    assert dunlin("history").stdout == "no runs yet\n"
    assert json.loads(dunlin("history", "--json").stdout) == {"runs": []}
    one_line(dunlin("history", "latest"), "no run is on record", "`dunlin sync`")


def test_the_list(dunlin: Run, made: Made) -> None:
    for n, counts in enumerate(({"copied_files": 12_345, "copied_bytes": 2048}, {"failed_files": 3}, {})):
        run = begin(made, n * 100)
        made.at(n * 100 + 75)
        made.state.finish_run(run.id, "failed" if n == 1 else "completed", Stats(**counts))
    pair, heads, newest, failed, oldest = dunlin("history").stdout.splitlines()
    assert pair == "file:///srv/photos -> s3://archive/photos"
    assert heads.split() == ["run", "begun", "status", "files", "bytes", "time", "failed"]
    assert newest.split()[0] == "3"
    assert newest.endswith("completed       0      0 B  1m15s       -")
    assert failed.split()[3:] == ["failed", "0", "0", "B", "1m15s", "3"]
    assert oldest.split()[3:] == ["completed", "12,345", "2.0", "KiB", "1m15s", "-"]
    short = dunlin("history", "--limit", "2").stdout
    assert short.endswith("there are older ones; --limit N shows more\n")
    assert len(short.splitlines()) == 5
    found = json.loads(dunlin("history", "--json").stdout)["runs"]
    assert [(run["id"], run["status"], run["seconds"]) for run in found] == [
        (3, "completed", pytest.approx(75, abs=0.1)),
        (2, "failed", pytest.approx(75, abs=0.1)),
        (1, "completed", pytest.approx(75, abs=0.1)),
    ]
    assert found[0]["source"] == "file:///srv/photos"


def test_runs_of_several_pairs_name_theirs(dunlin: Run, made: Made) -> None:
    begin(made, 0)
    begin(made, 10, source="file:///other")
    lines = dunlin("history").stdout.splitlines()
    assert lines[0].split()[0] == "run"
    assert lines[1].endswith("file:///other -> s3://archive/photos")
    assert lines[2].endswith("file:///srv/photos -> s3://archive/photos")


def test_a_run_that_was_killed_is_called_what_status_calls_it(dunlin: Run, made: Made) -> None:
    run = begin(made, 0)  # by a process that is long gone
    assert dunlin("history").stdout.splitlines()[-1].split()[3] == "interrupted"
    assert json.loads(dunlin("history", "--json").stdout)["runs"][0]["status"] == "interrupted"
    assert json.loads(dunlin("history", str(run.id), "--json").stdout)["status"] == "interrupted"
    assert json.loads(dunlin("status", "--json").stdout)["pairs"][0]["runs"][0]["status"] == "interrupted"


def test_the_text_of_a_run(dunlin: Run, made: Made) -> None:
    run = long_run(made, HOSTILE)
    for words in (("latest",), (str(run.id),)):
        text = dunlin("history", *words).stdout
        assert text.startswith(f"Run {run.id}: Done, but 8 files failed\n783 files copied (27.8 GiB)")
        for expected in (
            "\n  throttled (cpu 91%): 6m19s to 7m29s\n", "at most 87.7 MiB/s", "\n  auth: 8\n",
            "  2m01s  retry    2018/04/IMG_0414.jpg: connection reset by peer", "2019/raw/surrogate\\xff\\x80",
            "1m01s  2023/12/movie.mov (1 file, 2.1 GiB)", " 4.0 GiB  2023 (52 files)",
        ):  # fmt: skip
            assert expected in text
        assert not any(ord(char) < 32 and char != "\n" for char in text)
        text.encode("utf-8")


def test_json_of_a_run(dunlin: Run, made: Made) -> None:
    run = long_run(made, HOSTILE)
    found = json.loads(dunlin("history", "latest", "--json").stdout)
    assert found["id"] == run.id
    assert found["verdict"]["level"] == "fair"
    assert found["stats"]["copied_files"] == 783
    assert len(found["points"]) == 120
    assert found["stretches"][0]["word"] == "paused"
    assert {each["path"] for each in found["failed"]} == {f"2019/raw/{name}" for name in HOSTILE}
    assert sum(each["files"] for each in found["sizes"]) == 471
    assert len(found["earlier"]) == 12


def test_the_page(dunlin: Run, made: Made, tmp_path: Path) -> None:
    run = long_run(made)
    result = dunlin("history", "--html", "page.html")
    assert result.stdout == "wrote page.html; open it with a browser\n"
    first = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<title>Run {run.id}: " in first
    assert dunlin("history", "1", "--html", "page.html").exit_code == 0
    assert "<title>Run 1: " in (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = dunlin("history", "1", "--html", "-").stdout
    assert shown.startswith("<!doctype html>")
    assert shown.endswith("</html>\n")


def test_another_file_is_not_replaced(dunlin: Run, made: Made, tmp_path: Path) -> None:
    begin(made, 0)
    (tmp_path / "mine.html").write_text("mine")
    one_line(dunlin("history", "--html", "mine.html"), "mine.html is there already", "--force")
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert dunlin("history", "--html", "mine.html", "--force").exit_code == 0
    assert (tmp_path / "mine.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_state_file_is_never_replaced_unasked(dunlin: Run, made: Made, tmp_path: Path) -> None:
    begin(made, 0)
    before = (tmp_path / ".sync-state.db").read_bytes()
    one_line(dunlin("history", "--html", ".sync-state.db"), "is there already")
    assert (tmp_path / ".sync-state.db").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["77"], ["cannot show run 77", "`dunlin history` lists"]),
        (["0"], ["0 is no run"]),
        (["-1"], ["no option -1"]),
        (["last\x1b"], ["last\\x1b is no run", "latest"]),
        (["²"], ["is no run"]),
        (["9" * 30], ["is no run"]),
        (["latest", "--html", "nowhere/page.html"], ["cannot write the page nowhere/page.html", "no such directory"]),
        (["--html", "."], ["it is a directory"]),
        (["--html", ""], ["--html needs the name of a file"]),
        (["--html", "x", "--json"], ["--html and --json"]),
        (["latest", "--limit", "3"], ["--limit is for the list"]),
        (["--limit", "0"], ["'0' is no whole number"]),
    ],
)
def test_bad_input_is_one_line(dunlin: Run, made: Made, arguments: list[str], words: list[str], tmp_path: Path) -> None:
    begin(made, 0)
    there = sorted(os.listdir(tmp_path))
    one_line(dunlin("history", *arguments), *words)
    assert sorted(os.listdir(tmp_path)) == there


def test_no_state_file(dunlin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one_line(dunlin("history", "--html", "x.html"), "cannot find the state file")
    assert os.listdir(tmp_path) == []


def test_columns_line_up() -> None:
    assert table(("a", "bb"), [("xxx", "1"), ("y", "22222")], left=(0,)) == ["a       bb", "xxx      1", "y    22222"]
