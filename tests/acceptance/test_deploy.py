"""The configuration of deploy/ and the command lines of its units for systemd, beside PostgreSQL and beside Redis."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.clouds import Cloud, cloud
from tests.acceptance.program import dunlin, start
from tests.acceptance.trouble import until
from tests.servers.process import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ("dunlin-serve.service", "dunlin-worker@.service")


class Deployed(NamedTuple):
    """The service and a worker that run, where they can be reached, what they write to, and what they were told."""

    processes: tuple[subprocess.Popen[bytes], ...]
    url: str
    data: Path
    bucket: Cloud
    configuration: Path
    work: Path
    env: dict[str, str]


def words(unit: str, configuration: Path) -> list[str]:
    """The command of a unit, with another configuration."""
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return [str(configuration) if word == "/etc/dunlin/dunlin.yaml" else word for word in shlex.split(line)[1:]]


@pytest.fixture(params=["postgres", "redis"])
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    server = request.getfixturevalue(request.param)
    queue = server.database() if request.param == "postgres" else server.queue()
    bucket, port, work, data = cloud(request, "fast"), free_port(), tmp_path / "work", tmp_path / "data"
    work.mkdir()
    data.mkdir()
    text = (DEPLOY / "dunlin.yaml").read_text(encoding="utf-8")
    for before, after in (
        ("0.0.0.0:8080", f"127.0.0.1:{port}"),
        ("/srv/data", str(data)),
        ("s3://example-bucket", bucket.url),
    ):
        assert before in text
        text = text.replace(before, after)
    configuration = tmp_path / "dunlin.yaml"
    configuration.write_text(text, encoding="utf-8")
    env = {**bucket.env, "AWS_ENDPOINT_URL": bucket.origin, "DUNLIN_QUEUE_URL": queue}
    logs = [open(tmp_path / f"{unit}.log", "wb") for unit in UNITS]  # noqa: SIM115
    processes = tuple(
        start(*words(unit, configuration), cwd=work, env=env, stdout=log, stderr=log)
        for unit, log in zip(UNITS, logs, strict=True)
    )
    try:
        yield Deployed(processes, f"http://127.0.0.1:{port}", data, bucket, configuration, work, env)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for log in logs:
            log.close()


def ask(url: str, body: object = None) -> tuple[int, str]:
    """The status and the body of an answer; 0 where nobody is there."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.mark.slow
def test_the_units_serve_work_and_end_in_order(deployed: Deployed) -> None:
    url = deployed.url
    until(lambda: ask(f"{url}/healthz")[0] == 200)
    until(lambda: ask(f"{url}/readyz")[0] == 200)
    (deployed.data / "sub").mkdir()
    (deployed.data / "sub" / "name").write_text("content")

    status, _ = ask(f"{url}/publish", [{"from": str(deployed.data / "sub"), "to": "store/"}])
    assert status == 200
    assert until(deployed.bucket.keys) == ["store/name"]
    status, said = ask(f"{url}/publish", [{"from": "/etc/hostname", "to": "store/"}])
    assert status in (400, 403), said
    assert ask(f"{url}/check/other/name")[0] == 403

    def workers() -> int:
        lines = ask(f"{url}/metrics")[1].splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("dunlin_queue_workers "))

    until(lambda: workers() >= 2)  # the service's own, and the other one
    made = dunlin("key", "add", "first", "--role", "admin", "--config", deployed.configuration,
                  cwd=deployed.work, env=deployed.env, expect=0)  # fmt: skip
    assert made.stdout.startswith("dk_")
    for process in deployed.processes:
        process.terminate()
    begun = time.monotonic()
    assert [process.wait(60) for process in deployed.processes] == [0, 0]
    assert time.monotonic() - begun < 45, "half of what TimeoutStopSec gives"
