"""The programs beside which object stores are measured: their commands, logins and versions.

Logins go by the environment, which the harness sets for the one program: command lines are for anybody to read. The
one exception is azcopy, which takes nothing but a SAS in the URL; it opens a server that ends with the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from bench.machine import first_line
from tests.servers.azurite import Azurite
from tests.servers.node import azcopy, installed
from tests.servers.rclone import program
from tests.servers.s3 import S3

WIDE = 32
"""Files that rclone has under way when it is not left at its default of 4: as many as dunlin has."""

Environment = Mapping[str, str]


def s3_login(server: S3, home: Path) -> dict[str, str]:
    """What dunlin, s5cmd and rclone (as the remote ``s:``) need to know of a server that speaks S3."""
    return {
        "AWS_ACCESS_KEY_ID": server.key_id,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT_URL": server.url,
        "RCLONE_CONFIG": "/notfound",
        "RCLONE_CONFIG_S_TYPE": "s3",
        "RCLONE_CONFIG_S_PROVIDER": "Rclone",
        "RCLONE_CONFIG_S_ENDPOINT": server.url,
        "RCLONE_CONFIG_S_ENV_AUTH": "true",
        "HOME": str(home),
    }


def azure_login(server: Azurite, home: Path) -> dict[str, str]:
    """The same for dunlin and rclone at Azurite; azcopy writes its plans and logs below `home`."""
    return {
        "AZURE_STORAGE_CONNECTION_STRING": server.connection_string,
        "RCLONE_CONFIG": "/notfound",
        "RCLONE_CONFIG_S_TYPE": "azureblob",
        "RCLONE_CONFIG_S_ACCOUNT": server.account,
        "RCLONE_CONFIG_S_KEY": server.key,
        "RCLONE_CONFIG_S_ENDPOINT": server.url,
        "AZCOPY_LOG_LOCATION": str(home),
        "AZCOPY_JOB_PLAN_LOCATION": str(home),
        "AZCOPY_AUTO_LOGIN_TYPE": "",
        "HOME": str(home),
    }


def sas(server: Azurite, container: str) -> str:
    """The URL of a container with a SAS that may read and list it for a day."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    query = generate_container_sas(
        server.account, container, account_key=server.key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(days=1),
    )  # fmt: skip
    return f"{server.url}/{quote(container)}?{query}"


def rclone_copy(source: str, destination: str, *options: str) -> list[str]:
    """``rclone copy`` into a place that has nothing yet."""
    return [str(program("rclone")), "copy", "--no-traverse", *options, source, destination]


def rclone_wide() -> tuple[str, ...]:
    """As many files under way as dunlin has."""
    return "--transfers", str(WIDE), "--checkers", str(WIDE)


def s5cmd_copy(source: str, destination: str, *options: str) -> list[str]:
    """``s5cmd cp`` of all below a directory or prefix."""
    return [str(program("s5cmd")), "--log", "error", "cp", *options, f"{source}/*", f"{destination}/"]


def azcopy_copy(source: str, destination: Path) -> list[str]:
    """``azcopy copy`` of what is in a container; azcopy makes no directory of the container's name for ``/*``."""
    path, _, query = source.partition("?")
    return [
        str(azcopy()), "copy", f"{path}/*?{query}", str(destination), "--recursive", "--from-to", "BlobLocal",
        "--log-level", "NONE", "--output-level", "essential",
    ]  # fmt: skip


def versions(*names: str) -> str:
    """The programs and servers by name and version, for a row's notes."""
    return "versions: " + ", ".join(f"{name} {_VERSIONS[name]()}" for name in names)


def _number(command: Sequence[str]) -> str:
    found = re.search(r"\d+\.\d+[.\d]*", first_line(*command))
    return found.group() if found else "unknown"


def _azurite() -> str:
    manifest = json.loads((installed("servers") / "azurite" / "package.json").read_text())
    return f"{manifest['version']} (in memory)"


_VERSIONS: dict[str, Callable[[], str]] = {
    "rclone": lambda: _number([str(program("rclone")), "version"]),
    "s5cmd": lambda: _number([str(program("s5cmd")), "version"]),
    "azcopy": lambda: _number([str(azcopy()), "--version"]),
    "Azurite": _azurite,
}
