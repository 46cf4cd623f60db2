"""Repositories in object stores, and backups of them: each side with a login of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.clouds import KINDS, cloud
from tests.acceptance.program import dunlin


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_lies_in_a_bucket(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    bucket = cloud(request, kind)
    desk = tmp_path / "desk"
    (desk / "home" / "docs").mkdir(parents=True)
    (desk / "home" / "docs" / "a").write_text("a")
    (desk / "home" / "large").write_bytes(bytes(range(256)) * 2000)
    env = {**bucket.env, "DUNLIN_REPO": f"{bucket.url}/vault", "DUNLIN_PASSWORD": "word"}
    where = bucket.options("repo")
    dunlin("repo", "init", *where, cwd=desk, env=env, expect=0)
    dunlin("backup", "home", *where, cwd=desk, env=env, expect=0)
    (desk / "home" / "docs" / "b").write_text("b")
    done = json.loads(dunlin("backup", "home", "--json", *where, cwd=desk, env=env, expect=0).stdout)
    assert (done["totals"]["files"], done["totals"]["new_files"], done["totals"]["read_bytes"]) == (3, 1, 1)
    listed = dunlin("ls", "-R", "latest", "--no-cache", *where, cwd=desk, env=env, expect=0).stdout
    assert listed.splitlines() == ["docs/", "large", "docs/a", "docs/b"]
    keys = bucket.keys()
    assert all(key.startswith("vault/") for key in keys)
    assert not [key for key in keys if "/leases/" in key]
    dunlin("forget", "--keep-last", "1", *where, cwd=desk, env=env, expect=0)
    keys = bucket.keys()
    assert len([key for key in keys if "/snapshots/" in key]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_is_backed_up(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    bucket = cloud(request, kind)
    desk = tmp_path / "desk"
    desk.mkdir()
    content = {"data/a": b"a", "data/sub/b": b"b" * 100_000, "other": b"no"}
    bucket.put(content)
    env = {**bucket.env, "DUNLIN_REPO": "vault"}
    dunlin("repo", "init", "--no-encryption", cwd=desk, env=env, expect=0)
    words = ("backup", f"{bucket.url}/data", "--json", *bucket.options("source"))
    first = json.loads(dunlin(*words, cwd=desk, env=env, expect=0).stdout)
    assert (first["snapshot"]["share"], first["totals"]["files"], first["totals"]["read_bytes"]) == ("data", 2, 100_001)
    bucket.put({"data/a": b"c"})
    again = json.loads(dunlin(*words, cwd=desk, env=env, expect=0).stdout)
    assert (again["totals"]["changed_files"], again["totals"]["read_bytes"]) == (1, 1)
    assert dunlin("ls", "-R", "latest", cwd=desk, env=env).stdout.splitlines() == ["a", "sub/", "sub/b"]
