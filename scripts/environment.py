"""Make or mend the checkout's Python environment: `environment.py CHECKOUT ENVIRONMENT SET`.

Called by environment.sh when the environment is not ready, with a Python that has nothing installed.

* One at a time: an flock on `.dunlin-lock` in the environment, which a killed holder cannot keep. Who had to
  wait finds the work done.
* Whole or not at all: `.dunlin-unfinished` stands in the environment while packages are installed. Whoever
  finds it starts from nothing, because pip cannot tell a half-written package from a whole one.
* Only what the constraints name, with the hashes they name; nothing is resolved.
* `src` is put on the path by a .pth file, so that neither a build back end nor a copy is needed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

LOCK, UNFINISHED, LOG = ".dunlin-lock", ".dunlin-unfinished", ".dunlin-setup.log"
SECONDS = {"core": 15, "dev": 30}
"""How long a set-up takes on two cores with a warm connection; said to the person who waits."""


def fail(what: str) -> NoReturn:
    """End with one line."""
    print(f"dunlin: {what}", file=sys.stderr)
    sys.exit(1)


def stamp(root: Path, name: str) -> str:
    """What the stamp of a finished environment says; environment.sh compares it."""
    with open(root / "constraints" / f"{name}.txt", encoding="utf-8") as file:
        return f"{file.readline().rstrip()} {root}"


def ready(root: Path, venv: Path, name: str) -> bool:
    """Whether another process has finished what we were called for."""
    file, constraints = venv / f".dunlin-{name}", root / "constraints" / f"{name}.txt"
    if (venv / UNFINISHED).exists() or not os.access(venv / "bin" / "python", os.X_OK) or not file.exists():
        return False
    return file.read_text().rstrip("\n") == stamp(root, name) and file.stat().st_mtime >= constraints.stat().st_mtime


def clear(venv: Path) -> None:
    """Remove all but the lock, which others may be waiting for."""
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def run(venv: Path, *command: str | Path) -> None:
    """Run a step, its output into the log; end with the log's last line when it fails."""
    with open(venv / LOG, "ab") as log:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if code:
        lines = (venv / LOG).read_text(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        fail(f"the Python environment could not be set up: {errors[-1].strip()} (all of it in {venv / LOG})")


def works(venv: Path) -> bool:
    """Whether the environment's interpreter starts and has pip; a system upgrade can take both away."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-I", "-c", "import pip"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def make(root: Path, venv: Path, name: str) -> None:
    """Bring the environment to the state that the constraints `name` describe, and stamp it."""
    fresh = (venv / UNFINISHED).exists() or not works(venv)
    begun = time.time()
    doing = "setting up its own Python environment in" if fresh else "bringing up to date the Python environment in"
    print(f"dunlin: {doing} {shown(venv)} (once, about {SECONDS[name]} s)", file=sys.stderr, flush=True)
    (venv / UNFINISHED).touch()
    if fresh:
        clear(venv)
        (venv / UNFINISHED).touch()
        # The versioned name: `python3` may be another Python after an upgrade, this one is gone or the same.
        base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        run(venv, base, "-I", "-m", "venv", venv)
    python = venv / "bin" / "python"
    constraints = root / "constraints" / f"{name}.txt"
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
    run(venv, python, "-I", "-m", "pip", "install", *options, "-r", constraints)
    packages = next((venv / "lib").glob("python3*/site-packages"))
    (packages / "dunlin-checkout.pth").write_text(f"{root / 'src'}\n")
    # dev holds all of core at the same versions, and what was ready for the other set may not be so now.
    done = ("core", "dev") if name == "dev" else ("core",)
    for other in ("core", "dev"):
        file = venv / f".dunlin-{other}"
        file.unlink(missing_ok=True)
        if other in done:
            file.write_text(stamp(root, other) + "\n")
            newest = max(begun, (root / "constraints" / f"{other}.txt").stat().st_mtime)
            os.utime(file, (newest, newest))
    (venv / UNFINISHED).unlink()


def shown(venv: Path) -> str:
    """The environment's path, short where it lies below the working directory."""
    try:
        return str(venv.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(venv)


def ours(venv: Path) -> bool:
    """Whether everything in the directory may be removed: it is empty, or an environment."""
    return (venv / "pyvenv.cfg").exists() or (venv / UNFINISHED).exists() or not any(venv.iterdir())


def main(root: Path, venv: Path, name: str) -> None:
    if "\n" in f"{root}{venv}":
        fail("cannot run from a path that holds a line break")
    try:
        venv.mkdir(parents=True, exist_ok=True)
        if not ours(venv) and not (venv / LOCK).exists():
            fail(f"{venv} holds something else than a Python environment; DUNLIN_VENV=PATH names another place")
        lock = open(venv / LOCK, "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"dunlin: waiting for another set-up of {shown(venv)}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready(root, venv, name):
            make(root, venv, name)
    except OSError as error:
        fail(f"cannot set up a Python environment in {venv}: {error.strerror}; DUNLIN_VENV=PATH names another place")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]).absolute(), sys.argv[3])
    except KeyboardInterrupt:
        sys.exit(130)
