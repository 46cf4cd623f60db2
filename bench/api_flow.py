"""Reads of the HTTP API under load while a sync runs: ``python -m bench.api_flow FOLDER WORK SECONDS COMMAND...``.

wrk (the load generator of that name) asks with 32 connections for a mix of what a page, a program and a probe ask for:
the lists of jobs, schedules, tasks and queues, one job, its files, the metrics, health. Jobs that sync the folder to
new places follow each other meanwhile. Prints one JSON object: requests per second, the 99th and 50th percentile in
ms, errors, and how many syncs ended.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from bench.publish_flow import serving, until

CONNECTIONS = 32
MIX = ("/api/v1/jobs", "/api/v1/jobs/{job}", "/api/v1/jobs/{job}/files?limit=50", "/api/v1/queues", "/api/v1/tasks",
       "/api/v1/schedules", "/healthz", "/metrics", "/api/v1/jobs?status=running", "/monitoring/")  # fmt: skip
LUA = """
local paths = {PATHS}
local at = 0
request = function()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
"""


def main(folder: Path, work: Path, seconds: int, command: list[str]) -> dict[str, Any]:
    """Start the service, let it sync, and ask."""
    with serving(work, command) as (port, _):
        few = work / "few"
        few.mkdir()
        for number in range(200):
            (few / f"file{number}").write_text("x")
        published = call(port, "POST", "/publish", [{"from": str(few), "to": "store/"}])["job_id"]
        syncs = Syncs(port, folder, work)
        syncs.start()
        until(lambda: syncs.begun)
        told = load(port, published, seconds, work)
        syncs.over = True
        syncs.join(120)
        return told | {"syncs": syncs.ended, "failed_syncs": syncs.failed}


class Syncs(threading.Thread):
    """One sync after the other, as jobs of the service."""

    def __init__(self, port: int, folder: Path, work: Path) -> None:
        super().__init__(daemon=True)
        self.port, self.folder, self.work = port, folder, work
        self.begun = self.over = False
        self.ended = self.failed = 0

    def run(self) -> None:
        while not self.over:
            place = self.work / f"place{self.ended}"
            options = {"source": str(self.folder), "destination": str(place), "state_db": "none"}
            job = call(self.port, "POST", "/api/v1/jobs", {"kind": "sync", "options": options})["id"]
            self.begun = True
            until(lambda job=job: call(self.port, "GET", f"/api/v1/jobs/{job}")["status"] not in ("queued", "running"))
            self.failed += call(self.port, "GET", f"/api/v1/jobs/{job}")["status"] != "completed"
            self.ended += 1
            shutil.rmtree(place, ignore_errors=True)


def load(port: int, job: str, seconds: int, work: Path) -> dict[str, Any]:
    """What wrk says."""
    script = work / "mix.lua"
    script.write_text(LUA.replace("PATHS", ", ".join(f'"{path.format(job=job)}"' for path in MIX)))
    words = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(script)]
    said = subprocess.run([*words, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True).stdout
    errors = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", said))
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]),  # type: ignore[index]
        "p50": milliseconds(said, 50),
        "p99": milliseconds(said, 99),
        "errors": errors,
    }


def milliseconds(said: str, percent: int) -> float:
    """A percentile out of wrk's words."""
    value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", said).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def call(port: int, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One request; its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(
        method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text.decode()}")
    found: dict[str, Any] = json.loads(text)
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))
