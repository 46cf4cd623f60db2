"""Rows between a local tree and an object store: many small ones from Azure, small ones and a big one each way at S3.

The servers are those of the tests, started here, on the same cores as the programs: where the server is what is
slow, the ratio of wall times says little, and the CPU of the client decides.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import peers
from bench.context import Context, alternate, prefault, say
from bench.measure import Failed, Measured, remove
from bench.results import Check, Row, at_least, at_most
from bench.trees import Tree, check_copy, files_in
from tests.servers.azurite import azurite
from tests.servers.rclone import rclone_s3
from tests.servers.s3 import S3

MIB = 1 << 20
SERVED = "the server works on the same cores as the programs"


@contextmanager
def kept_in(place: Path) -> Iterator[None]:
    """Servers keep what they hold below `place`, not on the disk that the machine has for temporary files."""
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before


def home(context: Context) -> Path:
    """An empty home for programs that keep notes."""
    place = context.work / "home"
    place.mkdir(exist_ok=True)
    return place


# ---- Azure ----


def blob_sizes(count: int) -> tuple[int, ...]:
    """Sizes below 1 MB, 20 KB on average: most are a few KB, few are large (log-normal)."""
    chance = random.Random(11)
    return tuple(min(999_999, int(chance.lognormvariate(8.8, 1.5)) + 1) for _ in range(count))


def azure10k(context: Context) -> Row:
    """Download a container of small blobs."""
    count = context.fewer(10_000, 300)
    tree = Tree(f"blobs-{count}", 100, 0, sizes=blob_sizes(count))
    size = sum(tree.sizes)
    row = Row("azure10k", f"{count:,} blobs of less than 1 MB (mean {size / count / 1000:.0f} KB) from Azurite")
    source, copy = context.tree(tree), context.work / "copy"
    prefault(context, 2 * size)
    with kept_in(context.work), azurite() as server:
        container, login = server.container(), peers.azure_login(server, home(context))
        say("  filling the container")
        context.run(peers.rclone_copy(str(source), f"s:{container}", *peers.rclone_wide()), login)
        link = peers.sas(server, container)
        commands: dict[str, Sequence[str]] = {
            "dunlin": context.objects(f"az://{container}", copy, "--azure-endpoint", server.url),
            "rclone": peers.rclone_copy(f"s:{container}", str(copy)),
            f"rclone --transfers {peers.WIDE}": peers.rclone_copy(f"s:{container}", str(copy), *peers.rclone_wide()),
            "azcopy": peers.azcopy_copy(link, copy),
        }

        def after(name: str) -> None:
            check_copy(source, copy, times=name != "azcopy", modes=False)
            remove(copy)

        alternate(context, row, programs(context, commands, login, copy.mkdir), after=after)
    row.notes += [peers.versions("Azurite", "rclone", "azcopy"), SERVED]
    if "dunlin" in row.runs:
        best = min((name for name in row.runs if name.startswith("rclone")), key=row.median)
        least = min((name for name in row.runs if name.startswith("rclone")), key=lambda name: row.median(name, "cpu"))
        row.checks += [
            at_most("wall", row.median("dunlin"), 300, "s"),
            at_most(f"wall against {best}", row.ratio("dunlin", best), 1.05),
            at_most("wall against azcopy", row.ratio("dunlin", "azcopy"), 1.0),
            at_most(f"client CPU against {least}", row.ratio("dunlin", least, "cpu"), 1.0),
            at_most("client CPU against azcopy", row.ratio("dunlin", "azcopy", "cpu"), 1 / 3),
        ]
    rates(row, count)
    return row


def programs(
    context: Context, commands: Mapping[str, Sequence[str]], login: peers.Environment, ready: Callable[[], object]
) -> dict[str, Callable[[], Measured]]:
    """The commands as programs to alternate, each after `ready` and without any state."""

    def call(command: Sequence[str]) -> Callable[[], Measured]:
        def run() -> Measured:
            context.forget()
            ready()
            return context.run(command, login)

        return run

    return {name: call(command) for name, command in commands.items()}


def rates(row: Row, count: int, suffix: str = "") -> None:
    """Objects per second and CPU per object of every program."""
    for name in row.runs:
        if name.endswith(suffix):
            row.checks += [
                Check(f"{name}: objects a second", count / row.median(name), "/s"),
                Check(f"{name}: CPU per object", row.median(name, "cpu") / count * 1e6, "µs"),
            ]


# ---- S3 ----


def s3small(context: Context) -> Row:
    """Small objects to S3 and back."""
    count = context.fewer(10_000, 300)
    tree = Tree(f"objects-{count}", 20, count // 20, 4096, 4096)
    row = Row("s3small", f"{count:,} objects of 4 KB to and from rclone serve s3")
    source = context.tree(tree)
    prefault(context, count * 3 * 4096)
    with kept_in(context.work), rclone_s3() as server:
        up_and_down(context, row, server, source, files=(peers.rclone_wide(),))
    row.notes += [peers.versions("rclone", "s5cmd"), SERVED]
    for way in (" up", " down"):
        rates(row, count, way)
        if "dunlin" + way not in row.runs:
            continue
        for other in row.runs:
            if other.endswith(way) and not other.startswith("dunlin"):
                row.checks.append(at_least(f"objects a second against {other}", row.ratio(other, "dunlin" + way), 1.0))
        rclone = [name for name in row.runs if name.startswith("rclone") and name.endswith(way)]
        least = min(rclone, key=lambda name: row.median(name, "cpu"))
        row.checks.append(at_most(f"client CPU against {least}", row.ratio("dunlin" + way, least, "cpu"), 1.0))
    return row


def s3big(context: Context) -> Row:
    """One large object to S3 and back."""
    size = context.fewer(2048, 64) * MIB
    row = Row("s3big", f"one object of {size // MIB:,} MiB to and from rclone serve s3")
    source = context.tree(Tree(f"large-{size}", 0, 0, sizes=(size,)))
    prefault(context, 3 * size)
    with kept_in(context.work), rclone_s3() as server:
        up_and_down(context, row, server, source, files=())
    row.notes += [peers.versions("rclone", "s5cmd"), SERVED]
    for way in (" up", " down"):
        if "dunlin" + way in row.runs:
            against = row.ratio("s5cmd" + way, "dunlin" + way)
            row.checks.append(at_least(f"speed against s5cmd{way}", against, 0.9))
        for name in row.runs:
            if name.endswith(way):
                row.checks.append(Check(f"{name}: rate", size / row.median(name) / 1e6, "MB/s"))
    return row


def up_and_down(
    context: Context, row: Row, server: S3, source: Path, *, files: Sequence[Sequence[str]]
) -> None:
    """Upload the tree into an empty bucket and download it again, by all programs in turn.

    `files`: options with which rclone is run besides its own defaults.
    """
    login, copy = peers.s3_login(server, home(context)), context.work / "copy"
    client = server.client()
    there, back = server.bucket(), server.bucket()
    fill(context, login, source, back)

    def commands(bucket: str, way: str) -> dict[str, Sequence[str]]:
        url, remote = f"s3://{bucket}/p", f"s:{bucket}/p"
        ends = (str(source), url) if way == " up" else (url, str(copy))
        pair = (str(source), remote) if way == " up" else (remote, str(copy))
        made: dict[str, Sequence[str]] = {
            f"dunlin{way}": context.objects(*ends, "--s3-endpoint", server.url),
            f"s5cmd{way}": peers.s5cmd_copy(*ends),
            f"rclone{way}": peers.rclone_copy(*pair),
        }
        for options in files:
            made[f"rclone {' '.join(options[:2])}{way}"] = peers.rclone_copy(*pair, *options)
        return made

    def sent(name: str) -> None:
        check_bucket(client, there, source)
        empty(client, there)

    def fetched(name: str) -> None:
        check_copy(source, copy, times=not name.startswith("s5cmd"), modes=False)
        remove(copy)

    alternate(context, row, programs(context, commands(there, " up"), login, lambda: None), after=sent)
    alternate(context, row, programs(context, commands(back, " down"), login, copy.mkdir), after=fetched)
    client.close()


def fill(context: Context, login: peers.Environment, source: Path, bucket: str) -> None:
    """Put the tree below the prefix ``p`` of a bucket, untimed."""
    say("  filling the bucket")
    context.run(peers.rclone_copy(str(source), f"s:{bucket}/p", *peers.rclone_wide()), login)


def listed(client: Any, bucket: str) -> dict[str, int]:
    """Sizes by key of all objects below the prefix ``p``."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="p/")
    return {item["Key"][2:]: item["Size"] for page in pages for item in page.get("Contents", [])}


def check_bucket(client: Any, bucket: str, source: Path, *, sample: int = 100) -> None:
    """Raise Failed unless the bucket has the names and sizes of the tree and, in a sample, its content."""
    sizes = {str(Path(entry.path).relative_to(source)): entry.stat().st_size for entry in files_in(source)}
    found = listed(client, bucket)
    if found != sizes:
        wrong = sorted(name for name in {*found, *sizes} if found.get(name) != sizes.get(name))
        raise Failed(f"{len(wrong)} objects are missing, too many or of another size, {wrong[:3]}")
    for name in random.Random(7).sample(sorted(sizes), min(sample, len(sizes))):
        body = client.get_object(Bucket=bucket, Key=f"p/{name}")["Body"]
        with open(source / name, "rb") as file:
            while piece := file.read(MIB):
                if body.read(len(piece)) != piece:
                    raise Failed(f"{name}: content differs")


def empty(client: Any, bucket: str) -> None:
    """Delete all objects of a bucket."""
    keys = [f"p/{name}" for name in listed(client, bucket)]
    for at in range(0, len(keys), 1000):
        batch = [{"Key": key} for key in keys[at : at + 1000]]
        client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
