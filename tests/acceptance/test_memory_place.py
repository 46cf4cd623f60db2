"""`memory://NAME`, a tree in the process that runs the command, for trials."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make

FILES = 1200
"""More than are moved before movers would be started: what they wrote would be in their memory."""


def test_what_goes_into_memory_comes_out_again(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    content = {f"d{n % 7}/f{n}": f"{n}".encode() for n in range(FILES)}
    make(pair.source, content)
    jobs = [
        {"source": str(pair.source), "destination": "memory://trial"},
        {"source": "memory://trial", "destination": str(pair.target)},
    ]
    (pair.cwd / "dunlin.yaml").write_text(json.dumps({"jobs": jobs}))
    done = dunlin("sync", "--json", "--movers=3", cwd=pair.cwd, expect=0)
    assert [json.loads(line)["stats"]["copied_files"] for line in done.stdout.splitlines()] == [FILES, FILES]
    assert {str(p.relative_to(pair.target)): p.read_bytes() for p in pair.target.rglob("*") if p.is_file()} == content


def test_a_trial_leaves_nothing_and_is_checked_like_any_place(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    make(pair.source, {"a": b"1"})
    dunlin("sync", pair.source, "memory://trial", cwd=pair.cwd, expect=0)
    done = dunlin("check", pair.source, "memory://trial", cwd=pair.cwd, expect=3)
    assert done.stdout.splitlines()[0] == "missing a"
    assert [path.name for path in pair.cwd.iterdir()] == [".sync-state.db"]
