"""A service that lists keys in another order than it is known for: found as it streams, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.clouds import cloud
from tests.acceptance.program import dunlin

NAMES = [
    *("a", "\U000a2ea7m", "\ue91c", "\ufb01"),
    *("\U0001f426/\U000a2ea7", "\U0001f426/\uff5e", "z/\U000a2ea7", "z/\ue000"),
]
"""Azurite compares UTF-16 units: what lies beyond U+FFFF comes before U+E000 to U+FFFF there."""


@pytest.mark.parametrize("kind", ["az", "fast"])
def test_names_beyond_the_basic_plane(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    bucket = cloud(request, kind)
    source, copy, work = tmp_path / "source", tmp_path / "copy", tmp_path / "work"
    work.mkdir()
    for number, name in enumerate(NAMES):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * number)
    more = {"cwd": work, "env": bucket.env, "expect": 0}
    up = ("sync", source, bucket.url, *bucket.options(), "--delete-extras")
    down = ("sync", bucket.url, copy, *bucket.options(), "--delete-extras")
    assert "copied 8 files" in dunlin(*up, **more).stdout
    assert "8 in sync, nothing to do" in dunlin(*up, **more).stdout
    assert "copied 8 files" in dunlin(*down, **more).stdout
    assert "8 in sync, nothing to do" in dunlin(*down, **more).stdout
    assert {name: (copy / name).read_text() for name in NAMES} == {name: "x" * n for n, name in enumerate(NAMES)}
    (source / "\ue91c").unlink()
    assert "1 deleted" in dunlin(*up, **more).stdout.replace("deleted 1", "1 deleted")
    dunlin("check", source, bucket.url, *bucket.options(), **more)
