"""The row of a folder that is published: the request, the first upload, memory while it is walked."""

from __future__ import annotations

import shlex
import statistics
import sys

from bench.context import Context, alternate
from bench.measure import Failed, Measured, remove
from bench.results import Check, Row, at_most
from bench.trees import Tree

GROWTH_MB = 40.0
"""What the service may grow by while it walks: buffers, and a cache of 8 MB for each connection to queue and ledger."""
LATER_MB = 8.0
"""What it may grow by in the second half of the walk: nothing of it grows with the folder."""


def publish(context: Context) -> Row:
    """A folder through ``POST /publish`` of ``dunlin serve``, with nothing but its own queue and ledger in files."""
    count = context.fewer(100_000, 2_000)
    row = Row(
        "publish", f"POST /publish of a folder of {count:,} files of ~4 KB, to a directory; queue and ledger in files"
    )
    folder = context.tree(Tree(f"publish-{count}", count // 100, 100))
    found: list[dict[str, float]] = []
    works = [context.work / f"service{n}" for n in range(context.pairs)]

    def call() -> Measured:
        work = works[len(found)]
        flow = [sys.executable, "-m", "bench.publish_flow", str(folder), str(work)]
        return context.run([*flow, *shlex.split(context.dunlin)])

    def after(name: str) -> None:
        told = context.told()
        if told["uploaded"] != count or told["failed"]:
            raise Failed(f"{told['uploaded']} of {count} files were uploaded")
        remove(works[len(found)])
        found.append(told)

    alternate(context, row, {"dunlin": call}, after=after)

    def middle(name: str) -> float:
        return statistics.median(float(told[name]) for told in found)

    if found:
        row.checks += [
            at_most("accepted", middle("accepted"), 2.0, "s"),
            at_most("first file at the destination", middle("first"), 1.0, "s"),
            at_most("memory that the walk took", (middle("peak") - middle("before")) / 1e6, GROWTH_MB, "MB"),
            at_most("of it in the second half", (middle("second_half") - middle("first_half")) / 1e6, LATER_MB, "MB"),
            Check("walk ended", middle("walked"), "s"),
            Check("files a second, all of it", count / middle("done"), "/s"),
            Check("files known at the first upload", middle("known_at_first"), "files"),
        ]
    row.notes.append("one process walks, queues, uploads and keeps the ledger; client and service share two cores")
    return row


def api(context: Context) -> Row:
    """Reads of the API by 32 connections of wrk while the service syncs."""
    count, seconds = context.fewer(100_000, 2_000), context.fewer(20, 3)
    row = Row("api", f"mixed reads of the API by wrk, 32 connections, while a folder of {count:,} files is synced")
    folder = context.tree(Tree(f"publish-{count}", count // 100, 100))
    found: list[dict[str, float]] = []
    works = [context.work / f"api{n}" for n in range(context.pairs)]

    def call() -> Measured:
        flow = [sys.executable, "-m", "bench.api_flow", str(folder), str(works[len(found)]), str(seconds)]
        return context.run([*flow, *shlex.split(context.dunlin)])

    def after(name: str) -> None:
        told = context.told()
        if told["failed_syncs"]:
            raise Failed(f"{told['failed_syncs']} syncs failed")
        remove(works[len(found)])
        found.append(told)

    alternate(context, row, {"dunlin": call}, after=after)
    if found:
        middle = {name: statistics.median(float(told[name]) for told in found) for name in found[0]}
        row.checks += [
            at_most("99th percentile", middle["p99"], 100.0, "ms"),
            at_most("errors, all runs", sum(told["errors"] for told in found), 0, "requests"),
            Check("50th percentile", middle["p50"], "ms"),
            Check("requests a second", middle["rate"], "/s"),
            Check("syncs that ended meanwhile", middle["syncs"], "syncs"),
        ]
    row.notes.append("wrk, the service and the sync share two cores; ten kinds of reads in turn")
    return row
