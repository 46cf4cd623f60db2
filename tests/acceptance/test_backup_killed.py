"""Whatever works on a repository is killed at random instants: it stays whole, and what was begun is gone on with."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tests.acceptance import program
from tests.acceptance.trouble import in_memory
from tests.acceptance.vaults import ENVIRONMENT, content, fill, runner

pytestmark = pytest.mark.slow

KILLED = {
    "backup": ["backup", "home"],
    "prune": ["prune", "--max-unused", "0%"],
    "forget": ["forget", "--keep-last", "2", "--prune"],
    "restore": ["restore", "latest", "back"],
    "password": ["repo", "password", "add", "--new-password-file", "new"],
    "rebuild": ["repo", "rebuild-index"],
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path / "desk") as desk:
        fill(desk / "home", 200, 100, 4000, 90_000, directories=20)
        (desk / "new").write_text("another word")
        yield desk


def test_nothing_is_lost_by_twenty_kills_of_every_command_that_writes(desk: Path) -> None:
    run = runner(desk, ENVIRONMENT)
    rng = random.Random(11)
    run("repo", "init")
    run("backup", "home")
    killed: Counter[str] = Counter()
    names = [*KILLED] * 4
    while killed.total() < 20 and names:
        name = names.pop(0)
        victim = rng.choice(sorted((desk / "home").rglob("f*")))
        victim.write_bytes(rng.randbytes(50_000))
        (desk / "home" / f"new{len(names)}").write_bytes(rng.randbytes(80_000))
        if name != "backup" and len(names) % 2:
            run("backup", "home")
        started = program.start(*KILLED[name], cwd=desk, env=ENVIRONMENT)
        try:
            started.wait(rng.uniform(0.2, 0.7))
        except TimeoutExpired:
            started.kill()
            killed[name] += 1
        started.communicate()
    assert killed.total() >= 6, killed
    assert "all is whole" in run("verify", "--read-data").stdout
    # A password that was being added opens it, or does not: the old one does in any case.
    listed = json.loads(run("repo", "password", "list", "--json").stdout)
    if len(listed) > 1:
        run("snapshots", env={"DUNLIN_PASSWORD": "another word"})
    run("backup", "home")
    run("restore", "latest", "back", "--delete")
    assert content(desk / "back") == content(desk / "home")
    run("forget", "--keep-last", "1", "--prune")
    run("prune", "--max-unused", "0%")
    assert "all is whole" in run("verify", "--read-data").stdout
    # Nothing of those that were killed is left: neither leases nor temporary files nor marks that nobody carries out.
    # What one was just writing into the repository has a name that counts for nothing, and goes after a day.
    left = [path for path in (desk / "vault").rglob("*") if path.is_file() and not path.name.startswith(".dunlin-")]
    assert not [path for path in left if "leases" in path.parts]
    assert not [path for path in left if path.parent.name == "marks" and path.suffix != ".gone"]
    assert not [path for path in desk.rglob("*") if path.name.startswith(".dunlin-") and "vault" not in path.parts]
