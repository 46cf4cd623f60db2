"""Caps and rates of the configuration: from the names that people write to the groups of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.config import schema
from dunlin.config.caps import store_caps
from dunlin.config.file import load
from dunlin.config.service import Service, service
from dunlin.config.settings import Settings
from dunlin.config.spread import spread
from dunlin.errors import DunlinError
from dunlin.queue.caps import Shared

YAML = """
s3: {endpoint: "http://127.0.0.1:9000"}
locations:
  off: {url: "s3://other/p"}
queue:
  caps: {"s3://bucket": 16, "loc://off": 4, "DIRECTORY": 8}
publish: {bandwidth: 2M}
tenants:
  one: {allowed_roots: [/srv/one], jobs: 1, tasks: 6, bandwidth: 1M}
  two: {allowed_roots: [/srv/two], bandwidth: "off"}
"""


def settings(tmp_path: Path, text: str, name: str = "dunlin.yaml", **environ: str) -> Settings:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return Settings(load(str(file)), environ=environ)


def read(tmp_path: Path, text: str, name: str = "dunlin.yaml", **environ: str) -> Service:
    return service(settings(tmp_path, text, name, **environ))


def test_a_whole_configuration(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to("nas")
    found = read(tmp_path, YAML.replace("DIRECTORY", str(tmp_path / "link")))
    stores = {"store:http://127.0.0.1:9000/bucket": 16, "store:loc://off": 4, f"store:{tmp_path / 'nas'}": 8}
    rates = {"publishing": 2 << 20, "tenant:one": 1 << 20}
    assert found.shares == Shared({**stores, "tenant:one": 6}, rates)
    assert found.caps.directories == (str(tmp_path / "nas"),)
    assert [each[3:6] for each in found.tenants.values()] == [(1, 6, 1 << 20), (0, 0, 0)]


def test_nothing_is_bound_by_default() -> None:
    assert service(Settings(environ={})).shares == Shared()


def test_the_same_as_toml_and_in_the_environment(tmp_path: Path) -> None:
    wanted = {"store:s3://bucket": 3, "store:/": 2}
    toml = '[queue.caps]\n"s3://bucket" = 3\n"/" = 2\n'
    assert read(tmp_path, toml, "dunlin.toml").caps.groups == wanted
    assert service(Settings(environ={"DUNLIN_QUEUE_CAPS": "s3://bucket=3, /=2"})).caps.groups == wanted


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        ('{"s3://bucket": 0}', "0 is no whole number from 1"),
        ('{"s3://bucket": many}', "'many'"),
        ('{"s3://bucket/prefix": 1}', "a cap is for a whole store: s3://bucket"),
        ('{"loc://off/x": 1}', "a cap is for a whole location: loc://off"),
        ('{"loc://none": 1}', "none"),
        ('{"some/where": 1}', "write loc://NAME, s3://BUCKET or an absolute path"),
        ('{"file:///mnt": 1}', "write a directory as a path"),
        ("5", "5 is no text"),
        ('["s3://bucket"]', "it must be a whole number from 1"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, caps: str, words: str) -> None:
    text = "locations: {off: {url: 's3://other'}}\nqueue:\n  caps: " + caps
    with pytest.raises(DunlinError, match=words):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("value", "number"), [("low", -10), ("normal", 0), ("High ", 10), (7, 7), ("-100", -100), ("100", 100)]
)
def test_priorities_are_words_or_numbers(value: object, number: int) -> None:
    assert schema.priority(value) == number


@pytest.mark.parametrize("value", ["urgent", "", 101, "-101", 1.5, True, None])
def test_what_is_no_priority(value: object) -> None:
    with pytest.raises(ValueError, match="low, normal, high"):
        schema.priority(value)


def test_a_sync_over_the_queue_knows_its_priority_and_the_directories_with_a_cap(tmp_path: Path) -> None:
    found = settings(tmp_path, "queue:\n  caps: {/mnt/nas: 2}\n")
    how = spread({"queue": "q.db", "priority": -3}, "/a", "/b", None, found)
    assert how is not None
    assert (how.priority, how.capped, how.tenant) == (-3, ("/mnt/nas",), "")
    assert store_caps(found).groups == {"store:/mnt/nas": 2}
