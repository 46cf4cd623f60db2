"""A run that is killed in the middle of a long listing goes on there, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin, start
from tests.servers.faults import Rules, faults
from tests.servers.s3 import S3

FILES = 1500
PAGE = 10
AHEAD = 40
"""Pages that may have been asked for ahead, and are lost with the process."""


@pytest.fixture
def keys(rclone_s3: S3) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": rclone_s3.key_id, "AWS_SECRET_ACCESS_KEY": rclone_s3.secret}


@pytest.mark.parametrize("below", ["", "deep/down/"])
def test_a_killed_listing_goes_on_behind_its_last_page(
    tmp_path: Path, rclone_s3: S3, keys: dict[str, str], below: str
) -> None:
    bucket = rclone_s3.bucket()
    work = tmp_path / "work"
    names = [f"{n:04}" for n in range(FILES)] + [f"x/{n}" for n in range(3)]
    for name in names:
        path = tmp_path / "source" / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    work.mkdir()
    end = ("--s3-endpoint", rclone_s3.url, "--state-db", "none")
    dunlin("sync", tmp_path / "source", f"s3://{bucket}", *end, cwd=work, env=keys, expect=0)
    with faults(rclone_s3.url, Rules(latency_s=0.02)) as proxy:
        words = ("sync", f"s3://{bucket}/{below}", tmp_path / "copy", "--s3-endpoint", proxy.origin)
        words += ("--batch-size", str(PAGE), "--movers", "1")
        process = start(*words, cwd=work, env=keys, start_new_session=True)
        until = time.monotonic() + 60
        while proxy.count(kind="list") < FILES // PAGE * 2 // 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        before = proxy.count(kind="list")
        proxy.forget()
        again = dunlin(*words, cwd=work, env=keys, expect=0)
        assert "continuing run 1" in again.stderr
        after = proxy.count(kind="list")
    for name in names:
        assert (tmp_path / "copy" / name).read_text() == name
    assert after <= FILES // PAGE + 3 - (before - AHEAD) // 2, (before, after)
    dunlin("check", tmp_path / "source" / below, tmp_path / "copy", cwd=work, expect=0)
