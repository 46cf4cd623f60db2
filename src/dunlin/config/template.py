"""The commented file that `dunlin init` writes, as YAML or, where its name ends in .toml, as TOML."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from dunlin.errors import translate, usage


class Line(NamedTuple):
    """A key of the template. `value`: as JSON would write it, which is YAML and TOML, too; `active`: not a comment."""

    name: str
    value: str | bool | int | float
    comment: str = ""
    active: bool = True


def _off(name: str, value: str | bool | int | float, comment: str = "") -> Line:
    return Line(name, value, comment, active=False)


HEAD = """\
The configuration of dunlin. Flags win over environment variables (DUNLIN_WORKERS=8), and those over this file.
0 means automatic, "" means off. A secret may be written as "@FILE": the file's content, relative to this file.
`dunlin config show` prints what holds and where it came from; docs/configuration.md explains every key.
"""

SECTIONS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "azure",
        (
            _off("connection_string", "@connection-string.txt", "or account_name with one of the others"),
            _off("account_name", "myaccount"),
            _off("account_key", "@account-key.txt"),
            _off("sas_token", "@sas-token.txt"),
            _off("use_managed_identity", True),
            _off("tenant_id", "...", "a service principal, with client_id and client_secret"),
            _off("client_id", "..."),
            _off("client_secret", "@client-secret.txt"),
            _off("use_workload_identity", True),
            _off("use_azure_cli", True),
        ),
    ),
    (
        "s3",
        (
            _off("endpoint", "http://127.0.0.1:9000", "for servers other than AWS"),
            _off("region", "eu-central-1"),
            _off("profile", "backup", "of the AWS configuration files; or a key:"),
            _off("access_key_id", "..."),
            _off("secret_access_key", "@secret-access-key.txt"),
        ),
    ),
    ("gcs", (_off("service_account", "key.json", "the key file of a service account"),)),
    (
        "sync",
        (
            Line("container", "", "an Azure container; or name SOURCE and DESTINATION, or write jobs (below)"),
            Line("output_path", "./data"),
            Line("prefix", "", "only blobs whose names begin with this"),
            Line("workers", 0, "files in flight"),
            Line("batch_size", 0, "names per request of a listing"),
            Line("skip_existing", False, "true leaves every file alone that is there, whatever it holds"),
            Line("verify_checksums", True),
            _off("archive", True, "any other option of `dunlin sync` by its name"),
        ),
    ),
    ("watch", (Line("enabled", False), Line("interval", "5m"))),
    ("logging", (Line("level", "info", "debug, info, warn, error"), _off("format", "json", "text, json, logfmt"))),
    ("state", (_off("database", "./.sync-state.db", 'of all pairs that are synced from here; "" keeps none'),)),
    (
        "performance",
        (
            Line("max_memory_mb", 0),
            Line("max_cpu_percent", 0),
            _off("auto_throttle", True, "slow down while the machine is busy"),
            Line("throttle_threshold", 0.8),
            _off("link_speed", "12.5MB", "bytes per second of the network, where its interface does not tell"),
            Line("bandwidth_limit", "", '"50M", or a timetable: "08:00,5M 19:00,off"'),
            Line("disk_buffer_mb", 64),
        ),
    ),
    ("metrics", (_off("address", "127.0.0.1:9100", "Prometheus metrics while a sync goes on"),)),
    (
        "backup",
        (
            _off("repository", "/mnt/vault", "also a URL, or loc://NAME/PATH"),
            _off("password_file", "vault-password.txt"),
        ),
    ),
    ("dashboard", (_off("theme", "dark", "default, dark, light"), _off("refresh_interval", 2, "seconds"))),
    (
        "notify",
        (
            _off("webhook_url", "@webhook.txt", "messages to a chat; format: slack or json"),
            _off("email", "admin@example.com", "messages by e-mail, through smtp_url"),
            _off("smtp_url", "smtps://user@mail.example.com"),
            _off("smtp_password", "@smtp-password.txt"),
            _off("events", "failure,stalled,recovery", "also: finish"),
            _off("stalled_after", "10m"),
        ),
    ),
)

_YAML_MORE = """\
# locations:                       # used as loc://NAME/PATH
#   offsite:
#     url: s3://bucket/prefix
#     endpoint: https://storage.example.com
#     access_key_id: "..."
#     secret_access_key: "@offsite.txt"

# jobs:                            # several pairs in one run; each may have any option of its own
#   - source: /srv/photos
#     destination: loc://offsite/photos
#     delete_extras: true
#   - container: mycontainer
#     output_path: ./data/mycontainer
"""

_TOML_MORE = """\
# [locations.offsite]              # used as loc://NAME/PATH
# url = "s3://bucket/prefix"
# endpoint = "https://storage.example.com"
# access_key_id = "..."
# secret_access_key = "@offsite.txt"

# [[jobs]]                         # several pairs in one run; each may have any option of its own
# source = "/srv/photos"
# destination = "loc://offsite/photos"
# delete_extras = true
# [[jobs]]
# container = "mycontainer"
# output_path = "./data/mycontainer"
"""


def template(*, toml: bool = False) -> str:
    """The whole text."""
    parts = ["".join(f"# {line}\n" for line in HEAD.splitlines())]
    parts += ["".join(_section(name, lines, toml)) for name, lines in SECTIONS]
    return "\n".join([*parts, _TOML_MORE if toml else _YAML_MORE])


def _section(name: str, lines: tuple[Line, ...], toml: bool) -> Iterator[str]:
    # A section of YAML whose lines are all comments would be empty: it is a comment itself.
    yield f"[{name}]\n" if toml else f"{'' if any(line.active for line in lines) else '# '}{name}:\n"
    for line in lines:
        value = json.dumps(line.value)
        text = f"{line.name} = {value}" if toml else f"  {line.name}: {value}"
        text = text if line.active else f"# {text}"
        yield (f"{text:<32} # {line.comment}" if line.comment else text) + "\n"


def write(path: str, *, force: bool = False) -> None:
    """Write the template to `path`, readable by its owner alone; whole or not at all.

    Raises USAGE when something is there already, unless `force`; DENIED, NOT_FOUND and their like.
    """
    text = template(toml=path.lower().endswith(".toml"))
    part = f"{path}.part-{os.getpid()}"
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
            if force:
                os.replace(part, path)
            else:
                os.link(part, path)  # unlike a rename it never replaces anything
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
    except FileExistsError:
        raise usage(f"{path} is there already", "--force replaces it") from None
    except OSError as error:
        raise translate(error, "write the configuration", path) from error
