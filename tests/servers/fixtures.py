"""The servers as pytest fixtures, one of each per worker, started when first asked for.

One per worker, not one per session: a start costs 0.1 s (rclone) to 1.2 s (Azurite) once, less than what it would
take to agree between workers on who starts and who ends a shared one. Tests share a server and keep apart by taking
a bucket, container or share of their own: `azurite.container()`, `azfiles.share()`, `moto_s3.bucket()`,
`rclone_s3.bucket()`, `gcs.bucket()`, `postgres.database()`, `redis.queue()`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import azure_files as _azure_files
from tests.servers import azurite as _azurite
from tests.servers import gcs as _gcs
from tests.servers import moto as _moto
from tests.servers import postgres as _postgres
from tests.servers import rclone as _rclone
from tests.servers import redis as _redis
from tests.servers.s3 import S3


@pytest.fixture(scope="session")
def azurite() -> Iterator[_azurite.Azurite]:
    """Azure Blob Storage."""
    with _azurite.azurite() as server:
        yield server


@pytest.fixture(scope="session")
def azfiles() -> Iterator[_azure_files.Files]:
    """Azure Files."""
    with _azure_files.azure_files_process() as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3]:
    """S3 with the key rules of S3."""
    with _moto.moto_s3() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[S3]:
    """S3, fast, with signatures checked."""
    with _rclone.rclone_s3() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[_gcs.Gcs]:
    """Google Cloud Storage, JSON API."""
    with _gcs.gcs() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[_postgres.Postgres]:
    """PostgreSQL. A test that restarts it starts one of its own."""
    with _postgres.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[_redis.Redis]:
    """Redis, with an append-only file. A test that restarts it starts one of its own."""
    with _redis.redis_server() as server:
        yield server
