"""Copies of objects: whole or not at all, for the user alone, and never in anybody's way."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.backup import cache
from dunlin.backup.cache import Cache


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "kept")


def files(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "kept")) for path in tmp_path.rglob("*") if path.is_file())


def test_a_copy_comes_back_mapped_where_it_is_large(
    kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MAPPED", 5)
    kept.put("a/b", [b"on", b"e"])
    kept.put("a/c", [b"some", b"more"])
    small, large = kept.get("a/b"), kept.get("a/c")
    assert small == b"one"
    assert isinstance(large, mmap.mmap)
    assert large[:] == b"somemore"
    kept.put("a/c", [b"others"])
    kept.drop("a/b")
    kept.drop("a/b")
    assert large[:] == b"somemore", "who reads it goes on"
    assert (kept.get("a/b"), kept.path("a/b"), kept.get("nowhere")) == (None, None, None)
    assert files(tmp_path) == ["a/c"]


def test_it_is_the_users_alone(kept: Cache, tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"made")
    os.chmod(tmp_path / "made", 0o644)
    kept.put("t/a", [b"a"])
    kept.adopt("t/b", tmp_path / "made")
    assert kept.get("t/b") == b"made"
    assert not (tmp_path / "made").exists()
    assert {stat.S_IMODE((tmp_path / "kept/t" / name).stat().st_mode) for name in "ab"} == {0o600}
    assert stat.S_IMODE((tmp_path / "kept/t").stat().st_mode) == 0o700


def test_half_a_copy_is_none(kept: Cache, tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise KeyError("broken off")

    with pytest.raises(KeyError):
        kept.put("a", pieces())
    assert kept.get("a") is None
    assert files(tmp_path) == []


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    (tmp_path / "made").write_bytes(b"made")
    kept = Cache(tmp_path / "kept")
    kept.put("a/b", [b"one"])
    kept.adopt("a/c", tmp_path / "made")
    kept.drop("a/b")
    kept.keep("a", ())
    assert (kept.get("a/b"), kept.names("a")) == (None, set())
    assert (tmp_path / "made").read_bytes() == b"made", "it was left alone"


def test_what_is_not_to_be_kept_goes_and_what_is_being_written_stays(kept: Cache, tmp_path: Path) -> None:
    for key in ("d/a", "d/b", "d/below/c", "e/a"):
        kept.put(key, [b""])
    for name, age in ((".x.1.1.tmp", 60.0), (".y.1.1.tmp", cache._LEFT + 60)):
        path = tmp_path / "kept/d" / name
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert kept.names("d") == {"a", "b"}
    kept.keep("d", {"b", "z"})
    assert files(tmp_path) == ["d/.x.1.1.tmp", "d/b", "d/below/c", "e/a"]
