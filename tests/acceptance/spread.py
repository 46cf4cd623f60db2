"""What the tests of queues share: a directory with a source and workers, which come, die, sleep and go."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from dunlin.queue.open import open_queue
from tests.acceptance.program import start
from tests.acceptance.trouble import until


def content(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file with its content, time and mode."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file()
    }


class Crew:
    """A source, a queue, workers.

    Args:
        work: the directory of all, which is there. url: of the queue.
        words: options of every worker. env: of every worker that gets no other.
    """

    def __init__(self, work: Path, url: str, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.work, self.url = work, url
        self._words, self._env = words, env
        self.source = work / "source"
        self.source.mkdir()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.files = 0

    def worker(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one."""
        with open(self.work / f"worker{len(self.workers)}.log", "wb") as log:
            how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": log}
            secrets = self._env if env is None else env
            made = start("worker", "--queue", self.url, *self._words, *words, cwd=self.work, env=secrets, **how)
        self.workers.append(made)
        return made

    def told(self, number: int = 0) -> str:
        """What a worker has said."""
        return (self.work / f"worker{number}.log").read_text()

    def ready(self, number: int = 0) -> None:
        """Wait until a worker works."""

        def started() -> bool:
            assert self.workers[number].poll() is None, self.told(number)
            return "worker.started" in self.told(number)

        until(started)

    def result(self, run: subprocess.Popen[bytes], code: int = 0) -> dict[str, Any]:
        """What a run answers that ends with that code."""
        out = run.communicate(timeout=120)[0].decode()
        assert run.returncode == code, out
        assert "Traceback" not in out
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def waiting(self) -> int:
        """How many units of a run nobody has taken; 0 where there is no queue yet."""
        file = self.work / self.url
        if not file.exists():
            return 0
        with closing(open_queue(str(file))) as queue:
            return sum(stats.waiting for stats in queue.stats())

    def children(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """The processes of a worker that work."""
        return [child.pid for child in psutil.Process(worker.pid).children()]

    def put_to_sleep(self, worker: subprocess.Popen[bytes]) -> int:
        """Stop the one process of the only worker while it has a unit, and no lock on the file of the queue; its id.

        Between two units it would lose nothing. In the middle of a transaction it would hold up everybody else, as
        whatever process is stopped there: that is SQLite's, and no test of leases.
        """
        (child,) = self.children(worker)
        file = self.work / self.url

        def caught() -> bool:
            os.kill(child, signal.SIGSTOP)
            until(lambda: psutil.Process(child).status() == psutil.STATUS_STOPPED)
            with closing(open_queue(str(file))) as queue:
                has = any(stats.leased for stats in queue.stats())
            if has and free(file):
                return True
            os.kill(child, signal.SIGCONT)
            return False

        until(caught)
        return child

    def rest(self) -> None:
        """Let all workers end what they are at, which may belong to a run that is no more, and then end."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            assert worker.wait(30) == 0

    def end(self) -> None:
        """End all workers."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()


def free(file: Path) -> bool:
    """Whether others can write to a SQLite file within a second."""
    with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        database.execute("ROLLBACK")
        return True


class Site(Crew):
    """A tree that is synced by workers."""

    def __init__(self, work: Path, url: str) -> None:
        super().__init__(work, url)
        self.target = work / "target"

    def fill(self, directories: int, files: int, size: int = 400) -> None:
        """So many directories, two levels deep, with so many files of about that size."""
        for d in range(directories):
            path = self.source / f"a{d % 7}" / f"b{d}"
            path.mkdir(parents=True)
            for f in range(files):
                file = path / f"f{f}"
                file.write_bytes(f"{d}/{f} ".encode() * (size // 8 + f))
                os.utime(file, ns=(10**18 + d, 10**18 + f))
        self.files = directories * files

    def sync(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a run."""
        return start(
            "sync", "-a", "source", "target", "--queue", self.url, "--json", *words, cwd=self.work,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def copied(self) -> int:
        """How many files have reached the destination."""
        return sum(not name.startswith(".dunlin-") for _, _, files in os.walk(self.target) for name in files)

    def writing(self) -> bool:
        """Whether content has come into a temporary file right below the destination. Probes are empty, and go."""
        for path in self.target.glob(".dunlin-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_size:
                    return True
        return False

    def equal(self) -> None:
        """The destination is what the source is."""
        assert content(self.target) == content(self.source)
