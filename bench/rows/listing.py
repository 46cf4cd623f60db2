"""Rows about listing: how fast, how many requests, how much memory, from a server that makes its objects up."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import peers
from bench.context import CHECKOUT, Context, alternate, say
from bench.measure import Failed, Measured, remove
from bench.results import Check, Row, at_least, at_most
from bench.rows.objects import home
from bench.stub import BASE64
from bench.trees import files_in
from tests.servers.process import running
from tests.servers.rclone import program
from tests.servers.s3 import S3

STUB = "the server is bench/stub.py: it makes up objects of 16 bytes, 100 to a directory, and works on the same cores"
KEY = BASE64  # no signature is looked at, and this is base64


@contextmanager
def stub() -> Iterator[str]:
    """Run the server; its origin."""
    script = CHECKOUT / "bench" / "stub.py"
    with running("stub", lambda port, _: [sys.executable, script, str(port)]) as port:
        yield f"http://127.0.0.1:{port}"


def requests(origin: str) -> int:
    """How many requests there were since this was asked before."""
    with urllib.request.urlopen(f"{origin}/-/requests", timeout=30) as answer:
        return int(answer.read())


def azure(origin: str) -> list[str]:
    """Options by which dunlin finds the server as Azure Blob."""
    return ["--azure-endpoint", f"{origin}/account", "--account-name", "account"]


def login(origin: str, context: Context) -> dict[str, str]:
    """The environment for all programs."""
    found = peers.s3_login(S3(origin, "id", "secret"), home(context))
    return {**found, "AZURE_STORAGE_KEY": KEY, "RCLONE_CONFIG_S_PROVIDER": "AWS", "RCLONE_CONFIG_S_REGION": "us-east-1"}


def list100k(context: Context) -> Row:
    """Keys per second of one process."""
    count = context.fewer(100_000, 3000)
    row = Row("list100k", f"listing {count:,} keys, paged XML from a local HTTP server, one process")
    bucket, seconds = f"n{count}", dict[str, list[float]]()
    with stub() as origin:
        s3 = {"endpoint": origin, "access_key_id": "id", "secret_access_key": "secret", "region": "us-east-1"}
        az = {"endpoint": f"{origin}/account", "account_name": "account", "account_key": KEY}
        environment = login(origin, context)

        def walk(name: str, url: str, told: dict[str, str]) -> Callable[[], Measured]:
            def run() -> Measured:
                command = [sys.executable, "-m", "bench.walk", url]
                measured = context.run(command, {**environment, "BENCH_LOGIN": json.dumps(told), "PYTHONPATH": PATH})
                took, keys = measured.tail.split()
                if int(keys) != count:
                    raise Failed(f"{name} listed {keys} keys")
                seconds.setdefault(name, []).append(float(took))
                return measured

            return run

        listing = [str(program("rclone")), "lsf", "-R", "--fast-list", "--files-only", f"s:{bucket}"]
        programs = {
            "dunlin S3": walk("dunlin S3", f"s3://{bucket}", s3),
            "dunlin Azure": walk("dunlin Azure", f"az://{bucket}", az),
            "rclone lsf": lambda: context.run(listing, environment),
            "s5cmd ls": lambda: context.run([str(program("s5cmd")), "ls", f"s3://{bucket}/*"], environment),
        }
        for call in programs.values():
            call()  # the server keeps the pages that it has made
        seconds.clear()
        alternate(context, row, programs)
    for name in row.runs:
        if name in seconds:
            rate = count / statistics.median(seconds[name])
            row.checks.append(at_least(f"{name}: keys a second", rate, 50_000, "/s"))
        else:
            row.checks.append(Check(f"{name}: keys a second, start included", count / row.median(name), "/s"))
        row.checks.append(Check(f"{name}: client CPU", row.median(name, "cpu"), "s"))
    row.notes += [
        "dunlin's keys a second are those of the listing alone, wall and CPU of the table those of the whole process",
        STUB, peers.versions("rclone", "s5cmd"),
    ]  # fmt: skip
    return row


PATH = f"{CHECKOUT}:{CHECKOUT / 'src'}"


def again100k(context: Context) -> Row:
    """A sync that finds nothing to do."""
    count = context.fewer(100_000, 3000)
    row = Row("again100k", f"{count:,} objects again, nothing to do")
    asked: dict[str, list[int]] = {}
    with stub() as origin:
        environment = login(origin, context)
        programs: dict[str, Callable[[], Measured]] = {}
        for name, url, options in (
            ("dunlin S3", f"s3://n{count}", ["--s3-endpoint", origin]),
            ("dunlin Azure", f"az://n{count}", azure(origin)),
        ):
            copy = context.work / name.replace(" ", "-")
            command = [
                *context.objects(url, copy, *options), "--state-db", str(copy.with_suffix(".db")),
            ]  # fmt: skip
            if not context.only_peers:
                say(f"  filling {copy.name}")
                context.run(command, environment)
                check_stub_copy(copy, count)
            programs[name] = nothing_to_do(context, name, command, environment, origin, asked)
        copy = context.work / "dunlin-S3"
        # What the peers can do without a request for each object: sizes for the one, times of upload for the other.
        theirs = [str(program("rclone")), "copy", "--fast-list", "--size-only", f"s:n{count}", str(copy)]
        programs["rclone --size-only"] = nothing_to_do(context, "rclone", theirs, environment, origin, asked)
        theirs = [str(program("s5cmd")), "--log", "error", "sync", "--size-only", f"s3://n{count}/*", f"{copy}/"]
        programs["s5cmd --size-only"] = nothing_to_do(context, "s5cmd", theirs, environment, origin, asked)
        alternate(context, row, programs)
        for name in ("dunlin-S3", "dunlin-Azure"):
            remove(context.work / name)
    for name in row.runs:
        requests_made = max(asked[name.partition(" --")[0]])
        if name.startswith("dunlin"):
            row.checks += [
                at_most(f"{name}: time", row.median(name), 10, "s"),
                at_most(f"{name}: requests", requests_made, 200, ""),
            ]
        else:
            row.checks.append(Check(f"{name}: requests", requests_made, ""))
    row.notes += [STUB, peers.versions("rclone", "s5cmd")]
    return row


def nothing_to_do(
    context: Context, name: str, command: list[str], environment: peers.Environment, origin: str,
    asked: dict[str, list[int]],
) -> Callable[[], Measured]:  # fmt: skip
    """A run after which it is noted how many requests it made."""

    def run() -> Measured:
        requests(origin)
        measured = context.run(command, environment)
        asked.setdefault(name, []).append(requests(origin))
        return measured

    return run


def check_stub_copy(copy: Path, count: int) -> None:
    """Raise Failed unless all objects are there with their size."""
    sizes = [entry.stat().st_size for entry in files_in(copy)]
    if len(sizes) != count or set(sizes) != {16}:
        raise Failed(f"{len(sizes)} of {count} files are there, with sizes {sorted(set(sizes))[:5]}")


def list1m(context: Context) -> Row:
    """Memory over a million listed keys, all processes together."""
    count = context.fewer(1_000_000, 20_000)
    row = Row("list1m", f"memory over {count:,} listed keys, all processes")
    empty = context.work / "empty"
    empty.mkdir(exist_ok=True)
    with stub() as origin:
        environment = login(origin, context)
        plan = context.objects(f"s3://n{count}", empty, "--s3-endpoint", origin, "--dry-run", "--quiet")
        pair = f"az://n{count}", f"az://n{count}b"
        check = [*shlex.split(context.dunlin), "check", *pair, *azure(origin), "--quiet"]
        programs = {
            "dunlin sync --dry-run, S3 to an empty directory": lambda: context.run(plan, environment),
            "dunlin check, Azure with Azure": lambda: context.run(check, environment),
        }
        alternate(context, row, programs, pairs=1)
    for name in row.runs:
        row.checks.append(at_most(f"{name}: memory", row.median(name, "peak_pss") / 1e6, 300, "MB"))
        row.checks.append(Check(f"{name}: keys a second", count / row.median(name), "/s"))
    row.notes.append(STUB)
    return row
