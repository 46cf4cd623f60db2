"""The programs beside which backups are measured, each with a repository of its own: what is called for which step.

All of them compress with zstd and encrypt, each with a password from its environment. borg is asked for zstd, level 3,
which is what dunlin and restic do unasked. Caches lie beside the repositories, so nothing of a run outlives its row.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.context import CHECKOUT, Context
from bench.machine import first_line
from bench.measure import remove

SECRET = "not much of a secret"
SHARE = "bench"


@dataclass(frozen=True, slots=True)
class Vault:
    """A program's repository: commands, and what the environment must hold.

    Attributes:
        place: everything that it writes lies below.
        nested: what is restored lies below the whole path of the source.
    """

    name: str
    place: Path
    version: str
    login: Mapping[str, str]
    init: Sequence[str]
    backup: Sequence[str]
    restore: Sequence[str]
    nested: bool

    def save(self, source: Path | str) -> list[str]:
        """The command of a backup."""
        return [part.replace("{source}", str(source)) for part in self.backup]

    def back(self, target: Path | str) -> list[str]:
        """The command that restores the last backup."""
        return [part.replace("{target}", str(target)) for part in self.restore]

    def restored(self, source: Path, target: Path) -> Path:
        """Where the copy of the source stands after that."""
        return target / source.relative_to("/") if self.nested else target

    @property
    def size(self) -> int:
        """Bytes of the repository."""
        return sum(path.stat().st_size for path in (self.place / "repository").rglob("*") if path.is_file())

    def again(self, context: Context) -> None:
        """An empty repository, whatever was there before."""
        remove(self.place)
        self.place.mkdir(parents=True)
        context.run(self.init, self.login)


def vaults(context: Context, *names: str) -> list[Vault]:
    """The programs of these names (all: dunlin, restic, borg) that are installed."""
    made = [_MAKERS[name](context, context.work / f"vault-{name}") for name in names or _MAKERS]
    return [each for each in made if shutil.which(each.init[0])]


def can_restore() -> bool:
    """Whether this checkout has the command."""
    return (CHECKOUT / "src" / "dunlin" / "cli" / "restore.py").exists()


def _dunlin(context: Context, place: Path) -> Vault:
    program = shlex.split(context.dunlin)
    rest = ["--repo", str(place / "repository"), "--cache", str(place / "cache")]
    return Vault(
        "dunlin", place, "of this checkout", {"DUNLIN_PASSWORD": SECRET},
        [*program, "repo", "init", rest[1], *rest[2:]],
        [*program, "backup", "{source}", "--share", SHARE, *rest],
        [*program, "restore", "latest", "{target}", "--share", SHARE, *rest],
        nested=False,
    )  # fmt: skip


def _restic(context: Context, place: Path) -> Vault:
    program = ["restic", "-q", "-r", str(place / "repository"), "--cache-dir", str(place / "cache")]
    return Vault(
        "restic", place, _version("restic", "version"), {"RESTIC_PASSWORD": SECRET},
        [*program, "init"],
        [*program, "backup", "{source}"],
        [*program, "restore", "latest", "--target", "{target}"],
        nested=True,
    )  # fmt: skip


def _borg(context: Context, place: Path) -> Vault:
    where = str(place / "repository")
    return Vault(
        "borg", place, _version("borg", "--version"), {"BORG_PASSPHRASE": SECRET, "BORG_BASE_DIR": str(place / "base")},
        ["borg", "init", "--encryption", "repokey-blake2", where],
        ["borg", "create", "--compression", "zstd,3", f"{where}::{{now:%Y%m%d%H%M%S%f}}", "{source}"],
        ["sh", "-c", 'mkdir -p "$2" && cd "$2" && exec borg extract "$1::$(borg list --short --last 1 "$1")"',
         "sh", where, "{target}"],
        nested=True,
    )  # fmt: skip


_MAKERS = {"dunlin": _dunlin, "restic": _restic, "borg": _borg}


def _version(*command: str) -> str:
    if not shutil.which(command[0]):
        return "not installed"
    found = re.search(r"\d+\.\d+[.\d]*", first_line(*command))
    return found.group() if found else "unknown"
