#!/usr/bin/env python3
"""Write constraints/*.txt: every package, pinned, with the hashes of its files.

    scripts/python scripts/lock.py            resolve anew, take the newest versions that fit
    scripts/python scripts/lock.py --keep     keep the versions that are pinned, add what is new, drop what is unused
    scripts/python scripts/lock.py --check    fail when the files do not fit pyproject.toml; needs no network

core is what every command needs, backup, cloud, queue, tui, watch and web are what the extras of these names need
besides, dev is all of them with the tools. pip resolves (`pip install --dry-run --report`), for the Python and the
platform that run this script; dev is resolved first and the others within it, so that all files name the same
versions. The report knows the hash of one file per package only. The others are read from the index page that pip
itself uses, through pip's own (private) reader, because there is no public command that prints them: sources, and
wheels for CPython 3.11 to 3.14 on Linux (glibc and musl; x86_64, aarch64, armv7l) and macOS. Windows wheels are left
out: the launcher is a POSIX shell script, and Windows would need other packages as well.

The first line of a file is a fingerprint of the rest. The launcher compares that one line with what it noted
when it made the environment; the unit tests compare it with the content.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints"
EXTRAS = ("backup", "cloud", "queue", "tui", "watch", "web")
"""What the launcher adds on first use; scripts/environment.sh and environment.py know the same names."""
PYTHONS = ("cp311", "cp312", "cp313", "cp314")
MACHINES = re.compile(r"(manylinux|musllinux|macosx|linux).*_(x86_64|aarch64|armv7l|arm64|universal2|intel)$")


def requirements() -> dict[str, list[str]]:
    """The direct requirements of each file, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = list(project["dependencies"])
    extras = project["optional-dependencies"]
    added = {name: list(extras[name]) for name in EXTRAS}
    return {"core": core, **added, "dev": core + [line for lines in added.values() for line in lines] + extras["dev"]}


def normal(name: str) -> str:
    """A package name in its one canonical spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(wanted: list[str], pins: dict[str, str]) -> dict[str, str]:
    """Name to version of `wanted` and all it needs, at the versions in `pins` where that names them."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--report", "-"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as limits:
        limits.writelines(f"{name}=={version}\n" for name, version in pins.items())
        limits.flush()
        command += ["--constraint", limits.name, *wanted]
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment())
    found = [item["metadata"] for item in json.loads(result.stdout)["install"]]
    return {normal(item["name"]): item["version"] for item in found}


def bare(requirement: str) -> str:
    """The canonical package name that a requirement begins with."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return normal(match.group()) if match else ""


def environment() -> dict[str, str]:
    """Our environment without a private directory of wheels, whose files no index has."""
    return {key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"}


def hashes(pins: dict[str, str]) -> dict[str, list[str]]:
    """Name to the sorted SHA-256 sums of every file of that version that one of our targets may pick."""
    from pip._internal.commands import create_command  # private; see the module docstring
    from pip._internal.index.collector import LinkCollector, parse_links
    from pip._internal.models.link import Link

    command: Any = create_command("download")
    sums: dict[str, list[str]] = {}
    with command.main_context():
        options, _ = command.parse_args(["nothing"])
        session = command._build_session(options)
        collector = LinkCollector.create(session, options=options)
        for name, version in pins.items():
            files: set[str] = set()
            for location in collector.search_scope.get_index_urls_locations(name):
                page = collector.fetch_response(Link(location))
                for link in parse_links(page) if page else ():
                    if link.hash_name == "sha256" and wanted_file(link.filename, name, version):
                        files.add(link.hash)
            if not files:
                raise SystemExit(f"lock: the index offers no hash for {name} {version}")
            sums[name] = sorted(files)
    return sums


def wanted_file(filename: str, name: str, version: str) -> bool:
    """Whether a file of an index page is this version's source, or a wheel for one of our targets."""
    if filename.endswith(".tar.gz"):
        return normal(filename.removesuffix(".tar.gz")) == normal(f"{name}-{version}")
    if not filename.endswith(".whl"):
        return False
    stem = filename.removesuffix(".whl").split("-")
    if normal(stem[0]) != name or stem[1] != version:
        return False
    python, abi, platforms = stem[-3:]
    ours = any(p in PYTHONS or p == "py3" for p in python.split(".")) or ("abi3" in abi.split(".") and abi3(python))
    threaded = any(a in PYTHONS or a in ("abi3", "none") for a in abi.split("."))
    return ours and threaded and any(p == "any" or MACHINES.match(p) for p in platforms.split("."))


def abi3(python: str) -> bool:
    """Whether a stable-ABI wheel of this first Python runs on the newest of ours."""
    return any(re.fullmatch(r"cp3\d+", p) and int(p[3:]) <= int(PYTHONS[-1][3:]) for p in python.split("."))


def text(pins: dict[str, str], sums: dict[str, list[str]]) -> str:
    """The content of a constraints file: the fingerprint, then a pin per package."""
    lines = ["# Written by scripts/lock.py (`make lock`); do not edit."]
    for name, version in sorted(pins.items()):
        lines.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{value}" for value in sums[name])]))
    body = "\n".join(lines) + "\n"
    return f"# fingerprint {fingerprint(body)}\n{body}"


def fingerprint(body: str) -> str:
    """What the first line says of all lines after it."""
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def read(path: Path) -> dict[str, str]:
    """Name to version as a constraints file pins them; fails when the fingerprint is not that of the content."""
    first, _, body = path.read_text().partition("\n")
    if first != f"# fingerprint {fingerprint(body)}":
        raise SystemExit(f"lock: {path.name} was changed by hand; run: make lock")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", body, re.MULTILINE))


def problems() -> Iterator[str]:
    """What in the constraints does not fit pyproject.toml, without asking an index."""
    from packaging.requirements import Requirement

    pinned = {name: read(CONSTRAINTS / f"{name}.txt") for name in ("core", *EXTRAS, "dev")}
    for name, wanted in requirements().items():
        for line in wanted:
            version = {**pinned["core"], **pinned[name]}.get(bare(line))
            if version is None:
                yield f"{name}.txt lacks {bare(line)}"
            elif not Requirement(line).specifier.contains(version):
                yield f"{name}.txt pins {bare(line)} {version}, pyproject.toml wants {line}"
    for file in ("core", *EXTRAS):
        for name, version in pinned[file].items():
            if pinned["dev"].get(name) != version:
                yield f"{file}.txt pins {name} {version}, dev.txt {pinned['dev'].get(name)}"
            if file != "core" and name in pinned["core"]:
                yield f"{file}.txt pins {name}, which core.txt does"


def main() -> int:
    parser = argparse.ArgumentParser(description="Pin all dependencies, with hashes, in constraints/.")
    parser.add_argument("--check", action="store_true", help="only compare the files with pyproject.toml")
    parser.add_argument("--keep", action="store_true", help="keep the versions that are pinned")
    given = parser.parse_args()
    if given.check:
        found = list(problems())
        print("\n".join(found) or "constraints fit pyproject.toml")
        return 1 if found else 0
    wanted = requirements()
    pins = {"dev": resolve(wanted["dev"], read(CONSTRAINTS / "dev.txt") if given.keep else {})}
    pins["core"] = resolve(wanted["core"], pins["dev"])
    for name in EXTRAS:
        both = resolve(wanted["core"] + wanted[name], pins["dev"])
        pins[name] = {package: version for package, version in both.items() if package not in pins["core"]}
    sums = hashes(pins["dev"])
    CONSTRAINTS.mkdir(exist_ok=True)
    for name, packages in sorted(pins.items()):
        content = text(packages, sums)
        file = CONSTRAINTS / f"{name}.txt"
        if not file.exists() or file.read_text() != content:  # a newer file is a reason to look at the environment
            file.write_text(content)
        print(f"constraints/{name}.txt: {len(packages)} packages, {sum(len(sums[n]) for n in packages)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
