"""One large file: reader -> bounded FIFO -> hasher -> bounded FIFO -> writer.

Theory. Reading and writing the same file in turn uses a link in one direction at a time. Here a
reader thread fills blocks while the calling thread writes others, so a mount is read and another
written at the same moment (full duplex), and hashing, which is as much work as the copy itself,
runs on a core of its own between the two. A block is a buffer of a pool; it travels through the
queues by reference and goes back to the pool when it is written. The pool is the only bound, and
with it the back-pressure: a reader that is ahead waits for a free buffer.

Failure. Whichever side fails, the others must not wait for ever. The reader and the hasher pass an
exception on as the last item of their queue; the writer, when it fails, closes the generator, which
abandons the pool, and everybody who waits for a buffer ends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, Facts
from dunlin.pace.bucket import Paces
from dunlin.report import NullReport, Report, Task
from dunlin.stores.base import Body, Copies, Data, Meta, Reads, Writes, power
from dunlin.stores.buffers import Buffers
from dunlin.transfer.options import Options, pipeline_shape

if TYPE_CHECKING:  # loaded only where a store is far away
    from dunlin.transfer.resume import Resumable, Witness


@dataclass(slots=True, eq=False, repr=False)
class Block:
    """One entry of the FIFO.

    Attributes:
        data: the bytes; a view of a pool's buffer.
        offset: where they belong in the destination file.
        destination: path below the destination's root.
        facts: the source's facts: times, permissions and owner (those for the record).
        is_last: no block follows.
        file_hash: the digest of the whole file, on the last block only.
    """

    data: Data
    offset: int
    destination: str
    facts: Facts
    is_last: bool = False
    file_hash: bytes | None = None


Item = Block | BaseException


class Streamed(NamedTuple):
    """What a streamed file became: the entry at the destination and the digest of its content."""

    entry: Entry
    digest: bytes | None


def stream_file(
    source: Reads,
    target: Writes,
    entry: Entry,
    path: str,
    meta: Meta,
    options: Options,
    share: int,
    bucket: Paces,
    report: Report,
    large: int = 0,
    resumable: Resumable | None = None,
) -> Streamed:
    """Copy one file through the pipeline; whole or not at all, as `Writes.write` promises.

    Args:
        entry: the version to copy; another version raises CHANGED or VANISHED.
        path: the destination path.
        share: bytes of buffers that this file may use.
        bucket: asked for every block before it is written.
        report: gets a task with the bytes written.
        large: bytes of the blocks that one of the stores wants (`Caps.block`), 0 where any will do.
        resumable: the write may be continued by another run, or continue that of another.
    """
    copies = power(source, Copies) if options.checksum == "none" and not bucket.rate else None
    if copies is not None:
        try:
            return Streamed(copies.copy_into(entry, target, path, meta=meta, report=_Guarded(report, bucket)), None)
        except DunlinError as error:
            if error.kind is not ErrorKind.UNSUPPORTED:
                raise
    task = report.task(entry.path, entry.size)
    try:
        block, count = pipeline_shape(options, entry.size, share, large)
        if bucket.rate:
            block = bucket.block_for(block)
        digest: list[bytes] = []
        with contextlib.ExitStack() as opened:
            # Each opening has a pool of its own: the one before was abandoned with its pipeline.
            pool = Buffers(block, count)
            begun: Witness | None = None

            def seen(data: Data) -> None:
                from dunlin.transfer.resume import Witness

                nonlocal begun
                assert resumable is not None
                begun = begun or Witness(options.checksum, resumable.stated, entry.path, bucket)
                begun.see(data)
                task.advance(len(data))

            def open_at(start: int) -> Iterator[Data]:
                nonlocal begun, pool
                opened.close()
                digest.clear()
                pool = Buffers(block, count)
                witness = begun if begun is not None and begun.seen_bytes == start else None
                begun = None
                blocks = pipeline(source, entry, path, options.checksum, pool, start, witness)
                # The traceback of a failed write keeps the generator alive: close it here, not when it is collected.
                opened.enter_context(contextlib.closing(blocks))
                return _paced(blocks, bucket, task.advance, digest)

            body = Body(entry.size, open_at, lambda data: pool.give(data))
            if resumable is not None:
                proven = resumable.stated is not None
                body = replace(body, version=resumable.version, seen=seen, proven=proven)
            written = target.write(path, body, meta=meta)
        return Streamed(written, digest[0] if digest else None)
    finally:
        task.end()


class _Guarded(NullReport):
    """A report for a store that moves content by itself: each step that it tells of asks the bucket as well."""

    def __init__(self, report: Report, bucket: Paces) -> None:
        self._report = report
        self._bucket = bucket

    def task(self, name: str, total: int | None) -> Task:
        return _GuardedTask(self._report.task(name, total), self._bucket)


class _GuardedTask:
    def __init__(self, task: Task, bucket: Paces) -> None:
        self._task = task
        self._bucket = bucket
        self.end = task.end

    def advance(self, amount: int) -> None:
        self._bucket.take(amount)
        self._task.advance(amount)


def _paced(
    blocks: Iterator[Block], bucket: Paces, advance: Callable[[int], None], digest: list[bytes]
) -> Iterator[Data]:
    for block in blocks:
        if bucket.stopped:
            raise DunlinError("copy", block.destination, ErrorKind.INTERRUPTED, "the run was stopped")
        data = block.data
        # A limit that came or sank since the blocks were made asks for smaller ones. The pieces are copies: the
        # buffer may be given back only once, with the last of them.
        while (step := bucket.block_for(len(data))) < len(data):
            bucket.take(step)
            yield bytes(data[:step])
            advance(step)
            data = data[step:]
        bucket.take(len(data))
        if block.file_hash is not None:
            digest.append(block.file_hash)
        if len(data):
            yield data
        advance(len(data))


def pipeline(
    source: Reads,
    entry: Entry,
    path: str,
    checksum: str,
    pool: Buffers,
    start: int = 0,
    witness: Witness | None = None,
) -> Generator[Block, None, None]:
    """The blocks of `entry` from `start`, read and hashed by threads of their own.

    The receiver gives each block's data back to `pool`. A file hash is only made when the whole file
    is read, that is when `start` is 0, or when `witness` has seen what lies before `start`.
    """
    hasher = witness or (hashing.new(checksum) if start == 0 else None)
    read_queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
    hashed_queue: queue.SimpleQueue[Item] = queue.SimpleQueue() if hasher else read_queue
    threads = [threading.Thread(target=_read, args=(source, entry, path, pool, start, read_queue), daemon=True)]
    if hasher:
        threads.append(threading.Thread(target=_hash, args=(hasher, read_queue, hashed_queue), daemon=True))
    for thread in threads:
        thread.start()
    try:
        while True:
            item = hashed_queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if item.is_last:
                return
    finally:
        pool.abandon()
        for thread in threads:
            thread.join()


def _read(source: Reads, entry: Entry, path: str, pool: Buffers, start: int, out: queue.SimpleQueue[Item]) -> None:
    offset = start
    last: Block | None = None
    try:
        for data in source.read(entry, start, None, pool):
            block = Block(data, offset, path, entry.facts)
            offset += len(data)
            if offset < entry.size:
                out.put(block)
            else:
                # The last block waits until the store has had its second look at the version.
                last = block
        if last is None:
            last = Block(b"", offset, path, entry.facts)
        last.is_last = True
        out.put(last)
    except BaseException as error:  # passed on, not swallowed: the writer raises it
        out.put(error)


def _hash(hasher: hashing.Hasher | Witness, blocks: queue.SimpleQueue[Item], out: queue.SimpleQueue[Item]) -> None:
    while True:
        item = blocks.get()
        if isinstance(item, BaseException):
            out.put(item)
            return
        try:
            hasher.update(item.data)
            if item.is_last:
                item.file_hash = hasher.digest()
        except BaseException as error:  # passed on, as in `_read`
            out.put(error)
            return
        out.put(item)
        if item.is_last:
            return


def digest_of(source: Reads, entry: Entry, checksum: str, bucket: Paces) -> bytes:
    """The digest of a whole file, read at the pace of `bucket`; INTERRUPTED when that was stopped."""
    hasher = hashing.new(checksum)
    assert hasher is not None
    pool = Buffers(1 << 20, 2)
    for data in source.read(entry, into=pool):
        bucket.take(len(data))
        hasher.update(data)
        pool.give(data)
    return hasher.digest()
