"""The command that runs after uploads (`ssh_command`): one run for a burst, never two at once.

Theory. Uploads come in bursts, and the command (it may rebuild an index on another machine) is wanted once for each.
So an upload does not start it; it opens a *burst*, or prolongs the one that is open, and the command runs when nothing
was uploaded for `debounce` seconds. Uploads that never pause would put it off for ever: a burst ends `LONGEST` times
that after it began. What is uploaded while the command runs opens the next burst.

A burst is a job of the ledger, of kind `hook`: queued while it is open, running with the command, then completed or
failed with its output. So it survives a restart, people see it where they see everything else, and of several services
one claims it. A job whose service died while the command ran is interrupted, and the command runs again, once what
was left of it has ended: the process is on record with the time of its start (a number alone may be somebody else's
by now), and is given what remains of its time.

The command is split into words as a shell would (`shlex`), and no shell runs it: what is uploaded is no part of it, and
nothing in it is expanded. It gets a session of its own, so that all it started ends with it when its time is over.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec
import psutil

from dunlin.errors import DunlinError
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Submitted
from dunlin.report import Event, Level, Report

KIND = "hook"
LONGEST = 10
"""Debounce times after which a burst ends although uploads go on."""
HELD = 30.0
TICK = 1.0
GRACE = 5.0
"""Seconds between asking a command to end and making it."""
OUTPUT = 64 << 10
"""Bytes of output that are kept: half of them from the beginning, half from the end."""


class Hook(NamedTuple):
    """What is run, and when. Times in seconds.

    Attributes:
        command: words as in a shell; "": nothing is run.
        debounce: without uploads, before it runs.
        timeout: that it may take.
        enabled: whether it runs at all.
    """

    command: str = ""
    debounce: float = 60.0
    timeout: float = 600.0
    enabled: bool = False

    @property
    def active(self) -> bool:
        """Whether there is something to run."""
        return self.enabled and bool(self.command.strip())


class Jobs(Protocol):
    """What is needed of the ledger's jobs; see `queue.ledger.jobs`."""

    def submit(self, new: NewJob) -> Submitted: ...
    def get(self, id: str, tenant: str | None = None) -> Job | None: ...
    def renew(self, owner: str, seconds: float) -> object: ...
    def progress(self, id: str, counts: Mapping[str, int]) -> None: ...
    def move(
        self,
        id: str,
        to: JobStatus,
        only: Collection[JobStatus] = (),
        error: str = "",
        result: bytes | None = None,
        owner: str = "",
    ) -> Job | None: ...
    def claim(self, owner: str, seconds: float, kinds: Collection[str] = ()) -> Job | None: ...
    def page(
        self,
        tenant: str | None = None,
        kind: str = "",
        statuses: Collection[JobStatus] = (),
    ) -> list[Job]: ...


class Audit(Protocol):
    """Who did what; see `queue.ledger.audit`."""

    def record(self, who: str, verb: str, target: str, detail: str = "", tenant: str = "") -> None: ...


class Ran(NamedTuple):
    """How a command ended: its exit status (None: it could not be started), what it wrote, how long it took."""

    status: int | None
    output: str
    seconds: float
    timed_out: bool
    error: str


class CommandHook:
    """Runs the command after bursts of uploads; see the module docstring.

    Args:
        hook: asked for each time: it may be changed while the service runs.
        owner: names this process in the ledger; nobody else's.
        tenant: whose the jobs are.
        clock: seconds since 1970. monotonic: seconds that never go back.
        run: runs a command; see `run_command`.
    """

    def __init__(
        self,
        hook: Callable[[], Hook],
        jobs: Jobs,
        audit: Audit,
        report: Report,
        *,
        owner: str,
        tenant: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        run: Callable[[Hook, Callable[[int], object], Callable[[], bool]], Ran] | None = None,
    ) -> None:
        self._hook = hook
        self._jobs = jobs
        self._audit = audit
        self._report = report
        self._owner = owner
        self._tenant = tenant
        self._clock = clock
        self._monotonic = monotonic
        self._run = run or run_command
        self._lock = threading.Lock()
        self._noted = 0.0
        self._more = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- uploads ----

    def uploaded(self, count: int) -> None:
        """So many files were uploaded. Raises what the ledger raises: the news of them is not confirmed then."""
        hook = self._hook()
        if not hook.active or count <= 0:
            return
        with self._lock:
            now = self._clock()
            self._more += count
            burst = self._open_burst()
            if burst is None:
                new = NewJob(KIND, tenant=self._tenant, created_by="publish", label="command after uploads")
                burst = self._jobs.submit(new).job
            elif now - self._noted < min(1.0, hook.debounce / 10):
                return  # a moment more or less does not matter, and each is a row
            uploads = burst.counts.get("uploads", 0) + self._more
            self._jobs.progress(burst.id, {"uploads": uploads, "last": int(now * 1000)})
            self._noted, self._more = now, 0

    def _open_burst(self) -> Job | None:
        found = self._jobs.page(kind=KIND, statuses=(JobStatus.QUEUED,))
        return found[-1] if found else None

    # ---- the thread ----

    def start(self) -> None:
        """Begin to look for bursts that are over."""
        self._thread = threading.Thread(target=self._watch, name="command-hook", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; a command that runs is ended with its time-out, or now. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._ended.wait(TICK):
            try:
                self.step()
            except DunlinError as error:
                message = f"the command after uploads has to wait: {error}"
                self._report.event(Event(Level.WARN, "hook.trouble", message, {"error": str(error)}))
                self._ended.wait(10 * TICK)

    def step(self) -> bool:
        """Run the command if a burst is over; whether it ran. Returns when it has ended."""
        hook = self._hook()
        for job in self._jobs.page(kind=KIND, statuses=(JobStatus.INTERRUPTED,)):
            if not _still_runs(job, hook, self._clock()):
                self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.INTERRUPTED,))
        burst = self._open_burst()
        if burst is None:
            return False
        if not hook.active:
            self._jobs.move(burst.id, JobStatus.CANCELLED, (JobStatus.QUEUED,), "there is no command any more")
            return False
        last = burst.counts.get("last", int(burst.created * 1000)) / 1000
        over = min(last + hook.debounce, burst.created + LONGEST * hook.debounce)
        if self._clock() < over or self._somebody_runs():
            return False
        with self._lock:  # an upload now belongs to the next burst
            claimed = self._jobs.claim(self._owner, HELD, (KIND,))
        if claimed is None:
            return False
        self._do(claimed, hook)
        return True

    def _somebody_runs(self) -> bool:
        """Whether a command runs, here or at another service, or is left over from one that died."""
        now = self._clock()
        running = self._jobs.page(kind=KIND, statuses=(JobStatus.RUNNING, JobStatus.INTERRUPTED))
        return any(job.status is JobStatus.RUNNING or _still_runs(job, self._hook(), now) for job in running)

    def _do(self, job: Job, hook: Hook) -> None:
        renewed = [self._monotonic()]

        def began(pid: int) -> None:
            started = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 0.0
            self._jobs.progress(job.id, {**job.counts, "pid": pid, "pid_started": int(started * 1000)})

        def going() -> bool:
            if self._monotonic() - renewed[0] >= HELD / 3:
                renewed[0] = self._monotonic()
                with suppress(DunlinError):
                    self._jobs.renew(self._owner, HELD)
            return not self._ended.is_set()

        ran = self._run(hook, began, going)
        result = {
            "exit_status": ran.status,
            "output": ran.output,
            "seconds": round(ran.seconds, 3),
            "timed_out": ran.timed_out,
        }
        if self._ended.is_set() and ran.status != 0:
            # The service ends, not the command: the burst is kept for the next one.
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.RUNNING,))
            return
        good = ran.status == 0 and not ran.timed_out
        to = JobStatus.COMPLETED if good else JobStatus.FAILED
        self._jobs.move(job.id, to, (JobStatus.RUNNING,), ran.error, msgspec.json.encode(result))
        detail = ran.error or f"exit status 0 after {ran.seconds:.1f} s"
        self._audit.record("service", "hook.ran", shlex.split(hook.command)[0], detail, self._tenant)
        level = Level.INFO if good else Level.ERROR
        self._report.event(Event(level, "hook.ran", f"command after uploads: {detail}", {"job": job.id}))


def _still_runs(job: Job, hook: Hook, now: float) -> bool:
    """Whether the command of an interrupted job goes on without its service; past its time it is ended."""
    pid, started = job.counts.get("pid", 0), job.counts.get("pid_started", 0)
    if not pid or not started:
        return False
    try:
        process = psutil.Process(pid)
        if abs(int(process.create_time() * 1000) - started) > 20 or process.status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.Error:
        return False
    if now < started / 1000 + hook.timeout:
        return True
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    return False


def run_command(hook: Hook, began: Callable[[int], object], going: Callable[[], bool]) -> Ran:
    """Run the command until it ends, its time is over, or `going` says no; then its whole session is ended.

    Args:
        began: told the process id.
    """
    start = time.monotonic()
    try:
        words = shlex.split(hook.command)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Ran(None, "", time.monotonic() - start, False, f"the command could not be started: {reason}")
    kept = _Kept()
    timed_out = stopped = False
    assert process.stdout is not None
    with process.stdout as output:
        os.set_blocking(output.fileno(), False)
        with suppress(DunlinError, psutil.Error):
            began(process.pid)
        while not _ended(process, output.fileno(), kept, 0.2):
            timed_out = time.monotonic() - start > hook.timeout
            stopped = not going()
            if timed_out or stopped:
                _end(process, output.fileno(), kept)
                break
        # What it started in its session must not outlive it: the next run would be the second at a time.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        _read(output.fileno(), kept)
    seconds = time.monotonic() - start
    status = process.returncode
    wrong = ""
    if timed_out:
        wrong = f"ended after {hook.timeout:g} seconds: it took too long"
    elif stopped:
        wrong = "ended with the service"
    elif status:
        wrong = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    return Ran(status, kept.text(), seconds, timed_out, wrong)


def _ended(process: subprocess.Popen[bytes], output: int, kept: _Kept, seconds: float) -> bool:
    """Read what comes within so many seconds; whether the process has ended."""
    ready, _, _ = select.select([output], [], [], seconds)
    if ready and not _read(output, kept):
        with suppress(subprocess.TimeoutExpired):  # it has closed its output, and may go on
            process.wait(seconds)
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes], output: int, kept: _Kept) -> None:
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        with suppress(OSError):
            os.killpg(process.pid, number)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if _ended(process, output, kept, 0.1):
                return


def _read(output: int, kept: _Kept) -> bool:
    """Take what is there; False at the end."""
    with suppress(BlockingIOError):
        while data := os.read(output, 65_536):
            kept.add(data)
        return False
    return True


class _Kept:
    """The beginning and the end of an output."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._lost = 0

    def add(self, data: bytes) -> None:
        room = OUTPUT // 2 - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(0, room) :]
        if len(self._tail) > OUTPUT // 2:
            cut = len(self._tail) - OUTPUT // 2
            self._lost += cut
            del self._tail[:cut]

    def text(self) -> str:
        between = f"\n[{self._lost:,} bytes left out]\n".encode() if self._lost else b""
        return bytes(self._head + between + self._tail).decode("utf-8", "replace")
