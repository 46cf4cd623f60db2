"""What is loaded to open a repository: little, since a password is tried while the rest is loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest


def loaded(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "lacks"),
    [
        ("dunlin.jobs.repo", {"numpy", "flatbuffers", "_awscrt", "dunlin.backup.prune", "dunlin.workers.context"}),
        ("dunlin.jobs.backup", {"_awscrt", "apsw", "dunlin.state", "dunlin.compare", "dunlin.backup.prune"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed_yet(module: str, lacks: set[str]) -> None:
    assert [name for name in lacks if find_spec(name) is None] == []  # or their absence would show nothing
    found = loaded(module)
    assert module in found
    assert not lacks & found
