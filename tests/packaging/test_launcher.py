"""`./dunlin` in a fresh checkout: what happens the first time, afterwards, and when something came between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dunlin import __version__
from tests.packaging.conftest import copy_checkout

pytestmark = pytest.mark.slow

BASE = os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def launch(
    launcher: Path, *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a launcher to its end."""
    return subprocess.run(
        [launcher, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, since these tests change it; the first test sets it up."""
    return copy_checkout(tmp_path_factory.mktemp("launcher") / "with a space")


@pytest.fixture
def ready(fresh: Path) -> Path:
    """The launcher of a checkout whose environment is ready."""
    result = launch(fresh / "dunlin", "--version")
    assert result.returncode == 0, result.stderr
    return fresh / "dunlin"


def test_two_first_uses_at_once_set_up_once(fresh: Path) -> None:
    command = [fresh / "dunlin", "--version"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert all(__version__ in out for out, _ in results)
    said = [line for _, err in results for line in err.splitlines()]
    assert sum("setting up its own Python environment in" in line for line in said) == 1
    assert len(said) <= 2  # the other one may say that it waits


def test_later_use_is_silent_and_starts_no_other_program(ready: Path, tmp_path: Path) -> None:
    # With an empty PATH, only what is built into the shell can work.
    result = launch(ready, "--version", PATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert __version__ in result.stdout


def test_through_a_symlink_from_another_directory(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "first").symlink_to(ready)
    (tmp_path / "bin" / "second").symlink_to("first")
    result = launch(tmp_path / "bin" / "second", "--version", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert __version__ in result.stdout


def test_exit_code_is_the_programs(ready: Path) -> None:
    assert launch(ready, "no-such-command").returncode == 1


def test_modules_in_the_working_directory_do_not_take_part(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit(99)")
    (tmp_path / "dunlin").mkdir()
    (tmp_path / "dunlin" / "__init__.py").write_text("raise SystemExit(98)")
    assert launch(ready, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path)).returncode == 0


def test_changed_constraints_bring_the_environment_up_to_date(ready: Path) -> None:
    constraints = ready.parent / "constraints" / "core.txt"
    before = constraints.read_text()
    try:
        constraints.write_text(before.replace("# fingerprint ", "# fingerprint 0", 1))
        changed = launch(ready, "--version")
        again = launch(ready, "--version")
    finally:
        constraints.write_text(before)
    assert changed.returncode == 0, changed.stderr
    assert "bringing up to date" in changed.stderr
    assert again.stderr == ""


def test_interrupted_set_up_starts_over(ready: Path) -> None:
    venv = ready.parent / ".venv"
    [click] = venv.glob("lib/python3*/site-packages/click")
    shutil.rmtree(click)  # pip still lists it: only a start from nothing mends this
    (venv / ".dunlin-unfinished").touch()
    (venv / ".dunlin-core").unlink()
    result = launch(ready, "--version")
    assert result.returncode == 0, result.stderr
    assert "setting up" in result.stderr
    assert not (venv / ".dunlin-unfinished").exists()


def test_moved_checkout_mends_itself(ready: Path) -> None:
    there = ready.parent.with_name("moved")
    ready.parent.rename(there)
    try:
        result = launch(there / "dunlin", "--version")
    finally:
        there.rename(ready.parent)
    assert result.returncode == 0, result.stderr


def test_no_python_is_one_line(fresh: Path, tmp_path: Path) -> None:
    result = launch(fresh / "dunlin", "--version", PATH=str(tmp_path), DUNLIN_VENV=str(tmp_path / "new"))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "dunlin: needs Python 3.11 or newer with venv, but no python3 was found; DUNLIN_PYTHON=PATH names another one"
    ]


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        ("sys.modules['ensurepip'] = None", "apt-get install python3-venv"),
        ("sys.version_info = (3, 9, 2)", "is Python 3.9"),
    ],
)
def test_unfit_python_is_one_line(fresh: Path, tmp_path: Path, spoiled: str, expected: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    # The launcher asks `PYTHON -I -c CODE PATH`; this one runs the code in a Python that lacks something.
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{BASE}" -I -c "import sys; {spoiled}\n$3" "$4"\n')
    (tools / "python3").chmod(0o755)
    result = launch(fresh / "dunlin", "--version", PATH=str(tools), DUNLIN_VENV=str(tmp_path / "new"))
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert expected in line


def test_somebody_elses_directory_is_left_alone(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    result = launch(fresh / "dunlin", "--version", DUNLIN_VENV=str(tmp_path))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_failing_install_is_one_line_and_the_next_use_starts_over(fresh: Path, tmp_path: Path) -> None:
    broken = copy_checkout(tmp_path / "broken")
    constraints = broken / "constraints" / "core.txt"
    constraints.write_text("# fingerprint x\nclick==8.5.1 --hash=sha256:" + "0" * 64 + "\n")
    result = launch(broken / "dunlin", "--version")
    assert result.returncode == 1
    *_, line = result.stderr.splitlines()
    assert "the Python environment could not be set up" in line
    assert "Traceback" not in result.stderr
    assert (broken / ".venv" / ".dunlin-unfinished").exists()
