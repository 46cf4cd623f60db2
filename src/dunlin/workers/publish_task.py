"""Units of the queue `publish`, as the loop of a worker takes them (`agent.Handler`)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dunlin.queue.base import Lease
from dunlin.report import Report
from dunlin.stores.base import Store
from dunlin.stores.open import Far, is_far, open_store
from dunlin.workers.agent import Handler
from dunlin.workers.part import Resolve
from dunlin.workers.publishing import Tools, publish_unit

QUEUE = "publish"


def publisher(resolve: Resolve, parallel: int, report: Report) -> Handler:
    """A handler that opens each destination once. `parallel`: files in flight where it is far away."""
    stores: dict[str, Store] = {}
    lock = threading.Lock()

    def opened(place: str) -> Store:
        with lock:
            if place not in stores:
                url, login = resolve(place, "dest")
                stores[place] = open_store(url, far=Far(login=login, listings=1) if is_far(url) else None)
            return stores[place]

    def handle(lease: Lease, tell: Callable[[bytes], bool], may: Callable[[], bool]) -> bytes:
        tools = Tools(opened, tell=tell, may=may, attempt=lease.attempt, report=report, parallel=parallel)
        return publish_unit(lease.payload, tools)

    return handle
