"""What the tests of repositories share: the program beside one of them, its commands, and what files hold."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil

from tests.acceptance.program import dunlin

Run = Callable[..., CompletedProcess[str]]

ENVIRONMENT = {"DUNLIN_REPO": "vault", "DUNLIN_PASSWORD": "correct horse", "DUNLIN_PROGRESS": "0"}

COMMANDS = {
    "backup": ["backup", "home"],
    "scan": ["scan", "home"],
    "snapshots": ["snapshots"],
    "ls": ["ls", "latest"],
    "find": ["find", "latest", "*"],
    "du": ["du", "latest"],
    "diff": ["diff", "latest", "latest"],
    "restore": ["restore", "latest", "back"],
    "verify": ["verify"],
    "forget": ["forget", "--keep-last", "1"],
    "prune": ["prune"],
    "stats": ["repo", "stats"],
    "rebuild-index": ["repo", "rebuild-index"],
    "password": ["repo", "password", "list"],
}
"""Every command on a repository that is there."""


def runner(desk: Path, environment: Mapping[str, str]) -> Run:
    """`run(*words, expect=0, env=None, **how)`: `dunlin` in that directory; see `program.dunlin`."""

    def run(*words: str | Path, expect: int = 0, env: Mapping[str, str] | None = None, **how: Any) -> Any:
        return dunlin(*words, cwd=desk, env={**environment, **(env or {})}, expect=expect, **how)

    return run


def fill(home: Path, count: int, *sizes: int, directories: int = 5, name: str = "f") -> None:
    """Make `count` files that nothing compresses, of these sizes in turn, in that many directories."""
    rng = random.Random(f"{count} {name}")
    for number in range(count):
        path = home / f"d{number % directories}" / f"{name}{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(sizes[number % len(sizes)]))


def leases(desk: Path) -> list[Path]:
    """The leases of the tenant `default`; what is just being written to become one is none yet."""
    return list((desk / "vault/default/leases").glob("[!.]*"))


def going_on(desk: Path) -> int:
    """How many backups have their share for themselves: of two that begin in one moment both may still let go of it."""
    count = 0
    for path in leases(desk):
        with suppress(FileNotFoundError):
            count += b'"parent"' in path.read_bytes()
    return count


def bytes_read(process: subprocess.Popen[bytes]) -> int:
    """What a process and those that it started have read so far, from files and whatever else."""
    first = psutil.Process(process.pid)
    total = 0
    for each in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += each.io_counters().read_chars
    return total


def content(root: Path) -> dict[str, bytes]:
    """Every file below it, by its path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
