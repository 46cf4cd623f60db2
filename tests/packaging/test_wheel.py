"""The wheel, as `pip install` and `pipx install` give it."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from dunlin import __version__
from tests.packaging.conftest import run

pytestmark = pytest.mark.slow


def plain(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing but the installed program can be found."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = checkout / "src"
    assert packed == {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}


def test_installed_requirements_are_complete(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check")


def test_installed_version(installed: Path, tmp_path: Path) -> None:
    out = run(installed / "dunlin", "--version", cwd=tmp_path, env=plain(tmp_path))
    assert __version__ in out


def test_installed_sync_mirrors_a_tree(installed: Path, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    for number in range(300):
        (source / "deep" / f"{number}.txt").write_bytes(b"x" * number)
    (source / "deep" / "er" / "big").write_bytes(bytes(range(256)) * 8192)
    (source / "link").symlink_to("deep/1.txt")
    run(installed / "dunlin", "sync", "-a", source, destination, cwd=tmp_path, env=plain(tmp_path))
    assert run("diff", "-r", "--no-dereference", source, destination) == ""
    assert (destination / "deep" / "7.txt").stat().st_mtime_ns == (source / "deep" / "7.txt").stat().st_mtime_ns
    assert (tmp_path / ".sync-state.db").stat().st_size > 0


def test_python_dash_m_is_the_same_program(installed: Path, tmp_path: Path) -> None:
    script = run(installed / "dunlin", "--help", cwd=tmp_path, env=plain(tmp_path))
    assert run(installed / "python", "-m", "dunlin", "--help", cwd=tmp_path, env=plain(tmp_path)) == script


def test_usage_error_is_exit_1_without_traceback(installed: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [installed / "dunlin", "sync"], cwd=tmp_path, env=plain(tmp_path), capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_a_missing_extra_is_one_line_with_the_command_that_adds_it(installed: Path, tmp_path: Path) -> None:
    command = [installed / "dunlin", "sync", "s3://bucket", "to", "--quiet", "--state-db", "none"]
    result = subprocess.run(command, cwd=tmp_path, env=plain(tmp_path), capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.endswith("pip install 'dunlin[cloud]'")
