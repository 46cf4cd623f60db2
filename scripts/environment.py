"""Make or mend the checkout's Python environment: `environment.py CHECKOUT ENVIRONMENT SET...`.

Called by environment.sh when the environment is not ready, with a Python that has nothing installed.

* One at a time: an flock on `.dunlin-lock` in the environment, which a killed holder cannot keep. Who had to
  wait finds the work done.
* Whole or not at all: `.dunlin-unfinished` stands in the environment while packages are installed. Whoever
  finds it starts from nothing, because pip cannot tell a half-written package from a whole one. What an extra
  needs is fetched before that: without a network, the environment stays what it was.
* Only what the constraints name, with the hashes they name; nothing is resolved.
* `src` is put on the path by a .pth file, so that neither a build back end nor a copy is needed, and compiled:
  who may run it but not write there would compile it at every start.
* Extras that were added once are kept up to date with the rest.
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
SECONDS = {"core": 15, "dev": 60, "backup": 10, "cloud": 20, "queue": 5, "tui": 5, "watch": 5, "web": 10}
"""How long a set-up takes on two cores with a warm connection; said to the person who waits."""
EXTRAS = {
    "backup": "backups",
    "cloud": "object stores",
    "queue": "queues on Redis and PostgreSQL",
    "tui": "the dashboard",
    "watch": "watching a directory",
    "web": "the service",
}
"""What the packages of each extra are for."""


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


def run(venv: Path, *command: str | Path, purpose: str = "the Python environment could not be set up") -> None:
    """Run a step, its output into the log; end with the log's last line when it fails."""
    with open(venv / LOG, "ab") as log:
        begin = log.tell()
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
    if code:
        lines = (venv / LOG).read_bytes()[begin:].decode(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        reason = errors[-1].strip()
        if any("(from versions: none)" in line for line in errors):  # what pip says when it reached nobody
            reason = f"{reason.removeprefix('ERROR: ')}; is there a network?"
        fail(f"{purpose}: {reason} (all of it in {venv / LOG})")


def works(venv: Path) -> bool:
    """Whether the environment's interpreter starts and has pip; a system upgrade can take both away."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-I", "-c", "import pip"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def make(root: Path, venv: Path, names: list[str], fresh: bool) -> None:
    """Bring the environment to the state that the constraints `names` describe, and stamp it."""
    begun = time.time()
    say(venv, names, fresh)
    if fresh:
        (venv / UNFINISHED).touch()
        clear(venv)
        (venv / UNFINISHED).touch()
        # The versioned name: `python3` may be another Python after an upgrade, this one is gone or the same.
        base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        run(venv, base, "-I", "-m", "venv", venv)
    for name in names:
        if name in EXTRAS and not fresh and not (venv / f".dunlin-{name}").exists():
            add(root, venv, name)
        else:
            install(root, venv, name)
    (venv / UNFINISHED).touch()
    packages = next((venv / "lib").glob("python3*/site-packages"))
    (packages / "dunlin-checkout.pth").write_text(f"{root / 'src'}\n")
    compile_sources(root, venv)
    # dev holds all the others at the same versions, and what was ready for it may not be so now.
    done = ["core", *EXTRAS, "dev"] if "dev" in names else names
    (venv / ".dunlin-dev").unlink(missing_ok=True)
    for name in done:
        file = venv / f".dunlin-{name}"
        file.write_text(stamp(root, name) + "\n")
        newest = max(begun, (root / "constraints" / f"{name}.txt").stat().st_mtime)
        os.utime(file, (newest, newest))
    (venv / UNFINISHED).unlink()


def say(venv: Path, names: list[str], fresh: bool) -> None:
    """One line to the person who waits."""
    if fresh:
        doing = "setting up its own Python environment in"
    elif set(names) <= set(EXTRAS) and not any((venv / f".dunlin-{name}").exists() for name in names):
        doing = f"adding the packages for {' and '.join(EXTRAS[name] for name in names)} to the Python environment in"
    else:
        doing = "bringing up to date the Python environment in"
    seconds = sum(SECONDS[name] for name in names)
    print(f"dunlin: {doing} {shown(venv)} (once, about {seconds} s)", file=sys.stderr, flush=True)


def pip(venv: Path, *words: str) -> list[str | Path]:
    """The environment's pip, without questions and without packages that nobody named."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    return [venv / "bin" / "python", "-I", "-m", "pip", *words, *quiet]


def install(root: Path, venv: Path, name: str) -> None:
    """Install the packages of a set."""
    (venv / UNFINISHED).touch()
    run(venv, *pip(venv, "install", "--require-hashes"), "-r", root / "constraints" / f"{name}.txt")


def add(root: Path, venv: Path, name: str) -> None:
    """Install the packages of an extra, none of them the core's: fetched first, so that a failure breaks nothing."""
    failing = f"the packages for {EXTRAS[name]} could not be added"
    wheels = venv / f".dunlin-wheels-{name}"
    shutil.rmtree(wheels, ignore_errors=True)
    constraints = root / "constraints" / f"{name}.txt"
    # `wheel` and not `download`, which would leave sources to be built, with tools to be fetched, for later.
    run(venv, *pip(venv, "wheel", "--require-hashes"), "-w", wheels, "-r", constraints, purpose=failing)
    (venv / UNFINISHED).touch()
    run(venv, *pip(venv, "install", "--no-index"), *sorted(wheels.glob("*.whl")), purpose=failing)
    shutil.rmtree(wheels)


def compile_sources(root: Path, venv: Path) -> None:
    """Compile src, where it may be written to; a file that cannot be compiled is found by who imports it."""
    command = [venv / "bin" / "python", "-I", "-m", "compileall", "-qq", root / "src"]
    if os.access(root / "src", os.W_OK):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def shown(venv: Path) -> str:
    """The environment's path, short where it lies below the working directory."""
    try:
        return str(venv.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(venv)


def ours(venv: Path) -> bool:
    """Whether everything in the directory may be removed: it is empty, or an environment."""
    return (venv / "pyvenv.cfg").exists() or (venv / UNFINISHED).exists() or not any(venv.iterdir())


def wanted(venv: Path, names: list[str]) -> list[str]:
    """What the environment is to hold: `names`, and the extras that were added before."""
    if "dev" in names:
        return names
    return names + [name for name in EXTRAS if name not in names and (venv / f".dunlin-{name}").exists()]


def main(root: Path, venv: Path, names: list[str]) -> None:
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
        names = wanted(venv, names)
        fresh = (venv / UNFINISHED).exists() or not works(venv)
        lacking = names if fresh else [name for name in names if not ready(root, venv, name)]
        if lacking:
            make(root, venv, lacking, fresh)
    except OSError as error:
        fail(f"cannot set up a Python environment in {venv}: {error.strerror}; DUNLIN_VENV=PATH names another place")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]).absolute(), sys.argv[3:])
    except KeyboardInterrupt:
        sys.exit(130)
