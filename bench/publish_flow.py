"""One folder through ``POST /publish`` of a running service: ``python -m bench.publish_flow FOLDER WORK COMMAND...``.

Prints one JSON object: how long the request took, when the first file stood at the destination, when the walk ended
and when all was done, and how much memory the service had before and at most meanwhile.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import descendants, proportional
from dunlin.queue.ledger import JobStatus, open_ledger
from tests.servers.process import free_port

PATIENCE = 600.0
LOOK = 0.005


def main(folder: Path, work: Path, command: list[str]) -> dict[str, Any]:
    """Start the service, publish a small folder to warm it up, then the one that is measured."""
    with serving(work, command) as (port, service):
        (work / "warm").mkdir()
        (work / "warm" / "file").write_bytes(b"x")
        ledger = open_ledger(str(work / "ledger.db"))
        warm = post(port, work / "warm", "store/warm/")
        until(lambda: ledger.jobs.get(warm).status is JobStatus.COMPLETED)
        before = memory(service.pid)
        told: dict[str, Any] = {"before": before, "first": None, "walked": None}
        samples = [before]
        began = time.monotonic()
        job = post(port, folder, "store/folder/")
        told["accepted"] = time.monotonic() - began
        place = work / "there" / "store" / "folder"
        until(lambda: any(files for _, _, files in os.walk(place)))
        told["first"] = time.monotonic() - began
        told["known_at_first"] = ledger.files.totals(job).total_files
        told["walking_at_first"] = not ledger.files.totals(job).walked

        def ended() -> bool:
            time.sleep(0.05)
            totals = ledger.files.totals(job)
            if told["walked"] is None:
                samples.append(memory(service.pid))
                if totals.walked:
                    told["walked"] = time.monotonic() - began
            return ledger.jobs.get(job).status is not JobStatus.RUNNING

        until(ended)
        told["done"] = time.monotonic() - began
        half = len(samples) // 2
        told |= {"peak": max(samples), "first_half": max(samples[: half + 1]), "second_half": max(samples[half:])}
        totals = ledger.files.totals(job)
        told |= {"uploaded": totals.uploaded, "failed": totals.failed, "end": memory(service.pid)}
        ledger.close()
        return told


@contextmanager
def serving(work: Path, command: list[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A service that publishes into `work`/there, which is made: its port and process; it is ended at the end."""
    port = free_port()
    work.mkdir(parents=True)
    settings = {
        "http": {"addr": f"127.0.0.1:{port}"},
        "publish": {"destination": str(work / "there")},
        "queue": {"url": str(work / "queue.db"), "ledger": str(work / "ledger.db")},
    }
    (work / "config.yaml").write_text(json.dumps(settings))
    with (work / "log").open("wb") as log:
        service = subprocess.Popen([*command, "serve", "--config", work / "config.yaml"], stderr=log, stdout=log)
    try:
        until(lambda: answers(port))
        yield port, service
    finally:
        service.terminate()
        service.wait(60)


def until(what: Callable[[], Any]) -> None:
    """Wait for it."""
    limit = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > limit:
            raise SystemExit("nothing happened for too long")
        time.sleep(LOOK)


def answers(port: int) -> bool:
    """Whether the service is up."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False


def post(port: int, folder: Path, to: str) -> str:
    """Publish; the job's id."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps([{"from": str(folder), "to": to}])
    connection.request("POST", "/publish", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(text.decode())
    return str(json.loads(text)["job_id"])


def memory(pid: int) -> int:
    """Bytes of the service and of all that it started."""
    return sum(proportional(each) for each in (pid, *descendants(pid)))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
