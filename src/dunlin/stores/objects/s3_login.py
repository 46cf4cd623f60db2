"""Who we are to an S3 service: what a `Login` holds becomes credentials, asked for before every request.

Explicit keys and anonymous access need nothing but the `Login`. A profile, the default chain (environment, files,
container, instance) and a role are boto3's business: its session is made when one of them is wanted, it takes
0.4 s to import, and its credentials renew themselves shortly before they expire, whichever thread asks. A frozen
copy is taken for each request, so that key, secret and token always belong together.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.stores.login import Login
from dunlin.stores.objects.address import http_address
from dunlin.stores.objects.s3_sign import Credentials

Provider = Callable[[], Credentials | None]
"""The credentials of this moment; None: requests are not signed. Raises AUTH or NETWORK."""

SESSION_NAME = "dunlin"
"""What the service's log calls a session in which a role was assumed."""


PATIENCE = 3.5
"""Seconds that a login service gets for a connection, and for an answer; it is asked twice."""
_RETRIES = {"total_max_attempts": 2}


class Identity(NamedTuple):
    """Where credentials come from, and the region that came with them, or ""."""

    provider: Provider
    region: str


def check(bucket: str, login: Login) -> None:
    """Raise USAGE for values that no service could accept, before anything is sent."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket) or ".." in bucket:
        raise usage(f"{bucket!r} is no name of a bucket", "s3://BUCKET/PREFIX")
    for name in sorted(login.given()):
        value = login[name]
        if value != value.strip() or (name in _WORDS and not re.fullmatch(r"[!-~]+", value)):
            raise usage(f"the S3 {_words(name)} has a space or another character in it that none has")
    if bool(login["access_key_id"]) != bool(login["secret_access_key"]):
        there, missing = _halves(login)
        raise usage(f"there is an S3 {_words(there)} but no {_words(missing)}", "give both, or neither")
    if login["session_token"] and not login["access_key_id"]:
        raise usage("there is an S3 session token but no access key id", "give the key that it belongs to")
    ways = [name for name in ("access_key_id", "profile", "anonymous") if login[name]]
    if len(ways) > 1:
        raise usage(f"S3 {_words(ways[0])} and {_words(ways[1])} exclude each other", "give one of them")
    if login["role_arn"] and (login["anonymous"] or not _ROLE.fullmatch(login["role_arn"])):
        raise usage("the S3 role is not arn:aws:iam::ACCOUNT:role/NAME, or nobody is there to assume it")
    if login["region"] and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", login["region"]):
        raise usage(f"{login['region']!r} is no name of a region")
    _check_endpoint(login["endpoint"])


_WORDS = frozenset({"access_key_id", "secret_access_key", "session_token", "role_arn", "region", "endpoint"})
_ROLE = re.compile(r"arn:[a-z0-9-]+:(?:iam|sts):[a-z0-9-]*:[0-9]*:role/[!-~]+")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _halves(login: Login) -> tuple[str, str]:
    pair = ("access_key_id", "secret_access_key")
    return pair if login["access_key_id"] else (pair[1], pair[0])


def _check_endpoint(endpoint: str) -> None:
    if not endpoint:
        return
    parts = http_address(endpoint)
    # The endpoint is not repeated: what is wrong with it may be a password in it.
    if parts is None or parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise usage("the S3 endpoint is not http://HOST[:PORT] or https://HOST[:PORT]", "--s3-endpoint")


def identity(login: Login, url: str, on_login: Callable[[str], object] | None = None) -> Identity:
    """Credentials as `login` says; `url` is for messages. `on_login` is told where boto3 found them.

    Raises AUTH when nothing was found or the login was refused, NETWORK when nobody answered, USAGE when boto3
    is wanted and missing.
    """
    if login["anonymous"]:
        return Identity(lambda: None, "")
    if login["access_key_id"] and not login["role_arn"]:
        fixed = Credentials(login["access_key_id"], login["secret_access_key"], login["session_token"])
        return Identity(lambda: fixed, "")
    with _translated(login, url):
        session = _session(login)
        found = session.get_credentials()
        if found is None:
            hint = "give an access key, a profile, or --s3-anonymous for a public bucket"
            raise DunlinError("log in to", url, ErrorKind.AUTH, "no S3 credentials were found", hint)
        if login["role_arn"]:
            found = _assumed(session, login)
    provider = _frozen(found, login, url)
    if on_login is not None:
        on_login(_origin(found, login))
    return Identity(provider, session.region_name or "")


_ORIGINS = {
    "env": "environment",
    "shared-credentials-file": "credentials file",
    "config-file": "configuration file",
    "explicit": "access key",
    "assume-role": "assumed role",
    "assume-role-with-web-identity": "web identity",
    "container-role": "container's role",
    "iam-role": "instance's role",
}
"""What boto3 calls the places where it looks, and what the log does."""


def _origin(found: Any, login: Login) -> str:
    """Where credentials come from, in words."""
    method = str(getattr(found, "method", ""))
    words = _ORIGINS.get(method, method)
    if login["role_arn"]:
        words = f"role {login['role_arn']}"
    return f"profile {login['profile']} ({words})" if login["profile"] else words


def _session(login: Login) -> Any:
    try:
        import boto3
    except ImportError as error:
        raise usage("S3 profiles, roles and the default chain need boto3", "pip install 'dunlin[cloud]'") from error
    import botocore.session
    from botocore.config import Config

    inner = botocore.session.get_session()
    # Also for the clients by which boto3 itself assumes a role: its own minute, five times, is no time to wait.
    inner.set_default_client_config(Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries=_RETRIES))
    return boto3.session.Session(
        aws_access_key_id=login["access_key_id"] or None,
        aws_secret_access_key=login["secret_access_key"] or None,
        aws_session_token=login["session_token"] or None,
        profile_name=login["profile"] or None,
        region_name=login["region"] or None,
        botocore_session=inner,
    )


def _assumed(session: Any, login: Login) -> Any:
    """Credentials of the role, assumed anew shortly before they expire."""
    from botocore.credentials import RefreshableCredentials

    def assume() -> dict[str, str]:
        client = session.client("sts", region_name=session.region_name or "us-east-1")
        try:
            answer = client.assume_role(RoleArn=login["role_arn"], RoleSessionName=SESSION_NAME)["Credentials"]
        finally:
            client.close()
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }

    return RefreshableCredentials.create_from_metadata(assume(), assume, "assume-role")


def _frozen(found: Any, login: Login, url: str) -> Provider:
    def provide() -> Credentials:
        with _translated(login, url):
            now = found.get_frozen_credentials()
        return Credentials(now.access_key, now.secret_key, now.token or "")

    provide()
    return provide


@contextlib.contextmanager
def _translated(login: Login, url: str) -> Iterator[None]:
    """The border to boto3: what it raises becomes AUTH, or NETWORK where nobody answered."""
    try:
        yield
    except DunlinError:
        raise
    except Exception as error:
        from botocore import exceptions  # whoever raised it has imported it

        reason = masked(" ".join(str(error).split()), login)
        if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
            raise DunlinError("log in to", url, ErrorKind.NETWORK, reason) from None
        if isinstance(error, exceptions.BotoCoreError | exceptions.ClientError | RuntimeError):
            raise DunlinError("log in to", url, ErrorKind.AUTH, reason, "check the S3 credentials") from None
        raise


def masked(text: str, login: Login) -> str:
    """`text` of others without the secrets of `login`."""
    for secret in login.secrets():
        text = text.replace(secret, "***")
    return text
