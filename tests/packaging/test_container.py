"""The commands that build the image's program, run in a directory: there may be no container here, but a shell is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import run

pytestmark = pytest.mark.slow


def commands(checkout: Path) -> list[str]:
    """What the first stage runs, in order."""
    text = (checkout / "deploy" / "Containerfile").read_text(encoding="utf-8")
    _, first, _ = re.split(r"^FROM ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    return [line.removeprefix("RUN ") for line in first.replace("\\\n", " ").splitlines() if line.startswith("RUN ")]


@pytest.fixture(scope="module")
def program(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory that the image would have."""
    root = tmp_path_factory.mktemp("image")
    tools = root / "tools"
    tools.mkdir()
    (tools / "python").symlink_to(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
    env = kept | {"PATH": f"{tools}:/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    for command in commands(checkout):
        words = command.replace("/opt/", f"{root}/opt/")
        (root / "opt").mkdir(exist_ok=True)
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", words],
            cwd=checkout, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return root / "opt" / "dunlin" / "bin"


def test_the_first_stage_makes_the_whole_program(program: Path, tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    for words in (["--version"], ["serve", "--help"], ["worker", "--help"], ["sync", "--help"]):
        assert "dunlin" in run(program / "dunlin", *words, cwd=tmp_path, env=env)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "name").write_text("content")
    run(program / "dunlin", "sync", "-a", "s", "d", cwd=tmp_path, env=env)
    assert (tmp_path / "d" / "name").read_text() == "content"
    modules = "boto3 azure.identity azure.storage.blob litestar uvicorn psycopg redis textual watchfiles"
    run(program / "python", "-c", f"import {', '.join(modules.split())}", cwd=tmp_path, env=env)


def test_the_program_stands_alone(program: Path, checkout: Path, tmp_path: Path) -> None:
    """Nothing of it lies in the checkout, which the second stage does not get."""
    where = run(program / "python", "-I", "-c", "import dunlin; print(dunlin.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(program.parent)
    look = "import importlib.util as u; print([u.find_spec(name) for name in ('pytest', 'hatchling')])"
    assert run(program / "python", "-c", look, cwd=tmp_path).strip() == "[None, None]"
