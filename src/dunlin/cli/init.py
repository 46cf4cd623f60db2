"""`dunlin init`."""

from __future__ import annotations

from dunlin.cli.base import Command, Option, echo, log_level_option

EXAMPLE = """
dunlin init
dunlin init --config nightly.toml
"""


def init(path: str | None, force: bool, log_level: str) -> int:
    """Parse, call, print, exit code."""
    from dunlin.config.template import write
    from dunlin.errors import printable

    path = path or "dunlin.yaml"
    write(path, force=force)
    echo(f"wrote {printable(path)}; `dunlin config show` tells what holds")
    return 0


command = Command(
    "init",
    help="""
    Write a configuration file with every section and a comment for what needs one. A name that ends in .toml makes
    it TOML. Only you may read the file, since it may come to hold secrets.
    """,
    short_help="write a commented configuration file",
    example=EXAMPLE,
    callback=init,
    params=[
        Option("--config", "The file to write. Default: dunlin.yaml.", section="Where", metavar="FILE", into="path"),
        Option("--force", "Replace the file if there is one.", section="Where", is_flag=True),
        log_level_option(),
    ],
)
