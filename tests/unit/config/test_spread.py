"""What a run over a queue is told by the layers: the queue, the label, who reaches a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.config import spread as spread_module
from dunlin.config.file import load
from dunlin.config.settings import Settings
from dunlin.config.spread import Places, home, host_label, queue_url, spread
from dunlin.errors import DunlinError
from dunlin.jobs.options import Spread

CONFIGURATION = """
locations:
  shared: {url: %(root)s/shared, shared: true}
  own: {url: %(root)s/own}
  far: {url: "s3://bucket/x", access_key_id: AK, secret_access_key: sekret}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "dunlin.yaml"
    file.write_text(CONFIGURATION % {"root": tmp_path})
    return Settings(load(str(file)), environ={})


def asked(settings: Settings, source: str, target: str, **values: Any) -> Spread:
    found = spread({"queue": "q.db", "host_label": "here", **values}, source, target, None, settings)
    assert found is not None
    return found


def test_without_a_queue_nothing_is_spread(settings: Settings) -> None:
    assert spread({"queue": None}, "a", "b", None, settings) is None
    assert spread({"queue": ""}, "a", "b", None, settings) is None


@pytest.mark.parametrize(
    ("source", "target", "host"),
    [
        ("s3://a", "s3://b", ""),
        ("/a", "s3://b", "here"),
        ("s3://a", "/b", "here"),
        ("loc://far", "loc://shared/x", ""),
        ("loc://own", "loc://far", "here"),
        ("loc://none", "loc://far", "here"),
    ],
)
def test_only_what_all_reach_needs_no_label(settings: Settings, source: str, target: str, host: str) -> None:
    assert asked(settings, source, target).host == host


def test_how_large_files_are_that_are_cut(settings: Settings) -> None:
    assert asked(settings, "/a", "/b").split_above == 256 << 20
    assert asked(settings, "/a", "/b", split_above=0).split_above == 0
    assert asked(settings, "/a", "/b", split_above=1 << 30).split_above == 1 << 30


def test_below_a_shared_root_everybody_is_at_home(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "mnt"
    (root / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root / "in")
    roots = (str(root),)
    assert asked(settings, str(root / "in"), "s3://b", shared_root=roots).host == ""
    assert asked(settings, str(tmp_path / "link"), str(root), shared_root=roots).host == ""
    assert asked(settings, f"{root}2", "s3://b", shared_root=roots).host == "here"
    assert asked(settings, str(root / ".." / "x"), "s3://b", shared_root=roots).host == "here"


def test_locations_travel_by_name_and_nothing_else_does(settings: Settings) -> None:
    assert asked(settings, "loc://far/a", "/b")[2:4] == ("loc://far/a", "")
    assert asked(settings, "/b", "loc://own")[2:4] == ("", "loc://own")


def test_the_machine_works_along_unless_it_is_told_not_to(settings: Settings) -> None:
    assert asked(settings, "a", "b").work
    assert not asked(settings, "a", "b", work=False).work


def test_a_label_is_the_machines_name_unless_it_is_said() -> None:
    assert host_label("x") == "x"
    assert host_label(None)


def test_the_queue_may_stand_in_a_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://me:sekret@host/0\n")
    assert queue_url(f"@{tmp_path}/url", None, settings) == "redis://me:sekret@host/0"
    with pytest.raises(DunlinError):
        queue_url(f"@{tmp_path}/absent", None, settings)


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("/b", "here"),
        ("loc://own/x", "here"),
        ("s3://b", ""),
        ("loc://shared/x", ""),
        ("loc://far", ""),
        ("loc://none", ""),
    ],
)
def test_a_destination_that_others_do_not_have_is_at_home_here(settings: Settings, target: str, label: str) -> None:
    assert home({"host_label": "here"}, target, settings) == label


def test_what_others_may_have_is_nobodys_own(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"host_label": "here", "shared_root": (str(tmp_path),)}
    assert home(shared, f"{tmp_path}/x", settings) == ""
    assert home(shared, "loc://own/x", settings) == "", "a location is a path, too"
    seen: list[str] = []
    monkeypatch.setattr(spread_module, "network_mount", lambda path: seen.append(path) or "nfs4")
    assert home({"host_label": "here"}, "loc://own/x", settings) == "", "nobody said so, but others may have mounted it"
    assert seen == [f"{tmp_path}/own/x"]


def test_the_section_redis_names_a_queue_for_workers(tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text("redis: {addr: 'host:6379', db: 2}\n")
    settings = Settings(load(str(file)), environ={})
    assert queue_url(None, None, settings).startswith("redis://host:6379")
    assert queue_url("", None, settings) == ""
    assert queue_url(None, None, Settings(environ={})) == ""


def test_a_worker_looks_places_up_in_its_own_configuration(settings: Settings, tmp_path: Path) -> None:
    places = Places(settings)
    url, login = places("loc://far/a", "source")
    assert (url, login["access_key_id"]) == ("s3://bucket/x/a", "AK")
    assert places("loc://own/a", "dest")[0] == f"{tmp_path}/own/a"
    with pytest.raises(DunlinError, match="there is no location nas"):
        places("loc://nas", "source")


@pytest.mark.parametrize("value", ["'yes'", "1", "[true]"])
def test_whether_a_location_is_shared_is_true_or_false(tmp_path: Path, value: str) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text(f"locations: {{a: {{url: /x, shared: {value}}}}}\n")
    with pytest.raises(DunlinError, match=r"locations\.a\.shared: it must be true or false"):
        load(str(file))
