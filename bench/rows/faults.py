"""A row about servers that fail: everything arrives all the same, and what that costs in requests is counted.

The proxy of the tests (`tests/servers/faults.py`) stands between the program and `rclone serve s3`. It works in this
process, so times say nothing about speed; the requests, and whether every byte is right, are what is measured.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from bench import peers
from bench.context import Context, alternate
from bench.measure import remove
from bench.results import Check, Row, at_most
from bench.rows.objects import empty, home, kept_in, programs
from bench.trees import Tree
from tests.servers.faults import Proxy, Rules, faults
from tests.servers.rclone import rclone_s3

RULES = Rules(resets=0.05, busy=0.05, truncated=0.01, retry_after_s=1, latency_s=0.01)
MIB = 1 << 20


def sizes(count: int) -> tuple[int, ...]:
    """Small files, some of several requests, one of many parts."""
    chance = random.Random(3)
    return (*(chance.randrange(1, 40_000) for _ in range(count)), 12 * MIB, 40 * MIB)


def through_faults(context: Context) -> Row:
    """Upload and download through resets, refusals, truncated answers and latency."""
    count = context.fewer(2000, 100)
    tree = Tree(f"faulty-{count}", 20, 0, sizes=sizes(count))
    row = Row("faults", f"{tree.count:,} files through a proxy: 5 % resets, 5 % 503, 1 % truncated, 10 ms latency")
    source, copy = context.tree(tree), context.work / "copy"
    seen: dict[str, list[Counter[str]]] = {}
    wrong: list[int] = []
    with kept_in(context.work), rclone_s3() as server, faults(server.url, RULES) as proxy:
        client, bucket = server.client(), server.bucket()
        # Signatures cover the address: programs are given the proxy's.
        login = peers.s3_login(server.at(proxy.origin), home(context))
        url = f"s3://{bucket}/p"
        commands = {
            "dunlin up": context.objects(source, url, "--s3-endpoint", proxy.origin),
            "dunlin down": context.objects(url, copy, "--s3-endpoint", proxy.origin),
        }

        def ready() -> None:
            proxy.forget()
            remove(copy)

        def after(name: str) -> None:
            seen.setdefault(name, []).append(counted(proxy))
            if name == "dunlin down":
                wrong.append(differing(source, copy))
                empty(client, bucket)

        calls = programs(context, commands, login, ready)
        for _ in range(context.pairs):
            # The download needs what the upload made, so they are not reversed.
            alternate(context, row, calls, pairs=1, after=after)
        client.close()
    for name in row.runs:
        told = [counts["requests"] for counts in seen[name]]
        row.checks.append(at_most(f"{name}: requests for each file", max(told) / tree.count, 1.5, ""))
        for what in ("requests", "reset", "busy", "truncated"):
            middle = sorted(counts[what] for counts in seen[name])[len(told) // 2]
            row.checks.append(Check(f"{name}: {what}", middle, ""))
    if wrong:
        row.checks.append(at_most("files lost, too many or different in any byte or their time", max(wrong), 0, ""))
    row.notes += [
        "503 comes with Retry-After: 1; the proxy works in Python on the same cores, so times are no speeds",
        peers.versions("rclone"),
    ]  # fmt: skip
    return row


def counted(proxy: Proxy) -> Counter[str]:
    """All requests, and those that met a fault, by its name."""
    counts = Counter(request.fault for request in proxy.seen() if request.fault)
    counts["requests"] = proxy.count()
    return counts


def differing(source: Path, copy: Path) -> int:
    """How many files are only on one side, or differ in a byte or in their time."""
    names = {
        path.relative_to(root) for root in (source, copy) for path in root.rglob("*") if path.is_file()
    }  # fmt: skip
    return sum(not _alike(source / name, copy / name) for name in names)


def _alike(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_mtime_ns == other.stat().st_mtime_ns and one.read_bytes() == other.read_bytes()
    except FileNotFoundError:
        return False
