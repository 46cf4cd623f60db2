"""Files through a queue and a ledger, with nothing done to them: `python -m bench.queue_flow QUEUE LEDGER FILES`.

This process is the service: it puts units of 250 files into the ledger and into the queue, and applies the results
that come back. Two more are workers: they lease, read each payload, and acknowledge with a result for every file.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time

import msgspec

from dunlin.queue.base import NewTask, Queue
from dunlin.queue.ledger import FileResult, FileStatus, NewFile, NewItem, NewJob, UnitResult, open_ledger
from dunlin.queue.open import open_queue

UNIT = 250
AHEAD = 20
"""Units that are put, leased and acknowledged in one call."""

WORKERS = 2


def work(url: str, worker: str) -> None:
    """Lease, read, acknowledge, until the queue says that all is over."""
    queue = open_queue(url)
    queue.write(worker, b"is there")
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    while queue.read("over") is None:
        done = []
        for lease in queue.lease(worker, AHEAD, 30.0, wait=0.2, queues=["flow"]):
            files = decode(lease.payload)
            done.append((lease, encode([(place, 1, size) for place, (_, _, size) in enumerate(files)])))
        queue.ack(done)
    queue.close()


def units(count: int) -> list[list[NewFile]]:
    """Files as a walk finds them."""
    names = [f"photos/2026/{number // 500:04}/picture-{number:07}.jpg" for number in range(count)]
    files = [NewFile(name, f"store/{name}", 4096 + number) for number, name in enumerate(names)]
    return [files[start : start + UNIT] for start in range(0, count, UNIT)]


def results(queue: Queue, job: str, after: int) -> tuple[list[UnitResult], int]:
    """What workers told since that number of news, and the number of the last."""
    news = queue.collect("flow", 4 * AHEAD, wait=0.05, after=after)
    told = []
    for one in news:
        rows = msgspec.msgpack.decode(one.body)
        files = [FileResult(place, FileStatus(status), "", size) for place, status, size in rows]
        told.append(UnitResult(job, int(one.key), one.attempt, files, one.worker))
    return told, news[-1].number if news else after


def flow(url: str, where: str, count: int) -> dict[str, float]:
    """Send so many files through; how long it took, and what the ledger says at the end."""
    queue, ledger = open_queue(url), open_ledger(where)
    spawn = multiprocessing.get_context("spawn")
    crew = [spawn.Process(target=work, args=(url, f"worker {number}")) for number in range(WORKERS)]
    for one in crew:
        one.start()
    while any(queue.read(f"worker {number}") is None for number in range(WORKERS)):
        time.sleep(0.01)
    waiting = units(count)
    job = ledger.jobs.submit(NewJob("publish"), [NewItem("/data", "store/")]).job.id
    ledger.jobs.claim("service", 600.0)
    begun, taken, last, total = time.perf_counter(), 0, 0, len(waiting)
    while taken < total:
        batch, waiting = waiting[:AHEAD], waiting[AHEAD:]
        if batch:
            opened = ledger.files.add_units(job, batch)
            queue.put([NewTask("flow", str(unit.number), msgspec.msgpack.encode(
                [(file.path, file.key, file.size) for file in unit.files])) for unit in opened])  # fmt: skip
        told, upto = results(queue, job, last)
        if told:
            taken += sum(ledger.files.apply(told))
            queue.confirm("flow", upto)
            last = upto
    seconds = time.perf_counter() - begun
    queue.write("over", b"1")
    for one in crew:
        one.join()
    totals = ledger.files.totals(job)
    queue.close()
    ledger.close()
    return {"seconds": seconds, "files": count, "uploaded": totals.uploaded, "pending": totals.pending}


if __name__ == "__main__":
    print(json.dumps(flow(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
