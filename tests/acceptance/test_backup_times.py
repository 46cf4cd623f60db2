"""Times of other centuries, from one directory through a repository into another, by the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.acceptance import program

ENVIRONMENT = {"DUNLIN_PASSWORD": "word", "DUNLIN_REPO": "vault"}
YEAR = 31_556_952 * 10**9
YEARS = (-8, 1, 1905, 1969, 2107, 2263, 2400, 9_999, 20_000)


def test_files_of_any_year_are_listed_and_restored(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        return program.dunlin(*words, cwd=tmp_path, env=ENVIRONMENT, expect=0).stdout

    for year in YEARS:
        path = tmp_path / f"home/of {year}/file"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        for each in (path, path.parent):
            os.utime(each, ns=(0, (year - 1970) * YEAR + 123_456_789))
    # What the file system made of it, if it does not reach so far.
    held = {path.relative_to(tmp_path / "home"): path.stat().st_mtime_ns for path in (tmp_path / "home").rglob("*")}
    run("repo", "init", "vault")
    run("backup", "home")
    assert f"{len(held) // 2} files" in run("backup", "home")
    listed = [json.loads(line) for line in run("ls", "-R", "--json", "latest").splitlines()]
    assert {Path(each["path"]): each["mtime"] // 100 for each in listed} == {
        path: time // 100 for path, time in held.items()
    }
    assert len(run("ls", "-lR", "latest").splitlines()) == len(held)
    run("restore", "latest", "back")
    back = tmp_path / "back"
    assert {path.relative_to(back): path.stat().st_mtime_ns for path in back.rglob("*")} == held
    assert run("restore", "latest", "back").startswith(f"{len(held) // 2} in sync, nothing to do")
