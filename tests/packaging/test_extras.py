"""Packages that the launcher adds when a command needs them for the first time.

boto3 is a small wheel made here, so that nothing depends on what an index offers at the moment: it prints what the
program was called with and ends it with a code of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from os import environ
from pathlib import Path

import pytest

from tests.packaging.conftest import copy_checkout
from tests.packaging.test_launcher import launch

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("extras")]

CALLED = ("sync", "s3://bucket/a b", "to", "--quiet", "--state-db", "none")
CODE = 77
VERSION = "9999.0"
NOBODY = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
LOST = "-dac_override,-dac_read_search"

STAND_IN = f"import sys; print(sys.argv[1:]); raise SystemExit({CODE})"


def make_wheel(directory: Path, name: str, content: str) -> str:
    """A wheel with one module, in a version that no index has; returns the line of constraints that pins it."""
    directory.mkdir(exist_ok=True)
    wheel = directory / f"{name}-{VERSION}-py3-none-any.whl"
    about = f"{name}-{VERSION}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", content)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return f"{name}=={VERSION} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose launcher has an environment with the core, and whose extra is the stand-in."""
    root = copy_checkout(tmp_path_factory.mktemp("extras") / "with a space")
    line = make_wheel(root.parent / "wheels", "boto3", STAND_IN)
    (root / "constraints" / "cloud.txt").write_text(f"# fingerprint cloud\n{line}")
    result = launch(root / "dunlin", "--version")
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def checkout(prepared: Path) -> Iterator[Path]:
    """The same without anything that was added."""
    yield prepared
    (prepared / ".venv" / ".dunlin-cloud").unlink(missing_ok=True)
    for path in prepared.glob(".venv/lib/python3*/site-packages/*"):
        if path.name.startswith("boto3"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def wheels(prepared: Path) -> dict[str, str]:
    """Variables with which pip finds the stand-ins and asks nobody."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(prepared.parent / "wheels")}


def test_an_extra_is_added_once_and_the_command_goes_on(checkout: Path, wheels: dict[str, str], tmp_path: Path) -> None:
    first = launch(checkout / "dunlin", *CALLED, cwd=tmp_path, **wheels)
    [line] = first.stderr.splitlines()
    assert line.startswith("dunlin: adding the packages for object stores to the Python environment in ")
    assert (first.returncode, first.stdout) == (CODE, f"{list(CALLED)}\n")
    # Without another program in reach, nothing can be installed, nor even looked for.
    second = launch(checkout / "dunlin", *CALLED, cwd=tmp_path, PATH=str(tmp_path), **NOBODY)
    assert (second.returncode, second.stdout, second.stderr) == (CODE, first.stdout, "")
    assert list((checkout / ".venv").glob(".dunlin-wheels*")) == []


def test_json_waits_for_the_extra_too(checkout: Path, wheels: dict[str, str], tmp_path: Path) -> None:
    result = launch(checkout / "dunlin", *CALLED, "--json", cwd=tmp_path, **wheels)
    assert (result.returncode, result.stdout) == (CODE, f"{[*CALLED, '--json']}\n")


def test_two_at_once_add_it_once(checkout: Path, wheels: dict[str, str], tmp_path: Path) -> None:
    command = [checkout / "dunlin", *CALLED]
    options = {"cwd": tmp_path, "env": {**environ, **wheels}, "stdout": -1, "stderr": -1, "text": True}
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    results = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [CODE, CODE], results
    said = [line for _, err in results for line in err.splitlines()]
    assert sum("adding the packages for object stores" in line for line in said) == 1
    assert all("adding the packages" in line or "waiting for another set-up" in line for line in said)


def test_without_a_network_it_is_one_line_and_breaks_nothing(
    checkout: Path, wheels: dict[str, str], tmp_path: Path
) -> None:
    failed = launch(checkout / "dunlin", *CALLED, cwd=tmp_path, **NOBODY)
    assert (failed.returncode, failed.stdout) == (1, "")
    adding, line = failed.stderr.splitlines()
    assert "adding the packages" in adding
    assert line.startswith("dunlin: the packages for object stores could not be added: ")
    assert "is there a network?" in line
    # What needs no extra works as before, and the next attempt does not begin from nothing.
    local = launch(checkout / "dunlin", "--version", cwd=tmp_path, PATH=str(tmp_path))
    assert (local.returncode, local.stderr) == (0, "")
    again = launch(checkout / "dunlin", *CALLED, cwd=tmp_path, **wheels)
    assert again.returncode == CODE
    assert "adding the packages" in again.stderr


def test_what_was_added_is_kept_up_to_date(checkout: Path, wheels: dict[str, str], tmp_path: Path) -> None:
    assert launch(checkout / "dunlin", *CALLED, cwd=tmp_path, **wheels).returncode == CODE
    constraints = checkout / "constraints" / "cloud.txt"
    before = constraints.read_text()
    try:
        constraints.write_text(before.replace("# fingerprint ", "# fingerprint 0", 1))
        changed = launch(checkout / "dunlin", "--version", cwd=tmp_path, **wheels)
        again = launch(checkout / "dunlin", "--version", cwd=tmp_path, **wheels)
    finally:
        constraints.write_text(before)
    assert "bringing up to date" in changed.stderr
    assert (again.returncode, again.stderr) == (0, "")


def test_names_from_a_pipe_are_not_read_twice(checkout: Path, wheels: dict[str, str], tmp_path: Path) -> None:
    command = [checkout / "dunlin", *CALLED, "--files-from", "-"]
    result = subprocess.run(
        command, cwd=tmp_path, env={**environ, **wheels}, input="name\n", capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "run the command again" in result.stderr.splitlines()[-1]
    result = subprocess.run(
        command, cwd=tmp_path, env={**environ, **wheels}, input="name\n", capture_output=True, text=True
    )
    assert result.returncode == CODE


def test_an_extra_without_the_package_is_not_added_again(
    checkout: Path, wheels: dict[str, str], tmp_path: Path
) -> None:
    line = make_wheel(tmp_path / "wheels", "other", "")
    constraints = checkout / "constraints" / "cloud.txt"
    before = constraints.read_text()
    try:
        constraints.write_text(f"# fingerprint other\n{line}")
        result = launch(
            checkout / "dunlin", *CALLED, cwd=tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels")
        )
    finally:
        constraints.write_text(before)
    assert result.returncode == 1
    adding, line = result.stderr.splitlines()
    assert "adding the packages" in adding
    assert line.endswith("pip install 'dunlin[cloud]'")


def test_who_may_not_write_here_gets_an_environment_of_their_own(
    checkout: Path, wheels: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    run = ["setpriv", f"--bounding-set={LOST}", f"--inh-caps={LOST}", checkout / "dunlin"]
    places = [checkout, checkout / ".venv"]
    # The core comes from the real index or from what pip kept of it.
    variables = {**environ, "PIP_FIND_LINKS": f"{wheels['PIP_FIND_LINKS']} {environ.get('PIP_FIND_LINKS', '')}"}
    variables["XDG_CACHE_HOME"] = str(cache)
    for place in places:
        place.chmod(0o555)
    try:
        results = [
            subprocess.run([*run, *words], cwd=tmp_path, env=variables, capture_output=True, text=True)
            for words in (["--version"], CALLED, CALLED)
        ]
    finally:
        for place in places:
            place.chmod(0o755)
    plain, added, later = results
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "setting up" in added.stderr
    assert "adding the packages" not in later.stderr
    assert [(result.returncode, result.stdout) for result in (added, later)] == [(CODE, f"{list(CALLED)}\n")] * 2
    assert later.stderr == ""
    assert not (checkout / ".venv" / ".dunlin-cloud").exists()
    assert list(cache.glob("dunlin/*/.dunlin-cloud")) != []


def test_sources_are_compiled_at_set_up(prepared: Path) -> None:
    package = prepared / "src" / "dunlin"
    tag = sys.implementation.cache_tag
    lacking = [
        path for path in package.rglob("*.py") if not (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists()
    ]
    assert lacking == []
