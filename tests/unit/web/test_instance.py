"""Whether a service of this machine has ended is told by its lock, and by nothing that another may share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import JobStatus, NewJob
from dunlin.queue.open import open_queue
from dunlin.web.instance import KEPT, Instance, ended
from dunlin.web.serve import meeting_place, take_over

CODE = """
import os, sys
from dunlin.web.instance import Instance
print(Instance(sys.argv[1]).name, flush=True)
sys.stdin.read()
os._exit(1)
"""


def killed(directory: Path) -> str:
    """The name of a service that ended without a word."""
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert ended([name], str(directory)) == set(), "it lives"
        process.communicate()
    return name


def test_a_service_that_was_killed_is_known_to_have_ended(tmp_path: Path) -> None:
    name = killed(tmp_path)
    assert ended([name, f"{name}:hook", ""], str(tmp_path)) == {name, f"{name}:hook"}


def test_one_that_lives_has_not_and_one_that_closed_has_left_nothing(tmp_path: Path) -> None:
    one = Instance(str(tmp_path))
    assert ended([one.name, f"{one.name}:publish"], str(tmp_path)) == set()
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_known_of_a_service_with_the_same_name_and_number_elsewhere(tmp_path: Path) -> None:
    here = f"{socket.gethostname()}:{os.getpid()}:"
    assert ended([f"{here}0123456789", f"{socket.gethostname()}:999999999:00", "other"], str(tmp_path)) == set()


def test_files_of_services_that_were_killed_are_removed_in_the_end(tmp_path: Path) -> None:
    one, other = killed(tmp_path), killed(tmp_path)
    alive = Instance(str(tmp_path))
    old = [path.name for path in tmp_path.iterdir()]
    for path in tmp_path.iterdir():
        os.utime(path, (path.stat().st_mtime - 2 * KEPT,) * 2)
    (tmp_path / "dunlin-other.lock").touch()
    last = Instance(str(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left & set(old)) == 1, "of the one that lives"
    assert len(left) == 3
    assert ended([one, other, alive.name], str(tmp_path)) == set()
    alive.close()
    last.close()


def test_only_jobs_of_services_that_have_ended_are_taken_over(tmp_path: Path) -> None:
    ledger = open_ledger(None)
    dead, alive = killed(tmp_path), Instance(str(tmp_path))
    # As two containers with one host name, in which each is process 1.
    elsewhere = f"{socket.gethostname()}:{os.getpid()}:0123456789"
    owners = [dead, f"{dead}:hook", alive.name, elsewhere]
    for _ in owners:
        ledger.jobs.submit(NewJob("sync"))
    jobs = {owner: ledger.jobs.claim(owner, 30.0) for owner in owners}
    take_over(ledger, str(tmp_path))
    found = {}
    for owner, job in jobs.items():
        assert job is not None
        now = ledger.jobs.get(job.id)
        assert now is not None
        found[owner] = now.status
    assert list(found.values()) == [JobStatus.INTERRUPTED] * 2 + [JobStatus.RUNNING] * 2
    alive.close()
    ledger.close()


def test_services_meet_where_all_of_them_come(tmp_path: Path, postgres: Any) -> None:
    file, server = str(tmp_path / "queue.db"), postgres.queue()
    queue = open_queue(file)
    assert meeting_place(queue, file, str(tmp_path / "ledger.db")) is queue
    assert meeting_place(queue, "redis://host/0", server) is queue
    for place in (file, f"sqlite://{file}"):
        found = meeting_place(queue, place, server)
        other = open_queue(server)
        assert found.hold("office", "one", 30.0)
        assert not other.hold("office", "another", 30.0)
        found.leave("office", "one")
        found.close()
        other.close()
    queue.close()
