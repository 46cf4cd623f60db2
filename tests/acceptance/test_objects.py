"""`dunlin sync` between any two stores: what arrives, under which name, with which metadata, and what never may.

Every pair of a disk, S3 (moto), Azure Blob (Azurite) and Google Cloud Storage (an emulator). What the servers of the
tests cannot do is left out by name in `NOT_AT`.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests.acceptance.clouds import KINDS, Cloud, cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair

ODD = [
    *("a", "a/b", "p//q", "./x", "../x", "/lead", "trail/", "marker/", "x/../../etc/passwd", "..dots", "dot."),
    *("é", "e\u0301"),
    *("%2F", "a b+c&d", "q?x=1#f", "\U0001f426", "\u201b_", "\u201b", "<&>", "b\\s", "C:\\x", "k" * 1024),
    "n\nl",
]
CONTENT = {key: b"" if key == "marker/" else b"content of " + key.encode() for key in ODD}

NOT_AT = {
    # The emulator drops the connection for a component ".."; the service itself refuses line ends.
    "gs": {"../x", "x/../../etc/passwd", "n\nl"},
    # Azurite stores "\" as "/".
    "az": {"b\\s", "C:\\x"},
}


def odd(*kinds: str) -> dict[str, bytes]:
    """The odd keys that all these servers take, with content."""
    refused = set().union(*(NOT_AT.get(kind, set()) for kind in kinds))
    return {key: data for key, data in CONTENT.items() if key not in refused}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def dress(root: Path) -> None:
    """Files with modes, owners and times of a nanosecond."""
    os.makedirs(root / "d/e")
    for n, name in enumerate(("top", "d/in", "d/e/deep", "d/none")):
        path = root / name
        path.write_bytes(b"" if name == "d/none" else name.encode() * (n * 100 + 1))
        path.chmod((0o644, 0o600, 0o755, 0o4750)[n])
        if os.geteuid() == 0:
            os.chown(path, 1000 + n, 2000 + n)
            path.chmod((0o644, 0o600, 0o755, 0o4750)[n])
        stamp = 1_700_000_000_123_456_789 + n
        os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize("kind", [*KINDS, "fast"])
def test_a_disk_comes_back_as_it_was(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    dress(pair.source)
    for source, target in ((pair.source, bucket), (bucket, pair.target)):
        places, env = words(source, target)
        dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0)
    for name in ("top", "d/in", "d/e/deep", "d/none"):
        one, other = (os.stat(root / name) for root in (pair.source, pair.target))
        for field in ("st_size", "st_mtime_ns", "st_mode", "st_uid", "st_gid"):
            assert getattr(one, field) == getattr(other, field), (name, field)
        assert (pair.source / name).read_bytes() == (pair.target / name).read_bytes()


@pytest.mark.parametrize(("one", "other"), list(itertools.product(KINDS, KINDS)))
def test_every_key_travels_between_object_stores(
    pair: Pair, request: pytest.FixtureRequest, one: str, other: str
) -> None:
    source, target = cloud(request, one), cloud(request, other)
    source.put(odd(one, other))
    places, env = words(source, target)
    dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0)
    assert target.content() == odd(one, other)
    again = dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0)
    assert f"{len(odd(one, other))} in sync, nothing to do" in again.stdout


@pytest.mark.parametrize(("one", "other"), list(itertools.product(KINDS, KINDS)))
def test_metadata_travels_between_object_stores(
    pair: Pair, request: pytest.FixtureRequest, one: str, other: str
) -> None:
    source, target = cloud(request, one), cloud(request, other)
    metadata = {"mtime": "1600000000.123456789", "mode": "100640", "uid": "7", "gid": "8"}
    source.put({"dressed": b"x"}, metadata)
    source.put({"bare": b"y"})
    places, env = words(source, target)
    dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0)
    there = target.objects()
    assert metadata.items() <= (there["dressed"].metadata or {}).items()
    if one == other == "gs":
        return  # the emulator copies an object with the metadata that it has, whatever is asked for
    uploaded = source.objects()["bare"].modified
    assert (there["bare"].metadata or {})["mtime"] == f"{uploaded // 10**9}.{uploaded % 10**9:09d}"


@pytest.mark.parametrize("kind", KINDS)
def test_odd_keys_become_files_and_keys_again(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    bucket, back = cloud(request, kind), cloud(request, kind)
    keys = {key: data for key, data in odd(kind).items() if key not in ("a/b", "k" * 1024, "marker/")}
    bucket.put(keys)
    for source, target in ((bucket, pair.target), (pair.target, back)):
        places, env = words(source, target)
        dunlin("sync", "-a", *places, cwd=pair.cwd, env=env, expect=0)
    assert back.content() == keys
    assert sorted(os.listdir(pair.root)) == sorted({"cwd", ".home-cwd", "source", "target"})
    assert not [path for path in pair.target.rglob("*") if path.name in (".", "..", "")]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_outside(pair: Pair, request: pytest.FixtureRequest, kind: str) -> None:
    outside = pair.root / "outside"
    outside.mkdir()
    pair.target.mkdir()
    (pair.target / "planted").symlink_to(outside)
    (pair.target / "file").symlink_to(outside / "victim")
    bucket = cloud(request, kind)
    keys = {"planted/in": b"1", "file": b"2", "./../x": b"3", "/etc/passwd": b"4"}
    keys |= {} if kind == "gs" else {"../../etc/x": b"5"}
    bucket.put({key: data for key, data in keys.items() if kind != "gs" or ".." not in key.split("/")})
    places, env = words(bucket, pair.target)
    dunlin("sync", *places, cwd=pair.cwd, env=env, expect=None)
    assert os.listdir(outside) == []
    assert (pair.target / "file").read_bytes() == b"2"
    assert not (pair.target / "file").is_symlink()
    assert not os.path.exists(pair.root / "etc")
    assert not os.path.exists(pair.root / "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_and_a_directory_of_one_name_clash_on_a_disk(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    bucket.put({"a": b"file", "a/b": b"below", "c": b"fine"})
    places, env = words(bucket, pair.target)
    for _ in range(2):
        done = dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=23)
        assert "cannot copy a: the destination holds it and a/ as one name" in done.stderr + done.stdout
        assert "cannot copy a/: the destination holds it and a as one name" in done.stderr + done.stdout
        assert tree(pair.target) == {"c": b"fine"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_never_deleted_for_a_directory_of_its_name(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    bucket = cloud(request, kind)
    bucket.put({"a": b"file", "a/b": b"below", "c": b"a file", "c/d": b"below", "left/": b"", "left/x": b"gone"})
    (pair.source / "a").write_bytes(b"file")
    (pair.source / "c").mkdir()
    (pair.source / "c/d").write_bytes(b"below")
    places, env = words(pair.source, bucket)
    dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=0)
    # The marker of a directory that the source has not went with what was in it.
    assert bucket.content() == {"a": b"file", "c/d": b"below"}
    done = dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=0)
    assert "2 in sync, nothing to do" in done.stdout


@pytest.mark.parametrize(("one", "other"), [("s3", "s3"), ("az", "az"), ("gs", "gs"), ("s3", "az")])
def test_extras_of_an_object_store_are_deleted_by_their_keys(
    pair: Pair, request: pytest.FixtureRequest, one: str, other: str
) -> None:
    source, target = cloud(request, one), cloud(request, other)
    keys = {"a": b"1", "d/b": b"2", "m/": b""}
    source.put(keys)
    target.put({**keys, "a/b": b"extra", "d": b"extra", "x/": b"", "y//z": b"extra", "m": b"extra"})
    places, env = words(source, target)
    dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=0)
    assert target.content() == keys


@pytest.mark.parametrize("more", [(), ("--trust-state",)])
def test_names_outside_the_prefix_are_no_extras(
    pair: Pair, request: pytest.FixtureRequest, more: tuple[str, ...]
) -> None:
    bucket = cloud(request, "az")
    bucket.put({"2024/a": b"1", "2024/d/b": b"2", "2025/c": b"3"})
    env = bucket.env
    flags = [*bucket.options(), "--container", bucket.url.removeprefix("az://"), "--output-path", "data"]
    keep = {"notes.txt": b"own", "2025/own": b"own", "2024x": b"own", "other/deep/own": b"own"}
    for name, data in {**keep, "2024/extra": b"old", "2024/old/extra": b"old"}.items():
        (pair.cwd / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (pair.cwd / "data" / name).write_bytes(data)
    words_ = ("sync", "--prefix", "2024/", "--delete-extras", *more, *flags)
    planned = dunlin(*words_, "-n", cwd=pair.cwd, env=env, expect=0)
    dunlin(*words_, cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.cwd / "data") == {**keep, "2024/a": b"1", "2024/d/b": b"2"}
    assert not (pair.cwd / "data/2024/old").exists()
    told = [line for line in planned.stdout.splitlines() if line.startswith("delete")]
    assert sorted(told) == ["delete 2024/extra", "delete 2024/old", "delete 2024/old/extra"]
    # A directory with more in it than the prefix covers stays, also in the plan.
    words_ = ("sync", "--prefix", "2025/c", "--delete-extras", *more, *flags)
    bucket.delete("2025/c")
    planned = dunlin(*words_, "-n", "--accept-source", cwd=pair.cwd, env=env, expect=0)
    assert "delete" not in planned.stdout.partition("would")[0]
    dunlin(*words_, "--accept-source", cwd=pair.cwd, env=env, expect=0)
    assert tree(pair.cwd / "data") == {**keep, "2024/a": b"1", "2024/d/b": b"2"}


def test_a_prefix_may_lie_in_the_other(pair: Pair, moto_s3: object, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    bucket.put({"p/a": b"1", "p/d/b": b"2"})
    inner = Cloud(f"{bucket.url}/p/copy", bucket.login, bucket.flags, bucket.env, bucket.origin, bucket.moved)
    outer = Cloud(f"{bucket.url}/p", bucket.login, bucket.flags, bucket.env, bucket.origin, bucket.moved)
    for _ in range(2):
        places, env = words(outer, inner)
        dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=0)
        assert bucket.keys() == ["p/a", "p/copy/a", "p/copy/d/b", "p/d/b"]
    bucket.delete("p/a", "p/d/b")
    places, env = words(inner, outer)
    dunlin("sync", "--delete-extras", *places, cwd=pair.cwd, env=env, expect=0)
    assert bucket.keys() == ["p/a", "p/copy/a", "p/copy/d/b", "p/d/b"]
