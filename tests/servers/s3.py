"""What tests know of a server that speaks S3, whichever it is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class S3:
    """A running S3 server: `url` is its endpoint (path-style addresses), without a slash at its end."""

    url: str
    key_id: str
    secret: str
    region: str = "us-east-1"

    def at(self, origin: str) -> S3:
        """The same server seen through a proxy at `origin` (scheme, host and port)."""
        return replace(self, url=origin)

    def client(self, **options: Any) -> Any:
        """A boto3 client that tries once, reads no configuration of the machine, and uses path-style addresses."""
        from botocore.config import Config

        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options)
        session = _session(self.key_id, self.secret, self.region)
        return session.client("s3", endpoint_url=self.url, config=config)

    def bucket(self) -> str:
        """Make a bucket with a new name and return the name."""
        name = f"b{uuid.uuid4().hex}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()
        return name


@cache
def _session(key_id: str, secret: str, region: str) -> Any:
    """A session of boto3's, kept: a new one reads the model of S3 anew for each client, which takes 0.1 s."""
    import boto3

    return boto3.session.Session(key_id, secret, region_name=region)
