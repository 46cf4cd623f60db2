"""`dunlin version`."""

from __future__ import annotations

import platform
from importlib import metadata

from dunlin import __version__
from dunlin.cli.base import Command, Option, echo, log_level_option

LIBRARIES = ("apsw", "awscrt", "blake3", "click", "msgspec", "rich", "xxhash")


def version(as_json: bool, log_level: str) -> None:
    """Print the versions."""
    found = {"dunlin": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    if as_json:
        import json

        echo(json.dumps(found))
        return
    for name, value in found.items():
        echo(f"{name:8} {value}")


command = Command(
    "version",
    help="Show the versions of dunlin and of what it stands on. `dunlin --version` shows the first line alone.",
    short_help="show the versions of dunlin and of what it stands on",
    example="dunlin version --json",
    callback=version,
    params=[
        Option("--json", "Print a JSON object.", section="Output", into="as_json", is_flag=True),
        log_level_option(),
    ],
)
