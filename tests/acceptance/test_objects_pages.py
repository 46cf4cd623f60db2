"""What only shows when a listing takes several requests, or when a transfer failed the last time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.servers.s3 import S3

KEYS = ["d//1", "d//2", "d//3", "d/a", "d/b", "x", "../y", "./z", "/lead"]


@pytest.fixture
def login(moto_s3: S3) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": moto_s3.key_id,
        "AWS_SECRET_ACCESS_KEY": moto_s3.secret,
        "AWS_ENDPOINT_URL": moto_s3.url,
    }


@pytest.mark.parametrize("page", [1, 2, 3, 5])
def test_escaped_names_may_cross_a_page(tmp_path: Path, moto_s3: S3, login: dict[str, str], page: int) -> None:
    bucket, client = moto_s3.bucket(), moto_s3.client()
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    work = tmp_path / "work"
    work.mkdir()
    dunlin("sync", f"s3://{bucket}", "copy", "--batch-size", str(page), cwd=work, env=login, expect=0)
    found = [Path(place, name).read_bytes().decode() for place, _, names in os.walk(work / "copy") for name in names]
    assert sorted(found) == sorted(KEYS)


def test_a_file_that_failed_is_sent_by_the_next_run(tmp_path: Path, moto_s3: S3, login: dict[str, str]) -> None:
    bucket = moto_s3.bucket()
    work = tmp_path / "work"
    file = work / "source" / "f"
    file.parent.mkdir(parents=True)
    file.write_text("AAAA")
    words = ("sync", "source", f"s3://{bucket}")
    dunlin(*words, cwd=work, env=login, expect=0)
    file.write_text("BBBB")
    os.utime(file, (1, 1))  # restored from somewhere: same size, and older than what was uploaded
    file.chmod(0)
    dunlin(*words, cwd=work, env=login, prefix=UNPRIVILEGED, expect=23)
    file.chmod(0o644)
    dunlin(*words, cwd=work, env=login, expect=0)
    assert moto_s3.client().get_object(Bucket=bucket, Key="f")["Body"].read() == b"BBBB"
