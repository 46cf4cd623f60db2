"""The file that `dunlin init` writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dunlin.config.file import load
from dunlin.config.schema import KEYS
from dunlin.config.template import template, write
from dunlin.errors import DunlinError, ErrorKind

DEFAULTS = {
    "--container": [],
    "--output-path": "./data",
    "--prefix": "",
    "--workers": 0,
    "--batch-size": 0,
    "--skip-existing": False,
    "--verify-checksums": True,
    "--watch": False,
    "--watch-interval": "5m",
    "--log-level": "info",
    "--max-memory-mb": 0,
    "--max-cpu-percent": 0,
    "--throttle-threshold": 0.8,
    "--bwlimit": "",
    "--disk-buffer-mb": 64,
}


@pytest.mark.parametrize("name", ["dunlin.yaml", "dunlin.yml", "dunlin.toml"])
def test_what_it_says_is_what_holds_without_it(tmp_path: Path, name: str) -> None:
    write(str(tmp_path / name))
    found = load(str(tmp_path / name))
    assert {flag: value.value for flag, value in found.values.items()} == DEFAULTS
    assert (found.jobs, found.locations, found.exposed) == ((), {}, False)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("toml", [False, True])
def test_every_commented_line_is_good_as_well(tmp_path: Path, toml: bool) -> None:
    body = template(toml=toml).partition("\n\n")[2]
    path = tmp_path / ("all.toml" if toml else "all.yaml")
    lines = re.sub(r"^# ", "", body, flags=re.MULTILINE).splitlines()
    # Jobs and the container are two ways to say one thing.
    path.write_text("\n".join(line for line in lines if not re.match(r"\s*container( =|:) \"\"", line)))
    found = load(str(path))
    assert [job.destination for job in found.jobs] == ["loc://offsite/photos", ""]
    assert set(found.locations) == {"offsite"}
    native = {"azure", "watch", "logging", "state", "performance"}
    assert {key.flag for key in KEYS if key.section in native} - found.values.keys() == {"--azure-endpoint"}


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "dunlin.yaml"
    path.write_text("mine")
    with pytest.raises(DunlinError, match="there already; --force") as caught:
        write(str(path))
    assert caught.value.kind is ErrorKind.USAGE
    assert path.read_text() == "mine"
    write(str(path), force=True)
    assert path.read_text() == template()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DunlinError, match="cannot write the configuration") as caught:
        write(str(tmp_path / "none" / "dunlin.yaml"))
    assert caught.value.kind is ErrorKind.NOT_FOUND
