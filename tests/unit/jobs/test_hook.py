"""The command after uploads: one run for a burst, never two at once, and what became of it on record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import hook as module
from dunlin.jobs.hook import GRACE, HELD, OUTPUT, SURE, TICK, CommandHook, Hook, Ran, run_command
from dunlin.queue.ledger import Job, JobStatus, Ledger, NewJob, Wish, open_ledger
from dunlin.report import RecordingReport

PYTHON = sys.executable


def nothing(pid: int) -> None:
    """The process is of no interest."""


def command(code: str, **more: float) -> Hook:
    quoted = code.replace("'", "'\"'\"'")
    return Hook(f"{PYTHON} -c '{quoted}'", 60.0, 30.0, True)._replace(**more)


class Scene:
    """A hook whose command only counts, and a clock."""

    def __init__(self, root: Path) -> None:
        self.now = 1_000_000.0
        self.ledger: Ledger = open_ledger(str(root / "ledger.db"), clock=lambda: self.now)
        self.report = RecordingReport()
        self.hook = Hook("run it", 60.0, 600.0, True)
        self.ran: list[float] = []
        self.outcome = Ran(0, "done\n", 1.5, False, "")
        self.during: Callable[[], object] = lambda: None
        self.going: Callable[[], bool] = lambda: True
        self.command = self.service("service")

    def service(self, owner: str) -> CommandHook:
        return CommandHook(
            lambda: self.hook,
            self.ledger.jobs,
            self.ledger.audit,
            self.report,
            owner=owner,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            run=self._run,
        )

    def _run(self, hook: Hook, began: Callable[[int], object], going: Callable[[], bool]) -> Ran:
        began(os.getpid())
        assert going()
        self.going = going
        self.ran.append(self.now)
        self.during()
        return self.outcome

    def jobs(self, *statuses: JobStatus) -> list[Job]:
        return self.ledger.jobs.page(kind="hook", statuses=statuses)

    def pass_time(self, seconds: float) -> None:
        """As the watching thread sees it."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.command.step()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.ledger.close()


def test_one_run_for_a_burst_after_it(scene: Scene) -> None:
    start = scene.now
    for _ in range(10):
        scene.command.uploaded(25)
        scene.pass_time(30)
    assert scene.ran == []
    scene.pass_time(300)
    assert scene.ran == [start + 9 * 30 + 60]
    [job] = scene.jobs()
    assert job.status is JobStatus.COMPLETED
    assert job.counts["uploads"] == 250
    assert msgspec.json.decode(job.result) == {
        "exit_status": 0,
        "output": "done\n",
        "seconds": 1.5,
        "timed_out": False,
    }
    [deed] = scene.ledger.audit.page()
    assert (deed.verb, deed.target, deed.detail) == ("hook.ran", "run", "exit status 0 after 1.5 s")


def test_a_hundred_uploads_in_a_second_are_a_few_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, rows = scene.ledger.jobs.progress, []
    monkeypatch.setattr(
        scene.ledger.jobs, "progress", lambda id, counts: (rows.append(dict(counts)), progress(id, counts))
    )
    for _ in range(100):
        scene.command.uploaded(2)
        scene.now += 0.015
    assert [row["uploads"] for row in rows] == [2, 136]
    scene.now += 10
    scene.command.uploaded(1)
    assert rows[-1]["uploads"] == 201


def test_no_uploads_no_run(scene: Scene) -> None:
    scene.command.uploaded(0)
    scene.pass_time(100)
    assert not scene.ran
    assert not scene.jobs()


@pytest.mark.parametrize("hook", [Hook("run it", enabled=False), Hook("", enabled=True), Hook(" ", enabled=True)])
def test_nothing_runs_that_is_not_wanted(scene: Scene, hook: Hook) -> None:
    scene.hook = hook
    scene.command.uploaded(1)
    scene.pass_time(100)
    assert not scene.ran
    assert not scene.jobs()


def test_a_command_that_is_switched_off_meanwhile(scene: Scene) -> None:
    scene.command.uploaded(1)
    scene.hook = scene.hook._replace(enabled=False)
    scene.pass_time(100)
    assert [job.status for job in scene.jobs()] == [JobStatus.CANCELLED]


def test_uploads_that_never_pause_do_not_put_it_off_for_ever(scene: Scene) -> None:
    start = scene.now
    while not scene.ran:
        scene.command.uploaded(1)
        scene.pass_time(20)
    assert scene.ran == [start + 600]


def test_uploads_while_it_runs_are_another_burst(scene: Scene) -> None:
    scene.command.uploaded(1)
    scene.during = lambda: scene.command.uploaded(1)
    scene.pass_time(60)
    assert len(scene.ran) == 1
    scene.during = lambda: None
    scene.pass_time(59)
    assert len(scene.ran) == 1
    scene.pass_time(5)
    assert len(scene.ran) == 2


def test_never_two_at_once(scene: Scene) -> None:
    other = scene.service("other")
    scene.command.uploaded(1)

    def meanwhile() -> None:
        scene.command.uploaded(1)
        scene.now += 1000
        # It renews its claim as long as it runs.
        scene.ledger.jobs.renew("service", 30.0)
        assert not other.step()

    scene.during = meanwhile
    scene.pass_time(60)
    assert len(scene.ran) == 1
    scene.during = lambda: None
    assert other.step()
    assert len(scene.ran) == 2


def test_a_failure_is_on_record(scene: Scene) -> None:
    scene.outcome = Ran(3, "no space\n", 0.25, False, "exit status 3")
    scene.command.uploaded(1)
    scene.pass_time(61)
    [job] = scene.jobs()
    assert (job.status, job.error) == (JobStatus.FAILED, "exit status 3")
    assert b"no space" in job.result
    assert [event.message for event in scene.report.named("hook.ran")] == ["command after uploads: exit status 3"]


def test_a_command_that_runs_is_ended_when_its_job_is_cancelled(scene: Scene) -> None:
    scene.command.uploaded(1)
    asked: list[bool] = []

    def during() -> None:
        [job] = scene.jobs(JobStatus.RUNNING)
        assert scene.ledger.jobs.ask(job.id, Wish.CANCEL)
        asked.append(scene.going())
        scene.now += 1
        asked.append(scene.going())
        scene.outcome = Ran(-15, "half", 1.0, False, "ended before its time")

    scene.during = during
    scene.pass_time(61)
    assert asked == [True, False]
    [job] = scene.jobs()
    assert (job.status, job.error) == (JobStatus.CANCELLED, "cancelled")
    assert b"half" in job.result


def test_a_command_whose_job_is_another_services_is_ended(scene: Scene) -> None:
    scene.command.uploaded(1)
    asked: list[bool] = []

    def during() -> None:
        [job] = scene.jobs(JobStatus.RUNNING)
        scene.ledger.jobs.move(job.id, JobStatus.INTERRUPTED)
        scene.ledger.jobs.move(job.id, JobStatus.QUEUED)
        assert scene.ledger.jobs.claim("other", 60.0, ("hook",))
        scene.now += 10
        asked.append(scene.going())

    scene.during = during
    scene.pass_time(61)
    assert asked == [False]
    [job] = scene.jobs()
    assert (job.status, job.owner) == (JobStatus.RUNNING, "other"), "its end is not ours to tell"
    assert scene.ledger.audit.page() == []


def test_a_command_ends_when_the_ledger_is_away_for_longer_than_its_lease(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.command.uploaded(1)
    asked: list[bool] = []

    def away(*_: object) -> None:
        raise DunlinError("use the ledger", "", ErrorKind.NETWORK, "away")

    def during() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(scene.ledger.jobs, "wishes", away)
            for _ in range(2):
                scene.now += 20
                asked.append(scene.going())

    scene.during = during
    scene.pass_time(61)
    assert asked == [True, False]
    assert [job.status for job in scene.jobs()] == [JobStatus.QUEUED], "nobody took it, so it is done again"


def test_a_command_has_ended_before_another_service_may_begin_it(scene: Scene) -> None:
    """To end it may take all of the time between being asked to end and being made to."""
    scene.command.uploaded(1)
    asked: list[bool] = []

    def during() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scene.ledger.jobs, "wishes", _away)
            for seconds in (HELD - GRACE - 2 * TICK, 0.1):
                scene.now += seconds
                asked.append(scene.going())

    scene.during = during
    scene.pass_time(61)
    assert asked == [True, False]


def _away(*_: object) -> None:
    raise DunlinError("use the ledger", "", ErrorKind.NETWORK, "away")


def test_a_command_ends_in_time_though_the_ledger_does_not_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    answer, asked, seen = threading.Event(), threading.Event(), list[int]()

    def silent(owner: str) -> dict[str, Wish]:
        scene.now += SURE + 1  # as long as it takes
        asked.set()
        assert answer.wait(20)
        return {}

    def run(hook: Hook, began: Callable[[int], object], going: Callable[[], bool]) -> Ran:
        def also(pid: int) -> None:
            seen.append(pid)
            began(pid)
            scene.now += 1

        return run_command(hook, also, going)

    scene.hook = command("import time; time.sleep(60)")
    scene.command._run = run
    scene.command.uploaded(1)
    scene.now += 61
    monkeypatch.setattr(scene.ledger.jobs, "wishes", silent)
    thread = threading.Thread(target=scene.command.step)
    thread.start()
    try:
        assert asked.wait(20)
        until = time.monotonic() + 20
        while not gone(seen[0]):
            assert time.monotonic() < until
    finally:
        answer.set()
        thread.join(20)
    assert [job.status for job in scene.jobs()] == [JobStatus.QUEUED]


def test_two_services_that_claim_two_bursts_at_once_do_not_both_run_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.command.uploaded(1)
    scene.now += 61
    claim = scene.ledger.jobs.claim

    def faster(owner: str, seconds: float, kinds: tuple[str, ...]) -> Job | None:
        assert claim("other", seconds, kinds)
        scene.ledger.jobs.submit(NewJob("hook", label="the next burst"))
        return claim(owner, seconds, kinds)

    monkeypatch.setattr(scene.ledger.jobs, "claim", faster)
    assert not scene.command.step()
    assert scene.ran == []
    assert sorted(job.status for job in scene.jobs()) == [JobStatus.QUEUED, JobStatus.RUNNING]


@contextmanager
def left_running(scene: Scene, files: int) -> Iterator[tuple[subprocess.Popen[bytes], Job]]:
    """The command that a service began after so many uploads, which died since; and its job."""
    child = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        scene.now = time.time()
        scene.command.uploaded(files)
        scene.now += 61
        job = scene.ledger.jobs.claim("dead", 30.0, ("hook",))
        assert job is not None
        started = int(psutil.Process(child.pid).create_time() * 1000)
        scene.ledger.jobs.progress(job.id, {**job.counts, "pid": child.pid, "pid_started": started})
        yield child, job
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("to", [JobStatus.CANCELLED, JobStatus.QUEUED])
def test_what_is_left_of_a_dead_service_counts_whatever_became_of_its_job(scene: Scene, to: JobStatus) -> None:
    with left_running(scene, 1) as (child, job):
        scene.ledger.jobs.move(job.id, JobStatus.INTERRUPTED)
        scene.ledger.jobs.move(job.id, to)
        scene.command.uploaded(1)
        scene.now += 61
        assert not scene.command.step()
        child.kill()
        child.wait()
        assert scene.command.step()


# ---- a restart ----


def test_a_burst_survives_a_restart(scene: Scene) -> None:
    start = scene.now
    scene.command.uploaded(5)
    scene.now += 10
    scene.command = scene.service("after the restart")
    scene.pass_time(100)
    assert scene.ran == [start + 60]


def test_a_run_that_was_cut_is_made_again(scene: Scene) -> None:
    scene.command.uploaded(5)
    scene.now += 61
    assert scene.ledger.jobs.claim("dead", 30.0, ("hook",))
    assert not scene.command.step()
    scene.now += 31
    scene.ledger.jobs.sweep()
    assert scene.command.step()
    assert len(scene.ran) == 1
    assert [job.status for job in scene.jobs()] == [JobStatus.COMPLETED]


@pytest.mark.parametrize("late", [False, True])
def test_what_is_left_of_a_dead_service_ends_before_the_next_run(scene: Scene, late: bool) -> None:
    with left_running(scene, 5) as (child, _):
        scene.now += 31
        scene.ledger.jobs.sweep()
        scene.command.uploaded(1)
        assert not scene.command.step()
        scene.now += 100
        assert not scene.command.step()
        assert scene.ran == []
        if late:
            scene.now += 700  # its time is over
        else:
            child.kill()
            child.wait()
        assert scene.command.step()
        assert child.wait(10) == -signal.SIGKILL


def test_a_number_that_is_another_process_by_now_is_left_alone(scene: Scene) -> None:
    scene.command.uploaded(5)
    scene.now += 61
    job = scene.ledger.jobs.claim("dead", 30.0, ("hook",))
    assert job is not None
    scene.ledger.jobs.progress(job.id, {**job.counts, "pid": os.getpid(), "pid_started": 1000})
    scene.now += 31
    scene.ledger.jobs.sweep()
    assert scene.command.step()


# ---- the command itself ----


def test_output_and_status() -> None:
    code = 'import sys; print("out", flush=True); print("err", file=sys.stderr); sys.exit(4)'
    ran = run_command(command(code), nothing, lambda: True)
    assert (ran.status, ran.output, ran.error, ran.timed_out) == (4, "out\nerr\n", "exit status 4", False)
    good = run_command(command("pass"), nothing, lambda: True)
    assert (good.status, good.output, good.error) == (0, "", "")


def test_it_is_no_shell(tmp_path: Path) -> None:
    ran = run_command(Hook(f"echo $HOME '*' ; touch {tmp_path}/x", 1.0, 30.0, True), nothing, lambda: True)
    assert ran.output == f"$HOME * ; touch {tmp_path}/x\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["/nowhere/at/all", "'unbalanced", "/etc"])
def test_what_cannot_be_started(text: str) -> None:
    ran = run_command(Hook(text, 1.0, 30.0, True), nothing, lambda: True)
    assert ran.status is None
    assert ran.error.startswith("the command could not be started: ")


def test_a_long_output_is_bounded() -> None:
    ran = run_command(command("print('first'); print('x' * 10_000_000); print('last')"), nothing, lambda: True)
    assert ran.output.startswith("first\n")
    assert ran.output.endswith("x\nlast\n")
    assert len(ran.output) < OUTPUT + 100
    assert "bytes left out" in ran.output


SPAWNS = """
import subprocess, sys, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
open(sys.argv[1], "w").close()
time.sleep(60)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"

    def clock() -> float:
        return time.monotonic() + 60 * begun.exists()  # its time is over as soon as it has started what it starts

    monkeypatch.setattr(module, "GRACE", 0.2)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    hook = command(SPAWNS, timeout=60.0)
    ran = run_command(hook._replace(command=f"{hook.command} {begun}"), nothing, lambda: True)
    assert (ran.status, ran.timed_out) == (-signal.SIGKILL, True)
    assert ran.error == "ended after 60 seconds: it took too long"
    child = int(ran.output)
    until = time.monotonic() + 20
    while not gone(child):
        assert time.monotonic() < until


def test_what_it_leaves_in_the_background_is_ended() -> None:
    code = 'import subprocess, sys; print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)'
    ran = run_command(command(code), nothing, lambda: True)
    assert ran.status == 0
    until = time.monotonic() + 20
    while not gone(int(ran.output)):
        assert time.monotonic() < until


def test_a_service_that_ends_takes_it_along_and_keeps_the_burst(scene: Scene) -> None:
    scene.hook = command("import time; time.sleep(60)")
    begun = threading.Event()

    def run(hook: Hook, began: Callable[[int], object], going: Callable[[], bool]) -> Ran:
        def also(pid: int) -> None:
            began(pid)
            begun.set()

        return run_command(hook, also, going)

    scene.command._run = run
    scene.command.uploaded(1)
    scene.now += 61
    thread = threading.Thread(target=scene.command.step)
    thread.start()
    assert begun.wait(20)
    scene.command.close()
    thread.join(20)
    assert not thread.is_alive()
    assert [job.status for job in scene.jobs()] == [JobStatus.QUEUED]


def test_the_thread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    ran = threading.Event()
    scene.during = ran.set
    scene.command.uploaded(1)
    scene.now += 61
    scene.command.start()
    assert ran.wait(20)
    scene.command.close()
    assert [job.status for job in scene.jobs()] == [JobStatus.COMPLETED]


