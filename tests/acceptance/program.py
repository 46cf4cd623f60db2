"""The real program in a process of its own, as a user calls it, with nothing of the caller's environment in it.

Give every test a working directory below its ``tmp_path``: the state file lands in it, home and runtime directory
beside it, so two tests never meet.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
UNPRIVILEGED = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"
)  # fmt: skip
"""Prefix for permission cases: root without the right to read everything."""


def environment(cwd: str | Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the program sees: its homes stand beside ``cwd``, and nothing of the caller's but PATH, language, place
    for temporary files and coverage."""
    home = Path(cwd).parent / f".home-{Path(cwd).name}"
    wanted = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    # Coverage of subprocesses is measured where `make coverage` asks for it through these.
    wanted |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME"):
        place = home / variable
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted[variable] = str(place)
    wanted |= {"PYTHONPATH": str(CHECKOUT / "src"), "PYTHONWARNINGS": "error", "LC_ALL": "C.UTF-8"}
    return wanted | dict(extra or {})


def command(*arguments: str | Path, prefix: Sequence[str] = ()) -> list[str]:
    """The words of a call."""
    return [*prefix, sys.executable, "-m", "dunlin", *map(str, arguments)]


def dunlin(
    *arguments: str | Path,
    cwd: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    prefix: Sequence[str] = (),
    input: bytes | None = None,
    expect: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``dunlin`` with ``arguments`` to its end in ``cwd``.

    ``env`` is added to a clean environment; ``prefix`` stands before the command (``UNPRIVILEGED``, ``strace``);
    ``timeout`` in seconds; ``expect`` is the exit code that must come, else everything that was printed is shown.
    Output is decoded with surrogateescape. No call may ever print a traceback.
    """
    ended = subprocess.run(
        command(*arguments, prefix=prefix),
        cwd=cwd, env=environment(cwd, env), timeout=timeout, capture_output=True,
        input=input if input is not None else b"",
    )  # fmt: skip
    done = subprocess.CompletedProcess(
        ended.args,
        ended.returncode,
        ended.stdout.decode("utf-8", "surrogateescape"),
        ended.stderr.decode("utf-8", "surrogateescape"),
    )
    told = f"\n$ dunlin {' '.join(map(str, arguments))}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr, told
    if expect is not None:
        assert done.returncode == expect, told
    return done


def start(
    *arguments: str | Path,
    cwd: str | Path,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start ``dunlin`` and return at once; the caller waits for it or ends it."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command(*arguments, prefix=prefix), cwd=cwd, env=environment(cwd, env), **options)
