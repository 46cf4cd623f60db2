"""The query by which the example for Kubernetes scales workers, asked of a real PostgreSQL that holds a queue."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import yaml

from dunlin.queue.base import NewTask
from dunlin.queue.open import open_queue
from tests.servers.postgres import Postgres

FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "scale-keda.yaml"


def query() -> str:
    scaled = [each for each in yaml.safe_load_all(FILE.read_text(encoding="utf-8")) if each["kind"] == "ScaledObject"]
    found: str = scaled[0]["spec"]["triggers"][0]["metadata"]["query"]
    return found


def tasks(queue: str, *keys: str, delay: float = 0.0) -> list[NewTask]:
    return [NewTask(queue, key, b"", delay=delay) for key in keys]


def test_it_counts_what_workers_are_needed_for(postgres: Postgres) -> None:
    url = postgres.database()
    queue = open_queue(url)
    try:
        with psycopg.connect(url, autocommit=True) as connection:

            def needed() -> int:
                row = connection.execute(query().encode()).fetchone()
                assert row is not None
                return int(row[0])

            assert needed() == 0
            queue.put(tasks("run", "a", "b", "c"))
            queue.put(tasks("run", "later", delay=3600))
            queue.put(tasks("paused", "x", "y"))
            assert needed() == 5
            first, second = (queue.lease("worker", 1, 60, queues=[name])[0] for name in ("paused", "run"))
            queue.pause("paused")
            assert needed() == 4, "x is leased, y waits for nobody"
            queue.ack([(first, b""), (second, b"")])
            assert needed() == 2
            queue.nack(queue.lease("worker", 1, 60)[0], "broken", final=True)
            assert needed() == 1, "a dead task needs a person"
            queue.put(tasks("soon", "z", delay=0.05))
            end = time.monotonic() + 10
            while needed() != 2:  # nobody looks at it: there may be no worker at all
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        queue.close()
