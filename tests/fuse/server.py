"""The request loop: threads that read requests from ``/dev/fuse``, do them and write the replies."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from ctypes import CDLL, c_char_p, c_ulong, get_errno
from pathlib import Path

from tests.fuse import protocol as p
from tests.fuse.operations import CONTROL, Body, Operations, Request
from tests.fuse.protocol import Op
from tests.fuse.shape import Options

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4


def open_mount(mountpoint: str, options: Options) -> int:
    """Mount and return the descriptor on which the requests arrive; OSError when it is refused."""
    flags = "default_permissions,max_read=" + str(p.MAX_REQUEST)
    if os.geteuid() == 0:
        return _mount_as_root(mountpoint, flags + ",allow_other", read_only=options.read_only)
    return _mount_with_helper(mountpoint, flags + (",ro" if options.read_only else ""))


def _mount_as_root(mountpoint: str, flags: str, *, read_only: bool) -> int:
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = CDLL(None, use_errno=True)
    libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0,{flags}"
    bits = MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
    if libc.mount(b"slowfs", os.fsencode(mountpoint), b"fuse.slowfs", bits, data.encode()) != 0:
        number = get_errno()
        os.close(device)
        raise OSError(number, f"mount: {os.strerror(number)}", mountpoint)
    return device


def _mount_with_helper(mountpoint: str, flags: str) -> int:
    """``fusermount3`` mounts for an ordinary user and passes the descriptor through a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
        command = ["fusermount3", "-o", flags + ",fsname=slowfs,subtype=slowfs", "--", mountpoint]
        subprocess.run(command, env=environment, pass_fds=[theirs.fileno()], check=True)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return descriptors[0]


class Server:
    """Serves one mount until it is unmounted."""

    def __init__(self, backing: str, mountpoint: str, options: Options) -> None:
        self._options = options
        self._mountpoint = mountpoint
        self.operations = Operations(backing, options, self._notify)
        self._device = open_mount(mountpoint, options)
        self._latency = options.latency_ms / 1000
        self._threads = [
            threading.Thread(target=self._loop, daemon=True)
            for _ in range(options.threads or (64 if options.latency_ms else 16))
        ]

    def start(self) -> None:
        """Answer requests; returns when the mount is usable."""
        for thread in self._threads:
            thread.start()
        device = os.stat(self._mountpoint).st_dev
        read_ahead = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        with contextlib.suppress(OSError):  # not root: the kernel's 128 KiB stay
            read_ahead.write_text(str(self._options.read_ahead_kb))

    def wait(self) -> None:
        """Return when the mount is gone."""
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """Write what is still in memory: the write log and the counters."""
        if self.operations.write_log:
            self.operations.write_log.flush()
        if self._options.counters:
            Path(self._options.counters).write_bytes(self.operations.counters.as_json())

    def _loop(self) -> None:
        # Anonymous memory is only backed by pages that a request has touched.
        space = memoryview(mmap.mmap(-1, p.REQUEST_BUFFER))
        out = memoryview(mmap.mmap(-1, p.MAX_REQUEST))
        request = Request(0, 0, 0, space, out, self.operations.counters.for_thread())
        while True:
            try:
                size = os.readv(self._device, [space])
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            self._answer(space, size, request)

    def _answer(self, space: memoryview, size: int, request: Request) -> None:
        _, opcode, unique, request.node_id, request.uid, request.gid, _, extra, _ = p.IN_HEADER.unpack_from(space)
        request.body = space[p.IN_HEADER.size : size - extra * 8]
        if opcode == Op.INIT:
            self._reply(unique, 0, self._init(request.body))
            return
        handler = self.operations.handlers.get(opcode)
        if opcode in p.NO_REPLY:
            if handler:
                handler(request)
            return
        if not is_control(opcode, request):
            request.counts[name_of(opcode)] += 1
            if self._latency and opcode not in p.NO_ROUND_TRIP:
                time.sleep(self._latency)
        number, body = attempt(handler, request)
        self._reply(unique, number, body)

    def _init(self, body: memoryview) -> bytes:
        _, minor, _, offered = p.INIT_IN.unpack_from(body)
        wanted = (
            p.ASYNC_READ | p.ATOMIC_O_TRUNC | p.BIG_WRITES | p.AUTO_INVAL_DATA | p.ASYNC_DIO
            | p.PARALLEL_DIROPS | p.MAX_PAGES | p.HANDLE_KILLPRIV_V2
        )  # fmt: skip
        if self._options.readdirplus:
            wanted |= p.DO_READDIRPLUS
        if self._options.writeback:
            wanted |= p.WRITEBACK_CACHE
        background = 128
        return p.INIT_OUT.pack(
            7, min(minor, 38), p.MAX_REQUEST, wanted & offered, background, background * 3 // 4,
            p.MAX_REQUEST, 1, p.MAX_REQUEST // 4096, 0, 0,
        )  # fmt: skip

    def _reply(self, unique: int, number: int, body: Body) -> None:
        header = p.OUT_HEADER.pack(p.OUT_HEADER.size + len(body), -number, unique)
        try:
            os.writev(self._device, [header, body])
        except OSError as error:
            # ENOENT: the caller was interrupted and does not wait any more; ENODEV: unmounted meanwhile
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def _notify(self, code: int, body: bytes) -> None:
        """Tell the kernel that something it cached is old; ENOENT when it had not cached it."""
        try:
            os.writev(self._device, [p.OUT_HEADER.pack(p.OUT_HEADER.size + len(body), code, 0), body])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise


def attempt(handler: Callable[[Request], Body] | None, request: Request) -> tuple[int, Body]:
    """The errno (0 = done) and the reply of one request; a fault of ours becomes EIO and is told on stderr."""
    if handler is None:
        return errno.ENOSYS, b""
    try:
        return 0, handler(request)
    except OSError as error:
        return error.errno or errno.EIO, b""
    except KeyError:
        return errno.ESTALE, b""
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return errno.EIO, b""


def is_control(opcode: int, request: Request) -> bool:
    """Whether the tests talk to the server itself, which must not disturb what is counted."""
    return opcode in (Op.GETXATTR, Op.SETXATTR) and CONTROL in bytes(request.body[:64])


def name_of(opcode: int) -> str:
    """The counter's name of an operation."""
    try:
        return Op(opcode).name.lower()
    except ValueError:
        return f"op{opcode}"
