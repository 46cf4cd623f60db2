"""A clean copy of the checkout, the wheel built from it, and an environment with nothing but that wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def copy_checkout(to: Path) -> Path:
    """Copy what git tracks or would track, so that nothing that merely lies around takes part."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        source, target = ROOT / name, to / name
        if source.exists():  # deleted, but not yet committed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return to


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that must end with 0; what it printed is shown when it does not."""
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, f"{command} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in a directory with a space in its name."""
    return copy_checkout(tmp_path_factory.mktemp("packaging") / "a checkout")


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the copy, built with the pinned back end."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, checkout)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an empty environment that got the pinned core and the wheel."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(os.path.realpath(getattr(sys, "_base_executable", sys.executable)), "-m", "venv", venv)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    run(*pip, "--require-hashes", "-r", checkout / "constraints" / "core.txt")
    run(*pip, "--no-index", wheel)
    return venv / "bin"
