"""Several containers, or a list of jobs, in a fresh directory; and what a later command knows of their places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.clouds import Cloud, cloud
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def name(bucket: Cloud) -> str:
    return bucket.url.removeprefix("az://")


def two(request: pytest.FixtureRequest) -> tuple[Cloud, Cloud, list[str]]:
    """Two containers with a blob each, and the options that name them."""
    one, other = cloud(request, "az"), cloud(request, "az")
    one.put({"a/x": b"1"})
    other.put({"y": b"2"})
    return one, other, [*one.options(), "--container", name(one), "--container", name(other)]


@pytest.mark.parametrize("output", ["", "new/deep/down"])
def test_two_containers_and_no_directory_yet(pair: Pair, request: pytest.FixtureRequest, output: str) -> None:
    one, other, flags = two(request)
    flags += ["--output-path", output] if output else []
    dunlin("sync", "--dry-run", *flags, cwd=pair.cwd, env=one.env, expect=0)
    top = pair.cwd / (output.partition("/")[0] or "data")
    assert not top.exists(), "a dry run makes nothing"
    dunlin("sync", *flags, cwd=pair.cwd, env=one.env, expect=0)
    assert tree(pair.cwd / (output or "data")) == {f"{name(one)}/a/x": b"1", f"{name(other)}/y": b"2"}


def test_one_container_below_directories_that_are_missing(pair: Pair, request: pytest.FixtureRequest) -> None:
    one, _, _ = two(request)
    words = [*one.options(), "--container", name(one), "--output-path", "new/deep"]
    dunlin("sync", *words, cwd=pair.cwd, env=one.env, expect=0)
    assert tree(pair.cwd / "new/deep") == {"a/x": b"1"}


def test_jobs_make_the_directories_above_their_destinations(pair: Pair, request: pytest.FixtureRequest) -> None:
    one, other, _ = two(request)
    make(pair.source, {"z": b"3"})
    (pair.cwd / "dunlin.yaml").write_text(
        json.dumps(
            {
                "azure": {"endpoint": one.flags["azure-endpoint"]},
                "jobs": [
                    {"source": one.url, "destination": "out/a"},
                    {"source": other.url, "destination": "out/b/c"},
                    {"source": str(pair.source), "destination": "else/where/d"},
                ],
            }
        )
    )
    dunlin("sync", cwd=pair.cwd, env=one.env, expect=0)
    assert tree(pair.cwd / "out") == {"a/a/x": b"1", "b/c/y": b"2"}
    assert tree(pair.cwd / "else") == {"where/d/z": b"3"}


def test_a_file_above_the_destination_of_a_job_is_one_line(pair: Pair) -> None:
    make(pair.source, {"z": b"3"})
    (pair.cwd / "file").write_text("x")
    (pair.cwd / "dunlin.yaml").write_text(
        json.dumps({"jobs": [{"source": str(pair.source), "destination": "file/a/b"}]})
    )
    done = dunlin("sync", cwd=pair.cwd, expect=1)
    assert "file/a" in done.stderr
    assert (pair.cwd / "file").read_text() == "x"


# ---- what an earlier command brought ----


def test_directories_of_other_containers_are_no_extras(pair: Pair, request: pytest.FixtureRequest) -> None:
    one, other, flags = two(request)
    dunlin("sync", *flags, cwd=pair.cwd, env=one.env, expect=0)
    before = tree(pair.cwd / "data")
    alone = ("sync", *one.options(), "--container", name(one), "--delete-extras")
    planned = dunlin(*alone, "-n", cwd=pair.cwd, env=one.env, expect=0)
    assert f"was brought by the pair with the source {_source(one)}" in planned.stderr
    done = dunlin(*alone, cwd=pair.cwd, env=one.env, expect=0)
    told = [line for line in done.stderr.splitlines() if "was brought by" in line]
    assert len(told) == 1
    assert "not deleted" in told[0]
    assert any(_source(each) in told[0] for each in (one, other))
    assert tree(pair.cwd / "data") == {**before, "a/x": b"1"}


def _source(bucket: Cloud) -> str:
    """How the state names a container."""
    return f"{bucket.flags['azure-endpoint']}/{name(bucket)}"


def test_what_stands_in_the_way_of_deletes_can_be_kept_out_or_removed(pair: Pair) -> None:
    make(pair.source, {"s": b"1"})
    make(pair.cwd / "other", {"o": b"2"})
    make(pair.target, {"extra": b"3"})
    dunlin("sync", "other", pair.target / "in", cwd=pair.cwd, expect=0)
    words = ("sync", "--delete-extras", pair.source, pair.target)
    dunlin(*words, cwd=pair.cwd, expect=0)
    assert tree(pair.target) == {"s": b"1", "extra": b"3", "in/o": b"2"}
    dunlin(*words, "--exclude", "/in", cwd=pair.cwd, expect=0)
    assert tree(pair.target) == {"s": b"1", "in/o": b"2"}
    make(pair.target, {"extra": b"3"})
    (pair.target / "in/o").unlink()
    (pair.target / "in").rmdir()
    dunlin(*words, cwd=pair.cwd, expect=0)
    assert tree(pair.target) == {"s": b"1"}


def test_a_part_of_the_same_pair_is_no_other_pair(pair: Pair) -> None:
    make(pair.source, {"sub/s": b"1", "t": b"2"})
    dunlin("sync", pair.source, pair.target, cwd=pair.cwd, expect=0)
    dunlin("sync", pair.source / "sub", pair.target / "sub", cwd=pair.cwd, expect=0)
    make(pair.target, {"sub/extra": b"3", "extra": b"3"})
    dunlin("sync", "--delete-extras", pair.source, pair.target, cwd=pair.cwd, expect=0)
    assert tree(pair.target) == {"sub/s": b"1", "t": b"2"}


def test_a_directory_that_both_sides_have_but_another_pair_fills(pair: Pair) -> None:
    make(pair.source, {"in/s": b"1"})
    make(pair.cwd / "other", {"o": b"2"})
    dunlin("sync", pair.source, pair.target, cwd=pair.cwd, expect=0)
    dunlin("sync", "other", pair.target / "in", cwd=pair.cwd, expect=0)
    done = dunlin("sync", "--delete-extras", pair.source, pair.target, cwd=pair.cwd, expect=0)
    assert "was brought by" in done.stderr
    assert tree(pair.target) == {"in/s": b"1", "in/o": b"2"}


# ---- secrets ----

PASSWORD = "MadeUpPassword"


@pytest.mark.parametrize(
    "place", [f"u:{PASSWORD}@h:/x", f"u:{PASSWORD}@h", f"u:p@{PASSWORD}@h:x", f"u:{PASSWORD}@h::m"]
)
@pytest.mark.parametrize("words", [(), ("--json", "--log-level=debug"), ("--log-format=logfmt",)])
def test_the_password_before_a_host_is_not_shown(tmp_path: Path, place: str, words: tuple[str, ...]) -> None:
    (tmp_path / "d").mkdir()
    for places in ((place, "d"), ("d", place)):
        done = dunlin("sync", *words, *places, cwd=tmp_path, expect=1)
        assert "u:***@h" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def test_no_key_of_the_configuration_shows_a_login_in_a_url(tmp_path: Path) -> None:
    login, signed = f"http://u:{PASSWORD}@127.0.0.1:9", f"https://127.0.0.1/acct?sv=1&sig={PASSWORD}"
    (tmp_path / "dunlin.yaml").write_text(
        json.dumps(
            {
                "s3": {"endpoint": login},
                "gcs": {"endpoint": login},
                "azure": {"endpoint": signed},
                "sync": {"source_s3_endpoint": login, "output_path": login},
                "locations": {"l": {"url": login, "endpoint": login}},
                "jobs": [{"source": login, "destination": signed, "azure_endpoint": signed}],
            }
        )
    )
    for words in ((), ("--json",)):
        done = dunlin("config", "show", *words, cwd=tmp_path, env={"DUNLIN_DEST_S3_ENDPOINT": login}, expect=0)
        assert done.stdout.count("127.0.0.1") >= 9
        assert PASSWORD not in done.stdout + done.stderr
