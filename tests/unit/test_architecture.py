"""The shape of the repository: who imports whom, how long files are, what no file may name."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600


def tracked() -> list[Path]:
    """The files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return [path for name in filter(None, os.fsdecode(names).split("\0")) if (path := ROOT / name).is_file()]


def script(name: str) -> ModuleType:
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_types_are_compiled_when_modules_are_imported() -> None:
    """msgspec compiles a type when it is first decoded, and keeps what it has of it *before* that is complete: a second
    thread that decodes it at that moment ends the process with a segmentation fault (0.22). Imports are one at a time.
    """
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        late = {id(call) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) for call in ast.walk(each)}
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name, typed = call.func.attr, any(each.arg == "type" for each in call.keywords)
            owner = ast.unparse(call.func.value)
            if "msgspec" in owner and (name == "convert" or typed or (name == "Decoder" and id(call) in late)):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


def test_imports_point_downwards() -> None:
    command = "from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_source_file_is_too_long() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert lengths
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}


def hits(pattern: str) -> list[str]:
    """`file:line` of every tracked text line that matches."""
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if re.search(pattern, line, re.IGNORECASE):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    return found


# The names are put together, so that this file holds none of them.
REGISTRIES = ("py" r"pi\.org", "python" r"hosted\.org", "npm" r"js\.(org|com)", "deb" r"ian\.org", "crates" r"\.io")
REGISTRIES += ("proxy" r"\.golang", "repo1" r"\.maven", "ub" r"untu\.com")


def test_no_file_names_a_registry() -> None:
    assert hits("|".join(REGISTRIES)) == []


def test_no_file_names_a_path_of_this_machine() -> None:
    places = ["/work", "/farm"]
    if len(ROOT.parts) > 2:
        places.append(str(ROOT))
    home = os.path.expanduser("~")
    if home != "/":
        places.append(home)
    pattern = "|".join(rf"(?<![\w./~$-]){re.escape(place)}(?=/|$)" for place in places)
    assert hits(pattern) == []


def test_the_search_for_names_finds_them() -> None:
    assert any(hit.startswith("LICENSE:") for hit in hits("the dunlin authors"))


def test_constraints_fit_the_project() -> None:
    assert list(script("lock").problems()) == []


@pytest.mark.parametrize("name", ["core", "backup", "cloud", "queue", "tui", "watch", "web", "dev"])
def test_every_pinned_package_has_hashes(name: str) -> None:
    content = (ROOT / "constraints" / f"{name}.txt").read_text().replace(" \\\n", " ")
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"\S+==\S+(\s+--hash=sha256:[0-9a-f]{64})+", line)] == []


@pytest.mark.parametrize("check", ["links", "orphans", "fragments", "commands"])
def test_documentation(check: str) -> None:
    assert list(getattr(script("docs"), check)()) == []
