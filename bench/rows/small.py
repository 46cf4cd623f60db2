"""Rows about starting up, and the table of the checksums."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
from pathlib import Path

from bench.context import CHECKOUT, Context, alternate, environment, rsync
from bench.measure import Failed, remove
from bench.results import Check, Row, at_most
from bench.rows.copies import copying
from bench.trees import Tree, check_copy


def ten(context: Context) -> Row:
    """A run that has almost nothing to do shows what starting costs."""
    row = Row("ten", "10 files; --version and --help")
    source, copy = context.tree(Tree("ten", 0, 10)), context.work / "copy"

    def after(name: str) -> None:
        if "--" not in name:
            check_copy(source, copy)
            remove(copy)

    ways = {"": shlex.split(context.dunlin), " by python -m": [sys.executable, "-m", "dunlin"]}
    programs = {
        "dunlin": copying(context, context.sync(), source, copy),
        "rsync": copying(context, rsync(), source, copy),
    }
    for way, command in ways.items():
        for flag in ("--version", "--help"):
            programs[f"dunlin {flag}{way}"] = functools.partial(context.run, [*command, flag])
    alternate(context, row, programs, pairs=max(context.pairs, 5) * 2, after=after)
    for name in row.runs:
        if name.startswith("dunlin"):
            bar = 500 if name == "dunlin" else 150
            row.checks.append(at_most(f"{name}: whole process", row.median(name) * 1000, bar, "ms"))
    return row


def hashes(context: Context) -> Row:
    """Throughput of every algorithm, from pytest-benchmark."""
    row = Row("hashes", "throughput of every checksum, one core")
    output = context.work / "hashes.json"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "bench/test_hashes.py",
        "--benchmark-only", f"--benchmark-json={output}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stdout[-2000:])
    row.checks = hash_checks(output)
    return row


def hash_checks(output: Path) -> list[Check]:
    """One figure per algorithm and group."""
    found = json.loads(output.read_text())["benchmarks"]
    return [
        Check(f"{test['params']['name']}, {test['group']}", test["extra_info"]["GB_per_s"], "GB/s") for test in found
    ]
