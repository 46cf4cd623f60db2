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

A command that runs is ended when somebody cancels its job, and when the job may be another service's soon: it has
ended before its lease has. The ledger may be away just then, or not answer at all, so that is looked at by the clock
alone, in a thread that asks nobody. What was asleep for longer sees it when it wakes. Two services that claim two
bursts at the same moment see each other, and whoever sees another one gives its burst back.

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
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec
import psutil

from dunlin.errors import DunlinError
from dunlin.jobs.publish_records import Jobs
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Wish
from dunlin.report import Event, Level, Report

KIND = "hook"
LONGEST = 10
"""Debounce times after which a burst ends although uploads go on."""
HELD = 30.0
PERHAPS = frozenset(JobStatus) - {JobStatus.COMPLETED, JobStatus.FAILED}
"""Jobs whose command may still run: the others are those whose command was seen to end."""
TICK = 1.0
GRACE = 5.0
"""Seconds between asking a command to end and making it."""
SURE = HELD - GRACE - 2 * TICK
"""Seconds since the ledger heard of us after which a command is ended: it takes time to look, and to end it."""
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
            self._jobs.progress(burst.id, {**burst.counts, "uploads": uploads, "last": int(now * 1000)})
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
        asked = self._monotonic()
        with self._lock:  # an upload now belongs to the next burst
            claimed = self._jobs.claim(self._owner, HELD, (KIND,))
        if claimed is None:
            return False
        if self._somebody_runs(claimed.id):
            self._jobs.move(claimed.id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)
            return False
        self._do(claimed, hook, asked)
        return True

    def _somebody_runs(self, mine: str = "") -> bool:
        """Whether a command runs, here or at another service, or is left over from one that died.

        What is left over of an interrupted job is so, too, when somebody has cancelled, paused or resumed that since.
        """
        now = self._clock()
        latest = (job for job in self._jobs.page(kind=KIND, statuses=PERHAPS) if job.id != mine)
        return any(job.status is JobStatus.RUNNING or _still_runs(job, self._hook(), now) for job in latest)

    def _do(self, job: Job, hook: Hook, claimed: float) -> None:
        looked = self._monotonic()
        ends = Wish.NONE
        lease = _Lease(self._monotonic, claimed)

        def began(pid: int) -> None:
            lease.pid = pid  # first: the ledger may not answer
            started = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 0.0
            counts = {**job.counts, "pid": pid, "pid_started": int(started * 1000)}
            self._jobs.progress(job.id, counts, self._owner)

        def going() -> bool:
            nonlocal looked, ends
            now = self._monotonic()
            if now - looked >= TICK:
                looked = now
                with suppress(DunlinError):
                    ends = self._jobs.wishes(self._owner).get(job.id, Wish.NONE)
                    if now - lease.renewed >= HELD / 3:
                        if job.id not in self._jobs.renew(self._owner, HELD):
                            lease.lost = True
                        lease.renewed = now
            return lease.sure() and not self._ended.is_set() and ends is not Wish.CANCEL

        with lease:
            ran = self._run(hook, began, going)
        if lease.lost:  # if nobody has taken it after all, it is queued again
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)
            return
        result = {
            "exit_status": ran.status,
            "output": ran.output,
            "seconds": round(ran.seconds, 3),
            "timed_out": ran.timed_out,
        }
        if self._ended.is_set() and ran.status != 0:
            # The service ends, not the command: the burst is kept for the next one.
            self._jobs.move(job.id, JobStatus.QUEUED, (JobStatus.RUNNING,), owner=self._owner)
            return
        good = ran.status == 0 and not ran.timed_out
        error = "cancelled" if ends is Wish.CANCEL and not good else ran.error
        to = JobStatus.COMPLETED if good else JobStatus.CANCELLED if error == "cancelled" else JobStatus.FAILED
        self._jobs.move(job.id, to, (JobStatus.RUNNING,), error, msgspec.json.encode(result), self._owner)
        detail = error or f"exit status 0 after {ran.seconds:.1f} s"
        self._audit.record("service", "hook.ran", shlex.split(hook.command)[0], detail, self._tenant)
        level = Level.INFO if good else Level.ERROR
        self._report.event(Event(level, "hook.ran", f"command after uploads: {detail}", {"job": job.id}))


class _Lease:
    """Whether a job is surely ours; its command is ended when it is not any more. Asks nobody.

    Attributes:
        renewed: when the ledger was asked for it last, by `clock`, which is monotonic.
        pid: of the command, which leads its session; 0: it has not begun.
        lost: it may be another service's.
    """

    def __init__(self, clock: Callable[[], float], claimed: float) -> None:
        self._clock = clock
        self.renewed = claimed
        self.pid = 0
        self.lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="command-hook-clock", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def sure(self) -> bool:
        """Whether it is ours for long enough to end the command in. Once it was not, it is lost."""
        if self._clock() - self.renewed > SURE:
            self.lost = True
        return not self.lost

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            if not self.sure() and self.pid:
                for number in (signal.SIGTERM, signal.SIGKILL):
                    with suppress(OSError):
                        os.killpg(self.pid, number)
                    if self._over.wait(GRACE):
                        return


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
        wrong = "ended before its time"
    elif status:
        wrong = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
    return Ran(status, kept.text(), seconds, timed_out, wrong)


def _ended(process: subprocess.Popen[bytes], output: int, kept: _Kept, seconds: float) -> bool:
    """Read what comes within so many seconds; whether the process has ended."""
    poll = select.poll()  # `select.select` knows 1,024 descriptors, and a service may have more
    poll.register(output, select.POLLIN)
    if poll.poll(seconds * 1000) and not _read(output, kept):
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
