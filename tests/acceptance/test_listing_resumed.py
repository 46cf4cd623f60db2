"""A run that is killed in the middle of a long listing goes on there, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.clouds import cloud
from tests.acceptance.program import dunlin, start
from tests.servers.faults import Rules

FILES = 1500
PAGE = 10
AHEAD = 40
"""Pages that may have been asked for ahead, and are lost with the process."""


@pytest.mark.parametrize("kind", ["fast", "az"])
@pytest.mark.parametrize("below", ["", "deep/down/"])
def test_a_killed_listing_goes_on_behind_its_last_page(
    tmp_path: Path, request: pytest.FixtureRequest, below: str, kind: str
) -> None:
    bucket = cloud(request, kind)
    work = tmp_path / "work"
    names = [f"{n:04}" for n in range(FILES)] + [f"x/{n}" for n in range(3)]
    for name in names:
        path = tmp_path / "source" / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    work.mkdir()
    end = (*bucket.options(), "--state-db", "none")
    dunlin("sync", tmp_path / "source", bucket.url, *end, cwd=work, env=bucket.env, expect=0)
    with bucket.through(Rules(latency_s=0.02)) as (there, proxy):
        words = ("sync", f"{there.url}/{below}", tmp_path / "copy", *there.options())
        words += ("--batch-size", str(PAGE), "--movers", "1")
        process = start(*words, cwd=work, env=there.env, start_new_session=True)
        until = time.monotonic() + 60
        while proxy.count(kind="list") < FILES // PAGE * 2 // 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        before = proxy.count(kind="list")
        proxy.forget()
        again = dunlin(*words, cwd=work, env=there.env, expect=0)
        assert "continuing run 1" in again.stderr
        after = proxy.count(kind="list")
    for name in names:
        assert (tmp_path / "copy" / name).read_text() == name
    assert after <= FILES // PAGE + 3 - (before - AHEAD) // 2, (before, after)
    dunlin("check", tmp_path / "source" / below, tmp_path / "copy", cwd=work, expect=0)
