"""Each directory is made once, and known from then on: counted as system calls of the whole program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make

DIRECTORIES, FILES = 12, 5
CONTENT = {f"a/b{d}/c/f{n}": f"{d} {n}".encode() for d in range(DIRECTORIES) for n in range(FILES)}
BELOW = 1 + 2 * DIRECTORIES
"""a, and b and c for each."""


def made(pair: Pair, env: dict[str, str], *arguments: str) -> list[str]:
    """The names that a run asked the system to make a directory of, below the destination."""
    log = pair.cwd.parent / "calls"
    trace = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=mkdir,mkdirat")
    dunlin("sync", *arguments, cwd=pair.cwd, env=env, prefix=trace, expect=0, timeout=120)
    calls = [line for line in log.read_text().splitlines() if re.search(r"mkdir(at)?\(", line)]
    names = [re.search(r'"((?:[^"\\]|\\.)*)"', line) for line in calls]
    return [name[1] for name in names if name and re.fullmatch(r"a|b\d+|c", name[1].rpartition("/")[2])]


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_no_directory_is_made_twice(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    pair = Pair.make(tmp_path)
    env: dict[str, str] = {}
    if kind == "disk":
        make(pair.source, CONTENT)
        places = [str(pair.source), str(pair.target)]
    else:
        bucket = cloud(request, kind)
        bucket.put(CONTENT)
        places, given = words(bucket, pair.target)
        env = dict(given)
    first = made(pair, env, *places)
    assert len(first) == BELOW, first
    assert {str(p.relative_to(pair.target)): p.read_bytes() for p in pair.target.rglob("*") if p.is_file()} == CONTENT
    assert made(pair, env, *places) == []
