"""A loopback mount that is slow, small or faulty on purpose.

From the command line, until it is unmounted or interrupted::

    python -m tests.fuse.slowfs BACKING MOUNTPOINT --latency-ms 2 --read-rate 100e6

In tests and benchmarks::

    with mounted(backing, mountpoint, latency_ms=2, errors={"read:*.bad": errno.EIO}) as mount:
        ...
        assert mount.counters()["create"] == 10

Reads and writes reach the server in requests of up to 1 MiB. A call that a network client would send sleeps
``latency_ms`` (``protocol.NO_ROUND_TRIP`` lists the others); calls on different files overlap, up to ``threads``
of them. Attributes and names are cached by the kernel for a second, as on NFS.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from ctypes import CDLL, c_char_p, c_int, get_errno
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tests.fuse.operations import CONTROL
from tests.fuse.server import Server
from tests.fuse.shape import Options, read_write_log

MNT_DETACH = 2
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mount:
    """A running mount, as the tests see it."""

    path: Path
    backing: Path
    pid: int
    options: Options

    def counters(self) -> dict[str, int]:
        """Calls by operation since the start or the last ``reset``, and ``bytes_read``, ``bytes_written``."""
        counted: dict[str, int] = json.loads(os.getxattr(self.path, CONTROL.decode() + "counters"))
        return counted

    def reset(self) -> None:
        """Set every counter to zero."""
        os.setxattr(self.path, CONTROL.decode() + "reset", b"1")

    def writes(self) -> list[tuple[int, int]]:
        """The write log so far: (monotonic ns, bytes) per write request."""
        os.getxattr(self.path, CONTROL.decode() + "flush")
        return read_write_log(Path(self.options.write_log))


@contextlib.contextmanager
def mounted(backing: str | Path, mountpoint: str | Path, *, patience: float = 10.0, **options: Any) -> Iterator[Mount]:
    """Mount ``backing`` at ``mountpoint`` (made if missing) with the fields of ``Options``.

    ``errors`` may hold errno numbers instead of names. On leaving, also after an exception, the mount is gone
    and its process has ended: unmounted, else detached, else, ``patience`` seconds later, the process is ended, which
    aborts the connection. Raises RuntimeError when mounting fails.
    """
    chosen = Options(**_with_names(options)).checked()
    Path(mountpoint).mkdir(parents=True, exist_ok=True)
    # Reading from a pipe that only we hold open lets the server notice even our sudden death.
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuse.slowfs", str(backing), str(mountpoint), "--as-child", *_arguments(chosen)],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        if not ready or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"slowfs: could not mount {backing} at {mountpoint}")
        yield Mount(Path(mountpoint), Path(backing), process.pid, chosen)
    finally:
        unmount(mountpoint, patience=min(2.0, patience))
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            unmount(mountpoint)
        # Only now: without its pipe the server ends at once, counters written or not.
        process.stdin.close()
        process.stdout.close()


def unmount(mountpoint: str | Path, *, patience: float = 2.0) -> None:
    """Unmount, waiting up to ``patience`` seconds for the last user, then detach. Not being mounted is fine."""
    deadline = time.monotonic() + patience
    while (number := _umount(mountpoint, 0)) == errno.EBUSY and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == errno.EBUSY:
        _umount(mountpoint, MNT_DETACH)


def _umount(mountpoint: str | Path, flags: int) -> int:
    """0 or an errno. An ordinary user needs the helper."""
    if os.geteuid() != 0:
        command = ["fusermount3", "-u", *(["-z"] if flags else []), str(mountpoint)]
        return errno.EBUSY if subprocess.run(command, capture_output=True).returncode and not flags else 0
    libc = CDLL(None, use_errno=True)
    libc.umount2.argtypes = (c_char_p, c_int)
    return 0 if libc.umount2(os.fsencode(mountpoint), flags) == 0 else get_errno()


def _with_names(options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = dict(options)
    if "errors" in chosen:
        chosen["errors"] = {
            rule: errno.errorcode[value] if isinstance(value, int) else value
            for rule, value in chosen["errors"].items()
        }
    for name in ("refuse",):
        chosen[name] = tuple(chosen.get(name, ()))
    for name in ("write_log", "counters"):
        chosen[name] = str(chosen.get(name, ""))
    return chosen


def _arguments(options: Options) -> list[str]:
    """The command line that gives ``options``."""
    default = Options()
    arguments = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != getattr(default, field.name):
            text = value if isinstance(value, str) else json.dumps(value)
            arguments.append(f"--{field.name.replace('_', '-')}={text}")
    return arguments


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Options]:
    parser = argparse.ArgumentParser(description=Options.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("backing")
    parser.add_argument("mountpoint")
    parser.add_argument("--as-child", action="store_true", help="end when standard input closes")
    default = Options()
    for field in fields(Options):
        value = getattr(default, field.name)
        convert = str if isinstance(value, str) else json.loads
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=convert, default=value, metavar="VALUE")
    chosen = parser.parse_args(arguments)
    options = Options(**{field.name: getattr(chosen, field.name) for field in fields(Options)})
    return chosen, options.checked()


def main(arguments: list[str]) -> None:
    """Mount, serve until unmounted or told to end, and leave no mount behind."""
    chosen, options = _parse(arguments)
    os.umask(0)
    server = Server(chosen.backing, chosen.mountpoint, options)

    def end() -> None:
        unmount(chosen.mountpoint, patience=0.5)
        server.finish()
        os._exit(0)

    def on_signal(*_: object) -> None:
        threading.Thread(target=end).start()

    def until_parent_ends() -> None:
        while os.read(0, 1):
            pass
        end()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN if chosen.as_child else on_signal)
    server.start()
    print("ready", flush=True)
    if chosen.as_child:
        threading.Thread(target=until_parent_ends, daemon=True).start()
    server.wait()
    server.finish()


if __name__ == "__main__":
    main(sys.argv[1:])
