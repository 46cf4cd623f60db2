"""Who we are: values that cannot be right, boto3's sources, and what a failure says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import s3_login
from dunlin.stores.objects.s3_sign import Credentials

KEYS = {"access_key_id": "id", "secret_access_key": "quite-secret"}
ROLE = "arn:aws:iam::123456789012:role/name"


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of boto3's files, and nothing of the machine."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def refusal(login: dict[str, str], bucket: str = "bucket") -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        s3_login.check(bucket, Login(login))
    return caught.value


@pytest.mark.parametrize(
    "login",
    [
        {"access_key_id": "id"},
        {"secret_access_key": "quite-secret"},
        {**KEYS, "secret_access_key": " quite-secret"},
        {**KEYS, "access_key_id": "i d"},
        {**KEYS, "secret_access_key": "quite-secret\n"},
        {"session_token": "quite-secret"},
        {**KEYS, "profile": "p"},
        {**KEYS, "anonymous": "true"},
        {"profile": "p", "anonymous": "true"},
        {**KEYS, "role_arn": "name"},
        {"anonymous": "true", "role_arn": ROLE},
        {**KEYS, "region": "eu_west/1"},
        {**KEYS, "endpoint": "localhost:9000"},
        {**KEYS, "endpoint": "http://"},
        {**KEYS, "endpoint": "http://host:port"},
        {**KEYS, "endpoint": "http://me:quite-secret@host"},
        {**KEYS, "endpoint": "http://host/bucket"},
        {**KEYS, "endpoint": "http://host?quite-secret"},
    ],
)
def test_what_cannot_be_right_is_said_before_the_first_request(login: dict[str, str]) -> None:
    error = refusal(login)
    assert (error.kind, error.exit_code) == (ErrorKind.USAGE, 1)
    assert "quite-secret" not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("bucket", ["", "a", "a b", "-a", "a..b", "a/b", "b" * 256])
def test_names_that_no_bucket_has(bucket: str) -> None:
    assert refusal(KEYS, bucket).kind is ErrorKind.USAGE


@pytest.mark.parametrize(
    "login",
    [
        {},
        KEYS,
        {**KEYS, "session_token": "t", "region": "eu-west-1", "endpoint": "http://127.0.0.1:9000/"},
        {"anonymous": "true"},
        {"profile": "my profile", "role_arn": ROLE},
        {**KEYS, "role_arn": "arn:aws-cn:iam::123456789012:role/path/name"},
    ],
)
def test_what_can_be_right(login: dict[str, str]) -> None:
    s3_login.check("My_bucket.1", Login(login))


def test_explicit_keys_and_nobody_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    who = s3_login.identity(Login({**KEYS, "session_token": "t"}), "s3://b")
    assert who.provider() == Credentials("id", "quite-secret", "t")
    assert s3_login.identity(Login({"anonymous": "true"}), "s3://b").provider() is None
    with pytest.raises(DunlinError) as caught:
        s3_login.identity(Login({"profile": "p"}), "s3://b")
    assert (caught.value.kind, caught.value.hint) == (ErrorKind.USAGE, "pip install 'dunlin[cloud]'")


def test_a_profile_brings_its_region(configuration: Path) -> None:
    (configuration / "credentials").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (configuration / "config").write_text("[profile work]\nregion = eu-north-1\n")
    who = s3_login.identity(Login({"profile": "work"}), "s3://b")
    assert (who.provider(), who.region) == (Credentials("a", "b"), "eu-north-1")


def test_the_default_chain_reads_the_environment(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert s3_login.identity(Login(), "s3://b").provider() == Credentials("a", "b")


@pytest.mark.parametrize("login", [{}, {"profile": "nobody"}])
def test_nothing_found_is_one_line(configuration: Path, login: dict[str, str]) -> None:
    with pytest.raises(DunlinError) as caught:
        s3_login.identity(Login(login), "s3://b")
    assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.AUTH, 1)
    assert "\n" not in str(caught.value)


class Sts:
    """A stand-in of the token service: gives each session its number, or fails."""

    def __init__(self, lasts: timedelta, failure: Exception | None = None) -> None:
        self.asked: list[dict[str, str]] = []
        self._lasts = lasts
        self._failure = failure

    def assume_role(self, **wanted: str) -> dict[str, Any]:
        self.asked.append(wanted)
        if self._failure is not None:
            raise self._failure
        number = len(self.asked)
        session = {"AccessKeyId": f"a{number}", "SecretAccessKey": "b", "SessionToken": f"t{number}"}
        return {"Credentials": {**session, "Expiration": datetime.now(UTC) + self._lasts}}

    def close(self) -> None:
        pass


def assumed(monkeypatch: pytest.MonkeyPatch, sts: Sts) -> s3_login.Identity:
    import boto3

    monkeypatch.setattr(boto3.session.Session, "client", lambda *args, **options: sts)
    return s3_login.identity(Login({**KEYS, "role_arn": ROLE}), "s3://b")


def test_a_role_is_assumed_once_while_it_lasts(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sts = Sts(timedelta(hours=1))
    who = assumed(monkeypatch, sts)
    assert [who.provider() for _ in range(3)] == [Credentials("a1", "b", "t1")] * 3
    assert sts.asked == [{"RoleArn": ROLE, "RoleSessionName": "dunlin"}]


def test_a_role_is_assumed_anew_before_it_ends(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sts = Sts(timedelta(minutes=5))
    who = assumed(monkeypatch, sts)
    first, second = who.provider(), who.provider()
    assert first is not None
    assert second is not None
    assert first.token != second.token
    assert first.token[1:] == first.key_id[1:]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://sts"), ErrorKind.NETWORK),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://sts"), ErrorKind.NETWORK),
        (botocore.exceptions.ClientError({"Error": {"Code": "X", "Message": "quite-secret"}}, "A"), ErrorKind.AUTH),
    ],
)
def test_a_refused_role_is_one_clear_line(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, kind: ErrorKind
) -> None:
    with pytest.raises(DunlinError) as caught:
        assumed(monkeypatch, Sts(timedelta(hours=1), failure))
    assert caught.value.kind is kind
    assert caught.value.where == "s3://b"
    assert "quite-secret" not in str(caught.value)
