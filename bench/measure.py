"""Running one command and knowing what it cost: wall time, CPU of its whole process tree, memory of all its processes.

*CPU* comes from ``wait4``: the kernel adds the usage of every child to its parent when the child is reaped, so the
usage of the command includes its movers, provided that they are waited for. A small guard process is made the
*subreaper*: a process that the command left behind is adopted and reaped by the guard and therefore counted too.

*Memory* cannot be had from ``maxrss`` (that is the largest process, not the sum), so a thread of the harness looks
at the tree every 20 ms: the sum of resident sets, which counts shared pages once per process, and every 100 ms the
sum of proportional sets (PSS), which counts them once. PSS is what "resident, all processes together" means here.
Between two looks a short peak can be missed; the largest single process (``max_rss``) is exact.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_CHILD_SUBREAPER = 36
LOOK_EVERY = 0.020
PSS_EVERY = 5  # looks


@dataclass(frozen=True, slots=True)
class Measured:
    """What one command took. Times in seconds, memory in bytes; ``leftover`` = processes that it did not wait for."""

    wall: float
    cpu: float
    peak_rss: int
    peak_pss: int
    max_rss: int
    processes: int
    leftover: int
    code: int
    tail: str

    def as_dict(self) -> dict[str, object]:
        """For the JSON of the results, without the output of a command that succeeded."""
        values = asdict(self)
        if self.code == 0:
            del values["tail"]
        return values


class Failed(Exception):
    """A command ended with an unexpected code, or its result is wrong."""


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    output: Path,
    watch: Callable[[int], None] | None = None,
    expect: int = 0,
) -> Measured:
    """Run ``command``, its output going to the file ``output``; raise Failed when it ends with another code.

    ``watch`` is called with the process group's guard pid once the command runs (to send it signals, for example).
    """
    reading, writing = os.pipe()
    guard = os.fork()
    if guard == 0:
        _guard([os.fspath(part) for part in command], cwd, env, output, writing)
    os.close(writing)
    look = _Look(guard)
    look.start()
    if watch:
        watch(guard)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(guard, 0)
    look.stop()
    if not told:
        raise Failed(f"{command[0]}: could not be started")
    facts = json.loads(told)
    tail = output.read_text(errors="replace")[-2000:]
    measured = Measured(peak_rss=look.rss, peak_pss=look.pss, processes=look.most, tail=tail, **facts)
    if measured.code != expect:
        raise Failed(f"{' '.join(os.fspath(part) for part in command)} ended with {measured.code}:\n{tail}")
    return measured


def _guard(command: list[str], cwd: Path | None, env: dict[str, str] | None, output: Path, told: int) -> None:
    """In the child: run, wait for everything, tell the parent. Never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if cwd:
            os.chdir(cwd)
        with open(os.devnull, "rb") as nothing, open(output, "wb") as out:
            actions = [
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
            ]
            started = time.perf_counter()
            pid = os.posix_spawnp(command[0], command, os.environ if env is None else env, file_actions=actions)
            _, status, _ = os.wait4(pid, 0)
            wall = time.perf_counter() - started
        leftover = 0
        while True:
            try:
                os.waitpid(-1, 0)
                leftover += 1
            except ChildProcessError:
                break
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        facts = {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "max_rss": usage.ru_maxrss * 1024,
            "leftover": leftover,
            "code": os.waitstatus_to_exitcode(status),
        }
        os.write(told, json.dumps(facts).encode())
        code = 0
    finally:
        os._exit(code)


class _Look(threading.Thread):
    """Samples the memory of everything below ``guard``."""

    def __init__(self, guard: int) -> None:
        super().__init__(daemon=True)
        self._guard = guard
        self._done = threading.Event()
        self.rss = self.pss = self.most = 0

    def run(self) -> None:
        count = 0
        while not self._done.wait(LOOK_EVERY):
            pids = descendants(self._guard)
            self.most = max(self.most, len(pids))
            self.rss = max(self.rss, sum(map(resident, pids)))
            if count % PSS_EVERY == 0:
                self.pss = max(self.pss, sum(map(proportional, pids)))
            count += 1

    def stop(self) -> None:
        self._done.set()
        self.join()


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``."""
    found = []
    waiting = [pid]
    while waiting:
        try:
            for task in os.listdir(f"/proc/{waiting[-1]}/task"):
                children = Path(f"/proc/{waiting[-1]}/task/{task}/children").read_text().split()
                found += [int(child) for child in children]
                waiting[:0] = [int(child) for child in children]
        except OSError:  # ended meanwhile
            pass
        waiting.pop()
    return found


def resident(pid: int) -> int:
    """Resident bytes of a process, 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """PSS in bytes: private pages plus its part of the shared ones."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Dirty(threading.Thread):
    """Watches how much written data the kernel has not yet put on disk. Use as a context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.before = dirty_bytes()
        self.most = 0

    def __enter__(self) -> Dirty:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.05):
            self.most = max(self.most, dirty_bytes() - self.before)


def dirty_bytes() -> int:
    """Dirty plus Writeback of the whole machine."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("Dirty", "Writeback"))


def remove(path: Path) -> None:
    """Remove a tree as fast as it goes; it may be missing."""
    subprocess.run(["rm", "-rf", "--", os.fspath(path)], check=True)
