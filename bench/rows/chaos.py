"""The row of a run over a queue in which workers and the queue's server are killed, again and again, at random.

A limit keeps the run going for about as long as the kills take; when they are done it is lifted. Whoever is killed gets
SIGKILL and is started again: a worker as a whole, one of its processes, or the server, which comes back from what it
has on its disk (Redis from its append-only file, PostgreSQL from its log).
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.context import CHECKOUT, Context, environment, say
from bench.measure import Failed, descendants, remove
from bench.results import Check, Row, at_least, at_most
from bench.trees import Tree, files_in
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server
from tests.servers.restartable import Restartable

WORKERS, SLOTS = 3, 4
"""Workers, of two processes each, and files in flight in each of them."""

PAUSE = (0.5, 3.0)
"""Seconds between two kills."""

SERVERS = 0.25
"""How many of the kills are of the server."""

DOWN = 1.5
"""Seconds at most until a killed server is started again."""


def chaos(context: Context) -> Row:
    """Whatever dies: the destination is the source, and the ledger tells what was done."""
    kills, folders = context.fewer(50, 10), context.fewer(1_000, 100)
    tree = Tree(f"chaos-{folders}", folders, 100)
    row = Row(
        "chaos",
        f"{kills} random kills (SIGKILL) of {WORKERS} workers and of the queue's server over one sync of "
        f"{tree.count:,} files of ~4 KB in {folders:,} directories",
    )
    source = context.tree(tree)
    with redis_server(fsync="everysec") as redis:
        one_run(context, row, "Redis", redis.process, redis.queue(), source, kills)
    with postgres_server(fsync=True) as postgres:
        one_run(context, row, "PostgreSQL", postgres.process, postgres.database(), source, kills)
    row.notes.append(
        "Redis with appendonly and appendfsync everysec, PostgreSQL with fsync; a worker is killed as a whole, or one "
        "process of it; all share two cores"
    )
    return row


def one_run(context: Context, row: Row, name: str, server: Restartable, url: str, source: Path, kills: int) -> None:
    """One sync with so many kills, looked at in full."""
    context.forget()
    target = context.work / f"copy-{name}"
    files = sum(1 for _ in files_in(source))
    rate = sum(entry.stat().st_size for entry in files_in(source)) / (kills * sum(PAUSE) / 2 * 1.3)
    secret = context.work / "queue-url"
    secret.write_text(url)
    done: Counter[str] = Counter()
    with Crew(context, f"@{secret}").working() as crew:

        def watch(guard: int) -> None:
            chance = random.Random(f"{name} {kills}")
            until(lambda: any(target.rglob("*.dat")), "the run did not begin")
            while sum(done.values()) < kills and running(guard):
                time.sleep(chance.uniform(*PAUSE))
                if not running(guard):
                    break
                done[strike(chance, crew, server)] += 1
                say(f"  chaos {name}: {sum(done.values())} kills, {copied(target):,} files")
            subprocess.run(
                [*shlex.split(context.dunlin), "control", "bwlimit", "off", "--state-db", context.work / "state.db"],
                cwd=CHECKOUT, env=environment(), check=False, capture_output=True,
            )  # fmt: skip

        command = context.sync("--queue", f"@{secret}", "--no-work", "--json", "--bwlimit", str(int(rate)))
        measured = context.run(command(source, target), watch=watch)
    row.notes.append(f"{name}: killed were " + ", ".join(f"{count} × {what}" for what, count in sorted(done.items())))
    told = context.told()["stats"]
    row.runs[f"dunlin, {name}"] = [{**measured.as_dict(), "kills": dict(done), "stats": told}]
    state = ledger(context.work / "state.db")
    row.checks += [
        at_least(f"{name}: kills", sum(done.values()), kills, "kills"),
        at_most(f"{name}: files that differ, are missing or too many", differences(source, target), 0, "files"),
        *(Check(f"{name}: {what}", value, "files", f"= {files:,} files", value == files) for what, value in (
            ("files looked at", told["scanned_files"]),
            ("files copied, or found as they should be", told["copied_files"] + told["equal_files"]),
            ("synced files in the ledger", state.pop("synced", 0)),
        )),
        at_most(f"{name}: files of any other status in the ledger", sum(state.values()), 0, "files"),
        at_most(f"{name}: failures told", told["failed_files"] + told["failed_directories"], 0, "failures"),
        Check(f"{name}: of them found there by whoever did a unit again", told["equal_files"], "files"),
        Check(f"{name}: seconds", measured.wall, "s"),
    ]  # fmt: skip
    remove(target)


class Crew:
    """Workers that are started again when they are killed."""

    def __init__(self, context: Context, queue: str) -> None:
        words = ["worker", "--queue", queue, "--workers", str(SLOTS), "--processes", "2"]
        self._command = [*shlex.split(context.dunlin), *words]
        self._log = context.work / "workers.log"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(self._command, cwd=CHECKOUT, env=environment(), stderr=log)

    def replace(self, place: int) -> None:
        """Kill one, and start it again. Its processes die with it."""
        self.workers[place].kill()
        self.workers[place].wait()
        self.workers[place] = self.start()

    def revive(self) -> None:
        """One that ended by itself, because the server was away just when it began, is started again."""
        for place, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[place] = self.start()

    @contextmanager
    def working(self) -> Iterator[Crew]:
        self._log.write_bytes(b"")
        try:
            self.workers = [self.start() for _ in range(WORKERS)]
            until(lambda: self._log.read_bytes().count(b"worker.started") == WORKERS, "the workers did not start")
            yield self
        finally:
            for worker in self.workers:
                worker.send_signal(signal.SIGTERM)
            for worker in self.workers:
                worker.wait(60)


def strike(chance: random.Random, crew: Crew, server: Restartable) -> str:
    """Kill somebody; who it was."""
    crew.revive()
    if chance.random() < SERVERS:
        server.kill()
        time.sleep(chance.uniform(0, DOWN))
        server.start()
        return "server"
    place = chance.randrange(len(crew.workers))
    processes = descendants(crew.workers[place].pid)
    if chance.random() < 0.5 and processes:
        try:
            os.kill(chance.choice(processes), signal.SIGKILL)
        except ProcessLookupError:
            crew.replace(place)
        return "process"
    crew.replace(place)
    return "worker"


def running(guard: int) -> bool:
    """Whether the command below the guard has not ended."""
    return os.waitid(os.P_PID, guard, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and bool(descendants(guard))


def until(so: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 60
    while not so():
        if time.monotonic() > deadline:
            raise Failed(complaint)
        time.sleep(0.05)


def copied(target: Path) -> int:
    return sum(not entry.name.startswith(".dunlin-") for entry in files_in(target))


def ledger(path: Path) -> dict[str, int]:
    """Files on record, by status."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as state:
        return dict(state.execute("SELECT status, count(*) FROM file_path GROUP BY status").fetchall())


def differences(source: Path, target: Path) -> int:
    """Files of which name, size, mode, time or any byte is not the same; and directories."""
    one, other = facts(source), facts(target)
    found = sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())
    for name in one.keys() & other.keys():
        if one[name] == other[name] and one[name][1] and (source / name).read_bytes() != (target / name).read_bytes():
            found += 1
    return found


def facts(root: Path) -> dict[str, tuple[Any, ...]]:
    """What is compared: mode, whether it is a file, size, time."""
    found: dict[str, tuple[Any, ...]] = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            is_file = name in files
            found[os.path.relpath(path, root)] = (
                status.st_mode,
                is_file,
                is_file and status.st_size,
                status.st_mtime_ns,
            )
    return found
